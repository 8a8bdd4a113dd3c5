//! The networks against reference values: on the public-domain photographs that `make photos` fetches, and, where it
//! stands beside the project, on the golden set with the reference's own crops.
//!
//! `reference.json` was computed with ONNX Runtime and OpenCV from the same ONNX files, weights expanded:
//!
//! ```python
//! k = 640 / max(h, w)                                   # INTER_AREA to shrink, INTER_LINEAR to enlarge
//! x = cv2.resize(bgr, (round(w * k), round(h * k)), interpolation=cv2.INTER_AREA if k < 1 else cv2.INTER_LINEAR)
//! pad = np.zeros((640, 640, 3), np.uint8); pad[:x.shape[0], :x.shape[1]] = x
//! # best cell of sqrt(cls · obj), decoded, divided by k: "box", "landmarks", "score"
//! # similarity of the landmarks to the template, cv2.warpAffine(INTER_LINEAR), RGB, SFace, L2 norm: "embedding"
//! ```

use std::collections::BTreeMap;

use accessd::encoder::network::Encoder;
use accessd::encoder::{Embedding, compare};
use accessd::frame::load_image;
use accessd::models::Library;
use accessd::recognition::{FoundFace, Recogniser, RecogniserOptions};
use accessd::vision::align::{AlignedCrop, align};
use accessd::vision::yunet::Detector;
use candle_core::Device;
use image::{Rgb, RgbImage};
use serde::Deserialize;

use crate::support::{self, models_dir};

/// What the reference found on one photograph.
#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "box")]
    bbox: [f32; 4],
    landmarks: [[f32; 2]; 5],
    score: f32,
    embedding: Vec<f32>,
}

fn references() -> BTreeMap<String, Reference> {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

fn photo(name: &str) -> RgbImage {
    load_image(&support::photo(name)).unwrap()
}

fn recogniser(encoder: &str) -> Recogniser {
    recogniser_with(encoder, 1)
}

fn recogniser_with(encoder: &str, threads: usize) -> Recogniser {
    let options = RecogniserOptions {
        models: models_dir(),
        encoder: encoder.to_owned(),
        device: "cpu".to_owned(),
        detect_px: 640,
        threads,
        min_face_score: 0.6,
    };
    Recogniser::load(&options).unwrap()
}

fn cosine(a: &Embedding, b: &[f32]) -> f32 {
    compare(a, &Embedding::normalise(b.to_vec()).unwrap()).score.0
}

#[test]
fn net_boxes_and_landmarks_are_within_a_pixel_of_the_reference() {
    let mut networks = recogniser("sface");
    for (name, reference) in references() {
        let faces = networks.detect(&photo(&name)).unwrap();
        let face = faces.first().unwrap_or_else(|| panic!("no face in {name}"));
        let b = face.bbox;
        let got = [b.x, b.y, b.w, b.h].into_iter().chain(face.landmarks.into_iter().flatten());
        let want = reference.bbox.into_iter().chain(reference.landmarks.into_iter().flatten());
        // Width and height each carry the errors of two edges.
        for (i, (got, want)) in got.zip(want).enumerate() {
            assert!((got - want).abs() < 1.0, "{name}, value {i}: {got} for {want}");
        }
        assert!(
            (face.score - reference.score).abs() < 0.005,
            "{name}: {} for {}",
            face.score,
            reference.score
        );
    }
}

#[test]
fn net_embeddings_from_the_reference_landmarks_agree_to_four_nines() {
    let mut networks = recogniser("sface");
    for (name, reference) in references() {
        let crop = align(&photo(&name), &reference.landmarks);
        let cosine = cosine(&networks.embed(&[&crop]).unwrap()[0], &reference.embedding);
        assert!(cosine >= 0.9999, "{name}: {cosine}");
    }
}

#[test]
fn net_photographs_of_one_person_are_alike_and_of_two_are_not() {
    let mut networks = recogniser("sface");
    let mut embed = |name: &str| {
        let image = photo(name);
        let found = networks.find(&image).unwrap();
        networks.embed(&[&found[0].crop]).unwrap().remove(0)
    };
    let [astronaut, biden, obama, obama2] =
        ["astronaut.png", "biden.jpg", "obama.jpg", "obama2.jpg"].map(&mut embed);
    // Measured with the reference: .740, .089, .124.
    for (a, b, want) in [(&obama, &obama2, 0.740), (&astronaut, &obama, 0.089), (&obama, &biden, 0.124)] {
        let score = compare(a, b).score.0;
        assert!((score - want).abs() < 0.03, "{score} for {want}");
    }
}

/// A drawn picture with structure at every scale; a network's answer to it says whether two forms agree.
fn pattern(width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = (x * 7919 + y * 104_729 + seed * 31).wrapping_mul(2_654_435_761) >> 24;
        let wave = ((x + seed) as f32 / 9.0).sin() * 60.0 + (y as f32 / 13.0).cos() * 60.0;
        let value = |shift: f32| (128.0 + wave + shift + noise as f32 / 8.0).clamp(0.0, 255.0) as u8;
        Rgb([value(0.0), value(10.0), value(-20.0)])
    })
}

#[test]
fn net_fused_encoders_equal_their_plain_form() {
    let library = Library::new(&models_dir());
    for name in ["sface", "mobilefacenet"] {
        let Ok(file) = library.load(name, "encoder") else {
            assert_ne!(name, "sface");
            println!("{name} is not installed: skipped");
            continue;
        };
        let mut fused = Encoder::new(&file, &Device::Cpu).unwrap();
        let mut plain = Encoder::plain(&file, &Device::Cpu).unwrap();
        let crops: Vec<_> = (0..3).map(|seed| AlignedCrop(pattern(112, 112, seed))).collect();
        let crops: Vec<_> = crops.iter().collect();
        for (a, b) in fused.embed(&crops).unwrap().iter().zip(plain.embed(&crops).unwrap()) {
            let worst = a.values().iter().zip(b.values()).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{name}: {worst}");
        }
    }
}

#[test]
fn net_more_threads_see_the_same_to_the_last_bit() {
    let image = photo("obama.jpg");
    let look = |threads| {
        let mut recogniser = recogniser_with("sface", threads);
        assert_eq!(recogniser.team().threads(), threads);
        let found = recogniser.find(&image).unwrap();
        let crops: Vec<_> = found.iter().map(|f| &f.crop).collect();
        let faces: Vec<_> = found.iter().map(|f| f.face).collect();
        let embeddings = recogniser.embed(&crops).unwrap();
        (faces, embeddings.iter().map(|e| e.values().to_vec()).collect::<Vec<_>>())
    };
    let alone = look(1);
    assert!(!alone.0.is_empty());
    for threads in [2, 3, 4] {
        assert_eq!(look(threads), alone, "{threads} threads");
    }
}

#[test]
fn net_fused_detector_equals_its_plain_form_at_several_sizes() {
    let file = Library::new(&models_dir()).load("yunet", "detector").unwrap();
    // One detector for all sizes: the network is rebuilt when the size changes and must not remember the last one.
    let mut fused = Detector::new(&file, &Device::Cpu, 160, 0.02).unwrap();
    let mut plain = Detector::plain(&file, &Device::Cpu, 160, 0.02).unwrap();
    let pictures = [photo("obama.jpg"), pattern(200, 150, 1), photo("obama.jpg"), pattern(90, 300, 2)];
    let mut seen = 0;
    for picture in &pictures {
        let (a, b) = (fused.detect(picture).unwrap(), plain.detect(picture).unwrap());
        assert_eq!(a.len(), b.len());
        seen += a.len();
        for (a, b) in a.iter().zip(&b) {
            assert!((a.score - b.score).abs() < 1e-4 && (a.bbox.x - b.bbox.x).abs() < 0.01, "{a:?} {b:?}");
            assert!((a.landmarks[4][1] - b.landmarks[4][1]).abs() < 0.01, "{a:?} {b:?}");
        }
    }
    assert!(seen >= 2, "the photograph's face must be among them");
}

/// The golden set beside the project, with the crops the reference made itself.
#[test]
fn net_golden_crops_give_golden_embeddings() {
    let Some(path) = support::beside("golden/golden.safetensors") else { return };
    let bytes = std::fs::read(path).unwrap();
    let golden = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut networks = recogniser("sface");
    for name in ["astronaut", "obama", "obama2", "biden"] {
        let bgr = golden.tensor(&format!("{name}.aligned_bgr_u8")).unwrap();
        let rgb: Vec<u8> = bgr.data().chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
        let crop = AlignedCrop(RgbImage::from_raw(112, 112, rgb).unwrap());
        let want = golden.tensor(&format!("{name}.sface_l2")).unwrap();
        let want: Vec<f32> =
            want.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let cosine = cosine(&networks.embed(&[&crop]).unwrap()[0], &want);
        assert!(cosine >= 0.99999, "{name}: {cosine}");
    }
}

#[test]
fn net_a_face_of_the_photograph_has_plausible_quality() {
    let image = photo("obama.jpg");
    let face = recogniser("sface").detect(&image).unwrap()[0];
    let q = FoundFace::new(&image, face).quality;
    assert!(
        q.yaw_deg.abs() < 10.0 && q.roll_deg.abs() < 5.0 && (100.0..130.0).contains(&q.eye_distance_px),
        "{q:?}"
    );
}
