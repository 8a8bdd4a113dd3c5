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
use super::slot::{Slot, Taken};
use super::snapshot::{self, Snapshots};
use super::studio::{Job, Studio};
use super::supervise::Beat;
use super::view::View;

/// What the vision thread works with.
pub(crate) struct VisionLoop {
    pub(crate) door: DoorId,
    pub(crate) analyser: Box<dyn Analyser>,
    pub(crate) frames: Arc<Slot<Frame>>,
    pub(crate) gallery: Arc<ArcSwap<Gallery>>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) beat: Arc<Beat>,
    pub(crate) view: Arc<View>,
    pub(crate) studio: Arc<Studio>,
    pub(crate) snapshots: Snapshots,
}

impl VisionLoop {
    /// Runs until no more frames come.
    ///
    /// # Errors
    /// When a network fails: what cannot see must not decide.
    pub(crate) fn run(mut self) -> Result<(), AnalyseError> {
        loop {
            match self.frames.take() {
                Taken::Closed => break,
                Taken::Nudge => {}
                Taken::Thing(frame) => self.look(frame)?,
            }
            // One picture a turn: the door's own frames come first.
            if let Some(Job { image, answer }) = self.studio.next() {
                let analyser = &mut self.analyser;
                let studied = self.beat.during(&*self.clock, || analyser.study(&image))?;
                // Nobody waits when the client hung up.
                let _ = answer.send(studied);
            }
        }
        self.mailbox.note(Note::RecordingOver { door: self.door });
        Ok(())
    }

    fn look(&mut self, frame: Frame) -> Result<(), AnalyseError> {
        let gallery = self.gallery.load_full();
        let analyser = &mut self.analyser;
        let mut analysis = self.beat.during(&*self.clock, || analyser.analyse(&frame, &gallery))?;
        if self.snapshots != Snapshots::Off {
            snapshot::cut_out(&frame, &mut analysis);
        }
        self.view.looked_at(frame, &analysis, self.clock.now());
        self.mailbox.analysis(self.door, analysis);
        Ok(())
    }
}
