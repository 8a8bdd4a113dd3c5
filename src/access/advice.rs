//! PURE. What the person at the door should do, when their face cannot be judged as it is shown.
//!
//! Looks at the same frames as the attempts, and at the nearest face alone: who stands in front is whom the lamp speaks to. A
//! word is said after the face has been unusable for [`AFTER`], so that a blink of the camera says nothing, and stays for a
//! moment, so that it can be read. It decides nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Look, LookOutcome, Several};
use crate::clock::MonoTime;
use crate::vision::quality::QualityIssue;
use crate::vision::tracks::TrackId;

/// A face that has been unusable for so long is told why.
const AFTER: Duration = Duration::from_millis(600);
/// A word stays for so long after the last look that called for it.
const STAYS: Duration = Duration::from_millis(1_000);
/// Who has been told something for so long is not let in for that reason: it is written down.
const WRITTEN_AFTER: Duration = Duration::from_secs(2);
/// From one such entry to the next: a face on a poster must not fill the journal.
const WRITTEN_EVERY: Duration = Duration::from_secs(30);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Come closer.
    Closer,
    /// Turn the face to the camera.
    LookHere,
    /// Stand still.
    HoldStill,
    /// More light on the face.
    TooDark,
    /// Less light on the face.
    TooBright,
    /// One person alone.
    OneAtATime,
}

impl Advice {
    /// As a display would say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closer => "closer",
            Self::LookHere => "look here",
            Self::HoldStill => "hold still",
            Self::TooDark => "too dark",
            Self::TooBright => "too bright",
            Self::OneAtATime => "one at a time",
        }
    }

    /// As a lamp says it: so many blinks, and a pause.
    pub fn blinks(self) -> u32 {
        match self {
            Self::Closer => 1,
            Self::LookHere => 2,
            Self::HoldStill => 3,
            Self::TooDark | Self::TooBright => 4,
            Self::OneAtATime => 5,
        }
    }
}

impl From<QualityIssue> for Advice {
    fn from(issue: QualityIssue) -> Self {
        match issue {
            QualityIssue::TooSmall => Self::Closer,
            QualityIssue::Blurred => Self::HoldStill,
            QualityIssue::TooDark => Self::TooDark,
            QualityIssue::TooBright => Self::TooBright,
            QualityIssue::TurnedAway => Self::LookHere,
        }
    }
}

/// What is wrong with the nearest face.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    track: TrackId,
    advice: Advice,
    since: MonoTime,
    last: MonoTime,
}

/// Follows the nearest face and knows what to tell its owner.
#[derive(Clone, Debug, Default)]
pub struct Adviser {
    wrong: Option<Wrong>,
    written: Option<MonoTime>,
}

impl Adviser {
    /// Takes what one frame showed. Returns what is to be written down, now and then: that the person of this track has been
    /// told the same for a while. Not for faces that are merely far away, which pass by all day.
    pub fn see(&mut self, looks: &[Look], several: Several, now: MonoTime) -> Option<(TrackId, Advice)> {
        let clear = several.clear(looks);
        let (look, clear) =
            looks.iter().zip(clear).max_by(|(a, _), (b, _)| a.size_px.total_cmp(&b.size_px))?;
        let advice = match look.outcome {
            LookOutcome::Unusable(issue) => Advice::from(issue),
            LookOutcome::Compared(_) if several == Several::Refuse && !clear => Advice::OneAtATime,
            LookOutcome::Compared(_) => {
                self.wrong = None;
                return None;
            }
            LookOutcome::InView => return None,
        };
        let before = self.wrong.filter(|wrong| wrong.track == look.track && now.since(wrong.last) < STAYS);
        let since = before.map_or(now, |wrong| wrong.since);
        self.wrong = Some(Wrong { track: look.track, advice, since, last: now });
        let due = self.written.is_none_or(|written| now.since(written) >= WRITTEN_EVERY);
        if advice == Advice::Closer || now.since(since) < WRITTEN_AFTER || !due {
            return None;
        }
        self.written = Some(now);
        Some((look.track, advice))
    }

    /// What the person should do.
    pub fn at(&self, now: MonoTime) -> Option<Advice> {
        let wrong = self.wrong.filter(|wrong| now.since(wrong.last) < STAYS)?;
        (wrong.last.since(wrong.since) >= AFTER).then_some(wrong.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Proof;
    use crate::liveness::signs::Signs;

    fn look(track: u64, size_px: f32, outcome: LookOutcome) -> Look {
        Look {
            track: TrackId(track),
            seq: 1,
            captured: MonoTime::from_millis(1),
            size_px,
            outcome,
            proof: Proof::Off,
            signs: Signs::default(),
            yaw_deg: 0.0,
        }
    }

    /// Shows one face a frame each 200 ms (`d` dark, `t` turned, `s` small, `g` good, `-` nobody) and writes what is said after
    /// each, by its blinks.
    fn play(faces: &str) -> String {
        let mut adviser = Adviser::default();
        let mut said = String::new();
        for (i, face) in (0..).zip(faces.chars()) {
            let now = MonoTime::from_millis(1_000 + 200 * i);
            let outcome = match face {
                'd' => Some(LookOutcome::Unusable(QualityIssue::TooDark)),
                't' => Some(LookOutcome::Unusable(QualityIssue::TurnedAway)),
                's' => Some(LookOutcome::Unusable(QualityIssue::TooSmall)),
                'g' => Some(LookOutcome::Compared(None)),
                _ => None,
            };
            let looks: Vec<Look> = outcome.into_iter().map(|outcome| look(1, 50.0, outcome)).collect();
            let _ = adviser.see(&looks, Several::Nearest, now);
            said.push(adviser.at(now).map_or(' ', |advice| char::from_digit(advice.blinks(), 10).unwrap()));
        }
        said
    }

    #[test]
    fn who_shows_a_face_that_cannot_be_judged_is_told_what_to_do() {
        for (story, faces, said) in [
            ("in the dark", "dddddd", "   444"),
            ("looks away and then here", "tttttgg", "   22  "),
            ("far away", "sssss", "   11"),
            ("one bad frame", "gdggdg", "      "),
            ("turned, then in the dark: the newest word", "ttttdd", "   244"),
            ("walks off: the word stays for a moment", "dddd------", "   44444  "),
            ("gone for a while: from the beginning", "dddd------dddd", "   44444     4"),
        ] {
            assert_eq!(play(faces), said, "{story}");
        }
    }

    #[test]
    fn the_nearest_is_told_and_company_where_it_matters() {
        let dark = LookOutcome::Unusable(QualityIssue::TooDark);
        let told = |several: Several, front: LookOutcome| {
            let mut adviser = Adviser::default();
            for i in 0..5 {
                let looks = [look(1, 60.0, dark.clone()), look(2, 100.0, front.clone())];
                let _ = adviser.see(&looks, several, MonoTime::from_millis(200 * i));
            }
            adviser.at(MonoTime::from_millis(800))
        };
        assert_eq!(
            told(Several::Nearest, LookOutcome::Compared(None)),
            None,
            "who stands behind is not spoken to"
        );
        assert_eq!(told(Several::Refuse, LookOutcome::Compared(None)), Some(Advice::OneAtATime));
        let turned = LookOutcome::Unusable(QualityIssue::TurnedAway);
        assert_eq!(told(Several::Each, turned), Some(Advice::LookHere));
    }

    #[test]
    fn what_keeps_somebody_out_is_written_down_now_and_then() {
        let written = |issue: QualityIssue, seconds: u64| {
            let mut adviser = Adviser::default();
            let see = |i: u64| {
                let looks = [look(7, 50.0, LookOutcome::Unusable(issue))];
                adviser.see(&looks, Several::Nearest, MonoTime::from_millis(100 * i))
            };
            (0..seconds * 10).filter_map(see).collect::<Vec<_>>()
        };
        assert_eq!(written(QualityIssue::TooDark, 2), []);
        assert_eq!(written(QualityIssue::TooDark, 3), [(TrackId(7), Advice::TooDark)]);
        assert_eq!(written(QualityIssue::TooDark, 65).len(), 3);
        assert_eq!(written(QualityIssue::TooSmall, 65), [], "passers-by");
    }
}
