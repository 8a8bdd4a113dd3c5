//! The challenge: what a face is asked to do before it opens the door, drawn at random, so that neither a photograph nor a
//! recording can have it ready. PURE: what a track shows, with the time, goes in; what to tell the person comes out.
//!
//! | state       | waits for                                     | then                                   |
//! |-------------|-----------------------------------------------|----------------------------------------|
//! | `Facing`    | two looks straight at the camera              | `Asked` the next thing                 |
//! | `Asked`     | two looks that do it                          | `Facing` again, or passed after the last |
//! | `Asked`     | two looks that turn the other way, or at all when asked to blink | failed: wrong        |
//! | either      | the time for this step to run out             | failed: no answer                      |
//!
//! A turn is measured against how the face looked when it was asked, by how far the nose moves between the eyes and the
//! mouth. On a flat picture that is tilted the nose goes with them: `docs/liveness.md` has what tilting comes to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::MonoTime;

/// Turned to a side by up to this many degrees, a face looks at the camera.
const FACING_DEG: f32 = 15.0;
/// From so many degrees on it has turned; prints and screens that are tilted went through 16° at most from end to end.
const TURNED_DEG: f32 = 20.0;
/// So many looks in a row must agree; one may be an error of the detector.
const LOOKS: u8 = 2;
/// Most that may be asked of one face.
pub const MAX_STEPS: usize = 4;

/// One thing to do. Sides are the person's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Turn the head to the left.
    Left,
    /// Turn the head to the right.
    Right,
    /// Close both eyes and open them.
    Blink,
}

impl Step {
    /// What the person is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::Left => "turn your head to the left",
            Self::Right => "turn your head to the right",
            Self::Blink => "close your eyes for a moment",
        }
    }
}

/// What the person at the door is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tell {
    /// To look at the camera.
    Face,
    /// To do this.
    Do(Step),
    /// That this was all.
    Done,
}

impl Tell {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Face => "look at the camera",
            Self::Do(step) => step.words(),
            Self::Done => "thank you",
        }
    }
}

/// Where draws come from: evenly distributed numbers, or `None` when there are none just now.
pub struct Dice(Box<dyn FnMut() -> Option<u64> + Send>);

impl Dice {
    /// Of this source.
    pub fn new(source: impl FnMut() -> Option<u64> + Send + 'static) -> Self {
        Self(Box::new(source))
    }
}

impl std::fmt::Debug for Dice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dice")
    }
}

/// What is asked of every face.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// How many things in a row, 1 to [`MAX_STEPS`].
    pub steps: usize,
    /// Time for each.
    pub each: Duration,
    /// Whether eyes can be seen to blink at this door.
    pub blink: bool,
}

impl Terms {
    /// Draws what to ask for; `None` when the dice give nothing.
    pub fn draw(&self, dice: &mut Dice) -> Option<Vec<Step>> {
        let all = [Step::Left, Step::Right, Step::Blink];
        let known = &all[..if self.blink { 3 } else { 2 }];
        // 2⁶⁴ divides by two, and by three up to one part in 10¹⁹.
        let mut one = |_| Some(known[((dice.0)()? % known.len() as u64) as usize]);
        (0..self.steps.clamp(1, MAX_STEPS)).map(&mut one).collect()
    }
}

/// One look at the face that is challenged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// Turn of the head in degrees, positive to the person's own left.
    pub yaw_deg: f32,
    /// Blinks of this track so far.
    pub blinks: u32,
}

/// Why it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Something else was done.
    Wrong,
    /// Nothing was done in time.
    TooLate,
}

/// How it stands after a look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// Nothing to say.
    Waiting,
    /// Tell the person to do this.
    Ask(Step),
    /// Tell the person to look at the camera again.
    Face,
    /// All was done.
    Passed,
    /// Something else was done, or nothing.
    Failed(Failure),
}

/// One challenge of one track.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge {
    steps: Vec<Step>,
    done: usize,
    each: Duration,
    state: State,
    until: MonoTime,
    /// Looks in a row that did what they should, and what they should not.
    right: u8,
    wrong: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Facing,
    Asked { yaw_deg: f32, blinks: u32 },
    Over(Progress),
}

impl Challenge {
    /// Begins at `now`.
    pub fn new(steps: Vec<Step>, each: Duration, now: MonoTime) -> Self {
        Self { steps, done: 0, each, state: State::Facing, until: now + each, right: 0, wrong: 0 }
    }

    /// What is asked for now; `None` while the face is to look at the camera, and when it is over.
    pub fn asked(&self) -> Option<Step> {
        matches!(self.state, State::Asked { .. }).then(|| self.steps[self.done])
    }

    /// Whether everything was done, and not longer ago than a step may take.
    pub fn is_passed(&self, now: MonoTime) -> bool {
        self.state == State::Over(Progress::Passed) && now <= self.until
    }

    /// Whether it has ended, well or not.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// Takes a look. After the end it says what it said there, and nothing changes any more.
    pub fn look(&mut self, shown: Shown, now: MonoTime) -> Progress {
        if let Progress::Failed(failure) = self.tick(now) {
            return Progress::Failed(failure);
        }
        match self.state {
            State::Over(end) => end,
            State::Facing => {
                if !self.holds(shown.yaw_deg.abs() <= FACING_DEG, false) {
                    return Progress::Waiting;
                }
                self.enter(State::Asked { yaw_deg: shown.yaw_deg, blinks: shown.blinks }, now);
                Progress::Ask(self.steps[self.done])
            }
            State::Asked { yaw_deg, blinks } => {
                let turn = shown.yaw_deg - yaw_deg;
                let (left, right) = (turn >= TURNED_DEG, turn <= -TURNED_DEG);
                let (does, errs) = match self.steps[self.done] {
                    Step::Left => (left, right),
                    Step::Right => (right, left),
                    Step::Blink => (false, left || right),
                };
                let blinked = self.steps[self.done] == Step::Blink && shown.blinks > blinks;
                if !(self.holds(does, errs) || blinked) {
                    if self.wrong >= LOOKS {
                        return self.end(Progress::Failed(Failure::Wrong));
                    }
                    return Progress::Waiting;
                }
                self.done += 1;
                if self.done == self.steps.len() {
                    self.until = now + self.each;
                    return self.end(Progress::Passed);
                }
                self.enter(State::Facing, now);
                Progress::Face
            }
        }
    }

    /// What time alone brings.
    pub fn tick(&mut self, now: MonoTime) -> Progress {
        match self.state {
            State::Over(end) => end,
            _ if now > self.until => self.end(Progress::Failed(Failure::TooLate)),
            _ => Progress::Waiting,
        }
    }

    /// Counts a look; whether enough in a row did what they should.
    fn holds(&mut self, does: bool, errs: bool) -> bool {
        self.right = if does { self.right + 1 } else { 0 };
        self.wrong = if errs { self.wrong + 1 } else { 0 };
        self.right >= LOOKS
    }

    fn enter(&mut self, state: State, now: MonoTime) {
        (self.state, self.right, self.wrong, self.until) = (state, 0, 0, now + self.each);
    }

    fn end(&mut self, end: Progress) -> Progress {
        self.state = State::Over(end);
        end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Step::{Blink, Left, Right};

    const EACH: Duration = Duration::from_secs(5);

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    /// Plays looks 100 ms apart. `.` straight on, `<` to the person's left, `>` to their right, `-` between, `b` a blink.
    /// What is said after each: ` ` nothing, `L` `R` `B` asked, `f` look at the camera, `P` passed, `W` wrong, `T` too late.
    fn play(steps: &[Step], looks: &str) -> String {
        let mut challenge = Challenge::new(steps.to_vec(), EACH, at(0));
        let mut blinks = 3;
        let mut said = String::new();
        for (i, look) in (0..).zip(looks.chars()) {
            blinks += u32::from(look == 'b');
            let yaw_deg = match look {
                '<' => 30.0,
                '>' => -30.0,
                '-' => 17.0,
                _ => 3.0,
            };
            said.push(letter(challenge.look(Shown { yaw_deg, blinks }, at(100 * i))));
        }
        said
    }

    fn letter(progress: Progress) -> char {
        match progress {
            Progress::Waiting => ' ',
            Progress::Ask(Left) => 'L',
            Progress::Ask(Right) => 'R',
            Progress::Ask(Blink) => 'B',
            Progress::Face => 'f',
            Progress::Passed => 'P',
            Progress::Failed(Failure::Wrong) => 'W',
            Progress::Failed(Failure::TooLate) => 'T',
        }
    }

    #[test]
    fn the_table() {
        for (steps, looks, said) in [
            (&[Left][..], "..-<<.", " L  PP"),
            (&[Right], "..->>.", " R  PP"),
            (&[Blink], "...b..", " B PPP"),
            (&[Left], "..>>..", " L WWW"),
            (&[Right], "..<<..", " R WWW"),
            (&[Blink], "..<<b.", " B WWW"),
            // One look may be an error, of either sort.
            (&[Left], "..<.<<", " L   P"),
            (&[Left], "..>.<<", " L   P"),
            // Whoever does not look at the camera is not asked yet.
            (&[Left], "<<<..<<", "    L P"),
            // What was done before it was asked for does not count, and must be undone before the next.
            (&[Left, Left], "..<<<<..<<", " L f   L P"),
            (&[Left, Right], "..<<..>>.", " L f R PP"),
            (&[Blink, Left], "..b.<.<<..<<", " Bf      L P"),
            (&[Right, Right, Blink], "..>>..>>..b", " R f R f BP"),
        ] {
            let got = play(steps, looks);
            let want: String = said.chars().collect();
            assert_eq!(got.trim_end(), want.trim_end(), "{steps:?} {looks:?}");
        }
    }

    #[test]
    fn no_answer_in_time_is_a_failure_and_each_step_has_its_own_time() {
        assert_eq!(play(&[Left], &".".repeat(60)).trim(), format!("L{}TTTTTTTT", " ".repeat(50)));
        let mut never_faced = Challenge::new(vec![Left], EACH, at(0));
        assert_eq!(never_faced.tick(at(5_000)), Progress::Waiting);
        assert_eq!(never_faced.tick(at(5_001)), Progress::Failed(Failure::TooLate));
        let answer = Shown { yaw_deg: 40.0, blinks: 0 };
        assert_eq!(never_faced.look(answer, at(5_002)), Progress::Failed(Failure::TooLate), "for good");
    }

    #[test]
    fn draws_are_even_within_what_can_be_seen() {
        let mut state = 5_u64;
        let mut dice = Dice::new(move || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            Some(z ^ (z >> 31))
        });
        for blink in [false, true] {
            let terms = Terms { steps: 2, each: EACH, blink };
            let mut seen = std::collections::HashMap::<_, u32>::new();
            for _ in 0..9_000 {
                *seen.entry(terms.draw(&mut dice).unwrap()).or_default() += 1;
            }
            let kinds = if blink { 3 } else { 2_u32 };
            assert_eq!(seen.len() as u32, kinds * kinds, "{seen:?}");
            let even = 9_000 / (kinds * kinds);
            assert!(seen.values().all(|n| n.abs_diff(even) < even / 5), "{seen:?}");
        }
        let terms = Terms { steps: 99, each: EACH, blink: true };
        assert_eq!(terms.draw(&mut dice).unwrap().len(), MAX_STEPS);
        let none = Terms { steps: 0, ..terms };
        assert_eq!(none.draw(&mut dice).unwrap().len(), 1, "nobody passes for nothing");
        assert_eq!(terms.draw(&mut Dice::new(|| None)), None);
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(prop::sample::select(vec![Left, Right, Blink]), 1..4)
    }

    proptest! {
        /// A face that never turns by the angle and never blinks passes nothing, however long it tries.
        #[test]
        fn a_picture_that_is_tilted_never_passes(
            steps in steps(),
            looks in prop::collection::vec((0_u64..400, -9.9_f32..9.9), 1..200),
        ) {
            let mut challenge = Challenge::new(steps, EACH, at(0));
            let mut now = at(0);
            for (gap, yaw_deg) in looks {
                now = now + Duration::from_millis(gap);
                prop_assert_ne!(challenge.look(Shown { yaw_deg, blinks: 0 }, now), Progress::Passed);
            }
        }

        /// Passing takes a look of each kind that was asked, after it was asked; and the end is final.
        #[test]
        fn who_passes_has_done_all_in_order_and_the_end_is_final(
            steps in steps(),
            looks in prop::collection::vec((0_u64..400, -50.0_f32..50.0, any::<bool>()), 1..200),
        ) {
            let mut challenge = Challenge::new(steps.clone(), EACH, at(0));
            let (mut now, mut blinks, mut asked, mut end) = (at(0), 0, Vec::new(), None);
            let mut since = Vec::new();
            for (gap, yaw_deg, blink) in looks {
                now = now + Duration::from_millis(gap);
                blinks += u32::from(blink);
                let progress = challenge.look(Shown { yaw_deg, blinks }, now);
                if let Some((end, _)) = end {
                    prop_assert_eq!(progress, end);
                    continue;
                }
                since.push((yaw_deg, blink));
                match progress {
                    Progress::Ask(step) => {
                        prop_assert_eq!(step, steps[asked.len()]);
                        asked.push(step);
                        since.clear();
                        since.push((yaw_deg, false));
                    }
                    Progress::Face | Progress::Passed => {
                        let base = since[0].0;
                        let did = |turned: &dyn Fn(f32) -> bool| {
                            since[1..].iter().filter(|(yaw, _)| turned(yaw - base)).count() >= 2
                        };
                        let done = match asked.last() {
                            Some(Left) => did(&|turn| turn >= TURNED_DEG),
                            Some(Right) => did(&|turn| turn <= -TURNED_DEG),
                            Some(Blink) => since[1..].iter().any(|(_, blink)| *blink),
                            None => false,
                        };
                        prop_assert!(done, "{:?} {:?}", asked, since);
                    }
                    _ => {}
                }
                if matches!(progress, Progress::Passed | Progress::Failed(_)) {
                    end = Some((progress, now));
                }
                let passed = end.is_some_and(|(end, at)| end == Progress::Passed && now <= at + EACH);
                prop_assert_eq!((challenge.is_passed(now), challenge.is_over()), (passed, end.is_some()));
            }
            if end.is_some_and(|(end, _)| end == Progress::Passed) {
                prop_assert_eq!(asked, steps);
            }
        }

        #[test]
        fn figures_that_are_no_numbers_pass_nothing(steps in steps(), bad in prop::sample::select(vec![f32::NAN, f32::INFINITY])) {
            let mut challenge = Challenge::new(steps, EACH, at(0));
            for i in 0..20 {
                let progress = challenge.look(Shown { yaw_deg: bad, blinks: 0 }, at(i));
                prop_assert!(!matches!(progress, Progress::Passed), "{:?}", progress);
            }
        }
    }
}
