//! Logging in and out.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;

use super::super::accounts::is_right;
use super::super::guard::Peer;
use super::super::session::{Flash, Visitor};
use super::super::{App, assets, lock, text as t};
use super::form::{Form, Query};
use super::{Shared, Who, shell};

/// The form.
pub(super) async fn show(State(app): Shared, visitor: Option<Who>, Query(query): Query) -> Response {
    if visitor.is_some() {
        return Redirect::to("/").into_response();
    }
    let problem = app.accounts().all().is_empty().then_some(t::NO_ACCOUNTS);
    form(StatusCode::OK, query.get("to"), "", problem)
}

fn form(status: StatusCode, to: &str, account: &str, problem: Option<&str>) -> Response {
    let flash = problem.map(|text| Flash { is_error: true, text: text.to_owned() });
    let body = html! {
        body .alone {
            main #main .card .login {
                img src=(assets::sign()) alt="" width="44" height="44";
                h1 { (t::PRODUCT) }
                p .soft { (t::LOG_IN_LEAD) }
                @if let Some(flash) = &flash { (shell::message(flash)) }
                form method="post" action="/login" {
                    input type="hidden" name="to" value=(to);
                    label { (t::ACCOUNT)
                        input name="account" value=(account) required autocomplete="username" autocapitalize="none"
                            spellcheck="false" maxlength="32" autofocus[account.is_empty()];
                    }
                    label { (t::PASSWORD)
                        input type="password" name="password" required autocomplete="current-password" maxlength="256"
                            autofocus[!account.is_empty()];
                    }
                    button .primary { (t::LOG_IN) }
                }
            }
        }
    };
    shell::document(status, t::LOG_IN, &body)
}

/// Looks at account and password, at a bounded rate and one at a time.
pub(super) async fn log_in(
    State(app): Shared,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Form(fields): Form,
) -> Response {
    let (account, to) = (fields.get("account"), fields.get("to"));
    let account: String = account.chars().take(64).collect();
    let from = address(&app, peer, &headers);
    let waits = |app: &App| lock(&app.limiter).wait(&account, &from, app.now());
    if let Some(wait) = waits(&app) {
        return form(StatusCode::TOO_MANY_REQUESTS, to, &account, Some(&t::wait(wait.as_secs().max(1))));
    }
    let Ok(_turn) = app.hashing.acquire().await else {
        return shell::refusal(StatusCode::SERVICE_UNAVAILABLE, t::STOPPING);
    };
    // Those who came in at once waited for their turn here.
    if let Some(wait) = waits(&app) {
        return form(StatusCode::TOO_MANY_REQUESTS, to, &account, Some(&t::wait(wait.as_secs().max(1))));
    }
    let found = app.accounts().find(&account).cloned();
    let password = fields.raw("password").to_owned();
    let (found, right) = match tokio::task::spawn_blocking(move || {
        let right = is_right(found.as_ref(), &password);
        (found, right)
    })
    .await
    {
        Ok(looked) => looked,
        Err(_) => return shell::refusal(StatusCode::SERVICE_UNAVAILABLE, t::STOPPING),
    };
    let (true, Some(found)) = (right, found) else {
        log::warn!("a login as {account:?} from {from} failed");
        lock(&app.limiter).failed(&account, &from, app.now());
        return form(StatusCode::UNAUTHORIZED, to, &account, Some(t::WRONG));
    };
    log::info!("{account} logs in from {from}");
    lock(&app.limiter).succeeded(&account);
    let token = lock(&app.sessions).begin(&found, app.now());
    let secure = if app.is_secure() { "; Secure" } else { "" };
    let cookie =
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict{secure}", app.cookie_name(), token.as_str());
    ([(header::SET_COOKIE, cookie)], Redirect::to(inside(to))).into_response()
}

/// Where a login comes from. A proxy names whom it serves last; what stands before that anybody can write.
fn address(app: &App, Peer(peer): Peer, headers: &HeaderMap) -> String {
    if app.options.proxied && peer.is_loopback() {
        let named = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
        let last = named.and_then(|all| all.rsplit(',').next()).map(str::trim);
        if let Some(address) = last.and_then(|text| text.parse::<std::net::IpAddr>().ok()) {
            return address.to_string();
        }
    }
    peer.to_string()
}

/// A path of ours, whatever a link said.
fn inside(to: &str) -> &str {
    let ours = to.starts_with('/')
        && !to.starts_with("//")
        && !to.contains('\\')
        && to.chars().all(|c| !c.is_control());
    if ours && !to.starts_with("/login") { to } else { "/" }
}

/// Ends the session.
pub(super) async fn log_out(State(app): Shared, Extension(visitor): Who) -> Response {
    let Visitor { session, .. } = visitor;
    lock(&app.sessions).end(session);
    let gone = format!(
        "{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{}",
        app.cookie_name(),
        if app.is_secure() { "; Secure" } else { "" }
    );
    ([(header::SET_COOKIE, gone)], Redirect::to("/login")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_a_page_of_ours_and_nowhere_else() {
        for (to, wanted) in [
            ("/events?x=1", "/events?x=1"),
            ("", "/"),
            ("//evil", "/"),
            ("/\\evil", "/"),
            ("https://evil", "/"),
            ("/login?to=/login", "/"),
            ("/a\r\nSet-Cookie: x", "/"),
        ] {
            assert_eq!(inside(to), wanted, "{to:?}");
        }
    }
}
