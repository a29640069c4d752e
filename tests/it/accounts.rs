//! Users, refresh tokens and conversations in the store: the same on SQLite here, and on PostgreSQL in `postgres`.

use crate::key_desk::Desk;
use ollama_gateway::store::key_record::KeyHash;
use ollama_gateway::store::timestamp::Timestamp;
use ollama_gateway::store::user_record::{PasswordHash, UserName};
use ollama_gateway::store::{Attempt, Change, NewRefresh, Store};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(NOW.seconds() + seconds)
}

/// Every statement on them, with what it promises.
pub(crate) async fn accounts_are_kept(store: &Store) {
    users_are_kept(store).await;
    refresh_tokens_work_once(store).await;
    assert_eq!(store.claim_conversation("talk", "ana", NOW).await.unwrap(), "ana");
    assert_eq!(store.claim_conversation("talk", "bob", at(1)).await.unwrap(), "ana");
    assert_eq!(store.claim_conversation("talk", "ana", at(200 * 86_400)).await.unwrap(), "ana");
}

async fn users_are_kept(store: &Store) {
    let (ana, nobody) = (UserName::parse("ana").unwrap(), UserName::parse("nobody").unwrap());
    let (hash, other) = (PasswordHash::new("$one".to_owned()), PasswordHash::new("$two".to_owned()));
    let before = store.accounts_revision().await.unwrap();
    assert_eq!(store.add_user(&ana, "user", &hash, NOW).await.unwrap(), Change::Made);
    assert_eq!(store.add_user(&ana, "admin", &hash, NOW).await.unwrap(), Change::NotMade);
    assert!(store.accounts_revision().await.unwrap() > before, "others notice");
    let try_at = |failures, now| Attempt { failures, now, retry_at: at(10) };
    assert_eq!(store.begin_attempt(&ana, try_at(0, NOW)).await.unwrap(), Change::Made);
    assert_eq!(store.begin_attempt(&ana, try_at(0, at(20))).await.unwrap(), Change::NotMade, "it was counted");
    assert_eq!(store.begin_attempt(&ana, try_at(1, at(9))).await.unwrap(), Change::NotMade, "it is too early");
    assert_eq!(store.begin_attempt(&ana, try_at(1, at(10))).await.unwrap(), Change::Made);
    store.attempt_succeeded(&ana).await.unwrap();
    let mut valid_from = store.user(&ana).await.unwrap().unwrap().valid_from;
    for change in [
        store.set_password(&ana, &other, NOW).await,
        store.set_role(&ana, "admin", NOW).await,
        store.unlock_user(&ana, NOW).await,
        store.void_tokens(&ana, NOW).await,
    ] {
        assert_eq!(change.unwrap(), Change::Made);
    }
    let user = store.user(&ana).await.unwrap().unwrap();
    assert!(user.valid_from.seconds() >= valid_from.seconds() + 4, "each voids what was given out before");
    valid_from = user.valid_from;
    assert_eq!((user.failures, &*user.role, user.password == other), (0, "admin", true));
    assert_eq!(store.rehash(&ana, &hash, &hash).await.unwrap(), Change::NotMade, "it has another by now");
    assert_eq!(store.lock_user(&ana, NOW).await.unwrap(), Change::Made);
    assert_eq!(store.lock_user(&ana, NOW).await.unwrap(), Change::NotMade);
    assert_eq!(store.user(&ana).await.unwrap().unwrap().locked_at, Some(NOW));
    assert_eq!(store.set_totp(&ana, Some((b"sealed", 0)), &[[1; 32], [2; 32]]).await.unwrap(), Change::Made);
    assert_eq!(store.use_totp_step(&ana, 5).await.unwrap(), Change::Made);
    for step in [5, 4] {
        assert_eq!(store.use_totp_step(&ana, step).await.unwrap(), Change::NotMade);
    }
    assert_eq!(store.use_recovery_code(&ana, &[1; 32]).await.unwrap(), Change::Made);
    assert_eq!(store.use_recovery_code(&ana, &[1; 32]).await.unwrap(), Change::NotMade);
    assert_eq!(store.set_totp(&ana, None, &[]).await.unwrap(), Change::Made);
    let user = store.user(&ana).await.unwrap().unwrap();
    assert_eq!((user.totp, user.totp_step, user.valid_from), (None, 0, valid_from));
    assert_eq!(store.use_recovery_code(&ana, &[2; 32]).await.unwrap(), Change::NotMade);
    assert_eq!(store.remove_user(&nobody).await.unwrap(), Change::NotMade);
    assert_eq!(store.users().await.unwrap().len(), 1);
    assert_eq!(store.remove_user(&ana).await.unwrap(), Change::Made);
}

async fn refresh_tokens_work_once(store: &Store) {
    let hash = KeyHash::new([7; 32]);
    let token = |id: &'static str, expires_at| NewRefresh { id, family: "familyAAAAAA", hash: &hash, expires_at };
    store.begin_family("ana", &token("firstAAAAAAA", at(100)), NOW).await.unwrap();
    let first = store.refresh_token("firstAAAAAAA").await.unwrap().unwrap();
    assert_eq!((first.subject.as_str(), first.used_at, first.family_created_at), ("ana", None, NOW));
    let rotate =
        |new: &'static str| async move { store.rotate_refresh("firstAAAAAAA", &token(new, at(100)), at(1)).await };
    assert_eq!(rotate("secondAAAAAA").await.unwrap(), Change::Made);
    assert_eq!(rotate("thirdAAAAAAA").await.unwrap(), Change::NotMade);
    assert!(store.refresh_token("thirdAAAAAAA").await.unwrap().is_none(), "whole or not at all");
    assert_eq!(store.revoke_family("familyAAAAAA", at(2), at(50)).await.unwrap(), Change::Made);
    assert_eq!(store.revoke_family("familyAAAAAA", at(3), at(50)).await.unwrap(), Change::NotMade);
    store.revoke_token("token-1", at(3), at(60)).await.unwrap();
    let mut revoked = store.revoked_tokens(at(4)).await.unwrap();
    revoked.sort_unstable();
    assert_eq!(revoked, ["familyAAAAAA", "token-1"]);
    assert_eq!(store.revoked_tokens(at(55)).await.unwrap(), ["token-1"]);
    let other = NewRefresh { id: "otherAAAAAAA", family: "familyBBBBBB", hash: &hash, expires_at: at(500) };
    store.begin_family("ana", &other, at(200)).await.unwrap();
    assert!(store.refresh_token("secondAAAAAA").await.unwrap().is_none(), "families that are over are forgotten");
}

#[tokio::test]
async fn sqlite_keeps_accounts() {
    accounts_are_kept(&Desk::new().await.store).await;
}
