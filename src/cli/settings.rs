//! Which config file a command reads.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};

/// Where the config is looked for when nobody names one.
const SYSTEM_FILE: &str = "/etc/accessd/accessd.toml";

/// Where a config came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `--config FILE`.
    Option(PathBuf),
    /// `$ACCESSD_CONFIG`.
    Environment(PathBuf),
    /// The system's file.
    System(PathBuf),
    /// No file: built-in defaults.
    Defaults,
}

impl Origin {
    /// The order: option, environment, system file if it is there, defaults.
    pub(super) fn find(option: Option<&Path>) -> Self {
        Self::pick(option, std::env::var_os("ACCESSD_CONFIG"), Path::new(SYSTEM_FILE))
    }

    fn pick(option: Option<&Path>, environment: Option<OsString>, system: &Path) -> Self {
        match (option, environment) {
            (Some(file), _) => Origin::Option(file.to_owned()),
            (None, Some(file)) if !file.is_empty() => Origin::Environment(file.into()),
            _ if is_missing(system) => Origin::Defaults,
            _ => Origin::System(system.to_owned()),
        }
    }

    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Origin::Option(file) | Origin::Environment(file) | Origin::System(file) => Some(file),
            Origin::Defaults => None,
        }
    }

    /// Loads it.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        match self {
            Origin::Option(file) | Origin::Environment(file) | Origin::System(file) => Config::load(file),
            Origin::Defaults => Ok(Config::default()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Option(file) | Origin::System(file) => write!(f, "{}", file.display()),
            Origin::Environment(file) => write!(f, "{} (from $ACCESSD_CONFIG)", file.display()),
            Origin::Defaults => write!(f, "built-in defaults (there is no {SYSTEM_FILE})"),
        }
    }
}

/// Whether there is surely no such file. One that is there and cannot be read is an error for the loader, not a reason
/// to go on with defaults.
fn is_missing(file: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    std::fs::symlink_metadata(file).is_err_and(|e| matches!(e.kind(), NotFound | NotADirectory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_wish_wins() {
        let dir = tempfile::tempdir().unwrap();
        let system = dir.path().join("accessd.toml");
        let option = Path::new("given.toml");
        let environment = || Some(OsString::from("env.toml"));
        assert_eq!(Origin::pick(None, None, &system), Origin::Defaults);
        assert_eq!(Origin::pick(None, Some(OsString::new()), &system), Origin::Defaults);
        std::fs::write(&system, "").unwrap();
        assert_eq!(Origin::pick(None, None, &system), Origin::System(system.clone()));
        assert_eq!(Origin::pick(None, environment(), &system), Origin::Environment("env.toml".into()));
        assert_eq!(Origin::pick(Some(option), environment(), &system), Origin::Option("given.toml".into()));
    }

    #[test]
    fn a_dangling_link_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let system = dir.path().join("accessd.toml");
        std::os::unix::fs::symlink("nowhere", &system).unwrap();
        let origin = Origin::pick(None, None, &system);
        assert!(origin.load().is_err(), "{origin}");
    }
}
