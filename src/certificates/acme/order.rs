//! One order: names in, certificate out.
//!
//! Guarantees: each name is proven by the first configured challenge that the CA offers for it; after a failure the
//! next one is tried first. Answers are cleared whatever happens. A request that the CA did not look at (`badNonce`)
//! is sent again; nothing else is. Does not: decide when, or store anything.

use crate::certificates::acme::answers::{self, Answers};
use crate::certificates::acme::client::Client;
use crate::certificates::acme::fault::{self, AcmeFault};
use crate::certificates::acme::nonce::patiently;
use crate::certificates::acme::schedule::Schedule;
use crate::certificates::challenges::Challenges;
use crate::config::types::{Acme, Challenge};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

/// What is ordered, and with what.
pub(crate) struct Ordering<'a> {
    pub(crate) account: &'a Account,
    pub(crate) client: &'a Client,
    pub(crate) acme: &'a Acme,
    pub(crate) names: &'a [String],
    pub(crate) schedule: &'a Schedule,
    /// Failures so far: which challenge goes first.
    pub(crate) failures: u32,
}

/// What the CA issued, as PEM.
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: Zeroizing<String>,
}

impl Ordering<'_> {
    /// A new order, or the one that was under way if it still can be finished.
    pub(crate) async fn open(
        &self,
        under_way: Option<String>,
        replaces: Option<CertificateIdentifier<'static>>,
    ) -> Result<Order, AcmeFault> {
        if let Some(order) = self.resume(under_way).await {
            return Ok(order);
        }
        let identifiers: Vec<Identifier> = self.names.iter().map(|name| identifier(name)).collect();
        if let Some(replaced) = replaces {
            let new = || self.new_order(&identifiers).replaces(replaced.clone());
            match patiently!(self.account.new_order(&new())) {
                Ok(order) => return Ok(order),
                // The CA knows better whether the old one can be replaced; a plain order is as good.
                Err(error) if fault::is_about_replacing(&error) => {}
                Err(error) => return Err(self.fault(error)),
            }
        }
        let ordered = patiently!(self.account.new_order(&self.new_order(&identifiers)));
        ordered.map_err(|error| self.fault(error))
    }

    fn new_order<'b>(&'b self, identifiers: &'b [Identifier]) -> NewOrder<'b> {
        let new = NewOrder::new(identifiers);
        match &self.acme.profile {
            Some(profile) => new.profile(profile),
            None => new,
        }
    }

    async fn resume(&self, url: Option<String>) -> Option<Order> {
        let mut order = self.account.order(url?).await.ok()?;
        let open = matches!(order.state().status, OrderStatus::Pending | OrderStatus::Ready);
        (open && self.is_for_our_names(&mut order).await.ok()?).then_some(order)
    }

    async fn is_for_our_names(&self, order: &mut Order) -> Result<bool, Error> {
        let mut found = Vec::new();
        let mut identifiers = order.identifiers();
        while let Some(identifier) = identifiers.next().await {
            found.push(identifier?.to_string());
        }
        Ok(found.len() == self.names.len() && self.names.iter().all(|name| found.contains(name)))
    }

    /// Proves the names and fetches the certificate.
    pub(crate) async fn finish(&self, mut order: Order, challenges: &Challenges) -> Result<Issued, AcmeFault> {
        if order.state().status == OrderStatus::Pending {
            let mut answers = Answers::new(challenges, self.schedule.hook);
            let proven = self.prove(&mut order, &mut answers).await;
            answers.clear().await;
            proven?;
        }
        self.finalize(order).await
    }

    async fn prove(&self, order: &mut Order, answers: &mut Answers<'_>) -> Result<(), AcmeFault> {
        patiently!(fetch_authorizations(order)).map_err(|error| self.fault(error))?;
        let mut authorizations = order.authorizations();
        while let Some(next) = authorizations.next().await {
            let mut authorization = next.map_err(|error| self.fault(error))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let offered = |by: &&Challenge| authorization.challenges.iter().any(|c| c.r#type == answers::kind(by));
            let by = self.in_turn().find(offered).ok_or_else(|| AcmeFault::NoChallenge { name: name.clone() })?;
            let Some(mut challenge) = authorization.challenge(answers::kind(by)) else {
                return Err(AcmeFault::NoChallenge { name });
            };
            answers.put(by, &name, &challenge.token, &challenge.key_authorization()).await?;
            patiently!(challenge.set_ready()).map_err(|error| self.fault(error))?;
        }
        self.await_verdict(order).await
    }

    /// The configured challenges, beginning with another one after each failure.
    fn in_turn(&self) -> impl Iterator<Item = &Challenge> {
        let all = &self.acme.challenges;
        let first = (self.failures as usize).checked_rem(all.len()).unwrap_or_default();
        all.iter().cycle().skip(first).take(all.len())
    }

    async fn await_verdict(&self, order: &mut Order) -> Result<(), AcmeFault> {
        let policy = self.polling();
        match patiently!(order.poll_ready(&policy)) {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(OrderStatus::Invalid) | Err(Error::Api(_)) => Err(self.verdict(order).await),
            Ok(OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Valid) => Ok(()),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// What the CA says of each name that failed.
    async fn verdict(&self, order: &mut Order) -> AcmeFault {
        let mut said = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            let Ok(state) = authorization.refresh().await else { continue };
            let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            said.extend(problems.map(|problem| format!("{name}: {}", fault::described(problem))));
        }
        let reason = if said.is_empty() { "it gave no reason".to_owned() } else { said.join("; ") };
        AcmeFault::Invalid { reason: fault::shown(&reason) }
    }

    async fn finalize(&self, mut order: Order) -> Result<Issued, AcmeFault> {
        let (key, request) = self.signing_request()?;
        let asked = patiently!(order.finalize_csr(&request));
        asked.map_err(|error| self.fault(error))?;
        let policy = self.polling();
        let chain = patiently!(order.poll_certificate(&policy)).map_err(|error| self.fault(error))?;
        Ok(Issued { chain, key })
    }

    /// A fresh key for each certificate, and the request for it.
    fn signing_request(&self) -> Result<(Zeroizing<String>, Vec<u8>), AcmeFault> {
        let made = || -> Result<_, rcgen::Error> {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::new(self.names)?;
            params.distinguished_name = DistinguishedName::new();
            let request = params.serialize_request(&key)?.der().to_vec();
            Ok((Zeroizing::new(key.serialize_pem()), request))
        };
        Ok(made().map_err(crate::certificates::CertificateFault::from)?)
    }

    fn polling(&self) -> RetryPolicy {
        RetryPolicy::new().timeout(self.schedule.verdict)
    }

    fn fault(&self, error: Error) -> AcmeFault {
        AcmeFault::of(error, self.client.retry_after())
    }
}

fn identifier(name: &str) -> Identifier {
    name.parse().map_or_else(|_| Identifier::Dns(name.to_owned()), Identifier::Ip)
}

async fn fetch_authorizations(order: &mut Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}
