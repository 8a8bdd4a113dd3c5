//! Every string of the pages, so that they can be translated in one place. Names of events are in `words`.

use super::accounts::Role;

pub(super) const PRODUCT: &str = "accessd";
pub(super) const SKIP: &str = "Skip to content";
pub(super) const MAIN_MENU: &str = "Main";
pub(super) const NOW: &str = "Now";
pub(super) const EVENTS: &str = "Events";
pub(super) const PEOPLE: &str = "People";
pub(super) const POLICY: &str = "Policy";
pub(super) const SITE: &str = "Site";
pub(super) const LOG_OUT: &str = "Log out";
pub(super) const BACK: &str = "Back";

// Logging in, and being refused.
pub(super) const LOG_IN: &str = "Log in";
pub(super) const LOG_IN_LEAD: &str = "Face access control for this door";
pub(super) const ACCOUNT: &str = "Account";
pub(super) const PASSWORD: &str = "Password";
pub(super) const WRONG: &str = "Account and password do not belong together.";
pub(super) const NO_ACCOUNTS: &str = "There is no account yet. The first one is made on the device itself: accessd console add-user NAME --role admin";
pub(super) const SESSION_OVER: &str = "Your session is over. Log in again.";
pub(super) const NOT_FROM_US: &str =
    "This change was not sent from the console's own page, and was not made.";
pub(super) const NO_PROOF: &str = "This form is not of your present session, and nothing was changed. Go back, load the page again, and repeat it.";
pub(super) const TOO_LARGE: &str = "This is more than the console takes at once. A picture may have 700 kB.";
pub(super) const NOT_FOUND: &str = "There is no such page.";
pub(super) const BAD_FORM: &str = "This form is not complete.";
pub(super) const STOPPING: &str = "The console is stopping.";
pub(super) const NO_SERVICE: &str = "The door's service does not run. On the device: systemctl start accessd";
pub(super) const ODD_ANSWER: &str =
    "The service gave an answer to another question. Are it and the console of one version?";

pub(super) fn wait(seconds: u64) -> String {
    format!("Too many attempts failed. Try again in {seconds} s.")
}

pub(super) fn needs_role(role: Role) -> String {
    format!("This takes an account with the role {role}.")
}

// Now.
pub(super) const DOOR: &str = "Door";
pub(super) const AT_DOORS: &str = "At these doors only";
pub(super) const AT_DOORS_HINT: &str = "Separated by commas; empty is at all";
pub(super) const LOCKED: &str = "Locked";
pub(super) const UNLOCKED: &str = "Unlocked";
pub(super) const HELD_OPEN: &str = "Held open";
pub(super) const LOCKDOWN: &str = "Lockdown";
pub(super) const LOCKDOWN_ON: &str = "Nobody is let in. The exit button works.";
pub(super) const LOCKDOWN_BEGIN: &str = "Begin lockdown";
pub(super) const LOCKDOWN_END: &str = "End lockdown";
pub(super) const LOCKDOWN_SURE: &str = "Nobody will be let in until lockdown is ended, also after a restart.";
pub(super) const UNREACHABLE: &str = "Not reached";
pub(super) const LEAF_OPEN: &str = "The door stands open";
pub(super) const LEAF_CLOSED: &str = "The door is closed";
pub(super) const NO_CONTACT: &str = "No contact is wired: whether it is closed is not known";
pub(super) const UNLOCK_ONCE: &str = "Let in once";
pub(super) const LOCK_NOW: &str = "Lock now";
pub(super) const HOLD_OPEN: &str = "Hold open";
pub(super) const HOLD_FOR: &str = "Hold open for";
pub(super) const FACE_ON: &str = "Let faces open again";
pub(super) const LATEST: &str = "Latest";
pub(super) const ALL_EVENTS: &str = "All events";
pub(super) const NOTHING_YET: &str = "Nothing has happened yet";
pub(super) const NOTHING_YET_MORE: &str = "What happens at the door appears here by itself.";
pub(super) const CAMERA: &str = "Camera";
pub(super) const DECISION: &str = "Decision";
pub(super) const CLOCK: &str = "Clock";
pub(super) const CLOCK_GOOD: &str = "Believed";
pub(super) const CLOCK_BAD: &str = "Not believed: what is limited in time refuses";
pub(super) const ENROLLED: &str = "Enrolled";
pub(super) const NO_FRAME: &str = "No picture yet";
pub(super) const LIVE: &str = "Live picture";
pub(super) const SHOW_PICTURE: &str = "Show the picture";
pub(super) const HIDE_PICTURE: &str = "Hide";
pub(super) const PICTURE_HINT: &str = "Two small pictures a second while this page is open. None is stored.";
pub(super) const NOBODY_IN_VIEW: &str = "Nobody in view";

pub(super) const HOLD_TIMES: [(u64, &str); 4] =
    [(900, "15 minutes"), (3600, "1 hour"), (7200, "2 hours"), (28_800, "8 hours")];

pub(super) fn fps(fps: f32) -> String {
    format!("{fps:.1} pictures a second")
}

pub(super) fn latency(ms: u64) -> String {
    format!("{ms} ms from capture")
}

pub(super) fn people(n: usize) -> String {
    if n == 1 { "1 person".into() } else { format!("{n} people") }
}

pub(super) fn open_for(s: u64) -> String {
    format!("open for {s} s")
}

pub(super) fn silent_for(s: u64) -> String {
    format!("no picture for {s} s")
}

pub(super) fn by(who: &str) -> String {
    format!("by {who}")
}

pub(super) fn in_a_shell(who: &str) -> String {
    format!("{who}, in a shell")
}

// Events.
pub(super) const GROUP_IN: &str = "Let in";
pub(super) const GROUP_REFUSED: &str = "Refused";
pub(super) const GROUP_DOOR: &str = "Door";
pub(super) const GROUP_ALARM: &str = "Alarms";
pub(super) const GROUP_CHANGE: &str = "Changes";
pub(super) const GROUP_SERVICE: &str = "Service";
pub(super) const A_STRANGER: &str = "Somebody unknown";
pub(super) const NOT_KNOWN: &str = "nobody enrolled is alike enough";
pub(super) const TWO_PEOPLE: &str = "could be either of two people";
pub(super) const NOBODY_ENROLLED: &str = "nobody is enrolled";
pub(super) const A_PICTURE: &str = "looks like a picture of a face";
pub(super) const DID_NOT_DO: &str = "did not do what was asked";
pub(super) const NOT_SEEN_TWICE: &str = "Known, but the second camera saw no face there";
pub(super) const SECOND_LOST: &str = "Known, but the second camera gave no picture";
pub(super) const NOT_NEAREST: &str = "stood behind somebody who is let in";
pub(super) const NOT_ALONE: &str = "not alone before the door";
pub(super) const LOOKS_LIKE: &str = "Looks like";
pub(super) const TOLD: &str = "The person at the door is told:";
pub(super) const BY_DOOR: &str = "learnt by the door";
pub(super) const BY_MIGRATION: &str = "made anew for another encoder";
pub(super) const TOO_LATE: &str = "recognised too late";
pub(super) const NOW_CALLED: &str = "now called";
pub(super) const FILTER: &str = "Show";
pub(super) const FROM: &str = "From";
pub(super) const UNTIL: &str = "Until";
pub(super) const PERSON: &str = "Person";
pub(super) const ANYBODY: &str = "Anybody";
pub(super) const KINDS: &str = "What";
pub(super) const OLDER: &str = "Older";
pub(super) const NEWEST: &str = "Newest";
pub(super) const EXPORT: &str = "Export";
pub(super) const NO_MATCH: &str = "No event matches";
pub(super) const NO_MATCH_MORE: &str = "Take a longer time, another person, or more kinds of event.";
pub(super) const CLEAR: &str = "Clear";
pub(super) const TODAY: &str = "Today";
pub(super) const YESTERDAY: &str = "Yesterday";

// One event.
pub(super) const WHY: &str = "Why";
pub(super) const DETAILS: &str = "Details";
pub(super) const GATES: &str = "What it took";
pub(super) const SCORE: &str = "Likeness";
pub(super) const SCORE_MORE: &str = "cosine to the most alike person";
pub(super) const LEAD: &str = "Lead";
pub(super) const LEAD_MORE: &str = "ahead of the next most alike person";
pub(super) const FRAMES: &str = "Agreeing looks";
pub(super) const AGE: &str = "Age of the newest look";
pub(super) const ALIVE: &str = "Liveness";
pub(super) const ALIVE_MORE: &str = "how far it looks like a face and not like a picture of one";
pub(super) const RULE: &str = "Rule";
pub(super) const CANDIDATES: &str = "Most alike";
pub(super) const NEEDED: &str = "needed";
pub(super) const AT_MOST: &str = "at most";
pub(super) const NEITHER: &str = "Nobody is enrolled to compare with.";
pub(super) const RECORD: &str = "Record";
pub(super) const RECORD_MORE: &str = "As it stands in the journal";
pub(super) const WHEN: &str = "When";
pub(super) const BY_WHOM: &str = "By";
pub(super) const NUMBER: &str = "Number";
pub(super) const NO_SUCH_EVENT: &str = "There is no event of this number.";

// People.
pub(super) const ENROL: &str = "Enrol";
pub(super) const ENROL_SOMEBODY: &str = "Enrol somebody";
pub(super) const NAME: &str = "Name";
pub(super) const GROUPS: &str = "Groups";
pub(super) const SAMPLES: &str = "Samples";
pub(super) const VALID: &str = "Valid";
pub(super) const LAST_IN: &str = "Last let in";
pub(super) const NEVER: &str = "never";
pub(super) const ALWAYS: &str = "without limit";
pub(super) const EXPIRED: &str = "expired";
pub(super) const FIND: &str = "Find by name or group";
pub(super) const NOBODY: &str = "Nobody is enrolled";
pub(super) const NOBODY_MORE: &str = "Enrol the first person at the door's camera or from a picture.";
pub(super) const AT_CAMERA: &str = "At the door's camera";
pub(super) const AT_CAMERA_MORE: &str = "One person alone stands before the camera. Nobody is let in meanwhile; closing this page ends it with nothing stored.";
pub(super) const FROM_PICTURE: &str = "From pictures";
pub(super) const FROM_PICTURE_MORE: &str = "One face in each, from the front and well lit. Pictures are made small here, looked at by the service, and not kept.";
pub(super) const BEGIN: &str = "Begin";
pub(super) const STOP: &str = "Stop";
pub(super) const CHOOSE: &str = "Choose pictures";
pub(super) const SEND: &str = "Enrol from these";
pub(super) const MORE_SAMPLES: &str = "Add samples";
pub(super) const NEEDS_SCRIPT: &str = "This needs JavaScript, which is off in this browser.";
pub(super) const RENAME: &str = "Rename";
pub(super) const NEW_NAME: &str = "New name";
pub(super) const TERMS: &str = "Groups and validity";
pub(super) const GROUPS_HINT: &str = "Separated by commas";
pub(super) const VALID_FROM: &str = "Not before";
pub(super) const VALID_UNTIL: &str = "Expires";
pub(super) const ENTRIES: &str = "Entries left";
pub(super) const ENTRIES_HINT: &str = "Empty is without number";
pub(super) const SAVE: &str = "Save";
pub(super) const EXPIRE_NOW: &str = "Expire now";
pub(super) const ERASE: &str = "Erase";
pub(super) const ERASE_MORE: &str =
    "Removes the person and every sample. The journal keeps the name they had. This cannot be undone.";
pub(super) const ERASE_CONFIRM: &str = "Type the name to confirm";
pub(super) const ERASE_MISMATCH: &str = "The name typed is another one; nothing was erased.";
pub(super) const EYES: &str = "Eyes apart";
pub(super) const SHARPNESS: &str = "Sharpness";
pub(super) const LIGHT: &str = "Light";
pub(super) const TURN: &str = "Turned";
pub(super) const SOURCE: &str = "From";
pub(super) const BY_CAMERA: &str = "camera";
pub(super) const BY_PICTURE: &str = "picture";
pub(super) const TAKEN: &str = "Taken";
pub(super) const RECENT: &str = "Recent";
pub(super) const SINCE: &str = "Enrolled";
pub(super) const NOT_OF_MODEL: &str = "of another network: not used";

pub(super) fn enrolled(name: &str) -> String {
    format!("{name} is enrolled.")
}

pub(super) fn renamed(name: &str) -> String {
    format!("Now called {name}.")
}

pub(super) fn erased(name: &str) -> String {
    format!("{name} is erased.")
}

pub(super) fn saved(name: &str) -> String {
    format!("Saved for {name}.")
}

pub(super) fn alike(name: &str, score: f32) -> String {
    format!("{name} ({score:.2})")
}

pub(super) const ALIKE_WARNING: &str = "Close to somebody already enrolled, who could be taken for them:";

// Policy.
pub(super) const WEEK: &str = "This week";
pub(super) const RULES: &str = "Rules";
pub(super) const NO_RULES: &str = "No rules: nobody is let in";
pub(super) const NO_RULES_MORE: &str = "Add a rule that lets somebody in.";
pub(super) const ADD_RULE: &str = "Add a rule";
pub(super) const EFFECT: &str = "What it does";
pub(super) const ALLOW: &str = "Lets in";
pub(super) const DENY: &str = "Keeps out";
pub(super) const KEEP_OPEN: &str = "Keeps the door unlocked";
pub(super) const WHO: &str = "Whom";
pub(super) const EVERYBODY: &str = "everybody";
pub(super) const DAYS: &str = "Days";
pub(super) const DAY_NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
pub(super) const ON_HOLIDAYS: &str = "On holidays";
pub(super) const TOO: &str = "As on other days";
pub(super) const NOT_ON: &str = "Does not count";
pub(super) const ONLY_ON: &str = "Counts then only";
pub(super) const DATES: &str = "Between these dates only";
pub(super) const AFTER_FIRST: &str = "Once somebody of this group has come in";
pub(super) const WITH: &str = "They show";
pub(super) const WITH_WORD: &str = "with";
pub(super) const WITH_FACE: &str = "their face";
pub(super) const WITH_BOTH: &str = "their face and their PIN";
pub(super) const WITH_EITHER: &str = "their face, or number and PIN";
pub(super) const REMOVE: &str = "Remove";
pub(super) const HOLIDAYS: &str = "Holidays";
pub(super) const NO_HOLIDAYS: &str = "No holidays are set.";
pub(super) const YEARLY: &str = "Every year";
pub(super) const FIRST_DAY: &str = "First day";
pub(super) const LAST_DAY: &str = "Last day";
pub(super) const ADD: &str = "Add";
pub(super) const VISITORS: &str = "Visitors";
pub(super) const VISITORS_MORE: &str = "Everybody whose time or number of entries is limited";
pub(super) const NO_VISITORS: &str = "Nobody's validity or entries are limited.";
pub(super) const MAY_THEY: &str = "May they enter?";
pub(super) const AT: &str = "At";
pub(super) const ASK: &str = "Ask";
pub(super) const YES: &str = "Yes";
pub(super) const NO: &str = "No";
pub(super) const ZONE: &str = "Time zone";
pub(super) const ZONE_MACHINE: &str = "the machine's";
pub(super) const PASSBACK: &str = "Nobody enters twice within";
pub(super) const SECONDS: &str = "seconds";
pub(super) const SETTINGS: &str = "For the whole door";
pub(super) const RULE_ADDED: &str = "The rule is in force.";
pub(super) const RULE_REMOVED: &str = "The rule is gone.";
pub(super) const HOLIDAY_ADDED: &str = "The holiday is set.";
pub(super) const HOLIDAY_REMOVED: &str = "The holiday is gone.";
pub(super) const SETTINGS_SAVED: &str = "Saved.";
pub(super) const BAD_TIME: &str = "A moment is written as 2026-11-24T18:00.";
pub(super) const BAD_ENTRIES: &str = "Entries left are a whole number, or empty.";
pub(super) const NO_DAYS: &str = "Choose a day at least.";
pub(super) const DONE_UNLOCK: &str = "Unlocked once.";
pub(super) const DONE_LOCK: &str = "Locked.";
pub(super) const DONE_HOLD: &str = "The door is held open.";
pub(super) const DONE_FACE_ON: &str = "Faces open the door again.";
pub(super) const DONE_LOCKDOWN: &str = "Lockdown: nobody is let in.";
pub(super) const DONE_LOCKDOWN_OVER: &str = "Lockdown is over.";

pub(super) const STEP_ENROLLED: &str = "Enrolled";
pub(super) const STEP_LOCKDOWN: &str = "Lockdown";
pub(super) const STEP_ATTEMPTS: &str = "Failed attempts";
pub(super) const STEP_VALIDITY: &str = "Validity";
pub(super) const STEP_ENTRIES: &str = "Entries left";
pub(super) const STEP_PASSBACK: &str = "Twice within a time";
pub(super) const STEP_END: &str = "No further rule";
pub(super) const NOTHING_AGAINST: &str = "nothing against it";
pub(super) const LETS_IN: &str = "lets them in";

// Site.
pub(super) const THRESHOLD: &str = "Threshold";
pub(super) const SCORES: &str = "Scores of the last decisions";
pub(super) const SCORES_MORE: &str =
    "Likeness of the best candidate of the last grants and refusals. The line is the threshold in force.";
pub(super) const NO_SCORES: &str = "No decision is in the journal yet.";
pub(super) const LIVENESS: &str = "Against pictures";
pub(super) const VERSIONS: &str = "Versions";
pub(super) const SERVICE: &str = "Service";
pub(super) const CONSOLE: &str = "Console";
pub(super) const ENCODER: &str = "Encoder";
pub(super) const UP: &str = "Running for";
pub(super) const RELAY: &str = "Relay";
pub(super) const FAULTS: &str = "Faults";
pub(super) const NONE: &str = "none";
pub(super) const BY_HAND: &str = "set by hand";
pub(super) const NOT_SUPPORTED: &str = "More than was asked for: the measurements of this network support no stricter threshold. Ask for a second factor as well.";

pub(super) fn strangers(at_most: &str, wanted: &str, people: usize) -> String {
    format!(
        "At most {at_most} of strangers' attempts opens the door, with {} enrolled; asked for was {wanted}.",
        self::people(people)
    )
}

pub(super) const NO_MATCH_PERSON: &str = "Nobody of this name or group.";
pub(super) const EVERYBODY_IS_NO_GROUP: &str = "Everybody belongs to `everybody` anyway.";

pub(super) fn from_moment(moment: &str) -> String {
    format!("from {moment}")
}

pub(super) fn until_moment(moment: &str) -> String {
    format!("until {moment}")
}

pub(super) fn entries(left: u32) -> String {
    if left == 1 { "1 entry left".into() } else { format!("{left} entries left") }
}

pub(super) fn rule_number(number: i64) -> String {
    format!("rule {number}")
}

pub(super) fn once_in(group: &str) -> String {
    format!("once {group} came in")
}

pub(super) fn nobody_called(name: &str) -> String {
    format!("Nobody is enrolled as {name}.")
}

pub(super) fn histogram_said(granted: u32, refused: u32) -> String {
    format!("{granted} grants and {refused} refusals by their score")
}

pub(super) const MEASURED_ON: &str = "Measured on";
pub(super) const RATES: &str = "What other rates would mean";
pub(super) const RATES_MORE: &str =
    "For the people enrolled now. decision.far_per_attempt in the config, and a restart, changes the rate.";
pub(super) const RATE: &str = "Strangers' attempts";
pub(super) const LETS_IN_AT_MOST: &str = "Open at most";
pub(super) const MISSED_LOOKS: &str = "Looks missed";
pub(super) const IN_FORCE: &str = "in force";
pub(super) const UNSUPPORTED: &str = "not supported";
pub(super) const ALIKE: &str = "Look-alikes";
pub(super) const ALIKE_MORE: &str = "Pairs who come within the margin of being taken for each other.";
pub(super) const NOBODY_ALIKE: &str = "Nobody comes close to anybody else.";
pub(super) const AND: &str = "and";
pub(super) const REPLAY: &str = "Try another threshold";
pub(super) const REPLAY_MORE: &str = "On the last decisions in the journal; nothing at the door changes. decision.threshold in the config sets it.";
pub(super) const ANOTHER_THRESHOLD: &str = "Threshold";
pub(super) const REPLAY_BUTTON: &str = "Replay";

pub(super) const SNAPSHOT: &str = "Show its picture";
pub(super) const SNAPSHOT_MORE: &str =
    "Where one is kept (privacy.snapshots in the config). That you look is written down.";
pub(super) const KEPT: &str = "Try another rate on the attempts that are kept";
pub(super) const KEPT_MORE: &str = "Every look at each face goes through the decision again, before decision.far_per_attempt is changed. privacy.keep_attempts in the config says of whom attempts are kept.";
pub(super) const NOT_DECIDED: &str = "not decided";

pub(super) fn kept_and_tried(attempts: usize, now: f32, tried: f32) -> String {
    let attempts = if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
    format!("{attempts}, threshold {tried:.3} instead of {now:.3}")
}

pub(super) fn would_have(granted: usize, refused: usize) -> String {
    format!("Would have granted {granted} more and refused {refused} that came in.")
}

pub(super) fn not_recognised(n: usize) -> String {
    format!("{n} more would not have been recognised, whom the rules or a PIN kept out anyway.")
}

pub(super) fn taken_for_others(n: usize) -> String {
    format!("{n} would have been taken for somebody else.")
}

pub(super) fn up_to(rate: &str) -> String {
    format!("95 % interval up to {rate}")
}

pub(super) fn would_be_refused(lost: usize, of: usize) -> String {
    match lost {
        0 => format!("All {of} grants would still be grants."),
        1 => format!("1 of {of} grants would have been refused:"),
        n => format!("{n} of {of} grants would have been refused:"),
    }
}

pub(super) fn would_go_further(won: usize, of: usize) -> String {
    match won {
        0 => format!("None of {of} unknown faces would have come further."),
        1 => format!("1 of {of} unknown faces would have met it:"),
        n => format!("{n} of {of} unknown faces would have met it:"),
    }
}

pub(super) const BACKUP: &str = "Backup";
pub(super) const BACKUP_MORE: &str = "People, samples, rules and journal, sealed: it is restored on the device with the key file and the recovery code.";
pub(super) const BACKUP_GET: &str = "Download a backup";

pub(super) fn erased_proven(name: &str, samples: usize, files: u64, bytes: u64, before: u64) -> String {
    format!(
        "{name} is erased with {samples} samples. All {files} files ({:.1} MB) were searched from end to end: {before} traces \
         before, none now.",
        bytes as f64 / 1e6
    )
}

pub(super) fn erased_not_proven(name: &str, left: u64, unread: usize) -> String {
    format!(
        "{name} is erased, but that is not proven: {left} traces are left and {unread} files could not be searched. See \
         `accessd erase --prove` on the device."
    )
}

pub(super) fn no_door(name: &str) -> String {
    format!("There is no door {name:?}.")
}

pub(super) fn at_doors(doors: &std::collections::BTreeSet<String>) -> String {
    let names: Vec<&str> = doors.iter().map(String::as_str).collect();
    format!("at {}", names.join(", "))
}

pub(super) const VERIFY: &str = "Verify the chain";

pub(super) fn chain_whole(records: u64, checkpoints: u64, signed_to: Option<i64>) -> String {
    let signed = match signed_to {
        Some(id) => format!("{checkpoints} signatures cover it up to record {id}."),
        None => "No signature covers it yet.".to_owned(),
    };
    format!("The journal is as it was written: {records} records, each bound to the one before. {signed}")
}

pub(super) fn chain_broken(record: i64, what: &str) -> String {
    format!("The journal is not as it was written. Record {record}: {what}")
}
