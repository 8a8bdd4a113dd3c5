//! One identity-free thread of faces over frames: who is the same person from one frame to the next.
//!
//! Stands between the detector and the attempts of `access`: [`Tracker::update`] gives every face of a frame its
//! [`TrackId`] by where it is, and [`Tracker::confirm`], once the face is embedded, takes the id away again when the
//! face is not the one the track has shown so far. Evidence for a grant is gathered per track, so a track that
//! changes hands would let one person in on another's face; a track that ends too early only costs a moment.
//! Therefore places are matched generously and embeddings strictly.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BBox, Face};
use crate::clock::MonoTime;
use crate::encoder::{Embedding, Score, compare};

/// Names one track while the daemon runs; never used again after the track ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TrackId(pub u64);

/// A face that frames have missed for longer than this starts a new track when it comes back.
pub const MISSED_AT_MOST: Duration = Duration::from_millis(400);

/// When the camera itself pauses for longer than this, every track ends: nobody saw who stood there meanwhile.
pub const PAUSE_AT_MOST: Duration = Duration::from_secs(2);

/// Cosine between a face and what its track has shown so far below which the track has changed hands.
///
/// Measured with SFace on four clips of people (GRID and ASL, 291 frames): a face against the mean of its own track
/// never scored below 0.74, five frames apart and without a mean never below 0.54. Two people scored up to 0.38, and
/// one pair of them 0.23 in the median, so a bound of 0.25 would have missed every third of their swaps. Of unlike
/// pairs of LFW one in a thousand reaches 0.37 and one in ten thousand 0.43; one that does is left to the rule of
/// `access` that a window with two names in it opens for neither.
pub const SAME_FACE: Score = Score(0.40);

/// Two boxes overlapping by this much (intersection over union) belong together.
const MIN_IOU: f32 = 0.2;
/// Boxes that overlap less belong together when their centres are at most this many face sizes apart …
const REACH: f32 = 0.5;
/// … and so many more for each second between the frames: a brisk walk across the picture …
const REACH_PER_S: f32 = 6.0;
/// … but never more than this in all,
const MAX_REACH: f32 = 1.5;
/// and when the smaller is at least this large a part of the larger, side by side.
const MIN_SIZE_RATIO: f32 = 0.6;
/// Weight of the newest embedding in what a track has shown so far, once it has shown a few.
const NEWEST_WEIGHT: f32 = 0.25;

/// Follows faces from frame to frame.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    last_id: u64,
    last_frame: Option<MonoTime>,
}

#[derive(Debug)]
struct Track {
    id: TrackId,
    bbox: BBox,
    seen: MonoTime,
    shown: Option<Shown>,
}

/// What a track has shown of its person: a running mean of its embeddings.
#[derive(Debug)]
struct Shown {
    mean: Embedding,
    looks: u32,
}

impl Tracker {
    /// No tracks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One id per face of a frame, in the order of `faces`; `now` is when the frame was captured.
    ///
    /// Pairs of track and face are taken best first, by overlap and by the distance of their centres relative to
    /// the face's size; each track and each face once. A face that no track claims starts a track. A track survives
    /// [`MISSED_AT_MOST`] without a face.
    pub fn update(&mut self, faces: &[Face], now: MonoTime) -> Vec<TrackId> {
        self.end_lost_tracks(now);
        let mut ids = vec![None; faces.len()];
        for (track, face) in self.pairs(faces, now) {
            let track = &mut self.tracks[track];
            if ids[face].is_none() && !ids.contains(&Some(track.id)) {
                ids[face] = Some(track.id);
                track.bbox = faces[face].bbox;
                track.seen = now;
            }
        }
        faces.iter().zip(ids).map(|(face, id)| id.unwrap_or_else(|| self.start(face.bbox, now))).collect()
    }

    /// Holds the embedding of the face that [`update`](Self::update) gave to `track` against what that track has
    /// shown before. Returns `track` when it is the same face, and a new id, under which the face is followed from
    /// now on, when it is not: what was gathered under `track` belongs to somebody else. A track that has ended
    /// confirms nobody.
    pub fn confirm(&mut self, track: TrackId, embedding: &Embedding) -> TrackId {
        let Some(known) = self.tracks.iter_mut().find(|known| known.id == track) else {
            return self.next_id();
        };
        if known.shown.as_ref().is_none_or(|shown| shown.is_same_face(embedding)) {
            known.shown = Some(Shown::with(known.shown.take(), embedding));
            return track;
        }
        self.last_id += 1;
        known.id = TrackId(self.last_id);
        known.shown = Some(Shown::with(None, embedding));
        known.id
    }

    fn end_lost_tracks(&mut self, now: MonoTime) {
        let last = self.last_frame.replace(now);
        self.tracks.retain(|track| {
            let was_missed = Some(track.seen) != last;
            now.since(track.seen) <= if was_missed { MISSED_AT_MOST } else { PAUSE_AT_MOST }
        });
    }

    /// All pairs (track, face) that may belong together, the best first.
    fn pairs(&self, faces: &[Face], now: MonoTime) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (t, track) in self.tracks.iter().enumerate() {
            let reach = reach(now.since(track.seen));
            for (f, face) in faces.iter().enumerate() {
                pairs.extend(affinity(&track.bbox, &face.bbox, reach).map(|affinity| (affinity, t, f)));
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        pairs.into_iter().map(|(_, track, face)| (track, face)).collect()
    }

    fn start(&mut self, bbox: BBox, now: MonoTime) -> TrackId {
        let id = self.next_id();
        self.tracks.push(Track { id, bbox, seen: now, shown: None });
        id
    }

    fn next_id(&mut self) -> TrackId {
        self.last_id += 1;
        TrackId(self.last_id)
    }
}

impl Shown {
    /// Embeddings of another length come from another network and are nobody's.
    fn is_same_face(&self, embedding: &Embedding) -> bool {
        self.mean.dim() == embedding.dim() && compare(&self.mean, embedding).score >= SAME_FACE
    }

    fn with(before: Option<Self>, embedding: &Embedding) -> Self {
        let Some(Self { mean, looks }) = before else { return Self { mean: embedding.clone(), looks: 1 } };
        let weight = NEWEST_WEIGHT.max(1.0 / (looks + 1) as f32);
        let mixed = mean.values().iter().zip(embedding.values()).map(|(m, e)| m + weight * (e - m)).collect();
        // Two unit vectors at an acute angle never add up to nothing.
        let mean = Embedding::normalise(mixed).unwrap_or(mean);
        Self { mean, looks: looks.saturating_add(1) }
    }
}

/// How far a face may have moved in `gap`, in face sizes.
fn reach(gap: Duration) -> f32 {
    (REACH + REACH_PER_S * gap.as_secs_f32()).min(MAX_REACH)
}

/// How well two boxes fit, higher is better; `None` when they do not belong together or are no boxes.
fn affinity(a: &BBox, b: &BBox, reach: f32) -> Option<f32> {
    let (size_a, size_b) = ((a.w * a.h).sqrt(), (b.w * b.h).sqrt());
    let apart = centre_distance(a, b) / size_a.max(size_b);
    let iou = a.iou(b);
    let near = apart <= reach && size_a.min(size_b) / size_a.max(size_b) >= MIN_SIZE_RATIO;
    let fit = iou - apart;
    (fit.is_finite() && (iou >= MIN_IOU || near)).then_some(fit)
}

fn centre_distance(a: &BBox, b: &BBox) -> f32 {
    let dx = (a.x + a.w / 2.0) - (b.x + b.w / 2.0);
    let dy = (a.y + a.h / 2.0) - (b.y + b.h / 2.0);
    (dx * dx + dy * dy).sqrt()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const FRAME: Duration = Duration::from_millis(66);

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(10_000 + ms)
    }

    /// A square face around (x, y).
    fn face(x: f32, y: f32, side: f32) -> Face {
        let bbox = BBox { x: x - side / 2.0, y: y - side / 2.0, w: side, h: side };
        Face { bbox, landmarks: [[x, y]; 5], score: 0.9 }
    }

    fn ids(raw: &[u64]) -> Vec<TrackId> {
        raw.iter().copied().map(TrackId).collect()
    }

    /// Person `who` of many: unit vectors that are orthogonal between people, with a little of everything mixed in.
    fn embedding(who: usize, noise: f32) -> Embedding {
        let values =
            (0..16).map(|i| if i == who { 1.0 } else { noise * if i % 2 == 0 { 1.0 } else { -1.0 } });
        Embedding::normalise(values.collect()).unwrap()
    }

    /// Shows frames of (person, face) and gives the confirmed ids of each person, in order of appearance.
    fn follow(frames: &[Vec<(usize, Face)>]) -> Vec<Vec<(usize, TrackId)>> {
        let mut tracker = Tracker::new();
        let mut now = at(0);
        let mut all = Vec::new();
        for frame in frames {
            now = now + FRAME;
            let faces: Vec<Face> = frame.iter().map(|&(_, face)| face).collect();
            let given = tracker.update(&faces, now);
            let confirm =
                |(&(who, _), id): (&(usize, Face), TrackId)| (who, tracker.confirm(id, &embedding(who, 0.1)));
            all.push(frame.iter().zip(given).map(confirm).collect());
        }
        all
    }

    fn assert_no_track_shows_two_people(followed: &[Vec<(usize, TrackId)>]) {
        let owners: HashSet<_> = followed.iter().flatten().copied().collect();
        let tracks: HashSet<_> = owners.iter().map(|&(_, id)| id).collect();
        assert_eq!(owners.len(), tracks.len(), "a track was handed over: {followed:?}");
    }

    #[test]
    fn jitter_and_growth_keep_the_id() {
        let mut tracker = Tracker::new();
        for step in 0..100_u64 {
            let jitter = if step % 2 == 0 { 4.0 } else { -4.0 };
            let side = 40.0 * 1.02_f32.powi(step as i32);
            let given = tracker.update(&[face(200.0 + jitter, 150.0 - jitter, side)], at(step * 66));
            assert_eq!(given, ids(&[1]), "frame {step}, {side} px");
        }
    }

    #[test]
    fn a_walk_across_the_picture_keeps_the_id_at_camera_rate_and_on_a_slow_board() {
        for (gap_ms, step_px) in [(66, 30.0), (200, 65.0), (1_000, 70.0)] {
            let mut tracker = Tracker::new();
            let given: HashSet<_> = (0..8)
                .map(|i| tracker.update(&[face(60.0 + i as f32 * step_px, 100.0, 48.0)], at(i * gap_ms)))
                .collect();
            assert_eq!(given.len(), 1, "{step_px} px each {gap_ms} ms");
        }
    }

    #[test]
    fn a_face_far_away_or_of_another_size_is_another_track() {
        for (story, other) in [
            ("two faces away", face(300.0, 100.0, 50.0)),
            ("behind, half as large", face(130.0, 100.0, 24.0)),
            ("right in front, three times as large", face(100.0, 100.0, 150.0)),
        ] {
            let mut tracker = Tracker::new();
            assert_eq!(tracker.update(&[face(100.0, 100.0, 50.0)], at(0)), ids(&[1]));
            assert_eq!(tracker.update(&[other], at(66)), ids(&[2]), "{story}");
        }
    }

    #[test]
    fn a_missed_face_keeps_its_id_for_a_while_only() {
        for (gone_ms, id) in [(66, 1), (330, 1), (400, 1), (401, 2), (5_000, 2)] {
            let mut tracker = Tracker::new();
            assert_eq!(tracker.update(&[face(100.0, 100.0, 50.0)], at(0)), ids(&[1]));
            assert_eq!(tracker.update(&[], at(33)), []);
            assert_eq!(
                tracker.update(&[face(100.0, 100.0, 50.0)], at(gone_ms)),
                ids(&[id]),
                "after {gone_ms} ms"
            );
        }
    }

    #[test]
    fn a_slow_camera_keeps_tracks_but_a_frozen_one_ends_them() {
        for (gap_ms, id) in [(900, 1), (2_000, 1), (2_001, 2), (60_000, 2)] {
            let mut tracker = Tracker::new();
            assert_eq!(tracker.update(&[face(100.0, 100.0, 50.0)], at(0)), ids(&[1]));
            assert_eq!(
                tracker.update(&[face(100.0, 100.0, 50.0)], at(gap_ms)),
                ids(&[id]),
                "after {gap_ms} ms"
            );
        }
    }

    #[test]
    fn two_faces_side_by_side_each_keep_the_nearer_track_in_any_order() {
        let mut tracker = Tracker::new();
        assert_eq!(
            tracker.update(&[face(100.0, 100.0, 50.0), face(160.0, 100.0, 50.0)], at(0)),
            ids(&[1, 2])
        );
        assert_eq!(
            tracker.update(&[face(150.0, 100.0, 50.0), face(90.0, 100.0, 50.0)], at(66)),
            ids(&[2, 1])
        );
        assert_eq!(
            tracker.update(&[face(125.0, 100.0, 50.0)], at(132)),
            ids(&[2]),
            "the nearer one takes it"
        );
        assert_eq!(
            tracker.update(&[face(88.0, 100.0, 50.0), face(126.0, 100.0, 50.0)], at(198)),
            ids(&[1, 2])
        );
    }

    #[test]
    fn one_track_goes_to_one_face_of_a_frame() {
        let mut tracker = Tracker::new();
        assert_eq!(tracker.update(&[face(100.0, 100.0, 50.0)], at(0)), ids(&[1]));
        let both_near = [face(112.0, 100.0, 50.0), face(92.0, 100.0, 50.0)];
        assert_eq!(
            tracker.update(&both_near, at(66)),
            ids(&[2, 1]),
            "the better fit, though it comes second"
        );
    }

    #[test]
    fn a_lean_towards_the_camera_keeps_the_id() {
        let mut tracker = Tracker::new();
        assert_eq!(tracker.update(&[face(100.0, 100.0, 50.0)], at(0)), ids(&[1]));
        assert_eq!(
            tracker.update(&[face(105.0, 100.0, 90.0)], at(66)),
            ids(&[1]),
            "boxes overlap by a third"
        );
    }

    #[test]
    fn people_who_cross_never_share_a_track() {
        for speed in [8.0, 15.0, 23.0, 37.0] {
            let frames: Vec<_> = (0..40)
                .map(|i| {
                    let x = 20.0 + speed * i as f32;
                    vec![(1, face(x, 100.0, 60.0)), (2, face(400.0 - x, 104.0, 56.0))]
                })
                .collect();
            let followed = follow(&frames);
            assert_no_track_shows_two_people(&followed);
            let tracks: HashSet<_> = followed.iter().flatten().map(|&(_, id)| id).collect();
            assert!(tracks.len() <= 4, "each person has at most one track before and one after: {tracks:?}");
        }
    }

    #[test]
    fn one_who_is_hidden_behind_the_other_comes_out_with_no_borrowed_track() {
        let frames: Vec<_> = (0..40)
            .map(|i| {
                let x = 20.0 + 10.0 * i as f32;
                let mut faces = vec![(1, face(x, 100.0, 60.0))];
                if (x - (400.0 - x)).abs() > 50.0 {
                    faces.push((2, face(400.0 - x, 104.0, 56.0)));
                }
                faces
            })
            .collect();
        assert_no_track_shows_two_people(&follow(&frames));
    }

    #[test]
    fn people_who_swap_places_between_two_frames_get_new_tracks() {
        let (left, right) = (face(100.0, 100.0, 50.0), face(200.0, 100.0, 50.0));
        let followed =
            follow(&[vec![(1, left), (2, right)], vec![(2, left), (1, right)], vec![(2, left), (1, right)]]);
        let raw: Vec<Vec<u64>> =
            followed.iter().map(|frame| frame.iter().map(|(_, id)| id.0).collect()).collect();
        assert_eq!(raw, [[1, 2], [3, 4], [3, 4]]);
    }

    #[test]
    fn a_face_that_enters_where_another_left_gets_its_own_track() {
        let here = face(100.0, 100.0, 50.0);
        let followed = follow(&[
            vec![(1, here)],
            vec![(1, here)],
            vec![],
            vec![(2, here)],
            vec![(2, here)],
            vec![(1, here)],
        ]);
        let raw: Vec<u64> = followed.iter().flatten().map(|(_, id)| id.0).collect();
        assert_eq!(raw, [1, 1, 2, 2, 3], "nobody gets an ended track back");
        let followed = follow(&[vec![(1, here)], vec![(2, here)], vec![(3, here)], vec![(3, here)]]);
        let raw: Vec<u64> = followed.iter().flatten().map(|(_, id)| id.0).collect();
        assert_eq!(raw, [1, 2, 3, 3], "one after the other");
    }

    #[test]
    fn a_swap_during_looks_too_poor_to_embed_is_noticed_at_the_next_good_one() {
        let mut tracker = Tracker::new();
        let here = [face(100.0, 100.0, 50.0)];
        assert_eq!(tracker.update(&here, at(0)), ids(&[1]));
        assert_eq!(tracker.confirm(TrackId(1), &embedding(1, 0.1)), TrackId(1));
        for frame in 1..100 {
            assert_eq!(tracker.update(&here, at(frame * 66)), ids(&[1]), "not embedded, not confirmed");
        }
        assert_eq!(tracker.confirm(TrackId(1), &embedding(2, 0.1)), TrackId(2));
        assert_eq!(tracker.update(&here, at(6_650)), ids(&[2]));
    }

    #[test]
    fn the_bound_is_on_the_mean_of_what_the_track_has_shown() {
        let turned =
            |cosine: f32| Embedding::normalise(vec![cosine, (1.0 - cosine * cosine).sqrt()]).unwrap();
        for (cosine, same) in [(1.0, true), (0.5, true), (0.41, true), (0.39, false), (-1.0, false)] {
            let mut tracker = Tracker::new();
            let track = tracker.update(&[face(100.0, 100.0, 50.0)], at(0))[0];
            for _ in 0..10 {
                assert_eq!(tracker.confirm(track, &turned(1.0)), track);
            }
            assert_eq!(tracker.confirm(track, &turned(cosine)) == track, same, "cosine {cosine}");
        }
    }

    #[test]
    fn a_slow_turn_of_the_head_keeps_the_id() {
        let mut tracker = Tracker::new();
        let track = tracker.update(&[face(100.0, 100.0, 50.0)], at(0))[0];
        for step in 0..=40 {
            let angle = (step as f32 * 2.0).to_radians();
            let look = Embedding::normalise(vec![angle.cos(), angle.sin()]).unwrap();
            assert_eq!(tracker.confirm(track, &look), track, "{step}");
        }
    }

    #[test]
    fn one_odd_look_does_not_become_what_the_next_is_held_against() {
        let mut tracker = Tracker::new();
        let track = tracker.update(&[face(100.0, 100.0, 50.0)], at(0))[0];
        for degrees in [0.0, 0.0, 0.0, 0.0, 60.0, -30.0, 0.0] {
            let angle = f32::to_radians(degrees);
            let look = Embedding::normalise(vec![angle.cos(), angle.sin()]).unwrap();
            assert_eq!(tracker.confirm(track, &look), track, "{degrees} degrees from the first");
        }
    }

    #[test]
    fn an_embedding_of_another_length_is_somebody_else() {
        let mut tracker = Tracker::new();
        let track = tracker.update(&[face(100.0, 100.0, 50.0)], at(0))[0];
        assert_eq!(tracker.confirm(track, &Embedding::normalise(vec![1.0, 0.0]).unwrap()), track);
        assert_ne!(tracker.confirm(track, &Embedding::normalise(vec![1.0, 0.0, 0.0]).unwrap()), track);
    }

    #[test]
    fn an_ended_track_confirms_nobody() {
        let mut tracker = Tracker::new();
        let ended = tracker.update(&[face(100.0, 100.0, 50.0)], at(0))[0];
        assert_eq!(tracker.confirm(ended, &embedding(1, 0.1)), ended);
        assert_eq!(tracker.update(&[], at(5_000)), []);
        assert_eq!(tracker.confirm(ended, &embedding(1, 0.1)), TrackId(2));
        assert_eq!(
            tracker.update(&[face(100.0, 100.0, 50.0)], at(5_066)),
            ids(&[3]),
            "ids are never used again"
        );
    }

    #[test]
    fn a_crowd_keeps_its_ids_and_memory_is_bounded() {
        let mut tracker = Tracker::new();
        let crowd = |shift: f32| -> Vec<Face> {
            (0..100)
                .map(|i| face(30.0 + (i % 10) as f32 * 60.0 + shift, 30.0 + (i / 10) as f32 * 60.0, 40.0))
                .collect()
        };
        let first = tracker.update(&crowd(0.0), at(0));
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), 100);
        for frame in 1..20 {
            assert_eq!(tracker.update(&crowd(frame as f32 * 3.0), at(frame * 66)), first, "frame {frame}");
        }
        for frame in 20..2_000 {
            let strays = [face((frame * 997 % 5_000) as f32, (frame * 499 % 5_000) as f32, 30.0)];
            assert_eq!(tracker.update(&strays, at(frame * 66)).len(), 1);
        }
        assert!(tracker.tracks.len() <= 8, "{} tracks live", tracker.tracks.len());
    }

    #[test]
    fn boxes_that_are_no_boxes_harm_nobody() {
        let mut tracker = Tracker::new();
        let bad = [face(f32::NAN, 100.0, 50.0), face(100.0, 100.0, 0.0), face(f32::INFINITY, 0.0, 50.0)];
        for frame in 0..10 {
            let faces: Vec<Face> = bad.into_iter().chain([face(100.0, 100.0, 50.0)]).collect();
            let given = tracker.update(&faces, at(frame * 66));
            assert_eq!(given.iter().collect::<HashSet<_>>().len(), 4);
            assert_eq!(given[3], TrackId(4), "the good one is followed all the same");
        }
    }
}
