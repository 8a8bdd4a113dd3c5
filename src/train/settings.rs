//! What can be set about a run: `train.toml`, every key with its default, unknown ones refused. The settings of a run
//! are kept beside its result, and a run that is resumed must have the same ones.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::nn::model_file::{Framing, is_name};

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The network.
    pub network: NetworkSettings,
    /// The pictures.
    pub data: DataSettings,
    /// How pictures are changed while training.
    pub augment: AugmentSettings,
    /// What makes a batch.
    pub batch: BatchSettings,
    /// What is minimised.
    pub loss: LossSettings,
    /// How.
    pub optimiser: OptimiserSettings,
    /// How the learning rate goes.
    pub schedule: ScheduleSettings,
    /// How long, and what is kept.
    pub run: RunSettings,
}

/// `[network]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// Its architecture.
    pub architecture: String,
    /// The name that the trained encoder is installed under.
    pub name: String,
    /// A model file to go on from instead of random weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Parts of the network that keep their weights, by the beginning of their names.
    pub freeze: Vec<String>,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            architecture: "siamese-cnn".into(),
            name: "siamese-cnn".into(),
            weights: None,
            freeze: Vec::new(),
        }
    }
}

/// How people or pictures are held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// By identity: people of the test are never seen in training.
    #[default]
    Identity,
    /// By picture: a share of everybody's pictures, for a site's own people.
    Pictures,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSettings {
    /// Faces found and aligned as on the door, or the middle of whole pictures.
    pub framing: Framing,
    /// What is held back.
    pub split: Split,
    /// Share held back for the final test.
    pub test_share: f64,
    /// The people of the test by name, instead of a share.
    pub test_people: Vec<String>,
    /// Share held back to choose the best epoch by; 0 keeps the last epoch.
    pub validation_share: f64,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            framing: Framing::Aligned,
            split: Split::Identity,
            test_share: 0.1,
            test_people: Vec::new(),
            validation_share: 0.0,
        }
    }
}

/// `[augment]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentSettings {
    /// Chance that a picture is mirrored.
    pub flip: f32,
    /// Farthest shift of the cut, in px of the 112 px picture.
    pub shift_px: f32,
    /// Largest change of scale, as a share.
    pub scale: f32,
    /// Largest turn in degrees.
    pub turn_deg: f32,
    /// Largest change of brightness, in grey levels.
    pub light: f32,
    /// Largest change of contrast, as a share.
    pub contrast: f32,
    /// Chance that a picture is blurred.
    pub blur: f32,
    /// Chance that a rectangle is erased.
    pub erase: f32,
}

impl Default for AugmentSettings {
    fn default() -> Self {
        Self {
            flip: 0.5,
            shift_px: 4.0,
            scale: 0.05,
            turn_deg: 5.0,
            light: 20.0,
            contrast: 0.2,
            blur: 0.1,
            erase: 0.1,
        }
    }
}

impl AugmentSettings {
    /// Pictures as they are.
    pub fn none() -> Self {
        Self {
            flip: 0.0,
            shift_px: 0.0,
            scale: 0.0,
            turn_deg: 0.0,
            light: 0.0,
            contrast: 0.0,
            blur: 0.0,
            erase: 0.0,
        }
    }
}

/// How a batch is put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Pairs, genuine and impostor.
    #[default]
    Pairs,
    /// Anchor, another picture of the same person, one of somebody else.
    Triplets,
    /// Some pictures each of some people.
    MPerClass,
    /// Every picture once an epoch, in random order.
    Pictures,
}

/// `[batch]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// How it is put together.
    pub sampler: Sampler,
    /// Pictures in a batch.
    pub pictures: usize,
    /// Share of genuine pairs among pairs.
    pub genuine_share: f64,
    /// Pictures of each person for `m-per-class`.
    pub per_person: usize,
    /// Steps an epoch; 0 makes as many as show each picture `rounds` times on average.
    pub steps: usize,
    /// How often an epoch shows each picture on average.
    pub rounds: f64,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            sampler: Sampler::Pairs,
            pictures: 64,
            genuine_share: 0.5,
            per_person: 4,
            steps: 0,
            rounds: 4.0,
        }
    }
}

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossKind {
    /// Hadsell et al.: genuine pairs together, impostor pairs at least a margin apart.
    #[default]
    Contrastive,
    /// Schroff et al. with the hardest pairs of the batch (Hermans et al.).
    Triplet,
    /// Deng et al.: a class for each person, an angle as margin.
    Arcface,
}

/// `[loss]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossSettings {
    /// Which.
    pub kind: LossKind,
    /// Contrastive and triplet: a distance of unit vectors; ArcFace: an angle in radians.
    pub margin: f64,
    /// ArcFace: what cosines are multiplied with.
    pub scale: f64,
}

impl Default for LossSettings {
    fn default() -> Self {
        Self { kind: LossKind::Contrastive, margin: 1.0, scale: 32.0 }
    }
}

/// The optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserKind {
    /// With momentum.
    Sgd,
    /// Loshchilov and Hutter.
    #[default]
    Adamw,
}

/// `[optimiser]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimiserSettings {
    /// Which.
    pub kind: OptimiserKind,
    /// Highest learning rate.
    pub rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Decay of weights (not of biases, norms and slopes).
    pub weight_decay: f64,
    /// Longest gradient, over all weights together; 0 does not clip.
    pub clip: f64,
}

impl Default for OptimiserSettings {
    fn default() -> Self {
        Self { kind: OptimiserKind::Adamw, rate: 1e-3, momentum: 0.9, weight_decay: 1e-4, clip: 5.0 }
    }
}

/// How the learning rate goes after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// It stays.
    Constant,
    /// Down to 0 along a half cosine.
    #[default]
    Cosine,
    /// Times `factor` every `every` epochs.
    Step,
}

/// `[schedule]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSettings {
    /// Which.
    pub kind: ScheduleKind,
    /// Epochs in which the rate rises from 0.
    pub warmup_epochs: f64,
    /// `step`: epochs between two falls.
    pub every: f64,
    /// `step`: what the rate is multiplied with.
    pub factor: f64,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self { kind: ScheduleKind::Cosine, warmup_epochs: 0.5, every: 10.0, factor: 0.1 }
    }
}

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    /// Times through the data.
    pub epochs: usize,
    /// What all randomness follows from.
    pub seed: u64,
    /// Steps between two checkpoints; one is made at the end of each epoch as well.
    pub checkpoint_every: usize,
    /// Epochs without a better validation after which the run ends; 0 never.
    pub patience: usize,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Minutes after which the run ends with the epoch it is in; 0 never.
    pub minutes: f64,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self { epochs: 30, seed: 1, checkpoint_every: 100, patience: 0, device: "cpu".into(), minutes: 0.0 }
    }
}

impl Settings {
    /// Reads a file; what it leaves out has its default.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key, or a value is out of range.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|source| TrainError::File {
            path: path.to_owned(),
            doing: "read",
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Parses a file's text; `path` is for messages.
    ///
    /// # Errors
    /// As for [`Settings::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, TrainError> {
        let settings: Self = toml::from_str(text)
            .map_err(|e| TrainError::Settings(format!("{}: {}", path.display(), e.to_string().trim_end())))?;
        settings.check()?;
        Ok(settings)
    }

    /// The text that gives these settings again.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("settings are plain data")
    }

    /// Checks ranges and what must go together.
    ///
    /// # Errors
    /// Naming the key, its value and what it may be.
    pub fn check(&self) -> Result<(), TrainError> {
        let bad = |key: &str, value: &dyn std::fmt::Display, want: &str| {
            Err(TrainError::Settings(format!("{key} is {value}; it must be {want}")))
        };
        let shares = [
            ("data.test_share", self.data.test_share, 0.9),
            ("data.validation_share", self.data.validation_share, 0.9),
            ("batch.genuine_share", self.batch.genuine_share, 1.0),
            ("augment.flip", f64::from(self.augment.flip), 1.0),
            ("augment.blur", f64::from(self.augment.blur), 1.0),
            ("augment.erase", f64::from(self.augment.erase), 1.0),
            ("augment.scale", f64::from(self.augment.scale), 0.5),
            ("augment.contrast", f64::from(self.augment.contrast), 1.0),
            ("augment.shift_px", f64::from(self.augment.shift_px), 40.0),
            ("augment.turn_deg", f64::from(self.augment.turn_deg), 45.0),
            ("augment.light", f64::from(self.augment.light), 128.0),
            ("optimiser.momentum", self.optimiser.momentum, 0.999),
            ("optimiser.weight_decay", self.optimiser.weight_decay, 1.0),
            ("optimiser.clip", self.optimiser.clip, 1e6),
            ("schedule.warmup_epochs", self.schedule.warmup_epochs, 1e3),
            ("schedule.factor", self.schedule.factor, 1.0),
            ("run.minutes", self.run.minutes, 1e6),
        ];
        for (key, value, most) in shares {
            if !(0.0..=most).contains(&value) {
                return bad(key, &value, &format!("from 0 to {most}"));
            }
        }
        let above_zero = [
            ("optimiser.rate", self.optimiser.rate, 10.0),
            ("loss.margin", self.loss.margin, if self.loss.kind == LossKind::Arcface { 1.5 } else { 2.0 }),
            ("loss.scale", self.loss.scale, 1000.0),
            ("batch.rounds", self.batch.rounds, 1e4),
            ("schedule.every", self.schedule.every, 1e6),
        ];
        for (key, value, most) in above_zero {
            if !(value > 0.0 && value <= most) {
                return bad(key, &value, &format!("above 0 and at most {most}"));
            }
        }
        let counts = [
            ("batch.pictures", self.batch.pictures, 4, 4096),
            ("batch.per_person", self.batch.per_person, 2, 64),
            ("run.epochs", self.run.epochs, 1, 100_000),
            ("run.checkpoint_every", self.run.checkpoint_every, 1, 1_000_000),
        ];
        for (key, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                return bad(key, &value, &format!("from {least} to {most}"));
            }
        }
        self.check_together()
    }

    fn check_together(&self) -> Result<(), TrainError> {
        let wrong = |what: &str| Err(TrainError::Settings(what.to_owned()));
        if !is_name(&self.network.name) {
            return wrong("network.name must be 1 to 40 letters, digits, `-` and `_`");
        }
        let (sampler, loss) = (self.batch.sampler, self.loss.kind);
        if (sampler == Sampler::Pairs) != (loss == LossKind::Contrastive) {
            return wrong(
                "the contrastive loss takes batch.sampler = \"pairs\", and the others take another one",
            );
        }
        if loss == LossKind::Triplet && sampler == Sampler::Pictures {
            return wrong(
                "the triplet loss needs several pictures of a person in a batch: set batch.sampler = \"m-per-class\" or \"triplets\"",
            );
        }
        if self.run.patience > 0 && self.data.validation_share == 0.0 {
            return wrong(
                "run.patience looks at a validation: set data.validation_share above 0, or run.patience = 0",
            );
        }
        if self.data.test_share + self.data.validation_share > 0.9 {
            return wrong(
                "data.test_share and data.validation_share together leave less than a tenth to train on",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("train.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_shipped_file_holds_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/train.toml");
        assert_eq!(Settings::read(&path).unwrap(), Settings::default());
        let text = std::fs::read_to_string(path).unwrap();
        for line in Settings::default().to_toml().lines().filter(|l| l.contains(" = ")) {
            let key = line.split(" = ").next().unwrap();
            assert!(text.lines().any(|l| l.starts_with(&format!("{key} = "))), "{key} is not explained");
        }
    }

    #[test]
    fn settings_survive_a_round_trip() {
        let mut settings = Settings::default();
        settings.network.freeze = vec!["stem".into()];
        settings.optimiser.rate = 0.012_345_678_9;
        assert_eq!(parse(&settings.to_toml()).unwrap(), settings);
        assert_eq!(parse("").unwrap(), Settings::default());
    }

    #[test]
    fn bad_settings_say_what_is_wrong() {
        for (text, message) in [
            ("[loss]\nmargn = 1.0\n", "unknown field `margn`"),
            (
                "[loss]\nkind = \"focal\"\n",
                "unknown variant `focal`, expected one of `contrastive`, `triplet`, `arcface`",
            ),
            ("[optimiser]\nrate = 0.0\n", "optimiser.rate is 0; it must be above 0 and at most 10"),
            ("[optimiser]\nrate = nan\n", "optimiser.rate is NaN"),
            ("[augment]\nflip = 1.5\n", "augment.flip is 1.5; it must be from 0 to 1"),
            ("[batch]\npictures = 1\n", "batch.pictures is 1; it must be from 4 to 4096"),
            ("[loss]\nkind = \"triplet\"\n", "the contrastive loss takes batch.sampler = \"pairs\""),
            (
                "[loss]\nkind = \"triplet\"\n[batch]\nsampler = \"pictures\"\n",
                "several pictures of a person in a batch",
            ),
            ("[run]\npatience = 3\n", "run.patience looks at a validation"),
            ("[network]\nname = \"a/b\"\n", "network.name must be 1 to 40 letters"),
            ("[data]\ntest_share = 0.5\nvalidation_share = 0.5\n", "leave less than a tenth"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(message), "{text:?} gave {error:?}");
        }
    }
}
