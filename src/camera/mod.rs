//! Where frames come from.

use crate::frame::Frame;

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
