//! Draws what a door's camera sees when somebody holds a picture of an enrolled person up to it, and when the person comes:
//! a flat sheet in a hand, moved and tilted before a hall that stands still, with the grain of a sensor.

use std::path::Path;

use accessd::vision::Face;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

/// Size of the camera's picture in px.
const SIZE: (u32, u32) = (640, 480);
/// Focal length of the camera in px.
const FOCAL: f32 = 700.0;
/// Standard deviation of the sensor's grain in grey levels, about.
const GRAIN: f32 = 3.0;

/// How a thing is held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pose {
    /// Of its middle from the picture's, in px.
    pub shift: (f32, f32),
    /// In the picture's plane, in rad.
    pub roll: f32,
    /// About its upright and its level axis, in rad.
    pub tilt: (f32, f32),
    /// Larger than its size by this share.
    pub nearer: f32,
}

impl Pose {
    /// How a hand holds a thing up, `seconds` in.
    pub fn hand(seconds: f32) -> Self {
        let wave = |rate: f32, phase: f32| (seconds * rate + phase).sin();
        Self {
            shift: (9.0 * wave(1.7, 0.0) + 3.0 * wave(5.1, 1.0), 6.0 * wave(1.3, 2.0) + 2.0 * wave(6.3, 0.0)),
            roll: 0.04 * wave(1.1, 0.0),
            tilt: (0.25 * wave(1.9, 0.5), 0.12 * wave(1.4, 0.0)),
            nearer: 0.05 * wave(0.9, 0.0),
        }
    }

    /// How a person sways, `seconds` in: nothing tilts.
    pub fn sway(seconds: f32) -> Self {
        Self { tilt: (0.0, 0.0), ..Self::hand(seconds) }
    }
}

/// A flat thing with a face on it.
#[derive(Clone)]
pub struct Sheet {
    image: RgbImage,
    /// How much of each pixel covers what is behind, 0 to 1.
    cover: Vec<f32>,
    /// Middle of the face and its width, in px of the sheet.
    face: (f32, f32, f32),
}

impl Sheet {
    /// What surrounds the face on a photograph, `margin` face widths to each side, with the face `face_px` wide.
    fn cut(photo: &RgbImage, face: &Face, margin: f32, face_px: f32) -> Self {
        let b = face.bbox;
        let left = (b.x - margin * b.w).max(0.0) as u32;
        let top = (b.y - 0.7 * margin * b.h).max(0.0) as u32;
        let right = ((b.x + (1.0 + margin) * b.w) as u32).min(photo.width());
        let bottom = ((b.y + (1.0 + margin) * b.h) as u32).min(photo.height());
        let part = imageops::crop_imm(photo, left, top, right - left, bottom - top).to_image();
        // A third larger than it is shown: each frame is resampled from nearly its own size.
        let scale = (1.3 * face_px / b.w).min(1.0);
        let side = |px: u32| ((px as f32 * scale) as u32).max(1);
        let image = imageops::resize(&part, side(part.width()), side(part.height()), FilterType::CatmullRom);
        let middle = ((b.x + b.w / 2.0 - left as f32) * scale, (b.y + b.h / 2.0 - top as f32) * scale);
        let cover = vec![1.0; (image.width() * image.height()) as usize];
        Self { image, cover, face: (middle.0, middle.1, b.w * scale) }
    }

    fn framed(self, share: f32, colour: [u8; 3]) -> Self {
        let border = (share * self.image.width() as f32) as u32;
        let (width, height) = (self.image.width() + 2 * border, self.image.height() + 2 * border);
        let mut image = RgbImage::from_pixel(width, height, Rgb(colour));
        imageops::replace(&mut image, &self.image, i64::from(border), i64::from(border));
        let (x, y, w) = self.face;
        let cover = vec![1.0; (width * height) as usize];
        Self { image, cover, face: (x + border as f32, y + border as f32, w) }
    }

    fn with_levels(mut self, change: impl Fn([f32; 3]) -> [f32; 3]) -> Self {
        self.image.pixels_mut().for_each(|p| {
            p.0 = change(p.0.map(f32::from)).map(|v| v.clamp(0.0, 255.0) as u8);
        });
        self
    }

    /// A print on paper with a white border: paler than the photograph.
    pub fn print(photo: &RgbImage, face: &Face, face_px: f32) -> Self {
        Self::cut(photo, face, 1.1, face_px)
            .with_levels(|rgb| rgb.map(|v| 0.82 * v + 22.0))
            .framed(0.06, [240, 238, 235])
    }

    /// A screen in a black frame: brighter and bluer than the photograph.
    pub fn screen(photo: &RgbImage, face: &Face, face_px: f32) -> Self {
        Self::cut(photo, face, 1.1, face_px)
            .with_levels(|[r, g, b]| [1.08 * r + 6.0, 1.08 * g + 6.0, 1.15 * b + 6.0])
            .framed(0.05, [18; 3])
    }

    /// The person in the photograph: head and shoulders with soft borders, and nothing of what was behind them.
    pub fn person(photo: &RgbImage, face: &Face, face_px: f32) -> Self {
        let mut sheet = Self::cut(photo, face, 2.0, face_px);
        let (x0, y0, w) = sheet.face;
        let h = w * face.bbox.h / face.bbox.w;
        let (width, height) = (sheet.image.width(), sheet.image.height());
        let smooth = |t: f32| {
            let t = t.clamp(0.0, 1.0);
            t * t * (3.0 - 2.0 * t)
        };
        sheet.cover = (0..width * height)
            .map(|i| {
                let (x, y) = ((i % width) as f32, (i / width) as f32);
                let (u, v) = ((x - x0) / w, (y - y0) / h);
                let head = ((u / 0.78).powi(2) + ((v + 0.12) / 0.85).powi(2)).sqrt() - 1.0;
                let body = (u.abs() - (0.5 + 1.25 * smooth((v - 0.35) / 0.75))).max(0.4 - v);
                let soft_side = smooth(x.min(width as f32 - 1.0 - x) / (0.35 * w));
                let soft_bottom = smooth((height as f32 - 1.0 - y) / (0.5 * h));
                smooth((0.1 - head.min(body)) / 0.2) * soft_side * soft_bottom
            })
            .collect();
        sheet
    }

    /// Colour and cover at a place between pixels; no cover outside.
    fn sample(&self, x: f32, y: f32) -> ([f32; 3], f32) {
        let (width, height) = (self.image.width() as usize, self.image.height() as usize);
        if !(x >= 0.0 && y >= 0.0 && x < width as f32 - 1.0 && y < height as f32 - 1.0) {
            return ([0.0; 3], 0.0);
        }
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let mix = |at: &dyn Fn(usize, usize) -> f32| {
            let upper = at(left, top) * (1.0 - fx) + at(left + 1, top) * fx;
            let lower = at(left, top + 1) * (1.0 - fx) + at(left + 1, top + 1) * fx;
            upper * (1.0 - fy) + lower * fy
        };
        let raw = self.image.as_raw();
        let rgb = std::array::from_fn(|c| mix(&|x, y| f32::from(raw[3 * (y * width + x) + c])));
        (rgb, mix(&|x, y| self.cover[y * width + x]))
    }
}

/// One picture of the camera.
pub struct Shot {
    levels: Vec<[f32; 3]>,
    /// Which pixels the last thing that was held up covers.
    covered: Vec<f32>,
}

impl Shot {
    /// The hall with nobody in it.
    pub fn of_hall() -> Self {
        let levels = (0..SIZE.0 * SIZE.1).map(|i| hall((i % SIZE.0) as f32, (i / SIZE.0) as f32)).collect();
        Self { levels, covered: vec![0.0; (SIZE.0 * SIZE.1) as usize] }
    }

    /// Holds a thing before it, its face `face_px` wide and around `middle`.
    pub fn hold(mut self, sheet: &Sheet, face_px: f32, middle: (f32, f32), pose: Pose) -> Self {
        let (u0, v0, width) = sheet.face;
        let scale = face_px / width * (1.0 + pose.nearer);
        let (cx, cy) = (middle.0 + pose.shift.0, middle.1 + pose.shift.1);
        let back = inverse(projection(pose, scale, (cx, cy)));
        for (i, (level, covered)) in self.levels.iter_mut().zip(&mut self.covered).enumerate() {
            let (x, y) = ((i % SIZE.0 as usize) as f32, (i / SIZE.0 as usize) as f32);
            let row = |r: usize| back[r][0] * x + back[r][1] * y + back[r][2];
            let w = row(2);
            let (rgb, cover) = sheet.sample(row(0) / w + u0, row(1) / w + v0);
            *covered = cover;
            for (below, above) in level.iter_mut().zip(rgb) {
                *below += (above - *below) * cover;
            }
        }
        self
    }

    /// What a screen adds: stripes where its pixels beat with the camera's, and a lamp that it mirrors.
    pub fn glare(mut self, pose: Pose) -> Self {
        let phase = pose.shift.0 * 0.9 + 40.0 * (1.0 + pose.nearer);
        let (sin, cos) = (0.3 + pose.roll).sin_cos();
        for (i, (level, covered)) in self.levels.iter_mut().zip(&self.covered).enumerate() {
            let (x, y) = ((i % SIZE.0 as usize) as f32, (i / SIZE.0 as usize) as f32);
            let turn = std::f32::consts::TAU;
            let stripes = 9.0 * (turn * (x * cos + y * sin) / 7.3 + phase).sin()
                + 5.0 * (turn * y / 11.7 + 1.7 * phase).sin();
            let (dx, dy) = ((x - 380.0 + 0.6 * pose.shift.0) / 70.0, (y - 170.0) / 45.0);
            let lamp = 90.0 * (-(dx * dx + dy * dy)).exp();
            level.iter_mut().for_each(|v| *v += (stripes + lamp) * covered);
        }
        self
    }

    /// Through the sensor: with grain, of another seed in each frame.
    pub fn film(self, seed: u64) -> RgbImage {
        let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut grain = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let piece = |at: u32| ((state >> at) & 0xFFF) as f32;
            // The sum of two is a triangle of standard deviation 4096/√6, near enough to a bell.
            (piece(20) + piece(40) - 4095.0) / 1672.0 * GRAIN
        };
        RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
            Rgb(self.levels[(y * SIZE.0 + x) as usize].map(|v| (v + grain()).clamp(0.0, 255.0) as u8))
        })
    }
}

/// A wall with a door's frame, a shelf of books and a darker floor.
fn hall(x: f32, y: f32) -> [f32; 3] {
    let shelf = (60.0..200.0).contains(&y) && (430.0..622.0).contains(&x) && (x - 430.0) % 32.0 < 24.0;
    if shelf {
        let book = ((x - 430.0) / 32.0) as usize;
        return [[60.0, 80.0, 180.0], [200.0, 60.0, 70.0], [90.0, 190.0, 80.0]][book % 3]
            .map(|v: f32| v - 10.0 * (book / 3) as f32);
    }
    let shade = match (x, y) {
        (_, 380.0..) => 0.65,
        (0.0..90.0, _) => 0.8,
        (250.0..256.0, _) => 0.6,
        _ => 1.0,
    };
    [200.0, 190.0, 178.0].map(|v| v * shade)
}

type Matrix = [[f32; 3]; 3];

/// From the plane of a sheet, its face at the origin, to the picture (a plane seen by a pinhole camera).
fn projection(pose: Pose, scale: f32, (cx, cy): (f32, f32)) -> Matrix {
    let [(sr, cr), (sy, cy_), (sp, cp)] = [pose.roll, pose.tilt.0, pose.tilt.1].map(f32::sin_cos);
    // Roll after turn after nod, the first two columns: the sheet has no depth.
    let (a, b, z) = ([cy_, sy * sp], [0.0, cp], [-sy, cy_ * sp]);
    let (x, y) =
        ([cr * a[0] - sr * b[0], cr * a[1] - sr * b[1]], [sr * a[0] + cr * b[0], sr * a[1] + cr * b[1]]);
    let depth = [scale * z[0] / FOCAL, scale * z[1] / FOCAL];
    let line = |axis: [f32; 2], centre: f32| {
        [scale * axis[0] + centre * depth[0], scale * axis[1] + centre * depth[1], centre]
    };
    [line(x, cx), line(y, cy), [depth[0], depth[1], 1.0]]
}

fn inverse(m: Matrix) -> Matrix {
    let minor = |r: usize, c: usize| {
        let at = |i: usize, j: usize| m[(r + i) % 3][(c + j) % 3];
        at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)
    };
    let whole: f32 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
    std::array::from_fn(|r| std::array::from_fn(|c| minor(c, r) / whole))
}

/// Writes pictures as a clip: a folder of numbered files.
pub fn write(folder: &Path, pictures: impl IntoIterator<Item = RgbImage>) {
    std::fs::create_dir_all(folder).unwrap();
    for (number, picture) in pictures.into_iter().enumerate() {
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 92).encode_image(&picture).unwrap();
        std::fs::write(folder.join(format!("{number:04}.jpg")), jpeg).unwrap();
    }
}
