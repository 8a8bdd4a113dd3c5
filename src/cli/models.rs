//! `accessd models`: which networks are installed, and bringing in new ones.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

mod migrate;

use super::output::{self, Output};
use super::{Exit, Globals, UsageError};
use crate::models::{
    ImportError, ImportOptions, Installed, Library, Manifest, check_name, import_listed, import_own,
};
use crate::nn::model_file::{Channels, Framing, ModelCard, ModelFile};
use crate::train::run::MODEL;

/// Show the installed networks, or bring in new ones
#[derive(Args, Debug)]
pub(super) struct Models {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the installed networks with hash, licence and model id; each file is checked against its hash
    List {
        /// Folder of the installed networks; default `paths.models`
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
        /// Print JSON: {"models": [...]}
        #[arg(long)]
        json: bool,
    },
    /// Turn downloaded files into installed networks: those of a manifest, or an encoder or PAD network of your own
    Import(Import),
    /// Install an encoder that `accessd train` made, so that encoder.model can name it
    ///
    /// Samples that another encoder made are never compared with those of this one: `accessd models migrate` has new ones made
    /// while the door works.
    Install(Install),
    Migrate(migrate::Migrate),
}

#[derive(Args, Debug)]
struct Install {
    /// Folder of a finished run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// The name to install it under; default network.name of the run's settings
    #[arg(long)]
    name: Option<String>,
    /// Put it in the place of another network that has the name
    #[arg(long)]
    replace: bool,
    /// Folder of the installed networks; default `paths.models`
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Import {
    /// A network of your own of a supported architecture: an ONNX encoder for 112×112 pixels, or a PAD network
    /// (MiniFASNet) as ONNX or as safetensors with the names of the published training code
    #[arg(
        value_name = "FILE",
        required_unless_present = "manifest",
        conflicts_with = "manifest",
        requires = "name"
    )]
    file: Option<PathBuf>,
    /// The name to install it under
    #[arg(long)]
    name: Option<String>,
    /// Channel order an encoder was trained on
    #[arg(long, value_enum, default_value = "rgb")]
    channels: ChannelOrder,
    /// Taken from every pixel (0 to 255) before scaling, unless the file does so itself
    #[arg(long, default_value_t = 127.5)]
    mean: f32,
    /// Multiplied with every pixel after that, unless the file does so itself
    #[arg(long, default_value_t = 1.0 / 127.5)]
    scale: f32,
    /// Its licence, for `models list`
    #[arg(long, default_value = "not stated")]
    licence: String,
    /// The manifest whose networks are imported
    #[arg(long, value_name = "FILE", requires = "from")]
    manifest: Option<PathBuf>,
    /// Folder with the files the manifest names
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Folder of the installed networks; default `paths.models`
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ChannelOrder {
    Rgb,
    Bgr,
}

impl From<ChannelOrder> for Channels {
    fn from(order: ChannelOrder) -> Self {
        match order {
            ChannelOrder::Rgb => Self::Rgb,
            ChannelOrder::Bgr => Self::Bgr,
        }
    }
}

impl Models {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.command {
            Command::List { models, json } => list(&library(models, globals)?, json),
            Command::Import(import) => import.perform(globals),
            Command::Install(install) => install.perform(globals),
            Command::Migrate(migrate) => migrate.perform(globals),
        }
    }
}

fn library(folder: Option<PathBuf>, globals: &Globals) -> anyhow::Result<Library> {
    Ok(match folder {
        Some(folder) => Library::new(&folder),
        None => Library::new(&globals.load()?.paths.models),
    })
}

/// One line of `models list --json`.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    path: &'a Path,
    #[serde(flatten)]
    state: State<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum State<'a> {
    #[serde(untagged)]
    Good { id: String, parameters: usize, card: &'a ModelCard },
    #[serde(untagged)]
    Bad { error: String },
}

impl<'a> From<&'a Installed> for Line<'a> {
    fn from(installed: &'a Installed) -> Self {
        let state = match &installed.file {
            Ok(file) => State::Good {
                id: file.card.id().to_string(),
                parameters: file.parameters(),
                card: &file.card,
            },
            Err(e) => State::Bad { error: e.to_string() },
        };
        Self { name: &installed.name, path: &installed.path, state }
    }
}

#[derive(Serialize)]
struct List<'a> {
    models: Vec<Line<'a>>,
}

fn list(library: &Library, json: bool) -> anyhow::Result<Exit> {
    let all = library.list()?;
    let mut out = Output::new();
    if json {
        out.json(&List { models: all.iter().map(Line::from).collect() })?;
    } else if all.is_empty() {
        out.line("no network is installed; fetch them with: make models")?;
    } else {
        let mut table = output::table(["NAME", "JOB", "MODEL ID", "VALUES", "LICENCE", "SHA-256 OF SOURCE"]);
        for installed in &all {
            match &installed.file {
                Ok(file) => table.add_row(row(file)),
                Err(e) => table.add_row([installed.name.clone(), "BAD".into(), e.to_string()]),
            };
        }
        output::align_right(&mut table, [3]);
        out.table(&table)?;
        for file in all.iter().filter_map(|i| i.file.as_ref().ok()) {
            out.line(format!("\n{}: {}", file.card.name, file.card.provenance))?;
        }
    }
    out.flush()?;
    Ok(if all.iter().all(|i| i.file.is_ok()) { Exit::Done } else { Exit::No })
}

fn row(file: &ModelFile) -> [String; 6] {
    let card = &file.card;
    [
        card.name.clone(),
        match card.dim {
            Some(dim) => format!("{}, {dim} values", card.job),
            None => card.job.clone(),
        },
        card.id().to_string(),
        file.parameters().to_string(),
        card.licence.clone(),
        card.source_sha256.get(..16).unwrap_or(&card.source_sha256).to_owned() + "…",
    ]
}

impl Install {
    fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let path = self.run.join(MODEL);
        if !path.exists() {
            bail!("{}: no {MODEL} in it; give the folder of a run that has ended", self.run.display());
        }
        let mut file = ModelFile::read(&path)?;
        if let Some(name) = self.name {
            check_name(&name)?;
            file.card.name = name;
        }
        let library = library(self.to, globals)?;
        let installed = library.load(&file.card.name, "encoder").ok().map(|old| old.card.id());
        let taken = library.has(&file.card.name) && installed.as_ref() != Some(&file.card.id());
        if taken && !self.replace {
            let what = installed.map_or_else(|| "another network".to_owned(), |id| id.to_string());
            bail!("{what} has the name {:?}; choose another with --name, or say --replace", file.card.name);
        }
        install(&library, &file)?;
        if file.card.framing == Some(Framing::Whole) {
            eprintln!(
                "note: it was trained on whole pictures, and the door shows it aligned faces; train with data.framing = \"aligned\" for a door"
            );
        }
        Ok(Exit::Done)
    }
}

impl Import {
    fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let library = library(self.to.clone(), globals)?;
        match (&self.manifest, &self.from) {
            (Some(manifest), Some(from)) => import_manifest(&library, manifest, from),
            _ => self.import_own(&library),
        }
    }

    fn import_own(self, library: &Library) -> anyhow::Result<Exit> {
        let (Some(file), Some(name)) = (self.file, self.name) else {
            return Err(
                UsageError("models import takes FILE and --name, or --manifest and --from".into()).into()
            );
        };
        let options = ImportOptions {
            name,
            channels: self.channels.into(),
            norm: (self.mean, self.scale),
            licence: self.licence,
        };
        install(library, &import_own(&file, &options)?)?;
        Ok(Exit::Done)
    }
}

/// Imports everything before it installs anything, so that a bad file leaves the folder as it was.
fn import_manifest(library: &Library, manifest: &Path, from: &Path) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    for entry in &Manifest::read(manifest)?.networks {
        let path = from.join(entry.file_name());
        match import_listed(entry, &path) {
            Err(ImportError::Read { .. }) if entry.optional && !path.exists() => {
                Output::new().line(format!("{}: skipped, its file was not fetched", entry.name))?;
            }
            file => files.push(file.with_context(|| format!("network {} is not imported", entry.name))?),
        }
    }
    files.iter().try_for_each(|file| install(library, file))?;
    Ok(Exit::Done)
}

fn install(library: &Library, file: &ModelFile) -> anyhow::Result<()> {
    let path = library.install(file)?;
    let mut out = Output::new();
    out.line(format!("{}: {} as {}", file.card.name, file.card.id(), path.display()))?;
    Ok(out.flush()?)
}
