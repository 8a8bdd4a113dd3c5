//! How weights follow their gradients: SGD with momentum, AdamW, the learning rate over time, and clipping.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

use super::settings::{OptimiserKind, OptimiserSettings, ScheduleKind, ScheduleSettings};

/// Decay of the first and second moments, and what keeps the division finite (Kingma and Ba, 2015).
const ADAM: (f64, f64, f64) = (0.9, 0.999, 1e-8);

/// Weights that learn, with what the optimiser remembers about them.
pub struct Optimiser {
    settings: OptimiserSettings,
    vars: BTreeMap<String, Var>,
    /// `NAME.momentum`, or `NAME.first` and `NAME.second`.
    memory: BTreeMap<String, Tensor>,
}

impl Optimiser {
    /// For these weights.
    pub fn new(settings: OptimiserSettings, vars: BTreeMap<String, Var>) -> Self {
        Self { settings, vars, memory: BTreeMap::new() }
    }

    /// What it remembers, by name.
    pub fn memory(&self) -> &BTreeMap<String, Tensor> {
        &self.memory
    }

    /// Puts back what was remembered.
    pub fn remember(&mut self, memory: BTreeMap<String, Tensor>) {
        self.memory = memory;
    }

    /// The length of the gradient over all weights.
    ///
    /// # Errors
    /// When the device fails.
    pub fn gradient_norm(&self, grads: &GradStore) -> Result<f64> {
        let mut square = 0.0;
        for grad in self.vars.values().filter_map(|var| grads.get(var)) {
            square += f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        Ok(square.sqrt())
    }

    /// One step, counted from 1, at this rate. `norm` is the length of the gradient.
    ///
    /// # Errors
    /// When the device fails.
    pub fn step(&mut self, grads: &GradStore, norm: f64, rate: f64, step: u64) -> Result<()> {
        let clip = self.settings.clip;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        let vars = std::mem::take(&mut self.vars);
        for (name, var) in &vars {
            if let Some(grad) = grads.get(var) {
                let grad = if scale == 1.0 { grad.clone() } else { (grad * scale)? };
                // Biases, norms and slopes are vectors: decay would only take away their meaning.
                let decay = if var.rank() > 1 { self.settings.weight_decay } else { 0.0 };
                let next = match self.settings.kind {
                    OptimiserKind::Sgd => self.sgd(name, var, &grad, rate, decay)?,
                    OptimiserKind::Adamw => self.adamw(name, var, &grad, rate, decay, step)?,
                };
                var.set(&next)?;
            }
        }
        self.vars = vars;
        Ok(())
    }

    /// `v ← momentum · v + g + decay · w`, `w ← w − rate · v`.
    fn sgd(&mut self, name: &str, var: &Var, grad: &Tensor, rate: f64, decay: f64) -> Result<Tensor> {
        let weight = var.as_detached_tensor();
        let grad = if decay > 0.0 { (grad + (&weight * decay)?)? } else { grad.clone() };
        let key = format!("{name}.momentum");
        let speed = match self.memory.get(&key) {
            Some(before) => ((before * self.settings.momentum)? + grad)?,
            None => grad,
        };
        let next = (weight - (&speed * rate)?)?;
        self.memory.insert(key, speed.detach());
        Ok(next)
    }

    /// Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.
    fn adamw(
        &mut self,
        name: &str,
        var: &Var,
        grad: &Tensor,
        rate: f64,
        decay: f64,
        step: u64,
    ) -> Result<Tensor> {
        let (b1, b2, eps) = ADAM;
        let weight = var.as_detached_tensor();
        let mut moment = |what: &str, now: Tensor, keep: f64| -> Result<Tensor> {
            let key = format!("{name}.{what}");
            let next = match self.memory.get(&key) {
                Some(before) => ((before * keep)? + (now * (1.0 - keep))?)?,
                None => (now * (1.0 - keep))?,
            };
            let next = next.detach();
            self.memory.insert(key, next.clone());
            Ok(next)
        };
        let first = moment("first", grad.clone(), b1)?;
        let second = moment("second", grad.sqr()?, b2)?;
        let unbiased = |keep: f64| 1.0 - keep.powf(step as f64);
        let root = ((second / unbiased(b2))?.sqrt()? + eps)?;
        let change = ((first / unbiased(b1))? / root)?;
        (weight * (1.0 - rate * decay))? - (change * rate)?
    }
}

/// The learning rate after `epochs` of `total` epochs, with fractions.
pub fn rate_at(settings: &ScheduleSettings, highest: f64, epochs: f64, total: f64) -> f64 {
    let warmup = settings.warmup_epochs;
    if epochs < warmup {
        return highest * epochs / warmup;
    }
    match settings.kind {
        ScheduleKind::Constant => highest,
        ScheduleKind::Cosine => {
            let along = ((epochs - warmup) / (total - warmup).max(1e-9)).clamp(0.0, 1.0);
            highest * f64::midpoint(1.0, (std::f64::consts::PI * along).cos())
        }
        ScheduleKind::Step => highest * settings.factor.powf((epochs / settings.every).floor()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    /// Minimises Σ w²/2, whose gradient is w, and gives the path of w.
    fn path(settings: OptimiserSettings, shape: (usize, usize), steps: u64) -> Vec<f64> {
        let values = vec![1.0_f32; shape.0 * shape.1];
        let start = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let start = if shape.0 == 1 { start.flatten_all().unwrap() } else { start };
        let var = Var::from_tensor(&start).unwrap();
        let mut optimiser = Optimiser::new(settings, BTreeMap::from([("w".to_owned(), var.clone())]));
        let one = |step| {
            let grads = (var.sqr().unwrap().sum_all().unwrap() * 0.5).unwrap().backward().unwrap();
            let norm = optimiser.gradient_norm(&grads).unwrap();
            optimiser.step(&grads, norm, 0.1, step).unwrap();
            f64::from(var.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0])
        };
        (1..=steps).map(one).collect()
    }

    fn sgd(momentum: f64, weight_decay: f64, clip: f64) -> OptimiserSettings {
        OptimiserSettings { kind: OptimiserKind::Sgd, rate: 0.1, momentum, weight_decay, clip }
    }

    #[test]
    fn sgd_by_hand() {
        // v: 1, 0.9·1 + 0.9 = 1.8, 0.9·1.8 + 0.72 = 2.34; w: 0.9, 0.72, 0.486.
        for (got, want) in path(sgd(0.9, 0.0, 0.0), (2, 1), 3).into_iter().zip([0.9, 0.72, 0.486]) {
            assert!(close(got, want), "{got} {want}");
        }
        assert!(close(path(sgd(0.0, 0.5, 0.0), (2, 1), 1)[0], 1.0 - 0.1 * 1.5), "decay adds to the gradient");
        assert!(close(path(sgd(0.0, 0.5, 0.0), (1, 2), 1)[0], 0.9), "and vectors do not decay");
    }

    #[test]
    fn long_gradients_are_clipped_over_all_weights_together() {
        // Four ones have length 2: clipped to 1 each is a half.
        assert!(close(path(sgd(0.0, 0.0, 1.0), (2, 2), 1)[0], 0.95));
        assert!(close(path(sgd(0.0, 0.0, 3.0), (2, 2), 1)[0], 0.9));
    }

    #[test]
    fn adamw_by_hand() {
        let settings = OptimiserSettings {
            kind: OptimiserKind::Adamw,
            weight_decay: 0.0,
            clip: 0.0,
            ..sgd(0.0, 0.0, 0.0)
        };
        let (mut w, mut m, mut v) = (1.0, 0.0, 0.0);
        for (step, got) in (1..).zip(path(settings.clone(), (2, 1), 5)) {
            let g = w;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (mh, vh) = (m / (1.0 - 0.9_f64.powi(step)), v / (1.0 - 0.999_f64.powi(step)));
            w -= 0.1 * mh / (vh.sqrt() + 1e-8);
            assert!((got - w).abs() < 1e-5, "{got} {w}");
        }
        let decayed = path(OptimiserSettings { weight_decay: 0.5, ..settings }, (2, 1), 1)[0];
        assert!((decayed - (0.95 - 0.1)).abs() < 1e-5, "decay is apart from the gradient");
    }

    #[test]
    fn the_rate_rises_and_falls_as_it_should() {
        let of = |kind, epochs| {
            let settings = ScheduleSettings { kind, warmup_epochs: 2.0, every: 4.0, factor: 0.1 };
            rate_at(&settings, 1.0, epochs, 10.0)
        };
        for kind in [ScheduleKind::Constant, ScheduleKind::Cosine, ScheduleKind::Step] {
            assert!(close(of(kind, 0.0), 0.0) && close(of(kind, 1.0), 0.5) && close(of(kind, 2.0), 1.0));
        }
        assert!(close(of(ScheduleKind::Constant, 9.0), 1.0));
        assert!(close(of(ScheduleKind::Cosine, 6.0), 0.5) && close(of(ScheduleKind::Cosine, 10.0), 0.0));
        assert!(close(of(ScheduleKind::Step, 4.0), 0.1) && close(of(ScheduleKind::Step, 9.9), 0.01));
    }
}
