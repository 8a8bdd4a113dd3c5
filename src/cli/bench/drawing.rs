//! A face drawn by hand for `accessd bench`: the networks take as long on it as on any other picture.

use image::{Rgb, RgbImage};

use crate::vision::{BBox, Face, Landmarks};

/// Where the drawn face has its five points: eyes, nose, corners of the mouth; in units of its height from its middle.
const POINTS: Landmarks = [[-0.17, -0.10], [0.17, -0.10], [0.0, 0.08], [-0.14, 0.25], [0.14, 0.25]];

const WALL: [f32; 3] = [150.0, 160.0, 170.0];
const SKIN: [f32; 3] = [205.0, 165.0, 140.0];
const HAIR: [f32; 3] = [60.0, 45.0, 35.0];
const DARK: [f32; 3] = [40.0, 30.0, 30.0];
const LIPS: [f32; 3] = [160.0, 80.0, 80.0];

/// Height of the face: two thirds of the picture's shorter side.
fn size(width: u32, height: u32) -> f32 {
    width.min(height) as f32 / 1.5
}

/// Where the face is in a picture of this size.
pub(super) fn outline(width: u32, height: u32) -> Face {
    let size = size(width, height);
    let (x, y) = (width as f32 / 2.0, height as f32 / 2.0);
    Face {
        bbox: BBox { x: x - 0.37 * size, y: y - 0.48 * size, w: 0.74 * size, h: 0.96 * size },
        landmarks: POINTS.map(|[dx, dy]| [x + dx * size, y + dy * size]),
        score: 1.0,
    }
}

/// A picture of this size with a face in its middle.
pub(super) fn face(width: u32, height: u32) -> RgbImage {
    let size = size(width, height);
    RgbImage::from_fn(width, height, |px, py| {
        let x = (px as f32 - width as f32 / 2.0) / size;
        let y = (py as f32 - height as f32 / 2.0) / size;
        // Light falls from the left.
        let shade = 1.0 - 0.25 * x - 0.1 * y;
        Rgb(colour(x, y).map(|c| (c * shade).clamp(0.0, 255.0) as u8))
    })
}

fn colour(x: f32, y: f32) -> [f32; 3] {
    let inside =
        |[cx, cy]: [f32; 2], rx: f32, ry: f32| ((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2) <= 1.0;
    let [left_eye, right_eye, nose, mouth_left, mouth_right] = POINTS;
    let brow = |[ex, ey]: [f32; 2]| [ex, ey - 0.08];
    let mouth = [(mouth_left[0] + mouth_right[0]) / 2.0, mouth_left[1]];
    if inside(left_eye, 0.06, 0.03) || inside(right_eye, 0.06, 0.03) {
        DARK
    } else if inside(brow(left_eye), 0.09, 0.018) || inside(brow(right_eye), 0.09, 0.018) {
        HAIR
    } else if inside(mouth, 0.15, 0.035) {
        LIPS
    } else if inside(nose, 0.05, 0.03) {
        SKIN.map(|c| c * 0.8)
    } else if inside([0.0, 0.0], 0.37, 0.48) && y > -0.3 {
        SKIN
    } else if inside([0.0, -0.05], 0.42, 0.52) && y < 0.1 {
        HAIR
    } else {
        WALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_are_where_they_are_drawn() {
        let picture = face(640, 480);
        let [left_eye, right_eye, ..] = outline(640, 480).landmarks;
        for [x, y] in [left_eye, right_eye] {
            let pixel = picture.get_pixel(x as u32, y as u32);
            assert!(pixel.0.iter().all(|c| *c < 60), "{pixel:?}");
        }
        assert!(picture.get_pixel(5, 5).0[0] > 120);
    }
}
