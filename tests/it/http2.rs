//! HTTP/2, frame by frame: heads that could be read two ways, floods, and what upstream must never see.

use crate::harness::frames::{
    CONTINUATION, END_STREAM, Frame, Frames, HEADERS, Met, PING, RST_STREAM, SETTINGS, block,
};
use crate::harness::{Gateway, Ollama, Request, Setup, clean, http2, routes};
use serde_json::json;

const BODY: &[u8] = br#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":false}"#;

type Head = Vec<(String, String)>;

/// Pseudo fields with another value, or without one.
type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

fn head_with(gateway: &Gateway, changes: Changes<'_>, more: &[(&str, &str)]) -> Head {
    let pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/api/chat")];
    let mut head: Head = Vec::new();
    for (name, value) in pseudo {
        match changes.iter().find(|(changed, _)| *changed == name) {
            Some((_, Some(value))) => head.push((name.to_owned(), (*value).to_owned())),
            Some((_, None)) => {}
            None => head.push((name.to_owned(), value.to_owned())),
        }
    }
    head.push(("authorization".to_owned(), format!("Bearer {}", gateway.user)));
    head.push(("content-type".to_owned(), "application/json".to_owned()));
    head.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    head
}

fn fields(head: &Head) -> Vec<(&str, &str)> {
    head.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

async fn ask(gateway: &Gateway, head: &Head, body: &[u8]) -> Met {
    let mut frames = Frames::connect(gateway).await;
    if body.is_empty() {
        frames.headers(1, END_STREAM, &fields(head)).await;
    } else {
        frames.headers(1, 0, &fields(head)).await;
        frames.data(1, END_STREAM, body).await;
    }
    frames.outcome(1).await
}

async fn ground() -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    (ollama, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_request_of_these_tests_is_a_good_one() {
    let (ollama, gateway) = ground().await;
    let met = ask(&gateway, &head_with(&gateway, &[], &[]), BODY).await;
    assert!(matches!(met, Met::Status(200, _)), "{met:?}");
    clean::assert_all_clean(&ollama, "plain");
    assert_eq!(ollama.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[rustfmt::skip]
async fn heads_that_could_be_read_two_ways_are_refused() {
    let (ollama, gateway) = ground().await;
    let pseudo: [(&str, Changes<'_>); 13] = [
        ("no authority and no host", &[(":authority", None)]),
        ("another authority", &[(":authority", Some("attacker.example"))]),
        ("a user in the authority", &[(":authority", Some("x@localhost"))]),
        ("an authority that is not the SNI", &[(":authority", Some("127.0.0.1"))]),
        ("scheme http", &[(":scheme", Some("http"))]),
        ("scheme ftp", &[(":scheme", Some("ftp"))]),
        ("path *", &[(":path", Some("*"))]),
        ("path without its slash", &[(":path", Some("api/chat"))]),
        ("path with a space", &[(":path", Some("/api/chat HTTP/1.1"))]),
        ("path with a line end", &[(":path", Some("/api/chat\r\nX: a"))]),
        ("an absolute path", &[(":path", Some("http://localhost/api/chat"))]),
        ("no path", &[(":path", None)]),
        ("no method", &[(":method", None)]),
    ];
    for (what, changes) in pseudo {
        let met = ask(&gateway, &head_with(&gateway, changes, &[]), BODY).await;
        assert!(met.refused(), "{what}: {met:?}");
    }
    let length = (BODY.len() + 1).to_string();
    let more: [(&str, &[(&str, &str)]); 20] = [
        ("transfer-encoding", &[("transfer-encoding", "chunked")]),
        ("connection", &[("connection", "close")]),
        ("upgrade", &[("upgrade", "h2c")]),
        ("proxy-connection", &[("proxy-connection", "keep-alive")]),
        ("te: gzip", &[("te", "gzip")]),
        ("another host", &[("host", "attacker.example")]),
        ("two hosts", &[("host", "localhost"), ("host", "localhost")]),
        ("a length that is too small", &[("content-length", "1")]),
        ("a length that is too large", &[("content-length", &length)]),
        ("two lengths", &[("content-length", "1"), ("content-length", "2")]),
        ("a length that is no number", &[("content-length", "x")]),
        ("a line end in a value", &[("x-a", "b\r\nhost: attacker.example")]),
        ("NUL in a value", &[("x-a", "b\0c")]),
        ("upper case in a name", &[("X-A", "b")]),
        ("a space in a name", &[("x a", "b")]),
        ("a colon in a name", &[("x:a", "b")]),
        ("a pseudo field after the others", &[(":path", "/api/delete")]),
        ("a status in a request", &[(":status", "200")]),
        ("an unknown pseudo field", &[(":x", "y")]),
        ("a second key", &[("x-api-key", "ogw_other")]),
    ];
    for (what, more) in more {
        let met = ask(&gateway, &head_with(&gateway, &[], more), BODY).await;
        assert!(met.refused(), "{what}: {met:?}");
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_matched_byte_for_byte_here_too() {
    let (ollama, gateway) = ground().await;
    for path in
        ["/api%2fchat", "//api/chat", "/api/tags/../chat", "/API/chat", "/api/chat/", "/api/chat;x", "/api/chat%00"]
    {
        let met = ask(&gateway, &head_with(&gateway, &[(":path", Some(path))], &[]), BODY).await;
        assert!(matches!(met, Met::Status(404, _)), "{path}: {met:?}");
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_makes_no_tunnel() {
    let (ollama, gateway) = ground().await;
    let ordinary = head_with(&gateway, &[(":method", Some("CONNECT")), (":scheme", None), (":path", None)], &[]);
    let extended = head_with(&gateway, &[(":method", Some("CONNECT"))], &[]);
    for head in [ordinary, extended] {
        let met = ask(&gateway, &head, b"").await;
        assert!(met.refused(), "{met:?}");
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_mean_nothing() {
    let (ollama, gateway) = ground().await;
    let mut head = head_with(&gateway, &[], &[]);
    let mut frames = Frames::connect(&gateway).await;
    frames.headers(1, 0, &fields(&head)).await;
    frames.data(1, 0, BODY).await;
    frames.headers(1, END_STREAM, &[("x-evil", "1"), ("content-length", "5")]).await;
    let met = frames.outcome(1).await;
    assert!(matches!(met, Met::Status(200, _)) || met.refused(), "{met:?}");
    let key = head.iter().position(|(name, _)| name == "authorization").unwrap();
    let (_, value) = head.remove(key);
    let mut frames = Frames::connect(&gateway).await;
    frames.headers(1, 0, &fields(&head)).await;
    frames.data(1, 0, BODY).await;
    frames.headers(1, END_STREAM, &[("authorization", &value)]).await;
    let met = frames.outcome(1).await;
    assert!(matches!(met, Met::Status(401, _)), "{met:?}");
    clean::assert_all_clean(&ollama, "trailers");
    assert!(ollama.count() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rapid_reset_ends_the_connection_and_starts_nothing_upstream() {
    let (ollama, gateway) = ground().await;
    let mut frames = Frames::connect(&gateway).await;
    let head = head_with(&gateway, &[], &[]);
    let mut taken = 0;
    for number in 0..20_000_u32 {
        let stream = number * 2 + 1;
        let headers = Frame { kind: HEADERS, flags: 4, stream, payload: block(&fields(&head)) };
        let reset = Frame { kind: RST_STREAM, flags: 0, stream, payload: vec![0, 0, 0, 8] };
        if !frames.try_write(headers).await || !frames.try_write(reset).await {
            break;
        }
        taken += 1;
    }
    assert!(taken < 20_000, "all resets were taken");
    ollama.assert_nothing_received();
    gateway.send(Request::get("/api/health")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_the_connection_in_bounded_memory() {
    let (ollama, gateway) = ground().await;
    let before = gateway.resident();
    let head = block(&fields(&head_with(&gateway, &[], &[])));
    let kinds: [(&str, Frame); 3] = [
        ("continuations", Frame { kind: CONTINUATION, flags: 0, stream: 1, payload: block(&[("x-a", "b")]) }),
        ("empty continuations", Frame { kind: CONTINUATION, flags: 0, stream: 1, payload: Vec::new() }),
        ("empty data", Frame { kind: 0, flags: 0, stream: 1, payload: Vec::new() }),
    ];
    for (what, frame) in kinds {
        let mut frames = Frames::connect(&gateway).await;
        let flags = if what == "empty data" { 4 } else { 0 };
        frames.write(Frame { kind: HEADERS, flags, stream: 1, payload: head.clone() }).await;
        let mut taken = 0;
        while taken < 200_000 && frames.try_write(frame.clone()).await {
            taken += 1;
        }
        assert!(taken < 200_000, "{what}: all were taken");
    }
    for kind in [PING, SETTINGS] {
        let mut frames = Frames::connect(&gateway).await;
        let payload = if kind == PING { vec![0; 8] } else { Vec::new() };
        let flood = async {
            for _ in 0..100_000 {
                if !frames.try_write(Frame { kind, flags: 0, stream: 0, payload: payload.clone() }).await {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(std::time::Duration::from_secs(5), flood).await);
    }
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB", grown >> 20);
    ollama.assert_nothing_received();
    gateway.send_h2(Request::get("/api/health")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_above_every_limit_are_refused() {
    let (ollama, gateway) = ground().await;
    let long = "a".repeat(12_000);
    let many: Vec<(String, String)> = (0..150).map(|n| (format!("x-{n}"), "a".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for more in [vec![("x-a", long.as_str()), ("x-b", long.as_str())], many] {
        let head = head_with(&gateway, &[], &more);
        let payload = block(&fields(&head));
        let mut frames = Frames::connect(&gateway).await;
        let (first, rest) = payload.split_at(payload.len().min(16_000));
        let last = if rest.is_empty() { 4 } else { 0 };
        frames.write(Frame { kind: HEADERS, flags: last | END_STREAM, stream: 1, payload: first.to_vec() }).await;
        if !rest.is_empty() {
            frames.write(Frame { kind: CONTINUATION, flags: 4, stream: 1, payload: rest.to_vec() }).await;
        }
        let met = frames.outcome(1).await;
        assert!(met.refused(), "{met:?}");
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_connection_are_bounded_and_independent() {
    let (ollama, gateway) = ground().await;
    ollama.on("/api/chat", crate::harness::Reply::silence());
    let mut client = http2::Client::connect(&gateway).await;
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    let request = Request::post("/api/chat", &body).key(&gateway.user);
    let mut open = Vec::new();
    for _ in 0..8 {
        let (response, mut send) = client.begin(&request, false).await;
        send.send_data(request.body.clone().into(), true).unwrap();
        open.push((response, send));
    }
    ollama.wait_for_whole(8).await;
    client.send(Request::get("/api/health")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_tls_is_not_spoken() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).with_http().start().await;
    let mut wire = crate::harness::Wire::cleartext(gateway.http()).await;
    wire.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
    let (bytes, _) = wire.read_to_end().await;
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 4"), "{bytes:?}");
}
