//! Templates under the keys of their people, and those keys under the key of the device: the rows of `sealing` and
//! `person_keys`, and the one time that templates from before are sealed.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use zeroize::{Zeroize, Zeroizing};

use super::trouble::{self, Trouble};
use super::{StoreError, templates};
use crate::encoder::{Embedding, ModelId};
use crate::gallery::PersonId;
use crate::seal::{DeviceKey, DoesNotOpen, KeyError, KeyId, Place, Secret};

/// What the keys of people are wrapped with; derived, so that the device key itself seals nothing.
fn wrapping(device: &DeviceKey) -> Secret {
    device.derive("accessd 2026-11 wrapping the keys of people")
}

/// The keys of people, readable: the device key and what it is good for.
#[derive(Clone, Debug)]
pub(super) struct Sealer {
    device: DeviceKey,
    wrapping: Secret,
}

impl Sealer {
    pub(super) fn new(device: &DeviceKey) -> Self {
        Self { device: device.clone(), wrapping: wrapping(device) }
    }

    /// The device key, for what else is sealed.
    pub(super) fn device(&self) -> &DeviceKey {
        &self.device
    }

    /// The key that seals what is kept of this person; made when they have none yet.
    pub(super) fn key_for(&self, tx: &Transaction<'_>, person: PersonId) -> Result<Secret, Trouble> {
        if let Some(key) = self.key_of(tx, person)? {
            return Ok(key);
        }
        let key = Secret::generate()?;
        self.keep(tx, person, &key)?;
        Ok(key)
    }

    /// Keeps a person's key, wrapped.
    pub(super) fn keep(&self, tx: &Transaction<'_>, person: PersonId, key: &Secret) -> Result<(), Trouble> {
        let wrapped = self.wrapping.seal(&place_of_key(person), key.bytes())?;
        tx.execute(
            "INSERT OR REPLACE INTO person_keys (person, key_id, wrapped) VALUES (?1, ?2, ?3)",
            params![person.0, key.id().0, wrapped],
        )?;
        Ok(())
    }

    /// The key that seals what is kept of this person.
    pub(super) fn key_of(&self, conn: &Connection, person: PersonId) -> Result<Option<Secret>, Trouble> {
        let mut statement = conn.prepare_cached("SELECT wrapped FROM person_keys WHERE person = ?1")?;
        let wrapped: Option<Vec<u8>> = statement.query_row([person.0], |row| row.get(0)).optional()?;
        let Some(wrapped) = wrapped else { return Ok(None) };
        let opened = self.wrapping.open(&place_of_key(person), &wrapped);
        let key = opened.ok().and_then(|bytes| Secret::from_slice(&bytes));
        key.map(Some).ok_or_else(|| {
            Trouble::Damaged(format!(
                "the key of person {} does not open; their templates are lost: remove and enrol that person anew",
                person.0
            ))
        })
    }

    /// Refuses a database whose keys are of another device key.
    pub(super) fn must_fit(&self, conn: &Connection, file: &Path) -> Result<(), StoreError> {
        match device_key_of(conn).map_err(|e| Trouble::from(e).at(file, "opening"))? {
            Some(id) if id != self.device.id() => {
                let what = format!(
                    "it is sealed with the device key {id}, and the key here is {}; bring the right key back \
                     (paths.device_key), or restore a backup on this device",
                    self.device.id()
                );
                Err(trouble::error(file, what, None))
            }
            _ => Ok(()),
        }
    }

    /// Seals everything from before there were keys. Part of the migration's transaction.
    pub(super) fn seal_everything(&self, tx: &Transaction<'_>) -> Result<(), Trouble> {
        tx.execute("INSERT INTO sealing (only_row, device_key) VALUES (1, ?1)", [&self.device.id().0])?;
        // The numbers go on where they were: none is given twice.
        tx.execute(
            "INSERT INTO sqlite_sequence (name, seq)
             SELECT 'templates', seq FROM sqlite_sequence WHERE name = 'plain_templates'",
            [],
        )?;
        let mut plain = tx.prepare(
            "SELECT id, person, model, dim, embedding, quality, source, created FROM plain_templates ORDER BY id",
        )?;
        let mut rows = plain.query([])?;
        while let Some(row) = rows.next()? {
            let (id, person, model) = (row.get(0)?, PersonId(row.get(1)?), ModelId(row.get(2)?));
            let key = self.key_for(tx, person)?;
            let embedding = row.get_ref(4)?.as_blob().unwrap_or_default();
            let sealed = key.seal(&place_of_template(person, id, &model), embedding)?;
            tx.execute(
                "INSERT INTO templates (id, person, model, dim, sealed, quality, source, created)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    id,
                    person.0,
                    model.0,
                    row.get::<_, i64>(3)?,
                    sealed,
                    row.get::<_, String>(5)?,
                    row.get::<_, String>(6)?,
                    row.get::<_, i64>(7)?
                ],
            )?;
        }
        drop(rows);
        drop(plain);
        // `secure_delete` overwrites its pages with zeros.
        tx.execute("DROP TABLE plain_templates", [])?;
        Ok(())
    }
}

/// The device key that a database is sealed with; `None` in one from before there were keys.
pub(super) fn device_key_of(conn: &Connection) -> rusqlite::Result<Option<KeyId>> {
    if !conn.table_exists(None, "sealing")? {
        return Ok(None);
    }
    conn.query_row("SELECT device_key FROM sealing", [], |row| row.get(0).map(KeyId)).optional()
}

fn place_of_key(person: PersonId) -> Place {
    Place::new("accessd person key").number(person.0)
}

/// A template opens as this one of this person and model alone.
pub(super) fn place_of_template(person: PersonId, id: i64, model: &ModelId) -> Place {
    Place::new("accessd template").number(person.0).number(id).text(&model.0)
}

/// Seals an embedding as 32-bit floats, little-endian.
pub(super) fn seal_embedding(
    key: &Secret,
    place: &Place,
    embedding: &Embedding,
) -> Result<Vec<u8>, KeyError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(4 * embedding.dim()));
    embedding.values().iter().for_each(|v| plain.extend_from_slice(&v.to_le_bytes()));
    key.seal(place, &plain)
}

/// Opens an embedding, or says what is wrong with it.
pub(super) fn open_embedding(key: &Secret, place: &Place, sealed: &[u8]) -> Result<Embedding, String> {
    let plain = key.open(place, sealed).map_err(|DoesNotOpen| DoesNotOpen.to_string())?;
    let (values, rest) = plain.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("has {} bytes, which are no whole numbers", plain.len()));
    }
    let mut values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
    if let Err(why) = templates::check_values(&values) {
        values.zeroize();
        return Err(why);
    }
    Embedding::normalise(values).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Secret {
        Secret::from_slice(&[5; 32]).unwrap()
    }

    fn place() -> Place {
        place_of_template(PersonId(1), 2, &ModelId("m@1".into()))
    }

    #[test]
    fn bytes_that_are_no_embedding_are_told() {
        let opened = |plain: &[u8]| {
            open_embedding(&key(), &place(), &key().seal(&place(), plain).unwrap()).unwrap_err()
        };
        assert!(opened(&[0, 0, 128]).contains("3 bytes"));
        assert!(opened(&[]).contains("0 values"));
        assert!(opened(&2f32.to_le_bytes()).contains("length 2"));
        assert!(opened(&f32::NAN.to_le_bytes()).contains("finite"));
        assert!(open_embedding(&key(), &place(), &[1; 60]).unwrap_err().contains("does not open"));
    }

    proptest! {
        #[test]
        fn embeddings_survive_the_sealing(values in prop::collection::vec(-1f32..1f32, 1..600)) {
            prop_assume!(values.iter().any(|v| v.abs() > 1e-3));
            let embedding = Embedding::normalise(values).unwrap();
            let sealed = seal_embedding(&key(), &place(), &embedding).unwrap();
            let again = open_embedding(&key(), &place(), &sealed).unwrap();
            for (a, b) in embedding.values().iter().zip(again.values()) {
                prop_assert!((a - b).abs() < 1e-6);
            }
        }
    }
}
