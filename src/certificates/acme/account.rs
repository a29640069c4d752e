//! The account at the certificate authority.
//!
//! Guarantees: one account a CA, registered once; a stored account that is damaged is reported and never replaced.

use crate::certificates::acme::client::Client;
use crate::certificates::acme::fault::AcmeFault;
use crate::certificates::acme::nonce::patiently;
use crate::certificates::acme::store::Store;
use crate::config::types::{Acme, ExternalAccount};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, Error, ExternalAccountKey, NewAccount};
use zeroize::Zeroizing;

/// The stored account, or one that is registered now and stored.
pub(crate) async fn open(acme: &Acme, store: &Store, client: &Client) -> Result<Account, AcmeFault> {
    let stored = store.account()?;
    let builder = || Account::builder_with_http(Box::new(client.clone()));
    let fault = |error| AcmeFault::of(error, client.retry_after());
    if let Some(credentials) = stored {
        let opened = builder().from_credentials(credentials).await;
        return opened.map_err(|error| {
            if matches!(error, Error::KeyRejected) { store.damaged_account().into() } else { fault(error) }
        });
    }
    let binding = acme.eab.as_ref().map(binding).transpose()?;
    let contact: Vec<&str> = acme.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let created = patiently!(builder().create(&new, acme.directory.clone(), binding.as_ref()));
    let (account, credentials) = created.map_err(fault)?;
    store.keep_account(&credentials)?;
    tracing::info!(event = "acme_account_registered", directory = acme.directory, account = account.id());
    Ok(account)
}

fn binding(eab: &ExternalAccount) -> Result<ExternalAccountKey, AcmeFault> {
    // CAs hand the key out with and without padding.
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(eab.hmac_key.expose().trim_end_matches('=')).map(Zeroizing::new);
    let refused = |_| AcmeFault::Setting { key: "eab.hmac_key", reason: "not base64url".into() };
    Ok(ExternalAccountKey::new(eab.key_id.clone(), &decoded.map_err(refused)?))
}
