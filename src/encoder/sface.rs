//! SFace: MobileNetV1 at 112×112 with PReLU, stride 1 in the first layer, and one fully connected layer to 128 values.
//!
//! Trained with the sigmoid-constrained hypersphere loss of Zhong et al., "SFace: Sigmoid-Constrained Hypersphere
//! Loss for Robust Face Recognition" (2021). Input RGB, normalised as the card says.

use candle_core::{Result, Tensor};
use candle_nn::{Linear, Module, ModuleT, VarBuilder};

use crate::nn::fused::{MapId, Plan, dense, fold};
use crate::nn::layers::{Act, ConvUnit, Norm};
use crate::nn::model_file::{Channels, InputSpec, ModelFile};
use crate::nn::onnx::{ConvSpec, Graph, Imported, OnnxError, Walk};

/// The name model files carry.
pub const ARCHITECTURE: &str = "sface";
/// Length of the embedding.
pub const DIM: usize = 128;
/// What it takes: the normalisation is that inside the published file.
pub const INPUT: InputSpec =
    InputSpec { width: 112, height: 112, channels: Channels::Rgb, mean: 127.5, scale: 1.0 / 128.0 };
/// Output channels and stride of the thirteen depthwise-separable blocks; the first layer has 32 channels.
pub const BLOCKS: [(usize, usize); 13] = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
];
/// Channels of the first layer.
pub const STEM: usize = 32;
/// Channels and side of the last feature map.
pub const LAST: (usize, usize) = (1024, 7);

/// The network. `stem`, `block1.dw`, `block1.pw` … `block13.pw`, `bn`, `fc`, `fc_bn` in the weights.
#[derive(Clone, Debug)]
pub struct SFace {
    convs: Vec<ConvUnit>,
    bn: Norm,
    fc: Linear,
    fc_bn: Norm,
}

/// The convolutions in order, with their names.
pub fn convs() -> Vec<(String, ConvSpec)> {
    let mut all = vec![("stem".to_owned(), ConvSpec::dense3(3, STEM, 1))];
    let mut cin = STEM;
    for (i, (cout, stride)) in BLOCKS.into_iter().enumerate() {
        all.push((format!("block{}.dw", i + 1), ConvSpec::depthwise3(cin, stride)));
        all.push((format!("block{}.pw", i + 1), ConvSpec::pointwise(cin, cout)));
        cin = cout;
    }
    all
}

impl SFace {
    /// Builds the network on weights.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let convs = convs().into_iter().map(|(name, spec)| ConvUnit::new(spec, Act::PRelu, vb.pp(name)));
        let (channels, side) = LAST;
        Ok(Self {
            convs: convs.collect::<Result<_>>()?,
            bn: Norm::new(channels, vb.pp("bn"))?,
            fc: candle_nn::linear(channels * side * side, DIM, vb.pp("fc"))?,
            fc_bn: Norm::new(DIM, vb.pp("fc_bn"))?,
        })
    }
}

impl ModuleT for SFace {
    /// `[n, 3, 112, 112]` normalised RGB → `[n, 128]`, not yet of unit length.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut xs = xs.clone();
        for conv in &self.convs {
            xs = conv.forward_t(&xs, train)?;
        }
        let xs = self.bn.forward_t(&xs, train)?.flatten_from(1)?;
        self.fc_bn.forward_t(&self.fc.forward(&xs)?, train)
    }
}

/// The inference form for crops of `side` px, and the map that holds the 128 values.
///
/// # Errors
/// When a weight is missing or of another size.
pub fn fused(file: &ModelFile, side: usize) -> Result<(Plan, MapId)> {
    let (mut plan, input) = Plan::new(side, side);
    let folded = convs().into_iter().map(|(name, spec)| fold(file, &name, spec, Act::PRelu));
    let folded = folded.collect::<Result<Vec<_>>>()?;
    let mut at = plan.conv3(input, &folded[0]);
    for block in folded[1..].chunks_exact(2) {
        at = plan.depthwise_pointwise(at, None, &block[0], &block[1]);
    }
    let (channels, last) = LAST;
    let fc = dense(file, ("bn", "fc", "fc_bn"), (channels, last * last), DIM, Act::None)?;
    let out = plan.dense(at, fc);
    Ok((plan, out))
}

/// Takes the weights out of an ONNX graph of SFace.
///
/// # Errors
/// When it is another network.
pub fn import(graph: &Graph) -> std::result::Result<Imported, OnnxError> {
    let mut walk = Walk::new(graph, ARCHITECTURE);
    let mut at = walk.output()?;
    let (channels, side) = LAST;
    at = walk.batch_norm(&at, "fc_bn", DIM)?;
    at = walk.gemm(&at, "fc", channels * side * side, DIM)?;
    at = walk.skip(at, &["Flatten", "Reshape", "Dropout"]);
    at = walk.batch_norm(&at, "bn", channels)?;
    for (name, spec) in convs().iter().rev() {
        at = walk.prelu(&at, &format!("{name}.prelu"), spec.cout)?;
        at = walk.batch_norm(&at, &format!("{name}.bn"), spec.cout)?;
        at = walk.conv(&at, name, *spec)?;
    }
    let norm = super::input_norm(&walk, &mut at)?;
    walk.arrived(&at)?;
    Ok(Imported { weights: walk.weights, norm })
}
