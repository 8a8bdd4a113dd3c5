//! Strangers stay out, on real networks: people who cross before the camera and who take each other's place, put together from
//! public-domain photographs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use accessd::access::{Attempts, Demands, Look, LookOutcome, Proof, Rule, Several, Verdict};
use accessd::clock::{MonoTime, SystemClock};
use accessd::daemon::analyser::FaceAnalyser;
use accessd::daemon::analysis::Analyser;
use accessd::encoder::{Embedding, Score, compare};
use accessd::frame::{Frame, load_image};
use accessd::gallery::{Gallery, PersonId};
use accessd::liveness::signs::Signs;
use accessd::recognition::{Recogniser, RecogniserOptions};
use accessd::vision::quality::QualityGates;
use accessd::vision::tracks::TrackId;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::support::{models_dir, photo};

/// Enrolled.
const KNOWN: usize = 0;
/// Not enrolled.
const STRANGER: usize = 1;
/// Side of a head in the scene, in px.
const HEAD: u32 = 170;

/// Two heads, cut out of their photographs, and what is known of their faces.
struct Cast {
    heads: [RgbImage; 2],
    faces: [Embedding; 2],
    networks: Recogniser,
}

impl Cast {
    fn new() -> Self {
        let mut networks = Recogniser::load(&RecogniserOptions {
            models: models_dir(),
            encoder: "sface".into(),
            device: "cpu".into(),
            detect_px: 320,
            min_face_score: 0.7,
            threads: 1,
        })
        .unwrap();
        let mut head = |name: &str| {
            let picture = load_image(&photo(name)).unwrap();
            let found = networks.find(&picture).unwrap().remove(0);
            let face = networks.embed(&[&found.crop]).unwrap().remove(0);
            let b = found.face.bbox;
            let side = b.w.max(b.h) * 1.3;
            let (x, y) = (b.x + b.w / 2.0 - side / 2.0, b.y + b.h / 2.0 - side / 2.0);
            let cut =
                imageops::crop_imm(&picture, x.max(0.0) as u32, y.max(0.0) as u32, side as u32, side as u32);
            (imageops::resize(&cut.to_image(), HEAD, HEAD, FilterType::Triangle), face)
        };
        let ((a, known), (b, stranger)) = (head("obama.jpg"), head("biden.jpg"));
        Self { heads: [a, b], faces: [known, stranger], networks }
    }

    /// A picture with these heads at these places, the last in front; a little different each time.
    fn scene(&self, seq: u64, places: &[(usize, i64)]) -> RgbImage {
        let mut scene = RgbImage::from_fn(640, 360, |x, y| {
            let noise = (u64::from(x) * 7919 + u64::from(y) * 104_729 + seq * 31) % 5;
            Rgb([110 + noise as u8, 120, 125])
        });
        for &(who, x) in places {
            imageops::replace(&mut scene, &self.heads[who], x, 90 + (seq % 3) as i64);
        }
        scene
    }

    /// Plays a story; who was seen on each track, and who was let in. Only the first is enrolled.
    fn play(&self, story: &[Vec<(usize, i64)>]) -> (BTreeMap<TrackId, BTreeSet<usize>>, Vec<PersonId>) {
        let gates = QualityGates {
            min_eye_distance_px: 20.0,
            min_sharpness: 0.0,
            min_light: 0.0,
            max_light: 255.0,
            max_yaw_deg: 90.0,
            max_pitch_deg: 90.0,
        };
        let template = (PersonId(1), Arc::from("known"), self.faces[KNOWN].clone());
        let gallery = Gallery::new(self.networks.model().clone(), 1, vec![template]);
        let mut analyser = FaceAnalyser::new(self.networks.clone(), gates, Arc::new(SystemClock));
        let mut attempts = Attempts::new(Rule {
            threshold: Score(0.47),
            margin: 0.08,
            alike_margin: 0.16,
            frames_needed: 3,
            frames_window: 5,
            max_frame_age: Duration::from_millis(500),
            regrant_after: Duration::from_secs(10),
            several: Several::Each,
            supported: true,
            demands: Demands::default(),
        });
        let (mut owners, mut let_in) = (BTreeMap::<_, BTreeSet<usize>>::new(), Vec::new());
        for (seq, places) in (0..).zip(story) {
            let captured = MonoTime::from_millis(10_000 + 66 * seq);
            let frame = Frame { seq, captured, image: self.scene(seq, places) };
            let seen = analyser.analyse(&frame, &gallery).unwrap();
            let mut looks = Vec::new();
            for face in &seen.faces {
                assert!(!face.repeated, "frame {seq}");
                let Some(embedding) = &face.embedding else { continue };
                let like = |who: usize| compare(embedding, &self.faces[who]).score.0;
                let who = if like(KNOWN) > like(STRANGER) { KNOWN } else { STRANGER };
                // Whose a face is that is half covered by another nobody can say.
                if like(who) > 0.5 {
                    owners.entry(face.track).or_default().insert(who);
                }
                looks.push(Look {
                    track: face.track,
                    seq,
                    captured,
                    size_px: face.face.bbox.w,
                    outcome: LookOutcome::Compared(face.matched.clone()),
                    proof: Proof::Off,
                    signs: Signs::default(),
                    yaw_deg: 0.0,
                });
            }
            for verdict in attempts.observe(&looks, captured) {
                if let Verdict::Grant(grant) = verdict {
                    let_in.push(grant.person());
                }
            }
        }
        (owners, let_in)
    }
}

/// Both cross the picture, one in front of the other.
fn crossing(front: usize) -> Vec<Vec<(usize, i64)>> {
    let place = |i: i64| 20 + i * 18;
    let back = 1 - front;
    (0..25).map(|i| vec![(back, place(24 - i)), (front, place(i))]).collect()
}

#[test]
fn net_faces_that_cross_never_share_a_track() {
    let cast = Cast::new();
    assert!(compare(&cast.faces[KNOWN], &cast.faces[STRANGER]).score.0 < 0.3, "two people");
    for front in [KNOWN, STRANGER] {
        let (owners, let_in) = cast.play(&crossing(front));
        assert!(
            owners.values().any(|who| who.contains(&KNOWN))
                && owners.values().any(|who| who.contains(&STRANGER))
        );
        for (track, who) in &owners {
            assert_eq!(
                who.len(),
                1,
                "track {track:?} went from one to the other, {front} in front: {owners:?}"
            );
        }
        assert_eq!(let_in, [PersonId(1)], "the one who is enrolled, once");
    }
}

#[test]
fn net_who_takes_the_place_of_somebody_known_is_not_let_in_on_their_looks() {
    let cast = Cast::new();
    // Two frames of the one, two of the other, at one place: no track changes hands, so three looks never come together.
    let turns: Vec<_> = (0..32).map(|i| vec![(if i / 2 % 2 == 0 { KNOWN } else { STRANGER }, 230)]).collect();
    let (owners, let_in) = cast.play(&turns);
    assert!(owners.len() >= 16, "each change begins a track: {owners:?}");
    assert!(owners.values().all(|who| who.len() == 1), "{owners:?}");
    assert!(let_in.is_empty(), "{let_in:?}");
    // And the same head, standing there, is let in.
    let (_, let_in) = cast.play(&vec![vec![(KNOWN, 230)]; 4]);
    assert_eq!(let_in.len(), 1);
    let (_, let_in) = cast.play(&vec![vec![(STRANGER, 230)]; 12]);
    assert!(let_in.is_empty());
}
