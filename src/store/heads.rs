//! A file elsewhere that the journal's heads are appended to: on another disk, a share, a stick. Whoever can write to the
//! database cannot take back what stands there.
//!
//! It may be slow or gone, and the door must not wait for it: a thread of its own writes, and what it cannot write is
//! told once and left out. The next head says as much as the one that was lost.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use crate::journal::chain::Head;

/// Heads that wait for a slow disk at most.
const WAITING: usize = 64;

/// Where heads are appended to; clones append to the same.
#[derive(Clone, Debug)]
pub struct HeadFile {
    path: PathBuf,
    heads: SyncSender<Head>,
}

impl HeadFile {
    /// Starts the thread that appends to `path`; it ends with the last clone.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn at(path: &Path) -> std::io::Result<Self> {
        let (heads, inbox) = sync_channel::<Head>(WAITING);
        let file = path.to_owned();
        std::thread::Builder::new().name("heads".into()).spawn(move || {
            let mut told = false;
            for head in inbox {
                match append(&file, head) {
                    Ok(()) => told = false,
                    Err(error) if !told => {
                        log::warn!("{}: the journal's head cannot be kept there: {error}", file.display());
                        told = true;
                    }
                    Err(_) => {}
                }
            }
        })?;
        Ok(Self { path: path.to_owned(), heads })
    }

    pub(super) fn append(&self, head: Head) {
        if let Err(TrySendError::Full(_)) = self.heads.try_send(head) {
            log::warn!("{}: too slow to keep the journal's heads", self.path.display());
        }
    }
}

fn append(path: &Path, head: Head) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(path)?;
    file.write_all(format!("{head}\n").as_bytes())?;
    file.sync_data()
}
