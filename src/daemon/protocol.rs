//! What goes over the control socket: one JSON object a line, a [`Request`] from the operator, one or more
//! [`Reply`]s from the daemon. The last reply of every request is not a [`Reply::Progress`], a [`Reply::Piece`], a
//! [`Reply::Cue`] or a [`Reply::Record`] of a follow.

use serde::{Deserialize, Serialize};

use crate::access::pin::Pin;
use crate::gallery::{NewTemplate, Person, PersonId};
use crate::journal::chain::{Against, Verification};
use crate::journal::explain::Explanation;
use crate::journal::replay::Replayed;
use crate::journal::{EventId, Filter, Record};
use crate::liveness::spoof::{Report, Settings, Shown, Species};
use crate::policy::{Change, RuleBook, Side};
use crate::store::{Consent, Export, Header, NamedModel, Search};
use crate::vision::quality::Quality;

use super::migrating::{CutOver, Progress};
use super::presentation::Judged;

/// What an operator may ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How is the door?
    Status,
    /// Everybody.
    People,
    /// One person.
    Person {
        /// Their name.
        name: String,
    },
    /// The journal.
    Records {
        /// Which.
        filter: Filter,
    },
    /// The journal as it grows, until the client hangs up.
    Follow {
        /// Which; `limit` counts the records from before.
        filter: Filter,
    },
    /// Why the door did what a record says.
    Explain {
        /// The record.
        event: EventId,
    },
    /// The picture of a refusal, where one is kept; who looks is written down.
    Snapshot {
        /// The refusal's record.
        event: EventId,
    },
    /// What another setting would have made of the attempts that are kept. Takes some seconds with thousands.
    Replay {
        /// A rate, as `decision.far_per_attempt`.
        #[serde(default)]
        far: Option<f64>,
        /// A score, as `decision.threshold`.
        #[serde(default)]
        threshold: Option<f32>,
        /// Another encoder's id.
        #[serde(default)]
        model: Option<String>,
    },
    /// How a change of the encoder stands.
    Migration,
    /// Begins a change of the encoder: the templates of both lie side by side from then on.
    Migrate {
        /// The one in force.
        from: NamedModel,
        /// The one to follow.
        to: NamedModel,
    },
    /// Asks whether the one to follow may take over; where it may, that is written down. The config then names it.
    CutOver {
        /// On which terms.
        order: CutOver,
    },
    /// Writes down that the config names the one of before again.
    BackOver,
    /// Ends a change of the encoder: what there is of the one not in force goes.
    EndMigration,
    /// Whether the journal is as it was written. Takes some seconds with a million records.
    Verify {
        /// What to hold it against.
        #[serde(default)]
        against: Against,
    },
    /// Enrols from templates that the client computed.
    Enrol {
        /// The name.
        name: String,
        /// The templates, all of the daemon's model.
        templates: Vec<NewTemplate>,
        /// Add to a person who is already enrolled.
        more: bool,
    },
    /// Enrols at a door's camera; replies [`Reply::Progress`] until done. That door decides nothing meanwhile;
    /// hanging up ends it with nothing stored.
    EnrolLive {
        /// The name.
        name: String,
        /// Add to a person who is already enrolled.
        more: bool,
        /// At which door; need not be said where there is one.
        #[serde(default)]
        door: Option<String>,
    },
    /// Begins a test of a door, which decides nothing until this client ends it or hangs up; replies [`Reply::Testing`].
    SpoofBegin {
        /// Which; need not be said where there is one.
        #[serde(default)]
        door: Option<String>,
    },
    /// One presentation of the test that this client has begun; replies [`Reply::Cue`] until it is [`Reply::Presented`].
    SpoofPresent {
        /// Of what.
        species: Species,
        /// How long it may take from when a face is in view, in s.
        seconds: u64,
    },
    /// Ends the test that this client has begun; replies [`Reply::Tested`].
    SpoofEnd,
    /// Unlocks a door as for a grant.
    Unlock {
        /// Which; need not be said where there is one.
        #[serde(default)]
        door: Option<String>,
    },
    /// Locks a door, whatever was asked before.
    Lock {
        /// Which; need not be said where there is one.
        #[serde(default)]
        door: Option<String>,
    },
    /// Keeps a door unlocked for so long.
    HoldOpen {
        /// In s, 12 hours at most.
        for_s: u64,
        /// Which; need not be said where there is one.
        #[serde(default)]
        door: Option<String>,
    },
    /// Renames.
    Rename {
        /// Who.
        name: String,
        /// The new name.
        to: String,
    },
    /// Removes the samples that the door has learnt by itself.
    ForgetLearnt {
        /// Whose; everybody's when not given.
        name: Option<String>,
    },
    /// Removes with all templates.
    Remove {
        /// Who.
        name: String,
    },
    /// Who may enter when.
    Policy,
    /// Changes who may enter when.
    ChangePolicy {
        /// What changes.
        change: Change,
    },
    /// Lets faces open a door again after failed attempts.
    FaceOn {
        /// Which; need not be said where there is one.
        #[serde(default)]
        door: Option<String>,
    },
    /// Adds a person without a face.
    AddPerson {
        /// Their name.
        name: String,
    },
    /// Gives a person a PIN; a duress PIN from before goes.
    SetPin {
        /// Who.
        name: String,
        /// The PIN.
        pin: Pin,
    },
    /// Gives a person who has a PIN another one that opens as usual and calls for help.
    SetDuressPin {
        /// Who.
        name: String,
        /// The PIN.
        pin: Pin,
    },
    /// Takes a person's PINs away.
    ClearPin {
        /// Who.
        name: String,
    },
    /// Takes a person's PIN again after too many wrong ones.
    PinOn {
        /// Who.
        name: String,
    },
    /// What was typed at a door; replies [`Reply::Typed`].
    TypePin {
        /// Whose it is said to be; `None` is whoever is being asked.
        person: Option<PersonId>,
        /// The PIN.
        pin: Pin,
        /// At which door; need not be said where there is one.
        #[serde(default)]
        door: Option<String>,
    },
    /// What the threshold is worth, and who is hard to tell apart.
    Figures,
    /// A small picture of what a door's camera sees now, where the config allows it.
    Picture {
        /// Which door; the first when it is not said.
        #[serde(default)]
        door: Option<String>,
    },
    /// Enrols from one picture, which the daemon looks at: embeddings do not travel.
    EnrolPicture {
        /// The name.
        name: String,
        /// JPEG, PNG or PNM in base64; with everything else in the request at most 1 MiB.
        picture: String,
        /// Add to a person who is already enrolled.
        more: bool,
    },
    /// Another request in the name of an account of the web console. The daemon takes that from the console's user and
    /// from its own alone.
    As {
        /// The account.
        account: String,
        /// What it asks.
        request: Box<Request>,
    },
    /// What a person agreed to.
    Consents {
        /// Who.
        name: String,
    },
    /// Writes down what a person agreed to.
    RecordConsent {
        /// Who.
        name: String,
        /// Word for word.
        text: String,
        /// When they did; now when it is left out.
        #[serde(default)]
        given: Option<jiff::Timestamp>,
    },
    /// Everything that is kept about a person, their templates included.
    Export {
        /// Who.
        name: String,
    },
    /// A backup of everything; replies [`Reply::Piece`]s until done.
    Backup,
    /// The key file as it must be now: the keys of everybody who is enrolled.
    KeyFile,
    /// Makes a recovery code, in the place of an older one.
    NewRecoveryCode,
    /// Removes a person; with `prove` every file is searched for them before and afterwards.
    Erase {
        /// Who.
        name: String,
        /// Search.
        #[serde(default)]
        prove: bool,
    },
}

impl Request {
    /// Whether it changes something or gives out what is kept of a face: for those alone who may.
    pub fn is_for_admins(&self) -> bool {
        match self {
            Self::Status
            | Self::People
            | Self::Person { .. }
            | Self::Records { .. }
            | Self::Follow { .. }
            | Self::Policy
            | Self::Figures
            | Self::Migration
            | Self::Picture { .. }
            | Self::Explain { .. }
            | Self::Verify { .. }
            | Self::Consents { .. }
            // What anybody at the keypad may.
            | Self::TypePin { .. } => false,
            Self::As { request, .. } => request.is_for_admins(),
            Self::Enrol { .. }
            // It works with faces of people who were never asked.
            | Self::Replay { .. }
            | Self::Migrate { .. }
            | Self::CutOver { .. }
            | Self::BackOver
            | Self::EndMigration
            | Self::Snapshot { .. }
            | Self::EnrolLive { .. }
            | Self::EnrolPicture { .. }
            | Self::SpoofBegin { .. }
            | Self::SpoofPresent { .. }
            | Self::SpoofEnd
            | Self::Unlock { .. }
            | Self::Lock { .. }
            | Self::HoldOpen { .. }
            | Self::Rename { .. }
            | Self::Remove { .. }
            | Self::ChangePolicy { .. }
            | Self::FaceOn { .. }
            | Self::AddPerson { .. }
            | Self::SetPin { .. }
            | Self::SetDuressPin { .. }
            | Self::ClearPin { .. }
            | Self::PinOn { .. }
            | Self::RecordConsent { .. }
            | Self::Export { .. }
            | Self::Backup
            | Self::KeyFile
            | Self::NewRecoveryCode
            | Self::Erase { .. }
            | Self::ForgetLearnt { .. } => true,
        }
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// The state of things.
    Status(Box<Status>),
    /// People.
    People {
        /// By name.
        people: Vec<Person>,
    },
    /// Journal records.
    Records {
        /// Oldest first.
        records: Vec<Record>,
    },
    /// One more record of a follow.
    Record {
        /// The record.
        record: Box<Record>,
    },
    /// Why the door did what it did.
    Explained {
        /// All there is to say.
        explanation: Box<Explanation>,
    },
    /// Whether the journal is as it was written.
    Verified {
        /// What was found.
        found: Box<Verification>,
    },
    /// The picture of a refusal.
    Snapshot {
        /// JPEG in base64.
        jpeg: String,
    },
    /// What another setting would have changed.
    Replayed {
        /// It.
        replayed: Box<Replayed>,
    },
    /// How a change of the encoder stands.
    Migration {
        /// Nothing when none is under way.
        progress: Option<Box<Progress>>,
    },
    /// How live enrolment goes.
    Progress(EnrolProgress),
    /// Enrolled.
    Enrolled {
        /// The person now.
        person: Person,
        /// Others the new face is close to; see the warning in `accessd enroll`.
        lookalikes: Vec<LookAlike>,
    },
    /// A test of a door has begun.
    Testing {
        /// Which test: the daemon counts them.
        test: u64,
        /// The door.
        door: String,
        /// What it holds for.
        settings: Box<Settings>,
    },
    /// What the person with the picture is told.
    Cue {
        /// In words.
        what: String,
    },
    /// A presentation is over.
    Presented {
        /// What came of it.
        judged: Judged,
    },
    /// A test is over.
    Tested {
        /// Its record in the journal.
        event: EventId,
        /// What was counted.
        report: Box<Report>,
        /// What is shown of the door now.
        shown: Box<Shown>,
    },
    /// Samples that were learnt are removed.
    Forgotten {
        /// How many.
        samples: usize,
    },
    /// Who may enter when.
    Policy {
        /// The rule book.
        book: Box<RuleBook>,
    },
    /// What came of a PIN that was typed.
    Typed {
        /// In a word.
        answer: PinAnswer,
    },
    /// What the threshold is worth.
    Figures(Box<Figures>),
    /// What the camera sees.
    Picture(Box<Picture>),
    /// What a person agreed to, oldest first.
    Consents {
        /// Each time they did.
        consents: Vec<Consent>,
    },
    /// Everything that is kept about a person.
    Export {
        /// It.
        export: Box<Export>,
    },
    /// The next bytes of a backup.
    Piece {
        /// In base 64.
        data: String,
    },
    /// The backup is complete.
    BackedUp {
        /// What it says of itself.
        header: Header,
    },
    /// The key file.
    KeyFile {
        /// In base 64.
        data: String,
    },
    /// A recovery code. It is told this once.
    RecoveryCode {
        /// As it is written down.
        code: String,
    },
    /// A person is erased.
    Erased {
        /// What was found before and afterwards.
        erasure: Erasure,
    },
    /// Not done; nothing has changed.
    Error {
        /// What failed, on what, and what to try.
        message: String,
    },
}

/// What a PIN that was typed has led to. One that calls for help answers as the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PinAnswer {
    /// The door is open.
    Open,
    /// It was right; the face is still to be seen.
    Look,
    /// It was wrong, or there is no such person, or they have none.
    Wrong,
    /// It was right, and they may not come in now; the log says why.
    Refused,
    /// After wrong PINs none is taken for so long.
    Paused {
        /// In s.
        for_s: u64,
    },
    /// After far too many it is not taken before an operator says so.
    Off,
    /// Nobody is being asked for a PIN: the number comes first.
    NobodyAsked,
    /// Another one is being looked at, or somebody is being enrolled, or the door is being tested.
    Busy,
}

/// What the threshold is worth, for the people of this moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The threshold in force, a cosine.
    pub threshold: f32,
    /// How far the best must be ahead of the next.
    pub margin: f32,
    /// People with a template of this model.
    pub people: usize,
    /// On whom the encoder was measured, set by set; empty where the threshold was set by hand.
    pub measured_on: Vec<String>,
    /// What each rate would mean, the loosest first; empty where the threshold was set by hand.
    pub rates: Vec<RateFigures>,
    /// Who could be taken for whom, the most alike first.
    pub alike: Vec<Alike>,
}

/// What a false-accept rate would mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateFigures {
    /// The share of strangers' attempts that may open.
    pub far: f64,
    /// Whether it is the one in force.
    pub in_force: bool,
    /// The threshold that keeps it, a cosine.
    pub threshold: f32,
    /// Whether enough is known of the encoder to keep it.
    pub supported: bool,
    /// The share that it lets in at most, and the end of its 95 % interval.
    pub false_accepts: f64,
    /// See there.
    pub false_accepts_up_to: f64,
    /// The share of looks at an enrolled person that do not name them.
    pub false_rejects: f64,
}

/// Two people who are hard to tell apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alike {
    /// One.
    pub a: String,
    /// The other.
    pub b: String,
    /// Their highest score with each other, a cosine.
    pub score: f32,
}

/// What the camera sees, made small.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// JPEG in base64.
    pub jpeg: String,
    /// Its width and height in px.
    pub size: (u32, u32),
    /// Number of the frame.
    pub seq: u64,
    /// How old the frame was when the picture was made, in ms.
    pub age_ms: u64,
    /// Who is in it.
    pub faces: Vec<FaceInView>,
}

/// A face in a [`Picture`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaceInView {
    /// Left, top, width and height in shares of the picture's.
    pub at: [f32; 4],
    /// Who it is, from the threshold on.
    pub name: Option<String>,
    /// The score of the most alike person, a cosine.
    pub score: Option<f32>,
    /// Why it is not compared: `come closer`, ….
    pub hint: Option<String>,
}

/// What came of erasing a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Erasure {
    /// Their name.
    pub person: String,
    /// How many templates they had.
    pub samples: usize,
    /// What was found of them before; `None` when nobody asked for proof.
    pub before: Option<Search>,
    /// What is found of them now.
    pub after: Option<Search>,
}

/// A person whose face is close to the one just enrolled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookAlike {
    /// Who.
    pub name: String,
    /// The score between them, a cosine.
    pub score: f32,
}

/// One step of live enrolment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrolProgress {
    /// Good samples so far.
    pub taken: usize,
    /// Good samples needed.
    pub wanted: usize,
    /// Quality of the face in view, if there is exactly one.
    pub quality: Option<Quality>,
    /// What the person should do: `hold still`, `come closer`, …; empty when the sample was taken.
    pub hint: String,
}

/// The state of the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// accessd's version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Time since start in s.
    pub uptime_s: u64,
    /// Every door, in the order of the config.
    pub doors: Vec<DoorStatus>,
    /// Encoder id.
    pub model: String,
    /// What keeps photographs out, and what has been shown of that.
    #[serde(default)]
    pub photo_check: String,
    /// People with a template of this model.
    pub people: usize,
    /// The threshold in force, a cosine.
    pub threshold: f32,
    /// The rate that the threshold keeps; `None` when it was set by hand.
    #[serde(default)]
    pub far: Option<Far>,
    /// Lockdown: nobody is let in.
    #[serde(default)]
    pub lockdown: bool,
    /// Whether the calendar is believed; while it is not, what is limited in time refuses.
    #[serde(default)]
    pub clock_trusted: bool,
    /// Who called for help last, and when. Told to those who may change things alone.
    #[serde(default)]
    pub duress: Option<String>,
}

/// The state of one door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DoorStatus {
    /// What it is called.
    pub name: String,
    /// `in` or `out`: which way people go whom its camera sees.
    pub side: Side,
    /// Into or out of which area.
    pub area: String,
    /// `locked` or `unlocked`.
    pub state: String,
    /// Whether an operator holds it open.
    pub held_open: bool,
    /// `open` or `closed`, as the contact tells it; `None` without one.
    pub leaf: Option<String>,
    /// What is wrong at the door itself: held or forced open, tampered with.
    pub alarms: Vec<String>,
    /// The relay as configured.
    pub relay: String,
    /// The camera as configured.
    pub camera: String,
    /// The second camera and how it is used; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_camera: Option<String>,
    /// Age of the newest frame in ms; `None` before the first.
    pub frame_age_ms: Option<u64>,
    /// Frames a second that vision looked at, over the last seconds.
    pub fps: f32,
    /// Median time from capture to decision in ms over the last frames.
    pub latency_ms: Option<u64>,
    /// What failed attempts have led to, if anything.
    #[serde(default)]
    pub throttle: Option<String>,
    /// What the door is asking somebody for.
    #[serde(default)]
    pub prompt: Option<String>,
    /// `deciding`, `enrolling NAME` or `spoof test by WHOM, no face opens it`.
    pub mode: String,
    /// What has been shown of it by `accessd spoof-test`.
    #[serde(default)]
    pub photo_proof: Shown,
    /// What the person at the door is asked to do, if anything.
    #[serde(default)]
    pub told: Option<String>,
    /// What the person at the door is told to do: `closer`, `look here`, `hold still`, `too dark`, `too bright`,
    /// `one at a time`; `None` when there is nothing to tell.
    #[serde(default)]
    pub advice: Option<String>,
    /// Camera trouble or other faults now; empty when all is well.
    pub faults: Vec<String>,
}

impl Status {
    /// What is wrong anywhere, at the doors and in the service; with the door's name where there are several.
    pub fn troubles(&self) -> Vec<String> {
        let several = self.doors.len() > 1;
        let told = |door: &DoorStatus| {
            let all = [door.alarms.as_slice(), door.faults.as_slice()].concat().into_iter();
            let name = door.name.clone();
            all.map(move |what| if several { format!("{name}: {what}") } else { what }).collect::<Vec<_>>()
        };
        self.doors.iter().flat_map(told).collect()
    }
}

/// How often strangers come in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Far {
    /// The share of their attempts that the operator allows.
    pub wanted: f64,
    /// The share that the threshold in force allows, at most, as far as is known.
    pub at_most: f64,
    /// Whether enough is known of the encoder to keep to what is wanted.
    pub supported: bool,
}
