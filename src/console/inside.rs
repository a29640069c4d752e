//! The pages of one who is signed in: what each of them reads.

use super::body::{Body, page};
use super::pages::overview::Served;
use super::pages::usage::Sums;
use super::sessions::Session;
use super::{Console, chat, pages};
use crate::gateway::{Gateway, Policy};
use crate::limits::{date_of, day_of};
use crate::store::timestamp::Timestamp;
use crate::store::{Revision, StoreError, UsageBy, UsageQuery, Used};
use crate::telemetry::audit::{Page, Place};
use crate::telemetry::clock;
use http::{Response, StatusCode};
use maud::Markup;
use std::collections::HashMap;
use std::sync::Arc;

/// Records of a page.
const RECORDS: usize = 50;
/// Rows of a table of usage.
const ROWS: u32 = 100;

impl Console {
    /// A page; what the store does not answer is told.
    pub(super) async fn inside(
        &self,
        gateway: &Arc<Gateway>,
        session: &Session,
        (path, query): (&str, Option<&str>),
    ) -> Response<Body> {
        let query = query.unwrap_or("");
        let made = match path {
            "/console" => Ok(pages::overview::overview(session, &served(gateway))),
            "/console/keys" => self.keys(&gateway.policy(), session).await,
            "/console/users" => self.users(&gateway.policy(), session).await,
            "/console/bans" => self.bans(session).await,
            "/console/usage" => self.usage(gateway, session, query).await,
            "/console/audit" => Ok(self.audit(session, query).await),
            "/console/chat" => Ok(pages::chat::chat(session, &chat::models(gateway, session).await)),
            _ => return page(StatusCode::NOT_FOUND, pages::message("There is no such page.")),
        };
        match made {
            Ok(markup) => page(StatusCode::OK, markup),
            Err(error) => page(StatusCode::SERVICE_UNAVAILABLE, pages::message(&error.to_string())),
        }
    }

    async fn keys(&self, policy: &Policy, session: &Session) -> Result<Markup, StoreError> {
        let keys = self.store.keys_since(Revision::START).await?.keys;
        Ok(pages::keys::keys(session, &keys, &roles(policy), Timestamp::from(clock::now())))
    }

    async fn users(&self, policy: &Policy, session: &Session) -> Result<Markup, StoreError> {
        let users = self.store.users().await?;
        let roles: Vec<_> = roles(policy).into_iter().filter(|role| *role != "anonymous").collect();
        Ok(pages::users::users(session, &users, &roles, Timestamp::from(clock::now())))
    }

    async fn bans(&self, session: &Session) -> Result<Markup, StoreError> {
        let (_, bans) = self.store.bans(Timestamp::from(clock::now())).await?;
        Ok(pages::bans::bans(session, &bans))
    }

    async fn usage(&self, gateway: &Gateway, session: &Session, query: &str) -> Result<Markup, StoreError> {
        // What is counted and not written yet belongs to it.
        gateway.usage.write(&self.store).await?;
        let days = query.strip_prefix("days=").and_then(|text| text.parse::<u16>().ok()).unwrap_or(7).clamp(1, 3650);
        let days = i64::from(days);
        let since = day_of(clock::now()).saturating_sub(days - 1);
        let mut tables: Vec<Sums> = Vec::new();
        for (name, by) in [("caller", UsageBy::Principal), ("model", UsageBy::Model), ("day", UsageBy::Day)] {
            let rows = self.store.usage(UsageQuery { by, since, principal: "", most: ROWS }).await?;
            tables.push((name, rows));
        }
        if let Some((_, callers)) = tables.first_mut() {
            self.name_keys(callers).await?;
        }
        if let Some((_, days)) = tables.last_mut() {
            days.iter_mut().for_each(|(day, _)| *day = date_of(day));
        }
        Ok(pages::usage::usage(session, days, &tables))
    }

    /// A key's id says little: its name is put before it.
    async fn name_keys(&self, rows: &mut [(String, Used)]) -> Result<(), StoreError> {
        let keys = self.store.keys_since(Revision::START).await?.keys;
        let names: HashMap<_, _> = keys.iter().map(|key| (key.id.as_str(), key.name.as_str())).collect();
        for (caller, _) in rows {
            if let Some(name) = names.get(caller.as_str()) {
                *caller = format!("{name} ({caller})");
            }
        }
        Ok(())
    }

    async fn audit(&self, session: &Session, query: &str) -> Markup {
        let before = query.strip_prefix("before=").and_then(Place::read);
        let state = self.state.clone();
        let read = tokio::task::spawn_blocking(move || Page::read(&state, before, RECORDS)).await;
        let found = read.ok().and_then(Result::ok);
        pages::audit::audit(session, found.as_ref(), before.is_none())
    }
}

fn roles(policy: &Policy) -> Vec<&str> {
    policy.config.roles.keys().map(String::as_str).collect()
}

fn served(gateway: &Gateway) -> Vec<Served> {
    let today = clock::now();
    let served = gateway.certificates.served().into_iter();
    let one = |(name, leaf): (String, crate::certificates::Leaf)| Served {
        name,
        ends: Timestamp::from(leaf.not_after).to_string(),
        days: leaf.days_left(today),
    };
    served.map(one).collect()
}
