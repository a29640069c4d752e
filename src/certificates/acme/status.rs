//! How renewal stands: written by the server, read by `cert status`.
//!
//! Guarantees: holds no secret. It survives a restart, so that a service that restarts in a loop does not ask the CA
//! each time.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// How renewal stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    /// When the CA is asked next.
    #[serde(with = "rfc3339", default)]
    pub(crate) next_try: Option<SystemTime>,
    /// Why the last try failed; nothing once one has succeeded.
    #[serde(default)]
    pub(crate) last_error: Option<String>,
    /// Failures since the last success.
    #[serde(default)]
    pub(crate) failures: u32,
    /// For which settings they were: with others a try makes sense at once.
    #[serde(default)]
    pub(crate) settings: String,
    /// An order that is under way.
    #[serde(default)]
    pub(crate) order: Option<String>,
}

/// What serves, from when to when, and how its renewal stands: a line of `cert status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateStatus {
    /// `acme`, `self-signed` or `files`
    pub source: &'static str,
    /// For which names.
    pub names: Vec<String>,
    /// By whom.
    pub issuer: String,
    /// Valid from.
    #[serde(with = "rfc3339")]
    pub not_before: Option<SystemTime>,
    /// Valid until.
    #[serde(with = "rfc3339")]
    pub not_after: Option<SystemTime>,
    /// Whole days until then.
    pub days_left: u64,
    /// When the CA is asked next.
    #[serde(with = "rfc3339")]
    pub next_try: Option<SystemTime>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// A time as people write it.
pub(crate) mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Option<SystemTime>, to: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.collect_str(&humantime::format_rfc3339_seconds(*time)),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SystemTime>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_comes_back_as_it_was_written() {
        let next_try = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let status = Status { next_try, failures: 3, last_error: Some("x".into()), ..Status::default() };
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.contains("2027-01-15T08:00:00Z"), "{text}");
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
        assert_eq!(serde_json::from_str::<Status>("{}").unwrap(), Status::default());
    }
}
