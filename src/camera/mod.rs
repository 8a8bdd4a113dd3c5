//! Where frames come from: the first step of the data's way.
//!
//! [`open`] turns a [`CameraSpec`] into a [`Camera`]: a V4L2 device, a program that writes MJPEG, or a recording. Live
//! cameras are read on a thread of their own that keeps only the newest picture, so that a slow reader gets fresh
//! frames instead of a queue of old ones.

mod clip;
mod command;
mod folder;
mod latest;
mod mjpeg;
mod pacing;
pub mod pixels;
mod spec;
#[cfg(feature = "v4l")]
mod v4l;
mod words;
mod y4m;

use std::sync::Arc;

use crate::clock::Clock;
use crate::frame::Frame;

pub use clip::ClipCamera;
pub use command::CommandCamera;
pub use mjpeg::{MAX_JUNK_BYTES, Piece, Splitter};
pub use pacing::{FrameRate, FrameRateError, Sleeper, Waiter};
pub use spec::{CameraSpec, ClipSpec, SpecError, V4lDevice};
#[cfg(feature = "v4l")]
pub use v4l::{CameraDevice, Layout, Offer, devices, offers};
pub use words::WordsError;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The recording is over.
    #[error("camera {camera}: the recording ended")]
    Ended {
        /// Which camera, as configured.
        camera: String,
    },
    /// Anything else.
    #[error("camera {camera}: {what}")]
    Failed {
        /// Which camera, as configured.
        camera: String,
        /// What failed and what to try.
        what: String,
        /// What the system said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// A failure inside of a camera, before the camera's name is put to it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Fault {
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Fault {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    fn with(what: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { what: what.into(), source: Some(Box::new(source)) }
    }

    /// In the words of an error that names its file itself, with the causes behind it.
    fn told_by(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        Self::new(causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }

    fn of(self, camera: &str) -> CameraError {
        CameraError::Failed { camera: camera.to_owned(), what: self.what, source: self.source }
    }
}

/// What is asked of a camera. A V4L2 device gets as near as it can; a recording without times of its own plays at
/// `fps`; everything else decides for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedFormat {
    /// Width in px.
    pub width: u32,
    /// Height in px.
    pub height: u32,
    /// Frames a second, 1–240.
    pub fps: u32,
}

/// A source of frames. Runs on a thread of its own: `next` may block.
pub trait Camera: Send {
    /// Waits for the next frame.
    ///
    /// # Errors
    /// [`CameraError::Ended`] after the last frame of a recording; anything else means that the camera must be
    /// opened again.
    fn next(&mut self) -> Result<Frame, CameraError>;

    /// The camera as configured, for messages.
    fn describe(&self) -> String;
}

/// Opens a camera.
///
/// # Errors
/// When the device, the program or the recording is not there or not usable; the message says what to try.
pub fn open(
    spec: &CameraSpec,
    wanted: WantedFormat,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Camera>, CameraError> {
    match spec {
        CameraSpec::V4l(device) => open_v4l(device, wanted, clock, spec.to_string()),
        CameraSpec::Command(words) => Ok(Box::new(CommandCamera::open(words, clock)?)),
        CameraSpec::Clip(clip) => {
            let waiter = Box::new(Sleeper::new(clock.clone()));
            Ok(Box::new(ClipCamera::open(clip, wanted, clock, waiter)?))
        }
    }
}

#[cfg(feature = "v4l")]
fn open_v4l(
    device: &V4lDevice,
    wanted: WantedFormat,
    clock: Arc<dyn Clock>,
    name: String,
) -> Result<Box<dyn Camera>, CameraError> {
    Ok(Box::new(v4l::V4lCamera::open(device, wanted, clock, name)?))
}

#[cfg(not(feature = "v4l"))]
fn open_v4l(
    _device: &V4lDevice,
    _wanted: WantedFormat,
    _clock: Arc<dyn Clock>,
    name: String,
) -> Result<Box<dyn Camera>, CameraError> {
    let what = "this accessd was built without V4L2 cameras; build it with the feature v4l, or use a program: \
                command:ffmpeg -f v4l2 -i /dev/video0 -c:v mjpeg -f mjpeg -";
    Err(Fault::new(what).of(&name))
}
