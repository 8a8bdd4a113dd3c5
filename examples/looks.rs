//! Two measurements behind `docs/threshold.md`, on pictures of known people:
//!
//!     looks norm MODELS IMAGES PEOPLE FOLDS COHORT_IMAGES COHORT_PEOPLE COHORT_FOLDS WITHOUT EXCEPT
//!     looks distance MODELS IMAGES OPENSET DETECT_PX EYES_PX...
//!
//! `norm` asks whether scores tell people apart better once they are normalised against a cohort (adaptive symmetric
//! score normalisation, Matějka et al. 2017): all pictures of PEOPLE in FOLDS against each other, once by cosine and once
//! by how far the cosine stands out of the highest that either picture has with the cohort, one picture a person. The pairs of
//! names in EXCEPT (CSV `a,b`) are one person and left out; so is from the cohort who is in WITHOUT (CSV `identity`).
//!
//! `distance` asks how near people must stand: the probes of OPENSET (`role,identity,path`) are shrunk until their eyes are
//! so many px apart, put before a grey wall of 640 × 480 px, found there as the door finds them, and held against the
//! enrolled pictures, which stay as they are.

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use accessd::encoder::{Embedding, compare};
use accessd::eval::cohort::{PeopleSet, read_except, read_people};
use accessd::eval::embed_set::{embed_all, require_images};
use accessd::eval::openset::OpenSet;
use accessd::frame::load_image;
use accessd::recognition::{FoundFace, Recogniser, RecogniserOptions};
use image::{Rgb, RgbImage, imageops};
use indicatif::ProgressBar;

const USAGE: &str = "usage: looks norm MODELS IMAGES PEOPLE FOLDS COHORT_IMAGES COHORT_PEOPLE COHORT_FOLDS WITHOUT EXCEPT\n       looks distance MODELS IMAGES OPENSET DETECT_PX EYES_PX...";

/// False match rates at which misses are counted.
const RATES: [f64; 3] = [1e-3, 1e-4, 1e-5];
/// Highest cohort scores that a score is held against.
const NEAREST: [usize; 3] = [50, 200, 400];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["norm", models, images, people, folds, cohort, cohort_people, cohort_folds, without, except] => {
            let split = |folds: &str| folds.split(',').map(str::to_owned).collect::<Vec<_>>();
            let nobody = HashSet::new();
            let set = PeopleSet::read(Path::new(people), Path::new(images), &split(folds), &nobody)?;
            let without = read_people(Path::new(without))?;
            let own = PeopleSet::read(Path::new(people), Path::new(images), &split(cohort_folds), &without)?;
            let others = PeopleSet::read(Path::new(cohort_people), Path::new(cohort), &[], &without)?;
            let except = read_except(Path::new(except))?;
            let mut background = embed_one_each(models, images, &own)?;
            background.extend(embed_one_each(models, cohort, &others)?);
            let faces = embed(models, images, &set.images)?;
            norm(&set, &faces, &background, |a, b| except.contains(&(a.to_owned(), b.to_owned())));
            Ok(())
        }
        ["distance", models, images, openset, detect_px, ref eyes @ ..] => {
            let eyes = eyes.iter().map(|px| px.parse()).collect::<Result<Vec<f32>, _>>()?;
            distance(
                models,
                Path::new(images),
                &OpenSet::read(Path::new(openset))?,
                detect_px.parse()?,
                &eyes,
            )
        }
        _ => Err(USAGE.into()),
    }
}

fn load(models: &str, detect_px: u32) -> Outcome<Recogniser> {
    Ok(Recogniser::load(&RecogniserOptions {
        models: models.into(),
        encoder: "sface".into(),
        device: "cpu".into(),
        detect_px,
        min_face_score: 0.7,
        threads: 1,
    })?)
}

fn embed(models: &str, images: &str, files: &[PathBuf]) -> Outcome<Vec<Option<Embedding>>> {
    let files = require_images(Path::new("the list"), Path::new(images), files)?;
    Ok(embed_all(&files, vec![load(models, 320)?], &ProgressBar::new(0))?)
}

/// The first picture of each person.
fn embed_one_each(models: &str, images: &str, set: &PeopleSet) -> Outcome<Vec<Embedding>> {
    let mut seen = HashSet::new();
    let first: Vec<PathBuf> = set
        .images
        .iter()
        .zip(&set.person)
        .filter(|(_, p)| seen.insert(**p))
        .map(|(i, _)| i.clone())
        .collect();
    Ok(embed(models, images, &first)?.into_iter().flatten().collect())
}

/// Scores of pairs of one person and of different people.
#[derive(Default)]
struct Scores {
    genuine: Vec<f32>,
    impostor: Vec<f32>,
}

impl Scores {
    fn take(&mut self, same: bool, score: f32) {
        if same { self.genuine.push(score) } else { self.impostor.push(score) }
    }

    /// Share of genuine pairs below the score that a share of `rate` of the impostors reach.
    fn missed(&mut self, rate: f64) -> f64 {
        self.impostor.sort_by(|a, b| b.total_cmp(a));
        let bar = self.impostor[(rate * self.impostor.len() as f64) as usize];
        let missed = self.genuine.iter().filter(|score| **score <= bar).count();
        missed as f64 / self.genuine.len() as f64
    }

    fn print(&mut self, name: &str) {
        let cells: Vec<String> =
            RATES.iter().map(|rate| format!("{:>9.3} %", 100.0 * self.missed(*rate))).collect();
        println!("{name:<34}{}", cells.join(""));
    }
}

/// Mean and spread of the `nearest` highest cosines of a face with the cohort.
fn background(face: &Embedding, cohort: &[Embedding], nearest: usize) -> (f32, f32) {
    let mut scores: Vec<f32> = cohort.iter().map(|other| compare(face, other).score.0).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.truncate(nearest);
    let n = scores.len() as f32;
    let mean = scores.iter().sum::<f32>() / n;
    (mean, (scores.iter().map(|s| (s - mean).powi(2)).sum::<f32>() / n).sqrt())
}

fn norm(
    set: &PeopleSet,
    faces: &[Option<Embedding>],
    cohort: &[Embedding],
    one_person: impl Fn(&str, &str) -> bool,
) {
    let faces: Vec<(usize, &Embedding)> =
        set.person.iter().zip(faces).filter_map(|(p, face)| face.as_ref().map(|face| (*p, face))).collect();
    println!("{} pictures of {} people, a cohort of {} others", faces.len(), set.people.len(), cohort.len());
    let (mut plain, mut normed) = (Scores::default(), NEAREST.map(|_| Scores::default()));
    let around: Vec<_> =
        faces.iter().map(|(_, face)| NEAREST.map(|nearest| background(face, cohort, nearest))).collect();
    for (i, (a, face)) in faces.iter().enumerate() {
        for (j, (b, other)) in faces.iter().enumerate().skip(i + 1) {
            if a != b && one_person(&set.people[*a], &set.people[*b]) {
                continue;
            }
            let score = compare(face, other).score.0;
            plain.take(a == b, score);
            for (k, normed) in normed.iter_mut().enumerate() {
                let out = |(mean, spread): (f32, f32)| (score - mean) / spread;
                normed.take(a == b, (out(around[i][k]) + out(around[j][k])) / 2.0);
            }
        }
    }
    println!("{} pairs of one person, {} of two", plain.genuine.len(), plain.impostor.len());
    println!("{:<34}{}", "misses at false matches of", RATES.map(|rate| format!("{rate:>11.0e}")).join(""));
    plain.print("cosine");
    for (nearest, scores) in NEAREST.into_iter().zip(&mut normed) {
        scores.print(&format!("adaptive s-norm, nearest {nearest}"));
    }
}

/// The face a picture is about.
fn subject(faces: Vec<FoundFace>, size: (u32, u32)) -> Option<FoundFace> {
    faces.into_iter().max_by(|a, b| a.face.prominence(size).total_cmp(&b.face.prominence(size)))
}

/// Before a wall, with the eyes so many px apart.
fn from_afar(picture: &RgbImage, now_px: f32, eyes_px: f32) -> RgbImage {
    let scale = eyes_px / now_px;
    let side = |px: u32| ((px as f32 * scale).round() as u32).max(1);
    let small = imageops::resize(
        picture,
        side(picture.width()),
        side(picture.height()),
        imageops::FilterType::Triangle,
    );
    let mut scene = RgbImage::from_pixel(640, 480, Rgb([128; 3]));
    let (x, y) = (640 - i64::from(small.width()), 480 - i64::from(small.height()));
    imageops::replace(&mut scene, &small, x / 2, y / 2);
    scene
}

fn distance(models: &str, images: &Path, set: &OpenSet, detect_px: u32, eyes: &[f32]) -> Outcome<()> {
    let mut near = load(models, 320)?;
    let mut door = load(models, detect_px)?;
    let enrolled: Vec<Vec<Embedding>> = set
        .enrolled
        .iter()
        .map(|own| {
            let faces = own.iter().map(|i| {
                let picture = load_image(&images.join(&set.images[*i]))?;
                let face = subject(near.find(&picture)?, picture.dimensions()).ok_or("no face")?;
                Ok(near.embed(&[&face.crop])?.remove(0))
            });
            faces.collect::<Outcome<_>>()
        })
        .collect::<Outcome<_>>()?;
    let probes: Vec<(PathBuf, Option<usize>)> = set
        .mated
        .iter()
        .map(|probe| (images.join(&set.images[probe.image]), Some(probe.person)))
        .chain(set.nonmated.iter().map(|i| (images.join(&set.images[*i]), None)))
        .collect();
    println!(
        "{:>7}{:>11}{:>11}{:>9}{:>22}{:>12}",
        "eyes px", "not found", "sharpness", "median", "missed at 0.47 / 0.52", "0.47 / 0.52 false"
    );
    for &eyes_px in eyes {
        let (mut lost, mut own, mut false_matches, mut pairs, mut sharp) =
            (0, Vec::new(), [0, 0], 0, Vec::new());
        for (file, person) in &probes {
            let picture = load_image(file)?;
            let Some(face) = subject(near.find(&picture)?, picture.dimensions()) else { continue };
            let scene = from_afar(&picture, face.quality.eye_distance_px, eyes_px);
            let Some(face) = subject(door.find(&scene)?, scene.dimensions()) else {
                lost += usize::from(person.is_some());
                continue;
            };
            sharp.push(face.quality.sharpness);
            let probe = door.embed(&[&face.crop])?.remove(0);
            let best = |templates: &[Embedding]| {
                templates.iter().map(|t| compare(t, &probe).score.0).fold(f32::MIN, f32::max)
            };
            for (i, templates) in enrolled.iter().enumerate() {
                let score = best(templates);
                if Some(i) == *person {
                    own.push(score);
                } else {
                    pairs += 1;
                    false_matches[0] += usize::from(score >= 0.47);
                    false_matches[1] += usize::from(score >= 0.52);
                }
            }
        }
        own.sort_by(f32::total_cmp);
        sharp.sort_by(f32::total_cmp);
        let missed = |bar: f32| 100.0 * own.iter().filter(|s| **s < bar).count() as f32 / own.len() as f32;
        let share = |n: usize| n as f64 / pairs as f64;
        println!(
            "{eyes_px:>7}{lost:>11}{:>11.0}{:>9.3}{:>12.2} / {:.2} %{:>12.1e} / {:.1e}",
            sharp[sharp.len() / 20],
            own[own.len() / 2],
            missed(0.47),
            missed(0.52),
            share(false_matches[0]),
            share(false_matches[1])
        );
    }
    Ok(())
}
