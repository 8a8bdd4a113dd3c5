//! MiniFASNet: a MobileFaceNet pruned for presentation attack detection, in the three shapes that are published.
//!
//! From "Silent-Face-Anti-Spoofing" (Minivision AI, 2020): 3×3 stem, inverted residuals with PReLU, in two shapes with
//! squeeze-and-excitation in the last block of each stage, a depthwise convolution over the whole map, two linear
//! layers, three logits.

use candle_core::{D, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};

use crate::nn::fused::{Folded, MapId, Plan, fold};
use crate::nn::layers::{Act, ConvUnit};
use crate::nn::model_file::ModelFile;
use crate::nn::onnx::{Constant, ConvSpec, Graph, OnnxError, Value, Walk, Weights};

/// How many classes the network tells apart.
pub const CLASSES: usize = 3;

/// One of the shapes.
#[derive(Debug, PartialEq)]
pub struct Variant {
    /// The architecture's name in model files.
    pub name: &'static str,
    /// Middle channels of the blocks, in order.
    hidden: [usize; 15],
    /// Whether the last block of each stage has squeeze-and-excitation.
    gated: bool,
    /// Side of the input in px.
    pub side: u32,
    /// How many times the face's box the input shows.
    pub margin: f32,
    /// Which class is a live face.
    pub live: usize,
}

/// Middle channels of the second shape.
const SECOND: [usize; 15] = [103, 13, 13, 13, 13, 231, 231, 52, 26, 77, 26, 26, 308, 26, 26];

/// All shapes.
pub static VARIANTS: [Variant; 3] = [
    Variant { name: "minifasnet-v2", hidden: SECOND, gated: false, side: 80, margin: 2.7, live: 1 },
    Variant {
        name: "minifasnet-v1se",
        hidden: [103, 13, 26, 13, 52, 231, 154, 52, 26, 52, 26, 26, 308, 26, 26],
        gated: true,
        side: 80,
        margin: 4.0,
        live: 1,
    },
    Variant { name: "minifasnet-v2se", hidden: SECOND, gated: true, side: 128, margin: 2.7, live: 0 },
];

/// The shape of this name.
pub fn variant(name: &str) -> Option<&'static Variant> {
    VARIANTS.iter().find(|v| v.name == name)
}

/// Name, shape and activation of a convolution.
type Named = (&'static str, ConvSpec, Act);

/// One block: 1×1 up, depthwise 3×3, 1×1 down; perhaps squeeze-and-excitation; perhaps a shortcut.
struct Block {
    /// Its name in model files.
    name: String,
    /// Its name in the state dict of the published weights.
    published: String,
    convs: [Named; 3],
    gate: Option<[Named; 2]>,
    residual: bool,
}

/// The blocks without shortcut, which begin each stage at half the size: input and output channels. And how many blocks
/// with shortcut follow.
const STAGES: [(usize, usize, usize, &str); 3] = [(32, 64, 4, "3"), (64, 128, 6, "4"), (128, 128, 2, "5")];

impl Variant {
    fn blocks(&self) -> Vec<Block> {
        let mut all = Vec::new();
        for (i, (cin, cout, followers, published)) in STAGES.into_iter().enumerate() {
            for follower in 0..=followers {
                let hidden = self.hidden[all.len()];
                let (cin, stride) = if follower == 0 { (cin, 2) } else { (cout, 1) };
                let squeezed = cout / 4;
                let gate = [
                    ("down", ConvSpec::pointwise(cout, squeezed), Act::Relu),
                    ("up", ConvSpec::pointwise(squeezed, cout), Act::None),
                ];
                all.push(Block {
                    name: format!("block{}", all.len() + 1),
                    published: match follower {
                        0 => format!("conv_{}{published}", i + 2),
                        n => format!("conv_{published}.model.{}", n - 1),
                    },
                    convs: [
                        ("up", ConvSpec::pointwise(cin, hidden), Act::PRelu),
                        ("dw", ConvSpec::depthwise3(hidden, stride), Act::PRelu),
                        ("down", ConvSpec::pointwise(hidden, cout), Act::None),
                    ],
                    gate: (self.gated && follower == followers).then_some(gate),
                    residual: follower > 0,
                });
            }
        }
        all
    }

    /// The convolutions after the blocks: up, over the whole map, and two linear layers as 1×1 on its one pixel.
    fn tail(&self) -> [Named; 4] {
        let kernel = self.side as usize / 16;
        [
            ("head", ConvSpec::pointwise(128, 512), Act::PRelu),
            ("gdc", ConvSpec { cin: 512, cout: 512, kernel, stride: 1, pad: 0, groups: 512 }, Act::None),
            ("linear", ConvSpec::pointwise(512, 128), Act::None),
            ("prob", ConvSpec::pointwise(128, CLASSES), Act::None),
        ]
    }
}

/// The first two convolutions.
const STEM: [Named; 2] =
    [("stem", ConvSpec::dense3(3, 32, 2), Act::PRelu), ("stem_dw", ConvSpec::depthwise3(32, 1), Act::PRelu)];

/// The network. `stem`, `stem_dw`, `block1.{up,dw,down}` …, `block5.gate.{down,up}` where there is one, `head`, `gdc`,
/// `linear`, `prob` in the weights.
#[derive(Clone, Debug)]
pub struct MiniFasNet {
    stem: Vec<ConvUnit>,
    blocks: Vec<(Vec<ConvUnit>, Option<Vec<ConvUnit>>, bool)>,
    tail: Vec<ConvUnit>,
}

fn units(vb: &VarBuilder<'_>, convs: &[Named]) -> Result<Vec<ConvUnit>> {
    convs.iter().map(|(name, spec, act)| ConvUnit::new(*spec, *act, vb.pp(name))).collect()
}

impl MiniFasNet {
    /// Builds the network on weights.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn new(variant: &Variant, vb: VarBuilder<'_>) -> Result<Self> {
        let block = |b: Block| {
            let vb = vb.pp(&b.name);
            let gate = b.gate.map(|gate| units(&vb.pp("gate"), &gate)).transpose()?;
            Ok((units(&vb, &b.convs)?, gate, b.residual))
        };
        Ok(Self {
            stem: units(&vb, &STEM)?,
            blocks: variant.blocks().into_iter().map(block).collect::<Result<_>>()?,
            tail: units(&vb, &variant.tail())?,
        })
    }
}

impl ModuleT for MiniFasNet {
    /// `[n, 3, side, side]` BGR 0 to 255 → `[n, 3]` logits.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let run = |xs: Tensor, units: &[ConvUnit]| units.iter().try_fold(xs, |xs, u| u.forward_t(&xs, train));
        let mut xs = run(xs.clone(), &self.stem)?;
        for (units, gate, residual) in &self.blocks {
            let mut ys = run(xs.clone(), units)?;
            if let Some(gate) = gate {
                let mean = ys.mean_keepdim(D::Minus1)?.mean_keepdim(D::Minus2)?;
                ys = ys.broadcast_mul(&candle_nn::ops::sigmoid(&run(mean, gate)?)?)?;
            }
            xs = if *residual { (xs + ys)? } else { ys };
        }
        run(xs, &self.tail)?.flatten_from(1)
    }
}

/// The inference form, and the map that holds the logits.
///
/// # Errors
/// When a weight is missing or of another size.
pub fn fused(variant: &Variant, file: &ModelFile) -> Result<(Plan, MapId)> {
    let side = variant.side as usize;
    let (mut plan, input) = Plan::new(side, side);
    let load = |prefix: &str, convs: &[Named]| -> Result<Vec<Folded>> {
        convs.iter().map(|(name, spec, act)| fold(file, &format!("{prefix}{name}"), *spec, *act)).collect()
    };
    let stem = load("", &STEM)?;
    let first = plan.conv3(input, &stem[0]);
    let mut at = plan.depthwise(first, &stem[1]);
    for block in variant.blocks() {
        let convs = load(&format!("{}.", block.name), &block.convs)?;
        let up = plan.pointwise(at, None, &convs[0]);
        at = match &block.gate {
            None => plan.depthwise_pointwise(up, block.residual.then_some(at), &convs[1], &convs[2]),
            Some(gate) => {
                let gate = load(&format!("{}.gate.", block.name), gate)?;
                let down = plan.depthwise_pointwise(up, None, &convs[1], &convs[2]);
                plan.gated(down, at, &gate[0], &gate[1])
            }
        };
    }
    let tail = load("", &variant.tail())?;
    let head = plan.pointwise(at, None, &tail[0]);
    let pooled = plan.global(head, &tail[1]);
    let linear = plan.pointwise(pooled, None, &tail[2]);
    let out = plan.pointwise(linear, None, &tail[3]);
    Ok((plan, out))
}

/// Walks back over convolutions with the batch norm and activation they may have.
fn take(
    walk: &mut Walk<'_>,
    mut at: Value,
    prefix: &str,
    convs: &[Named],
) -> std::result::Result<Value, OnnxError> {
    for (name, spec, act) in convs.iter().rev() {
        let name = format!("{prefix}{name}");
        match act {
            Act::PRelu => at = walk.prelu(&at, &format!("{name}.prelu"), spec.cout)?,
            Act::Relu => at = walk.step(&at, "Relu")?,
            Act::None => {}
        }
        if walk.comes_from(&at, "BatchNormalization") {
            at = walk.batch_norm(&at, &format!("{name}.bn"), spec.cout)?;
        }
        at = walk.conv(&at, &name, *spec)?;
    }
    Ok(at)
}

/// Walks back over one block; returns its input.
fn take_block(walk: &mut Walk<'_>, at: &Value, block: &Block) -> std::result::Result<Value, OnnxError> {
    let prefix = format!("{}.", block.name);
    let Some(gate) = &block.gate else { return take(walk, at.clone(), &prefix, &block.convs) };
    let (value, gated) = walk.both(at, "Mul")?;
    let (value, gated) = if walk.comes_from(&value, "Sigmoid") { (gated, value) } else { (value, gated) };
    let gated = walk.step(&gated, "Sigmoid")?;
    let pooled = take(walk, gated, &format!("{prefix}gate."), gate)?;
    if walk.step(&pooled, "GlobalAveragePool")? != value {
        return Err(walk.other(format!("the gate of {} looks at another map", block.name)));
    }
    take(walk, value, &prefix, &block.convs)
}

/// Takes the weights out of an ONNX graph of this shape, with batch norms or folded.
///
/// # Errors
/// When it is another network.
pub fn import(variant: &'static Variant, graph: &Graph) -> std::result::Result<Weights, OnnxError> {
    let mut walk = Walk::new(graph, variant.name);
    let mut at = walk.output()?;
    at = walk.linear(&at, "prob", 128, CLASSES)?;
    at = walk.skip(at, &["Dropout"]);
    if walk.comes_from(&at, "BatchNormalization") {
        at = walk.batch_norm(&at, "linear.bn", 128)?;
    }
    at = walk.linear(&at, "linear", 512, 128)?;
    at = walk.skip(at, &["Reshape", "Flatten"]);
    at = take(&mut walk, at, "", &variant.tail()[..2])?;
    for block in variant.blocks().iter().rev() {
        if !block.residual {
            at = take_block(&mut walk, &at, block)?;
            continue;
        }
        // Either side of the sum may be the shortcut.
        let (a, b) = walk.both(&at, "Add")?;
        let before = walk.weights.clone();
        at = match take_block(&mut walk, &b, block) {
            Ok(from) if from == a => a,
            _ => {
                walk.weights = before;
                match take_block(&mut walk, &a, block)? {
                    from if from == b => b,
                    _ => return Err(walk.other(format!("the shortcut of {} leads elsewhere", block.name))),
                }
            }
        };
    }
    at = take(&mut walk, at, "", &STEM)?;
    walk.arrived(&at)?;
    Ok(walk.weights)
}

/// Takes the weights out of a state dict with the names of the published training code; `get` gives a tensor's shape and
/// values.
///
/// # Errors
/// Names the tensor that is missing or of another shape.
pub fn from_state_dict(
    variant: &'static Variant,
    get: impl Fn(&str) -> Option<Constant>,
) -> std::result::Result<Weights, OnnxError> {
    let mut names: Vec<(String, String, Named)> = Vec::new();
    let published = ["conv1", "conv2_dw", "conv_6_sep", "conv_6_dw"];
    let tail = variant.tail();
    for (conv, published) in STEM.into_iter().chain([tail[0], tail[1]]).zip(published) {
        names.push((conv.0.to_owned(), published.to_owned(), conv));
    }
    for block in variant.blocks() {
        for (conv, published) in block.convs.into_iter().zip(["conv", "conv_dw", "project"]) {
            names.push((
                format!("{}.{}", block.name, conv.0),
                format!("{}.{published}", block.published),
                conv,
            ));
        }
    }
    let mut weights = Weights::new();
    let mut take = |to: String, from: &str, shape: &[usize]| {
        let other = |what: String| OnnxError::OtherNetwork { architecture: variant.name, what };
        let found = get(from).ok_or_else(|| other(format!("there is no tensor {from:?}")))?;
        if found.values.len() != shape.iter().product::<usize>() {
            return Err(other(format!("tensor {from:?} is {:?}, not {shape:?}", found.shape)));
        }
        weights.insert(to, Constant { shape: shape.to_vec(), values: found.values });
        Ok(())
    };
    let batch_norm = |take: &mut dyn FnMut(String, &str, &[usize]) -> _, to: &str, from: &str, n: usize| {
        ["weight", "bias", "running_mean", "running_var"]
            .iter()
            .try_for_each(|key| take(format!("{to}.{key}"), &format!("{from}.{key}"), &[n]))
    };
    let weight = |spec: ConvSpec| [spec.cout, spec.cin / spec.groups, spec.kernel, spec.kernel];
    for (to, from, (_, spec, act)) in names {
        take(format!("{to}.weight"), &format!("{from}.conv.weight"), &weight(spec))?;
        batch_norm(&mut take, &format!("{to}.bn"), &format!("{from}.bn"), spec.cout)?;
        if act == Act::PRelu {
            take(format!("{to}.prelu.weight"), &format!("{from}.prelu.weight"), &[spec.cout])?;
        }
    }
    for block in variant.blocks() {
        for (i, (name, spec, _)) in block.gate.into_iter().flatten().enumerate() {
            let (to, from) =
                (format!("{}.gate.{name}", block.name), format!("{}.se_module", block.published));
            take(format!("{to}.weight"), &format!("{from}.fc{}.weight", i + 1), &weight(spec))?;
            batch_norm(&mut take, &format!("{to}.bn"), &format!("{from}.bn{}", i + 1), spec.cout)?;
        }
    }
    for (name, spec, _) in &tail[2..] {
        take(format!("{name}.weight"), &format!("{name}.weight"), &weight(*spec))?;
    }
    batch_norm(&mut take, "linear.bn", "bn", 128)?;
    // What a shape without gates would leave out must not be there.
    if !variant.gated && get("conv_3.model.3.se_module.fc1.weight").is_some() {
        let what = "it has squeeze-and-excitation".to_owned();
        return Err(OnnxError::OtherNetwork { architecture: variant.name, what });
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_named_as_they_were_published() {
        let names: Vec<_> = VARIANTS[1].blocks().into_iter().map(|b| b.published).collect();
        assert_eq!(names[..3], ["conv_23", "conv_3.model.0", "conv_3.model.1"]);
        assert_eq!(names[5..7], ["conv_34", "conv_4.model.0"]);
        assert_eq!(names[12..], ["conv_45", "conv_5.model.0", "conv_5.model.1"]);
        let gates: Vec<_> =
            VARIANTS[1].blocks().into_iter().filter(|b| b.gate.is_some()).map(|b| b.name).collect();
        assert_eq!(gates, ["block5", "block12", "block15"]);
    }

    #[test]
    fn a_state_dict_that_lacks_a_tensor_is_refused_by_its_name() {
        let error = from_state_dict(&VARIANTS[0], |_| None).unwrap_err();
        assert_eq!(error.to_string(), "this is not minifasnet-v2: there is no tensor \"conv1.conv.weight\"");
        let short = |_: &str| Some(Constant { shape: vec![1], values: vec![0.0] });
        let error = from_state_dict(&VARIANTS[0], short).unwrap_err().to_string();
        assert!(error.contains("is [1], not [32, 3, 3, 3]"), "{error}");
    }
}
