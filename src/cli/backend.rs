//! Where people and journal are reached: through the service while it runs, else in the database itself. Both do the
//! same: the service answers with [`ops`], and so does this.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::adapters::{bar, bookkeeping, rule, trust};
use crate::access::pin::Pin;
use crate::calibration::Bar;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::daemon::actor;
use crate::daemon::client::Client;
use crate::daemon::custody::backup_event;
use crate::daemon::migrating::{CutOver, Progress};
use crate::daemon::ops::{self, Terms};
use crate::daemon::presentation::Judged;
use crate::daemon::protocol::{EnrolProgress, Erasure, LookAlike, PinAnswer, Reply, Request, Status};
use crate::encoder::{ModelId, Score};
use crate::gallery::{NewTemplate, Person, PersonId};
use crate::journal::chain::{Against, Verification};
use crate::journal::explain::Explanation;
use crate::journal::replay::Replayed;
use crate::journal::{EventId, Filter, Record, Stamp};
use crate::liveness::spoof::{Report, Settings, Shown, Species};
use crate::models::Library;
use crate::policy::{Change, RuleBook};
use crate::seal::Keys;
use crate::store::{
    Consent, Custody, Export, Header, Migrating, NamedModel, OpenMode, SqliteStore, Store, StoreError,
    boot_id,
};

/// Where to ask.
pub(super) enum Backend {
    /// The running service.
    Daemon(Service),
    /// The database.
    Direct(Box<Direct>),
}

impl Backend {
    /// For commands that only read.
    pub(super) fn to_read(config: &Config) -> anyhow::Result<Self> {
        Self::open(config, OpenMode::ReadOnly)
    }

    /// For commands that change people who are there.
    pub(super) fn to_change(config: &Config) -> anyhow::Result<Self> {
        Self::open(config, OpenMode::Existing)
    }

    /// For enrolment: the first one creates the database.
    pub(super) fn to_enrol(config: &Config) -> anyhow::Result<Self> {
        Self::open(config, OpenMode::Create)
    }

    /// A service that does not let us in is an error, never a reason to go around it.
    fn open(config: &Config, mode: OpenMode) -> anyhow::Result<Self> {
        Ok(match Service::find(&config.paths.socket)? {
            Some(service) => Self::Daemon(service),
            None => Self::Direct(Box::new(Direct::open(config, mode)?)),
        })
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        match self {
            Self::Daemon(service) => service.ask(request),
            Self::Direct(direct) => direct.ask(request),
        }
    }

    /// Everybody, by name.
    pub(super) fn people(&mut self) -> anyhow::Result<Vec<Person>> {
        match self.ask(&Request::People)? {
            Reply::People { people } => Ok(people),
            other => Err(unexpected(&other)),
        }
    }

    /// One person.
    pub(super) fn person(&mut self, name: &str) -> anyhow::Result<Person> {
        match self.ask(&Request::Person { name: name.to_owned() })? {
            Reply::People { mut people } if people.len() == 1 => Ok(people.remove(0)),
            other => Err(unexpected(&other)),
        }
    }

    /// The journal.
    pub(super) fn records(&mut self, filter: &Filter) -> anyhow::Result<Vec<Record>> {
        match self.ask(&Request::Records { filter: filter.clone() })? {
            Reply::Records { records } => Ok(records),
            other => Err(unexpected(&other)),
        }
    }

    /// The journal as it grows, until the service ends or `each` fails.
    pub(super) fn follow(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Self::Daemon(service) = self else {
            bail!(
                "no service runs whose journal could be followed; leave --follow out, or start `accessd run`"
            )
        };
        for reply in service.client.stream(&Request::Follow { filter: filter.clone() })? {
            match refused(reply?)? {
                Reply::Record { record } => each(*record)?,
                Reply::Records { records } => records.into_iter().try_for_each(&mut each)?,
                Reply::Done => break,
                other => return Err(unexpected(&other)),
            }
        }
        Ok(())
    }

    /// Why the door did what a record says.
    pub(super) fn explain(&mut self, event: EventId) -> anyhow::Result<Explanation> {
        match self.ask(&Request::Explain { event })? {
            Reply::Explained { explanation } => Ok(*explanation),
            other => Err(unexpected(&other)),
        }
    }

    /// The picture of a refusal.
    pub(super) fn snapshot(&mut self, event: EventId) -> anyhow::Result<Vec<u8>> {
        match self.ask(&Request::Snapshot { event })? {
            Reply::Snapshot { jpeg } => Ok(BASE64.decode(jpeg)?),
            other => Err(unexpected(&other)),
        }
    }

    /// What another setting would have changed.
    pub(super) fn replay(&mut self, request: &Request) -> anyhow::Result<Replayed> {
        match self.ask_patiently(request)? {
            Reply::Replayed { replayed } => Ok(*replayed),
            other => Err(unexpected(&other)),
        }
    }

    /// How a change of the encoder stands.
    pub(super) fn migration(&mut self) -> anyhow::Result<Option<Progress>> {
        match self.ask_patiently(&Request::Migration)? {
            Reply::Migration { progress } => Ok(progress.map(|progress| *progress)),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins one.
    pub(super) fn migrate(&mut self, from: &NamedModel, to: &NamedModel) -> anyhow::Result<()> {
        done(self.ask(&Request::Migrate { from: from.clone(), to: to.clone() })?)
    }

    /// Has the other encoder take over, where it may.
    pub(super) fn cut_over(&mut self, order: CutOver) -> anyhow::Result<Replayed> {
        self.replay(&Request::CutOver { order })
    }

    /// Has the encoder of before in force again.
    pub(super) fn back_over(&mut self) -> anyhow::Result<()> {
        done(self.ask(&Request::BackOver)?)
    }

    /// Ends a change of the encoder; how many samples that removes.
    pub(super) fn end_migration(&mut self) -> anyhow::Result<usize> {
        match self.ask(&Request::EndMigration)? {
            Reply::Forgotten { samples } => Ok(samples),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits for the answer however long it takes.
    fn ask_patiently(&mut self, request: &Request) -> anyhow::Result<Reply> {
        match self {
            Self::Daemon(service) => service.ask_patiently(request),
            Self::Direct(direct) => direct.ask(request),
        }
    }

    /// Whether the journal is as it was written.
    pub(super) fn verify(&mut self, against: &Against) -> anyhow::Result<Verification> {
        match self.ask(&Request::Verify { against: against.clone() })? {
            Reply::Verified { found } => Ok(*found),
            other => Err(unexpected(&other)),
        }
    }

    /// Who may enter when.
    pub(super) fn rule_book(&mut self) -> anyhow::Result<RuleBook> {
        match self.ask(&Request::Policy)? {
            Reply::Policy { book } => Ok(*book),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the threshold in force is supported by measurements, as far as a running service says.
    pub(super) fn threshold_supported(&mut self) -> anyhow::Result<bool> {
        match self {
            Self::Daemon(service) => Ok(service.status()?.far.is_none_or(|far| far.supported)),
            Self::Direct(_) => Ok(true),
        }
    }

    /// Changes it.
    pub(super) fn change_policy(&mut self, change: Change) -> anyhow::Result<()> {
        done(self.ask(&Request::ChangePolicy { change })?)
    }

    /// Changes what is known of a person otherwise: a new one without a face, their PINs.
    pub(super) fn change_person(&mut self, request: &Request) -> anyhow::Result<()> {
        done(self.ask(request)?)
    }

    /// Renames a person.
    pub(super) fn rename(&mut self, name: &str, to: &str) -> anyhow::Result<()> {
        done(self.ask(&Request::Rename { name: name.to_owned(), to: to.to_owned() })?)
    }

    /// Removes what the door has learnt of one person or of everybody; how many samples that was.
    pub(super) fn forget_learnt(&mut self, name: Option<&str>) -> anyhow::Result<usize> {
        match self.ask(&Request::ForgetLearnt { name: name.map(str::to_owned) })? {
            Reply::Forgotten { samples } => Ok(samples),
            other => Err(unexpected(&other)),
        }
    }

    /// Removes a person.
    pub(super) fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        done(self.ask(&Request::Remove { name: name.to_owned() })?)
    }

    /// What a person agreed to.
    pub(super) fn consents(&mut self, name: &str) -> anyhow::Result<Vec<Consent>> {
        match self.ask(&Request::Consents { name: name.to_owned() })? {
            Reply::Consents { consents } => Ok(consents),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes down what a person agreed to.
    pub(super) fn record_consent(
        &mut self,
        name: &str,
        text: &str,
        given: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        done(self.ask(&Request::RecordConsent { name: name.to_owned(), text: text.to_owned(), given })?)
    }

    /// Everything that is kept about a person.
    pub(super) fn export(&mut self, name: &str) -> anyhow::Result<Export> {
        match self.ask(&Request::Export { name: name.to_owned() })? {
            Reply::Export { export } => Ok(*export),
            other => Err(unexpected(&other)),
        }
    }

    /// Erases a person; with `prove` every file is searched before and afterwards.
    pub(super) fn erase(&mut self, name: &str, prove: bool) -> anyhow::Result<Erasure> {
        let request = Request::Erase { name: name.to_owned(), prove };
        // A search takes as long as reading all files does.
        match self.ask_patiently(&request)? {
            Reply::Erased { erasure } => Ok(erasure),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes a backup of everything to `to`.
    pub(super) fn back_up(&mut self, to: &mut dyn Write) -> anyhow::Result<Header> {
        match self {
            Self::Direct(direct) => direct.back_up(to),
            Self::Daemon(service) => {
                for reply in service.client.stream(&Request::Backup)? {
                    match refused(reply?)? {
                        Reply::Piece { data } => to.write_all(&BASE64.decode(data)?)?,
                        Reply::BackedUp { header } => return Ok(header),
                        other => return Err(unexpected(&other)),
                    }
                }
                bail!("the service ended the backup in the middle")
            }
        }
    }

    /// The key file as it must be now.
    pub(super) fn key_file(&mut self) -> anyhow::Result<Vec<u8>> {
        match self.ask(&Request::KeyFile)? {
            Reply::KeyFile { data } => Ok(BASE64.decode(data)?),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a recovery code.
    pub(super) fn new_recovery_code(&mut self) -> anyhow::Result<String> {
        match self.ask(&Request::NewRecoveryCode)? {
            Reply::RecoveryCode { code } => Ok(code),
            other => Err(unexpected(&other)),
        }
    }

    /// Enrols a person, or gives them more templates.
    pub(super) fn enrol(
        &mut self,
        name: &str,
        templates: Vec<NewTemplate>,
        more: bool,
    ) -> anyhow::Result<(Person, Vec<LookAlike>)> {
        enrolled(self.ask(&Request::Enrol { name: name.to_owned(), templates, more })?)
    }
}

/// The running service.
pub(super) struct Service {
    client: Client,
}

impl Service {
    /// The service, if it runs.
    pub(super) fn find(socket: &Path) -> anyhow::Result<Option<Self>> {
        Ok(Client::connect(socket)?.map(|client| Self { client }))
    }

    /// The service, which must be running.
    pub(super) fn connect(socket: &Path) -> anyhow::Result<Self> {
        let found = Self::find(socket)?;
        found.with_context(|| {
            format!(
                "no service answers at {}; start it with `accessd run` (or `systemctl start accessd`)",
                socket.display()
            )
        })
    }

    /// How it is.
    pub(super) fn status(&mut self) -> anyhow::Result<Status> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Has it move the door.
    pub(super) fn order(&mut self, request: &Request) -> anyhow::Result<()> {
        done(self.ask(request)?)
    }

    /// Hands it what was typed.
    pub(super) fn type_pin(
        &mut self,
        person: Option<PersonId>,
        pin: Pin,
        door: Option<String>,
    ) -> anyhow::Result<PinAnswer> {
        match self.ask(&Request::TypePin { person, pin, door })? {
            Reply::Typed { answer } => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }

    /// One person of those it knows.
    pub(super) fn person(&mut self, name: &str) -> anyhow::Result<Person> {
        match self.ask(&Request::Person { name: name.to_owned() })? {
            Reply::People { mut people } if people.len() == 1 => Ok(people.remove(0)),
            other => Err(unexpected(&other)),
        }
    }

    /// Enrols at its camera and tells how it goes.
    pub(super) fn enrol_live(
        &mut self,
        name: &str,
        more: bool,
        door: Option<String>,
        mut progress: impl FnMut(&EnrolProgress),
    ) -> anyhow::Result<(Person, Vec<LookAlike>)> {
        for reply in self.client.stream(&Request::EnrolLive { name: name.to_owned(), more, door })? {
            match reply? {
                Reply::Progress(step) => progress(&step),
                last => return enrolled(refused(last)?),
            }
        }
        bail!("the service ended the enrolment without an answer; nothing is known to be stored")
    }

    /// Begins a test of a door, which lasts until it is ended or this is dropped.
    pub(super) fn begin_test(&mut self, door: Option<String>) -> anyhow::Result<(String, Settings)> {
        match self.ask(&Request::SpoofBegin { door })? {
            Reply::Testing { door, settings, .. } => Ok((door, *settings)),
            other => Err(unexpected(&other)),
        }
    }

    /// One presentation of it.
    pub(super) fn present(
        &mut self,
        species: Species,
        seconds: u64,
        cue: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Judged> {
        for reply in self.client.stream(&Request::SpoofPresent { species, seconds })? {
            match refused(reply?)? {
                Reply::Cue { what } => cue(&what),
                Reply::Presented { judged } => return Ok(judged),
                other => return Err(unexpected(&other)),
            }
        }
        bail!("the service ended the test without an answer")
    }

    /// Ends it.
    pub(super) fn end_test(&mut self) -> anyhow::Result<(EventId, Report, Shown)> {
        match self.ask(&Request::SpoofEnd)? {
            Reply::Tested { event, report, shown } => Ok((event, *report, *shown)),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        refused(self.client.request(request)?)
    }

    /// Waits for the answer however long it takes.
    fn ask_patiently(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let answer = self.client.stream(request)?.next();
        refused(answer.context("the service ended without an answer")??)
    }
}

/// The database, while no service runs.
pub(super) struct Direct {
    store: SqliteStore,
    config: Config,
}

impl Direct {
    fn open(config: &Config, mode: OpenMode) -> anyhow::Result<Self> {
        let mut store = open_store(config, mode)?;
        if mode != OpenMode::ReadOnly {
            store = bookkeeping(config, store)?;
            store.believe_clock(trust(config).holds(&SystemClock));
        }
        Ok(Self { store, config: config.clone() })
    }

    fn back_up(&mut self, to: &mut dyn Write) -> anyhow::Result<Header> {
        let now = Stamp::now(&SystemClock);
        self.store.append(&backup_event(&own_actor()), now)?;
        Ok(self.store.back_up(to, now.wall)?)
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let answer = self.ask_once(request)?;
        if let Request::EndMigration = request {
            // A service does that bit by bit.
            while !self.store.clear_away()? {}
        }
        Ok(answer)
    }

    fn ask_once(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let (pin_digits, models) = (self.config.pin.min_digits, self.config.paths.models.clone());
        let terms = match request {
            // Of the encoder that enrolment has loaded.
            Request::Enrol { templates, .. } if !templates.is_empty() => {
                let model = templates[0].model.clone();
                Terms { bar: bar(&self.config, &model)?, model, rule: rule(&self.config), pin_digits, models }
            }
            // The way back must be open also when that encoder cannot be used.
            Request::Migration => {
                let name = &self.config.encoder.model;
                let installed = Library::new(&models).load(name, "encoder");
                let model = installed.map_or_else(|_| ModelId(name.clone()), |file| file.card.id());
                Terms { model, bar: Bar::Set(Score(1.0)), rule: rule(&self.config), pin_digits, models }
            }
            Request::Replay { .. }
            | Request::Migrate { .. }
            | Request::CutOver { .. }
            | Request::EndMigration => {
                let model = Library::new(&models).load(&self.config.encoder.model, "encoder")?.card.id();
                Terms { bar: bar(&self.config, &model)?, model, rule: rule(&self.config), pin_digits, models }
            }
            _ => {
                let model = ModelId(self.config.encoder.model.clone());
                Terms { model, bar: Bar::Set(Score(1.0)), rule: rule(&self.config), pin_digits, models }
            }
        };
        refused(ops::answer(&mut self.store, &terms, request, &own_actor(), Stamp::now(&SystemClock)))
    }
}

/// Whoever runs this command, as the journal names them.
pub(super) fn own_actor() -> String {
    actor(rustix::process::getuid().as_raw())
}

/// The database for reading, beside a service that may be running.
pub(super) fn open_to_read(config: &Config) -> Result<SqliteStore, StoreError> {
    open_store(config, OpenMode::ReadOnly)
}

/// The database.
pub(super) fn open_store(config: &Config, mode: OpenMode) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&config.paths.database, mode, &boot_id(), &keys(config))
}

/// Where the device key is: a credential that systemd gave this process, or the file.
pub(super) fn keys(config: &Config) -> Keys {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    Keys::new(&config.paths.device_key, credentials.as_deref())
}

/// A refusal as an error.
fn refused(reply: Reply) -> anyhow::Result<Reply> {
    match reply {
        Reply::Error { message } => Err(anyhow!(message)),
        other => Ok(other),
    }
}

fn done(reply: Reply) -> anyhow::Result<()> {
    match reply {
        Reply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn enrolled(reply: Reply) -> anyhow::Result<(Person, Vec<LookAlike>)> {
    match reply {
        Reply::Enrolled { person, lookalikes } => Ok((person, lookalikes)),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> anyhow::Error {
    anyhow!(
        "the service gave an answer to another question ({reply:?}); are it and this accessd of one version?"
    )
}
