//! The one line of the config that a command of accessd changes: which encoder is in force. Everything else stays as it was
//! written, comments too.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
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

/// Sets `encoder.model` in the config at `path`. The file is replaced as a whole, with the owner and mode it had: after a power
/// cut it is the old one or the new one.
///
/// # Errors
/// When it is no config, `name` cannot be in one, or it cannot be written.
pub fn set_encoder(path: &Path, name: &str) -> Result<(), EditError> {
    Config::load(path)?;
    let failed = |what: &dyn std::fmt::Display| EditError::Write {
        path: path.to_owned(),
        name: name.to_owned(),
        what: what.to_string(),
    };
    // What a link leads to is changed, not the link.
    let file = fs::canonicalize(path).map_err(|error| failed(&error))?;
    let text = fs::read_to_string(&file).map_err(|error| failed(&error))?;
    let changed = with_encoder(&text, name).map_err(|error| failed(&error))?;
    Config::parse(&changed).map_err(|problems| EditError::Refused {
        name: name.to_owned(),
        why: problems.iter().map(|problem| problem.what.as_str()).collect::<Vec<_>>().join("; "),
    })?;
    replace(&file, &changed).map_err(|error| failed(&error))
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

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    let write = || {
        // Left over from a power cut, or somebody's link.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut to = File::create_new(&new)?;
        to.set_permissions(Permissions::from_mode(0o600))?;
        to.write_all(text.as_bytes())?;
        let own = to.metadata()?;
        if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
            fchown(&to, Some(old.uid()), Some(old.gid()))?;
        }
        to.set_permissions(old.permissions())?;
        to.sync_all()?;
        fs::rename(&new, file)?;
        File::open(folder)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
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
        fs::write(&file, "[encoder]\nmodel = \"a\"\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real.toml", &link).unwrap();
        set_encoder(&link, "b").unwrap();
        assert_eq!(Config::load(&link).unwrap().encoder.model, "b");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
        let before = fs::read_to_string(&file).unwrap();
        assert!(matches!(set_encoder(&file, "no name!"), Err(EditError::Refused { .. })));
        fs::create_dir(dir.path().join("real.toml.new")).unwrap();
        let error = set_encoder(&file, "c").unwrap_err().to_string();
        assert!(error.contains("cannot be written") && error.contains("model = \"c\""), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
        assert!(matches!(set_encoder(&dir.path().join("none"), "c"), Err(EditError::Config(_))));
    }
}
