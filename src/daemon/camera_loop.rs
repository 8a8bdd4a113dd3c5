//! The camera thread: opens the camera, puts each frame into the slot, and opens it again after a failure. It may
//! block inside a driver for ever; nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use crate::camera::{Camera, CameraError};
use crate::clock::Clock;
use crate::frame::Frame;

use super::doorway::DoorId;
use super::mailbox::{Mailbox, Note};
use super::slot::Slot;
use super::status::DoorBoard;
use super::supervise::{Beat, Halt, chain};

/// Opens the configured camera; called again after each failure.
pub type CameraFactory = Box<dyn FnMut() -> Result<Box<dyn Camera>, CameraError> + Send>;

/// What the camera thread works with.
pub(crate) struct CameraLoop {
    pub(crate) door: DoorId,
    pub(crate) open: CameraFactory,
    pub(crate) frames: Arc<Slot<Frame>>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) board: Arc<DoorBoard>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) beat: Arc<Beat>,
    pub(crate) halt: Arc<Halt>,
    pub(crate) backoff: Backoff,
}

/// The pause before the camera is opened again: doubles from `first` to `most`, and starts over with each frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
    pub(crate) next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause
    }
}

impl CameraLoop {
    /// Runs until the recording ends or the daemon halts. The slot is closed when nothing more will come.
    pub(crate) fn run(mut self) {
        let mut next_seq = 0;
        while !self.halt.is_set() {
            match self.film(&mut next_seq) {
                Ok(()) => break,
                Err(CameraError::Ended { camera }) => {
                    log::info!("camera {camera}: the recording ended");
                    self.board.recording_ended();
                    break;
                }
                Err(error) => {
                    let what = chain(&error);
                    let pause = self.backoff.pause();
                    log::warn!("{what}; trying again in {} ms", pause.as_millis());
                    self.mailbox.note(Note::CameraFailed { door: self.door, what });
                    self.halt.wait(pause);
                }
            }
        }
        self.frames.close();
    }

    /// Opens the camera and delivers frames until it fails, ends, or the daemon halts.
    fn film(&mut self, next_seq: &mut u64) -> Result<(), CameraError> {
        let mut camera = self.beat.during(&*self.clock, || (self.open)())?;
        let first_seq = *next_seq;
        while !self.halt.is_set() {
            let mut frame = self.beat.during(&*self.clock, || camera.next())?;
            // A camera opened again counts from its own start; the daemon's numbers only grow.
            frame.seq = first_seq.saturating_add(frame.seq);
            *next_seq = frame.seq + 1;
            self.backoff.next = self.backoff.first;
            self.board.frame_arrived(self.clock.now());
            self.frames.put(frame);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(8));
        let pauses: Vec<u128> = (0..7).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
    }
}
