//! `accessd bench`: how long each stage takes on this machine, from a JPEG to the person it shows.

mod drawing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use comfy_table::Table;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::adapters::load_networks;
use super::output::{self, Output};
use super::{Exit, Globals};
use crate::clock::{Clock, SystemClock};
use crate::encoder::{Embedding, ModelId};
use crate::frame::{MAX_FRAME_PIXELS, decode_jpeg, load_image};
use crate::gallery::{Gallery, PersonId};
use crate::liveness::network::Liveness;
use crate::models::Library;
use crate::recognition::{FoundFace, Recogniser};
use crate::vision::{Face, margin};

/// Measure each stage from a picture to a person on this machine
///
/// Decodes a JPEG, seeks faces in it, aligns one face, asks an installed PAD network whether it is live, embeds it and
/// matches it against 1,000 made-up people, over and over.
#[derive(Args, Debug)]
pub(super) struct Bench {
    /// Picture to use; a drawn one of the camera's size when not given
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// How often everything is done
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Print JSON: {"version", "model", "device", "image", "width", "height", "faces", "people", "rounds",
    /// "ms": {STAGE: {"median", "p95", "min"}}}
    #[arg(long)]
    json: bool,
}

/// Made-up people in the gallery.
const PEOPLE: usize = 1000;
/// Rounds before counting begins: memory is paged in, the processor's clock goes up.
const WARM_UP: u32 = 3;
/// JPEG quality of a USB camera, about.
const JPEG_QUALITY: u8 = 85;
/// The stages in order; the last is all of them together. `pad` is left out when no PAD network is installed.
const STAGES: [&str; 7] = ["decode", "detect", "align", "pad", "embed", "match", "frame"];

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    model: ModelId,
    device: String,
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
        let pad = pad_network(&config)?;
        let mut subject = Subject::new(load_networks(&config)?, pad, self.picture(&config)?)?;
        let times = measure(&mut subject, self.rounds)?;
        let mut out = Output::new();
        if self.json {
            out.json(&self.report(&subject, &config.encoder.device, &times)?)?;
        } else {
            let (width, height) = subject.picture.dimensions();
            let picture = self.image.as_deref().unwrap_or(Path::new("a drawn picture")).display();
            out.line(format_args!("{} on {}", subject.networks.model(), config.encoder.device))?;
            out.line(format_args!(
                "{picture}, {width}×{height} px, {} found",
                output::count(subject.faces, "face", "faces")
            ))?;
            out.line(format_args!(
                "{PEOPLE} people, {}\n",
                output::count(self.rounds as usize, "round", "rounds")
            ))?;
            out.table(&table(&times))?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }

    fn picture(&self, config: &crate::config::Config) -> anyhow::Result<RgbImage> {
        match &self.image {
            Some(file) => Ok(load_image(file)?),
            None => Ok(drawing::face(config.camera.width, config.camera.height)),
        }
    }

    fn report(&self, subject: &Subject, device: &str, times: &Times) -> anyhow::Result<Report> {
        let (width, height) = subject.picture.dimensions();
        let summaries =
            times.summaries().map(|(stage, summary)| Ok((stage.to_owned(), serde_json::to_value(summary)?)));
        Ok(Report {
            version: env!("CARGO_PKG_VERSION"),
            model: subject.networks.model().clone(),
            device: device.to_owned(),
            image: self.image.clone(),
            width,
            height,
            faces: subject.faces,
            people: PEOPLE,
            rounds: self.rounds,
            ms: summaries.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// What is measured.
struct Subject {
    networks: Recogniser,
    gallery: Gallery,
    picture: RgbImage,
    jpeg: Vec<u8>,
    faces: usize,
    /// The face that is aligned, embedded and matched.
    face: Face,
    /// The first PAD network that is installed.
    pad: Option<Liveness>,
}

impl Subject {
    fn new(mut networks: Recogniser, pad: Option<Liveness>, picture: RgbImage) -> anyhow::Result<Self> {
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
            .encode_image(&picture)
            .context("the picture cannot be turned into a JPEG")?;
        let found = networks.detect(&picture)?;
        let face =
            found.first().copied().unwrap_or_else(|| drawing::outline(picture.width(), picture.height()));
        let probe = networks.embed(&[&FoundFace::new(&picture, face).crop])?;
        let dim = probe.first().map_or(0, Embedding::dim);
        let gallery = crowd(networks.model().clone(), dim)?;
        Ok(Self { networks, gallery, picture, jpeg, faces: found.len(), face, pad })
    }

    /// Everything once; the times of the stages in order.
    fn round(&mut self) -> anyhow::Result<[Duration; STAGES.len()]> {
        let (image, decode) = timed(|| decode_jpeg(&self.jpeg, MAX_FRAME_PIXELS));
        let image = image?;
        let (found, detect) = timed(|| self.networks.detect(&image));
        found?;
        let (face, one_align) = timed(|| FoundFace::new(&image, self.face));
        let bbox = self.face.bbox;
        let (live, pad) = match &mut self.pad {
            Some(net) => timed(|| net.live(&margin::crop(&image, &bbox, net.margin(), net.side())).map(Some)),
            None => (Ok(None), Duration::ZERO),
        };
        live?;
        let (embeddings, embed) = timed(|| self.networks.embed(&[&face.crop]));
        let probe = embeddings?.into_iter().next().context("the encoder gave no embedding")?;
        let (_, search) = timed(|| self.gallery.find(&probe));
        let frame = decode + detect + one_align + pad + embed + search;
        Ok([decode, detect, one_align, pad, embed, search, frame])
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = SystemClock.now();
    let done = std::hint::black_box(work());
    (done, SystemClock.now().since(start))
}

/// The PAD network to measure, when there is one.
fn pad_network(config: &crate::config::Config) -> anyhow::Result<Option<Liveness>> {
    let installed = Library::new(&config.paths.models).list()?;
    let mut files = installed.into_iter().filter_map(|i| i.file.ok()).filter(|f| f.card.job == "liveness");
    let device = crate::nn::device(&config.encoder.device)?;
    Ok(files.next().map(|file| Liveness::new(&file, &device)).transpose()?)
}

/// The times of every round, by stage.
struct Times([Vec<Duration>; STAGES.len()]);

impl Times {
    fn summaries(&self) -> impl Iterator<Item = (&'static str, Summary)> {
        let stages = STAGES.iter().copied().zip(self.0.iter().map(|times| Summary::of(times)));
        stages.filter(|(stage, summary)| *stage != "pad" || summary.min > 0.0)
    }
}

fn measure(subject: &mut Subject, rounds: u32) -> anyhow::Result<Times> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} rounds, {eta} left")
        .expect("the template is valid");
    let progress = ProgressBar::new(rounds.into()).with_style(style);
    for _ in 0..WARM_UP {
        subject.round()?;
    }
    let mut times = Times(Default::default());
    for _ in 0..rounds {
        for (all, one) in times.0.iter_mut().zip(subject.round()?) {
            all.push(one);
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(times)
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

/// A gallery of made-up people: seeded noise on the unit sphere.
fn crowd(model: ModelId, dim: usize) -> anyhow::Result<Gallery> {
    let mut noise = Noise(0x5eed);
    let mut templates = Vec::with_capacity(PEOPLE);
    for id in 1..=PEOPLE {
        let values = (0..dim).map(|_| noise.next()).collect();
        templates.push((
            PersonId(id as i64),
            Arc::from(format!("person {id}")),
            Embedding::normalise(values)?,
        ));
    }
    Ok(Gallery::new(model, 0, templates))
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
    fn the_crowd_is_a_thousand_people() {
        let gallery = crowd(ModelId("m@1".into()), 8).unwrap();
        assert_eq!(gallery.people(), PEOPLE);
    }
}
