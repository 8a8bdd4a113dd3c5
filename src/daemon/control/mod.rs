//! The control thread: everything that decides or writes happens here, one thing after the other. It takes the most
//! urgent mail, does it, and sees to what is due: the end of a pulse, a silent camera, an enrolment whose time is up.

mod camera_watch;
mod deciding;
mod hardware;
mod learning;
mod looks;
mod memory;
mod migrating;
mod passages;
mod people;
mod pins;
mod rules;
mod spoof;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::watch;

use crate::access::{Advice, Learning};
use crate::clock::{Clock, MonoTime};
use crate::door::{Input, Sensor};
use crate::gallery::Gallery;
use crate::journal::{Event, EventId, EventKind, Stamp};
use crate::store::Store;

use super::analysis::Analysis;
use super::doorway::{DoorId, Doors, Doorway};
use super::enrolment::EnrolmentOptions;
use super::mailbox::{Mail, Mailbox, Note};
use super::ops::Terms;
use super::presentation::CheckedBy;
use super::readiness::Readiness;
use super::snapshot::Snapshots;
use super::status::Board;
use super::supervise::{Beat, chain, panic_message};
use super::trace::Trace;
use super::{DaemonError, Exit, Limits};

pub(crate) use camera_watch::CameraWatch;
use camera_watch::Change;
pub(crate) use hardware::LampBoard;
pub(crate) use looks::Looks;
pub(crate) use memory::Memory;
pub(crate) use migrating::Migrating;
pub(crate) use passages::Going;
use people::LiveEnrolment;
pub(crate) use pins::{Asking, Pins};
pub(crate) use rules::{Holding, HouseRules};
use spoof::SpoofTest;

/// What the control thread owns and works with.
pub(crate) struct Control {
    pub(crate) store: Box<dyn Store>,
    pub(crate) doors: Doors,
    pub(crate) learning: Option<Learning>,
    /// The change of the encoder, while there is one.
    pub(crate) migrating: Option<Migrating>,
    /// The last grant that was written down.
    pub(crate) last_grant: Option<EventId>,
    /// The first record that the verdict under way has led to.
    pub(crate) first_event: Option<(EventId, EventKind)>,
    /// The record of the start.
    pub(crate) run: EventId,
    pub(crate) snapshots: Snapshots,
    pub(crate) terms: Terms,
    pub(crate) options: EnrolmentOptions,
    pub(crate) gallery: Arc<ArcSwap<Gallery>>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) beat: Arc<Beat>,
    /// Counts journal entries, so that followers know when to look.
    pub(crate) journal: Arc<watch::Sender<u64>>,
    pub(crate) readiness: Readiness,
    pub(crate) trace: Trace,
    pub(crate) limits: Limits,
    pub(crate) enrolling: Option<LiveEnrolment>,
    pub(crate) testing: Option<SpoofTest>,
    /// How many tests have begun.
    pub(crate) tests: u64,
    /// Which door was tested last, and until when: what was filmed before decides nothing afterwards.
    pub(crate) tested: Option<(DoorId, MonoTime)>,
    pub(crate) checked_by: CheckedBy,
    pub(crate) house: HouseRules,
    pub(crate) pins: Pins,
}

impl Control {
    /// Runs until the daemon is to stop; the door is locked and the stop or fault written when this returns.
    ///
    /// # Errors
    /// When anything failed that a door must not go on without.
    pub(crate) fn run(mut self) -> Result<Exit, DaemonError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work())).unwrap_or_else(|panic| {
            Err(DaemonError::ThreadDied { thread: "control", door: None, why: panic_message(&*panic) })
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
                Some(Mail::Note(Note::ThreadDied { thread, door, why })) => {
                    return Err(DaemonError::ThreadDied { thread, door, why });
                }
                Some(Mail::Note(Note::CameraFailed { door, what })) => self.camera_failed(door, what),
                Some(Mail::Note(Note::Sensed { door, sensor, active, since })) => {
                    if sensor == Sensor::Panic {
                        self.panic_button(active)?;
                    }
                    self.drive(door, Input::Sensed { sensor, active, since }, None)?;
                }
                Some(Mail::Note(Note::InputsFailed { door, what })) => self.inputs_lost(door, what)?,
                Some(Mail::Note(Note::InputsBack { door })) => self.inputs_back(door)?,
                Some(Mail::Note(Note::RecordingOver { door })) => self.doors[door].recording_over = true,
                Some(Mail::Note(Note::Typed { door, typed })) => self.keyed(door, typed)?,
                Some(Mail::Note(Note::PinChecked { door, proof })) => self.pin_checked(door, proof)?,
                Some(Mail::Note(Note::KeypadFailed { door, what })) => self.keypad_lost(door, what)?,
                Some(Mail::Note(Note::KeypadBack { door })) => self.keypad_back(door)?,
                Some(Mail::Command(command)) => self.command(command)?,
                Some(Mail::Analysis(door, analysis)) => self.analysed(door, &analysis)?,
                Some(Mail::Made(made)) => self.migrated(made),
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
        let deadline = self.doors.next_deadline_in(self.clock.now());
        deadline.unwrap_or(self.limits.turn).min(self.limits.turn)
    }

    /// What time alone brings.
    fn tick(&mut self) -> Result<(), DaemonError> {
        let now = self.clock.now();
        for door in self.doors.ids() {
            self.drive(door, Input::Tick, None)?;
            let doorway = &mut self.doors[door];
            match doorway.camera.check(&doorway.board, &self.limits, now) {
                Some(Change::Lost { what }) => self.camera_lost(door, &what)?,
                Some(Change::Back { silent_ms }) => self.camera_back(door, silent_ms)?,
                None => {}
            }
            self.watch_second(door)?;
        }
        self.tend_enrolment()?;
        self.tend_test()?;
        self.keep_hours()?;
        self.tend_pins()?;
        self.tend_people()?;
        self.keep_attempts(false);
        let at = Stamp::now(&*self.clock);
        self.store.tend(at).map_err(|source| DaemonError::Write { what: "a signature", source })?;
        for Doorway { lamps, board, adviser, driver, .. } in &mut self.doors.0 {
            let advice = adviser.at(now).filter(|_| !driver.is_unlocked());
            board.set_advice(advice);
            lamps.state.advise(advice.map(Advice::blinks));
            lamps.show(board, now);
        }
        self.readiness.alive(now);
        Ok(())
    }

    fn analysed(&mut self, door: DoorId, analysis: &Analysis) -> Result<(), DaemonError> {
        let conclusions = if self.enrols_at(door) {
            self.take_sample(analysis)?;
            Vec::new()
        } else if self.tests_at(door) {
            self.show_to_test(door, analysis)?;
            Vec::new()
        } else if self.tested.is_some_and(|(of, until)| of == door && analysis.captured <= until) {
            Vec::new()
        } else {
            self.decide(door, analysis)?
        };
        let decided = Stamp::now(&*self.clock);
        let (enrolling, several) = (self.enrols_at(door) || self.tests_at(door), self.doors.are_several());
        let doorway = &mut self.doors[door];
        if !analysis.faces.is_empty() {
            doorway.lamps.state.seen(decided.mono);
        }
        doorway.board.decided(decided.mono, decided.mono.since(analysis.captured));
        let (unlocked, at) = (doorway.driver.is_unlocked(), doorway.place.door.as_str());
        self.trace.write(decided, several.then_some(at), analysis, &conclusions, unlocked, enrolling);
        self.proven(door);
        Ok(())
    }

    /// Whether somebody is being enrolled at the camera of this door, which decides nothing meanwhile.
    fn enrols_at(&self, door: DoorId) -> bool {
        self.enrolling.as_ref().is_some_and(|enrolling| enrolling.door == door)
    }

    /// A door is known to work, or known not to see: when all are, the service is up.
    fn proven(&mut self, door: DoorId) {
        self.doors[door].proven = true;
        if self.doors.0.iter().all(|door| door.proven) {
            self.readiness.ready();
        }
    }

    /// The camera said why it fails; what is told of a lost one is kept up to date.
    fn camera_failed(&mut self, door: DoorId, what: String) {
        let doorway = &mut self.doors[door];
        if doorway.camera.is_lost() {
            doorway.board.set_fault("camera", Some(format!("no picture: {what}")));
        }
        doorway.camera.failed(what);
    }

    fn camera_lost(&mut self, door: DoorId, what: &str) -> Result<(), DaemonError> {
        let doorway = &mut self.doors[door];
        log::error!(door = doorway.place.door.as_str(); "{what}");
        doorway.board.set_fault("camera", Some(what.to_owned()));
        doorway.attempts.forget();
        doorway.memory.cut();
        doorway.asking.forget();
        let event = Event::new(EventKind::CameraLost, json!({ "what": what }));
        self.append_at(door, "the loss of the camera", event)?;
        self.tell_cameras();
        self.proven(door);
        Ok(())
    }

    /// Says when the second camera of a door is lost and when it is back. What that means for the door each look says.
    fn watch_second(&mut self, door: DoorId) -> Result<(), DaemonError> {
        let now = self.clock.now();
        let Some((eye, watch)) = &mut self.doors[door].second else { return Ok(()) };
        if let Some(failure) = eye.failure() {
            watch.failed(failure);
        }
        let (kind, fault, detail) = match watch.check_at(eye.newest_at(), &self.limits, now) {
            Some(Change::Lost { what }) => {
                let what = format!("second camera: {what}");
                log::error!("{what}");
                (EventKind::CameraLost, Some(what.clone()), json!({ "what": what }))
            }
            Some(Change::Back { silent_ms }) => {
                log::info!("pictures from the second camera again");
                (EventKind::CameraBack, None, json!({ "what": "second camera", "silent_ms": silent_ms }))
            }
            None => return Ok(()),
        };
        self.doors[door].board.set_fault("second camera", fault);
        self.append_at(door, "the state of a second camera", Event::new(kind, detail)).map(drop)
    }

    fn camera_back(&mut self, door: DoorId, silent_ms: u64) -> Result<(), DaemonError> {
        log::info!(door = self.doors[door].place.door.as_str(); "pictures from the camera again");
        self.doors[door].board.set_fault("camera", None);
        let event = Event::new(EventKind::CameraBack, json!({ "silent_ms": silent_ms }));
        self.append_at(door, "the return of the camera", event)?;
        self.tell_cameras();
        Ok(())
    }

    /// The service manager is told which cameras are lost.
    fn tell_cameras(&mut self) {
        let lost = self.doors.0.iter().filter(|door| door.camera.is_lost());
        let lost: Vec<String> = lost.flat_map(|door| door.board.status(self.clock.now()).faults).collect();
        self.readiness.status(if lost.is_empty() { "deciding".into() } else { lost.join("; ") }.as_str());
    }

    /// All cameras were recordings that have been seen to their end, and the pulses they may have caused are over.
    fn is_at_the_end(&self) -> bool {
        self.doors.0.iter().all(|door| door.recording_over && door.driver.next_deadline().is_none())
            && !self.mailbox.has_analyses()
    }

    /// Writes an event of a door; durable when this returns.
    fn append_at(&mut self, door: DoorId, what: &'static str, event: Event) -> Result<EventId, DaemonError> {
        let event = event.at_door(&self.doors[door].place.door);
        self.append(what, event)
    }

    /// Writes an event; durable when this returns.
    fn append(&mut self, what: &'static str, event: Event) -> Result<EventId, DaemonError> {
        let id = self
            .store
            .append(&event, Stamp::now(&*self.clock))
            .map_err(|source| DaemonError::Write { what, source })?;
        self.first_event.get_or_insert((id, event.kind));
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
        if let Err(error) = self.drive_all(|| Input::Lock(why)) {
            log::error!("{}", chain(&error));
        }
        // Whoever called for help just before is heard.
        if let Err(error) = self.call_for_help(true) {
            log::error!("{}", chain(&error));
        }
        self.readiness.stopping();
        if let Err(error) = self.end_enrolment("the daemon stopped", None) {
            log::error!("{}", chain(&error));
        }
        if let Err(error) = self.end_test("the daemon stopped", None) {
            log::error!("{}", chain(&error));
        }
        self.keep_attempts(true);
        let (replaced, dropped) =
            (self.doors.0.iter().map(|door| door.frames.replaced()).sum::<u64>(), self.mailbox.dropped());
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
                let (thread, door) = match error {
                    DaemonError::ThreadDied { thread, door, .. } => (*thread, door.clone()),
                    _ => ("control", None),
                };
                let detail = json!({ "thread": thread, "what": chain(error) });
                Event { door, ..Event::new(EventKind::Fault, detail) }
            }
        };
        if let Err(error) = self.append("the end", event) {
            log::error!("{}", chain(&error));
        }
    }
}
