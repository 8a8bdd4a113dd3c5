//! What each key takes: one row a key. The loader checks a file against this table and names it in its messages.

use std::net::SocketAddr;

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Takes {
    /// A whole number from `min` to `max`, a multiple of `step`.
    Whole { min: i64, max: i64, step: i64 },
    /// A number from `min` to `max`; whole numbers will do.
    Number { min: f64, max: f64 },
    /// One of these words.
    Word(&'static [&'static str]),
    /// `PREFIX:REST` with one of these prefixes and something behind it.
    Spec(&'static [&'static str]),
    /// The same, or `none`.
    SpecOrNone(&'static [&'static str]),
    /// A file name, not empty.
    Path,
    /// The name of an installed network: letters, digits, `-`, `_` and `.`.
    ModelName,
    /// `cpu`, `cuda` or `cuda:N`.
    Device,
    /// An IP address with a port.
    Address,
    /// What a door or an area is called.
    Name,
}

/// Kinds of line that can be driven: relay, lamps.
const LINES: &[&str] = &["gpiochip", "rppal", "sim"];

/// Kinds of line that can be read.
const INPUTS: &[&str] = &["gpiochip", "sim"];

/// Every key that there is.
pub(super) const KEYS: &[(&str, Takes)] = &[
    ("camera.source", Takes::Spec(&["v4l", "command", "clip"])),
    ("camera.width", whole(160, 3840)),
    ("camera.height", whole(120, 2160)),
    ("camera.fps", whole(1, 60)),
    ("camera.second", Takes::SpecOrNone(&["v4l", "command", "clip"])),
    ("camera.second_lost", Takes::Word(&["deny", "ignore"])),
    ("camera.second_apart", number(0.05, 1.0)),
    ("vision.detect_px", Takes::Whole { min: 160, max: 1280, step: 32 }),
    ("vision.min_face_score", number(0.3, 0.99)),
    ("vision.min_eye_distance_px", number(16.0, 400.0)),
    ("vision.min_sharpness", number(0.0, 1000.0)),
    ("vision.min_light", number(0.0, 255.0)),
    ("vision.max_light", number(0.0, 255.0)),
    ("vision.max_yaw_deg", number(5.0, 90.0)),
    ("vision.max_pitch_deg", number(5.0, 90.0)),
    ("vision.threads", whole(0, 64)),
    ("encoder.model", Takes::ModelName),
    ("encoder.device", Takes::Device),
    ("decision.far_per_attempt", number(1e-7, 0.1)),
    ("decision.threshold", number(0.0, 1.0)),
    ("decision.margin", number(0.0, 1.0)),
    ("decision.alike_margin", number(0.0, 1.0)),
    ("decision.several", Takes::Word(&["nearest", "refuse", "each"])),
    ("decision.frames_needed", whole(1, 30)),
    ("decision.frames_window", whole(1, 60)),
    ("decision.max_frame_age_ms", whole(100, 2000)),
    ("decision.regrant_after_ms", whole(0, 600_000)),
    ("liveness.mode", Takes::Word(&["passive", "required", "challenge", "off"])),
    ("liveness.watch_ms", whole(0, 10_000)),
    ("liveness.challenge_steps", whole(1, 4)),
    ("liveness.challenge_s", whole(3, 60)),
    ("door.name", Takes::Name),
    ("door.side", Takes::Word(&["in", "out"])),
    ("door.area", Takes::Name),
    ("door.relay", Takes::Spec(LINES)),
    ("door.strike", Takes::Word(&["fail-secure", "fail-safe"])),
    ("door.pulse_ms", whole(3000, 60_000)),
    ("door.relock", Takes::Word(&["on-close", "on-open", "timeout"])),
    ("door.held_open_s", whole(10, 3600)),
    ("inputs.rex", Takes::SpecOrNone(INPUTS)),
    ("inputs.contact", Takes::SpecOrNone(INPUTS)),
    ("inputs.tamper", Takes::SpecOrNone(INPUTS)),
    ("inputs.panic", Takes::SpecOrNone(INPUTS)),
    ("inputs.keypad", Takes::SpecOrNone(&["evdev", "events"])),
    ("lamps.granted", Takes::SpecOrNone(LINES)),
    ("lamps.refused", Takes::SpecOrNone(LINES)),
    ("lamps.look", Takes::SpecOrNone(LINES)),
    ("lamps.left", Takes::SpecOrNone(LINES)),
    ("lamps.right", Takes::SpecOrNone(LINES)),
    ("lamps.fault", Takes::SpecOrNone(LINES)),
    ("lamps.pin", Takes::SpecOrNone(LINES)),
    ("enrolment.samples", whole(1, 20)),
    ("enrolment.timeout_s", whole(5, 600)),
    ("enrolment.interval_ms", whole(0, 5000)),
    ("learning.mode", Takes::Word(&["off", "guarded"])),
    ("learning.most", whole(1, 20)),
    ("learning.above", number(0.0, 0.5)),
    ("throttle.attempts", whole(0, 100)),
    ("throttle.face_off_after", whole(0, 10_000)),
    ("throttle.pin_attempts", whole(3, 10)),
    ("throttle.pin_off_after", whole(10, 100)),
    ("pin.min_digits", whole(4, 12)),
    ("pin.wait_s", whole(5, 60)),
    ("risk.look_alike", ON_RISK),
    ("risk.liveness", ON_RISK),
    ("risk.rate", ON_RISK),
    ("risk.clock", Takes::Word(&["refuse", "pin"])),
    ("clock.trust", Takes::Word(&["auto", "always", "never"])),
    ("journal.keep_days", whole(0, 36_500)),
    ("journal.keep_events", whole(0, 100_000_000)),
    ("journal.head_file", Takes::Path),
    ("privacy.forget_after_days", whole(0, 3650)),
    ("privacy.keep_attempts", Takes::Word(&["off", "recognised", "everybody"])),
    ("privacy.attempt_days", whole(1, 90)),
    ("privacy.attempts_most", whole(10, 20_000)),
    ("privacy.snapshots", Takes::Word(&["off", "strangers", "refusals"])),
    ("privacy.snapshot_days", whole(1, 30)),
    ("privacy.snapshots_most", whole(10, 5_000)),
    ("privacy.keep_crops", Takes::Word(&["off", "on"])),
    ("paths.database", Takes::Path),
    ("paths.device_key", Takes::Path),
    ("paths.models", Takes::Path),
    ("paths.socket", Takes::Path),
    ("console.listen", Takes::Address),
    ("console.certificate", Takes::Path),
    ("console.key", Takes::Path),
    ("console.proxied_as", Takes::SpecOrNone(&["https"])),
    ("console.accounts", Takes::Path),
    ("console.idle_min", whole(1, 1440)),
    ("console.session_h", whole(1, 168)),
    ("console.live_picture", Takes::Word(&["off", "on"])),
    ("limits.profile", Takes::Word(&["door", "emulator"])),
    ("log.level", Takes::Word(&["error", "warn", "info", "debug", "trace"])),
];

/// What a doubt about a face leads to.
const ON_RISK: Takes = Takes::Word(&["ignore", "pin-if-set", "pin"]);

const fn whole(min: i64, max: i64) -> Takes {
    Takes::Whole { min, max, step: 1 }
}

const fn number(min: f64, max: f64) -> Takes {
    Takes::Number { min, max }
}

/// What a key takes, for messages and for [`Takes::check_text`].
impl Takes {
    /// In words: `a whole number from 1 to 60`.
    pub(super) fn describe(self) -> String {
        match self {
            Takes::Whole { min, max, step: 1 } => format!("a whole number from {min} to {max}"),
            Takes::Whole { min, max, step } => {
                format!("a whole number from {min} to {max}, a multiple of {step}")
            }
            Takes::Number { min, max } => format!("a number from {min} to {max}"),
            Takes::Word(words) => format!("one of {}", quoted(words.iter().map(|w| (*w).to_owned()))),
            Takes::Spec(prefixes) => {
                format!("text that begins with {}", quoted(prefixes.iter().map(|p| format!("{p}:"))))
            }
            Takes::SpecOrNone(_) => format!("{}, or \"none\"", self.without_none().describe()),
            Takes::Path => "a file name".into(),
            Takes::ModelName => {
                "the name of an installed network (letters, digits, `-`, `_`, `.`; see `accessd models list`)"
                    .into()
            }
            Takes::Device => "\"cpu\", \"cuda\" or \"cuda:N\"".into(),
            Takes::Address => "an IP address with a port, such as \"127.0.0.1:8480\"".into(),
            Takes::Name => "a name: letters, digits, `-`, `_` and single spaces, 32 at most".into(),
        }
    }

    /// Whether a whole number will do.
    pub(super) fn accepts_whole(self, value: i64) -> bool {
        match self {
            Takes::Whole { min, max, step } => (min..=max).contains(&value) && value % step == 0,
            Takes::Number { min, max } => (min..=max).contains(&(value as f64)),
            _ => false,
        }
    }

    /// Whether a number with a point will do.
    pub(super) fn accepts_number(self, value: f64) -> bool {
        matches!(self, Takes::Number { min, max } if (min..=max).contains(&value))
    }

    /// Whether a text will do.
    pub(super) fn accepts_text(self, value: &str) -> bool {
        match self {
            Takes::Word(words) => words.contains(&value),
            Takes::Spec(prefixes) => value
                .split_once(':')
                .is_some_and(|(prefix, rest)| prefixes.contains(&prefix) && !rest.trim().is_empty()),
            Takes::SpecOrNone(_) => value == "none" || self.without_none().accepts_text(value),
            Takes::Path => !value.trim().is_empty() && !value.contains('\0'),
            Takes::ModelName => {
                value.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            }
            Takes::Device => {
                value == "cpu"
                    || value == "cuda"
                    || value.strip_prefix("cuda:").is_some_and(|n| n.parse::<u8>().is_ok())
            }
            Takes::Address => value.parse::<SocketAddr>().is_ok(),
            Takes::Name => is_name(value),
            Takes::Whole { .. } | Takes::Number { .. } => false,
        }
    }

    fn without_none(self) -> Self {
        match self {
            Takes::SpecOrNone(prefixes) => Takes::Spec(prefixes),
            other => other,
        }
    }

    /// Whether a value of the wrong kind (not merely out of range) was given.
    pub(super) fn wants_text(self) -> bool {
        !matches!(self, Takes::Whole { .. } | Takes::Number { .. })
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    text.chars().count() <= 32 && text.split(' ').all(|word| !word.is_empty() && word.chars().all(fits))
}

fn quoted(words: impl Iterator<Item = String>) -> String {
    words.map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_the_range_and_their_neighbours_do_not() {
        let detect = Takes::Whole { min: 160, max: 1280, step: 32 };
        for (value, good) in
            [(159, false), (160, true), (161, false), (192, true), (1280, true), (1312, false)]
        {
            assert_eq!(detect.accepts_whole(value), good, "{value}");
        }
        let score = number(0.3, 0.99);
        for (value, good) in [(0.29, false), (0.3, true), (0.99, true), (1.0, false), (f64::NAN, false)] {
            assert_eq!(score.accepts_number(value), good, "{value}");
        }
    }

    #[test]
    fn texts_are_held_to_their_form() {
        let spec = Takes::Spec(&["v4l", "clip"]);
        for (text, good) in
            [("v4l:0", true), ("clip:/a:b", true), ("v4l:", false), ("v4l", false), ("usb:0", false)]
        {
            assert_eq!(spec.accepts_text(text), good, "{text}");
        }
        let line = Takes::SpecOrNone(&["sim"]);
        for (text, good) in [("none", true), ("sim:x", true), ("", false), ("gpiochip:0:1", false)] {
            assert_eq!(line.accepts_text(text), good, "{text}");
        }
        assert_eq!(line.describe(), "text that begins with \"sim:\", or \"none\"");
        for (text, good) in [
            ("cpu", true),
            ("cuda", true),
            ("cuda:1", true),
            ("cuda:", false),
            ("cuda:x", false),
            ("gpu", false),
        ] {
            assert_eq!(Takes::Device.accepts_text(text), good, "{text}");
        }
        for (text, good) in [
            ("entry", true),
            ("Büro 2", true),
            ("side-door_1", true),
            ("", false),
            (" entry", false),
            ("a  b", false),
            ("a,b", false),
            ("123456789012345678901234567890123", false),
        ] {
            assert_eq!(Takes::Name.accepts_text(text), good, "{text}");
        }
        for (text, good) in
            [("sface", true), ("my-net_2.1", true), ("", false), ("../sface", false), (".x", false)]
        {
            assert_eq!(Takes::ModelName.accepts_text(text), good, "{text}");
        }
    }
}
