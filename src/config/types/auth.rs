//! Who may call, and how they prove who they are.
//!
//! Guarantees: tokens are issued only where there is something to sign them with; a secret for HS256 has 32 bytes at
//! least; a signing key is an Ed25519 key that was read. `Debug` shows neither.

use crate::config::secret::Secret;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// `[auth]`
#[derive(Debug, Clone)]
pub struct Auth {
    /// Whether a request without a credential is served, as the role `anonymous`.
    pub anonymous: Anonymous,
    /// Whether a key may stand in the path: `/k/KEY/api/chat`.
    pub path_keys: PathKeys,
    /// Whether a call that runs a model has to name its conversation.
    pub conversation_ids: ConversationIds,
    /// `[auth.jwt]`
    pub jwt: Jwt,
    /// `[[auth.oidc]]`
    pub oidc: Vec<Oidc>,
}

/// An outside issuer whose tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// Its `iss`: an https URL.
    pub issuer: String,
    /// The `aud` of tokens that are meant for this gateway.
    pub audience: String,
    /// The claim that says what somebody is; dots go into objects: `realm_access.roles`.
    pub role_claim: String,
    /// What that claim may hold, and which role it means; the first that fits counts.
    pub roles: Vec<(String, String)>,
    /// The authority that signed the issuer's certificate; `None`: the public ones.
    pub root: Option<PathBuf>,
}

/// `X-Conversation-Id`: the first who names one owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationIds {
    /// May be sent.
    Optional,
    /// Has to be sent.
    Required,
}

/// A key in the path, for clients that can be given an address and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKeys {
    /// Is refused as every key in an URL.
    Refuse,
    /// Is the request's credential. It is in no log here; it may be in those of others.
    Accept,
}

/// A request without a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// Is refused.
    Deny,
    /// Has the role `anonymous`, which the configuration defines.
    Allow,
}

/// `[auth.jwt]`: tokens that are signed with keys of ours. Without `secret` and `keys` there are none.
#[derive(Debug, Clone)]
pub struct Jwt {
    /// Whether `/auth/token` gives tokens out.
    pub issue: Issue,
    /// `iss`: of the tokens made here, and of those believed.
    pub issuer: String,
    /// `aud`, likewise.
    pub audience: String,
    /// How long a token holds; one that claims more is refused.
    pub lifetime: Duration,
    /// How long a refresh token holds.
    pub refresh: Duration,
    /// For HS256, 32 bytes at least.
    pub secret: Option<Secret>,
    /// For EdDSA. The first one signs; all of them verify.
    pub keys: Vec<SigningKey>,
}

impl Jwt {
    /// Whether any token can be verified.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.secret.is_some() || !self.keys.is_empty()
    }
}

/// Whether tokens are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issue {
    /// Yes.
    Yes,
    /// They come from elsewhere, signed with the same keys, or there are none.
    No,
}

/// An Ed25519 key pair.
#[derive(Clone)]
pub struct SigningKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public: [u8; 32],
}

impl SigningKey {
    pub(crate) fn new(pkcs8: &[u8], public: [u8; 32]) -> Self {
        Self { pkcs8: Zeroizing::new(pkcs8.to_vec()), public }
    }

    /// PKCS#8, DER.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[signing key]")
    }
}
