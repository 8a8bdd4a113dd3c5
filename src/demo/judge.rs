//! Whether the door did right: the journal and the trace of a run against the script that says who was there.

use std::collections::HashSet;

use serde::Deserialize;

use super::script::{Appearance, ENROLLED, FPS, in_view};
use crate::access::Evidence;
use crate::daemon::trace::{DoorState, TracedFrame};
use crate::journal::{EventId, EventKind, Record};

/// What came of one appearance.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Who and when.
    pub appearance: Appearance,
    /// Frames in which their face was compared with the enrolled ones.
    pub compared: usize,
    /// The highest score among those.
    pub best: Option<f32>,
    /// Who was let in, with the number of the deciding frame and its best score.
    pub granted: Vec<(String, u64, Option<f32>)>,
    /// How often the journal has them refused.
    pub refused: usize,
    /// What is wrong; empty when all is right.
    pub problems: Vec<String>,
}

/// What came of the whole clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// One row an appearance.
    pub rows: Vec<Row>,
    /// What is wrong beside the appearances.
    pub problems: Vec<String>,
}

impl Outcome {
    /// Whether all is right.
    pub fn passed(&self) -> bool {
        self.problems.is_empty() && self.rows.iter().all(|row| row.problems.is_empty())
    }
}

impl Row {
    /// In words: `let in after 1.2 s, score 0.74`.
    pub fn words(&self) -> String {
        let begins = self.appearance.begins;
        let mut parts: Vec<String> = self
            .granted
            .iter()
            .map(|(name, seq, score)| {
                let after = seq.saturating_sub(begins) as f32 / FPS as f32;
                let score = score.map_or(String::new(), |score| format!(", score {score:.2}"));
                let who = if name == self.appearance.person { String::new() } else { format!(" as {name}") };
                format!("let in{who} after {after:.1} s{score}")
            })
            .collect();
        if self.granted.is_empty() {
            let best = self.best.map_or(String::new(), |best| format!(", best score {best:.2}"));
            let word = if self.refused > 0 { "refused" } else { "not let in" };
            parts.push(format!("{word}{best} over {} frames", self.compared));
        }
        parts.extend(self.problems.iter().cloned());
        parts.join("; ")
    }
}

/// Compares what happened with what was played. `records` is the journal of the run, oldest first.
pub fn judge(script: &[Appearance], frames: &[TracedFrame], records: &[Record]) -> Outcome {
    let mut rows: Vec<Row> = script.iter().map(|appearance| row(*appearance, frames)).collect();
    let mut problems = Vec::new();
    for record in records {
        let Some(seq) = decided_at(record) else { continue };
        let row = rows.iter_mut().find(|row| row.appearance.frames().contains(&seq));
        match (record.event.kind, row) {
            (EventKind::Refusal, Some(row)) => row.refused += 1,
            (EventKind::Grant, Some(row)) => row.granted.push(grant(record, seq)),
            (EventKind::Grant, None) => {
                problems.push(format!(
                    "event {} let somebody in on frame {seq}, with nobody in view",
                    record.id.0
                ));
            }
            _ => {}
        }
    }
    rows.iter_mut().for_each(Row::check);
    problems.extend(relay_problems(records));
    let strangers_at_open_door = frames.iter().filter(|frame| {
        let stranger = in_view(script, frame.analysis.seq).is_some_and(|a| !a.is_enrolled());
        stranger && frame.door == DoorState::Unlocked
    });
    if let Some(frame) = strangers_at_open_door.into_iter().next() {
        problems.push(format!(
            "the door stood open with a stranger in view, from frame {} on",
            frame.analysis.seq
        ));
    }
    Outcome { rows, problems }
}

fn row(appearance: Appearance, frames: &[TracedFrame]) -> Row {
    let in_view = frames.iter().filter(|frame| appearance.frames().contains(&frame.analysis.seq));
    let scores: Vec<f32> = in_view
        .flat_map(|frame| &frame.analysis.faces)
        .filter_map(|face| face.matched.as_ref())
        .map(|found| found.best.score.0)
        .collect();
    let best = scores.iter().copied().reduce(f32::max);
    Row { appearance, compared: scores.len(), best, granted: Vec::new(), refused: 0, problems: Vec::new() }
}

impl Row {
    fn check(&mut self) {
        let problems = &mut self.problems;
        if self.compared == 0 {
            problems.push("their face was never compared, which shows nothing".into());
        }
        for (name, ..) in self.granted.iter().filter(|(name, ..)| name != ENROLLED.0) {
            problems.push(format!("{name} was let in and is not enrolled"));
        }
        match (self.appearance.is_enrolled(), self.granted.is_empty()) {
            (true, true) => problems.push("should have been let in".into()),
            (false, false) => problems.push("a stranger was let in".into()),
            _ => {}
        }
    }
}

/// The frame a grant or refusal was decided on.
fn decided_at(record: &Record) -> Option<u64> {
    matches!(record.event.kind, EventKind::Grant | EventKind::Refusal)
        .then(|| Evidence::deserialize(&record.event.detail).ok())
        .flatten()
        .map(|evidence| evidence.seq)
}

fn grant(record: &Record, seq: u64) -> (String, u64, Option<f32>) {
    let name = record.event.person.as_ref().map_or_else(|| "somebody".to_owned(), |p| p.name.clone());
    let score =
        Evidence::deserialize(&record.event.detail).ok().and_then(|e| e.best).map(|best| best.score.0);
    (name, seq, score)
}

/// The relay may move only for a grant that is written down before, and must end released.
fn relay_problems(records: &[Record]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut grants: HashSet<EventId> = HashSet::new();
    let mut open = false;
    for record in records {
        match record.event.kind {
            EventKind::Grant => _ = grants.insert(record.id),
            EventKind::Unlocked => {
                open = true;
                let of = record.event.detail.get("grant").and_then(serde_json::Value::as_i64).map(EventId);
                if !of.is_some_and(|grant| grants.contains(&grant)) {
                    problems.push(format!("event {} opened the door without a grant before it", record.id.0));
                }
            }
            EventKind::Locked => open = false,
            _ => {}
        }
    }
    if open {
        problems.push("the door was not locked again at the end".into());
    }
    problems
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::clock::MonoTime;
    use crate::demo::script::{length, script};
    use crate::gallery::PersonId;
    use crate::journal::{Event, PersonRef, Stamp};
    use crate::report::testing::{evidence, frame};

    /// Every second frame of everybody compared, the door always locked.
    fn frames() -> Vec<TracedFrame> {
        let script = script();
        let looked = (0..length(&script)).step_by(2).map(|seq| match in_view(&script, seq) {
            Some(a) => frame(seq, DoorState::Locked, &[Ok(if a.is_enrolled() { 0.7 } else { 0.1 })]),
            None => frame(seq, DoorState::Locked, &[]),
        });
        looked.collect()
    }

    fn record(id: i64, kind: EventKind, detail: serde_json::Value, name: Option<&str>) -> Record {
        let person = name.map(|name| PersonRef { id: PersonId(1), name: name.into() });
        let event = Event { person, ..Event::new(kind, detail) };
        let at = Stamp { wall: Timestamp::UNIX_EPOCH, mono: MonoTime::default() };
        Record { id: EventId(id), at, boot_id: "b".into(), clock_trusted: None, hash: None, event }
    }

    /// Grant, unlock and lock for everybody enrolled, a refusal for each stranger.
    fn records() -> Vec<Record> {
        let mut records = Vec::new();
        for (i, a) in (1i64..).zip(script()) {
            let at = |score| serde_json::to_value(evidence(a.begins + 12, score)).unwrap();
            if a.is_enrolled() {
                records.push(record(10 * i, EventKind::Grant, at(0.7), Some(ENROLLED.0)));
                records.push(record(10 * i + 1, EventKind::Unlocked, json!({ "grant": 10 * i }), None));
                records.push(record(10 * i + 2, EventKind::Locked, json!({ "grant": null }), None));
            } else {
                records.push(record(10 * i, EventKind::Refusal, at(0.1), None));
            }
        }
        records
    }

    #[test]
    fn a_door_that_does_right_passes() {
        let outcome = judge(&script(), &frames(), &records());
        assert!(outcome.passed(), "{outcome:?}");
        assert_eq!(outcome.rows[0].words(), "refused, best score 0.10 over 19 frames");
        assert_eq!(outcome.rows[1].words(), "let in after 1.2 s, score 0.70");
    }

    #[track_caller]
    fn fails(frames: &[TracedFrame], records: &[Record], row: Option<usize>, because: &str) {
        let outcome = judge(&script(), frames, records);
        assert!(!outcome.passed());
        let problems = row.map_or(&outcome.problems, |row| &outcome.rows[row].problems);
        assert!(problems.iter().any(|p| p.contains(because)), "{because:?} is not in {outcome:?}");
    }

    #[test]
    fn each_wrong_is_seen() {
        let mut missed = records();
        missed.retain(|r| r.id.0 / 10 != 2);
        fails(&frames(), &missed, Some(1), "should have been let in");

        let mut stranger = records();
        stranger[0] = record(10, EventKind::Grant, stranger[0].event.detail.clone(), Some(ENROLLED.0));
        fails(&frames(), &stranger, Some(0), "a stranger was let in");

        let mut another = records();
        another[1].event.person = Some(PersonRef { id: PersonId(2), name: "Bob".into() });
        fails(&frames(), &another, Some(1), "Bob was let in and is not enrolled");

        let mut ghost = records();
        let detail = serde_json::to_value(evidence(3, 0.9)).unwrap();
        ghost.push(record(99, EventKind::Grant, detail, Some(ENROLLED.0)));
        fails(&frames(), &ghost, None, "event 99 let somebody in on frame 3, with nobody in view");

        let mut unbidden = records();
        unbidden.insert(0, record(1, EventKind::Unlocked, json!({ "grant": 20 }), None));
        fails(&frames(), &unbidden, None, "event 1 opened the door without a grant before it");

        let mut open = records();
        open.pop();
        fails(&frames(), &open, None, "the door was not locked again");
    }

    #[test]
    fn a_stranger_who_was_never_looked_at_shows_nothing() {
        let mut blind = frames();
        blind.retain(|f| !script()[0].frames().contains(&f.analysis.seq));
        fails(&blind, &records(), Some(0), "never compared");
    }

    #[test]
    fn a_door_that_still_stands_open_for_the_next_one_is_seen() {
        let mut late = frames();
        let begins = script()[2].begins;
        for f in late.iter_mut().filter(|f| (begins..begins + 5).contains(&f.analysis.seq)) {
            f.door = DoorState::Unlocked;
        }
        fails(
            &late,
            &records(),
            None,
            &format!("stood open with a stranger in view, from frame {begins} on"),
        );
    }
}
