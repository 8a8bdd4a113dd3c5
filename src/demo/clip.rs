//! The demo's recording: numbered JPEG frames in which the people of the photographs walk up to the door.
//!
//! Each frame is a drawn corridor, over it one photograph's head and shoulders with a soft border, growing from far
//! to near and swaying, then the scene's light and the sensor's noise. The same frame number always gives the same
//! pixels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use rayon::prelude::*;

use super::script::{Appearance, Photo, Place, in_view, length};

/// Width and height of the clip in px.
pub const SIZE: (u32, u32) = (640, 480);

/// Height of a face far away and at the door, in px. The far one is too small to be matched.
const FAR_PX: f32 = 58.0;
const NEAR_PX: f32 = 178.0;

/// JPEG quality of the frames, as of a good webcam.
const JPEG_QUALITY: u8 = 90;

/// Why the clip could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// A photograph is missing or damaged.
    #[error("photograph {} cannot be read; fetch the photographs with `make photos`", path.display())]
    Photo {
        /// Which.
        path: PathBuf,
        /// What the decoder said.
        #[source]
        source: image::ImageError,
    },
    /// The frames cannot be written.
    #[error("the clip cannot be written to {}", path.display())]
    Write {
        /// Folder or frame.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: image::ImageError,
    },
}

/// Head and shoulders cut out of a photograph, no larger than needed at the door.
struct Cutout {
    image: RgbImage,
    /// Middle of the face in px of the cut-out.
    middle: (f32, f32),
    /// Size of the face in px of the cut-out.
    face: (f32, f32),
}

/// Draws the frames of a script.
pub struct Painter {
    script: Vec<Appearance>,
    corridor: RgbImage,
    cutouts: HashMap<&'static str, Cutout>,
}

impl Painter {
    /// Reads the photographs of everybody in `script` from the folder `photos`.
    ///
    /// # Errors
    /// When one is missing or damaged.
    pub fn new(script: Vec<Appearance>, photos: &Path) -> Result<Self, ClipError> {
        let mut cutouts = HashMap::new();
        for photo in script.iter().map(|appearance| &appearance.photo) {
            let path = photos.join(photo.file);
            let picture = image::open(&path).map_err(|source| ClipError::Photo { path, source })?.to_rgb8();
            cutouts.insert(photo.file, Cutout::of(&picture, photo));
        }
        Ok(Self { script, corridor: corridor(), cutouts })
    }

    /// How many frames there are.
    pub fn frames(&self) -> u64 {
        length(&self.script)
    }

    /// Draws one frame.
    pub fn paint(&self, frame: u64) -> RgbImage {
        let mut picture = self.corridor.clone();
        let (mut light, mut noise) = (0.9, 4.0);
        if let Some(appearance) = in_view(&self.script, frame) {
            let along = appearance.progress(frame);
            light = mix(appearance.light.0, appearance.light.1, along);
            noise = appearance.noise;
            self.cutouts[appearance.photo.file].stand(&mut picture, appearance.place, along);
        }
        expose(&mut picture, light, noise, frame);
        picture
    }

    /// Writes all frames as `000000.jpg`, `000001.jpg`, … into the folder `clip`; `each` is called after each.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, clip: &Path, each: impl Fn() + Sync) -> Result<(), ClipError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ClipError::Write { path, source }
        };
        std::fs::create_dir_all(clip).map_err(|e| failed(clip)(e.into()))?;
        (0..self.frames()).into_par_iter().try_for_each(|frame| {
            let path = clip.join(frame_name(frame));
            let mut bytes = Vec::new();
            JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
                .encode_image(&self.paint(frame))
                .map_err(failed(&path))?;
            std::fs::write(&path, bytes).map_err(|e| failed(&path)(e.into()))?;
            each();
            Ok(())
        })
    }
}

/// File name of a frame.
pub fn frame_name(frame: u64) -> String {
    format!("{frame:06}.jpg")
}

impl Cutout {
    /// Cuts ±2.3 face widths around the face and three face heights below it, as far as the photograph goes.
    fn of(picture: &RgbImage, photo: &Photo) -> Self {
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let (face_w, face_h) = (photo.size.0 * width, photo.size.1 * height);
        let (x, y) = (photo.middle.0 * width, photo.middle.1 * height);
        let left = (x - 2.3 * face_w).max(0.0).floor();
        let top = (y - 1.2 * face_h).max(0.0).floor();
        let right = (x + 2.3 * face_w).min(width);
        let bottom = (y + 3.2 * face_h).min(height);
        let part = imageops::crop_imm(
            picture,
            left as u32,
            top as u32,
            (right - left) as u32,
            (bottom - top) as u32,
        );
        // A tenth larger than ever shown: each frame is then resampled once, from nearly its own size.
        let scale = (1.1 * NEAR_PX / face_h).min(1.0);
        let image = resized(&part.to_image(), scale);
        Self {
            image,
            middle: ((x - left) * scale, (y - top) * scale),
            face: (face_w * scale, face_h * scale),
        }
    }

    /// Draws the person into `picture`, `along` the way (0 to 1): two thirds walking, then standing.
    fn stand(&self, picture: &mut RgbImage, place: Place, along: f32) {
        let near = smooth(along / 0.66);
        let scale = mix(FAR_PX, NEAR_PX, near) / self.face.1;
        let person = resized(&self.image, scale);
        let middle = (self.middle.0 * scale, self.middle.1 * scale);
        let sway = (along * 11.0).sin() * mix(16.0, 7.0, near);
        let left = match place {
            Place::Middle => SIZE.0 as f32 * 0.5 + sway - middle.0,
            Place::LeftEdge => 0.0,
            Place::RightEdge => SIZE.0 as f32 - person.width() as f32,
        };
        let top = mix(232.0, 205.0, near) + sway * 0.25 - middle.1;
        let present = smooth(along / 0.06) * smooth((1.0 - along) / 0.06);
        let face = (self.face.0 * scale, self.face.1 * scale);
        for (x, y, pixel) in person.enumerate_pixels() {
            let at = (x as i64 + left.round() as i64, y as i64 + top.round() as i64);
            let inside = (0..i64::from(SIZE.0)).contains(&at.0) && (0..i64::from(SIZE.1)).contains(&at.1);
            if !inside {
                continue;
            }
            let (u, v) = ((x as f32 - middle.0) / face.0, (y as f32 - middle.1) / face.1);
            let to_side = match place {
                Place::Middle => x.min(person.width() - 1 - x),
                Place::LeftEdge => person.width() - 1 - x,
                Place::RightEdge => x,
            };
            let soft_side = smooth(to_side as f32 / (0.35 * face.0));
            let soft_top = smooth(y as f32 / (0.1 * face.1));
            let soft_bottom = smooth((person.height() - 1 - y) as f32 / (0.5 * face.1));
            let alpha = present * silhouette(u, v) * soft_side * soft_top * soft_bottom;
            let under = picture.get_pixel_mut(at.0 as u32, at.1 as u32);
            for (below, above) in under.0.iter_mut().zip(pixel.0) {
                *below = mix(f32::from(*below), f32::from(above), alpha) as u8;
            }
        }
    }
}

/// How much of a head-and-shoulders shape covers the point, 0 to 1; in face widths and heights from the face's middle.
fn silhouette(u: f32, v: f32) -> f32 {
    let head = ((u / 0.88).powi(2) + ((v + 0.12) / 0.9).powi(2)).sqrt() - 1.0;
    let half_width = mix(0.5, 1.75, smooth((v - 0.35) / 0.75));
    let body = (u.abs() - half_width).max(0.4 - v);
    smooth((0.12 - head.min(body)) / 0.3)
}

/// An empty corridor with a door at its end, in one-point perspective.
fn corridor() -> RgbImage {
    let (vanishing, door) = ((330.0, 190.0), (62.0, 74.0));
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let (u, v) = ((x as f32 - vanishing.0) / door.0, (y as f32 - vanishing.1) / door.1);
        let depth = 1.0 / u.abs().max(v.abs()).max(1.0);
        let seam = if (depth * 9.0).fract() < 0.05 && depth < 0.99 { 0.9 } else { 1.0 };
        let (base, reach) = if depth > 0.99 {
            let in_door = u.abs() < 0.5 && v > -0.6;
            ([198.0, 186.0, 164.0], if in_door { 0.62 } else { 1.0 })
        } else if u.abs() >= v.abs() {
            ([206.0, 196.0, 178.0], seam * mix(0.62, 0.98, depth))
        } else if v > 0.0 {
            ([138.0, 118.0, 100.0], seam * mix(0.55, 1.0, depth))
        } else {
            ([228.0, 226.0, 218.0], mix(0.75, 1.0, depth))
        };
        Rgb(base.map(|channel| (channel * reach) as u8))
    })
}

/// Applies the scene's light and adds sensor noise, seeded by the frame's number.
fn expose(picture: &mut RgbImage, light: f32, noise: f32, frame: u64) {
    let mut state = frame.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for pixel in picture.pixels_mut() {
        let bits = splitmix64(&mut state);
        // Twelve-bit pieces: the sum of two is a triangle of standard deviation 4096/√6, near enough to a bell.
        let piece = |at: u32| ((bits >> (12 * at)) & 0xFFF) as f32;
        let bell = |a: f32, b: f32| (a + b - 4095.0) / 1672.0;
        let grey = bell(piece(0), piece(1)) * noise;
        for (channel, value) in pixel.0.iter_mut().enumerate() {
            let colour = bell(piece(2 + channel as u32), piece(1)) * noise * 0.3;
            *value = (f32::from(*value) * light + grey + colour).clamp(0.0, 255.0) as u8;
        }
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn resized(picture: &RgbImage, scale: f32) -> RgbImage {
    let side = |length: u32| ((length as f32 * scale).round() as u32).max(1);
    imageops::resize(picture, side(picture.width()), side(picture.height()), FilterType::CatmullRom)
}

fn mix(from: f32, to: f32, along: f32) -> f32 {
    from + (to - from) * along
}

/// 0 to 1 with level ends.
fn smooth(along: f32) -> f32 {
    let t = along.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::script::script;

    /// Flat pictures in place of the photographs, each of its own colour.
    fn photos() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (i, appearance) in script().iter().enumerate() {
            let picture = RgbImage::from_pixel(300, 500, Rgb([250, 20 * i as u8, 20]));
            picture.save(dir.path().join(appearance.photo.file)).unwrap();
        }
        dir
    }

    fn redness(picture: &RgbImage) -> usize {
        picture.pixels().filter(|p| p.0[0] > 150 && p.0[2] < 90).count()
    }

    #[test]
    fn people_come_near_and_the_corridor_is_empty_between() {
        let photos = photos();
        let painter = Painter::new(script(), photos.path()).unwrap();
        let first = &script()[0];
        assert_eq!(redness(&painter.paint(first.begins - 1)), 0);
        let far = redness(&painter.paint(first.begins + 4));
        let near = redness(&painter.paint(first.begins + 30));
        assert!(far > 500 && near > 3 * far, "{far} {near}");
        assert_eq!(redness(&painter.paint(first.frames().end)), 0);
    }

    #[test]
    fn a_frame_is_the_same_each_time_and_no_two_frames_are() {
        let photos = photos();
        let painter = Painter::new(script(), photos.path()).unwrap();
        assert_eq!(painter.paint(3), painter.paint(3));
        assert_ne!(painter.paint(3), painter.paint(4), "noise differs from frame to frame");
    }

    #[test]
    fn noise_has_the_deviation_it_says() {
        let mut picture = RgbImage::from_pixel(200, 200, Rgb([128; 3]));
        expose(&mut picture, 1.0, 6.0, 1);
        let values: Vec<f32> = picture.pixels().map(|p| f32::from(p.0[1])).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt();
        assert!((mean - 127.5).abs() < 0.5 && (5.0..8.0).contains(&deviation), "{mean} {deviation}");
    }

    #[test]
    fn the_clip_is_a_folder_of_numbered_frames() {
        let photos = photos();
        let mut short = script();
        short.truncate(1);
        let painter = Painter::new(short, photos.path()).unwrap();
        let out = tempfile::tempdir().unwrap();
        let done = std::sync::atomic::AtomicUsize::new(0);
        let clip = out.path().join("clip");
        painter.write(&clip, || _ = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).unwrap();
        assert_eq!(done.into_inner() as u64, painter.frames());
        let last = image::open(clip.join(frame_name(painter.frames() - 1))).unwrap();
        assert_eq!((last.width(), last.height()), SIZE);
    }

    #[test]
    fn a_missing_photograph_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let error = Painter::new(script(), empty.path()).err().unwrap().to_string();
        assert!(
            error.contains("biden.jpg cannot be read; fetch the photographs with `make photos`"),
            "{error}"
        );
    }
}
