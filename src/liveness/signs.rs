//! What a track has shown so far that tells a face from a picture of one: plain counts, gathered by vision and weighed by
//! `access`. Each only denies, or is only asked for; none lets anybody in.

use serde::{Deserialize, Serialize};

/// So many places around a face must have gone along with it, and
const CARRIED_AT_LEAST: u32 = 8;
/// this share of all places that told anything, before it is a picture that somebody moves. Measured, see
/// `docs/liveness.md`: with living people at most 0.14, with prints in a hand at least 0.27.
pub const CARRIED_SHARE: f64 = 0.25;
/// From so many and such a share on it is not clear yet: the door waits until it is.
const UNCLEAR: (u32, f64) = (6, 0.15);

/// The counts of one track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signs {
    /// Places around the face that moved along with it, as what is on the same sheet or screen does.
    pub carried: u32,
    /// Places around the face that stayed where they were while it moved, as what is behind a person does.
    pub stood: u32,
    /// Whether the face has moved at all.
    pub stirred: bool,
    /// How often both eyes closed and opened again.
    pub blinks: u32,
    /// Whether a second camera saw the face as well, at this look.
    #[serde(skip_serializing_if = "Second::is_off")]
    pub second: Second,
}

/// What a second camera says of a face that the door's own sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Second {
    /// There is none, or it is lost and may be missed.
    #[default]
    Off,
    /// A face is there too.
    Seen,
    /// No face is there.
    Missing,
    /// It has no picture of this moment.
    Lost,
}

impl Second {
    fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

impl Signs {
    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the face brings its surroundings along: a picture that somebody moves.
    pub fn is_carried(self) -> bool {
        self.carried >= CARRIED_AT_LEAST && f64::from(self.carried) >= CARRIED_SHARE * f64::from(self.told())
    }

    /// Whether too much goes along with the face for a person, and too little for a picture.
    pub fn is_unclear(self) -> bool {
        let (least, share) = UNCLEAR;
        !self.is_carried()
            && self.carried >= least
            && f64::from(self.carried) >= share * f64::from(self.told())
    }

    /// The share of places that went along with the face, of all that told anything; 0 where none did.
    pub fn carried_share(self) -> f64 {
        f64::from(self.carried) / f64::from(self.told()).max(1.0)
    }

    /// How many places told anything.
    pub fn told(self) -> u32 {
        self.carried.saturating_add(self.stood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_carried_a_person_is_not_and_a_few_votes_say_nothing() {
        for (carried, stood, is_carried, is_unclear) in [
            (0, 0, false, false),
            (5, 0, false, false),
            (6, 0, false, true),
            (8, 0, true, false),
            (8, 24, true, false),
            (8, 25, false, true),
            (8, 46, false, false),
            (7, 143, false, false),
            (0, 200, false, false),
            (59, 4, true, false),
        ] {
            let signs = Signs { carried, stood, ..Signs::default() };
            assert_eq!((signs.is_carried(), signs.is_unclear()), (is_carried, is_unclear), "{signs:?}");
        }
    }
}
