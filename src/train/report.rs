//! stub
use super::TrainError;
use super::dataset::{Dataset, Parts};
use super::history::Line;
use super::judge::Compared;
use super::pictures::Pictures;
use super::settings::Settings;
use crate::nn::model_file::ModelFile;
use std::path::Path;
/// r
pub struct Report<'a> {
    /// a
    pub settings: &'a Settings,
    /// a
    pub set: &'a Dataset,
    /// a
    pub pictures: &'a Pictures,
    /// a
    pub parts: &'a Parts,
    /// a
    pub file: &'a ModelFile,
    /// a
    pub lines: &'a [Line],
    /// a
    pub best_epoch: Option<usize>,
    /// a
    pub compared: &'a [Compared],
}
/// r
pub struct Results {
    eer: f64,
    genuine: usize,
    impostor: usize,
}
impl Results {
    /// r
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("EER", format!("{:.2} %", 100.0 * self.eer)),
            ("pairs", format!("{} {}", self.genuine, self.impostor)),
        ]
    }
}
/// w
pub fn write(_folder: &Path, report: &Report<'_>) -> Result<Results, TrainError> {
    let s = super::judge::scores(report.compared);
    Ok(Results { eer: s.eer().unwrap_or(f64::NAN), genuine: s.mated().len(), impostor: s.nonmated().len() })
}
