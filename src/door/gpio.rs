//! Lines of any board through the kernel's GPIO character device: /dev/gpiochipN.
//!
//! A line belongs to the one process that has requested it, and goes back to the kernel when that process ends, in
//! whatever way. What level it has then is up to the chip, see "Fail-secure" in `ARCHITECTURE.md`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, Value};
use gpiocdev::request::Builder;

use super::spec::{ChipName, GpioSpec, LineName, Pull, Wiring};
use super::{Relay, RelayError};

/// Whose line it is, as `gpioinfo` shows it.
const CONSUMER: &str = "accessd";

/// An output line.
pub struct GpioRelay {
    name: String,
    request: Request,
}

impl GpioRelay {
    /// Takes the line and drives it at the inactive level from then on.
    ///
    /// # Errors
    /// When the chip or the line is not there, in use, or not ours to use.
    pub fn open(spec: &GpioSpec, name: String) -> Result<Self, RelayError> {
        let failed = |source| RelayError { relay: name.clone(), what: advice(spec, &source), source };
        let mut builder = builder(spec).map_err(failed)?;
        let request = builder.as_output(Value::Inactive).request().map_err(|e| failed(system(e)))?;
        Ok(Self { name, request })
    }
}

impl Relay for GpioRelay {
    fn set(&mut self, energised: bool, _why: &str) -> Result<(), RelayError> {
        let value = if energised { Value::Active } else { Value::Inactive };
        self.request.set_lone_value(value).map(drop).map_err(|error| RelayError {
            relay: self.name.clone(),
            what: "the line did not take its level; is the chip still there?".to_owned(),
            source: system(error),
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

impl Drop for GpioRelay {
    fn drop(&mut self) {
        // What the chip does with a line that nobody holds is not known here.
        if let Err(fault) = self.set(false, "let go") {
            log::error!("{fault}: {}", fault.source);
        }
    }
}

/// An input line, with its edges as the kernel stamps them.
pub(super) struct GpioInput {
    request: Request,
}

impl GpioInput {
    /// Takes the line as an input.
    pub(super) fn open(spec: &GpioSpec) -> Result<Self, RelayError> {
        let name = super::LineSpec::Gpio(spec.clone()).to_string();
        let failed = |source| RelayError { relay: name.clone(), what: advice(spec, &source), source };
        let mut builder = builder(spec).map_err(failed)?;
        let builder = builder.as_input().with_edge_detection(EdgeDetection::BothEdges);
        let request = builder.request().map_err(|error| failed(system(error)))?;
        Ok(Self { request })
    }

    /// The edges since the last call, oldest first: the level after each, and when, on the kernel's monotonic clock.
    pub(super) fn edges(&mut self) -> io::Result<Vec<(bool, Duration)>> {
        let mut edges = Vec::new();
        while self.request.has_edge_event().map_err(system)? {
            let event = self.request.read_edge_event().map_err(system)?;
            edges.push((event.kind == EdgeKind::Rising, Duration::from_nanos(event.timestamp_ns)));
        }
        Ok(edges)
    }

    /// The level now.
    pub(super) fn level(&self) -> io::Result<bool> {
        Ok(self.request.lone_value().map_err(system)? == Value::Active)
    }
}

impl AsFd for GpioInput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.request.as_fd()
    }
}

/// A request for one line, with its polarity and its resistor.
pub(super) fn builder(spec: &GpioSpec) -> io::Result<Builder> {
    let path = chip_path(&spec.chip)?;
    let offset = offset_of(&path, &spec.line)?;
    let mut builder = Request::builder();
    builder.on_chip(path).with_line(offset).with_consumer(CONSUMER);
    if spec.wiring.active_low {
        builder.as_active_low();
    }
    match spec.wiring.pull {
        Some(Pull::Up) => builder.with_bias(Bias::PullUp),
        Some(Pull::Down) => builder.with_bias(Bias::PullDown),
        None => &mut builder,
    };
    Ok(builder)
}

/// The device file of a chip.
pub(super) fn chip_path(chip: &ChipName) -> io::Result<PathBuf> {
    match chip {
        ChipName::Index(index) => Ok(format!("/dev/gpiochip{index}").into()),
        ChipName::Path(path) => Ok(path.clone()),
        ChipName::Label(label) => {
            let mut refused = None;
            for path in gpiocdev::chip::chips().map_err(system)? {
                match gpiocdev::Chip::from_path(&path).and_then(|chip| chip.info()) {
                    Ok(info) if info.label == *label || info.name == *label => return Ok(path),
                    Ok(_) => {}
                    Err(error) => refused = Some(system(error)),
                }
            }
            Err(refused.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
        }
    }
}

fn offset_of(chip: &Path, line: &LineName) -> io::Result<u32> {
    match line {
        LineName::Offset(offset) => Ok(*offset),
        LineName::Name(name) => {
            let chip = gpiocdev::Chip::from_path(chip).map_err(system)?;
            let found = chip.find_line_info(name).map(|info| info.offset);
            found
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no line is called {name:?}")))
        }
    }
}

/// Looks for a line without taking it, and says what it is: `/dev/gpiochip0 line 17 "GPIO17"`.
///
/// # Errors
/// When the chip or the line is not there, or not ours to use.
pub fn find_line(spec: &GpioSpec) -> Result<String, RelayError> {
    let found = || -> io::Result<String> {
        let path = chip_path(&spec.chip)?;
        let offset = offset_of(&path, &spec.line)?;
        let info =
            gpiocdev::Chip::from_path(&path).and_then(|chip| chip.line_info(offset)).map_err(system)?;
        let user = if info.used { format!(", held by {:?}", info.consumer) } else { String::new() };
        Ok(format!("{} line {offset} {:?}{user}", path.display(), info.name))
    };
    let name = super::LineSpec::Gpio(spec.clone()).to_string();
    found().map_err(|source| RelayError { relay: name, what: advice(spec, &source), source })
}

/// A chip as it describes itself.
pub struct ChipInfo {
    /// What it is called in every boot.
    pub label: String,
    /// Its lines.
    pub lines: Vec<gpiocdev::line::Info>,
}

/// The chips of this machine, and what each says of itself.
pub fn chips() -> Vec<(PathBuf, io::Result<ChipInfo>)> {
    let ask = |path: &PathBuf| -> io::Result<ChipInfo> {
        let chip = gpiocdev::Chip::from_path(path).map_err(system)?;
        let label = chip.info().map_err(system)?.label;
        let lines = chip.line_info_iter().map_err(system)?;
        Ok(ChipInfo { label, lines: lines.collect::<Result<_, _>>().map_err(system)? })
    };
    let found = gpiocdev::chip::chips().unwrap_or_default();
    found.into_iter().map(|path| (path.clone(), ask(&path))).collect()
}

/// The level that a line has now, without changing it; `None` when somebody holds it.
pub(super) fn level_now(spec: &GpioSpec) -> Result<Option<bool>, RelayError> {
    let name = super::LineSpec::Gpio(spec.clone()).to_string();
    let failed = |source| RelayError { relay: name.clone(), what: advice(spec, &source), source };
    // As it is: neither its direction nor its resistor is touched.
    let wiring = Wiring { pull: None, ..spec.wiring };
    let request =
        builder(&GpioSpec { wiring, ..spec.clone() }).map_err(failed)?.as_is().request().map_err(system);
    match request {
        Ok(request) => {
            Ok(Some(request.lone_value().map_err(|error| failed(system(error)))? == Value::Active))
        }
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// The system's error behind one of gpiocdev's.
pub(super) fn system(error: gpiocdev::Error) -> io::Error {
    let code = match &error {
        gpiocdev::Error::Os(errno) => Some(errno.0),
        gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(errno)) => Some(errno.0),
        _ => None,
    };
    code.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error)
}

/// What to try when a line could not be had.
pub(super) fn advice(spec: &GpioSpec, error: &io::Error) -> String {
    let (chip, line) = (&spec.chip, &spec.line);
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no chip {chip} with a line {line}; `accessd doctor` lists what there is (and is the overlay or \
             driver loaded?)"
        ),
        io::ErrorKind::PermissionDenied => {
            "this user may not use the chip; install systemd/accessd.rules and join the group gpio".to_owned()
        }
        io::ErrorKind::ResourceBusy => {
            format!(
                "another program holds line {line} of chip {chip} (gpioinfo shows which); choose another line"
            )
        }
        io::ErrorKind::InvalidInput => {
            format!(
                "chip {chip} has no line {line}, or not with these options; `accessd doctor` lists its lines"
            )
        }
        _ => "the line could not be had".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(chip: ChipName) -> GpioSpec {
        GpioSpec { chip, line: LineName::Offset(3), wiring: Wiring::default() }
    }

    #[test]
    fn a_chip_that_is_not_there_is_named() {
        for chip in [
            ChipName::Index(4_000),
            ChipName::Path("/dev/no-gpiochip".into()),
            ChipName::Label("no-such-chip".into()),
        ] {
            let spec = spec(chip);
            let Err(error) = GpioRelay::open(&spec, "gpiochip:x:3".into()) else { panic!("opened") };
            let message = error.to_string();
            assert!(message.starts_with("relay gpiochip:x:3: there is no chip"), "{message}");
            assert!(message.contains("accessd doctor"), "{message}");
        }
    }

    #[test]
    fn what_is_no_chip_is_refused() {
        let spec = spec(ChipName::Path("/dev/null".into()));
        assert!(GpioRelay::open(&spec, "gpiochip:/dev/null:3".into()).is_err());
    }

    #[test]
    fn each_trouble_has_its_advice() {
        let spec = spec(ChipName::Index(0));
        for (kind, words) in [
            (io::ErrorKind::PermissionDenied, "group gpio"),
            (io::ErrorKind::ResourceBusy, "another program holds line 3 of chip 0"),
            (io::ErrorKind::InvalidInput, "no line 3"),
        ] {
            assert!(advice(&spec, &kind.into()).contains(words), "{kind}");
        }
    }
}
