//! `accessd models migrate`: from one encoder to another with the door at work, and back.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail, ensure};
use clap::{ArgGroup, Args};
use comfy_table::Table;

use super::super::backend::Backend;
use super::super::output::{self, Output, count};
use super::super::remove::confirmed;
use super::super::replay::headline;
use super::super::{Exit, Globals};
use crate::calibration::cohort::Cohort;
use crate::config::{Changed, Config};
use crate::daemon::migrating::{CutOver, Progress};
use crate::encoder::ModelId;
use crate::models::Library;
use crate::nn::model_file::Framing;
use crate::store::{Filling, Migration, NamedModel};

/// Change to another encoder while the door works; without an option, show how far that is
///
/// With --to the samples of both encoders lie side by side from the next start of the service on: the new ones are made of kept
/// pictures (privacy.keep_crops) and of looks of people who are let in, while the door goes on deciding by the old one. Of
/// attempts that are kept (privacy.keep_attempts) it is then known what the new one would have decided. --cut-over is refused
/// unless everybody has samples and that is no worse; --back takes it back. Both change encoder.model in the config and take
/// effect at the next start. --end removes what there is of the one that is not in force.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("step").args(["to", "cut_over", "back", "end"])))]
pub(super) struct Migrate {
    /// Begin: the installed encoder to change to, by name
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Have the config name the new one, if replayed attempts show that it does no worse
    #[arg(long)]
    cut_over: bool,
    /// Cut over although people have no samples of the new one: they must be enrolled anew
    #[arg(long, requires = "cut_over")]
    leave_behind: bool,
    /// So many attempts that the new one would let in besides were of people who ought to be: `accessd replay` lists them
    #[arg(long, value_name = "N", requires = "cut_over", default_value_t = 0)]
    confirm: usize,
    /// Have the config name the old one again
    #[arg(long)]
    back: bool,
    /// End it: samples and kept attempts of the encoder that is not in force are removed
    #[arg(long)]
    end: bool,
    /// Do not ask before the end
    #[arg(short, long, requires = "end")]
    yes: bool,
    /// Print how far it is as JSON: {"migration": …} or {"migration": null}
    #[arg(long, conflicts_with = "step")]
    json: bool,
}

impl Migrate {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let mut out = Output::new();
        match &self.to {
            Some(name) => begin(&config, name, &mut out)?,
            None if self.cut_over => self.cut_over(&config, globals, &mut out)?,
            None if self.back => back(&config, globals, &mut out)?,
            None if self.end => return self.end(&config),
            None => self.show(&config, &mut out)?,
        }
        out.flush()?;
        Ok(Exit::Done)
    }

    fn show(&self, config: &Config, out: &mut Output) -> anyhow::Result<()> {
        let progress = Backend::to_read(config)?.migration()?;
        if self.json {
            return Ok(out.json(&serde_json::json!({ "migration": progress }))?);
        }
        match progress {
            None => Ok(out.line("no change of the encoder is under way; begin one with --to NAME")?),
            Some(progress) => tell(&progress, config, out),
        }
    }

    fn end(&self, config: &Config) -> anyhow::Result<Exit> {
        let mut backend = Backend::to_change(config)?;
        let progress = under_way(&mut backend)?;
        must_be_in_force(&progress, config)?;
        let Progress { migration, in_force, people, .. } = &progress;
        let goes =
            migration.other(in_force).map_or_else(|| "nothing".to_owned(), |other| other.id.to_string());
        let samples = |n| count(n, "sample", "samples");
        let of_other = people.iter().map(|person| person.of_other).sum();
        let what = format!(
            "{in_force} stays; {} of {goes} and what else there is of it are removed",
            samples(of_other)
        );
        let mut out = Output::new();
        if !self.yes && !confirmed("what there is of the other encoder shall go", &format!("{what}."))? {
            out.line("nothing is removed")?;
            out.flush()?;
            return Ok(Exit::No);
        }
        let gone = backend.end_migration()?;
        out.line(format_args!("ended: {in_force} stays; {} of {goes} removed", samples(gone)))?;
        out.flush()?;
        Ok(Exit::Done)
    }

    fn cut_over(&self, config: &Config, globals: &Globals, out: &mut Output) -> anyhow::Result<()> {
        let mut backend = Backend::to_change(config)?;
        let Progress { migration, in_force, people, .. } = under_way(&mut backend)?;
        let to = migration.to;
        match (config.encoder.model == to.name, in_force == to.id) {
            (true, true) => bail!("{} is in force already", to.id),
            (true, false) => {
                bail!("the config names {} already; it is in force from the next start on", to.name)
            }
            (false, true) => bail!(
                "{} is still in force, and the config names {} from the next start on: start the service and cut over again, or set \
                 encoder.model = {:?} by hand",
                to.id,
                config.encoder.model,
                to.name
            ),
            (false, false) => {}
        }
        let installed = installed(config, &to.name)?;
        ensure!(
            installed == to.id,
            "the network installed as {} is {installed}, and it was {} that made the samples; install that one again, or end this \
             change and begin another",
            to.name,
            to.id
        );
        let (file, changed) = change(globals, &to.name)?;
        let order = CutOver { leave_behind: self.leave_behind, confirmed: self.confirm };
        let replayed = backend.cut_over(order)?;
        if let Err(error) = changed.put() {
            // The log must not say what did not happen.
            backend.back_over()?;
            return Err(error.into());
        }
        out.line(format_args!(
            "of {}: {}",
            count(replayed.attempts, "attempt", "attempts"),
            headline(&replayed)
        ))?;
        named(&to, &file, out)?;
        unknown_by(&to, people.iter().filter(|person| !person.is_known_to_other()), out)?;
        Ok(out.line("back with: accessd models migrate --back")?)
    }
}

fn installed(config: &Config, name: &str) -> anyhow::Result<ModelId> {
    Ok(Library::new(&config.paths.models).load(name, "encoder")?.card.id())
}

/// The config, written anew beside the old one: whether that can be is known before anything is ordered.
fn change(globals: &Globals, name: &str) -> anyhow::Result<(PathBuf, Changed)> {
    let origin = globals.origin();
    let file = origin.file().with_context(|| format!("there is no config file to name {name} in"))?;
    Ok((file.to_owned(), Changed::encoder(file, name)?))
}

fn begin(config: &Config, name: &str, out: &mut Output) -> anyhow::Result<()> {
    let library = Library::new(&config.paths.models);
    let named = |name: &str| {
        let file = library.load(name, "encoder")?;
        anyhow::Ok((NamedModel { name: name.to_owned(), id: file.card.id() }, file))
    };
    let ((from, _), (to, file)) = (named(&config.encoder.model)?, named(name)?);
    ensure!(
        file.card.framing != Some(Framing::Whole),
        "{name} was trained on whole pictures, and the door shows it aligned faces; train with data.framing = \"aligned\""
    );
    Cohort::of(&to.id, &config.paths.models)?;
    let mut backend = Backend::to_change(config)?;
    if let Some(Progress { migration, .. }) = backend.migration()? {
        ensure!(
            migration.to.id != to.id || migration.from.id != from.id,
            "that change is under way already, since {}; without an option this command shows how far it is",
            output::local_time(migration.began)
        );
    }
    backend.migrate(&from, &to)?;
    out.line(format_args!("begun: samples of {} are made beside those of {}", to.id, from.id))?;
    out.line("from the next start of the service on: sudo systemctl restart accessd")?;
    if config.privacy.keep_attempts == "off" {
        out.line(
            "note: privacy.keep_attempts is off; a cut-over needs kept attempts to go by, so set it to \"recognised\" or \"everybody\" first",
        )?;
    }
    if config.decision.threshold > 0.0 {
        out.line(
            "note: decision.threshold is set by hand, for this encoder; a cut-over needs one that follows from the rate, so set it to 0",
        )?;
    }
    if config.privacy.keep_crops == "off" {
        out.line("note: privacy.keep_crops is off; samples come from looks of people at the door alone")?;
    }
    if config.liveness.mode == "off" {
        out.line("note: liveness.mode is off; looks of people at the door become samples only when the photo check has passed them")?;
    }
    Ok(())
}

fn back(config: &Config, globals: &Globals, out: &mut Output) -> anyhow::Result<()> {
    let mut backend = Backend::to_change(config)?;
    let Progress { migration, in_force, people, .. } = under_way(&mut backend)?;
    let from = migration.from;
    if config.encoder.model == from.name {
        bail!("the config names {} already", from.name);
    }
    let (file, changed) = change(globals, &from.name)?;
    backend.back_over()?;
    changed.put()?;
    named(&from, &file, out)?;
    let known = |person: &&Filling| {
        if in_force == from.id { person.of_this > 0 } else { person.is_known_to_other() }
    };
    unknown_by(&from, people.iter().filter(|person| !known(person)), out)?;
    match installed(config, &from.name) {
        Ok(id) if id == from.id => Ok(()),
        Ok(id) => Ok(out.line(format_args!(
            "note: the network installed as {} is {id} now, not {}",
            from.name, from.id
        ))?),
        Err(error) => Ok(out.line(format_args!("note: {error:#}"))?),
    }
}

/// Says whom the door will not know.
fn unknown_by<'a>(
    model: &NamedModel,
    people: impl Iterator<Item = &'a Filling>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let names: Vec<&str> = people.map(|person| person.person.name.as_str()).collect();
    if !names.is_empty() {
        out.line(format_args!(
            "note: without a sample of {} the door does not know {}; enrol them with accessd enroll --more",
            model.id,
            names.join(", ")
        ))?;
    }
    Ok(())
}

/// What the door uses now is what stays; what it will use from the next start on must not be what goes.
fn must_be_in_force(progress: &Progress, config: &Config) -> anyhow::Result<()> {
    let Migration { from, to, .. } = &progress.migration;
    let named = [from, to].into_iter().find(|model| model.name == config.encoder.model);
    if let Some(named) = named.filter(|named| named.id != progress.in_force) {
        bail!(
            "the config names {}, and {} is in force, whose samples would be all that stays: start the service anew first",
            named.name,
            progress.in_force
        );
    }
    Ok(())
}

fn named(model: &NamedModel, file: &std::path::Path, out: &mut Output) -> anyhow::Result<()> {
    out.line(format_args!("{} names {} now", file.display(), model.name))?;
    Ok(out.line("in force from the next start of the service on: sudo systemctl restart accessd")?)
}

fn under_way(backend: &mut Backend) -> anyhow::Result<Progress> {
    backend
        .migration()?
        .ok_or_else(|| anyhow!("no change of the encoder is under way; begin one with --to NAME"))
}

fn tell(progress: &Progress, config: &Config, out: &mut Output) -> anyhow::Result<()> {
    let Progress { migration, in_force, people, attempts, .. } = progress;
    out.line(format_args!(
        "from {} to {}, since {} by {}",
        migration.from.id,
        migration.to.id,
        output::local_time(migration.began),
        migration.began_by
    ))?;
    out.line(format_args!("in force: {in_force}"))?;
    let named = [&migration.from, &migration.to].into_iter().find(|model| model.name == config.encoder.model);
    if let Some(named) = named.filter(|named| named.id != *in_force) {
        out.line(format_args!("the config names {}: in force from the next start on", named.name))?;
    }
    let Some(other) = migration.other(in_force) else {
        return Ok(out.line("which is neither of the two: nothing is made for either")?);
    };
    if !progress.started {
        out.line("nothing is made yet: start the service anew (sudo systemctl restart accessd)")?;
    }
    let short = people.iter().filter(|person| person.missing() > 0).count();
    out.line(format_args!(
        "{} of {} have the samples of {} that are wanted",
        people.len() - short,
        count(people.len(), "person", "people"),
        other.id
    ))?;
    out.line(format_args!("{} kept as it saw them", count(*attempts, "attempt is", "attempts are")))?;
    if short > 0 {
        out.line("")?;
        out.table(&table(people, in_force, &other.id))?;
    }
    let here = NamedModel { name: String::new(), id: in_force.clone() };
    unknown_by(&here, people.iter().filter(|person| person.of_this == 0 && person.of_other > 0), out)
}

/// Those of whom samples are wanted.
fn table(people: &[Filling], in_force: &ModelId, other: &ModelId) -> Table {
    let of = |model: &ModelId| format!("OF {}", model.0.split('@').next().unwrap_or_default().to_uppercase());
    let (this, other) = (of(in_force), of(other));
    let mut table = output::table(["NAME", &this, &other, "WANTED"]);
    for person in people.iter().filter(|person| person.missing() > 0) {
        table.add_row([
            person.person.name.clone(),
            person.of_this.to_string(),
            person.of_other.to_string(),
            (person.of_other + person.missing()).to_string(),
        ]);
    }
    output::align_right(&mut table, [1, 2, 3]);
    table
}
