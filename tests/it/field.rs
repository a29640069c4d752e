//! Where the recipes that people post fail (`field.md`, part E): each number has a test by name, and the rows that no
//! other topic covers are here.

use crate::harness::stream::Version;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, package_file, routes, sha256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Number of the row, and the tests that hold it.
const ROWS: [(u32, &[&str]); 28] = [
    (1, &["hostile::what_is_sent_upstream_holds_nothing_of_the_clients_head"]),
    (
        2,
        &[
            "hostile::what_is_sent_upstream_holds_nothing_of_the_clients_head",
            "cors::no_other_origin_may_read_anything",
        ],
    ),
    (3, &["cors::our_origin_may_read_every_answer_refusals_included", "field::a_stream_has_one_allowed_origin_too"]),
    (4, &["cors::a_preflight_needs_no_key_and_allows_what_the_official_clients_send"]),
    (5, &["cors::no_other_origin_may_read_anything", "cors::every_origin_with_credentials_does_not_start"]),
    (6, &["cors::our_origin_may_read_every_answer_refusals_included"]),
    (7, &["matrix::every_endpoint_times_every_caller"]),
    (8, &["field::the_role_that_is_there_unwritten_changes_and_sends_nothing"]),
    (9, &["streaming::each_frame_arrives_before_the_next_one_is_sent"]),
    (10, &["headers::a_client_that_likes_compression_gets_none", "field::a_stream_is_not_compressed"]),
    (11, &["field::connections_upstream_are_kept"]),
    (
        12,
        &[
            "streaming::a_first_byte_that_takes_long_is_waited_for_and_one_that_never_comes_is_not",
            "streaming::a_silent_upstream_is_given_up_after_the_idle_timeout",
        ],
    ),
    (14, &["field::a_large_image_passes", "field::a_body_too_large_is_refused_in_every_dialect"]),
    (
        15,
        &[
            "blobs::a_gibibyte_passes_in_constant_memory",
            "blobs::ollamas_verdict_on_the_digest_is_told",
            "blobs::who_may_not_upload_is_told_before_a_byte_of_it",
        ],
    ),
    (16, &["blobs::a_slow_upload_passes_and_a_trickle_beside_it_is_cut"]),
    (17, &["blobs::a_gibibyte_passes_in_constant_memory", "blobs::who_may_not_upload_is_told_before_a_byte_of_it"]),
    (19, &["field::a_key_is_in_no_file", "reload::a_rotated_key_works_for_its_overlap_beside_the_new_one"]),
    (20, &["hostile::what_is_sent_upstream_holds_nothing_of_the_clients_head"]),
    (21, &["hostile::what_is_sent_upstream_holds_nothing_of_the_clients_head"]),
    (22, &["leaving::a_client_that_leaves_ends_its_request_upstream_in_every_phase"]),
    (23, &["reload::reloads_do_not_cut_streams_and_apply_to_the_next_request"]),
    (
        24,
        &[
            "matrix::a_refusal_is_in_the_dialect_of_its_route_and_names_its_request",
            "errors::no_recorded_error_reaches_a_client",
        ],
    ),
    (25, &["headers::plain_http_redirects_reading_and_refuses_the_rest"]),
    (28, &["smuggling::every_case_gets_its_verdict_and_upstream_sees_no_more_than_it_may"]),
    (
        29,
        &[
            "smuggling::every_case_gets_its_verdict_and_upstream_sees_no_more_than_it_may",
            "http2::heads_that_could_be_read_two_ways_are_refused",
        ],
    ),
    (
        30,
        &[
            "smuggling::every_case_gets_its_verdict_and_upstream_sees_no_more_than_it_may",
            "http2::paths_are_matched_byte_for_byte_here_too",
        ],
    ),
    (31, &["smuggling::every_case_gets_its_verdict_and_upstream_sees_no_more_than_it_may"]),
    (34, &["streaming::a_missing_stream_field_means_what_it_means_to_the_dialect"]),
];

#[test]
fn every_row_has_a_test_that_is_there() {
    let wanted = (1..=12).chain(14..=17).chain(19..=25).chain(28..=31).chain([34]);
    assert!(ROWS.iter().map(|(number, _)| *number).eq(wanted), "a row is missing");
    for (number, tests) in ROWS {
        assert!(!tests.is_empty(), "row {number}");
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            let text = std::fs::read_to_string(package_file(&format!("tests/it/{file}.rs"))).unwrap();
            assert!(text.contains(&format!("fn {name}(")), "row {number}: there is no test {test}");
        }
    }
}

fn chat(gateway: &Gateway) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    Request::post("/api/chat", &body).key(&gateway.user)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_one_allowed_origin_too() {
    let ollama = routes::recorded().await;
    let with = "Access-Control-Allow-Origin: *\r\n";
    ollama.on(
        "/api/chat",
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n{with}Transfer-Encoding: chunked\r\n\r\n"
        ))
        .then_chunk("{\"model\":\"tiny\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true}\n")
        .then("0\r\n\r\n"),
    );
    let gateway = Setup::before(&ollama).set("cors", "origins", "[\"https://ours.example\"]").start().await;
    for version in Version::ALL {
        let answer = version.send(&gateway, chat(&gateway).header("Origin", "https://ours.example")).await.expect(200);
        assert_eq!(answer.all("access-control-allow-origin"), ["https://ours.example"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_is_there_unwritten_changes_and_sends_nothing() {
    use crate::harness::calls::Call;
    use ollama_gateway::ollama::endpoint::{Class, Endpoint};
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).unset("roles.user", "endpoints").unset("roles.user", "models");
    let gateway = setup.start().await;
    for endpoint in Endpoint::ALL {
        if matches!(endpoint.facts().class, Class::Management | Class::Egress | Class::Named) {
            let answer = gateway.send(Call::of(endpoint).request(Some(&gateway.user))).await.expect(403);
            assert!(endpoint == Endpoint::BlobHead || answer.json()["error"] != Value::Null, "{endpoint:?}");
        }
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_not_compressed() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    let answer = gateway.send(chat(&gateway).header("Accept-Encoding", "gzip, zstd")).await.expect(200);
    assert_eq!(answer.one("content-encoding"), None);
    assert_eq!(answer.text().lines().count(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_upstream_are_kept() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    let whole = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    for request in [chat(&gateway), Request::post("/api/chat", &whole).key(&gateway.user)] {
        let before = ollama.count();
        for _ in 0..12 {
            gateway.send(request.clone()).await.expect(200);
        }
        let used: HashSet<usize> = ollama.received()[before..].iter().map(|received| received.connection).collect();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(used.len() < 12, "{} connections for 12 requests one after the other: {body}", used.len());
    }
}

/// A picture as far as its head goes, and then so many bytes.
fn picture(bytes: usize) -> String {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend_from_slice(&[0, 0, 4, 0, 0, 0, 4, 0, 8, 2, 0, 0, 0, 0xf1, 0x2b, 0x40, 0xd4]);
    png.extend_from_slice(&u32::try_from(bytes).unwrap().to_be_bytes());
    png.extend_from_slice(b"IDAT");
    png.extend((0..bytes + 4).map(|i| u8::try_from(i % 251).unwrap()));
    STANDARD.encode(png)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_image_passes() {
    let ollama = Ollama::start().await;
    ollama.on("/api/chat", Reply::recording("chat_nostream"));
    let gateway = Setup::before(&ollama).start().await;
    let (small, large) = (picture(100), picture(15 << 20));
    for image in [&small, &large] {
        let message = json!({"role": "user", "content": "what is it?", "images": [image]});
        let body = json!({"model": "tiny", "messages": [message], "stream": false});
        gateway.send(Request::post("/api/chat", &body).key(&gateway.user)).await.expect(200);
    }
    let (first, second) = (ollama.wait_for_whole(1).await, ollama.wait_for_whole(2).await);
    // A large one is sent from where it was received, a small one is copied: Ollama sees no difference.
    let expected = String::from_utf8(first.body).unwrap().replace(&small, &large);
    assert_eq!((second.body_length, second.sha256), (expected.len() as u64, sha256(expected.as_bytes())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_is_refused_in_every_dialect() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama)
        .set("validation", "max_body", "\"64 KiB\"")
        .set("validation", "max_message_chars", "60000")
        .start()
        .await;
    let part = json!({"role": "user", "content": "a".repeat(50_000)});
    let body = json!({"model": "tiny", "max_tokens": 5, "messages": [part, part, part]});
    for path in ["/api/chat", "/v1/chat/completions", "/v1/messages"] {
        let answer = gateway.send(Request::post(path, &body).key(&gateway.user)).await.expect(413).json();
        let said = if path == "/api/chat" { &answer["error"] } else { &answer["error"]["message"] };
        assert!(said.is_string(), "{path}: {answer}");
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_in_no_file() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    gateway.send(chat(&gateway)).await.expect(200);
    let secret = gateway.user.rsplit('_').next().unwrap().to_owned();
    let mut looked = 0;
    let mut folders = vec![gateway.setup.state()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            looked += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a key is in {}", path.display());
        }
    }
    assert!(looked > 2, "{looked} files");
}
