//! The device key: where it comes from, and that nobody else can read it.
//!
//! It is a credential of systemd, which a TPM can bind to this machine, or a file of 32 bytes with mode 0600 in a folder
//! of its own. It never stands in the folder of the data: a copy of that folder alone opens nothing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{KEY_BYTES, KeyId, Secret};

/// The credential's name: `LoadCredentialEncrypted=device.key:…`.
const CREDENTIAL: &str = "device.key";

/// The machine's own key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey(Secret);

/// Why there is no key to work with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The kernel gave no randomness.
    #[error("the kernel gives no random numbers for a key; see its log (dmesg)")]
    Random(#[source] getrandom::Error),
    /// There is no key.
    #[error(
        "there is no device key at {}: without it no template can be read. Bring the file back; where the key is a credential of \
         systemd only the service has it",
        path.display()
    )]
    Missing {
        /// Where it was sought.
        path: PathBuf,
    },
    /// It cannot be read or made.
    #[error("the device key {} cannot be {doing}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `created`.
        doing: &'static str,
        /// What is wrong and what to try.
        what: String,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
}

/// Where the device key is.
#[derive(Clone, Debug)]
pub enum Keys {
    /// In files.
    At {
        /// The credential that systemd passed to this process; it goes before the file.
        credential: Option<PathBuf>,
        /// The key's file, `paths.device_key`.
        file: PathBuf,
    },
    /// Already in hand.
    Held(DeviceKey),
}

impl Keys {
    /// The credential in `credentials` (`$CREDENTIALS_DIRECTORY`) when it is there, else the file.
    pub fn new(file: &Path, credentials: Option<&Path>) -> Self {
        let credential = credentials.map(|folder| folder.join(CREDENTIAL)).filter(|path| path.exists());
        Self::At { credential, file: file.to_owned() }
    }

    /// Reads the key.
    ///
    /// # Errors
    /// [`KeyError::Missing`], or why it cannot be read or must not be trusted.
    pub fn load(&self) -> Result<DeviceKey, KeyError> {
        match self {
            Self::Held(key) => Ok(key.clone()),
            Self::At { credential: Some(path), .. } => read(path, false),
            Self::At { credential: None, file } => read(file, true),
        }
    }

    /// Reads the key, or makes one where there is none yet. Only for data that no key has sealed: another key opens
    /// nothing.
    ///
    /// # Errors
    /// As for [`Keys::load`], and when it cannot be made.
    pub fn load_or_create(&self) -> Result<DeviceKey, KeyError> {
        match (self.load(), self) {
            (Err(KeyError::Missing { .. }), Self::At { credential: None, file }) => create(file),
            (loaded, _) => loaded,
        }
    }
}

#[cfg(test)]
impl Keys {
    /// The same in every test.
    pub(crate) fn of_a_test() -> Self {
        Self::Held(DeviceKey(Secret::from_slice(&[3; KEY_BYTES]).expect("its length is right")))
    }
}

impl DeviceKey {
    /// The key with these bytes.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// Tells it from other devices' keys.
    pub fn id(&self) -> KeyId {
        self.0.id()
    }

    /// A secret for one purpose. The key itself seals nothing.
    pub fn derive(&self, purpose: &str) -> Secret {
        self.0.derive(purpose)
    }
}

/// `guarded`: the mode must keep others out. systemd guards a credential by an access list, which shows as a mode that
/// looks open.
fn read(path: &Path, guarded: bool) -> Result<DeviceKey, KeyError> {
    let wrong = |what: String, source| KeyError::File { path: path.to_owned(), doing: "read", what, source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(KeyError::Missing { path: path.to_owned() });
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let what = "permission denied; use the service's user (sudo -u accessd) or root".to_owned();
            return Err(wrong(what, Some(error)));
        }
        Err(error) => return Err(wrong("see the path and the disk".to_owned(), Some(error))),
    };
    let found = file.metadata().map_err(|error| wrong("see the disk".to_owned(), Some(error)))?;
    if guarded && let Some(what) = exposed(path, &found) {
        return Err(wrong(what, None));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
    let read = (&file).take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong("see the disk".to_owned(), Some(error)))?;
    let secret = Secret::from_slice(&bytes).ok_or_else(|| {
        let what = format!("a key has {KEY_BYTES} bytes, it has {}; bring back the right file", found.len());
        wrong(what, None)
    })?;
    Ok(DeviceKey(secret))
}

/// What is wrong with a key file's kind, mode or owner.
fn exposed(path: &Path, found: &fs::Metadata) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    if !found.is_file() {
        return Some("it is not a regular file".to_owned());
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        return Some(format!("others may read it (mode {mode:o}): chmod 600 {}", path.display()));
    }
    // Root reads everybody's; anybody else only trusts what nobody but root could have put there.
    if own != 0 && found.uid() != own && found.uid() != 0 {
        return Some(format!("it belongs to uid {}, this process is uid {own}", found.uid()));
    }
    None
}

/// Makes a key that is on disk, whole, before anything is sealed with it. When two make one at the same time the first
/// wins and both use it.
fn create(path: &Path) -> Result<DeviceKey, KeyError> {
    let wrong = |source: io::Error| {
        let what = "its folder must be there and writable for this user; create it with mode 0700, or set \
                    paths.device_key"
            .to_owned();
        KeyError::File { path: path.to_owned(), doing: "created", what, source: Some(source) }
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        DirBuilder::new().mode(0o700).create(folder).map_err(wrong)?;
    }
    let secret = Secret::generate()?;
    let part = folder.join(format!(".device.key.{}", std::process::id()));
    let made = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(secret.bytes())?;
        // Root works for the service's user in the service's folder.
        let owner = fs::metadata(folder)?;
        if rustix::process::geteuid().is_root() && owner.uid() != 0 {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.sync_all()?;
        // Unlike a rename, a link never replaces a key that is there.
        fs::hard_link(&part, path)?;
        File::open(folder)?.sync_all()
    })();
    let removed = fs::remove_file(&part);
    match made {
        Ok(()) => {
            removed.map_err(wrong)?;
            log::info!("a device key was made: {}", path.display());
            Ok(DeviceKey(secret))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.exists() => read(path, true),
        Err(error) => Err(wrong(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let folder = folder();
        let path = folder.path().join("keys/device.key");
        let keys = Keys::new(&path, None);
        assert!(matches!(keys.load(), Err(KeyError::Missing { .. })), "reading makes none");
        let made = keys.load_or_create().unwrap();
        assert_eq!(keys.load_or_create().unwrap(), made);
        assert_eq!(keys.load().unwrap(), made);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left behind");
        let other = Keys::new(&folder.path().join("other/device.key"), None);
        assert_ne!(other.load_or_create().unwrap().id(), made.id());
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_no_key_is_refused() {
        let folder = folder();
        let path = folder.path().join("device.key");
        let refusal = |bytes: &[u8], mode: u32| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            Keys::new(&path, None).load_or_create().unwrap_err().to_string()
        };
        let told = refusal(&[1; 32], 0o640);
        assert!(told.contains(&format!("(mode 640): chmod 600 {}", path.display())), "{told}");
        for wrong in [&[1u8; 31][..], &[1; 33], &[]] {
            let told = refusal(wrong, 0o600);
            assert!(told.contains("a key has 32 bytes, it has"), "{told}");
        }
        fs::remove_file(&path).unwrap();
        let told = Keys::new(&folder.path().join("a/b/c"), None).load_or_create().unwrap_err().to_string();
        assert!(told.contains("cannot be created: its folder must be there"), "{told}");
    }

    #[test]
    fn a_credential_goes_before_the_file_and_is_guarded_by_systemd() {
        let (folder, credentials) = (folder(), folder());
        let file = folder.path().join("device.key");
        let of_file = Keys::new(&file, Some(credentials.path())).load_or_create().unwrap();
        let given = credentials.path().join("device.key");
        fs::write(&given, [9; 32]).unwrap();
        fs::set_permissions(&given, PermissionsExt::from_mode(0o440)).unwrap();
        let keys = Keys::new(&file, Some(credentials.path()));
        let of_systemd = keys.load_or_create().unwrap();
        assert_ne!(of_systemd, of_file);
        assert_eq!(of_systemd.id(), Secret::from_slice(&[9; 32]).unwrap().id());
    }
}
