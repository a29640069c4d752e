//! Users in the store.

use super::accounts::{self as sql, Bind, Statement};
use super::timestamp::Timestamp;
use super::user_record::{PasswordHash, UserName, UserRecord};
use super::{Change, Database, Store, StoreError, each};

/// Moves the revision that running gateways watch.
const NOTICED: Statement<'static> = Statement { text: sql::NEXT_REVISION, binds: &[] };

/// One try to sign in.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// The failures that were seen.
    pub failures: u32,
    /// The present.
    pub now: Timestamp,
    /// When the next try may be, if this one fails.
    pub retry_at: Timestamp,
}

impl Store {
    /// One user.
    ///
    /// # Errors
    /// The store does not answer, or holds a damaged row.
    pub async fn user(&self, name: &UserName) -> Result<Option<UserRecord>, StoreError> {
        let row = each!(self, db => self.bounded("reading a user", db.user_row(name.as_str())).await)?;
        row.map(|row| row.read(|| self.label())).transpose()
    }

    /// All users, by name.
    ///
    /// # Errors
    /// The store does not answer, or holds a damaged row.
    pub async fn users(&self) -> Result<Vec<UserRecord>, StoreError> {
        let rows = each!(self, db => self.bounded("reading the users", db.user_rows()).await)?;
        rows.into_iter().map(|row| row.read(|| self.label())).collect()
    }

    /// Adds a user: [`Change::NotMade`] where there is one of that name.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn add_user(
        &self,
        name: &UserName,
        role: &str,
        password: &PasswordHash,
        now: Timestamp,
    ) -> Result<Change, StoreError> {
        let (role, password) = (Bind::Text(role), Bind::Text(password.as_str()));
        let binds = [text(name), role, password, number(now), next_second(now)];
        self.noticed(sql::INSERT_USER, &binds).await
    }

    /// Gives a user another password; tokens from before are void.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn set_password(
        &self,
        name: &UserName,
        password: &PasswordHash,
        now: Timestamp,
    ) -> Result<Change, StoreError> {
        self.noticed(sql::SET_PASSWORD, &[text(name), Bind::Text(password.as_str()), next_second(now)]).await
    }

    /// Gives a user another role; tokens from before are void.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn set_role(&self, name: &UserName, role: &str, now: Timestamp) -> Result<Change, StoreError> {
        self.noticed(sql::SET_ROLE, &[text(name), Bind::Text(role), next_second(now)]).await
    }

    /// Voids every token that a user has; it may sign in again.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn void_tokens(&self, name: &UserName, now: Timestamp) -> Result<Change, StoreError> {
        self.noticed(sql::VOID_TOKENS, &[text(name), next_second(now)]).await
    }

    /// Keeps a user out: [`Change::NotMade`] where that is so already, or there is none.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn lock_user(&self, name: &UserName, now: Timestamp) -> Result<Change, StoreError> {
        self.noticed(sql::LOCK, &[text(name), number(now)]).await
    }

    /// Lets a user in again; tokens from before stay void.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn unlock_user(&self, name: &UserName, now: Timestamp) -> Result<Change, StoreError> {
        self.noticed(sql::UNLOCK, &[text(name), next_second(now)]).await
    }

    /// Removes a user and all that belongs to it.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn remove_user(&self, name: &UserName) -> Result<Change, StoreError> {
        self.noticed(sql::REMOVE_USER, &[text(name)]).await
    }

    /// Counts a try before its password is looked at: [`Change::NotMade`] where another one was counted meanwhile, or it
    /// is too early.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn begin_attempt(&self, name: &UserName, attempt: Attempt) -> Result<Change, StoreError> {
        let failures = Bind::Number(i64::from(attempt.failures));
        let binds = [text(name), failures, number(attempt.now), number(attempt.retry_at)];
        self.quiet(sql::BEGIN_ATTEMPT, &binds).await
    }

    /// Forgets the failures of a user.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn attempt_succeeded(&self, name: &UserName) -> Result<Change, StoreError> {
        self.quiet(sql::ATTEMPT_SUCCEEDED, &[text(name)]).await
    }

    /// Puts a better hash of the same password in the place of an old one.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn rehash(&self, name: &UserName, old: &PasswordHash, new: &PasswordHash) -> Result<Change, StoreError> {
        self.quiet(sql::REHASH, &[text(name), Bind::Text(old.as_str()), Bind::Text(new.as_str())]).await
    }

    /// Sets or takes away the second factor, with its recovery codes; with its secret goes the last time step whose code
    /// was used already (0: none was).
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn set_totp(
        &self,
        name: &UserName,
        sealed: Option<(&[u8], i64)>,
        codes: &[[u8; 32]],
    ) -> Result<Change, StoreError> {
        let (sealed, step) = sealed.map_or((Bind::NoBytes, 0), |(sealed, step)| (Bind::Bytes(sealed), step));
        let first = [text(name), sealed, Bind::Number(step)];
        let who = [text(name)];
        let inserts: Vec<_> = codes.iter().map(|code| [text(name), Bind::Bytes(code)]).collect();
        let mut all = vec![
            Statement { text: sql::SET_TOTP, binds: &first },
            Statement { text: sql::FORGET_CODES, binds: &who },
            NOTICED,
        ];
        all.extend(inserts.iter().map(|binds| Statement { text: sql::INSERT_CODE, binds }));
        each!(self, db => self.bounded("writing a second factor", db.run_all(&all)).await)
    }

    /// Uses the code of a time step: [`Change::NotMade`] where that one or a later one was used.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn use_totp_step(&self, name: &UserName, step: i64) -> Result<Change, StoreError> {
        self.quiet(sql::USE_STEP, &[text(name), Bind::Number(step)]).await
    }

    /// Uses a recovery code up: [`Change::NotMade`] where there is no such code.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn use_recovery_code(&self, name: &UserName, hash: &[u8; 32]) -> Result<Change, StoreError> {
        self.quiet(sql::USE_CODE, &[text(name), Bind::Bytes(hash)]).await
    }

    async fn quiet(&self, statement: &'static str, binds: &[Bind<'_>]) -> Result<Change, StoreError> {
        let all = [Statement { text: statement, binds }];
        each!(self, db => self.bounded("writing a user", db.run_all(&all)).await)
    }

    async fn noticed(&self, statement: &'static str, binds: &[Bind<'_>]) -> Result<Change, StoreError> {
        let all = [Statement { text: statement, binds }, NOTICED];
        each!(self, db => self.bounded("writing a user", db.run_all(&all)).await)
    }
}

fn text(name: &UserName) -> Bind<'_> {
    Bind::Text(name.as_str())
}

const fn number(moment: Timestamp) -> Bind<'static> {
    Bind::Number(moment.seconds())
}

/// Tokens know whole seconds: one that was given out in this very second is from before.
const fn next_second(moment: Timestamp) -> Bind<'static> {
    Bind::Number(moment.seconds().saturating_add(1))
}
