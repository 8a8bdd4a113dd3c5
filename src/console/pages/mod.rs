//! The pages, each rendered here; and what they share: addresses, forms, and how a change ends.

mod backup;
mod enrol;
mod event;
mod events;
mod export;
mod form;
mod icons;
mod kept;
mod live;
mod login;
mod now;
mod people;
mod person;
mod policy;
mod replay;
mod rules;
pub(super) mod shell;
mod site;
mod times;
mod verify;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::desk::Trouble;
use super::session::{Flash, Visitor};
use super::{App, assets, guard, lock, text as t};
use crate::daemon::protocol::{Reply, Request};

/// Every address of the console.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/assets/{name}", get(assets::get))
        .route("/", get(now::show))
        .route("/live", get(live::news))
        .route("/live/picture", get(live::picture))
        .route("/door/{order}", post(now::order))
        .route("/lockdown", post(now::lockdown))
        .route("/events", get(events::show))
        .route("/events/export", get(export::get))
        .route("/events/verify", post(verify::verify))
        .route("/events/{id}", get(event::show))
        .route("/events/{id}/picture", get(event::picture))
        .route("/people", get(people::show))
        .route("/people/enrol", get(enrol::show))
        .route("/people/enrol/live", post(enrol::live))
        .route("/people/enrol/picture", post(enrol::picture))
        .route("/person", get(person::show))
        .route("/person/rename", post(person::rename))
        .route("/person/terms", post(person::terms))
        .route("/person/expire", post(person::expire))
        .route("/person/erase", post(person::erase))
        .route("/policy", get(policy::show))
        .route("/policy/rule", post(rules::add))
        .route("/policy/rule/remove", post(rules::remove))
        .route("/policy/holiday", post(rules::add_holiday))
        .route("/policy/holiday/remove", post(rules::remove_holiday))
        .route("/policy/settings", post(rules::settings))
        .route("/site", get(site::show))
        .route("/site/backup", post(backup::get))
        .fallback(|| async { shell::refusal(StatusCode::NOT_FOUND, t::NOT_FOUND) })
        .layer(from_fn_with_state(app.clone(), guard::watch))
        .with_state(app)
}

type Shared = axum::extract::State<Arc<App>>;
type Who = axum::Extension<Visitor>;

/// A page, or what is said in its place.
type Page = Result<Response, Failed>;

/// Why there is no page, or no change.
#[derive(Debug)]
struct Failed(Trouble);

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Self(trouble)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Trouble::NotAllowed(_) => StatusCode::FORBIDDEN,
            Trouble::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Trouble::Gone(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        shell::refusal(status, &self.0.to_string())
    }
}

/// What comes of an answer to another question.
fn odd() -> Failed {
    Failed(Trouble::Gone(t::ODD_ANSWER.into()))
}

/// What is said of a form that does not make sense.
fn bad(text: impl Into<String>) -> Trouble {
    Trouble::Refused(text.into())
}

/// Carries out a change and goes back to a page, which says how it went.
async fn change(
    app: &App,
    visitor: &Visitor,
    request: Result<Request, Trouble>,
    done: impl Into<String>,
    to: &str,
) -> Response {
    let asked = match request {
        Ok(request) => app.desk.ask(visitor, request).await,
        Err(trouble) => Err(trouble),
    };
    conclude(app, visitor, asked.map(|_: Reply| done.into()), to)
}

/// Goes back to a page, which says how it went. That a role does not allow it is said at once.
fn conclude(app: &App, visitor: &Visitor, how: Result<String, Trouble>, to: &str) -> Response {
    let flash = match how {
        Err(trouble @ Trouble::NotAllowed(_)) => return Failed(trouble).into_response(),
        Ok(text) => Flash { is_error: false, text },
        Err(trouble) => Flash { is_error: true, text: trouble.to_string() },
    };
    lock(&app.sessions).leave(visitor.session, flash);
    Redirect::to(to).into_response()
}
