//! Where log lines go: standard error for a command and for a service in a terminal, the journal under systemd.

use log::LevelFilter;
use systemd_journal_logger::{JournalLog, connected_to_journal};

use super::Globals;
use crate::config::LogConfig;

/// A command says only what went wrong unless asked for more.
pub(super) fn for_a_command(globals: &Globals) {
    to_stderr(level(LevelFilter::Warn, globals));
}

/// The service says what its config asks for, in the journal when systemd started it.
pub(super) fn for_the_service(config: &LogConfig, globals: &Globals) {
    let configured = config.level.parse().unwrap_or(LevelFilter::Info);
    let level = level(configured, globals);
    if connected_to_journal() {
        let fields = [("ACCESSD_VERSION", env!("CARGO_PKG_VERSION"))];
        if JournalLog::new().is_ok_and(|journal| journal.with_extra_fields(fields).install().is_ok()) {
            log::set_max_level(level);
            return;
        }
    }
    to_stderr(level);
}

/// `-q` means errors only, each `-v` one step more.
fn level(from: LevelFilter, globals: &Globals) -> LevelFilter {
    if globals.quiet {
        return LevelFilter::Error;
    }
    let wanted = from as usize + usize::from(globals.verbose);
    LevelFilter::iter().nth(wanted).unwrap_or(LevelFilter::Trace)
}

/// `$RUST_LOG` wins, as everywhere; libraries only warn.
fn to_stderr(level: LevelFilter) {
    let others = level.min(LevelFilter::Warn);
    let filter = env_logger::Env::default().default_filter_or(format!("{others},accessd={level}"));
    // Fails only when there is a logger already, which then serves.
    let _ = env_logger::Builder::from_env(filter).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_is_one_step_more() {
        let globals = |verbose, quiet| Globals { config: None, verbose, quiet };
        for (from, verbose, quiet, wanted) in [
            (LevelFilter::Warn, 0, false, LevelFilter::Warn),
            (LevelFilter::Warn, 1, false, LevelFilter::Info),
            (LevelFilter::Info, 1, false, LevelFilter::Debug),
            (LevelFilter::Info, 9, false, LevelFilter::Trace),
            (LevelFilter::Debug, 0, true, LevelFilter::Error),
        ] {
            assert_eq!(level(from, &globals(verbose, quiet)), wanted);
        }
    }
}
