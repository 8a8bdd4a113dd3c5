//! PURE. Several faces in view: which of them may be let in by this frame.
//!
//! Stands before the attempts, which gather looks track by track and know nothing of each other: for each look of a frame it
//! says whether, by the door's rule for company, the look may count towards a grant.

use serde::{Deserialize, Serialize};

use super::Look;

/// A face at least this large a part of the nearest is as near: two people side by side.
const AS_NEAR: f32 = 0.8;
/// A face at least this large a part of another keeps it company; who passes far behind does not.
const COMPANY: f32 = 0.5;

/// Who is let in when several faces are in view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Several {
    /// Whoever is nearest, and who is about as near: who stands behind a stranger lets nobody in.
    #[default]
    Nearest,
    /// Nobody, until one is alone.
    Refuse,
    /// Everybody for themselves.
    Each,
}

impl Several {
    /// For each look of one frame whether it may count towards a grant. A size that is not a number is nobody's company,
    /// and counts itself only where company does not matter.
    pub(super) fn clear(self, looks: &[Look]) -> Vec<bool> {
        let nearest = looks.iter().map(|look| look.size_px).fold(0.0, f32::max);
        let others =
            |at: usize| looks.iter().enumerate().filter(move |(i, _)| *i != at).map(|(_, look)| look);
        let judge = |(at, look): (usize, &Look)| match self {
            Self::Each => true,
            Self::Nearest => looks.len() == 1 || look.size_px >= AS_NEAR * nearest,
            Self::Refuse => {
                looks.len() == 1
                    || look.size_px.is_finite()
                        && others(at)
                            .all(|other| other.size_px.is_nan() || other.size_px < COMPANY * look.size_px)
            }
        };
        looks.iter().enumerate().map(judge).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Attempts, LookOutcome, Proof, RefusalReason, Rule, Verdict};
    use crate::clock::MonoTime;
    use crate::encoder::Score;
    use crate::gallery::{Candidate, Match, PersonId};
    use crate::liveness::signs::Signs;
    use crate::vision::tracks::TrackId;

    fn clear(several: Several, sizes: &[f32]) -> String {
        let looks: Vec<Look> = sizes
            .iter()
            .zip(0..)
            .map(|(&size_px, track)| Look {
                track: TrackId(track),
                seq: 1,
                captured: MonoTime::from_millis(1),
                size_px,
                outcome: LookOutcome::InView,
                proof: Proof::Off,
                signs: Signs::default(),
                yaw_deg: 0.0,
            })
            .collect();
        several.clear(&looks).into_iter().map(|clear| if clear { 'y' } else { '-' }).collect()
    }

    #[test]
    fn each_word_lets_these_faces_count() {
        let nan = f32::NAN;
        for (sizes, nearest, refuse, each) in [
            (&[100.0][..], "y", "y", "y"),
            (&[nan], "y", "y", "y"),
            (&[100.0, 99.0], "yy", "--", "yy"),
            (&[100.0, 80.0], "yy", "--", "yy"),
            (&[100.0, 79.0], "y-", "--", "yy"),
            (&[49.0, 100.0], "-y", "-y", "yy"),
            (&[100.0, 50.0, 20.0], "y--", "---", "yyy"),
            (&[100.0, nan], "y-", "y-", "yy"),
            (&[], "", "", ""),
        ] {
            for (several, wanted) in
                [(Several::Nearest, nearest), (Several::Refuse, refuse), (Several::Each, each)]
            {
                assert_eq!(clear(several, sizes), wanted, "{several:?} of {sizes:?}");
            }
        }
    }

    /// Frames at 3 of 5 looks in which Ada (track 1, 50 px) stands behind somebody else (track 2, 100 px): `b` both, `a` Ada alone,
    /// `s` the other alone. Writes what is said of Ada: `G` granted, `N` not nearest, `C` not alone.
    fn play(several: Several, frames: &str) -> String {
        let mut attempts = Attempts::new(Rule { several, ..rule() });
        let candidate = |score| Candidate { person: PersonId(1), name: "Ada".into(), score: Score(score) };
        let matched = |score| LookOutcome::Compared(Some(Match { best: candidate(score), runner_up: None }));
        let mut said = String::new();
        for (seq, frame) in (0..).zip(frames.chars()) {
            let captured = MonoTime::from_millis(1_000 + 66 * seq);
            let look = |track: u64, size_px: f32, score: f32| Look {
                track: TrackId(track),
                seq,
                captured,
                size_px,
                outcome: matched(score),
                proof: Proof::Off,
                signs: Signs::default(),
                yaw_deg: 0.0,
            };
            let looks = match frame {
                'a' => vec![look(1, 50.0, 0.8)],
                's' => vec![look(2, 100.0, 0.2)],
                _ => vec![look(1, 50.0, 0.8), look(2, 100.0, 0.2)],
            };
            let of_ada = attempts.observe(&looks, captured).into_iter().find_map(|verdict| match verdict {
                Verdict::Grant(grant) => Some(if grant.person() == PersonId(1) { 'G' } else { '!' }),
                Verdict::Refuse(RefusalReason::NotNearest, _) => Some('N'),
                Verdict::Refuse(RefusalReason::NotAlone, _) => Some('C'),
                Verdict::Refuse(..) | Verdict::Tell(_) => None,
            });
            said.push(of_ada.unwrap_or(' '));
        }
        said
    }

    fn rule() -> Rule {
        Rule::for_tests(0.5)
    }

    #[test]
    fn somebody_known_behind_a_stranger_opens_the_door_only_where_each_counts() {
        for (several, frames, said) in [
            (Several::Each, "bbbb", "  G "),
            (Several::Nearest, "bbbbbbbb", "  N     "),
            (Several::Refuse, "bbbbbbbb", "  C     "),
            (Several::Nearest, "bbbaaa", "  N  G"),
            (Several::Refuse, "aabba", "  C G"),
            (Several::Nearest, "aaa", "  G"),
        ] {
            assert_eq!(play(several, frames), said, "{several:?}: {frames}");
        }
    }

    #[test]
    fn a_face_in_front_that_is_missed_for_two_frames_lets_nobody_in_behind_it() {
        for several in [Several::Nearest, Several::Refuse] {
            assert!(!play(several, "bbbaabbbaabbb").contains('G'), "{several:?}");
        }
    }
}
