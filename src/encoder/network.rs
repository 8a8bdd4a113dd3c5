//! One branch of the Siamese network, loaded: aligned crops in, embeddings out. Both twins are this one object, so
//! their weights are shared by construction.

use candle_core::{Device, Result, Tensor};
use candle_nn::ModuleT;

use super::mobilefacenet::{self, MobileFaceNet};
use super::sface::{self, SFace};
use super::{Embedding, ModelId};
use crate::nn::model_file::{Channels, InputSpec, ModelFile};
use crate::nn::onnx::{Graph, OnnxError, Weights};
use crate::vision::align::{AlignedCrop, CROP_SIDE};

/// An architecture that can be imported and run as an encoder.
pub struct Architecture {
    /// The name model files carry.
    pub name: &'static str,
    /// Length of the embedding.
    pub dim: usize,
    /// Takes its weights, and the normalisation if it is inside, out of a graph.
    pub import: fn(&Graph) -> std::result::Result<(Weights, Option<(f32, f32)>), OnnxError>,
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

#[derive(Clone, Debug)]
enum Network {
    SFace(SFace),
    MobileFaceNet(MobileFaceNet),
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
    /// Builds the encoder of a model file on `device`.
    ///
    /// # Errors
    /// When the architecture is not an encoder's, or a weight is missing or of another shape.
    pub fn new(file: &ModelFile, device: &Device) -> Result<Self> {
        let card = &file.card;
        if (card.input.width, card.input.height) != (CROP_SIDE, CROP_SIDE) {
            candle_core::bail!(
                "it takes {}×{} px, accessd aligns faces to 112×112",
                card.input.width,
                card.input.height
            );
        }
        let vb = file.var_builder(device)?;
        let network = match card.architecture.as_str() {
            sface::ARCHITECTURE => Network::SFace(SFace::new(vb)?),
            mobilefacenet::ARCHITECTURE => Network::MobileFaceNet(MobileFaceNet::new(vb)?),
            other => {
                let known = ARCHITECTURES.map(|a| a.name).join(", ");
                candle_core::bail!("architecture {other:?} is not an encoder; known are {known}")
            }
        };
        Ok(Self { network, input: card.input, model: card.id(), device: device.clone() })
    }

    /// The id under which its embeddings are kept.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Embeds crops, in order; `[n, 3, 112, 112]` inside.
    ///
    /// # Errors
    /// When the device fails, or the network's answer cannot be scaled to length 1.
    pub fn embed(&self, crops: &[&AlignedCrop]) -> Result<Vec<Embedding>> {
        if crops.is_empty() {
            return Ok(Vec::new());
        }
        let side = CROP_SIDE as usize;
        let planes: Vec<f32> = crops.iter().flat_map(|crop| self.planes(crop)).collect();
        let xs = Tensor::from_vec(planes, (crops.len(), 3, side, side), &self.device)?;
        let ys = match &self.network {
            Network::SFace(net) => net.forward_t(&xs, false)?,
            Network::MobileFaceNet(net) => net.forward_t(&xs, false)?,
        };
        let rows = ys.to_vec2::<f32>()?;
        rows.into_iter().map(|row| Embedding::normalise(row).map_err(candle_core::Error::wrap)).collect()
    }

    /// A crop as three normalised planes in the network's channel order.
    fn planes(&self, crop: &AlignedCrop) -> impl Iterator<Item = f32> {
        let InputSpec { channels, mean, scale, .. } = self.input;
        let order = match channels {
            Channels::Rgb => [0, 1, 2],
            Channels::Bgr => [2, 1, 0],
        };
        let pixels = crop.0.as_raw();
        order
            .into_iter()
            .flat_map(move |c| pixels.iter().skip(c).step_by(3).map(move |&p| (f32::from(p) - mean) * scale))
    }
}
