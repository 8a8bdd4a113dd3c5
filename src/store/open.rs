//! Opening the database: created, recognised, checked, brought to this program's schema, or refused untouched.
//!
//! What survives a power cut, and why. The database runs in WAL mode with `synchronous = FULL`: a commit appends to
//! the `-wal` file and syncs it before it returns (`sqlite3WalFrames` in SQLite: the sync at a commit happens only
//! from FULL on; at NORMAL a power cut takes the last commits along). A new `-wal` file's folder entry is synced with
//! its first commit. A commit that did not return is there whole after the cut, or not at all: each frame carries a
//! checksum, and a transaction counts only from its last frame on. All this holds as far as the disk tells the truth
//! about a sync.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{HookError, M, Migrations};

use super::chain;
use super::files::{self, APPLICATION_ID, Found};
use super::lock::WriterLock;
use super::sealing::{self, Sealer};
use super::trouble::{self, DAMAGED, Trouble};
use super::{SqliteStore, StoreError};
use crate::seal::{KeyError, Keys};

/// How long to wait for another program's lock. The daemon's only rivals are shells and backups.
pub(super) const BUSY: Duration = Duration::from_secs(2);

/// Up to this size, some 200,000 records, the whole database is checked at opening, which takes little more than
/// reading it; above it the journal is left to `accessd check`, so that a long life does not slow the start.
const WHOLE_CHECK_MAX_BYTES: u64 = 64 << 20;

/// WAL pages after which a commit folds the log into the database; SQLite's own default.
pub(super) const CHECKPOINT_PAGES: u32 = 1000;

/// How many migrations there are.
const SCHEMA: usize = 10;

/// Every migration; that of the templates seals them with the keys that `sealer` makes and wraps.
fn migrations(sealer: &Sealer) -> Migrations<'static> {
    let sealer = sealer.clone();
    let seal = move |tx: &rusqlite::Transaction<'_>| {
        sealer.seal_everything(tx).map_err(|trouble| match trouble {
            Trouble::Sqlite(error) => HookError::RusqliteError(error),
            Trouble::Key(error) => HookError::Hook(error.to_string()),
            Trouble::Damaged(what) => HookError::Hook(what),
            Trouble::Refused(error) => HookError::Hook(error.to_string()),
        })
    };
    Migrations::new(vec![
        M::up(include_str!("../../migrations/0001_initial.sql")),
        M::up(include_str!("../../migrations/0002_policy.sql")),
        M::up_with_hook(include_str!("../../migrations/0003_sealed.sql"), seal),
        M::up(include_str!("../../migrations/0004_privacy.sql")),
        M::up(include_str!("../../migrations/0005_doors.sql")),
        M::up(include_str!("../../migrations/0006_chain.sql")),
        M::up(include_str!("../../migrations/0007_pins.sql")),
        M::up(include_str!("../../migrations/0008_attempts.sql")),
        M::up(include_str!("../../migrations/0009_snapshots.sql")),
        M::up(include_str!("../../migrations/0010_migration.sql")),
    ])
}

/// What the caller means to do with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Read and write; a missing database is created, for its owner alone.
    Create,
    /// Read and write what is there.
    Existing,
    /// Read what is there, beside whoever writes.
    ReadOnly,
}

/// The kernel's id of this boot: monotonic times of different boots cannot be compared, and this tells them apart.
/// `unknown` where the kernel does not say.
pub fn boot_id() -> String {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    match std::fs::read_to_string(PATH) {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        Ok(_) => "unknown".to_owned(),
        Err(error) => {
            log::warn!("cannot read {PATH} ({error}): the journal will not tell boots apart");
            "unknown".to_owned()
        }
    }
}

/// Opens `path` as [`SqliteStore::open`] describes.
pub(super) fn open(
    path: &Path,
    mode: OpenMode,
    boot_id: &str,
    keys: &Keys,
) -> Result<SqliteStore, StoreError> {
    let file = files::resolve(path)?;
    let found = files::inspect(&file)?;
    match (mode, found) {
        (OpenMode::ReadOnly, Found::Ours) => read_only(&file, boot_id, keys),
        (OpenMode::ReadOnly | OpenMode::Existing, Found::Nothing) => {
            let what = "there is no such file; `accessd enroll` and `accessd run` create it, or give another path \
                        ([paths] database)";
            Err(trouble::error(path, what, None))
        }
        (OpenMode::ReadOnly | OpenMode::Existing, Found::Empty) => {
            let what =
                "it is empty: its creation was cut short; `accessd enroll` and `accessd run` finish it";
            Err(trouble::error(&file, what, None))
        }
        (OpenMode::Existing, Found::Ours) => {
            let lock = WriterLock::take(&file)?;
            writer(&file, found, lock, boot_id, keys)
        }
        (OpenMode::Create, _) => create_or_open(&file, boot_id, keys),
    }
}

/// Opens for reading beside whoever writes.
/// The journal and the names are read without the device key; only what needs it fails without.
pub(super) fn read_only(file: &Path, boot_id: &str, keys: &Keys) -> Result<SqliteStore, StoreError> {
    let sql = |e: rusqlite::Error| Trouble::from(e).at(file, "opening");
    let conn = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sql)?;
    let version = schema_version(&conn, file)?;
    if version < SCHEMA {
        let what = format!(
            "it has the old schema {version}, not {}; start the daemon or change something, either brings it up to date",
            SCHEMA
        );
        return Err(trouble::error(file, what, None));
    }
    let sealer = match keys.load() {
        Ok(key) => {
            let sealer = Sealer::new(&key);
            sealer.must_fit(&conn, file)?;
            Ok(sealer)
        }
        Err(error) => Err(error.to_string()),
    };
    Ok(SqliteStore::new(conn, file, boot_id, keys, sealer, None))
}

fn create_or_open(file: &Path, boot_id: &str, keys: &Keys) -> Result<SqliteStore, StoreError> {
    files::create_folder_of(file)?;
    // A new folder may have made the path resolvable.
    let file = &files::resolve(file)?;
    let lock = WriterLock::take(file)?;
    // Only now is it certain that nobody else is creating it.
    let found = files::inspect(file)?;
    if found != Found::Nothing {
        return writer(file, found, lock, boot_id, keys);
    }
    files::create(file)?;
    let opened = writer(file, Found::Empty, lock, boot_id, keys);
    if opened.is_err() {
        // Leave things as they were; whatever is left is an empty file that the next opening finishes.
        for left in [file.to_owned(), files::beside(file, "-wal"), files::beside(file, "-shm")] {
            std::fs::remove_file(left).ok();
        }
    }
    opened
}

/// Opens for writing a file that is there. Nothing in it changes before it has passed its checks.
fn writer(
    file: &Path,
    found: Found,
    lock: WriterLock,
    boot_id: &str,
    keys: &Keys,
) -> Result<SqliteStore, StoreError> {
    if files::has_unreadable_log(file) {
        log::warn!(
            "{}-wal is not a write-ahead log (a power cut or a failing disk): ignored; the database is as of its last \
             checkpoint",
            file.display()
        );
    }
    let sql = |e: rusqlite::Error| Trouble::from(e).at(file, "opening");
    let mut conn = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(sql)?;
    // Else closing after a refusal would fold the log into a file that was refused.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sql)?;
    if found == Found::Ours && schema_version(&conn, file)? > 0 {
        quick_check(&conn, file)?;
    }
    let sealer = sealer(&conn, file, keys)?;
    // Asked of SQLite and not of the file: a creation that was cut short is rolled back just now, and its mark with it.
    let mark: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sql)?;
    if mark == 0 {
        // Before WAL mode, so that it is in the file's own header and a cut never leaves it in the log alone.
        conn.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
    }
    use_wal(&conn, file)?;
    migrate(&mut conn, file, &sealer)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(sql)?;
    for warning in files::exposed(file) {
        log::warn!("{warning}");
    }
    super::backup::sweep(file);
    let mut store = SqliteStore::new(conn, file, boot_id, keys, Ok(sealer), Some(lock));
    chain::adopt(&mut store.conn, &store.pen).map_err(|trouble| trouble.at(file, "chaining its journal"))?;
    // Also finishes the erasing of a removal that the power interrupted, and puts a new schema into the file itself.
    store.fold_log();
    Ok(store)
}

/// The key that the database is sealed with. One is made only where nothing has been sealed yet.
fn sealer(conn: &Connection, file: &Path, keys: &Keys) -> Result<Sealer, StoreError> {
    let sealed = sealing::device_key_of(conn).map_err(|e| Trouble::from(e).at(file, "opening"))?.is_some();
    let key = if sealed { keys.load() } else { keys.load_or_create() };
    let key = key.map_err(|error: KeyError| Trouble::from(error).at(file, "opening"))?;
    let sealer = Sealer::new(&key);
    sealer.must_fit(conn, file)?;
    Ok(sealer)
}

/// A connection with everything set that is not kept in the file.
pub(super) fn connect(file: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY)?;
    // The schema in the file may not run anything but SQL's own functions.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // A deleted template is overwritten with zeros, not only forgotten.
    conn.pragma_update(None, "secure_delete", true)?;
    // Nor does it spill into a temporary file.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(conn)
}

/// How many migrations the file has seen, refused when this program does not know them all.
pub(super) fn schema_version(conn: &Connection, file: &Path) -> Result<usize, StoreError> {
    let version: i64 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|e| Trouble::from(e).at(file, "opening"))?;
    match usize::try_from(version) {
        Ok(version) if version <= SCHEMA => Ok(version),
        _ => {
            let what = format!(
                "it was written by a newer accessd (schema {version}, this program knows {}); install that version, or \
                 restore a backup from before",
                SCHEMA
            );
            Err(trouble::error(file, what, None))
        }
    }
}

/// Refuses a file whose trees are broken. Small databases are read in full, see [`WHOLE_CHECK_MAX_BYTES`].
pub(super) fn quick_check(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let bytes = std::fs::metadata(file).map_or(u64::MAX, |m| m.len());
    let checks: &[&str] = if bytes <= WHOLE_CHECK_MAX_BYTES {
        &["PRAGMA quick_check(1)"]
    } else {
        &["PRAGMA quick_check(people)", "PRAGMA quick_check(templates)", "PRAGMA quick_check(gallery_state)"]
    };
    for check in checks {
        let verdict: String =
            conn.query_row(check, [], |row| row.get(0)).map_err(|e| Trouble::from(e).at(file, "checking"))?;
        if verdict != "ok" {
            let first = verdict.lines().next().unwrap_or_default();
            return Err(trouble::error(file, format!("{DAMAGED} ({first})"), None));
        }
    }
    Ok(())
}

fn use_wal(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(|e| Trouble::from(e).at(file, "opening"))?;
    if mode != "wal" {
        let what = format!(
            "its file system does not carry a write-ahead log (journal mode stays {mode}); put it on a local disk"
        );
        return Err(trouble::error(file, what, None));
    }
    Ok(())
}

/// Brings the schema up to date; all steps are one transaction.
pub(super) fn migrate(conn: &mut Connection, file: &Path, sealer: &Sealer) -> Result<(), StoreError> {
    migrations(sealer).to_latest(conn).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => {
            Trouble::from(err).at(file, "bringing its schema up to date")
        }
        other => trouble::error(
            file,
            "its schema cannot be brought up to date; restore a backup or report this",
            Some(Box::new(other)),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_apply() {
        let all = migrations(&Sealer::new(&Keys::of_a_test().load().unwrap()));
        all.validate().unwrap();
        assert_eq!(
            all.current_version(&Connection::open_in_memory().unwrap()),
            Ok(rusqlite_migration::SchemaVersion::NoneSet)
        );
    }

    #[test]
    fn the_boot_has_an_id() {
        assert_eq!(boot_id(), boot_id());
        assert!(!boot_id().is_empty());
    }

    #[test]
    fn a_writer_syncs_every_commit_and_forgets_nothing_in_the_clear() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("a.db"), OpenMode::Create, "boot", &Keys::of_a_test()).unwrap();
        let pragma = |name: &str| -> String {
            let value: rusqlite::types::Value =
                store.conn.pragma_query_value(None, name, |row| row.get(0)).unwrap();
            match value {
                rusqlite::types::Value::Integer(i) => i.to_string(),
                rusqlite::types::Value::Text(t) => t,
                other => panic!("{name}: {other:?}"),
            }
        };
        // 2 is FULL: https://www.sqlite.org/pragma.html#pragma_synchronous
        assert_eq!(pragma("synchronous"), "2");
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("foreign_keys"), "1");
        assert_eq!(pragma("secure_delete"), "1");
        assert_eq!(pragma("temp_store"), "2");
        assert_eq!(pragma("application_id"), APPLICATION_ID.to_string());
        assert_eq!(pragma("user_version"), SCHEMA.to_string());
    }
}
