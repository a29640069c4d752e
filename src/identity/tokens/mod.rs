//! JSON Web Tokens that are signed with keys of the configuration: verified, and made.
//!
//! ```text
//! text ─► compact (size, dots, base64url) ─► header (closed set) ─► keys (kid → one key, one algorithm) ─► signature ─► claims
//! ```
//!
//! Guarantees: nothing in a token chooses how it is verified: its `kid` finds a key in a map in memory, and that key has
//! one algorithm, which `alg` must name. A header that says anything but `alg`, `typ`, `kid` and a thumbprint is refused,
//! so `crit`, `jku`, `x5u`, `jwk` and `x5c` are. Every claim that decides is required and of its exact type. Nothing is
//! ever fetched. Answers `threats.md` §4.6, all rows.
//! Does not: know whether the subject still exists (`identity::accounts`).

mod algorithm;
mod claims;
mod compact;
mod issue;
mod keys;

pub(super) use algorithm::Algorithm;
pub use claims::Claims;
pub(super) use claims::{Expected, Nbf, common, decisive, text as text_of};
pub(super) use compact::Compact;
pub use issue::{Grant, NotIssued};
pub use keys::TokenKeys;
pub(super) use keys::is_access_token;

use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a token at most.
pub const MAX_TOKEN: usize = 4096;

/// A text that has the look of a token. Not shown.
#[derive(Clone)]
pub struct PresentedToken(Zeroizing<String>);

impl PresentedToken {
    /// Takes a text that has a dot in it, as every token has and no key.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        text.contains('.').then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[token]")
    }
}

/// Why a token opens nothing. The client is told the same for all of them; the log is told which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// No token is believed here.
    NotAccepted,
    /// More than [`MAX_TOKEN`] bytes.
    TooLarge,
    /// Not three parts of canonical base64url.
    Malformed,
    /// A header that is no JSON object, or says something that it must not.
    Header,
    /// `typ` of something else.
    Type,
    /// No key has this `kid`.
    UnknownKey,
    /// Not the algorithm of the key.
    Algorithm,
    /// The signature is wrong.
    Signature,
    /// A claim is missing or of another type.
    Claims,
    /// From another issuer.
    Issuer,
    /// For another audience.
    Audience,
    /// Too late.
    Expired,
    /// Too early.
    NotYet,
    /// It claims a longer life than tokens have.
    Lifetime,
    /// It was taken back.
    Revoked,
    /// Its subject is gone, locked, or has another role by now.
    Subject,
}

impl TokenRefusal {
    /// For the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAccepted => "token_not_accepted",
            Self::TooLarge => "token_too_large",
            Self::Malformed => "token_malformed",
            Self::Header => "token_header",
            Self::Type => "token_type",
            Self::UnknownKey => "token_key_unknown",
            Self::Algorithm => "token_algorithm",
            Self::Signature => "token_signature",
            Self::Claims => "token_claims",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet_valid",
            Self::Lifetime => "token_lifetime",
            Self::Revoked => "token_revoked",
            Self::Subject => "token_subject",
        }
    }
}
