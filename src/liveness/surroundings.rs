//! Does a face bring its surroundings along? What is printed or shown around a face moves with it; what is behind a person
//! stays where it is. (Motion of face and background as evidence: Anjos and Marcel, "Counter-measures to photo attacks
//! in face recognition", IJCB 2011.)
//!
//! Vision holds each look at a track against an earlier one. Where the face went is measured on the face itself: small
//! patches of it are found again, and a similarity is fitted. Then places around the head (not below it: shoulders go
//! along) are asked which fits better, that they stayed or that they went the face's way. Places without texture and places
//! where both fit say nothing. Pure: pictures and landmarks in, [`Signs`] out.

use std::time::Duration;

use image::RgbImage;

use super::signs::Signs;
use crate::clock::MonoTime;
use crate::vision::tracks::TrackId;
use crate::vision::{BBox, Face};

/// Width of the face in px at which pictures are compared.
const FACE_PX: f32 = 96.0;
/// A patch reaches so many px to each side of its middle.
const REACH: i32 = 8;
/// How far around where the landmarks say it went a patch of the face is sought, in px.
const SEEK: i32 = 6;
/// How far off a place may be from where it should be by either account, in px.
const PLAY: i32 = 2;
/// A place says something only where the face's way leads it at least so far, in px.
const WAY: f32 = 3.5;
/// Variance of a patch of the face from which it can be found again, in grey levels squared.
const TEXTURE: f32 = 60.0;
/// Noise that two pictures of the same thing differ by, in grey levels squared.
const NOISE: f32 = 25.0;
/// One account must leave less than this share of the difference that the other leaves.
const CLEARLY: f32 = 0.5;
/// A face that has grown or shrunk by more than this is held against a newer look.
const GROWTH: f32 = 1.25;
/// A look this old is held against nothing any more.
const STALE: Duration = Duration::from_secs(2);
/// From so many px on a face has moved: some times what a sensor's noise makes of one that rests, half a hundredth of its width.
const STIR: f32 = 0.5;
/// From so few patches of it nothing is concluded.
const FEWEST: usize = 5;
/// A track not seen for so long is forgotten.
const GONE: Duration = Duration::from_secs(3);

/// Patches of the face, in widths and heights of its box from its middle.
const ON_FACE: [(f32, f32); 9] = [
    (-0.22, -0.22),
    (0.0, -0.25),
    (0.22, -0.22),
    (-0.25, 0.05),
    (0.25, 0.05),
    (0.0, 0.08),
    (-0.18, 0.3),
    (0.18, 0.3),
    (0.0, 0.33),
];
/// Columns beside the head, from its middle in widths of its box, and rows of them in heights.
const BESIDE: ([f32; 6], [f32; 5]) = ([-1.65, -1.4, -1.15, 1.15, 1.4, 1.65], [-0.75, -0.5, -0.25, 0.0, 0.25]);
/// The same above the head.
const ABOVE: ([f32; 6], [f32; 2]) = ([-0.8, -0.5, -0.2, 0.2, 0.5, 0.8], [-1.25, -1.0]);

type Point = [f32; 2];

/// What one track has shown of its surroundings, and the look that the next is held against.
#[derive(Debug, Default)]
pub struct Surroundings {
    signs: Signs,
    before: Option<Before>,
}

#[derive(Debug)]
struct Before {
    captured: MonoTime,
    face: Face,
    window: Window,
    grey: Grey,
}

impl Surroundings {
    /// Counted so far.
    pub fn signs(&self) -> Signs {
        self.signs
    }

    /// Takes another look at the track: the face in `image`, taken at `captured`.
    pub fn look(&mut self, image: &RgbImage, face: &Face, captured: MonoTime) -> Signs {
        if !is_usable(face, image) {
            return self.signs;
        }
        let held_against = self
            .before
            .as_ref()
            .filter(|before| !before.has_grown_to(face) && captured.since(before.captured) <= STALE);
        let Some(before) = held_against else {
            // One that has come nearer since has moved, too; one that was last compared long ago need not have.
            self.signs.stirred |= self.before.as_ref().is_some_and(|before| before.has_grown_to(face));
            self.before = Some(Before::new(image, face, captured));
            return self.signs;
        };
        // By the landmarks alone, which is rough, to save the work while the face rests.
        let rough = before.rough(face);
        let may_tell = before.window.ring(&before.face.bbox).any(|place| rough.moves(place) >= WAY);
        if self.signs.stirred && !may_tell {
            return self.signs;
        }
        let grey = Grey::of(image, &before.window);
        let patches = before.patches(&grey, &rough);
        self.signs.stirred |= has_stirred(&patches);
        let (carried, stood) = if may_tell { before.votes(&grey, patches) } else { (0, 0) };
        if carried + stood > 0 {
            self.signs.carried = self.signs.carried.saturating_add(carried);
            self.signs.stood = self.signs.stood.saturating_add(stood);
            self.before = Some(Before::new(image, face, captured));
        }
        self.signs
    }
}

/// All tracks in view, watched.
#[derive(Debug, Default)]
pub struct Watcher {
    tracks: Vec<(TrackId, MonoTime, Surroundings)>,
}

impl Watcher {
    /// Takes a look at a track; what the track has shown so far.
    pub fn look(&mut self, image: &RgbImage, track: TrackId, face: &Face, captured: MonoTime) -> Signs {
        self.tracks.retain(|(_, seen, _)| captured.since(*seen) <= GONE);
        let at = self.tracks.iter().position(|(id, ..)| *id == track).unwrap_or_else(|| {
            self.tracks.push((track, captured, Surroundings::default()));
            self.tracks.len() - 1
        });
        let (_, seen, around) = &mut self.tracks[at];
        *seen = captured;
        around.look(image, face, captured)
    }
}

/// Whether a face has moved: more than half of its patches have.
fn has_stirred(patches: &[(Point, Point)]) -> bool {
    let moved = patches.iter().filter(|(from, to)| distance(*from, *to) >= STIR).count();
    patches.len() >= FEWEST && 2 * moved > patches.len()
}

/// Whether it is a face that lies in the picture at least in part, and large enough to be looked at.
fn is_usable(face: &Face, image: &RgbImage) -> bool {
    let BBox { x, y, w, h } = face.bbox;
    let finite = [x, y, w, h].into_iter().chain(face.landmarks.into_iter().flatten()).all(f32::is_finite);
    let limit = 4.0 * image.width().max(image.height()) as f32;
    finite && (16.0..limit).contains(&w) && (16.0..limit).contains(&h) && x.abs() < limit && y.abs() < limit
}

impl Before {
    fn new(image: &RgbImage, face: &Face, captured: MonoTime) -> Self {
        let window = Window::around(&face.bbox);
        Self { captured, face: *face, grey: Grey::of(image, &window), window }
    }

    /// Whether the face is much larger or smaller now.
    fn has_grown_to(&self, face: &Face) -> bool {
        !(1.0 / GROWTH..=GROWTH).contains(&(face.bbox.w / self.face.bbox.w))
    }

    /// Where the face went by its landmarks.
    fn rough(&self, face: &Face) -> Way {
        let points = |face: &Face| face.landmarks.map(|point| self.window.to_work(point));
        Way::fit(&points(&self.face), &points(face))
    }

    /// Patches of the face, and where they are now.
    fn patches(&self, now: &Grey, rough: &Way) -> Vec<(Point, Point)> {
        let places = ON_FACE.map(|(u, v)| self.window.place(&self.face.bbox, u, v));
        let again = |patch| Some((patch, self.grey.found_again(patch, now, rough.of(patch))?));
        places.into_iter().filter_map(again).collect()
    }

    /// How many places went along with the face, and how many stayed.
    fn votes(&self, now: &Grey, patches: Vec<(Point, Point)>) -> (u32, u32) {
        let Some(way) = Way::robust(patches) else { return (0, 0) };
        let (mut carried, mut stood) = (0, 0);
        for place in self.window.ring(&self.face.bbox) {
            if way.moves(place) < WAY {
                continue;
            }
            let (Some(stays), Some(goes)) = (
                self.grey.least_difference(place, now, place),
                self.grey.least_difference(place, now, way.of(place)),
            ) else {
                continue;
            };
            let (stays, goes) = (stays + NOISE, goes + NOISE);
            carried += u32::from(goes < CLEARLY * stays);
            stood += u32::from(stays < CLEARLY * goes);
        }
        (carried, stood)
    }
}

/// The part of the picture that is compared, in px at which a face is [`FACE_PX`] wide.
#[derive(Clone, Copy, Debug)]
struct Window {
    scale: f32,
    left: f32,
    top: f32,
    width: usize,
    height: usize,
}

impl Window {
    fn around(bbox: &BBox) -> Self {
        let scale = FACE_PX / bbox.w;
        let (x, y) = ((bbox.x + bbox.w / 2.0) * scale, (bbox.y + bbox.h / 2.0) * scale);
        // The outermost places with their patches, and half a face of room to move.
        let tall = (bbox.h / bbox.w).clamp(0.5, 2.0) * FACE_PX;
        let (aside, up, down) = (1.65 * FACE_PX + 48.0, 1.25 * tall + 48.0, 0.5 * tall + 48.0);
        Self {
            scale,
            left: (x - aside).round(),
            top: (y - up).round(),
            width: (2.0 * aside) as usize,
            height: (up + down) as usize,
        }
    }

    /// From px of the picture.
    fn to_work(self, [x, y]: Point) -> Point {
        [x * self.scale - self.left, y * self.scale - self.top]
    }

    /// `u` widths and `v` heights from the middle of the box.
    fn place(self, bbox: &BBox, u: f32, v: f32) -> Point {
        self.to_work([bbox.x + bbox.w * (0.5 + u), bbox.y + bbox.h * (0.5 + v)]).map(f32::round)
    }

    fn ring(self, bbox: &BBox) -> impl Iterator<Item = Point> {
        let bbox = *bbox;
        let places = [(&BESIDE.0, &BESIDE.1[..]), (&ABOVE.0, &ABOVE.1[..])];
        places
            .into_iter()
            .flat_map(|(columns, rows)| columns.iter().flat_map(move |&u| rows.iter().map(move |&v| (u, v))))
            .map(move |(u, v)| self.place(&bbox, u, v))
    }
}

/// A similarity: where each point went.
#[derive(Clone, Copy, Debug)]
struct Way {
    a: f32,
    b: f32,
    shift: Point,
}

impl Way {
    fn fit(from: &[Point], to: &[Point]) -> Self {
        let n = from.len().max(1) as f32;
        let mean = |points: &[Point], i: usize| points.iter().map(|p| p[i]).sum::<f32>() / n;
        let (fx, fy, gx, gy) = (mean(from, 0), mean(from, 1), mean(to, 0), mean(to, 1));
        let (mut dot, mut cross, mut square) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let (x, y, u, v) = (p[0] - fx, p[1] - fy, q[0] - gx, q[1] - gy);
            dot += x * u + y * v;
            cross += x * v - y * u;
            square += x * x + y * y;
        }
        let (a, b) = if square > 1e-6 { (dot / square, cross / square) } else { (1.0, 0.0) };
        Self { a, b, shift: [gx - (a * fx - b * fy), gy - (b * fx + a * fy)] }
    }

    /// The way that most pairs agree on; `None` when too few patches were found again.
    fn robust(mut pairs: Vec<(Point, Point)>) -> Option<Self> {
        if pairs.len() < FEWEST {
            return None;
        }
        for _ in 0..3 {
            let (from, to): (Vec<Point>, Vec<Point>) = pairs.iter().copied().unzip();
            let way = Self::fit(&from, &to);
            let off = |&(p, q): &(Point, Point)| distance(way.of(p), q);
            let mut sorted: Vec<f32> = pairs.iter().map(off).collect();
            sorted.sort_by(f32::total_cmp);
            let limit = (2.0 * sorted[sorted.len() / 2]).max(1.0);
            let kept: Vec<_> = pairs.iter().copied().filter(|pair| off(pair) <= limit).collect();
            if kept.len() == pairs.len() || kept.len() + 1 < FEWEST {
                return Some(way);
            }
            pairs = kept;
        }
        let (from, to): (Vec<Point>, Vec<Point>) = pairs.into_iter().unzip();
        Some(Self::fit(&from, &to))
    }

    fn of(&self, [x, y]: Point) -> Point {
        [self.a * x - self.b * y + self.shift[0], self.b * x + self.a * y + self.shift[1]]
    }

    /// How far the point goes.
    fn moves(&self, point: Point) -> f32 {
        distance(self.of(point), point)
    }
}

fn distance(p: Point, q: Point) -> f32 {
    let (dx, dy) = (p[0] - q[0], p[1] - q[1]);
    (dx * dx + dy * dy).sqrt()
}

/// The window's brightness, and which part of it lies in the picture.
#[derive(Debug)]
struct Grey {
    width: i32,
    levels: Vec<f32>,
    /// First and last column and row that lie in the picture.
    columns: (i32, i32),
    rows: (i32, i32),
}

impl Grey {
    fn of(image: &RgbImage, window: &Window) -> Self {
        let span = |from: f32, count: usize, limit: u32| {
            let first = (-from).ceil().max(0.0) as i32;
            let last = (limit as f32 * window.scale - from - 1.0).floor().min(count as f32 - 1.0) as i32;
            (first, last)
        };
        let columns = span(window.left, window.width, image.width());
        let rows = span(window.top, window.height, image.height());
        let mut levels = vec![0.0; window.width * window.height];
        let taps = |from: f32, (first, last): (i32, i32), limit: u32| -> Vec<(usize, usize, f32)> {
            let tap = |i: i32| {
                let at = ((i as f32 + from + 0.5) / window.scale - 0.5).clamp(0.0, limit as f32 - 1.0);
                let left = at.floor();
                (left as usize, (left as usize + 1).min(limit as usize - 1), at - left)
            };
            (first..=last).map(tap).collect()
        };
        if columns.0 <= columns.1 && rows.0 <= rows.1 {
            let across = taps(window.left, columns, image.width());
            let down = taps(window.top, rows, image.height());
            let (pixels, row) = (image.as_raw(), 3 * image.width() as usize);
            let luma = |x: usize, y: usize| {
                let p = &pixels[y * row + 3 * x..][..3];
                0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])
            };
            for (y, &(y0, y1, fy)) in (rows.0..).zip(&down) {
                let line = &mut levels[y as usize * window.width + columns.0 as usize..];
                for (level, &(x0, x1, fx)) in line.iter_mut().zip(&across) {
                    let upper = luma(x0, y0) * (1.0 - fx) + luma(x1, y0) * fx;
                    let lower = luma(x0, y1) * (1.0 - fx) + luma(x1, y1) * fx;
                    *level = upper * (1.0 - fy) + lower * fy;
                }
            }
        }
        Self { width: window.width as i32, levels, columns, rows }
    }

    /// Whether the patch around (x, y) lies in the picture.
    fn holds(&self, x: i32, y: i32) -> bool {
        x - REACH >= self.columns.0
            && x + REACH <= self.columns.1
            && y - REACH >= self.rows.0
            && y + REACH <= self.rows.1
    }

    /// Every second row and column of the patch around (x, y).
    fn patch(&self, x: i32, y: i32) -> impl Iterator<Item = f32> + '_ {
        (-REACH..=REACH).step_by(2).flat_map(move |dy| {
            let from = ((y + dy) * self.width + x - REACH) as usize;
            self.levels[from..=from + 2 * REACH as usize].iter().step_by(2).copied()
        })
    }

    /// How much two patches differ but for their brightness: the variance of their difference.
    fn difference(&self, at: (i32, i32), other: &Self, there: (i32, i32)) -> Option<f32> {
        if !self.holds(at.0, at.1) || !other.holds(there.0, there.1) {
            return None;
        }
        let (mut sum, mut square, mut n) = (0.0, 0.0, 0.0);
        for (a, b) in self.patch(at.0, at.1).zip(other.patch(there.0, there.1)) {
            let d = a - b;
            sum += d;
            square += d * d;
            n += 1.0;
        }
        Some(square / n - (sum / n) * (sum / n))
    }

    fn variance(&self, x: i32, y: i32) -> f32 {
        let (mut sum, mut square, mut n) = (0.0, 0.0, 0.0);
        for v in self.patch(x, y) {
            sum += v;
            square += v * v;
            n += 1.0;
        }
        square / n - (sum / n) * (sum / n)
    }

    /// Where the patch around `patch` is in `now`, sought around `near`; `None` when it cannot be told.
    fn found_again(&self, patch: Point, now: &Self, near: Point) -> Option<Point> {
        let (at, near) = (whole(patch)?, whole(near)?);
        if !self.holds(at.0, at.1) {
            return None;
        }
        let texture = self.variance(at.0, at.1);
        let side = 2 * SEEK + 1;
        let apart: Option<Vec<f32>> = (0..side * side)
            .map(|i| self.difference(at, now, (near.0 + i % side - SEEK, near.1 + i / side - SEEK)))
            .collect();
        let apart = apart?;
        let best = (0..side * side).min_by(|&a, &b| apart[a as usize].total_cmp(&apart[b as usize]))?;
        let (dx, dy) = (best % side - SEEK, best / side - SEEK);
        if dx.abs() == SEEK || dy.abs() == SEEK || texture < TEXTURE || apart[best as usize] > 0.35 * texture
        {
            return None;
        }
        let level = |step: i32| apart[(best + step) as usize];
        let between = |step: i32| {
            // The vertex of the parabola through three neighbours.
            let bend = level(-step) - 2.0 * level(0) + level(step);
            if bend > 0.0 { 0.5 * (level(-step) - level(step)) / bend } else { 0.0 }
        };
        Some([(near.0 + dx) as f32 + between(1), (near.1 + dy) as f32 + between(side)])
    }

    /// The least difference of the patch around `place` from those about `there` in `now`.
    fn least_difference(&self, place: Point, now: &Self, there: Point) -> Option<f32> {
        let (at, there) = (whole(place)?, whole(there)?);
        let around = (-PLAY..=PLAY).flat_map(|dy| (-PLAY..=PLAY).map(move |dx| (dx, dy)));
        around.filter_map(|(dx, dy)| self.difference(at, now, (there.0 + dx, there.1 + dy))).reduce(f32::min)
    }
}

/// The nearest whole px; `None` far outside of any window.
fn whole([x, y]: Point) -> Option<(i32, i32)> {
    let near = |v: f32| (v.abs() < 1e5).then_some(v.round() as i32);
    near(x).zip(near(y))
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::vision::align::TEMPLATE;

    /// A picture with something in it everywhere.
    fn texture(x: f32, y: f32) -> f32 {
        let wave = |a: f32, b: f32, c: f32| (x * a + y * b + c).sin();
        128.0 + 40.0 * wave(0.23, 0.05, 0.0) + 35.0 * wave(-0.07, 0.19, 1.0) + 30.0 * wave(0.31, 0.29, 2.0)
    }

    /// A face of another texture in the middle, `shift` px off, before a wall that goes `wall` px along.
    fn scene(shift: f32, wall: f32, light: f32) -> (RgbImage, Face) {
        let (cx, cy, w) = (320.0 + shift, 240.0 + shift / 2.0, 100.0);
        let image = RgbImage::from_fn(640, 480, |x, y| {
            let (x, y) = (x as f32, y as f32);
            let (u, v) = ((x - cx) / w, (y - cy) / w);
            let on_head = u * u + v * v < 0.64;
            let level = if on_head {
                texture(1.7 * (x - cx) + 900.0, 1.3 * (y - cy))
            } else {
                texture(x - wall, y - wall / 2.0)
            };
            Rgb([(level * light).clamp(0.0, 255.0) as u8; 3])
        });
        let bbox = BBox { x: cx - w / 2.0, y: cy - w / 2.0, w, h: w };
        let landmarks = TEMPLATE.map(|[x, y]| [cx - w / 2.0 + x / 112.0 * w, cy - w / 2.0 + y / 112.0 * w]);
        (image, Face { bbox, landmarks, score: 0.9 })
    }

    fn shown(frames: impl IntoIterator<Item = (RgbImage, Face)>) -> Signs {
        let mut around = Surroundings::default();
        for (number, (image, face)) in (0..).zip(frames) {
            around.look(&image, &face, MonoTime::from_millis(100 * number));
        }
        around.signs()
    }

    #[test]
    fn a_face_before_a_wall_stands_apart_and_one_that_brings_its_wall_along_is_carried() {
        let steps = [0.0, 6.0, 12.0, 18.0];
        let person = shown(steps.map(|s| scene(s, 0.0, 1.0)));
        assert!(!person.is_carried() && person.carried == 0 && person.stood >= 8, "{person:?}");
        let picture = shown(steps.map(|s| scene(s, s, 1.0)));
        assert!(picture.is_carried() && picture.stood == 0, "{picture:?}");
    }

    #[test]
    fn a_change_of_light_is_no_movement() {
        let person = shown([(0.0, 1.0), (6.0, 0.8), (12.0, 1.1)].map(|(s, light)| scene(s, 0.0, light)));
        assert!(person.carried == 0 && person.stood > 0, "{person:?}");
        assert_eq!(shown([1.0, 0.7, 1.1, 0.9].map(|light| scene(0.0, 0.0, light))), Signs::default());
    }

    #[test]
    fn a_face_that_rests_or_a_plain_wall_says_nothing() {
        assert_eq!(shown([0.0; 5].map(|s| scene(s, s, 1.0))), Signs::default());
        let plain = |shift: f32| {
            let (mut image, face) = scene(shift, 0.0, 1.0);
            let b = face.bbox;
            for (x, y, pixel) in image.enumerate_pixels_mut() {
                let (u, v) = ((x as f32 - b.x) / b.w - 0.5, (y as f32 - b.y) / b.h - 0.5);
                if u * u + v * v >= 0.64 {
                    *pixel = Rgb([180; 3]);
                }
            }
            (image, face)
        };
        let walked = shown([0.0, 6.0, 12.0].map(plain));
        assert_eq!(walked, Signs { stirred: true, ..Signs::default() }, "but that it moves is seen");
    }

    #[test]
    fn slow_movement_adds_up_and_an_old_look_is_forgotten() {
        let slow: Vec<_> = (0..20).map(|i| scene(i as f32, i as f32, 1.0)).collect();
        assert!(shown(slow).is_carried());
        let mut around = Surroundings::default();
        for (at, shift) in [(0, 0.0), (2_100, 6.0)] {
            let (image, face) = scene(shift, shift, 1.0);
            around.look(&image, &face, MonoTime::from_millis(at));
        }
        assert_eq!(around.signs(), Signs::default());
    }

    #[test]
    fn a_picture_on_a_stand_before_a_noisy_sensor_never_stirs_and_a_face_that_moves_a_little_does() {
        let mut state = 7_u64;
        let mut grain = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) % 17) as i16 - 8
        };
        let mut noisy = |shift: f32| {
            let (mut image, face) = scene(shift, 0.0, 1.0);
            image.pixels_mut().for_each(|p| {
                let grain = grain();
                p.0 = p.0.map(|v| (i16::from(v) + grain).clamp(0, 255) as u8);
            });
            (image, face)
        };
        let still: Vec<_> = (0..50).map(|_| noisy(0.0)).collect();
        assert_eq!(shown(still), Signs::default());
        let alive: Vec<_> = (0..15).map(|i| noisy(0.1 * i as f32)).collect();
        assert!(shown(alive).stirred);
    }

    #[test]
    fn each_track_is_watched_for_itself_and_forgotten_when_it_is_gone() {
        let mut watcher = Watcher::default();
        let mut show = |track: u64, shift: f32, ms: u64| {
            let (image, face) = scene(shift, shift, 1.0);
            watcher.look(&image, TrackId(track), &face, MonoTime::from_millis(ms))
        };
        show(1, 0.0, 0);
        show(1, 6.0, 100);
        assert!(show(1, 12.0, 200).is_carried());
        assert_eq!(show(2, 18.0, 300), Signs::default());
        assert_eq!(show(1, 24.0, 4_000), Signs::default());
    }

    #[test]
    fn nonsense_says_nothing_and_does_not_panic() {
        let (image, face) = scene(0.0, 0.0, 1.0);
        let with = |x: f32, w: f32| Face { bbox: BBox { x, w, ..face.bbox }, ..face };
        let mut around = Surroundings::default();
        for bad in
            [with(f32::NAN, 100.0), with(0.0, 0.0), with(0.0, -5.0), with(1e9, 100.0), with(-400.0, 90.0)]
        {
            around.look(&image, &face, MonoTime::from_millis(0));
            around.look(&image, &bad, MonoTime::from_millis(50));
            around.look(&RgbImage::new(0, 0), &bad, MonoTime::from_millis(60));
            around.look(&RgbImage::new(9, 9), &face, MonoTime::from_millis(70));
        }
        assert_eq!(around.signs().carried, 0);
        let gone = Face { landmarks: [[f32::INFINITY; 2]; 5], ..face };
        around.look(&image, &gone, MonoTime::from_millis(80));
    }
}
