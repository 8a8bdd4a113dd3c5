//! A test of a door by an operator: pictures and people are held up to it, and what it would have done is counted. While it
//! lasts no verdict of this door opens anything; exit button, keys and operators do as ever, PINs wait.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::clock::MonoTime;
use crate::daemon::DaemonError;
use crate::daemon::analysis::{Analysis, looks};
use crate::daemon::doorway::DoorId;
use crate::daemon::ops;
use crate::daemon::presentation::{Presentation, Step};
use crate::daemon::protocol::Reply;
use crate::daemon::tested::{began, ended, presented, shown};
use crate::journal::EventId;
use crate::liveness::challenge::Tell;
use crate::liveness::spoof::{Report, Settings, Species, Tally};

use super::Control;

/// A test in which nothing is held up for so long is over: a door that decides nothing must not be forgotten.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// And it is over after this time in any case.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// A test, under way.
pub(crate) struct SpoofTest {
    id: u64,
    pub(super) door: DoorId,
    actor: String,
    replies: UnboundedSender<Reply>,
    settings: Settings,
    until: MonoTime,
    quiet_since: MonoTime,
    species: BTreeMap<Species, Tally>,
    presentation: Option<Presentation>,
}

impl Control {
    /// Whether a door is being tested, and decides nothing meanwhile.
    pub(super) fn tests_at(&self, door: DoorId) -> bool {
        self.testing.as_ref().is_some_and(|test| test.door == door)
    }

    /// What a test of this door would hold for now.
    fn settings_of(&self, door: DoorId) -> Settings {
        let doorway = &self.doors[door];
        let (board, rule) = (&doorway.board, doorway.attempts.rule());
        self.checked_by.settings(board.camera(), board.second_camera(), &self.terms.model, rule)
    }

    /// Puts on the boards what has been shown of the doors.
    pub(super) fn tell_what_is_shown(&mut self) -> Result<(), DaemonError> {
        for door in self.doors.ids() {
            let settings = self.settings_of(door);
            let name = &self.doors[door].place.door;
            let shown = shown(&*self.store, name, &settings).map_err(DaemonError::Read)?;
            self.doors[door].board.set_shown(shown);
        }
        Ok(())
    }

    pub(super) fn begin_test(
        &mut self,
        door: Option<&str>,
        actor: String,
        replies: UnboundedSender<Reply>,
    ) -> Result<(), DaemonError> {
        let refuse = |message: String| {
            // Nobody waits when the client has just hung up.
            let _ = replies.send(Reply::Error { message });
            Ok(())
        };
        let door = match self.doors.called(door) {
            Ok(door) => door,
            Err(error) => return refuse(error.to_string()),
        };
        if let Some(test) = &self.testing {
            return refuse(format!("a door is being tested by {}; wait until that is done", test.actor));
        }
        if self.enrols_at(door) {
            return refuse("somebody is being enrolled at this door; wait until that is done".into());
        }
        let (settings, now) = (self.settings_of(door), self.clock.now());
        self.append_at(door, "the beginning of a spoof test", began(&actor, &settings))?;
        log::warn!(
            door = self.doors[door].place.door.as_str();
            "{actor} tests the door with pictures; no face opens it meanwhile"
        );
        let doorway = &mut self.doors[door];
        doorway.attempts.forget();
        doorway.memory.cut();
        doorway.asking.forget();
        doorway.board.set_testing(Some(&actor));
        self.tests += 1;
        let began = Reply::Testing {
            test: self.tests,
            door: doorway.place.door.clone(),
            settings: Box::new(settings.clone()),
        };
        // Should it have hung up, the next turn ends the test.
        let _ = replies.send(began);
        self.testing = Some(SpoofTest {
            id: self.tests,
            door,
            actor,
            replies,
            settings,
            until: now + LONGEST,
            quiet_since: now,
            species: BTreeMap::new(),
            presentation: None,
        });
        Ok(())
    }

    pub(super) fn begin_presentation(&mut self, test: u64, species: Species, each: Duration) {
        let now = self.clock.now();
        if let Some(running) = self.testing.as_mut().filter(|running| running.id == test) {
            running.presentation = Some(Presentation::new(species, each, now));
            running.quiet_since = now;
        }
    }

    /// Shows a frame to the test under way. Nothing here can open the door.
    pub(super) fn show_to_test(&mut self, door: DoorId, analysis: &Analysis) -> Result<(), DaemonError> {
        let now = self.clock.now();
        // Advice is as good for who holds a picture up; that it was given is not worth a record here.
        let _ = self.doors[door].advise(&looks(analysis), now);
        if analysis.gallery_generation != self.gallery.load().generation() {
            return Ok(());
        }
        let Some(test) = &mut self.testing else { return Ok(()) };
        let Some(presentation) = &mut test.presentation else { return Ok(()) };
        let step = presentation.look(&mut self.doors[door].attempts, analysis, now);
        self.after(step)
    }

    fn after(&mut self, step: Step) -> Result<(), DaemonError> {
        let now = self.clock.now();
        let Some(test) = &mut self.testing else { return Ok(()) };
        let doorway = &mut self.doors[test.door];
        match step {
            Step::Nothing => {}
            Step::Cue(cue) => {
                let _ = test.replies.send(Reply::Cue { what: cue.words().to_owned() });
            }
            Step::Tell(told) => {
                let words = told.what.words();
                doorway.lamps.state.told(told.what, now);
                doorway.board.set_told((told.what != Tell::Done).then(|| words.to_owned()), now);
                let _ = test.replies.send(Reply::Cue { what: words.to_owned() });
            }
            Step::NotClear => {
                test.presentation = None;
                test.quiet_since = now;
                let message =
                    "a face stays in view; take everything with a face away from the camera, and yourself"
                        .into();
                let _ = test.replies.send(Reply::Error { message });
            }
            Step::Over(judged) => {
                test.presentation = None;
                test.quiet_since = now;
                test.species.entry(judged.species).or_default().count(judged.outcome);
                doorway.board.set_told(None, now);
                doorway.attempts.start_over();
                let (door, event) = (test.door, presented(&test.actor, &judged));
                log::info!("spoof test, {}: {}", judged.species.as_str(), judged.outcome.words());
                self.append_at(door, "a presentation", event)?;
                if let Some(test) = &self.testing {
                    let _ = test.replies.send(Reply::Presented { judged });
                }
            }
        }
        Ok(())
    }

    /// What time alone brings to a test.
    pub(super) fn tend_test(&mut self) -> Result<(), DaemonError> {
        let now = self.clock.now();
        let Some(test) = &mut self.testing else { return Ok(()) };
        if test.replies.is_closed() {
            return self.end_test("the client hung up", None).map(drop);
        }
        let step = test.presentation.as_mut().map_or(Step::Nothing, |presentation| presentation.tick(now));
        let quiet = test.presentation.is_none() && now.since(test.quiet_since) >= IDLE;
        let (door, is_late) = (test.door, quiet || now >= test.until);
        self.after(step)?;
        if is_late {
            return self.end_test("the time is up", Some("the time for this test is up")).map(drop);
        }
        if self.doors[door].camera.is_lost() {
            return self.end_test("the camera was lost", Some("the camera gives no picture")).map(drop);
        }
        if self.doors[door].recording_over && !self.mailbox.has_analyses_of(door) {
            return self.end_test("the recording ended", Some("the recording is over")).map(drop);
        }
        Ok(())
    }

    /// The client ends its test.
    pub(super) fn test_is_done(&mut self, id: u64) -> Result<(), DaemonError> {
        let Some(test) = self.testing.as_ref().filter(|test| test.id == id) else { return Ok(()) };
        let (replies, door) = (test.replies.clone(), test.door);
        let report = Report { species: test.species.clone(), settings: test.settings.clone() };
        if let Some(event) = self.end_test("done", None)? {
            let shown = Box::new(self.doors[door].board.shown());
            let _ = replies.send(Reply::Tested { event, report: Box::new(report), shown });
        }
        Ok(())
    }

    /// Lets the door decide again, and writes down what was counted; the record.
    pub(super) fn end_test(
        &mut self,
        why: &str,
        message: Option<&str>,
    ) -> Result<Option<EventId>, DaemonError> {
        let Some(SpoofTest { door, actor, replies, settings, species, .. }) = self.testing.take() else {
            return Ok(None);
        };
        self.tested = Some((door, self.clock.now()));
        let doorway = &mut self.doors[door];
        doorway.board.set_testing(None);
        doorway.board.set_told(None, self.clock.now());
        doorway.attempts.start_over();
        log::warn!(
            door = doorway.place.door.as_str();
            "the test of the door by {actor} is over: {why}; faces open it again"
        );
        let report = Report { species, settings };
        let event = self.append_at(door, "the end of a spoof test", ended(&actor, why, &report))?;
        self.tell_what_is_shown()?;
        if let Some(message) = message {
            let what = std::io::Error::other(format!("{message}; what was counted is in the log"));
            let _ = replies.send(ops::refused(&what));
        }
        Ok(Some(event))
    }
}
