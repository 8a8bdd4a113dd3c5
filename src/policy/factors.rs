//! What somebody must show, beside being allowed: a face, a PIN, or both.
//!
//! **A PIN stands for itself only together with the number of the person whose it is.** The number, not the PIN, says who
//! wants in. So two people may have the same PIN without anybody learning of it, a wrong PIN counts against one person, and a
//! guess is a guess at one PIN and not at everybody's at once.
//!
//! **What is agreed with a person goes before what the rule says**, in both directions: a twin gives a PIN where others need
//! none, and whoever does not want to be recognised comes in by PIN where others show their face.
//!
//! **Doubts about a face ask for the PIN as well**, never for less. They say nothing about who comes in by PIN alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::rule::{RuleError, RuleId, wrong};
use crate::access::Evidence;

/// What it takes to be let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum With {
    /// A face.
    #[default]
    Face,
    /// A face, and the PIN of the person it names.
    FaceAndPin,
    /// A face; or one's number and one's PIN instead.
    FaceOrPin,
}

impl With {
    const ALL: [Self; 3] = [Self::Face, Self::FaceAndPin, Self::FaceOrPin];

    /// As it is typed and stored.
    pub fn word(self) -> &'static str {
        match self {
            Self::Face => "face",
            Self::FaceAndPin => "face-and-pin",
            Self::FaceOrPin => "face-or-pin",
        }
    }
}

impl FromStr for With {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let found = Self::ALL.into_iter().find(|with| with.word() == text.trim().to_lowercase());
        let what = "is nothing to come in with: write `face`, `face-and-pin` or `face-or-pin`";
        found.ok_or_else(|| wrong(text, what))
    }
}

impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Face => "face",
            Self::FaceAndPin => "face and PIN",
            Self::FaceOrPin => "face or PIN",
        })
    }
}

/// What may be wrong with a face that was recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Somebody else who is enrolled looks like them, by their samples or by these looks: within the margin of the threshold.
    pub look_alike: bool,
    /// Nothing said that it was no picture.
    pub unproven: bool,
}

impl Doubts {
    /// What the figures of a decision leave open.
    pub fn of(evidence: &Evidence) -> Self {
        let near = evidence.rule.threshold.0 - evidence.rule.margin;
        let second = evidence.runner_up.as_ref().is_some_and(|second| second.score.0 >= near);
        Self { look_alike: second || evidence.alike.is_some(), unproven: evidence.live.is_none() }
    }
}

/// What somebody has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// A face that names them.
    pub face: Option<Doubts>,
    /// Their PIN.
    pub pin: bool,
}

/// What a doubt leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRisk {
    /// Nothing.
    #[default]
    Ignore,
    /// The PIN is asked of whoever has one.
    PinIfSet,
    /// The PIN is asked, and whoever has none stays out.
    Pin,
}

/// What each doubt leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Risks {
    /// Somebody enrolled looks like them.
    pub look_alike: OnRisk,
    /// No photo check was made.
    pub liveness: OnRisk,
    /// Measurements do not show that the threshold keeps the rate that is wanted.
    pub threshold: OnRisk,
    /// Without a clock to trust, limits on time ask for the PIN instead of refusing.
    pub clock_asks: bool,
}

/// Why a PIN is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The rule, or what is agreed with the person.
    Rule,
    /// Too many faces failed.
    FailedAttempts,
    /// A limit on time applies, and the clock is not trusted.
    Clock,
    /// Somebody enrolled looks like them.
    LookAlike,
    /// No photo check was made.
    Unproven,
    /// The threshold is not supported by measurements.
    Unsupported,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "it takes face and PIN",
            Self::FailedAttempts => "failed attempts at the door",
            Self::Clock => "the clock is not trusted, and a limit on time applies",
            Self::LookAlike => "somebody enrolled looks like them",
            Self::Unproven => "no photo check was made",
            Self::Unsupported => "the threshold is not supported by measurements",
        })
    }
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The PIN.
    Pin(Why),
    /// The PIN, and they have none.
    NoPin(Why),
    /// The face.
    Face,
}

/// What decides over the factors of one person at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub shown: Shown,
    pub has_pin: bool,
    pub risks: Risks,
    pub supported: bool,
    /// What asks for a PIN whatever the rule says.
    pub because: Option<Why>,
}

impl Demand {
    /// Whether what was shown is enough for a rule that asks for `with`.
    pub fn met(&self, with: With) -> Result<(), Missing> {
        match self.shown.face {
            None if self.shown.pin && with == With::FaceOrPin => Ok(()),
            None => Err(Missing::Face),
            Some(_) if self.shown.pin => Ok(()),
            Some(doubts) => match self.asks_for_pin(with, doubts) {
                None => Ok(()),
                Some(why) if self.has_pin => Err(Missing::Pin(why)),
                Some(why) => Err(Missing::NoPin(why)),
            },
        }
    }

    fn asks_for_pin(&self, with: With, doubts: Doubts) -> Option<Why> {
        let asks = |risk: OnRisk| match risk {
            OnRisk::Ignore => false,
            OnRisk::PinIfSet => self.has_pin,
            OnRisk::Pin => true,
        };
        let reasons = [
            (with == With::FaceAndPin, Why::Rule),
            (doubts.look_alike && asks(self.risks.look_alike), Why::LookAlike),
            (doubts.unproven && asks(self.risks.liveness), Why::Unproven),
            (!self.supported && asks(self.risks.threshold), Why::Unsupported),
        ];
        self.because.or_else(|| reasons.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why))
    }
}

/// What is missing under a rule, as the journal tells it.
pub(super) fn refusal(rule: RuleId, missing: Missing) -> super::Refusal {
    match missing {
        Missing::Pin(why) => super::Refusal::NeedsPin(rule, why),
        Missing::NoPin(why) => super::Refusal::NoPin(rule, why),
        Missing::Face => super::Refusal::NeedsFace(rule),
    }
}
