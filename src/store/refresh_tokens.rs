//! Refresh tokens and revoked tokens in the store.

use super::accounts::{self as sql, Bind, Statement};
use super::key_record::KeyHash;
use super::timestamp::Timestamp;
use super::user_record::RefreshRecord;
use super::{Change, Database, Revision, Store, StoreError, each};

/// A refresh token that is to be stored.
#[derive(Debug, Clone, Copy)]
pub struct NewRefresh<'a> {
    /// Its id.
    pub id: &'a str,
    /// The family it belongs to.
    pub family: &'a str,
    /// What a presented one is compared with.
    pub hash: &'a KeyHash,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl NewRefresh<'_> {
    const fn binds(&self) -> [Bind<'_>; 4] {
        let end = Bind::Number(self.expires_at.seconds());
        [Bind::Text(self.id), Bind::Text(self.family), Bind::Bytes(self.hash.as_bytes()), end]
    }
}

impl Store {
    /// Begins a family with its first refresh token; forgets those that are over.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn begin_family(&self, subject: &str, first: &NewRefresh<'_>, now: Timestamp) -> Result<(), StoreError> {
        let family = [Bind::Text(first.family), Bind::Text(subject), Bind::Number(now.seconds())];
        let (token, moment) = (first.binds(), [Bind::Number(now.seconds())]);
        let all = [
            Statement { text: sql::INSERT_FAMILY, binds: &family },
            Statement { text: sql::INSERT_REFRESH, binds: &token },
            Statement { text: sql::FORGET_FAMILIES, binds: &moment },
        ];
        each!(self, db => self.bounded("writing a refresh token", db.run_all(&all)).await)?;
        Ok(())
    }

    /// One refresh token.
    ///
    /// # Errors
    /// The store does not answer, or holds a damaged row.
    pub async fn refresh_token(&self, id: &str) -> Result<Option<RefreshRecord>, StoreError> {
        let row = each!(self, db => self.bounded("reading a refresh token", db.refresh_row(id)).await)?;
        row.map(|row| row.read(|| self.label())).transpose()
    }

    /// Puts a new refresh token in the place of one: [`Change::NotMade`] where that one was used before.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn rotate_refresh(&self, old: &str, new: &NewRefresh<'_>, now: Timestamp) -> Result<Change, StoreError> {
        let (used, token) = ([Bind::Text(old), Bind::Number(now.seconds())], new.binds());
        let all = [
            Statement { text: sql::USE_REFRESH, binds: &used },
            Statement { text: sql::INSERT_REFRESH, binds: &token },
        ];
        each!(self, db => self.bounded("rotating a refresh token", db.run_all(&all)).await)
    }

    /// Revokes a family: its refresh tokens, and the access tokens that carry its id, until `end`.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn revoke_family(&self, family: &str, now: Timestamp, end: Timestamp) -> Result<Change, StoreError> {
        let revoked = [Bind::Text(family), Bind::Number(now.seconds())];
        let denied = [Bind::Text(family), Bind::Number(end.seconds())];
        let all = [
            Statement { text: sql::REVOKE_FAMILY, binds: &revoked },
            Statement { text: sql::DENY, binds: &denied },
            Statement { text: sql::NEXT_REVISION, binds: &[] },
        ];
        each!(self, db => self.bounded("revoking tokens", db.run_all(&all)).await)
    }

    /// Revokes one access token, by its id, until it would have expired.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn revoke_token(&self, id: &str, now: Timestamp, end: Timestamp) -> Result<Change, StoreError> {
        let (denied, moment) = ([Bind::Text(id), Bind::Number(end.seconds())], [Bind::Number(now.seconds())]);
        let all = [
            Statement { text: sql::DENY, binds: &denied },
            Statement { text: sql::FORGET_DENIED, binds: &moment },
            Statement { text: sql::NEXT_REVISION, binds: &[] },
        ];
        each!(self, db => self.bounded("revoking a token", db.run_all(&all)).await)
    }

    /// The ids of tokens and families that are revoked and would not have expired by themselves.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn revoked_tokens(&self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        let rows = each!(self, db => self.bounded("reading revoked tokens", db.denied_rows(now.seconds())).await)?;
        Ok(rows.into_iter().map(|(id, _)| id).collect())
    }

    /// The revision of users and tokens.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn accounts_revision(&self) -> Result<Revision, StoreError> {
        let number = each!(self, db => self.bounded("asking for its revision", db.accounts_revision()).await)?;
        Ok(Revision(number))
    }
}
