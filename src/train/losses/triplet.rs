//! The triplet loss with the hardest pairs of a batch: every picture is an anchor, with the farthest picture of the
//! same person and the nearest of anybody else (Schroff et al., "FaceNet", 2015; Hermans et al., "In Defense of the
//! Triplet Loss", 2017, equation 5).

use candle_core::{Result, Tensor};

use super::distances;

/// The mean of `max(0, margin + d(anchor, farthest genuine) − d(anchor, nearest impostor))` over all unit rows `[n, d]`
/// that have both; `people` says whose they are.
///
/// # Errors
/// When no row has both.
pub fn batch_hard_triplet(rows: &Tensor, people: &[u32], margin: f64) -> Result<Tensor> {
    let (anchors, positives, negatives) = hardest(rows, people)?;
    if anchors.is_empty() {
        candle_core::bail!("a batch for the triplet loss holds no person twice, or only one person");
    }
    let pick = |list: Vec<u32>| rows.index_select(&Tensor::new(list, rows.device())?, 0);
    let anchors = pick(anchors)?;
    let gap = (distances(&anchors, &pick(positives)?)? - distances(&anchors, &pick(negatives)?)?)?;
    (gap + margin)?.relu()?.mean_all()
}

/// Which rows make the triplets.
fn hardest(rows: &Tensor, people: &[u32]) -> Result<(Vec<u32>, Vec<u32>, Vec<u32>)> {
    // On unit rows the order of distances is the reverse order of cosines.
    let rows = rows.detach();
    let cosines: Vec<Vec<f32>> = rows.matmul(&rows.t()?)?.to_vec2()?;
    let mut chosen = (Vec::new(), Vec::new(), Vec::new());
    for (anchor, row) in cosines.iter().enumerate() {
        let of = |same: bool| {
            let others = row.iter().enumerate().filter(move |(i, _)| *i != anchor);
            others.filter(move |(i, _)| (people[*i] == people[anchor]) == same)
        };
        let farthest = of(true).min_by(|a, b| a.1.total_cmp(b.1));
        let nearest = of(false).max_by(|a, b| a.1.total_cmp(b.1));
        if let (Some((positive, _)), Some((negative, _))) = (farthest, nearest) {
            chosen.0.push(anchor as u32);
            chosen.1.push(positive as u32);
            chosen.2.push(negative as u32);
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{distance, gradients_are_right, rows, unit};
    use super::super::unit_rows;
    use super::*;

    const PEOPLE: [u32; 8] = [4, 4, 4, 7, 7, 9, 9, 2];

    fn by_hand(rows: &[Vec<f64>], margin: f64) -> f64 {
        let mut losses = Vec::new();
        for (i, anchor) in rows.iter().enumerate() {
            let of = |same: bool| {
                let others = (0..rows.len()).filter(move |j| *j != i && (PEOPLE[*j] == PEOPLE[i]) == same);
                others.map(|j| distance(anchor, &rows[j])).collect::<Vec<_>>()
            };
            let (positives, negatives) = (of(true), of(false));
            if positives.is_empty() {
                continue;
            }
            let farthest = positives.into_iter().fold(0.0, f64::max);
            let nearest = negatives.into_iter().fold(f64::INFINITY, f64::min);
            losses.push((margin + farthest - nearest).max(0.0));
        }
        assert_eq!(losses.len(), 7, "the one without a second picture is no anchor");
        losses.iter().sum::<f64>() / losses.len() as f64
    }

    #[test]
    fn agrees_with_the_definition() {
        for seed in 0..5 {
            let x = rows(8, 4, seed);
            for margin in [0.1, 0.5, 1.5] {
                let got = batch_hard_triplet(&unit_rows(&x).unwrap(), &PEOPLE, margin).unwrap();
                let (got, expected) =
                    (f64::from(got.to_scalar::<f32>().unwrap()), by_hand(&unit(&x), margin));
                assert!((got - expected).abs() < 1e-5, "{got} {expected}");
            }
        }
    }

    #[test]
    fn its_gradient_is_that_of_its_values() {
        let x = rows(8, 4, 3);
        gradients_are_right(&[&x], || batch_hard_triplet(&unit_rows(&x)?, &PEOPLE, 1.0));
    }

    #[test]
    fn a_batch_without_triplets_is_refused() {
        let x = unit_rows(&rows(3, 4, 1)).unwrap();
        for people in [[1, 2, 3], [1, 1, 1]] {
            let error = batch_hard_triplet(&x, &people, 0.2).unwrap_err().to_string();
            assert!(error.contains("no person twice, or only one person"), "{error}");
        }
    }
}
