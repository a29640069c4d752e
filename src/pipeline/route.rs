//! Second stage: which endpoint of the closed table is this?
//!
//! Guarantees of [`Routed`]: one endpoint, by exact bytes of path and method, with its parameter parsed. Preflights, `/`
//! and `/api/health` are answered here; anything else that is no row of the table is a 404 or 405 here, and Ollama sees
//! nothing of it (`threats.md` §0.2, `field.md` E 7, 8, 30).

use super::inspect::Inspected;
use super::record::Record;
use crate::ollama::endpoint::{Endpoint, NoRoute, PathParameter};
use crate::rejection::Rejection;
use http::Method;
use http::header::{self, HeaderMap};

/// A request whose endpoint is known.
///
/// ```compile_fail
/// fn forge(inspected: ollama_gateway::pipeline::inspect::Inspected) -> ollama_gateway::pipeline::route::Routed {
///     ollama_gateway::pipeline::route::Routed { inspected, endpoint: ollama_gateway::ollama::endpoint::Endpoint::Chat,
///         parameter: ollama_gateway::ollama::endpoint::PathParameter::None }
/// }
/// ```
/// ```
/// fn read(routed: &ollama_gateway::pipeline::route::Routed) -> ollama_gateway::ollama::endpoint::Endpoint {
///     routed.endpoint()
/// }
/// ```
#[derive(Debug)]
pub struct Routed {
    inspected: Inspected,
    endpoint: Endpoint,
    parameter: PathParameter,
}

impl Routed {
    /// The endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The path's parameter.
    #[must_use]
    pub const fn parameter(&self) -> &PathParameter {
        &self.parameter
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        self.inspected.headers()
    }

    /// The request as it was inspected.
    #[must_use]
    pub const fn inspected(&self) -> &Inspected {
        &self.inspected
    }

    /// Whether only the head of an answer is wanted.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.inspected.method() == Method::HEAD
    }

    pub(in crate::pipeline) fn into_parts(self) -> (PathParameter, HeaderMap) {
        (self.parameter, self.inspected.into_headers())
    }
}

/// What is answered without Ollama and without a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// `/`
    Root,
    /// `/api/health`
    Health,
    /// The answer to a CORS preflight.
    Preflight,
}

/// A route of the gateway itself, which Ollama does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnRoute {
    /// `/auth/token`
    Token,
    /// `/auth/revoke`
    Revoke,
    /// `/.well-known/jwks.json`
    Jwks,
}

impl OwnRoute {
    /// For the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::Jwks => "jwks",
        }
    }

    /// By exact bytes; a path of Ollama never begins so.
    fn find(method: &Method, path: &str) -> Option<Result<Self, Rejection>> {
        let (route, wanted) = match path {
            "/auth/token" => (Self::Token, Method::POST),
            "/auth/revoke" => (Self::Revoke, Method::POST),
            "/.well-known/jwks.json" => (Self::Jwks, Method::GET),
            _ => return None,
        };
        let allow = if wanted == Method::POST { "POST" } else { "GET" };
        Some(if *method == wanted { Ok(route) } else { Err(Rejection::MethodNotAllowed { allow }) })
    }
}

/// A request to a route of the gateway itself.
#[derive(Debug)]
pub struct Own {
    inspected: Inspected,
    route: OwnRoute,
}

impl Own {
    pub(in crate::pipeline) fn into_parts(self) -> (OwnRoute, HeaderMap) {
        (self.route, self.inspected.into_headers())
    }
}

/// Where a request goes.
#[derive(Debug)]
pub enum Route {
    /// It is answered here.
    Here(Local),
    /// It is answered here, and says who somebody is.
    Own(Box<Own>),
    /// It goes on.
    Onward(Box<Routed>),
}

/// Finds the endpoint.
///
/// # Errors
/// [`Rejection::UnknownRoute`], [`Rejection::MethodNotAllowed`].
#[expect(clippy::wildcard_enum_match_arm, reason = "two routes are answered here, all others go on to be checked")]
pub fn route(inspected: Inspected, record: &mut Record) -> Result<Route, Rejection> {
    if inspected.method() == Method::OPTIONS {
        return preflight(&inspected);
    }
    if let Some(own) = OwnRoute::find(inspected.method(), inspected.path()) {
        return Ok(Route::Own(Box::new(Own { route: own?, inspected })));
    }
    let (endpoint, parameter) =
        Endpoint::find(inspected.method().as_str(), inspected.path()).map_err(|no| match no {
            NoRoute::UnknownPath => Rejection::UnknownRoute,
            NoRoute::UnknownMethod(allow) => Rejection::MethodNotAllowed { allow },
        })?;
    record.endpoint = Some(endpoint);
    Ok(match endpoint {
        Endpoint::Root => Route::Here(Local::Root),
        Endpoint::Health => Route::Here(Local::Health),
        _ => Route::Onward(Box::new(Routed { inspected, endpoint, parameter })),
    })
}

/// A preflight asks what may be sent, with no credential, before the request itself (Fetch, "CORS-preflight fetch").
fn preflight(inspected: &Inspected) -> Result<Route, Rejection> {
    let headers = inspected.headers();
    let asks = headers.contains_key(header::ORIGIN) && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if let Some(own) = OwnRoute::find(inspected.method(), inspected.path()) {
        return own
            .map(|_| Route::Here(Local::Preflight))
            .or_else(|no| if asks { Ok(Route::Here(Local::Preflight)) } else { Err(no) });
    }
    match Endpoint::find("OPTIONS", inspected.path()) {
        Err(NoRoute::UnknownPath) => Err(Rejection::UnknownRoute),
        Ok(_) | Err(NoRoute::UnknownMethod(_)) if asks => Ok(Route::Here(Local::Preflight)),
        Ok(_) => Err(Rejection::UnknownRoute),
        Err(NoRoute::UnknownMethod(allow)) => Err(Rejection::MethodNotAllowed { allow }),
    }
}
