//! Scaling of RGB pictures for the detector: exact area average when shrinking, bilinear when enlarging.
//!
//! The detector's boxes move by several pixels when its input was shrunk in another way than the one it was measured
//! with, and general resizers weigh the pixels at a window's rim otherwise; so this one small thing is ours.

use pulp::Arch;

/// For each output coordinate: the first input coordinate it reads and the weights of it and its followers.
#[derive(Clone, Debug)]
struct Taps {
    first: Vec<usize>,
    weights: Vec<f32>,
    /// Weights per output coordinate.
    count: usize,
}

impl Taps {
    fn new(from: usize, to: usize) -> Self {
        let step = from as f64 / to as f64;
        let whole = from.is_multiple_of(to);
        let count = match step {
            // Whole pixels only.
            _ if whole => step as usize,
            1.0.. => step.ceil() as usize + 1,
            _ => 2,
        };
        let count = count.min(from);
        let (mut first, mut weights) = (Vec::with_capacity(to), vec![0.0; to * count]);
        for (i, row) in weights.chunks_exact_mut(count).enumerate() {
            let last_start = from - count;
            if step >= 1.0 {
                // The share of each input pixel in the stretch [i·step, (i+1)·step).
                let (start, end) = (i as f64 * step, (i + 1) as f64 * step);
                let at = (start as usize).min(last_start);
                for (k, w) in row.iter_mut().enumerate() {
                    let (left, right) = ((at + k) as f64, (at + k + 1) as f64);
                    *w = ((right.min(end) - left.max(start)).max(0.0) / step) as f32;
                }
                first.push(at);
            } else {
                // Between the centres of two input pixels; the rim repeats.
                let centre = ((i as f64 + 0.5) * step - 0.5).clamp(0.0, (from - 1) as f64);
                let at = (centre as usize).min(last_start);
                for (k, w) in row.iter_mut().enumerate() {
                    *w = (1.0 - (centre - (at + k) as f64).abs()).max(0.0) as f32;
                }
                first.push(at);
            }
        }
        Self { first, weights, count }
    }
}

/// Scales interleaved RGB bytes from one size to another, over and over without allocating.
#[derive(Clone, Debug)]
pub struct Scaler {
    from: (usize, usize),
    to: (usize, usize),
    across: Taps,
    down: Taps,
    /// One row scaled down and not yet across.
    row: Vec<f32>,
    arch: Arch,
}

impl Scaler {
    /// From `(width, height)` to another size. No side may be 0.
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        let (across, down) = (Taps::new(from.0, to.0), Taps::new(from.1, to.1));
        Self { from, to, across, down, row: vec![0.0; 3 * from.0], arch: Arch::new() }
    }

    /// Whether it scales between these sizes.
    pub fn fits(&self, from: (usize, usize), to: (usize, usize)) -> bool {
        (self.from, self.to) == (from, to)
    }

    /// Scales `rgb` into `out`.
    ///
    /// # Panics
    /// When either is of another size.
    pub fn run(&mut self, rgb: &[u8], out: &mut [u8]) {
        assert!(rgb.len() == 3 * self.from.0 * self.from.1 && out.len() == 3 * self.to.0 * self.to.1);
        if self.from == (2 * self.to.0, 2 * self.to.1) {
            self.arch.dispatch(|| halve(rgb, out, self.to.0));
        } else {
            self.weigh(rgb, out);
        }
    }

    /// Any size to any other, by its taps.
    fn weigh(&mut self, rgb: &[u8], out: &mut [u8]) {
        let Self { from, to, across, down, row, arch } = self;
        arch.dispatch(|| {
            // Down first: whole rows of bytes, which vectors take as they lie.
            let taps = down.first.iter().zip(down.weights.chunks_exact(down.count));
            for (out, (&first, weights)) in out.chunks_exact_mut(3 * to.0).zip(taps) {
                row.fill(0.0);
                for (line, &w) in rgb[3 * from.0 * first..].chunks_exact(3 * from.0).zip(weights) {
                    row.iter_mut().zip(line).for_each(|(s, &v)| *s += w * f32::from(v));
                }
                match across.count {
                    1 => row_across::<1>(row, across, out),
                    2 => row_across::<2>(row, across, out),
                    3 => row_across::<3>(row, across, out),
                    _ => row_across::<0>(row, across, out),
                }
            }
        });
    }
}

/// Half the size, as most cameras have it for the detector: the mean of four bytes, rounded as the general way rounds it, in
/// whole numbers. `width` is that of `out`.
#[inline(always)]
fn halve(rgb: &[u8], out: &mut [u8], width: usize) {
    let lines = rgb.chunks_exact(12 * width).map(|two| two.split_at(6 * width));
    for (out, (upper, lower)) in out.chunks_exact_mut(3 * width).zip(lines) {
        let blocks = upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0);
        for (pixel, (a, b)) in out.as_chunks_mut::<3>().0.iter_mut().zip(blocks) {
            for c in 0..3 {
                let sum = [a[c], a[c + 3], b[c], b[c + 3]].map(u16::from).iter().sum::<u16>();
                pixel[c] = ((sum + 2) / 4) as u8;
            }
        }
    }
}

/// Scales one row across; `COUNT` taps for each pixel, or as many as there are when it is 0.
#[inline(always)]
fn row_across<const COUNT: usize>(row: &[f32], across: &Taps, out: &mut [u8]) {
    let count = if COUNT == 0 { across.count } else { COUNT };
    let taps = across.first.iter().zip(across.weights.chunks_exact(count));
    for (pixel, (&first, weights)) in out.chunks_exact_mut(3).zip(taps) {
        let mut sum = [0.5_f32; 3];
        for (p, &w) in row[3 * first..][..3 * count].chunks_exact(3).zip(weights) {
            for c in 0..3 {
                sum[c] += w * p[c];
            }
        }
        pixel.copy_from_slice(&sum.map(|v| v as u8));
    }
}

/// Scales `rgb` from one size to another, once.
///
/// # Panics
/// When `rgb` is of another size.
pub fn scale(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
    let mut out = vec![0; 3 * to.0 * to.1];
    Scaler::new(from, to).run(rgb, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(rgb: &[u8], from: (usize, usize), to: (usize, usize)) -> Vec<u8> {
        let (mut scaler, mut out) = (Scaler::new(from, to), vec![1; 3 * to.0 * to.1]);
        scaler.run(rgb, &mut out);
        let once = out.clone();
        scaler.run(rgb, &mut out);
        assert_eq!(once, out, "nothing of the run before is left");
        out
    }

    /// The area average by counting sub-pixels, with sides in a ratio that the counting meets exactly.
    #[test]
    fn shrinking_is_the_exact_area_average() {
        let (from, to) = ((15, 9), (6, 6));
        let rgb: Vec<u8> = (0..3 * from.0 * from.1).map(|i| (i * 37 % 251) as u8).collect();
        let out = scale(&rgb, from, to);
        // 15/6 = 5/2 across: halves of input pixels. 9/6 = 3/2 down: halves too.
        for j in 0..6 {
            for i in 0..6 {
                for c in 0..3 {
                    let mut sum = 0.0;
                    for y in 0..3 {
                        for x in 0..5 {
                            sum += f64::from(rgb[3 * ((3 * j + y) / 2 * 15 + (5 * i + x) / 2) + c]);
                        }
                    }
                    let got = f64::from(out[3 * (j * 6 + i) + c]);
                    assert!((got - sum / 15.0).abs() <= 0.5001, "{i} {j} {c}: {got} {}", sum / 15.0);
                }
            }
        }
    }

    #[test]
    fn half_the_size_is_to_the_byte_what_the_taps_give() {
        let (from, to) = ((38, 22), (19, 11));
        let rgb: Vec<u8> = (0..3 * from.0 * from.1).map(|i| (i * i * 31 % 257) as u8).collect();
        let mut weighed = vec![0; 3 * to.0 * to.1];
        Scaler::new(from, to).weigh(&rgb, &mut weighed);
        assert_eq!(scale(&rgb, from, to), weighed);
    }

    #[test]
    fn enlarging_interpolates_between_centres() {
        let rgb = [[0_u8; 3], [100; 3]].concat();
        let out = scale(&rgb, (2, 1), (4, 1));
        assert_eq!(out.iter().step_by(3).copied().collect::<Vec<_>>(), [0, 25, 75, 100]);
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let rgb: Vec<u8> = (0..3 * 7 * 5).map(|i| (i * 11 % 256) as u8).collect();
        assert_eq!(scale(&rgb, (7, 5), (7, 5)), rgb);
    }

    #[test]
    fn a_single_pixel_fills_everything() {
        assert_eq!(scale(&[9, 8, 7], (1, 1), (3, 2)), [9, 8, 7].repeat(6));
        assert_eq!(scale(&[9, 8, 7].repeat(50), (50, 1), (1, 1)), [9, 8, 7]);
    }
}
