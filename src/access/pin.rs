//! PURE. PINs: what one must be, how it is kept, and the proof that the right one was typed.
//!
//! Stands beside the looks: a [`PinProof`] is to a PIN what a track that names somebody is to a face. Only [`check`] makes one.
//!
//! **Neither the hash nor the time it takes tells a duress PIN from the usual one.** Both of a person's PINs are hashed with
//! one salt, so what is typed is hashed once, whoever's it is, and compared with both without branching. Somebody who has no
//! PIN, or a number that is nobody's, costs the same work.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::Grant;
use crate::clock::MonoTime;
use crate::gallery::PersonId;

/// Fewest digits of any PIN, however few people there are.
pub const FEWEST_DIGITS: usize = 4;
/// Most digits: more is not remembered but written down.
pub const MOST_DIGITS: usize = 12;
/// IEC 60839-11-1: so many PINs must be possible for each user.
const SPACE_PER_USER: u128 = 1000;

/// Digits as somebody typed them. Wiped from memory when dropped; never shown, also not by `{:?}`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(Zeroizing<String>);

/// What cannot be a PIN. Does not repeat what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Too few, too many, or no digits.
    #[error("a PIN is 4 to 12 digits and nothing else")]
    NotDigits,
    /// One that is tried first.
    #[error("this PIN is one of those that are tried first: {0}; take another")]
    Easy(&'static str),
    /// Too few digits for so many people.
    #[error("a PIN must have at least {needed} digits here: {why}")]
    TooShort {
        /// How many it must have.
        needed: usize,
        /// The rule that asks for them.
        why: &'static str,
    },
}

impl Pin {
    /// Takes digits.
    ///
    /// # Errors
    /// [`PinError::NotDigits`].
    pub fn new(text: &str) -> Result<Self, PinError> {
        let fits = (FEWEST_DIGITS..=MOST_DIGITS).contains(&text.len());
        if !fits || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PinError::NotDigits);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// How many digits it has.
    pub fn digits(&self) -> usize {
        self.0.len()
    }

    /// Whether it may be given to somebody where `people` are enrolled and no PIN may be shorter than `floor`.
    ///
    /// # Errors
    /// [`PinError::TooShort`] and [`PinError::Easy`].
    pub fn may_be_given(&self, people: usize, floor: usize) -> Result<(), PinError> {
        let by_people = digits_needed(people);
        let needed = by_people.max(floor);
        if self.digits() < needed {
            let why = if by_people > floor {
                "a thousand times as many PINs as people must be possible"
            } else {
                "pin.min_digits"
            };
            return Err(PinError::TooShort { needed, why });
        }
        let bytes = self.0.as_bytes();
        let all = |step: u8| bytes.windows(2).all(|pair| (pair[0] - b'0' + step) % 10 == pair[1] - b'0');
        let halves = bytes.len().is_multiple_of(2) && bytes.chunks(2).all(|pair| pair == &bytes[..2]);
        match () {
            () if all(0) => Err(PinError::Easy("one digit over and over")),
            () if all(1) || all(9) => Err(PinError::Easy("digits in a row")),
            () if halves => Err(PinError::Easy("two digits over and over")),
            () => Ok(()),
        }
    }

    /// As it is kept. Takes some 20 ms and 19 MiB at [`Cost::DOOR`]; a salt is 16 random bytes.
    pub fn hash(&self, salt: &Salt, cost: Cost) -> Hash {
        let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32)).unwrap_or_default();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut hash = [0; 32];
        // A password of 12 bytes and a salt of 16 are within all bounds; what it says otherwise matches nothing.
        if argon2.hash_password_into(self.0.as_bytes(), salt, &mut hash).is_err() {
            hash = [0; 32];
        }
        hash
    }
}

impl TryFrom<String> for Pin {
    type Error = PinError;
    fn try_from(text: String) -> Result<Self, PinError> {
        Self::new(&Zeroizing::new(text))
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        pin.0.as_str().to_owned()
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

impl PartialEq for Pin {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

/// Digits that a PIN must have for so many people: the space of PINs is at least a thousand times their number.
pub fn digits_needed(people: usize) -> usize {
    let wanted = SPACE_PER_USER * people as u128;
    (FEWEST_DIGITS..MOST_DIGITS).find(|digits| 10_u128.pow(*digits as u32) >= wanted).unwrap_or(MOST_DIGITS)
}

/// 16 random bytes.
pub type Salt = [u8; 16];
/// What argon2id makes of a PIN.
pub type Hash = [u8; 32];

/// What one hash costs whoever tries them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB, 8 at least.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// What a small board bears while somebody waits at the door: the least that OWASP's list of argon2id settings has.
    pub const DOOR: Self = Self { memory_kib: 19_456, passes: 2 };
}

/// A person's PIN as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPin {
    /// Of this person, for both PINs.
    pub salt: Salt,
    /// What the hashes cost.
    pub cost: Cost,
    /// Of the PIN.
    pub hash: Hash,
    /// Of the PIN to be typed under duress, when there is one.
    pub duress: Option<Hash>,
    /// Digits of either.
    pub digits: usize,
    /// Wrong PINs typed for this person since the last right one.
    pub failures: u32,
}

impl fmt::Debug for StoredPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredPin").field("digits", &self.digits).finish_non_exhaustive()
    }
}

/// Proof that somebody typed the right PIN of this person. Only [`check`] makes one:
///
/// ```compile_fail,E0451
/// use accessd::access::PinProof;
/// use accessd::clock::MonoTime;
/// use accessd::gallery::PersonId;
///
/// fn forge() -> PinProof {
///     PinProof { person: PersonId(1), under_duress: false, typed: MonoTime::from_millis(0) }
/// }
/// ```
#[derive(Debug, PartialEq)]
#[must_use = "a proof that is dropped opens nothing"]
pub struct PinProof {
    person: PersonId,
    under_duress: bool,
    typed: MonoTime,
}

impl PinProof {
    /// Whose PIN it was.
    pub fn person(&self) -> PersonId {
        self.person
    }

    /// Whether it was the one that calls for help.
    pub fn under_duress(&self) -> bool {
        self.under_duress
    }

    /// When it was typed.
    pub fn typed(&self) -> MonoTime {
        self.typed
    }

    /// A grant that rests on the PIN alone; decided when it was typed, so that it is late where checking it took too long.
    pub fn grant(&self, name: String) -> Grant {
        Grant { person: self.person, name, evidence: None, decided: self.typed }
    }

    /// A proof for the tests of the rooms after this one.
    #[cfg(test)]
    pub(crate) fn for_tests(person: i64, under_duress: bool, typed: MonoTime) -> Self {
        Self { person: PersonId(person), under_duress, typed }
    }
}

/// Whose PIN is to be held against what was typed.
#[derive(Clone, Debug)]
pub struct Against {
    /// The person; `None` for a number that is nobody's.
    pub person: Option<PersonId>,
    /// Their PIN; `None` when they have none.
    pub stored: Option<StoredPin>,
}

/// Holds what was typed against a person's PINs. The same work in the same time whether it is right, wrong, typed under
/// duress, or there is nothing to hold it against.
pub fn check(pin: &Pin, against: &Against, typed: MonoTime) -> Option<PinProof> {
    let nobody =
        StoredPin { salt: [0; 16], cost: Cost::DOOR, hash: [0; 32], duress: None, digits: 0, failures: 0 };
    let stored = against.stored.as_ref().unwrap_or(&nobody);
    let hash = pin.hash(&stored.salt, stored.cost);
    let there = Choice::from(u8::from(against.stored.is_some() && against.person.is_some()));
    let usual = hash.ct_eq(&stored.hash) & there;
    // Where there is no second PIN the comparison is with what cannot match.
    let other = stored.duress.unwrap_or(stored.hash.map(|byte| !byte));
    let under_duress = hash.ct_eq(&other) & there & !usual;
    let person = against.person.unwrap_or(PersonId(0));
    let proof = PinProof { person, under_duress: under_duress.into(), typed };
    bool::from(usual | under_duress).then_some(proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cheap, for tests that hash often.
    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };
    const SALT: Salt = *b"sixteen bytes ok";

    fn pin(digits: &str) -> Pin {
        Pin::new(digits).unwrap()
    }

    fn stored(usual: &str, duress: Option<&str>) -> StoredPin {
        StoredPin {
            salt: SALT,
            cost: CHEAP,
            hash: pin(usual).hash(&SALT, CHEAP),
            duress: duress.map(|digits| pin(digits).hash(&SALT, CHEAP)),
            digits: usual.len(),
            failures: 0,
        }
    }

    fn typed(digits: &str, stored: Option<StoredPin>) -> Option<PinProof> {
        check(&pin(digits), &Against { person: Some(PersonId(7)), stored }, MonoTime::from_millis(5))
    }

    #[test]
    fn the_right_pin_proves_its_person_and_the_other_one_calls_for_help() {
        let ada = || Some(stored("483920", Some("593811")));
        let proof =
            |under_duress| PinProof { person: PersonId(7), under_duress, typed: MonoTime::from_millis(5) };
        assert_eq!(typed("483920", ada()), Some(proof(false)));
        assert_eq!(typed("593811", ada()), Some(proof(true)));
        for wrong in ["483921", "4839200", "48392", "593812", "0000"] {
            assert_eq!(typed(wrong, ada()), None, "{wrong}");
        }
        assert_eq!(typed("483920", Some(stored("483920", None))), Some(proof(false)));
        assert_eq!(typed("593811", Some(stored("483920", None))), None);
    }

    #[test]
    fn nobody_and_nothing_prove_nothing() {
        assert_eq!(typed("483920", None), None);
        let nobody = Against { person: None, stored: Some(stored("483920", None)) };
        assert_eq!(check(&pin("483920"), &nobody, MonoTime::default()), None);
    }

    #[test]
    fn a_hash_is_argon2ids_of_the_reference_implementation() {
        // python3 -c 'from argon2.low_level import *; print(hash_secret_raw(b"483920", b"sixteen bytes ok", 1, 8, 1, 32, Type.ID).hex())'
        let hash = pin("483920").hash(&SALT, CHEAP);
        assert_eq!(hex(&hash), REFERENCE);
        assert_ne!(hash, pin("483920").hash(b"sixteen bytes OK", CHEAP), "the salt counts");
    }

    const REFERENCE: &str = "12a443911cd0baf11269f3941105421b90f608e76753f965cceb1298e138c732";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_thousand_times_as_many_pins_as_people_are_possible() {
        for (people, digits) in [
            (0, 4),
            (1, 4),
            (10, 4),
            (11, 5),
            (100, 5),
            (101, 6),
            (1000, 6),
            (1001, 7),
            (10_000, 7),
            (10_001, 8),
        ] {
            assert_eq!(digits_needed(people), digits, "{people} people");
            assert!(10_u128.pow(digits as u32) >= 1000 * people as u128);
        }
        assert_eq!(digits_needed(usize::MAX), MOST_DIGITS);
    }

    #[test]
    fn what_may_be_given_is_long_enough_and_not_tried_first() {
        assert_eq!(pin("4839").may_be_given(10, 4), Ok(()));
        let told = |text: &str, people, floor| pin(text).may_be_given(people, floor).unwrap_err().to_string();
        assert!(
            told("4839", 11, 4).contains("at least 5 digits here: a thousand times as many PINs as people")
        );
        assert!(told("4839", 1, 6).contains("at least 6 digits here: pin.min_digits"));
        for easy in ["000000", "777777", "123456", "890123", "987654", "210987", "121212", "474747"] {
            assert!(told(easy, 1, 6).contains("tried first"), "{easy}");
        }
        for fine in ["483920", "112233", "121213", "246801"] {
            assert_eq!(pin(fine).may_be_given(1, 6), Ok(()), "{fine}");
        }
        for none in ["", "123", "1234567890123", "12 34", "１２３４", "-1234", "12a4"] {
            assert_eq!(Pin::new(none), Err(PinError::NotDigits), "{none}");
        }
    }

    #[test]
    fn a_pin_is_never_shown() {
        assert_eq!(format!("{:?}", pin("483920")), "Pin(…)");
        assert!(!format!("{:?}", stored("483920", None)).contains("hash"));
        let wrong = serde_json::from_str::<Pin>("\"48392x\"").unwrap_err().to_string();
        assert!(!wrong.contains("48392"), "{wrong}");
        assert_eq!(
            serde_json::to_string(&pin("483920")).unwrap(),
            "\"483920\"",
            "to the service it goes whole"
        );
    }
}
