//! The statements on API keys: one text for both databases (both read `$1`), static, with binds.
//!
//! Guarantees: no SQL is put together from values (`field.md` E 31); a change and its new revision are one
//! transaction, so a gateway that sees the revision sees the change.

use super::error::StoreError;
use super::key_bounds::{KeyBounds, PublicKey};
use super::key_record::{KeyHash, KeyId, KeyName, KeyRecord};
use super::timestamp::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) const REVISION: &str = "SELECT value FROM revisions WHERE topic = 'api_keys'";
pub(super) const NEXT_REVISION: &str =
    "UPDATE revisions SET value = value + 1 WHERE topic = 'api_keys' RETURNING value";
pub(super) const SELECT_ONE: &str = "SELECT id, principal, name, role, hash, created_at, expires_at, revoked_at, \
    replaced_by, public_key, addresses, models FROM api_keys WHERE id = $1";
pub(super) const SELECT_SINCE: &str = "SELECT id, principal, name, role, hash, created_at, expires_at, revoked_at, \
    replaced_by, public_key, addresses, models FROM api_keys WHERE revision > $1 ORDER BY created_at, id";
pub(super) const INSERT: &str = "INSERT INTO api_keys (id, principal, name, role, hash, created_at, expires_at, revision, \
    public_key, addresses, models) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
/// Only a key that is neither revoked, replaced nor expired; `$3` is the new end, `$4` the present.
pub(super) const REPLACE: &str = "UPDATE api_keys SET replaced_by = $2, expires_at = $3, revision = $5 WHERE id = $1 \
    AND revoked_at IS NULL AND replaced_by IS NULL AND (expires_at IS NULL OR expires_at > $4)";
pub(super) const REVOKE: &str =
    "UPDATE api_keys SET revoked_at = $2, revision = $3 WHERE id = $1 AND revoked_at IS NULL";
pub(super) const FACT: &str = "SELECT value FROM facts WHERE name = $1";
pub(super) const CLAIM_FACT: &str = "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";

/// Whether a conditional change found its row as it expected it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It did.
    Made,
    /// It did not: nothing was changed.
    NotMade,
}

impl Change {
    pub(super) const fn from_rows(rows: u64) -> Self {
        if rows == 0 { Self::NotMade } else { Self::Made }
    }
}

/// A row as it comes.
#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    id: String,
    principal: String,
    name: String,
    role: String,
    hash: Vec<u8>,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    replaced_by: Option<String>,
    public_key: Option<Vec<u8>>,
    addresses: Option<String>,
    models: Option<String>,
}

/// Reads rows; keeps one copy of each role's name.
#[derive(Default)]
pub(super) struct RowReader {
    roles: HashSet<Arc<str>>,
}

impl RowReader {
    /// The record of a row; what cannot have been written here is an error, never a guess.
    pub(super) fn read(&mut self, row: KeyRow, store: impl FnOnce() -> String) -> Result<KeyRecord, StoreError> {
        let role = self.role(&row.role);
        record(&row, role).ok_or_else(|| StoreError::Damaged { store: store(), row: row.id })
    }

    fn role(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.roles.get(name) {
            return Arc::clone(known);
        }
        let role: Arc<str> = name.into();
        self.roles.insert(Arc::clone(&role));
        role
    }
}

fn record(row: &KeyRow, role: Arc<str>) -> Option<KeyRecord> {
    let replaced_by = match &row.replaced_by {
        Some(id) => Some(KeyId::parse(id)?),
        None => None,
    };
    let public_key = match &row.public_key {
        Some(bytes) => Some(PublicKey(bytes.as_slice().try_into().ok()?)),
        None => None,
    };
    Some(KeyRecord {
        id: KeyId::parse(&row.id)?,
        principal: KeyId::parse(&row.principal)?,
        name: KeyName::parse(&row.name)?,
        role,
        hash: KeyHash::new(row.hash.as_slice().try_into().ok()?),
        created_at: Timestamp::from_seconds(row.created_at),
        expires_at: row.expires_at.map(Timestamp::from_seconds),
        revoked_at: row.revoked_at.map(Timestamp::from_seconds),
        replaced_by,
        bounds: KeyBounds::read(row.addresses.as_deref(), row.models.as_deref())?,
        public_key,
    })
}

/// The same methods for both databases. sqlx's types differ by database, and a function generic over them needs more
/// bounds than lines; two copies would drift apart. Needs `begin()` and `reader()`.
macro_rules! api_key_queries {
    ($store:ty) => {
        impl $store {
            pub(super) async fn insert_key(
                &self,
                key: &$crate::store::key_record::KeyRecord,
            ) -> Result<(), sqlx::Error> {
                let mut work = self.begin().await?;
                let revision = $crate::store::api_keys::next_revision!(work)?;
                $crate::store::api_keys::insert!(work, key, revision)?;
                work.commit().await
            }

            pub(super) async fn replace_key(
                &self,
                rotation: &$crate::store::Rotation<'_>,
            ) -> Result<$crate::store::Change, sqlx::Error> {
                let mut work = self.begin().await?;
                let revision = $crate::store::api_keys::next_revision!(work)?;
                $crate::store::api_keys::insert!(work, rotation.new, revision)?;
                let replaced = sqlx::query($crate::store::api_keys::REPLACE)
                    .bind(rotation.old.as_str())
                    .bind(rotation.new.id.as_str())
                    .bind(rotation.old_expires_at.seconds())
                    .bind(rotation.new.created_at.seconds())
                    .bind(revision)
                    .execute(&mut *work)
                    .await?;
                let change = $crate::store::Change::from_rows(replaced.rows_affected());
                match change {
                    $crate::store::Change::Made => work.commit().await?,
                    $crate::store::Change::NotMade => work.rollback().await?,
                }
                Ok(change)
            }

            pub(super) async fn revoke_key(
                &self,
                id: $crate::store::key_record::KeyId,
                at: $crate::store::timestamp::Timestamp,
            ) -> Result<$crate::store::Change, sqlx::Error> {
                let mut work = self.begin().await?;
                let revision: i64 = $crate::store::api_keys::next_revision!(work)?;
                let query = sqlx::query($crate::store::api_keys::REVOKE).bind(id.as_str()).bind(at.seconds());
                let revoked = query.bind(revision).execute(&mut *work).await?;
                work.commit().await?;
                Ok($crate::store::Change::from_rows(revoked.rows_affected()))
            }

            pub(super) async fn key_row(
                &self,
                id: &str,
            ) -> Result<Option<$crate::store::api_keys::KeyRow>, sqlx::Error> {
                sqlx::query_as($crate::store::api_keys::SELECT_ONE).bind(id).fetch_optional(self.reader()).await
            }

            pub(super) async fn current_revision(&self) -> Result<i64, sqlx::Error> {
                sqlx::query_scalar($crate::store::api_keys::REVISION).fetch_one(self.reader()).await
            }

            pub(super) fn key_rows(
                &self,
                since: i64,
            ) -> futures_util::stream::BoxStream<'_, Result<$crate::store::api_keys::KeyRow, sqlx::Error>> {
                sqlx::query_as($crate::store::api_keys::SELECT_SINCE).bind(since).fetch(self.reader())
            }

            pub(super) async fn claim_fact(&self, name: &str, value: &[u8]) -> Result<(), sqlx::Error> {
                let mut work = self.begin().await?;
                let query = sqlx::query($crate::store::api_keys::CLAIM_FACT).bind(name).bind(value);
                query.execute(&mut *work).await?;
                work.commit().await
            }

            pub(super) async fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, sqlx::Error> {
                sqlx::query_scalar($crate::store::api_keys::FACT).bind(name).fetch_optional(self.reader()).await
            }
        }
    };
}

/// The revision of the change that a transaction makes; other writers wait here.
macro_rules! next_revision {
    ($work:ident) => {
        sqlx::query_scalar::<_, i64>($crate::store::api_keys::NEXT_REVISION).fetch_one(&mut *$work).await
    };
}

macro_rules! insert {
    ($work:ident, $key:expr, $revision:ident) => {{
        let (addresses, models) = $key.bounds.columns();
        sqlx::query($crate::store::api_keys::INSERT)
            .bind($key.id.as_str())
            .bind($key.principal.as_str())
            .bind($key.name.as_str())
            .bind(&*$key.role)
            .bind($key.hash.as_bytes().as_slice())
            .bind($key.created_at.seconds())
            .bind($key.expires_at.map($crate::store::timestamp::Timestamp::seconds))
            .bind($revision)
            .bind($key.public_key.map(|key| key.0.to_vec()))
            .bind(addresses)
            .bind(models)
            .execute(&mut *$work)
            .await
    }};
}

pub(super) use {api_key_queries, insert, next_revision};
