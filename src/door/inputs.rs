//! What is wired to the door besides the strike, read: exit button, contact, tamper switch.
//!
//! Lines of a chip are waited for by their edges, which carry the kernel's time stamp, and read as levels at every turn
//! besides: an edge that is lost is made good by the next reading. A simulated input is a file that holds `1` or `0`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::controller::Sensor;
use super::gpio::GpioInput;
use super::spec::LineSpec;
use crate::clock::{Clock, MonoTime};

/// Files have no edges: they are read this often.
const FILES_EVERY: Duration = Duration::from_millis(10);

/// The level of an input at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which input.
    pub sensor: Sensor,
    /// Its level.
    pub active: bool,
    /// When it had it: the kernel's stamp for an edge.
    pub at: MonoTime,
}

/// Why an input cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("input {} ({line}): {what}", sensor.as_str())]
pub struct InputError {
    /// Which.
    pub sensor: Sensor,
    /// Its line as configured.
    pub line: String,
    /// What failed and what to try.
    pub what: String,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The inputs of a door. Runs on a thread of its own: `wait` may block.
pub trait Inputs: Send {
    /// Waits at most `patience` for a change, and gives the edges that came and the present level of every input, in
    /// this order.
    ///
    /// # Errors
    /// When an input cannot be read any more; all must be opened again then.
    fn wait(&mut self, patience: Duration) -> Result<Vec<Reading>, InputError>;
}

/// Opens all inputs of a door; called again after a failure.
pub type InputsFactory = Box<dyn FnMut() -> Result<Box<dyn Inputs>, InputError> + Send>;

/// Opens inputs.
///
/// # Errors
/// When a line is not there, in use, or not ours to read.
pub fn open_inputs(
    wired: &[(Sensor, LineSpec)],
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Inputs>, InputError> {
    let lines = wired.iter().map(|(sensor, spec)| {
        let failed =
            |what: String, source| InputError { sensor: *sensor, line: spec.to_string(), what, source };
        let line = match spec {
            LineSpec::Sim(path) => Line::File(path.clone()),
            LineSpec::Gpio(line) => {
                Line::Gpio(GpioInput::open(line).map_err(|error| failed(error.what, error.source))?)
            }
            LineSpec::Pi(_) => {
                let what =
                    "inputs are read through the kernel, on a Raspberry Pi too: give gpiochip:CHIP:LINE";
                return Err(failed(what.to_owned(), io::ErrorKind::Unsupported.into()));
            }
        };
        Ok((*sensor, spec.to_string(), line))
    });
    Ok(Box::new(Lines { lines: lines.collect::<Result<_, _>>()?, clock }))
}

struct Lines {
    lines: Vec<(Sensor, String, Line)>,
    clock: Arc<dyn Clock>,
}

enum Line {
    Gpio(GpioInput),
    File(PathBuf),
}

impl Inputs for Lines {
    fn wait(&mut self, patience: Duration) -> Result<Vec<Reading>, InputError> {
        self.pause(patience);
        let clock = &*self.clock;
        let mut readings = Vec::new();
        for (sensor, name, line) in &mut self.lines {
            let (sensor, failed) = (*sensor, |what: &str, source| InputError {
                sensor: *sensor,
                line: name.clone(),
                what: what.to_owned(),
                source,
            });
            let level = match line {
                Line::File(path) => file_level(path).map_err(|e| failed("the file cannot be read", e))?,
                Line::Gpio(input) => {
                    let gone = "the line cannot be read; is the chip still there?";
                    for (active, stamp) in input.edges().map_err(|e| failed(gone, e))? {
                        readings.push(Reading { sensor, active, at: clock.of_kernel(stamp) });
                    }
                    input.level().map_err(|e| failed(gone, e))?
                }
            };
            readings.push(Reading { sensor, active: level, at: clock.now() });
        }
        Ok(readings)
    }
}

impl Lines {
    /// Sleeps until an edge comes, at most `patience`.
    fn pause(&self, patience: Duration) {
        let files = self.lines.iter().any(|(_, _, line)| matches!(line, Line::File(_)));
        let patience = if files { patience.min(FILES_EVERY) } else { patience };
        let fds = self.lines.iter().filter_map(|(_, _, line)| line.fd());
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(patience).ok();
        // Interrupted or refused: the readings below tell.
        let _ = rustix::event::poll(&mut fds, timeout.as_ref());
    }
}

impl Line {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Gpio(input) => Some(input.as_fd()),
            Self::File(_) => None,
        }
    }
}

/// `1` is active; anything else, and no file, is not.
fn file_level(path: &PathBuf) -> io::Result<bool> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes.first() == Some(&b'1')),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn levels(inputs: &mut dyn Inputs) -> Vec<(Sensor, bool)> {
        let readings = inputs.wait(Duration::ZERO).unwrap();
        readings.into_iter().map(|reading| (reading.sensor, reading.active)).collect()
    }

    #[test]
    fn a_file_is_an_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let wired =
            [(Sensor::Rex, LineSpec::Sim(path("rex"))), (Sensor::Contact, LineSpec::Sim(path("contact")))];
        let mut inputs = open_inputs(&wired, Arc::new(SystemClock)).unwrap();
        std::fs::write(path("contact"), "1\n").unwrap();
        assert_eq!(levels(&mut *inputs), [(Sensor::Rex, false), (Sensor::Contact, true)]);
        std::fs::write(path("rex"), "1").unwrap();
        std::fs::write(path("contact"), "0").unwrap();
        assert_eq!(levels(&mut *inputs), [(Sensor::Rex, true), (Sensor::Contact, false)]);
    }

    #[test]
    fn an_input_that_cannot_be_had_is_named_with_what_to_try() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let told = |line: &str| {
            let wired = [(Sensor::Rex, line.parse().unwrap())];
            open_inputs(&wired, clock.clone()).err().unwrap().to_string()
        };
        let message = told("gpiochip:4000:23?pull-up");
        assert!(
            message.starts_with("input rex (gpiochip:4000:23?pull-up): there is no chip 4000"),
            "{message}"
        );
        assert!(told("rppal:17").contains("give gpiochip:CHIP:LINE"));
        let folder = tempfile::tempdir().unwrap();
        let wired = [(Sensor::Tamper, LineSpec::Sim(folder.path().to_owned()))];
        let error = open_inputs(&wired, clock).unwrap().wait(Duration::ZERO).unwrap_err();
        assert!(error.to_string().starts_with("input tamper"), "{error}");
    }
}
