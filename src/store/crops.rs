//! The rows of `crops`: the aligned pictures that templates were made from, each sealed with its person's key. They go with
//! their template, and all of them when the operator does not keep them any more.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use zeroize::Zeroizing;

use super::StoreError;
use super::sealing::Sealer;
use super::templates::Crops;
use super::trouble::Trouble;
use super::{SqliteStore, migration};
use crate::encoder::ModelId;
use crate::gallery::{KeptCrop, PersonId};
use crate::journal::Stamp;
use crate::seal::{Place, Secret};
use crate::vision::quality::Quality;

/// Rows taken out in one go, and how fast: the door waits for it.
const AT_ONCE: i64 = 64;
const PRUNE_ON: Duration = Duration::from_secs(1);

/// A person with the pictures that their templates were made from.
pub type CropsOf = (PersonId, Vec<(Quality, KeptCrop)>);

impl SqliteStore {
    /// Whether the pictures that templates are made from are kept from now on. Where not, those from before go.
    #[must_use]
    pub fn with_crops(mut self, keep: bool) -> Self {
        self.keep_crops = keep;
        self
    }

    /// What becomes of the pictures of new templates.
    pub(super) fn crops(&self) -> Crops {
        if self.keep_crops { Crops::Kept } else { Crops::Dropped }
    }

    /// Takes crops out where they are not kept any more, a step at a time.
    pub(super) fn drop_crops(&mut self, at: Stamp) -> Result<(), StoreError> {
        if self.keep_crops || self.crops_are_gone || at.mono < self.next_crop_prune {
            return Ok(());
        }
        let some = self.read("looking for crops", |conn| {
            Ok(conn.prepare("SELECT 1 FROM crops LIMIT 1")?.exists([])?)
        })?;
        if some {
            self.commit("taking crops out", |tx, _| {
                let some = "DELETE FROM crops WHERE template IN (SELECT template FROM crops LIMIT ?1)";
                Ok(tx.execute(some, [AT_ONCE])?)
            })?;
            self.erase_traces();
        }
        self.next_crop_prune = at.mono + PRUNE_ON;
        self.crops_are_gone = !some;
        Ok(())
    }
}

/// A crop opens as that of this template and person alone.
fn place(person: PersonId, template: i64) -> Place {
    Place::new("accessd crop").number(person.0).number(template)
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    key: &Secret,
    person: PersonId,
    template: i64,
    crop: &KeptCrop,
) -> Result<(), Trouble> {
    let sealed = key.seal(&place(person, template), crop.bytes())?;
    tx.execute("INSERT INTO crops (template, sealed) VALUES (?1, ?2)", params![template, sealed])?;
    Ok(())
}

/// A row as it is stored.
pub(super) struct Kept {
    pub template: i64,
    pub person: PersonId,
    pub sealed: Vec<u8>,
}

impl Kept {
    /// The rows of one person, or all.
    pub fn of(conn: &Connection, person: Option<PersonId>) -> Result<Vec<Self>, Trouble> {
        let mut rows = conn.prepare(
            "SELECT template, person, crops.sealed FROM crops JOIN templates ON templates.id = template
             WHERE ?1 IS NULL OR person = ?1 ORDER BY template",
        )?;
        let rows = rows.query_map([person.map(|person| person.0)], |row| {
            Ok(Self { template: row.get(0)?, person: PersonId(row.get(1)?), sealed: row.get(2)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The JPEG; `None` when it does not open.
    pub fn open(&self, conn: &Connection, sealer: &Sealer) -> Result<Option<Zeroizing<Vec<u8>>>, Trouble> {
        let key = match sealer.key_of(conn, self.person) {
            Err(Trouble::Damaged(_)) => None,
            other => other?,
        };
        Ok(key.and_then(|key| key.open(&place(self.person, self.template), &self.sealed).ok()))
    }

    fn crop(&self, conn: &Connection, sealer: &Sealer) -> Result<Option<KeptCrop>, Trouble> {
        let bytes = self.open(conn, sealer)?;
        Ok(bytes.and_then(|bytes| KeptCrop::from_bytes(bytes.to_vec()).ok()))
    }
}

/// The next person behind `after` who has crops of templates of `from` and not enough templates of `to`, with those crops.
pub(super) fn next(
    conn: &Connection,
    sealer: &Sealer,
    (from, to): (&ModelId, &ModelId),
    after: PersonId,
) -> Result<Option<CropsOf>, Trouble> {
    let mut person = after;
    loop {
        let next = conn
            .prepare_cached(
                "SELECT person FROM templates JOIN crops ON template = templates.id
                 WHERE model = ?2 AND person > ?1 AND source <> 'learnt' ORDER BY person LIMIT 1",
            )?
            .query_row(params![person.0, from.0], |row| row.get(0))
            .optional()?;
        let Some(id) = next else { return Ok(None) };
        person = PersonId(id);
        let missing = migration::missing(conn, (from, to), person)?;
        if missing == 0 {
            continue;
        }
        // One picture makes one template: those that were made of them bear the same ones.
        let (mut found, mut used) = (Vec::new(), Vec::new());
        for kept in Kept::of(conn, Some(person))? {
            let made_by = conn
                .prepare_cached("SELECT model, quality, source FROM templates WHERE id = ?1")?
                .query_row([kept.template], |row| {
                    Ok((ModelId(row.get(0)?), row.get::<_, String>(1)?, row.get::<_, String>(2)?))
                })
                .optional()?;
            let (Some((model, quality, source)), Some(crop)) = (made_by, kept.crop(conn, sealer)?) else {
                continue;
            };
            let quality: Option<Quality> = serde_json::from_str(&quality).ok();
            match quality {
                _ if model == *to => used.push(crop),
                Some(quality) if model == *from && source != "learnt" => found.push((quality, crop)),
                _ => {}
            }
        }
        found.retain(|(_, crop)| !used.contains(crop));
        found.truncate(missing);
        if !found.is_empty() {
            return Ok(Some((person, found)));
        }
    }
}

/// Those that do not open, or are no pictures.
pub(super) fn shut(conn: &Connection, sealer: &Sealer) -> Result<Vec<i64>, Trouble> {
    let mut shut = Vec::new();
    for kept in Kept::of(conn, None)? {
        if kept.crop(conn, sealer)?.is_none() {
            shut.push(kept.template);
        }
    }
    Ok(shut)
}
