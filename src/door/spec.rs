//! Which relay to drive, as one string of the configuration: `KIND:WHERE`.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::{fmt, io};

use super::sim::SimRelay;
use super::{Relay, RelayError};
use crate::clock::Clock;

/// A relay as configured (`door.relay`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelaySpec {
    /// `sim:PATH`: writes its transitions to a file.
    Sim(PathBuf),
}

/// Why a string names no relay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelaySpecError {
    /// No kind that accessd drives.
    #[error(
        "{spec:?} is no relay that accessd can drive; it knows sim:PATH (a simulated relay that writes to a file)"
    )]
    UnknownKind {
        /// What was given.
        spec: String,
    },
    /// `sim:` alone.
    #[error(
        "{spec:?} does not say where the simulated relay writes; give a file, such as sim:/var/lib/accessd/relay.log"
    )]
    NoPath {
        /// What was given.
        spec: String,
    },
}

impl FromStr for RelaySpec {
    type Err = RelaySpecError;

    fn from_str(spec: &str) -> Result<Self, Self::Err> {
        match spec.trim().split_once(':') {
            Some(("sim", "")) => Err(RelaySpecError::NoPath { spec: spec.to_owned() }),
            Some(("sim", path)) => Ok(Self::Sim(path.into())),
            _ => Err(RelaySpecError::UnknownKind { spec: spec.to_owned() }),
        }
    }
}

impl fmt::Display for RelaySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim(path) => write!(f, "sim:{}", path.display()),
        }
    }
}

/// Opens the relay that `spec` names. Opening does not move it.
///
/// # Errors
/// When `spec` names no relay, or the relay is not there or not ours to drive.
pub fn open_relay(spec: &str, clock: Arc<dyn Clock>) -> Result<Box<dyn Relay>, RelayError> {
    let parsed: RelaySpec = spec.parse().map_err(|error| RelayError {
        relay: spec.to_owned(),
        what: "the setting cannot be used; correct door.relay".to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, error),
    })?;
    match parsed {
        RelaySpec::Sim(path) => Ok(Box::new(SimRelay::open(&path, clock)?)),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::clock::{MonoTime, SimClock};

    #[test]
    fn a_simulated_relay_is_a_path() {
        for text in ["sim:/var/lib/accessd/relay.log", "sim:relay.log", "sim:a:b"] {
            let spec: RelaySpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
        assert_eq!(" sim:x ".parse(), Ok(RelaySpec::Sim("x".into())));
    }

    #[test]
    fn what_is_no_relay_is_refused_with_those_there_are() {
        for text in ["", "sim", "/var/lib/relay.log", "gpio:17", "Sim:x", "simulated:x"] {
            let message = text.parse::<RelaySpec>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{text:?} is no relay")), "{message}");
            assert!(message.contains("it knows sim:PATH"), "{message}");
        }
        let message = "sim:".parse::<RelaySpec>().unwrap_err().to_string();
        assert!(message.contains("does not say where") && message.contains("sim:/var/lib"), "{message}");
    }

    #[test]
    fn opening_gives_the_relay_or_says_which_setting_is_wrong() {
        let clock = Arc::new(SimClock::new(MonoTime::from_millis(0), jiff::Timestamp::UNIX_EPOCH));
        let folder = tempfile::tempdir().unwrap();
        let spec = format!("sim:{}/relay.log", folder.path().display());
        assert_eq!(open_relay(&spec, clock.clone()).unwrap().describe(), spec);
        let Err(error) = open_relay("gpio:17", clock) else { panic!("opened") };
        assert_eq!(error.to_string(), "relay gpio:17: the setting cannot be used; correct door.relay");
        assert!(error.source().unwrap().to_string().contains("it knows sim:PATH"));
    }
}
