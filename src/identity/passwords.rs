//! Passwords: argon2id; bcrypt hashes of elsewhere are understood, and replaced at the next sign-in.
//!
//! Guarantees: a hash costs 19 MiB and some 20 ms (OWASP's parameters), on a thread for such work, and no more than two
//! are made at once, so a flood of sign-ins takes neither the memory nor the event loop; who waits too long is told so.
//! A user that does not exist costs the same. A stored hash with wild parameters is refused, not computed.
//! Answers `threats.md` §5 (19, 20), `field.md` E 31.

use crate::config::secret::Secret;
use crate::store::user_record::PasswordHash;
use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Hashes at the same time.
const AT_ONCE: usize = 2;
/// The longest wait for a turn.
const WAIT: Duration = Duration::from_secs(5);
/// Bytes of a password.
pub const MAX_PASSWORD: usize = 256;
/// Bytes of a new password at least.
pub const LEAST_PASSWORD: usize = 12;
/// bcrypt reads no more; what is longer must not match by its beginning.
const BCRYPT_READS: usize = 72;
/// A stored hash may cost so much at most.
const MOST_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 8;

/// Makes and checks hashes, a few at a time.
#[derive(Debug, Clone)]
pub struct Passwords {
    turns: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashFault {
    /// Too many are being checked.
    #[error("too many passwords are being checked")]
    Busy,
    /// The hash could not be made.
    #[error("the password could not be hashed")]
    Failed,
}

/// Whether a password is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Right,
    /// It is, and its hash should be made anew.
    RightButOld,
    /// It is not.
    Wrong,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// The hash of a new password.
    ///
    /// # Errors
    /// [`HashFault`]
    pub async fn hash(&self, password: Secret) -> Result<PasswordHash, HashFault> {
        self.work(move || hash(password.expose())).await?
    }

    /// Whether the password fits the hash; without a hash the same work is done, and it does not.
    ///
    /// # Errors
    /// [`HashFault::Busy`]
    pub async fn verify(&self, password: Secret, hash: Option<PasswordHash>) -> Result<Verdict, HashFault> {
        self.work(move || match &hash {
            Some(hash) => verify(password.expose(), hash.as_str()),
            None => {
                verify(password.expose(), NOBODY);
                Verdict::Wrong
            }
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashFault> {
        let turn = tokio::time::timeout(WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(HashFault::Busy) };
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn; // given back when the work is done, also where nobody waits for it any more
            work()
        });
        done.await.map_err(|_| HashFault::Failed)
    }
}

/// Whether a text from elsewhere is a hash that can be checked here: argon2, or bcrypt (`$2a$`, `$2b$`, `$2y$`).
#[must_use]
pub fn is_importable(text: &str) -> bool {
    if is_bcrypt(text) {
        return text.parse::<bcrypt::HashParts>().is_ok_and(|parts| parts.get_cost() <= 14);
    }
    phc::PasswordHash::new(text).is_ok_and(|hash| is_bearable(&hash))
}

fn is_bcrypt(text: &str) -> bool {
    ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix))
}

fn argon2id() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

fn hash(password: &str) -> Result<PasswordHash, HashFault> {
    let hash: phc::PasswordHash = argon2id().hash_password(password.as_bytes()).map_err(|_| HashFault::Failed)?;
    Ok(PasswordHash::new(hash.to_string()))
}

fn verify(password: &str, hash: &str) -> Verdict {
    if password.len() > MAX_PASSWORD {
        return Verdict::Wrong;
    }
    if is_bcrypt(hash) {
        let fits = password.len() <= BCRYPT_READS && bcrypt::verify(password, hash).unwrap_or(false);
        return if fits { Verdict::RightButOld } else { Verdict::Wrong };
    }
    let Ok(hash) = phc::PasswordHash::new(hash) else { return Verdict::Wrong };
    let fits = is_bearable(&hash) && argon2id().verify_password(password.as_bytes(), &hash).is_ok();
    if fits { Verdict::Right } else { Verdict::Wrong }
}

fn is_bearable(hash: &phc::PasswordHash) -> bool {
    let Ok(params) = Params::try_from(hash) else { return false };
    params.m_cost() <= MOST_KIB && params.t_cost() <= MOST_PASSES && params.p_cost() <= MOST_LANES
}

/// The hash of a password that nobody has: 32 random bytes that were thrown away.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$VGhpcyBpcyBubyBzYWx0IQ$2Vb0QEDzCnCMEYhBKmCjVEsFBxNsZtQpJ0mBHzSgvCQ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_alone() {
        let made = hash("correct horse battery").unwrap();
        assert!(made.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(verify("correct horse battery", made.as_str()), Verdict::Right);
        assert_eq!(verify("correct horse batterz", made.as_str()), Verdict::Wrong);
        assert_eq!(verify("", NOBODY), Verdict::Wrong);
        assert!(phc::PasswordHash::new(NOBODY).is_ok(), "nobody's hash has to cost as much as anybody's");
    }

    /// A vector of the bcrypt authors' own test, and what bcrypt would not read.
    #[test]
    fn bcrypt_is_understood_and_not_cut() {
        let hash = "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i";
        assert_eq!(verify("abcdefghijklmnopqrstuvwxyz", hash), Verdict::Wrong);
        let long = "x".repeat(72);
        let hash = bcrypt::hash(&long, 4).unwrap();
        assert_eq!(verify(&long, &hash), Verdict::RightButOld);
        assert_eq!(verify(&format!("{long}y"), &hash), Verdict::Wrong);
    }

    #[test]
    fn wild_parameters_are_refused() {
        let wild = NOBODY.replace("m=19456", "m=4194304");
        assert!(!is_importable(&wild) && verify("x", &wild) == Verdict::Wrong);
        assert!(is_importable(NOBODY) && !is_importable("hunter2") && !is_importable("$2a$31$x"));
    }
}
