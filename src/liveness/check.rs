//! The rule by which the installed PAD networks say together whether a face is alive: each looks at the face with as much
//! around it as it was trained with, their scores are averaged, and the threshold is that of the networks that are there.
//! `docs/liveness.md` has the measurements that weights and thresholds were chosen by.

use candle_core::Result;
use image::RgbImage;

use super::network::Liveness;
use crate::encoder::ModelId;
use crate::nn::team::Team;
use crate::vision::BBox;
use crate::vision::margin::crop;

/// Threshold with the network for 128 px alone: above screens, below most faces; it refuses people before some webcams.
const LARGE_ALONE: f64 = 0.38;
/// Threshold with one or both networks for 80 px alone: just above screens, in poor light some faces fall short of it.
const SMALL_ALONE: f64 = 0.21;
/// Threshold with both sorts: in the middle between screens and faces.
const BOTH: f64 = 0.4;

/// The networks and their rule. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct PhotoCheck {
    networks: Vec<Liveness>,
}

/// What was said of one face.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// By each network, in the order of [`PhotoCheck::models`], 0 to 1.
    pub each: Vec<f32>,
    /// Together, 0 to 1; alive from [`PhotoCheck::threshold`].
    pub together: f32,
}

impl PhotoCheck {
    /// The rule on these networks, of each architecture the first; `None` without any.
    pub fn new(networks: impl IntoIterator<Item = Liveness>) -> Option<Self> {
        let mut kept: Vec<Liveness> = Vec::new();
        for network in networks {
            if kept.iter().all(|k| k.architecture() != network.architecture()) {
                kept.push(network);
            }
        }
        (!kept.is_empty()).then_some(Self { networks: kept })
    }

    /// Has a team run the networks on the CPU.
    #[must_use]
    pub fn with_team(self, team: &Team) -> Self {
        Self { networks: self.networks.into_iter().map(|network| network.with_team(team)).collect() }
    }

    /// The ids of the networks.
    pub fn models(&self) -> Vec<ModelId> {
        self.networks.iter().map(|network| network.model().clone()).collect()
    }

    /// From this a face counts as alive.
    pub fn threshold(&self) -> f64 {
        threshold(&self.networks.iter().map(Liveness::architecture).collect::<Vec<_>>())
    }

    /// How far the face in `bbox`, in px of `image`, looks alive.
    ///
    /// # Errors
    /// When a network fails.
    pub fn look(&mut self, image: &RgbImage, bbox: &BBox) -> Result<Said> {
        let mut said = Vec::with_capacity(self.networks.len());
        for network in &mut self.networks {
            let crop = crop(image, bbox, network.margin(), network.side());
            said.push((network.architecture(), network.live(&crop)?));
        }
        Ok(Said { together: together(&said), each: said.into_iter().map(|(_, live)| live).collect() })
    }
}

/// Whether it is the network for 128 px, which has one voice; those for 80 px were made as a pair and share one.
fn is_large(architecture: &str) -> bool {
    architecture == "minifasnet-v2se"
}

/// The mean of the two voices; a score that is no number counts as no life.
fn together(said: &[(&str, f32)]) -> f32 {
    let weight = |architecture| if is_large(architecture) { 1.0 } else { 0.5 };
    let sum: f32 = said.iter().map(|(a, live)| weight(a) * live).sum();
    let mean = sum / said.iter().map(|(a, _)| weight(a)).sum::<f32>();
    if mean.is_finite() { mean } else { 0.0 }
}

fn threshold(architectures: &[&str]) -> f64 {
    let (large, small) =
        (architectures.iter().any(|a| is_large(a)), architectures.iter().any(|a| !is_large(a)));
    match (large, small) {
        (true, true) => BOTH,
        (true, false) => LARGE_ALONE,
        _ => SMALL_ALONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_has_one_voice_and_the_threshold_is_that_of_the_networks_that_are_there() {
        let (v2, v1se, large) = ("minifasnet-v2", "minifasnet-v1se", "minifasnet-v2se");
        assert_eq!(together(&[(large, 0.2), (v2, 1.0), (v1se, 0.8)]), 0.55);
        assert_eq!(together(&[(v2, 1.0), (v1se, 0.5)]), 0.75);
        assert_eq!(together(&[(large, 0.2)]), 0.2);
        assert_eq!(together(&[(large, f32::NAN)]), 0.0, "what cannot be said is no life");
        assert_eq!(threshold(&[large]), LARGE_ALONE);
        assert_eq!(threshold(&[v2, v1se]), SMALL_ALONE);
        assert_eq!(threshold(&[v1se]), SMALL_ALONE);
        assert_eq!(threshold(&[v2, large]), BOTH);
        assert!(PhotoCheck::new([]).is_none());
    }
}
