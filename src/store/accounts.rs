//! The statements on users and the tokens of their sign-ins: one text for both databases, static, with binds.
//!
//! Guarantees: whatever decides is one conditional statement (`WHERE … used_at IS NULL`), so of two that race, one wins
//! and the other is told; a change that running gateways must notice moves the revision in the same transaction.

use super::error::StoreError;
use super::key_record::KeyHash;
use super::timestamp::Timestamp;
use super::user_record::{PasswordHash, RefreshRecord, UserName, UserRecord};

pub(super) const REVISION: &str = "SELECT value FROM revisions WHERE topic = 'accounts'";
pub(super) const NEXT_REVISION: &str = "UPDATE revisions SET value = value + 1 WHERE topic = 'accounts'";

pub(super) const SELECT_USER: &str = "SELECT name, role, password, created_at, valid_from, locked_at, failures, \
    retry_at, totp, totp_step FROM users WHERE name = $1";
pub(super) const SELECT_USERS: &str = "SELECT name, role, password, created_at, valid_from, locked_at, failures, \
    retry_at, totp, totp_step FROM users ORDER BY name";
/// `valid_from` always grows: a token of the same second, or of the second before it was moved, is void.
pub(super) const INSERT_USER: &str = "INSERT INTO users (name, role, password, created_at, valid_from) \
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING";
pub(super) const SET_PASSWORD: &str = "UPDATE users SET password = $2, failures = 0, retry_at = 0, \
    valid_from = CASE WHEN valid_from >= $3 THEN valid_from + 1 ELSE $3 END WHERE name = $1";
pub(super) const SET_ROLE: &str = "UPDATE users SET role = $2, \
    valid_from = CASE WHEN valid_from >= $3 THEN valid_from + 1 ELSE $3 END WHERE name = $1";
pub(super) const VOID_TOKENS: &str =
    "UPDATE users SET valid_from = CASE WHEN valid_from >= $2 THEN valid_from + 1 ELSE $2 END WHERE name = $1";
pub(super) const LOCK: &str = "UPDATE users SET locked_at = $2 WHERE name = $1 AND locked_at IS NULL";
pub(super) const UNLOCK: &str = "UPDATE users SET locked_at = NULL, failures = 0, retry_at = 0, \
    valid_from = CASE WHEN valid_from >= $2 THEN valid_from + 1 ELSE $2 END WHERE name = $1";
pub(super) const REMOVE_USER: &str = "DELETE FROM users WHERE name = $1";
/// An attempt counts before its password is looked at: of those that race, one a count goes on.
pub(super) const BEGIN_ATTEMPT: &str = "UPDATE users SET failures = failures + 1, retry_at = $4 \
    WHERE name = $1 AND failures = $2 AND retry_at <= $3";
pub(super) const ATTEMPT_SUCCEEDED: &str = "UPDATE users SET failures = 0, retry_at = 0 WHERE name = $1";
pub(super) const REHASH: &str = "UPDATE users SET password = $3 WHERE name = $1 AND password = $2";
pub(super) const SET_TOTP: &str = "UPDATE users SET totp = $2, totp_step = $3 WHERE name = $1";
pub(super) const USE_STEP: &str = "UPDATE users SET totp_step = $2 WHERE name = $1 AND totp_step < $2";
pub(super) const FORGET_CODES: &str = "DELETE FROM recovery_codes WHERE user_name = $1";
pub(super) const INSERT_CODE: &str = "INSERT INTO recovery_codes (user_name, hash) VALUES ($1, $2)";
pub(super) const USE_CODE: &str = "DELETE FROM recovery_codes WHERE user_name = $1 AND hash = $2";

pub(super) const INSERT_FAMILY: &str = "INSERT INTO token_families (id, subject, created_at) VALUES ($1, $2, $3)";
pub(super) const INSERT_REFRESH: &str =
    "INSERT INTO refresh_tokens (id, family, hash, expires_at) VALUES ($1, $2, $3, $4)";
pub(super) const SELECT_REFRESH: &str = "SELECT t.id, t.family, f.subject, t.hash, t.expires_at, t.used_at, \
    f.created_at AS family_created_at, f.revoked_at AS family_revoked_at \
    FROM refresh_tokens t JOIN token_families f ON f.id = t.family WHERE t.id = $1";
pub(super) const USE_REFRESH: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE id = $1 AND used_at IS NULL";
pub(super) const REVOKE_FAMILY: &str = "UPDATE token_families SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
pub(super) const FORGET_FAMILIES: &str = "DELETE FROM token_families WHERE NOT EXISTS \
    (SELECT 1 FROM refresh_tokens t WHERE t.family = token_families.id AND t.expires_at > $1)";
pub(super) const DENY: &str = "INSERT INTO revoked_tokens (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
pub(super) const FORGET_DENIED: &str = "DELETE FROM revoked_tokens WHERE expires_at < $1";
pub(super) const SELECT_DENIED: &str = "SELECT id, expires_at FROM revoked_tokens WHERE expires_at >= $1";

pub(super) const CLAIM_CONVERSATION: &str =
    "INSERT INTO conversations (id, owner, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
pub(super) const SELECT_OWNER: &str = "SELECT owner FROM conversations WHERE id = $1";
pub(super) const FORGET_CONVERSATIONS: &str = "DELETE FROM conversations WHERE created_at < $1";

/// A row as it comes.
#[derive(sqlx::FromRow)]
pub(super) struct UserRow {
    name: String,
    role: String,
    password: String,
    created_at: i64,
    valid_from: i64,
    locked_at: Option<i64>,
    failures: i64,
    retry_at: i64,
    totp: Option<Vec<u8>>,
    totp_step: i64,
}

impl UserRow {
    pub(super) fn read(self, store: impl FnOnce() -> String) -> Result<UserRecord, StoreError> {
        let Some(name) = UserName::parse(&self.name) else {
            return Err(StoreError::Damaged { store: store(), row: self.name });
        };
        Ok(UserRecord {
            name,
            role: self.role.into(),
            password: PasswordHash::new(self.password),
            created_at: Timestamp::from_seconds(self.created_at),
            valid_from: Timestamp::from_seconds(self.valid_from),
            locked_at: self.locked_at.map(Timestamp::from_seconds),
            failures: u32::try_from(self.failures).unwrap_or(u32::MAX),
            retry_at: Timestamp::from_seconds(self.retry_at),
            totp: self.totp,
            totp_step: self.totp_step,
        })
    }
}

/// A row as it comes.
#[derive(sqlx::FromRow)]
pub(super) struct RefreshRow {
    id: String,
    family: String,
    subject: String,
    hash: Vec<u8>,
    expires_at: i64,
    used_at: Option<i64>,
    family_created_at: i64,
    family_revoked_at: Option<i64>,
}

impl RefreshRow {
    pub(super) fn read(self, store: impl FnOnce() -> String) -> Result<RefreshRecord, StoreError> {
        let Ok(hash) = self.hash.as_slice().try_into() else {
            return Err(StoreError::Damaged { store: store(), row: self.id });
        };
        Ok(RefreshRecord {
            id: self.id,
            family: self.family,
            subject: self.subject,
            hash: KeyHash::new(hash),
            expires_at: Timestamp::from_seconds(self.expires_at),
            used_at: self.used_at.map(Timestamp::from_seconds),
            family_created_at: Timestamp::from_seconds(self.family_created_at),
            family_revoked_at: self.family_revoked_at.map(Timestamp::from_seconds),
        })
    }
}

/// One value of a statement. sqlx's binds differ by database; this list does not.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bind<'a> {
    Text(&'a str),
    Number(i64),
    Bytes(&'a [u8]),
    NoBytes,
}

/// One statement of a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement<'a> {
    pub(super) text: &'static str,
    pub(super) binds: &'a [Bind<'a>],
}

/// The same methods for both databases, as in `api_keys`. Needs `begin()` and `reader()`.
macro_rules! account_queries {
    ($store:ty) => {
        impl $store {
            /// Runs statements in one transaction. The first decides: where it changes no row, nothing is done.
            pub(super) async fn run_all(
                &self,
                statements: &[$crate::store::accounts::Statement<'_>],
            ) -> Result<$crate::store::Change, sqlx::Error> {
                let mut work = self.begin().await?;
                let mut change = $crate::store::Change::NotMade;
                for (at, statement) in statements.iter().enumerate() {
                    let mut query = sqlx::query(statement.text);
                    for bind in statement.binds {
                        query = match *bind {
                            $crate::store::accounts::Bind::Text(text) => query.bind(text.to_owned()),
                            $crate::store::accounts::Bind::Number(number) => query.bind(number),
                            $crate::store::accounts::Bind::Bytes(bytes) => query.bind(bytes.to_vec()),
                            $crate::store::accounts::Bind::NoBytes => query.bind(None::<Vec<u8>>),
                        };
                    }
                    let rows = query.execute(&mut *work).await?.rows_affected();
                    if at == 0 {
                        change = $crate::store::Change::from_rows(rows);
                        if change == $crate::store::Change::NotMade {
                            work.rollback().await?;
                            return Ok(change);
                        }
                    }
                }
                work.commit().await?;
                Ok(change)
            }

            pub(super) async fn user_row(
                &self,
                name: &str,
            ) -> Result<Option<$crate::store::accounts::UserRow>, sqlx::Error> {
                sqlx::query_as($crate::store::accounts::SELECT_USER).bind(name).fetch_optional(self.reader()).await
            }

            pub(super) async fn user_rows(&self) -> Result<Vec<$crate::store::accounts::UserRow>, sqlx::Error> {
                sqlx::query_as($crate::store::accounts::SELECT_USERS).fetch_all(self.reader()).await
            }

            pub(super) async fn refresh_row(
                &self,
                id: &str,
            ) -> Result<Option<$crate::store::accounts::RefreshRow>, sqlx::Error> {
                sqlx::query_as($crate::store::accounts::SELECT_REFRESH).bind(id).fetch_optional(self.reader()).await
            }

            pub(super) async fn conversation_owner(&self, id: &str) -> Result<Option<String>, sqlx::Error> {
                let query = sqlx::query_scalar($crate::store::accounts::SELECT_OWNER).bind(id);
                query.fetch_optional(self.reader()).await
            }

            pub(super) async fn denied_rows(&self, now: i64) -> Result<Vec<(String, i64)>, sqlx::Error> {
                sqlx::query_as($crate::store::accounts::SELECT_DENIED).bind(now).fetch_all(self.reader()).await
            }

            pub(super) async fn accounts_revision(&self) -> Result<i64, sqlx::Error> {
                sqlx::query_scalar($crate::store::accounts::REVISION).fetch_one(self.reader()).await
            }
        }
    };
}

pub(super) use account_queries;
