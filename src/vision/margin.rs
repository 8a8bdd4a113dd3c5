//! A face with its surroundings, as PAD networks take it: the detector's box made larger about its centre, moved into the
//! picture where it reaches beyond, scaled with plain bilinear sampling. As in the published code the networks were
//! trained with (Silent-Face-Anti-Spoofing, `generate_patches.py`): with another crop or scaling they say something else.

use image::{Rgb, RgbImage};

use super::BBox;

/// A square picture of a face and what is around it.
#[derive(Clone, Debug, PartialEq)]
pub struct MarginCrop {
    /// The picture.
    pub image: RgbImage,
    /// How many times the face's box it shows: less than was asked for where the picture ends. The networks tend to
    /// take such a crop for a fake.
    pub margin: f32,
}

/// Crops `margin` times the part of `bbox` that lies in `image` and scales it to `side × side` px.
pub fn crop(image: &RgbImage, bbox: &BBox, margin: f32, side: u32) -> MarginCrop {
    let (w, h) = (image.width() as f32, image.height() as f32);
    let (left, right) = (bbox.x.max(0.0), (bbox.x + bbox.w).min(w));
    let (top, bottom) = (bbox.y.max(0.0), (bbox.y + bbox.h).min(h));
    let (bw, bh) = (right - left, bottom - top);
    let finite = [bbox.x, bbox.y, bbox.w, bbox.h, margin].iter().all(|v| v.is_finite());
    if !finite || bw <= 0.0 || bh <= 0.0 || margin <= 0.0 {
        return MarginCrop { image: RgbImage::new(side, side), margin: 0.0 };
    }
    let margin = margin.min((w - 1.0) / bw).min((h - 1.0) / bh);
    let across = Span::new(left, bw, margin, image.width(), side);
    let down = Span::new(top, bh, margin, image.height(), side);
    let pixels = image.as_raw();
    let row = 3 * image.width() as usize;
    let out = RgbImage::from_fn(side, side, |x, y| {
        let ((x0, x1, fx), (y0, y1, fy)) = (across.taps(x), down.taps(y));
        let at = |x: usize, y: usize, c: usize| f32::from(pixels[y * row + 3 * x + c]);
        Rgb(std::array::from_fn(|c| {
            let upper = at(x0, y0, c) + (at(x1, y0, c) - at(x0, y0, c)) * fx;
            let lower = at(x0, y1, c) + (at(x1, y1, c) - at(x0, y1, c)) * fx;
            (upper + (lower - upper) * fy + 0.5) as u8
        }))
    });
    MarginCrop { image: out, margin }
}

/// A stretch of pixels, from one border to the other, and how it is scaled.
struct Span {
    first: f32,
    /// Pixels less one.
    last: f32,
    step: f32,
}

impl Span {
    /// `margin` times the stretch of `length` from `start`, moved into `0..limit`.
    fn new(start: f32, length: f32, margin: f32, limit: u32, side: u32) -> Self {
        let (centre, half) = (start + length / 2.0, length * margin / 2.0);
        let end = limit as f32 - 1.0;
        let (mut first, mut last) = (centre - half, centre + half);
        if first < 0.0 {
            (first, last) = (0.0, last - first);
        }
        if last > end {
            (first, last) = (first - (last - end), end);
        }
        let (first, last) = (first.max(0.0).trunc(), last.min(end).trunc());
        Self { first, last: last - first, step: (last - first + 1.0) / side as f32 }
    }

    /// The two pixels between which output pixel `i` lies, and how far it is to the second.
    fn taps(&self, i: u32) -> (usize, usize, f32) {
        let at = ((i as f32 + 0.5) * self.step - 0.5).clamp(0.0, self.last);
        let left = at.floor();
        let right = (left + 1.0).min(self.last);
        ((self.first + left) as usize, (self.first + right) as usize, at - left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture whose red is its column and green its row.
    fn places() -> RgbImage {
        RgbImage::from_fn(200, 160, |x, y| Rgb([x as u8, y as u8, 0]))
    }

    #[test]
    fn the_box_is_enlarged_about_its_centre() {
        let crop = crop(&places(), &BBox { x: 80.0, y: 60.0, w: 20.0, h: 20.0 }, 2.0, 41);
        assert_eq!(crop.margin, 2.0);
        // From 70 to 110 across and 50 to 90 down: 41 pixels each way, one for one.
        assert_eq!(crop.image.get_pixel(0, 0).0, [70, 50, 0]);
        assert_eq!(crop.image.get_pixel(40, 40).0, [110, 90, 0]);
    }

    #[test]
    fn at_the_rim_it_is_moved_and_where_the_picture_is_too_small_it_shows_less() {
        let places = places();
        let moved = crop(&places, &BBox { x: 0.0, y: 0.0, w: 20.0, h: 20.0 }, 2.0, 41);
        assert_eq!((moved.margin, moved.image.get_pixel(0, 0).0), (2.0, [0, 0, 0]));
        assert_eq!(moved.image.get_pixel(40, 40).0, [40, 40, 0]);
        let large = crop(&places, &BBox { x: 150.0, y: 40.0, w: 80.0, h: 100.0 }, 4.0, 80);
        assert!((large.margin - 1.59).abs() < 1e-6, "{}", large.margin);
        // Two pixels in one, between the first and the second.
        assert_eq!(large.image.get_pixel(0, 0).0[1], 1);
    }

    #[test]
    fn nonsense_gives_black_and_does_not_panic() {
        let black = RgbImage::new(8, 8);
        for [x, y, w, h] in [
            [f32::NAN; 4],
            [0.0, 0.0, -5.0, 5.0],
            [500.0, 0.0, 10.0, 10.0],
            [1e30, 1e30, 1e30, 1e30],
            [0.0, 0.0, 0.0, 0.0],
        ] {
            assert_eq!(crop(&places(), &BBox { x, y, w, h }, 2.7, 8).image, black);
        }
        assert_eq!(crop(&RgbImage::new(0, 0), &BBox { x: 0.0, y: 0.0, w: 9.0, h: 9.0 }, 2.7, 8).image, black);
        crop(&RgbImage::new(1, 1), &BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 }, 2.7, 8);
    }
}
