//! From a downloaded file to a model file: the hash is checked, an ONNX graph is recognised layer by layer or a state
//! dict by its names, weights are expanded, and a card is written.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use super::manifest::Listed;
use crate::encoder::network::{ARCHITECTURES, Architecture, Import};
use crate::liveness::minifasnet::{self, VARIANTS, Variant};
use crate::nn::model_file::{Channels, InputSpec, ModelCard, ModelFile, is_name};
use crate::nn::onnx::{Constant, Graph, Imported, OnnxError, Weights};
use crate::vision::align::CROP_SIDE;
use crate::vision::yunet;

/// Why a network was not imported. Nothing is installed then.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not readable.
    #[error("{}: cannot be read; fetch it with `make models`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Another file than the manifest names.
    #[error("{}: its SHA-256 is {got}, {name} has {expected}; the file is damaged or not that network: delete it and fetch it again", path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The network's name.
        name: String,
        /// Of the file.
        got: String,
        /// Of the manifest.
        expected: String,
    },
    /// Not a file of a network, or one of another network.
    #[error("{}: cannot be imported{}", path.display(), tried(architectures))]
    Onnx {
        /// The file.
        path: PathBuf,
        /// The architectures that were tried, when several were.
        architectures: Vec<&'static str>,
        /// What differs from the nearest architecture.
        #[source]
        source: OnnxError,
    },
    /// The name cannot be used.
    #[error("{0:?} cannot be a model's name; use 1 to 40 letters, digits, `-` and `_`")]
    BadName(String),
    /// The manifest names an architecture that is not known.
    #[error("architecture {0:?} is not known to this accessd")]
    UnknownArchitecture(String),
    /// The weights contradict themselves.
    #[error("{}: its weights cannot be used", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// candle's error.
        #[source]
        source: candle_core::Error,
    },
}

fn tried(architectures: &[&str]) -> String {
    match architectures {
        [] => String::new(),
        all => format!("; supported architectures are {}", all.join(", ")),
    }
}

/// What the operator says about a network of their own.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The name to install it under.
    pub name: String,
    /// Channel order it was trained on; what a PAD network takes is known.
    pub channels: Channels,
    /// Input normalisation `(pixel − mean) · scale`, when the graph does not have it inside; for encoders too.
    pub norm: (f32, f32),
    /// Its licence, for the card.
    pub licence: String,
}

/// Imports a network of the manifest from its downloaded file.
///
/// # Errors
/// When the file is missing, not the one the manifest names, or not the network its architecture says.
pub fn import_listed(entry: &Listed, path: &Path) -> Result<ModelFile, ImportError> {
    let bytes = read(path)?;
    let got = hex_sha256(&bytes);
    if got != entry.sha256 {
        return Err(ImportError::WrongHash {
            path: path.to_owned(),
            name: entry.name.clone(),
            got,
            expected: entry.sha256.clone(),
        });
    }
    let refused = |source| ImportError::Onnx { path: path.to_owned(), architectures: Vec::new(), source };
    let graph = Graph::parse(&bytes).map_err(refused)?;
    let (weights, norm, dim) = if entry.architecture == yunet::ARCHITECTURE {
        (yunet::import(&graph).map_err(refused)?, None, None)
    } else if let Some(variant) = minifasnet::variant(&entry.architecture) {
        (minifasnet::import(variant, &graph).map_err(refused)?, None, None)
    } else {
        let architecture = importable().find(|(a, _)| a.name == entry.architecture);
        let (architecture, import) =
            architecture.ok_or_else(|| ImportError::UnknownArchitecture(entry.architecture.clone()))?;
        let Imported { weights, norm } = import(&graph).map_err(refused)?;
        (weights, norm, Some(architecture.dim))
    };
    let card = ModelCard {
        format: 0,
        name: entry.name.clone(),
        job: entry.job.clone(),
        architecture: entry.architecture.clone(),
        input: with_norm(entry.input, norm),
        dim,
        licence: entry.licence.clone(),
        provenance: format!("{} {}, {}. {}", entry.package, entry.version, entry.source, entry.provenance),
        source_sha256: got,
        weights_blake3: String::new(),
        framing: None,
    };
    build(card, &weights, path)
}

/// Imports an operator's own network, of whichever supported architecture it turns out to be: a 112×112 encoder as ONNX,
/// or a PAD network as ONNX or as safetensors with the names of the published training code.
///
/// # Errors
/// When the name cannot be used, or the file is missing, damaged or of no supported architecture.
pub fn import_own(path: &Path, options: &ImportOptions) -> Result<ModelFile, ImportError> {
    check_name(&options.name)?;
    let bytes = read(path)?;
    let Own { job, architecture, input, dim, weights } = match SafeTensors::deserialize(&bytes) {
        Ok(tensors) => own_state_dict(&tensors),
        Err(_) => Graph::parse(&bytes).and_then(|graph| own_graph(&graph, options)),
    }
    .map_err(|source| {
        let encoders = importable().map(|(a, _)| a.name);
        let architectures = encoders.chain(VARIANTS.iter().map(|v| v.name)).collect();
        ImportError::Onnx { path: path.to_owned(), architectures, source }
    })?;
    let card = ModelCard {
        format: 0,
        name: options.name.clone(),
        job: job.to_owned(),
        architecture: architecture.to_owned(),
        input,
        dim,
        licence: options.licence.clone(),
        provenance: "imported by the operator".to_owned(),
        source_sha256: hex_sha256(&bytes),
        weights_blake3: String::new(),
        framing: None,
    };
    build(card, &weights, path)
}

/// Refuses what cannot be a model's name.
///
/// # Errors
/// When it cannot be one.
pub fn check_name(name: &str) -> Result<(), ImportError> {
    if is_name(name) { Ok(()) } else { Err(ImportError::BadName(name.to_owned())) }
}

/// What an operator's file turned out to hold.
struct Own {
    job: &'static str,
    architecture: &'static str,
    input: InputSpec,
    dim: Option<usize>,
    weights: Weights,
}

impl Own {
    fn liveness(variant: &'static Variant, weights: Weights) -> Self {
        let side = variant.side;
        let input = InputSpec { width: side, height: side, channels: Channels::Bgr, mean: 0.0, scale: 1.0 };
        Self { job: "liveness", architecture: variant.name, input, dim: None, weights }
    }
}

/// Tries all architectures on a graph; the error is that of the first.
fn own_graph(graph: &Graph, options: &ImportOptions) -> Result<Own, OnnxError> {
    let mut first_refusal = None;
    for (architecture, import) in importable() {
        match import(graph) {
            Ok(Imported { weights, norm }) => {
                let (mean, scale) = options.norm;
                let input = InputSpec {
                    width: CROP_SIDE,
                    height: CROP_SIDE,
                    channels: options.channels,
                    mean,
                    scale,
                };
                return Ok(Own {
                    job: "encoder",
                    architecture: architecture.name,
                    input: with_norm(input, norm),
                    dim: Some(architecture.dim),
                    weights,
                });
            }
            Err(e) => {
                first_refusal.get_or_insert(e);
            }
        }
    }
    let liveness = VARIANTS.iter().find_map(|v| Some(Own::liveness(v, minifasnet::import(v, graph).ok()?)));
    liveness.ok_or_else(|| first_refusal.expect("at least one architecture was tried"))
}

/// Tries all PAD networks on a state dict; the error is that of the first.
fn own_state_dict(tensors: &SafeTensors<'_>) -> Result<Own, OnnxError> {
    let get = |name: &str| {
        let view = tensors.tensor(name).ok().filter(|view| view.dtype() == Dtype::F32)?;
        let (values, _) = view.data().as_chunks::<4>();
        let values = values.iter().map(|&b| f32::from_le_bytes(b)).collect();
        Some(Constant { shape: view.shape().to_vec(), values })
    };
    let mut first_refusal = None;
    for variant in &VARIANTS {
        match minifasnet::from_state_dict(variant, get) {
            Ok(weights) => return Ok(Own::liveness(variant, weights)),
            Err(e) => {
                first_refusal.get_or_insert(e);
            }
        }
    }
    Err(first_refusal.expect("at least one architecture was tried"))
}

/// The encoders that ONNX files are known of.
fn importable() -> impl Iterator<Item = (&'static Architecture, Import)> {
    ARCHITECTURES.iter().filter_map(|a| a.import.map(|import| (a, import)))
}

fn with_norm(mut input: InputSpec, inside: Option<(f32, f32)>) -> InputSpec {
    if let Some((mean, scale)) = inside {
        (input.mean, input.scale) = (mean, scale);
    }
    input
}

fn build(card: ModelCard, weights: &Weights, path: &Path) -> Result<ModelFile, ImportError> {
    ModelFile::new(card, weights).map_err(|source| ImportError::Weights { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    std::fs::read(path).map_err(|source| ImportError::Read { path: path.to_owned(), source })
}

/// SHA-256 of `bytes`, hex.
fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
