//! Certificates from a certificate authority, by themselves (RFC 8555, 8737, 8738, 9773).
//!
//! Guarantees: obtained in the background while another certificate serves; renewed in the window the CA suggests, else
//! with a third of the life left; failures are spaced, counted and kept across restarts; one process orders, others
//! that share the state folder follow. A damaged state folder is reported and nothing is ordered.
//! Does not: answer the CA (`resolver` and the listener on port 80 do, from `challenges`).
//!
//! It looks at the clock once a second rather than sleeping for weeks: a machine that slept, or whose clock was set,
//! is then no special case.

mod account;
mod answers;
mod client;
mod dns_hook;
mod fault;
mod nonce;
mod obtain;
mod order;
pub(crate) mod requests;
mod schedule;
mod standalone;
pub(crate) mod status;
pub(crate) mod store;

pub use fault::AcmeFault;
pub use requests::Renew;
pub use schedule::Schedule;
pub use status::CertificateStatus;

use crate::certificates::files::{Pair, Version};
use crate::certificates::leaf::Leaf;
use crate::certificates::{CertificateFault, Certificates, Wanted, report};
use crate::config::types::Acme;
use obtain::Attempt;
use requests::Answer;
use schedule::Chance;
use standalone::Standalone;
use status::Status;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use store::{Lock, Store};

/// Makes one attempt now: by the server of this state folder if one runs, else here, listening for the CA meanwhile.
pub(crate) async fn renew(certificates: &Arc<Certificates>, renew: Renew, ports: Ports<'_>) -> Result<(), AcmeFault> {
    let wanted = certificates.wanted.load_full();
    let Some(acme) = wanted.acme() else {
        return Err(AcmeFault::Setting { key: "directory", reason: "tls.certificate is not \"acme\"".to_owned() });
    };
    let Some(_lock) = Lock::take(&wanted.state)? else { return requests::ask(&wanted.state, renew).await };
    let listening = Standalone::listen(certificates, &wanted.tls, ports).await?;
    let attempted = Turn { certificates, wanted: &wanted, acme }.attempt(renew, &mut Renewal::new()).await;
    listening.close().await;
    attempted
}

/// Where the CA will ask.
#[derive(Debug, Clone, Copy)]
pub struct Ports<'a> {
    /// `server.https`
    pub https: &'a [SocketAddr],
    /// `server.http`
    pub http: &'a [SocketAddr],
}

/// Obtains and renews for ever.
pub(crate) async fn follow(certificates: &Certificates) {
    let mut renewal = Renewal::new();
    let mut ticks = tokio::time::interval(certificates.schedule.look);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let wanted = certificates.wanted.load_full();
        match wanted.acme() {
            Some(acme) => Turn { certificates, wanted: &wanted, acme }.look(&mut renewal).await,
            None => renewal = Renewal::new(),
        }
    }
}

/// What is remembered from one look to the next.
struct Renewal {
    lock: Option<Lock>,
    due: Option<Due>,
    seen: Option<Version>,
    chance: Chance,
    failures: u32,
}

impl Renewal {
    fn new() -> Self {
        Self { lock: None, due: None, seen: None, chance: Chance::draw(), failures: 0 }
    }
}

/// What is done next, and when.
struct Due {
    settings: Arc<Wanted>,
    /// `None`: only think again, at `ask`.
    order: Option<SystemTime>,
    /// When all of this is thought over again.
    ask: SystemTime,
}

/// One look, with the configuration of that moment.
struct Turn<'a> {
    certificates: &'a Certificates,
    wanted: &'a Arc<Wanted>,
    acme: &'a Acme,
}

impl Turn<'_> {
    async fn look(&self, renewal: &mut Renewal) {
        self.follow_file(renewal);
        if renewal.lock.is_some()
            && let Some(request) = requests::take(&self.wanted.state)
        {
            let fault = self.attempt(request.renew, renewal).await.err().map(|fault| fault.to_string());
            let answer = Answer { number: request.number, fault };
            if let Err(fault) = requests::answer(&self.wanted.state, &answer) {
                tracing::warn!(event = "certificate_request_unanswered", reason = %fault);
            }
        }
        let now = (self.certificates.clock)();
        match &renewal.due {
            Some(due) if Arc::ptr_eq(&due.settings, self.wanted) => {
                if due.order.is_some_and(|at| at <= now) {
                    // A failure has its own report.
                    drop(self.attempt(Renew::Now, renewal).await);
                } else if due.ask <= now {
                    self.plan(renewal).await;
                }
            }
            Some(_) | None => self.plan(renewal).await,
        }
    }

    /// Another process of this state folder, or a person, has put a certificate there.
    fn follow_file(&self, renewal: &mut Renewal) {
        let version = Version::of(&self.store().certificate_file());
        if renewal.seen == version {
            return;
        }
        let first = renewal.seen.is_none();
        renewal.seen = version;
        match self.certificates.refresh() {
            Ok(()) if first => {}
            Ok(()) => self.certificates.tell_loaded(),
            Err(fault) => report::failed(&fault.to_string()),
        }
    }

    async fn plan(&self, renewal: &mut Renewal) {
        let settings = Arc::clone(self.wanted);
        renewal.due = match self.planned(renewal).await {
            Ok((order, ask)) => Some(Due { settings, order, ask }),
            Err(fault) => Some(Due { settings, order: None, ask: self.report(&fault, renewal) }),
        };
    }

    /// When to order, and when to think again.
    async fn planned(&self, renewal: &mut Renewal) -> Result<(Option<SystemTime>, SystemTime), AcmeFault> {
        let schedule = &self.certificates.schedule;
        let now = (self.certificates.clock)();
        if renewal.lock.is_none() {
            renewal.lock = Lock::take(&self.wanted.state)?;
        }
        if renewal.lock.is_none() {
            return Ok((None, now + schedule.look));
        }
        let (store, settings, names) = (self.store(), self.wanted.fingerprint(), self.wanted.ordered());
        if names.is_empty() {
            return Err(AcmeFault::Setting {
                key: "directory",
                reason: "a public CA signs none of server.names".into(),
            });
        }
        let (current, mut status) = (store.certificate()?, store.status()?);
        // An account that cannot be read is told now, not in two months.
        store.account()?;
        if status.settings != settings {
            status = Status { settings, ..Status::default() };
        }
        renewal.failures = status.failures;
        let (mut order, ask) = match current.filter(|pair| names.iter().all(|name| pair.leaf.covers(name))) {
            None => (now, now + schedule.ask.end),
            Some(pair) => self.renewal_of(&pair, renewal.chance, now).await,
        };
        if status.failures > 0 {
            order = order.max(status.next_try.unwrap_or(now));
        }
        status.next_try = Some(order);
        store.keep_status(&status)?;
        Ok((Some(order), ask))
    }

    async fn renewal_of(&self, pair: &Pair, chance: Chance, now: SystemTime) -> (SystemTime, SystemTime) {
        let schedule = &self.certificates.schedule;
        match self.attempt_of().window(&pair.key).await {
            Ok((window, again)) => {
                (schedule::renewal(&pair.leaf, Some(&window), chance), now + schedule.ask_again(again))
            }
            Err(fault) => {
                tracing::debug!(event = "certificate_renewal_window_unknown", reason = %fault);
                (schedule::renewal(&pair.leaf, None, chance), now + schedule.ask.end)
            }
        }
    }

    async fn attempt(&self, renew: Renew, renewal: &mut Renewal) -> Result<(), AcmeFault> {
        let done = self.attempt_of().run(renew, &self.certificates.challenges).await;
        match (done, renew) {
            (Ok(leaf), Renew::Now) => self.install(&leaf, renewal),
            (Ok(leaf), Renew::DryRun) => {
                tracing::info!(event = "certificate_rehearsed", names = ?leaf.names, issuer = leaf.issuer);
                Ok(())
            }
            (Err(fault), Renew::DryRun) => Err(fault),
            (Err(fault), Renew::Now) => {
                let ask = self.report(&fault, renewal);
                renewal.due = Some(Due { settings: Arc::clone(self.wanted), order: None, ask });
                Err(fault)
            }
        }
    }

    fn install(&self, leaf: &Leaf, renewal: &mut Renewal) -> Result<(), AcmeFault> {
        let store = self.store();
        (renewal.seen, renewal.due, renewal.failures) = (Version::of(&store.certificate_file()), None, 0);
        store.keep_status(&Status { settings: self.wanted.fingerprint(), ..Status::default() })?;
        self.certificates.refresh()?;
        self.certificates.tell_loaded();
        let until = humantime::format_rfc3339_seconds(leaf.not_after);
        tracing::info!(event = "certificate_obtained", names = ?leaf.names, issuer = leaf.issuer, not_after = %until);
        Ok(())
    }

    /// Says what went wrong and when the next try is.
    fn report(&self, fault: &AcmeFault, renewal: &mut Renewal) -> SystemTime {
        renewal.failures = renewal.failures.saturating_add(1);
        let schedule = &self.certificates.schedule;
        let wait = schedule.wait(renewal.failures, fault.again(), fault.retry_after(), renewal.chance);
        let next = (self.certificates.clock)() + wait;
        let (at, failures) = (humantime::format_rfc3339_seconds(next), renewal.failures);
        report::failed(&format!("failure {failures}, next try {at}: {fault}"));
        if let Err(fault) = self.keep_failure(fault, next, failures) {
            tracing::warn!(event = "certificate_status_unwritten", reason = %fault);
        }
        next
    }

    /// What is there but damaged stays as it is, for somebody to look at.
    fn keep_failure(&self, fault: &AcmeFault, next: SystemTime, failures: u32) -> Result<(), CertificateFault> {
        let store = self.store();
        let mut status = store.status()?;
        status.settings = self.wanted.fingerprint();
        (status.next_try, status.last_error, status.failures) = (Some(next), Some(fault.to_string()), failures);
        store.keep_status(&status)
    }

    fn store(&self) -> Store {
        Store::of(&self.wanted.state, &self.acme.directory)
    }

    fn attempt_of(&self) -> Attempt<'_> {
        Attempt {
            acme: self.acme,
            names: self.wanted.ordered(),
            state: &self.wanted.state,
            schedule: &self.certificates.schedule,
            clock: self.certificates.clock,
        }
    }
}
