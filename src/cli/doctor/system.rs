//! Service, files, clock and sandbox.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;

use super::super::adapters::load_networks;
use super::super::backend::Service;
use super::{Finding, State};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;

/// Less than this is left: the journal will soon not be written, and without it no door opens.
const LITTLE_SPACE: u64 = 100 << 20;

/// No clock that is right shows less.
const BUILT_AFTER: &str = "2026-01-01T00:00:00Z";

/// Whether the service runs, which explains what is held.
pub(super) fn service(config: &Config) -> Vec<Finding> {
    let socket = &config.paths.socket;
    let found = Service::find(socket).and_then(|service| service.map(|mut s| s.status()).transpose());
    let finding = match found {
        Ok(Some(status)) if status.troubles().is_empty() => {
            Finding::new("service", State::Ok, format!("runs as pid {}, no faults", status.pid))
        }
        Ok(Some(status)) => {
            let told = status.troubles().join("; ");
            Finding::new("service", State::Warn, format!("runs as pid {}: {told}", status.pid))
        }
        Ok(None) => Finding::new("service", State::Note, "does not run"),
        Err(error) => Finding::new("service", State::Warn, format!("{error:#}")),
    };
    vec![finding]
}

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![networks(config)];
    findings.extend(folder("database", &config.paths.database));
    findings.push(clock(SystemClock.wall()));
    findings.push(sandbox(&fs::read_to_string("/proc/self/status").unwrap_or_default()));
    findings
}

fn networks(config: &Config) -> Finding {
    match load_networks(config) {
        Ok(networks) => {
            Finding::new("networks", State::Ok, format!("{} on {}", networks.model(), config.encoder.device))
        }
        Err(error) => Finding::new("networks", State::Fail, format!("{:#}", anyhow::Error::new(error))),
    }
}

/// The folder that a file lives in: there, ours to write, for us alone, and with space left.
fn folder(part: &'static str, file: &Path) -> Vec<Finding> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = folder.display();
    let found = match fs::metadata(folder) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return vec![Finding::new(part, State::Fail, format!("{shown} is no folder"))],
        Err(error) => {
            let what = format!("{shown}: {error}; create it (systemd-tmpfiles --create accessd.conf)");
            return vec![Finding::new(part, State::Fail, what)];
        }
    };
    let mut findings = Vec::new();
    if rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err() {
        let what = format!("{shown}: this user may not write there; run as the service's user or root");
        findings.push(Finding::new(part, State::Warn, what));
    }
    if found.mode() & 0o007 != 0 {
        let what =
            format!("{shown} is open to everybody (mode {:o}): chmod o= {shown}", found.mode() & 0o777);
        findings.push(Finding::new(part, State::Warn, what));
    }
    if let Ok(space) = rustix::fs::statvfs(folder) {
        let free = space.f_bavail * space.f_frsize;
        let state = if free < LITTLE_SPACE { State::Warn } else { State::Ok };
        let hint = if free < LITTLE_SPACE { "; without space for its record nobody is let in" } else { "" };
        findings.push(Finding::new(part, state, format!("{shown}: {} MB free{hint}", free >> 20)));
    }
    findings
}

fn clock(wall: Timestamp) -> Finding {
    let least: Timestamp = BUILT_AFTER.parse().expect("a time");
    if wall < least {
        let what = format!(
            "it is {wall} here, which is wrong: the door works all the same, for durations do not depend on it, but its \
             log has wrong times. A Raspberry Pi has no clock of its own: add one (RTC), or a network for its time"
        );
        return Finding::new("clock", State::Warn, what);
    }
    Finding::new("clock", State::Ok, wall.to_string())
}

/// Whether this process is shut in, as the unit shuts the service in.
fn sandbox(status: &str) -> Finding {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let confined = field("Seccomp:") == Some("2") && field("NoNewPrivs:") == Some("1");
    if confined {
        return Finding::new(
            "sandbox",
            State::Ok,
            "this process is confined (system calls filtered, no new privileges)",
        );
    }
    let what = "this shell is not confined; the service is, see `systemd-analyze security accessd`";
    Finding::new("sandbox", State::Note, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_the_past_is_told_and_no_failure() {
        let told = clock(Timestamp::UNIX_EPOCH);
        assert_eq!(told.state, State::Warn);
        assert!(told.what.contains("no clock of its own"), "{told:?}");
        assert_eq!(clock("2030-01-01T00:00:00Z".parse().unwrap()).state, State::Ok);
    }

    #[test]
    fn the_unit_is_told_from_a_shell() {
        assert_eq!(sandbox("Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\n").state, State::Ok);
        assert_eq!(sandbox("NoNewPrivs:\t0\nSeccomp:\t0\n").state, State::Note);
    }

    #[test]
    fn a_folder_that_everybody_reads_or_that_is_missing_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let states = |folder: &Path| -> Vec<State> {
            self::folder("database", &folder.join("a.db")).iter().map(|f| f.state).collect()
        };
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(states(dir.path()).contains(&State::Warn));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(states(dir.path()), [State::Ok]);
        assert_eq!(states(&dir.path().join("none")), [State::Fail]);
    }
}
