//! API keys: from the command to the ring that answers requests, with everything an operator or a thief may do between.

use crate::key_desk::{Desk, Log, assert_noticed, create, id_of, later, noon, parse, revoke, rotate, sqlite};
use ollama_gateway::cli::key::{Console, KeyCommand, KeyContext, run};
use ollama_gateway::identity::key_ring::{KeyRefusal, KeyRing};
use ollama_gateway::identity::keys::PresentedKey;
use ollama_gateway::identity::pepper::{Pepper, PepperError};
use ollama_gateway::store::private_files::ensure_folder;
use ollama_gateway::store::{Store, StoreError};
use proptest::prelude::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn create_prints_the_key_alone_and_it_opens() {
    let desk = Desk::new().await;
    let ran = desk.run_at(noon(), create("user", "laptop", Some("90d"))).await;
    ran.result.unwrap();
    let key = ran.out.strip_suffix('\n').unwrap();
    assert!(key.starts_with("ogw_") && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{key}");
    assert!(ran.err.contains(&id_of(key)) && ran.err.contains("expires 2027-02-22T12:00:00Z"), "{}", ran.err);
    assert!(!ran.err.contains(key));
    let record = desk.ring().await.verify(&parse(key), noon()).unwrap();
    assert_eq!((record.name.as_str(), &*record.role), ("laptop", "user"));
    assert_eq!(record.principal, record.id);
}

#[tokio::test]
async fn create_refuses_what_it_does_not_know() {
    let desk = Desk::new().await;
    for (command, word) in [
        (create("root", "laptop", None), "admin, user"),
        (create("user", "", None), "--name"),
        (create("user", "lap\ntop", None), "--name"),
        (create("user", "laptop", Some("yesterday")), "--expires"),
        (create("user", "laptop", Some("2020-01-01T00:00:00Z")), "--expires"),
        (rotate("abcDEF012345", "soon"), "--overlap"),
        (revoke("ogw_abc"), "ID is the 12 characters"),
    ] {
        let ran = desk.run_at(noon(), command).await;
        let error = ran.result.unwrap_err();
        assert_eq!((error.exit_code(), ran.out.as_str()), (2, ""));
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(desk.states(noon()).await.is_empty());
}

#[tokio::test]
async fn the_files_are_for_the_gateway_alone() {
    let desk = Desk::new().await;
    desk.create(None).await;
    assert_eq!(mode(&desk.state), 0o700);
    for file in ["gateway.db", "gateway.db-wal", "gateway.db-shm", "pepper"] {
        assert_eq!(mode(&desk.state.join(file)), 0o600, "{file}");
    }
}

/// Only root can make files for others, so only root can be wrong here.
#[tokio::test]
async fn what_root_makes_belongs_to_the_owner_of_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let owner = if root.path().metadata().unwrap().uid() == 0 { Some(12_345) } else { None };
    let state = root.path().join("state");
    ensure_folder(&state).unwrap();
    std::os::unix::fs::chown(&state, owner, owner).unwrap();
    let store = Store::open(&sqlite("gateway.db"), &state).await.unwrap();
    Pepper::open(&state, &store).await.unwrap();
    let expected = state.metadata().unwrap().uid();
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.metadata().unwrap().uid(), expected, "{}", path.display());
    }
}

#[tokio::test]
async fn a_folder_or_a_database_open_to_others_is_refused() {
    for (path, wide) in [("", 0o755), ("gateway.db", 0o640)] {
        let desk = Desk::new().await;
        std::fs::set_permissions(desk.state.join(path), PermissionsExt::from_mode(wide)).unwrap();
        let error = Store::open(&sqlite("gateway.db"), &desk.state).await.unwrap_err();
        assert!(error.to_string().contains("chmod 0"), "{error}");
    }
}

#[tokio::test]
async fn nothing_that_is_stored_holds_the_secret() {
    let desk = Desk::new().await;
    let key = desk.create(None).await;
    let listed = desk.run_at(noon(), KeyCommand::List { json: true }).await.out;
    let table = desk.run_at(noon(), KeyCommand::List { json: false }).await.out;
    let secret = &key[17..60];
    assert!(table.contains(&id_of(&key)) && !table.contains(secret) && !listed.contains(secret));
    for entry in std::fs::read_dir(&desk.state).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!content.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_id_are_refused() {
    let desk = Desk::new().await;
    let (key, other) = (desk.create(None).await, PresentedKey::generate().unwrap());
    let ring = desk.ring().await;
    assert_eq!(ring.verify(&other, noon()).unwrap_err(), KeyRefusal::Unknown);
    // A valid checksum over this id and another secret.
    let forged = with_checksum(&format!("{}{}", &key[..17], &other.reveal().expose()[17..60]));
    assert_eq!(ring.verify(&parse(&forged), noon()).unwrap_err(), KeyRefusal::WrongSecret);
}

/// Appends the checksum as anybody can compute it: it keeps nobody out.
fn with_checksum(text: &str) -> String {
    let crc = !text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    });
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let checksum = (0..6).rev().map(|place| digits[(crc / 62_u32.pow(place) % 62) as usize]);
    text.chars().chain(checksum).collect()
}

#[tokio::test]
async fn a_key_stops_in_the_second_of_its_expiry() {
    let desk = Desk::new().await;
    let key = parse(&desk.create(Some("60s")).await);
    let ring = desk.ring().await;
    assert!(ring.verify(&key, later(59)).is_ok());
    assert_eq!(ring.verify(&key, later(60)).unwrap_err(), KeyRefusal::Expired);
    assert_eq!(desk.states(later(60)).await[0].1, "expired");
}

#[tokio::test]
async fn rotation_overlaps_and_then_ends() {
    let desk = Desk::new().await;
    let old = desk.create(Some("30d")).await;
    let ran = desk.run_at(later(3600), rotate(&id_of(&old), "24h")).await;
    ran.result.unwrap();
    let new = ran.out.trim_end();
    let (ring, day) = (desk.ring().await, 86_400);
    let record = ring.verify(&parse(new), later(3600)).unwrap();
    assert_eq!((record.name.as_str(), &*record.role, record.principal.as_str()), ("laptop", "user", &*id_of(&old)));
    assert_eq!(record.expires_at.unwrap().since(record.created_at), Duration::from_secs(30 * day), "as long a life");
    assert!(ring.verify(&parse(&old), later(3600 + day - 1)).is_ok());
    assert_eq!(ring.verify(&parse(&old), later(3600 + day)).unwrap_err(), KeyRefusal::Expired);
    let rows = [(id_of(&old), "rotating".to_owned()), (id_of(new), "active".to_owned())];
    assert_eq!(desk.states(later(3600)).await, rows);
}

#[tokio::test]
async fn rotation_without_overlap_ends_at_once_and_never_prolongs() {
    let desk = Desk::new().await;
    let (sudden, short) = (desk.create(None).await, desk.create(Some("1h")).await);
    desk.run_at(noon(), rotate(&id_of(&sudden), "0s")).await.result.unwrap();
    desk.run_at(noon(), rotate(&id_of(&short), "24h")).await.result.unwrap();
    let ring = desk.ring().await;
    assert_eq!(ring.verify(&parse(&sudden), noon()).unwrap_err(), KeyRefusal::Expired);
    assert_eq!(ring.verify(&parse(&short), later(3600)).unwrap_err(), KeyRefusal::Expired);
}

#[tokio::test]
async fn only_an_active_key_is_rotated() {
    let desk = Desk::new().await;
    let (revoked, rotated, expired) = (desk.create(None).await, desk.create(None).await, desk.create(Some("1s")).await);
    desk.run_at(noon(), revoke(&id_of(&revoked))).await.result.unwrap();
    desk.run_at(noon(), rotate(&id_of(&rotated), "1h")).await.result.unwrap();
    let before = desk.states(later(1)).await;
    for id in [id_of(&revoked), id_of(&rotated), id_of(&expired), "abcDEF012345".to_owned()] {
        let ran = desk.run_at(later(1), rotate(&id, "1h")).await;
        assert_eq!((ran.result.unwrap_err().exit_code(), ran.out.as_str()), (1, ""));
    }
    assert_eq!(desk.states(later(1)).await, before);
}

#[tokio::test]
async fn revoking_twice_is_done_and_revoking_nothing_fails() {
    let desk = Desk::new().await;
    let key = desk.create(None).await;
    desk.run_at(noon(), revoke(&id_of(&key))).await.result.unwrap();
    let again = desk.run_at(noon(), revoke(&format!("ogw_{}", id_of(&key)))).await;
    again.result.unwrap();
    assert!(again.err.contains("before") && again.out.is_empty());
    assert_eq!(desk.ring().await.verify(&parse(&key), noon()).unwrap_err(), KeyRefusal::Revoked);
    assert_eq!(desk.run_at(noon(), revoke("abcDEF012345")).await.result.unwrap_err().exit_code(), 1);
}

/// Two stores on one file behave like two processes: each has its own connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_watching_ring_notices_others_within_a_second() {
    let desk = Desk::new().await;
    let key = desk.create(None).await;
    let ring = Arc::new(desk.ring().await);
    let other = Store::open(&sqlite("gateway.db"), &desk.state).await.unwrap();
    let watching = Arc::clone(&ring);
    let task = tokio::spawn(async move { watching.watch(other).await });
    assert_noticed(&desk, &ring, &key, Duration::from_secs(1)).await;
    task.abort();
}

#[tokio::test]
async fn a_ring_whose_store_breaks_keeps_its_keys_and_catches_up() {
    let desk = Desk::new().await;
    let key = desk.create(None).await;
    let ring = Arc::new(desk.ring().await);
    let (log, _guard) = Log::capture();
    let (watching, store) = (Arc::clone(&ring), desk.store.clone());
    let task = tokio::spawn(async move { watching.watch(store).await });
    let mut reloads = ring.reloads();
    desk.alter("UPDATE api_keys SET name = 'a' || char(10), revision = 2").await;
    desk.alter("UPDATE revisions SET value = 2").await;
    log.wait_for("keys_still_unreadable").await;
    assert!(ring.verify(&parse(&key), noon()).is_ok());
    desk.alter("UPDATE api_keys SET name = 'mended'").await;
    tokio::time::timeout(Duration::from_secs(5), reloads.changed()).await.unwrap().unwrap();
    assert_eq!(ring.verify(&parse(&key), noon()).unwrap().name.as_str(), "mended");
    log.wait_for("keys_readable").await;
    assert_eq!(log.count("keys_unreadable"), 1, "one line a streak");
    task.abort();
}

#[tokio::test]
async fn a_store_that_went_back_is_read_anew() {
    let desk = Desk::new().await;
    let key = desk.create(None).await;
    let ring = Arc::new(desk.ring().await);
    let (watching, store) = (Arc::clone(&ring), desk.store.clone());
    let task = tokio::spawn(async move { watching.watch(store).await });
    let mut reloads = ring.reloads();
    // As after the restore of a backup that was made before the key.
    desk.alter("DELETE FROM api_keys; UPDATE revisions SET value = 0").await;
    tokio::time::timeout(Duration::from_secs(1), reloads.changed()).await.unwrap().unwrap();
    assert_eq!(ring.verify(&parse(&key), noon()).unwrap_err(), KeyRefusal::Unknown);
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_many_processes_take_turns() {
    let desk = Arc::new(Desk::new().await);
    desk.create(None).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let desk = Arc::clone(&desk);
        writers.spawn(async move {
            // Opening at once is part of the test: migrations must take turns too.
            let store = Store::open(&sqlite("gateway.db"), &desk.state).await.unwrap();
            let context = KeyContext { store: &store, state: &desk.state, roles: vec!["user"], now: noon() };
            for _ in 0..5 {
                let console = Console { out: &mut std::io::sink(), err: &mut std::io::sink() };
                run(&create("user", "w", None), &context, console).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    assert_eq!(desk.ring().await.len(), 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_of_two_processes_at_once() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let config = sqlite("gateway.db");
    let open = || async {
        let store = Store::open(&config, &state).await?;
        Ok::<_, Box<dyn std::error::Error>>(Pepper::open(&state, &store).await?)
    };
    let (a, b, c) = tokio::join!(open(), open(), open());
    let key = PresentedKey::generate().unwrap();
    let hashes = [a, b, c].map(|pepper| *pepper.unwrap().hash(&key).as_bytes());
    assert!(hashes[0] == hashes[1] && hashes[1] == hashes[2], "they use one pepper");
}

#[tokio::test]
async fn a_lost_or_foreign_pepper_is_never_replaced() {
    let desk = Desk::new().await;
    let key = desk.create(None).await;
    let path = desk.state.join("pepper");
    std::fs::remove_file(&path).unwrap();
    let error = Pepper::open(&desk.state, &desk.store).await.unwrap_err();
    assert!(matches!(error, PepperError::Missing { .. }), "{error}");
    assert!(!path.exists());
    // A key can be taken back all the same.
    desk.run_at(noon(), revoke(&id_of(&key))).await.result.unwrap();
    for (content, mode) in [(vec![7; 32], 0o600), (vec![7; 31], 0o600), (vec![7; 32], 0o644)] {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let error = Pepper::open(&desk.state, &desk.store).await.unwrap_err();
        assert!(!matches!(error, PepperError::Missing { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let desk = Desk::new().await;
    let row = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES (9000, 'from the future', TRUE, x'00', 0)";
    desk.alter(row).await;
    let error = Store::open(&sqlite("gateway.db"), &desk.state).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { version: 9000, .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_row_is_an_error_that_names_it() {
    let desk = Desk::new().await;
    desk.create(None).await;
    desk.alter("UPDATE api_keys SET name = 'a' || char(10) || 'b'").await;
    let pepper = Pepper::from_bytes(&[0; 32]);
    let error = KeyRing::load(pepper, &desk.store).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(_seed in any::<u64>()) {
        let key = PresentedKey::generate().unwrap();
        let again = PresentedKey::parse(key.reveal().expose()).unwrap();
        prop_assert_eq!(again.id(), key.id());
        let (first, second) = (key.reveal(), again.reveal());
        prop_assert_eq!(first.expose(), second.expose());
    }

    #[test]
    fn any_one_wrong_character_is_noticed(place in 0_usize..67, wrong in "[ -~]") {
        let text = PresentedKey::generate().unwrap().reveal().expose().to_owned();
        prop_assume!(place < text.len() && text[place..=place] != wrong);
        let tampered = format!("{}{wrong}{}", &text[..place], &text[place + 1..]);
        prop_assert!(PresentedKey::parse(&tampered).is_err(), "{}", tampered);
    }

    #[test]
    fn nothing_makes_the_parser_panic(text in "\\PC{0,80}") {
        prop_assert!(PresentedKey::parse(&text).is_err());
        let prefixed = format!("ogw_{text}");
        prop_assert!(PresentedKey::parse(&prefixed).is_err());
    }
}
