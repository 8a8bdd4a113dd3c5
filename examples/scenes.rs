//! Makes what the camera of a virtual door sees: for each photograph a folder of small JPEG pictures of the person in
//! it, close to the camera, and the folder `nobody` of an empty hall.
//!
//!     scenes MODELS OUT PHOTOGRAPH...
//!
//! A photograph `ada.jpg` becomes `OUT/ada/0.jpg` and so on. Small pictures, because the virtual door computes slowly.

use std::error::Error;
use std::path::Path;

use accessd::frame::load_image;
use accessd::models::Library;
use accessd::vision::Face;
use accessd::vision::yunet::{self, Detector};
use candle_core::Device;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

/// Size of the pictures in px.
const SIZE: (u32, u32) = (240, 180);
/// Width of the face in them in px.
const FACE: f32 = 96.0;
/// Pictures of each scene; from one to the next the person moves a little.
const PICTURES: u32 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [models, out, photographs @ ..] = &arguments[..] else {
        return Err("usage: scenes MODELS OUT PHOTOGRAPH...".into());
    };
    let out = Path::new(out);
    let file = Library::new(Path::new(models)).load(yunet::ARCHITECTURE, "detector")?;
    let mut detector = Detector::new(&file, &Device::Cpu, 320, 0.7)?;
    for photograph in photographs.iter().map(Path::new) {
        let image = load_image(photograph)?;
        let faces = detector.detect(&image)?;
        let face = faces.first().ok_or_else(|| format!("{}: no face found", photograph.display()))?;
        let name = photograph.file_stem().ok_or("a photograph without a name")?;
        write(&out.join(name), |number| close_up(&image, face, number))?;
    }
    write(&out.join("nobody"), hall)
}

fn write(folder: &Path, mut picture: impl FnMut(u32) -> RgbImage) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    for number in 0..PICTURES {
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 90).encode_image(&picture(number))?;
        std::fs::write(folder.join(format!("{number}.jpg")), jpeg)?;
    }
    Ok(())
}

/// The face in the middle of a small picture, `number` px off; what lies outside the photograph is grey.
fn close_up(image: &RgbImage, face: &Face, number: u32) -> RgbImage {
    let (width, height) = SIZE;
    let scale = FACE / face.bbox.w;
    let small = imageops::resize(
        image,
        (image.width() as f32 * scale) as u32,
        (image.height() as f32 * scale) as u32,
        FilterType::CatmullRom,
    );
    let middle = |from: f32, length: f32| ((from + length / 2.0) * scale) as i64;
    let left = i64::from(width / 2) - middle(face.bbox.x, face.bbox.w) + i64::from(number);
    let top = i64::from(height / 2) - middle(face.bbox.y, face.bbox.h);
    let mut picture = RgbImage::from_pixel(width, height, Rgb([128; 3]));
    imageops::overlay(&mut picture, &small, left, top);
    picture
}

/// A hall: light from above, a darker floor, and a little of the grain that every camera adds.
fn hall(number: u32) -> RgbImage {
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let grain = (x * 7 + y * 13 + number * 29) % 5;
        let level = if y < 120 { 190 - y / 2 } else { 90 } + grain;
        Rgb([level as u8; 3])
    })
}
