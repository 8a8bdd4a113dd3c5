//! The keypad thread: reads keys, puts together what somebody types, and tells control. A keypad that fails is opened again;
//! nothing else depends on it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::door::keypad::{Keypad, KeypadError, KeypadFactory, Typing};

use super::doorway::DoorId;
use super::mailbox::{Mailbox, Note};
use super::supervise::{Halt, chain};

/// How often the thread looks whether the daemon halts.
const TURN: Duration = Duration::from_millis(100);
/// Pause before a keypad that failed is opened again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the keypad thread works with.
pub(crate) struct KeypadLoop {
    pub(crate) door: DoorId,
    pub(crate) open: KeypadFactory,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) halt: Arc<Halt>,
}

impl KeypadLoop {
    /// Runs until the daemon halts. A keypad that is not there yet is waited for: a door without it still knows faces.
    pub(crate) fn run(mut self) {
        let (door, mut lost) = (self.door, false);
        while !self.halt.is_set() {
            let error = match (self.open)() {
                Ok(keypad) => {
                    if std::mem::take(&mut lost) {
                        self.mailbox.note(Note::KeypadBack { door });
                    }
                    self.read(keypad)
                }
                Err(error) => Some(error),
            };
            let Some(error) = error else { return };
            if !std::mem::replace(&mut lost, true) {
                self.mailbox.note(Note::KeypadFailed { door, what: chain(&error) });
            }
            self.halt.wait(RETRY_AFTER);
        }
    }

    /// Reads until the keypad fails; `None` when the daemon halts.
    fn read(&self, mut keypad: Box<dyn Keypad>) -> Option<KeypadError> {
        let mut typing = Typing::default();
        while !self.halt.is_set() {
            match keypad.wait(TURN) {
                Ok(keys) => keys.into_iter().for_each(|key| {
                    if let Some(typed) = typing.press(key, self.clock.now()) {
                        self.mailbox.note(Note::Typed { door: self.door, typed });
                    }
                }),
                Err(error) => return Some(error),
            }
        }
        None
    }
}
