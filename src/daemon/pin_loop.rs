//! The thread that hashes what was typed. A hash takes some 20 ms on a desktop and a tenth of a second on a small board, by
//! intention; the control thread, which relocks and lets people out, does not wait for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::access::pin::{Against, Pin, check};
use crate::clock::MonoTime;

use super::doorway::DoorId;
use super::mailbox::{Mailbox, Note};
use super::supervise::Halt;

/// How often the thread looks whether the daemon halts.
const TURN: Duration = Duration::from_millis(100);

/// One PIN to be looked at.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) door: DoorId,
    pub(crate) pin: Pin,
    pub(crate) against: Against,
    pub(crate) typed: MonoTime,
}

/// What the thread works with.
pub(crate) struct PinLoop {
    pub(crate) jobs: Receiver<Job>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) halt: Arc<Halt>,
}

impl PinLoop {
    /// Runs until the daemon halts.
    pub(crate) fn run(self) {
        while !self.halt.is_set() {
            match self.jobs.recv_timeout(TURN) {
                Ok(Job { door, pin, against, typed }) => {
                    self.mailbox.note(Note::PinChecked { door, proof: check(&pin, &against, typed) });
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Control is gone, and with it the daemon.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
