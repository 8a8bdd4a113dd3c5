//! One branch of the Siamese network, loaded: aligned crops in, embeddings out. Both twins are this one object, so
//! their weights are shared by construction.

use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use candle_nn::{ModuleT, VarBuilder};

use super::mobilefacenet::{self, MobileFaceNet};
use super::mobilefacenet_s::{self, MobileFaceNetS};
use super::sface::{self, SFace};
use super::siamese_cnn::{self, SiameseCnn};
use super::{Embedding, ModelId};
use crate::nn::fused::{MapId, Net, Plan};
use crate::nn::model_file::{InputSpec, ModelFile};
use crate::nn::onnx::{Graph, Imported, OnnxError};
use crate::nn::op::FusedOp;
use crate::nn::team::Team;
use crate::vision::align::{AlignedCrop, CROP_SIDE};

/// Takes an encoder's weights, and the normalisation if it is inside, out of a graph.
pub type Import = fn(&Graph) -> std::result::Result<Imported, OnnxError>;

/// A network in its trainable form.
pub type Trainable = Arc<dyn ModuleT + Send + Sync>;

/// An architecture that can run as an encoder.
pub struct Architecture {
    /// The name model files carry.
    pub name: &'static str,
    /// Length of the embedding.
    pub dim: usize,
    /// What it takes when it is trained here; imported weights may have been trained on other values.
    pub input: InputSpec,
    /// How its weights are taken out of an ONNX file, where such files are known.
    pub import: Option<Import>,
    /// Builds it in plain candle layers on weights, `[n, channels, side, side]` → `[n, dim]`.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub build: fn(VarBuilder<'_>) -> Result<Trainable>,
    /// Its inference form on the weights of a file, and the map that holds the embedding.
    ///
    /// # Errors
    /// When a weight is missing or of another size.
    pub fused: fn(&ModelFile) -> Result<(Plan, MapId)>,
}

/// All encoders accessd can run.
pub const ARCHITECTURES: [Architecture; 4] = [
    Architecture {
        name: sface::ARCHITECTURE,
        dim: sface::DIM,
        input: sface::INPUT,
        import: Some(sface::import),
        build: |vb| Ok(Arc::new(SFace::new(vb)?)),
        fused: |file| sface::fused(file, CROP_SIDE as usize),
    },
    Architecture {
        name: mobilefacenet::ARCHITECTURE,
        dim: mobilefacenet::DIM,
        input: mobilefacenet::INPUT,
        import: Some(mobilefacenet::import),
        build: |vb| Ok(Arc::new(MobileFaceNet::new(vb)?)),
        fused: |file| mobilefacenet::fused(file, CROP_SIDE as usize),
    },
    Architecture {
        name: mobilefacenet_s::ARCHITECTURE,
        dim: mobilefacenet_s::DIM,
        input: mobilefacenet::INPUT,
        import: None,
        build: |vb| Ok(Arc::new(MobileFaceNetS::new(vb)?)),
        fused: |file| mobilefacenet_s::fused(file, CROP_SIDE as usize),
    },
    Architecture {
        name: siamese_cnn::ARCHITECTURE,
        dim: siamese_cnn::DIM,
        input: siamese_cnn::INPUT,
        import: None,
        build: |vb| Ok(Arc::new(SiameseCnn::new(vb)?)),
        fused: siamese_cnn::fused,
    },
];

impl Architecture {
    /// The architecture called `name`.
    ///
    /// # Errors
    /// Naming those there are.
    pub fn find(name: &str) -> Result<&'static Self> {
        match ARCHITECTURES.iter().find(|a| a.name == name) {
            Some(architecture) => Ok(architecture),
            None => unknown(name),
        }
    }
}

/// How a network is run: in its fused form, or as plain candle layers.
#[derive(Clone)]
enum Network {
    /// On the CPU, with the map that holds the embedding.
    Fused(Box<Net>, MapId),
    /// On another device.
    Op(Arc<FusedOp>),
    Plain(Trainable),
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Plain(_)) { "plain" } else { "fused" })
    }
}

impl Network {
    fn fused(file: &ModelFile, device: &Device) -> Result<Self> {
        let (plan, out) = (Architecture::find(&file.card.architecture)?.fused)(file)?;
        Ok(match device {
            Device::Cpu => Self::Fused(Box::new(Net::new(plan)), out),
            _ => Self::Op(Arc::new(FusedOp::new(plan, vec![out]))),
        })
    }

    fn plain(file: &ModelFile, device: &Device) -> Result<Self> {
        let architecture = Architecture::find(&file.card.architecture)?;
        Ok(Self::Plain((architecture.build)(file.var_builder(device)?)?))
    }
}

fn unknown<T>(architecture: &str) -> Result<T> {
    let known = ARCHITECTURES.map(|a| a.name).join(", ");
    candle_core::bail!("architecture {architecture:?} is not an encoder; known are {known}")
}

/// A loaded encoder. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct Encoder {
    network: Network,
    input: InputSpec,
    model: ModelId,
    device: Device,
}

impl Encoder {
    /// Builds the encoder of a model file on `device` in its fused form.
    ///
    /// # Errors
    /// When the architecture is not an encoder's, or a weight is missing or of another shape.
    pub fn new(file: &ModelFile, device: &Device) -> Result<Self> {
        Self::with(file, Network::fused(file, device)?, device)
    }

    /// Builds the encoder in plain candle layers: the definition that the fused form is held to.
    ///
    /// # Errors
    /// As for [`Encoder::new`].
    pub fn plain(file: &ModelFile, device: &Device) -> Result<Self> {
        Self::with(file, Network::plain(file, device)?, device)
    }

    fn with(file: &ModelFile, network: Network, device: &Device) -> Result<Self> {
        let card = &file.card;
        let expected = Architecture::find(&card.architecture)?.input;
        let (width, height) = (card.input.width, card.input.height);
        if (width, height) != (expected.width, expected.height) {
            candle_core::bail!(
                "it takes {width}×{height} px, and accessd runs {} on {}×{} px of a face",
                card.architecture,
                expected.width,
                expected.height
            );
        }
        if card.input.channel_count() != expected.channel_count() {
            candle_core::bail!("its card and its architecture disagree about colour");
        }
        Ok(Self { network, input: card.input, model: card.id(), device: device.clone() })
    }

    /// Has a team run it on the CPU instead of the calling thread alone.
    #[must_use]
    pub fn with_team(mut self, team: &Team) -> Self {
        if let Network::Fused(net, _) = &mut self.network {
            **net = Net::for_team(net.plan().clone(), team);
        }
        self
    }

    /// The id under which its embeddings are kept.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Embeds crops, in order.
    ///
    /// # Errors
    /// When the device fails, or the network's answer cannot be scaled to length 1.
    pub fn embed(&mut self, crops: &[&AlignedCrop]) -> Result<Vec<Embedding>> {
        let input = self.input;
        let rows = match &mut self.network {
            Network::Fused(net, out) => {
                crops.iter().map(|crop| run(net, input, crop).map(*out).pixel_at(0, 0).to_vec()).collect()
            }
            Network::Op(op) => crops
                .iter()
                .map(|crop| {
                    let pixels = middle(input, crop).flat_map(|row| values(input, row)).flatten().collect();
                    let shape = (input.height as usize, input.width as usize, 3);
                    let pixels = Tensor::from_vec(pixels, shape, &self.device)?;
                    pixels.apply_op1_no_bwd(op.as_ref())?.to_vec1()
                })
                .collect::<Result<_>>()?,
            Network::Plain(net) => forward(net.as_ref(), input, crops, &self.device)?,
        };
        let unit = |row| Embedding::normalise(row).map_err(candle_core::Error::wrap);
        rows.into_iter().map(unit).collect()
    }
}

/// The rows of the middle of a crop that a network takes, each of RGB pixels.
fn middle(input: InputSpec, crop: &AlignedCrop) -> impl Iterator<Item = &[u8]> {
    let (side, all) = (input.width as usize, CROP_SIDE as usize);
    let rim = (all - side) / 2;
    let rows = crop.0.as_raw().chunks_exact(3 * all).skip(rim).take(side);
    rows.map(move |row| &row[3 * rim..][..3 * side])
}

/// What a network takes of a row of pixels.
fn values(input: InputSpec, row: &[u8]) -> impl Iterator<Item = [f32; 3]> {
    row.as_chunks::<3>().0.iter().map(move |pixel| input.pixel(pixel.map(f32::from)))
}

/// Runs a fused network on a crop.
fn run<'n>(net: &'n mut Net, input: InputSpec, crop: &AlignedCrop) -> &'n Net {
    for (y, row) in middle(input, crop).enumerate() {
        let pixels = net.input_row(y).as_chunks_mut::<3>().0;
        pixels.iter_mut().zip(values(input, row)).for_each(|(to, value)| *to = value);
    }
    net.run();
    net
}

/// Runs a plain network on all crops at once: `[n, channels, side, side]`.
fn forward(
    net: &(impl ModuleT + ?Sized),
    input: InputSpec,
    crops: &[&AlignedCrop],
    device: &Device,
) -> Result<Vec<Vec<f32>>> {
    if crops.is_empty() {
        return Ok(Vec::new());
    }
    let plane = |crop: &AlignedCrop, c: usize| -> Vec<f32> {
        middle(input, crop).flat_map(|row| values(input, row)).map(|pixel| pixel[c]).collect()
    };
    let channels = input.channel_count();
    let planes = crops.iter().flat_map(|crop| (0..channels).flat_map(|c| plane(crop, c))).collect();
    let (width, height) = (input.width as usize, input.height as usize);
    let xs = Tensor::from_vec(planes, (crops.len(), channels, height, width), device)?;
    net.forward_t(&xs, false)?.to_vec2()
}
