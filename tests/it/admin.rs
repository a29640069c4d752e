//! The admin listener: alive, ready, and nothing more to those outside.

use crate::harness::{Ollama, Request, Setup, Wire, routes};
use std::net::SocketAddr;

async fn get(address: SocketAddr, path: &str) -> u16 {
    Wire::cleartext(address).await.exchange(&Request::get(path)).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_whether_the_process_lives_and_whether_ollama_can_be_reached() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    assert!(gateway.admin_listener().ip().is_loopback());
    assert_eq!(get(gateway.admin_listener(), "/health").await, 200);
    assert_eq!(get(gateway.admin_listener(), "/ready").await, 200);
    assert_eq!(get(gateway.admin_listener(), "/api/tags").await, 404);
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = Setup::before_address(nobody).start().await;
    assert_eq!(get(gateway.admin_listener(), "/health").await, 200);
    assert_eq!(get(gateway.admin_listener(), "/ready").await, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_pages_are_not_on_the_public_listener() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).start().await;
    for path in ["/health", "/ready", "/metrics", "/console"] {
        gateway.send(Request::get(path).key(&gateway.admin)).await.expect(404);
    }
    ollama.assert_nothing_received();
}
