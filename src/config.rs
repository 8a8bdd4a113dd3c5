//! The configuration file: every key has a default, a range and an effect; unknown keys are refused.
//!
//! Stands beside the data's way: the command line loads it once and hands each room its section. This file has the
//! sections and their defaults, [`keys`] what each key takes, [`load`] the way from a file to a [`Config`], [`doors`] what
//! several doors must not share.
//! `config/accessd.toml` explains each key to the operator.

mod changed;
mod doors;
mod edit;
mod keys;
mod load;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use edit::{Changed, EditError};
pub use load::{ConfigError, Problem};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where frames come from.
    pub camera: CameraConfig,
    /// Finding and judging faces.
    pub vision: VisionConfig,
    /// The Siamese network.
    pub encoder: EncoderConfig,
    /// What a grant takes.
    pub decision: DecisionConfig,
    /// Telling faces from pictures of them.
    pub liveness: LivenessConfig,
    /// The strike of the only door.
    pub door: DoorConfig,
    /// What else is wired to the door.
    pub inputs: InputsConfig,
    /// What the door shows.
    pub lamps: LampsConfig,
    /// Enrolment at a camera.
    pub enrolment: EnrolmentConfig,
    /// Learning of faces that are let in.
    pub learning: LearningConfig,
    /// Failed attempts.
    pub throttle: ThrottleConfig,
    /// PINs.
    pub pin: PinConfig,
    /// What doubts lead to.
    pub risk: RiskConfig,
    /// The calendar.
    pub clock: ClockConfig,
    /// The door's log.
    pub journal: JournalConfig,
    /// What is kept of people, and for how long.
    pub privacy: PrivacyConfig,
    /// Files and folders.
    pub paths: PathsConfig,
    /// The web console.
    pub console: ConsoleConfig,
    /// How patient the service is.
    pub limits: LimitsConfig,
    /// What is written to the system log.
    pub log: LogConfig,
    /// Each door with its own camera, strike, inputs and lamps, where there are several; see [`Config::doors`].
    #[serde(skip)]
    several: Vec<DoorSetup>,
}

/// One door with all that belongs to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DoorSetup {
    /// Its camera.
    pub camera: CameraConfig,
    /// Its name, its side and its strike.
    pub door: DoorConfig,
    /// What else is wired to it.
    pub inputs: InputsConfig,
    /// What it shows.
    pub lamps: LampsConfig,
}

impl Config {
    /// Every door, in the order of the file; at least one.
    pub fn doors(&self) -> Vec<DoorSetup> {
        if !self.several.is_empty() {
            return self.several.clone();
        }
        let Self { camera, door, inputs, lamps, .. } = self.clone();
        vec![DoorSetup { camera, door, inputs, lamps }]
    }

    /// Whether there is more than one door.
    pub fn has_several_doors(&self) -> bool {
        self.several.len() > 1
    }
}

/// `[camera]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraConfig {
    /// `v4l:DEVICE`, `command:PROGRAM ARGS…` or `clip:PATH`.
    pub source: String,
    /// Wanted width in px (v4l), 160–3840.
    pub width: u32,
    /// Wanted height in px (v4l), 120–2160.
    pub height: u32,
    /// Wanted frames a second (v4l; for clips without times of their own), 1–60.
    pub fps: u32,
    /// A camera beside it that must see each face as well, or `none`.
    pub second: String,
    /// `deny`: while the second camera gives no picture no face opens the door; `ignore`: the door goes on without it.
    pub second_lost: String,
    /// How far apart the two may see a face, in shares of the picture's width, 0.05–1.
    pub second_apart: f32,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self {
            source: "v4l:0".into(),
            width: 640,
            height: 480,
            fps: 15,
            second: "none".into(),
            second_lost: "deny".into(),
            second_apart: 0.25,
        }
    }
}

/// `[vision]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VisionConfig {
    /// Longest side in px at which faces are sought, 160–1280, a multiple of 32.
    pub detect_px: u32,
    /// The detector's confidence from which a box counts as a face, 0.3–0.99.
    pub min_face_score: f32,
    /// Eye distance in px from which a face is matched, 16–400.
    pub min_eye_distance_px: f32,
    /// Sharpness (variance of the Laplacian) from which a face is matched, 0–1000.
    pub min_sharpness: f32,
    /// Mean luma from which a face is matched, 0–255.
    pub min_light: f32,
    /// Mean luma up to which a face is matched, 0–255, above `min_light`.
    pub max_light: f32,
    /// Turn to the side up to which a face is matched, 5–90 degrees.
    pub max_yaw_deg: f32,
    /// Nod up to which a face is matched, 5–90 degrees.
    pub max_pitch_deg: f32,
    /// Threads that the networks that look at a face take on the CPU, 0–64; 0 stands for all cores but one.
    pub threads: usize,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            detect_px: 320,
            min_face_score: 0.7,
            min_eye_distance_px: 28.0,
            min_sharpness: 20.0,
            min_light: 40.0,
            max_light: 225.0,
            max_yaw_deg: 40.0,
            max_pitch_deg: 35.0,
            threads: 0,
        }
    }
}

/// `[encoder]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    /// Name of an installed encoder (`accessd models list`).
    pub model: String,
    /// `cpu`, or `cuda` / `cuda:N` in a build with the `cuda` feature.
    pub device: String,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self { model: "sface".into(), device: "cpu".into() }
    }
}

/// `[decision]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionConfig {
    /// Share of a stranger's attempts that may open the door, 0.0000001–0.1; the threshold follows from it.
    pub far_per_attempt: f64,
    /// Cosine from which a look names a person, 0–1, instead of the one that follows; 0 when that counts.
    pub threshold: f32,
    /// How far the person must be ahead of the runner-up, 0–1.
    pub margin: f32,
    /// How far ahead of everybody else somebody must be who looks like another of those enrolled, 0–1.
    pub alike_margin: f32,
    /// Who is let in when several faces are in view: `nearest`, `refuse` or `each`.
    pub several: String,
    /// k: looks that must agree, 1–30.
    pub frames_needed: usize,
    /// n: looks remembered, `frames_needed`–60.
    pub frames_window: usize,
    /// Age up to which the newest look may decide, 100–2000 ms.
    pub max_frame_age_ms: u64,
    /// Pause before the same person is let in again, 0–600000 ms.
    pub regrant_after_ms: u64,
}

impl Default for DecisionConfig {
    fn default() -> Self {
        Self {
            far_per_attempt: 1e-4,
            threshold: 0.0,
            margin: 0.08,
            alike_margin: 0.16,
            several: "nearest".into(),
            frames_needed: 3,
            frames_window: 5,
            max_frame_age_ms: 500,
            regrant_after_ms: 10_000,
        }
    }
}

/// `[liveness]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LivenessConfig {
    /// `passive`: by the networks that are installed; `required`: the same, and none is no door; `challenge`: the same as
    /// passive, and each person is asked to do something; `off`.
    pub mode: String,
    /// How long a face is watched before it opens the door, 0–10000 ms; 0 not at all.
    pub watch_ms: u64,
    /// How many things a person is asked to do, 1–4.
    pub challenge_steps: usize,
    /// How long each may take, 3–60 s.
    pub challenge_s: u64,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self { mode: "passive".into(), watch_ms: 800, challenge_steps: 2, challenge_s: 6 }
    }
}

/// `[door]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DoorConfig {
    /// What it is called, where there are several.
    pub name: String,
    /// `in` or `out`: which way people go whom its camera sees.
    pub side: String,
    /// Into or out of which area.
    pub area: String,
    /// `gpiochip:CHIP:LINE`, `rppal:BCM`, or `sim:PATH`, which writes its transitions to a file.
    pub relay: String,
    /// `fail-secure` or `fail-safe`.
    pub strike: String,
    /// How long a grant unlocks the strike, 3000–60000 ms.
    pub pulse_ms: u64,
    /// `on-close`, `on-open` or `timeout`.
    pub relock: String,
    /// How long the door may stand open, 10–3600 s.
    pub held_open_s: u64,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            name: "door".into(),
            side: "in".into(),
            area: "inside".into(),
            relay: "sim:/var/lib/accessd/relay.log".into(),
            strike: "fail-secure".into(),
            pulse_ms: 5_000,
            relock: "on-close".into(),
            held_open_s: 30,
        }
    }
}

/// `[inputs]`: lines that are read, or `none`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputsConfig {
    /// The exit button; active: somebody wants out.
    pub rex: String,
    /// The contact in the frame; active: the door is open.
    pub contact: String,
    /// The switch in the housing; active: it is open.
    pub tamper: String,
    /// The panic button; active: lockdown.
    pub panic: String,
    /// The keypad: `evdev:DEVICE`, `events:PATH` or `none`.
    pub keypad: String,
}

impl Default for InputsConfig {
    fn default() -> Self {
        let none = || "none".to_owned();
        Self { rex: none(), contact: none(), tamper: none(), panic: none(), keypad: none() }
    }
}

/// `[lamps]`: lines that are driven, or `none`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LampsConfig {
    /// Come in.
    pub granted: String,
    /// Not you.
    pub refused: String,
    /// Look at the camera.
    pub look: String,
    /// Turn your head to your left.
    pub left: String,
    /// Turn your head to your right.
    pub right: String,
    /// Something is wrong.
    pub fault: String,
    /// Enter your PIN.
    pub pin: String,
}

impl Default for LampsConfig {
    fn default() -> Self {
        let none = || "none".to_owned();
        Self {
            granted: none(),
            refused: none(),
            look: none(),
            left: none(),
            right: none(),
            fault: none(),
            pin: none(),
        }
    }
}

/// `[enrolment]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrolmentConfig {
    /// Good samples taken at a camera, 1–20.
    pub samples: usize,
    /// Give up when they have not come together in this time, 5–600 s.
    pub timeout_s: u64,
    /// Least time between two samples, so that they differ, 0–5000 ms.
    pub interval_ms: u64,
}

impl Default for EnrolmentConfig {
    fn default() -> Self {
        Self { samples: 5, timeout_s: 60, interval_ms: 300 }
    }
}

/// `[learning]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearningConfig {
    /// `off`, or `guarded`.
    pub mode: String,
    /// Samples learnt of one person at most, 1–20.
    pub most: usize,
    /// How far above the threshold a face must agree with the enrolled samples, 0–0.5.
    pub above: f32,
}

impl Default for LearningConfig {
    fn default() -> Self {
        Self { mode: "off".into(), most: 3, above: 0.15 }
    }
}

/// `[throttle]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThrottleConfig {
    /// So many failed attempts make the door pause, 0–100; 0 never.
    pub attempts: u32,
    /// So many switch faces off, 0–10000; 0 never.
    pub face_off_after: u32,
    /// So many wrong PINs make PINs pause, 3–10.
    pub pin_attempts: u32,
    /// So many of one person switch theirs off, 10–100.
    pub pin_off_after: u32,
}

impl Default for ThrottleConfig {
    fn default() -> Self {
        Self { attempts: 5, face_off_after: 50, pin_attempts: 5, pin_off_after: 50 }
    }
}

/// `[pin]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PinConfig {
    /// Fewest digits of a new PIN, 4–12.
    pub min_digits: usize,
    /// How long face and PIN wait for each other, 5–60 s.
    pub wait_s: u64,
}

impl Default for PinConfig {
    fn default() -> Self {
        Self { min_digits: 6, wait_s: 15 }
    }
}

/// `[risk]`: `ignore`, `pin-if-set` or `pin`; for the clock `refuse` or `pin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiskConfig {
    /// Somebody enrolled looks like whoever is recognised.
    pub look_alike: String,
    /// No photo check was made.
    pub liveness: String,
    /// Measurements do not show that the threshold keeps the rate that is wanted.
    pub rate: String,
    /// A limit on time applies and the clock is not trusted.
    pub clock: String,
}

impl Default for RiskConfig {
    fn default() -> Self {
        let word = |word: &str| word.to_owned();
        Self {
            look_alike: word("pin-if-set"),
            liveness: word("pin-if-set"),
            rate: word("ignore"),
            clock: word("refuse"),
        }
    }
}

/// `[clock]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockConfig {
    /// `auto`, `always` or `never`.
    pub trust: String,
}

impl Default for ClockConfig {
    fn default() -> Self {
        Self { trust: "auto".into() }
    }
}

/// `[journal]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// Days that records are kept, 0–36500; 0 for ever.
    pub keep_days: u64,
    /// Records that are kept, 0–100000000; 0 all.
    pub keep_events: u64,
    /// A file elsewhere that heads are appended to, or `none`.
    pub head_file: PathBuf,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { keep_days: 365, keep_events: 1_000_000, head_file: "none".into() }
    }
}

/// `[privacy]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyConfig {
    /// Days after which somebody who has not been let in is removed, 0–3650; 0 never.
    pub forget_after_days: u32,
    /// Of whose attempts embeddings are kept for a replay: `off`, `recognised` or `everybody`.
    pub keep_attempts: String,
    /// Days that those are kept, 1–90.
    pub attempt_days: u32,
    /// Attempts that are kept at most, 10–20000.
    pub attempts_most: u64,
    /// Of which refusals small pictures are kept: `off`, `strangers` or `refusals`.
    pub snapshots: String,
    /// Days that those are kept, 1–30.
    pub snapshot_days: u32,
    /// Pictures that are kept at most, 10–5000.
    pub snapshots_most: u64,
    /// Whether the aligned pictures that samples are made of are kept: `off` or `on`.
    pub keep_crops: String,
}

impl Default for PrivacyConfig {
    fn default() -> Self {
        Self {
            forget_after_days: 0,
            keep_attempts: "off".into(),
            attempt_days: 7,
            attempts_most: 2000,
            snapshots: "off".into(),
            snapshot_days: 3,
            snapshots_most: 500,
            keep_crops: "off".into(),
        }
    }
}

/// `[paths]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathsConfig {
    /// The database file.
    pub database: PathBuf,
    /// The key that templates are sealed with, in a folder of its own.
    pub device_key: PathBuf,
    /// Folder of the installed networks.
    pub models: PathBuf,
    /// The daemon's control socket.
    pub socket: PathBuf,
}

impl Default for PathsConfig {
    fn default() -> Self {
        Self {
            database: "/var/lib/accessd/accessd.db".into(),
            device_key: "/var/lib/accessd-keys/device.key".into(),
            models: "/var/lib/accessd/models".into(),
            socket: "/run/accessd/control.sock".into(),
        }
    }
}

/// `[console]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleConfig {
    /// Address and port; one that other machines reach takes `certificate` and `key`.
    pub listen: String,
    /// File with the certificate and those above it, PEM, or `none`.
    pub certificate: PathBuf,
    /// File with its private key, PEM, or `none`.
    pub key: PathBuf,
    /// Address under which a proxy on this machine serves the page, such as `https://door.example`, or `none`.
    pub proxied_as: String,
    /// File of the accounts.
    pub accounts: PathBuf,
    /// A session ends when nothing was asked for so long, 1–1440 min.
    pub idle_min: u64,
    /// and in any case after so long, 1–168 h.
    pub session_h: u64,
    /// `on`: those who may look see what the camera sees; `off`.
    pub live_picture: String,
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8480".into(),
            certificate: "none".into(),
            key: "none".into(),
            proxied_as: "none".into(),
            accounts: "/var/lib/accessd-console/accounts.toml".into(),
            idle_min: 30,
            session_h: 12,
            live_picture: "off".into(),
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// `door`, or `emulator` for tests in a virtual machine that computes some hundred times as slowly.
    pub profile: String,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { profile: "door".into() }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into() }
    }
}
