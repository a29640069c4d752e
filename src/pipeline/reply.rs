//! What goes to a client: a status, headers, a body.
//!
//! Guarantees: every answer carries the headers that the policy puts on all, its request's id, and its own; none of
//! Ollama's is among them. They are written as lines for HTTP/1.1, where those of the policy are bytes that were made
//! once, and into a map for HTTP/2's library; both say the same.

use super::body::Body;
use crate::gateway::Policy;
use crate::http1::lines::field;
use crate::limits::Quota;
use crate::rejection::Connection;
use crate::telemetry::request_id::RequestId;
use bytes::{BufMut as _, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use std::sync::Arc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Header fields; no name comes twice.
pub type Fields = Vec<(HeaderName, HeaderValue)>;

/// An answer on its way to a client.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, but for the framing of the body.
    pub headers: Headers,
    /// Whether the connection goes on after it: HTTP/1.1 alone has such a thing.
    pub connection: Connection,
    /// The body.
    pub body: Body,
}

impl Reply {
    /// For a library.
    #[must_use]
    pub fn into_http(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.into_map();
        response
    }
}

/// The headers of one answer.
#[derive(Debug)]
pub struct Headers {
    /// Those of every answer.
    pub standing: Arc<Standing>,
    /// The request's id.
    pub id: RequestId,
    /// What is left of the caller's rate.
    pub quota: Option<Quota>,
    /// Its own.
    pub own: Fields,
}

/// Headers that are the same on every answer, made once for a policy.
#[derive(Debug)]
pub struct Standing {
    map: HeaderMap,
    lines: Box<[u8]>,
}

impl From<HeaderMap> for Standing {
    fn from(map: HeaderMap) -> Self {
        let mut lines = BytesMut::new();
        for (name, value) in &map {
            field(&mut lines, name, value.as_bytes());
        }
        Self { map, lines: lines.as_ref().into() }
    }
}

impl Headers {
    /// Of JSON that is answered where there is nothing else to say of a request.
    #[must_use]
    pub fn of_json(policy: &Policy, id: RequestId) -> Self {
        let own = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self { standing: Arc::clone(&policy.standing.to_client), id, quota: None, own }
    }

    /// Writes each as a line, with its end.
    pub fn write_lines(&self, out: &mut BytesMut) {
        out.put_slice(&self.standing.lines);
        field(out, &REQUEST_ID, self.id.as_str().as_bytes());
        for (name, value) in &self.own {
            field(out, name, value.as_bytes());
        }
        if let Some(quota) = &self.quota {
            quota.each(|name, value| field(out, name, value.as_bytes()));
        }
    }

    /// As a map.
    #[must_use]
    pub fn into_map(self) -> HeaderMap {
        let mut map = self.standing.map.clone();
        map.insert(REQUEST_ID, self.id.header_value());
        map.extend(self.own);
        if let Some(quota) = &self.quota {
            quota.each(|name, value| map.extend(HeaderValue::from_str(value).map(|value| (name.clone(), value))));
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_map_say_the_same() {
        let quota = Quota { policy: "chat", limit: 60, window_s: 60, remaining: 59, reset_s: 1 };
        let standing = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]);
        let headers = Headers {
            standing: Arc::new(standing.into()),
            id: RequestId::new(),
            quota: Some(quota),
            own: vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        };
        let (id, mut out) = (headers.id.to_string(), BytesMut::new());
        headers.write_lines(&mut out);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let map = headers.into_map();
        let mut of_map: Vec<_> = map.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        of_map.sort();
        assert_eq!(lines, of_map);
        let wanted = [
            "cache-control: no-store",
            "content-type: application/json",
            "ratelimit-limit: 60",
            "ratelimit-policy: \"chat\";q=60;w=60",
            "ratelimit-remaining: 59",
            "ratelimit-reset: 1",
            "ratelimit: \"chat\";r=59;t=1",
            &format!("x-request-id: {id}"),
        ];
        assert_eq!(lines, wanted);
    }
}
