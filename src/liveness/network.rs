//! A PAD network, loaded: a face with its surroundings in, three logits and how far it looks alive out.

use candle_core::{Device, Result, Tensor};
use candle_nn::ModuleT;

use super::minifasnet::{self, CLASSES, MiniFasNet, VARIANTS, Variant};
use crate::encoder::ModelId;
use crate::nn::fused::{MapId, Net};
use crate::nn::model_file::{InputSpec, ModelFile};
use crate::nn::team::Team;
use crate::vision::margin::MarginCrop;

#[derive(Clone, Debug)]
enum Form {
    /// With the map that holds the logits.
    Fused(Box<Net>, MapId),
    Plain(Box<MiniFasNet>, Device),
}

/// A loaded PAD network. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct Liveness {
    form: Form,
    variant: &'static Variant,
    input: InputSpec,
    model: ModelId,
}

impl Liveness {
    /// Builds the network of a model file, in its fused form when `device` is the CPU.
    ///
    /// # Errors
    /// When the architecture is not a PAD network's, or a weight is missing or of another shape.
    pub fn new(file: &ModelFile, device: &Device) -> Result<Self> {
        if !device.is_cpu() {
            return Self::plain(file, device);
        }
        let (plan, out) = minifasnet::fused(known(file)?, file)?;
        Self::with(file, Form::Fused(Box::new(Net::new(plan)), out))
    }

    /// Builds the network in plain candle layers: the definition that the fused form is held to.
    ///
    /// # Errors
    /// As for [`Liveness::new`].
    pub fn plain(file: &ModelFile, device: &Device) -> Result<Self> {
        let network = MiniFasNet::new(known(file)?, file.var_builder(device)?)?;
        Self::with(file, Form::Plain(Box::new(network), device.clone()))
    }

    fn with(file: &ModelFile, form: Form) -> Result<Self> {
        Ok(Self { form, variant: known(file)?, input: file.card.input, model: file.card.id() })
    }

    /// Has a team run it on the CPU instead of the calling thread alone.
    #[must_use]
    pub fn with_team(mut self, team: &Team) -> Self {
        if let Form::Fused(net, _) = &mut self.form {
            **net = Net::for_team(net.plan().clone(), team);
        }
        self
    }

    /// The id of its weights.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// The name of its architecture.
    pub fn architecture(&self) -> &'static str {
        self.variant.name
    }

    /// Side in px of the crops it takes.
    pub fn side(&self) -> u32 {
        self.variant.side
    }

    /// How many times the face's box its crops show.
    pub fn margin(&self) -> f32 {
        self.variant.margin
    }

    /// How far the face looks alive, 0 to 1: the softmax of the class that stands for that.
    ///
    /// # Errors
    /// When the crop is of another size, or the device fails.
    pub fn live(&mut self, crop: &MarginCrop) -> Result<f32> {
        let logits = self.logits(crop)?;
        let greatest = logits.into_iter().fold(f32::MIN, f32::max);
        let shares = logits.map(|v| (v - greatest).exp());
        Ok(shares[self.variant.live] / shares.iter().sum::<f32>())
    }

    /// The logits of the three classes.
    ///
    /// # Errors
    /// As for [`Liveness::live`].
    pub fn logits(&mut self, crop: &MarginCrop) -> Result<[f32; CLASSES]> {
        let side = self.variant.side;
        if crop.image.dimensions() != (side, side) {
            candle_core::bail!(
                "the crop has {:?} px, this network takes {side}×{side}",
                crop.image.dimensions()
            );
        }
        let input = self.input;
        let value = |pixel: &[u8; 3]| input.pixel(pixel.map(f32::from));
        let (pixels, row) = (crop.image.as_raw().as_chunks::<3>().0, side as usize);
        match &mut self.form {
            Form::Fused(net, out) => {
                for (y, row) in pixels.chunks_exact(row).enumerate() {
                    let to = net.input_row(y).as_chunks_mut::<3>().0;
                    to.iter_mut().zip(row).for_each(|(to, from)| *to = value(from));
                }
                net.run();
                Ok(net.map(*out).pixel_at(0, 0).try_into().expect("the plan ends with three values"))
            }
            Form::Plain(network, device) => {
                let planes: Vec<f32> =
                    (0..3).flat_map(|c| pixels.iter().map(move |pixel| value(pixel)[c])).collect();
                let side = side as usize;
                let xs = Tensor::from_vec(planes, (1, 3, side, side), device)?;
                let logits = network.forward_t(&xs, false)?.flatten_all()?.to_vec1::<f32>()?;
                Ok(logits.try_into().expect("the network ends with three values"))
            }
        }
    }
}

fn known(file: &ModelFile) -> Result<&'static Variant> {
    let name = &file.card.architecture;
    minifasnet::variant(name).ok_or_else(|| {
        let known = VARIANTS.iter().map(|v| v.name).collect::<Vec<_>>().join(", ");
        let what = format!("architecture {name:?} is not a PAD network's; known are {known}");
        candle_core::Error::Msg(what).bt()
    })
}
