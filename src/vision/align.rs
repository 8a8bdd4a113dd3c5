//! A face warped to the encoder's fixed frame: the least-squares similarity (rotation, scale, shift; Umeyama 1991) that
//! brings its five points onto the ArcFace template, applied with bilinear sampling.

use image::RgbImage;

use super::Landmarks;

/// Side of an aligned crop in pixels.
pub const CROP_SIDE: u32 = 112;

/// Where the five points lie in an aligned crop (Deng et al., "ArcFace", 2019), image-left eye first.
pub const TEMPLATE: Landmarks =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

/// A 112×112 RGB picture of one face, its five points on the [`TEMPLATE`].
#[derive(Clone, Debug, PartialEq)]
pub struct AlignedCrop(pub RgbImage);

/// A similarity of the plane: `x' = a·x − b·y + tx`, `y' = b·x + a·y + ty`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    a: f32,
    b: f32,
    tx: f32,
    ty: f32,
}

impl Similarity {
    /// The similarity that brings `from` nearest to `to`, by the sum of squared distances. Points that all fall
    /// together leave rotation and scale open: then it only shifts.
    pub fn fit(from: &Landmarks, to: &Landmarks) -> Self {
        let mean = |p: &Landmarks, i: usize| p.iter().map(|q| q[i]).sum::<f32>() / 5.0;
        let (fx, fy, gx, gy) = (mean(from, 0), mean(from, 1), mean(to, 0), mean(to, 1));
        let (mut dot, mut cross, mut square) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let (x, y, u, v) = (p[0] - fx, p[1] - fy, q[0] - gx, q[1] - gy);
            dot += x * u + y * v;
            cross += x * v - y * u;
            square += x * x + y * y;
        }
        let (a, b) = if square > 1e-6 { (dot / square, cross / square) } else { (1.0, 0.0) };
        Self { a, b, tx: gx - (a * fx - b * fy), ty: gy - (b * fx + a * fy) }
    }

    /// Where a point goes.
    pub fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty]
    }
}

/// Warps the face with these landmarks to the template. What lies outside the picture is black.
pub fn align(image: &RgbImage, landmarks: &Landmarks) -> AlignedCrop {
    // From the crop back to the picture, so that every pixel of the crop is asked for once.
    let back = invert(Similarity::fit(landmarks, &TEMPLATE));
    let mut crop = RgbImage::new(CROP_SIDE, CROP_SIDE);
    let (row, pixels) = (3 * image.width() as usize, image.as_raw());
    let (right, below) = (image.width() as f32 - 1.0, image.height() as f32 - 1.0);
    for (x, y, pixel) in crop.enumerate_pixels_mut() {
        let [u, v] = back.apply([x as f32, y as f32]);
        // Nearly all pixels lie between four of the picture, which need no case for the rim.
        pixel.0 = if u >= 0.0 && v >= 0.0 && u < right && v < below {
            let (left, top) = (u as usize, v as usize);
            let (fx, fy) = (u - left as f32, v - top as f32);
            let upper = &pixels[top * row + 3 * left..][..6];
            let lower = &pixels[(top + 1) * row + 3 * left..][..6];
            std::array::from_fn(|c| {
                let between = |line: &[u8]| f32::from(line[c]) * (1.0 - fx) + f32::from(line[c + 3]) * fx;
                (between(upper) * (1.0 - fy) + between(lower) * fy + 0.5) as u8
            })
        } else {
            sample(image, [u, v])
        };
    }
    AlignedCrop(crop)
}

fn invert(s: Similarity) -> Similarity {
    let square = (s.a * s.a + s.b * s.b).max(1e-12);
    let (a, b) = (s.a / square, -s.b / square);
    Similarity { a, b, tx: -(a * s.tx - b * s.ty), ty: -(b * s.tx + a * s.ty) }
}

/// Bilinear; black outside.
fn sample(image: &RgbImage, [x, y]: [f32; 2]) -> [u8; 3] {
    let (w, h) = (image.width() as i32, image.height() as i32);
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    // A coordinate that is not finite or far away becomes a cell outside of every picture.
    let (x0, y0) = (left.clamp(-2.0, w as f32) as i32, top.clamp(-2.0, h as f32) as i32);
    let at = |x: i32, y: i32, c: usize| {
        if x < 0 || y < 0 || x >= w || y >= h {
            0.0
        } else {
            f32::from(image.as_raw()[3 * (y as usize * w as usize + x as usize) + c])
        }
    };
    std::array::from_fn(|c| {
        let upper = at(x0, y0, c) * (1.0 - fx) + at(x0 + 1, y0, c) * fx;
        let lower = at(x0, y0 + 1, c) * (1.0 - fx) + at(x0 + 1, y0 + 1, c) * fx;
        (upper * (1.0 - fy) + lower * fy + 0.5) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rotates by `degrees`, scales and shifts.
    fn moved(points: &Landmarks, degrees: f32, scale: f32, shift: [f32; 2]) -> Landmarks {
        let (sin, cos) = degrees.to_radians().sin_cos();
        points.map(|[x, y]| [scale * (cos * x - sin * y) + shift[0], scale * (sin * x + cos * y) + shift[1]])
    }

    #[test]
    fn a_similarity_is_recovered_exactly() {
        let from = moved(&TEMPLATE, 33.0, 2.5, [40.0, -7.0]);
        let fit = Similarity::fit(&from, &TEMPLATE);
        for (p, q) in from.iter().zip(&TEMPLATE) {
            let r = fit.apply(*p);
            assert!((r[0] - q[0]).abs() < 1e-3 && (r[1] - q[1]).abs() < 1e-3, "{r:?} {q:?}");
        }
    }

    #[test]
    fn the_fit_is_least_squares() {
        // Against a small change of any parameter the squared error must grow.
        let mut from = moved(&TEMPLATE, -20.0, 0.7, [3.0, 9.0]);
        from[2] = [from[2][0] + 6.0, from[2][1] - 4.0];
        let fit = Similarity::fit(&from, &TEMPLATE);
        let error = |s: Similarity| -> f32 {
            let squares = from.iter().zip(&TEMPLATE).map(|(p, q)| {
                let r = s.apply(*p);
                (r[0] - q[0]).powi(2) + (r[1] - q[1]).powi(2)
            });
            squares.sum()
        };
        let best = error(fit);
        for (da, db, dx, dy) in
            [(0.01, 0.0, 0.0, 0.0), (0.0, 0.01, 0.0, 0.0), (0.0, 0.0, 0.3, 0.0), (0.0, 0.0, 0.0, 0.3)]
        {
            for sign in [-1.0, 1.0] {
                let s = Similarity {
                    a: fit.a + sign * da,
                    b: fit.b + sign * db,
                    tx: fit.tx + sign * dx,
                    ty: fit.ty + sign * dy,
                };
                assert!(error(s) > best);
            }
        }
    }

    #[test]
    fn aligned_pixels_come_from_where_the_points_are() {
        // A picture whose red is its column and green its row tells where each pixel of the crop came from.
        let image = RgbImage::from_fn(200, 200, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let landmarks = moved(&TEMPLATE, 0.0, 1.0, [30.0, 20.0]);
        let crop = align(&image, &landmarks);
        assert_eq!(crop.0.get_pixel(0, 0).0, [30, 20, 0]);
        assert_eq!(crop.0.get_pixel(111, 50).0, [141, 70, 0]);
    }

    #[test]
    fn outside_is_black_and_nonsense_does_not_panic() {
        let image = RgbImage::from_pixel(20, 20, image::Rgb([200, 200, 200]));
        let crop = align(&image, &moved(&TEMPLATE, 0.0, 1.0, [-100.0, 0.0]));
        assert_eq!(crop.0.get_pixel(0, 0).0, [0, 0, 0]);
        align(&image, &[[f32::NAN; 2]; 5]);
        align(&image, &[[1e30, -1e30]; 5]);
        align(&RgbImage::new(0, 0), &TEMPLATE);
    }
}
