//! The recovery code: what a person keeps on paper, so that a new device can open the backups of a lost one.

use zeroize::{Zeroize, Zeroizing};

use super::{KeyError, Secret};

/// Crockford's base 32 (<https://www.crockford.com/base32.html>): no letter looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters: 125 bits, which nobody tries out.
const LENGTH: usize = 25;
const GROUP: usize = 5;

/// A recovery code, as it is written down: `7KQ2M-…`, five groups of five. Wiped when dropped and never printed by itself.
pub struct RecoveryCode(Zeroizing<String>);

/// A text that is no recovery code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a recovery code has 25 letters and digits in five groups, as it was printed; capitals and dashes do not count"
)]
pub struct NoCode;

impl RecoveryCode {
    /// A new one.
    ///
    /// # Errors
    /// When the kernel gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut random = [0u8; LENGTH];
        getrandom::fill(&mut random).map_err(KeyError::Random)?;
        // 32 divides 256: each character is as likely.
        let code = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        random.zeroize();
        Ok(Self(Zeroizing::new(code)))
    }

    /// Reads what somebody typed.
    ///
    /// # Errors
    /// [`NoCode`].
    pub fn read(typed: &str) -> Result<Self, NoCode> {
        let signs =
            typed.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                c => c,
            });
        let code = Zeroizing::new(signs.collect::<String>());
        let known = code.bytes().all(|c| ALPHABET.contains(&c));
        if code.len() == LENGTH && known { Ok(Self(code)) } else { Err(NoCode) }
    }

    /// As it is written down.
    pub fn in_groups(&self) -> String {
        let groups: Vec<&str> = (0..LENGTH / GROUP).map(|i| &self.0[GROUP * i..][..GROUP]).collect();
        groups.join("-")
    }

    /// The secret it stands for.
    pub fn secret(&self) -> Secret {
        let mut bytes = blake3::derive_key("accessd 2026-11 recovery code", self.0.as_bytes());
        let secret = Secret::from_slice(&bytes).expect("a derived key has its length");
        bytes.zeroize();
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = RecoveryCode::generate().unwrap();
        let shown = code.in_groups();
        assert_eq!((shown.len(), shown.matches('-').count()), (29, 4));
        let sloppy = shown.to_lowercase().replace('-', " ").replace('1', "l").replace('0', "o");
        assert_eq!(RecoveryCode::read(&sloppy).unwrap().secret(), code.secret());
        assert_ne!(RecoveryCode::generate().unwrap().secret(), code.secret());
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for typed in [
            "",
            "00000-00000-00000-00000-0000",
            "00000-00000-00000-00000-000000",
            "U0000-00000-00000-00000-00000",
        ] {
            assert_eq!(RecoveryCode::read(typed).err(), Some(NoCode), "{typed}");
        }
    }
}
