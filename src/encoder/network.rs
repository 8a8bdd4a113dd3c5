//! One branch of the Siamese network, loaded: aligned crops in, embeddings out. Both twins are this one object, so
//! their weights are shared by construction.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use candle_nn::ModuleT;

use super::mobilefacenet::{self, MobileFaceNet};
use super::sface::{self, SFace};
use super::{Embedding, ModelId};
use crate::nn::fused::{MapId, Net};
use crate::nn::model_file::{InputSpec, ModelFile};
use crate::nn::onnx::{Graph, Imported, OnnxError};
use crate::nn::op::FusedOp;
use crate::nn::team::Team;
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

/// How a network is run: in its fused form, or as plain candle layers.
#[derive(Clone, Debug)]
enum Network {
    /// On the CPU, with the map that holds the embedding.
    Fused(Box<Net>, MapId),
    /// On another device.
    Op(Arc<FusedOp>),
    SFace(Box<SFace>),
    MobileFaceNet(Box<MobileFaceNet>),
}

impl Network {
    fn fused(file: &ModelFile, device: &Device) -> Result<Self> {
        let side = CROP_SIDE as usize;
        let (plan, out) = match file.card.architecture.as_str() {
            sface::ARCHITECTURE => sface::fused(file, side)?,
            mobilefacenet::ARCHITECTURE => mobilefacenet::fused(file, side)?,
            other => return unknown(other),
        };
        Ok(match device {
            Device::Cpu => Self::Fused(Box::new(Net::new(plan)), out),
            _ => Self::Op(Arc::new(FusedOp::new(plan, vec![out]))),
        })
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
        if (card.input.width, card.input.height) != (CROP_SIDE, CROP_SIDE) {
            candle_core::bail!(
                "it takes {}×{} px, accessd aligns faces to 112×112",
                card.input.width,
                card.input.height
            );
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
                    let side = CROP_SIDE as usize;
                    let pixels =
                        Tensor::from_vec(pixels(input, crop).collect(), (side, side, 3), &self.device)?;
                    pixels.apply_op1_no_bwd(op.as_ref())?.to_vec1()
                })
                .collect::<Result<_>>()?,
            Network::SFace(net) => forward(net.as_ref(), input, crops, &self.device)?,
            Network::MobileFaceNet(net) => forward(net.as_ref(), input, crops, &self.device)?,
        };
        let unit = |row| Embedding::normalise(row).map_err(candle_core::Error::wrap);
        rows.into_iter().map(unit).collect()
    }
}

/// A crop's values as the network takes them, pixel after pixel.
fn pixels(input: InputSpec, crop: &AlignedCrop) -> impl Iterator<Item = f32> {
    let value = move |p: u8| (f32::from(p) - input.mean) * input.scale;
    crop.0
        .as_raw()
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(move |pixel| input.channels.order().map(|c| value(pixel[c])))
}

/// Runs a fused network on a crop.
fn run<'n>(net: &'n mut Net, input: InputSpec, crop: &AlignedCrop) -> &'n Net {
    let mut values = pixels(input, crop);
    for y in 0..CROP_SIDE as usize {
        net.input_row(y).iter_mut().zip(&mut values).for_each(|(to, value)| *to = value);
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
