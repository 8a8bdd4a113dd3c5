//! Restoring a backup: on the device it was taken on, or on another one with the key file and the recovery code.
//!
//! Everything happens in a file beside the database, which takes the database's place by one rename at the very end. Before
//! that everything is as it was, after it everything is as in the backup. People whose key is nowhere any more were erased
//! since: they do not come back.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use serde_json::json;

use super::backup::{self, Header, KeyFile, MAX_HEADER};
use super::chain::{self, Pen};
use super::files::{self, Found};
use super::lock::WriterLock;
use super::open;
use super::sealing::Sealer;
use super::trouble::{self, Trouble};
use super::{StoreError, people};
use crate::gallery::PersonId;
use crate::journal::{Event, EventKind, Stamp};
use crate::seal::{KeyId, Keys, Secret};

/// Longest sealed piece that a backup may hold: those written here are far shorter.
const MAX_PIECE: usize = 1 << 20;

/// How a backup is restored.
pub struct Restoring<'a> {
    /// Where the database belongs.
    pub database: &'a Path,
    /// Where the device key is; one is made on a new device.
    pub keys: &'a Keys,
    /// The opened key file, on a new device.
    pub key_file: Option<KeyFile>,
    /// Whether a database that is there may be replaced: what happened since the backup is lost with it.
    pub replace: bool,
    /// Whether people whose face nothing opens come back by name, to be enrolled anew.
    pub without_faces: bool,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// When the backup was taken.
    pub created: Timestamp,
    /// The models of its templates.
    pub models: Vec<String>,
    /// People with their templates.
    pub people: usize,
    /// People who did not come back because their key is gone: they were erased since.
    pub erased: Vec<String>,
    /// People who came back without templates.
    pub faceless: Vec<String>,
}

impl Restoring<'_> {
    /// Restores from `backup`. Nobody may be writing to the database.
    ///
    /// # Errors
    /// [`StoreError::Backup`] when it is none, is damaged or cut off, or nothing here opens it; the database's and the keys'.
    /// Everything is as it was then.
    pub fn from(
        &self,
        backup: impl Read,
        actor: &str,
        at: Stamp,
        boot_id: &str,
    ) -> Result<Restored, StoreError> {
        let mut backup = BufReader::new(backup);
        let (line, header) = read_header(&mut backup)?;
        files::create_folder_of(self.database)?;
        let file = files::resolve(self.database)?;
        let lock = WriterLock::take(&file)?;
        backup::sweep(&file);
        let there = files::inspect(&file)?;
        if there == Found::Ours && !self.replace {
            let what = "there is one already; what happened since the backup would be lost with it: say --replace if that is \
                        meant, and take a backup of it first";
            return Err(trouble::error(&file, what, None));
        }
        let key = match there {
            Found::Ours => self.keys.load(),
            Found::Empty | Found::Nothing => self.keys.load_or_create(),
        };
        let device = key.map_err(|e| Trouble::from(e).at(&file, "restoring"))?;
        let sealer = Sealer::new(&device);
        let key = header.key(&device, self.key_file.as_ref()).ok_or_else(|| {
            let taken = format!(
                "it was taken on the device with the key {}, and this one has {}",
                header.device_key,
                device.id()
            );
            StoreError::Backup(format!(
                "the backup does not open: {taken}; give its key file and recovery code (--keys FILE)"
            ))
        })?;
        let fresh = Fresh(backup::beside(&file, "restore")?);
        unpack(&mut backup, &line, &key, &fresh.0)?;
        let old = (there == Found::Ours).then(|| Old::read(&file, &sealer)).transpose()?;
        let restored = self.adopt(&fresh.0, &header, &sealer, old.as_ref(), &Told { actor, at, boot_id })?;
        put_in_place(&fresh.0, &file, there)?;
        drop(lock);
        Ok(restored)
    }

    /// Makes the unpacked database this device's own.
    fn adopt(
        &self,
        path: &Path,
        header: &Header,
        sealer: &Sealer,
        old: Option<&Old>,
        told: &Told<'_>,
    ) -> Result<Restored, StoreError> {
        let at = |e: rusqlite::Error| Trouble::from(e).at(path, "restoring");
        if files::inspect(path)? != Found::Ours {
            return Err(StoreError::Backup("the backup holds no database of accessd".into()));
        }
        let mut conn = open::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(at)?;
        // The log is not needed: until it is in its place nobody minds whether this file is whole.
        conn.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(())).map_err(at)?;
        open::schema_version(&conn, path)?;
        open::quick_check(&conn, path)?;
        open::migrate(&mut conn, path, sealer)?;
        chain::adopt(&mut conn, &Pen::new(told.boot_id)).map_err(|trouble| trouble.at(path, "restoring"))?;
        let mut keys: HashMap<KeyId, Secret> = HashMap::new();
        let given =
            old.iter().flat_map(|old| &old.keys).chain(self.key_file.iter().flat_map(|file| file.keys()));
        keys.extend(given.map(|key| (key.id(), key.clone())));
        let done = (|| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = self.take_over(&tx, header, sealer, &keys, old, told)?;
            tx.commit()?;
            Ok(done)
        })();
        let restored = done.map_err(|trouble: Trouble| trouble.at(path, "restoring"))?;
        conn.close().map_err(|(_, e)| at(e))?;
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|e| trouble::error(path, "it cannot be written; see the disk", Some(Box::new(e))))?;
        Ok(restored)
    }

    fn take_over(
        &self,
        tx: &Transaction<'_>,
        header: &Header,
        sealer: &Sealer,
        keys: &HashMap<KeyId, Secret>,
        old: Option<&Old>,
        told: &Told<'_>,
    ) -> Result<Restored, Trouble> {
        let (mut people, mut erased, mut faceless) = (0, Vec::new(), Vec::new());
        for (id, name, key_id) in everybody(tx)? {
            match keys.get(&key_id) {
                Some(key) => {
                    sealer.keep(tx, id, key)?;
                    people += 1;
                }
                None if self.without_faces => {
                    tx.execute("DELETE FROM templates WHERE person = ?1", [id.0])?;
                    tx.execute("DELETE FROM person_keys WHERE person = ?1", [id.0])?;
                    faceless.push(name);
                }
                None => {
                    people::delete(tx, id)?;
                    erased.push(name);
                }
            }
        }
        if people == 0 && !erased.is_empty() {
            let what = format!(
                "nothing here opens the templates of any of the {} people in the backup: their keys are in the key file (--keys \
                 FILE), and on the device it was taken on. --without-faces brings the people back by name, to be enrolled anew",
                erased.len()
            );
            return Err(StoreError::Backup(what).into());
        }
        tx.execute("UPDATE sealing SET device_key = ?1", [&sealer.device().id().0])?;
        people::changed(tx)?;
        if let Some(old) = old {
            old.carry_over(tx, sealer)?;
        } else if let Some(file) = &self.key_file {
            // The code and the key file go on as they are on the new device.
            backup::keep_recovery(tx, sealer, file.own(), file.by_code())?;
        }
        let detail = json!({
            "taken": header.created,
            "on_device": header.device_key,
            "people": people,
            "erased_since": erased.len(),
            "without_faces": faceless.len(),
        });
        let event = Event { actor: Some(told.actor.to_owned()), ..Event::new(EventKind::Restore, detail) };
        chain::append(tx, &event, told.at, &Pen::new(told.boot_id))?;
        let (created, models) = (header.created, header.models.clone());
        Ok(Restored { created, models, people, erased, faceless })
    }
}

/// Who restores, and when.
struct Told<'a> {
    actor: &'a str,
    at: Stamp,
    boot_id: &'a str,
}

/// What outlives the database that is replaced: the keys of people, the recovery code, and the numbers that were given, which
/// are given to nobody else.
struct Old {
    keys: Vec<Secret>,
    recovery: Option<(Secret, Vec<u8>)>,
    numbers: Vec<(String, i64)>,
    generation: u64,
}

impl Old {
    fn read(file: &Path, sealer: &Sealer) -> Result<Self, StoreError> {
        let look = || -> Result<Self, Trouble> {
            let conn = open::connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let mut keys = Vec::new();
            for (id, ..) in everybody(&conn)? {
                keys.extend(sealer.key_of(&conn, id)?);
            }
            let mut numbers = conn.prepare("SELECT name, seq FROM sqlite_sequence")?;
            let numbers =
                numbers.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            let recovery = backup::recovery_of(&conn, sealer)?;
            Ok(Self { keys, recovery, numbers, generation: people::generation(&conn)? })
        };
        look().map_err(|trouble| trouble.at(file, "reading the keys of people"))
    }

    fn carry_over(&self, tx: &Transaction<'_>, sealer: &Sealer) -> Result<(), Trouble> {
        for (table, given) in &self.numbers {
            tx.execute("UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1", (table, given))?;
        }
        let generation = i64::try_from(self.generation).unwrap_or(i64::MAX - 1);
        tx.execute("UPDATE gallery_state SET generation = max(generation, ?1 + 1)", [generation])?;
        if let Some((own, by_code)) = &self.recovery {
            backup::keep_recovery(tx, sealer, own, by_code)?;
        }
        Ok(())
    }
}

/// Everybody who has a key, with its number.
fn everybody(conn: &Connection) -> Result<Vec<(PersonId, String, KeyId)>, Trouble> {
    let mut rows = conn
        .prepare("SELECT id, name, key_id FROM people JOIN person_keys ON person = id ORDER BY name_key")?;
    let rows = rows.query_map([], |row| Ok((PersonId(row.get(0)?), row.get(1)?, KeyId(row.get(2)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A file that goes with this value unless it has been moved away.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        for path in [self.0.clone(), files::beside(&self.0, "-wal"), files::beside(&self.0, "-shm")] {
            // Most of them are not there.
            fs::remove_file(path).ok();
        }
    }
}

fn read_header(backup: &mut impl BufRead) -> Result<(Vec<u8>, Header), StoreError> {
    let none = || StoreError::Backup("it is no backup of accessd, or its beginning is destroyed".into());
    let mut line = Vec::new();
    let read = backup.take(MAX_HEADER as u64).read_until(b'\n', &mut line);
    read.map_err(|e| StoreError::Backup(format!("the backup cannot be read: {e}")))?;
    let form: serde_json::Value = serde_json::from_slice(&line).map_err(|_| none())?;
    match form.get("accessd_backup").and_then(serde_json::Value::as_u64) {
        Some(1) => {}
        Some(_) => {
            return Err(StoreError::Backup(
                "the backup was written by a newer accessd; restore it with that".into(),
            ));
        }
        None => return Err(none()),
    }
    let header = serde_json::from_value(form).map_err(|_| none())?;
    Ok((line, header))
}

/// Opens the pieces one after the other; the last one must be the last.
fn unpack(backup: &mut impl Read, header: &[u8], key: &Secret, to: &Path) -> Result<(), StoreError> {
    let broken = |why: &str| StoreError::Backup(format!("the backup is damaged: {why}"));
    let write = |e: io::Error| trouble::error(to, "it cannot be written; see the disk", Some(Box::new(e)));
    let mut out = OpenOptions::new().write(true).open(to).map_err(write)?;
    for number in 0.. {
        let mut length = [0; 4];
        backup.read_exact(&mut length).map_err(|_| broken("it ends early"))?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_PIECE {
            return Err(broken(&format!("piece {number} is too long")));
        }
        let mut sealed = vec![0; length];
        backup.read_exact(&mut sealed).map_err(|_| broken("it ends early"))?;
        let open = |last| key.open(&backup::place_of_piece(header, number, last), &sealed).ok();
        let (plain, last) = match open(false) {
            Some(plain) => (plain, false),
            None => (open(true).ok_or_else(|| broken(&format!("piece {number} does not open")))?, true),
        };
        out.write_all(&plain).map_err(write)?;
        if last {
            let more = backup.read(&mut [0; 1]).unwrap_or(0);
            return if more == 0 {
                out.sync_all().map_err(write)
            } else {
                Err(broken("something follows its end"))
            };
        }
    }
    unreachable!("the loop has no end")
}

/// Puts the new database in the old one's place. A log of the old one must not be read with the new one: it is folded away
/// first, which leaves the old database as it is.
fn put_in_place(fresh: &Path, file: &Path, there: Found) -> Result<(), StoreError> {
    if there == Found::Ours {
        let at = |e: rusqlite::Error| Trouble::from(e).at(file, "folding its log away");
        let conn = open::connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(at)?;
        let busy: i64 =
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(at)?;
        if busy != 0 {
            return Err(trouble::error(
                file,
                "another program is reading it; close that and try again",
                None,
            ));
        }
        conn.close().map_err(|(_, e)| at(e))?;
    }
    let placed = (|| {
        for companion in ["-wal", "-shm"] {
            match fs::remove_file(files::beside(file, companion)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(fresh, file)?;
        File::open(files::folder_of(file))?.sync_all()
    })();
    placed.map_err(|e| trouble::error(file, "the restored one cannot take its place", Some(Box::new(e))))
}
