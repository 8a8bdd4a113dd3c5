//! Templates: what may be stored as one, and the rows of `templates`.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use super::StoreError;
use super::crops;
use super::journal::{from_tag, micros, tag, timestamp};
use super::sealing::{Sealer, open_embedding, place_of_template, seal_embedding};
use super::trouble::Trouble;
use crate::encoder::{Embedding, ModelId};
use crate::gallery::{NewTemplate, PersonId, TemplateInfo};
use crate::journal::PersonRef;
use crate::seal::Secret;
use crate::vision::quality::Quality;

/// Most templates stored in one go: many times what an enrolment takes, and a bound for what a socket can ask.
const MAX_AT_ONCE: usize = 64;
/// Most values of an embedding; the schema's bound too.
const MAX_DIM: usize = 4096;
/// How far an embedding's length may be from 1.
const LENGTH_TOLERANCE: f32 = 1e-3;

/// Refuses what cannot be a person's templates: none, too many, of several models, not of length 1, or with figures
/// that are not numbers. They may have come over a socket.
pub(super) fn check(templates: &[NewTemplate]) -> Result<(), StoreError> {
    let bad = |what: String| Err(StoreError::BadTemplates(what));
    let Some(first) = templates.first() else {
        return bad("there are none; give at least one picture with a usable face".into());
    };
    if templates.len() > MAX_AT_ONCE {
        return bad(format!("{} at once; give at most {MAX_AT_ONCE}", templates.len()));
    }
    if !(1..=200).contains(&first.model.0.chars().count()) {
        return bad(
            "the model's id must have 1 to 200 characters; compute them with an installed model".into()
        );
    }
    for (i, template) in templates.iter().enumerate() {
        let nth = i + 1;
        if template.model != first.model {
            return bad(format!(
                "number {nth} is of model {}, the first of {}; compute all with one model",
                template.model, first.model
            ));
        }
        if template.embedding.dim() != first.embedding.dim() {
            return bad(format!(
                "number {nth} has {} values, the first {}; compute all with one model",
                template.embedding.dim(),
                first.embedding.dim()
            ));
        }
        if let Err(why) = check_values(template.embedding.values()) {
            return bad(format!("number {nth} {why}; compute it anew"));
        }
        if !all_finite(&template.quality) {
            return bad(format!(
                "the quality of number {nth} has a figure that is not a number; compute it anew"
            ));
        }
    }
    Ok(())
}

/// Whether these values are a point on the unit sphere.
pub(super) fn check_values(values: &[f32]) -> Result<(), String> {
    if !(1..=MAX_DIM).contains(&values.len()) {
        return Err(format!("has {} values instead of 1 to {MAX_DIM}", values.len()));
    }
    if !values.iter().all(|v| v.is_finite()) {
        return Err("has a value that is not a finite number".into());
    }
    let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    if (length - 1.0).abs() > LENGTH_TOLERANCE {
        return Err(format!("has length {length} instead of 1"));
    }
    Ok(())
}

fn all_finite(q: &Quality) -> bool {
    [q.eye_distance_px, q.sharpness, q.light, q.yaw_deg, q.pitch_deg, q.roll_deg]
        .iter()
        .all(|v| v.is_finite())
}

/// Whether the pictures that templates are made from are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crops {
    /// They are.
    Kept,
    /// Not here.
    Dropped,
}

/// Stores checked templates, sealed with their person's key.
pub(super) fn insert(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    person: PersonId,
    templates: &[NewTemplate],
    crops: Crops,
    created: Timestamp,
) -> Result<(), Trouble> {
    must_fit_the_model(tx, templates)?;
    let key = sealer.key_for(tx, person)?;
    // A template is sealed for its number, so that is known first; numbers are never given again.
    let last = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'templates'), 0)";
    let last: i64 = tx.query_row(last, [], |row| row.get(0))?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO templates (id, person, model, dim, sealed, quality, source, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (id, template) in (last + 1..).zip(templates) {
        let place = place_of_template(person, id, &template.model);
        let quality = serde_json::to_string(&template.quality).expect("quality is plain data");
        insert.execute(params![
            id,
            person.0,
            template.model.0,
            template.embedding.dim() as i64,
            seal_embedding(&key, &place, &template.embedding)?,
            quality,
            tag(&template.source),
            micros(created),
        ])?;
        if let (Crops::Kept, Some(crop)) = (crops, &template.crop) {
            crops::insert(tx, &key, person, id, crop)?;
        }
    }
    Ok(())
}

/// All embeddings under one model id have one dimension: the gallery is a matrix.
fn must_fit_the_model(tx: &Transaction<'_>, templates: &[NewTemplate]) -> Result<(), Trouble> {
    let Some(first) = templates.first() else { return Ok(()) };
    let other: Option<i64> = tx.query_row(
        "SELECT max(dim) FROM templates WHERE model = ?1 AND dim <> ?2",
        params![first.model.0, first.embedding.dim() as i64],
        |row| row.get(0),
    )?;
    match other {
        None => Ok(()),
        Some(dim) => Err(StoreError::BadTemplates(format!(
            "they have {} values, but those stored of model {} have {dim}; the model's id is wrong",
            first.embedding.dim(),
            first.model
        ))
        .into()),
    }
}

/// How many templates a person has.
pub(super) fn count_of(conn: &Connection, person: PersonId) -> rusqlite::Result<u64> {
    let count = "SELECT count(*) FROM templates WHERE person = ?1";
    conn.query_row(count, [person.0], |row| row.get::<_, i64>(0).map(i64::unsigned_abs))
}

/// Everybody's templates without their embeddings, oldest first.
pub(super) fn infos(conn: &Connection) -> Result<HashMap<PersonId, Vec<TemplateInfo>>, Trouble> {
    let mut found: HashMap<PersonId, Vec<TemplateInfo>> = HashMap::new();
    let mut statement = conn.prepare_cached(&format!("{INFO} ORDER BY id"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        found.entry(PersonId(row.get(5)?)).or_default().push(read_info(row)?);
    }
    Ok(found)
}

/// One person's templates without their embeddings, oldest first.
pub(super) fn infos_of(conn: &Connection, person: PersonId) -> Result<Vec<TemplateInfo>, Trouble> {
    let mut found = Vec::new();
    let mut statement = conn.prepare_cached(&format!("{INFO} WHERE person = ?1 ORDER BY id"))?;
    let mut rows = statement.query([person.0])?;
    while let Some(row) = rows.next()? {
        found.push(read_info(row)?);
    }
    Ok(found)
}

const INFO: &str = "SELECT id, model, quality, source, created, person FROM templates";

fn read_info(row: &Row<'_>) -> Result<TemplateInfo, Trouble> {
    let id: i64 = row.get(0)?;
    let quality: String = row.get(2)?;
    let quality = serde_json::from_str(&quality)
        .map_err(|e| Trouble::Damaged(format!("the quality of template {id} cannot be read ({e})")))?;
    Ok(TemplateInfo {
        id,
        model: ModelId(row.get(1)?),
        quality,
        source: from_tag(&row.get::<_, String>(3)?, || format!("template {id} has the unknown source"))?,
        created: timestamp(row.get(4)?)?,
    })
}

/// A template with its embedding, its owner and their name.
pub(super) type Owned = (PersonId, Arc<str>, Embedding);

/// Everybody's templates of one model, as they go into a gallery.
pub(super) fn of_model(conn: &Connection, sealer: &Sealer, model: &ModelId) -> Result<Vec<Owned>, Trouble> {
    select(conn, sealer, model, "")
}

/// The same without those that were learnt.
pub(super) fn enrolled_of_model(
    conn: &Connection,
    sealer: &Sealer,
    model: &ModelId,
) -> Result<Vec<Owned>, Trouble> {
    select(conn, sealer, model, "AND source <> 'learnt'")
}

/// One person's templates of every model, as far as they open.
pub(super) fn of_person(
    conn: &Connection,
    sealer: &Sealer,
    person: PersonId,
) -> Result<Vec<(ModelId, Embedding)>, Trouble> {
    let key = match sealer.key_of(conn, person) {
        Err(Trouble::Damaged(_)) => None,
        other => other?,
    };
    let Some(key) = key else { return Ok(Vec::new()) };
    let mut rows = conn.prepare_cached("SELECT id, model, sealed FROM templates WHERE person = ?1")?;
    let mut rows = rows.query([person.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, model) = (row.get(0)?, ModelId(row.get(1)?));
        let sealed = row.get_ref(2)?.as_blob().unwrap_or_default();
        let opened = open_embedding(&key, &place_of_template(person, id, &model), sealed);
        found.extend(opened.ok().map(|embedding| (model, embedding)));
    }
    Ok(found)
}

/// Deletes what was learnt, of one person or of everybody; of whom, and how many.
pub(super) fn remove_learnt(
    tx: &Transaction<'_>,
    person: Option<PersonId>,
) -> Result<Vec<(PersonRef, usize)>, Trouble> {
    let of = person.map(|person| person.0);
    let mut counted = tx.prepare(
        "SELECT people.id, name, count(*) FROM templates JOIN people ON people.id = person
         WHERE source = 'learnt' AND (?1 IS NULL OR person = ?1) GROUP BY people.id ORDER BY people.id",
    )?;
    let rows = counted.query_map([of], |row| {
        let person = PersonRef { id: PersonId(row.get(0)?), name: row.get(1)? };
        Ok((person, row.get::<_, i64>(2)?.unsigned_abs() as usize))
    })?;
    let whose = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    tx.execute("DELETE FROM templates WHERE source = 'learnt' AND (?1 IS NULL OR person = ?1)", [of])?;
    Ok(whose)
}

fn select(conn: &Connection, sealer: &Sealer, model: &ModelId, only: &str) -> Result<Vec<Owned>, Trouble> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT templates.id, person, name, sealed FROM templates JOIN people ON people.id = person
         WHERE model = ?1 {only} ORDER BY person, templates.id",
    ))?;
    let mut rows = statement.query([&model.0])?;
    let mut found: Vec<Owned> = Vec::new();
    let mut key: Option<(PersonId, Secret)> = None;
    while let Some(row) = rows.next()? {
        let person = PersonId(row.get(1)?);
        let name: Arc<str> = match found.last() {
            Some((last, name, _)) if *last == person => name.clone(),
            _ => row.get::<_, String>(2)?.into(),
        };
        let id: i64 = row.get(0)?;
        let damaged = |why: String| {
            Trouble::Damaged(format!("template {id} of {name:?} {why}; remove and enrol that person anew"))
        };
        if key.as_ref().is_none_or(|(of, _)| *of != person) {
            let its = sealer.key_of(conn, person)?;
            key = Some((person, its.ok_or_else(|| damaged("has no key".into()))?));
        }
        let (_, key) = key.as_ref().expect("it was found above");
        let sealed = row.get_ref(3)?.as_blob().unwrap_or_default();
        let embedding =
            open_embedding(key, &place_of_template(person, id, model), sealed).map_err(damaged)?;
        if found.first().is_some_and(|(.., first)| first.dim() != embedding.dim()) {
            return Err(damaged("has another dimension than the others of its model".into()));
        }
        found.push((person, name, embedding));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gallery::TemplateSource;

    fn template(values: &str) -> NewTemplate {
        NewTemplate {
            model: ModelId("sface@1".into()),
            // As it comes over the socket: nothing has normalised it.
            embedding: serde_json::from_str(values).unwrap(),
            quality: Quality {
                eye_distance_px: 60.0,
                sharpness: 100.0,
                light: 120.0,
                yaw_deg: 1.0,
                pitch_deg: 2.0,
                roll_deg: -3.0,
            },
            source: TemplateSource::Image,
            crop: None,
        }
    }

    #[test]
    fn each_bad_template_says_what_is_wrong_with_it() {
        let good = template("[0.6, 0.8]");
        let mut of_another_model = good.clone();
        of_another_model.model = ModelId("other@2".into());
        let mut nameless = good.clone();
        nameless.model = ModelId(String::new());
        let mut unmeasured = good.clone();
        unmeasured.quality.light = f32::NAN;
        for (templates, expected) in [
            (vec![], "there are none"),
            (vec![good.clone(); 65], "65 at once; give at most 64"),
            (vec![template("[]")], "number 1 has 0 values"),
            (vec![good.clone(), template("[0.6, 0.81]")], "number 2 has length 1.00"),
            (vec![template("[0.0, 0.0]")], "has length 0 instead of 1"),
            (vec![template("[1e300, 0.0]")], "not a finite number"),
            (vec![good.clone(), template("[1.0]")], "number 2 has 1 values, the first 2"),
            (vec![good.clone(), of_another_model], "number 2 is of model other@2, the first of sface@1"),
            (vec![nameless], "the model's id must have 1 to 200 characters"),
            (vec![good.clone(), unmeasured], "the quality of number 2"),
        ] {
            let text = check(&templates).unwrap_err().to_string();
            assert!(text.starts_with("templates refused: ") && text.contains(expected), "{text}");
        }
        check(&vec![good; 64]).unwrap();
    }
}
