//! `metrics.jsonl`: a line for each step and each epoch. It is the memory of a run besides its checkpoint: a resumed
//! run takes back what came after the checkpoint and writes it again, the same.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Counted from 1 over the whole run.
    pub step: u64,
    /// Counted from 1.
    pub epoch: usize,
    /// The loss of its batch.
    pub loss: f32,
    /// The learning rate.
    pub rate: f64,
    /// Length of the gradient before clipping.
    pub gradient: f64,
}

/// One epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// Counted from 1.
    pub epoch: usize,
    /// The last step.
    pub step: u64,
    /// Mean loss of its steps.
    pub loss: f64,
    /// Equal error rate on the people of the validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_eer: Option<f64>,
    /// Seconds its steps took.
    pub seconds: f64,
    /// Pictures a second.
    pub pictures_per_s: f64,
}

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// A step.
    Step(StepLine),
    /// The end of an epoch.
    Epoch(EpochLine),
}

impl Line {
    fn step(&self) -> u64 {
        match self {
            Self::Step(line) => line.step,
            Self::Epoch(line) => line.step,
        }
    }
}

/// The lines so far, in memory and on disk.
pub struct History {
    path: PathBuf,
    file: BufWriter<File>,
    lines: Vec<Line>,
}

impl History {
    /// Opens the history of a run at a step: what came later is dropped; 0 begins anew.
    ///
    /// # Errors
    /// When the file cannot be read or written, or lines up to the step are missing.
    pub fn open(path: &Path, step: u64) -> Result<Self, TrainError> {
        let mut lines = if step == 0 { Vec::new() } else { read(path)? };
        lines.retain(|line| line.step() <= step);
        let steps = lines.iter().filter(|l| matches!(l, Line::Step(_))).count() as u64;
        if steps != step {
            return Err(TrainError::Checkpoint {
                path: path.to_owned(),
                what: format!("it holds {steps} of the {step} steps the checkpoint has; begin a new run"),
            });
        }
        let fail = |source| TrainError::File { path: path.to_owned(), doing: "written", source };
        let part = path.with_extension("part");
        let mut file = BufWriter::new(File::create(&part).map_err(fail)?);
        for line in &lines {
            write(&mut file, line).map_err(fail)?;
        }
        file.flush().map_err(fail)?;
        std::fs::rename(&part, path).map_err(fail)?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), lines })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, line: Line) -> Result<(), TrainError> {
        self.lines.push(line);
        let fail = |source| TrainError::File { path: self.path.clone(), doing: "written", source };
        // Flushed at once: the file is there to be followed.
        write(&mut self.file, &line).and_then(|()| self.file.flush()).map_err(fail)
    }

    /// The steps so far.
    pub fn steps(&self) -> impl Iterator<Item = &StepLine> {
        steps(&self.lines)
    }

    /// All lines so far.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

/// The steps among lines.
pub fn steps(lines: &[Line]) -> impl Iterator<Item = &StepLine> {
    lines.iter().filter_map(|line| match line {
        Line::Step(step) => Some(step),
        Line::Epoch(_) => None,
    })
}

/// The epochs among lines.
pub fn epochs(lines: &[Line]) -> impl Iterator<Item = &EpochLine> {
    lines.iter().filter_map(|line| match line {
        Line::Step(_) => None,
        Line::Epoch(epoch) => Some(epoch),
    })
}

/// Reads a file of lines; a last line that was cut off is left out.
///
/// # Errors
/// When it cannot be read, or a line before the last is not one.
pub fn read(path: &Path) -> Result<Vec<Line>, TrainError> {
    let text = std::fs::read_to_string(path).map_err(|source| TrainError::File {
        path: path.to_owned(),
        doing: "read",
        source,
    })?;
    let mut lines = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(parsed) => lines.push(parsed),
            Err(_) if !line.ends_with('\n') => break,
            Err(e) => {
                let what = format!("line {} is not one of a run's ({e})", i + 1);
                return Err(TrainError::Run { path: path.to_owned(), what });
            }
        }
    }
    Ok(lines)
}

fn write(file: &mut impl Write, line: &Line) -> std::io::Result<()> {
    writeln!(file, "{}", serde_json::to_string(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Line {
        Line::Step(StepLine {
            step,
            epoch: 1,
            loss: 1.0 / step as f32,
            rate: 0.1 / step as f64,
            gradient: 0.3,
        })
    }

    #[test]
    fn what_came_after_the_checkpoint_is_dropped_and_a_torn_line_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut history = History::open(&path, 0).unwrap();
        (1..=7).for_each(|s| history.add(step(s)).unwrap());
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"kind\":\"st")).unwrap();
        let mut history = History::open(&path, 5).unwrap();
        assert_eq!(history.lines(), (1..=5).map(step).collect::<Vec<_>>(), "values come back to the bit");
        (6..=7).for_each(|s| history.add(step(s)).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn a_history_that_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{}\n{}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1 is not one of a run's"));
        std::fs::write(&path, "").unwrap();
        let error = History::open(&path, 3).err().unwrap().to_string();
        assert!(error.contains("holds 0 of the 3 steps"), "{error}");
    }
}
