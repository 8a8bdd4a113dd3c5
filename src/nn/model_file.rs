//! Model files: safetensors with a card that says what the network is, and an id that is computed from its contents.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::onnx::Weights;
use crate::encoder::ModelId;

/// Version of the file's layout; raised when older programs could not read it.
const FORMAT: u32 = 1;
/// Key of the card in the safetensors metadata.
const CARD_KEY: &str = "accessd";

/// Order of the colour channels a network was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
    /// One channel: the luma of ITU-R BT.601.
    Grey,
}

/// What a network takes: `(pixel − mean) · scale` of `channels`, pixels 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Width in px; 0 for any multiple of 32.
    pub width: u32,
    /// Height in px; 0 for any multiple of 32.
    pub height: u32,
    /// Channel order.
    pub channels: Channels,
    /// Taken from every pixel value.
    pub mean: f32,
    /// Multiplied after that.
    pub scale: f32,
}

impl InputSpec {
    /// How many channels the network takes.
    pub fn channel_count(&self) -> usize {
        match self.channels {
            Channels::Rgb | Channels::Bgr => 3,
            Channels::Grey => 1,
        }
    }

    /// What the network takes of a pixel, of which each channel is 0 to 255; a grey network takes the first value.
    pub fn pixel(&self, [r, g, b]: [f32; 3]) -> [f32; 3] {
        let ordered = match self.channels {
            Channels::Rgb => [r, g, b],
            Channels::Bgr => [b, g, r],
            Channels::Grey => [0.299 * r + 0.587 * g + 0.114 * b; 3],
        };
        ordered.map(|v| (v - self.mean) * self.scale)
    }
}

/// What is known about a network beside its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Layout version of the file.
    pub format: u32,
    /// The name it is installed under.
    pub name: String,
    /// `detector`, `encoder` or `liveness`.
    pub job: String,
    /// Which code runs it.
    pub architecture: String,
    /// What it takes.
    pub input: InputSpec,
    /// Length of the embedding; `None` for what is no encoder.
    pub dim: Option<usize>,
    /// SPDX expression, as declared by the publisher.
    pub licence: String,
    /// Where it came from and what is not known about it.
    pub provenance: String,
    /// SHA-256 of the file it was imported from, hex.
    pub source_sha256: String,
    /// BLAKE3 over architecture, input and weights, hex.
    pub weights_blake3: String,
    /// What an encoder was trained on, when that was aligned faces or something else; `None` where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
}

/// What part of a picture an encoder learnt to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Faces found and aligned, as the door does it.
    Aligned,
    /// The middle of whole pictures.
    Whole,
}

/// Whether a network can be installed under `name`: 1 to 40 letters, digits, `-` and `_`.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=40).contains(&name.len()) && name.chars().all(fits)
}

impl ModelCard {
    /// `name@` and the first 12 hex digits of the weights' hash.
    pub fn id(&self) -> ModelId {
        ModelId(format!("{}@{}", self.name, &self.weights_blake3[..12.min(self.weights_blake3.len())]))
    }
}

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// Not there.
    #[error("model file {} does not exist; fetch the networks with `make models`, or import one with `accessd models import`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Could not be read or written.
    #[error("model file {}: cannot be {doing}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Not what it should be.
    #[error("model file {}: {what}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to try.
        what: String,
    },
}

/// A network's weights and card.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// What it is.
    pub card: ModelCard,
    tensors: HashMap<String, Tensor>,
}

impl ModelFile {
    /// Puts a network together; computes its hash.
    ///
    /// # Errors
    /// When a weight's values do not fit its shape.
    pub fn new(mut card: ModelCard, weights: &Weights) -> candle_core::Result<Self> {
        card.format = FORMAT;
        let mut tensors = HashMap::new();
        for (name, w) in weights {
            // Denormal weights cost a hundred cycles each on many CPUs and change nothing.
            let values: Vec<f32> = w.values.iter().map(|&v| if v.abs() < 1e-20 { 0.0 } else { v }).collect();
            tensors.insert(name.clone(), Tensor::from_vec(values, w.shape.clone(), &Device::Cpu)?);
        }
        card.weights_blake3 = hash(&card, &tensors)?;
        Ok(Self { card, tensors })
    }

    /// Reads a model file and checks that its weights are those its card names.
    ///
    /// # Errors
    /// When it is missing, not a model file, cut short or altered.
    pub fn read(path: &Path) -> Result<Self, ModelFileError> {
        let bytes = std::fs::read(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ModelFileError::Missing { path: path.to_owned() },
            _ => ModelFileError::Io { path: path.to_owned(), doing: "read", source },
        })?;
        let bad = |what: String| ModelFileError::Bad { path: path.to_owned(), what };
        let damaged = |e: &dyn std::fmt::Display| {
            bad(format!("not a safetensors file, or cut short ({e}); import the network again"))
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
        let card = header.metadata().as_ref().and_then(|m| m.get(CARD_KEY)).ok_or_else(|| {
            bad("a safetensors file, but not one that `accessd models import` wrote (no card in it)".into())
        })?;
        let card: ModelCard = serde_json::from_str(card)
            .map_err(|e| bad(format!("its card cannot be read ({e}); import the network again")))?;
        if card.format != FORMAT {
            return Err(bad(format!(
                "written in format {}, this accessd reads format {FORMAT}; import the network again",
                card.format
            )));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
        let mut tensors = HashMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(bad(format!("tensor {name:?} is not f32; import the network again")));
            }
            let tensor = Tensor::from_raw_buffer(view.data(), DType::F32, view.shape(), &Device::Cpu);
            tensors.insert(name, tensor.map_err(|e| damaged(&e))?);
        }
        let actual = hash(&card, &tensors).map_err(|e| damaged(&e))?;
        if actual != card.weights_blake3 {
            return Err(bad(format!(
                "its weights hash to {}, its card says {}: the file was altered or damaged; import the network again",
                &actual[..12],
                card.weights_blake3.get(..12).unwrap_or(&card.weights_blake3)
            )));
        }
        Ok(Self { card, tensors })
    }

    /// Writes the file; a reader sees the old file or the new one, never a part.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ModelFileError> {
        let bad = |what: String| ModelFileError::Bad { path: path.to_owned(), what };
        let mut raw: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            let bytes =
                le_bytes(tensor).map_err(|e| bad(format!("tensor {name:?} cannot be read back: {e}")))?;
            raw.insert(name, (tensor.dims().to_vec(), bytes));
        }
        let views = raw.iter().map(|(name, (shape, bytes))| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (*name, view))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
        let card = serde_json::to_string(&self.card).expect("a card is plain data");
        let meta = HashMap::from([(CARD_KEY.to_owned(), card)]);
        let bytes = safetensors::serialize(views, Some(meta)).map_err(|e| bad(e.to_string()))?;
        let io = |source| ModelFileError::Io { path: path.to_owned(), doing: "written", source };
        let part = path.with_extension("part");
        std::fs::write(&part, bytes).map_err(io)?;
        std::fs::rename(&part, path).map_err(io)
    }

    /// The weights for building the network on `device`.
    ///
    /// # Errors
    /// When they do not fit on the device.
    pub fn var_builder(&self, device: &Device) -> candle_core::Result<VarBuilder<'static>> {
        let moved = self.tensors.iter().map(|(n, t)| Ok((n.clone(), t.to_device(device)?)));
        Ok(VarBuilder::from_tensors(moved.collect::<candle_core::Result<_>>()?, DType::F32, device))
    }

    /// All weights by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.tensors.iter()
    }

    /// Whether there is a weight called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Values of the weight called `name`, row-major.
    pub fn values(&self, name: &str) -> Option<Vec<f32>> {
        self.tensors.get(name)?.flatten_all().ok()?.to_vec1().ok()
    }

    /// How many values all weights have together.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(Tensor::elem_count).sum()
    }
}

fn le_bytes(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn hash(card: &ModelCard, tensors: &HashMap<String, Tensor>) -> candle_core::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(card.architecture.as_bytes());
    hasher.update(serde_json::to_string(&card.input).expect("plain data").as_bytes());
    let sorted: BTreeMap<_, _> = tensors.iter().collect();
    for (name, tensor) in sorted {
        hasher.update(name.as_bytes());
        hasher.update(format!("{:?}", tensor.dims()).as_bytes());
        hasher.update(&le_bytes(tensor)?);
    }
    Ok(hasher.finalize().to_hex().to_string())
}
