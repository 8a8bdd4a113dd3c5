//! The strike as the driver sees it: locked, or unlocked for a bounded time. Behind it stands a relay, in this process
//! ([`DirectStrike`]) or in that of the guard ([`super::guard::GuardedStrike`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Relay, RelayError};

/// What locks the door, and may be told so.
pub trait Strike: Send {
    /// Unlocks for at most `at_most` from now, whatever was left of an earlier time. Who wants it longer says so
    /// again.
    ///
    /// # Errors
    /// When the line did not take its level.
    fn unlock(&mut self, at_most: Duration, why: &str) -> Result<(), RelayError>;

    /// Locks, also when it is believed to be locked.
    ///
    /// # Errors
    /// When the line did not take its level.
    fn lock(&mut self, why: &str) -> Result<(), RelayError>;

    /// The controller turns, and believes the strike to be `unlocked`. When somebody has locked it meanwhile, why.
    ///
    /// # Errors
    /// When nobody answers for the strike any more.
    fn beat(&mut self, unlocked: bool) -> Result<Option<String>, RelayError>;

    /// The relay as configured, for messages.
    fn describe(&self) -> String;
}

/// What the strike does without power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrikeKind {
    /// Locked: the relay is energised to open.
    #[default]
    FailSecure,
    /// Open: the relay is energised to keep it locked.
    FailSafe,
}

/// A word that is no kind of strike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no kind of strike; give fail-secure (locked without power) or fail-safe (open without power)"
)]
pub struct StrikeKindError(String);

impl std::str::FromStr for StrikeKind {
    type Err = StrikeKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "fail-secure" => Ok(Self::FailSecure),
            "fail-safe" => Ok(Self::FailSafe),
            _ => Err(StrikeKindError(text.to_owned())),
        }
    }
}

impl StrikeKind {
    /// Whether the relay is to be energised.
    pub fn energised(self, unlocked: bool) -> bool {
        match self {
            Self::FailSecure => unlocked,
            Self::FailSafe => !unlocked,
        }
    }

    /// As the configuration has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailSecure => "fail-secure",
            Self::FailSafe => "fail-safe",
        }
    }
}

/// A strike whose relay is driven by this process. Nothing but the controller's deadline bounds an unlocking here.
pub struct DirectStrike {
    relay: Box<dyn Relay>,
    kind: StrikeKind,
}

impl DirectStrike {
    /// A strike on `relay`, which is not moved yet.
    pub fn new(relay: Box<dyn Relay>, kind: StrikeKind) -> Self {
        Self { relay, kind }
    }
}

impl Strike for DirectStrike {
    fn unlock(&mut self, _at_most: Duration, why: &str) -> Result<(), RelayError> {
        self.relay.set(self.kind.energised(true), why)
    }

    fn lock(&mut self, why: &str) -> Result<(), RelayError> {
        self.relay.set(self.kind.energised(false), why)
    }

    fn beat(&mut self, _unlocked: bool) -> Result<Option<String>, RelayError> {
        Ok(None)
    }

    fn describe(&self) -> String {
        self.relay.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fail_safe_strike_is_locked_by_power_and_a_fail_secure_one_opened_by_it() {
        assert!(StrikeKind::FailSecure.energised(true) && !StrikeKind::FailSecure.energised(false));
        assert!(!StrikeKind::FailSafe.energised(true) && StrikeKind::FailSafe.energised(false));
    }

    #[test]
    fn kinds_are_written_as_they_are_read() {
        for kind in [StrikeKind::FailSecure, StrikeKind::FailSafe] {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        let error = "failsafe".parse::<StrikeKind>().unwrap_err().to_string();
        assert!(error.contains("fail-secure (locked without power)"), "{error}");
    }
}
