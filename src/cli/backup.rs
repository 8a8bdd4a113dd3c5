//! `accessd backup`: everything in one encrypted file, while the service runs; and the key file, without which only this
//! device opens it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::backend::Backend;
use super::output::{Output, local_time};
use super::{Exit, Globals};

/// Back up people, templates, rules and log to an encrypted file, while the service runs
///
/// The backup holds no keys of people. This device has them; for another one they are in the key file, which opens with the
/// recovery code that is printed when it is made. Keep one key file, apart from the backups, and write it anew after each
/// enrolment and each erasure: whoever is not in it is erased from every backup. SECURITY.md tells more.
#[derive(Args, Debug)]
pub(super) struct Backup {
    /// The file to write; a backup that is there is replaced
    #[arg(required_unless_present = "keys")]
    file: Option<PathBuf>,
    /// Write the key file here, in the place of the old one
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Make a new recovery code; the old one opens only what was written before
    #[arg(long, requires = "keys")]
    new_code: bool,
}

impl Backup {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let mut backend = Backend::to_change(&globals.load()?)?;
        let mut out = Output::new();
        if let Some(path) = &self.keys {
            if self.new_code || !path.exists() {
                let code = backend.new_recovery_code()?;
                out.line("the recovery code, shown this once: write it down and keep it apart from key file and backups")?;
                out.line(format_args!("\n    {code}\n"))?;
                out.flush()?;
            }
            replace(path, &backend.key_file()?)?;
            out.line(format_args!(
                "{}: the keys of everybody enrolled now, and of nobody else",
                path.display()
            ))?;
        }
        if let Some(path) = &self.file {
            let header = write(path, &mut backend)?;
            let bytes = fs::metadata(path).map_or(0, |m| m.len());
            let models = if header.models.is_empty() { "none".to_owned() } else { header.models.join(", ") };
            out.line(format_args!(
                "{}: everything as of {}, {bytes} bytes; models: {models}",
                path.display(),
                local_time(header.created)
            ))?;
            if !header.opens_elsewhere() {
                out.line(
                    "only this device opens it, as long as its device key lives: make a key file with --keys FILE and back up \
                     again",
                )?;
            }
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

/// Writes the backup beside its name and puts it there when it is whole.
fn write(path: &Path, backend: &mut Backend) -> anyhow::Result<crate::store::Header> {
    let part = beside(path);
    let written: anyhow::Result<crate::store::Header> = (|| {
        let mut file = BufWriter::new(make(&part)?);
        let header = backend.back_up(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        Ok(header)
    })();
    if written.is_err() {
        fs::remove_file(&part).ok();
    }
    written.with_context(|| format!("no backup was written to {}", path.display()))
}

/// Puts a key file in the old one's place, and overwrites the old one's bytes: whoever is in it and not in the new one was
/// erased. On flash memory an overwritten block may live on; SECURITY.md says so.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("the key file {} cannot be written; it is as it was", path.display());
    let old = OpenOptions::new().write(true).open(path);
    let part = beside(path);
    let written = (|| {
        let mut file = make(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    })();
    if written.is_err() {
        fs::remove_file(&part).ok();
    }
    written.with_context(failed)?;
    match old {
        Ok(old) => wipe(old).with_context(|| format!("the old {} could not be overwritten", path.display())),
        Err(_) => Ok(()),
    }
}

fn wipe(mut old: File) -> io::Result<()> {
    let length = old.metadata()?.len();
    old.rewind()?;
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut old)?;
    old.sync_all()
}

fn make(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}
