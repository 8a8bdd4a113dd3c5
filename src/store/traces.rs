//! Whether anything of a person is left: what must not be found, and the search for it in every file of the data.
//!
//! What is sought is cut into pieces of 16 bytes, and each is looked for at every byte of every file: also what a moved
//! page or a half-overwritten one still holds is found that way. Names and the journal are not sought; they stay.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::attempts;
use super::crops;
use super::sealing::{Sealer, place_of_template};
use super::snapshots;
use super::trouble::Trouble;
use crate::encoder::ModelId;
use crate::gallery::PersonId;

/// Length of a piece in bytes.
const PIECE: usize = 16;
/// How much of a file is in memory at a time.
const BLOCK: usize = 1 << 20;

/// What is sought of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trace {
    /// A template in the clear.
    Template,
    /// A template as it is stored.
    SealedTemplate,
    /// The person's key.
    Key,
    /// The person's key as it is stored.
    WrappedKey,
    /// The face of an attempt that is kept, in the clear.
    Attempt,
    /// An attempt as it is stored.
    SealedAttempt,
    /// A picture of a refusal.
    Picture,
    /// A picture as it is stored.
    SealedPicture,
    /// The picture that a template was made from.
    Crop,
    /// Such a picture as it is stored.
    SealedCrop,
}

impl std::fmt::Display for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Template => "template in the clear",
            Self::SealedTemplate => "sealed template",
            Self::Key => "key in the clear",
            Self::WrappedKey => "wrapped key",
            Self::Attempt => "kept attempt in the clear",
            Self::SealedAttempt => "sealed attempt",
            Self::Picture => "picture of a refusal",
            Self::SealedPicture => "sealed picture",
            Self::Crop => "picture of a template",
            Self::SealedCrop => "sealed picture of a template",
        })
    }
}

/// What must not be found any more once a person is erased. Wiped when dropped.
pub struct Traces(Vec<(Trace, Zeroizing<Vec<u8>>)>);

/// Pieces of one kind in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Where.
    pub file: PathBuf,
    /// What.
    pub what: Trace,
    /// How many pieces of 16 bytes.
    pub pieces: u64,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// Files that were read from end to end.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How many pieces were sought.
    pub sought: u64,
    /// What was found.
    pub found: Vec<Sighting>,
    /// Files that could not be read, and why.
    pub unread: Vec<String>,
}

impl Search {
    /// Pieces found in all files together.
    pub fn pieces(&self) -> u64 {
        self.found.iter().map(|sighting| sighting.pieces).sum()
    }
}

impl Traces {
    /// Everything that is kept of a person's face.
    pub(super) fn of(conn: &Connection, sealer: &Sealer, person: PersonId) -> Result<Self, Trouble> {
        let mut found = Vec::new();
        let key = sealer.key_of(conn, person)?;
        if let Some(key) = &key {
            found.push((Trace::Key, Zeroizing::new(key.bytes().to_vec())));
        }
        let mut blobs = |what, sql: &str| -> Result<Vec<Vec<u8>>, Trouble> {
            let mut rows = conn.prepare(sql)?;
            let rows = rows.query_map([person.0], |row| row.get(0))?.collect::<Result<Vec<Vec<u8>>, _>>()?;
            found.extend(rows.iter().map(|bytes| (what, Zeroizing::new(bytes.clone()))));
            Ok(rows)
        };
        blobs(Trace::WrappedKey, "SELECT wrapped FROM person_keys WHERE person = ?1")?;
        blobs(Trace::SealedTemplate, "SELECT sealed FROM templates WHERE person = ?1")?;
        let mut rows = conn.prepare("SELECT id, model, sealed FROM templates WHERE person = ?1")?;
        let mut rows = rows.query([person.0])?;
        while let (Some(row), Some(key)) = (rows.next()?, &key) {
            let (id, model): (i64, String) = (row.get(0)?, row.get(1)?);
            let place = place_of_template(person, id, &ModelId(model));
            if let Ok(plain) = key.open(&place, row.get_ref(2)?.as_blob().unwrap_or_default()) {
                found.push((Trace::Template, plain));
            }
        }
        for (row, attempt) in attempts::of_person(conn, sealer, person)? {
            if let Some(attempt) = attempt {
                let (_, values) = attempt.face.parts();
                found.push((Trace::Attempt, values));
            }
            found.push((Trace::SealedAttempt, Zeroizing::new(row.sealed)));
        }
        for row in snapshots::Kept::of(conn, Some(person))? {
            found.extend(row.open(conn, sealer)?.map(|picture| (Trace::Picture, own_of(&picture))));
            found.push((Trace::SealedPicture, Zeroizing::new(row.sealed)));
        }
        for row in crops::Kept::of(conn, Some(person))? {
            found.extend(row.open(conn, sealer)?.map(|crop| (Trace::Crop, own_of(&crop))));
            found.push((Trace::SealedCrop, Zeroizing::new(row.sealed)));
        }
        Ok(Self(found))
    }

    /// Looks into every file below these folders. Links are not followed; what is no regular file is left out.
    pub fn look_for(&self, folders: &[&Path]) -> Search {
        let pieces = Pieces::new(&self.0);
        let mut search = Search { sought: pieces.of.len() as u64, ..Search::default() };
        let mut files = Vec::new();
        for folder in folders {
            gather(folder, &mut files, &mut search.unread);
        }
        files.sort();
        files.dedup();
        for file in files {
            match pieces.count_in(&file) {
                Ok((bytes, counts)) => {
                    search.files += 1;
                    search.bytes += bytes;
                    let seen = counts.into_iter().map(|(what, pieces)| Sighting {
                        file: file.clone(),
                        what,
                        pieces,
                    });
                    search.found.extend(seen);
                }
                // A log that was folded away in between is no longer there to be searched.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => search.unread.push(format!("{}: {error}", file.display())),
            }
        }
        search
    }
}

/// The pieces, and which pairs of bytes they begin with: nearly every position of a file is passed over by that alone.
struct Pieces {
    of: HashMap<[u8; PIECE], Trace>,
    begins: Vec<bool>,
}

impl Pieces {
    fn new(sought: &[(Trace, Zeroizing<Vec<u8>>)]) -> Self {
        let pieces =
            sought.iter().flat_map(|(what, bytes)| bytes.as_chunks::<PIECE>().0.iter().map(|p| (*p, *what)));
        let of: HashMap<_, _> = pieces.collect();
        let mut begins = vec![false; 1 << 16];
        of.keys().for_each(|piece| begins[pair(piece)] = true);
        Self { of, begins }
    }

    fn count_in(&self, path: &Path) -> io::Result<(u64, BTreeMap<Trace, u64>)> {
        let mut file = File::open(path)?;
        let mut counts = BTreeMap::new();
        let (mut bytes, mut kept) = (0, 0);
        let mut block = vec![0; BLOCK];
        loop {
            let read = file.read(&mut block[kept..])?;
            if read == 0 {
                return Ok((bytes, counts));
            }
            bytes += read as u64;
            let filled = kept + read;
            for window in block[..filled].windows(PIECE) {
                if self.begins[pair(window)]
                    && let Some(what) = window.first_chunk().and_then(|window| self.of.get(window))
                {
                    *counts.entry(*what).or_default() += 1;
                }
            }
            // A piece may lie across two blocks.
            kept = filled.min(PIECE - 1);
            block.copy_within(filled - kept..filled, 0);
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        for (mut piece, _) in self.of.drain() {
            zeroize::Zeroize::zeroize(&mut piece);
        }
    }
}

/// What of a JPEG is its own: the coded picture behind the tables that all of them share, without the pieces that stand for even
/// areas and are alike everywhere.
fn own_of(jpeg: &[u8]) -> Zeroizing<Vec<u8>> {
    const SCAN: [u8; 2] = [0xff, 0xda];
    /// Bytes of the scan's own header.
    const HEADER: usize = 14;
    /// So many of a piece's bytes must differ.
    const DIFFERENT: usize = 10;
    let scan = jpeg.windows(2).position(|two| two == SCAN);
    let coded = scan.and_then(|at| jpeg.get(at + HEADER..)).unwrap_or(jpeg);
    let mut own = Zeroizing::new(Vec::with_capacity(coded.len()));
    for piece in coded.as_chunks::<PIECE>().0 {
        let different: BTreeSet<u8> = piece.iter().copied().collect();
        if different.len() >= DIFFERENT {
            own.extend_from_slice(piece);
        }
    }
    own
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>, unread: &mut Vec<String>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return unread.push(format!("{}: {error}", folder.display())),
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => gather(&entry.path(), files, unread),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_picture_only_what_no_other_has_is_sought() {
        let tables: Vec<u8> = (0..=200).collect();
        let picture = |seed: u8| {
            let mut jpeg = [&tables[..], &[0xff, 0xda, 0, 12, 3, 1, 0, 2, 17, 3, 17, 0, 63, 0]].concat();
            jpeg.extend([0x28, 0xa2, 0x8a].repeat(16));
            jpeg.extend((0..64_u8).map(|n| n.wrapping_mul(37).wrapping_add(seed)));
            jpeg
        };
        let (one, other) = (own_of(&picture(1)), own_of(&picture(2)));
        assert_eq!((one.len(), other.len()), (64, 64));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("other"), picture(2)).unwrap();
        let look =
            |own: Zeroizing<Vec<u8>>| Traces(vec![(Trace::Picture, own)]).look_for(&[folder.path()]).pieces();
        assert_eq!((look(one), look(other)), (0, 4));
    }

    #[test]
    fn pieces_are_found_at_any_byte_of_any_file_and_across_blocks() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let secret: Vec<u8> = (1..=64).map(|n: u8| n.wrapping_mul(37)).collect();
        let traces = Traces(vec![
            (Trace::Key, Zeroizing::new(secret[..32].to_vec())),
            (Trace::SealedTemplate, Zeroizing::new(secret[32..].to_vec())),
        ]);
        let nothing = traces.look_for(&[folder.path()]);
        assert_eq!((nothing.sought, nothing.files, nothing.pieces()), (4, 0, 0));
        let mut long = vec![0; 2 * BLOCK + 100];
        for at in [3, BLOCK - 7, 2 * BLOCK - 20] {
            long[at..at + 16].copy_from_slice(&secret[16..32]);
        }
        fs::write(folder.path().join("sub/long"), &long).unwrap();
        fs::write(folder.path().join("short"), &secret[30..50]).unwrap();
        fs::write(folder.path().join("other"), &secret[1..16]).unwrap();
        let search = traces.look_for(&[folder.path(), &folder.path().join("sub")]);
        assert_eq!((search.files, search.bytes), (3, long.len() as u64 + 20 + 15));
        let found: Vec<_> = search
            .found
            .iter()
            .map(|s| (s.file.file_name().unwrap().to_str().unwrap(), s.what, s.pieces))
            .collect();
        assert_eq!(found, [("short", Trace::SealedTemplate, 1), ("long", Trace::Key, 3)]);
        assert_eq!(search.unread, [""; 0]);
        let missing = traces.look_for(&[&folder.path().join("no")]);
        assert_eq!(missing.unread.len(), 1, "what cannot be searched is told");
    }
}
