//! A relay that exists in a file: each time it is told a level is a line with its time.
//!
//! For a trial without hardware, for the demo and for tests: everything before the relay is the same as at a real
//! door. The file grows by one [`Line`] per call, never shrinks, and is readable by its owner and group alone, for
//! it says who came when.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Relay, RelayError};
use crate::clock::Clock;

/// One line of the file, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, on the calendar (RFC 3339).
    pub wall: Timestamp,
    /// When, in ms since boot.
    pub mono_ms: u64,
    /// The level: energised means unlocked.
    pub energised: bool,
    /// Why.
    pub why: String,
    /// Process that drove it.
    pub pid: u32,
}

/// The simulated relay.
pub struct SimRelay {
    path: PathBuf,
    file: File,
    clock: Arc<dyn Clock>,
    energised: bool,
}

impl SimRelay {
    /// Opens `path` for appending, creates it if need be, and writes nothing yet.
    ///
    /// # Errors
    /// When the folder is missing, the file may not be written, or something that is no file is in its place.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, RelayError> {
        let failed = |source: io::Error| relay_error(path, open_advice(path, source.kind()), source);
        // A pipe would block the daemon until somebody reads, a folder cannot be written.
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, clock, energised: false })
    }
}

/// The level that was last written to a simulated relay; an empty or missing file was never energised.
pub(super) fn level_now(path: &Path) -> Result<bool, RelayError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(relay_error(path, "the file cannot be read".to_owned(), source)),
    };
    // The last line may be half written; an input is `1` or `0`.
    let last = text.lines().rev().find_map(|line| serde_json::from_str::<Line>(line).ok());
    Ok(last.map_or_else(|| text.starts_with('1'), |line| line.energised))
}

impl Relay for SimRelay {
    fn set(&mut self, energised: bool, why: &str) -> Result<(), RelayError> {
        let line = Line {
            wall: self.clock.wall(),
            mono_ms: self.clock.now().as_millis(),
            energised,
            why: why.to_owned(),
            pid: std::process::id(),
        };
        let mut text = serde_json::to_string(&line).expect("a line is plain data");
        text.push('\n');
        // One write, so that lines of two processes never mix and a killed one leaves no half of a line.
        self.file.write_all(text.as_bytes()).map_err(|source| {
            let what = "the line was not written; check that its disk is not full or read-only";
            relay_error(&self.path, what.to_owned(), source)
        })?;
        self.energised = energised;
        Ok(())
    }

    fn describe(&self) -> String {
        format!("sim:{}", self.path.display())
    }
}

impl Drop for SimRelay {
    fn drop(&mut self) {
        if self.energised
            && let Err(fault) = self.set(false, "relay dropped")
        {
            log::error!("{fault}: {}", fault.source);
        }
    }
}

fn relay_error(path: &Path, what: String, source: io::Error) -> RelayError {
    RelayError { relay: format!("sim:{}", path.display()), what, source }
}

/// What to try when the file could not be opened.
fn open_advice(path: &Path, kind: io::ErrorKind) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match kind {
        io::ErrorKind::NotFound => {
            format!("there is no folder {}; create it or set another path", folder.display())
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!(
                "may not be written; give the user that runs accessd write access to {}",
                folder.display()
            )
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
            "something that is not a file has this name; remove it or set another path".to_owned()
        }
        io::ErrorKind::NotADirectory => format!("{} is not a folder; set another path", folder.display()),
        _ => "the file could not be opened".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::clock::{MonoTime, SimClock};

    fn clock() -> Arc<SimClock> {
        Arc::new(SimClock::new(MonoTime::from_millis(61_250), "2026-11-03T08:15:30.5Z".parse().unwrap()))
    }

    fn lines(path: &Path) -> Vec<Line> {
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn each_call_is_one_line_with_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let (path, clock) = (folder.path().join("relay.log"), clock());
        let mut relay = SimRelay::open(&path, clock.clone()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "", "opening writes nothing");
        relay.set(false, "start").unwrap();
        clock.advance(Duration::from_millis(1_500));
        relay.set(true, "grant 12 for \"Ada\"\nLovelace").unwrap();
        let pid = std::process::id();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!(
                "{{\"wall\":\"2026-11-03T08:15:30.5Z\",\"mono_ms\":61250,\"energised\":false,\"why\":\"start\",\"pid\":{pid}}}\n\
                 {{\"wall\":\"2026-11-03T08:15:32Z\",\"mono_ms\":62750,\"energised\":true,\
                 \"why\":\"grant 12 for \\\"Ada\\\"\\nLovelace\",\"pid\":{pid}}}\n"
            )
        );
        assert_eq!(lines(&path)[1].why, "grant 12 for \"Ada\"\nLovelace");
    }

    #[test]
    fn dropping_releases_only_what_is_energised() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.log");
        drop(SimRelay::open(&path, clock()).unwrap());
        assert_eq!(lines(&path), []);
        let mut relay = SimRelay::open(&path, clock()).unwrap();
        relay.set(true, "grant 1 for Ada").unwrap();
        drop(relay);
        let whys: Vec<_> = lines(&path).into_iter().map(|line| (line.energised, line.why)).collect();
        assert_eq!(whys, [(true, "grant 1 for Ada".into()), (false, "relay dropped".into())]);
    }

    #[test]
    fn a_file_from_before_is_continued_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.log");
        for why in ["first", "second"] {
            SimRelay::open(&path, clock()).unwrap().set(false, why).unwrap();
        }
        assert_eq!(
            lines(&path).iter().map(|line| line.why.as_str()).collect::<Vec<_>>(),
            ["first", "second"]
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn a_path_that_cannot_be_written_says_why_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, advice) in [
            (
                folder.path().join("none/relay.log"),
                format!("there is no folder {}/none; create it", folder.path().display()),
            ),
            (folder.path().to_owned(), "something that is not a file has this name".to_owned()),
            ("/dev/null".into(), "something that is not a file has this name".to_owned()),
            (file.join("relay.log"), format!("{} is not a folder", file.display())),
        ] {
            let Err(error) = SimRelay::open(&path, clock()) else { panic!("{} opened", path.display()) };
            let message = error.to_string();
            assert!(message.starts_with(&format!("relay sim:{}: {advice}", path.display())), "{message}");
        }
    }

    #[test]
    fn missing_rights_and_a_read_only_disk_are_told_apart_from_other_trouble() {
        // As root nothing is forbidden, so the advice is asked for by kind.
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let advice = open_advice(Path::new("/srv/door/relay.log"), kind);
            assert_eq!(
                advice,
                "may not be written; give the user that runs accessd write access to /srv/door"
            );
        }
        assert!(open_advice(Path::new("relay.log"), io::ErrorKind::NotFound).contains("no folder .;"));
        assert_eq!(open_advice(Path::new("x"), io::ErrorKind::Other), "the file could not be opened");
    }

    #[test]
    fn a_full_disk_is_a_fault_and_the_relay_is_not_believed_to_have_moved() {
        // /dev/full takes no byte; opened by hand, for `open` refuses what is not a file.
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        let mut relay = SimRelay { path, file, clock: clock(), energised: false };
        let fault = relay.set(true, "grant 1 for Ada").unwrap_err();
        assert_eq!(
            fault.to_string(),
            "relay sim:/dev/full: the line was not written; check that its disk is not full or read-only"
        );
        assert!(!relay.energised);
    }
}
