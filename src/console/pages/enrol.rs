//! Enrolment: at the door's camera, guided step by step, or from pictures that the browser makes small and sends one by
//! one. Both are streams of plain objects that the script shows.

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::unfold;
use maud::html;
use serde::Serialize;

use super::super::accounts::Role;
use super::super::desk::Trouble;
use super::super::text as t;
use super::form::{Form, Query};
use super::icons::icon;
use super::{Page, Shared, Who, bad, odd, shell};
use crate::daemon::protocol::{EnrolProgress, LookAlike, Reply, Request};
use crate::gallery::Person;

pub(super) async fn show(State(app): Shared, Extension(visitor): Who, Query(query): Query) -> Page {
    if !visitor.may(Role::Operator) {
        return Err(Trouble::NotAllowed(Role::Operator).into());
    }
    let Reply::Status(status) = app.desk.ask(&visitor, Request::Status).await? else { return Err(odd()) };
    let (name, more) = (query.get("name"), query.has("more"));
    let title = if more { t::MORE_SAMPLES } else { t::ENROL_SOMEBODY };
    let content = html! {
        p .crumb { a href="/people" { (icon("back")) (t::PEOPLE) } }
        (shell::head(title, html! {}))
        noscript { p .flash .bad { (t::NEEDS_SCRIPT) } }
        div #enrol data-more=[more.then_some("yes")] data-person="/person?name=" {
            section .card {
                label .wide { (t::NAME) input #enrol-name value=(name) required maxlength="64" autocomplete="off" readonly[more] autofocus[!more]; }
            }
            div .two {
                section .card .way {
                    div .title { h2 { (icon("camera")) (t::AT_CAMERA) } }
                    p .soft { (t::AT_CAMERA_MORE) }
                    @if status.doors.len() > 1 {
                        label { (t::DOOR) select #live-door { @for door in &status.doors { option value=(door.name) { (door.name) } } } }
                    }
                    canvas #live-picture width="480" height="360" hidden role="img" aria-label=(t::LIVE) {}
                    p #enrol-hint .hint aria-live="assertive" hidden {}
                    ol #enrol-samples .dots hidden aria-label=(t::SAMPLES) {}
                    div .buttons {
                        button type="button" #enrol-begin .primary { (t::BEGIN) }
                        button type="button" #enrol-stop hidden { (t::STOP) }
                    }
                }
                section .card .way {
                    div .title { h2 { (icon("people")) (t::FROM_PICTURE) } }
                    p .soft { (t::FROM_PICTURE_MORE) }
                    label .drop #enrol-drop { input type="file" #enrol-files accept="image/jpeg,image/png" multiple; span { (t::CHOOSE) } }
                    ul #enrol-pictures .pictures aria-live="polite" {}
                    div .buttons { button type="button" #enrol-send .primary disabled { (t::SEND) } }
                }
            }
            div #enrol-done .card hidden aria-live="polite" { h2 {} p #enrol-alike hidden { (icon("alarm")) span { (t::ALIKE_WARNING) " " strong {} } } p { a .button .primary {} } }
        }
    };
    Ok(shell::page(&app, &visitor, "/people", title, content))
}

/// What the script is told, one object a line.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Progress(EnrolProgress),
    Done(Enrolled),
    Failed(String),
}

#[derive(Serialize)]
struct Enrolled {
    name: String,
    said: String,
    samples: usize,
    alike: Vec<String>,
}

impl Enrolled {
    fn new(person: &Person, lookalikes: &[LookAlike]) -> Self {
        Self {
            name: person.name.clone(),
            said: t::enrolled(&person.name),
            samples: person.templates.len(),
            alike: lookalikes.iter().map(|other| t::alike(&other.name, other.score)).collect(),
        }
    }
}

impl Step {
    fn of(reply: Result<Reply, Trouble>) -> Self {
        match reply {
            Ok(Reply::Progress(progress)) => Self::Progress(progress),
            Ok(Reply::Enrolled { person, lookalikes }) => Self::Done(Enrolled::new(&person, &lookalikes)),
            Ok(_) => Self::Failed(t::ODD_ANSWER.into()),
            Err(trouble) => Self::Failed(trouble.to_string()),
        }
    }

    fn line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

const LINES: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/x-ndjson")];

/// Enrols at the camera; ends when the browser hangs up.
pub(super) async fn live(State(app): Shared, Extension(visitor): Who, Form(fields): Form) -> Page {
    let request = Request::EnrolLive {
        name: fields.need("name")?,
        more: fields.has("more"),
        door: Some(fields.get("door").to_owned()).filter(|door| !door.is_empty()),
    };
    let replies = app.desk.stream(&visitor, request)?;
    let lines = unfold(replies, |mut replies| async move {
        let step = Step::of(replies.recv().await?);
        Some((Ok::<_, std::io::Error>(step.line()), replies))
    });
    Ok((LINES, Body::from_stream(lines)).into_response())
}

/// Enrols from the picture that is the body.
pub(super) async fn picture(
    State(app): Shared,
    Extension(visitor): Who,
    Query(query): Query,
    body: Bytes,
) -> Result<Response, super::Failed> {
    let name = query.need("name")?;
    if body.is_empty() {
        return Err(bad(t::BAD_FORM).into());
    }
    let request = Request::EnrolPicture { name, picture: STANDARD.encode(&body), more: query.has("more") };
    let step = match app.desk.ask(&visitor, request).await {
        Err(trouble @ Trouble::NotAllowed(_)) => return Err(trouble.into()),
        reply => Step::of(reply),
    };
    if matches!(&step, Step::Progress(_)) {
        return Err(odd());
    }
    Ok((LINES, step.line()).into_response())
}
