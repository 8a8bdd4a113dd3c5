//! What happened at the door, in the order it happened, and proof that a thing was written down.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::access::Grant;
use crate::clock::{Clock, MonoTime};
use crate::gallery::PersonId;

/// Row number of an event; counts up, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(pub i64);

/// When a thing happened, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamp {
    /// Calendar time.
    pub wall: Timestamp,
    /// Time since boot.
    pub mono: MonoTime,
}

impl Stamp {
    /// Both clocks read now.
    pub fn now(clock: &dyn Clock) -> Self {
        Self { wall: clock.wall(), mono: clock.now() }
    }
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum EventKind {
    /// The daemon started; the door is locked.
    Start,
    /// The daemon stopped; the door is locked.
    Stop,
    /// A person is let in; written before the relay moves.
    Grant,
    /// A face was refused.
    Refusal,
    /// The relay was energised.
    Unlocked,
    /// The relay was released.
    Locked,
    /// Something broke; the door is locked.
    Fault,
    /// No picture from the camera.
    CameraLost,
    /// Pictures again.
    CameraBack,
    /// A person was enrolled.
    Enrol,
    /// Templates were added to a person.
    EnrolMore,
    /// A person was renamed.
    Rename,
    /// A person was removed.
    Remove,
    /// Enrolment at the door's camera began: the door decides nothing meanwhile.
    EnrolmentBegan,
    /// Enrolment at the door's camera ended.
    EnrolmentEnded,
}

/// Whom an event is about. The name is kept as it was then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonRef {
    /// Their id.
    pub id: PersonId,
    /// Their name then.
    pub name: String,
}

/// An event to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What kind.
    pub kind: EventKind,
    /// Whom it is about.
    pub person: Option<PersonRef>,
    /// Who did it, for what an operator did: `uid 1000`; `None` for what the door did itself.
    pub actor: Option<String>,
    /// Figures and reasons, by kind.
    pub detail: serde_json::Value,
}

impl Event {
    /// An event of the door itself, about nobody.
    pub fn new(kind: EventKind, detail: serde_json::Value) -> Self {
        Self { kind, person: None, actor: None, detail }
    }
}

/// An event as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub id: EventId,
    /// When.
    #[serde(flatten)]
    pub at: Stamp,
    /// Which boot of the machine `at.mono` counts from.
    pub boot_id: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Which records to read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// About this person, by name then or now.
    pub person: Option<String>,
    /// Of one of these kinds; empty means all.
    pub kinds: Vec<EventKind>,
    /// With a greater number than this.
    pub after: Option<EventId>,
    /// At most so many, the newest ones, oldest first.
    pub limit: Option<usize>,
}

/// A thing that is on disk: its event has been committed and synced.
#[derive(Debug)]
#[must_use]
pub struct Recorded<T> {
    what: T,
    event: EventId,
}

impl<T> Recorded<T> {
    /// The thing.
    pub fn what(&self) -> &T {
        &self.what
    }

    /// Its event.
    pub fn event(&self) -> EventId {
        self.event
    }
}

/// Writes a grant down with `append`, which must return only when the event is durable, and hands it back as proof.
///
/// # Errors
/// What `append` says; the grant is gone then and the door stays locked.
pub fn record_grant<E>(
    grant: Grant,
    append: impl FnOnce(&Event) -> Result<EventId, E>,
) -> Result<Recorded<Grant>, E> {
    let event = Event {
        kind: EventKind::Grant,
        person: Some(PersonRef { id: grant.person(), name: grant.name().to_owned() }),
        actor: None,
        detail: serde_json::to_value(grant.evidence()).expect("evidence is plain data"),
    };
    let event = append(&event)?;
    Ok(Recorded { what: grant, event })
}
