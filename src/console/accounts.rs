//! The accounts of the console: a TOML file of its own with names, roles and argon2id hashes, readable by the console's
//! user alone. The command line writes it on the device; the page only reads it, again whenever it has changed.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::SystemTime;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

/// Shortest password, in characters (NIST SP 800-63B: 8 at least; a door asks for more).
pub const MIN_PASSWORD: usize = 10;

/// Longest, in bytes: what a hash is made of must have a bound.
pub const MAX_PASSWORD: usize = 256;

/// Memory and passes of argon2id, of the sets that OWASP holds equal the one for a small machine: 12 MiB, three passes.
const MEMORY_KIB: u32 = 12 * 1024;
const PASSES: u32 = 3;

/// What an account may do; each role may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything, change nothing.
    Viewer,
    /// Move the door, lock it down, enrol and look after people.
    Operator,
    /// Say who may enter when, and erase people.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// The name of an account, as the journal may bear it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

impl AccountName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = AccountError;
    fn from_str(text: &str) -> Result<Self, AccountError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        match (1..=32).contains(&text.len()) && text.chars().all(fits) {
            true => Ok(Self(text.to_owned())),
            false => Err(AccountError::BadName { name: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for AccountName {
    type Error = AccountError;
    fn try_from(text: String) -> Result<Self, AccountError> {
        text.parse()
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

/// One account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its name.
    pub name: AccountName,
    /// What it may do.
    pub role: Role,
    /// The password's hash in PHC format.
    pub password: String,
}

/// Why accounts cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A name that cannot be.
    #[error("{name:?} cannot be an account: 1 to 32 of a-z, 0-9, `.`, `-` and `_`")]
    BadName {
        /// The name.
        name: String,
    },
    /// It is there already.
    #[error(
        "there is an account {name} already; `accessd console set-password {name}` gives it another password"
    )]
    Taken {
        /// The name.
        name: String,
    },
    /// It is not there.
    #[error("there is no account {name}; `accessd console users` lists them")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A password that cannot be.
    #[error("a password has {MIN_PASSWORD} characters or more and {MAX_PASSWORD} bytes at most")]
    BadPassword,
    /// Hashing failed.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    /// The file cannot be read or written.
    #[error("accounts {}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What failed and what to try.
        what: String,
        /// What the system said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, rename = "account")]
    accounts: Vec<Account>,
}

/// All accounts, as the file had them.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    all: Vec<Account>,
    read: Option<FileState>,
}

/// Tells one state of the file from another.
type FileState = (u64, SystemTime, u64);

impl Accounts {
    /// Reads the file; one that is not there has no accounts.
    ///
    /// # Errors
    /// When it cannot be read, or others may read it.
    pub fn load(path: &Path) -> Result<Self, AccountError> {
        let failed = |what: &str, source: Box<dyn std::error::Error + Send + Sync>| AccountError::File {
            path: path.to_owned(),
            what: what.to_owned(),
            source: Some(source),
        };
        let data = match fs::metadata(path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed("it cannot be looked at", error.into())),
        };
        if data.permissions().mode() & 0o077 != 0 {
            let what = "others may read it; chmod 600 it, and give every account another password".to_owned();
            return Err(AccountError::File { path: path.to_owned(), what, source: None });
        }
        let text = fs::read_to_string(path).map_err(|e| failed("it cannot be read", e.into()))?;
        let written: Written = toml::from_str(&text).map_err(|e| failed("it is damaged", e.into()))?;
        Ok(Self { all: written.accounts, read: Some(version(&data)) })
    }

    /// Whether the file is another by now.
    pub fn is_outdated(&self, path: &Path) -> bool {
        fs::metadata(path).ok().map(|data| version(&data)) != self.read
    }

    /// All of them, by name.
    pub fn all(&self) -> &[Account] {
        &self.all
    }

    /// One of them.
    pub fn find(&self, name: &str) -> Option<&Account> {
        self.all.iter().find(|account| account.name.as_str() == name)
    }

    /// Adds one.
    ///
    /// # Errors
    /// When there is one of this name, or the password cannot be.
    pub fn add(&mut self, name: AccountName, role: Role, password: &str) -> Result<(), AccountError> {
        if self.find(name.as_str()).is_some() {
            return Err(AccountError::Taken { name: name.0 });
        }
        self.all.push(Account { name, role, password: hash(password)? });
        self.all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// Changes password, role or both.
    ///
    /// # Errors
    /// When there is no such account, or the password cannot be.
    pub fn change(
        &mut self,
        name: &str,
        role: Option<Role>,
        password: Option<&str>,
    ) -> Result<(), AccountError> {
        let unknown = || AccountError::Unknown { name: name.to_owned() };
        let account = self.all.iter_mut().find(|a| a.name.as_str() == name).ok_or_else(unknown)?;
        if let Some(password) = password {
            account.password = hash(password)?;
        }
        account.role = role.unwrap_or(account.role);
        Ok(())
    }

    /// Removes one.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn remove(&mut self, name: &str) -> Result<(), AccountError> {
        let before = self.all.len();
        self.all.retain(|account| account.name.as_str() != name);
        if self.all.len() == before { Err(AccountError::Unknown { name: name.to_owned() }) } else { Ok(()) }
    }

    /// Writes the file anew: whole or not at all, readable by the owner of its folder alone.
    ///
    /// # Errors
    /// When it cannot be written; the old one is still there then.
    pub fn save(&self, path: &Path) -> Result<(), AccountError> {
        let part = path.with_extension("new");
        let failed = |source: io::Error| AccountError::File {
            path: path.to_owned(),
            what: "it cannot be written; write as root or as the console's user (accessd-console)".to_owned(),
            source: Some(source.into()),
        };
        let written = Written { accounts: self.all.clone() };
        let text = toml::to_string(&written).expect("accounts are plain data");
        self.replace(path, &part, &text).map_err(failed)
    }

    fn replace(&self, path: &Path, part: &Path, text: &str) -> io::Result<()> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // What an interrupted run left behind.
        let _ = fs::remove_file(part);
        let mut file = File::options().write(true).create_new(true).open(part)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let owner = fs::metadata(folder)?;
        if rustix::process::getuid().is_root() {
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(part, path)?;
        File::open(folder)?.sync_all()
    }
}

fn version(data: &fs::Metadata) -> FileState {
    (data.ino(), data.modified().unwrap_or(SystemTime::UNIX_EPOCH), data.len())
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("these are in argon2's range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The hash of a password that may be one.
fn hash(password: &str) -> Result<String, AccountError> {
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        return Err(AccountError::BadPassword);
    }
    let hash: Result<PasswordHash, _> = hasher().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| AccountError::Hash(error.to_string()))
}

/// Whether the password is that of the account. Without an account it takes as long, and the answer is no.
pub fn is_right(account: Option<&Account>, password: &str) -> bool {
    /// Of no account: nobody knows a password for it.
    const NOBODY: &str =
        "$argon2id$v=19$m=12288,t=3,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    if password.len() > MAX_PASSWORD {
        return false;
    }
    let stored = account.map_or(NOBODY, |account| account.password.as_str());
    let Ok(stored) = PasswordHash::new(stored) else { return false };
    let fits = hasher().verify_password(password.as_bytes(), &stored).is_ok();
    fits && account.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AccountName {
        text.parse().unwrap()
    }

    #[test]
    fn accounts_are_kept_and_their_passwords_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("accounts.toml");
        let mut accounts = Accounts::load(&file).unwrap();
        assert!(accounts.all().is_empty());
        accounts.add(name("bob"), Role::Viewer, "correct horse battery").unwrap();
        accounts.add(name("ada"), Role::Admin, "an engine that weaves").unwrap();
        accounts.save(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("$argon2id$") && !text.contains("horse"), "{text}");

        let again = Accounts::load(&file).unwrap();
        assert_eq!(again.all(), accounts.all());
        assert!(!again.is_outdated(&file));
        assert!(is_right(again.find("ada"), "an engine that weaves"));
        assert!(!is_right(again.find("ada"), "correct horse battery"));
        assert!(!is_right(again.find("eve"), "an engine that weaves"));
        assert!(!is_right(again.find("ada"), &"x".repeat(MAX_PASSWORD + 1)));

        accounts.change("bob", Some(Role::Operator), Some("another password")).unwrap();
        accounts.save(&file).unwrap();
        assert!(again.is_outdated(&file));
        let again = Accounts::load(&file).unwrap();
        assert_eq!(again.find("bob").unwrap().role, Role::Operator);
        assert!(is_right(again.find("bob"), "another password"));
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        let mut accounts = Accounts::default();
        accounts.add(name("ada"), Role::Admin, "an engine that weaves").unwrap();
        let taken = accounts.add(name("ada"), Role::Viewer, "something else").unwrap_err().to_string();
        assert!(taken.contains("set-password ada"), "{taken}");
        assert!(matches!(accounts.add(name("bob"), Role::Viewer, "short"), Err(AccountError::BadPassword)));
        assert!(matches!(accounts.remove("bob"), Err(AccountError::Unknown { .. })));
        assert!(matches!(accounts.change("bob", None, None), Err(AccountError::Unknown { .. })));
        for bad in ["", "Ada", "a b", "x\ny", "uid 0"] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_damaged_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("accounts.toml");
        Accounts::default().save(&file).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert!(Accounts::load(&file).unwrap_err().to_string().contains("others may read it"));
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "[[account]]\nname = \"Not A Name\"").unwrap();
        assert!(Accounts::load(&file).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn each_role_may_what_those_before_it_may() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }
}
