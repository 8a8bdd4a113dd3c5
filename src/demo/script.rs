//! Who walks up to the demo's door, and when: the one list that the clip is drawn from and the outcome judged by.

use std::ops::Range;

/// Pictures a second of the clip.
pub const FPS: u32 = 10;

/// Frames of one walk up to the door.
const WALK: u64 = 38;

/// Frames with nobody in view before each walk and after the last: longer than what is left of a strike pulse.
const PAUSE: u64 = 20;

/// The person the demo enrols, and the photograph it enrols from.
pub const ENROLLED: (&str, &str) = ("Barack Obama", "obama.jpg");

/// A photograph and where its face is, in fractions of the picture's width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Photo {
    /// File name in the folder of photographs.
    pub file: &'static str,
    /// Middle of the face.
    pub middle: (f32, f32),
    /// Width and height of the face, forehead to chin.
    pub size: (f32, f32),
}

/// Where in the picture somebody stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the middle.
    Middle,
    /// Half out of the picture to the left.
    LeftEdge,
    /// Half out of the picture to the right.
    RightEdge,
}

/// One walk up to the door.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Appearance {
    /// Who.
    pub person: &'static str,
    /// The photograph they are drawn from.
    pub photo: Photo,
    /// Where they stand.
    pub place: Place,
    /// Brightness of the scene as they come and as they go; 1 is the photograph's.
    pub light: (f32, f32),
    /// Standard deviation of the sensor's noise in grey levels of 255.
    pub noise: f32,
    /// First frame in which they are in view.
    pub begins: u64,
    /// For the reader of the outcome.
    pub note: &'static str,
}

impl Appearance {
    /// The frames they are in view.
    pub fn frames(&self) -> Range<u64> {
        self.begins..self.begins + WALK
    }

    /// Whether the door must open.
    pub fn is_enrolled(&self) -> bool {
        self.person == ENROLLED.0
    }

    /// How far `frame` is into the walk, 0 to 1.
    pub fn progress(&self, frame: u64) -> f32 {
        frame.saturating_sub(self.begins) as f32 / (WALK - 1) as f32
    }
}

const BIDEN: Photo = Photo { file: "biden.jpg", middle: (0.592, 0.168), size: (0.311, 0.176) };
const COLLINS: Photo = Photo { file: "astronaut.png", middle: (0.438, 0.232), size: (0.176, 0.220) };
const OBAMA_SPEAKING: Photo = Photo { file: "obama2.jpg", middle: (0.541, 0.360), size: (0.421, 0.338) };
const OBAMA_STANDING: Photo = Photo { file: "obama3.jpg", middle: (0.540, 0.187), size: (0.198, 0.151) };
const OBAMA_CUT_LEFT: Photo =
    Photo { file: "obama_partial_face.jpg", middle: (0.185, 0.220), size: (0.412, 0.266) };
const OBAMA_CUT_RIGHT: Photo =
    Photo { file: "obama_partial_face2.jpg", middle: (0.845, 0.223), size: (0.354, 0.283) };

/// Everybody, in order of appearance.
pub fn script() -> Vec<Appearance> {
    use Place::{LeftEdge, Middle, RightEdge};
    let cast = [
        ("Joe Biden", BIDEN, Middle, (0.85, 1.05), 4.0, "a stranger"),
        (ENROLLED.0, OBAMA_SPEAKING, Middle, (1.05, 0.8), 4.0, "another photograph, speaking"),
        ("Eileen Collins", COLLINS, Middle, (0.7, 1.0), 5.0, "a stranger"),
        (ENROLLED.0, OBAMA_STANDING, Middle, (0.65, 1.1), 6.0, "another photograph, against the light"),
        ("Joe Biden", BIDEN, Middle, (1.2, 0.7), 8.0, "a stranger, back again in failing light"),
        (
            ENROLLED.0,
            OBAMA_CUT_LEFT,
            LeftEdge,
            (0.9, 1.0),
            4.0,
            "cut from the enrolment photograph, half out of view",
        ),
        ("Eileen Collins", COLLINS, Middle, (1.15, 0.9), 8.0, "a stranger, back again"),
        (
            ENROLLED.0,
            OBAMA_CUT_RIGHT,
            RightEdge,
            (1.0, 0.75),
            6.0,
            "cut from the enrolment photograph, half out of view",
        ),
    ];
    let begins = (0..).map(|number| PAUSE + number * (WALK + PAUSE));
    let appear = |(begins, (person, photo, place, light, noise, note))| Appearance {
        person,
        photo,
        place,
        light,
        noise,
        begins,
        note,
    };
    begins.zip(cast).map(appear).collect()
}

/// How many frames the clip has.
pub fn length(script: &[Appearance]) -> u64 {
    script.last().map_or(0, |last| last.frames().end) + PAUSE
}

/// Who is in view in a frame; nobody between two walks.
pub fn in_view(script: &[Appearance], frame: u64) -> Option<&Appearance> {
    script.iter().find(|appearance| appearance.frames().contains(&frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_follow_one_another_with_nobody_in_view_between() {
        let script = script();
        for pair in script.windows(2) {
            assert_eq!(pair[1].frames().start - pair[0].frames().end, PAUSE);
        }
        assert_eq!(in_view(&script, 0), None);
        assert_eq!(in_view(&script, PAUSE), Some(&script[0]));
        assert_eq!(in_view(&script, PAUSE + WALK), None);
        assert_eq!(in_view(&script, length(&script) - 1), None);
        assert_eq!(
            (script[1].progress(script[1].begins), script[1].progress(script[1].frames().end - 1)),
            (0.0, 1.0)
        );
    }

    #[test]
    fn the_enrolled_person_and_strangers_take_turns() {
        let script = script();
        assert!(script.windows(2).all(|pair| pair[0].is_enrolled() != pair[1].is_enrolled()));
        assert!(
            script.iter().all(|a| a.photo.file != ENROLLED.1),
            "nobody walks up as the enrolment photograph"
        );
    }
}
