//! k of n: gathers the looks at each track until they grant, refuse, or go away.
//!
//! Takes what vision and gallery made of one frame and gives the verdicts that follow; the control thread calls it
//! once a frame.
//!
//! **One person's evidence is never mixed with another's.** Only looks of one track count together, and a window in
//! which two people are named speaks for neither until the other name has left it. A majority would be quicker, but
//! a window that names two people means that the track changed hands or that the face lies between two enrolled
//! ones, and then nobody knows who would walk in. An honest person waits n looks at worst, a fraction of a second.
//!
//! **A grant is spent.** It empties its track's window, so every later grant rests on k looks of its own.
//!
//! **A refusal is a line in the log, not a lockout.** A face that is far away, turned or in shadow is refused first
//! and known two steps later; that must open the door as soon as k of n looks say so. The odds of a stranger are
//! kept by the threshold, the margin and k of n on every look, not by turning away whoever was refused once.
//!
//! **A picture of a face is the exception.** When the looks that would let somebody in do not look alive on average, the track
//! never grants anything again, and its person is let in on no other track for [`SUSPECTED_FOR`]: nobody holds a photograph
//! up until it is taken for a face. The photo check can only deny; it never adds to what names a person. A face that brings
//! its surroundings along is a picture too, whatever the photo check says.
//!
//! **A face is watched before it opens the door**, from its first look: a picture betrays itself when it is moved, and a face
//! that never stirs is none. Where challenges are asked for, it must then do what is drawn for it; the wrong answer, or none,
//! counts as a picture does. Only looks that were compared count: who turns so far that they could be somebody else answers
//! nothing.
//!
//! **Company counts by looks.** Of the k looks that name a person each must have shown them as the nearest, or alone, as the door
//! wants it ([`Several`](super::Several)): a face in front that is missed for one frame lets nobody in behind it.

use std::collections::VecDeque;
use std::time::Duration;

use super::{
    Evidence, Grant, Live, Look, LookAlikes, LookOutcome, Proof, RefusalReason, Rule, Several, Told, Verdict,
};
use crate::clock::MonoTime;
use crate::gallery::{Candidate, Match, PersonId};
use crate::liveness::challenge::{Challenge, Dice, Progress, Shown, Tell};
use crate::liveness::signs::{Second, Signs};
use crate::vision::tracks::TrackId;

/// A track out of view for longer than this is forgotten. Longer than any track can be lost and found again, so
/// nothing is said twice.
pub const FORGET_AFTER: Duration = Duration::from_secs(5);

/// After a picture of a person was shown, they are let in again only after this time: long enough that holding it up again
/// and again does not pay, short enough for the person who comes along to be told to wait.
pub const SUSPECTED_FOR: Duration = Duration::from_secs(10);

/// A frame stamped up to this much ahead of `now` is new: the two were read one after the other, by two threads. A
/// stamp further ahead is wrong, and how old the frame really is nobody can tell: it counts as too old.
pub const MAX_LEAD: Duration = Duration::from_millis(50);

/// The order of frames: by capture time, and by number where two share one.
type FrameStamp = (MonoTime, u64);

/// The attempts of everybody in view.
#[derive(Debug)]
pub struct Attempts {
    rule: Rule,
    /// Who among the people enrolled looks like somebody else.
    alike: LookAlikes,
    tracks: Vec<Attempt>,
    /// Who was let in when, as long as that holds back the next grant.
    let_in: Vec<(PersonId, MonoTime)>,
    /// Of whom a picture was shown when.
    suspected: Vec<(PersonId, MonoTime)>,
    newest: Option<FrameStamp>,
    /// Where challenges are drawn from; without, none is drawn, and nobody passes one.
    dice: Option<Dice>,
}

impl Attempts {
    /// No attempts yet.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            alike: LookAlikes::default(),
            tracks: Vec::new(),
            let_in: Vec::new(),
            suspected: Vec::new(),
            newest: None,
            dice: None,
        }
    }

    /// Draws challenges from these dice.
    #[must_use]
    pub fn with_dice(self, dice: Option<Dice>) -> Self {
        Self { dice, ..self }
    }

    /// The rule in force.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Puts another rule in force for other people, and forgets all evidence that was weighed by the old one.
    pub fn set_rule(&mut self, rule: Rule, alike: LookAlikes) {
        (self.rule, self.alike) = (rule, alike);
        self.forget();
    }

    /// Takes everything one frame showed (at most one look a track) and says what follows at `now`, in the order of
    /// the looks. Tracks that are not in the frame are no longer in view.
    ///
    /// Per track the last n *compared* looks are remembered. An unusable look does not count against the person; it
    /// keeps their track known and decides nothing. So a verdict falls only on a look that was compared just now,
    /// which makes its frame the newest of the track, and its track in view.
    ///
    /// - **Grant**: the look names somebody, at least k looks in the window name them, none names anybody else, the
    ///   look's frame is at most `max_frame_age` old, and they were not let in less than `regrant_after` ago, on
    ///   this or any other track, nor on another track of this very frame.
    /// - **Refuse as not live**: the same, but what was seen looked like a picture of them; the last word on this track,
    ///   and nobody is let in by their name for [`SUSPECTED_FOR`].
    /// - **Refuse as not nearest, or not alone**: the same, but fewer than k of those looks showed them as this door wants it;
    ///   once per track.
    /// - **Refuse as stale**: the same, but the frame is too old; once per track and person.
    /// - **Refuse** as unknown, ambiguous or with nobody enrolled, by the majority of the window: n looks were
    ///   compared and do not speak for one person; once per track. A later look may still grant.
    /// - A track that was granted is not refused afterwards.
    ///
    /// A frame that is not newer than one already taken is ignored, and so is a second look at one track in the
    /// same frame: neither is new evidence.
    pub fn observe(&mut self, looks: &[Look], now: MonoTime) -> Vec<Verdict> {
        let mut verdicts = self.end_late_challenges(now);
        self.forget_the_gone(now);
        self.drop_evidence_from_the_future(looks, now);
        let before = self.newest;
        let clear = self.rule.several.clear(looks);
        let says_something = |look: &Look| look.outcome != LookOutcome::InView && Some(stamp(look)) > before;
        for (look, clear) in looks.iter().zip(clear).filter(|(look, _)| says_something(look)) {
            self.newest = self.newest.max(Some(stamp(look)));
            let at = self.attempt_at(look.track, now);
            if self.tracks[at].take(look, clear, &self.rule, &self.alike, now) {
                verdicts.extend(self.answer(at, look, now));
                verdicts.extend(self.judge(at, look, now));
            }
        }
        verdicts
    }

    /// A grant for this person opened nothing: the next looks may grant anew at once.
    pub fn take_back(&mut self, person: PersonId) {
        self.let_in.retain(|&(id, _)| id != person);
    }

    /// As if this person had been let in just now: nothing is granted to them for a while.
    pub fn hold_back(&mut self, person: PersonId, now: MonoTime) {
        self.take_back(person);
        self.let_in.push((person, now));
    }

    /// Forgets all evidence: the people, the camera or the mode changed. Who was let in lately stays known, so that
    /// nobody is let in twice by it.
    pub fn forget(&mut self) {
        self.tracks.clear();
    }

    /// As new, with the same rule and dice: nobody was let in or suspected before. For tests of the door, whose
    /// presentations know nothing of each other.
    pub fn start_over(&mut self) {
        self.forget();
        self.let_in.clear();
        self.suspected.clear();
        self.newest = None;
    }

    /// Fails the challenges that nobody answers any more.
    fn end_late_challenges(&mut self, now: MonoTime) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for attempt in self.tracks.iter_mut().filter(|attempt| !attempt.is_picture) {
            let Some(asked) = &mut attempt.asked else { continue };
            let late = matches!(asked.challenge.tick(now), Progress::Failed(_));
            let gone = !asked.challenge.is_over() && now.since(attempt.seen) > FORGET_AFTER;
            if late || gone {
                self.suspected.push((asked.person, now));
                verdicts.push(attempt.refuse_answer(&self.rule, now));
            }
        }
        verdicts
    }

    /// Shows a look to the challenge that is under way on its track.
    fn answer(&mut self, at: usize, look: &Look, now: MonoTime) -> Option<Verdict> {
        let attempt = &mut self.tracks[at];
        let asked = attempt.asked.as_mut().filter(|asked| !asked.challenge.is_over())?;
        let shown = Shown { yaw_deg: look.yaw_deg, blinks: look.signs.blinks };
        let what = match asked.challenge.look(shown, now) {
            Progress::Waiting => return None,
            Progress::Ask(step) => Tell::Do(step),
            Progress::Face => Tell::Face,
            Progress::Passed => Tell::Done,
            Progress::Failed(_) => {
                self.suspected.push((asked.person, now));
                return Some(attempt.refuse_answer(&self.rule, now));
            }
        };
        attempt.tell(what)
    }

    fn forget_the_gone(&mut self, now: MonoTime) {
        let pause = self.rule.regrant_after;
        self.tracks.retain(|attempt| now.since(attempt.seen) <= FORGET_AFTER);
        self.let_in.retain(|&(_, at)| now.since(at) < pause);
        self.suspected.retain(|&(_, at)| now.since(at) < SUSPECTED_FOR);
    }

    /// A frame stamped in the future would make every later one look old, and its looks have no known age. When
    /// stamps are right again, what was gathered under the wrong ones is dropped and gathering starts over.
    fn drop_evidence_from_the_future(&mut self, looks: &[Look], now: MonoTime) {
        let horizon = now + MAX_LEAD;
        let was_ahead = self.newest.is_some_and(|(captured, _)| captured > horizon);
        if was_ahead && looks.iter().any(|look| look.captured <= horizon) {
            self.newest = None;
            self.tracks.iter_mut().for_each(Attempt::drop_evidence);
        }
    }

    fn attempt_at(&mut self, track: TrackId, now: MonoTime) -> usize {
        self.tracks.iter().position(|attempt| attempt.track == track).unwrap_or_else(|| {
            self.tracks.push(Attempt::new(track, &self.rule, now));
            self.tracks.len() - 1
        })
    }

    /// What follows from a track's window after `look` has entered it.
    fn judge(&mut self, at: usize, look: &Look, now: MonoTime) -> Option<Verdict> {
        let attempt = &mut self.tracks[at];
        if attempt.is_picture {
            return None;
        }
        let Some(person) = attempt.agreed(&self.rule) else {
            return attempt.refuse(look, &self.rule, now);
        };
        let named_just_now = attempt.window.back().and_then(Compared::person) == Some(person);
        let let_in_lately = self.let_in.iter().any(|&(id, _)| id == person);
        if !named_just_now || let_in_lately {
            return None;
        }
        if attempt.signs.is_carried() {
            self.suspected.push((person, now));
            return Some(attempt.refuse_picture(person, look, &self.rule, now));
        }
        match attempt.proof(person) {
            Proof::Off => {}
            Proof::Unasked => return None,
            Proof::Asked(live) if live.score >= live.needed => {}
            Proof::Asked(_) => {
                self.suspected.push((person, now));
                return Some(attempt.refuse_picture(person, look, &self.rule, now));
            }
        }
        match attempt.seen_twice(person, &self.rule) {
            SeenTwice::Enough => {}
            SeenTwice::Wait => return None,
            SeenTwice::Lost => return attempt.refuse_blind(person, look, &self.rule, now),
            SeenTwice::Never => {
                self.suspected.push((person, now));
                let refusal = attempt.refuse_picture(person, look, &self.rule, now);
                return Some(refusal.because(RefusalReason::NotSeenTwice));
            }
        }
        if self.suspected.iter().any(|&(id, _)| id == person) {
            return None;
        }
        if attempt.clear_looks(person) < self.rule.frames_needed {
            return attempt.refuse_company(person, look, &self.rule, now);
        }
        if !is_fresh(look.captured, &self.rule, now) {
            return attempt.refuse_stale(person, look, &self.rule, now);
        }
        if !attempt.was_watched(&self.rule, now) {
            return None;
        }
        if let Some(terms) = self.rule.demands.challenge {
            match &attempt.asked {
                Some(asked) if asked.person == person && asked.challenge.is_passed(now) => {}
                Some(asked) if asked.person == person && !asked.challenge.is_over() => return None,
                _ => {
                    let steps = terms.draw(self.dice.as_mut()?)?;
                    let challenge = Challenge::new(steps, terms.each, now);
                    attempt.asked = Some(Asked { person, name: attempt.name_of(person), challenge });
                    return attempt.tell(Tell::Face);
                }
            }
        }
        self.let_in.push((person, now));
        Some(attempt.grant(person, look, &self.rule, now))
    }
}

/// One track on its way to a verdict.
#[derive(Debug)]
struct Attempt {
    track: TrackId,
    /// When it came into view.
    first: MonoTime,
    /// When it was last in view.
    seen: MonoTime,
    /// What it has shown of itself so far.
    signs: Signs,
    newest: Option<FrameStamp>,
    /// The last n compared looks, oldest first; a ring that never grows.
    window: VecDeque<Compared>,
    /// For whom a stale refusal was said.
    stale_for: Vec<PersonId>,
    refused: bool,
    granted: bool,
    /// It was said that others are in the way.
    in_company: bool,
    /// It was said that the second camera is lost.
    blind: bool,
    /// It was taken for a picture of a face.
    is_picture: bool,
    /// What it was asked to do.
    asked: Option<Asked>,
}

/// A challenge, and for whom the face was taken when it was asked.
#[derive(Debug)]
struct Asked {
    person: PersonId,
    name: String,
    challenge: Challenge,
}

impl Attempt {
    fn new(track: TrackId, rule: &Rule, now: MonoTime) -> Self {
        Self {
            track,
            first: now,
            seen: now,
            signs: Signs::default(),
            newest: None,
            window: VecDeque::with_capacity(rule.frames_window),
            stale_for: Vec::new(),
            refused: false,
            granted: false,
            in_company: false,
            blind: false,
            is_picture: false,
            asked: None,
        }
    }

    fn drop_evidence(&mut self) {
        self.newest = None;
        self.window.clear();
    }

    /// Takes a look in; true when it was compared and may so bring a verdict. `clear`: nobody else stood in the way.
    fn take(&mut self, look: &Look, clear: bool, rule: &Rule, alike: &LookAlikes, now: MonoTime) -> bool {
        if Some(stamp(look)) <= self.newest {
            return false;
        }
        self.newest = Some(stamp(look));
        self.seen = now;
        self.signs = look.signs;
        let LookOutcome::Compared(matched) = &look.outcome else { return false };
        while self.window.len() >= rule.frames_window.max(1) {
            self.window.pop_front();
        }
        let says = Says::of(matched.as_ref(), rule, alike);
        let like = matched.as_ref().and_then(|found| alike.of_person(found.best.person)).cloned();
        self.window.push_back(Compared {
            says,
            matched: matched.clone(),
            proof: look.proof,
            second: look.signs.second,
            clear,
            alike: like,
        });
        true
    }

    /// The one person whom at least k looks name while none names anybody else.
    fn agreed(&self, rule: &Rule) -> Option<PersonId> {
        let mut named = self.window.iter().filter_map(Compared::person);
        let person = named.next()?;
        let others = named.clone().any(|other| other != person);
        (!others && 1 + named.count() >= rule.frames_needed).then_some(person)
    }

    fn grant(&mut self, person: PersonId, look: &Look, rule: &Rule, now: MonoTime) -> Verdict {
        let evidence = Box::new(self.evidence(Some(person), look, rule, now));
        let best = evidence.best.as_ref().expect("a look that names somebody has a best candidate");
        let name = best.name.to_string();
        self.granted = true;
        self.asked = None;
        self.window.clear();
        Verdict::Grant(Grant { person, name, evidence: Some(evidence), decided: now })
    }

    /// What the photo check says of the looks that name `person`: their mean.
    fn proof(&self, person: PersonId) -> Proof {
        let (mut sum, mut asked, mut without, mut needed) = (0.0_f64, 0, 0, 0.0_f32);
        for look in self.window.iter().filter(|look| look.person() == Some(person)) {
            match look.proof {
                Proof::Unasked => return Proof::Unasked,
                Proof::Off => without += 1,
                Proof::Asked(live) => {
                    sum += f64::from(live.score);
                    needed = needed.max(live.needed);
                    asked += 1;
                }
            }
        }
        match (asked, without) {
            (0, _) => Proof::Off,
            (_, 0) => Proof::Asked(Live { score: (sum / f64::from(asked)) as f32, needed }),
            _ => Proof::Unasked,
        }
    }

    /// Whether it has been watched for long enough, and nothing in it is unclear.
    fn was_watched(&self, rule: &Rule, now: MonoTime) -> bool {
        let watch = rule.demands.watch;
        let long_enough = now.since(self.first) >= watch;
        watch.is_zero() || (long_enough && self.signs.stirred && !self.signs.is_unclear())
    }

    /// How long it has been watched, in ms, where it is.
    fn watched_for(&self, rule: &Rule, now: MonoTime) -> Option<u64> {
        let watched = u64::try_from(now.since(self.first).as_millis()).unwrap_or(u64::MAX);
        (!rule.demands.watch.is_zero()).then_some(watched)
    }

    fn refuse_picture(&mut self, person: PersonId, look: &Look, rule: &Rule, now: MonoTime) -> Verdict {
        self.is_picture = true;
        Verdict::Refuse(RefusalReason::NotLive, Box::new(self.evidence(Some(person), look, rule, now)))
    }

    /// Whether enough of the looks that name `person` were seen by the second camera as well. It is never once: a window full of
    /// looks none of which it saw.
    fn seen_twice(&self, person: PersonId, rule: &Rule) -> SeenTwice {
        let named = self.window.iter().filter(|look| look.person() == Some(person));
        let (mut seen, mut missing, mut lost) = (0, 0, 0);
        for look in named {
            *match look.second {
                Second::Off | Second::Seen => &mut seen,
                Second::Missing => &mut missing,
                Second::Lost => &mut lost,
            } += 1;
        }
        match (seen, missing, lost) {
            _ if seen >= rule.frames_needed => SeenTwice::Enough,
            (0, missing, 0) if missing >= rule.frames_window => SeenTwice::Never,
            (.., lost) if lost >= rule.frames_needed => SeenTwice::Lost,
            _ => SeenTwice::Wait,
        }
    }

    fn refuse_blind(&mut self, person: PersonId, look: &Look, rule: &Rule, now: MonoTime) -> Option<Verdict> {
        if self.granted || std::mem::replace(&mut self.blind, true) {
            return None;
        }
        let evidence = self.evidence(Some(person), look, rule, now);
        Some(Verdict::Refuse(RefusalReason::SecondLost, Box::new(evidence)))
    }

    /// The name of somebody whom a look in the window names.
    fn name_of(&self, person: PersonId) -> String {
        let named = self.window.iter().filter(|look| look.person() == Some(person));
        let matched = named.filter_map(|look| look.matched.as_ref()).next_back();
        matched.map_or(String::new(), |found| found.best.name.to_string())
    }

    fn tell(&self, what: Tell) -> Option<Verdict> {
        let Asked { person, name, .. } = self.asked.as_ref()?;
        Some(Verdict::Tell(Told { track: self.track, person: *person, name: name.clone(), what }))
    }

    fn refuse_answer(&mut self, rule: &Rule, now: MonoTime) -> Verdict {
        self.is_picture = true;
        let person = self.asked.as_ref().map(|asked| asked.person);
        let stamp = self.newest.unwrap_or((now, 0));
        Verdict::Refuse(RefusalReason::Challenge, Box::new(self.evidence_at(person, stamp, rule, now)))
    }

    /// Looks that name `person` with nobody in the way.
    fn clear_looks(&self, person: PersonId) -> usize {
        self.window.iter().filter(|look| look.clear && look.person() == Some(person)).count()
    }

    fn refuse_company(
        &mut self,
        person: PersonId,
        look: &Look,
        rule: &Rule,
        now: MonoTime,
    ) -> Option<Verdict> {
        if self.granted || std::mem::replace(&mut self.in_company, true) {
            return None;
        }
        let reason = match rule.several {
            Several::Refuse => RefusalReason::NotAlone,
            Several::Nearest | Several::Each => RefusalReason::NotNearest,
        };
        Some(Verdict::Refuse(reason, Box::new(self.evidence(Some(person), look, rule, now))))
    }

    fn refuse_stale(&mut self, person: PersonId, look: &Look, rule: &Rule, now: MonoTime) -> Option<Verdict> {
        if self.granted || self.stale_for.contains(&person) {
            return None;
        }
        self.stale_for.push(person);
        Some(Verdict::Refuse(RefusalReason::Stale, Box::new(self.evidence(Some(person), look, rule, now))))
    }

    fn refuse(&mut self, look: &Look, rule: &Rule, now: MonoTime) -> Option<Verdict> {
        if self.granted || self.refused || self.window.len() < rule.frames_window {
            return None;
        }
        self.refused = true;
        Some(Verdict::Refuse(self.reason(), Box::new(self.evidence(None, look, rule, now))))
    }

    /// Why the window speaks for nobody: two people named in it, else what most of its looks say.
    fn reason(&self) -> RefusalReason {
        let mut named = self.window.iter().filter_map(Compared::person);
        let first = named.next();
        if named.any(|other| Some(other) != first) {
            return RefusalReason::Ambiguous;
        }
        let count = |says: Says| self.window.iter().filter(|look| look.says == says).count();
        [
            (count(Says::NobodyEnrolled), RefusalReason::NobodyEnrolled),
            (count(Says::Ambiguous), RefusalReason::Ambiguous),
            (count(Says::Unknown), RefusalReason::Unknown),
        ]
        .into_iter()
        .max_by_key(|&(looks, _)| looks)
        .map_or(RefusalReason::Unknown, |(_, reason)| reason)
    }

    /// The figures at `now`: of the best look that names `person`, or of the best look at all.
    fn evidence(&self, person: Option<PersonId>, look: &Look, rule: &Rule, now: MonoTime) -> Evidence {
        self.evidence_at(person, stamp(look), rule, now)
    }

    fn evidence_at(
        &self,
        person: Option<PersonId>,
        (captured, seq): FrameStamp,
        rule: &Rule,
        now: MonoTime,
    ) -> Evidence {
        let best_look = self
            .window
            .iter()
            .filter(|seen| person.is_none() || seen.person() == person)
            .max_by(|a, b| rank(a.matched.as_ref()).total_cmp(&rank(b.matched.as_ref())));
        let best = best_look.and_then(|seen| seen.matched.as_ref());
        let whom = best.map(|found| found.best.person);
        Evidence {
            track: self.track,
            seq,
            frame_age_ms: u64::try_from(now.since(captured).as_millis()).unwrap_or(u64::MAX),
            best: best.map(|found| found.best.clone()),
            runner_up: best.and_then(|found| found.runner_up.clone()),
            frames_agreed: self.window.iter().filter(|seen| whom.is_some() && seen.person() == whom).count(),
            frames_seen: self.window.len(),
            live: whom.and_then(|whom| match self.proof(whom) {
                Proof::Asked(live) => Some(live),
                _ => None,
            }),
            alike: best_look.and_then(|seen| seen.alike.clone()),
            signs: self.signs,
            watched_ms: self.watched_for(rule, now),
            rule: rule.clone(),
        }
    }
}

/// One look that was compared with everybody.
#[derive(Debug)]
struct Compared {
    says: Says,
    matched: Option<Match>,
    proof: Proof,
    second: Second,
    /// Nobody else stood in the way.
    clear: bool,
    /// Whom its best candidate is easily taken for.
    alike: Option<Candidate>,
}

impl Compared {
    fn person(&self) -> Option<PersonId> {
        match self.says {
            Says::Names(person) => Some(person),
            _ => None,
        }
    }
}

/// What a second camera says of the looks that name somebody.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SeenTwice {
    Enough,
    Wait,
    Lost,
    Never,
}

/// What one look says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Names(PersonId),
    Unknown,
    Ambiguous,
    NobodyEnrolled,
}

impl Says {
    /// Written so that a score, a lead over the runner-up or a threshold that is not a number names nobody.
    fn of(matched: Option<&Match>, rule: &Rule, alike: &LookAlikes) -> Self {
        let Some(Match { best, runner_up }) = matched else { return Self::NobodyEnrolled };
        if !(best.score.0.is_finite() && best.score >= rule.threshold) {
            return Self::Unknown;
        }
        let margin = alike.margin(best.person, rule);
        let ahead = runner_up.as_ref().is_none_or(|second| best.score.0 - second.score.0 >= margin);
        if ahead { Self::Names(best.person) } else { Self::Ambiguous }
    }
}

fn stamp(look: &Look) -> FrameStamp {
    (look.captured, look.seq)
}

fn is_fresh(captured: MonoTime, rule: &Rule, now: MonoTime) -> bool {
    captured <= now + MAX_LEAD && now.since(captured) <= rule.max_frame_age
}

/// Orders matches by score, those that are not a number last.
fn rank(found: Option<&Match>) -> f32 {
    let score = found.map_or(f32::NEG_INFINITY, |found| found.best.score.0);
    if score.is_nan() { f32::NEG_INFINITY } else { score }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::access::Demands;
    use crate::encoder::Score;
    use crate::gallery::Candidate;
    use crate::liveness::challenge::{Step, Terms};
    use crate::vision::quality::QualityIssue;

    const FRAME_MS: u64 = 66;
    const LATENCY_MS: u64 = 120;

    fn rule() -> Rule {
        Rule::for_tests(0.5)
    }

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn candidate(person: i64, score: f32) -> Candidate {
        let name: Arc<str> = ["nobody", "Ada", "Bob", "Cleo"][person as usize].into();
        Candidate { person: PersonId(person), name, score: Score(score) }
    }

    fn compared(best: (i64, f32), runner_up: Option<(i64, f32)>) -> LookOutcome {
        let runner_up = runner_up.map(|(person, score)| candidate(person, score));
        LookOutcome::Compared(Some(Match { best: candidate(best.0, best.1), runner_up }))
    }

    /// `A`, `B`: named; `?`: unknown; `=`: ambiguous; `0`: nobody enrolled; `~`: unusable.
    fn outcome(letter: char) -> LookOutcome {
        match letter {
            'A' => compared((1, 0.7), Some((2, 0.1))),
            'B' => compared((2, 0.7), Some((1, 0.1))),
            '?' => compared((1, 0.3), Some((2, 0.1))),
            '=' => compared((1, 0.7), Some((2, 0.65))),
            '0' => LookOutcome::Compared(None),
            '~' => LookOutcome::Unusable(QualityIssue::Blurred),
            other => panic!("no look is written {other:?}"),
        }
    }

    fn look(track: u64, seq: u64, captured: MonoTime, outcome: LookOutcome) -> Look {
        Look {
            track: TrackId(track),
            seq,
            captured,
            size_px: 100.0,
            outcome,
            proof: Proof::Off,
            signs: Signs::default(),
            yaw_deg: 0.0,
        }
    }

    /// `A`, `B`: granted; `S` `?` `=` `0`: refused as stale, unknown, ambiguous, with nobody enrolled.
    fn letter(verdict: &Verdict) -> char {
        match verdict {
            Verdict::Grant(grant) => [' ', 'A', 'B', 'C'][grant.person().0 as usize],
            Verdict::Refuse(RefusalReason::Stale, _) => 'S',
            Verdict::Refuse(RefusalReason::Unknown, _) => '?',
            Verdict::Refuse(RefusalReason::Ambiguous, _) => '=',
            Verdict::Refuse(RefusalReason::NobodyEnrolled, _) => '0',
            Verdict::Refuse(RefusalReason::NotLive, _) => 'P',
            Verdict::Refuse(RefusalReason::Challenge, _) => 'X',
            Verdict::Tell(told) => match told.what {
                Tell::Face => 'f',
                Tell::Do(Step::Left) => 'l',
                Tell::Do(Step::Right) => 'r',
                Tell::Do(Step::Blink) => 'b',
                Tell::Done => 'd',
            },
            Verdict::Refuse(RefusalReason::NotNearest, _) => 'N',
            Verdict::Refuse(RefusalReason::NotAlone, _) => 'C',
            Verdict::Refuse(RefusalReason::NotSeenTwice, _) => 'T',
            Verdict::Refuse(RefusalReason::SecondLost, _) => 'L',
        }
    }

    /// Shows one track a frame per letter (`-`: an empty frame) and writes what followed under each.
    fn play_with(rule: Rule, looks: &str, frame_ms: u64, latency_ms: u64) -> String {
        let mut attempts = Attempts::new(rule);
        let mut said = String::new();
        for (seq, sign) in looks.chars().enumerate() {
            let captured = at(1_000_000 + seq as u64 * frame_ms);
            let looks: Vec<_> =
                (sign != '-').then(|| look(1, seq as u64, captured, outcome(sign))).into_iter().collect();
            let verdicts = attempts.observe(&looks, captured + Duration::from_millis(latency_ms));
            assert!(verdicts.len() <= 1, "one track, one verdict");
            said.push(verdicts.first().map_or(' ', letter));
        }
        said
    }

    fn play(looks: &str) -> String {
        play_with(rule(), looks, FRAME_MS, LATENCY_MS)
    }

    #[test]
    fn looks_over_time_bring_these_verdicts() {
        let table = [
            ("three of three", "AAA", "  A"),
            ("two are not enough", "AA", "  "),
            ("three of five", "A?A?A", "    A"),
            ("four strangers' looks in between push the first out", "A??A?A", "    ? "),
            ("a refused track may still be granted", "?????AAA", "    ?  A"),
            ("a stranger is refused once", "????????????", "    ?       "),
            ("too close to call", "==========", "    =     "),
            ("mostly too close", "=?=?=", "    ="),
            ("nobody is enrolled", "0000000", "    0  "),
            ("somebody is enrolled meanwhile", "00000AAA", "    0  A"),
            ("unusable looks do not count against", "A~~~~~~A~~~~~A", "             A"),
            ("unusable looks alone say nothing", "~~~~~~~~~~~~~~", "              "),
            ("a short way out of view", "AA---A", "     A"),
            ("nothing is granted to an empty frame", "AA---", "     "),
            ("granted once while it stands there", "AAAAAAAAAAAAAAA", "  A            "),
            ("a granted track is not refused afterwards", "AAA????????????", "  A            "),
            ("one other name and nobody is granted", "AABA", "    "),
            ("until the other name has left the window", "ABAAAAA", "    = A"),
            ("two names are ambiguous", "ABABAB", "    = "),
            ("the newest look must name the person", "AA?~A", "    A"),
            ("the second person on a track needs k looks alone", "AAABBB", "  A  B"),
        ];
        for (story, looks, verdicts) in table {
            assert_eq!(play(looks), verdicts, "{story}: {looks}");
        }
    }

    /// Shows Ada on a track with these photo checks, `None` for one that was not asked, from `from` ms on.
    fn show_ada(attempts: &mut Attempts, track: u64, from: u64, checks: &[Option<f32>]) -> String {
        let mut said = String::new();
        for (i, score) in checks.iter().enumerate() {
            let captured = at(from + i as u64 * FRAME_MS);
            let proof = score.map_or(Proof::Unasked, |score| Proof::Asked(Live { score, needed: 0.4 }));
            let look = Look { proof, ..look(track, from + i as u64, captured, outcome('A')) };
            let verdicts = attempts.observe(&[look], captured + Duration::from_millis(LATENCY_MS));
            said.push(verdicts.first().map_or(' ', letter));
        }
        said
    }

    #[test]
    fn the_photo_check_denies_by_the_mean_of_the_looks_and_for_good() {
        for (story, checks, verdicts) in [
            ("alive", vec![Some(0.9); 3], "  A"),
            ("one poor look among good ones", vec![Some(0.9), Some(0.1), Some(0.9)], "  A"),
            (
                "a photograph, and then a lucky look",
                [vec![Some(0.0); 3], vec![Some(1.0); 60]].concat(),
                "  P",
            ),
            ("at the bar", vec![Some(0.4); 3], "  A"),
            ("no number is no life", vec![Some(0.9), Some(f32::NAN), Some(0.9)], "  P"),
            ("never asked, never granted", vec![None; 20], ""),
        ] {
            let said = show_ada(&mut Attempts::new(rule()), 1, 1_000, &checks);
            assert_eq!(said.trim_end(), verdicts.trim_end(), "{story}");
        }
    }

    #[test]
    fn after_a_photograph_its_person_waits_on_every_track_and_others_do_not() {
        let mut attempts = Attempts::new(rule());
        assert_eq!(show_ada(&mut attempts, 1, 1_000, &[Some(0.0); 3]), "  P");
        assert_eq!(show_ada(&mut attempts, 2, 2_000, &[Some(1.0); 30]).trim(), "", "shown again at once");
        let bob: Vec<Verdict> = (0..3)
            .flat_map(|i| {
                let live = Live { score: 0.9, needed: 0.4 };
                let seen = look(3, 9_000 + i, at(5_000 + i), outcome('B'));
                attempts.observe(&[Look { proof: Proof::Asked(live), ..seen }], at(5_100 + i))
            })
            .collect();
        let [Verdict::Grant(grant)] = &bob[..] else { panic!("{bob:?}") };
        assert_eq!(grant.evidence().unwrap().live, Some(Live { score: 0.9, needed: 0.4 }));
        assert_eq!(show_ada(&mut attempts, 4, 12_000, &[Some(1.0); 3]), "  A", "ten seconds later");
    }

    #[test]
    fn a_late_photograph_is_a_photograph() {
        let mut attempts = Attempts::new(rule());
        let live = Live { score: 0.1, needed: 0.4 };
        let late = (0..3).flat_map(|i| {
            let seen = Look { proof: Proof::Asked(live), ..look(1, i, at(1_000 + i), outcome('A')) };
            attempts.observe(&[seen], at(9_000 + i))
        });
        assert_eq!(late.map(|verdict| letter(&verdict)).collect::<String>(), "P");
    }

    /// Shows Ada every 100 ms with what the track has shown of itself at each look.
    fn watched(watch_ms: u64, signs: &[Signs]) -> String {
        let demands = Demands { watch: Duration::from_millis(watch_ms), ..Demands::default() };
        let mut attempts = Attempts::new(Rule { demands, ..rule() });
        let shown = (0..).zip(signs).map(|(i, &signs)| {
            let seen = Look { signs, ..look(1, i, at(1_000 + 100 * i), outcome('A')) };
            attempts.observe(&[seen], at(1_000 + 100 * i)).first().map_or(' ', letter)
        });
        shown.collect()
    }

    /// `S`: the second camera saw the face as well; `M`: it saw none; `L`: it had no picture.
    fn with_second(sights: &str) -> String {
        let mut attempts = Attempts::new(rule());
        let shown = (0..).zip(sights.chars()).map(|(i, sight)| {
            let second = match sight {
                'S' => Second::Seen,
                'M' => Second::Missing,
                'L' => Second::Lost,
                other => panic!("{other:?}"),
            };
            let signs = Signs { second, ..Signs::default() };
            let seen = Look { signs, ..look(1, i, at(1_000 + 100 * i), outcome('A')) };
            attempts.observe(&[seen], at(1_000 + 100 * i)).first().map_or(' ', letter)
        });
        shown.collect()
    }

    #[test]
    fn a_face_that_a_second_camera_never_sees_is_a_picture_and_one_it_often_misses_waits() {
        for (story, sights, said) in [
            ("seen by both", "SSS", "  A"),
            ("missed now and then", "SMSMS", "    A"),
            ("never seen", "MMMMM", "    T"),
            ("never seen, and then a lucky look", "MMMMMSSSSSS", "    T      "),
            ("seen once in a while", "MMMSMMMMSMMM", "            "),
            ("missed at first", "MMSSS", "    A"),
            ("lost", "LLLLLL", "  L   "),
            ("lost, and then back", "LLLSSS", "  L  A"),
            ("lost and missing", "MMLLL", "    L"),
        ] {
            assert_eq!(with_second(sights), said, "{story}");
        }
    }

    #[test]
    fn a_face_is_watched_before_it_opens_the_door() {
        let (still, stirred) = (Signs::default(), Signs { stirred: true, ..Signs::default() });
        assert_eq!(watched(0, &[still; 4]), "  A ", "unless nobody asked for it");
        assert_eq!(watched(500, &[stirred; 8]), "     A  ", "from its first look");
        assert_eq!(watched(500, &[still; 20]).trim(), "", "what never stirs is no face");
        let mut late = [still; 9];
        late[7..].fill(stirred);
        assert_eq!(watched(500, &late), "       A ", "one that has stood like a statue");
        let unclear = Signs { carried: 8, stood: 28, ..stirred };
        assert_eq!(watched(500, &[unclear; 20]).trim(), "", "too much goes along with it");
    }

    #[test]
    fn a_face_that_brings_its_surroundings_along_is_a_picture_for_good() {
        let (stirred, carried) = (
            Signs { stirred: true, ..Signs::default() },
            Signs { carried: 30, stood: 2, stirred: true, ..Signs::default() },
        );
        let mut shown = vec![stirred, stirred, stirred, carried, stirred];
        shown.resize(30, Signs { stood: 40, ..stirred });
        assert_eq!(watched(500, &shown).trim_end(), "   P", "whatever it shows afterwards");
        assert_eq!(watched(0, &[carried; 9]).trim_end(), "  P");
        let mut attempts = Attempts::new(rule());
        let mut show = |track, ms, signs| {
            let seen = Look { signs, ..look(track, ms, at(ms), outcome('A')) };
            attempts.observe(&[seen], at(ms)).first().map_or(' ', letter)
        };
        let picture: String = (0..3).map(|i| show(1, 1_000 + i, carried)).collect();
        let person: String = (0..4).map(|i| show(2, 5_000 + i, stirred)).collect();
        let later: String = (0..4).map(|i| show(3, 11_100 + i, stirred)).collect();
        assert_eq!(
            (&*picture, &*person, &*later),
            ("  P", "    ", "  A "),
            "and keeps its person out for a while"
        );
    }

    /// Shows Ada every 100 ms; `.` straight on, `<` turned to her left, `>` to her right, `?` somebody unknown, `~` turned too
    /// far to be compared, ` ` nobody in view. `draws` are what the dice give.
    fn challenged(steps: usize, draws: &[Option<u64>], looks: &str) -> String {
        let terms = Terms { steps, each: Duration::from_secs(2), blink: false };
        let demands = Demands { challenge: Some(terms), ..Demands::default() };
        let mut draws = VecDeque::from(draws.to_vec());
        let dice = Dice::new(move || draws.pop_front().flatten());
        let mut attempts = Attempts::new(Rule { demands, ..rule() }).with_dice(Some(dice));
        let mut said = String::new();
        for (i, sign) in (0..).zip(looks.chars()) {
            let when = at(1_000 + 100 * i);
            let (yaw_deg, who) = match sign {
                '<' => (30.0, 'A'),
                '>' => (-30.0, 'A'),
                '?' => (0.0, '?'),
                '~' => (60.0, '~'),
                _ => (0.0, 'A'),
            };
            let seen = Look { yaw_deg, ..look(1, i, when, outcome(who)) };
            let frame = if sign == ' ' { Vec::new() } else { vec![seen] };
            // After the last answer the door opens in the same frame.
            said.push(attempts.observe(&frame, when).last().map_or(' ', letter));
        }
        said.trim_end().to_owned()
    }

    #[test]
    fn who_is_asked_to_do_something_is_let_in_when_it_is_done() {
        let (left, right) = (Some(0), Some(1));
        let late = format!("  f l{}X", " ".repeat(20));
        for (steps, draws, looks, said) in [
            (1, &[left][..], ".....<<..", "  f l A"),
            (1, &[right], ".....>>..", "  f r A"),
            (1, &[left], ".....>>....", "  f l X"),
            (2, &[left, right], ".....<<..>>..", "  f l f r A"),
            (2, &[left, right], ".....<<..<<....", "  f l f r X"),
            // Too far round to be compared: it could be anybody.
            (1, &[left], ".....~~~~....", "  f l"),
            // Nothing is done in time, in view or gone.
            (1, &[left], &".".repeat(27), &*late),
            (1, &[left], &format!(".....{}", " ".repeat(22)), &*late),
            // Nothing can be drawn: nobody is let in.
            (1, &[None], "..........", ""),
        ] {
            assert_eq!(challenged(steps, draws, looks), said, "{looks:?}");
        }
    }

    #[test]
    fn without_dice_nobody_is_let_in_where_challenges_are_asked_for() {
        let terms = Terms { steps: 1, each: Duration::from_secs(2), blink: false };
        let demands = Demands { challenge: Some(terms), ..Demands::default() };
        assert_eq!(play_with(Rule { demands, ..rule() }, "AAAAAAAA", FRAME_MS, LATENCY_MS).trim(), "");
    }

    #[test]
    fn a_late_grant_is_dropped_and_logged_as_stale_once() {
        assert_eq!(play_with(rule(), "AAAAAAAA", FRAME_MS, 501), "  S     ");
        assert_eq!(play_with(rule(), "AAA", FRAME_MS, 500), "  A");
        assert_eq!(
            play_with(rule(), "?????", FRAME_MS, 8_000),
            "    ?",
            "strangers are refused however late"
        );
    }

    #[test]
    fn who_was_late_is_let_in_by_the_next_fresh_look() {
        let mut attempts = Attempts::new(rule());
        for seq in 0..3 {
            let verdicts = attempts.observe(&[look(1, seq, at(1000 + seq), outcome('A'))], at(9000 + seq));
            assert_eq!(verdicts.iter().map(letter).collect::<String>(), if seq == 2 { "S" } else { "" });
        }
        let verdicts = attempts.observe(&[look(1, 3, at(9_100), outcome('A'))], at(9_200));
        let [Verdict::Grant(grant)] = &verdicts[..] else { panic!("{verdicts:?}") };
        assert_eq!(grant.evidence().unwrap().frame_age_ms, 100);
    }

    #[test]
    fn who_was_let_in_is_not_called_late_afterwards() {
        let mut attempts = Attempts::new(Rule { regrant_after: Duration::from_millis(100), ..rule() });
        let mut said = String::new();
        for seq in 0..12_u64 {
            let captured = at(1_000 + seq * 200);
            let late = Duration::from_millis(if seq < 3 { 100 } else { 900 });
            said.extend(
                attempts.observe(&[look(1, seq, captured, outcome('A'))], captured + late).iter().map(letter),
            );
        }
        assert_eq!(said, "A");
    }

    #[test]
    fn an_unusable_look_does_not_grant_on_looks_that_have_become_old() {
        let mut attempts = Attempts::new(Rule { regrant_after: Duration::ZERO, ..rule() });
        for seq in 0..2 {
            assert!(attempts.observe(&[look(1, seq, at(1000 + seq), outcome('A'))], at(1100)).is_empty());
        }
        assert!(attempts.observe(&[look(1, 2, at(4000), outcome('~'))], at(4100)).is_empty());
    }

    #[test]
    fn the_same_person_is_let_in_again_only_after_the_pause_on_any_track() {
        let mut attempts = Attempts::new(rule());
        let mut granted = Vec::new();
        for seq in 0..400_u64 {
            let (now, captured) = (at(5_100 + seq * 100), at(5_000 + seq * 100));
            let looks =
                [look(seq / 50, seq, captured, outcome('A')), look(1_000, seq, captured, outcome('B'))];
            granted.extend(attempts.observe(&looks, now).into_iter().map(|v| (letter(&v), now.as_millis())));
        }
        assert_eq!(
            granted,
            [('A', 5_300), ('B', 5_300), ('A', 15_300), ('B', 15_300), ('A', 25_300), ('B', 25_300)]
                .into_iter()
                .chain([('A', 35_300), ('B', 35_300)])
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn forgetting_drops_the_evidence_but_not_who_was_let_in() {
        let mut attempts = Attempts::new(rule());
        let show = |attempts: &mut Attempts, seq: u64, sign| {
            let verdicts =
                attempts.observe(&[look(1, seq, at(1000 + seq * 66), outcome(sign))], at(1100 + seq * 66));
            verdicts.iter().map(letter).collect::<String>()
        };
        assert_eq!([0, 1].map(|seq| show(&mut attempts, seq, 'A')), ["", ""]);
        attempts.forget();
        assert_eq!([2, 3, 4].map(|seq| show(&mut attempts, seq, 'A')), ["", "", "A"]);
        attempts.forget();
        assert_eq!([5, 6, 7, 8].map(|seq| show(&mut attempts, seq, 'A')), ["", "", "", ""]);
    }

    #[test]
    fn evidence_of_one_track_is_never_handed_to_another() {
        let mut attempts = Attempts::new(rule());
        for seq in 0..20_u64 {
            let verdicts = attempts
                .observe(&[look(seq % 10, seq, at(1000 + seq * 66), outcome('A'))], at(1100 + seq * 66));
            assert!(verdicts.is_empty(), "two looks a track, ten tracks: {verdicts:?}");
        }
    }

    #[test]
    fn the_same_frame_delivered_twice_is_one_look() {
        let mut attempts = Attempts::new(rule());
        let twice = [look(1, 5, at(1000), outcome('A')), look(1, 5, at(1000), outcome('A'))];
        for _ in 0..5 {
            assert!(attempts.observe(&twice, at(1100)).is_empty());
        }
        assert!(attempts.observe(&[look(1, 6, at(1066), outcome('A'))], at(1100)).is_empty());
        assert_eq!(
            attempts.observe(&[look(1, 7, at(1066), outcome('A'))], at(1100)).len(),
            1,
            "a third frame"
        );
    }

    #[test]
    fn a_frame_from_before_is_ignored() {
        let mut attempts = Attempts::new(rule());
        for seq in 0..2 {
            assert!(attempts.observe(&[look(1, seq, at(1000 + seq), outcome('A'))], at(1100)).is_empty());
        }
        assert!(attempts.observe(&[look(2, 9, at(1200), outcome('?'))], at(1300)).is_empty(), "1 has left");
        assert!(
            attempts.observe(&[look(1, 8, at(1199), outcome('A'))], at(1300)).is_empty(),
            "seen before that"
        );
    }

    #[test]
    fn a_stamp_in_the_future_is_new_within_the_bound_and_stale_beyond() {
        let ahead = |by_ms: u64| {
            let mut attempts = Attempts::new(rule());
            let show = |seq: u64| {
                attempts.observe(&[look(1, seq, at(1000 + seq + by_ms), outcome('A'))], at(1000 + seq))
            };
            (0..4).flat_map(show).collect::<Vec<_>>()
        };
        let [Verdict::Grant(grant)] = &ahead(50)[..] else { panic!("within the bound") };
        assert_eq!(grant.evidence().unwrap().frame_age_ms, 0);
        for by_ms in [51, 600, 3_600_000] {
            let [Verdict::Refuse(RefusalReason::Stale, evidence)] = &ahead(by_ms)[..] else {
                panic!("{by_ms}")
            };
            assert_eq!(evidence.frame_age_ms, 0);
        }
    }

    #[test]
    fn one_wrong_stamp_does_not_shut_out_everybody_until_its_time_has_come() {
        let mut attempts = Attempts::new(rule());
        assert!(attempts.observe(&[look(1, 0, at(3_600_000), outcome('A'))], at(1000)).is_empty());
        let said: Vec<_> = (1..=3)
            .flat_map(|seq| attempts.observe(&[look(1, seq, at(1000 + seq), outcome('A'))], at(1100)))
            .collect();
        let [Verdict::Grant(grant)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(
            grant.evidence().unwrap().frames_seen,
            3,
            "the look with the wrong stamp is not among them"
        );
    }

    #[test]
    fn a_clock_that_runs_backwards_grants_nobody_twice() {
        let mut attempts = Attempts::new(rule());
        let mut grants = 0;
        for seq in 0..40_u64 {
            let time = at(100_000 - seq * 500);
            grants += attempts.observe(&[look(1, seq, time, outcome('A'))], time).len();
        }
        assert!(grants <= 1, "{grants}");
    }

    #[test]
    fn what_is_not_a_number_names_nobody() {
        let nan = f32::NAN;
        let grants = |rule: Rule, shown: LookOutcome| {
            let mut attempts = Attempts::new(rule);
            let said: Vec<_> = (0..9)
                .flat_map(|seq| attempts.observe(&[look(1, seq, at(1000 + seq), shown.clone())], at(1100)))
                .collect();
            said.iter().any(|verdict| matches!(verdict, Verdict::Grant(_)))
        };
        let good = || compared((1, 0.9), Some((2, 0.1)));
        assert!(grants(rule(), good()));
        assert!(!grants(rule(), compared((1, nan), None)));
        assert!(!grants(rule(), compared((1, f32::INFINITY), None)));
        assert!(!grants(rule(), compared((1, 0.9), Some((2, nan)))));
        assert!(!grants(Rule { threshold: Score(nan), ..rule() }, good()));
        assert!(!grants(Rule { margin: nan, ..rule() }, good()));
        assert!(!grants(Rule { frames_needed: 6, ..rule() }, good()), "k above n is never reached");
    }

    #[test]
    fn evidence_is_the_best_look_with_the_counts() {
        let mut attempts = Attempts::new(rule());
        let shown = [
            compared((1, 0.60), Some((2, 0.20))),
            compared((2, 0.49), None),
            compared((1, 0.80), Some((3, 0.10))),
            compared((1, 0.55), Some((2, 0.15))),
        ];
        let mut said = Vec::new();
        for (seq, outcome) in (10..).zip(shown) {
            said = attempts.observe(&[look(4, seq, at(1000 + seq), outcome)], at(1200 + seq));
        }
        let [Verdict::Grant(grant)] = &said[..] else { panic!("{said:?}") };
        assert_eq!((grant.person(), grant.name(), grant.decided()), (PersonId(1), "Ada", at(1213)));
        let expected = Evidence {
            signs: Signs::default(),
            watched_ms: None,
            live: None,
            alike: None,
            track: TrackId(4),
            seq: 13,
            frame_age_ms: 200,
            best: Some(candidate(1, 0.80)),
            runner_up: Some(candidate(3, 0.10)),
            frames_agreed: 3,
            frames_seen: 4,
            rule: rule(),
        };
        assert_eq!(grant.evidence(), Some(&expected));
    }

    #[test]
    fn a_refusal_shows_the_best_look_too() {
        let mut attempts = Attempts::new(rule());
        let scores = [0.31, f32::NAN, 0.44, 0.2, 0.1];
        let said: Vec<_> = (0..)
            .zip(scores)
            .flat_map(|(seq, score)| {
                attempts.observe(&[look(1, seq, at(1000 + seq), compared((2, score), None))], at(1100))
            })
            .collect();
        let [Verdict::Refuse(RefusalReason::Unknown, evidence)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(evidence.best, Some(candidate(2, 0.44)));
        assert_eq!((evidence.frames_agreed, evidence.frames_seen), (0, 5));
    }

    #[test]
    fn memory_is_bounded_however_many_pass_by() {
        let mut attempts = Attempts::new(rule());
        for seq in 0..20_000_u64 {
            let looks = [look(seq, seq, at(seq * 100), outcome('?'))];
            assert!(attempts.observe(&looks, at(seq * 100)).is_empty());
            assert!(attempts.tracks.len() <= 51, "tracks of the last 5 s only: {}", attempts.tracks.len());
        }
        let mut attempts = Attempts::new(Rule { regrant_after: Duration::from_millis(300), ..rule() });
        for seq in 0..2_000_u64 {
            let _ = attempts.observe(&[look(1, seq, at(seq * 100), outcome('A'))], at(seq * 100));
            assert!(attempts.tracks[0].window.capacity() <= 8, "the window does not grow");
            assert!(attempts.let_in.len() <= 1);
        }
    }

    /// One frame of the random streams: when it was handled, how old it was then, and who was in it.
    #[derive(Clone, Debug)]
    struct Shown {
        after_ms: u64,
        age_ms: u64,
        faces: Vec<(u64, LookOutcome)>,
    }

    fn outcomes() -> impl Strategy<Value = LookOutcome> {
        let score = prop_oneof![
            4 => 0.5_f32..1.0,
            2 => 0.3_f32..0.6,
            1 => Just(f32::NAN),
        ];
        let matched = (1..=3_i64, score, prop::option::of((1..=2_i64, -0.2_f32..0.6))).prop_map(
            |(who, score, second)| {
                compared((who, score), second.map(|(step, score)| (1 + (who - 1 + step) % 3, score)))
            },
        );
        prop_oneof![
            8 => (1..=1_i64, 0.58_f32..0.9).prop_map(|best| compared(best, Some((2, 0.2)))),
            4 => matched,
            1 => Just(LookOutcome::Compared(None)),
            2 => Just(LookOutcome::Unusable(QualityIssue::TurnedAway)),
        ]
    }

    fn streams() -> impl Strategy<Value = Vec<Shown>> {
        let faces = prop::collection::btree_map(0..3_u64, outcomes(), 0..=3);
        let gap = prop_oneof![20 => 20..400_u64, 1 => 4_000..12_000_u64];
        let age = prop_oneof![8 => 0..350_u64, 1 => 350..900_u64];
        let shown = (gap, age, faces).prop_map(|(after_ms, age_ms, faces)| Shown {
            after_ms,
            age_ms,
            faces: faces.into_iter().collect(),
        });
        prop::collection::vec(shown, 1..60)
    }

    fn rules() -> impl Strategy<Value = Rule> {
        (1..=4_usize, 0..=3_usize, prop::sample::select(vec![0_u64, 700, 5_000])).prop_map(
            |(k, more, pause)| Rule {
                frames_needed: k,
                frames_window: k + more,
                regrant_after: Duration::from_millis(pause),
                ..rule()
            },
        )
    }

    /// The rule in its plainest words, worked out anew from everything that was ever shown.
    struct Oracle {
        rule: Rule,
        /// All frames that were newer than those before them, with the time at which they were handled.
        history: Vec<(Vec<Look>, MonoTime)>,
        grants: Vec<(PersonId, TrackId, MonoTime)>,
    }

    impl Oracle {
        fn names(&self, look: &Look) -> Option<PersonId> {
            let LookOutcome::Compared(Some(found)) = &look.outcome else { return None };
            let best = found.best.score.0;
            let second = found.runner_up.as_ref().map_or(f32::NEG_INFINITY, |second| second.score.0);
            (best >= self.rule.threshold.0 && best - second >= self.rule.margin).then_some(found.best.person)
        }

        /// The looks of `track` since it was last forgotten or granted.
        fn looks(&self, track: TrackId) -> Vec<&Look> {
            let mut looks = Vec::new();
            let mut seen = None;
            for (frame, when) in &self.history {
                let Some(look) = frame.iter().find(|look| look.track == track) else { continue };
                if seen.is_some_and(|seen| when.since(seen) > FORGET_AFTER) {
                    looks.clear();
                }
                seen = Some(*when);
                looks.push(look);
                if self.grants.iter().any(|&(_, granted, at)| granted == track && at == *when) {
                    looks.clear();
                }
            }
            looks
        }

        /// Whom `observe` must let in for this frame, in order.
        fn show(&mut self, frame: &[Look], now: MonoTime) -> Vec<PersonId> {
            let newest = self.history.iter().flat_map(|(frame, _)| frame).map(|look| look.captured).max();
            let newer = frame.first().is_some_and(|look| Some(look.captured) >= newest);
            if !newer {
                return Vec::new();
            }
            self.history.push((frame.to_vec(), now));
            let mut granted = Vec::new();
            for look in frame {
                let Some(person) = self.names(look) else { continue };
                let compared = |look: &&&Look| matches!(look.outcome, LookOutcome::Compared(_));
                let looks = self.looks(look.track);
                let window: Vec<_> =
                    looks.iter().filter(compared).rev().take(self.rule.frames_window).collect();
                let named: Vec<_> = window.iter().filter_map(|look| self.names(look)).collect();
                let agreed =
                    named.len() >= self.rule.frames_needed && named.iter().all(|other| *other == person);
                let fresh = now.since(look.captured) <= self.rule.max_frame_age;
                let paused = self.grants.iter().all(|&(who, _, when)| {
                    who != person || (when < now && now.since(when) >= self.rule.regrant_after)
                });
                if agreed && fresh && paused {
                    self.grants.push((person, look.track, now));
                    granted.push(person);
                }
            }
            granted
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn grants_exactly_what_the_rule_says(rule in rules(), stream in streams()) {
            let mut attempts = Attempts::new(rule.clone());
            let mut oracle = Oracle { rule, history: Vec::new(), grants: Vec::new() };
            let mut now = at(100_000);
            for (seq, shown) in (0..).zip(stream) {
                now = now + Duration::from_millis(shown.after_ms);
                let captured = now - Duration::from_millis(shown.age_ms);
                let looks: Vec<_> = shown.faces.into_iter().map(|(track, o)| look(track, seq, captured, o)).collect();
                let granted: Vec<_> = attempts.observe(&looks, now).into_iter().filter_map(|verdict| match verdict {
                    Verdict::Grant(grant) => Some(grant.person()),
                    Verdict::Refuse(..) | Verdict::Tell(_) => None,
                }).collect();
                prop_assert_eq!(granted, oracle.show(&looks, now));
            }
        }

        #[test]
        fn wild_stamps_never_grant_late_or_early(stamps in prop::collection::vec((0..4_000_u64, 0..4_000_u64), 1..60)) {
            let mut attempts = Attempts::new(Rule { regrant_after: Duration::ZERO, ..rule() });
            for (seq, (captured, now)) in (0..).zip(stamps) {
                for verdict in attempts.observe(&[look(1, seq, at(captured), outcome('A'))], at(now)) {
                    if let Verdict::Grant(grant) = verdict {
                        prop_assert!(captured <= now + 50 && now <= captured + 500, "{} at {}", captured, now);
                        prop_assert!(grant.evidence().unwrap().frames_agreed >= 3);
                    }
                }
            }
        }

        #[test]
        fn each_track_is_refused_at_most_once_and_never_after_its_grant(stream in streams()) {
            let mut attempts = Attempts::new(rule());
            let (mut refused, mut granted) = (Vec::new(), Vec::new());
            for (seq, shown) in (0..).zip(stream) {
                // Steps too short for any track to be forgotten.
                let captured = at(1_000 + seq * 50);
                let looks: Vec<_> = shown.faces.into_iter().map(|(track, o)| look(track, seq, captured, o)).collect();
                let late = Duration::from_millis(shown.age_ms);
                for (look, verdict) in attempts.observe(&looks, captured + late).into_iter().map(|v| match v {
                    Verdict::Grant(grant) => (grant.evidence().unwrap().track, None),
                    Verdict::Refuse(why, evidence) => (evidence.track, Some((why, evidence.best))),
                    Verdict::Tell(told) => panic!("nobody asked for {told:?}"),
                }) {
                    let Some((why, best)) = verdict else { granted.push(look); continue };
                    prop_assert!(!granted.contains(&look), "refused after its grant");
                    let who = (why == RefusalReason::Stale).then(|| best.map(|best| best.person));
                    prop_assert!(!refused.contains(&(look, who)), "said twice");
                    refused.push((look, who));
                }
            }
        }
    }
}
