//! Which line of the machine, as one string of the configuration: `KIND:WHERE?OPTIONS`. The relay, the inputs and the
//! lamps are all named so.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, num::ParseIntError};

/// A line as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineSpec {
    /// `sim:PATH`: a file instead of a line.
    Sim(PathBuf),
    /// `gpiochip:CHIP:LINE`: a line of any board, through /dev/gpiochipN.
    Gpio(GpioSpec),
    /// `rppal:BCM`: a pin of a Raspberry Pi by its BCM number.
    Pi(PiSpec),
}

/// A line of a GPIO chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioSpec {
    /// Which chip.
    pub chip: ChipName,
    /// Which of its lines.
    pub line: LineName,
    /// How its level is meant.
    pub wiring: Wiring,
}

/// How a chip is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChipName {
    /// N of /dev/gpiochipN.
    Index(u32),
    /// A device file, or a link to one.
    Path(PathBuf),
    /// What `gpiodetect` shows in brackets, as `pinctrl-bcm2711`: the same after every boot, which a number need not be.
    Label(String),
}

/// How a line is found on its chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineName {
    /// Its number on the chip.
    Offset(u32),
    /// What `gpioinfo` shows, as `GPIO17`.
    Name(String),
}

/// A pin of a Raspberry Pi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PiSpec {
    /// Its BCM number.
    pub bcm: u8,
    /// How its level is meant.
    pub wiring: Wiring,
}

/// How a line's level is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    /// `active-low`: the low level is the active one.
    pub active_low: bool,
    /// `pull-up`, `pull-down`: the chip's own resistor, for inputs.
    pub pull: Option<Pull>,
}

/// A resistor inside of the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// To the supply.
    Up,
    /// To ground.
    Down,
}

/// Why a string names no line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineSpecError {
    /// No kind that there is.
    #[error(
        "{spec:?} is no line that accessd knows; give gpiochip:CHIP:LINE, rppal:BCM or, for a trial without hardware, \
         sim:PATH"
    )]
    UnknownKind {
        /// What was given.
        spec: String,
    },
    /// `sim:` alone.
    #[error("{spec:?} names no file; give one, such as sim:/var/lib/accessd/relay.log")]
    NoPath {
        /// What was given.
        spec: String,
    },
    /// `gpiochip:` without chip and line.
    #[error(
        "{spec:?} does not name chip and line; give both, such as gpiochip:0:17 or gpiochip:pinctrl-bcm2711:GPIO17 \
         (`accessd doctor` lists what there is)"
    )]
    NoLine {
        /// What was given.
        spec: String,
    },
    /// `rppal:` without a pin.
    #[error("{spec:?} does not name a pin; give its BCM number, 0 to 27, such as rppal:17")]
    NoPin {
        /// What was given.
        spec: String,
        /// Why it is no number.
        #[source]
        source: Option<ParseIntError>,
    },
    /// An option nobody knows, or two that contradict each other.
    #[error(
        "{spec:?}: {option:?} is no option here; known are active-low, active-high, pull-up and pull-down"
    )]
    BadOption {
        /// What was given.
        spec: String,
        /// The option.
        option: String,
    },
}

/// The highest BCM number on a Raspberry Pi's header.
const LAST_BCM: u8 = 27;

impl FromStr for LineSpec {
    type Err = LineSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let spec = || text.to_owned();
        match text.trim().split_once(':') {
            Some(("sim", "")) => Err(LineSpecError::NoPath { spec: spec() }),
            // A file's name may hold anything: no options.
            Some(("sim", path)) => Ok(Self::Sim(path.into())),
            Some(("gpiochip", rest)) => {
                let (place, wiring) = wiring(text, rest)?;
                // The chip may be a path, which has no colon; the line comes last.
                let (chip, line) = place
                    .rsplit_once(':')
                    .map(|(chip, line)| (chip.trim(), line.trim()))
                    .filter(|(chip, line)| !chip.is_empty() && !line.is_empty())
                    .ok_or_else(|| LineSpecError::NoLine { spec: spec() })?;
                Ok(Self::Gpio(GpioSpec { chip: chip_name(chip), line: line_name(line), wiring }))
            }
            Some(("rppal", rest)) => {
                let (place, wiring) = wiring(text, rest)?;
                let bcm: u8 = place
                    .trim()
                    .parse()
                    .map_err(|source| LineSpecError::NoPin { spec: spec(), source: Some(source) })?;
                if bcm > LAST_BCM {
                    return Err(LineSpecError::NoPin { spec: spec(), source: None });
                }
                Ok(Self::Pi(PiSpec { bcm, wiring }))
            }
            _ => Err(LineSpecError::UnknownKind { spec: spec() }),
        }
    }
}

fn chip_name(text: &str) -> ChipName {
    match text.parse() {
        Ok(index) => ChipName::Index(index),
        Err(_) if Path::new(text).is_absolute() => ChipName::Path(text.into()),
        Err(_) => ChipName::Label(text.to_owned()),
    }
}

fn line_name(text: &str) -> LineName {
    text.parse().map_or_else(|_| LineName::Name(text.to_owned()), LineName::Offset)
}

/// The place, and the options behind the question mark.
fn wiring<'a>(spec: &str, rest: &'a str) -> Result<(&'a str, Wiring), LineSpecError> {
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut polarity, mut pull) = (None, None);
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let once = match option {
            "active-low" => polarity.replace(true).is_none(),
            "active-high" => polarity.replace(false).is_none(),
            "pull-up" => pull.replace(Pull::Up).is_none(),
            "pull-down" => pull.replace(Pull::Down).is_none(),
            _ => false,
        };
        if !once {
            return Err(LineSpecError::BadOption { spec: spec.to_owned(), option: option.to_owned() });
        }
    }
    Ok((place, Wiring { active_low: polarity.unwrap_or(false), pull }))
}

impl fmt::Display for LineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim(path) => write!(f, "sim:{}", path.display()),
            Self::Gpio(GpioSpec { chip, line, wiring }) => write!(f, "gpiochip:{chip}:{line}{wiring}"),
            Self::Pi(PiSpec { bcm, wiring }) => write!(f, "rppal:{bcm}{wiring}"),
        }
    }
}

impl fmt::Display for ChipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Label(label) => f.write_str(label),
        }
    }
}

impl fmt::Display for LineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "{offset}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let polarity = self.active_low.then_some("active-low");
        let pull = self.pull.map(|pull| match pull {
            Pull::Up => "pull-up",
            Pull::Down => "pull-down",
        });
        for (n, option) in polarity.into_iter().chain(pull).enumerate() {
            write!(f, "{}{option}", if n == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> LineSpec {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        text.parse::<LineSpec>().unwrap_err().to_string()
    }

    #[test]
    fn every_line_is_printed_as_it_is_written() {
        for text in [
            "sim:/var/lib/accessd/relay.log",
            "sim:relay.log",
            "sim:a:b?c",
            "gpiochip:0:17",
            "gpiochip:4:17?active-low",
            "gpiochip:/dev/gpiochip0:GPIO17",
            "gpiochip:pinctrl-bcm2711:GPIO17?active-low&pull-up",
            "gpiochip:gpio-sim.0:node0:3?pull-down",
            "rppal:17",
            "rppal:4?active-low",
        ] {
            assert_eq!(parsed(text).to_string(), text);
        }
        assert_eq!(parsed(" rppal:17?active-high ").to_string(), "rppal:17");
        assert_eq!(
            parsed("gpiochip: 0 : GPIO17 ?").to_string(),
            "gpiochip:0:GPIO17",
            "no name has blanks around it"
        );
        assert_eq!(parsed("rppal: 4 ?active-low").to_string(), "rppal:4?active-low");
    }

    #[test]
    fn chips_and_lines_are_numbers_or_names() {
        let LineSpec::Gpio(spec) = parsed("gpiochip:pinctrl-bcm2711:GPIO17?active-low&pull-up") else {
            panic!()
        };
        assert_eq!(spec.chip, ChipName::Label("pinctrl-bcm2711".into()));
        assert_eq!(spec.line, LineName::Name("GPIO17".into()));
        assert_eq!(spec.wiring, Wiring { active_low: true, pull: Some(Pull::Up) });
        let LineSpec::Gpio(spec) = parsed("gpiochip:/dev/gpiochip2:5") else { panic!() };
        assert_eq!((spec.chip, spec.line), (ChipName::Path("/dev/gpiochip2".into()), LineName::Offset(5)));
    }

    #[test]
    fn what_is_no_line_is_refused_with_what_there_is() {
        for text in ["", "sim", "/var/lib/relay.log", "gpio:17", "Sim:x", "simulated:x"] {
            assert!(refused(text).starts_with(&format!("{text:?} is no line")), "{}", refused(text));
            assert!(refused(text).contains("gpiochip:CHIP:LINE"), "{}", refused(text));
        }
        assert!(refused("sim:").contains("names no file"));
        for text in ["gpiochip:", "gpiochip:0", "gpiochip:0:", "gpiochip::17"] {
            assert!(refused(text).contains("gpiochip:0:17"), "{}", refused(text));
        }
        for text in ["rppal:", "rppal:28", "rppal:GPIO17", "rppal:-1"] {
            assert!(refused(text).contains("BCM number, 0 to 27"), "{}", refused(text));
        }
        for (text, option) in [
            ("gpiochip:0:17?inverted", "inverted"),
            ("gpiochip:0:17?active-low&active-high", "active-high"),
            ("rppal:17?pull-up&pull-up", "pull-up"),
        ] {
            assert!(refused(text).contains(&format!("{option:?} is no option")), "{}", refused(text));
        }
    }
}
