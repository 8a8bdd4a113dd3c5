//! `accessd show`: one person and every sample that is kept of them.

use clap::Args;

use super::backend::Backend;
use super::list::last_grant;
use super::output::{self, Output};
use super::{Exit, Globals};
use crate::gallery::{Person, TemplateSource};

/// Show one person and the quality of their samples
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Their name
    name: String,
    /// Print JSON: the person with their templates
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let person = Backend::to_read(&globals.load()?)?.person(&self.name)?;
        let mut out = Output::new();
        if self.json {
            out.json(&person)?;
        } else {
            out.line(format_args!("name         {}", person.name))?;
            out.line(format_args!("enrolled     {}", output::local_time(person.created)))?;
            out.line(format_args!("last let in  {}", last_grant(&person)))?;
            out.line(format_args!("samples      {}\n", person.templates.len()))?;
            out.table(&templates(&person))?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

fn templates(person: &Person) -> comfy_table::Table {
    let mut table =
        output::table(["ID", "TAKEN", "FROM", "EYES PX", "SHARPNESS", "LIGHT", "YAW", "PITCH", "MODEL"]);
    for template in &person.templates {
        let quality = &template.quality;
        table.add_row([
            template.id.to_string(),
            output::local_time(template.created),
            source(template.source).into(),
            format!("{:.0}", quality.eye_distance_px),
            format!("{:.0}", quality.sharpness),
            format!("{:.0}", quality.light),
            format!("{:+.0}°", quality.yaw_deg),
            format!("{:+.0}°", quality.pitch_deg),
            template.model.to_string(),
        ]);
    }
    output::align_right(&mut table, [0, 3, 4, 5, 6, 7]);
    table
}

fn source(source: TemplateSource) -> &'static str {
    match source {
        TemplateSource::Image => "picture",
        TemplateSource::Camera => "camera",
        TemplateSource::Learnt => "learnt",
        TemplateSource::Migrated => "migrated",
    }
}
