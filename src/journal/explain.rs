//! PURE. Why the door did what a record says: the gates with value and limit, the candidates, the rule, the ages of the
//! frames and where the time went, read out of the record and of those around it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{EventKind, Record};
use crate::access::{Evidence, RefusalReason};
use crate::encoder::ModelId;
use crate::gallery::PersonId;
use crate::liveness::signs::CARRIED_SHARE;
use crate::liveness::signs::Second;
use crate::vision::quality::{Quality, QualityGates};

/// What somebody was told to do is so long before its decision at most: four steps of a minute.
const CHALLENGE_WITHIN: Duration = Duration::from_secs(300);

/// Candidates that a decision names.
pub const CANDIDATES: usize = 5;

/// What a decision writes down besides its evidence: all that is gone a moment later.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Circumstances {
    /// The encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// Who else it could have been by the newest look, most alike first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(PersonId, Arc<str>, f32)>,
    /// The ages of the frames that were weighed, in ms, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ages_ms: Vec<u64>,
    /// Where the time went in the newest frame, in µs by stage.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stages_us: BTreeMap<String, u64>,
    /// Where the threshold came from; `None` when it was set by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bar: Option<Rate>,
    /// How good the newest look was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
}

/// The rate that a threshold followed from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The share of a stranger's attempts that was allowed.
    pub far: f64,
    /// The share that the threshold let in at most, as far as was known.
    pub at_most: f64,
    /// Whether enough was known to keep to what was allowed.
    pub supported: bool,
}

/// One condition of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// What it is about.
    pub name: String,
    /// What was found.
    pub value: f64,
    /// `>=` or `<=`.
    pub wants: String,
    /// What was wanted; `None` where that is not known any more.
    pub limit: Option<f64>,
    /// Its unit; may be empty.
    pub unit: String,
    /// Whether it was met; `None` where the limit is not known.
    pub met: Option<bool>,
}

/// A person that a face was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Who.
    pub person: PersonId,
    /// Their name then.
    pub name: Arc<str>,
    /// How alike, a cosine.
    pub score: f32,
}

/// Why the door did what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The record.
    pub record: Record,
    /// The reason of a refusal, or what let somebody in.
    pub why: Option<String>,
    /// What was asked, in the order in which it was.
    pub gates: Vec<Gate>,
    /// Who it could have been, most alike first.
    pub candidates: Vec<Scored>,
    /// Ages of the frames in ms, oldest first.
    pub frame_ages_ms: Vec<u64>,
    /// Where the time went, in µs by stage.
    pub stages_us: BTreeMap<String, u64>,
    /// The encoder.
    pub model: Option<ModelId>,
    /// Where the threshold came from, in words.
    pub threshold_from: Option<String>,
    /// What followed from it at the door, or what it followed from.
    pub related: Vec<Record>,
}

/// Explains a record. `start` is the start of the service before it, whose limits held; `around` are records near it, of
/// which those are picked that belong to it.
pub fn explain(record: Record, start: Option<&Record>, around: Vec<Record>) -> Explanation {
    let detail = &record.event.detail;
    let said = |name: &str| detail.get(name).and_then(Value::as_str).map(str::to_owned);
    let decided = matches!(record.event.kind, EventKind::Grant | EventKind::Refusal);
    let evidence = decided.then(|| Evidence::deserialize(detail).ok()).flatten();
    let around_it = Circumstances::deserialize(detail).unwrap_or_default();
    let limits = start.and_then(|start| QualityGates::deserialize(start.event.detail.get("gates")?).ok());
    let reason = said("reason");
    let mut gates = Vec::new();
    if let Some(quality) = &around_it.quality {
        gates.extend(of_quality(quality, limits.as_ref()));
    }
    if let Some(evidence) = &evidence {
        let reason = reason.as_deref().map(Value::from);
        gates
            .extend(of_evidence(evidence, reason.and_then(|reason| RefusalReason::deserialize(reason).ok())));
    }
    let candidates = candidates(&around_it, evidence.as_ref());
    let related = around.into_iter().filter(|other| belongs(other, &record)).collect();
    let from_start = || start.and_then(|start| ModelId::deserialize(start.event.detail.get("model")?).ok());
    Explanation {
        why: said("by").or_else(|| said("why")).or(reason),
        gates,
        candidates,
        frame_ages_ms: match (around_it.ages_ms.is_empty(), &evidence) {
            (true, Some(evidence)) => vec![evidence.frame_age_ms],
            _ => around_it.ages_ms.clone(),
        },
        stages_us: around_it.stages_us.clone(),
        model: around_it.model.clone().or_else(|| decided.then(from_start).flatten()),
        threshold_from: around_it.model.is_some().then(|| from(around_it.bar.as_ref())),
        related,
        record,
    }
}

/// Whether one record is the consequence of the other.
fn belongs(other: &Record, record: &Record) -> bool {
    let cause = |record: &Record| record.event.detail.get("grant").and_then(Value::as_i64);
    let by_cause = cause(other) == Some(record.id.0) || cause(record) == Some(other.id.0);
    other.id != record.id && (by_cause || asked_of_it(other, record) || asked_of_it(record, other))
}

/// Whether `asked` is what the person of `decision` was told to do.
fn asked_of_it(asked: &Record, decision: &Record) -> bool {
    let track = |record: &Record| record.event.detail.get("track").and_then(Value::as_u64);
    let decides = matches!(decision.event.kind, EventKind::Grant | EventKind::Refusal | EventKind::PinAsked);
    asked.event.kind == EventKind::Challenge
        && decides
        && asked.id < decision.id
        && track(asked).is_some()
        && (track(asked), &asked.boot_id, &asked.event.door)
            == (track(decision), &decision.boot_id, &decision.event.door)
        && decision.at.mono.since(asked.at.mono) <= CHALLENGE_WITHIN
}

fn from(bar: Option<&Rate>) -> String {
    match bar {
        None => "set by hand".into(),
        Some(Rate { far, at_most, supported }) => {
            let short = if *supported {
                ""
            } else {
                "; more than is allowed, as too little was known of the encoder"
            };
            format!(
                "follows from a rate of {far} a stranger's attempt: at most {at_most:.2e} with the people of then{short}"
            )
        }
    }
}

fn candidates(around: &Circumstances, evidence: Option<&Evidence>) -> Vec<Scored> {
    if !around.top.is_empty() {
        let scored = |(person, name, score): &(PersonId, Arc<str>, f32)| Scored {
            person: *person,
            name: name.clone(),
            score: *score,
        };
        return around.top.iter().map(scored).collect();
    }
    let Some(evidence) = evidence else { return Vec::new() };
    let both = evidence.best.iter().chain(&evidence.runner_up);
    both.map(|c| Scored { person: c.person, name: c.name.clone(), score: c.score.0 }).collect()
}

fn gate(name: &str, value: f64, wants: &str, limit: Option<f64>, unit: &str) -> Gate {
    let met = limit.map(|limit| if wants == ">=" { value >= limit } else { value <= limit });
    Gate { name: name.into(), value, wants: wants.into(), limit, unit: unit.into(), met }
}

fn of_quality(quality: &Quality, limits: Option<&QualityGates>) -> Vec<Gate> {
    let at = |limit: fn(&QualityGates) -> f32| limits.map(|limits| plain(limit(limits)));
    vec![
        gate("eye distance", plain(quality.eye_distance_px), ">=", at(|g| g.min_eye_distance_px), "px"),
        gate("sharpness", plain(quality.sharpness), ">=", at(|g| g.min_sharpness), ""),
        gate("light", plain(quality.light), ">=", at(|g| g.min_light), ""),
        gate("light", plain(quality.light), "<=", at(|g| g.max_light), ""),
        gate("turn of the head", plain(quality.yaw_deg.abs()), "<=", at(|g| g.max_yaw_deg), "°"),
        gate("nod", plain(quality.pitch_deg.abs()), "<=", at(|g| g.max_pitch_deg), "°"),
    ]
}

/// The conditions of a decision, in the order in which they are asked; of a refusal for `reason`.
pub(super) fn of_evidence(evidence: &Evidence, reason: Option<RefusalReason>) -> Vec<Gate> {
    let (rule, mut gates) = (&evidence.rule, Vec::new());
    if let Some(best) = &evidence.best {
        gates.push(gate("score", plain(best.score.0), ">=", Some(plain(rule.threshold.0)), ""));
        if let Some(second) = &evidence.runner_up {
            let ahead = plain(best.score.0 - second.score.0);
            // Who is easily taken for somebody else has to be further ahead.
            let margin =
                if evidence.alike.is_some() { rule.margin.max(rule.alike_margin) } else { rule.margin };
            gates.push(gate("ahead of the runner-up", ahead, ">=", Some(plain(margin)), ""));
        }
    }
    // Those of a refusal are of the best look, whoever it named.
    let agreed = match reason {
        Some(RefusalReason::Unknown | RefusalReason::Ambiguous | RefusalReason::NobodyEnrolled) => None,
        _ => Some(evidence.frames_agreed),
    };
    if let Some(agreed) = agreed {
        let window = format!("of {} frames", evidence.frames_seen);
        gates.push(gate("frames that agree", agreed as f64, ">=", Some(rule.frames_needed as f64), &window));
    }
    if let Some(live) = &evidence.live {
        gates.push(gate("looks alive", plain(live.score), ">=", Some(plain(live.needed)), ""));
    }
    if evidence.signs.second != Second::Off {
        let seen = f64::from(u8::from(evidence.signs.second == Second::Seen));
        gates.push(gate("seen by the second camera", seen, ">=", Some(1.0), ""));
    }
    gates.extend(of_watch(evidence));
    if rule.demands.challenge.is_some() && agreed.is_some_and(|agreed| agreed >= rule.frames_needed) {
        let done = f64::from(u8::from(reason.is_none()));
        let asked = reason.is_none() || reason == Some(RefusalReason::Challenge);
        gates.extend(asked.then(|| gate("did what it was asked", done, ">=", Some(1.0), "")));
    }
    let limit = rule.max_frame_age.as_millis() as f64;
    gates.push(gate("age of the newest frame", evidence.frame_age_ms as f64, "<=", Some(limit), "ms"));
    gates
}

/// What a face that is watched must show of itself, and must not.
fn of_watch(evidence: &Evidence) -> Vec<Gate> {
    let (watch, signs) = (evidence.rule.demands.watch, evidence.signs);
    if watch.is_zero() {
        return Vec::new();
    }
    let watched = evidence
        .watched_ms
        .map(|watched| gate("watched for", watched as f64, ">=", Some(watch.as_millis() as f64), "ms"));
    let stirred = gate("has stirred", f64::from(u8::from(signs.stirred)), ">=", Some(1.0), "");
    let share = (signs.carried_share() * 1000.0).round() / 1000.0;
    let places = format!("of {} places", signs.told());
    let mut carried = gate("surroundings that went along", share, "<=", Some(CARRIED_SHARE), &places);
    // A few places say nothing.
    carried.met = Some(!signs.is_carried());
    watched.into_iter().chain([stirred, carried]).collect()
}

/// A figure with the digits that it has: 0.08 and not 0.07999999821186066.
fn plain(figure: f32) -> f64 {
    figure.to_string().parse().unwrap_or_else(|_| f64::from(figure))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::MonoTime;
    use crate::journal::{Event, EventId, Stamp, detail};

    fn record(id: i64, kind: EventKind, detail: Value) -> Record {
        let at = Stamp { wall: jiff::Timestamp::UNIX_EPOCH, mono: MonoTime::default() };
        let event = Event::new(kind, detail);
        Record { id: EventId(id), at, boot_id: "b".into(), clock_trusted: None, hash: None, event }
    }

    fn evidence() -> Value {
        let grant = crate::access::Grant::for_tests(3, "Ada", MonoTime::from_millis(0));
        detail(&grant.evidence())
    }

    fn circumstances() -> Circumstances {
        Circumstances {
            model: Some(ModelId("sface@1".into())),
            top: vec![(PersonId(3), "Ada".into(), 0.75), (PersonId(4), "Bob".into(), 0.21)],
            ages_ms: vec![250, 186, 120],
            stages_us: [("embed".to_owned(), 21_000)].into(),
            bar: Some(Rate { far: 1e-4, at_most: 9.1e-5, supported: true }),
            quality: Some(Quality {
                eye_distance_px: 61.5,
                sharpness: 88.0,
                light: 121.0,
                yaw_deg: -4.5,
                pitch_deg: 2.0,
                roll_deg: 0.0,
            }),
        }
    }

    fn grant() -> Record {
        let mut figures = evidence();
        let more = detail(&circumstances());
        figures.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        figures["by"] = "rule 1: allow everybody always".into();
        record(12, EventKind::Grant, figures)
    }

    #[test]
    fn a_grant_is_explained_by_all_that_it_took() {
        let start = record(
            1,
            EventKind::Start,
            json!({ "gates": { "min_eye_distance_px": 28.0, "min_sharpness": 20.0, "min_light": 40.0, "max_light": 225.0,
                "max_yaw_deg": 40.0, "max_pitch_deg": 35.0 } }),
        );
        let around = vec![
            record(13, EventKind::Unlocked, json!({ "grant": 12 })),
            record(14, EventKind::Unlocked, json!({ "grant": 11 })),
        ];
        let explained = explain(grant(), Some(&start), around);
        assert_eq!(explained.why.as_deref(), Some("rule 1: allow everybody always"));
        let told: Vec<_> =
            explained.gates.iter().map(|g| (g.name.as_str(), g.value, g.limit, g.met)).collect();
        assert_eq!(
            told,
            [
                ("eye distance", 61.5, Some(28.0), Some(true)),
                ("sharpness", 88.0, Some(20.0), Some(true)),
                ("light", 121.0, Some(40.0), Some(true)),
                ("light", 121.0, Some(225.0), Some(true)),
                ("turn of the head", 4.5, Some(40.0), Some(true)),
                ("nod", 2.0, Some(35.0), Some(true)),
                ("score", 0.75, Some(0.5), Some(true)),
                ("frames that agree", 3.0, Some(3.0), Some(true)),
                ("age of the newest frame", 120.0, Some(500.0), Some(true)),
            ]
        );
        assert_eq!(explained.candidates.len(), 2);
        assert_eq!(explained.frame_ages_ms, [250, 186, 120]);
        assert_eq!(explained.model, Some(ModelId("sface@1".into())));
        assert!(explained.threshold_from.unwrap().starts_with("follows from a rate of 0.0001"));
        assert_eq!(explained.related.iter().map(|r| r.id.0).collect::<Vec<_>>(), [13]);
    }

    #[test]
    fn a_refusal_names_the_gate_that_was_not_met() {
        let mut figures = evidence();
        figures["reason"] = "unknown".into();
        figures["best"]["score"] = 0.31.into();
        let explained = explain(record(5, EventKind::Refusal, figures), None, Vec::new());
        let failed: Vec<_> = explained.gates.iter().filter(|g| g.met == Some(false)).collect();
        assert_eq!((failed.len(), failed[0].name.as_str(), failed[0].value), (1, "score", 0.31));
        assert_eq!(explained.why.as_deref(), Some("unknown"));
        assert_eq!(explained.threshold_from, None, "not written down then");
    }

    #[test]
    fn a_record_from_before_is_explained_as_far_as_it_goes() {
        let mut figures = evidence();
        figures["by"] = "rule 1: allow everybody always".into();
        let explained = explain(record(5, EventKind::Grant, figures), None, Vec::new());
        assert_eq!((explained.candidates.len(), explained.frame_ages_ms), (1, vec![120]));
        let odd = explain(record(6, EventKind::Grant, json!([1, 2])), None, Vec::new());
        assert!(odd.gates.is_empty() && odd.why.is_none());
    }

    #[test]
    fn what_followed_leads_back_to_its_grant() {
        let unlocked = record(13, EventKind::Unlocked, json!({ "why": "grant 12 for Ada", "grant": 12 }));
        let explained = explain(unlocked, None, vec![grant()]);
        assert_eq!(explained.related.iter().map(|r| r.id.0).collect::<Vec<_>>(), [12]);
        assert!(explained.gates.is_empty());
    }

    #[test]
    fn what_a_face_showed_while_it_was_watched_is_told_with_its_limits() {
        let mut figures = evidence();
        figures["rule"]["demands"] = json!({ "watch": { "secs": 0, "nanos": 800_000_000 } });
        figures["watched_ms"] = 950.into();
        figures["signs"] = json!({ "carried": 30, "stood": 10, "stirred": true, "blinks": 0 });
        figures["reason"] = "not_live".into();
        let explained = explain(record(5, EventKind::Refusal, figures), None, Vec::new());
        let gate = |name: &str| {
            let gate = explained.gates.iter().find(|gate| gate.name == name).unwrap();
            (gate.value, gate.limit, gate.met)
        };
        assert_eq!(gate("watched for"), (950.0, Some(800.0), Some(true)));
        assert_eq!(gate("has stirred"), (1.0, Some(1.0), Some(true)));
        assert_eq!(gate("surroundings that went along"), (0.75, Some(0.25), Some(false)));
        let unwatched = explain(grant(), None, Vec::new());
        assert!(
            unwatched.gates.iter().all(|gate| gate.name != "has stirred"),
            "what was not asked is not told"
        );
    }

    #[test]
    fn a_challenge_is_told_with_its_decision() {
        let mut figures = evidence();
        figures["rule"]["demands"] =
            json!({ "challenge": { "steps": 2, "each": { "secs": 6, "nanos": 0 }, "blink": false } });
        figures["reason"] = "challenge".into();
        let asked = |id, track| {
            let detail = json!({ "what": "turn your head to the left", "track": track });
            record(id, EventKind::Challenge, detail)
        };
        let refusal = record(9, EventKind::Refusal, figures);
        let around = vec![asked(6, 7), asked(7, 8), asked(8, 7), asked(10, 7)];
        let explained = explain(refusal.clone(), None, around);
        assert_eq!(
            explained.related.iter().map(|r| r.id.0).collect::<Vec<_>>(),
            [6, 8],
            "of its own track, before it"
        );
        let failed: Vec<_> = explained.gates.iter().filter(|g| g.met == Some(false)).collect();
        assert_eq!((failed.len(), failed[0].name.as_str()), (1, "did what it was asked"));
        let told = explain(asked(6, 7), None, vec![refusal]);
        assert_eq!(told.related.iter().map(|r| r.id.0).collect::<Vec<_>>(), [9], "and the other way round");
    }

    #[test]
    fn a_look_alike_has_to_be_further_ahead() {
        let mut figures = evidence();
        figures["runner_up"] = json!({ "person": 4, "name": "Bob", "score": 0.65 });
        figures["alike"] = json!({ "person": 4, "name": "Bob", "score": 0.6 });
        figures["reason"] = "ambiguous".into();
        let explained = explain(record(5, EventKind::Refusal, figures), None, Vec::new());
        let ahead = explained.gates.iter().find(|gate| gate.name == "ahead of the runner-up").unwrap();
        assert_eq!((ahead.limit, ahead.met), (Some(0.16), Some(false)));
    }
}
