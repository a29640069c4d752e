//! The second factor: time-based one-time codes (RFC 6238), and recovery codes for a lost phone.
//!
//! Guarantees: a code works once, also when two sign-ins race (the store decides), the one that confirmed the phone too;
//! the secret is sealed under the pepper
//! and bound to its user, so a stolen database has none, and none can be moved to another user.

use super::accounts::Accounts;
use super::keys::NoRandomness;
use super::pepper::Pepper;
use super::sign_in::SignInFault;
use crate::config::secret::Secret;
use crate::store::timestamp::Timestamp;
use crate::store::user_record::{UserName, UserRecord};
use crate::store::{Change, StoreError};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::sync::Arc;
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::Zeroizing;

/// Seconds of a step.
const STEP: u64 = 30;
/// Bytes of a secret (RFC 4226 §4).
const SECRET: usize = 20;
/// Recovery codes that a user gets.
const CODES: usize = 10;

/// A new second factor, to be shown once.
#[derive(Debug)]
pub struct Enrolment {
    /// `otpauth://…`, for a QR code.
    pub url: Secret,
    /// Each works once.
    pub codes: Vec<Secret>,
    sealed: Vec<u8>,
    hashes: Vec<[u8; 32]>,
}

/// The step of a first code, which is used up by it.
#[derive(Debug, Clone, Copy)]
pub struct Confirmed(i64);

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentFault {
    /// There is nothing to make one from.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The library refused.
    #[error("the second factor could not be made")]
    Refused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Enrolment {
    /// Draws a secret and recovery codes. `issuer` is what the phone shows.
    ///
    /// # Errors
    /// [`EnrolmentFault`]
    pub fn draw(pepper: &Pepper, user: &UserName, issuer: &str) -> Result<Self, EnrolmentFault> {
        let mut secret = Zeroizing::new([0; SECRET]);
        getrandom::fill(secret.as_mut_slice()).map_err(NoRandomness::from)?;
        let totp = totp(secret.as_slice(), user.as_str(), Some(issuer)).ok_or(EnrolmentFault::Refused)?;
        let url = totp.to_url().map(Secret::new).map_err(|_| EnrolmentFault::Refused)?;
        let codes = (0..CODES).map(|_| recovery_code()).collect::<Result<Vec<_>, _>>()?;
        let hashes = codes.iter().map(|code| *pepper.hash_code(user.as_str(), code.expose()).as_bytes()).collect();
        let sealed = seal(pepper, user.as_str(), secret.as_slice()).ok_or(EnrolmentFault::Refused)?;
        Ok(Self { url, codes, sealed, hashes })
    }

    /// Whether a phone shows this code of it now: then it holds the secret.
    #[must_use]
    pub fn confirmed_by(
        &self,
        pepper: &Pepper,
        user: &UserName,
        (code, now): (&Secret, Timestamp),
    ) -> Option<Confirmed> {
        step_of(pepper, user, &self.sealed, (code, now)).map(Confirmed)
    }

    /// Stores it: from now on it is asked for. Without a first code, only for a user whose phone is known to have it.
    ///
    /// # Errors
    /// The store failed. [`Change::NotMade`]: there is no such user.
    pub async fn store(
        &self,
        store: &crate::store::Store,
        user: &UserName,
        first: Option<Confirmed>,
    ) -> Result<Change, StoreError> {
        let used = first.map_or(0, |Confirmed(step)| step);
        store.set_totp(user, Some((&self.sealed, used)), &self.hashes).await
    }
}

impl Accounts {
    /// Checks and uses up the second factor of a user who has one.
    pub(super) async fn check_second_factor(
        &self,
        user: &UserRecord,
        code: Option<&Secret>,
        now: Timestamp,
    ) -> Result<(), SignInFault> {
        let Some(sealed) = &user.totp else { return Ok(()) };
        let refused = |why| SignInFault::Refused { why, who: Some(Arc::from(user.name.as_str())) };
        let code = code.ok_or_else(|| refused("second_factor_missing"))?;
        let used = match step_of(&self.pepper, &user.name, sealed, (code, now)) {
            Some(step) => self.store.use_totp_step(&user.name, step).await?,
            None => {
                let hash = self.pepper.hash_code(user.name.as_str(), &code.expose().to_ascii_uppercase());
                self.store.use_recovery_code(&user.name, hash.as_bytes()).await?
            }
        };
        match used {
            Change::Made => Ok(()),
            Change::NotMade => Err(refused("second_factor_wrong")),
        }
    }
}

/// The step whose code this is: the present one, the one before, the one after.
fn step_of(pepper: &Pepper, user: &UserName, sealed: &[u8], (code, now): (&Secret, Timestamp)) -> Option<i64> {
    let secret = unseal(pepper, user.as_str(), sealed)?;
    let now = u64::try_from(now.seconds()).ok()?;
    let well_formed = code.expose().len() == 6 && code.expose().bytes().all(|b| b.is_ascii_digit());
    let totp = totp(&secret, user.as_str(), None).filter(|_| well_formed)?;
    i64::try_from(totp.check(code.expose(), now)?).ok()
}

fn totp(secret: &[u8], user: &str, issuer: Option<&str>) -> Option<Totp> {
    let builder = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6).with_skew(1).with_step_duration(STEP);
    // The phone's label is `issuer:user`: neither may have a colon of its own.
    let issuer = issuer.map(|issuer| issuer.replace(':', "."));
    builder.with_secret(secret.to_vec()).with_account_name(user).with_issuer(issuer).build().ok()
}

/// `XXXX-XXXX-XXXX` in letters and digits that are not mistaken for each other: 60 bits.
fn recovery_code() -> Result<Secret, NoRandomness> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut bytes = Zeroizing::new([0_u8; 12]);
    getrandom::fill(bytes.as_mut_slice())?;
    let mut code = String::with_capacity(14);
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            code.push('-');
        }
        code.extend(LETTERS.get(usize::from(byte % 32)).map(|letter| char::from(*letter)));
    }
    Ok(Secret::new(code))
}

fn sealing_key(pepper: &Pepper) -> Option<LessSafeKey> {
    let key = pepper.derive(b"totp secrets");
    UnboundKey::new(&AES_256_GCM, key.as_slice()).ok().map(LessSafeKey::new)
}

/// Nonce, then the ciphertext; the user's name is authenticated with it.
fn seal(pepper: &Pepper, user: &str, secret: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).ok()?;
    let mut sealed = secret.to_vec();
    let key = sealing_key(pepper)?;
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(user.as_bytes()), &mut sealed).ok()?;
    Some([nonce.as_slice(), &sealed].concat())
}

fn unseal(pepper: &Pepper, user: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut text = Zeroizing::new(ciphertext.to_vec());
    let key = sealing_key(pepper)?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(user.as_bytes()), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_belongs_to_its_user_and_its_pepper() {
        let (pepper, other) = (Pepper::from_bytes(&[1; 32]), Pepper::from_bytes(&[2; 32]));
        let sealed = seal(&pepper, "ana", b"12345678901234567890").unwrap();
        assert_eq!(unseal(&pepper, "ana", &sealed).unwrap().as_slice(), b"12345678901234567890");
        assert!(unseal(&pepper, "bob", &sealed).is_none() && unseal(&other, "ana", &sealed).is_none());
        assert!(!sealed.windows(8).any(|window| window == b"12345678"));
    }

    /// RFC 6238, appendix B, cut to six digits.
    #[test]
    fn codes_are_those_of_rfc_6238() {
        let totp = totp(b"12345678901234567890", "ana", None).unwrap();
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(totp.check(code, time), Some(time / STEP), "{time}");
        }
    }

    #[test]
    fn an_enrolment_shows_its_secrets_once() {
        let user = UserName::parse("ana").unwrap();
        let drawn = Enrolment::draw(&Pepper::from_bytes(&[1; 32]), &user, "ai.example.org").unwrap();
        assert!(drawn.url.expose().starts_with("otpauth://totp/ai.example.org:ana?secret="), "{}", drawn.url.expose());
        assert_eq!(drawn.codes.len(), CODES);
        assert!(!format!("{drawn:?}").contains("otpauth"));
    }
}
