//! `token revoke`: by user, by sign-in, by token; what it ends and what it leaves.

use crate::harness::Gateway;
use crate::sign_in::{PASSWORD, by_password, by_refresh, claims, issuing, opens, run, stops, text, typed, with_ana};

/// One sign-in of ana's.
struct SignedIn {
    access: String,
    refresh: String,
}

impl SignedIn {
    async fn of(gateway: &Gateway) -> Self {
        Self::from(&gateway.send(by_password("ana", PASSWORD)).await.expect(200))
    }

    fn from(answer: &crate::harness::client::Answer) -> Self {
        Self { access: text(answer, "access_token"), refresh: text(answer, "refresh_token") }
    }

    fn id(&self) -> String {
        claims(&self.access)["jti"].as_str().unwrap().to_owned()
    }

    fn family(&self) -> String {
        self.id().split_once('-').unwrap().0.to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_ends_and_nothing_else() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    let (first, second, third) =
        (SignedIn::of(&gateway).await, SignedIn::of(&gateway).await, SignedIn::of(&gateway).await);
    run(&gateway, &["token", "revoke", "--id", &first.family()]).await;
    stops(&gateway, &first.access).await;
    gateway.send(by_refresh(&first.refresh)).await.expect(400);

    let next = SignedIn::from(&gateway.send(by_refresh(&second.refresh)).await.expect(200));
    run(&gateway, &["token", "revoke", "--id", &next.id()]).await;
    stops(&gateway, &next.access).await;
    assert!(opens(&gateway, &second.access).await, "the other token of the sign-in");
    typed(&gateway, &["token", "revoke", "--stdin"], &second.access).await;
    stops(&gateway, &second.access).await;
    let next = SignedIn::from(&gateway.send(by_refresh(&next.refresh)).await.expect(200));
    typed(&gateway, &["token", "revoke", "--stdin"], &next.refresh).await;
    stops(&gateway, &next.access).await;
    gateway.send(by_refresh(&next.refresh)).await.expect(400);

    assert!(opens(&gateway, &third.access).await, "the other sign-in");
    run(&gateway, &["token", "revoke", "--user", "ana"]).await;
    stops(&gateway, &third.access).await;
    gateway.send(by_refresh(&third.refresh)).await.expect(400);
    assert!(opens(&gateway, &SignedIn::of(&gateway).await.access).await, "ana may sign in again");
    let log = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    for object in ["ana".to_owned(), first.family()] {
        let told = format!("\"action\":\"token revoke\",\"object\":\"{object}\",\"outcome\":\"completed\"");
        assert!(log.contains(&told), "{told} is not in the audit log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_is_said_and_a_token_is_not_repeated() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    let token = SignedIn::of(&gateway).await.access;
    for (arguments, expected) in [
        (["token", "revoke", "--id", "abc"], 1),
        (["token", "revoke", "--user", "nobody"], 1),
        (["token", "revoke", "--user", "NO NAME"], 2),
        (["token", "revoke", "--id", token.as_str()], 2),
    ] {
        let (code, out, err) = gateway.setup.run(&arguments).await;
        assert_eq!(code, expected, "{arguments:?}: {err}");
        assert!(out.is_empty() && !err.contains(&token), "{err}");
    }
    let log = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    assert!(log.contains("token revoke") && !log.contains(&token));
    assert!(opens(&gateway, &token).await);
}
