//! The frame around every page: head, menu, message, content.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::super::session::{Flash, Visitor};
use super::super::{App, assets, lock, text as t};
use super::icons::icon;

/// The pages of the menu.
const MENU: [(&str, &str, &str); 5] = [
    ("/", "now", t::NOW),
    ("/events", "events", t::EVENTS),
    ("/people", "people", t::PEOPLE),
    ("/policy", "policy", t::POLICY),
    ("/site", "site", t::SITE),
];

/// A page for somebody who is logged in; `here` is its place in the menu.
pub(super) fn page(app: &App, visitor: &Visitor, here: &str, title: &str, content: Markup) -> Response {
    let flash = lock(&app.sessions).take(visitor.session);
    let body = html! {
        body data-csrf=(visitor.csrf) {
            a .skip href="#main" { (t::SKIP) }
            header .side {
                a .brand href="/" { img src=(assets::sign()) alt="" width="26" height="26"; span { (t::PRODUCT) } }
                nav aria-label=(t::MAIN_MENU) {
                    @for (to, sign, name) in MENU {
                        a href=(to) aria-current=[(to == here).then_some("page")] { (icon(sign)) span { (name) } }
                    }
                }
                div .account {
                    div .who { strong { (visitor.account) } small { (visitor.role) } }
                    form method="post" action="/logout" {
                        (csrf(visitor))
                        button .quiet title=(t::LOG_OUT) aria-label=(t::LOG_OUT) { (icon("out")) }
                    }
                }
            }
            main #main tabindex="-1" {
                @if let Some(flash) = &flash { (message(flash)) }
                (content)
            }
        }
    };
    document(StatusCode::OK, title, &body)
}

/// What is said in place of a page.
pub(in super::super) fn refusal(status: StatusCode, text: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = html! {
        body .alone {
            main #main .card {
                h1 { (title) }
                p { (text) }
                p { a .button href="/" { (t::BACK) } }
            }
        }
    };
    document(status, title, &body)
}

/// The document around a body.
pub(super) fn document(status: StatusCode, title: &str, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (t::PRODUCT) }
                link rel="stylesheet" href=(assets::style());
                link rel="icon" href=(assets::sign()) type="image/svg+xml";
                script src=(assets::script()) defer {}
            }
            (body)
        }
    };
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
}

/// How the last change went.
pub(super) fn message(flash: &Flash) -> Markup {
    let (class, role) = if flash.is_error { ("flash bad", "alert") } else { ("flash", "status") };
    html! { div class=(class) role=(role) { (icon(if flash.is_error { "alarm" } else { "good" })) p { (flash.text) } } }
}

/// The proof that a form is of this session.
pub(super) fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf); }
}

/// The head of a page, with what can be done there.
pub(super) fn head(title: &str, actions: Markup) -> Markup {
    html! { div .head { h1 { (title) } div .actions { (actions) } } }
}

/// What is shown where there is nothing to show.
pub(super) fn empty(sign: &str, what: &str, more: &str) -> Markup {
    html! { div .empty { (icon(sign)) strong { (what) } p { (more) } } }
}
