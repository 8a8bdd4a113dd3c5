//! Pictures made ready: read, aligned or cut, and kept in memory as 112×112 px, of which a network takes the middle.

use candle_core::Device;
use image::RgbImage;
use indicatif::ProgressBar;
use rayon::prelude::*;

use super::TrainError;
use super::dataset::{Dataset, Picture};
use crate::frame::load_image;
use crate::nn::model_file::{Framing, ModelFile};
use crate::vision::align::{AlignedCrop, CROP_SIDE, align};
use crate::vision::resample::scale;
use crate::vision::yunet::Detector;

/// All pictures of a set, `None` where no face was found.
pub struct Pictures {
    /// In the order of the set.
    pub crops: Vec<Option<AlignedCrop>>,
}

impl Pictures {
    /// Reads and frames all pictures; `bar` counts them. Aligned framing uses the set's landmarks, and the detector
    /// where it has none.
    ///
    /// # Errors
    /// When a picture cannot be read, the detector fails, or hardly any picture shows a face.
    pub fn prepare(
        set: &Dataset,
        framing: Framing,
        detector: Option<&Detector>,
        bar: &ProgressBar,
    ) -> Result<Self, TrainError> {
        bar.set_length(set.pictures.len() as u64);
        let one = |detector: &mut Option<Detector>, picture: &Picture| {
            let crop = frame(picture, framing, detector.as_mut());
            bar.inc(1);
            crop
        };
        let crops: Vec<_> =
            set.pictures.par_iter().map_init(|| detector.cloned(), one).collect::<Result<_, _>>()?;
        let pictures = Self { crops };
        let missing = set.pictures.len() - pictures.usable().iter().filter(|u| **u).count();
        if 2 * missing > set.pictures.len() {
            return Err(TrainError::Data(format!(
                "{}: no face was found in {missing} of {} pictures; for pictures that are cut to the face set data.framing = \"whole\"",
                set.source.display(),
                set.pictures.len()
            )));
        }
        Ok(pictures)
    }

    /// Which pictures show a face.
    pub fn usable(&self) -> Vec<bool> {
        self.crops.iter().map(Option::is_some).collect()
    }

    /// A picture that shows a face.
    ///
    /// # Panics
    /// When it shows none: such pictures are in no part of the split.
    pub fn crop(&self, index: usize) -> &AlignedCrop {
        self.crops[index].as_ref().expect("parts hold pictures with a face only")
    }
}

/// The detector that finds the faces to align, from its file; `detect_px` and `min_score` as the door has them.
///
/// # Errors
/// When the file is not the detector's.
pub fn detector(file: &ModelFile, detect_px: u32, min_score: f32) -> Result<Detector, TrainError> {
    Ok(Detector::new(file, &Device::Cpu, detect_px, min_score)?)
}

fn frame(
    picture: &Picture,
    framing: Framing,
    detector: Option<&mut Detector>,
) -> Result<Option<AlignedCrop>, TrainError> {
    let image = load_image(&picture.path)?;
    match (framing, &picture.landmarks, detector) {
        (Framing::Whole, ..) => Ok(Some(middle(&image))),
        (Framing::Aligned, Some(landmarks), _) => Ok(Some(align(&image, landmarks))),
        (Framing::Aligned, None, Some(detector)) => {
            let network = |source| TrainError::Detector { path: picture.path.clone(), source };
            let faces = detector.detect(&image).map_err(network)?;
            let size = image.dimensions();
            let subject = faces.iter().max_by(|a, b| a.prominence(size).total_cmp(&b.prominence(size)));
            Ok(subject.map(|face| align(&image, &face.landmarks)))
        }
        (Framing::Aligned, None, None) => Err(TrainError::Data(format!(
            "{}: no landmarks for it and no detector to find them; run `make models`, or set data.framing = \"whole\"",
            picture.path.display()
        ))),
    }
}

/// The middle of a picture, its shorter side scaled to that of a crop.
fn middle(image: &RgbImage) -> AlignedCrop {
    let (w, h) = image.dimensions();
    let side = CROP_SIDE as usize;
    let shorter = w.min(h).max(1) as usize;
    let fit = |v: u32| (v as usize * side).div_ceil(shorter).max(side);
    let (width, height) = (fit(w), fit(h));
    let scaled = scale(image.as_raw(), (w as usize, h as usize), (width, height));
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let rows = scaled.chunks_exact(3 * width).skip(top).take(side);
    let pixels: Vec<u8> = rows.flat_map(|row| &row[3 * left..][..3 * side]).copied().collect();
    AlignedCrop(RgbImage::from_raw(CROP_SIDE, CROP_SIDE, pixels).expect("as many bytes as pixels"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_square_and_undistorted() {
        // Left and right thirds dark, the middle bright with a darker upper half.
        let image = RgbImage::from_fn(300, 100, |x, y| match x {
            100..200 if y < 50 => image::Rgb([100; 3]),
            100..200 => image::Rgb([200; 3]),
            _ => image::Rgb([0; 3]),
        });
        let crop = middle(&image).0;
        assert_eq!(crop.dimensions(), (112, 112));
        assert_eq!(
            [crop.get_pixel(2, 2).0[0], crop.get_pixel(109, 50).0[0], crop.get_pixel(56, 60).0[0]],
            [100, 100, 200]
        );
        assert_eq!(middle(&RgbImage::new(5, 900)).0.dimensions(), (112, 112));
    }

    #[test]
    fn an_unreadable_picture_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for person in ["a", "b"] {
            std::fs::create_dir(dir.path().join(person)).unwrap();
            std::fs::write(dir.path().join(person).join("1.png"), b"no picture").unwrap();
        }
        let set = Dataset::read(dir.path()).unwrap();
        let bar = ProgressBar::hidden();
        let error = Pictures::prepare(&set, Framing::Whole, None, &bar).err().unwrap().to_string();
        assert!(error.contains("1.png: this is not a picture; give a JPEG, PNG or PNM"), "{error}");
    }

    #[test]
    fn aligned_pictures_need_landmarks_or_a_detector() {
        let dir = tempfile::tempdir().unwrap();
        for person in ["a", "b"] {
            std::fs::create_dir(dir.path().join(person)).unwrap();
            RgbImage::new(20, 20).save(dir.path().join(person).join("1.png")).unwrap();
        }
        let set = Dataset::read(dir.path()).unwrap();
        let bar = ProgressBar::hidden();
        let error = Pictures::prepare(&set, Framing::Aligned, None, &bar).err().unwrap().to_string();
        assert!(error.contains("no detector to find them; run `make models`"), "{error}");
    }
}
