//! What an operator can ask of the people and the journal, done in one place: the daemon does it for its clients, and
//! the command line does the same directly when no daemon runs.

use std::path::PathBuf;

use crate::access::pin::{self, Against, Cost, Pin, StoredPin};
use crate::access::{LookAlikes, Rule};
use crate::calibration::Bar;
use crate::encoder::{ModelId, Score};
use crate::gallery::{Gallery, NewTemplate, Person, PersonId, SAME_PERSON};
use crate::journal::{self, EventId, EventKind, Filter, Stamp};
use crate::store::{PinChange, Store, StoreError, new_salt};

use super::custody;
use super::migrating;
use super::protocol::{LookAlike, Reply, Request};
use super::replaying;
use super::supervise::chain;

/// Most records in one reply: beyond that the reply would not fit a small machine's memory.
pub const MAX_RECORDS: usize = 20_000;

/// What an enrolment is held to.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The encoder in use; templates of another one are refused.
    pub model: ModelId,
    /// What a grant takes, but for the threshold.
    pub rule: Rule,
    /// Where the threshold comes from.
    pub bar: Bar,
    /// Fewest digits of a PIN.
    pub pin_digits: usize,
    /// Folder of the installed networks, for what was measured of them.
    pub models: PathBuf,
}

impl Terms {
    /// From this score to another person's template the operator is warned: who comes within the margin below the
    /// threshold could be taken for them.
    fn lookalike_from(&self, gallery: &Gallery) -> Score {
        LookAlikes::bar(&self.bar.apply(gallery, &self.rule).0)
    }
}

/// Answers any request that needs no camera and no running door.
pub fn answer(store: &mut dyn Store, terms: &Terms, request: &Request, actor: &str, at: Stamp) -> Reply {
    let answer = replaying::answer(store, terms, request).or_else(|| read(store, request));
    let answer = answer.or_else(|| migrating::answer(store, terms, request, actor, at));
    let answer = answer.or_else(|| custody::answer(store, request, actor, at));
    answer.or_else(|| change(store, terms, request, actor, at)).unwrap_or_else(|| Reply::Error {
        message: format!(
            "{} needs the running service: start it with `accessd run` (or `systemctl start accessd`)",
            what(request)
        ),
    })
}

/// Answers a request that only reads; `None` for the others.
pub fn read(store: &dyn Store, request: &Request) -> Option<Reply> {
    let reply = match request {
        Request::People => store.people().map(|people| Reply::People { people }),
        Request::Person { name } => store.person(name).map(|person| Reply::People { people: vec![person] }),
        Request::Policy => store.rule_book().map(|book| Reply::Policy { book: Box::new(book) }),
        Request::Records { filter } => return Some(records(store, filter)),
        Request::Explain { event } => return Some(explain(store, *event)),
        Request::Verify { against } => {
            store.verify(against).map(|found| Reply::Verified { found: Box::new(found) })
        }
        _ => return custody::read(store, request),
    };
    Some(reply.unwrap_or_else(|error| refused(&error)))
}

/// Carries out a request that changes the people; `None` for the others. After a reply that is not
/// [`Reply::Error`] the gallery must be read again.
pub fn change(
    store: &mut dyn Store,
    terms: &Terms,
    request: &Request,
    actor: &str,
    at: Stamp,
) -> Option<Reply> {
    let reply = match request {
        Request::Enrol { name, templates, more } => {
            enrol(store, terms, &Enrolment { name, templates, more: *more }, actor, at)
        }
        Request::Rename { name, to } => store.rename(name, to, actor, at).map(|()| Reply::Done),
        Request::ChangePolicy { change } => store.change_policy(change, actor, at).map(|()| Reply::Done),
        Request::ForgetLearnt { name } => {
            store.forget_learnt(name.as_deref(), actor, at).map(|samples| Reply::Forgotten { samples })
        }
        Request::Remove { name } => store.remove(name, actor, at).map(|()| Reply::Done),
        Request::AddPerson { name } => store.add_person(name, actor, at).map(|_| Reply::Done),
        Request::SetPin { name, pin } => new_pin(store, terms, name, pin)
            .and_then(|change| store.change_pin(name, &change, actor, at))
            .map(|()| Reply::Done),
        Request::SetDuressPin { name, pin } => duress_pin(store, name, pin, at)
            .and_then(|change| store.change_pin(name, &change, actor, at))
            .map(|()| Reply::Done),
        Request::ClearPin { name } => {
            store.change_pin(name, &PinChange::Clear, actor, at).map(|()| Reply::Done)
        }
        Request::PinOn { name } => {
            store.change_pin(name, &PinChange::Forgive, actor, at).map(|()| Reply::Done)
        }
        _ => {
            return migrating::change(store, terms, request, actor, at)
                .or_else(|| custody::change(store, request, actor, at));
        }
    };
    Some(reply.unwrap_or_else(|error| refused(&error)))
}

/// A PIN for somebody, hashed. It takes some 20 ms, on the control thread, which an operator's order may.
fn new_pin(store: &dyn Store, terms: &Terms, name: &str, pin: &Pin) -> Result<PinChange, StoreError> {
    let people = store.people()?.len();
    store.person(name)?;
    pin.may_be_given(people, terms.pin_digits).map_err(|error| StoreError::Pin(error.to_string()))?;
    let salt = new_salt()?;
    let hash = pin.hash(&salt, Cost::DOOR);
    let digits = pin.digits();
    Ok(PinChange::Set(StoredPin { salt, cost: Cost::DOOR, hash, duress: None, digits, failures: 0 }))
}

/// A second PIN for somebody who has one: as long, so that nobody can tell them apart by counting, and another one.
fn duress_pin(store: &dyn Store, name: &str, pin: &Pin, at: Stamp) -> Result<PinChange, StoreError> {
    let refused = |why: String| Err(StoreError::Pin(why));
    let person = store.person(name)?;
    let Some(stored) = store.pin(person.id)? else {
        return refused(format!("{name} has no PIN yet; first: accessd pin set {name:?}"));
    };
    if pin.digits() != stored.digits {
        let (has, digits) = (pin.digits(), stored.digits);
        return refused(format!(
            "a duress PIN has as many digits as the usual one, {digits}, and this one has {has}"
        ));
    }
    if let Err(error) = pin.may_be_given(0, 0) {
        return refused(error.to_string());
    }
    let (salt, cost) = (stored.salt, stored.cost);
    let against = Against { person: Some(person.id), stored: Some(StoredPin { duress: None, ..stored }) };
    if pin::check(pin, &against, at.mono).is_some() {
        return refused("a duress PIN must be another one than the usual one".into());
    }
    Ok(PinChange::Duress(pin.hash(&salt, cost)))
}

/// Templates to be stored for one person.
#[derive(Clone, Copy, Debug)]
pub struct Enrolment<'a> {
    /// Whose.
    pub name: &'a str,
    /// The templates.
    pub templates: &'a [NewTemplate],
    /// Add to a person who is already enrolled.
    pub more: bool,
}

/// Stores templates in one transaction and says whom the new face is close to.
///
/// # Errors
/// As for [`Store::enrol`]; nothing has changed then.
pub fn enrol(
    store: &mut dyn Store,
    terms: &Terms,
    enrolment: &Enrolment<'_>,
    actor: &str,
    at: Stamp,
) -> Result<Reply, StoreError> {
    let Enrolment { name, templates, more } = *enrolment;
    check_model(templates, &terms.model)?;
    if more {
        check_face(store, templates, name, &terms.model)?;
        store.add_templates(name, templates, actor, at)?;
    } else {
        store.enrol(name, templates, actor, at)?;
    }
    let person = store.person(name)?;
    let gallery = store.gallery(&terms.model)?;
    let lookalikes = lookalikes(&gallery, templates, &person, terms.lookalike_from(&gallery));
    Ok(Reply::Enrolled { person, lookalikes })
}

/// Whether the name can be enrolled at all, asked before somebody stands in front of the camera for it.
///
/// # Errors
/// [`StoreError::NameTaken`] or [`StoreError::UnknownPerson`], or the database's.
pub(crate) fn may_enrol(store: &dyn Store, name: &str, more: bool) -> Result<(), StoreError> {
    match (store.person(name), more) {
        (Ok(_), true) => Ok(()),
        (Ok(_), false) => Err(StoreError::NameTaken { name: name.to_owned() }),
        (Err(StoreError::UnknownPerson { .. }), false) => Ok(()),
        (Err(error), _) => Err(error),
    }
}

/// The store keeps templates of any encoder; the door has use for its own only.
fn check_model(templates: &[NewTemplate], model: &ModelId) -> Result<(), StoreError> {
    match templates.iter().find(|template| template.model != *model) {
        None => Ok(()),
        Some(other) => Err(StoreError::BadTemplates(format!(
            "they are of encoder {}, the door uses {model}; compute them with that encoder",
            other.model
        ))),
    }
}

/// More samples of a person must be of that person: somebody else's would let somebody else in under the name. A
/// person without samples of this encoder, who needs new ones, cannot be held to the old ones.
fn check_face(
    store: &dyn Store,
    templates: &[NewTemplate],
    name: &str,
    model: &ModelId,
) -> Result<(), StoreError> {
    /// Nobody has this id: they count from 1.
    const NOBODY: PersonId = PersonId(0);
    let (person, gallery) = (store.person(name)?, store.gallery(model)?);
    // Samples of another size the store itself refuses.
    let comparable = templates.iter().filter(|t| t.embedding.dim() == gallery.dim());
    for template in comparable {
        let everybody = gallery.nearest_other(&template.embedding, NOBODY, Score(-1.0));
        let own = everybody.iter().find(|candidate| candidate.person == person.id);
        if let Some(own) = own.filter(|own| own.score < SAME_PERSON) {
            return Err(StoreError::BadTemplates(format!(
                "is this {name}? A new sample scores {:.2} with those stored, and two of one person score at least {}; \
                 if the stored ones are the wrong ones, remove {name} and enrol anew",
                own.score.0, SAME_PERSON.0
            )));
        }
    }
    Ok(())
}

/// Everybody else who is close enough to a sample to be mistaken for its owner; each once, the closest first.
fn lookalikes(gallery: &Gallery, templates: &[NewTemplate], person: &Person, from: Score) -> Vec<LookAlike> {
    let near = templates.iter().flat_map(|t| gallery.nearest_other(&t.embedding, person.id, from));
    let mut all: Vec<LookAlike> =
        near.map(|c| LookAlike { name: c.name.to_string(), score: c.score.0 }).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name).then(b.score.total_cmp(&a.score)));
    all.dedup_by(|later, kept| later.name == kept.name);
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    all
}

/// Records after a decision in which its consequences are sought.
const CONSEQUENCES: usize = 50;

fn explain(store: &dyn Store, event: EventId) -> Reply {
    let one = |id: i64| Filter {
        after: Some(EventId(id - 1)),
        before: Some(EventId(id.saturating_add(1))),
        ..Filter::default()
    };
    let read = || -> Result<Reply, StoreError> {
        let Some(record) = store.records(&one(event.0))?.pop() else {
            let message = format!("the journal has no record {}; `accessd log` shows those it has", event.0);
            return Ok(Reply::Error { message });
        };
        let start = Filter {
            kinds: vec![EventKind::Start],
            before: Some(event),
            limit: Some(1),
            ..Filter::default()
        };
        let start = store.records(&start)?.pop();
        let until = EventId(event.0.saturating_add(CONSEQUENCES as i64));
        let mut around =
            store.records(&Filter { after: Some(event), before: Some(until), ..Filter::default() })?;
        let asked = Filter {
            kinds: vec![EventKind::Challenge],
            before: Some(event),
            limit: Some(CONSEQUENCES),
            ..Filter::default()
        };
        around.splice(0..0, store.records(&asked)?);
        if let Some(cause) = record.event.detail.get("grant").and_then(serde_json::Value::as_i64) {
            around.splice(0..0, store.records(&one(cause))?);
        }
        let explanation = Box::new(journal::explain::explain(record, start.as_ref(), around));
        Ok(Reply::Explained { explanation })
    };
    read().unwrap_or_else(|error| refused(&error))
}

fn records(store: &dyn Store, filter: &Filter) -> Reply {
    let limit = filter.limit.unwrap_or(MAX_RECORDS + 1).min(MAX_RECORDS + 1);
    match store.records(&Filter { limit: Some(limit), ..filter.clone() }) {
        Ok(records) if records.len() > MAX_RECORDS => Reply::Error {
            message: format!(
                "more than {MAX_RECORDS} records match; narrow them with --since, --until, --kind or --limit"
            ),
        },
        Ok(records) => Reply::Records { records },
        Err(error) => refused(&error),
    }
}

/// The refusal of a request, with everything that caused it.
pub(crate) fn refused(error: &dyn std::error::Error) -> Reply {
    Reply::Error { message: chain(error) }
}

fn what(request: &Request) -> &'static str {
    match request {
        Request::Status => "the state of the door",
        Request::Follow { .. } => "following the journal",
        Request::EnrolLive { .. } => "enrolment at the door's camera",
        Request::SpoofBegin { .. } | Request::SpoofPresent { .. } | Request::SpoofEnd => "a test of the door",
        Request::Unlock { .. } | Request::Lock { .. } | Request::HoldOpen { .. } | Request::FaceOn { .. } => {
            "moving the door"
        }
        Request::TypePin { .. } => "typing a PIN",
        _ => "this",
    }
}
