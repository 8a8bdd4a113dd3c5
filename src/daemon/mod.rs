//! The running service: for each door a camera thread → newest-frame slot → vision thread, then one mailbox → one control
//! thread, and the control socket beside them. [`run`] is handed cameras, networks, relays and store, and returns when the
//! daemon has stopped: all doors are locked then.
//!
//! | thread  | owns                                       | waits for                 | when it fails |
//! |---------|--------------------------------------------|---------------------------|---------------|
//! | main    | the other threads                          | their ends and beats      | –             |
//! | camera, one a door | its camera                      | frames                    | camera errors: opens it again; a panic, or drivers that hang at all doors: the daemon stops |
//! | inputs, one a door | exit button, contact, tamper switch | their edges           | input errors: opens them again; a panic: the daemon stops |
//! | keypad, one a door | its keypad                      | keys                      | it is gone: opens it again; a panic: the daemon stops |
//! | pin     | nothing; hashes PINs                       | what was typed            | a panic: the daemon stops |
//! | vision, one a door | its tracks; the networks are shared | the slot              | the daemon stops |
//! | control | store, rules, all doors with their relays  | the mailbox, door deadlines | locks all doors, writes a fault, the daemon stops |
//! | socket  | the listener, a read-only view of the store | clients, signals         | the daemon stops |
//!
//! Only control decides and only control writes. It never waits for another thread.

pub mod analyser;
pub mod analysis;
mod assembly;
mod camera_loop;
pub mod client;
mod control;
pub mod custody;
mod doorway;
pub(crate) mod enrolment;
#[cfg(test)]
mod fakes;
mod figures;
mod input_loop;
mod keypad_loop;
mod mailbox;
pub mod migrating;
pub mod ops;
mod pin_loop;
pub mod presentation;
pub mod protocol;
mod readiness;
pub mod replaying;
pub mod second;
mod settings;
mod slot;
mod snapshot;
mod socket;
mod status;
mod studio;
mod supervise;
pub(crate) mod tested;
#[cfg(test)]
mod tests;
pub mod trace;
mod view;
mod vision_loop;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Learning, Rule};
use crate::calibration::Bar;
use crate::clock::Clock;
use crate::door::keypad::KeypadFactory;
use crate::door::{InputError, InputsFactory, Lamp, Relay, RelayError, Rules, Strike};
use crate::journal::replay::Keep;
use crate::liveness::challenge::Dice;
use crate::policy::Place;
use crate::store::{Store, StoreError};
use crate::vision::quality::QualityGates;

use analysis::Analyser;
use assembly::Daemon;
use migrating::OtherEncoder;
use presentation::CheckedBy;
use readiness::Readiness;
use second::SecondEye;
use socket::ControlSocket;

pub(crate) use socket::{actor, uid_of};

pub use camera_loop::CameraFactory;
pub use enrolment::EnrolmentOptions;
pub use snapshot::Snapshots;
pub use supervise::Shutdown;

/// What one door is made of.
pub struct DoorParts {
    /// Its name and which way it leads.
    pub place: Place,
    /// Opens the camera, and opens it again after a failure.
    pub open_camera: CameraFactory,
    /// The camera as configured, for messages.
    pub camera: String,
    /// The networks, loaded, with the tracks of this camera.
    pub analyser: Box<dyn Analyser>,
    /// The strike.
    pub strike: Box<dyn Strike>,
    /// Opens what else is wired to the door, if anything is.
    pub open_inputs: Option<InputsFactory>,
    /// Opens the keypad, if there is one.
    pub open_keypad: Option<KeypadFactory>,
    /// Lamps and their lines.
    pub lamps: Vec<(Lamp, Box<dyn Relay>)>,
    /// How long the strike is unlocked, and when it is locked early.
    pub rules: Rules,
    /// Where challenges are drawn from.
    pub dice: Option<Dice>,
    /// Its second camera, if it has one.
    pub second: Option<SecondParts>,
}

/// The second camera of a door.
pub struct SecondParts {
    /// It and how it is used, for messages.
    pub camera: String,
    /// Opens it, and opens it again after a failure.
    pub open: CameraFactory,
    /// Where its pictures go; the analyser looks there.
    pub eye: Arc<SecondEye>,
}

/// Everything a daemon is made of.
pub struct Parts {
    /// The doors; at least one, all with networks of one encoder.
    pub doors: Vec<DoorParts>,
    /// What is known of the photo check, for `accessd status`.
    pub photo_check: String,
    /// By which networks; what a test of the door holds for.
    pub checked_by: CheckedBy,
    /// People and journal; the daemon is their only writer.
    pub store: Box<dyn Store>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How many failed attempts are borne.
    pub patience: crate::policy::Patience,
    /// How PINs are gone about.
    pub pins: PinOptions,
    /// What doubts lead to.
    pub risks: crate::policy::Risks,
    /// Whether the calendar is believed.
    pub trust: crate::clock::Trust,
    /// What a grant takes, but for the threshold.
    pub rule: Rule,
    /// Where the threshold comes from.
    pub bar: Bar,
    /// Folder of the installed networks, for what was measured of them.
    pub models: PathBuf,
    /// What a face must be to be matched, for the journal: the analysers apply it.
    pub gates: QualityGates,
    /// The settings that are not the defaults, by key; a change of them is written down.
    pub settings: BTreeMap<String, String>,
    /// Of whose attempts embeddings are kept, to be weighed again later.
    pub keep: Keep,
    /// Of which refusals small pictures are kept.
    pub snapshots: Snapshots,
    /// How faces that are let in are learnt, if they are.
    pub learning: Option<Learning>,
    /// The encoder that is not in force, while the encoder is changed.
    pub other: Option<OtherEncoder>,
    /// How enrolment at the camera goes.
    pub enrolment: EnrolmentOptions,
    /// Where operators reach the daemon; the folder must exist.
    pub socket: PathBuf,
    /// One JSON line per analysed frame goes here: what was seen, concluded and how the door stood.
    pub trace: Option<Box<dyn Write + Send>>,
    /// What the web console may.
    pub console: ConsoleTerms,
    /// accessd's version.
    pub version: String,
}

/// How PINs are gone about.
#[derive(Clone, Copy, Debug)]
pub struct PinOptions {
    /// Fewest digits of a new one.
    pub digits: usize,
    /// How long face and PIN wait for each other.
    pub wait: Duration,
    /// How many wrong ones are borne.
    pub patience: crate::policy::PinPatience,
}

impl Default for PinOptions {
    fn default() -> Self {
        let patience = crate::policy::PinPatience { attempts: 5, off_after: 50 };
        Self { digits: 6, wait: Duration::from_secs(15), patience }
    }
}

/// What the web console may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleTerms {
    /// User ids that may speak for accounts of the console.
    pub users: Vec<u32>,
    /// Whether it is shown what the camera sees.
    pub live_picture: bool,
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
    /// A daemon without a door.
    #[error("there is no door to serve")]
    NoDoor,
    /// The relay did not obey.
    #[error("the relay did not obey; check the lock itself")]
    Relay(#[source] RelayError),
    /// Exit button, contact or tamper switch cannot be read at the start.
    #[error("what is wired to the door cannot be read")]
    Inputs(#[source] InputError),
    /// A thread ended that should not have.
    #[error("the {thread} thread{} ended: {why}", door.as_ref().map(|door| format!(" of {door}")).unwrap_or_default())]
    ThreadDied {
        /// Its name.
        thread: &'static str,
        /// Whose it is, where there are several doors.
        door: Option<String>,
        /// Its error or panic message.
        why: String,
    },
    /// A thread could not be started.
    #[error("the {thread} thread could not be started")]
    NoThread {
        /// Its name.
        thread: String,
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
