//! The running service: camera thread → newest-frame slot → vision thread → mailbox → control thread, and the control
//! socket beside them. [`run`] is handed its camera, networks, relay and store, and returns when the daemon has
//! stopped: the door is locked then.
//!
//! | thread  | owns                                       | waits for                 | when it fails |
//! |---------|--------------------------------------------|---------------------------|---------------|
//! | main    | the other threads                          | their ends and beats      | –             |
//! | camera  | the camera                                 | frames                    | camera errors: opens it again; a panic or a driver that hangs: the daemon stops |
//! | inputs  | exit button, contact, tamper switch        | their edges               | input errors: opens them again; a panic: the daemon stops |
//! | vision  | the networks                               | the slot                  | the daemon stops |
//! | control | store, attempts, door with its relay       | the mailbox, door deadlines | locks, writes a fault, the daemon stops |
//! | socket  | the listener, a read-only view of the store | clients, signals         | the daemon stops |
//!
//! Only control decides and only control writes. It never waits for another thread.

pub mod analyser;
pub mod analysis;
mod camera_loop;
pub mod client;
mod control;
pub mod custody;
pub(crate) mod enrolment;
#[cfg(test)]
mod fakes;
mod input_loop;
mod mailbox;
pub mod ops;
pub mod protocol;
mod readiness;
mod slot;
mod socket;
mod status;
mod supervise;
#[cfg(test)]
mod tests;
pub mod trace;
mod vision_loop;

use std::convert::Infallible;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::watch;

use crate::access::{Attempts, Rule};
use crate::calibration::Bar;
use crate::clock::{Clock, MonoTime};
use crate::door::{Driver, InputError, InputsFactory, Lamp, Relay, RelayError, Rules, Strike};
use crate::frame::Frame;
use crate::journal::{Event, EventKind, Stamp};
use crate::store::{Store, StoreError};

use analysis::Analyser;
use camera_loop::{Backoff, CameraLoop};
use control::{Control, HouseRules, LampBoard};
use input_loop::InputLoop;
use mailbox::{Mailbox, Note};
use ops::Terms;
use readiness::Readiness;
use slot::Slot;
use socket::{ControlSocket, Desk};
use status::{Board, Fixed};
use supervise::{Beat, Crew, Halt};
use trace::Trace;
use vision_loop::VisionLoop;

pub(crate) use socket::actor;

pub use camera_loop::CameraFactory;
pub use enrolment::EnrolmentOptions;
pub use supervise::Shutdown;

/// Everything a daemon is made of.
pub struct Parts {
    /// Opens the camera, and opens it again after a failure.
    pub open_camera: CameraFactory,
    /// The camera as configured, for messages.
    pub camera: String,
    /// What is known of the photo check, for `accessd status`.
    pub photo_check: String,
    /// The networks, loaded.
    pub analyser: Box<dyn Analyser>,
    /// The strike.
    pub strike: Box<dyn Strike>,
    /// Opens what else is wired to the door, if anything is.
    pub open_inputs: Option<InputsFactory>,
    /// Lamps and their lines.
    pub lamps: Vec<(Lamp, Box<dyn Relay>)>,
    /// People and journal; the daemon is their only writer.
    pub store: Box<dyn Store>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How many failed attempts are borne.
    pub patience: crate::policy::Patience,
    /// Whether the calendar is believed.
    pub trust: crate::clock::Trust,
    /// What a grant takes, but for the threshold.
    pub rule: Rule,
    /// Where the threshold comes from.
    pub bar: Bar,
    /// How long the strike is unlocked, and when it is locked early.
    pub door: Rules,
    /// How enrolment at the camera goes.
    pub enrolment: EnrolmentOptions,
    /// Where operators reach the daemon; the folder must exist.
    pub socket: PathBuf,
    /// One JSON line per analysed frame goes here: what was seen, concluded and how the door stood.
    pub trace: Option<Box<dyn Write + Send>>,
    /// accessd's version.
    pub version: String,
}

/// Why the daemon stopped in good order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A signal or [`Shutdown::ask`].
    Asked {
        /// Who asked.
        why: String,
    },
    /// The camera is a recording, and it is over.
    RecordingOver,
}

/// Why the daemon could not start or go on. The door is locked, unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The control socket is answered by another daemon.
    #[error("another accessd runs{} and answers on {}; stop it first", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), socket.display())]
    AlreadyRunning {
        /// The socket.
        socket: PathBuf,
        /// The other daemon, if the system names it.
        pid: Option<i32>,
    },
    /// The control socket could not be made or served.
    #[error("control socket {}: {what}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What failed and what to try.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// People or journal could not be read.
    #[error("the people and the journal cannot be read")]
    Read(#[source] StoreError),
    /// An event could not be made durable.
    #[error("{what} could not be written to the journal; nothing may happen at the door that is not on disk")]
    Write {
        /// Which event.
        what: &'static str,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// The relay did not obey.
    #[error("the relay did not obey; check the lock itself")]
    Relay(#[source] RelayError),
    /// Exit button, contact or tamper switch cannot be read at the start.
    #[error("what is wired to the door cannot be read")]
    Inputs(#[source] InputError),
    /// A thread ended that should not have.
    #[error("the {thread} thread ended: {why}")]
    ThreadDied {
        /// Its name.
        thread: &'static str,
        /// Its error or panic message.
        why: String,
    },
    /// A thread could not be started.
    #[error("the {thread} thread could not be started")]
    NoThread {
        /// Its name.
        thread: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The control thread hangs, most likely in a disk that does not answer. The relay is released when the process
    /// ends, so the caller must end it.
    #[error("the control thread has been stuck for {after_s} s, most likely in a disk that does not answer")]
    ControlHangs {
        /// How long.
        after_s: u64,
    },
    /// The rule book cannot be used.
    #[error("who may enter when cannot be decided")]
    Policy(#[source] crate::policy::PolicyError),
    /// The panic button was pressed, and lockdown could not be written down.
    #[error("lockdown could not begin: {0}")]
    Lockdown(String),
}

/// How patient the daemon is. Not configurable: a door's limits are not a matter of taste.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// No frame for so long: the camera is lost.
    pub(crate) camera_silent: Duration,
    /// Until the first frame it may take so long: cameras open slowly.
    pub(crate) camera_first: Duration,
    /// A camera call that takes longer will never return; only a new process can open the device again.
    pub(crate) camera_stuck: Duration,
    /// An analysis that takes longer will never return. Generous: a frame that took longer than the decision's
    /// limit lets nobody in anyway.
    pub(crate) vision_stuck: Duration,
    /// Control that has not turned for so long is stuck: a pulse may be running out meanwhile, and a hung process
    /// must not leave the strike energised for 10 s.
    pub(crate) control_stuck: Duration,
    /// Longest wait between two turns of control, and of main.
    pub(crate) turn: Duration,
    /// How long threads get to end at a stop.
    pub(crate) farewell: Duration,
    /// Pauses before the camera is opened again.
    pub(crate) camera_backoff: (Duration, Duration),
    /// A client that asks nothing for so long is hung up on.
    pub(crate) client_idle: Duration,
    /// A client that does not take its reply in this time is hung up on.
    pub(crate) client_slow: Duration,
}

/// How patient the service is with its networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// As a door needs it.
    #[default]
    Door,
    /// As a test in an emulator needs it, whose floating point takes some hundred times as long. A frame that decides
    /// may then be minutes old, which no door must allow.
    Emulator,
}

impl Patience {
    /// How long to wait here for what a door waits for `limit`.
    pub fn stretch(self, limit: Duration) -> Duration {
        match self {
            Patience::Door => limit,
            Patience::Emulator => limit * 200,
        }
    }
}

impl Limits {
    /// The limits of a service this patient. All that keeps the door safe stays as it is.
    fn of(patience: Patience) -> Self {
        let door = Self::default();
        Self { vision_stuck: patience.stretch(door.vision_stuck), ..door }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            camera_silent: Duration::from_secs(2),
            camera_first: Duration::from_secs(5),
            camera_stuck: Duration::from_secs(60),
            vision_stuck: Duration::from_secs(60),
            control_stuck: Duration::from_secs(8),
            turn: Duration::from_millis(100),
            farewell: Duration::from_millis(800),
            camera_backoff: (Duration::from_millis(500), Duration::from_secs(4)),
            client_idle: Duration::from_secs(60),
            client_slow: Duration::from_secs(10),
        }
    }
}

/// Runs the daemon until `shutdown` asks it to stop, its recording ends, or something breaks. After an error the
/// caller must end the process: a thread that hangs is left behind.
///
/// # Errors
/// When the daemon cannot start, and when a thread, the relay or the journal fails. A fault is in the journal then,
/// unless it was the journal.
pub fn run(parts: Parts, shutdown: Shutdown, patience: Patience) -> Result<Exit, DaemonError> {
    run_with(parts, shutdown, Limits::of(patience), Readiness::systemd())
}

pub(crate) fn run_with(
    parts: Parts,
    shutdown: Shutdown,
    limits: Limits,
    readiness: Readiness,
) -> Result<Exit, DaemonError> {
    // First of all, so that a second daemon touches neither relay nor journal of the first.
    let socket = ControlSocket::bind(&parts.socket)?;
    let daemon = Daemon::assemble(parts, shutdown, limits, readiness, socket)?;
    daemon.supervise(limits)
}

/// The threads at work and what main watches them by.
struct Daemon {
    crew: Crew,
    clock: Arc<dyn Clock>,
    mailbox: Arc<Mailbox>,
    frames: Arc<Slot<Frame>>,
    halt: Arc<Halt>,
    camera_beat: Arc<Beat>,
    vision_beat: Arc<Beat>,
    control_beat: Arc<Beat>,
    outcome: std::sync::mpsc::Receiver<Result<Exit, DaemonError>>,
}

impl Daemon {
    /// Locks the door, writes the start down, and starts the threads.
    fn assemble(
        parts: Parts,
        shutdown: Shutdown,
        limits: Limits,
        readiness: Readiness,
        socket: ControlSocket,
    ) -> Result<Self, DaemonError> {
        let Parts { clock, mut store, analyser, .. } = parts;
        let started = clock.now();
        let relay = parts.strike.describe();
        let driver = Driver::start(parts.door, parts.strike, started).map_err(DaemonError::Relay)?;
        let inputs = match parts.open_inputs {
            Some(mut open) => Some((open().map_err(DaemonError::Inputs)?, open)),
            None => None,
        };
        let book = store.rule_book().map_err(DaemonError::Read)?;
        let house =
            HouseRules::new(book, parts.patience, parts.trust, &*clock).map_err(DaemonError::Policy)?;
        let model = analyser.model().clone();
        let gallery = store.gallery(&model).map_err(DaemonError::Read)?;
        let reader = store.reader().map_err(DaemonError::Read)?;
        let (rule, known) = parts.bar.apply(&gallery, &parts.rule);
        let start = json!({
            "version": parts.version, "model": model, "camera": parts.camera, "relay": relay,
            "people": gallery.people(), "threshold": rule.threshold, "photo_check": parts.photo_check, "pid": std::process::id(),
        });
        store
            .append(&Event::new(EventKind::Start, start), Stamp::now(&*clock))
            .map_err(|source| DaemonError::Write { what: "the start", source })?;

        let board = Arc::new(Board::new(Fixed {
            version: parts.version,
            camera: parts.camera,
            relay,
            photo_check: parts.photo_check,
            model: model.clone(),
            started,
        }));
        board.set_bar(rule.threshold, known.as_ref());
        board.set_people(gallery.people());
        let gallery = Arc::new(ArcSwap::from_pointee(gallery));
        let (mailbox, frames, halt) =
            (Arc::new(Mailbox::default()), Arc::new(Slot::new()), Arc::new(Halt::new()));
        let [camera_beat, vision_beat, control_beat]: [Arc<Beat>; 3] = Default::default();
        let journal = Arc::new(watch::Sender::new(0));

        let desk = Desk {
            reader: std::sync::Mutex::new(reader),
            mailbox: mailbox.clone(),
            board: board.clone(),
            clock: clock.clone(),
            journal: journal.subscribe(),
            halt: halt.clone(),
            limits,
        };
        let control = Control {
            attempts: Attempts::new(rule),
            terms: Terms { model, rule: parts.rule, bar: parts.bar },
            store,
            driver,
            gallery: gallery.clone(),
            options: parts.enrolment,
            mailbox: mailbox.clone(),
            frames: frames.clone(),
            board: board.clone(),
            clock: clock.clone(),
            beat: control_beat.clone(),
            journal,
            readiness,
            trace: Trace::new(parts.trace),
            limits,
            camera: control::CameraWatch::new(started),
            lamps: LampBoard::new(parts.lamps),
            enrolling: None,
            recording_over: false,
            house,
        };
        let vision = VisionLoop {
            analyser,
            frames: frames.clone(),
            gallery,
            mailbox: mailbox.clone(),
            clock: clock.clone(),
            beat: vision_beat.clone(),
        };
        let camera = CameraLoop {
            open: parts.open_camera,
            frames: frames.clone(),
            mailbox: mailbox.clone(),
            board,
            clock: clock.clone(),
            beat: camera_beat.clone(),
            halt: halt.clone(),
            backoff: Backoff::new(limits.camera_backoff.0, limits.camera_backoff.1),
        };

        let inputs = inputs.map(|(inputs, open)| InputLoop {
            inputs,
            open,
            mailbox: mailbox.clone(),
            clock: clock.clone(),
            halt: halt.clone(),
        });
        let mut crew = Crew::new(mailbox.clone(), halt.clone());
        let (tell, outcome) = sync_channel(1);
        let no_thread = |thread| move |source| DaemonError::NoThread { thread, source };
        let started = crew
            .start("socket", move || socket.serve(desk, &shutdown))
            .map_err(no_thread("socket"))
            .and_then(|()| crew.start("vision", move || vision.run()).map_err(no_thread("vision")))
            .and_then(|()| {
                let camera = move || {
                    camera.run();
                    Ok::<(), Infallible>(())
                };
                crew.start("camera", camera).map_err(no_thread("camera"))
            })
            .and_then(|()| match inputs {
                Some(inputs) => {
                    let inputs = move || {
                        inputs.run();
                        Ok::<(), Infallible>(())
                    };
                    crew.start("inputs", inputs).map_err(no_thread("inputs"))
                }
                None => Ok(()),
            })
            .and_then(|()| {
                let control = move || {
                    // Main is gone only when it gave control up as hung.
                    let _ = tell.send(control.run());
                    Ok::<(), Infallible>(())
                };
                crew.start("control", control).map_err(no_thread("control"))
            });
        if let Err(error) = started {
            halt.set();
            frames.close();
            crew.dismiss(limits.farewell, &*clock);
            return Err(error);
        }
        Ok(Self { crew, clock, mailbox, frames, halt, camera_beat, vision_beat, control_beat, outcome })
    }

    /// Watches the threads until control ends, then ends the others.
    fn supervise(mut self, limits: Limits) -> Result<Exit, DaemonError> {
        let outcome = loop {
            if self.crew.wait_for_an_end(limits.turn) == Some("control") {
                break self.outcome.try_recv().unwrap_or_else(|_| {
                    Err(DaemonError::ThreadDied { thread: "control", why: "panicked while stopping".into() })
                });
            }
            let now = self.clock.now();
            let stuck = self.control_beat.busy_for(now);
            if stuck > limits.control_stuck {
                break Err(DaemonError::ControlHangs { after_s: stuck.as_secs() });
            }
            self.report_hanging("camera", &self.camera_beat, limits.camera_stuck, now);
            self.report_hanging("vision", &self.vision_beat, limits.vision_stuck, now);
        };
        self.halt.set();
        self.frames.close();
        for thread in self.crew.dismiss(limits.farewell, &*self.clock) {
            log::warn!("the {thread} thread hangs; it ends with the process");
        }
        outcome
    }

    /// Tells control, which locks, writes a fault and stops. Told again at each turn until control has.
    fn report_hanging(&self, thread: &'static str, beat: &Beat, limit: Duration, now: MonoTime) {
        let stuck = beat.busy_for(now);
        if stuck > limit {
            let why = format!("it has been in one call for {} s and will not come back", stuck.as_secs());
            self.mailbox.note(Note::ThreadDied { thread, why });
        }
    }
}
