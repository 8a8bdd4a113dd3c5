//! Whether pictures come: a camera that is silent for too long is lost, once, until it is back.

use crate::clock::MonoTime;
use crate::daemon::Limits;
use crate::daemon::status::DoorBoard;

/// Watches for frames.
#[derive(Debug)]
pub(crate) struct CameraWatch {
    started: MonoTime,
    lost_since: Option<MonoTime>,
    last_failure: Option<String>,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// No pictures.
    Lost {
        /// Since when and why.
        what: String,
    },
    /// Pictures again.
    Back {
        /// For how long there were none.
        silent_ms: u64,
    },
}

impl CameraWatch {
    pub(crate) fn new(started: MonoTime) -> Self {
        Self { started, lost_since: None, last_failure: None }
    }

    /// The camera said why it fails.
    pub(super) fn failed(&mut self, what: String) {
        self.last_failure = Some(what);
    }

    /// Whether it is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost_since.is_some()
    }

    /// Compares the newest frame with the time.
    pub(super) fn check(&mut self, board: &DoorBoard, limits: &Limits, now: MonoTime) -> Option<Change> {
        if board.is_recording_over() {
            return None;
        }
        self.check_at(board.newest_frame(), limits, now)
    }

    /// The same for a camera whose newest frame came then.
    pub(super) fn check_at(
        &mut self,
        newest: Option<MonoTime>,
        limits: &Limits,
        now: MonoTime,
    ) -> Option<Change> {
        let silent_since = newest.unwrap_or(self.started);
        let limit = match (newest, &self.last_failure) {
            (None, None) => limits.camera_first,
            _ => limits.camera_silent,
        };
        let silent = now.since(silent_since) > limit;
        match self.lost_since {
            None if silent => {
                self.lost_since = Some(silent_since);
                let why = self.last_failure.as_deref().unwrap_or("the camera says nothing about it");
                let what = format!("no picture for {} s: {why}", limit.as_secs_f32());
                Some(Change::Lost { what })
            }
            Some(since) if !silent && newest > Some(since) => {
                self.lost_since = None;
                self.last_failure = None;
                Some(Change::Back { silent_ms: now.since(since).as_millis() as u64 })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::fakes::door_board as board;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    #[test]
    fn a_silent_camera_is_lost_once_and_back_once() {
        let (board, limits) = (board(), Limits::default());
        let mut watch = CameraWatch::new(at(0));
        board.frame_arrived(at(1_000));
        assert_eq!(watch.check(&board, &limits, at(3_000)), None);
        watch.failed("unplugged".into());
        let lost = watch.check(&board, &limits, at(3_001));
        assert_eq!(lost, Some(Change::Lost { what: "no picture for 2 s: unplugged".into() }));
        assert_eq!(watch.check(&board, &limits, at(9_000)), None);
        board.frame_arrived(at(10_000));
        assert_eq!(watch.check(&board, &limits, at(10_000)), Some(Change::Back { silent_ms: 9_000 }));
        assert_eq!(watch.check(&board, &limits, at(10_001)), None);
    }

    #[test]
    fn a_camera_may_take_its_time_to_open_but_not_to_fail() {
        let (board, limits) = (board(), Limits::default());
        let mut patient = CameraWatch::new(at(0));
        assert_eq!(patient.check(&board, &limits, at(5_000)), None);
        assert!(patient.check(&board, &limits, at(5_001)).is_some());
        let mut failing = CameraWatch::new(at(0));
        failing.failed("busy".into());
        assert!(failing.check(&board, &limits, at(2_001)).is_some());
    }

    #[test]
    fn the_end_of_a_recording_is_no_loss() {
        let board = board();
        board.recording_ended();
        assert_eq!(CameraWatch::new(at(0)).check(&board, &Limits::default(), at(60_000)), None);
    }
}
