//! Which camera: the one string of the configuration and of `--camera`, taken apart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::pacing::{FrameRate, FrameRateError};
use super::words::{self, WordsError};

/// A camera as configured. Parsed from a string and printed as one that parses to the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CameraSpec {
    /// `v4l:DEVICE`: a camera of this machine.
    V4l(V4lDevice),
    /// `command:PROGRAM ARGS…`: a program that writes MJPEG to its standard output; the words, the program first.
    Command(Vec<String>),
    /// `clip:PATH?OPTIONS`: a recording.
    Clip(ClipSpec),
}

/// Which V4L2 device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum V4lDevice {
    /// N of `/dev/videoN`.
    Index(u32),
    /// `/dev/videoN`, or a link to it such as `/dev/v4l/by-id/NAME`.
    Path(PathBuf),
}

/// Which recording, and how it is played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipSpec {
    /// A folder of pictures, an MJPEG file or a Y4M file.
    pub path: PathBuf,
    /// `fps=N`: pictures a second, whatever the recording says.
    pub fps: Option<FrameRate>,
    /// `loop`: begin again at the end.
    pub repeat: bool,
    /// In real time, or with `pace=off` as fast as frames are asked for.
    pub paced: bool,
}

impl ClipSpec {
    /// The recording at `path`, played once in real time.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), fps: None, repeat: false, paced: true }
    }
}

/// Why a string names no camera.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Neither of the known kinds.
    #[error("unknown camera kind in \"{0}\"; known are v4l:DEVICE, command:PROGRAM ARGS… and clip:PATH")]
    UnknownKind(String),
    /// `v4l:` with something that is no device.
    #[error(
        "v4l: \"{0}\" is no device; give a number (0 is /dev/video0), a path such as /dev/video0, \
         or a name under /dev/v4l/by-id/"
    )]
    NoDevice(String),
    /// `command:` with words that cannot be taken apart.
    #[error("command: {0}")]
    Words(#[from] WordsError),
    /// `clip:` without a path.
    #[error("clip: the path is missing; give a folder of pictures, an MJPEG file or a Y4M file")]
    NoPath,
    /// An option nobody knows.
    #[error("clip: unknown option \"{0}\"; known are fps=N, loop and pace=off")]
    UnknownOption(String),
    /// An option with a value it does not take.
    #[error("clip: option {option}: {why}")]
    BadOption {
        /// The option as given.
        option: String,
        /// What it takes.
        why: String,
    },
}

impl FromStr for CameraSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        match text.split_once(':') {
            Some(("v4l", device)) => device.parse().map(Self::V4l),
            Some(("command", line)) => Ok(Self::Command(words::split(line)?)),
            Some(("clip", rest)) => rest.parse().map(Self::Clip),
            _ => Err(SpecError::UnknownKind(text.to_owned())),
        }
    }
}

impl fmt::Display for CameraSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4l(V4lDevice::Index(index)) => write!(f, "v4l:{index}"),
            Self::V4l(V4lDevice::Path(path)) => write!(f, "v4l:{}", path.display()),
            Self::Command(line) => write!(f, "command:{}", words::join(line)),
            Self::Clip(clip) => write!(f, "clip:{clip}"),
        }
    }
}

impl FromStr for V4lDevice {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        if Path::new(text).is_absolute() {
            return Ok(Self::Path(text.into()));
        }
        Err(SpecError::NoDevice(text.to_owned()))
    }
}

impl FromStr for ClipSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        // The last question mark begins the options: a path with one of its own is written with a further one behind.
        let (path, options) = text.rsplit_once('?').unwrap_or((text, ""));
        if path.is_empty() {
            return Err(SpecError::NoPath);
        }
        let mut clip = Self::new(path);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            clip.set(option)?;
        }
        Ok(clip)
    }
}

impl ClipSpec {
    fn set(&mut self, option: &str) -> Result<(), SpecError> {
        let bad = |why: &str| SpecError::BadOption { option: option.to_owned(), why: why.to_owned() };
        match option.split_once('=').unwrap_or((option, "")) {
            ("fps", value) => {
                let rate = value.parse().map_err(|error: FrameRateError| bad(&error.to_string()))?;
                self.fps = Some(rate);
            }
            ("loop", _) if option == "loop" => self.repeat = true,
            ("loop", _) => return Err(bad("it takes no value")),
            ("pace", "off") => self.paced = false,
            ("pace", "on") => self.paced = true,
            ("pace", _) => return Err(bad("give on or off")),
            _ => return Err(SpecError::UnknownOption(option.to_owned())),
        }
        Ok(())
    }
}

impl fmt::Display for ClipSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fps = self.fps.map(|fps| format!("fps={fps}"));
        let repeat = self.repeat.then(|| "loop".to_owned());
        let pace = (!self.paced).then(|| "pace=off".to_owned());
        let options: Vec<String> = [fps, repeat, pace].into_iter().flatten().collect();
        let path = self.path.display().to_string();
        write!(f, "{path}")?;
        // A path with a question mark of its own, or one that ends in a blank, is told from options and line end by it.
        if !options.is_empty() || path.contains('?') || path.ends_with(char::is_whitespace) {
            write!(f, "?{}", options.join("&"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> CameraSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        match text.parse::<CameraSpec>() {
            Ok(spec) => panic!("{text} was taken for {spec:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn devices() {
        assert_eq!(parsed("v4l:0"), CameraSpec::V4l(V4lDevice::Index(0)));
        assert_eq!(parsed(" v4l:12 "), CameraSpec::V4l(V4lDevice::Index(12)));
        let by_id = "/dev/v4l/by-id/usb-Cam_0123:4-video-index0";
        assert_eq!(parsed(&format!("v4l:{by_id}")), CameraSpec::V4l(V4lDevice::Path(by_id.into())));
    }

    #[test]
    fn commands() {
        let words = ["sh", "-c", "cat a b"].map(str::to_owned).to_vec();
        assert_eq!(parsed("command:sh -c 'cat a b'"), CameraSpec::Command(words));
        assert_eq!(parsed("command:curl http://x:8080/y?z").to_string(), "command:curl 'http://x:8080/y?z'");
    }

    #[test]
    fn clips() {
        assert_eq!(parsed("clip:/x/frames"), CameraSpec::Clip(ClipSpec::new("/x/frames")));
        let clip = ClipSpec {
            path: "/x/frames".into(),
            fps: Some(FrameRate::whole(25).expect("25 is a rate")),
            repeat: true,
            paced: false,
        };
        assert_eq!(parsed("clip:/x/frames?pace=off&loop&fps=25"), CameraSpec::Clip(clip.clone()));
        assert_eq!(CameraSpec::Clip(clip).to_string(), "clip:/x/frames?fps=25&loop&pace=off");
        assert_eq!(parsed("clip:what?.y4m?"), CameraSpec::Clip(ClipSpec::new("what?.y4m")));
        assert_eq!(parsed("clip:a.y4m?fps=29.97").to_string(), "clip:a.y4m?fps=29.97");
        assert_eq!(parsed("clip:a.y4m?pace=on").to_string(), "clip:a.y4m");
        assert_eq!(
            parsed("clip:a b.y4m ").to_string(),
            "clip:a b.y4m",
            "blanks at the end of a line are no part of it"
        );
        assert_eq!(
            parsed("clip:\u{b}?").to_string(),
            "clip:\u{b}?",
            "unless a question mark stands behind them"
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_known() {
        for (text, expected) in [
            ("", "known are v4l:DEVICE, command:PROGRAM ARGS… and clip:PATH"),
            ("/dev/video0", "unknown camera kind in \"/dev/video0\""),
            ("usb:0", "unknown camera kind in \"usb:0\""),
            ("v4l:", "\"\" is no device; give a number"),
            ("v4l:front", "\"front\" is no device"),
            ("v4l:-1", "\"-1\" is no device"),
            ("command:", "command: there is no program to run"),
            ("command:ffmpeg -i x | y", "no shell is run"),
            ("clip:", "clip: the path is missing"),
            ("clip:?loop", "clip: the path is missing"),
            ("clip:x?speed=2", "unknown option \"speed=2\"; known are fps=N, loop and pace=off"),
            ("clip:x?loop=yes", "option loop=yes: it takes no value"),
            ("clip:x?pace=slow", "option pace=slow: give on or off"),
            ("clip:x?fps=", "option fps=: "),
            ("clip:x?fps=0", "from 1 to 240"),
            ("clip:x?fps=1000", "from 1 to 240"),
            ("clip:x?fps=nan", "from 1 to 240"),
        ] {
            let message = refused(text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    fn any_spec() -> impl Strategy<Value = CameraSpec> {
        let rate = (1000u32..=240_000).prop_map(|milli| FrameRate::new(milli, 1000).expect("in range"));
        let clip = ("[a-zA-Z0-9/?&=._ -]{1,20}", proptest::option::of(rate), any::<bool>(), any::<bool>())
            .prop_map(|(path, fps, repeat, paced)| ClipSpec { path: path.into(), fps, repeat, paced });
        prop_oneof![
            any::<u32>().prop_map(|index| CameraSpec::V4l(V4lDevice::Index(index))),
            "/[a-z0-9/_:-]{1,20}".prop_map(|path| CameraSpec::V4l(V4lDevice::Path(path.into()))),
            proptest::collection::vec(".{0,12}", 1..5).prop_map(CameraSpec::Command),
            clip.prop_map(CameraSpec::Clip),
        ]
    }

    proptest! {
        #[test]
        fn printed_and_parsed_is_the_same(spec in any_spec()) {
            let text = spec.to_string();
            prop_assert_eq!(text.parse(), Ok(spec));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "(v4l:|command:|clip:)?.{0,40}") {
            if let Ok(spec) = text.parse::<CameraSpec>() {
                prop_assert_eq!(spec.to_string().parse(), Ok(spec));
            }
        }
    }
}
