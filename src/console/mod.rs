//! The console: pages on the admin listener that show what happens, and what was used, and let an admin act.
//!
//! Guarantees: nobody sees anything without a session; a session begins with both factors of a user, at an outside issuer
//! or with a key, for the roles of `admin.roles` alone, and ends with the right to have one; every change carries the
//! session's own token, comes from a page of this listener, and is in the audit log; no inline script or style runs (a
//! strict content security policy); a made key is shown once and stored by no cache.
//! Answers `threats.md` §4.5: DNS rebinding (only this machine's names are a Host here), CSRF, clickjacking.
//! Does not: speak TLS. It is on this machine alone: `ssh -L 9443:127.0.0.1:9443 host` brings it elsewhere.

mod actions;
mod body;
mod chat;
mod door;
mod form;
mod inside;
mod live;
mod pages;
mod people;
mod sessions;

pub use body::Body;

use crate::config::types::Config;
use crate::gateway::Gateway;
use crate::identity::oidc::sign_on::SignOn;
use crate::store::Store;
use crate::telemetry::audit::{Act, Entry};
use body::{asset, page, redirect};
use door::Flows;
use form::Form;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use sessions::{Session, Sessions};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

const CSS: &str = include_str!("console.css");
const SCRIPT: &str = include_str!("console.js");
const ICON: &str = include_str!("icon.svg");
/// Bytes of a form; of one with a message to a model.
const FORM: usize = 4 * 1024;
const MESSAGE: usize = 64 * 1024;

/// What the console works with, as long as the process lives.
#[derive(Debug)]
pub struct Console {
    store: Store,
    state: PathBuf,
    sessions: Sessions,
    flows: Flows,
    sign_on: Mutex<Option<Arc<SignOn>>>,
    streams: AtomicUsize,
}

impl Console {
    /// Nobody is signed in.
    #[must_use]
    pub fn new(store: Store, config: &Config) -> Arc<Self> {
        Arc::new(Self {
            store,
            state: config.server.state.clone(),
            sessions: Sessions::default(),
            flows: Flows::default(),
            sign_on: Mutex::default(),
            streams: AtomicUsize::new(0),
        })
    }

    /// Answers a request whose path begins with `/console`.
    pub async fn answer(self: &Arc<Self>, gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if !is_this_machine(&head.headers) {
            return page(StatusCode::MISDIRECTED_REQUEST, pages::message("This host name is not served here."));
        }
        let session = self.sessions.of(&head.headers, gateway);
        match (&head.method, head.uri.path()) {
            (&Method::GET, path) => self.get(gateway, (path, session), &head).await,
            (&Method::POST, path) if !is_own_page(&head.headers) => {
                tracing::warn!(event = "console_foreign_post", path, "a page of another origin sent a form");
                page(StatusCode::FORBIDDEN, pages::message("This form came from another page."))
            }
            (&Method::POST, path) => {
                let most = if path == "/console/chat" { MESSAGE } else { FORM };
                match Form::read(&head.headers, body, most).await {
                    Some(form) => self.post(gateway, (path, session), &form).await,
                    None => page(StatusCode::BAD_REQUEST, pages::message("The form could not be read.")),
                }
            }
            _ => page(StatusCode::NOT_FOUND, pages::message("There is no such page.")),
        }
    }

    async fn get(
        self: &Arc<Self>,
        gateway: &Arc<Gateway>,
        (path, session): (&str, Option<Session>),
        head: &Parts,
    ) -> Response<Body> {
        match (path, session) {
            ("/console/style.css", _) => asset("text/css; charset=utf-8", CSS),
            ("/console/icon.svg", _) => asset("image/svg+xml", ICON),
            ("/console/script.js", _) => asset("text/javascript; charset=utf-8", SCRIPT),
            ("/console/oidc/begin", _) => self.begin_sign_on(gateway, head).await,
            ("/console/oidc/done", _) => self.finish_sign_on(gateway, head).await,
            ("/console/live", None) => page(StatusCode::UNAUTHORIZED, door::markup(gateway, None)),
            ("/console/live", Some(_)) => live::stream(self, Arc::clone(gateway), head.headers.clone()),
            (_, None) => page(StatusCode::OK, door::markup(gateway, None)),
            (path, Some(session)) => self.inside(gateway, &session, (path, head.uri.query())).await,
        }
    }

    async fn post(
        &self,
        gateway: &Arc<Gateway>,
        (path, session): (&str, Option<Session>),
        form: &Form,
    ) -> Response<Body> {
        if path == "/console/sign-in" {
            return self.sign_in(gateway, form).await;
        }
        let Some(session) = session else { return redirect("/console", None) };
        if !session.sent(form) {
            return page(
                StatusCode::FORBIDDEN,
                pages::message("This form is not of your session: load the page again."),
            );
        }
        match path {
            "/console/sign-out" => {
                self.sessions.end(&session);
                self.account(gateway, &session.name(), ("console sign-out", None), "completed");
                redirect("/console", Some(sessions::GONE))
            }
            "/console/chat" => chat::answer(gateway, &session, form).await,
            _ => match self.act(gateway, &session, (path, form)).await {
                Ok(actions::Done::Made { name, key, .. }) => {
                    page(StatusCode::OK, pages::keys::made(&name, key.expose()))
                }
                Ok(actions::Done::Changed(back)) => redirect(back, None),
                Err(refused) => {
                    page(StatusCode::BAD_REQUEST, pages::refused(&session, &refused.to_string(), back_to(path)))
                }
            },
        }
    }

    /// Leaves a record of what an admin did.
    fn account(&self, gateway: &Gateway, by: &str, (action, object): (&str, Option<&str>), outcome: &str) {
        let what = Entry { principal: Some(by), action: Some(action), object, ..Entry::act(Act::Administration) };
        gateway.account(&Entry { outcome: Some(outcome), ..what });
    }
}

/// The page that a form is on.
fn back_to(path: &str) -> &'static str {
    match path.split('/').nth(2) {
        Some("users") => "/console/users",
        Some("bans") => "/console/bans",
        Some(_) | None => "/console/keys",
    }
}

/// A page elsewhere whose name was made to point here sends its own name (DNS rebinding).
fn is_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What a browser says about where a form comes from. Another client says nothing, and has no cookie.
fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or("?"));
    let own = text("host").map(|host| format!("http://{host}"));
    let origin = text("origin").is_none_or(|origin| Some(origin) == own.as_deref());
    origin && text("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_names_of_this_machine_are_a_host_here() {
        for host in ["localhost:9443", "127.0.0.1:9443", "[::1]:9443", "127.0.0.2"] {
            assert!(is_this_machine(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example:9443", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[evil"] {
            assert!(!is_this_machine(&headers(&[("host", host)])), "{host}");
        }
        assert!(!is_this_machine(&headers(&[])));
    }

    #[test]
    fn a_form_of_another_origin_is_told() {
        let host = ("host", "127.0.0.1:9443");
        assert!(is_own_page(&headers(&[host, ("origin", "http://127.0.0.1:9443"), ("sec-fetch-site", "same-origin")])));
        assert!(is_own_page(&headers(&[host])));
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:8000"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!is_own_page(&headers(&[host, foreign])), "{foreign:?}");
        }
    }
}
