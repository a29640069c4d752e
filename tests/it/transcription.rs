//! Forms on their whole way: what of a client's form reaches Ollama, and who may send one at all.

use crate::harness::ollama::text;
use crate::harness::stream::Version;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup};

const PATH: &str = "/v1/audio/transcriptions";
const FORM: &str = "multipart/form-data; boundary=----WebKitFormBoundaryX";

async fn ground() -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    ollama.on(PATH, Reply::json(200, "{\"text\":\"hello, my secret\"}"));
    let setup = Setup::before(&ollama)
        .set("roles.user", "endpoints", "[\"v1-transcriptions\"]")
        .set("validation", "max_audio_bytes", "\"64 KiB\"")
        .set("validation", "max_body", "\"16 KiB\"")
        .set("validation", "max_message_chars", "1000")
        .set("validation", "blocked", "[\"secret\"]");
    let gateway = setup.start().await;
    (ollama, gateway)
}

fn part(head: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("------WebKitFormBoundaryX\r\nContent-Disposition: form-data; {head}\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

/// A form with an MP3 of so many bytes.
pub(crate) fn form(bytes: usize) -> Vec<u8> {
    let mut recording = b"ID3\x04\0\0\r\n--".to_vec();
    recording.resize(bytes, 0xff);
    let parts = [
        part("name=\"prompt\"", b"a secret order"),
        part("name=\"file\"; filename=\"../../etc/voice.m4a\"\r\nContent-Type: video/mp4", &recording),
        part("name=\"language\"", b"de"),
        part("name=\"model\"", b"TINY"),
    ];
    [&parts.concat()[..], b"------WebKitFormBoundaryX--\r\n"].concat()
}

fn request(body: Vec<u8>) -> Request {
    Request::new("POST", PATH).header("Content-Type", FORM).body(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_reaches_ollama_in_our_words_alone() {
    let (ollama, gateway) = ground().await;
    for version in Version::ALL {
        // Go would take a field of the query for one of the form.
        let request = Request { path: format!("{PATH}?model=big&prompt=order"), ..request(form(20_000)) };
        let answer = version.send(&gateway, request.key(&gateway.user)).await.expect(200);
        assert_eq!(answer.json()["text"], "hello, my [removed]");
        let received = ollama.received().pop().unwrap();
        assert_eq!((received.method(), received.path()), ("POST", PATH));
        let kind = received.head.one("content-type").unwrap().to_owned();
        let ours = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let body = text(&received.body);
        assert_eq!(body.matches(ours).count(), 5, "{body}");
        for word in
            ["name=\"model\"\r\n\r\ntiny:latest\r\n", "filename=\"audio.mp3\"", "\r\n\r\nde\r\n", "\r\n\r\njson\r\n"]
        {
            assert!(body.contains(word), "{word}: {body}");
        }
        for word in ["WebKit", "etc", "m4a", "mp4", "prompt", "order", "TINY"] {
            assert!(!body.contains(word) && !text(&received.raw_head).contains(word), "{word}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_form_of_this_route_never_leaves() {
    let (ollama, gateway) = ground().await;
    let json = Request::new("POST", PATH).header("Content-Type", "application/json").body("{\"model\":\"tiny\"}");
    let other = |kind: &str| Request::new("POST", PATH).header("Content-Type", kind).body(form(100));
    let nested = form(100).repeat(2);
    for (status, code, request) in [
        (415, "content_type_unsupported", json),
        (415, "content_type_unsupported", other("multipart/form-data")),
        (415, "content_type_unsupported", other("multipart/mixed; boundary=----WebKitFormBoundaryX")),
        (415, "content_encoding_unsupported", request(form(100)).header("Content-Encoding", "zstd")),
        (400, "form_invalid", request(nested)),
        (400, "form_invalid", request(b"{}".to_vec())),
        (400, "body_empty", request(Vec::new())),
        (413, "audio_too_large", request(form(65_537))),
        (413, "body_too_large", request(form(200_000))),
    ] {
        let answer = gateway.send(request.key(&gateway.user)).await.expect(status);
        assert_eq!(answer.code(), code);
    }
    gateway.send(request(form(100)).key(&gateway.admin)).await.expect(403);
    gateway.send(request(form(100))).await.expect(401);
    gateway.send(request(form(65_536)).key(&gateway.user)).await.expect(200);
    assert_eq!(ollama.count(), 1);
}
