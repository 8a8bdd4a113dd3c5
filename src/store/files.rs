//! The database as files: where it really is, who may read it, and whether it is ours, found out without touching it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::{StoreError, trouble};

/// Marks a database as accessd's own, at byte 68 of its header: `accd`.
pub(super) const APPLICATION_ID: u32 = u32::from_be_bytes(*b"accd");

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A file of no bytes: a creation that the power cut short.
    Empty,
    /// A database of accessd, going by its header.
    Ours,
}

/// The companion of a file: its path with an ending added.
pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(ending);
    PathBuf::from(name)
}

/// The file's one true path, so that two ways to it meet at the same lock. The file itself may be missing.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    match fs::canonicalize(path) {
        Ok(file) => return Ok(file),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(unreachable_path(path, source)),
    }
    let name = path.file_name().ok_or_else(|| trouble::error(path, "give the path of a file", None))?;
    match fs::canonicalize(folder_of(path)) {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        Err(source) => Err(unreachable_path(path, source)),
    }
}

/// Looks at the first bytes, before SQLite or a lock file could leave anything behind.
pub(super) fn inspect(file: &Path) -> Result<Found, StoreError> {
    let kind = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(unreachable_path(file, source)),
    };
    if kind.is_dir() {
        return Err(trouble::error(file, "it is a folder; give the path of a file in it", None));
    }
    if !kind.is_file() {
        return Err(trouble::error(file, "it is not a regular file; give another path", None));
    }
    if kind.len() == 0 {
        return Ok(Found::Empty);
    }
    let mut header = Vec::with_capacity(100);
    let read = File::open(file).and_then(|f| f.take(100).read_to_end(&mut header));
    read.map_err(|source| unreachable_path(file, source))?;
    whose(file, &header)
}

/// Reads the header of <https://www.sqlite.org/fileformat2.html#the_database_header>.
fn whose(file: &Path, header: &[u8]) -> Result<Found, StoreError> {
    if header.len() < 100 || !header.starts_with(b"SQLite format 3\0") {
        let what = "it is not an SQLite database, or its beginning is destroyed; give the path of accessd's own, or \
                    put this file aside and restore a backup";
        return Err(trouble::error(file, what, None));
    }
    let id = u32::from_be_bytes([header[68], header[69], header[70], header[71]]);
    if id != APPLICATION_ID {
        let what = format!("it is a database of another program (application id {id:#x}); give another path");
        return Err(trouble::error(file, what, None));
    }
    Ok(Found::Ours)
}

/// Creates the empty file for its owner alone, and its folder too if only that is missing. Both are on disk then.
/// SQLite gives its companions (`-wal`, `-shm`) the mode and the owner of this file.
pub(super) fn create(file: &Path) -> Result<(), StoreError> {
    let file_made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).and_then(|made| {
        hand_to_owner_of_folder(&made, file)?;
        made.sync_all()?;
        File::open(folder_of(file))?.sync_all()
    });
    file_made.map_err(|source| {
        let what =
            "it cannot be created; see that its folder is writable for this user and the disk not full";
        trouble::error(file, what, Some(Box::new(source)))
    })
}

/// Creates the folder of a file for its owner alone if only that folder is missing.
pub(super) fn create_folder_of(file: &Path) -> Result<(), StoreError> {
    let folder = folder_of(file);
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).create(folder).map_err(|source| {
        let what = format!("its folder {} cannot be created; create it first", folder.display());
        trouble::error(file, what, Some(Box::new(source)))
    })
}

/// When root works in a folder of the service's user, a new file goes to that user: otherwise the first
/// `sudo accessd enroll` would leave a database that the service cannot open.
pub(super) fn hand_to_owner_of_folder(made: &File, path: &Path) -> io::Result<()> {
    let folder = fs::metadata(folder_of(path))?;
    if rustix::process::geteuid().is_root() && folder.uid() != 0 {
        fchown(made, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

/// What is wrong with the permissions, each with its remedy.
pub(super) fn exposed(file: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in [file.to_owned(), beside(file, "-wal"), beside(file, "-shm")] {
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.mode() & 0o077 != 0
        {
            let mode = metadata.mode() & 0o777;
            found.push(format!(
                "{0} holds faces and can be read or written by others (mode {mode:o}): chmod 600 {0}",
                path.display()
            ));
        }
    }
    let folder = folder_of(file);
    if let Ok(metadata) = fs::metadata(folder) {
        let (by_others, sticky) = (metadata.mode() & 0o022 != 0, metadata.mode() & 0o1000 != 0);
        if by_others && !sticky {
            found.push(format!(
                "{0} is writable by others, who could put another database in place: chmod go-w {0}",
                folder.display()
            ));
        }
    }
    found
}

/// Whether there is a write-ahead log that SQLite is going to ignore because its first bytes are not a log's.
/// A power cut leaves that only before the first commit since the log was last folded into the database was
/// acknowledged; otherwise somebody or the disk destroyed it.
pub(super) fn has_unreadable_log(file: &Path) -> bool {
    let mut head = [0u8; 4];
    let read = File::open(beside(file, "-wal")).and_then(|mut wal| {
        let len = wal.metadata()?.len();
        wal.read_exact(&mut head)?;
        Ok(len)
    });
    // https://www.sqlite.org/fileformat2.html#the_write_ahead_log: the last bit tells the byte order of checksums.
    matches!(read, Ok(len) if len > 32) && u32::from_be_bytes(head) & !1 != 0x377f_0682
}

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn unreachable_path(path: &Path, source: io::Error) -> StoreError {
    let what = match (source.kind(), fs::metadata(path)) {
        (ErrorKind::PermissionDenied, Ok(metadata)) => format!(
            "permission denied: it belongs to uid {} and this process is uid {}; use the service's user (sudo -u) or \
             root",
            metadata.uid(),
            rustix::process::geteuid().as_raw()
        ),
        (ErrorKind::PermissionDenied, Err(_)) => {
            "permission denied on the way to it; use the service's user (sudo -u) or root".to_owned()
        }
        _ => "it cannot be read; check the path and the disk".to_owned(),
    };
    trouble::error(path, what, Some(Box::new(source)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_lies_at_a_path_is_told_without_touching_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.db");
        assert_eq!(inspect(&file).unwrap(), Found::Nothing);
        fs::write(&file, b"").unwrap();
        assert_eq!(inspect(&file).unwrap(), Found::Empty);
        fs::write(&file, [7u8; 4096]).unwrap();
        assert!(inspect(&file).unwrap_err().to_string().contains("not an SQLite database"));
        let text = inspect(dir.path()).unwrap_err().to_string();
        assert!(text.ends_with("it is a folder; give the path of a file in it"), "{text}");
        assert!(inspect(Path::new("/dev/null")).unwrap_err().to_string().contains("not a regular file"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_ways_to_a_file_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real.db");
        let link = dir.path().join("link.db");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(resolve(&real).unwrap().file_name().unwrap(), "real.db", "also before it exists");
        fs::write(&real, b"").unwrap();
        assert_eq!(resolve(&link).unwrap(), resolve(&real).unwrap());
        assert_eq!(resolve(Path::new("x.db")).unwrap(), std::env::current_dir().unwrap().join("x.db"));
    }

    #[test]
    fn what_others_can_read_or_replace_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.db");
        create(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(exposed(&file), Vec::<String>::new());
        fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let found = exposed(&file);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("mode 644") && found[0].contains("chmod 600"), "{found:?}");
        assert!(found[1].contains("chmod go-w"), "{found:?}");
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o1777)).unwrap();
        assert_eq!(exposed(&file).len(), 1, "a sticky folder lets nobody replace the file");
    }

    #[test]
    fn files_that_root_makes_go_to_the_owner_of_the_folder() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can give files away.
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(4321), Some(4322)).unwrap();
        let file = dir.path().join("a.db");
        create(&file).unwrap();
        let made = fs::metadata(&file).unwrap();
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (4321, 4322, 0o600));
    }
}
