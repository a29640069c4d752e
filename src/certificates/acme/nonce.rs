//! Sends again what the CA refused only for its nonce (RFC 8555 §6.5), on top of the library's three times.
//!
//! Such a request was not looked at, so that sending it again orders nothing twice. A macro, since a future made by an
//! async closure that borrows cannot be shown to be `Send`.

/// How often.
pub(crate) const TRIES: u32 = 4;

/// Awaits the call, and makes it again while the answer is `badNonce`.
macro_rules! patiently {
    ($call:expr) => {{
        let mut tries = 1;
        loop {
            match $call.await {
                Err(error)
                    if $crate::certificates::acme::fault::is_bad_nonce(&error)
                        && tries < $crate::certificates::acme::nonce::TRIES =>
                {
                    tries += 1;
                }
                done => break done,
            }
        }
    }};
}
pub(crate) use patiently;
