//! Streams that no honest Ollama sends, and streams of newer or older ones.

use proptest::prelude::*;

use super::*;
use crate::ollama::endpoint::Endpoint;

const MAX_FRAME: usize = 4096;

fn start(endpoint: Endpoint) -> StreamSanitiser {
    let (usage_chunk, context, request_id) = (UsageChunk::Hide, Context::Drop, "req-1".to_owned());
    StreamSanitiser::new(
        endpoint,
        StreamOptions { request_id, usage_chunk, context, max_frame: MAX_FRAME, rules: None },
    )
}

fn run(endpoint: Endpoint, body: &str, end: End) -> (String, Outcome) {
    let (mut sanitiser, mut out) = (start(endpoint), Vec::new());
    sanitiser.push(body.as_bytes(), &mut out);
    let outcome = sanitiser.finish(end, &mut out);
    (String::from_utf8(out).unwrap(), outcome)
}

/// A good frame and the end of each protocol.
const GOOD: [(Endpoint, &str, &str); 7] = [
    (
        Endpoint::Chat,
        "{\"model\":\"m\",\"created_at\":\"t\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n",
        "{\"model\":\"m\",\"created_at\":\"t\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true}\n",
    ),
    (
        Endpoint::Generate,
        "{\"model\":\"m\",\"created_at\":\"t\",\"response\":\"a\",\"done\":false}\n",
        "{\"model\":\"m\",\"created_at\":\"t\",\"response\":\"\",\"done\":true}\n",
    ),
    (Endpoint::Pull, "{\"status\":\"pulling manifest\"}\n", "{\"status\":\"success\"}\n"),
    (
        Endpoint::ChatCompletions,
        "data: {\"id\":\"i\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n",
        "data: [DONE]\n\n",
    ),
    (
        Endpoint::Completions,
        "data: {\"id\":\"i\",\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":null}]}\n\n",
        "data: [DONE]\n\n",
    ),
    (
        Endpoint::Responses,
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\",\"sequence_number\":1}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n",
    ),
    (
        Endpoint::Messages,
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"a\"}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
];

/// What must never come out, in every place where an error was ever put.
const HOSTILE: [&str; 16] = [
    r#"{"error":"SECRET"}"#,
    r#"{"error":{"message":"SECRET","type":"api_error"}}"#,
    r#"{"error":"{\"error\":{\"message\":\"SECRET\"}}"}"#,
    r#"{"error":["SECRET"]}"#,
    r#"{"error":"x","error":"SECRET"}"#,
    r#"{"type":"error","error":{"type":"api_error","message":"SECRET"}}"#,
    r#"{"type":"error","message":"SECRET"}"#,
    r#"{"type":"response.failed","response":{"error":{"message":"SECRET"}}}"#,
    r#"{"type":"response.completed","response":{"error":{"message":"SECRET"}}}"#,
    r#"{"model":"m","message":{"content":"SECRET"},"response":"SECRET","status":"s","done":true,"error":"SECRET"}"#,
    r#"{"model":"","choices":[{"index":0,"delta":{"content":"SECRET"},"text":"SECRET"}]}"#,
    r#"{"model":"m","choices":[],"SECRET":1}"#,
    r#"["SECRET"]"#,
    r#""SECRET""#,
    "SECRET",
    r#"{"SECRET":"#,
];

#[test]
fn nothing_hostile_comes_out_and_nothing_after_it() {
    for (endpoint, good, end) in GOOD {
        let sse = good.starts_with("data") || good.starts_with("event");
        for hostile in HOSTILE {
            let frames = if sse {
                [format!("data: {hostile}\n\n"), format!("event: error\ndata: {hostile}\n\n")]
            } else {
                [format!("{hostile}\n"), format!("  {hostile}\r\n")]
            };
            for frame in frames {
                let (out, outcome) = run(endpoint, &format!("{good}{frame}{good}LATER{end}"), End::Clean);
                assert!(!out.contains("SECRET") && !out.contains("LATER"), "{endpoint:?} {frame}: {out}");
                // An event of another protocol is of no known type here: it alone is left out.
                if endpoint == Endpoint::Messages && hostile.contains("response.") {
                    continue;
                }
                assert!(matches!(outcome, Outcome::Failed(_)), "{endpoint:?} {frame}: {outcome:?}");
                assert!(out.starts_with(good) && out.contains("req-1"), "{endpoint:?} {frame}: {out}");
            }
        }
    }
}

#[test]
fn nothing_passes_after_the_end() {
    for (endpoint, good, end) in GOOD {
        let (out, outcome) = run(endpoint, &format!("{good}{end}{good}"), End::Clean);
        assert_eq!((out, outcome), (format!("{good}{end}"), Outcome::Complete), "{endpoint:?}");
    }
}

#[test]
fn a_cut_or_a_deadline_is_an_error_in_every_protocol() {
    for (endpoint, good, _) in GOOD {
        for (end, fault) in [(End::Cut, UpstreamFault::Cut), (End::Timeout, UpstreamFault::Timeout)] {
            let (out, outcome) = run(endpoint, good, end);
            assert_eq!(outcome, Outcome::Failed(fault), "{endpoint:?}");
            assert!(out.starts_with(good) && out.contains(fault.facts().code), "{out}");
        }
        let (out, outcome) = run(endpoint, &format!("{good}{}", &good[..good.len() - 1]), End::Clean);
        assert_eq!(outcome, Outcome::Failed(UpstreamFault::Cut), "{endpoint:?}: half a frame");
        assert!(out.contains("upstream_cut"), "{out}");
    }
}

#[test]
fn a_frame_above_the_bound_ends_the_stream() {
    for (endpoint, good, _) in GOOD {
        let long = good
            .replace("\"a\"", &format!("\"{}\"", "a".repeat(MAX_FRAME)))
            .replace("manifest", &"m".repeat(MAX_FRAME));
        let (out, outcome) = run(endpoint, &format!("{good}{long}"), End::Clean);
        assert_eq!(outcome, Outcome::Failed(UpstreamFault::TooLong), "{endpoint:?}");
        assert!(out.starts_with(good) && out.len() < good.len() + 1000, "{out}");
    }
}

#[test]
fn other_line_ends_and_extra_fields_of_events_are_written_anew() {
    let (_, good, end) = GOOD[3];
    let odd = format!(": ping\r\n\r\nid: 1\r\nretry: 5\r\n{}{end}", good.replace('\n', "\r\n"));
    assert_eq!(run(Endpoint::ChatCompletions, &odd, End::Clean).0, format!("{good}{end}"));
    let lines = good.replace(",\"choices\"", ",\ndata:\"choices\"").replace(":null}", ": null}");
    assert_eq!(run(Endpoint::ChatCompletions, &format!("{lines}{end}"), End::Clean).0, format!("{good}{end}"));
    let (_, good, end) = GOOD[6];
    let unnamed = good.replace("event: content_block_delta\n", "");
    let unknown = "event: new\ndata: {\"type\":\"new\",\"x\":\"SECRET\"}\n\n";
    assert_eq!(run(Endpoint::Messages, &format!("{unnamed}{unknown}{end}"), End::Clean).0, format!("{good}{end}"));
}

#[test]
fn the_name_of_an_event_is_its_type() {
    let (_, good, _) = GOOD[6];
    let (out, outcome) =
        run(Endpoint::Messages, &good.replace("event: content_block_delta", "event: SECRET"), End::Clean);
    assert_eq!(outcome, Outcome::Failed(UpstreamFault::Invalid));
    assert!(!out.contains("SECRET"), "{out}");
}

#[test]
fn private_fields_leave_the_frame() {
    let line = "{\"model\":\"m\",\"created_at\":\"t\",\"response\":\"\",\"done\":true,\"context\":[1,2],\"remote_host\":\"h\"}\n";
    let (out, outcome) = run(Endpoint::Generate, line, End::Clean);
    assert_eq!(outcome, Outcome::Complete);
    assert_eq!(out, "{\"model\":\"m\",\"created_at\":\"t\",\"response\":\"\",\"done\":true}\n");
}

#[test]
fn the_gateway_itself_can_give_up() {
    let (mut sanitiser, mut out) = (start(Endpoint::Chat), Vec::new());
    sanitiser.push(GOOD[0].1.as_bytes(), &mut out);
    let facts = FaultFacts { status: 503, code: "shutting_down", text: "Shutting down", retry_after: None };
    sanitiser.fail_with(&facts, &mut out);
    sanitiser.fail(&UpstreamFault::Timeout, &mut out);
    assert_eq!(sanitiser.push(GOOD[0].1.as_bytes(), &mut out), Progress::Ended);
    assert_eq!(sanitiser.finish(End::Cut, &mut out), Outcome::GivenUp);
    let error = "{\"error\":\"Shutting down\",\"code\":\"shutting_down\",\"request_id\":\"req-1\"}\n";
    assert_eq!(String::from_utf8(out).unwrap(), format!("{}{error}", GOOD[0].1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any bytes, split anywhere: no panic, the same output, and always an end.
    #[test]
    fn any_bytes(
        row in 0..GOOD.len(),
        parts in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(2), any::<u8>()], 0..40),
        step in 1_usize..9,
    ) {
        let (endpoint, good, end) = GOOD[row];
        let mut body = Vec::new();
        for part in parts {
            match part {
                0 => body.extend_from_slice(good.as_bytes()),
                1 => body.extend_from_slice(&good.as_bytes()[..good.len() / 2]),
                2 => body.extend_from_slice(end.as_bytes()),
                byte => body.push(byte),
            }
        }
        let (mut whole, mut pieces) = ((start(endpoint), Vec::new()), (start(endpoint), Vec::new()));
        whole.0.push(&body, &mut whole.1);
        for piece in body.chunks(step) {
            pieces.0.push(piece, &mut pieces.1);
        }
        let outcome = whole.0.finish(End::Clean, &mut whole.1);
        prop_assert_eq!(outcome, pieces.0.finish(End::Clean, &mut pieces.1));
        prop_assert_eq!(&whole.1, &pieces.1);
        prop_assert!(std::str::from_utf8(&whole.1).is_ok() && whole.1.ends_with(b"\n"));
    }
}
