//! PURE. One presentation of a spoof test: looks at what is held up to a door go in with the time, and what the door would
//! have done comes out. It rests on a clear view before, and on attempts that know of nothing earlier, so that one presentation
//! says nothing about the next.
//!
//! | state      | waits for                                     | then                                    |
//! |------------|-----------------------------------------------|-----------------------------------------|
//! | `Clearing` | a second without a face                       | `Waiting`                               |
//! | `Waiting`  | a face                                        | `Judging`                               |
//! | `Judging`  | a verdict that ends it, the face to be gone, the time to run out | over                 |
//!
//! `Clearing` that takes too long ends in an error, `Waiting` in "no face".

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, looks};
use crate::access::{Attempts, RefusalReason, Rule, Several, Told, Verdict};
use crate::clock::MonoTime;
use crate::encoder::ModelId;
use crate::liveness::spoof::{Outcome, Settings, Species};

/// So long nothing must be in view before: longer than the tracker looks for a face that is gone.
const CLEAR: Duration = Duration::from_secs(1);
/// A face that was gone for so long has been taken away.
const GONE: Duration = Duration::from_millis(1500);
/// So long the view is waited to be clear, and after that for a face.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the person with the picture is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cue {
    /// To take everything with a face out of view.
    Clear,
    /// To hold it up, or to step before the camera.
    Present,
    /// That it is being looked at.
    Looking,
}

impl Cue {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Clear => "out of view, please: no face before the camera",
            Self::Present => "now before the camera",
            Self::Looking => "the door is looking",
        }
    }
}

/// What came of one presentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Of what.
    pub species: Species,
    /// What the door would have done.
    pub outcome: Outcome,
    /// The last reason that it gave, if it gave one.
    pub reason: Option<RefusalReason>,
    /// Whom it was taken for.
    pub person: Option<String>,
    /// The highest score, a cosine.
    pub score: Option<f32>,
    /// How alive it looked on average when that was decided on, 0 to 1.
    pub live: Option<f32>,
}

/// What follows from a look, or from the time.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing.
    Nothing,
    /// Tell the person with the picture.
    Cue(Cue),
    /// Tell the person at the door what the challenge asks for.
    Tell(Told),
    /// It is over.
    Over(Judged),
    /// It could not begin.
    NotClear,
}

/// One presentation under way.
#[derive(Debug)]
pub(crate) struct Presentation {
    each: Duration,
    state: State,
    cued: Option<Cue>,
    judged: Judged,
    recognised: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Clearing { until: MonoTime, clear_since: Option<MonoTime> },
    Waiting { until: MonoTime },
    Judging { until: MonoTime, seen: MonoTime },
}

impl Presentation {
    /// Begins at `now`; it may take `each` from when a face is in view.
    pub(crate) fn new(species: Species, each: Duration, now: MonoTime) -> Self {
        let judged =
            Judged { species, outcome: Outcome::NoFace, reason: None, person: None, score: None, live: None };
        let state = State::Clearing { until: now + PATIENCE, clear_since: None };
        Self { each, state, cued: None, judged, recognised: false }
    }

    /// Shows it a frame. `attempts` are for this presentation alone while it lasts.
    pub(crate) fn look(&mut self, attempts: &mut Attempts, analysis: &Analysis, now: MonoTime) -> Step {
        let captured = analysis.captured;
        match &mut self.state {
            State::Clearing { clear_since, .. } => {
                if !analysis.faces.is_empty() {
                    *clear_since = None;
                    return self.cue(Cue::Clear);
                }
                if captured.since(*clear_since.get_or_insert(captured)) < CLEAR {
                    return Step::Nothing;
                }
                attempts.start_over();
                self.state = State::Waiting { until: now + PATIENCE };
                self.cue(Cue::Present)
            }
            State::Waiting { .. } => {
                if analysis.faces.is_empty() {
                    return self.cue(Cue::Present);
                }
                self.state = State::Judging { until: now + self.each, seen: captured };
                match self.judge(attempts, analysis, now) {
                    Step::Nothing => self.cue(Cue::Looking),
                    step => step,
                }
            }
            State::Judging { seen, .. } => {
                if analysis.faces.is_empty() {
                    return if captured.since(*seen) > GONE { self.end() } else { Step::Nothing };
                }
                *seen = captured;
                self.judge(attempts, analysis, now)
            }
        }
    }

    /// What time alone brings.
    pub(crate) fn tick(&mut self, now: MonoTime) -> Step {
        match self.state {
            State::Clearing { until, .. } if now > until => Step::NotClear,
            State::Waiting { until } | State::Judging { until, .. } if now > until => self.end(),
            _ => Step::Nothing,
        }
    }

    fn judge(&mut self, attempts: &mut Attempts, analysis: &Analysis, now: MonoTime) -> Step {
        self.note_scores(attempts.rule(), analysis);
        let mut told = Step::Nothing;
        for verdict in attempts.observe(&looks(analysis), now) {
            match verdict {
                Verdict::Grant(grant) => {
                    // Dropped here: it opens nothing.
                    self.judged.person = Some(grant.name().to_owned());
                    self.judged.live = grant.evidence().and_then(|evidence| evidence.live).map(|l| l.score);
                    return self.over(Outcome::Accepted);
                }
                Verdict::Refuse(reason, evidence) => {
                    self.judged.reason = Some(reason);
                    self.judged.live = evidence.live.map(|live| live.score).or(self.judged.live);
                    if is_picture(reason) {
                        self.judged.person = evidence.best.map(|best| best.name.to_string());
                        return self.over(Outcome::Picture);
                    }
                }
                Verdict::Tell(what) => told = Step::Tell(what),
            }
        }
        told
    }

    fn note_scores(&mut self, rule: &Rule, analysis: &Analysis) {
        for found in analysis.faces.iter().filter_map(|face| face.matched.as_ref()) {
            let best = &found.best;
            if self.judged.score.is_none_or(|known| best.score.0 > known) {
                self.judged.score = Some(best.score.0);
            }
            if best.score >= rule.threshold {
                self.recognised = true;
                self.judged.person = Some(best.name.to_string());
            }
        }
    }

    fn end(&mut self) -> Step {
        let outcome = match self.state {
            State::Judging { .. } if self.recognised => Outcome::Held,
            State::Judging { .. } => Outcome::Unrecognised,
            _ => Outcome::NoFace,
        };
        self.over(outcome)
    }

    fn over(&mut self, outcome: Outcome) -> Step {
        self.judged.outcome = outcome;
        Step::Over(self.judged.clone())
    }

    /// Says it once, until something else is said.
    fn cue(&mut self, cue: Cue) -> Step {
        if self.cued.replace(cue) == Some(cue) { Step::Nothing } else { Step::Cue(cue) }
    }
}

/// Whether a refusal says that a picture was held up.
fn is_picture(reason: RefusalReason) -> bool {
    matches!(reason, RefusalReason::NotLive | RefusalReason::Challenge | RefusalReason::NotSeenTwice)
}

/// What is known of the photo check, as the settings of a test name it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckedBy {
    /// The networks.
    pub networks: Vec<ModelId>,
    /// From which score on a face counts as alive.
    pub alive_from: Option<f32>,
}

impl CheckedBy {
    /// What a test at this camera under this rule holds for.
    pub fn settings(&self, camera: &str, second: Option<&str>, encoder: &ModelId, rule: &Rule) -> Settings {
        let challenge = rule.demands.challenge.map(|terms| {
            let eyes = if terms.blink { ", eyes too" } else { "" };
            format!("{} of {} s{eyes}", terms.steps, terms.each.as_secs())
        });
        let several = match rule.several {
            Several::Nearest => "nearest",
            Several::Refuse => "refuse",
            Several::Each => "each",
        };
        Settings {
            camera: camera.to_owned(),
            second: second.map(str::to_owned),
            encoder: encoder.clone(),
            networks: self.networks.clone(),
            alive_from: self.alive_from,
            watch_ms: u64::try_from(rule.demands.watch.as_millis()).unwrap_or(u64::MAX),
            challenge,
            looks: format!("{} of {}", rule.frames_needed, rule.frames_window),
            several: several.to_owned(),
            threshold: rule.threshold.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Live, Proof};
    use crate::daemon::analysis::SeenFace;
    use crate::daemon::fakes::{analysis, model, poor_face, seen};
    use crate::encoder::Score;
    use crate::gallery::{Candidate, Match, PersonId};
    use crate::vision::quality::QualityIssue;

    const EACH: Duration = Duration::from_secs(10);

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn rule() -> Rule {
        Rule::for_tests(0.5)
    }

    /// Ada, with this score and how alive she looks.
    fn face(track: u64, score: f32, live: f32) -> SeenFace {
        let best = Candidate { person: PersonId(1), name: "Ada".into(), score: Score(score) };
        SeenFace {
            matched: Some(Match { best, runner_up: None }),
            proof: Proof::Asked(Live { score: live, needed: 0.4 }),
            ..seen(track, &[1.0, 0.0])
        }
    }

    /// A test at ten pictures a second.
    struct Bench {
        attempts: Attempts,
        presentation: Presentation,
        ms: u64,
        cues: Vec<Cue>,
    }

    impl Bench {
        fn new() -> Self {
            let presentation = Presentation::new(Species::Print, EACH, at(0));
            Self { attempts: Attempts::new(rule()), presentation, ms: 0, cues: Vec::new() }
        }

        /// Another presentation of the same test.
        fn again(&mut self) {
            self.presentation = Presentation::new(Species::Print, EACH, at(self.ms));
        }

        /// Shows frames of these faces; what ended it, if anything did.
        fn show(&mut self, frames: usize, faces: impl Fn() -> Vec<SeenFace>) -> Option<Step> {
            for _ in 0..frames {
                self.ms += 100;
                let frame = analysis(self.ms, at(self.ms), 0, faces());
                let steps = [
                    self.presentation.look(&mut self.attempts, &frame, at(self.ms)),
                    self.presentation.tick(at(self.ms)),
                ];
                for step in steps {
                    match step {
                        Step::Cue(cue) => self.cues.push(cue),
                        Step::Nothing | Step::Tell(_) => {}
                        end => return Some(end),
                    }
                }
            }
            None
        }

        fn clear(&mut self) {
            assert_eq!(self.show(11, Vec::new), None);
        }

        #[track_caller]
        fn outcome(&mut self, frames: usize, faces: impl Fn() -> Vec<SeenFace>) -> Judged {
            match self.show(frames, faces) {
                Some(Step::Over(judged)) => judged,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_face_that_the_door_would_open_for_is_accepted_and_the_grant_is_gone() {
        let mut bench = Bench::new();
        bench.clear();
        let judged = bench.outcome(3, || vec![face(1, 0.7, 0.9)]);
        assert_eq!((judged.outcome, judged.person.as_deref()), (Outcome::Accepted, Some("Ada")));
        assert_eq!((judged.score, judged.live), (Some(0.7), Some(0.9)));
        assert_eq!(bench.cues, [Cue::Present, Cue::Looking]);
    }

    #[test]
    fn a_picture_is_taken_for_one_and_the_next_presentation_knows_nothing_of_it() {
        let mut bench = Bench::new();
        for track in 1..4 {
            bench.clear();
            let judged = bench.outcome(5, || vec![face(track, 0.7, 0.1)]);
            assert_eq!((judged.outcome, judged.reason), (Outcome::Picture, Some(RefusalReason::NotLive)));
            assert_eq!(judged.live, Some(0.1));
            bench.again();
        }
        // Nobody is suspected, nor was let in lately: the same person is accepted at once, and again.
        for track in 4..6 {
            bench.clear();
            assert_eq!(bench.outcome(5, || vec![face(track, 0.7, 0.9)]).outcome, Outcome::Accepted);
            bench.again();
        }
    }

    #[test]
    fn what_stays_in_view_ends_it_before_it_begins() {
        let mut bench = Bench::new();
        assert_eq!(bench.show(310, || vec![face(1, 0.7, 0.9)]), Some(Step::NotClear));
        assert_eq!(bench.cues, [Cue::Clear]);
    }

    #[test]
    fn each_way_of_showing_nothing_has_its_outcome() {
        let mut bench = Bench::new();
        bench.clear();
        assert_eq!(bench.outcome(310, Vec::new).outcome, Outcome::NoFace);
        bench.again();
        bench.clear();
        let judged = bench.outcome(110, || vec![face(1, 0.3, 0.9)]);
        assert_eq!((judged.outcome, judged.person), (Outcome::Unrecognised, None));
        bench.again();
        bench.clear();
        // Two good looks and then too dark: recognised, and never let in.
        assert_eq!(bench.show(2, || vec![face(2, 0.7, 0.9)]), None);
        let judged = bench.outcome(110, || vec![poor_face(2, QualityIssue::TooDark)]);
        assert_eq!(judged.outcome, Outcome::Held);
        bench.again();
        bench.clear();
        // Taken away again.
        assert_eq!(bench.show(2, || vec![face(3, 0.7, 0.9)]), None);
        assert_eq!(bench.outcome(20, Vec::new).outcome, Outcome::Held);
    }

    #[test]
    fn the_settings_of_a_test_name_everything_that_decides() {
        let checked = CheckedBy { networks: vec![ModelId("fr@1".into())], alive_from: Some(0.38) };
        let mut rule = rule();
        rule.demands.watch = Duration::from_millis(800);
        let settings = checked.settings("v4l:0", None, &model(), &rule);
        assert_eq!((settings.looks.as_str(), settings.watch_ms), ("3 of 5", 800));
        assert!(settings.changed(&settings).is_empty());
        let challenge = crate::liveness::challenge::Terms { steps: 2, each: EACH, blink: false };
        rule.demands.challenge = Some(challenge);
        let other = checked.settings("v4l:0", None, &model(), &rule);
        assert_eq!(settings.changed(&other), ["liveness settings"]);
    }
}
