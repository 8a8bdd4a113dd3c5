//! Which settings are not the defaults, for the journal.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Config;

/// Parts of a key's name behind which something secret may stand.
const SECRET: [&str; 4] = ["secret", "password", "token", "pin"];

impl Config {
    /// The settings that are not the defaults, by key: `door.pulse_ms` → `6000`. Of what may be secret only a hash is
    /// given, which tells that it changed.
    pub fn changed(&self) -> BTreeMap<String, String> {
        let (mut now, mut defaults) = (BTreeMap::new(), BTreeMap::new());
        flatten("", &plain(self), &mut now);
        flatten("", &plain(&Self::default()), &mut defaults);
        now.retain(|key, value| defaults.get(key) != Some(value));
        now
    }
}

/// By way of text, so that 0.08 stays 0.08.
fn plain(config: &Config) -> Value {
    let text = serde_json::to_string(config).expect("a config is plain data");
    serde_json::from_str(&text).expect("what was just written can be read")
}

fn flatten(key: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(&below(name), value, into)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| flatten(&below(&i.to_string()), value, into));
        }
        value => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let is_secret = key.split(['.', '_']).any(|part| SECRET.contains(&part));
            let shown =
                if is_secret { format!("#{}", &blake3::hash(text.as_bytes()).to_hex()[..8]) } else { text };
            into.insert(key.to_owned(), shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_the_defaults_is_named_with_its_key() {
        assert!(Config::default().changed().is_empty());
        let config =
            Config::parse("[door]\npulse_ms = 6000\n[decision]\nmargin = 0.1\nframes_needed = 3\n").unwrap();
        let changed = config.changed();
        let told: Vec<_> = changed.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(told, [("decision.margin", "0.1"), ("door.pulse_ms", "6000")]);
    }

    #[test]
    fn what_may_be_secret_is_not_written_down() {
        let mut found = BTreeMap::new();
        flatten("console.admin_password", &Value::from("hunter2"), &mut found);
        flatten("pins", &Value::from("fine"), &mut found);
        assert!(found["console.admin_password"].starts_with('#'));
        assert_eq!(found["pins"], "fine");
    }
}
