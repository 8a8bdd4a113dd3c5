//! One branch of the Siamese network, loaded: aligned crops in, embeddings out. Both twins are this one object, so
//! their weights are shared by construction.

use candle_core::{Device, Result, Tensor};
use candle_nn::ModuleT;

use super::mobilefacenet::{self, MobileFaceNet};
use super::sface::{self, SFace};
use super::{Embedding, ModelId};
use crate::nn::fused::{MapId, Net};
use crate::nn::model_file::{InputSpec, ModelFile};
use crate::nn::onnx::{Graph, Imported, OnnxError};
use crate::vision::align::{AlignedCrop, CROP_SIDE};

/// An architecture that can be imported and run as an encoder.
pub struct Architecture {
    /// The name model files carry.
    pub name: &'static str,
    /// Length of the embedding.
    pub dim: usize,
    /// Takes its weights, and the normalisation if it is inside, out of a graph.
    pub import: fn(&Graph) -> std::result::Result<Imported, OnnxError>,
}

/// All encoders accessd can run.
pub const ARCHITECTURES: [Architecture; 2] = [
    Architecture { name: sface::ARCHITECTURE, dim: sface::DIM, import: sface::import },
    Architecture {
        name: mobilefacenet::ARCHITECTURE,
        dim: mobilefacenet::DIM,
        import: mobilefacenet::import,
    },
];

/// How a network is run: in the fused form on the CPU, in plain candle elsewhere.
#[derive(Clone, Debug)]
enum Network {
    /// With the map that holds the embedding.
    Fused(Box<Net>, MapId),
    SFace(Box<SFace>),
    MobileFaceNet(Box<MobileFaceNet>),
}

impl Network {
    fn fused(file: &ModelFile) -> Result<Self> {
        let side = CROP_SIDE as usize;
        let (plan, out) = match file.card.architecture.as_str() {
            sface::ARCHITECTURE => sface::fused(file, side)?,
            mobilefacenet::ARCHITECTURE => mobilefacenet::fused(file, side)?,
            other => return unknown(other),
        };
        Ok(Self::Fused(Box::new(Net::new(plan)), out))
    }

    fn plain(file: &ModelFile, device: &Device) -> Result<Self> {
        let vb = file.var_builder(device)?;
        Ok(match file.card.architecture.as_str() {
            sface::ARCHITECTURE => Self::SFace(Box::new(SFace::new(vb)?)),
            mobilefacenet::ARCHITECTURE => Self::MobileFaceNet(Box::new(MobileFaceNet::new(vb)?)),
            other => return unknown(other),
        })
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
    /// Builds the encoder of a model file on `device`, in its fused form when that is the CPU.
    ///
    /// # Errors
    /// When the architecture is not an encoder's, or a weight is missing or of another shape.
    pub fn new(file: &ModelFile, device: &Device) -> Result<Self> {
        let network = if device.is_cpu() { Network::fused(file)? } else { Network::plain(file, device)? };
        Self::with(file, network, device)
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
        if (card.input.width, card.input.height) != (CROP_SIDE, CROP_SIDE) {
            candle_core::bail!(
                "it takes {}×{} px, accessd aligns faces to 112×112",
                card.input.width,
                card.input.height
            );
        }
        Ok(Self { network, input: card.input, model: card.id(), device: device.clone() })
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
            Network::SFace(net) => forward(net.as_ref(), input, crops, &self.device)?,
            Network::MobileFaceNet(net) => forward(net.as_ref(), input, crops, &self.device)?,
        };
        let unit = |row| Embedding::normalise(row).map_err(candle_core::Error::wrap);
        rows.into_iter().map(unit).collect()
    }
}

/// Runs a fused network on a crop.
fn run<'n>(net: &'n mut Net, input: InputSpec, crop: &AlignedCrop) -> &'n Net {
    let side = CROP_SIDE as usize;
    for (y, row) in crop.0.as_raw().chunks_exact(3 * side).enumerate() {
        for (to, from) in net.input_row(y).chunks_exact_mut(3).zip(row.chunks_exact(3)) {
            for (c, to) in input.channels.order().into_iter().zip(to) {
                *to = (f32::from(from[c]) - input.mean) * input.scale;
            }
        }
    }
    net.run();
    net
}

/// Runs a plain network on all crops at once: `[n, 3, 112, 112]`.
fn forward(
    net: &impl ModuleT,
    input: InputSpec,
    crops: &[&AlignedCrop],
    device: &Device,
) -> Result<Vec<Vec<f32>>> {
    if crops.is_empty() {
        return Ok(Vec::new());
    }
    let plane = |crop: &AlignedCrop, c: usize| -> Vec<f32> {
        let values = crop.0.as_raw().iter().skip(c).step_by(3);
        values.map(|&p| (f32::from(p) - input.mean) * input.scale).collect()
    };
    let planes: Vec<f32> =
        crops.iter().flat_map(|crop| input.channels.order().map(|c| plane(crop, c))).flatten().collect();
    let side = CROP_SIDE as usize;
    let xs = Tensor::from_vec(planes, (crops.len(), 3, side, side), device)?;
    net.forward_t(&xs, false)?.to_vec2()
}
