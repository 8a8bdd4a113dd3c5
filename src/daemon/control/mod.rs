//! The control thread: everything that decides or writes happens here, one thing after the other. It takes the most
//! urgent mail, does it, and sees to what is due: the end of a pulse, a silent camera, an enrolment whose time is up.

mod camera_watch;
mod deciding;
mod hardware;
mod people;
mod rules;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::watch;

use crate::access::Attempts;
use crate::clock::Clock;
use crate::door::{Driver, Input, Sensor};
use crate::frame::Frame;
use crate::gallery::Gallery;
use crate::journal::{Event, EventId, EventKind, Stamp};
use crate::store::Store;

use super::analysis::Analysis;
use super::enrolment::EnrolmentOptions;
use super::mailbox::{Mail, Mailbox, Note};
use super::ops::Terms;
use super::readiness::Readiness;
use super::slot::Slot;
use super::status::Board;
use super::supervise::{Beat, chain, panic_message};
use super::trace::Trace;
use super::{DaemonError, Exit, Limits};

pub(crate) use camera_watch::CameraWatch;
use camera_watch::Change;
pub(crate) use hardware::LampBoard;
use people::LiveEnrolment;
pub(crate) use rules::HouseRules;

/// What the control thread owns and works with.
pub(crate) struct Control {
    pub(crate) store: Box<dyn Store>,
    pub(crate) driver: Driver,
    pub(crate) attempts: Attempts,
    pub(crate) terms: Terms,
    pub(crate) options: EnrolmentOptions,
    pub(crate) gallery: Arc<ArcSwap<Gallery>>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) frames: Arc<Slot<Frame>>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) beat: Arc<Beat>,
    /// Counts journal entries, so that followers know when to look.
    pub(crate) journal: Arc<watch::Sender<u64>>,
    pub(crate) readiness: Readiness,
    pub(crate) trace: Trace,
    pub(crate) limits: Limits,
    pub(crate) camera: CameraWatch,
    pub(crate) lamps: LampBoard,
    pub(crate) enrolling: Option<LiveEnrolment>,
    pub(crate) recording_over: bool,
    pub(crate) house: HouseRules,
}

impl Control {
    /// Runs until the daemon is to stop; the door is locked and the stop or fault written when this returns.
    ///
    /// # Errors
    /// When anything failed that a door must not go on without.
    pub(crate) fn run(mut self) -> Result<Exit, DaemonError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work())).unwrap_or_else(|panic| {
            Err(DaemonError::ThreadDied { thread: "control", why: panic_message(&*panic) })
        });
        self.close(&outcome);
        outcome
    }

    fn work(&mut self) -> Result<Exit, DaemonError> {
        loop {
            let patience = self.patience();
            self.beat.idle();
            let mail = self.mailbox.wait(patience);
            self.beat.busy(self.clock.now());
            match mail {
                Some(Mail::Note(Note::Stop { why })) => return Ok(Exit::Asked { why }),
                Some(Mail::Note(Note::ThreadDied { thread, why })) => {
                    return Err(DaemonError::ThreadDied { thread, why });
                }
                Some(Mail::Note(Note::CameraFailed { what })) => self.camera.failed(what),
                Some(Mail::Note(Note::Sensed { sensor, active, since })) => {
                    if sensor == Sensor::Panic {
                        self.panic_button(active)?;
                    }
                    self.drive(Input::Sensed { sensor, active, since }, None)?;
                }
                Some(Mail::Note(Note::InputsFailed { what })) => self.inputs_lost(what)?,
                Some(Mail::Note(Note::InputsBack)) => self.inputs_back()?,
                Some(Mail::Note(Note::RecordingOver)) => self.recording_over = true,
                Some(Mail::Command(command)) => self.command(command)?,
                Some(Mail::Analysis(analysis)) => self.analysed(&analysis)?,
                None => {}
            }
            self.tick()?;
            if self.is_at_the_end() {
                return Ok(Exit::RecordingOver);
            }
        }
    }

    /// How long control may wait for mail.
    fn patience(&self) -> Duration {
        let deadline = self.driver.next_deadline().map(|deadline| deadline.since(self.clock.now()));
        deadline.unwrap_or(self.limits.turn).min(self.limits.turn)
    }

    /// What time alone brings.
    fn tick(&mut self) -> Result<(), DaemonError> {
        let now = self.clock.now();
        self.drive(Input::Tick, None)?;
        match self.camera.check(&self.board, &self.limits, now) {
            Some(Change::Lost { what }) => self.camera_lost(&what)?,
            Some(Change::Back { silent_ms }) => self.camera_back(silent_ms)?,
            None => {}
        }
        self.tend_enrolment()?;
        self.keep_hours()?;
        // A reader may have kept what was erased in the log.
        self.store.is_erased();
        self.lamps.show(&self.board, now);
        self.readiness.alive(now);
        Ok(())
    }

    fn analysed(&mut self, analysis: &Analysis) -> Result<(), DaemonError> {
        let conclusions = if self.enrolling.is_some() {
            self.take_sample(analysis)?;
            Vec::new()
        } else {
            self.decide(analysis)?
        };
        let decided = Stamp::now(&*self.clock);
        if !analysis.faces.is_empty() {
            self.lamps.state.seen(decided.mono);
        }
        self.board.decided(decided.mono, decided.mono.since(analysis.captured));
        let (unlocked, enrolling) = (self.driver.is_unlocked(), self.enrolling.is_some());
        self.trace.write(decided, analysis, &conclusions, unlocked, enrolling);
        self.readiness.ready();
        Ok(())
    }

    fn camera_lost(&mut self, what: &str) -> Result<(), DaemonError> {
        log::error!("{what}");
        self.board.set_fault("camera", Some(what.to_owned()));
        self.attempts.forget();
        self.append("the loss of the camera", Event::new(EventKind::CameraLost, json!({ "what": what })))?;
        self.readiness.status(what);
        self.readiness.ready();
        Ok(())
    }

    fn camera_back(&mut self, silent_ms: u64) -> Result<(), DaemonError> {
        log::info!("pictures from the camera again");
        self.board.set_fault("camera", None);
        let event = Event::new(EventKind::CameraBack, json!({ "silent_ms": silent_ms }));
        self.append("the return of the camera", event)?;
        self.readiness.status("deciding");
        Ok(())
    }

    /// A recording has been seen to its end and the pulse it may have caused is over.
    fn is_at_the_end(&self) -> bool {
        self.recording_over && !self.mailbox.has_analyses() && self.driver.next_deadline().is_none()
    }

    /// Writes an event; durable when this returns.
    fn append(&mut self, what: &'static str, event: Event) -> Result<EventId, DaemonError> {
        let id = self
            .store
            .append(&event, Stamp::now(&*self.clock))
            .map_err(|source| DaemonError::Write { what, source })?;
        self.tell_followers();
        Ok(id)
    }

    fn tell_followers(&self) {
        self.journal.send_modify(|entries| *entries += 1);
    }

    /// The last thing control does: locks the door first of all, then writes how it ended. What fails here cannot
    /// stop the stop.
    fn close(&mut self, outcome: &Result<Exit, DaemonError>) {
        self.beat.busy(self.clock.now());
        let why = if outcome.is_ok() { "the daemon stops" } else { "fault" };
        if let Err(error) = self.drive(Input::Lock(why), None) {
            log::error!("{}", chain(&error));
        }
        self.readiness.stopping();
        if let Err(error) = self.end_enrolment("the daemon stopped", None) {
            log::error!("{}", chain(&error));
        }
        let (replaced, dropped) = (self.frames.replaced(), self.mailbox.dropped());
        let event = match outcome {
            Ok(exit) => {
                let why = match exit {
                    Exit::Asked { why } => why.as_str(),
                    Exit::RecordingOver => "the recording is over",
                };
                log::info!("stopping: {why}");
                let detail = json!({ "why": why, "frames_skipped": replaced, "analyses_dropped": dropped });
                Event::new(EventKind::Stop, detail)
            }
            Err(error) => {
                log::error!("stopping: {}", chain(error));
                let thread = match error {
                    DaemonError::ThreadDied { thread, .. } => thread,
                    _ => "control",
                };
                Event::new(EventKind::Fault, json!({ "thread": thread, "what": chain(error) }))
            }
        };
        if let Err(error) = self.append("the end", event) {
            log::error!("{}", chain(&error));
        }
    }
}
