//! A picture as the network sees it while it trains: mirrored, shifted, turned, lit, blurred, with a part missing.
//! Without any of that it is exactly what the encoder takes when it runs.

use super::random::Random;
use super::settings::AugmentSettings;
use crate::nn::model_file::InputSpec;
use crate::vision::align::{AlignedCrop, CROP_SIDE};

/// How one picture is changed.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    /// From a place in the cut to one in the picture, from the middle of both.
    matrix: [[f32; 2]; 2],
    shift: [f32; 2],
    contrast: f32,
    light: f32,
    blur: bool,
    /// Left, top, width and height as shares of the side.
    erase: Option<[f32; 4]>,
}

impl Change {
    /// Draws in a fixed order, whatever is switched off, so that one setting does not change what the others draw.
    fn draw(settings: &AugmentSettings, random: &mut Random) -> Self {
        let mirror = if random.unit() < settings.flip { -1.0 } else { 1.0 };
        let shift = [random.within(settings.shift_px), random.within(settings.shift_px)];
        let scale = 1.0 + random.within(settings.scale);
        let (sin, cos) = random.within(settings.turn_deg).to_radians().sin_cos();
        let contrast = 1.0 + random.within(settings.contrast);
        let light = random.within(settings.light);
        let blur = random.unit() < settings.blur;
        let erased = random.unit() < settings.erase;
        let [width, height] = [0.1 + 0.25 * random.unit(), 0.1 + 0.25 * random.unit()];
        let [left, top] = [(1.0 - width) * random.unit(), (1.0 - height) * random.unit()];
        Self {
            matrix: [[scale * cos * mirror, -scale * sin], [scale * sin * mirror, scale * cos]],
            shift,
            contrast,
            light,
            blur,
            erase: erased.then_some([left, top, width, height]),
        }
    }
}

/// Writes what the network takes of a picture into `to`: `channels × side × side`.
///
/// # Panics
/// When `to` has another length.
pub fn augmented(
    crop: &AlignedCrop,
    input: InputSpec,
    settings: &AugmentSettings,
    random: &mut Random,
    to: &mut [f32],
) {
    let side = input.width as usize;
    assert_eq!(to.len(), input.channel_count() * side * side, "room for one picture");
    let change = Change::draw(settings, random);
    let [[a, b], [c, d]] = change.matrix;
    let (middle, of_crop) = ((side as f32 - 1.0) / 2.0, (CROP_SIDE as f32 - 1.0) / 2.0);
    for y in 0..side {
        for x in 0..side {
            let (u, v) = (x as f32 - middle, y as f32 - middle);
            let from = [a * u + b * v + of_crop + change.shift[0], c * u + d * v + of_crop + change.shift[1]];
            let lit = sample(crop, from)
                .map(|p| ((p - 128.0) * change.contrast + 128.0 + change.light).clamp(0.0, 255.0));
            let values = input.pixel(lit);
            for (plane, value) in to.chunks_exact_mut(side * side).zip(values) {
                plane[y * side + x] = value;
            }
        }
    }
    if change.blur {
        to.chunks_exact_mut(side * side).for_each(|plane| blur(plane, side));
    }
    if let Some(erase) = change.erase {
        let [left, top, width, height] = erase.map(|share| (share * side as f32) as usize);
        for plane in to.chunks_exact_mut(side * side) {
            for line in plane.chunks_exact_mut(side).skip(top).take(height) {
                line[left..(left + width).min(side)].fill(0.0);
            }
        }
    }
}

/// Bilinear; the rim repeats.
fn sample(crop: &AlignedCrop, [x, y]: [f32; 2]) -> [f32; 3] {
    let side = CROP_SIDE as usize;
    let last = (side - 1) as f32;
    let (x, y) = (x.clamp(0.0, last), y.clamp(0.0, last));
    let (x0, y0) = ((x as usize).min(side - 2), (y as usize).min(side - 2));
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let raw = crop.0.as_raw();
    let at = 3 * (y0 * side + x0);
    let (upper, lower) = (&raw[at..at + 6], &raw[at + 3 * side..at + 3 * side + 6]);
    std::array::from_fn(|c| {
        let row = |r: &[u8]| f32::from(r[c]) * (1.0 - fx) + f32::from(r[c + 3]) * fx;
        row(upper) * (1.0 - fy) + row(lower) * fy
    })
}

/// The mean of 3×3; the rim stays.
fn blur(plane: &mut [f32], side: usize) {
    let sharp = plane.to_vec();
    for y in 1..side - 1 {
        for x in 1..side - 1 {
            let nine = (0..9).map(|i| sharp[(y + i / 3 - 1) * side + x + i % 3 - 1]);
            plane[y * side + x] = nine.sum::<f32>() / 9.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::super::random::Purpose;
    use super::*;
    use crate::encoder::siamese_cnn;
    use crate::nn::model_file::Channels;

    /// Red is the column, green the row.
    fn ramp() -> AlignedCrop {
        AlignedCrop(RgbImage::from_fn(112, 112, |x, y| image::Rgb([x as u8, y as u8, 128])))
    }

    fn colour(side: u32) -> InputSpec {
        InputSpec { width: side, height: side, channels: Channels::Rgb, mean: 0.0, scale: 1.0 }
    }

    fn run(input: InputSpec, settings: &AugmentSettings, place: u64) -> Vec<f32> {
        let mut to = vec![0.0; input.channel_count() * (input.width * input.height) as usize];
        augmented(&ramp(), input, settings, &mut Random::new(1, Purpose::Augment, &[place]), &mut to);
        to
    }

    #[test]
    fn unchanged_it_is_the_middle() {
        let to = run(colour(100), &AugmentSettings::none(), 0);
        for (x, y) in [(0, 0), (99, 0), (50, 73)] {
            assert_eq!([to[y * 100 + x], to[10_000 + y * 100 + x]], [x as f32 + 6.0, y as f32 + 6.0]);
        }
        let grey = run(siamese_cnn::INPUT, &AugmentSettings::none(), 0);
        let expected = siamese_cnn::INPUT.pixel([6.0, 6.0, 128.0])[0];
        assert!((grey[0] - expected).abs() < 1e-5 && grey.len() == 10_000);
    }

    #[test]
    fn each_setting_does_what_it_says() {
        let input = colour(112);
        let plain = run(input, &AugmentSettings::none(), 0);
        let none = AugmentSettings::none();
        let flipped = run(input, &AugmentSettings { flip: 1.0, ..none.clone() }, 0);
        assert!((flipped[0] - 111.0).abs() < 1e-3 && (flipped[111] - 0.0).abs() < 1e-3);
        let lit = run(input, &AugmentSettings { light: 50.0, ..none.clone() }, 0);
        let change = lit[60 * 112 + 60] - plain[60 * 112 + 60];
        assert!(change.abs() > 0.01 && change.abs() <= 50.0);
        for changed in [
            AugmentSettings { shift_px: 5.0, ..none.clone() },
            AugmentSettings { scale: 0.2, ..none.clone() },
            AugmentSettings { turn_deg: 20.0, ..none.clone() },
            AugmentSettings { contrast: 0.5, ..none.clone() },
            AugmentSettings { erase: 1.0, ..none.clone() },
        ] {
            assert_ne!(run(input, &changed, 3), plain, "{changed:?}");
        }
        let erased = run(input, &AugmentSettings { erase: 1.0, ..none.clone() }, 3);
        assert!(erased[2 * 112 * 112..].iter().filter(|v| **v == 0.0).count() > 100);
        let spot = AlignedCrop(RgbImage::from_fn(112, 112, |x, y| {
            image::Rgb([if (x, y) == (50, 50) { 90 } else { 0 }; 3])
        }));
        let mut to = vec![0.0; 3 * 112 * 112];
        let blurred = AugmentSettings { blur: 1.0, ..none };
        augmented(&spot, input, &blurred, &mut Random::new(1, Purpose::Augment, &[0]), &mut to);
        assert_eq!([to[50 * 112 + 50], to[51 * 112 + 51], to[52 * 112 + 50]], [10.0, 10.0, 0.0]);
    }

    #[test]
    fn the_place_decides() {
        let settings = AugmentSettings::default();
        assert_eq!(run(colour(112), &settings, 4), run(colour(112), &settings, 4));
        assert_ne!(run(colour(112), &settings, 4), run(colour(112), &settings, 5));
    }
}
