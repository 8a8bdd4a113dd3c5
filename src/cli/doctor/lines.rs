//! The GPIO chips of this machine, and the lines that the config names: where they are, who holds them, and what level
//! they have now, which on a relay is what it has at boot.

use super::super::adapters::{prefix, wired_inputs};
use super::{Finding, State};
use crate::config::{Config, DoorConfig, InputsConfig};
use crate::door::{self, LineSpec, StrikeKind};

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = chips();
    for door in config.doors() {
        let found = [relay(&door.door)].into_iter().chain(inputs(&door.inputs));
        findings.extend(found.map(|found| found.of(&prefix(config, &door))));
    }
    findings
}

fn inputs(inputs: &InputsConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    match wired_inputs(inputs) {
        Err(error) => findings.push(Finding::new("inputs", State::Fail, format!("{error:#}"))),
        Ok(inputs) => {
            for (sensor, spec) in inputs {
                let (state, what) = match door::level_now(&spec) {
                    Ok(Some(active)) => {
                        (State::Ok, format!("is {}", if active { "active" } else { "not active" }))
                    }
                    Ok(None) => (State::Ok, "is held, by the service if it runs".to_owned()),
                    Err(error) => (State::Fail, format!("{error}: {}", error.source)),
                };
                findings.push(Finding::new("inputs", state, format!("{} ({spec}) {what}", sensor.as_str())));
            }
        }
    }
    findings
}

fn chips() -> Vec<Finding> {
    let chips = door::chips();
    if chips.is_empty() {
        let what = "no GPIO chip here (/dev/gpiochip*): a relay needs one, a trial does not (door.relay = \"sim:PATH\")";
        return vec![Finding::new("gpio", State::Note, what)];
    }
    let chip = |(path, found): (std::path::PathBuf, std::io::Result<door::ChipInfo>)| match found {
        Ok(chip) => {
            let named = chip.lines.iter().filter(|line| !line.name.is_empty()).count();
            let used: Vec<String> = chip
                .lines
                .iter()
                .filter(|line| line.used)
                .map(|line| format!("{} {:?}", line.offset, line.consumer))
                .collect();
            let used = if used.is_empty() { String::new() } else { format!("; in use: {}", used.join(", ")) };
            let what = format!(
                "{}: \"gpiochip:{}:LINE\", {} lines, {named} of them named{used}",
                path.display(),
                chip.label,
                chip.lines.len()
            );
            Finding::new("gpio", State::Ok, what)
        }
        Err(error) => Finding::new(
            "gpio",
            State::Warn,
            format!("{}: {error}; install systemd/accessd.rules and join the group gpio", path.display()),
        ),
    };
    chips.into_iter().map(chip).collect()
}

fn relay(door: &DoorConfig) -> Finding {
    const PART: &str = "relay";
    let text = &door.relay;
    let spec: LineSpec = match text.parse() {
        Ok(spec) => spec,
        Err(error) => return Finding::new(PART, State::Fail, format!("{error}; correct door.relay")),
    };
    if matches!(spec, LineSpec::Sim(_)) {
        return Finding::new(PART, State::Warn, format!("{spec} is simulated: no lock moves"));
    }
    let kind: StrikeKind = door.strike.parse().unwrap_or_default();
    match door::level_now(&spec) {
        Ok(None) => Finding::new(PART, State::Ok, format!("{spec} is held, by the service if it runs")),
        Ok(Some(active)) if active == kind.energised(false) => {
            Finding::new(PART, State::Ok, format!("{spec} rests at the locked level"))
        }
        Ok(Some(_)) => Finding::new(
            PART,
            State::Warn,
            format!(
                "{spec} is at the unlocked level while nobody drives it, and so it is from power-on until the service \
                 starts: add a resistor that pulls it to the other level (10 kΩ), choose a line that rests there (a \
                 Raspberry Pi pulls BCM 0 to 8 up and 9 to 27 down), or correct active-low"
            ),
        ),
        Err(error) => Finding::new(PART, State::Fail, format!("{error}: {}", error.source)),
    }
}
