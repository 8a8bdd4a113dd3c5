//! What the program's exit code says: the one list, shown by `--help` and in the README.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or the answer is yes.
    Done,
    /// It failed; nothing has changed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// It worked and the answer is no.
    No,
}

/// The list as `--help` shows it.
pub(super) const HELP: &str = "\
Exit codes:
  0  done; the answer is yes
  1  failed, and why is on standard error; nothing has changed
  2  the command line makes no sense
  3  the answer is no: verify: different people; identify: nobody known; check, doctor: problems found;
     remove: not confirmed; policy why: not let in; log verify: a record is not as it was written;
     spoof-test: a picture would have opened the door

Configuration: --config FILE, else $ACCESSD_CONFIG, else /etc/accessd/accessd.toml, else defaults";

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::No => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// A command line that clap took and that makes no sense all the same.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UsageError(pub(super) String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        for exit in [Exit::Done, Exit::Failed, Exit::Usage, Exit::No] {
            assert!(HELP.contains(&format!("\n  {}  ", exit.code())), "{exit:?}");
        }
    }
}
