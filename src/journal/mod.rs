//! What happened at the door, in the order it happened, and proof that a thing was written down.
//!
//! Stands between `access` and `door`: a grant becomes a [`Recorded`] grant here, and only that opens.

pub mod chain;
pub mod explain;
pub mod replay;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::access::{Evidence, Grant};
use crate::clock::{Clock, MonoTime};
use crate::gallery::PersonId;
use crate::policy::{Admitted, Side};

use explain::Circumstances;

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
    /// A person who is recognised is told to do something before they are let in.
    Challenge,
    /// Somebody stood at the door whose face could not be judged, and was told what to do.
    Advice,
    /// The strike was unlocked.
    Unlocked,
    /// The strike was locked.
    Locked,
    /// An operator moves the door; written before the strike moves.
    Operator,
    /// The exit button was pressed.
    Rex,
    /// The exit button was pressed already at the start, and does nothing until it is released.
    RexStuck,
    /// The door was opened.
    DoorOpened,
    /// The door was closed.
    DoorClosed,
    /// The door stands open for too long.
    HeldOpen,
    /// The door was opened while it was locked.
    ForcedOpen,
    /// Somebody opened the housing.
    Tamper,
    /// The housing is closed again.
    TamperOver,
    /// Exit button, contact or tamper switch cannot be read.
    InputsLost,
    /// They can be read again.
    InputsBack,
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
    /// The door took a sample of somebody it had let in.
    Learnt,
    /// Samples that the door had taken by itself were removed.
    LearntForgotten,
    /// A person was renamed.
    Rename,
    /// A person was removed.
    Remove,
    /// Enrolment at the door's camera began: the door decides nothing meanwhile.
    EnrolmentBegan,
    /// Enrolment at the door's camera ended.
    EnrolmentEnded,
    /// An operator tries whether a door lets pictures in: it decides nothing meanwhile.
    SpoofTestBegan,
    /// What came of one presentation of such a test; the door stayed shut.
    Presentation,
    /// Such a test ended; what was counted, and under which settings.
    SpoofTestEnded,
    /// Who may enter when was changed.
    Policy,
    /// Lockdown: nobody is let in.
    Lockdown,
    /// Lockdown is over.
    LockdownOver,
    /// A rule keeps the door unlocked; written before the strike moves.
    OpenHours,
    /// After failed attempts no face opens the door for some time.
    Throttled,
    /// After far too many none does before an operator says so.
    FaceOff,
    /// An operator lets faces open the door again.
    FaceOn,
    /// A person got a PIN, or a PIN to be typed under duress.
    PinSet,
    /// A person's PINs were taken away.
    PinCleared,
    /// Somebody recognised is asked for their PIN.
    PinAsked,
    /// A wrong PIN was typed.
    WrongPin,
    /// After wrong PINs none is taken for some time, of one person or of anybody.
    PinThrottled,
    /// After far too many wrong PINs a person's is not taken before an operator says so.
    PinOff,
    /// An operator lets a person's PIN be taken again.
    PinOn,
    /// Somebody typed the PIN that calls for help. The door opened as usual.
    Duress,
    /// A person was let in or out and did not open the door.
    NotPassed,
    /// What a person agreed to was written down.
    Consent,
    /// Somebody looked at the picture of a refusal.
    PictureSeen,
    /// An operator was given a copy of everything kept about a person.
    Export,
    /// After a removal every file was searched for what might be left of the person.
    Erase,
    /// A backup was taken.
    Backup,
    /// This database came from a backup.
    Restore,
    /// Damage was repaired.
    Repair,
    /// Records from before the journal was a chain were chained as they were found.
    Chained,
    /// Old records were taken out; what they were in sum stays.
    Pruned,
    /// The settings are others than at the last start.
    Config,
    /// The encoder is another one than at the last start.
    Model,
    /// An operator begins, orders or ends a change of the encoder.
    Migration,
    /// Templates of somebody were made for the encoder that is to follow.
    Migrated,
}

impl EventKind {
    /// Every kind.
    pub fn all() -> &'static [Self] {
        clap::ValueEnum::value_variants()
    }
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
    /// At which door; `None` for what concerns all of them, and in records from before doors had names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// Figures and reasons, by kind.
    pub detail: serde_json::Value,
}

impl Event {
    /// An event of the door itself, about nobody.
    pub fn new(kind: EventKind, detail: serde_json::Value) -> Self {
        Self { kind, person: None, actor: None, door: None, detail }
    }

    /// Whether it is a grant at a door that leads out.
    pub fn is_leaving(&self) -> bool {
        self.kind == EventKind::Grant && self.detail["side"] == "out"
    }

    /// The same at a door.
    #[must_use]
    pub fn at_door(self, door: &str) -> Self {
        Self { door: Some(door.to_owned()), ..self }
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
    /// Whether the calendar was believed; `None` where nobody knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_trusted: Option<bool>,
    /// Its hash in the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<chain::Hash>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Which records to read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// About this person, by name then or now.
    pub person: Option<String>,
    /// Of one of these kinds; empty means all.
    pub kinds: Vec<EventKind>,
    /// At this door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// With a greater number than this.
    pub after: Option<EventId>,
    /// With a smaller number than this: the page before one that begins with it.
    pub before: Option<EventId>,
    /// At most so many, the newest ones, oldest first.
    pub limit: Option<usize>,
}

/// A thing that is on disk: its event has been committed and synced. Only [`record_grant`] makes one:
///
/// ```compile_fail,E0451
/// use accessd::access::Grant;
/// use accessd::journal::{EventId, Recorded};
///
/// fn skip_the_journal(grant: Grant) -> Recorded<Grant> {
///     Recorded { what: grant, event: EventId(1) }
/// }
/// ```
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

/// Writes a grant that the policy admits down with `append`, which must return only when the event is durable, and hands
/// it back as proof.
///
/// # Errors
/// What `append` says; the grant is gone then and the door stays locked.
pub fn record_grant<E>(
    admitted: Admitted,
    around: &Circumstances,
    append: impl FnOnce(&Event) -> Result<EventId, E>,
) -> Result<Recorded<Grant>, E> {
    let grant = admitted.grant();
    let mut evidence = decision(grant.evidence(), around);
    evidence["by"] = admitted.by().into();
    evidence["with"] = admitted.factors().as_str().into();
    // Of one length and at one place, whichever it was: what is written takes as long. The alarm itself comes once the door
    // is open; should the power go in between, this is left of it.
    evidence["code"] = if admitted.under_duress() { 2 } else { 1 }.into();
    if admitted.side() == Side::Out {
        evidence["side"] = "out".into();
    }
    let event = Event {
        kind: EventKind::Grant,
        person: Some(PersonRef { id: grant.person(), name: grant.name().to_owned() }),
        actor: None,
        door: Some(admitted.door().to_owned()),
        detail: evidence,
    };
    let event = append(&event)?;
    Ok(Recorded { what: admitted.into_grant(), event })
}

/// What a decision writes down: its evidence and what there was around it.
///
/// A decision that no look led to has no evidence.
pub fn decision(evidence: Option<&Evidence>, around: &Circumstances) -> serde_json::Value {
    let mut figures = evidence.map_or_else(|| serde_json::json!({}), detail);
    if let (Some(figures), serde_json::Value::Object(more)) = (figures.as_object_mut(), detail(around)) {
        figures.extend(more);
    }
    figures
}

/// Figures as an event holds them: each with the digits it has, 0.08 and not 0.07999999821186066, which is what an
/// `f32` becomes on its way through a JSON value.
///
/// # Panics
/// When `figures` has no JSON form, such as a map whose keys are no strings.
pub fn detail(figures: &impl Serialize) -> serde_json::Value {
    let text = serde_json::to_string(figures).expect("figures are plain data");
    serde_json::from_str(&text).expect("what was just written can be read")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant() -> Grant {
        Grant::for_tests(3, "Ada", MonoTime::from_millis(61_250))
    }

    fn granted_event() -> Event {
        let mut written = None;
        let _recorded = record_grant(Admitted::for_tests(grant()), &Circumstances::default(), |event| {
            written = Some(event.clone());
            Ok::<_, ()>(EventId(12))
        });
        written.unwrap()
    }

    #[test]
    fn a_grant_is_recorded_under_its_event_with_its_evidence() {
        let mut written = None;
        let recorded = record_grant(Admitted::for_tests(grant()), &Circumstances::default(), |event| {
            written = Some(event.clone());
            Ok::<_, ()>(EventId(12))
        });
        let recorded = recorded.unwrap();
        assert_eq!((recorded.event(), recorded.what()), (EventId(12), &grant()));
        let written = written.unwrap();
        assert_eq!(written.kind, EventKind::Grant);
        assert_eq!(written.person, Some(PersonRef { id: PersonId(3), name: "Ada".into() }));
        assert_eq!(written.actor, None, "the door's own decision");
        let evidence: Evidence = serde_json::from_value(written.detail).unwrap();
        assert_eq!(Some(&evidence), grant().evidence());
    }

    #[test]
    fn a_grant_that_cannot_be_written_down_is_gone() {
        let mut asked = 0;
        let lost = record_grant(Admitted::for_tests(grant()), &Circumstances::default(), |_| {
            asked += 1;
            Err("the disk is full")
        });
        assert_eq!(lost.unwrap_err(), "the disk is full");
        assert_eq!(asked, 1, "written once or not at all");
    }

    #[test]
    fn a_record_is_one_flat_object_and_reads_back() {
        let event = granted_event();
        let record = Record {
            id: EventId(12),
            at: Stamp {
                wall: "2026-11-03T08:15:30.5Z".parse().unwrap(),
                mono: MonoTime::from_millis(61_250),
            },
            boot_id: "3e1f".into(),
            clock_trusted: None,
            hash: None,
            event,
        };
        let shape = json!({
            "id": 12,
            "wall": "2026-11-03T08:15:30.5Z",
            "mono": { "secs": 61, "nanos": 250_000_000 },
            "boot_id": "3e1f",
            "kind": "grant",
            "person": { "id": 3, "name": "Ada" },
            "actor": null,
            "door": "door",
            "detail": {
                "track": 7,
                "seq": 42,
                "frame_age_ms": 120,
                "best": { "person": 3, "name": "Ada", "score": 0.75 },
                "runner_up": null,
                "frames_agreed": 3,
                "frames_seen": 4,
                "rule": {
                    "threshold": 0.5,
                    "margin": 0.08,
                    "alike_margin": 0.16,
                    "demands": { "watch": { "secs": 0, "nanos": 0 }, "challenge": null },
                    "frames_needed": 3,
                    "frames_window": 5,
                    "max_frame_age": { "secs": 0, "nanos": 500_000_000 },
                    "regrant_after": { "secs": 10, "nanos": 0 },
                    "several": "nearest",
                    "supported": true,
                },
                "by": "rule 1: allow everybody always",
                "with": "face",
                "code": 1,
            },
        });
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), shape);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn kinds_are_written_as_people_type_them() {
        use clap::ValueEnum;
        for kind in EventKind::value_variants() {
            let typed = kind.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(serde_json::to_value(kind).unwrap(), json!(typed));
        }
    }

    #[test]
    fn a_stamp_reads_both_clocks() {
        let wall: Timestamp = "2026-11-03T08:15:30Z".parse().unwrap();
        let clock = crate::clock::SimClock::new(MonoTime::from_millis(5), wall);
        assert_eq!(Stamp::now(&clock), Stamp { wall, mono: MonoTime::from_millis(5) });
    }
}
