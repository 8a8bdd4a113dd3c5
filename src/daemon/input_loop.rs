//! The input thread: reads exit button, contact and tamper switch, believes what has settled, and tells control. It
//! touches neither camera nor networks, so the way out is open whatever they do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::door::debounce::{Debounce, Settled};
use crate::door::{InputError, Inputs, InputsFactory, Sensor};

use super::doorway::DoorId;
use super::mailbox::{Mailbox, Note};
use super::supervise::{Halt, chain};

/// Levels are read at least this often, whether or not edges come.
const READ_EVERY: Duration = Duration::from_millis(100);

/// Pause before inputs that failed are opened again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the input thread works with.
pub(crate) struct InputLoop {
    pub(crate) door: DoorId,
    pub(crate) inputs: Box<dyn Inputs>,
    pub(crate) open: InputsFactory,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) halt: Arc<Halt>,
}

impl InputLoop {
    /// Runs until the daemon halts.
    pub(crate) fn run(mut self) {
        let mut believed = BTreeMap::new();
        while !self.halt.is_set() {
            let Err(error) = self.turn(&mut believed) else { continue };
            self.mailbox.note(Note::InputsFailed { door: self.door, what: chain(&error) });
            while !self.halt.is_set() {
                self.halt.wait(RETRY_AFTER);
                if let Ok(inputs) = (self.open)() {
                    self.inputs = inputs;
                    self.mailbox.note(Note::InputsBack { door: self.door });
                    break;
                }
            }
        }
    }

    /// Reads once and tells what has settled.
    fn turn(&mut self, believed: &mut BTreeMap<Sensor, Debounce>) -> Result<(), InputError> {
        let now = self.clock.now();
        let due = believed.values().filter_map(Debounce::next_deadline).min();
        let patience = due.map_or(READ_EVERY, |due| due.since(now).min(READ_EVERY));
        for reading in self.inputs.wait(patience)? {
            let input = believed.entry(reading.sensor).or_default();
            let settled = input.level(reading.active, reading.at);
            self.tell(reading.sensor, settled);
        }
        let now = self.clock.now();
        for (sensor, input) in believed {
            let settled = input.tick(now);
            self.tell(*sensor, settled);
        }
        Ok(())
    }

    fn tell(&self, sensor: Sensor, settled: Option<Settled>) {
        if let Some(Settled { active, since }) = settled {
            self.mailbox.note(Note::Sensed { door: self.door, sensor, active, since });
        }
    }
}
