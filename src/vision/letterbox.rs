//! A picture made to fit a network: scaled without distortion so that its longest side is what was asked for, padded
//! with black on the right and below.

use image::RgbImage;

use super::Face;
use super::resample::Scaler;

/// A scaled and padded picture, and the way back to the original's pixels. Made once and filled with one picture after the
/// other; pictures of one size need no new memory.
#[derive(Clone, Debug)]
pub struct Letterbox {
    longest: u32,
    multiple: u32,
    /// Width with padding.
    pub width: u32,
    /// Height with padding.
    pub height: u32,
    inner: (u32, u32),
    /// Pixels of the original for one pixel here, across and down.
    step: (f32, f32),
    rgb: Vec<u8>,
    scaler: Option<Scaler>,
}

impl Letterbox {
    /// An empty one, for pictures whose longest side becomes `longest`, padded to multiples of `multiple`.
    pub fn new(longest: u32, multiple: u32) -> Self {
        let (inner, step) = ((0, 0), (1.0, 1.0));
        Self { longest, multiple, width: 0, height: 0, inner, step, rgb: Vec::new(), scaler: None }
    }

    /// Puts a picture in.
    pub fn fill(&mut self, image: &RgbImage) {
        let (w, h) = image.dimensions();
        let ratio = self.longest as f32 / w.max(h).max(1) as f32;
        let side = |v: u32| ((v as f32 * ratio).round() as u32).max(1);
        let inner = (side(w), side(h));
        self.inner = inner;
        (self.width, self.height) =
            (inner.0.next_multiple_of(self.multiple), inner.1.next_multiple_of(self.multiple));
        self.step = (w as f32 / inner.0 as f32, h as f32 / inner.1 as f32);
        if inner == (w, h) || w == 0 || h == 0 {
            self.rgb.clear();
            self.rgb.extend_from_slice(image.as_raw());
            return;
        }
        let sides = |(w, h): (u32, u32)| (w as usize, h as usize);
        let (from, to) = (sides((w, h)), sides(inner));
        self.rgb.resize(3 * to.0 * to.1, 0);
        if !self.scaler.as_ref().is_some_and(|scaler| scaler.fits(from, to)) {
            self.scaler = Some(Scaler::new(from, to));
        }
        let scaler = self.scaler.as_mut().expect("just made");
        scaler.run(image.as_raw(), &mut self.rgb);
    }

    /// A plane for each of these channels (0 is red), each `height × width`, 0 to 255.
    pub fn planes(&self, channels: [usize; 3]) -> Vec<f32> {
        let (w, h) = (self.width as usize, self.height as usize);
        let mut planes = vec![0.0; 3 * w * h];
        let (iw, ih) = (self.inner.0 as usize, self.inner.1 as usize);
        if self.rgb.is_empty() {
            return planes;
        }
        for (channel, plane) in channels.into_iter().zip(planes.chunks_exact_mut(w * h)) {
            for (row, from) in plane.chunks_exact_mut(w).zip(self.rgb.chunks_exact(3 * iw)).take(ih) {
                for (to, pixel) in row.iter_mut().zip(from.chunks_exact(3)) {
                    *to = f32::from(pixel[channel]);
                }
            }
        }
        planes
    }

    /// The rows that are picture and not padding, each with its number, red first.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.rgb.chunks_exact((3 * self.inner.0 as usize).max(1)).enumerate()
    }

    /// Moves a face from pixels of the network's input to pixels of the original.
    pub fn to_image(&self, face: &mut Face) {
        let (sx, sy) = self.step;
        let b = &mut face.bbox;
        (b.x, b.w) = (b.x * sx, b.w * sx);
        (b.y, b.h) = (b.y * sy, b.h * sy);
        for p in &mut face.landmarks {
            *p = [p[0] * sx, p[1] * sy];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::BBox;
    use super::*;
    use image::Rgb;

    fn filled(image: &RgbImage, longest: u32, multiple: u32) -> Letterbox {
        let mut boxed = Letterbox::new(longest, multiple);
        // What was in it before makes no difference.
        boxed.fill(&RgbImage::from_pixel(77, 210, Rgb([1, 2, 3])));
        boxed.fill(image);
        boxed
    }

    #[test]
    fn scaled_padded_and_back() {
        let image = RgbImage::from_pixel(300, 150, Rgb([10, 20, 30]));
        let boxed = filled(&image, 100, 32);
        assert_eq!((boxed.width, boxed.height), (128, 64));
        let planes = boxed.planes([2, 1, 0]);
        let at = |c: usize, x: usize, y: usize| planes[c * 128 * 64 + y * 128 + x];
        assert_eq!([at(0, 99, 49), at(1, 99, 49), at(2, 99, 49)], [30.0, 20.0, 10.0]);
        assert_eq!([at(0, 100, 0), at(2, 0, 50)], [0.0, 0.0]);
        let mut face =
            Face { bbox: BBox { x: 10.0, y: 20.0, w: 5.0, h: 4.0 }, landmarks: [[1.0, 2.0]; 5], score: 1.0 };
        boxed.to_image(&mut face);
        assert_eq!(face.bbox, BBox { x: 30.0, y: 60.0, w: 15.0, h: 12.0 });
        assert_eq!(face.landmarks[0], [3.0, 6.0]);
    }

    #[test]
    fn halving_averages_and_enlarging_interpolates() {
        let image = RgbImage::from_fn(64, 64, |x, _| Rgb([if x % 2 == 0 { 0 } else { 200 }; 3]));
        let half = filled(&image, 32, 32);
        assert!(half.rgb.iter().all(|&v| v == 100));
        let twice = filled(&image, 128, 32);
        assert_eq!(twice.width, 128);
        assert!(twice.rgb.iter().any(|&v| (40..60).contains(&v)));
    }

    #[test]
    fn tiny_and_empty_pictures_do_not_panic() {
        assert_eq!(filled(&RgbImage::new(1, 500), 320, 32).width, 32);
        assert_eq!(filled(&RgbImage::new(0, 0), 320, 32).planes([0, 1, 2]), vec![0.0; 3 * 32 * 32]);
    }
}
