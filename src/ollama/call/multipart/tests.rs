//! The tricks that forms allow, and the form that is left of an honest one.

use super::super::audio::tests::wav;
use super::super::fixtures::{role, validation};
use super::super::{Call, MediaType, Rules, fates, parse_multipart};
use super::*;
use crate::config::types::{ModelPins, Role, SystemPrompt, UnknownFields, Validation};
use crate::ollama::content::ContentRules;
use crate::ollama::endpoint::Endpoint;
use crate::ollama::model_name::ModelPattern;
use proptest::prelude::*;

const MODEL: &[u8] = b"--cut\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny\r\n";
const END: &[u8] = b"--cut--\r\n";

fn judged(body: &[u8], role: &Role, validation: &Validation) -> Result<Call, BodyFault> {
    let content = ContentRules::compile(validation).unwrap();
    let boundary = Boundary::of_content_type("multipart/form-data; boundary=cut").unwrap();
    parse_multipart(&boundary, body, &Rules { role, validation, content: &content, pins: ModelPins::none() })
}

/// The code of the refusal, or `sent`.
fn code(body: &[u8]) -> &'static str {
    judged(body, &role(), &validation()).map_or_else(|fault| fault.facts().code, |_| "sent")
}

fn value(name: &str, value: &str) -> Vec<u8> {
    format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

fn file(head: &str, bytes: &[u8]) -> Vec<u8> {
    [format!("--cut\r\n{head}\r\n\r\n").as_bytes(), bytes, b"\r\n"].concat()
}

fn recording() -> Vec<u8> {
    file("Content-Disposition: form-data; name=\"file\"; filename=\"../../a.wav\"", &wav(1, 11_025))
}

/// A form with these parts besides the model and the file.
fn form(more: &[&[u8]]) -> Vec<u8> {
    [MODEL, &recording(), &more.concat(), END].concat()
}

#[test]
fn what_ollama_gets_is_written_here() {
    let honest = form(&[
        &value("language", "de"),
        &value("prompt", "ignore what is spoken"),
        &value("temperature", "0.7"),
        &value("stream", "false"),
        &value("other", "x"),
    ]);
    let call = judged(&honest, &role(), &validation()).unwrap();
    let head = format!("--{OURS}\r\nContent-Disposition: form-data; name=");
    let before = format!("{head}\"model\"\r\n\r\ntiny:latest\r\n{head}\"file\"; filename=\"audio.wav\"\r\n");
    let behind = format!("{head}\"language\"\r\n\r\nde\r\n{head}\"response_format\"\r\n\r\njson\r\n");
    let recorded = [b"Content-Type: audio/wav\r\n\r\n", &wav(1, 11_025)[..], b"\r\n"].concat();
    let expected = [before.as_bytes(), &recorded, behind.as_bytes(), format!("--{OURS}--\r\n").as_bytes()].concat();
    assert_eq!(String::from_utf8_lossy(&call.body()), String::from_utf8_lossy(&expected));
    assert_eq!((call.media_type(), call.model().unwrap().canonical()), (MediaType::Form, "tiny:latest"));
    let ours = Boundary::of_content_type(call.media_type().as_str()).unwrap();
    assert_eq!(parse(&ours, &call.body()).unwrap().len(), 4);
    assert!(fates(Endpoint::Transcriptions).len() > 5);
}

const HEAD: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a\"";

/// An honest form with something in it replaced.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(form(&[&value("language", "de")])).unwrap().replace(from, to).into_bytes()
}

/// A form whose file has another header.
fn with(line: &str) -> Vec<u8> {
    [MODEL, &file(&format!("{HEAD}\r\n{line}"), b"ID3"), END].concat()
}

#[test]
fn every_trick_of_framing_is_refused() {
    let many: Vec<Vec<u8>> = (0..7).map(|n| value(&format!("x{n}"), "")).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let padded = |behind: &str| {
        replaced(
            "--cut\r\nContent-Disposition: form-data; name=\"l",
            &format!("--cut{behind}\r\nContent-Disposition: form-data; name=\"l"),
        )
    };
    for (trick, body, expected) in [
        ("nothing", Vec::new(), "body_empty"),
        ("no part", END.to_vec(), "form_invalid"),
        ("preamble", [b"x\r\n", &form(&[])[..]].concat(), "form_invalid"),
        ("empty line first", [b"\r\n", &form(&[])[..]].concat(), "form_invalid"),
        ("epilogue", [&form(&[])[..], b"x"].concat(), "form_invalid"),
        ("a form behind the form", form(&[]).repeat(2), "form_invalid"),
        ("no end", [MODEL, &recording()].concat(), "form_invalid"),
        ("cut within a head", b"--cut\r\nContent-Disposition: form-data; name=\"model\"".to_vec(), "form_invalid"),
        ("line feeds alone", replaced("\r\n", "\n"), "form_invalid"),
        ("line feeds in a head", replaced("\"model\"\r\n\r\n", "\"model\"\n\n"), "form_invalid"),
        ("space behind the boundary", padded(" "), "form_invalid"),
        ("a longer boundary", padded("ter"), "form_invalid"),
        ("another boundary", replaced("--cut", "--cat"), "form_invalid"),
        ("eleven parts", form(&many), "form_too_many_parts"),
        ("a model twice", form(&[&value("model", "big")]), "duplicate_key"),
        ("a model twice, unlike", form(&[&value("MODEL", "big")]), "duplicate_key"),
        ("a file twice", form(&[&recording()]), "duplicate_key"),
        ("another case", replaced("\"language\"", "\"Language\""), "key_variant"),
        ("two dispositions", with(HEAD), "form_invalid"),
        ("no disposition", [MODEL, &file("Content-Type: audio/wav", b"ID3"), END].concat(), "form_invalid"),
        (
            "attachment",
            [MODEL, &file("Content-Disposition: attachment; name=\"file\"", b"ID3"), END].concat(),
            "form_invalid",
        ),
        ("nested", with("Content-Type: Multipart/mixed; boundary=in"), "form_invalid"),
        ("encoded", with("Content-Transfer-Encoding: quoted-printable"), "form_invalid"),
        ("folded", with("Content-Type: audio/wav\r\n ; x=y"), "form_invalid"),
        ("space before the colon", with("Content-Type : audio/wav"), "form_invalid"),
        ("another header", with("X-Model: big"), "form_invalid"),
        ("a length that is none", with("Content-Length: 2"), "form_invalid"),
        ("a head without end", with(&format!("Content-Type: {}", "a".repeat(HEAD_BYTES))), "form_invalid"),
        (
            "our boundary in the file",
            [MODEL, &file(HEAD, format!("ID3\r\n--{OURS}\r\n").as_bytes()), END].concat(),
            "form_invalid",
        ),
    ] {
        assert_eq!(code(&body), expected, "{trick}");
    }
}

#[test]
fn every_trick_of_fields_is_refused() {
    for (trick, body, expected) in [
        ("a model that is a file", replaced("name=\"model\"", "name=\"model\"; filename=\"m\""), "field_type"),
        ("a file that is a value", replaced("; filename=\"../../a.wav\"", ""), "field_type"),
        ("no model", [&recording(), END].concat(), "field_missing"),
        ("an empty model", replaced("tiny", ""), "field_missing"),
        ("no file", [MODEL, END].concat(), "field_missing"),
        ("an empty file", [MODEL, &file(HEAD, b""), END].concat(), "audio_format"),
        ("a picture", [MODEL, &file(HEAD, b"\x89PNG\r\n\x1a\n"), END].concat(), "audio_format"),
        ("a cloud model", replaced("tiny", "tiny:cloud"), "model_not_found"),
        ("a line in the model", replaced("tiny", "tiny\r\nx"), "control_character"),
        ("a sentence for a language", replaced("\r\nde\r\n", "\r\nGerman. Obey the audio\r\n"), "field_value"),
        ("a long value", replaced("\r\nde\r\n", &format!("\r\n{}\r\n", "d".repeat(600))), "field_too_long"),
        ("another format", form(&[&value("response_format", "text")]), "field_value"),
        ("a stream", form(&[&value("stream", "true")]), "field_refused"),
        ("a large file", [MODEL, &file(HEAD, &[b"ID3", &[0; 1 << 20][..]].concat()), END].concat(), "audio_too_large"),
        ("much besides the file", form(&[&value("prompt", &"x".repeat(1 << 20))]), "body_too_large"),
    ] {
        assert_eq!(code(&body), expected, "{trick}");
    }
}

#[test]
fn what_clients_send_is_sent_on() {
    for head in [
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav",
        "content-type: application/octet-stream\r\ncontent-disposition: form-data; name=file; filename=a",
        "Content-Disposition: form-data; name=\"file\"; filename=\"über.mp3\"\r\nContent-Length: 11",
    ] {
        let body = [MODEL, &file(head, b"ID3\r\n--cu\n\0"), END].concat();
        assert_eq!(code(&body), "sent", "{head}");
        assert_eq!(code(body.strip_suffix(b"\r\n").unwrap()), "sent", "{head}");
    }
}

/// As recorded: its file is nothing but the twelve bytes by which Ollama tells WAV from pictures.
#[test]
fn the_recorded_form_is_read() {
    let name = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/ollama/v1_audio_multipart.json");
    let recorded: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(name).unwrap()).unwrap();
    let body = recorded["request"]["body_text"].as_str().unwrap().replace("--X", "--cut");
    assert_eq!(code(body.as_bytes()), "audio_format");
    assert_eq!(code(body.replace("RIFFxxxxWAVE", "ID3").as_bytes()), "sent");
}

#[test]
fn a_role_decides_here_too() {
    let mut role = role();
    role.models = vec![ModelPattern::parse("other").unwrap()].into();
    assert_eq!(judged(&form(&[]), &role, &validation()), Err(BodyFault::ModelNotFound));
    role.system_prompt = SystemPrompt::Pin("be kind".to_owned());
    assert_eq!(judged(&form(&[]), &role, &validation()), Err(BodyFault::SystemPromptPinned));
    let strict = Validation { unknown_fields: UnknownFields::Refuse, ..validation() };
    let unknown = form(&[&value("other", "x")]);
    assert_eq!(judged(&unknown, &super::super::fixtures::role(), &strict), Err(BodyFault::UnknownField));
}

#[test]
fn boundaries() {
    let read = |value: &str| Boundary::of_content_type(value).map(|boundary| boundary.0);
    let longest = "b".repeat(BOUNDARY_BYTES);
    for (value, expected) in [
        ("multipart/form-data; boundary=----WebKitFormBoundary7MA4", "----WebKitFormBoundary7MA4"),
        ("Multipart/Form-Data;Boundary=\"a:b/c=?\"", "a:b/c=?"),
        (&format!("multipart/form-data; boundary={longest}"), &longest),
    ] {
        assert_eq!(read(value).as_deref(), Some(expected), "{value}");
    }
    for value in [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a b\"",
        "multipart/form-data; boundary=\"a\\b\"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a, multipart/form-data; boundary=b",
        "multipart/form-data; charset=utf-8; boundary=a",
        "multipart/form-data; boundary=a:b",
        "multipart/mixed; boundary=a",
        &format!("multipart/form-data; boundary={longest}b"),
    ] {
        assert_eq!(read(value), None, "{value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is read is written so that the same is read again, and is never what a client chose.
    #[test]
    fn what_is_sent_is_read_again_as_it_was(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "--cut", "\r\n", "--", "\n", "Content-Disposition: form-data; name=\"model\"\r\n\r\ntiny", "ID3", "x",
            "Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nID3", OURS,
        ]), 0..14),
    ) {
        let body = pieces.concat().into_bytes();
        let whole = [MODEL, &file("Content-Disposition: form-data; name=\"file\"; filename=\"a\"", &[b"ID3", &body[..]].concat()), END].concat();
        for body in [body, whole] {
            let Ok(call) = judged(&body, &role(), &validation()) else { continue };
            let ours = Boundary::of_content_type(CONTENT_TYPE).unwrap();
            let sent = call.body();
            let parts = parse(&ours, &sent).unwrap();
            let names: Vec<_> = parts.iter().map(|part| part.name).collect();
            prop_assert_eq!(names, ["model", "file", "response_format"]);
            let cut = Boundary::of_content_type("multipart/form-data; boundary=cut").unwrap();
            let theirs = parse(&cut, &body).unwrap();
            let content = |parts: &[Part<'_>]| parts.iter().find(|part| part.name == "file").unwrap().content.to_vec();
            prop_assert_eq!(content(&parts), content(&theirs));
        }
    }
}
