//! YuNet, the face detector: a small anchor-free network that gives boxes and five points at strides 8, 16 and 32.
//!
//! Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (2023). Input BGR 0 to 255, sides multiples of 32. A box's
//! score is √(class · objectness); centre and size are decoded relative to the cell, points likewise, the
//! image-left eye first.

use candle_core::{Device, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use image::RgbImage;

use super::{BBox, Face, Landmarks};
use crate::nn::layers::{Act, ConvUnit};
use crate::nn::model_file::ModelFile;
use crate::nn::onnx::{ConvSpec, Graph, OnnxError, Value, Walk, Weights};

/// The name model files carry.
pub const ARCHITECTURE: &str = "yunet";
/// Sides of the network's input are multiples of this.
pub const MULTIPLE: u32 = 32;
/// Two boxes that overlap by more than this (intersection over union) are one face.
const NMS_IOU: f32 = 0.3;
/// Strides of the three levels.
const STRIDES: [usize; 3] = [8, 16, 32];
/// The heads: name in the ONNX outputs and values a cell.
const HEADS: [(&str, usize); 4] = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)];

/// Backbone stages: names of the depthwise-separable units with (cin, cout), and whether a 2×2 max-pool precedes.
/// Stage 0 begins with the 3×3 stem of stride 2.
const STAGES: [(&str, &[(usize, usize)], bool); 6] = [
    ("stage0", &[(16, 16)], false),
    ("stage1", &[(16, 16), (16, 32)], true),
    ("stage2", &[(32, 32), (32, 64)], false),
    ("stage3", &[(64, 64), (64, 64)], true),
    ("stage4", &[(64, 64), (64, 64)], true),
    ("stage5", &[(64, 64), (64, 64)], true),
];

/// A 1×1 convolution followed by a depthwise 3×3, as everywhere in YuNet.
#[derive(Clone, Debug)]
struct Separable {
    pw: ConvUnit,
    dw: ConvUnit,
}

impl Separable {
    fn new(cin: usize, cout: usize, act: Act, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            pw: ConvUnit::new(ConvSpec::pointwise(cin, cout), Act::None, vb.pp("pw"))?,
            dw: ConvUnit::new(ConvSpec::depthwise3(cout, 1), act, vb.pp("dw"))?,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.dw.forward_t(&self.pw.forward_t(xs, false)?, false)
    }
}

#[derive(Clone, Debug)]
struct Network {
    stem: ConvUnit,
    stages: Vec<(Vec<Separable>, bool)>,
    /// Lateral convolutions of the levels at stride 8, 16, 32.
    lateral: Vec<Separable>,
    /// Per level: class, objectness, box, points.
    heads: Vec<Vec<Separable>>,
}

impl Network {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let stage = |(name, units, pool): (&str, &[(usize, usize)], bool)| {
            let units = units.iter().enumerate().map(|(i, &(cin, cout))| {
                Separable::new(cin, cout, Act::Relu, vb.pp(format!("{name}.unit{i}")))
            });
            Ok((units.collect::<Result<_>>()?, pool))
        };
        let lateral = (0..3).map(|i| Separable::new(64, 64, Act::Relu, vb.pp(format!("lateral{i}"))));
        let head = |level: usize| {
            HEADS
                .iter()
                .map(|(name, n)| Separable::new(64, *n, Act::None, vb.pp(format!("{name}{level}"))))
                .collect()
        };
        Ok(Self {
            stem: ConvUnit::new(ConvSpec::dense3(3, 16, 2), Act::Relu, vb.pp("stem"))?,
            stages: STAGES.into_iter().map(stage).collect::<Result<_>>()?,
            lateral: lateral.collect::<Result<_>>()?,
            heads: (0..3).map(head).collect::<Result<_>>()?,
        })
    }

    /// `[1, 3, h, w]` → per level class, objectness, box and points as `[cells, values]`, before any sigmoid.
    fn forward(&self, xs: &Tensor) -> Result<Vec<[Tensor; 4]>> {
        let mut xs = self.stem.forward_t(xs, false)?;
        let mut levels = Vec::new();
        for (i, (units, pool)) in self.stages.iter().enumerate() {
            if *pool {
                xs = xs.max_pool2d(2)?;
            }
            for unit in units {
                xs = unit.forward(&xs)?;
            }
            if i >= 3 {
                levels.push(xs.clone());
            }
        }
        levels[2] = self.lateral[2].forward(&levels[2])?;
        for i in [1, 0] {
            let (_, _, h, w) = levels[i].dims4()?;
            let up = levels[i + 1].upsample_nearest2d(h, w)?;
            levels[i] = self.lateral[i].forward(&(&levels[i] + up)?)?;
        }
        let out = levels.iter().zip(&self.heads).map(|(level, heads)| {
            let mut values = heads.iter().map(|head| {
                let ys = head.forward(level)?;
                let channels = ys.dim(1)?;
                ys.permute((0, 2, 3, 1))?.reshape(((), channels))
            });
            let mut next = || values.next().expect("four heads");
            Ok([next()?, next()?, next()?, next()?])
        });
        out.collect()
    }
}

/// The loaded detector. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct Detector {
    network: Network,
    device: Device,
    detect_px: u32,
    min_score: f32,
}

impl Detector {
    /// Builds the detector. `detect_px` is the longest side at which faces are sought; boxes under `min_score` are
    /// dropped.
    ///
    /// # Errors
    /// When the file is another network's.
    pub fn new(file: &ModelFile, device: &Device, detect_px: u32, min_score: f32) -> Result<Self> {
        if file.card.architecture != ARCHITECTURE {
            candle_core::bail!(
                "architecture {:?} is not a detector; known is {ARCHITECTURE}",
                file.card.architecture
            );
        }
        let network = Network::new(file.var_builder(device)?)?;
        Ok(Self { network, device: device.clone(), detect_px, min_score })
    }

    /// All faces, largest first, in pixels of `image`. The picture is scaled so that its longest side is `detect_px`
    /// and padded with black to multiples of 32.
    ///
    /// # Errors
    /// When the device fails.
    pub fn detect(&self, image: &RgbImage) -> Result<Vec<Face>> {
        let input = super::letterbox::Letterbox::new(image, self.detect_px, MULTIPLE);
        let (w, h) = (input.width as usize, input.height as usize);
        let xs = Tensor::from_vec(input.bgr_planes(), (1, 3, h, w), &self.device)?;
        let mut faces = Vec::new();
        for (stride, heads) in STRIDES.into_iter().zip(self.network.forward(&xs)?) {
            let [cls, obj, bbox, kps] = heads.map(|t| t.flatten_all().and_then(|t| t.to_vec1::<f32>()));
            decode(
                &Level { stride, columns: w / stride, cls: cls?, obj: obj?, bbox: bbox?, kps: kps? },
                self.min_score,
                &mut faces,
            );
        }
        let mut faces = suppress(faces);
        for face in &mut faces {
            input.to_image(face);
        }
        faces.sort_by(|a, b| (b.bbox.w * b.bbox.h).total_cmp(&(a.bbox.w * a.bbox.h)));
        Ok(faces)
    }
}

/// What the heads of one level said, row by row of cells.
struct Level {
    stride: usize,
    columns: usize,
    cls: Vec<f32>,
    obj: Vec<f32>,
    bbox: Vec<f32>,
    kps: Vec<f32>,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Turns the cells of one level that score high enough into faces in pixels of the network's input.
fn decode(level: &Level, min_score: f32, faces: &mut Vec<Face>) {
    let s = level.stride as f32;
    for (i, (&cls, &obj)) in level.cls.iter().zip(&level.obj).enumerate() {
        let score = (sigmoid(cls) * sigmoid(obj)).sqrt();
        if !(score >= min_score) {
            continue;
        }
        let (column, row) = ((i % level.columns) as f32, (i / level.columns) as f32);
        let b = &level.bbox[4 * i..][..4];
        let (w, h) = (b[2].exp() * s, b[3].exp() * s);
        let bbox = BBox { x: (column + b[0]) * s - w / 2.0, y: (row + b[1]) * s - h / 2.0, w, h };
        let k = &level.kps[10 * i..][..10];
        let landmarks: Landmarks =
            std::array::from_fn(|p| [(column + k[2 * p]) * s, (row + k[2 * p + 1]) * s]);
        faces.push(Face { bbox, landmarks, score });
    }
}

/// Non-maximum suppression: of boxes that overlap, the one with the highest score stays.
fn suppress(mut faces: Vec<Face>) -> Vec<Face> {
    faces.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Face> = Vec::new();
    for face in faces {
        if kept.iter().all(|k| k.bbox.iou(&face.bbox) <= NMS_IOU) {
            kept.push(face);
        }
    }
    kept
}

/// Takes the weights out of an ONNX graph of YuNet (2023mar, with or without block-quantised weights).
///
/// # Errors
/// When it is another network.
pub fn import(graph: &Graph) -> std::result::Result<Weights, OnnxError> {
    let mut walk = Walk::new(graph, ARCHITECTURE);
    let mut levels = Vec::new();
    for (i, stride) in STRIDES.iter().enumerate() {
        let mut from: Option<Value> = None;
        for (head, n) in HEADS {
            let output = format!("{head}_{stride}");
            if !graph.outputs().contains(&output) {
                return Err(other(format!("it has no output {output:?}")));
            }
            let at = walk.skip(output, &["Sigmoid", "Reshape", "Transpose"]);
            let at = separable(&mut walk, at, &format!("{head}{i}"), 64, n)?;
            if from.get_or_insert_with(|| at.clone()) != &at {
                return Err(other(format!("the heads of level {i} read different feature maps")));
            }
        }
        levels.extend(from);
    }
    let mut backbone = Vec::new();
    for (i, level) in levels.iter().enumerate() {
        let at = walk.step(level, "Relu")?;
        let at = separable(&mut walk, at, &format!("lateral{i}"), 64, 64)?;
        if i == 2 {
            backbone.push(at);
            continue;
        }
        let (a, b) = walk.add(&at)?;
        let (skip, up) = if walk.comes_from(&b, "Resize") { (a, b) } else { (b, a) };
        if walk.step(&up, "Resize")? != levels[i + 1] {
            return Err(other(format!("level {i} adds something that is not level {}", i + 1)));
        }
        backbone.push(skip);
    }
    let mut at = backbone[2].clone();
    for (i, (name, units, pool)) in STAGES.iter().enumerate().rev() {
        if (3..5).contains(&i) && at != backbone[i - 3] {
            return Err(other(format!("{name} is not where level {} branches off", i - 3)));
        }
        for (unit, &(cin, cout)) in units.iter().enumerate().rev() {
            at = walk.step(&at, "Relu")?;
            at = separable(&mut walk, at, &format!("{name}.unit{unit}"), cin, cout)?;
        }
        if *pool {
            at = walk.step(&at, "MaxPool")?;
        }
    }
    at = walk.step(&at, "Relu")?;
    at = walk.conv(&at, "stem", ConvSpec::dense3(3, 16, 2))?;
    walk.arrived(&at)?;
    Ok(walk.weights)
}

fn other(what: String) -> OnnxError {
    OnnxError::OtherNetwork { architecture: ARCHITECTURE, what }
}

fn separable(
    walk: &mut Walk<'_>,
    at: Value,
    name: &str,
    cin: usize,
    cout: usize,
) -> std::result::Result<Value, OnnxError> {
    let at = walk.conv(&at, &format!("{name}.dw"), ConvSpec::depthwise3(cout, 1))?;
    walk.conv(&at, &format!("{name}.pw"), ConvSpec::pointwise(cin, cout))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, score: f32) -> Face {
        Face { bbox: BBox { x, y: 0.0, w: 10.0, h: 10.0 }, landmarks: [[0.0; 2]; 5], score }
    }

    #[test]
    fn overlapping_boxes_are_one_face() {
        let kept = suppress(vec![face(0.0, 0.8), face(1.0, 0.9), face(30.0, 0.7)]);
        assert_eq!(kept.iter().map(|f| f.score).collect::<Vec<_>>(), [0.9, 0.7]);
    }

    #[test]
    fn a_cell_decodes_to_pixels() {
        let level = Level {
            stride: 8,
            columns: 2,
            cls: vec![-9.0, -9.0, -9.0, 9.0],
            obj: vec![9.0; 4],
            bbox: [vec![0.0; 12], vec![0.5, 0.25, 2.0_f32.ln(), 3.0_f32.ln()]].concat(),
            kps: [vec![0.0; 30], (0..10).map(|i| i as f32 / 10.0).collect()].concat(),
        };
        let mut faces = Vec::new();
        decode(&level, 0.5, &mut faces);
        let [face] = faces.as_slice() else { panic!("{} faces", faces.len()) };
        // Cell (1, 1): centre (1.5, 1.25) · 8, size (2, 3) · 8.
        let b = face.bbox;
        let expected = [12.0 - 8.0, 10.0 - 12.0, 16.0, 24.0];
        assert!([b.x, b.y, b.w, b.h].iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-4), "{b:?}");
        assert!((face.landmarks[4][0] - (1.0 + 0.8) * 8.0).abs() < 1e-4);
        assert!((face.score - sigmoid(9.0)).abs() < 1e-6);
    }

    #[test]
    fn a_score_that_is_not_a_number_is_no_face() {
        let level = Level {
            stride: 8,
            columns: 1,
            cls: vec![f32::NAN],
            obj: vec![1.0],
            bbox: vec![0.0; 4],
            kps: vec![0.0; 10],
        };
        let mut faces = Vec::new();
        decode(&level, 0.5, &mut faces);
        assert!(faces.is_empty());
    }
}
