//! `accessd eval curves`: the losses of several training runs in one chart, and what came of them side by side.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::Exit;
use super::super::output::{Output, align_right, table};
use crate::train::history::{Line, epochs, read};
use crate::train::report::{RESULTS, loss};
use crate::train::run::METRICS;

pub(super) fn perform(runs: &[PathBuf], out: &Path) -> anyhow::Result<Exit> {
    let names: Vec<String> = runs.iter().map(|run| name(run)).collect();
    let lines = runs.iter().map(|run| Ok(read(&run.join(METRICS))?));
    let lines = lines.collect::<anyhow::Result<Vec<Vec<Line>>>>()?;
    let series: Vec<(&str, &[Line])> =
        names.iter().map(String::as_str).zip(lines.iter().map(Vec::as_slice)).collect();
    let text = loss("Loss", &series).svg();
    std::fs::write(out, text).with_context(|| format!("{} cannot be written", out.display()))?;
    let mut rows = table(["RUN", "EPOCHS", "LOSS", "EER", "ACCURACY", "SECONDS AN EPOCH"]);
    for ((run, name), lines) in runs.iter().zip(&names).zip(&lines) {
        let results = results(run)?;
        let number = |key: &str, unit: &str, factor: f64| {
            let value = results.as_ref().and_then(|r| r[key].as_f64());
            value.map_or("not known".into(), |v| format!("{:.2}{unit}", v * factor))
        };
        rows.add_row([
            name.clone(),
            epochs(lines).count().to_string(),
            epochs(lines).last().map_or("none".into(), |e| format!("{:.4}", e.loss)),
            number("eer", " %", 100.0),
            number("accuracy", " %", 100.0),
            number("epoch_seconds", "", 1.0),
        ]);
    }
    align_right(&mut rows, [1, 2, 3, 4, 5]);
    let mut output = Output::new();
    output.table(&rows)?;
    output.line(format_args!("\n{}", out.display()))?;
    output.flush()?;
    Ok(Exit::Done)
}

fn name(run: &Path) -> String {
    run.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// What came of a run that has ended.
fn results(run: &Path) -> anyhow::Result<Option<serde_json::Value>> {
    let path = run.join(RESULTS);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let results = serde_json::from_slice(&bytes);
            Ok(Some(results.with_context(|| format!("{} is no run's results", path.display()))?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}
