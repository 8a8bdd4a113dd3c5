//! `accessd bench`: how long each stage takes on this machine, from a JPEG to the person it shows. `make bench` sets
//! the same stages beside other programs.

mod book;
mod deciding;
mod drawing;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use comfy_table::Table;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::adapters::{load_networks, rule};
use super::backend::open_store;
use super::output::{self, Output};
use super::{Exit, Globals};
use book::Book;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::encoder::{Embedding, EmbeddingError, ModelId};
use crate::frame::{MAX_FRAME_PIXELS, decode_jpeg, load_image};
use crate::gallery::{Gallery, NewTemplate, PersonId, TemplateSource};
use crate::journal::{Event, EventKind, PersonRef, Stamp};
use crate::liveness::network::Liveness;
use crate::models::Library;
use crate::recognition::{FoundFace, Recogniser};
use crate::store::{OpenMode, SqliteStore, Store};
use crate::vision::margin;

use deciding::Party;

/// Measure each stage from a picture to a person on this machine
///
/// Decodes a JPEG, seeks faces in it, aligns, embeds and matches one face against made-up people, over and over; decides by
/// a rule book of 10,000 people and 200 rules, the longest way through it; and asks a PAD network, when one is installed,
/// whether the face is live.
#[derive(Args, Debug)]
pub(super) struct Bench {
    /// Picture to use; a drawn one of the camera's size when not given
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// How often everything is done
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// People to match against, made up, with one template each
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    people: u32,
    /// Measure this stage only; may be given several times
    #[arg(long, value_name = "STAGE")]
    only: Vec<Stage>,
    /// Enrol the made-up people in this new database instead, for tests under load
    #[arg(long, value_name = "DATABASE", conflicts_with_all = ["only", "json"])]
    enrol_into: Option<PathBuf>,
    /// Print JSON: {"version", "model", "device", "threads", "image", "width", "height", "faces", "people", "rounds",
    /// "ms": {STAGE: {"median", "p95", "min"}}}
    #[arg(long)]
    json: bool,
}

/// Rounds before counting begins: memory is paged in, the processor's clock goes up.
const WARM_UP: u32 = 3;
/// JPEG quality of a USB camera, about.
const JPEG_QUALITY: u8 = 85;

/// What is measured, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// A JPEG to pixels.
    Decode,
    /// Pixels to faces, from the letterbox to the last box.
    Detect,
    /// A face to an upright crop.
    Align,
    /// A crop to an embedding.
    Embed,
    /// An embedding to the person and the runner-up.
    Match,
    /// Four faces, embedded and matched, to what follows: tracks, advice, company, k of n.
    Decide,
    /// A face with its surroundings to how far it looks alive, by the first PAD network that is installed.
    Pad,
    /// Whether somebody may enter, by a rule book of 10,000 people and 200 rules.
    Rules,
    /// A grant written down until it is on disk, beside the configured database: what the relay waits for.
    Record,
    /// All templates copied once in memory: what matching, which reads them once, is held against.
    Copy,
}

impl Stage {
    /// Those a frame goes through.
    const OF_A_FRAME: [Self; 5] = [Self::Decode, Self::Detect, Self::Align, Self::Embed, Self::Match];

    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Detect => "detect",
            Self::Align => "align",
            Self::Embed => "embed",
            Self::Match => "match",
            Self::Decide => "decide",
            Self::Pad => "pad",
            Self::Rules => "rules",
            Self::Record => "record",
            Self::Copy => "copy",
        }
    }
}

/// Stages that are shown as one when all were measured: pixels to embedding, and everything.
const SUMS: [(&str, &[Stage]); 2] =
    [("recognise", &[Stage::Detect, Stage::Align, Stage::Embed]), ("frame", &Stage::OF_A_FRAME)];

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    model: ModelId,
    device: String,
    threads: usize,
    image: Option<PathBuf>,
    width: u32,
    height: u32,
    faces: usize,
    people: usize,
    rounds: u32,
    ms: serde_json::Map<String, serde_json::Value>,
}

/// The times of one stage in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Summary {
    median: f64,
    p95: f64,
    min: f64,
}

impl Bench {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        if let Some(database) = &self.enrol_into {
            return self.enrol(&config, database);
        }
        let mut subject =
            Subject::new(load_networks(&config)?, self.picture(&config)?, self.people as usize)?;
        subject.pad = pad_network(&config)?.map(|pad| pad.with_team(subject.networks.team()));
        let mut stages = self.only.clone();
        if stages.is_empty() {
            stages.extend(Stage::OF_A_FRAME);
            stages.push(Stage::Rules);
            stages.extend(subject.pad.is_some().then_some(Stage::Pad));
            stages.push(Stage::Record);
        }
        if stages.contains(&Stage::Record) {
            subject.journal = Some(Scratch::beside(&config)?);
        }
        let times = measure(&mut subject, &stages, self.rounds)?;
        let mut out = Output::new();
        if self.json {
            out.json(&self.report(&subject, &config.encoder.device, &times)?)?;
        } else {
            let (width, height) = subject.picture.dimensions();
            let picture = self.image.as_deref().unwrap_or(Path::new("a drawn picture")).display();
            out.line(format_args!(
                "{} on {}, {}",
                subject.networks.model(),
                config.encoder.device,
                output::count(subject.networks.team().threads(), "thread", "threads")
            ))?;
            out.line(format_args!(
                "{picture}, {width}×{height} px, {} found",
                output::count(subject.faces, "face", "faces")
            ))?;
            out.line(format_args!(
                "{}, {}; a rule book of {} people and {} rules\n",
                output::count(subject.gallery.people(), "person", "people"),
                output::count(self.rounds as usize, "round", "rounds"),
                book::PEOPLE,
                book::RULES
            ))?;
            out.table(&table(&times))?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }

    fn picture(&self, config: &Config) -> anyhow::Result<RgbImage> {
        match &self.image {
            Some(file) => Ok(load_image(file)?),
            None => Ok(drawing::face(config.camera.width, config.camera.height)),
        }
    }

    fn enrol(&self, config: &Config, database: &Path) -> anyhow::Result<Exit> {
        ensure!(
            !database.exists(),
            "{} exists already; made-up people go into a new database only",
            database.display()
        );
        let mut networks = load_networks(config)?;
        let face = found_face(&mut networks, &self.picture(config)?)?.1;
        let dim = embed_one(&mut networks, &face)?.dim();
        let mut at_home = config.clone();
        at_home.paths.database = database.to_owned();
        let mut store = open_store(&at_home, OpenMode::Create)?;
        for (name, embedding) in made_up(dim, self.people as usize) {
            let template = NewTemplate {
                model: networks.model().clone(),
                embedding: embedding?,
                quality: face.quality,
                source: TemplateSource::Image,
                crop: None,
            };
            store.enrol(&name, &[template], "accessd bench", Stamp::now(&SystemClock))?;
        }
        let mut out = Output::new();
        out.line(format_args!(
            "{} enrolled in {}",
            output::count(self.people as usize, "made-up person", "made-up people"),
            database.display()
        ))?;
        out.flush()?;
        Ok(Exit::Done)
    }

    fn report(&self, subject: &Subject, device: &str, times: &Times) -> anyhow::Result<Report> {
        let (width, height) = subject.picture.dimensions();
        let summaries =
            times.summaries().map(|(stage, summary)| Ok((stage.to_owned(), serde_json::to_value(summary)?)));
        Ok(Report {
            version: env!("CARGO_PKG_VERSION"),
            model: subject.networks.model().clone(),
            device: device.to_owned(),
            threads: subject.networks.team().threads(),
            image: self.image.clone(),
            width,
            height,
            faces: subject.faces,
            people: subject.gallery.people(),
            rounds: self.rounds,
            ms: summaries.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// What the stages work on: each has its input ready, so that any of them can be measured alone.
struct Subject {
    networks: Recogniser,
    gallery: Gallery,
    picture: RgbImage,
    jpeg: Vec<u8>,
    faces: usize,
    /// The face that is aligned, embedded and matched.
    face: FoundFace,
    probe: Embedding,
    party: Party,
    /// As many bytes as the gallery's templates, twice.
    memory: (Vec<u8>, Vec<u8>),
    pad: Option<Liveness>,
    book: Book,
    journal: Option<Scratch>,
}

impl Subject {
    fn new(mut networks: Recogniser, picture: RgbImage, people: usize) -> anyhow::Result<Self> {
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
            .encode_image(&picture)
            .context("the picture cannot be turned into a JPEG")?;
        let (faces, face) = found_face(&mut networks, &picture)?;
        let probe = embed_one(&mut networks, &face)?;
        let gallery = crowd(networks.model().clone(), probe.dim(), people)?;
        let bytes = gallery.templates() * gallery.dim() * size_of::<f32>();
        let memory = (vec![1; bytes], vec![2; bytes]);
        let book = Book::new()?;
        let party = Party::new(rule(&Config::default()), &gallery, &probe);
        Ok(Self {
            networks,
            gallery,
            picture,
            jpeg,
            faces,
            face,
            probe,
            party,
            memory,
            pad: None,
            journal: None,
            book,
        })
    }

    /// How long one stage takes.
    fn time(&mut self, stage: Stage) -> anyhow::Result<Duration> {
        let start = SystemClock.now();
        match stage {
            Stage::Decode => drop(black_box(decode_jpeg(&self.jpeg, MAX_FRAME_PIXELS)?)),
            Stage::Detect => drop(black_box(self.networks.detect(&self.picture)?)),
            Stage::Align => drop(black_box(FoundFace::new(&self.picture, self.face.face))),
            Stage::Embed => drop(black_box(embed_one(&mut self.networks, &self.face)?)),
            Stage::Match => drop(black_box(self.gallery.find(&self.probe))),
            Stage::Decide => drop(black_box(self.party.frame())),
            Stage::Pad => {
                let net =
                    self.pad.as_mut().context("no PAD network is installed; fetch one with `make models`")?;
                let crop = margin::crop(&self.picture, &self.face.face.bbox, net.margin(), net.side());
                black_box(net.live(&crop)?);
            }
            Stage::Rules => drop(black_box(self.book.decide())),
            Stage::Record => {
                let scratch = self.journal.as_mut().context("there is no journal to write to")?;
                scratch.store.append(&scratch.grant, Stamp::now(&SystemClock))?;
            }
            Stage::Copy => black_box(&mut self.memory.1).copy_from_slice(black_box(&self.memory.0)),
        }
        Ok(SystemClock.now().since(start))
    }
}

/// A journal of its own on the disk of the configured one, for as long as it is measured.
struct Scratch {
    // Fields are dropped in order: the database is closed before its folder goes.
    store: SqliteStore,
    grant: Event,
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            log::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}

impl Scratch {
    fn beside(config: &Config) -> anyhow::Result<Self> {
        let parent = config
            .paths
            .database
            .parent()
            .filter(|p| p.is_dir())
            .map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = parent.join(format!(".accessd-bench-{}", std::process::id()));
        std::fs::create_dir(&folder)
            .with_context(|| format!("{} cannot be made for measuring the disk", folder.display()))?;
        let folder = Folder(folder);
        let mut there = config.clone();
        (there.paths.database, there.paths.device_key) =
            (folder.0.join("accessd.db"), folder.0.join("device.key"));
        let store = open_store(&there, OpenMode::Create)?;
        let figures =
            json!({ "best": { "person": 1, "name": "Ada", "score": 0.75 }, "padding": "x".repeat(700) });
        let person = Some(PersonRef { id: PersonId(1), name: "Ada".into() });
        let grant = Event { person, ..Event::new(EventKind::Grant, figures) };
        Ok(Self { store, grant, _folder: folder })
    }
}

/// How many faces are in the picture, and the first; the drawn one's place when none is found.
fn found_face(networks: &mut Recogniser, picture: &RgbImage) -> anyhow::Result<(usize, FoundFace)> {
    let found = networks.detect(picture)?;
    let face = found.first().copied();
    let face = face.unwrap_or_else(|| drawing::outline(picture.width(), picture.height()));
    Ok((found.len(), FoundFace::new(picture, face)))
}

/// The PAD network to measure, when there is one.
fn pad_network(config: &Config) -> anyhow::Result<Option<Liveness>> {
    let installed = Library::new(&config.paths.models).list()?;
    let mut files = installed.into_iter().filter_map(|i| i.file.ok()).filter(|f| f.card.job == "liveness");
    let device = crate::nn::device(&config.encoder.device)?;
    Ok(files.next().map(|file| Liveness::new(&file, &device)).transpose()?)
}

fn embed_one(networks: &mut Recogniser, face: &FoundFace) -> anyhow::Result<Embedding> {
    networks.embed(&[&face.crop])?.into_iter().next().context("the encoder gave no embedding")
}

/// The times of every round, by stage; sums of stages at the end.
struct Times(Vec<(&'static str, Vec<Duration>)>);

impl Times {
    fn new(stages: &[Stage], rounds: Vec<Vec<Duration>>) -> Self {
        let column = |i: usize| rounds.iter().map(|round| round[i]).collect();
        let mut times: Vec<_> =
            stages.iter().enumerate().map(|(i, stage)| (stage.name(), column(i))).collect();
        for (name, parts) in SUMS {
            let at: Option<Vec<usize>> =
                parts.iter().map(|part| stages.iter().position(|stage| stage == part)).collect();
            if let Some(at) = at {
                times.push((name, rounds.iter().map(|round| at.iter().map(|&i| round[i]).sum()).collect()));
            }
        }
        Self(times)
    }

    fn summaries(&self) -> impl Iterator<Item = (&'static str, Summary)> {
        self.0.iter().map(|(stage, times)| (*stage, Summary::of(times)))
    }
}

fn measure(subject: &mut Subject, stages: &[Stage], rounds: u32) -> anyhow::Result<Times> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} rounds, {eta} left")
        .expect("the template is valid");
    let progress = ProgressBar::new(rounds.into()).with_style(style);
    let mut round = || stages.iter().map(|stage| subject.time(*stage)).collect::<anyhow::Result<Vec<_>>>();
    for _ in 0..WARM_UP {
        round()?;
    }
    let mut times = Vec::with_capacity(rounds as usize);
    for _ in 0..rounds {
        times.push(round()?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(Times::new(stages, times))
}

impl Summary {
    /// Median and 95th percentile by nearest rank.
    fn of(times: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = times.iter().map(|t| t.as_secs_f64() * 1000.0).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).max(1) - 1];
        Self { median: rank(0.5), p95: rank(0.95), min: rank(0.0) }
    }
}

fn table(times: &Times) -> Table {
    let mut table = output::table(["STAGE", "MEDIAN MS", "P95 MS", "MIN MS"]);
    for (stage, summary) in times.summaries() {
        let shown = [summary.median, summary.p95, summary.min].map(|ms| format!("{ms:.3}"));
        table.add_row([vec![stage.to_owned()], shown.to_vec()].concat());
    }
    output::align_right(&mut table, 1..4);
    table
}

/// Names and embeddings of made-up people: seeded noise on the unit sphere.
fn made_up(dim: usize, people: usize) -> impl Iterator<Item = (String, Result<Embedding, EmbeddingError>)> {
    let mut noise = Noise(0x5eed);
    (1..=people).map(move |n| {
        let values = (0..dim).map(|_| noise.next()).collect();
        (format!("person {n}"), Embedding::normalise(values))
    })
}

/// A gallery of made-up people.
fn crowd(model: ModelId, dim: usize, people: usize) -> anyhow::Result<Gallery> {
    let templates = made_up(dim, people)
        .zip(1..)
        .map(|((name, embedding), id)| Ok((PersonId(id), Arc::from(name), embedding?)));
    Ok(Gallery::new(model, 0, templates.collect::<anyhow::Result<_>>()?))
}

/// SplitMix64 (Steele, Lea, Flood 2014) as numbers from −1 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_ranks_of_what_was_measured() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(Summary::of(&times), Summary { median: 50.0, p95: 95.0, min: 1.0 });
        let one = [Duration::from_millis(7)];
        assert_eq!(Summary::of(&one), Summary { median: 7.0, p95: 7.0, min: 7.0 });
    }

    #[test]
    fn the_noise_is_seeded_and_stays_in_its_range() {
        let draw = || {
            let mut noise = Noise(1);
            (0..1000).map(|_| noise.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
        assert!(draw().iter().all(|x| (-1.0..=1.0).contains(x)));
        let mean = draw().iter().sum::<f32>() / 1000.0;
        assert!(mean.abs() < 0.1, "{mean}");
    }

    #[test]
    fn the_crowd_has_as_many_people_as_asked_for() {
        let gallery = crowd(ModelId("m@1".into()), 8, 30).unwrap();
        assert_eq!((gallery.people(), gallery.templates()), (30, 30));
    }

    #[test]
    fn sums_are_shown_when_all_their_stages_were_measured() {
        let round = |ms: [u64; 5]| ms.map(Duration::from_millis).to_vec();
        let all = Times::new(&Stage::OF_A_FRAME, vec![round([1, 2, 3, 4, 5]), round([1, 2, 3, 4, 5])]);
        let shown: Vec<_> = all.summaries().map(|(name, s)| (name, s.median)).collect();
        let expected = [
            ("decode", 1.0),
            ("detect", 2.0),
            ("align", 3.0),
            ("embed", 4.0),
            ("match", 5.0),
            ("recognise", 9.0),
            ("frame", 15.0),
        ];
        assert_eq!(shown, expected);
        let one = Times::new(&[Stage::Match], vec![vec![Duration::from_millis(5)]]);
        assert_eq!(one.summaries().map(|(name, _)| name).collect::<Vec<_>>(), ["match"]);
    }
}
