//! Secrets and what is sealed with them: XChaCha20-Poly1305 with random nonces, keys that are wiped when dropped.
//!
//! Three kinds of keys. The [`DeviceKey`] belongs to the machine and stands outside the folder of its data. A person's
//! key seals what is kept of one face, and is itself kept wrapped by the device key: whoever destroys the wrapped key
//! has destroyed everything under it, wherever copies of that are. Further secrets are derived from the device key by
//! purpose ([`DeviceKey::derive`]).
//!
//! Everything sealed is bound to its place: the same bytes in another row, of another person or model, do not open.

mod code;
mod device;

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, Zeroizing};

pub use code::{NoCode, RecoveryCode};
pub use device::{DeviceKey, KeyError, Keys};

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// The first byte of everything sealed: how the rest is to be read.
const VERSION: u8 = 1;

/// So many bytes longer than what is in it is a sealed thing: version, nonce, tag.
pub const OVERHEAD: usize = 1 + NONCE_BYTES + TAG_BYTES;

/// Something sealed does not open: another key, another place, or damage. Which of them cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("does not open: it is damaged, from another place, or sealed with another key")]
pub struct DoesNotOpen;

/// 32 secret bytes, wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8; KEY_BYTES]>);

impl Secret {
    /// A new one from the kernel's randomness.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut secret = Self(Box::new([0; KEY_BYTES]));
        getrandom::fill(&mut *secret.0).map_err(KeyError::Random)?;
        Ok(secret)
    }

    /// Takes over what is exactly as long as a key.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self(Box::new([0; KEY_BYTES]));
        (bytes.len() == KEY_BYTES).then(|| {
            secret.0.copy_from_slice(bytes);
            secret
        })
    }

    /// The bytes. Whoever copies them wipes the copy.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// A secret of its own for `purpose`, from which this one cannot be found (BLAKE3's key derivation). A purpose is
    /// written once in the program and never used for two things.
    pub fn derive(&self, purpose: &str) -> Self {
        let mut derived = blake3::derive_key(purpose, &*self.0);
        let secret = Self(Box::new(derived));
        derived.zeroize();
        secret
    }

    /// Tells this secret from others without telling it.
    pub fn id(&self) -> KeyId {
        let hash = blake3::derive_key("accessd 2026-11 id of a key", &*self.0);
        KeyId(hash[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Seals `plain` for the place that `place` names: opening takes the same key and place.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn seal(&self, place: &Place, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut sealed = vec![VERSION; 1 + NONCE_BYTES];
        getrandom::fill(&mut sealed[1..]).map_err(KeyError::Random)?;
        let nonce = XNonce::try_from(&sealed[1..]).expect("the nonce has its length");
        let body = self.cipher().encrypt(&nonce, Payload { msg: plain, aad: &place.0 });
        sealed.extend(body.expect("what is sealed here is far below the cipher's bound of 256 GiB"));
        Ok(sealed)
    }

    /// Opens what [`Secret::seal`] made.
    ///
    /// # Errors
    /// [`DoesNotOpen`].
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (version, rest) = sealed.split_first().ok_or(DoesNotOpen)?;
        if *version != VERSION || rest.len() < NONCE_BYTES + TAG_BYTES {
            return Err(DoesNotOpen);
        }
        let (nonce, body) = rest.split_at(NONCE_BYTES);
        let nonce = XNonce::try_from(nonce).expect("the nonce has its length");
        let plain = self.cipher().decrypt(&nonce, Payload { msg: body, aad: &place.0 });
        plain.map(Zeroizing::new).map_err(|_| DoesNotOpen)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.id())
    }
}

/// Tells a key from others: 32 hexadecimal digits from which the key cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where something sealed belongs: a word for its kind and what else makes it this one. Each part is written with its
/// length, so that no two places read alike.
#[derive(Clone, Debug)]
pub struct Place(Vec<u8>);

impl Place {
    /// A place of this kind.
    pub fn new(kind: &str) -> Self {
        Self(Vec::new()).text(kind)
    }

    /// … of this number.
    #[must_use]
    pub fn number(self, n: i64) -> Self {
        self.part(&n.to_le_bytes())
    }

    /// … of this name.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.part(text.as_bytes())
    }

    fn part(mut self, bytes: &[u8]) -> Self {
        self.0.extend((bytes.len() as u64).to_le_bytes());
        self.0.extend(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Secret {
        Secret::from_slice(&[n; KEY_BYTES]).unwrap()
    }

    fn place() -> Place {
        Place::new("template").number(7).number(3).text("sface@1")
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_at_the_same_place_alone() {
        let sealed = key(1).seal(&place(), b"a face").unwrap();
        assert_eq!(sealed.len(), b"a face".len() + OVERHEAD);
        assert_eq!(*key(1).open(&place(), &sealed).unwrap(), b"a face");
        assert_eq!(key(2).open(&place(), &sealed), Err(DoesNotOpen));
        for elsewhere in [
            Place::new("template").number(8).number(3).text("sface@1"),
            Place::new("template").number(7).number(4).text("sface@1"),
            Place::new("template").number(7).number(3).text("sface@2"),
            Place::new("picture").number(7).number(3).text("sface@1"),
            Place::new("template").number(7).number(3),
        ] {
            assert_eq!(key(1).open(&elsewhere, &sealed), Err(DoesNotOpen));
        }
    }

    #[test]
    fn any_changed_or_missing_byte_is_noticed() {
        let sealed = key(1).seal(&place(), b"a face").unwrap();
        for at in 0..sealed.len() {
            let mut spoilt = sealed.clone();
            spoilt[at] ^= 1;
            assert_eq!(key(1).open(&place(), &spoilt), Err(DoesNotOpen), "byte {at}");
            assert_eq!(key(1).open(&place(), &sealed[..at]), Err(DoesNotOpen), "cut at {at}");
        }
    }

    #[test]
    fn the_same_thing_is_never_sealed_alike() {
        assert_ne!(key(1).seal(&place(), b"a face").unwrap(), key(1).seal(&place(), b"a face").unwrap());
        assert_ne!(Secret::generate().unwrap(), Secret::generate().unwrap());
    }

    #[test]
    fn parts_of_a_place_do_not_run_into_each_other() {
        assert_ne!(Place::new("a").text("bc").0, Place::new("ab").text("c").0);
    }

    #[test]
    fn purposes_and_keys_give_secrets_of_their_own() {
        assert_eq!(*key(1).derive("x").bytes(), blake3::derive_key("x", &[1; 32]));
        assert_ne!(key(1).derive("x"), key(1).derive("y"));
        assert_ne!(key(1).derive("x"), key(2).derive("x"));
        assert_eq!(key(1).id(), key(1).id());
        assert_ne!(key(1).id(), key(2).id());
    }

    #[test]
    fn a_secret_is_not_printed() {
        let shown = format!("{:?}", key(0xab));
        assert!(!shown.contains("abab") && shown.starts_with("Secret("), "{shown}");
        assert_eq!(Secret::from_slice(&[1; 31]), None);
    }
}
