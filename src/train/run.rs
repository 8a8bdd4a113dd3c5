//! The loop: batches, steps, epochs, checkpoints, and the best weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;

use super::augment::augmented;
use super::batches::{Batch, Batches};
use super::checkpoint::{self, Groups, State};
use super::dataset::{Dataset, Group, Parts};
use super::history::{EpochLine, History, Line, StepLine};
use super::judge::{compare_all, scores};
use super::learner::Learner;
use super::losses::{arcface, batch_hard_triplet, contrastive, unit_rows};
use super::optimise::{Optimiser, rate_at};
use super::pictures::Pictures;
use super::random::{Purpose, Random};
use super::settings::{LossKind, Settings};
use super::{TrainError, card};
use crate::clock::Clock;
use crate::encoder::network::{Architecture, Encoder};
use crate::nn::device;
use crate::nn::model_file::ModelFile;
use crate::nn::onnx::{Constant, Weights};

/// Names of a run's files.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// The steps and epochs.
pub const METRICS: &str = "metrics.jsonl";
/// The settings it was made with.
pub const SETTINGS: &str = "settings.toml";
/// The encoder.
pub const MODEL: &str = "model.safetensors";

/// Follows a run while it goes.
pub trait Watch {
    /// A step was made; `steps` an epoch.
    fn step(&mut self, line: &StepLine, steps: usize, pictures_per_s: f64);
    /// An epoch has ended.
    fn epoch(&mut self, line: &EpochLine);
}

/// A run, begun or resumed.
pub struct Run<'a> {
    folder: PathBuf,
    settings: Settings,
    set: &'a Dataset,
    pictures: &'a Pictures,
    /// Who is trained on and who is not.
    pub parts: Parts,
    batches: Batches,
    learner: Learner,
    optimiser: Optimiser,
    /// ArcFace's centre of each person.
    centres: Option<Var>,
    device: Device,
    history: History,
    state: State,
    best: Option<Weights>,
    clock: Arc<dyn Clock>,
}

impl<'a> Run<'a> {
    /// Begins a run in an empty folder, or resumes the one in it.
    ///
    /// # Errors
    /// When the folder holds something else, the data is too little, the settings of a resumed run differ, or the
    /// device or the weights to go on from cannot be used.
    pub fn open(
        folder: &Path,
        settings: Settings,
        set: &'a Dataset,
        pictures: &'a Pictures,
        resume: bool,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        let device = device(&settings.run.device)?;
        let parts = Parts::split(set, &pictures.usable(), &settings.data, settings.run.seed)?;
        let learner = learner(&settings, &device)?;
        let mut vars = learner.learning();
        let centres = centres(&settings, learner.architecture.dim, parts.train.len(), &device)?;
        vars.extend(centres.iter().map(|var| ("loss/centres".to_owned(), var.clone())));
        let batches = Batches::new(parts.train.clone(), settings.batch.clone(), settings.run.seed);
        let optimiser = Optimiser::new(settings.optimiser.clone(), vars);
        let state =
            State { settings: settings.to_toml(), data: fingerprint(set, &parts), ..State::default() };
        let fail = |source| TrainError::File { path: folder.to_owned(), doing: "written", source };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let path = folder.join(CHECKPOINT);
        let refuse = |what: &str| Err(TrainError::Run { path: folder.to_owned(), what: what.to_owned() });
        match (resume, path.exists()) {
            (true, false) => {
                return refuse("there is no checkpoint to go on from; leave out --resume to begin");
            }
            (false, true) => {
                return refuse("a run is in it already; go on with --resume, or choose another folder");
            }
            _ => {}
        }
        let step = if resume { checkpoint::read(&path, &device)?.0.step } else { 0 };
        let mut run = Self {
            history: History::open(&folder.join(METRICS), step)?,
            folder: folder.to_owned(),
            settings,
            set,
            pictures,
            parts,
            batches,
            learner,
            optimiser,
            centres,
            device,
            state,
            best: None,
            clock,
        };
        if resume {
            run.restore(&path)?;
        } else {
            std::fs::write(folder.join(SETTINGS), run.state.settings.as_bytes()).map_err(fail)?;
            run.checkpoint()?;
        }
        Ok(run)
    }

    fn restore(&mut self, path: &Path) -> Result<(), TrainError> {
        let (state, mut groups) = checkpoint::read(path, &self.device)?;
        let differs = |what: &str| TrainError::Checkpoint { path: path.to_owned(), what: what.to_owned() };
        if state.settings != self.state.settings {
            return Err(differs(
                "it was made with other settings; resume with those in settings.toml beside it",
            ));
        }
        if state.data != self.state.data {
            return Err(differs(
                "the pictures are others than when the run began; bring them back, or begin a new run",
            ));
        }
        checkpoint::restore(path, &groups.remove("model").unwrap_or_default(), self.learner.vars().iter())?;
        let name = "centres".to_owned();
        let centres = self.centres.iter().map(|var| (&name, var));
        checkpoint::restore(path, &groups.remove("loss").unwrap_or_default(), centres)?;
        self.optimiser.remember(groups.remove("optimiser").unwrap_or_default());
        self.best = groups.remove("best").map(weights_of).transpose()?;
        self.state = state;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let model = self.learner.vars().iter().map(|(n, v)| (n.clone(), v.as_tensor().clone()));
        let mut groups = Groups::from([
            ("model".to_owned(), model.collect()),
            ("optimiser".to_owned(), self.optimiser.memory().clone()),
        ]);
        if let Some(centres) = &self.centres {
            groups.insert("loss".into(), BTreeMap::from([("centres".into(), centres.as_tensor().clone())]));
        }
        if let Some(best) = &self.best {
            let tensors = best.iter().map(|(n, w)| {
                Ok((n.clone(), Tensor::from_vec(w.values.clone(), w.shape.clone(), &Device::Cpu)?))
            });
            groups.insert("best".into(), tensors.collect::<candle_core::Result<_>>()?);
        }
        checkpoint::write(&self.folder.join(CHECKPOINT), &self.state, &groups)
    }

    /// Trains to the end and gives the encoder: that of the best validation, or of the last epoch without one.
    ///
    /// # Errors
    /// When the loss is no number any more, a file cannot be written, or the device fails.
    pub fn train(&mut self, watch: &mut dyn Watch) -> Result<ModelFile, TrainError> {
        let steps = self.batches.steps();
        let began = self.clock.now();
        while !self.ended(steps) {
            let (epoch, first) = (self.state.step as usize / steps, self.state.step as usize % steps);
            for step in first..steps {
                let from = self.clock.now();
                let batch = self.batches.batch(epoch, step);
                let line = self.step(&batch, epoch, step, steps)?;
                let seconds = self.clock.now().since(from).as_secs_f64();
                self.state.seconds += seconds;
                watch.step(&line, steps, batch.pictures.len() as f64 / seconds.max(1e-9));
                self.history.add(Line::Step(line))?;
                if step + 1 < steps
                    && self.state.step.is_multiple_of(self.settings.run.checkpoint_every as u64)
                {
                    self.checkpoint()?;
                }
            }
            let line = self.end_epoch(epoch, steps)?;
            watch.epoch(&line);
            let minutes = self.clock.now().since(began).as_secs_f64() / 60.0;
            if self.settings.run.minutes > 0.0 && minutes >= self.settings.run.minutes {
                break;
            }
        }
        let file = self.encoder()?;
        file.write(&self.folder.join(MODEL))?;
        Ok(file)
    }

    /// Whether all epochs are made, or the validation has not become better for too long.
    fn ended(&self, steps: usize) -> bool {
        let epochs = self.state.step as usize / steps;
        let patience = self.settings.run.patience;
        let waited = self.state.best.is_some_and(|(epoch, _)| patience > 0 && epochs >= epoch + patience);
        epochs >= self.settings.run.epochs || waited
    }

    fn step(
        &mut self,
        batch: &Batch,
        epoch: usize,
        step: usize,
        steps: usize,
    ) -> Result<StepLine, TrainError> {
        let xs = self.tensor(batch, epoch, step)?;
        let rows = unit_rows(&self.learner.forward(&xs)?)?;
        let loss = self.loss(&rows, batch)?;
        let grads = loss.backward()?;
        let settings = &self.settings;
        // The rate of the middle of the step, so that the first one is not 0.
        let epochs = epoch as f64 + (step as f64 + 0.5) / steps as f64;
        let rate = rate_at(&settings.schedule, settings.optimiser.rate, epochs, settings.run.epochs as f64);
        let gradient = self.optimiser.gradient_norm(&grads)?;
        let loss = loss.to_scalar::<f32>()?;
        let number = self.state.step + 1;
        if !(loss.is_finite() && gradient.is_finite()) {
            return Err(TrainError::NotFinite { loss, step: number, rate, gradient });
        }
        self.optimiser.step(&grads, gradient, rate, number)?;
        self.state.step = number;
        Ok(StepLine { step: number, epoch: epoch + 1, loss, rate, gradient })
    }

    /// The pictures of a batch, changed at random: `[n, channels, side, side]`.
    fn tensor(&self, batch: &Batch, epoch: usize, step: usize) -> candle_core::Result<Tensor> {
        let input = self.learner.input;
        let (n, channels) = (batch.pictures.len(), input.channel_count());
        let (width, height) = (input.width as usize, input.height as usize);
        let mut pixels = vec![0.0; n * channels * width * height];
        let each = pixels.par_chunks_mut(channels * width * height).zip(&batch.pictures).enumerate();
        each.for_each(|(i, (to, picture))| {
            let place = [epoch as u64, step as u64, i as u64];
            let mut random = Random::new(self.settings.run.seed, Purpose::Augment, &place);
            augmented(self.pictures.crop(*picture), input, &self.settings.augment, &mut random, to);
        });
        Tensor::from_vec(pixels, (n, channels, height, width), &self.device)
    }

    fn loss(&self, rows: &Tensor, batch: &Batch) -> candle_core::Result<Tensor> {
        let loss = &self.settings.loss;
        match (loss.kind, &self.centres) {
            (LossKind::Arcface, Some(centres)) => {
                arcface(rows, &batch.people, centres, loss.margin, loss.scale)
            }
            (LossKind::Triplet, _) => batch_hard_triplet(rows, &batch.people, loss.margin),
            _ => {
                // Both twins went through the network together: the halves are the branches.
                let pairs = batch.genuine.len();
                contrastive(
                    &rows.narrow(0, 0, pairs)?,
                    &rows.narrow(0, pairs, pairs)?,
                    &batch.genuine,
                    loss.margin,
                )
            }
        }
    }

    fn end_epoch(&mut self, epoch: usize, steps: usize) -> Result<EpochLine, TrainError> {
        let losses = self.history.steps().filter(|l| l.epoch == epoch + 1).map(|l| f64::from(l.loss));
        let loss = losses.sum::<f64>() / steps as f64;
        let validation_eer = if self.parts.validation.is_empty() { None } else { self.validate()? };
        if let Some(eer) = validation_eer
            && self.state.best.is_none_or(|(_, best)| eer < best)
        {
            self.state.best = Some((epoch + 1, eer));
            self.best = Some(self.learner.weights()?);
        }
        let pictures = steps * self.batches.batch(epoch, 0).pictures.len();
        let seconds = std::mem::take(&mut self.state.seconds);
        let line = EpochLine {
            epoch: epoch + 1,
            step: self.state.step,
            loss,
            validation_eer,
            seconds,
            pictures_per_s: pictures as f64 / seconds.max(1e-9),
        };
        self.history.add(Line::Epoch(line))?;
        self.checkpoint()?;
        Ok(line)
    }

    fn validate(&self) -> Result<Option<f64>, TrainError> {
        let file = self.file(&self.learner.weights()?)?;
        Ok(scores(&self.judge(&file, &self.parts.validation)?).eer())
    }

    /// All pairs of a group, by the encoder of a file.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn judge(&self, file: &ModelFile, group: &Group) -> Result<Vec<super::judge::Compared>, TrainError> {
        let encoder = Encoder::new(file, &Device::Cpu)?;
        Ok(compare_all(&encoder, self.pictures, group, self.settings.run.seed)?)
    }

    fn file(&self, weights: &Weights) -> Result<ModelFile, TrainError> {
        let card = card::of_model(&self.settings, self.set, &self.parts, self.learner.architecture);
        Ok(self.learner.model_file(weights, card)?)
    }

    /// The encoder as it is to be kept.
    ///
    /// # Errors
    /// When the device fails.
    pub fn encoder(&self) -> Result<ModelFile, TrainError> {
        match &self.best {
            Some(best) => self.file(best),
            None => self.file(&self.learner.weights()?),
        }
    }

    /// The steps and epochs so far.
    pub fn lines(&self) -> &[Line] {
        self.history.lines()
    }

    /// The epoch whose weights are kept, when that is not the last.
    pub fn best_epoch(&self) -> Option<usize> {
        self.state.best.map(|(epoch, _)| epoch)
    }
}

fn learner(settings: &Settings, device: &Device) -> Result<Learner, TrainError> {
    let architecture = Architecture::find(&settings.network.architecture)
        .map_err(|e| TrainError::Settings(format!("network.architecture: {e}")))?;
    match &settings.network.weights {
        Some(path) => {
            let file = ModelFile::read(path)?;
            Learner::from_file(architecture, &file, &settings.network.freeze, device)
                .map_err(|source| TrainError::Weights { path: path.clone(), source })
        }
        None if !settings.network.freeze.is_empty() => Err(TrainError::Settings(
            "network.freeze would freeze random weights; give network.weights as well".into(),
        )),
        None => Ok(Learner::fresh(architecture, settings.run.seed, device)?),
    }
}

fn centres(
    settings: &Settings,
    dim: usize,
    people: usize,
    device: &Device,
) -> Result<Option<Var>, TrainError> {
    if settings.loss.kind != LossKind::Arcface {
        return Ok(None);
    }
    let mut random = Random::new(settings.run.seed, Purpose::Weights, &[]);
    let values: Vec<f32> = (0..people * dim).map(|_| random.normal()).collect();
    let centres = unit_rows(&Tensor::from_vec(values, (people, dim), device)?)?;
    Ok(Some(Var::from_tensor(&centres)?))
}

/// A hash of what is trained on.
fn fingerprint(set: &Dataset, parts: &Parts) -> String {
    let mut hasher = blake3::Hasher::new();
    for picture in &set.pictures {
        hasher.update(set.people[picture.person].as_bytes());
        hasher.update(picture.path.file_name().unwrap_or_default().as_encoded_bytes());
    }
    hasher.update(format!("{parts:?}").as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}

fn weights_of(tensors: BTreeMap<String, Tensor>) -> Result<Weights, TrainError> {
    let one = |(name, t): (String, Tensor)| {
        let values = t.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        Ok((name, Constant { shape: t.dims().to_vec(), values }))
    };
    tensors.into_iter().map(one).collect()
}
