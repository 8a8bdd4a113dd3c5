//! One writer: whoever holds the lock on `DATABASE.lock` owns the database's writes.
//!
//! SQLite itself would let two daemons take turns at writing; then two of them could move one relay and each believe
//! to know who was let in. The kernel drops the lock when its process dies, however it dies, so a lock is never stale.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::files::{beside, hand_to_owner_of_folder};
use super::{StoreError, trouble};

/// The right to write; given back when dropped. The file stays, since removing it would race with the next taker.
#[derive(Debug)]
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    /// Takes the lock of the database `db` or says who holds it.
    pub(super) fn take(db: &Path) -> Result<Self, StoreError> {
        let path = beside(db, ".lock");
        let mut file = open(&path).map_err(|source| {
            let what = format!(
                "its lock {} cannot be opened; the folder must be writable for this user",
                path.display()
            );
            trouble::error(db, what, Some(Box::new(source)))
        })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(held_by_another(db, &mut file)),
            Err(source) => {
                let what = format!("its lock {} cannot be taken; use a local disk", path.display());
                return Err(trouble::error(db, what, Some(Box::new(source))));
            }
        }
        if let Err(error) = sign(&mut file) {
            // The lock holds all the same; only the message of a second writer would lack the number.
            log::warn!("cannot write this process's number into {}: {error}", path.display());
        }
        Ok(Self { _file: file })
    }
}

/// Opens or creates the lock's file, never through a link that somebody laid there.
fn open(path: &PathBuf) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            hand_to_owner_of_folder(&file, path)?;
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn held_by_another(db: &Path, file: &mut File) -> StoreError {
    let mut pid = String::new();
    let read = file.read_to_string(&mut pid);
    let who = match (read, pid.trim()) {
        (Ok(_), pid) if !pid.is_empty() => format!("process {pid}"),
        _ => "another process".to_owned(),
    };
    let what = format!("{who} is writing to it; stop that process, or let a running daemon do the work");
    trouble::error(db, what, None)
}
