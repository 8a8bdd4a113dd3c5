//! 1:1 verification: are these two images of one person? k-fold accuracy as in LFW View 2, EER, TMR at fixed FMR.

use std::collections::BTreeMap;

use serde::Serialize;

use super::curves::{OperatingPoint, eer_ci95, operating_points};
use super::metrics::{Interval, Scores, cross_validate};
use super::pairs::{Pair, PairList};
use crate::encoder::{Embedding, compare};

/// The score of a comparison in which a face was not found: the lowest a cosine can be. A door would not open, so a
/// mated pair counts as missed and a non-mated one as rightly refused.
pub const NO_FACE_SCORE: f64 = -1.0;

/// The false match rates at which TMR is reported, as they are written in JSON.
const FMR_TARGETS: [&str; 2] = ["0.01", "0.001"];

/// The outcome of the 1:1 protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Comparisons made.
    pub pairs: usize,
    /// Mean over the folds of the share decided rightly, each at the threshold most accurate on all other folds.
    pub accuracy: f64,
    /// Standard error of that mean, σ̂/√k, as LFW View 2 defines it.
    pub accuracy_std: f64,
    /// Wilson 95 % interval of the share decided rightly, over the pairs of all folds.
    pub accuracy_ci95: Interval,
    /// Equal error rate over all pairs.
    pub eer: f64,
    /// Wilson 95 % interval of the false non-match rate there.
    pub eer_ci95: Option<Interval>,
    /// True match rate at these false match rates over all pairs; `null` where the non-mated pairs are fewer than
    /// 1/FMR and cannot tell.
    pub tmr_at_fmr: BTreeMap<&'static str, Option<f64>>,
    /// Wilson 95 % intervals of those.
    pub tmr_at_fmr_ci95: BTreeMap<&'static str, Option<Interval>>,
    /// Thresholds at false match rates from 1e-2 to 1e-6; `null` where the pairs cannot tell.
    pub thresholds: Vec<OperatingPoint>,
    /// Mean of the folds' thresholds, a cosine.
    pub threshold: f64,
    /// The same as a Euclidean distance of unit vectors.
    pub threshold_distance: f64,
    /// Accuracy on each fold.
    pub fold_accuracy: Vec<f64>,
    /// Mean cosine of the pairs of one person in which both faces were found.
    pub mated_mean_score: Option<f64>,
    /// Mean cosine of the pairs of two people in which both faces were found.
    pub nonmated_mean_score: Option<f64>,
    /// Images in which no face was found.
    pub undetected: usize,
    /// Pairs with such an image.
    pub undetected_pairs: usize,
    /// Which images, relative to the folder of images.
    pub undetected_images: Vec<String>,
    /// Images looked at, each once.
    pub images: usize,
}

/// Scores all pairs; `embeddings` stand in the order of the list's images.
///
/// # Panics
/// When there is not one entry for each image of the list.
pub fn verify(list: &PairList, embeddings: &[Option<Embedding>]) -> VerifyReport {
    assert_eq!(list.images.len(), embeddings.len(), "one entry an image");
    let scored: Vec<(&Pair, Option<f64>)> = list.pairs.iter().zip(compared(list, embeddings)).collect();
    let of = |fold: usize, mated: bool| {
        let wanted = scored.iter().filter(move |(p, _)| p.fold == fold && p.mated == mated);
        wanted.map(|(_, score)| score.unwrap_or(NO_FACE_SCORE)).collect::<Vec<_>>()
    };
    let folds: Vec<Scores> = (0..list.folds).map(|f| Scores::new(of(f, true), of(f, false))).collect();
    let all = Scores::pooled(&folds);
    let validated = cross_validate(&folds).expect("a list has at least two folds, none empty");
    let tmr = FMR_TARGETS.map(|name| (name, all.tmr_at_fmr(name.parse().expect("a number"))));
    let mean = |mated: bool| {
        let found: Vec<f64> =
            scored.iter().filter(|(p, _)| p.mated == mated).filter_map(|(_, s)| *s).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    };
    let undetected_images: Vec<String> = undetected(&list.images, embeddings);
    VerifyReport {
        pairs: list.pairs.len(),
        accuracy: validated.mean(),
        accuracy_std: validated.standard_error(),
        accuracy_ci95: validated.pooled().wilson95(),
        eer: all.eer().expect("a list has pairs of both kinds"),
        eer_ci95: eer_ci95(&all),
        thresholds: operating_points(&all),
        tmr_at_fmr: tmr.into_iter().map(|(name, p)| (name, p.map(|p| p.rate()))).collect(),
        tmr_at_fmr_ci95: tmr.into_iter().map(|(name, p)| (name, p.map(|p| p.wilson95()))).collect(),
        threshold: validated.threshold(),
        threshold_distance: (2.0 - 2.0 * validated.threshold()).max(0.0).sqrt(),
        fold_accuracy: validated.accuracies.iter().map(|a| a.rate()).collect(),
        mated_mean_score: mean(true),
        nonmated_mean_score: mean(false),
        undetected: undetected_images.len(),
        undetected_pairs: scored.iter().filter(|(_, score)| score.is_none()).count(),
        undetected_images,
        images: list.images.len(),
    }
}

/// The cosine of each pair; `None` where a face was not found.
pub fn compared(list: &PairList, embeddings: &[Option<Embedding>]) -> Vec<Option<f64>> {
    let one = |pair: &Pair| {
        let both = embeddings[pair.a].as_ref().zip(embeddings[pair.b].as_ref());
        both.map(|(a, b)| f64::from(compare(a, b).score.0))
    };
    list.pairs.iter().map(one).collect()
}

/// The images without an embedding.
pub(super) fn undetected(images: &[std::path::PathBuf], embeddings: &[Option<Embedding>]) -> Vec<String> {
    let without = images.iter().zip(embeddings).filter(|(_, e)| e.is_none());
    without.map(|(image, _)| image.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::eval::testing::at;

    /// Two folds, `per_fold` pairs of each kind: person P's images are P° and P° + 20°, people are 60° apart.
    fn list(per_fold: usize) -> (PairList, Vec<Option<Embedding>>) {
        let mut text = format!("2 {per_fold}\n");
        for _ in 0..2 {
            (0..per_fold).for_each(|_| text.push_str("P 1 2\n"));
            (0..per_fold).for_each(|_| text.push_str("P 1 Q 1\n"));
        }
        (PairList::parse(&text, Path::new("p")).unwrap(), [0.0, 20.0, 60.0].map(|d| Some(at(d))).to_vec())
    }

    #[test]
    fn people_apart_are_told_apart_without_error() {
        let (list, embeddings) = list(500);
        let report = verify(&list, &embeddings);
        assert_eq!((report.pairs, report.images, report.undetected), (2000, 3, 0));
        assert_eq!((report.accuracy, report.accuracy_std, report.eer), (1.0, 0.0, 0.0));
        assert_eq!(report.tmr_at_fmr, BTreeMap::from([("0.01", Some(1.0)), ("0.001", Some(1.0))]));
        let middle = f64::midpoint(20f64.to_radians().cos(), 0.5);
        assert!((report.threshold - middle).abs() < 1e-6, "{}", report.threshold);
        assert!((report.threshold_distance.powi(2) - (2.0 - 2.0 * middle)).abs() < 1e-6);
        assert!((report.mated_mean_score.unwrap() - 20f64.to_radians().cos()).abs() < 1e-6);
    }

    #[test]
    fn what_few_pairs_cannot_show_is_null() {
        let (list, embeddings) = list(499);
        let report = verify(&list, &embeddings);
        assert_eq!(report.tmr_at_fmr, BTreeMap::from([("0.01", Some(1.0)), ("0.001", None)]));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["tmr_at_fmr"]["0.001"], serde_json::Value::Null);
        assert_eq!(json["tmr_at_fmr_ci95"]["0.01"][1], 1.0);
    }

    #[test]
    fn an_image_without_a_face_counts_against_the_encoder() {
        let text = "2 1\nP 1 2\nP 1 Q 1\nP 3 2\nP 3 Q 1\n";
        let list = PairList::parse(text, Path::new("p")).unwrap();
        let embeddings: Vec<_> = list
            .images
            .iter()
            .map(|p| match p.to_str().unwrap() {
                "P/P_0001.jpg" => Some(at(0.0)),
                "P/P_0002.jpg" => Some(at(20.0)),
                "Q/Q_0001.jpg" => Some(at(60.0)),
                _ => None,
            })
            .collect();
        let report = verify(&list, &embeddings);
        assert_eq!((report.undetected, report.undetected_pairs), (1, 2));
        assert_eq!(report.undetected_images, ["P/P_0003.jpg"]);
        assert_eq!(report.fold_accuracy[1], 0.5, "the mated pair is missed, the non-mated one refused");
        assert!(report.nonmated_mean_score.unwrap() > 0.49, "means leave such pairs out");
    }
}
