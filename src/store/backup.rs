//! Backups: the whole database in one encrypted file, without the keys of people, and those keys in a file of their own.
//!
//! What lies in a backup of somebody's face is sealed with that person's key, and the backup does not hold it. The device
//! does, and the key file, of which there is one, kept up to date. So a person who is erased is erased from every backup
//! there is, as soon as the key file is written anew: see SECURITY.md for what that asks of its keeper.
//!
//! A backup is a line of JSON, the [`Header`], and the database in sealed pieces that are bound to the header, to their number
//! and to whether they are the last. A key file is a line of JSON and one sealed list.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rusqlite::{OpenFlags, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::{Zeroize, Zeroizing};

use super::sealing::Sealer;
use super::trouble::{self, Trouble};
use super::{SqliteStore, StoreError, chain, files, open};
use crate::gallery::PersonId;
use crate::journal::{Event, EventKind, Stamp};
use crate::seal::{DeviceKey, Place, RecoveryCode, Secret};

/// What a backup is read by; a change of the form is another number.
const FORM: u32 = 1;
/// Bytes of the database in one piece.
const PIECE: usize = 64 << 10;
/// Longest first line of a backup or key file.
pub(super) const MAX_HEADER: usize = 64 << 10;

/// What a backup says of itself before it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The form.
    pub accessd_backup: u32,
    /// When it was taken.
    pub created: Timestamp,
    /// By which version.
    pub version: String,
    /// The device key of the database then.
    pub device_key: String,
    /// The models that its templates are of.
    pub models: Vec<String>,
    /// The backup's own key, as the device opens it.
    by_device: String,
    /// … and as the key file opens it; absent where there was no recovery code.
    by_recovery: Option<String>,
}

/// The first line of a key file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFileHeader {
    accessd_keys: u32,
    /// The key file's own key, as the recovery code opens it.
    by_code: String,
}

/// A person's key in a key file, without their name.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    key: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// What opens a backup on another device: the keys of people, and the key that the backup's own is wrapped with.
pub struct KeyFile {
    own: Secret,
    by_code: Vec<u8>,
    keys: Vec<Secret>,
}

impl KeyFile {
    /// Opens a key file with the recovery code.
    ///
    /// # Errors
    /// [`StoreError::Backup`] when it is none, is damaged, or the code is of another one.
    pub fn open(bytes: &[u8], code: &RecoveryCode) -> Result<Self, StoreError> {
        let bad = |what: &str| StoreError::Backup(format!("the key file {what}"));
        let end = bytes.iter().take(MAX_HEADER).position(|byte| *byte == b'\n');
        let (line, sealed) = bytes.split_at(end.ok_or_else(|| bad("is none: it has no first line"))? + 1);
        let header: KeyFileHeader = serde_json::from_slice(line).map_err(|_| bad("is none"))?;
        if header.accessd_keys != FORM {
            return Err(bad("was written by a newer accessd"));
        }
        let wrapped = BASE64.decode(&header.by_code).map_err(|_| bad("is damaged"))?;
        let own = code.secret().open(&place_of_own(), &wrapped).ok();
        let own = own.and_then(|bytes| Secret::from_slice(&bytes)).ok_or_else(|| {
            bad("does not open with this code; is the code that of this file, which the newest replaces?")
        })?;
        let list = own.open(&Place::new("accessd keys of people"), sealed).map_err(|_| bad("is damaged"))?;
        let list: Vec<Kept> = serde_json::from_slice(&list).map_err(|_| bad("is damaged"))?;
        let mut keys = Vec::with_capacity(list.len());
        for kept in &list {
            let bytes = Zeroizing::new(BASE64.decode(&kept.key).map_err(|_| bad("is damaged"))?);
            keys.push(Secret::from_slice(&bytes).ok_or_else(|| bad("is damaged"))?);
        }
        Ok(Self { own, by_code: wrapped, keys })
    }

    /// The keys of people.
    pub(super) fn keys(&self) -> &[Secret] {
        &self.keys
    }

    /// The key file's own key, as the code opens it.
    pub(super) fn by_code(&self) -> &[u8] {
        &self.by_code
    }

    /// The key file's own key.
    pub(super) fn own(&self) -> &Secret {
        &self.own
    }
}

impl Header {
    /// Whether another device can open it, with key file and recovery code.
    pub fn opens_elsewhere(&self) -> bool {
        self.by_recovery.is_some()
    }

    /// The key that the backup's pieces are sealed with, from whichever of these opens it.
    pub(super) fn key(&self, device: &DeviceKey, key_file: Option<&KeyFile>) -> Option<Secret> {
        let unwrap = |with: Secret, wrapped: &str| {
            let wrapped = BASE64.decode(wrapped).ok()?;
            Secret::from_slice(&with.open(&place_of_backup_key(), &wrapped).ok()?)
        };
        let by_device = || unwrap(for_backups(device), &self.by_device);
        let by_recovery = || unwrap(key_file?.own.derive(BACKUPS), self.by_recovery.as_ref()?);
        by_device().or_else(by_recovery)
    }
}

const BACKUPS: &str = "accessd 2026-11 wrapping the keys of backups";

fn for_backups(device: &DeviceKey) -> Secret {
    device.derive(BACKUPS)
}

fn place_of_backup_key() -> Place {
    Place::new("accessd backup key")
}

/// Where the key of a key file is sealed, by the code and by the device.
pub(super) fn place_of_own() -> Place {
    Place::new("accessd key of a key file")
}

/// A piece belongs to its backup, at its number, and is the last or not.
pub(super) fn place_of_piece(header: &[u8], number: i64, last: bool) -> Place {
    let header = blake3::hash(header).to_string();
    Place::new("accessd backup").text(&header).number(number).number(i64::from(last))
}

impl SqliteStore {
    /// Makes a recovery code, which opens what is backed up from now on on any device. An older code opens only what was
    /// written before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn new_recovery(&mut self, actor: &str, at: Stamp) -> Result<RecoveryCode, StoreError> {
        let sealer = self.sealer()?.clone();
        self.write("making a recovery code", |tx, pen| {
            let (code, own) = (RecoveryCode::generate()?, Secret::generate()?);
            let by_code = code.secret().seal(&place_of_own(), own.bytes())?;
            keep_recovery(tx, &sealer, &own, &by_code)?;
            let detail = json!({ "what": "a new recovery code" });
            let event = Event { actor: Some(actor.to_owned()), ..Event::new(EventKind::Backup, detail) };
            chain::append(tx, &event, at, pen)?;
            Ok(code)
        })
    }

    /// The key file as it must be now: the keys of everybody who is enrolled, and of nobody else.
    ///
    /// # Errors
    /// [`StoreError::Backup`] where there is no recovery code, or the database's.
    pub(super) fn key_file_now(&self) -> Result<Vec<u8>, StoreError> {
        let sealer = self.sealer()?;
        self.read("gathering the keys of people", |conn| {
            let (own, by_code) = recovery_of(conn, sealer)?.ok_or_else(|| {
                StoreError::Backup(
                    "there is no recovery code yet; make one with: accessd backup --new-code --keys FILE"
                        .into(),
                )
            })?;
            let mut ids = conn.prepare("SELECT person FROM person_keys ORDER BY key_id")?;
            let ids = ids.query_map([], |row| row.get(0).map(PersonId))?.collect::<Result<Vec<_>, _>>()?;
            let mut list = Vec::with_capacity(ids.len());
            for id in ids {
                let key = sealer.key_of(conn, id)?;
                list.extend(key.map(|key| Kept { id: key.id().0, key: BASE64.encode(key.bytes()) }));
            }
            let list = Zeroizing::new(serde_json::to_vec(&list).expect("a list of texts is plain data"));
            let header = KeyFileHeader { accessd_keys: FORM, by_code: BASE64.encode(&by_code) };
            let mut bytes = serde_json::to_vec(&header).expect("a header is plain data");
            bytes.push(b'\n');
            bytes.extend(own.seal(&Place::new("accessd keys of people"), &list)?);
            Ok(bytes)
        })
    }

    /// Writes a backup of the database as it is at this moment; whoever writes to it meanwhile is not kept waiting.
    ///
    /// # Errors
    /// The database's, and [`StoreError::Backup`] when `to` does not take it.
    pub(super) fn write_backup(&self, to: &mut dyn Write, at: Timestamp) -> Result<Header, StoreError> {
        let sealer = self.sealer()?;
        let copy = Copied::of(self)?;
        let header = self.header(&copy, sealer, at)?;
        let (header, key) = header;
        let mut line = serde_json::to_vec(&header).expect("a header is plain data");
        line.push(b'\n');
        let failed =
            |source: io::Error| StoreError::Backup(format!("the backup cannot be written: {source}"));
        let mut file = File::open(&copy.path).map_err(failed)?;
        to.write_all(&line).map_err(failed)?;
        let mut piece = vec![0; PIECE];
        let mut filled = fill(&mut file, &mut piece).map_err(failed)?;
        for number in 0.. {
            let mut next = vec![0; PIECE];
            let ahead = fill(&mut file, &mut next).map_err(failed)?;
            let place = place_of_piece(&line, number, ahead == 0);
            let sealed = key.seal(&place, &piece[..filled]).map_err(|e| StoreError::Backup(e.to_string()))?;
            let length = u32::try_from(sealed.len()).expect("a piece is small");
            to.write_all(&length.to_le_bytes()).and_then(|()| to.write_all(&sealed)).map_err(failed)?;
            if ahead == 0 {
                break;
            }
            (piece, filled) = (next, ahead);
        }
        to.flush().map_err(failed)?;
        Ok(header)
    }

    fn header(
        &self,
        copy: &Copied,
        sealer: &Sealer,
        created: Timestamp,
    ) -> Result<(Header, Secret), StoreError> {
        let build = || -> Result<(Header, Secret), Trouble> {
            let conn = open::connect(&copy.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let mut models = conn.prepare("SELECT DISTINCT model FROM templates ORDER BY model")?;
            let models = models.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
            let key = Secret::generate()?;
            let wrap =
                |with: Secret| with.seal(&place_of_backup_key(), key.bytes()).map(|w| BASE64.encode(w));
            let recovery = recovery_of(&self.conn, sealer)?;
            let header = Header {
                accessd_backup: FORM,
                created,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                device_key: sealer.device().id().0,
                models,
                by_device: wrap(for_backups(sealer.device()))?,
                by_recovery: recovery.map(|(own, _)| wrap(own.derive(BACKUPS))).transpose()?,
            };
            Ok((header, key))
        };
        build().map_err(|trouble| trouble.at(self.path(), "backing up"))
    }
}

/// Reads until `piece` is full or the file is over.
fn fill(from: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match from.read(&mut piece[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Keeps the key of the key file, as the code and as the device open it.
pub(super) fn keep_recovery(
    conn: &rusqlite::Connection,
    sealer: &Sealer,
    own: &Secret,
    by_code: &[u8],
) -> Result<(), Trouble> {
    let by_device = sealer.device().derive("accessd 2026-11 wrapping the key of the key file");
    let by_device = by_device.seal(&place_of_own(), own.bytes())?;
    conn.execute(
        "INSERT OR REPLACE INTO recovery (only_row, by_code, by_device) VALUES (1, ?1, ?2)",
        params![by_code, by_device],
    )?;
    Ok(())
}

/// The key of the key file, and it as the code opens it; `None` where there is no recovery code.
pub(super) fn recovery_of(
    conn: &rusqlite::Connection,
    sealer: &Sealer,
) -> Result<Option<(Secret, Vec<u8>)>, Trouble> {
    let row: Option<(Vec<u8>, Vec<u8>)> = conn
        .query_row("SELECT by_code, by_device FROM recovery", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((by_code, by_device)) = row else { return Ok(None) };
    let with = sealer.device().derive("accessd 2026-11 wrapping the key of the key file");
    let own = with.open(&place_of_own(), &by_device).ok().and_then(|bytes| Secret::from_slice(&bytes));
    let own = own.ok_or_else(|| {
        Trouble::Damaged(
            "the key of the key file does not open; make a new code: accessd backup --new-code".into(),
        )
    })?;
    Ok(Some((own, by_code)))
}

/// A copy of the database beside it, for as long as it takes to send it. It holds no key of a person.
struct Copied {
    path: PathBuf,
}

impl Copied {
    fn of(store: &SqliteStore) -> Result<Self, StoreError> {
        let at = |e: rusqlite::Error| Trouble::from(e).at(store.path(), "backing up");
        let copy = Self { path: beside(store.path(), "backup")? };
        // One read transaction of its own: consistent, and of what was deleted nothing is in it.
        store.conn.execute("VACUUM INTO ?1", [copy.path.to_string_lossy()]).map_err(at)?;
        let conn = open::connect(&copy.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(at)?;
        conn.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(())).map_err(at)?;
        conn.execute("UPDATE person_keys SET wrapped = x''", []).map_err(at)?;
        conn.execute("DELETE FROM recovery", []).map_err(at)?;
        // Attempts and pictures are kept for days, backups for years.
        if conn.execute("DELETE FROM kept_days", []).map_err(at)? > 0 {
            conn.execute("VACUUM", []).map_err(at)?;
        }
        Ok(copy)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

/// An empty file of this program's beside the database, for its owner alone.
pub(super) fn beside(db: &Path, what: &str) -> Result<PathBuf, StoreError> {
    for n in 0..100 {
        let path = files::beside(db, &format!(".{what}-{}-{n}", std::process::id()));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match made.and_then(|file| files::hand_to_owner_of_folder(&file, &path)) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                let what = format!(
                    "{} cannot be made beside it; see the disk and the folder's mode",
                    path.display()
                );
                return Err(trouble::error(db, what, Some(Box::new(source))));
            }
        }
    }
    Err(trouble::error(db, format!("a hundred {what}s are under way beside it"), None))
}

/// Removes what a backup or a restoring that was cut off left beside the database.
pub(super) fn sweep(db: &Path) {
    let Some(name) = db.file_name().map(|name| name.to_string_lossy().into_owned()) else { return };
    let Ok(entries) = fs::read_dir(files::folder_of(db)) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let rest = file.strip_prefix(&name).unwrap_or_default();
        if rest.starts_with(".backup-") || rest.starts_with(".restore-") {
            log::info!("removing {file}, which a backup or a restoring that was cut off left behind");
            if let Err(error) = fs::remove_file(entry.path()) {
                log::warn!("{file} cannot be removed: {error}");
            }
        }
    }
}
