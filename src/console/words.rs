//! Events in words: what happened, how it sounds, and the figures behind it.

use serde::Deserialize;
use serde_json::Value;

use super::text as t;
use crate::access::{Evidence, RefusalReason};
use crate::journal::{EventKind, Record};

/// How a line sounds; decides its colour and sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Somebody came in.
    Good,
    /// Somebody did not.
    Refused,
    /// Somebody should look.
    Alarm,
    /// Somebody changed something.
    Change,
    /// All else.
    Plain,
}

impl Tone {
    /// As style and script know it.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Refused => "refused",
            Self::Alarm => "alarm",
            Self::Change => "change",
            Self::Plain => "plain",
        }
    }
}

/// Kinds of event that people look for together.
pub(super) const GROUPS: [(&str, &str, &[EventKind]); 6] = [
    ("in", t::GROUP_IN, &[EventKind::Grant]),
    ("out", t::GROUP_REFUSED, &[EventKind::Refusal]),
    (
        "door",
        t::GROUP_DOOR,
        &[
            EventKind::Unlocked,
            EventKind::Locked,
            EventKind::Operator,
            EventKind::Rex,
            EventKind::DoorOpened,
            EventKind::DoorClosed,
            EventKind::OpenHours,
            EventKind::Advice,
            EventKind::NotPassed,
            EventKind::Challenge,
            EventKind::PinAsked,
            EventKind::WrongPin,
        ],
    ),
    (
        "alarm",
        t::GROUP_ALARM,
        &[
            EventKind::ForcedOpen,
            EventKind::HeldOpen,
            EventKind::Tamper,
            EventKind::TamperOver,
            EventKind::RexStuck,
            EventKind::Lockdown,
            EventKind::LockdownOver,
            EventKind::Throttled,
            EventKind::FaceOff,
            EventKind::FaceOn,
            EventKind::PinThrottled,
            EventKind::PinOff,
            EventKind::Duress,
        ],
    ),
    (
        "change",
        t::GROUP_CHANGE,
        &[
            EventKind::Enrol,
            EventKind::EnrolMore,
            EventKind::Rename,
            EventKind::Remove,
            EventKind::EnrolmentBegan,
            EventKind::EnrolmentEnded,
            EventKind::SpoofTestBegan,
            EventKind::Presentation,
            EventKind::SpoofTestEnded,
            EventKind::Policy,
            EventKind::Consent,
            EventKind::Export,
            EventKind::PictureSeen,
            EventKind::Erase,
            EventKind::Backup,
            EventKind::Restore,
            EventKind::Learnt,
            EventKind::LearntForgotten,
            EventKind::Migration,
            EventKind::Migrated,
            EventKind::PinSet,
            EventKind::PinCleared,
            EventKind::PinOn,
        ],
    ),
    (
        "service",
        t::GROUP_SERVICE,
        &[
            EventKind::Start,
            EventKind::Stop,
            EventKind::Fault,
            EventKind::CameraLost,
            EventKind::CameraBack,
            EventKind::InputsLost,
            EventKind::InputsBack,
            EventKind::Repair,
            EventKind::Chained,
            EventKind::Pruned,
            EventKind::Config,
            EventKind::Model,
        ],
    ),
];

/// How an event of this kind sounds.
pub(super) fn tone(kind: EventKind) -> Tone {
    use EventKind as K;
    match kind {
        K::Grant => Tone::Good,
        K::Refusal => Tone::Refused,
        K::Fault
        | K::ForcedOpen
        | K::HeldOpen
        | K::Tamper
        | K::RexStuck
        | K::CameraLost
        | K::InputsLost
        | K::Lockdown
        | K::Throttled
        | K::FaceOff
        | K::PinOff
        | K::Duress => Tone::Alarm,
        K::Enrol
        | K::EnrolMore
        | K::Rename
        | K::Remove
        | K::Policy
        | K::Operator
        | K::LockdownOver
        | K::FaceOn => Tone::Change,
        _ => Tone::Plain,
    }
}

/// What a kind of event is called.
pub(super) fn kind_name(kind: EventKind) -> &'static str {
    use EventKind as K;
    match kind {
        K::Start => "Service started",
        K::Stop => "Service stopped",
        K::Grant => "Let in",
        K::Refusal => "Refused",
        K::Unlocked => "Unlocked",
        K::Locked => "Locked",
        K::Operator => "By hand",
        K::Rex => "Exit button",
        K::RexStuck => "Exit button stuck",
        K::DoorOpened => "Door opened",
        K::DoorClosed => "Door closed",
        K::HeldOpen => "Door held open",
        K::ForcedOpen => "Door forced open",
        K::Tamper => "Housing opened",
        K::TamperOver => "Housing closed",
        K::InputsLost => "Inputs lost",
        K::InputsBack => "Inputs back",
        K::Fault => "Fault",
        K::CameraLost => "Camera lost",
        K::CameraBack => "Camera back",
        K::Enrol => "Enrolled",
        K::EnrolMore => "More samples",
        K::Rename => "Renamed",
        K::Remove => "Erased",
        K::Erase => "Searched for what is left",
        K::Consent => "Consent",
        K::PictureSeen => "Picture looked at",
        K::Export => "Copy handed out",
        K::Backup => "Backup taken",
        K::Restore => "Restored from a backup",
        K::Repair => "Repaired",
        K::Chained => "Journal chained",
        K::Pruned => "Old records taken out",
        K::Config => "Settings changed",
        K::Model => "Another encoder",
        K::Migration => "Change of the encoder",
        K::Migrated => "Samples for another encoder",
        K::Advice => "Told what to do",
        K::Challenge => "Asked to do something",
        K::NotPassed => "Did not go through",
        K::Learnt => "Sample learnt",
        K::LearntForgotten => "Learnt samples removed",
        K::EnrolmentBegan => "Enrolment began",
        K::EnrolmentEnded => "Enrolment ended",
        K::SpoofTestBegan => "Spoof test began",
        K::Presentation => "Held up in a test",
        K::SpoofTestEnded => "Spoof test ended",
        K::Policy => "Rules changed",
        K::Lockdown => "Lockdown",
        K::LockdownOver => "Lockdown ended",
        K::OpenHours => "Open hours",
        K::Throttled => "Paused after failed attempts",
        K::FaceOff => "Faces switched off",
        K::FaceOn => "Faces on again",
        K::PinSet => "PIN given",
        K::PinCleared => "PIN taken away",
        K::PinAsked => "Asked for the PIN",
        K::WrongPin => "Wrong PIN",
        K::PinThrottled => "Paused after wrong PINs",
        K::PinOff => "PIN switched off",
        K::PinOn => "PIN on again",
        K::Duress => "Called for help",
    }
}

/// Whom or what an event is about, where that is not plain from its kind.
pub(super) fn subject(record: &Record) -> Option<String> {
    if let Some(person) = &record.event.person {
        return Some(person.name.clone());
    }
    match record.event.kind {
        EventKind::Refusal => Some(match reason(&record.event.detail) {
            Some(RefusalReason::Unknown | RefusalReason::NobodyEnrolled) | None => t::A_STRANGER.into(),
            Some(_) => evidence(record)
                .and_then(|e| Some(e.best?.name.to_string()))
                .unwrap_or_else(|| t::A_STRANGER.into()),
        }),
        _ => word(&record.event.detail, "name").map(str::to_owned),
    }
}

/// One short line with what else is worth saying.
pub(super) fn note(record: &Record) -> String {
    let detail = &record.event.detail;
    let said = match record.event.kind {
        EventKind::Grant => word(detail, "by").map(|by| rule_in_short(by).to_owned()),
        EventKind::Refusal => Some(why_refused(detail)),
        EventKind::Operator => word(detail, "order").map(str::to_owned),
        EventKind::Rename => word(detail, "to").map(|to| format!("{} {to}", t::NOW_CALLED)),
        EventKind::Unlocked | EventKind::Locked => word(detail, "why").map(str::to_owned),
        EventKind::DoorClosed | EventKind::HeldOpen => {
            detail.get("open_ms").and_then(Value::as_u64).map(|ms| t::open_for(ms / 1000))
        }
        EventKind::CameraBack => {
            detail.get("silent_ms").and_then(Value::as_u64).map(|ms| t::silent_for(ms / 1000))
        }
        EventKind::EnrolmentEnded => word(detail, "result").map(str::to_owned),
        EventKind::Start => word(detail, "version").map(|version| format!("accessd {version}")),
        _ => ["why", "what", "rule", "text", "change"]
            .into_iter()
            .find_map(|key| word(detail, key))
            .map(without_seconds),
    };
    let by = record.event.actor.as_deref().map(|actor| t::by(&actor_in_short(actor)));
    let parts = [said.filter(|said| !said.is_empty()), by];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// A text of the journal with its moments to the minute.
fn without_seconds(text: &str) -> String {
    let word = |word: &str| match word.trim_end_matches(',').parse::<jiff::Timestamp>() {
        Ok(at) => format!("{}{}", at.strftime("%Y-%m-%d %H:%MZ"), if word.ends_with(',') { "," } else { "" }),
        Err(_) => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// `console: ada` is Ada at the console; `uid 1000 (ada)` is Ada in a shell.
pub(super) fn actor_in_short(actor: &str) -> String {
    if let Some(account) = actor.strip_prefix("console: ") {
        return account.to_owned();
    }
    match actor.split_once(" (") {
        Some((_, name)) => t::in_a_shell(name.trim_end_matches(')')),
        None => actor.to_owned(),
    }
}

/// `rule 2: allow staff mon-fri …` without what the page says elsewhere.
fn rule_in_short(by: &str) -> &str {
    by.split_once(": ").map_or(by, |(number, _)| number)
}

/// The evidence of a decision.
pub(super) fn evidence(record: &Record) -> Option<Evidence> {
    let inner = record.event.detail.get("evidence").unwrap_or(&record.event.detail);
    Evidence::deserialize(inner).ok()
}

/// Why a face was refused, where it was the door's own reason.
pub(super) fn reason(detail: &Value) -> Option<RefusalReason> {
    RefusalReason::deserialize(detail.get("reason")?).ok()
}

/// In a few words.
pub(super) fn why_refused(detail: &Value) -> String {
    let why = word(detail, "why");
    match reason(detail) {
        Some(RefusalReason::Stale) => why.unwrap_or(t::TOO_LATE).to_owned(),
        Some(reason) => reason_name(reason).to_owned(),
        None => why.or_else(|| word(detail, "reason")).unwrap_or_default().to_owned(),
    }
}

/// A reason in a few words.
pub(super) fn reason_name(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::Unknown => t::NOT_KNOWN,
        RefusalReason::Ambiguous => t::TWO_PEOPLE,
        RefusalReason::NobodyEnrolled => t::NOBODY_ENROLLED,
        RefusalReason::NotLive => t::A_PICTURE,
        RefusalReason::Challenge => t::DID_NOT_DO,
        RefusalReason::NotNearest => t::NOT_NEAREST,
        RefusalReason::NotSeenTwice => t::NOT_SEEN_TWICE,
        RefusalReason::SecondLost => t::SECOND_LOST,
        RefusalReason::NotAlone => t::NOT_ALONE,
        RefusalReason::Stale => t::TOO_LATE,
    }
}

pub(super) fn word<'a>(detail: &'a Value, key: &str) -> Option<&'a str> {
    detail.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use serde_json::json;

    use super::*;
    use crate::clock::MonoTime;
    use crate::gallery::PersonId;
    use crate::journal::{Event, EventId, PersonRef, Stamp};

    fn record(kind: EventKind, detail: Value) -> Record {
        let wall = "2026-11-03T08:15:30Z".parse().unwrap();
        let at = Stamp { wall, mono: MonoTime::from_millis(1) };
        Record {
            id: EventId(1),
            at,
            boot_id: "b".into(),
            clock_trusted: None,
            hash: None,
            event: Event::new(kind, detail),
        }
    }

    #[test]
    fn every_kind_is_in_one_group_that_people_can_look_for() {
        for kind in EventKind::value_variants() {
            let groups = GROUPS.iter().filter(|(_, _, kinds)| kinds.contains(kind)).count();
            assert_eq!(groups, 1, "{kind:?}");
        }
    }

    #[test]
    fn refusals_say_whom_and_why() {
        let unknown = record(EventKind::Refusal, json!({ "reason": "unknown" }));
        assert_eq!(
            (subject(&unknown).unwrap().as_str(), note(&unknown).as_str()),
            (t::A_STRANGER, t::NOT_KNOWN)
        );
        let mut known =
            record(EventKind::Refusal, json!({ "reason": "policy", "why": "no rule lets them in now" }));
        known.event.person = Some(PersonRef { id: PersonId(1), name: "Ada".into() });
        assert_eq!(subject(&known).unwrap(), "Ada");
        assert_eq!(note(&known), "no rule lets them in now");
    }

    #[test]
    fn those_who_did_it_are_named_in_short() {
        let mut order = record(EventKind::Operator, json!({ "order": "unlock" }));
        order.event.actor = Some("console: ada".into());
        assert_eq!(note(&order), "unlock · by ada");
        order.event.actor = Some("uid 1000 (bob)".into());
        assert_eq!(note(&order), "unlock · by bob, in a shell");
    }

    #[test]
    fn moments_are_told_to_the_minute() {
        let told = without_seconds("of lab, until 2026-11-25T19:34:50.02Z, entries left: 3");
        assert_eq!(told, "of lab, until 2026-11-25 19:34Z, entries left: 3");
    }

    #[test]
    fn odd_details_break_nothing() {
        for kind in EventKind::value_variants() {
            for detail in
                [json!(null), json!([1]), json!({ "reason": 7, "why": {}, "by": [], "open_ms": "x" })]
            {
                let record = record(*kind, detail);
                let _ = (subject(&record), note(&record), evidence(&record));
            }
        }
    }
}
