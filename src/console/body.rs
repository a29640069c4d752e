//! Answers of the console, each with the headers that keep a page to itself.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use std::convert::Infallible;

/// Whole, or a stream without end.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// No script and no style but the two files; nothing is loaded from, sent to or framed by anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page.
pub(super) fn page(status: StatusCode, text: maud::Markup) -> Response<Body> {
    answer(status, "text/html; charset=utf-8", Full::new(Bytes::from(text.into_string())).boxed_unsync())
}

/// One of the files that pages use.
pub(super) fn asset(kind: &'static str, text: &'static str) -> Response<Body> {
    answer(StatusCode::OK, kind, Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync())
}

/// Elsewhere, by GET.
pub(super) fn redirect(to: &'static str, cookie: Option<&str>) -> Response<Body> {
    let mut response = answer(StatusCode::SEE_OTHER, "text/plain", Full::default().boxed_unsync());
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(to));
    if let Some(cookie) = cookie.and_then(|text| HeaderValue::from_str(text).ok()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// To the page of an issuer.
pub(super) fn redirect_to(url: &str, cookie: &str) -> Response<Body> {
    let mut response = redirect("/console", Some(cookie));
    if let Ok(url) = HeaderValue::from_str(url) {
        response.headers_mut().insert(header::LOCATION, url);
    }
    response
}

/// Anything.
pub(super) fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: with that, a browser sends `Origin: null` with a form of its own page.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
