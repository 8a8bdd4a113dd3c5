//! `accessd restore`: a backup becomes the database, on this device or on a new one. The service must not run.

use std::fs::File;
use std::io::{BufRead, IsTerminal, Write, stdin};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use zeroize::Zeroizing;

use super::backend::{Service, keys, own_actor};
use super::exit::UsageError;
use super::output::{Output, count, local_time};
use super::{Exit, Globals};
use crate::clock::SystemClock;
use crate::journal::Stamp;
use crate::seal::RecoveryCode;
use crate::store::{KeyFile, Restored, Restoring, boot_id};

/// Restore a backup, on the device it was taken on or, with its key file and recovery code, on another one
#[derive(Args, Debug)]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Its key file; the recovery code is read from the terminal, or from standard input
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Replace the database that is there; what happened since the backup is lost with it
    #[arg(long)]
    replace: bool,
    /// Bring people whose face nothing opens back by name, to be enrolled anew
    #[arg(long)]
    without_faces: bool,
}

impl Restore {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        ensure!(
            Service::find(&config.paths.socket)?.is_none(),
            "the service is running: stop it first (systemctl stop accessd)"
        );
        let backup =
            File::open(&self.file).with_context(|| format!("{} cannot be read", self.file.display()))?;
        let key_file = self.key_file()?;
        let keys = keys(&config);
        let restoring = Restoring {
            database: &config.paths.database,
            keys: &keys,
            key_file,
            replace: self.replace,
            without_faces: self.without_faces,
        };
        let restored = restoring
            .from(backup, &own_actor(), Stamp::now(&SystemClock), &boot_id())
            .with_context(|| format!("{} is not restored, and nothing has changed", self.file.display()))?;
        let mut out = Output::new();
        print(&restored, &mut out)?;
        let encoder = format!("{}@", config.encoder.model);
        if !restored.models.is_empty() && !restored.models.iter().any(|model| model.starts_with(&encoder)) {
            out.line(format_args!(
                "encoder.model is {:?}, and the templates are of {}: install that model and name it in the config",
                config.encoder.model,
                restored.models.join(", ")
            ))?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }

    fn key_file(&self) -> anyhow::Result<Option<KeyFile>> {
        let Some(path) = &self.keys else { return Ok(None) };
        let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        if stdin().is_terminal() {
            eprint!("Recovery code: ");
            std::io::stderr().flush()?;
        }
        let mut typed = Zeroizing::new(String::new());
        stdin().lock().read_line(&mut typed)?;
        let code = RecoveryCode::read(&typed).map_err(|error| UsageError(error.to_string()))?;
        Ok(Some(KeyFile::open(&bytes, &code)?))
    }
}

fn print(restored: &Restored, out: &mut Output) -> anyhow::Result<()> {
    let people = count(restored.people, "person", "people");
    out.line(format_args!("restored: {people}, as of {}", local_time(restored.created)))?;
    for name in &restored.erased {
        out.line(format_args!(
            "{name} was erased since: nothing opens their templates, and they do not come back"
        ))?;
    }
    for name in &restored.faceless {
        out.line(format_args!("{name} came back without a face: accessd enroll --name {name:?} --more"))?;
    }
    Ok(())
}
