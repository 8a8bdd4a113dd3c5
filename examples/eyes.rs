//! A measurement behind `docs/liveness.md`: can a blink be seen with nothing but the detector's five points?
//!
//!     eyes MODELS FPS CLIP_FOLDER...
//!     eyes MODELS FPS --moved PHOTOGRAPH...
//!
//! Each face is aligned, and of a patch about each eye two figures are taken: how much it changes from row to row (`edges`), and
//! how much darker its darkest tenth is than its middle (`dark`). Both fall when lids close. A blink is a dip of both eyes
//! below a share of the track's own median that lasts 80 to 400 ms and comes back, while mouth and forehead keep theirs. For
//! each frame the more open eye is printed, and how far mouth or forehead are off; for each depth of the dip the blinks, with their times; `--moved` plays photographs that are moved as a
//! hand moves them, which never blink.

use std::error::Error;
use std::path::{Path, PathBuf};

use accessd::frame::load_image;
use accessd::recognition::{Recogniser, RecogniserOptions};
use accessd::vision::Landmarks;
use accessd::vision::align::{Similarity, TEMPLATE};
use image::{Rgb, RgbImage};

const USAGE: &str = "usage: eyes MODELS FPS CLIP_FOLDER...\n       eyes MODELS FPS --moved PHOTOGRAPH...";

/// Shares of the median below which both eyes must fall.
const DEPTHS: [f32; 5] = [0.9, 0.8, 0.7, 0.6, 0.5];
/// How long a blink lasts, in ms.
const LASTS: std::ops::RangeInclusive<f32> = 80.0..=400.0;
/// Mouth and forehead stay within this share of their medians.
const STEADY: f32 = 0.15;
/// Frames of a photograph that is moved.
const MOVED: usize = 150;
/// Patches of the aligned crop: middle, half width, half height. Both eyes, mouth, forehead.
const PATCHES: [([f32; 2], i32, i32); 4] =
    [(TEMPLATE[0], 11, 6), (TEMPLATE[1], 11, 6), ([56.0, 92.0], 16, 7), ([56.0, 30.0], 16, 6)];

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The patches' figures in one frame.
type Figures = [f32; PATCHES.len()];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (models, fps, rest) = match words[..] {
        [models, fps, ref rest @ ..] if !rest.is_empty() => (models, fps.parse::<f32>()?, rest),
        _ => return Err(USAGE.into()),
    };
    let mut networks = Recogniser::load(&RecogniserOptions {
        models: models.into(),
        encoder: "sface".into(),
        device: "cpu".into(),
        detect_px: 320,
        min_face_score: 0.7,
        threads: 1,
    })?;
    let moved = rest[0] == "--moved";
    for path in rest.iter().filter(|word| **word != "--moved") {
        let path = Path::new(path);
        let tracks = if moved {
            measure(&mut networks, (0..MOVED).map(|i| Ok(shaken(&load_image(path)?, i, fps))))?
        } else {
            measure(&mut networks, pictures(path)?.iter().map(|file| Ok(load_image(file)?)))?
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        println!(
            "{name}: {} frames with a face, {:.0} px between the eyes",
            tracks.edges.len(),
            tracks.eyes_px
        );
        for (measure, figures) in [("edges", &tracks.edges), ("dark", &tracks.dark)] {
            let spread = shares(figures);
            let cells: Vec<String> =
                spread.iter().map(|[eyes, rest]| format!("{eyes:.2}/{rest:.2}")).collect();
            println!("  {measure:<6} {}", cells.join(" "));
            for depth in DEPTHS {
                let found = blinks(figures, depth, fps);
                println!("  {measure:<6} below {depth:.1}: {} {}", found.len(), at(&found, fps));
            }
        }
    }
    Ok(())
}

/// What was measured of the one face of a clip, frame by frame.
#[derive(Default)]
struct Track {
    edges: Vec<Figures>,
    dark: Vec<Figures>,
    eyes_px: f32,
}

fn measure(networks: &mut Recogniser, pictures: impl Iterator<Item = Outcome<RgbImage>>) -> Outcome<Track> {
    let mut track = Track::default();
    for picture in pictures {
        let Some(found) = networks.find(&picture?)?.into_iter().next() else { continue };
        track.eyes_px = found.quality.eye_distance_px;
        let grey = |x: i32, y: i32| {
            let Rgb([r, g, b]) = found.crop.0.get_pixel(x as u32, y as u32);
            0.299 * f32::from(*r) + 0.587 * f32::from(*g) + 0.114 * f32::from(*b)
        };
        let cells = |(middle, w, h): ([f32; 2], i32, i32)| {
            let (x, y) = (middle[0].round() as i32, middle[1].round() as i32);
            (y - h..=y + h).flat_map(move |y| (x - w..=x + w).map(move |x| (x, y))).collect::<Vec<_>>()
        };
        track.edges.push(PATCHES.map(|patch| {
            let cells = cells(patch);
            let sum: f32 = cells.iter().map(|&(x, y)| (grey(x, y + 1) - grey(x, y - 1)).abs()).sum();
            sum / cells.len() as f32
        }));
        track.dark.push(PATCHES.map(|patch| {
            let mut values: Vec<f32> = cells(patch).iter().map(|&(x, y)| grey(x, y)).collect();
            values.sort_by(f32::total_cmp);
            let (middle, low) = (values[values.len() / 2], values[values.len() / 10]);
            (middle - low) / middle.max(1.0)
        }));
    }
    Ok(track)
}

/// Frame by frame, in shares of the medians: the more open of the two eyes, and how far mouth or forehead are from theirs.
fn shares(figures: &[Figures]) -> Vec<[f32; 2]> {
    let medians = medians(figures);
    let share = |frame: &Figures, i: usize| frame[i] / medians[i];
    let of = |frame: &Figures| {
        let away = (2..4).map(|i| (share(frame, i) - 1.0).abs()).fold(0.0, f32::max);
        [share(frame, 0).max(share(frame, 1)), away]
    };
    figures.iter().map(of).collect()
}

fn medians(figures: &[Figures]) -> Figures {
    std::array::from_fn(|i| {
        let mut all: Vec<f32> = figures.iter().map(|f| f[i]).collect();
        all.sort_by(f32::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(1.0).max(1e-3)
    })
}

/// First and last frame of each dip that is a blink.
fn blinks(figures: &[Figures], depth: f32, fps: f32) -> Vec<(usize, usize)> {
    let medians = medians(figures);
    let share = |frame: &Figures, i: usize| frame[i] / medians[i];
    let is_shut = |frame: &Figures| share(frame, 0) < depth && share(frame, 1) < depth;
    let is_steady = |frame: &Figures| (2..4).all(|i| (share(frame, i) - 1.0).abs() <= STEADY);
    let mut found = Vec::new();
    let mut began = None;
    for (i, frame) in figures.iter().enumerate() {
        match (is_shut(frame), began) {
            (true, None) => began = Some(i),
            (false, Some(first)) => {
                let lasts = (i - first) as f32 * 1000.0 / fps;
                // What is shut from the first frame on never closed.
                if first > 0 && LASTS.contains(&lasts) && figures[first..i].iter().all(is_steady) {
                    found.push((first, i - 1));
                }
                began = None;
            }
            _ => {}
        }
    }
    found
}

fn at(found: &[(usize, usize)], fps: f32) -> String {
    let times = found
        .iter()
        .map(|(first, last)| format!("{:.2}-{:.2} s", *first as f32 / fps, (*last + 1) as f32 / fps));
    times.collect::<Vec<_>>().join(", ")
}

fn pictures(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

/// A photograph as a hand moves it: shifted, turned, nearer and further, with the grain of a sensor.
fn shaken(photo: &RgbImage, frame: usize, fps: f32) -> RgbImage {
    let t = frame as f32 / fps;
    let wave = |rate: f32, phase: f32| (t * rate + phase).sin();
    let (width, height) = (640, 480);
    let fit = (640.0 / photo.width() as f32).max(480.0 / photo.height() as f32);
    let scale = fit * (1.0 + 0.06 * wave(0.9, 0.0));
    let (sin, cos) = (0.05 * wave(1.1, 0.0)).sin_cos();
    let shift = [9.0 * wave(1.7, 0.0) + 3.0 * wave(5.1, 1.0), 6.0 * wave(1.3, 2.0) + 2.0 * wave(6.3, 0.0)];
    let (cx, cy) = (photo.width() as f32 / 2.0, photo.height() as f32 / 2.0);
    let there = |x: f32, y: f32| {
        let (u, v) = (x - cx, y - cy);
        [320.0 + shift[0] + scale * (cos * u - sin * v), 240.0 + shift[1] + scale * (sin * u + cos * v)]
    };
    let corners: Landmarks = [[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0], [cx, cy]];
    let back = Similarity::fit(&corners.map(|[x, y]| there(x, y)), &corners);
    RgbImage::from_fn(width, height, |x, y| {
        let [u, v] = back.apply([x as f32, y as f32]);
        let inside = |value: f32, most: u32| value.clamp(0.0, most as f32 - 1.001);
        let (u, v) = (inside(u, photo.width()), inside(v, photo.height()));
        let (left, top, fx, fy) = (u as u32, v as u32, u.fract(), v.fract());
        let seed = x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ (frame as u32).wrapping_mul(31_337);
        let grain = (seed.wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0 * 8.0 - 4.0;
        Rgb(std::array::from_fn(|c| {
            let pixel = |dx: u32, dy: u32| f32::from(photo.get_pixel(left + dx, top + dy).0[c]);
            let upper = pixel(0, 0) * (1.0 - fx) + pixel(1, 0) * fx;
            let lower = pixel(0, 1) * (1.0 - fx) + pixel(1, 1) * fx;
            (upper * (1.0 - fy) + lower * fy + grain).clamp(0.0, 255.0) as u8
        }))
    })
}
