//! The bans: who is refused, until when, and why.
//!
//! Guarantees: a change and its new revision are one transaction, so a gateway that sees the revision sees the change; a
//! ban that is over is not read, and thrown away when the next one is made; none shortens another one.

use super::StoreError;
use super::timestamp::Timestamp;
use ipnet::IpNet;
use std::fmt;
use std::str::FromStr;

pub(super) const REVISION: &str = "SELECT value FROM revisions WHERE topic = 'bans'";
pub(super) const NEXT_REVISION: &str = "UPDATE revisions SET value = value + 1 WHERE topic = 'bans'";
pub(super) const PUT: &str = "INSERT INTO bans (subject, why, made_at, ends_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (subject) DO UPDATE SET why = excluded.why, made_at = excluded.made_at, ends_at = excluded.ends_at \
    WHERE excluded.ends_at > bans.ends_at";
pub(super) const REMOVE: &str = "DELETE FROM bans WHERE subject = $1";
pub(super) const FORGET: &str = "DELETE FROM bans WHERE ends_at <= $1";
pub(super) const SELECT: &str = "SELECT subject, why, made_at, ends_at FROM bans WHERE ends_at > $1 ORDER BY made_at";

/// Who is banned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Banned {
    /// Everybody from there: an address is the network of one.
    Network(IpNet),
    /// The holder of a key, by its id.
    Key(String),
    /// A user, by name.
    User(String),
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => network.addr().fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Key(id) => write!(f, "key:{id}"),
            Self::User(name) => write!(f, "user:{name}"),
        }
    }
}

/// It is no address, no network, no key and no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no address, no network, no id of a key and no user")]
pub struct NobodyToBan;

impl FromStr for Banned {
    type Err = NobodyToBan;

    /// `192.0.2.1`, `2001:db8::/32`, `key:ID`, `user:NAME`.
    fn from_str(text: &str) -> Result<Self, NobodyToBan> {
        if let Some(id) = text.strip_prefix("key:") {
            return super::key_record::KeyId::parse(id).map(|id| Self::Key(id.to_string())).ok_or(NobodyToBan);
        }
        if let Some(name) = text.strip_prefix("user:") {
            let name = super::user_record::UserName::parse(name).ok_or(NobodyToBan)?;
            return Ok(Self::User(name.as_str().to_owned()));
        }
        let address = text.parse::<std::net::IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        let network = address.or_else(|_| text.parse::<IpNet>()).map_err(|_| NobodyToBan)?;
        Ok(Self::Network(network.trunc()))
    }
}

/// One ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub who: Banned,
    /// Why, for people.
    pub why: String,
    /// Since when.
    pub made_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
}

/// A row as it comes.
pub(super) type Row = (String, String, i64, i64);

pub(super) fn read((subject, why, made_at, ends_at): Row, store: &str) -> Result<Ban, StoreError> {
    let who = subject.parse().map_err(|_| StoreError::Damaged { store: store.to_owned(), row: subject })?;
    let (made_at, ends_at) = (Timestamp::from_seconds(made_at), Timestamp::from_seconds(ends_at));
    Ok(Ban { who, why, made_at, ends_at })
}

/// The same methods for both databases; see `api_keys`.
macro_rules! ban_queries {
    ($store:ty) => {
        impl $store {
            pub(super) async fn put_ban(&self, ban: &$crate::store::Ban) -> Result<$crate::store::Change, sqlx::Error> {
                let mut work = self.begin().await?;
                sqlx::query($crate::store::bans::NEXT_REVISION).execute(&mut *work).await?;
                let forget = sqlx::query($crate::store::bans::FORGET).bind(ban.made_at.seconds());
                forget.execute(&mut *work).await?;
                let put = sqlx::query($crate::store::bans::PUT)
                    .bind(ban.who.to_string())
                    .bind(ban.why.as_str())
                    .bind(ban.made_at.seconds())
                    .bind(ban.ends_at.seconds())
                    .execute(&mut *work)
                    .await?;
                work.commit().await?;
                Ok($crate::store::Change::from_rows(put.rows_affected()))
            }

            pub(super) async fn remove_ban(&self, who: &str) -> Result<$crate::store::Change, sqlx::Error> {
                let mut work = self.begin().await?;
                sqlx::query($crate::store::bans::NEXT_REVISION).execute(&mut *work).await?;
                let removed = sqlx::query($crate::store::bans::REMOVE).bind(who).execute(&mut *work).await?;
                work.commit().await?;
                Ok($crate::store::Change::from_rows(removed.rows_affected()))
            }

            pub(super) async fn bans(&self, now: i64) -> Result<Vec<$crate::store::bans::Row>, sqlx::Error> {
                sqlx::query_as($crate::store::bans::SELECT).bind(now).fetch_all(self.reader()).await
            }

            pub(super) async fn bans_revision(&self) -> Result<i64, sqlx::Error> {
                sqlx::query_scalar($crate::store::bans::REVISION).fetch_one(self.reader()).await
            }
        }
    };
}

pub(super) use ban_queries;
