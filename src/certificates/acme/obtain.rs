//! One attempt: account, order, certificate, from the first request to the file in the state folder.
//!
//! Guarantees: everything is loaded before anything is asked of the CA, and a fault of loading ends the attempt. A
//! certificate is kept only when it belongs to our key and is for all our names. A dry run keeps nothing.

use crate::certificates::acme::account;
use crate::certificates::acme::client::Client;
use crate::certificates::acme::fault::AcmeFault;
use crate::certificates::acme::order::{Issued, Ordering};
use crate::certificates::acme::requests::Renew;
use crate::certificates::acme::schedule::Schedule;
use crate::certificates::acme::store::Store;
use crate::certificates::challenges::Challenges;
use crate::certificates::files;
use crate::certificates::leaf::Leaf;
use crate::config::types::Acme;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier, LetsEncrypt};
use rustls::sign::CertifiedKey;

/// With what an attempt is made.
pub(crate) struct Attempt<'a> {
    pub(crate) acme: &'a Acme,
    pub(crate) names: Vec<String>,
    pub(crate) state: &'a Path,
    pub(crate) schedule: &'a Schedule,
    pub(crate) clock: fn() -> SystemTime,
}

impl Attempt<'_> {
    /// Obtains a certificate and keeps it, or for a dry run only looks at it.
    pub(crate) async fn run(&self, renew: Renew, challenges: &Challenges) -> Result<Leaf, AcmeFault> {
        match renew {
            Renew::Now => self.replace(challenges).await,
            Renew::DryRun => self.rehearse(challenges).await,
        }
    }

    async fn replace(&self, challenges: &Challenges) -> Result<Leaf, AcmeFault> {
        let store = self.store();
        let (current, mut status) = (store.certificate()?, store.status()?);
        let client = self.client()?;
        let account = account::open(self.acme, &store, &client).await?;
        let ordering = self.ordering(self.acme, &account, &client, status.failures);
        let replaces = current.and_then(|pair| identifier(&pair.key));
        let order = ordering.open(status.order.take(), replaces).await?;
        status.order = Some(order.url().to_owned());
        store.keep_status(&status)?;
        let issued = ordering.finish(order, challenges).await?;
        let leaf = self.checked(&issued)?;
        store.keep_certificate(&issued.chain, &issued.key)?;
        Ok(leaf)
    }

    async fn rehearse(&self, challenges: &Challenges) -> Result<Leaf, AcmeFault> {
        let acme = Acme { directory: rehearsal(&self.acme.directory), ..self.acme.clone() };
        let store = Store::of(self.state, &acme.directory);
        let client = self.client()?;
        let account = account::open(&acme, &store, &client).await?;
        let ordering = self.ordering(&acme, &account, &client, 0);
        let order = ordering.open(None, None).await?;
        self.checked(&ordering.finish(order, challenges).await?)
    }

    /// When the CA wants the certificate renewed, and when to ask again.
    pub(crate) async fn window(&self, key: &CertifiedKey) -> Result<(Range<SystemTime>, Duration), AcmeFault> {
        let client = self.client()?;
        let fault = |error| AcmeFault::of(error, client.retry_after());
        let unusable = || AcmeFault::Unusable { reason: "it has no authority key identifier".into() };
        // Only for an account that is there: asking must not register one.
        let credentials = self.store().account()?.ok_or_else(unusable)?;
        let builder = Account::builder_with_http(Box::new(client.clone()));
        let account = builder.from_credentials(credentials).await.map_err(fault)?;
        let (info, again) = account.renewal_info(&identifier(key).ok_or_else(unusable)?).await.map_err(fault)?;
        let window = info.suggested_window;
        Ok((SystemTime::from(window.start)..SystemTime::from(window.end), again))
    }

    fn ordering<'b>(&'b self, acme: &'b Acme, account: &'b Account, client: &'b Client, failures: u32) -> Ordering<'b> {
        Ordering { account, client, acme, names: &self.names, schedule: self.schedule, failures }
    }

    fn checked(&self, issued: &Issued) -> Result<Leaf, AcmeFault> {
        let path = self.store().certificate_file();
        let chain = files::certificates(&path, issued.chain.as_bytes())?;
        let leaf = files::pair(&path, &chain, &path, issued.key.as_bytes())?.leaf;
        match self.names.iter().find(|name| !leaf.covers(name)) {
            None => Ok(leaf),
            Some(name) => Err(AcmeFault::Unusable { reason: format!("it is not for {name}") }),
        }
    }

    fn store(&self) -> Store {
        Store::of(self.state, &self.acme.directory)
    }

    fn client(&self) -> Result<Client, AcmeFault> {
        Ok(Client::new(self.acme.root.as_deref(), self.schedule.request, self.clock)?)
    }
}

/// A dry run must not count against the limits of the real one where there is a stage for it.
fn rehearsal(directory: &str) -> String {
    let real = directory == LetsEncrypt::Production.url();
    if real { LetsEncrypt::Staging.url() } else { directory }.to_owned()
}

/// RFC 9773 §4.1; `None` for a certificate that cannot have one.
fn identifier(key: &CertifiedKey) -> Option<CertificateIdentifier<'static>> {
    let leaf = key.end_entity_cert().ok()?;
    CertificateIdentifier::try_from(leaf).ok().map(CertificateIdentifier::into_owned)
}
