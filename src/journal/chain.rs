//! PURE. The journal as a chain: each record's hash covers the record and the hash before it, and now and then the
//! device's key signs the newest. Who changes a record must change every hash after it, and cannot sign.
//!
//! `store` writes hashes and signatures beside the rows; [`Walk`] goes over them again and names the first record that is
//! not as it was written. What the key cannot show, that the newest records were cut off, the [`Head`]s show that were
//! handed out of the machine.
//!
//! **The form that is hashed**, version 1. A record is a row of fields in ascending order of their code, each as one byte
//! of code, four bytes of length and the value; what a record does not have is left out. Whole numbers are little-endian,
//! text is UTF-8 as stored. The hash is BLAKE3 in its key derivation mode with the context [`RECORD_V1`], over the hash
//! before (32 bytes) and the fields. Nothing can be moved from one field to the next, or left out, without another hash.
//!
//! | code | field | form |
//! |---|---|---|
//! | 1 | number | `i64` |
//! | 2 | calendar, µs since 1970 UTC | `i64` |
//! | 3 | ms since boot | `i64` |
//! | 4 | boot | text |
//! | 5 | kind | text |
//! | 6 | person | `i64` |
//! | 7 | person's name | text |
//! | 8 | actor | text |
//! | 9 | whether the calendar was believed | one byte, 0 or 1 |
//! | 10 | detail | text, JSON as stored |
//! | 11 | door | text |

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What records are hashed under.
const RECORD_V1: &str = "accessd journal record 1";
/// What checkpoints are hashed under before they are signed.
const CHECKPOINT_V1: &str = "accessd journal checkpoint 1";
/// What the summary of pruned records is hashed under before it is signed.
const PRUNED_V1: &str = "accessd journal pruned 1";
/// How the signing key comes from the device's secret.
const SIGNING_KEY_V1: &str = "accessd journal signing key 1";

/// The kind of the record of a restored backup.
const RESTORED: &str = "restore";

/// A signature is due at the latest after so many records.
pub const CHECKPOINT_EVERY: u64 = 256;

/// A hash of the chain; printed and read in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// Text that is no hash or key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not 64 hexadecimal digits")]
pub struct NoHash {
    text: String,
}

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        match blake3::Hash::from_hex(text) {
            Ok(hash) => Ok(Self(*hash.as_bytes())),
            Err(_) => Err(NoHash { text: text.to_owned() }),
        }
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A record's fields as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// Its number.
    pub id: i64,
    /// Calendar, µs since 1970 UTC.
    pub wall_us: i64,
    /// ms since boot.
    pub mono_ms: i64,
    /// Which boot.
    pub boot_id: &'a str,
    /// Its kind, as a word.
    pub kind: &'a str,
    /// Whom it is about.
    pub person: Option<i64>,
    /// Their name then.
    pub person_name: Option<&'a str>,
    /// Who did it.
    pub actor: Option<&'a str>,
    /// Whether the calendar was believed; `None` for records from before that was kept.
    pub clock_trusted: Option<bool>,
    /// JSON.
    pub detail: &'a str,
    /// At which door.
    pub door: Option<&'a str>,
}

impl Fields<'_> {
    /// The hash of this record after one with the hash `before`.
    pub fn hash(&self, before: Hash) -> Hash {
        let mut form = Form::new(RECORD_V1);
        form.hasher.update(&before.0);
        form.whole(1, Some(self.id));
        form.whole(2, Some(self.wall_us));
        form.whole(3, Some(self.mono_ms));
        form.text(4, Some(self.boot_id));
        form.text(5, Some(self.kind));
        form.whole(6, self.person);
        form.text(7, self.person_name);
        form.text(8, self.actor);
        form.bytes(9, self.clock_trusted.map(|trusted| [u8::from(trusted)]).as_ref().map(|b| &b[..]));
        form.text(10, Some(self.detail));
        form.text(11, self.door);
        form.end()
    }
}

/// Writes fields into a hash.
struct Form {
    hasher: blake3::Hasher,
}

impl Form {
    fn new(context: &str) -> Self {
        Self { hasher: blake3::Hasher::new_derive_key(context) }
    }

    fn bytes(&mut self, code: u8, value: Option<&[u8]>) {
        let Some(value) = value else { return };
        // The store bounds every value far below 4 GiB.
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.hasher.update(&[code]);
        self.hasher.update(&length.to_le_bytes());
        self.hasher.update(value);
    }

    fn text(&mut self, code: u8, value: Option<&str>) {
        self.bytes(code, value.map(str::as_bytes));
    }

    fn whole(&mut self, code: u8, value: Option<i64>) {
        let value = value.map(i64::to_le_bytes);
        self.bytes(code, value.as_ref().map(|b| &b[..]));
    }

    fn end(&self) -> Hash {
        Hash(*self.hasher.finalize().as_bytes())
    }
}

/// The key that signs the journal of one device.
pub struct Seal(SigningKey);

impl Seal {
    /// From the device's secret, which must be as hard to guess as 32 random bytes.
    pub fn from_device_secret(secret: &[u8]) -> Self {
        Self(SigningKey::from_bytes(&blake3::derive_key(SIGNING_KEY_V1, secret)))
    }

    /// The half that others check with.
    pub fn public(&self) -> Key {
        Key(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, what: Hash) -> Mark {
        Mark { key: self.public(), signature: self.0.sign(&what.0).to_bytes() }
    }
}

impl fmt::Debug for Seal {
    /// Never prints the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.public())
    }
}

/// A public key; printed and read in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(f)
    }
}

impl FromStr for Key {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        text.parse().map(|Hash(bytes)| Self(bytes))
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Hash::deserialize(from).map(|Hash(bytes)| Self(bytes))
    }
}

/// A signature with the key it is by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// By whom.
    pub key: Key,
    /// ed25519.
    pub signature: [u8; 64],
}

impl Mark {
    fn is_of(&self, what: Hash) -> bool {
        let key = VerifyingKey::from_bytes(&self.key.0);
        key.is_ok_and(|key| key.verify_strict(&what.0, &Signature::from_bytes(&self.signature)).is_ok())
    }
}

/// The newest record at some moment: what is handed out of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub id: i64,
    /// Its hash.
    pub hash: Hash,
}

/// What a line of a head begins with.
const HEAD: &str = "accessd-head";

impl fmt::Display for Head {
    /// `accessd-head 1024 6f0c…`: a line of the file that heads are written to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEAD} {} {}", self.id, self.hash)
    }
}

/// A line in which there is no head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no head of a journal, such as `accessd-head 1024 6f0c…`, nor a hash")]
pub struct NoHead(String);

impl FromStr for Head {
    type Err = NoHead;

    /// Reads a head out of a line that may have a time before and more behind it, as in a system's log.
    fn from_str(line: &str) -> Result<Self, NoHead> {
        let mut words = line.split_whitespace().skip_while(|word| *word != HEAD).skip(1);
        let id = words.next().and_then(|word| word.parse().ok());
        let hash = words.next().and_then(|word| word.parse().ok());
        match (id, hash) {
            (Some(id), Some(hash)) => Ok(Self { id, hash }),
            _ => Err(NoHead(line.to_owned())),
        }
    }
}

/// What is signed: the records from `first` to `head`, and so all before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first record since the checkpoint before.
    pub first: i64,
    /// The newest record.
    pub head: Head,
    /// The earliest calendar among them, µs since 1970 UTC. Reading by time relies on it.
    pub earliest_us: i64,
    /// The latest.
    pub latest_us: i64,
    /// When it was signed.
    pub at_us: i64,
}

impl Checkpoint {
    fn form(&self, journal: Hash) -> Hash {
        let mut form = Form::new(CHECKPOINT_V1);
        form.bytes(1, Some(&journal.0));
        form.whole(2, Some(self.first));
        form.whole(3, Some(self.head.id));
        form.bytes(4, Some(&self.head.hash.0));
        form.whole(5, Some(self.earliest_us));
        form.whole(6, Some(self.latest_us));
        form.whole(7, Some(self.at_us));
        form.end()
    }

    /// Signs it for the journal that begins with the hash `journal`.
    pub fn sign(&self, journal: Hash, seal: &Seal) -> Mark {
        seal.sign(self.form(journal))
    }
}

/// All that is left of records that were pruned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// How many there were: those from 1 to `head`.
    pub records: u64,
    /// The last of them.
    pub head: Head,
    /// Their calendar, from.
    pub earliest: Timestamp,
    /// To.
    pub latest: Timestamp,
    /// How many of each kind.
    pub kinds: std::collections::BTreeMap<String, u64>,
}

impl Pruned {
    fn form(&self, journal: Hash) -> Hash {
        let mut form = Form::new(PRUNED_V1);
        form.bytes(1, Some(&journal.0));
        form.whole(2, Some(self.records.cast_signed()));
        form.whole(3, Some(self.head.id));
        form.bytes(4, Some(&self.head.hash.0));
        form.whole(5, Some(self.earliest.as_microsecond()));
        form.whole(6, Some(self.latest.as_microsecond()));
        for (kind, count) in &self.kinds {
            form.text(7, Some(kind));
            form.whole(8, Some(count.cast_signed()));
        }
        form.end()
    }

    /// Signs it for the journal that begins with the hash `journal`.
    pub fn sign(&self, journal: Hash, seal: &Seal) -> Mark {
        seal.sign(self.form(journal))
    }
}

/// Whom a verification believes, and what it holds the journal against.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Against {
    /// The device's public keys. When there are none any key is taken, and named.
    pub keys: Vec<Key>,
    /// Heads that were handed out: each must be a record of the journal.
    pub heads: Vec<Head>,
    /// Hashes of records of which the number is not known.
    pub hashes: Vec<Hash>,
}

/// The first record that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// Its number.
    pub event: i64,
    /// What is wrong with it.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// How many records there are.
    pub records: u64,
    /// The first.
    pub first: Option<i64>,
    /// The newest.
    pub head: Option<Head>,
    /// How many checkpoints there are.
    pub checkpoints: u64,
    /// The newest record that a signature covers.
    pub signed_to: Option<i64>,
    /// By which keys.
    pub keys: Vec<Key>,
    /// Whether these were held against the device's own.
    pub keys_known: bool,
    /// Heads and hashes from outside that are in the journal.
    pub heads_found: u64,
    /// What was pruned.
    pub pruned: Option<Pruned>,
    /// The first thing that is wrong.
    pub broken: Option<Broken>,
    /// What cannot be shown, though nothing is known to be wrong.
    pub doubts: Vec<String>,
}

impl Verification {
    /// Whether all is as it was written, as far as can be shown.
    pub fn is_whole(&self) -> bool {
        self.broken.is_none()
    }
}

/// Goes over a journal record by record, and stops at the first that is broken.
pub struct Walk<'a> {
    journal: Hash,
    against: &'a Against,
    expected: i64,
    before: Hash,
    times: Option<(i64, i64)>,
    block: i64,
    open_heads: Vec<Head>,
    open_hashes: Vec<Hash>,
    found: Verification,
}

impl<'a> Walk<'a> {
    /// From the beginning of a journal, or from where it was pruned to, on. `last_given` is the number of the newest record
    /// by the database's own count.
    pub fn new(journal: Hash, pruned: Option<(Pruned, Mark)>, against: &'a Against) -> Self {
        let mut found = Verification {
            records: 0,
            first: None,
            head: None,
            checkpoints: 0,
            signed_to: None,
            keys: Vec::new(),
            keys_known: !against.keys.is_empty(),
            heads_found: 0,
            pruned: None,
            broken: None,
            doubts: Vec::new(),
        };
        let (mut expected, mut before) = (1, journal);
        if let Some((pruned, mark)) = pruned {
            (expected, before) = (pruned.head.id + 1, pruned.head.hash);
            let stated = pruned.records == pruned.head.id.unsigned_abs()
                && pruned.kinds.values().sum::<u64>() == pruned.records;
            let says = format!("the summary of the {} records that were pruned", pruned.records);
            if !stated || !mark.is_of(pruned.form(journal)) {
                found.broken = Some(Broken { event: pruned.head.id, what: format!("{says} is forged") });
            } else if let Err(what) = known(&mut found.keys, against, &mark) {
                found.broken = Some(Broken { event: pruned.head.id, what: format!("{says} {what}") });
            }
            found.pruned = Some(pruned);
        }
        let mut walk = Self {
            journal,
            against,
            expected,
            before,
            times: None,
            block: expected,
            open_heads: against.heads.clone(),
            open_hashes: against.hashes.clone(),
            found,
        };
        walk.meet(Head { id: expected - 1, hash: before });
        walk
    }

    /// Whether there is use in going on.
    pub fn is_broken(&self) -> bool {
        self.found.broken.is_some()
    }

    /// Takes the next record with its hash as stored.
    pub fn record(&mut self, fields: &Fields<'_>, stored: Option<Hash>) {
        if self.is_broken() {
            return;
        }
        if fields.kind == RESTORED && fields.id > self.expected && stored == Some(fields.hash(self.before)) {
            // The numbers go on where they were before a backup was brought back; what was between is lost and told.
            let (first, last) = (self.expected, fields.id - 1);
            let what = format!(
                "the records from {first} to {last} were lost when a backup was restored ({})",
                fields.id
            );
            self.found.doubts.push(what);
            self.expected = fields.id;
        }
        if fields.id != self.expected {
            let what = match fields.id - self.expected {
                1 => "it is missing".to_owned(),
                n if n > 1 => format!("it and {} more up to {} are missing", n - 1, fields.id - 1),
                _ => format!("a record with the number {} stands in its place", fields.id),
            };
            return self.breaks(self.expected, what);
        }
        let hash = fields.hash(self.before);
        if stored != Some(hash) {
            return self.breaks(fields.id, "it is not as it was written".to_owned());
        }
        self.found.records += 1;
        self.found.first.get_or_insert(fields.id);
        let (earliest, latest) = self.times.unwrap_or((fields.wall_us, fields.wall_us));
        self.times = Some((earliest.min(fields.wall_us), latest.max(fields.wall_us)));
        (self.before, self.expected) = (hash, fields.id + 1);
        let head = Head { id: fields.id, hash };
        self.found.head = Some(head);
        self.meet(head);
    }

    /// Takes the checkpoint that stands after the record just taken.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint, mark: &Mark) {
        if self.is_broken() {
            return;
        }
        let event = checkpoint.head.id;
        let reached = Head { id: self.expected - 1, hash: self.before };
        if event > reached.id {
            let what = format!("it is missing, though the records up to {event} were signed");
            return self.breaks(self.expected, what);
        }
        if checkpoint.head != reached {
            return self.breaks(event, "its checkpoint is of another record".to_owned());
        }
        if !mark.is_of(checkpoint.form(self.journal)) {
            return self.breaks(event, "the signature of its checkpoint is forged".to_owned());
        }
        if let Err(what) = known(&mut self.found.keys, self.against, mark) {
            return self.breaks(event, format!("its checkpoint {what}"));
        }
        let stated = (checkpoint.earliest_us, checkpoint.latest_us);
        if checkpoint.first != self.block || self.times.is_some_and(|times| times != stated) {
            return self.breaks(event, "its checkpoint does not fit the records before it".to_owned());
        }
        self.found.checkpoints += 1;
        self.found.signed_to = Some(event);
        (self.block, self.times) = (self.expected, None);
    }

    /// The number after the last record that the walk has taken.
    pub fn next_expected(&self) -> i64 {
        self.expected
    }

    /// What was found. `last_given` is the newest number that the database ever gave to a record.
    pub fn end(mut self, last_given: i64) -> Verification {
        if !self.is_broken() && last_given >= self.expected {
            let count = last_given - self.expected + 1;
            let what = format!("the newest {count} records, up to {last_given}, were cut off");
            self.breaks(self.expected, what);
        }
        if !self.is_broken()
            && let Some(head) = self.open_heads.iter().min_by_key(|head| head.id)
        {
            let (event, newest) = (head.id, self.expected - 1);
            let what = if event <= newest {
                "it is not the record whose hash was handed out".to_owned()
            } else {
                format!("it was handed out, but the journal ends with {newest}: its end was cut off")
            };
            self.breaks(event, what);
        }
        if !self.is_broken()
            && let Some(hash) = self.open_hashes.first().copied()
        {
            let what = format!(
                "no record has the hash {hash}: the journal's end was cut off, or it was written anew, or the record was \
                 pruned"
            );
            self.breaks(self.expected, what);
        }
        self.doubt();
        self.found
    }

    fn doubt(&mut self) {
        let newest = self.expected - 1;
        let signed = self.found.signed_to.or(self.found.pruned.as_ref().map(|p| p.head.id)).unwrap_or(0);
        let tail = (newest - signed).unsigned_abs();
        if tail > CHECKPOINT_EVERY {
            let what = format!(
                "the newest {tail} records are not signed, though a signature is due every {CHECKPOINT_EVERY}: nobody with \
                 the device's key has written since, or they were written anew without it"
            );
            self.found.doubts.push(what);
        }
        if !self.found.keys.is_empty() && !self.found.keys_known {
            let what = "whether the signing keys are this device's is not known: name its key with --key";
            self.found.doubts.push(what.to_owned());
        }
        if self.against.heads.is_empty() && self.against.hashes.is_empty() {
            let what =
                "whether newest records were cut off can only be seen from a head kept elsewhere: --head";
            self.found.doubts.push(what.to_owned());
        }
    }

    /// A record of the chain: is it one that was handed out?
    fn meet(&mut self, at: Head) {
        let open = self.open_heads.len() + self.open_hashes.len();
        self.open_heads.retain(|head| *head != at);
        self.open_hashes.retain(|hash| *hash != at.hash);
        self.found.heads_found += (open - self.open_heads.len() - self.open_hashes.len()) as u64;
        // A head from before what was pruned cannot be held against anything any more.
        let pruned_to = self.found.pruned.as_ref().map_or(0, |pruned| pruned.head.id);
        self.open_heads.retain(|head| head.id >= pruned_to.max(1));
    }

    fn breaks(&mut self, event: i64, what: String) {
        self.found.broken = Some(Broken { event, what });
    }
}

/// Notes the key of a good signature; says what is wrong when it is not one that is believed.
fn known(keys: &mut Vec<Key>, against: &Against, mark: &Mark) -> Result<(), String> {
    if !against.keys.is_empty() && !against.keys.contains(&mark.key) {
        return Err(format!(
            "is signed with {}, which is not this device's key; if it was the key of the device before, name it with --key",
            mark.key
        ));
    }
    if !keys.contains(&mark.key) {
        keys.push(mark.key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(id: i64) -> Fields<'static> {
        Fields {
            id,
            wall_us: 1_700_000_000_000_000 + id,
            mono_ms: 5_000 + id,
            boot_id: "boot",
            kind: "grant",
            person: Some(3),
            person_name: Some("Ada"),
            actor: None,
            clock_trusted: Some(true),
            detail: "{}",
            door: None,
        }
    }

    const JOURNAL: Hash = Hash([7; 32]);

    #[test]
    fn the_form_of_a_record_is_the_one_described() {
        let mut bytes = Vec::new();
        let mut put = |code: u8, value: &[u8]| {
            bytes.push(code);
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(value);
        };
        put(1, &9i64.to_le_bytes());
        put(2, &1_700_000_000_000_009i64.to_le_bytes());
        put(3, &5_009i64.to_le_bytes());
        put(4, b"boot");
        put(5, b"grant");
        put(6, &3i64.to_le_bytes());
        put(7, b"Ada");
        put(9, &[1]);
        put(10, b"{}");
        let expected = blake3::derive_key("accessd journal record 1", &[&[7; 32][..], &bytes].concat());
        assert_eq!(fields(9).hash(JOURNAL), Hash(expected));
    }

    #[test]
    fn each_field_counts_and_none_runs_into_the_next() {
        let good = fields(1);
        let others = [
            Fields { id: 2, ..good },
            Fields { wall_us: 0, ..good },
            Fields { mono_ms: 0, ..good },
            Fields { boot_id: "boo", ..good },
            Fields { kind: "tgrant", boot_id: "boo", ..good },
            Fields { person: None, ..good },
            Fields { person: Some(4), ..good },
            Fields { person_name: None, ..good },
            Fields { actor: Some(""), ..good },
            Fields { actor: Some("Ada"), person_name: None, ..good },
            Fields { clock_trusted: None, ..good },
            Fields { clock_trusted: Some(false), ..good },
            Fields { detail: "{ }", ..good },
            Fields { door: Some("door"), ..good },
        ];
        for (i, other) in others.iter().enumerate() {
            assert_ne!(other.hash(JOURNAL), good.hash(JOURNAL), "{i}");
        }
        assert_ne!(good.hash(JOURNAL), good.hash(Hash([8; 32])));
    }

    #[test]
    fn heads_hashes_and_keys_survive_their_text() {
        let head = Head { id: 1024, hash: Hash([0xab; 32]) };
        assert_eq!(head.to_string().parse(), Ok(head));
        let in_a_log = format!("Nov 25 18:00:00 door accessd[7]: {head} (signed)");
        assert_eq!(in_a_log.parse(), Ok(head));
        for bad in ["", "accessd-head", "accessd-head x y", "accessd-head 7 abc"] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
        let key = Seal::from_device_secret(&[1; 32]).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert!("12".parse::<Key>().unwrap_err().to_string().contains("64 hexadecimal"));
        let json = serde_json::to_string(&head).unwrap();
        assert_eq!(serde_json::from_str::<Head>(&json).unwrap(), head);
    }

    #[test]
    fn a_seal_is_the_devices_and_tells_nothing_of_its_secret() {
        let (one, again, other) = (
            Seal::from_device_secret(&[1; 32]),
            Seal::from_device_secret(&[1; 32]),
            Seal::from_device_secret(&[2; 32]),
        );
        assert_eq!(one.public(), again.public());
        assert_ne!(one.public(), other.public());
        assert_eq!(format!("{one:?}"), format!("Seal({})", one.public()));
        let mark = one.sign(JOURNAL);
        assert!(mark.is_of(JOURNAL) && !mark.is_of(Hash([8; 32])));
        assert!(!Mark { key: other.public(), ..mark }.is_of(JOURNAL));
    }

    /// A chain of `n` records with a checkpoint after each fourth.
    fn walk<'a>(n: i64, against: &'a Against, seal: &Seal) -> Walk<'a> {
        let mut walk = Walk::new(JOURNAL, None, against);
        let mut before = JOURNAL;
        for id in 1..=n {
            let hash = fields(id).hash(before);
            walk.record(&fields(id), Some(hash));
            before = hash;
            if id % 4 == 0 {
                let checkpoint = Checkpoint {
                    first: id - 3,
                    head: Head { id, hash },
                    earliest_us: fields(id - 3).wall_us,
                    latest_us: fields(id).wall_us,
                    at_us: 0,
                };
                walk.checkpoint(&checkpoint, &checkpoint.sign(JOURNAL, seal));
            }
        }
        walk
    }

    #[test]
    fn a_whole_journal_is_whole_and_says_how_far_it_is_signed() {
        let seal = Seal::from_device_secret(&[1; 32]);
        let against = Against { keys: vec![seal.public()], ..Against::default() };
        let found = walk(10, &against, &seal).end(10);
        assert!(found.is_whole(), "{found:?}");
        assert_eq!((found.records, found.checkpoints, found.signed_to), (10, 2, Some(8)));
        assert_eq!(found.keys, [seal.public()]);
        assert_eq!(found.doubts.len(), 1, "only that the end may be missing: {:?}", found.doubts);
    }

    #[test]
    fn a_stranger_s_key_is_told_and_an_old_device_s_can_be_named() {
        let (seal, own) = (Seal::from_device_secret(&[1; 32]), Seal::from_device_secret(&[2; 32]).public());
        let against = Against { keys: vec![own], ..Against::default() };
        let broken = walk(10, &against, &seal).end(10).broken.unwrap();
        assert_eq!(broken.event, 4);
        assert!(broken.what.contains("not this device's key"), "{}", broken.what);
        let both = Against { keys: vec![own, seal.public()], ..Against::default() };
        assert!(walk(10, &both, &seal).end(10).is_whole());
        let any = Against::default();
        let found = walk(10, &any, &seal).end(10);
        assert!(found.is_whole() && found.doubts.iter().any(|doubt| doubt.contains("--key")));
    }

    #[test]
    fn a_missing_end_is_seen_by_the_count_or_by_a_head_kept_elsewhere() {
        let seal = Seal::from_device_secret(&[1; 32]);
        let nothing = Against::default();
        let by_count = walk(10, &nothing, &seal).end(12).broken.unwrap();
        assert_eq!((by_count.event, by_count.what.contains("newest 2 records, up to 12")), (11, true));
        let head = walk(10, &nothing, &seal).end(10).head.unwrap();
        let against = Against { heads: vec![head], ..Against::default() };
        let found = walk(10, &against, &seal).end(10);
        assert!(found.is_whole() && found.heads_found == 1 && found.doubts.len() == 1, "{found:?}");
        let cut = walk(9, &against, &seal).end(9).broken.unwrap();
        assert_eq!((cut.event, cut.what.contains("its end was cut off")), (10, true));
        let hashes = Against { hashes: vec![head.hash], ..Against::default() };
        assert!(walk(10, &hashes, &seal).end(10).is_whole());
        assert!(walk(9, &hashes, &seal).end(9).broken.unwrap().what.contains("no record has the hash"));
        let other = Against { heads: vec![Head { hash: JOURNAL, ..head }], ..Against::default() };
        assert!(walk(12, &other, &seal).end(12).broken.unwrap().what.contains("handed out"));
    }

    #[test]
    fn records_that_no_signature_covers_are_doubted() {
        let against = Against::default();
        let mut walk = Walk::new(JOURNAL, None, &against);
        let mut before = JOURNAL;
        for id in 1..=(CHECKPOINT_EVERY as i64 + 1) {
            before = fields(id).hash(before);
            walk.record(&fields(id), Some(before));
        }
        let found = walk.end(0);
        assert!(
            found.is_whole() && found.doubts[0].contains("newest 257 records are not signed"),
            "{found:?}"
        );
    }

    #[test]
    fn a_summary_of_pruned_records_carries_the_chain_on_and_cannot_be_forged() {
        let seal = Seal::from_device_secret(&[1; 32]);
        let hash = Hash([3; 32]);
        let pruned = Pruned {
            records: 8,
            head: Head { id: 8, hash },
            earliest: Timestamp::UNIX_EPOCH,
            latest: Timestamp::UNIX_EPOCH,
            kinds: [("grant".to_owned(), 8)].into(),
        };
        let mark = pruned.sign(JOURNAL, &seal);
        let against = Against::default();
        let go = |pruned: &Pruned, mark: Mark, journal: Hash| {
            let mut walk = Walk::new(journal, Some((pruned.clone(), mark)), &against);
            walk.record(&fields(9), Some(fields(9).hash(pruned.head.hash)));
            walk.end(9)
        };
        let found = go(&pruned, mark, JOURNAL);
        assert!(found.is_whole(), "{found:?}");
        assert_eq!((found.first, found.records), (Some(9), 1));
        for forged in [
            Pruned { kinds: [("refusal".to_owned(), 8)].into(), ..pruned.clone() },
            Pruned { head: Head { id: 8, hash: Hash([4; 32]) }, ..pruned.clone() },
            Pruned { records: 7, ..pruned.clone() },
        ] {
            assert!(go(&forged, mark, JOURNAL).broken.unwrap().what.contains("forged"));
        }
        assert!(!go(&pruned, mark, Hash([9; 32])).is_whole(), "of another journal");
    }
}
