//! One record as a line that reads well: when, what, who, and the figures behind it.

use serde::Deserialize;
use serde_json::Value;

use super::super::output::{count, local_time};
use crate::access::{Advice, Evidence, RefusalReason};
use crate::gallery::Candidate;
use crate::journal::{EventKind, Record};

/// `2026-11-23 12:04:31  granted       Ada Lovelace  score 0.74, runner-up 0.21 (Bob), 3 of 3 frames, 80 ms old`
pub(in crate::cli) fn describe(record: &Record) -> String {
    let Words { what, more } = words(record);
    format!("{}  {what:<12}  {more}", local_time(record.at.wall)).trim_end().to_owned()
}

/// What a door is called that nobody has named.
const LONE_DOOR: &str = "door";

/// A record without its time.
pub(in crate::cli) struct Words {
    /// The kind of event.
    pub(in crate::cli) what: &'static str,
    /// Whom it is about, the figures behind it, and who did it; may be empty.
    pub(in crate::cli) more: String,
}

/// Puts a record into words.
pub(in crate::cli) fn words(record: &Record) -> Words {
    let event = &record.event;
    // The name that a lone door has of itself tells nobody anything.
    let door = event.door.iter().filter(|door| *door != LONE_DOOR).map(|door| format!("[{door}]"));
    let mut parts: Vec<String> = door.chain(event.person.iter().map(|person| person.name.clone())).collect();
    let detail = detail(event.kind, &event.detail);
    parts.extend(Some(detail).filter(|text| !text.is_empty()));
    parts.extend(event.actor.as_ref().map(|actor| format!("by {actor}")));
    Words { what: word(event.kind), more: parts.join("  ") }
}

fn word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Start => "started",
        EventKind::Stop => "stopped",
        EventKind::Grant => "granted",
        EventKind::Refusal => "refused",
        EventKind::Challenge => "asked",
        EventKind::Advice => "told",
        EventKind::Unlocked => "unlocked",
        EventKind::Locked => "locked",
        EventKind::Operator => "by hand",
        EventKind::Rex => "exit button",
        EventKind::RexStuck => "exit STUCK",
        EventKind::DoorOpened => "opened",
        EventKind::DoorClosed => "closed",
        EventKind::HeldOpen => "HELD OPEN",
        EventKind::ForcedOpen => "FORCED OPEN",
        EventKind::Tamper => "TAMPERED",
        EventKind::TamperOver => "tamper over",
        EventKind::InputsLost => "inputs lost",
        EventKind::InputsBack => "inputs back",
        EventKind::Fault => "FAULT",
        EventKind::CameraLost => "camera lost",
        EventKind::CameraBack => "camera back",
        EventKind::Enrol => "enrolled",
        EventKind::EnrolMore => "more samples",
        EventKind::Learnt => "learnt",
        EventKind::LearntForgotten => "unlearnt",
        EventKind::Rename => "renamed",
        EventKind::Remove => "removed",
        EventKind::EnrolmentBegan => "enrolling",
        EventKind::EnrolmentEnded => "enrol ended",
        EventKind::SpoofTestBegan => "spoof test",
        EventKind::Presentation => "held up",
        EventKind::SpoofTestEnded => "test ended",
        EventKind::Policy => "rules",
        EventKind::Lockdown => "LOCKDOWN",
        EventKind::LockdownOver => "lockdown over",
        EventKind::OpenHours => "open hours",
        EventKind::Throttled => "THROTTLED",
        EventKind::FaceOff => "FACES OFF",
        EventKind::FaceOn => "faces on",
        EventKind::PinSet => "PIN set",
        EventKind::PinCleared => "PIN cleared",
        EventKind::PinAsked => "enter PIN",
        EventKind::WrongPin => "wrong PIN",
        EventKind::PinThrottled => "PIN PAUSED",
        EventKind::PinOff => "PIN OFF",
        EventKind::PinOn => "PIN on",
        EventKind::Duress => "DURESS",
        EventKind::Chained => "chained",
        EventKind::Pruned => "pruned",
        EventKind::Config => "settings",
        EventKind::Model => "encoder",
        EventKind::Migration => "migration",
        EventKind::Migrated => "migrated",
        EventKind::NotPassed => "not passed",
        EventKind::Consent => "consent",
        EventKind::PictureSeen => "picture seen",
        EventKind::Export => "exported",
        EventKind::Erase => "erased",
        EventKind::Backup => "backup",
        EventKind::Restore => "RESTORED",
        EventKind::Repair => "REPAIRED",
    }
}

fn detail(kind: EventKind, detail: &Value) -> String {
    match kind {
        EventKind::Grant => admitted(detail),
        EventKind::Refusal => refused(detail),
        // The looks behind it are told by what follows.
        EventKind::PinAsked => detail.get("why").and_then(Value::as_str).map(str::to_owned),
        EventKind::Presentation => held_up(detail),
        EventKind::Migration => detail.get("what").and_then(Value::as_str).map(str::to_owned),
        EventKind::Advice => {
            Advice::deserialize(&detail["advice"]).ok().map(|advice| format!("{:?}", advice.as_str()))
        }
        _ => None,
    }
    .unwrap_or_else(|| figures(detail))
}

/// `print: taken for a picture, Ada, score 0.71, alive 0.03`
fn held_up(detail: &Value) -> Option<String> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str).map(str::to_owned);
    let figure = |key: &str, word: &str| {
        detail.get(key).and_then(Value::as_f64).map(|value| format!("{word} {value:.2}"))
    };
    let more = [text("person"), figure("score", "score"), figure("live", "alive")];
    Some([text("what")?].into_iter().chain(more.into_iter().flatten()).collect::<Vec<_>>().join(", "))
}

/// The evidence of a decision, by itself or among other figures.
fn evidence(detail: &Value) -> Option<Evidence> {
    let inner = detail.get("evidence").unwrap_or(detail);
    Evidence::deserialize(inner).ok()
}

/// The figures of a grant, whether a PIN was typed, and the rule.
fn admitted(detail: &Value) -> Option<String> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str).map(str::to_owned);
    let figures = evidence(detail).map(|evidence| granted(&evidence));
    let pin = text("with").filter(|with| with != "face").map(|_| "PIN".to_owned());
    let parts: Vec<String> = [figures, pin, text("by")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn granted(evidence: &Evidence) -> String {
    let score = evidence.best.as_ref().map_or(String::new(), |best| format!("score {:.2}, ", best.score.0));
    let second = match &evidence.runner_up {
        Some(second) => format!("runner-up {}, ", scored(second)),
        None => String::new(),
    };
    let frames = format!("{} of {}", evidence.frames_agreed, count(evidence.frames_seen, "frame", "frames"));
    format!("{score}{second}{frames}, {} ms old", evidence.frame_age_ms)
}

fn refused(detail: &Value) -> Option<String> {
    let why = detail.get("why").and_then(Value::as_str);
    if let (Some("policy"), Some(why)) = (detail.get("reason")?.as_str(), why) {
        let way = if detail["side"] == "out" { "out" } else { "in" };
        return Some(format!("known, but not let {way}: {why}"));
    }
    let reason = RefusalReason::deserialize(detail.get("reason")?).ok()?;
    if let (RefusalReason::Stale, Some(why)) = (reason, why) {
        return Some(format!("too late: {why}"));
    }
    let evidence = evidence(detail)?;
    let best = evidence.best.as_ref().map_or("nobody".into(), scored);
    let rule = &evidence.rule;
    Some(match reason {
        RefusalReason::Unknown => format!("nobody known: best {best}, named from {:.2}", rule.threshold.0),
        RefusalReason::Ambiguous => {
            let second = evidence.runner_up.as_ref().map_or("another".into(), scored);
            let margin =
                if evidence.alike.is_some() { rule.margin.max(rule.alike_margin) } else { rule.margin };
            format!("two people too close: {best} and {second}, wanted {margin:.2} apart")
        }
        RefusalReason::NotSeenTwice => format!("known, but the second camera saw no face there, {best}"),
        RefusalReason::SecondLost => format!("known, but the second camera gave no picture, {best}"),
        RefusalReason::NotNearest => format!("known, but behind somebody nearer: {best}"),
        RefusalReason::NotAlone => format!("known, but not alone: {best}"),
        RefusalReason::NobodyEnrolled => "nobody is enrolled".into(),
        RefusalReason::Challenge => format!("did not do what was asked, {best}"),
        RefusalReason::NotLive => {
            let live = evidence
                .live
                .map_or(String::new(), |l| format!(": alive {:.2}, wanted {:.2}", l.score, l.needed));
            format!("a picture of a face, {best}{live}")
        }
        RefusalReason::Stale => format!(
            "too late: {best}, but {} ms old, at most {}",
            evidence.frame_age_ms,
            rule.max_frame_age.as_millis()
        ),
    })
}

/// `0.21 (Bob)`
fn scored(candidate: &Candidate) -> String {
    format!("{:.2} ({})", candidate.score.0, candidate.name)
}

/// Figures that speak for themselves, in the order in which they are told.
const PLAIN: [&str; 4] = ["name", "why", "what", "result"];
/// Figures that a reader of lines has no use for: what the door does names the grant in `why`.
const UNTOLD: [&str; 1] = ["grant"];

/// Plain figures as `name value`; nested ones, and what is not so, are left to --json.
fn figures(detail: &Value) -> String {
    let Some(object) = detail.as_object() else { return String::new() };
    let first = PLAIN.iter().filter_map(|name| told(object.get(*name)?));
    let rest = object
        .iter()
        .filter(|(name, _)| !PLAIN.contains(&name.as_str()) && !UNTOLD.contains(&name.as_str()))
        .filter_map(|(name, value)| Some(format!("{} {}", name.replace('_', " "), told(value)?)));
    first.chain(rest).collect::<Vec<_>>().join(", ")
}

fn told(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(true) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Rule;
    use crate::clock::MonoTime;
    use crate::encoder::Score;
    use crate::gallery::PersonId;
    use crate::journal::{Event, EventId, PersonRef, Stamp};
    use crate::vision::tracks::TrackId;
    use jiff::Timestamp;
    use serde_json::json;
    use std::time::Duration;

    fn evidence(best: f32, second: Option<f32>) -> Value {
        let candidate = |name: &str, id, score| Candidate {
            person: PersonId(id),
            name: name.into(),
            score: Score(score),
        };
        let evidence = Evidence {
            live: None,
            alike: None,
            track: TrackId(1),
            signs: crate::liveness::signs::Signs::default(),
            watched_ms: None,
            seq: 9,
            frame_age_ms: 80,
            best: Some(candidate("Ada", 1, best)),
            runner_up: second.map(|score| candidate("Bob", 2, score)),
            frames_agreed: 3,
            frames_seen: 4,
            rule: Rule {
                threshold: Score(0.5),
                margin: 0.08,
                alike_margin: 0.16,
                frames_needed: 3,
                frames_window: 5,
                max_frame_age: Duration::from_millis(500),
                regrant_after: Duration::from_secs(10),
                several: crate::access::Several::Nearest,
                supported: true,
                demands: crate::access::Demands::default(),
            },
        };
        serde_json::to_value(evidence).unwrap()
    }

    fn line(kind: EventKind, person: Option<&str>, actor: Option<&str>, detail: Value) -> String {
        let person = person.map(|name| PersonRef { id: PersonId(1), name: name.into() });
        let event = Event { person, actor: actor.map(str::to_owned), ..Event::new(kind, detail) };
        let at = Stamp { wall: Timestamp::UNIX_EPOCH, mono: MonoTime::default() };
        let text = describe(&Record {
            id: EventId(1),
            at,
            boot_id: String::new(),
            clock_trusted: None,
            hash: None,
            event,
        });
        let (_time, rest) = text.split_at("1970-01-01 00:00:00  ".len());
        rest.to_owned()
    }

    #[test]
    fn a_presentation_of_a_test_tells_what_came_of_it() {
        let detail = json!({
            "species": "print", "outcome": "picture", "what": "print: taken for a picture", "reason": "not_live",
            "person": "Ada", "score": 0.711, "live": 0.03
        });
        let told = line(EventKind::Presentation, None, Some("uid 0 (root)"), detail);
        assert!(told.contains("print: taken for a picture, Ada, score 0.71, alive 0.03"), "{told}");
    }

    #[test]
    fn a_grant_tells_its_scores_frames_and_age() {
        assert_eq!(
            line(EventKind::Grant, Some("Ada"), None, evidence(0.741, Some(0.21))),
            "granted       Ada  score 0.74, runner-up 0.21 (Bob), 3 of 4 frames, 80 ms old"
        );
        assert_eq!(
            line(EventKind::Grant, Some("Ada"), None, evidence(0.741, None)),
            "granted       Ada  score 0.74, 3 of 4 frames, 80 ms old"
        );
    }

    #[test]
    fn a_refusal_tells_why() {
        let refusal = |reason: &str, evidence: Value| {
            line(EventKind::Refusal, None, None, json!({"reason": reason, "evidence": evidence}))
        };
        assert_eq!(
            refusal("unknown", evidence(0.31, None)),
            "refused       nobody known: best 0.31 (Ada), named from 0.50"
        );
        assert_eq!(
            refusal("ambiguous", evidence(0.71, Some(0.69))),
            "refused       two people too close: 0.71 (Ada) and 0.69 (Bob), wanted 0.08 apart"
        );
        assert_eq!(
            refusal("stale", evidence(0.8, None)),
            "refused       too late: 0.80 (Ada), but 80 ms old, at most 500"
        );
        let mut picture = evidence(0.8, None);
        picture["live"] = json!({"score": 0.02, "needed": 0.38});
        assert_eq!(
            refusal("not_live", picture),
            "refused       a picture of a face, 0.80 (Ada): alive 0.02, wanted 0.38"
        );
        let mut flat = evidence(0.31, None);
        flat["reason"] = "nobody_enrolled".into();
        assert_eq!(line(EventKind::Refusal, None, None, flat), "refused       nobody is enrolled");
    }

    #[test]
    fn other_events_show_their_figures_and_who_did_it() {
        assert_eq!(
            line(EventKind::Enrol, Some("Ada"), Some("uid 0 (root)"), json!({"samples": 3, "ids": [1, 2]})),
            "enrolled      Ada  samples 3  by uid 0 (root)"
        );
        assert_eq!(
            line(EventKind::Unlocked, None, None, json!({"why": "grant 7 for Ada", "grant": 7})),
            "unlocked      grant 7 for Ada"
        );
        assert_eq!(
            line(
                EventKind::Refusal,
                Some("Ada"),
                None,
                json!({"reason": "stale", "why": "the disk was slow", "grant": 7})
            ),
            "refused       Ada  too late: the disk was slow"
        );
        let mut admitted = evidence(0.741, None);
        admitted["by"] = "rule 2: allow staff mon-fri 07:00-19:00".into();
        let text = line(EventKind::Grant, Some("Ada"), None, admitted);
        assert!(text.ends_with("80 ms old, rule 2: allow staff mon-fri 07:00-19:00"), "{text}");
        let mut asked = evidence(0.741, None);
        asked["why"] = "the PIN is asked for: it takes face and PIN; rule 2".into();
        assert_eq!(
            line(EventKind::PinAsked, Some("Ada"), None, asked),
            "enter PIN     Ada  the PIN is asked for: it takes face and PIN; rule 2"
        );
        let step =
            json!({"step": "begun", "what": "begun: samples of b beside those of a", "from": "a", "to": "b"});
        assert_eq!(
            line(EventKind::Migration, None, Some("uid 0 (root)"), step),
            "migration     begun: samples of b beside those of a  by uid 0 (root)"
        );
        let by_pin = json!({"by": "rule 2", "with": "PIN", "code": 1});
        assert_eq!(line(EventKind::Grant, Some("Ines"), None, by_pin), "granted       Ines  PIN, rule 2");
        let mut kept_out = evidence(0.741, None);
        kept_out["reason"] = "policy".into();
        kept_out["why"] = "lockdown".into();
        assert_eq!(
            line(EventKind::Refusal, Some("Ada"), None, kept_out),
            "refused       Ada  known, but not let in: lockdown"
        );
        assert_eq!(
            line(
                EventKind::EnrolmentEnded,
                None,
                None,
                json!({"result": "enrolled", "more": false, "name": "Ada", "samples": 5})
            ),
            "enrol ended   Ada, enrolled, samples 5"
        );
        assert_eq!(line(EventKind::Start, None, None, Value::Null), "started");
    }

    #[test]
    fn a_door_is_told_when_it_has_a_name() {
        let at = Stamp { wall: Timestamp::UNIX_EPOCH, mono: MonoTime::default() };
        let told = |door: &str| {
            let event = Event::new(EventKind::Locked, json!({"why": "the time is over"})).at_door(door);
            words(&Record {
                id: EventId(1),
                at,
                boot_id: String::new(),
                clock_trusted: None,
                hash: None,
                event,
            })
            .more
        };
        assert_eq!(told("door"), "the time is over");
        assert_eq!(told("entry"), "[entry]  the time is over");
    }
}
