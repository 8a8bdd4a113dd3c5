//! PURE. What another threshold would have made of the last decisions, read out of what the journal says of each: before
//! a door is changed, one sees whom it would have kept out and whom it would have let further.

use super::super::words;
use crate::access::RefusalReason;
use crate::journal::{EventKind, Record};

/// What would have been different.
#[derive(Debug, Default)]
pub(super) struct Replayed<'a> {
    /// Grants that were looked at.
    pub(super) grants: usize,
    /// Refusals of faces that were like nobody enough.
    pub(super) refusals: usize,
    /// Grants that would have been refused, newest first.
    pub(super) lost: Vec<&'a Record>,
    /// Refusals whose score would have sufficed, newest first. Whether they would have been let in is also up to the
    /// looks that agree, the photo check and the rules.
    pub(super) won: Vec<&'a Record>,
}

/// Holds the decisions against another threshold.
pub(super) fn replay(records: &[Record], threshold: f32) -> Replayed<'_> {
    let mut found = Replayed::default();
    for record in records.iter().rev() {
        let Some(evidence) = words::evidence(record) else { continue };
        let Some(best) = &evidence.best else { continue };
        let margin = if evidence.alike.is_some() { evidence.rule.alike_margin } else { evidence.rule.margin };
        let lead = evidence.runner_up.as_ref().is_none_or(|second| best.score.0 - second.score.0 >= margin);
        match record.event.kind {
            EventKind::Grant => {
                found.grants += 1;
                if best.score.0 < threshold {
                    found.lost.push(record);
                }
            }
            EventKind::Refusal if words::reason(&record.event.detail) == Some(RefusalReason::Unknown) => {
                found.refusals += 1;
                if best.score.0 >= threshold && lead {
                    found.won.push(record);
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::MonoTime;
    use crate::journal::{Event, EventId, Stamp};

    fn decided(id: i64, kind: EventKind, reason: &str, best: f32, second: f32) -> Record {
        let at = Stamp { wall: "2026-11-03T08:15:30Z".parse().unwrap(), mono: MonoTime::from_millis(1) };
        let detail = json!({
            "track": 1, "seq": 1, "frame_age_ms": 50, "frames_agreed": 3, "frames_seen": 3, "reason": reason,
            "best": { "person": 1, "name": "Ada", "score": best },
            "runner_up": { "person": 2, "name": "Bob", "score": second },
            "rule": {
                "threshold": 0.5, "margin": 0.08, "frames_needed": 3, "frames_window": 5,
                "max_frame_age": { "secs": 0, "nanos": 500_000_000 }, "regrant_after": { "secs": 10, "nanos": 0 },
            },
        });
        Record {
            id: EventId(id),
            at,
            boot_id: "b".into(),
            clock_trusted: None,
            hash: None,
            event: Event::new(kind, detail),
        }
    }

    #[test]
    fn another_threshold_loses_grants_below_it_and_wins_refusals_above_it() {
        let records = [
            decided(1, EventKind::Grant, "", 0.55, 0.2),
            decided(2, EventKind::Grant, "", 0.71, 0.2),
            decided(3, EventKind::Refusal, "unknown", 0.46, 0.2),
            decided(4, EventKind::Refusal, "unknown", 0.47, 0.42),
            decided(5, EventKind::Refusal, "not_live", 0.66, 0.2),
            decided(6, EventKind::Refusal, "policy", 0.66, 0.2),
        ];
        let ids = |found: &[&Record]| found.iter().map(|record| record.id.0).collect::<Vec<_>>();
        let stricter = replay(&records, 0.6);
        assert_eq!((ids(&stricter.lost), ids(&stricter.won)), (vec![1], vec![]));
        assert_eq!((stricter.grants, stricter.refusals), (2, 2));
        let looser = replay(&records, 0.45);
        assert_eq!(
            (ids(&looser.lost), ids(&looser.won)),
            (vec![], vec![3]),
            "the fourth is too close to another"
        );
    }

    #[test]
    fn records_without_figures_are_passed_over() {
        let mut odd = decided(1, EventKind::Grant, "", 0.5, 0.2);
        odd.event.detail = json!("nothing");
        assert_eq!(replay(&[odd], 0.9).grants, 0);
    }
}
