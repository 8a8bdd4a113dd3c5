//! What SQLite and the system complain of, put as [`StoreError`]: on which file, what failed, what to try.

use std::path::Path;

use rusqlite::ErrorCode;

use super::StoreError;
use crate::seal::KeyError;

/// What can go wrong inside this room, before it is known which file it is about.
#[derive(Debug)]
pub(super) enum Trouble {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// A row holds what this program cannot have written: which and why.
    Damaged(String),
    /// There is no key to seal or open with.
    Key(KeyError),
    /// What was asked cannot be done; already put for the operator.
    Refused(StoreError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<KeyError> for Trouble {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Trouble {
    /// The error to hand out; `doing` says what was tried: `reading the journal`.
    pub(super) fn at(self, path: &Path, doing: &str) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Damaged(what) => {
                error(path, format!("{doing} failed: {what}; `accessd check` shows all damage"), None)
            }
            Self::Key(source) => error(path, format!("{doing} failed: {source}"), Some(Box::new(source))),
            Self::Sqlite(source) => {
                let what = format!("{doing} failed: {}", cause_and_remedy(&source));
                error(path, what, Some(Box::new(source)))
            }
        }
    }
}

/// A database error about `path`.
pub(super) fn error(
    path: &Path,
    what: impl Into<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Database { path: path.to_owned(), what: what.into(), source }
}

/// What SQLite's error code means on a machine beside a door, and what to do about it.
fn cause_and_remedy(error: &rusqlite::Error) -> &'static str {
    let rusqlite::Error::SqliteFailure(error, _) = error else {
        return "a value is not what this program writes; `accessd check` shows all damage";
    };
    match error.code {
        ErrorCode::DiskFull => "the disk is full; make room on it",
        ErrorCode::ReadOnly => {
            "the file, its folder or the disk is read-only; make it writable for this user"
        }
        ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            "this user may not; use the service's user or root"
        }
        ErrorCode::CannotOpen => {
            "the file or one of its companions (-wal, -shm) cannot be opened; see that the folder exists and \
             that this user may write in it"
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "another program keeps it locked; close that program (a SQLite shell, a backup)"
        }
        ErrorCode::SystemIoFailure => {
            "the disk reports an error; look into the kernel's log (dmesg) and replace the card or disk"
        }
        ErrorCode::DatabaseCorrupt => DAMAGED,
        ErrorCode::NotADatabase => "it is not an SQLite database; give the path of accessd's own",
        ErrorCode::ConstraintViolation => "the database refuses the value",
        ErrorCode::OutOfMemory => "there is not enough memory",
        _ => "SQLite gave up",
    }
}

/// What to do about a damaged file.
pub(super) const DAMAGED: &str = "it is damaged; stop accessd, put the file aside with its -wal companion, and restore a \
                                  backup or enrol anew (`accessd check` shows what is damaged)";

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(code: i32) -> Trouble {
        Trouble::Sqlite(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))
    }

    #[test]
    fn a_message_names_file_act_cause_and_remedy() {
        let error = sqlite(rusqlite::ffi::SQLITE_FULL).at(Path::new("/d/a.db"), "enrolling \"Ada\"");
        assert_eq!(
            error.to_string(),
            "database /d/a.db: enrolling \"Ada\" failed: the disk is full; make room on it"
        );
        assert!(std::error::Error::source(&error).is_some(), "SQLite's own words are kept");
    }

    #[test]
    fn every_trouble_that_an_operator_can_meet_has_a_remedy() {
        use rusqlite::ffi;
        for code in [
            ffi::SQLITE_FULL,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_PERM,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
        ] {
            let text = sqlite(code).at(Path::new("a.db"), "reading").to_string();
            assert!(text.contains(';'), "code {code} says only: {text}");
        }
    }
}
