//! `checkpoint.safetensors`: everything a run needs to go on, to the bit: weights, running statistics, what the
//! optimiser remembers, the loss's own weights, the best weights so far, and the settings it all belongs to.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::TrainError;

/// Key of the state in the safetensors metadata.
const KEY: &str = "accessd-run";

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps made.
    pub step: u64,
    /// The best validation so far: its epoch and equal error rate.
    pub best: Option<(usize, f64)>,
    /// Seconds spent in the steps of the epoch that it is in.
    pub seconds: f64,
    /// The settings.
    pub settings: String,
    /// What it is trained on: a hash of people, files and parts.
    pub data: String,
}

/// Tensors by group (`model`, `optimiser`, `loss`, `best`) and name.
pub type Groups = BTreeMap<String, BTreeMap<String, Tensor>>;

/// Writes a checkpoint; whoever reads sees the old one or the new one.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, state: &State, groups: &Groups) -> Result<(), TrainError> {
    let fail = |source| TrainError::File { path: path.to_owned(), doing: "written", source };
    let mut raw = Vec::new();
    for (group, tensors) in groups {
        for (name, tensor) in tensors {
            let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            raw.push((format!("{group}/{name}"), tensor.dims().to_vec(), bytes));
        }
    }
    let bad = |what: String| TrainError::Checkpoint { path: path.to_owned(), what };
    let views = raw.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
    let state = serde_json::to_string(state).expect("a state is plain data");
    let meta = HashMap::from([(KEY.to_owned(), state)]);
    let bytes = safetensors::serialize(views, Some(meta)).map_err(|e| bad(e.to_string()))?;
    let part = path.with_extension("part");
    let mut file = std::fs::File::create(&part).map_err(fail)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&part, path).map_err(fail)
}

/// Reads a checkpoint.
///
/// # Errors
/// When it is missing or damaged.
pub fn read(path: &Path, device: &Device) -> Result<(State, Groups), TrainError> {
    let bytes = std::fs::read(path).map_err(|source| TrainError::File {
        path: path.to_owned(),
        doing: "read",
        source,
    })?;
    let bad = |what: String| TrainError::Checkpoint { path: path.to_owned(), what };
    let damaged = |e: &dyn std::fmt::Display| {
        bad(format!("damaged or cut short ({e}); begin the run anew in another folder"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
    let state = header
        .metadata()
        .as_ref()
        .and_then(|m| m.get(KEY))
        .ok_or_else(|| damaged(&"not of accessd train"))?;
    let state = serde_json::from_str(state).map_err(|e| damaged(&e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
    let mut groups = Groups::new();
    for (name, view) in file.tensors() {
        let (group, rest) = name.split_once('/').ok_or_else(|| damaged(&"a tensor without a group"))?;
        let tensor = Tensor::from_raw_buffer(view.data(), DType::F32, view.shape(), device)?;
        groups.entry(group.to_owned()).or_default().insert(rest.to_owned(), tensor);
    }
    Ok((state, groups))
}

/// Sets variables from a group of a checkpoint.
///
/// # Errors
/// When one is missing, too many, or of another shape.
pub fn restore<'a>(
    path: &Path,
    group: &BTreeMap<String, Tensor>,
    vars: impl Iterator<Item = (&'a String, &'a candle_core::Var)>,
) -> Result<(), TrainError> {
    let bad = |what: String| TrainError::Checkpoint { path: path.to_owned(), what };
    let mut count = 0;
    for (name, var) in vars {
        let tensor = group
            .get(name)
            .ok_or_else(|| bad(format!("weight {name:?} is missing; it is of another network")))?;
        if tensor.dims() != var.dims() {
            return Err(bad(format!(
                "weight {name:?} has shape {:?}, the network needs {:?}; it is of another network",
                tensor.dims(),
                var.dims()
            )));
        }
        var.set(tensor)?;
        count += 1;
    }
    match group.keys().len() {
        n if n == count => Ok(()),
        n => Err(bad(format!("it has {n} weights, the network {count}; it is of another network"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::grad::testing::var;

    fn groups() -> Groups {
        let of = |seed| var(&[2, 3], seed).as_tensor().clone();
        BTreeMap::from([
            ("model".to_owned(), BTreeMap::from([("a.weight".to_owned(), of(1)), ("b".to_owned(), of(2))])),
            ("optimiser".to_owned(), BTreeMap::from([("a.weight.first".to_owned(), of(3))])),
        ])
    }

    #[test]
    fn what_is_written_is_read_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        let state = State {
            step: 12,
            best: Some((3, 0.1 + 0.2)),
            seconds: 1.0 / 3.0,
            settings: "s".into(),
            data: "d".into(),
        };
        write(&path, &state, &groups()).unwrap();
        let (read_state, read_groups) = read(&path, &Device::Cpu).unwrap();
        assert_eq!(read_state, state);
        for (group, tensors) in groups() {
            for (name, tensor) in tensors {
                let bits = |t: &Tensor| t.to_vec2::<f32>().unwrap();
                assert_eq!(bits(&read_groups[&group][&name]), bits(&tensor));
            }
        }
    }

    #[test]
    fn weights_of_another_network_are_refused() {
        let path = Path::new("c.safetensors");
        let group = &groups()["model"];
        let refused = |vars: &[(&str, candle_core::Var)]| {
            let vars: Vec<_> = vars.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
            restore(path, group, vars.iter().map(|(n, v)| (n, v))).unwrap_err().to_string()
        };
        let right = || var(&[2, 3], 9);
        let message = refused(&[("a.weight", var(&[3, 2], 9)), ("b", right())]);
        assert!(message.contains("\"a.weight\" has shape [2, 3], the network needs [3, 2]"), "{message}");
        assert!(refused(&[("c", right())]).contains("weight \"c\" is missing"));
        assert!(refused(&[("b", right())]).contains("it has 2 weights, the network 1"));
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        write(&path, &State::default(), &groups()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let error = read(&path, &Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("damaged or cut short"), "{error}");
    }
}
