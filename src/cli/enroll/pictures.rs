//! Enrolment from picture files: each is found, judged and embedded; all must agree before anything is stored.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::super::adapters::{gates, keeps_crops, load_networks};
use super::super::picture::Picture;
use crate::config::Config;
use crate::encoder::compare;
use crate::gallery::{KeptCrop, NewTemplate, SAME_PERSON, TemplateSource};
use crate::recognition::{FoundFace, Recogniser};
use crate::vision::quality::QualityGates;

/// Endings of the picture files that are looked for in a folder.
const ENDINGS: [&str; 6] = ["jpg", "jpeg", "png", "pgm", "ppm", "pnm"];

/// Crops that are kept of one enrolment at most: no encoder wants more, and all travel in one request.
const MOST_CROPS: usize = 8;

/// A picture that cannot serve as a sample.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    image: PathBuf,
    /// Begins with the picture's name.
    why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A picture that can.
struct Sample {
    image: PathBuf,
    template: NewTemplate,
}

/// Templates of one person from picture files and folders, and what was refused: nothing without `skip_bad`.
pub(super) fn judge(
    config: &Config,
    paths: &[PathBuf],
    skip_bad: bool,
) -> anyhow::Result<(Vec<NewTemplate>, Vec<Refusal>)> {
    let files = gather(paths)?;
    let mut networks = load_networks(config)?;
    let (mut samples, refusals) = judge_all(&mut networks, &gates(config), files);
    let kept = if keeps_crops(config) { MOST_CROPS } else { 0 };
    samples.iter_mut().skip(kept).for_each(|sample| sample.template.crop = None);
    if !refusals.is_empty() && (!skip_bad || samples.is_empty()) {
        bail!(refused(&refusals, !samples.is_empty()));
    }
    agree(&samples)?;
    Ok((samples.into_iter().map(|sample| sample.template).collect(), refusals))
}

/// The files named, and the picture files of the folders named, in order.
fn gather(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let cannot = || format!("folder {} cannot be read", path.display());
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).with_context(cannot)? {
            let file = entry.with_context(cannot)?.path();
            if is_picture(&file) {
                inside.push(file);
            }
        }
        ensure!(
            !inside.is_empty(),
            "folder {} has no pictures (files ending in {})",
            path.display(),
            ENDINGS.join(", ")
        );
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

fn is_picture(file: &Path) -> bool {
    let ending = file.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    file.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

fn judge_all(
    networks: &mut Recogniser,
    gates: &QualityGates,
    files: Vec<PathBuf>,
) -> (Vec<Sample>, Vec<Refusal>) {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("the template is valid");
    let progress = ProgressBar::new(files.len() as u64).with_style(style);
    let (mut samples, mut refusals) = (Vec::new(), Vec::new());
    for image in files {
        progress.set_message(image.display().to_string());
        // A picture that cannot be read is refused like one that is blurred: --skip-bad may go on without it.
        match judge_one(networks, gates, &image) {
            Ok(template) => samples.push(Sample { image, template }),
            Err(why) => refusals.push(Refusal { image, why: format!("{why:#}") }),
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    (samples, refusals)
}

fn judge_one(networks: &mut Recogniser, gates: &QualityGates, image: &Path) -> anyhow::Result<NewTemplate> {
    let picture = Picture::read(image)?;
    let face = the_one_face(image, picture.faces(networks)?, gates)?;
    Ok(NewTemplate {
        model: networks.model().clone(),
        embedding: picture.embed(networks, &face)?,
        quality: face.quality,
        source: TemplateSource::Image,
        crop: KeptCrop::of(&face.crop),
    })
}

/// The face of a picture that has exactly one, and a good one; otherwise what is wrong.
fn the_one_face(image: &Path, mut faces: Vec<FoundFace>, gates: &QualityGates) -> anyhow::Result<FoundFace> {
    let image = image.display();
    ensure!(
        faces.len() == 1,
        "{image}: {} faces are in it; use a picture of one person alone, or cut it out",
        faces.len()
    );
    let face = faces.remove(0);
    if let Some(issue) = gates.judge(&face.quality) {
        bail!("{image}: {}", gates.explain(issue, &face.quality));
    }
    Ok(face)
}

fn refused(refusals: &[Refusal], some_are_good: bool) -> String {
    let lines: String = refusals.iter().map(|refusal| format!("\n  {refusal}")).collect();
    let way_out = if some_are_good { "; use better ones, or leave them out with --skip-bad" } else { "" };
    format!("nothing is stored, pictures are refused{way_out}:{lines}")
}

/// Every two samples must be of one person.
fn agree(samples: &[Sample]) -> anyhow::Result<()> {
    let pairs = samples.iter().enumerate().flat_map(|(i, a)| samples[i + 1..].iter().map(move |b| (a, b)));
    let alike = |(a, b): (&Sample, &Sample)| compare(&a.template.embedding, &b.template.embedding).score;
    let apart: Vec<String> = pairs
        .map(|pair| (pair, alike(pair)))
        .filter(|(_, score)| *score < SAME_PERSON)
        .map(|((a, b), score)| {
            format!("\n  {} and {}: score {:.2}", a.image.display(), b.image.display(), score.0)
        })
        .collect();
    ensure!(
        apart.is_empty(),
        "nothing is stored, is this the same person? Two pictures of one person score at least {}:{}",
        SAME_PERSON.0,
        apart.concat()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::{Embedding, ModelId};
    use crate::vision::align::{AlignedCrop, CROP_SIDE};
    use crate::vision::quality::Quality;
    use crate::vision::{BBox, Face};
    use image::RgbImage;

    const GOOD: Quality = Quality {
        eye_distance_px: 60.0,
        sharpness: 100.0,
        light: 120.0,
        yaw_deg: 0.0,
        pitch_deg: 0.0,
        roll_deg: 0.0,
    };

    fn face(quality: Quality) -> FoundFace {
        let bbox = BBox { x: 0.0, y: 0.0, w: 10.0, h: 10.0 };
        FoundFace {
            face: Face { bbox, landmarks: [[0.0; 2]; 5], score: 0.9 },
            crop: AlignedCrop(RgbImage::new(CROP_SIDE, CROP_SIDE)),
            quality,
        }
    }

    fn sample(image: &str, values: [f32; 2]) -> Sample {
        let embedding = Embedding::normalise(values.to_vec()).unwrap();
        let model = ModelId("m@1".into());
        let template =
            NewTemplate { model, embedding, quality: GOOD, source: TemplateSource::Image, crop: None };
        Sample { image: image.into(), template }
    }

    #[test]
    fn a_picture_needs_exactly_one_good_face() {
        let gates = gates(&Config::default());
        let judge =
            |faces| the_one_face(Path::new("a.jpg"), faces, &gates).map(|_| ()).map_err(|e| e.to_string());
        assert_eq!(judge(vec![face(GOOD)]), Ok(()));
        assert!(judge(vec![face(GOOD), face(GOOD)]).unwrap_err().starts_with("a.jpg: 2 faces are in it"));
        let small = Quality { eye_distance_px: 18.0, ..GOOD };
        assert!(judge(vec![face(small)]).unwrap_err().starts_with("a.jpg: eye distance 18 px, needs 28"));
    }

    #[test]
    fn pictures_of_two_people_are_told_apart_by_name() {
        assert!(agree(&[]).is_ok());
        let (a, b, c) =
            (sample("a.jpg", [1.0, 0.0]), sample("b.jpg", [0.9, 0.4]), sample("c.jpg", [0.0, 1.0]));
        let error = agree(&[a, b, c]).unwrap_err().to_string();
        assert!(error.contains("is this the same person?"), "{error}");
        assert!(error.contains("a.jpg and c.jpg: score 0.00"), "{error}");
        assert!(!error.contains("a.jpg and b.jpg"), "{error}");
    }

    #[test]
    fn folders_give_their_pictures_in_order_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.JPG", "a.png", "notes.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("sub.jpg")).unwrap();
        let files = gather(&[dir.path().into(), "x.any".into()]).unwrap();
        let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.png", "b.JPG", "x.any"]);
        let empty = tempfile::tempdir().unwrap();
        assert!(gather(&[empty.path().into()]).unwrap_err().to_string().contains("has no pictures"));
    }

    #[test]
    fn refusals_are_listed_with_a_way_out() {
        let refusal = Refusal { image: "a.jpg".into(), why: "a.jpg: too dark".into() };
        let text = refused(&[refusal], true);
        assert!(text.contains("--skip-bad:\n  a.jpg: too dark"), "{text}");
    }
}
