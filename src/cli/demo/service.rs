//! The real service, started for the demo and ended with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, bail};

use super::accessd;

/// Most of the service's log that is repeated when it fails.
const LAST_WORDS: usize = 12;

/// A running service. Dropping it kills it: its relay is a file, no strike is left energised.
pub(super) struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts it in the demo's folder, with a trace and its log beside it.
    pub(super) fn start(folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("service.log");
        let file = File::create(&log).with_context(|| format!("{} cannot be written", log.display()))?;
        let child = accessd(folder)?
            .args(["run", "--trace", "trace.jsonl"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .context("the service cannot be started")?;
        Ok(Self { child, log })
    }

    /// Whether it is over.
    ///
    /// # Errors
    /// With the end of its log, when it ended badly.
    pub(super) fn is_over(&mut self) -> anyhow::Result<bool> {
        match self.child.try_wait().context("the service cannot be waited for")? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!(
                "the service failed ({status}); the end of {}:\n{}",
                self.log.display(),
                self.last_words()
            ),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may end by itself in between; then there is nothing left to kill.
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }
}
