//! A backup that is made while the gateway serves, and the state folder that is gone afterwards.

use super::harness::{Gateway, Ollama, Reply, Request, Setup};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

async fn status(gateway: &Gateway, key: &str) -> u16 {
    gateway.send(Request::get("/api/tags").key(key)).await.status
}

/// A setup with a key, and a backup of it.
async fn backed_up() -> (Setup, String, String) {
    let setup = Setup::before_address(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
    let key = setup.key("user").await;
    let file = setup.file("backup.tar").display().to_string();
    let (code, _, stderr) = setup.run(&["backup", &file]).await;
    assert_eq!(code, 0, "{stderr}");
    (setup, key, file)
}

fn remove_state(setup: &Setup) {
    std::fs::remove_dir_all(setup.state()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_state_folder_comes_back_with_its_keys_and_its_certificate() {
    let ollama = Ollama::start().await;
    ollama.on("/api/tags", Reply::json(200, "{\"models\":[]}"));
    let mut gateway = Setup::before(&ollama).start().await;
    let (user, admin, trusted) = (gateway.user.clone(), gateway.admin.clone(), gateway.certificate());
    let (trusted, certificate) = (trusted.clone(), std::fs::read(&trusted).unwrap());
    gateway.revoke(&admin).await;
    let file = gateway.setup.file("backup.tar").display().to_string();
    let (code, _, stderr) = gateway.setup.run(&["backup", &file]).await;
    assert!(code == 0 && stderr.contains("wrote "), "{stderr}");
    assert_eq!(Path::new(&file).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(status(&gateway, &user).await, 200, "it serves on");
    assert!(
        std::fs::read_dir(gateway.setup.state())
            .unwrap()
            .all(|f| f.unwrap().path().extension() != Some("tmp".as_ref()))
    );
    gateway.stop().await;

    remove_state(&gateway.setup);
    let (code, _, stderr) = gateway.setup.run(&["restore", &file]).await;
    assert!(code == 0 && stderr.contains("2 keys, which open again"), "{stderr}");
    let gateway = gateway.start_again().await;
    assert_eq!(std::fs::read(&trusted).unwrap(), certificate, "clients trust it as before");
    assert_eq!((status(&gateway, &user).await, status(&gateway, &admin).await), (200, 401));
}

#[tokio::test]
async fn a_new_machine_gets_its_configuration_too() {
    let (setup, key, file) = backed_up().await;
    let text = std::fs::read_to_string(setup.config()).unwrap();
    remove_state(&setup);
    std::fs::remove_file(setup.config()).unwrap();
    let output = setup.command(&["restore", &file]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(setup.config()).unwrap(), text);
    let (_, keys, _) = setup.run(&["key", "list", "--json"]).await;
    assert!(keys.contains(key.split('_').nth(1).unwrap()), "{keys}");
}

#[tokio::test]
async fn what_is_there_is_never_overwritten() {
    let (setup, _, file) = backed_up().await;
    let before = std::fs::read(&file).unwrap();
    let (code, _, stderr) = setup.run(&["backup", &file]).await;
    assert!(code == 1 && stderr.contains("cannot write"), "{stderr}");
    assert_eq!(std::fs::read(&file).unwrap_or_default(), before, "the older backup is still there");
    let (code, _, stderr) = setup.run(&["restore", &file]).await;
    assert!(code == 1 && stderr.contains("is not empty"), "{stderr}");
    let inside = setup.state().join("backup.tar").display().to_string();
    let (code, _, stderr) = setup.run(&["backup", &inside]).await;
    assert!(code == 1 && stderr.contains("in the state folder"), "{stderr}");
}

/// Where the content of a file of the tar begins.
fn content_of(tar: &[u8], name: &str) -> usize {
    let at = tar.chunks(512).position(|block| block.starts_with(name.as_bytes()) && block.get(name.len()) == Some(&0));
    (at.unwrap() + 1) * 512
}

#[tokio::test]
async fn a_file_that_was_cut_or_altered_leaves_the_folder_empty() {
    let (setup, _, file) = backed_up().await;
    let whole = std::fs::read(&file).unwrap();
    remove_state(&setup);
    let pepper = content_of(&whole, "state/pepper");
    let mut altered = whole.clone();
    altered[pepper] ^= 1;
    let manifest = content_of(&whole, "manifest.json") - 512;
    let mut climbing = whole.clone();
    climbing[pepper - 512..pepper - 500].copy_from_slice(b"state/../xxx");
    refresh_checksum(&mut climbing[pepper - 512..pepper]);
    for (bytes, said) in [
        (altered, "state/pepper was altered"),
        (whole[..manifest].to_vec(), "has no manifest.json"),
        (b"not a tar at all".to_vec(), "is no whole backup"),
        (climbing, "state/../xxx is not in its manifest"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let (code, _, stderr) = setup.run(&["restore", &file]).await;
        assert!(code == 1 && stderr.contains(said), "{said}: {stderr}");
        assert!(std::fs::read_dir(setup.state()).is_ok_and(|mut f| f.next().is_none()) || !setup.state().exists());
    }
}

/// A tar header's checksum counts its own eight bytes as spaces.
fn refresh_checksum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
