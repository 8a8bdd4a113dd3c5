//! A network that learns: its weights as variables, from random ones or from a model file, some of them frozen; and the
//! way back to a model file that the door can run.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::random::{Purpose, Random};
use crate::encoder::network::{Architecture, Trainable};
use crate::nn::model_file::{InputSpec, ModelCard, ModelFile};
use crate::nn::onnx::{Constant, Weights};

/// A network with the weights it learns.
pub struct Learner {
    /// What it is.
    pub architecture: &'static Architecture,
    /// What it takes.
    pub input: InputSpec,
    net: Trainable,
    vars: BTreeMap<String, Var>,
    frozen: BTreeMap<String, Tensor>,
}

/// Makes weights as the network asks for them.
struct Fresh {
    seed: u64,
    device: Device,
    made: Mutex<BTreeMap<String, Var>>,
}

impl Learner {
    /// With random weights.
    ///
    /// # Errors
    /// When the device fails.
    pub fn fresh(architecture: &'static Architecture, seed: u64, device: &Device) -> Result<Self> {
        let fresh = Fresh { seed, device: device.clone(), made: Mutex::default() };
        let fresh = std::sync::Arc::new(fresh);
        let vb = VarBuilder::from_backend(Box::new(Shared(fresh.clone())), DType::F32, device.clone());
        let net = (architecture.build)(vb)?;
        let vars =
            std::mem::take(&mut *fresh.made.lock().expect("nothing panics while it holds the weights"));
        Ok(Self { architecture, input: architecture.input, net, vars, frozen: BTreeMap::new() })
    }

    /// With the weights of a model file. Weights whose names begin with one of `freeze` stay as they are.
    ///
    /// # Errors
    /// When the file is of another architecture, a weight is missing or of another shape, or `freeze` names nothing.
    pub fn from_file(
        architecture: &'static Architecture,
        file: &ModelFile,
        freeze: &[String],
        device: &Device,
    ) -> Result<Self> {
        if file.card.architecture != architecture.name {
            candle_core::bail!(
                "it is a {}, and the settings ask for {}",
                file.card.architecture,
                architecture.name
            );
        }
        let (mut vars, mut frozen) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in file.tensors() {
            let tensor = tensor.to_device(device)?;
            if freeze.iter().any(|part| name.starts_with(part)) {
                frozen.insert(name.clone(), tensor);
            } else {
                vars.insert(name.clone(), Var::from_tensor(&tensor)?);
            }
        }
        if let Some(idle) = freeze.iter().find(|part| !frozen.keys().any(|name| name.starts_with(*part))) {
            let names: Vec<&str> = parts(vars.keys().chain(frozen.keys()));
            candle_core::bail!(
                "network.freeze names {idle:?}, and no weight begins so; its parts are {}",
                names.join(", ")
            );
        }
        let all = vars.iter().map(|(n, v)| (n.clone(), v.as_tensor().clone()));
        let all: HashMap<_, _> = all.chain(frozen.iter().map(|(n, t)| (n.clone(), t.clone()))).collect();
        let net = (architecture.build)(VarBuilder::from_tensors(all, DType::F32, device))?;
        Ok(Self { architecture, input: file.card.input, net, vars, frozen })
    }

    /// `[n, channels, side, side]` → `[n, dim]`, as training sees it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&self, pictures: &Tensor) -> Result<Tensor> {
        self.net.forward_t(pictures, true)
    }

    /// All variables, running statistics included.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// The variables that follow a gradient.
    pub fn learning(&self) -> BTreeMap<String, Var> {
        let of_batch = |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
        self.vars.iter().filter(|(n, _)| !of_batch(n)).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    /// A copy of all weights.
    ///
    /// # Errors
    /// When the device fails.
    pub fn weights(&self) -> Result<Weights> {
        let vars = self.vars.iter().map(|(name, var)| (name, var.as_tensor()));
        let all = vars.chain(self.frozen.iter());
        let one = |(name, tensor): (&String, &Tensor)| {
            let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
            Ok((name.clone(), Constant { shape: tensor.dims().to_vec(), values }))
        };
        all.map(one).collect()
    }

    /// The network as a file that the door can run.
    ///
    /// # Errors
    /// When the device fails.
    pub fn model_file(&self, weights: &Weights, card: ModelCard) -> Result<ModelFile> {
        ModelFile::new(ModelCard { input: self.input, ..card }, weights)
    }
}

/// The first words of names.
fn parts<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut parts: Vec<&str> = names.map(|n| n.split('.').next().unwrap_or(n)).collect();
    parts.sort_unstable();
    parts.dedup();
    parts
}

/// The backend is asked by value, and its weights are wanted afterwards.
struct Shared(std::sync::Arc<Fresh>);

impl Fresh {
    /// Convolutions and fully connected layers after He et al., "Delving Deep into Rectifiers" (2015); norms that do
    /// nothing; slopes of ¼.
    fn values(&self, shape: &Shape, name: &str) -> Vec<f32> {
        let count = shape.elem_count();
        let constant = match (shape.rank(), name) {
            (1, n) if n.ends_with("prelu.weight") => Some(0.25),
            (1, n) if n.ends_with("weight") || n.ends_with("running_var") => Some(1.0),
            (1, _) => Some(0.0),
            _ => None,
        };
        if let Some(value) = constant {
            return vec![value; count];
        }
        let inputs: usize = shape.dims()[1..].iter().product();
        let deviation = (2.0 / inputs as f32).sqrt();
        let place = blake3::hash(name.as_bytes());
        let place = u64::from_le_bytes(place.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
        let mut random = Random::new(self.seed, Purpose::Weights, &[place]);
        (0..count).map(|_| deviation * random.normal()).collect()
    }
}

impl SimpleBackend for Shared {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, _: &Device) -> Result<Tensor> {
        self.get_unchecked_of(shape, name, dtype)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("weight {name:?} was asked for without its shape")
    }

    /// Every convolution has a batch norm and no bias beside it.
    fn contains_tensor(&self, name: &str) -> bool {
        name.ends_with("bn.weight")
    }
}

impl Shared {
    fn get_unchecked_of(&self, shape: Shape, name: &str, dtype: DType) -> Result<Tensor> {
        let mut made = self.0.made.lock().expect("nothing panics while it holds the weights");
        if let Some(var) = made.get(name) {
            return Ok(var.as_tensor().clone());
        }
        let values = Tensor::from_vec(self.0.values(&shape, name), shape, &self.0.device)?.to_dtype(dtype)?;
        let var = Var::from_tensor(&values)?;
        made.insert(name.to_owned(), var.clone());
        Ok(var.as_tensor().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::network::{ARCHITECTURES, Encoder};
    use crate::nn::grad::testing::values;
    use crate::vision::align::AlignedCrop;

    pub(crate) fn card(learner: &Learner) -> ModelCard {
        ModelCard {
            format: 0,
            name: "test".into(),
            job: "encoder".into(),
            architecture: learner.architecture.name.into(),
            input: learner.input,
            dim: Some(learner.architecture.dim),
            licence: "none".into(),
            provenance: "a test".into(),
            source_sha256: String::new(),
            weights_blake3: String::new(),
            framing: None,
        }
    }

    fn noise(seed: usize) -> AlignedCrop {
        let bytes = values(3 * 112 * 112, seed).into_iter().map(|v| (127.0 + 120.0 * v) as u8).collect();
        AlignedCrop(image::RgbImage::from_raw(112, 112, bytes).unwrap())
    }

    #[test]
    fn every_architecture_trains_and_then_runs_fused_as_it_runs_plain() {
        for architecture in ARCHITECTURES.iter().filter(|a| a.import.is_none()) {
            let learner = Learner::fresh(architecture, 1, &Device::Cpu).unwrap();
            let input = learner.input;
            let shape = (4, input.channel_count(), input.height as usize, input.width as usize);
            let n = shape.0 * shape.1 * shape.2 * shape.3;
            let xs = Tensor::from_vec(values(n, 3), shape, &Device::Cpu).unwrap();
            let ys = learner.forward(&xs).unwrap();
            assert_eq!(ys.dims(), [4, architecture.dim]);
            let grads = ys.sqr().unwrap().mean_all().unwrap().backward().unwrap();
            for (name, var) in learner.learning() {
                assert!(grads.get(&var).is_some(), "{}: {name} does not learn", architecture.name);
            }
            let file = learner.model_file(&learner.weights().unwrap(), card(&learner)).unwrap();
            let crops = [noise(1), noise(2)];
            let crops: Vec<&AlignedCrop> = crops.iter().collect();
            let mut fused = Encoder::new(&file, &Device::Cpu).unwrap();
            let mut plain = Encoder::plain(&file, &Device::Cpu).unwrap();
            for (a, b) in fused.embed(&crops).unwrap().iter().zip(plain.embed(&crops).unwrap()) {
                let apart = a.values().iter().zip(b.values()).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                assert!(apart < 1e-4, "{}: {apart}", architecture.name);
            }
        }
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let of = |seed| {
            let learner =
                Learner::fresh(Architecture::find("siamese-cnn").unwrap(), seed, &Device::Cpu).unwrap();
            learner.weights().unwrap()["block2.weight"].values.clone()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let spread = of(1).iter().map(|v| v * v).sum::<f32>() / of(1).len() as f32;
        assert!((spread - 2.0 / 144.0).abs() < 0.001, "{spread}");
    }

    #[test]
    fn frozen_parts_stay_and_others_learn() {
        let architecture = Architecture::find("siamese-cnn").unwrap();
        let first = Learner::fresh(architecture, 1, &Device::Cpu).unwrap();
        let file = first.model_file(&first.weights().unwrap(), card(&first)).unwrap();
        let freeze = ["block1".to_owned(), "block2".to_owned()];
        let learner = Learner::from_file(architecture, &file, &freeze, &Device::Cpu).unwrap();
        assert!(learner.learning().keys().all(|n| n.starts_with("block3") || n.starts_with("fc")));
        assert_eq!(learner.weights().unwrap().len(), first.weights().unwrap().len());
        let error = Learner::from_file(architecture, &file, &["blok".into()], &Device::Cpu).err().unwrap();
        assert!(
            error.to_string().contains("no weight begins so; its parts are block1, block2, block3, fc1"),
            "{error}"
        );
        let other = Architecture::find("sface").unwrap();
        let error = Learner::from_file(other, &file, &[], &Device::Cpu).err().unwrap();
        assert!(error.to_string().contains("it is a siamese-cnn, and the settings ask for sface"), "{error}");
    }

    #[test]
    fn training_and_evaluation_agree_when_the_statistics_do() {
        // With everything frozen, training computes what evaluation does.
        let architecture = Architecture::find("siamese-cnn").unwrap();
        let first = Learner::fresh(architecture, 1, &Device::Cpu).unwrap();
        let file = first.model_file(&first.weights().unwrap(), card(&first)).unwrap();
        let all = ["block".to_owned(), "fc".to_owned()];
        let learner = Learner::from_file(architecture, &file, &all, &Device::Cpu).unwrap();
        let xs = Tensor::from_vec(values(2 * 10_000, 1), (2, 1, 100, 100), &Device::Cpu).unwrap();
        let (a, b) = (learner.forward(&xs).unwrap(), learner.net.forward_t(&xs, false).unwrap());
        assert!(crate::nn::grad::testing::apart(&a, &b) < 1e-3);
    }
}
