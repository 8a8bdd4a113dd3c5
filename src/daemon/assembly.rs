//! Puts a daemon together: locks the doors, writes the start down, starts the threads, and watches them to their end.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::access::{Adviser, Attempts, LookAlikes, Rule};
use crate::clock::{Clock, MonoTime};
use crate::door::keypad::KeypadFactory;
use crate::door::{Driver, Inputs, InputsFactory};
use crate::encoder::ModelId;
use crate::journal::replay::Keep;
use crate::journal::{Event, EventKind, Stamp};
use crate::policy::{self, Throttle};
use crate::store::Store;

use super::analysis::{AnalyseError, Analyser};
use super::camera_loop::{Backoff, CameraLoop};
use super::control::{Asking, CameraWatch, Control, HouseRules, LampBoard, Looks, Memory, Migrating, Pins};
use super::doorway::{DoorId, Doors, Doorway};
use super::input_loop::InputLoop;
use super::keypad_loop::KeypadLoop;
use super::mailbox::{Mailbox, Note};
use super::migrating::{MOST_JOBS, MigrationLoop, OtherEncoder};
use super::ops::Terms;
use super::pin_loop::PinLoop;
use super::readiness::Readiness;
use super::second::SecondLoop;
use super::settings;
use super::slot::Slot;
use super::snapshot::Snapshots;
use super::socket::{ControlSocket, Desk, Eye};
use super::status::{Board, DoorBoard, Fixed, FixedDoor};
use super::studio::Studio;
use super::supervise::{Beat, Crew, Halt, Worker, panic_message};
use super::tested::shown;
use super::trace::Trace;
use super::view::View;
use super::vision_loop::VisionLoop;
use super::{CameraFactory, DaemonError, DoorParts, Exit, Limits, Parts, SecondParts, Shutdown};
use crate::frame::Frame;
use crate::gallery::Gallery;

/// The threads at work and what main watches them by.
pub(super) struct Daemon {
    crew: Crew,
    clock: Arc<dyn Clock>,
    mailbox: Arc<Mailbox>,
    halt: Arc<Halt>,
    doors: Vec<Watched>,
    control_beat: Arc<Beat>,
    outcome: std::sync::mpsc::Receiver<Result<Exit, DaemonError>>,
}

type Work = Box<dyn FnOnce() -> Result<(), ThreadError> + Send>;

/// How a thread may end badly; a panic is another matter.
#[derive(Debug, thiserror::Error)]
enum ThreadError {
    /// The control socket's.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// A network's.
    #[error(transparent)]
    Vision(#[from] AnalyseError),
}

/// What main knows of a door's threads.
struct Watched {
    name: String,
    frames: Arc<Slot<Frame>>,
    camera_beat: Arc<Beat>,
    vision_beat: Arc<Beat>,
}

/// A door that is locked and whose threads have not been started yet.
struct Prepared {
    doorway: Doorway,
    analyser: Box<dyn Analyser>,
    open_camera: CameraFactory,
    second: Option<SecondParts>,
    inputs: Option<(Box<dyn Inputs>, InputsFactory)>,
    open_keypad: Option<KeypadFactory>,
    told: Value,
}

/// Locks a door and opens what is wired to it.
fn prepare(
    parts: DoorParts,
    rule: &Rule,
    patience: policy::Patience,
    (keep, migrates): (Keep, bool),
    now: MonoTime,
) -> Result<Prepared, DaemonError> {
    let DoorParts {
        place,
        open_camera,
        camera,
        analyser,
        strike,
        open_inputs,
        open_keypad,
        lamps,
        rules,
        dice,
        second,
    } = parts;
    let relay = strike.describe();
    let driver = Driver::start(rules, strike, now).map_err(DaemonError::Relay)?;
    let inputs = match open_inputs {
        Some(mut open) => Some((open().map_err(DaemonError::Inputs)?, open)),
        None => None,
    };
    let told = json!({ "door": place.door, "side": place.side, "camera": camera, "relay": relay });
    let second_camera = second.as_ref().map(|second| second.camera.clone());
    let fixed = FixedDoor { place: place.clone(), camera, second: second_camera, relay, started: now };
    let doorway = Doorway {
        place,
        driver,
        attempts: Attempts::new(rule.clone()).with_dice(dice),
        looks: Looks::default(),
        memory: Memory::new(keep, migrates),
        adviser: Adviser::default(),
        frames: Arc::new(Slot::new()),
        board: Arc::new(DoorBoard::new(fixed)),
        camera: CameraWatch::new(now),
        second: second.as_ref().map(|second| (second.eye.clone(), CameraWatch::new(now))),
        lamps: LampBoard::new(lamps),
        throttle: Throttle::new(patience),
        asking: Asking::default(),
        holding: None,
        going: Vec::new(),
        recording_over: false,
        proven: false,
    };
    Ok(Prepared { doorway, analyser, open_camera, second, inputs, open_keypad, told })
}

/// What the threads of all doors share.
struct Shared {
    gallery: Arc<ArcSwap<Gallery>>,
    mailbox: Arc<Mailbox>,
    clock: Arc<dyn Clock>,
    halt: Arc<Halt>,
    limits: Limits,
    several: bool,
    studio: Arc<Studio>,
    snapshots: Snapshots,
}

impl Shared {
    /// The threads of one door, ready to start, and what control and main keep of it.
    fn threads_of(
        &self,
        id: DoorId,
        door: Prepared,
        view: Arc<View>,
    ) -> (Doorway, Watched, Vec<(Worker, Work)>) {
        let Prepared { doorway, analyser, open_camera, second, inputs, open_keypad, .. } = door;
        let (mailbox, clock, halt) = (&self.mailbox, &self.clock, &self.halt);
        let name = doorway.place.door.clone();
        let worker = |thread| Worker { thread, door: self.several.then(|| name.clone()) };
        let [camera_beat, vision_beat]: [Arc<Beat>; 2] = Default::default();
        let vision = VisionLoop {
            door: id,
            analyser,
            frames: doorway.frames.clone(),
            gallery: self.gallery.clone(),
            mailbox: mailbox.clone(),
            clock: clock.clone(),
            beat: vision_beat.clone(),
            view,
            studio: self.studio.clone(),
            snapshots: self.snapshots,
        };
        let camera = CameraLoop {
            door: id,
            open: open_camera,
            frames: doorway.frames.clone(),
            mailbox: mailbox.clone(),
            board: doorway.board.clone(),
            clock: clock.clone(),
            beat: camera_beat.clone(),
            halt: halt.clone(),
            backoff: Backoff::new(self.limits.camera_backoff.0, self.limits.camera_backoff.1),
        };
        let camera = move || {
            camera.run();
            Ok(())
        };
        let mut threads: Vec<(Worker, Work)> = vec![
            (worker("vision"), Box::new(move || Ok(vision.run()?))),
            (worker("camera"), Box::new(camera)),
        ];
        if let Some(SecondParts { open, eye, .. }) = second {
            let (halt, pauses) = (halt.clone(), self.limits.camera_backoff);
            let second = move || {
                SecondLoop { open, eye, pauses }.run(|| halt.is_set(), |pause| halt.wait(pause));
                Ok(())
            };
            threads.push((worker("second camera"), Box::new(second)));
        }
        if let Some((inputs, open)) = inputs {
            let (mailbox, clock, halt) = (mailbox.clone(), clock.clone(), halt.clone());
            let inputs = InputLoop { door: id, inputs, open, mailbox, clock, halt };
            let inputs = move || {
                inputs.run();
                Ok(())
            };
            threads.push((worker("inputs"), Box::new(inputs)));
        }
        if let Some(open) = open_keypad {
            let (mailbox, clock, halt) = (mailbox.clone(), clock.clone(), halt.clone());
            let keypad = KeypadLoop { door: id, open, mailbox, clock, halt };
            let keypad = move || {
                keypad.run();
                Ok(())
            };
            threads.push((worker("keypad"), Box::new(keypad)));
        }
        let watched = Watched { name, frames: doorway.frames.clone(), camera_beat, vision_beat };
        (doorway, watched, threads)
    }
}

/// The thread of a change of the encoder, ready to start, and what control keeps of it.
fn migration(
    other: OtherEncoder,
    (store, this): (&dyn Store, &ModelId),
    mailbox: &Arc<Mailbox>,
    clock: &Arc<dyn Clock>,
    halt: &Arc<Halt>,
) -> Result<(Migrating, Work), DaemonError> {
    let OtherEncoder { model, embed, above } = other;
    let (jobs, waiting) = sync_channel(MOST_JOBS);
    let mut migrating = Migrating::new(model.clone(), above, jobs);
    migrating.count(store, this).map_err(DaemonError::Read)?;
    log::info!(
        "templates of {model} are made beside those of {this}; people who want some: {}",
        migrating.short()
    );
    let work = MigrationLoop {
        this: this.clone(),
        other: model,
        embed,
        reader: store.reader().map_err(DaemonError::Read)?,
        jobs: waiting,
        mailbox: mailbox.clone(),
        clock: clock.clone(),
        halt: halt.clone(),
    };
    let work = move || {
        // A network that breaks ends the change and not the door.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work.run())) {
            log::error!("the change of the encoder stands still: {}", panic_message(&*panic));
        }
        Ok(())
    };
    Ok((migrating, Box::new(work)))
}

impl Daemon {
    /// Locks the doors, writes the start down, and starts the threads.
    pub(super) fn assemble(
        parts: Parts,
        shutdown: Shutdown,
        limits: Limits,
        readiness: Readiness,
        socket: ControlSocket,
    ) -> Result<Self, DaemonError> {
        let Parts { clock, mut store, .. } = parts;
        let started = clock.now();
        // All doors are locked before anything else is done.
        let prepared = parts.doors.into_iter().map(|door| {
            prepare(door, &parts.rule, parts.patience, (parts.keep, parts.other.is_some()), started)
        });
        let mut prepared: Vec<Prepared> = prepared.collect::<Result<_, _>>()?;
        let model = prepared.first().ok_or(DaemonError::NoDoor)?.analyser.model().clone();
        store.believe_clock(parts.trust.holds(&*clock));
        let book = store.rule_book().map_err(DaemonError::Read)?;
        let gallery = store.gallery(&model).map_err(DaemonError::Read)?;
        let reader = store.reader().map_err(DaemonError::Read)?;
        let (rule, known) = parts.bar.apply(&gallery, &parts.rule);
        let supported = known.as_ref().is_none_or(|known| known.supported);
        let house = HouseRules::new(book, parts.risks, supported, parts.trust, &*clock)
            .map_err(DaemonError::Policy)?;
        let alike = LookAlikes::of(&gallery, &rule);
        for Prepared { doorway, .. } in &mut prepared {
            doorway.attempts.set_rule(rule.clone(), alike.clone());
            let settings = parts.checked_by.settings(
                doorway.board.camera(),
                doorway.board.second_camera(),
                &model,
                &rule,
            );
            let shown = shown(&*store, &doorway.place.door, &settings).map_err(DaemonError::Read)?;
            log::info!("{}: {}", doorway.place.door, shown.text);
            doorway.board.set_shown(shown);
        }
        let mut start = json!({
            "version": parts.version, "model": model, "people": gallery.people(), "threshold": rule.threshold,
            "photo_check": parts.photo_check, "pid": std::process::id(),
            "gates": parts.gates,
        });
        match prepared.as_slice() {
            [only] => {
                (start["camera"], start["relay"]) = (only.told["camera"].clone(), only.told["relay"].clone())
            }
            several => start["doors"] = several.iter().map(|door| door.told.clone()).collect(),
        }
        let changes = settings::changes(&*store, &parts.settings, &model).map_err(DaemonError::Read)?;
        let run = store
            .append(&Event::new(EventKind::Start, start), Stamp::now(&*clock))
            .map_err(|source| DaemonError::Write { what: "the start", source })?;
        for change in &changes {
            store
                .append(change, Stamp::now(&*clock))
                .map_err(|source| DaemonError::Write { what: "a change of the settings", source })?;
        }

        let fixed =
            Fixed { version: parts.version, photo_check: parts.photo_check, model: model.clone(), started };
        let boards = prepared.iter().map(|door| door.doorway.board.clone()).collect();
        let board = Arc::new(Board::new(fixed, boards));
        board.set_bar(rule.threshold, known.as_ref());
        board.set_people(gallery.people());
        let gallery = Arc::new(ArcSwap::from_pointee(gallery));
        let (mailbox, halt) = (Arc::new(Mailbox::default()), Arc::new(Halt::new()));
        let control_beat = Arc::<Beat>::default();
        let journal = Arc::new(watch::Sender::new(0));
        let studio = Arc::<Studio>::default();
        let eyes: Vec<Eye> = prepared.iter().map(|door| Eye::of(&door.doorway)).collect();
        let views: Vec<Arc<View>> = eyes.iter().map(|eye| eye.view.clone()).collect();
        let desk = Desk {
            console: parts.console,
            terms: Terms {
                model: model.clone(),
                rule: parts.rule.clone(),
                bar: parts.bar.clone(),
                pin_digits: parts.pins.digits,
                models: parts.models.clone(),
            },
            replaying: Arc::default(),
            gallery: gallery.clone(),
            figures: std::sync::Mutex::new(None),
            eyes,
            studio: studio.clone(),
            reader: std::sync::Mutex::new(reader),
            mailbox: mailbox.clone(),
            board: board.clone(),
            clock: clock.clone(),
            journal: journal.subscribe(),
            halt: halt.clone(),
            limits,
        };

        let shared = Shared {
            gallery,
            mailbox: mailbox.clone(),
            clock: clock.clone(),
            halt: halt.clone(),
            limits,
            several: prepared.len() > 1,
            studio,
            snapshots: parts.snapshots,
        };
        let mut threads: Vec<(Worker, Work)> =
            vec![("socket".into(), Box::new(move || Ok(socket.serve(desk, &shutdown)?)))];
        let (mut doorways, mut watched) = (Vec::new(), Vec::new());
        for ((n, door), view) in prepared.into_iter().enumerate().zip(views) {
            let (doorway, watch, of_door) = shared.threads_of(DoorId(n), door, view);
            doorways.push(doorway);
            watched.push(watch);
            threads.extend(of_door);
        }
        // Each door has one PIN looked at at a time.
        let (jobs, pins) = sync_channel(doorways.len());
        let pins = PinLoop { jobs: pins, mailbox: mailbox.clone(), halt: halt.clone() };
        let pins = move || {
            pins.run();
            Ok(())
        };
        threads.push(("pin".into(), Box::new(pins)));
        let migrating = match parts.other {
            Some(other) => {
                let (migrating, work) = migration(other, (&*store, &model), &mailbox, &clock, &halt)?;
                threads.push(("migration".into(), work));
                Some(migrating)
            }
            None => None,
        };
        let control = Control {
            doors: Doors(doorways),
            terms: Terms {
                model,
                rule: parts.rule,
                bar: parts.bar,
                pin_digits: parts.pins.digits,
                models: parts.models,
            },
            store,
            gallery: shared.gallery,
            options: parts.enrolment,
            mailbox: mailbox.clone(),
            board,
            clock: clock.clone(),
            beat: control_beat.clone(),
            journal,
            readiness,
            trace: Trace::new(parts.trace),
            limits,
            learning: parts.learning,
            migrating,
            last_grant: None,
            first_event: None,
            run,
            snapshots: parts.snapshots,
            enrolling: None,
            testing: None,
            tests: 0,
            tested: None,
            checked_by: parts.checked_by,
            house,
            pins: Pins::new(jobs, &parts.pins),
        };
        let (tell, outcome) = sync_channel(1);
        let control = move || {
            // Main is gone only when it gave control up as hung.
            let _ = tell.send(control.run());
            Ok(())
        };
        threads.push(("control".into(), Box::new(control)));

        let mut crew = Crew::new(mailbox.clone(), halt.clone());
        for (worker, work) in threads {
            let thread = worker.to_string();
            if let Err(source) = crew.start(worker, work) {
                halt.set();
                watched.iter().for_each(|door| door.frames.close());
                crew.dismiss(limits.farewell, &*clock);
                return Err(DaemonError::NoThread { thread, source });
            }
        }
        Ok(Self { crew, clock, mailbox, halt, doors: watched, control_beat, outcome })
    }

    /// Watches the threads until control ends, then ends the others.
    pub(super) fn supervise(mut self, limits: Limits) -> Result<Exit, DaemonError> {
        let outcome = loop {
            if self.crew.wait_for_an_end(limits.turn).is_some_and(|worker| worker.thread == "control") {
                break self.outcome.try_recv().unwrap_or_else(|_| {
                    let why = "panicked while stopping".into();
                    Err(DaemonError::ThreadDied { thread: "control", door: None, why })
                });
            }
            let now = self.clock.now();
            let stuck = self.control_beat.busy_for(now);
            if stuck > limits.control_stuck {
                break Err(DaemonError::ControlHangs { after_s: stuck.as_secs() });
            }
            self.report_hanging(limits, now);
        };
        self.halt.set();
        self.doors.iter().for_each(|door| door.frames.close());
        for thread in self.crew.dismiss(limits.farewell, &*self.clock) {
            log::warn!("the {thread} thread hangs; it ends with the process");
        }
        outcome
    }

    /// Tells control of threads that hang, at each turn. Vision that hangs ends the daemon: control locks, writes a fault and
    /// stops. So do cameras that hang at all doors, for only a new process can open them again; while one door still sees,
    /// the others' drivers are left to hang, and the operator is told.
    fn report_hanging(&self, limits: Limits, now: MonoTime) {
        let called = |door: &Watched| (self.doors.len() > 1).then(|| door.name.clone());
        let died = |thread, door: &Watched, stuck: Duration| {
            let why = format!("it has been in one call for {} s and will not come back", stuck.as_secs());
            self.mailbox.note(Note::ThreadDied { thread, door: called(door), why });
        };
        for door in &self.doors {
            let stuck = door.vision_beat.busy_for(now);
            if stuck > limits.vision_stuck {
                died("vision", door, stuck);
            }
        }
        let stuck = self.doors.iter().map(|door| door.camera_beat.busy_for(now));
        let hanging: Vec<_> = stuck.enumerate().filter(|(_, stuck)| *stuck > limits.camera_stuck).collect();
        if hanging.len() == self.doors.len() {
            hanging.iter().for_each(|(n, stuck)| died("camera", &self.doors[*n], *stuck));
            return;
        }
        for (n, stuck) in hanging {
            let what = format!(
                "the camera's driver has not answered for {} s; only a restart of the service can open it again",
                stuck.as_secs()
            );
            self.mailbox.note(Note::CameraFailed { door: DoorId(n), what });
        }
    }
}
