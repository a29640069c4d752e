//! What the probe stands on: for each question a gateway of its own, made from the configuration.
//!
//! Guarantees: each gateway is new, so no question is answered by what another one used up; the operator's Ollama, store,
//! certificates, audit log and outside issuers are replaced by empty ones of this process, and nothing else is.

use super::exchange::{Ask, Reached, Seen, exchange, send};
use super::samples;
use super::stand_in::StandIn;
use crate::certificates::Certificates;
use crate::cli::CommandError;
use crate::cli::temporary_folder::Folder;
use crate::config::Config;
use crate::config::types::{AuditPolicy, Certificate, ConversationIds, Role, Store as StoreConfig};
use crate::gateway::{Gateway, Parts, Policy};
use crate::identity::accounts::Accounts;
use crate::identity::issue::{HONEY, KeyRequest};
use crate::identity::key_ring::KeyRing;
use crate::identity::keys::PresentedKey;
use crate::identity::pepper::Pepper;
use crate::limits::{AddressPrefix, PrincipalId, Subject};
use crate::ollama::endpoint::Endpoint;
use crate::store::Store;
use crate::store::key_bounds::KeyBounds;
use crate::store::key_record::{KeyName, KeyRecord};
use crate::store::timestamp::Timestamp;
use crate::telemetry::clock;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::DuplexStream;

/// The role of a request without a key.
pub(super) const ANONYMOUS: &str = "anonymous";

/// What all questions share.
pub(super) struct Ground {
    /// What the file says: what is asked, and which answer is right.
    pub(super) stated: Config,
    /// What the gateways are made from. The same; a test takes one limit out.
    effective: Config,
    keys: BTreeMap<String, PresentedKey>,
    records: Vec<KeyRecord>,
    pepper: Pepper,
    accounts: Arc<Accounts>,
    certificates: Arc<Certificates>,
    conversations: AtomicU32,
    // The last field: removed after what is open in it is closed.
    _folder: Folder,
}

/// Somebody who may call something.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// What they are.
    pub(super) role: Arc<Role>,
    /// Where they come from.
    pub(super) from: IpAddr,
    /// A model that is theirs.
    pub(super) model: String,
}

/// One gateway and what stands behind it.
pub(super) struct Stand<'g> {
    pub(super) gateway: Arc<Gateway>,
    pub(super) upstream: StandIn,
    ground: &'g Ground,
}

impl Ground {
    /// Prepares.
    pub(super) async fn prepare(stated: &Config, effective: &Config) -> Result<Self, CommandError> {
        let folder = Folder::make("probe")?;
        let effective = detached(effective, &folder);
        let store = Store::open(&effective.store, folder.path()).await?;
        let pepper = Pepper::open(folder.path(), &store).await?;
        let certificates = Certificates::open(&effective, clock::now)?;
        let accounts = Arc::new(Accounts::load(store, pepper.clone()).await?);
        let mut ground = Self {
            stated: stated.clone(),
            effective,
            keys: BTreeMap::new(),
            records: Vec::new(),
            pepper,
            accounts,
            certificates,
            conversations: AtomicU32::new(0),
            _folder: folder,
        };
        let roles: Vec<String> = stated.roles.keys().filter(|name| *name != ANONYMOUS).cloned().collect();
        for role in roles.iter().map(String::as_str).chain([HONEY]) {
            ground.make_key(role)?;
        }
        Ok(ground)
    }

    fn make_key(&mut self, role: &str) -> Result<(), CommandError> {
        let failed = |_| CommandError::Unhealthy("the operating system gives no random bytes".to_owned());
        let key = PresentedKey::generate().map_err(failed)?;
        let Some(name) = KeyName::parse("probe") else { return Ok(()) };
        let wanted = KeyRequest { name, role: Arc::from(role), expires_at: None, bounds: KeyBounds::default() };
        self.records.push(wanted.record(&key, &self.pepper, Timestamp::from(clock::now())));
        self.keys.insert(role.to_owned(), key);
        Ok(())
    }

    /// A new gateway.
    pub(super) async fn stand(&self) -> Result<Stand<'_>, CommandError> {
        let upstream = StandIn::start().await?;
        let mut config = self.effective.clone();
        config.upstream.address = upstream.address().to_string();
        config.upstream.host = upstream.address().to_string();
        let parts = Parts {
            keys: Arc::new(KeyRing::of_records(self.pepper.clone(), self.records.clone())),
            accounts: Arc::clone(&self.accounts),
            audit: None,
            certificates: Arc::clone(&self.certificates),
        };
        let gateway = Arc::new(Gateway::new(Policy::new(config)?, parts)?);
        Ok(Stand { gateway, upstream, ground: self })
    }

    /// The one name that is asked for.
    pub(super) fn host(&self) -> String {
        let name = self.stated.server.names.first().map_or("localhost", String::as_str);
        if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
    }

    /// The text of a role's key.
    pub(super) fn key(&self, role: &str) -> String {
        self.keys.get(role).map_or_else(String::new, |key| key.reveal().expose().to_owned())
    }

    /// The public id of a role's key.
    pub(super) fn key_id(&self, role: &str) -> String {
        self.keys.get(role).map_or_else(String::new, |key| key.id().to_string())
    }

    /// Somebody of this role, where anybody can be.
    pub(super) fn caller(&self, role: &Arc<Role>) -> Option<Caller> {
        let from = samples::address(&self.stated, &role.addresses)?;
        Some(Caller { role: Arc::clone(role), from, model: samples::model(role)? })
    }

    /// The first role's caller who may call one of these; the first of them that it may call.
    pub(super) fn caller_of(&self, endpoints: &[Endpoint]) -> Option<(Caller, Endpoint)> {
        let callers = || self.stated.roles.values().filter_map(|role| self.caller(role));
        endpoints.iter().find_map(|endpoint| {
            callers().find(|caller| caller.role.endpoints.contains(*endpoint)).map(|caller| (caller, *endpoint))
        })
    }

    /// What this caller's limits are counted by.
    pub(super) fn subject(&self, caller: &Caller) -> Subject {
        if caller.role.name == ANONYMOUS {
            return Subject::Address(AddressPrefix::from(caller.from));
        }
        Subject::Principal(PrincipalId::new(self.key_id(&caller.role.name)))
    }

    /// The request with everything that a call of this caller needs besides.
    pub(super) fn signed(&self, ask: Ask, caller: &Caller) -> Ask {
        let ask = self.in_conversation(ask);
        if caller.role.name == ANONYMOUS {
            return ask;
        }
        ask.with("authorization", format!("Bearer {}", self.key(&caller.role.name)))
    }

    /// A call of this endpoint that is as it should be.
    pub(super) fn call(&self, endpoint: Endpoint, caller: &Caller) -> Ask {
        self.signed(samples::ask(endpoint, caller, samples::word(&self.stated)), caller)
    }

    /// A call of this endpoint with another body.
    pub(super) fn call_with(&self, endpoint: Endpoint, caller: &Caller, body: impl Into<Vec<u8>>) -> Ask {
        self.call(endpoint, caller).carrying(body)
    }

    fn in_conversation(&self, ask: Ask) -> Ask {
        match self.stated.auth.conversation_ids {
            ConversationIds::Optional => ask,
            ConversationIds::Required => {
                let number = self.conversations.fetch_add(1, Ordering::Relaxed);
                ask.with("x-conversation-id", format!("probe-{number}"))
            }
        }
    }
}

/// The configuration without what belongs to others.
fn detached(config: &Config, folder: &Folder) -> Config {
    let mut config = config.clone();
    config.server.state = folder.path().to_path_buf();
    config.store = StoreConfig::Sqlite(folder.path().join("gateway.db"));
    config.tls.certificate = Certificate::SelfSigned;
    config.tls.acme = None;
    config.tls.client = None;
    config.auth.oidc = Vec::new();
    config.audit.policy = AuditPolicy::Off;
    config
}

impl Stand<'_> {
    /// Sends it and says what came of it.
    pub(super) async fn ask(&self, ask: &Ask) -> Seen {
        let before = self.upstream.count();
        let mut seen = exchange(&self.gateway, &self.ground.host(), ask).await;
        if self.upstream.count() > before {
            seen.reached = Reached::Upstream;
        }
        seen
    }

    /// Sends one that stays in flight: what stands in for Ollama is to be silent.
    pub(super) async fn hold(&self, ask: &Ask) -> Option<DuplexStream> {
        let wanted = self.upstream.count().saturating_add(1);
        let held = send(&self.gateway, &self.ground.host(), ask).await;
        let there = tokio::time::timeout(super::exchange::PATIENCE, self.upstream.until(wanted)).await;
        there.is_ok().then_some(held)
    }
}
