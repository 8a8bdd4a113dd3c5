//! The one line of the config that a command of accessd changes: which encoder is in force. Everything else stays as it was
//! written, comments too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, value};

use super::{Config, ConfigError};

/// Why the config was not changed. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It cannot be read or is no config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot name this encoder.
    #[error("the config cannot name {name:?}: {why}")]
    Refused {
        /// The name that was to be set.
        name: String,
        /// Why not.
        why: String,
    },
    /// It cannot be written.
    #[error("{} cannot be written: {what}; use its owner or root, or set it by hand: in [encoder] model = {name:?}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The name that was to be set.
        name: String,
        /// What failed.
        what: String,
    },
}

/// A config that names another encoder, written beside the one in use; dropped, it goes.
#[derive(Debug)]
pub struct Changed {
    path: PathBuf,
    file: PathBuf,
    new: PathBuf,
    name: String,
}

impl Changed {
    /// Writes the config at `path` anew, with `encoder.model` set, beside the old one: with its owner and mode.
    ///
    /// # Errors
    /// When it is no config, `name` cannot be in one, or it cannot be written.
    pub fn encoder(path: &Path, name: &str) -> Result<Self, EditError> {
        Config::load(path)?;
        let failed = |what: &dyn std::fmt::Display| EditError::Write {
            path: path.to_owned(),
            name: name.to_owned(),
            what: what.to_string(),
        };
        // What a link leads to is changed, not the link.
        let file = fs::canonicalize(path).map_err(|error| failed(&error))?;
        let text = fs::read_to_string(&file).map_err(|error| failed(&error))?;
        let text = with_encoder(&text, name).map_err(|error| failed(&error))?;
        Config::parse(&text).map_err(|problems| EditError::Refused {
            name: name.to_owned(),
            why: problems.iter().map(|problem| problem.what.as_str()).collect::<Vec<_>>().join("; "),
        })?;
        let own_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let new = file.with_file_name(format!(".{own_name}.new-{}", std::process::id()));
        let changed = Self { path: path.to_owned(), new, name: name.to_owned(), file };
        changed.write(&text).map_err(|error| failed(&error))?;
        Ok(changed)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let old = fs::metadata(&self.file)?;
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.new)?;
        to.write_all(text.as_bytes())?;
        let own = to.metadata()?;
        if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
            fchown(&to, Some(old.uid()), Some(old.gid()))?;
        }
        to.set_permissions(old.permissions())?;
        to.sync_all()
    }

    /// Puts it in the place of the one in use: after a power cut that is the old one or the new one.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn put(self) -> Result<(), EditError> {
        let put = || {
            fs::rename(&self.new, &self.file)?;
            File::open(self.file.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        put().map_err(|error: io::Error| EditError::Write {
            path: self.path.clone(),
            name: self.name.clone(),
            what: error.to_string(),
        })
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        // Gone already once it has been put.
        let _ = fs::remove_file(&self.new);
    }
}

fn with_encoder(text: &str, name: &str) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let section = document.entry("encoder").or_insert_with(|| Item::Table(Table::new()));
    match section.get_mut("model").and_then(Item::as_value_mut) {
        Some(model) => {
            let decor = model.decor().clone();
            *model = name.into();
            *model.decor_mut() = decor;
        }
        None => section["model"] = value(name),
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_line_changes_and_nothing_else() {
        let shipped = include_str!("../../config/accessd.toml");
        let changed = with_encoder(shipped, "other").unwrap();
        let lines: Vec<(&str, &str)> =
            shipped.lines().zip(changed.lines()).filter(|(before, after)| before != after).collect();
        assert_eq!(lines, [("model = \"sface\"", "model = \"other\"")]);
        assert_eq!(shipped.lines().count(), changed.lines().count());
        for (before, after) in [
            ("", "[encoder]\nmodel = \"b\"\n"),
            ("[encoder] # which\nmodel = 'a' # this one\n", "[encoder] # which\nmodel = \"b\" # this one\n"),
            ("encoder.model = \"a\"\n", "encoder.model = \"b\"\n"),
            ("[log]\nlevel = \"info\"\n", "[log]\nlevel = \"info\"\n\n[encoder]\nmodel = \"b\"\n"),
            ("[encoder]\ndevice = \"cpu\"\n", "[encoder]\ndevice = \"cpu\"\nmodel = \"b\"\n"),
        ] {
            let changed = with_encoder(before, "b").unwrap();
            assert_eq!(changed, after);
            assert_eq!(Config::parse(&changed).unwrap().encoder.model, "b");
        }
    }

    #[test]
    fn owner_and_mode_and_link_stay_and_what_cannot_be_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real.toml"), dir.path().join("accessd.toml"));
        let before = "[encoder]\nmodel = \"a\"\n";
        fs::write(&file, before).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        let files = || fs::read_dir(dir.path()).unwrap().count();
        drop(Changed::encoder(&link, "b").unwrap());
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), files()),
            (before, 2),
            "nothing happens before it is put"
        );
        Changed::encoder(&link, "b").unwrap().put().unwrap();
        assert_eq!(Config::load(&link).unwrap().encoder.model, "b");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(files(), 2, "nothing is left behind");
        let before = fs::read_to_string(&file).unwrap();
        assert!(matches!(Changed::encoder(&file, "no name!"), Err(EditError::Refused { .. })));
        let taken = dir.path().join(format!(".real.toml.new-{}", std::process::id()));
        fs::create_dir(&taken).unwrap();
        let error = Changed::encoder(&file, "c").unwrap_err().to_string();
        assert!(error.contains("cannot be written") && error.contains("model = \"c\""), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
        assert!(matches!(Changed::encoder(&dir.path().join("none"), "c"), Err(EditError::Config(_))));
    }
}
