//! The vision thread: takes the newest frame, has the networks look at it with the people of this moment, and posts
//! what they saw to control.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::frame::Frame;
use crate::gallery::Gallery;

use super::analysis::{AnalyseError, Analyser};
use super::doorway::DoorId;
use super::mailbox::{Mailbox, Note};
use super::slot::Slot;
use super::supervise::Beat;

/// What the vision thread works with.
pub(crate) struct VisionLoop {
    pub(crate) door: DoorId,
    pub(crate) analyser: Box<dyn Analyser>,
    pub(crate) frames: Arc<Slot<Frame>>,
    pub(crate) gallery: Arc<ArcSwap<Gallery>>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) beat: Arc<Beat>,
}

impl VisionLoop {
    /// Runs until no more frames come.
    ///
    /// # Errors
    /// When a network fails: what cannot see must not decide.
    pub(crate) fn run(mut self) -> Result<(), AnalyseError> {
        while let Some(frame) = self.frames.take() {
            let gallery = self.gallery.load_full();
            let analyser = &mut self.analyser;
            let analysis = self.beat.during(&*self.clock, || analyser.analyse(&frame, &gallery))?;
            self.mailbox.analysis(self.door, analysis);
        }
        self.mailbox.note(Note::RecordingOver { door: self.door });
        Ok(())
    }
}
