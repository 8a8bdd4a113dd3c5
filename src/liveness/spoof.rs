//! What was shown of a door by trying it: living people and pictures of them were held up to it, and counted ([`Tally`]), under
//! these settings and no others ([`Settings`]). PURE. `accessd spoof-test` gathers it, the journal keeps it, `accessd status`
//! tells it ([`Shown`]).
//!
//! Terms of ISO/IEC 30107-3: what is held up is a presentation, bona fide or of a presentation attack instrument; each kind of
//! instrument is a species and counts for itself. What is counted is the whole door: a presentation is accepted when the door
//! would have opened.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::encoder::ModelId;

/// Kinds of presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Species {
    /// A living person who is enrolled: bona fide.
    Live,
    /// A print on paper.
    Print,
    /// A picture or film on a phone.
    Phone,
    /// A picture or film on a larger screen.
    Screen,
}

impl Species {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Live, Self::Print, Self::Phone, Self::Screen];

    /// The attacks among them.
    pub const ATTACKS: [Self; 3] = [Self::Print, Self::Phone, Self::Screen];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Print => "print",
            Self::Phone => "phone",
            Self::Screen => "screen",
        }
    }
}

impl FromStr for Species {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|species| species.as_str() == word);
        found.ok_or_else(|| format!("{word:?} is no species; known are {known}"))
    }
}

/// What came of a presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The door would have opened.
    Accepted,
    /// Recognised, and taken for a picture.
    Picture,
    /// Recognised, and not let in for another reason: watched in vain, too late, in company.
    Held,
    /// A face, recognised as nobody: it says nothing of liveness.
    Unrecognised,
    /// No face was found.
    NoFace,
}

impl Outcome {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Accepted => "the door would have opened",
            Self::Picture => "taken for a picture",
            Self::Held => "recognised, not let in",
            Self::Unrecognised => "not recognised as anybody enrolled",
            Self::NoFace => "no face was found",
        }
    }
}

/// Presentations of one species by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// The door would have opened.
    pub accepted: u64,
    /// Recognised, and taken for a picture.
    pub picture: u64,
    /// Recognised, and not let in for another reason.
    pub held: u64,
    /// Recognised as nobody.
    pub unrecognised: u64,
    /// No face was found.
    pub no_face: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Accepted => &mut self.accepted,
            Outcome::Picture => &mut self.picture,
            Outcome::Held => &mut self.held,
            Outcome::Unrecognised => &mut self.unrecognised,
            Outcome::NoFace => &mut self.no_face,
        } += 1;
    }

    /// All together.
    pub fn presented(self) -> u64 {
        self.recognised() + self.unrecognised + self.no_face
    }

    /// Those that showed somebody whom the door knows. What is not recognised opens nothing whether it is alive or not, and
    /// shows nothing.
    pub fn recognised(self) -> u64 {
        self.accepted + self.picture + self.held
    }

    /// Share of the recognised that the door would have opened for, with its exact 95 % interval.
    pub fn accepts(self) -> (f64, (f64, f64)) {
        share(self.accepted, self.recognised())
    }

    /// Share of the recognised that were taken for pictures: of living people the BPCER.
    pub fn taken_for_pictures(self) -> (f64, (f64, f64)) {
        share(self.picture, self.recognised())
    }

    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.picture += other.picture;
        self.held += other.held;
        self.unrecognised += other.unrecognised;
        self.no_face += other.no_face;
    }
}

fn share(of: u64, all: u64) -> (f64, (f64, f64)) {
    (of as f64 / all as f64, exact95(of, all))
}

/// The exact interval for a share of which `hits` of `trials` were seen, two-sided at 95 % (Clopper and Pearson 1934): the
/// rates at which as many, or as few, would be seen in at least 2.5 % of such tests. Without trials anything is possible.
pub fn exact95(hits: u64, trials: u64) -> (f64, f64) {
    /// Of each side.
    const TAIL: f64 = 0.025;
    if trials == 0 {
        return (0.0, 1.0);
    }
    let low = match hits {
        0 => 0.0,
        _ => root(|rate| 1.0 - at_most(hits - 1, trials, rate) >= TAIL),
    };
    let high = if hits >= trials { 1.0 } else { root(|rate| at_most(hits, trials, rate) < TAIL) };
    (low, high)
}

/// The rate from which `is_beyond` holds, by bisection: it must hold from some rate on.
fn root(is_beyond: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if is_beyond(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    0.5 * (low + high)
}

/// Probability of at most `hits` hits in `trials` trials at this rate.
fn at_most(hits: u64, trials: u64, rate: f64) -> f64 {
    let (hit, miss) = (rate.ln(), (-rate).ln_1p());
    // The logarithm of the binomial coefficient grows from term to term.
    let mut ways = 0.0;
    let mut sum = 0.0;
    for i in 0..=hits {
        sum += (ways + i as f64 * hit + (trials - i) as f64 * miss).exp();
        ways += ((trials - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    sum.min(1.0)
}

/// What a test holds for. Where any of it changes, it was shown for another door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The camera as configured.
    pub camera: String,
    /// The second camera, and how it is used; `None` without one.
    #[serde(default)]
    pub second: Option<String>,
    /// The encoder.
    pub encoder: ModelId,
    /// The liveness networks that were asked.
    pub networks: Vec<ModelId>,
    /// From which score on they take a face for alive; `None` without any.
    pub alive_from: Option<f32>,
    /// How long a face is watched, in ms.
    pub watch_ms: u64,
    /// What a face is asked to do, in words; `None` when nothing.
    pub challenge: Option<String>,
    /// `3 of 5`: how many looks must agree.
    pub looks: String,
    /// Who is let in when several faces are in view.
    pub several: String,
    /// The score from which a look names somebody. It follows from who is enrolled; a stricter one lets in no more pictures than
    /// this one did.
    pub threshold: f32,
}

impl Settings {
    /// What is other than it was in the test; nothing when the test still holds.
    pub fn changed(&self, now: &Self) -> Vec<&'static str> {
        /// Thresholds are a thousandth apart.
        const STRICTER: f32 = -5e-4;
        let changes = [
            ("camera", self.camera != now.camera),
            ("second camera", self.second != now.second),
            ("encoder", self.encoder != now.encoder),
            ("liveness networks", self.networks != now.networks || self.alive_from != now.alive_from),
            ("liveness settings", (self.watch_ms, &self.challenge) != (now.watch_ms, &now.challenge)),
            ("looks that must agree", (&self.looks, &self.several) != (&now.looks, &now.several)),
            ("a lower threshold", now.threshold - self.threshold < STRICTER),
        ];
        changes.into_iter().filter(|(_, is_other)| *is_other).map(|(what, _)| what).collect()
    }
}

/// What one test counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// By species; what was not tried is not there.
    pub species: BTreeMap<Species, Tally>,
    /// What it holds for.
    pub settings: Settings,
}

/// What has been shown of a door as it is set now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// In words, as `accessd status` tells it.
    pub text: String,
    /// By species, all tests that hold together.
    pub species: BTreeMap<Species, Tally>,
    /// When the last of them was made.
    pub measured: Option<Timestamp>,
    /// Where only tests of other settings are known: what has changed since the last one.
    pub changed: Vec<String>,
}

impl Shown {
    /// What these tests, oldest first, show of a door with the settings of `now`. All that hold count together, so that a test
    /// which went badly is not forgotten for one that went well.
    pub fn of(tests: &[(Timestamp, Report)], now: &Settings) -> Self {
        let mut shown = Self::default();
        for (at, test) in tests.iter().filter(|(_, test)| test.settings.changed(now).is_empty()) {
            for (species, tally) in &test.species {
                shown.species.entry(*species).or_default().add(*tally);
            }
            shown.measured = Some(*at);
        }
        if shown.measured.is_none()
            && let Some((at, last)) = tests.last()
        {
            let changed = last.settings.changed(now);
            shown.text = format!(
                "{PROOF}: not shown; on {} for other settings ({}): {}",
                day(*at),
                changed.join(", "),
                told(&last.species)
            );
            shown.changed = changed.into_iter().map(str::to_owned).collect();
            return shown;
        }
        shown.text = match shown.measured {
            Some(at) => format!("{PROOF}: {}; measured {}", told(&shown.species), day(at)),
            None => format!("{PROOF}: not shown"),
        };
        shown
    }

    /// Whether it was shown of every attack that people at hand can make that it is mostly kept out.
    pub fn is_shown(&self) -> bool {
        let shown = |species| self.species.get(&species).is_some_and(|tally| tally.recognised() > 0);
        Species::ATTACKS.into_iter().all(shown)
    }
}

/// What it is called.
const PROOF: &str = "photo-proof";

/// `print 0 of 30 passed (≤ 11.6 %), phone: not shown, screen: not shown; live 28 of 30 let in`
fn told(species: &BTreeMap<Species, Tally>) -> String {
    let attack = |species: Species, tally: Option<&Tally>| {
        let word = species.as_str();
        match tally.filter(|tally| tally.recognised() > 0) {
            None => format!("{word}: not shown"),
            Some(tally) => {
                let (_, (low, high)) = tally.accepts();
                let interval = match tally.accepted {
                    0 => format!("≤ {}", percent(high)),
                    _ => format!("{} to {}", percent(low), percent(high)),
                };
                format!("{word} {} of {} passed ({interval})", tally.accepted, tally.recognised())
            }
        }
    };
    let attacks = Species::ATTACKS.map(|kind| attack(kind, species.get(&kind))).join(", ");
    match species.get(&Species::Live).filter(|tally| tally.presented() > 0) {
        Some(live) => format!("{attacks}; live {} of {} let in", live.accepted, live.presented()),
        None => attacks,
    }
}

/// `11.6 %`
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            camera: "v4l:0".into(),
            second: None,
            encoder: ModelId("sface@1".into()),
            networks: vec![ModelId("fr_liveness@1".into())],
            alive_from: Some(0.38),
            watch_ms: 800,
            challenge: None,
            looks: "3 of 5".into(),
            several: "nearest".into(),
            threshold: 0.48,
        }
    }

    fn report(species: Species, accepted: u64, picture: u64) -> Report {
        let tally = Tally { accepted, picture, ..Tally::default() };
        Report { species: BTreeMap::from([(species, tally)]), settings: settings() }
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + day * 86_400).unwrap()
    }

    /// Reference: R's `binom.test`, which is Clopper and Pearson's.
    #[test]
    fn the_interval_is_the_exact_one() {
        for (hits, trials, low, high) in [
            (0, 30, 0.0, 0.115_703),
            (0, 10, 0.0, 0.308_497),
            (1, 30, 0.000_843_6, 0.172_169),
            (5, 10, 0.187_086, 0.812_914),
            (30, 30, 0.884_297, 1.0),
            (0, 0, 0.0, 1.0),
        ] {
            let (got_low, got_high) = exact95(hits, trials);
            assert!((got_low - low).abs() < 1e-5, "{hits} of {trials}: {got_low}");
            assert!((got_high - high).abs() < 1e-5, "{hits} of {trials}: {got_high}");
        }
        let (_, high) = exact95(0, 100_000);
        assert!((high - 3.6888e-5).abs() < 1e-8, "{high}");
    }

    #[test]
    fn a_door_that_nobody_has_tried_says_so() {
        let shown = Shown::of(&[], &settings());
        assert_eq!(shown.text, "photo-proof: not shown");
        assert!(!shown.is_shown());
    }

    #[test]
    fn tests_that_hold_count_together_and_what_was_not_tried_is_named() {
        let live = report(Species::Live, 9, 1);
        let tests =
            [(at(0), report(Species::Print, 0, 20)), (at(1), report(Species::Print, 0, 10)), (at(2), live)];
        let shown = Shown::of(&tests, &settings());
        assert_eq!(
            shown.text,
            "photo-proof: print 0 of 30 passed (≤ 11.6 %), phone: not shown, screen: not shown; live 9 of 10 let in; \
             measured 2026-09-23"
        );
        assert!(!shown.is_shown());
        let badly = [(at(0), report(Species::Print, 1, 9)), (at(1), report(Species::Print, 0, 10))];
        let shown = Shown::of(&badly, &settings());
        assert!(shown.text.contains("print 1 of 20 passed (0.1 % to 24.9 %)"), "{}", shown.text);
    }

    #[test]
    fn what_was_not_recognised_shows_nothing() {
        let tally = Tally { unrecognised: 20, no_face: 10, ..Tally::default() };
        let mut test = report(Species::Print, 0, 0);
        test.species.insert(Species::Print, tally);
        let shown = Shown::of(&[(at(0), test)], &settings());
        assert!(shown.text.contains("print: not shown"), "{}", shown.text);
    }

    #[test]
    fn a_change_of_anything_that_decides_makes_it_shown_for_another_door() {
        let test = [(at(0), report(Species::Print, 0, 30))];
        type Edit = fn(&mut Settings);
        let edits: [(&str, Edit); 9] = [
            ("camera", |s| s.camera = "v4l:1".into()),
            ("second camera", |s| s.second = Some("v4l:2".into())),
            ("encoder", |s| s.encoder = ModelId("mine@1".into())),
            ("liveness networks", |s| s.networks.clear()),
            ("liveness networks", |s| s.alive_from = Some(0.2)),
            ("liveness settings", |s| s.watch_ms = 0),
            ("liveness settings", |s| s.challenge = Some("2 turns".into())),
            ("looks that must agree", |s| s.looks = "2 of 5".into()),
            ("a lower threshold", |s| s.threshold = 0.47),
        ];
        for (what, edit) in edits {
            let mut now = settings();
            edit(&mut now);
            let shown = Shown::of(&test, &now);
            assert_eq!(shown.changed, [what]);
            assert!(
                shown.text.starts_with(&format!(
                    "photo-proof: not shown; on 2026-09-21 for other settings ({what}): print 0"
                )),
                "{}",
                shown.text
            );
        }
        let stricter = Settings { threshold: 0.52, ..settings() };
        assert!(Shown::of(&test, &stricter).text.starts_with("photo-proof: print 0 of 30 passed"));
    }

    #[test]
    fn every_species_is_found_by_its_word_and_others_are_refused() {
        for species in Species::ALL {
            assert_eq!(species.as_str().parse(), Ok(species));
        }
        assert!("mask".parse::<Species>().unwrap_err().contains("known are live, print, phone, screen"));
    }
}
