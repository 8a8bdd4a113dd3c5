//! YuNet, the face detector: a small anchor-free network that gives boxes and five points at strides 8, 16 and 32.
//!
//! Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (2023). Input BGR 0 to 255, sides multiples of 32. A box's
//! score is √(class · objectness); centre and size are decoded relative to the cell, points likewise, the
//! image-left eye first.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use image::RgbImage;

use super::letterbox::Letterbox;
use super::{BBox, Face, Landmarks};
use crate::nn::fused::{Folded, MapId, Net, Plan, fold};
use crate::nn::layers::{Act, ConvUnit};
use crate::nn::model_file::ModelFile;
use crate::nn::onnx::{ConvSpec, Graph, OnnxError, Value, Walk, Weights};
use crate::nn::op::FusedOp;

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
/// All of them together.
const HEAD_CHANNELS: usize = 16;

/// One stage of the backbone.
struct Stage {
    name: &'static str,
    /// Whether a 2×2 max-pool precedes it.
    pool: bool,
    /// Input and output channels of its units.
    units: &'static [(usize, usize)],
}

/// The backbone; stage 0 begins with the 3×3 stem of stride 2.
const STAGES: [Stage; 6] = [
    Stage { name: "stage0", pool: false, units: &[(16, 16)] },
    Stage { name: "stage1", pool: true, units: &[(16, 16), (16, 32)] },
    Stage { name: "stage2", pool: false, units: &[(32, 32), (32, 64)] },
    Stage { name: "stage3", pool: true, units: &[(64, 64), (64, 64)] },
    Stage { name: "stage4", pool: true, units: &[(64, 64), (64, 64)] },
    Stage { name: "stage5", pool: true, units: &[(64, 64), (64, 64)] },
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
        let stage = |Stage { name, pool, units }: &Stage| {
            let units = units.iter().enumerate().map(|(i, &(cin, cout))| {
                Separable::new(cin, cout, Act::Relu, vb.pp(format!("{name}.unit{i}")))
            });
            Ok((units.collect::<Result<_>>()?, *pool))
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
            stages: STAGES.iter().map(stage).collect::<Result<_>>()?,
            lateral: lateral.collect::<Result<_>>()?,
            heads: (0..3).map(head).collect::<Result<_>>()?,
        })
    }

    /// `[1, 3, h, w]` → per level class, objectness, box and points as `[16, rows, columns]`, before any sigmoid.
    fn forward(&self, xs: &Tensor) -> Result<Vec<Tensor>> {
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
        let heads = levels.iter().zip(&self.heads).map(|(level, heads)| {
            let parts = heads.iter().map(|head| head.forward(level));
            Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?.squeeze(0)
        });
        heads.collect()
    }

    fn levels(&self, input: &Letterbox, device: &Device) -> Result<Vec<Level>> {
        let (w, h) = (input.width as usize, input.height as usize);
        let xs = Tensor::from_vec(input.planes([2, 1, 0]), (1, 3, h, w), device)?;
        let levels = STRIDES.into_iter().zip(self.forward(&xs)?).map(|(stride, heads)| {
            let values = heads.permute((1, 2, 0))?.flatten_all()?.to_vec1::<f32>()?;
            let (cells, _) = values.as_chunks::<HEAD_CHANNELS>();
            Ok(Level { stride, columns: w / stride, cells: cells.to_vec() })
        });
        levels.collect()
    }
}

/// A 1×1 and a depthwise convolution, folded for the CPU.
type FoldedPair = (Folded, Folded);

/// The inference form on the CPU. The four heads of a level are one pair of 16 channels.
#[derive(Clone, Debug)]
struct Fused {
    stem: Folded,
    stages: Vec<(Vec<FoldedPair>, bool)>,
    lateral: Vec<FoldedPair>,
    heads: Vec<FoldedPair>,
    /// For the last input size: the network, and the maps of the three levels' heads.
    built: Option<((usize, usize), Net, Vec<MapId>)>,
}

impl Fused {
    fn new(file: &ModelFile) -> Result<Self> {
        let pair = |name: String, cin: usize, cout: usize, act: Act| -> Result<FoldedPair> {
            let pw = fold(file, &format!("{name}.pw"), ConvSpec::pointwise(cin, cout), Act::None)?;
            Ok((pw, fold(file, &format!("{name}.dw"), ConvSpec::depthwise3(cout, 1), act)?))
        };
        let stages = STAGES.iter().map(|Stage { name, pool, units }| {
            let units = units.iter().enumerate();
            let units = units.map(|(i, &(cin, cout))| pair(format!("{name}.unit{i}"), cin, cout, Act::Relu));
            Ok((units.collect::<Result<_>>()?, *pool))
        });
        let heads = (0..3).map(|level| {
            let parts = HEADS.map(|(name, n)| pair(format!("{name}{level}"), 64, n, Act::None));
            let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
            let side_by_side = |part: fn(&FoldedPair) -> &Folded, spec| {
                Folded::side_by_side(&parts.iter().map(part).collect::<Vec<_>>(), spec)
            };
            let pw = side_by_side(|p| &p.0, ConvSpec::pointwise(64, HEAD_CHANNELS));
            Ok((pw, side_by_side(|p| &p.1, ConvSpec::depthwise3(HEAD_CHANNELS, 1))))
        });
        Ok(Self {
            // Pixels come red first, and go in as they are.
            stem: fold(file, "stem", ConvSpec::dense3(3, 16, 2), Act::Relu)?.on_reversed_inputs(),
            stages: stages.collect::<Result<_>>()?,
            lateral: (0..3).map(|i| pair(format!("lateral{i}"), 64, 64, Act::Relu)).collect::<Result<_>>()?,
            heads: heads.collect::<Result<_>>()?,
            built: None,
        })
    }

    /// The network for an input of `height × width`.
    fn build(&self, height: usize, width: usize) -> (Plan, Vec<MapId>) {
        let (mut plan, input) = Plan::new(height, width);
        let pair = |plan: &mut Plan, at: MapId, (pw, dw): &FoldedPair| {
            let at = plan.pointwise(at, None, pw);
            plan.depthwise(at, dw)
        };
        let mut at = plan.conv3(input, &self.stem);
        let mut levels = Vec::new();
        for (i, (units, pool)) in self.stages.iter().enumerate() {
            if *pool {
                at = plan.max_pool(at);
            }
            at = units.iter().fold(at, |at, unit| pair(&mut plan, at, unit));
            if i >= 3 {
                levels.push(at);
            }
        }
        levels[2] = pair(&mut plan, levels[2], &self.lateral[2]);
        for i in [1, 0] {
            let sum = plan.upsample_add(levels[i], levels[i + 1]);
            levels[i] = pair(&mut plan, sum, &self.lateral[i]);
        }
        let heads =
            levels.iter().zip(&self.heads).map(|(level, head)| pair(&mut plan, *level, head)).collect();
        (plan, heads)
    }

    fn levels(&mut self, input: &Letterbox) -> Vec<Level> {
        let size = (input.height as usize, input.width as usize);
        if self.built.as_ref().is_none_or(|(built, ..)| *built != size) {
            let (plan, heads) = self.build(size.0, size.1);
            self.built = Some((size, Net::new(plan), heads));
        }
        let (_, net, heads) = self.built.as_mut().expect("just built");
        for (y, row) in input.rows() {
            net.fill_row(y, row);
        }
        net.run();
        let level = |(stride, head): (usize, &MapId)| {
            let map = net.map(*head);
            let mut cells = Vec::with_capacity(map.height * map.width);
            for y in 0..map.height {
                // Without the zeros at the sides; the heads fill their pixels.
                let row = map.row(y).as_chunks::<HEAD_CHANNELS>().0;
                cells.extend_from_slice(&row[1..=map.width]);
            }
            Level { stride, columns: map.width, cells }
        };
        STRIDES.into_iter().zip(heads.iter()).map(level).collect()
    }
}

/// The levels by way of a candle operation on `device`, which is kept in `built`.
fn levels_of_op(
    fused: &Fused,
    device: &Device,
    built: &mut Option<((usize, usize), Arc<FusedOp>)>,
    input: &Letterbox,
) -> Result<Vec<Level>> {
    let size = (input.height as usize, input.width as usize);
    let op = match built {
        Some((of, op)) if *of == size => Arc::clone(op),
        _ => {
            let (plan, heads) = fused.build(size.0, size.1);
            let op = Arc::new(FusedOp::new(plan, heads));
            *built = Some((size, Arc::clone(&op)));
            op
        }
    };
    let planes = Tensor::from_vec(input.planes([0, 1, 2]), (3, size.0, size.1), device)?;
    let pixels = planes.permute((1, 2, 0))?.contiguous()?;
    let values: Vec<f32> = pixels.apply_op1_no_bwd(op.as_ref())?.to_vec1()?;
    let level = |(stride, (first, len)): (usize, (usize, usize))| {
        let (cells, _) = values[first..first + len].as_chunks::<HEAD_CHANNELS>();
        Level { stride, columns: size.1 / stride, cells: cells.to_vec() }
    };
    Ok(STRIDES.into_iter().zip(op.places()).map(level).collect())
}

#[derive(Clone, Debug)]
enum Form {
    Fused(Box<Fused>),
    /// On another device, with the operation for the last input size.
    Op(Box<Fused>, Device, Option<((usize, usize), Arc<FusedOp>)>),
    Plain(Box<Network>, Device),
}

/// The loaded detector. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct Detector {
    form: Form,
    input: Letterbox,
    min_score: f32,
}

impl Detector {
    /// Builds the detector in its fused form. `detect_px` is the longest side at which
    /// faces are sought; boxes under `min_score` are dropped.
    ///
    /// # Errors
    /// When the file is another network's.
    pub fn new(file: &ModelFile, device: &Device, detect_px: u32, min_score: f32) -> Result<Self> {
        let fused = Box::new(Fused::new(known(file)?)?);
        let form = match device {
            Device::Cpu => Form::Fused(fused),
            other => Form::Op(fused, other.clone(), None),
        };
        Ok(Self { form, input: Letterbox::new(detect_px, MULTIPLE), min_score })
    }

    /// Builds the detector in plain candle layers: the definition that the fused form is held to.
    ///
    /// # Errors
    /// As for [`Detector::new`].
    pub fn plain(file: &ModelFile, device: &Device, detect_px: u32, min_score: f32) -> Result<Self> {
        let network = Network::new(known(file)?.var_builder(device)?)?;
        let form = Form::Plain(Box::new(network), device.clone());
        Ok(Self { form, input: Letterbox::new(detect_px, MULTIPLE), min_score })
    }

    /// All faces, largest first, in pixels of `image`. The picture is scaled so that its longest side is `detect_px`
    /// and padded with black to multiples of 32.
    ///
    /// # Errors
    /// When the device fails.
    pub fn detect(&mut self, image: &RgbImage) -> Result<Vec<Face>> {
        let input = &mut self.input;
        input.fill(image);
        let levels = match &mut self.form {
            Form::Fused(fused) => fused.levels(input),
            Form::Op(fused, device, built) => levels_of_op(fused, device, built, input)?,
            Form::Plain(network, device) => network.levels(input, device)?,
        };
        let mut faces = Vec::new();
        for level in &levels {
            decode(level, self.min_score, &mut faces);
        }
        let mut faces = suppress(faces);
        for face in &mut faces {
            input.to_image(face);
        }
        faces.sort_by(|a, b| (b.bbox.w * b.bbox.h).total_cmp(&(a.bbox.w * a.bbox.h)));
        Ok(faces)
    }
}

fn known(file: &ModelFile) -> Result<&ModelFile> {
    match file.card.architecture.as_str() {
        ARCHITECTURE => Ok(file),
        other => candle_core::bail!("architecture {other:?} is not a detector; known is {ARCHITECTURE}"),
    }
}

/// What the heads of one level said, row by row of cells: class, objectness, box, points.
struct Level {
    stride: usize,
    columns: usize,
    cells: Vec<[f32; HEAD_CHANNELS]>,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Turns the cells of one level that score high enough into faces in pixels of the network's input.
fn decode(level: &Level, min_score: f32, faces: &mut Vec<Face>) {
    let s = level.stride as f32;
    // The score is the geometric mean of two shares of which neither is above 1: with one of them under the square of
    // the least score it cannot be reached, and nearly all cells need no exponential function.
    let share = min_score * min_score;
    let floor = ((share / (1.0 - share)).ln() - 0.01).min(10.0);
    for (i, [cls, obj, bx, by, bw, bh, points @ ..]) in level.cells.iter().enumerate() {
        if *cls < floor || *obj < floor {
            continue;
        }
        let score = (sigmoid(*cls) * sigmoid(*obj)).sqrt();
        // A score that is not a number is no face either.
        if score.is_nan() || score < min_score {
            continue;
        }
        let (column, row) = ((i % level.columns) as f32, (i / level.columns) as f32);
        let (w, h) = (bw.exp() * s, bh.exp() * s);
        let bbox = BBox { x: (column + bx) * s - w / 2.0, y: (row + by) * s - h / 2.0, w, h };
        let landmarks: Landmarks =
            std::array::from_fn(|p| [(column + points[2 * p]) * s, (row + points[2 * p + 1]) * s]);
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
        let (a, b) = walk.both(&at, "Add")?;
        let (skip, up) = if walk.comes_from(&b, "Resize") { (a, b) } else { (b, a) };
        if walk.step(&up, "Resize")? != levels[i + 1] {
            return Err(other(format!("level {i} adds something that is not level {}", i + 1)));
        }
        backbone.push(skip);
    }
    let mut at = backbone[2].clone();
    for (i, Stage { name, pool, units }) in STAGES.iter().enumerate().rev() {
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
        let mut cells = vec![[0.0; HEAD_CHANNELS]; 4];
        cells.iter_mut().for_each(|c| c[0] = -9.0);
        cells[3][..6].copy_from_slice(&[9.0, 9.0, 0.5, 0.25, 2.0_f32.ln(), 3.0_f32.ln()]);
        cells[3].iter_mut().skip(6).enumerate().for_each(|(i, v)| *v = i as f32 / 10.0);
        let mut faces = Vec::new();
        decode(&Level { stride: 8, columns: 2, cells }, 0.5, &mut faces);
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
        let mut cells = vec![[0.0; HEAD_CHANNELS]];
        cells[0][0] = f32::NAN;
        let mut faces = Vec::new();
        decode(&Level { stride: 8, columns: 1, cells }, 0.5, &mut faces);
        assert!(faces.is_empty());
    }
}
