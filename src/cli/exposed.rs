//! Files and folders that others could read or put something else in the place of, looked at before the door works. What
//! holds faces is looked at by `store` and `seal`; this is about the rest.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// What is wrong, each with its remedy. `config_file` is where the config came from, if from a file.
pub(super) fn exposed(config: &Config, config_file: Option<&Path>) -> Vec<String> {
    let paths = &config.paths;
    let mut found = Vec::new();
    if let (Some(data), Some(key)) = (folder(&paths.database), folder(&paths.device_key))
        && key.starts_with(&data)
    {
        found.push(format!(
            "the device key {} lies in the folder of what it seals: whoever copies {} has every template; give it a folder of \
             its own (paths.device_key)",
            paths.device_key.display(),
            data.display()
        ));
    }
    if let Some(file) = config_file {
        found.extend(writable(file, "decides which relay moves and which networks are believed"));
    }
    found.extend(writable(&paths.models, "holds the networks that say who somebody is"));
    found.extend(folder(&paths.socket).and_then(|socket| writable(&socket, "holds the control socket")));
    found
}

/// The folder of a file, as it really is; nothing where it is not there yet.
fn folder(file: &Path) -> Option<PathBuf> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::canonicalize(folder).ok()
}

/// Whether others than its owner may write to it, or its owner is neither root nor this user. A sticky folder keeps others
/// from replacing what is in it.
fn writable(path: &Path, what: &str) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
    let own = rustix::process::geteuid().as_raw();
    let path = path.display();
    if found.mode() & 0o022 != 0 && !sticky {
        let mode = found.mode() & 0o777;
        return Some(format!("{path} {what}, and others may write to it (mode {mode:o}): chmod go-w {path}"));
    }
    // Root works for whichever user the service has.
    if own != 0 && found.uid() != own && found.uid() != 0 {
        return Some(format!("{path} {what}, and belongs to uid {}, not to root or this user", found.uid()));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_others_could_replace_and_a_key_beside_its_data_are_told() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["data", "keys", "models", "run"] {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
        let file = at("accessd.toml");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let mut config = Config::default();
        config.paths.database = at("data/accessd.db");
        config.paths.device_key = at("keys/device.key");
        config.paths.models = at("models");
        config.paths.socket = at("run/control.sock");
        assert_eq!(exposed(&config, Some(&file)), [""; 0]);
        for name in ["accessd.toml", "models", "run"] {
            let mode = fs::metadata(at(name)).unwrap().permissions();
            fs::set_permissions(at(name), PermissionsExt::from_mode(0o777)).unwrap();
            let told = exposed(&config, Some(&file));
            assert!(
                told.len() == 1 && told[0].contains(&format!("chmod go-w {}", at(name).display())),
                "{told:?}"
            );
            fs::set_permissions(at(name), mode).unwrap();
        }
        fs::set_permissions(at("run"), PermissionsExt::from_mode(0o1777)).unwrap();
        config.paths.device_key = at("data/device.key");
        let told = exposed(&config, None);
        assert!(told.len() == 1 && told[0].contains("lies in the folder of what it seals"), "{told:?}");
    }
}
