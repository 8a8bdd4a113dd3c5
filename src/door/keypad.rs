//! A numeric keypad at the door: key presses to what somebody has typed.
//!
//! PURE in [`Typing`], which takes a key and the time. The keys come from a USB keypad through the kernel's input events
//! (`evdev:DEVICE`), held exclusively so that no PIN ends up on a console, or from a file or pipe of such events
//! (`events:PATH`).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use evdev::{Device, EventType, KeyCode};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::access::pin::Pin;
use crate::clock::MonoTime;
use crate::gallery::PersonId;

/// What was begun and not ended for so long is forgotten: nobody finishes what another has begun.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// Most keys of one entry: a number, what stands between, a PIN.
const MOST_KEYS: usize = 32;
/// A file has no edges: it is read this often.
const FILES_EVERY: Duration = Duration::from_millis(20);
/// Bytes of one `struct input_event` of a 64-bit kernel: a time of two words, type, code, value.
const EVENT_BYTES: usize = 24;

/// What somebody has typed, up to Enter.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// A PIN, after the number of the person whose it is, or by itself.
    Pin {
        /// The number.
        person: Option<PersonId>,
        /// The PIN.
        pin: Pin,
    },
    /// Something that cannot be a PIN.
    Nonsense,
}

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// 0 to 9.
    Digit(u8),
    /// Between number and PIN.
    Between,
    /// Takes the last one back.
    Back,
    /// Takes all back.
    Clear,
    /// The end.
    Enter,
}

impl Key {
    /// The key with this code of the kernel, on a keypad or in the row above the letters.
    fn of(code: KeyCode) -> Option<Self> {
        const DIGITS: [[KeyCode; 10]; 2] = [
            [
                KeyCode::KEY_KP0,
                KeyCode::KEY_KP1,
                KeyCode::KEY_KP2,
                KeyCode::KEY_KP3,
                KeyCode::KEY_KP4,
                KeyCode::KEY_KP5,
                KeyCode::KEY_KP6,
                KeyCode::KEY_KP7,
                KeyCode::KEY_KP8,
                KeyCode::KEY_KP9,
            ],
            [
                KeyCode::KEY_0,
                KeyCode::KEY_1,
                KeyCode::KEY_2,
                KeyCode::KEY_3,
                KeyCode::KEY_4,
                KeyCode::KEY_5,
                KeyCode::KEY_6,
                KeyCode::KEY_7,
                KeyCode::KEY_8,
                KeyCode::KEY_9,
            ],
        ];
        let digit = DIGITS.iter().find_map(|row| row.iter().position(|key| *key == code));
        if let Some(digit) = digit.and_then(|digit| u8::try_from(digit).ok()) {
            return Some(Self::Digit(digit));
        }
        match code {
            KeyCode::KEY_KPENTER | KeyCode::KEY_ENTER => Some(Self::Enter),
            KeyCode::KEY_BACKSPACE => Some(Self::Back),
            KeyCode::KEY_ESC | KeyCode::KEY_DELETE => Some(Self::Clear),
            KeyCode::KEY_KPASTERISK
            | KeyCode::KEY_KPSLASH
            | KeyCode::KEY_KPMINUS
            | KeyCode::KEY_KPPLUS
            | KeyCode::KEY_KPDOT
            | KeyCode::KEY_KPCOMMA
            | KeyCode::KEY_MINUS
            | KeyCode::KEY_SLASH
            | KeyCode::KEY_DOT => Some(Self::Between),
            _ => None,
        }
    }
}

/// What is being typed.
#[derive(Default)]
pub struct Typing {
    /// `-` stands between number and PIN.
    keys: Zeroizing<String>,
    too_many: bool,
    last: MonoTime,
}

impl fmt::Debug for Typing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typing(…)")
    }
}

impl Typing {
    /// Takes a key that went down; gives what has been typed when it is the last one. Enter alone is nothing.
    pub fn press(&mut self, key: Key, now: MonoTime) -> Option<Typed> {
        if now.since(self.last) >= FORGOTTEN_AFTER {
            self.clear();
        }
        self.last = now;
        match key {
            Key::Digit(digit) => self.push(char::from(b'0' + digit.min(9))),
            Key::Between => self.push('-'),
            Key::Back => {
                self.keys.pop();
            }
            Key::Clear => self.clear(),
            Key::Enter => {
                let typed = (!self.keys.is_empty()).then(|| match self.too_many {
                    true => Typed::Nonsense,
                    false => read(&self.keys),
                });
                self.clear();
                return typed;
            }
        }
        None
    }

    fn push(&mut self, key: char) {
        self.too_many |= self.keys.len() == MOST_KEYS;
        if !self.too_many {
            // Reserved at once: a string that grows leaves copies behind.
            let left = MOST_KEYS - self.keys.len();
            self.keys.reserve(left);
            self.keys.push(key);
        }
    }

    fn clear(&mut self) {
        (self.keys, self.too_many) = (Zeroizing::default(), false);
    }
}

/// `12-483920` or `483920`.
fn read(keys: &str) -> Typed {
    let (number, pin) = match keys.split_once('-') {
        Some((number, pin)) => (Some(number), pin),
        None => (None, keys),
    };
    let person = number.map(|number| number.parse().map(PersonId));
    match (person.transpose(), Pin::new(pin)) {
        (Ok(person), Ok(pin)) => Typed::Pin { person, pin },
        _ => Typed::Nonsense,
    }
}

/// Which keypad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeypadSpec {
    /// A device of the kernel's input events.
    Device(PathBuf),
    /// A file or pipe of such events.
    Events(PathBuf),
}

/// A text that names no keypad.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no keypad; write evdev:/dev/input/by-id/… or events:PATH")]
pub struct KeypadSpecError(String);

impl FromStr for KeypadSpec {
    type Err = KeypadSpecError;
    fn from_str(text: &str) -> Result<Self, KeypadSpecError> {
        match text.split_once(':') {
            Some(("evdev", path)) if !path.is_empty() => Ok(Self::Device(path.into())),
            Some(("events", path)) if !path.is_empty() => Ok(Self::Events(path.into())),
            _ => Err(KeypadSpecError(text.to_owned())),
        }
    }
}

impl fmt::Display for KeypadSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "evdev:{}", path.display()),
            Self::Events(path) => write!(f, "events:{}", path.display()),
        }
    }
}

/// Why a keypad cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("keypad {spec}: {what}")]
pub struct KeypadError {
    /// As configured.
    pub spec: KeypadSpec,
    /// What failed and what to try.
    pub what: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A keypad. Runs on a thread of its own: `wait` may block.
pub trait Keypad: Send {
    /// Waits at most `patience` for keys that go down.
    ///
    /// # Errors
    /// When it is gone; it must be opened again then.
    fn wait(&mut self, patience: Duration) -> Result<Vec<Key>, KeypadError>;
}

/// Opens a keypad; called again after a failure.
pub type KeypadFactory = Box<dyn FnMut() -> Result<Box<dyn Keypad>, KeypadError> + Send>;

/// Opens a keypad.
///
/// # Errors
/// When it is not there, not ours to read, no keypad, or another program has it.
pub fn open_keypad(spec: &KeypadSpec) -> Result<Box<dyn Keypad>, KeypadError> {
    let failed = |what| move |source| KeypadError { spec: spec.clone(), what, source };
    match spec {
        KeypadSpec::Device(path) => {
            let mut device = device(spec, path)?;
            device.grab().map_err(failed("another program has it to itself; end that program"))?;
            device.set_nonblocking(true).map_err(failed("it cannot be waited for"))?;
            Ok(Box::new(Evdev { spec: spec.clone(), device }))
        }
        KeypadSpec::Events(path) => {
            let stream = EventStream::open(path).map_err(failed("it cannot be opened"))?;
            Ok(Box::new(Recorded { spec: spec.clone(), stream }))
        }
    }
}

/// Whether there is a keypad and this user may read it; also while a service has it.
///
/// # Errors
/// As for [`open_keypad`].
pub fn look_for_keypad(spec: &KeypadSpec) -> Result<String, KeypadError> {
    match spec {
        KeypadSpec::Device(path) => Ok(device(spec, path)?.name().unwrap_or("a keypad").to_owned()),
        KeypadSpec::Events(_) => open_keypad(spec).map(|_| "events of the kernel, played back".to_owned()),
    }
}

/// A device with digits, not held yet.
fn device(spec: &KeypadSpec, path: &Path) -> Result<Device, KeypadError> {
    let failed = |what| move |source| KeypadError { spec: spec.clone(), what, source };
    let missing = "it cannot be opened; is it plugged in, and is this user in the group input?";
    let device = Device::open(path).map_err(failed(missing))?;
    let has_digits = device
        .supported_keys()
        .is_some_and(|keys| keys.contains(KeyCode::KEY_KP5) || keys.contains(KeyCode::KEY_5));
    if !has_digits {
        let other = "it has no keys with digits; is it another device of the same name?";
        return Err(failed(other)(io::ErrorKind::InvalidInput.into()));
    }
    Ok(device)
}

struct Evdev {
    spec: KeypadSpec,
    device: Device,
}

impl Keypad for Evdev {
    fn wait(&mut self, patience: Duration) -> Result<Vec<Key>, KeypadError> {
        pause(&self.device, patience);
        match self.device.fetch_events() {
            Ok(events) => Ok(events
                .filter_map(|event| pressed(event.event_type(), event.code(), event.value()))
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(source) => {
                let what = "it cannot be read any more; was it unplugged?";
                Err(KeypadError { spec: self.spec.clone(), what, source })
            }
        }
    }
}

struct Recorded {
    spec: KeypadSpec,
    stream: EventStream,
}

impl Keypad for Recorded {
    fn wait(&mut self, patience: Duration) -> Result<Vec<Key>, KeypadError> {
        let failed =
            |source| KeypadError { spec: self.spec.clone(), what: "it cannot be read any more", source };
        let events = self.stream.read().map_err(failed)?;
        if events.is_empty() {
            // At the end of a file, or of a pipe that nobody writes to, there is nothing to poll for.
            std::thread::sleep(patience.min(FILES_EVERY));
        }
        Ok(events.into_iter().filter_map(|(kind, code, value)| pressed(kind, code, value)).collect())
    }
}

/// Events from a file that grows, or a pipe.
struct EventStream {
    file: File,
    /// The beginning of an event whose end has not come yet.
    begun: Vec<u8>,
}

impl EventStream {
    fn open(path: &Path) -> io::Result<Self> {
        let file =
            rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { file: file.into(), begun: Vec::new() })
    }

    fn read(&mut self) -> io::Result<Vec<(EventType, u16, i32)>> {
        let mut buffer = Zeroizing::new([0; 64 * EVENT_BYTES]);
        match self.file.read(&mut *buffer) {
            Ok(read) => self.begun.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let whole = self.begun.len() / EVENT_BYTES * EVENT_BYTES;
        let bytes = Zeroizing::new(self.begun.drain(..whole).collect::<Vec<u8>>());
        Ok(bytes.chunks_exact(EVENT_BYTES).map(event).collect())
    }
}

/// One `struct input_event`, in the byte order of this machine; its time is not used.
fn event(bytes: &[u8]) -> (EventType, u16, i32) {
    let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let value = i32::from_ne_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
    (EventType(half(16)), half(18), value)
}

/// A key that goes down: not one that comes up (0) or that the keypad repeats while it is held (2).
fn pressed(kind: EventType, code: u16, value: i32) -> Option<Key> {
    (kind == EventType::KEY && value == 1).then(|| Key::of(KeyCode(code))).flatten()
}

/// Sleeps until there is something to read, at most `patience`.
fn pause(device: &impl AsFd, patience: Duration) {
    let mut fds = [PollFd::new(device, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).ok();
    // Interrupted or refused: the reading that follows tells.
    let _ = rustix::event::poll(&mut fds, timeout.as_ref());
}

/// The events of a keypad on which this was typed, as the kernel gives them: down, up, and the mark between reports.
#[cfg(test)]
pub(crate) fn recording(text: &str) -> Vec<u8> {
    let code = |key: char| match key {
        '\n' => KeyCode::KEY_KPENTER,
        '*' => KeyCode::KEY_KPASTERISK,
        '0' => KeyCode::KEY_KP0,
        '1' => KeyCode::KEY_KP1,
        '2' => KeyCode::KEY_KP2,
        '3' => KeyCode::KEY_KP3,
        '4' => KeyCode::KEY_KP4,
        '5' => KeyCode::KEY_KP5,
        '6' => KeyCode::KEY_KP6,
        '7' => KeyCode::KEY_KP7,
        '8' => KeyCode::KEY_KP8,
        '9' => KeyCode::KEY_KP9,
        other => panic!("no key {other:?}"),
    };
    let event = |kind: EventType, code: u16, value: i32| {
        let mut bytes = vec![0; 16];
        bytes.extend(kind.0.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    };
    let report = || event(EventType::SYNCHRONIZATION, 0, 0);
    let press = |key| {
        let code = code(key).code();
        [event(EventType::KEY, code, 1), report(), event(EventType::KEY, code, 0), report()].concat()
    };
    text.chars().flat_map(press).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn keys(text: &str) -> Vec<Key> {
        text.chars()
            .map(|c| match c {
                '\n' => Key::Enter,
                '<' => Key::Back,
                'x' => Key::Clear,
                '*' => Key::Between,
                digit => Key::Digit(digit.to_digit(10).unwrap() as u8),
            })
            .collect()
    }

    fn typed(text: &str) -> Vec<Typed> {
        let mut typing = Typing::default();
        keys(text).into_iter().filter_map(|key| typing.press(key, at(1000))).collect()
    }

    fn pin(person: Option<i64>, digits: &str) -> Typed {
        Typed::Pin { person: person.map(PersonId), pin: Pin::new(digits).unwrap() }
    }

    #[test]
    fn keys_make_a_pin_with_or_without_a_number() {
        for (text, expected) in [
            ("483920\n", vec![pin(None, "483920")]),
            ("12*483920\n", vec![pin(Some(12), "483920")]),
            ("4839<<3920\n12*4839\n", vec![pin(None, "483920"), pin(Some(12), "4839")]),
            ("99x483920\n", vec![pin(None, "483920")]),
            ("\n\n<\nx\n", vec![]),
            ("12\n", vec![Typed::Nonsense]),
            ("*4839\n", vec![Typed::Nonsense]),
            ("1*2*4839\n", vec![Typed::Nonsense]),
            ("99999999999999999999*4839\n", vec![Typed::Nonsense]),
            ("4839", vec![]),
        ] {
            assert_eq!(typed(text), expected, "{text:?}");
        }
        let long = "1".repeat(100) + "\n4839\n";
        assert_eq!(typed(&long), [Typed::Nonsense, pin(None, "4839")]);
    }

    #[test]
    fn nobody_finishes_what_another_has_begun() {
        let mut typing = Typing::default();
        for key in keys("4839") {
            assert_eq!(typing.press(key, at(1_000)), None);
        }
        assert_eq!(typing.press(Key::Enter, at(11_000)), None);
        let mut slow = Typing::default();
        let mut typed = None;
        for (n, key) in keys("4839\n").into_iter().enumerate() {
            typed = slow.press(key, at(1_000 + 9_900 * n as u64));
        }
        assert_eq!(typed, Some(pin(None, "4839")), "each key in time is in time");
    }

    fn recorded(code: KeyCode, value: i32) -> Vec<u8> {
        let mut bytes = vec![0xAB; 16];
        bytes.extend(EventType::KEY.0.to_ne_bytes());
        bytes.extend(code.code().to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_file_of_events_is_a_keypad_that_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let mut file = File::create(&path).unwrap();
        let spec: KeypadSpec = format!("events:{}", path.display()).parse().unwrap();
        let mut keypad = open_keypad(&spec).unwrap();
        assert_eq!(keypad.wait(Duration::ZERO).unwrap(), []);
        // Down, repeated, up; another type of event; a key without a meaning.
        let mut bytes = recorded(KeyCode::KEY_KP7, 1);
        bytes.extend(recorded(KeyCode::KEY_KP7, 2));
        bytes.extend(recorded(KeyCode::KEY_KP7, 0));
        bytes.extend([0; EVENT_BYTES]);
        bytes.extend(recorded(KeyCode::KEY_NUMLOCK, 1));
        bytes.extend(recorded(KeyCode::KEY_KPENTER, 1));
        let (first, rest) = bytes.split_at(30);
        file.write_all(first).unwrap();
        assert_eq!(keypad.wait(Duration::ZERO).unwrap(), [Key::Digit(7)]);
        file.write_all(rest).unwrap();
        assert_eq!(keypad.wait(Duration::ZERO).unwrap(), [Key::Enter]);
    }

    #[test]
    fn a_keypad_that_cannot_be_had_is_named_with_what_to_try() {
        for (spec, words) in [
            ("evdev:/dev/input/by-id/none", "is it plugged in"),
            ("evdev:/dev/null", "cannot be opened"),
            ("events:/none/such", "cannot be opened"),
        ] {
            let spec: KeypadSpec = spec.parse().unwrap();
            let error = open_keypad(&spec).err().unwrap().to_string();
            assert!(error.starts_with(&format!("keypad {spec}: ")) && error.contains(words), "{error}");
        }
        assert!(
            "serial:1".parse::<KeypadSpec>().unwrap_err().to_string().contains("evdev:/dev/input/by-id/")
        );
    }

    proptest! {
        /// Whatever is pressed, nothing is kept beyond bounds, and what comes out is a PIN or nonsense.
        #[test]
        fn any_keys_are_borne(codes in prop::collection::vec((any::<u16>(), -1..3_i32), 0..300), gap in 0..12_000_u64) {
            let mut typing = Typing::default();
            for (n, (code, value)) in codes.into_iter().enumerate() {
                // Keys that mean something are among the first 128.
                let Some(key) = pressed(EventType::KEY, code % 128, value) else { continue };
                let typed = typing.press(key, at(n as u64 * gap));
                prop_assert!(typed.is_none() || key == Key::Enter);
                prop_assert!(typing.keys.len() <= MOST_KEYS);
            }
        }
    }
}
