//! A pin of a Raspberry Pi through rppal, which writes to the GPIO registers. For boards and kernels where the GPIO
//! character device does not serve; elsewhere `gpiochip:` is the better way, for there the kernel knows whose line it is.

use std::io;

use rppal::gpio::{Gpio, Level, OutputPin};

use super::spec::PiSpec;
use super::{Relay, RelayError};

/// An output pin.
pub struct PiRelay {
    name: String,
    pin: OutputPin,
    active_low: bool,
}

impl PiRelay {
    /// Takes the pin and drives it at the inactive level from then on.
    ///
    /// # Errors
    /// When this is no Raspberry Pi that rppal knows, or its registers are not ours to write.
    pub fn open(spec: &PiSpec, name: String) -> Result<Self, RelayError> {
        let failed = |error| {
            let (what, source) = trouble(error);
            RelayError { relay: name.clone(), what, source }
        };
        let pin = Gpio::new().and_then(|gpio| gpio.get(spec.bcm)).map_err(failed)?;
        let active_low = spec.wiring.active_low;
        let mut pin = if active_low { pin.into_output_high() } else { pin.into_output_low() };
        // An input would follow its resistor, which may pull to the active level.
        pin.set_reset_on_drop(false);
        Ok(Self { name, pin, active_low })
    }
}

impl Relay for PiRelay {
    fn set(&mut self, energised: bool, _why: &str) -> Result<(), RelayError> {
        let high = energised != self.active_low;
        self.pin.write(if high { Level::High } else { Level::Low });
        // Another program may have turned the pin into something else: the registers belong to nobody.
        let took = if high { self.pin.is_set_high() } else { self.pin.is_set_low() };
        if took {
            return Ok(());
        }
        Err(RelayError {
            relay: self.name.clone(),
            what: "the pin did not take its level; does another program use it?".to_owned(),
            source: io::ErrorKind::Other.into(),
        })
    }

    fn describe(&self) -> String {
        self.name.clone()
    }
}

impl Drop for PiRelay {
    fn drop(&mut self) {
        if let Err(fault) = self.set(false, "let go") {
            log::error!("{fault}: {}", fault.source);
        }
    }
}

/// The level that a pin has now, without changing it.
pub(super) fn level_now(spec: &PiSpec, name: String) -> Result<bool, RelayError> {
    let pin = Gpio::new().and_then(|gpio| gpio.get(spec.bcm)).map_err(|error| {
        let (what, source) = trouble(error);
        RelayError { relay: name, what, source }
    })?;
    Ok((pin.read() == Level::High) != spec.wiring.active_low)
}

fn trouble(error: rppal::gpio::Error) -> (String, io::Error) {
    use rppal::gpio::Error;
    match error {
        Error::UnknownModel => (
            "rppal does not know this machine as a Raspberry Pi; use gpiochip:CHIP:LINE".to_owned(),
            io::ErrorKind::Unsupported.into(),
        ),
        Error::PinNotAvailable(pin) => {
            (format!("there is no pin {pin}; choose another"), io::ErrorKind::NotFound.into())
        }
        Error::PermissionDenied(what) => (
            format!("this user may not use {what}; join the group gpio, or use gpiochip:CHIP:LINE"),
            io::ErrorKind::PermissionDenied.into(),
        ),
        Error::PinUsed(pin) => (format!("pin {pin} is in use already"), io::ErrorKind::ResourceBusy.into()),
        Error::Io(source) => ("the GPIO registers cannot be reached (/dev/gpiomem)".to_owned(), source),
        other => ("the pin could not be had".to_owned(), io::Error::other(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::spec::Wiring;

    #[test]
    fn what_fails_is_told_with_what_to_try() {
        let told = |error| trouble(error).0;
        assert!(told(rppal::gpio::Error::UnknownModel).contains("use gpiochip:CHIP:LINE"));
        assert!(
            told(rppal::gpio::Error::PermissionDenied("/dev/gpiomem".into())).contains("join the group gpio")
        );
        assert!(told(rppal::gpio::Error::PinNotAvailable(17)).contains("no pin 17"));
    }

    #[test]
    fn where_there_is_no_pi_there_is_no_pin() {
        if std::path::Path::new("/dev/gpiomem").exists() {
            eprintln!("skipped: this machine has Raspberry Pi pins, and a test must not drive them");
            return;
        }
        let spec = PiSpec { bcm: 17, wiring: Wiring::default() };
        let Err(error) = PiRelay::open(&spec, "rppal:17".into()) else { panic!("opened") };
        assert!(error.to_string().starts_with("relay rppal:17: "), "{error}");
    }
}
