//! What is fuzzed: one function a target, which takes any bytes and panics where a guarantee is broken.
//!
//! They are here once. The fuzz targets of `fuzz/` include this file by its path, and `corpus.rs` runs them over the
//! corpora as ordinary tests. What is read of a connection is in files of its own, by their paths for the same reason.

#[path = "fuzz_entries/answers.rs"]
pub(crate) mod answers;
#[path = "fuzz_entries/connection.rs"]
mod connection;
#[path = "fuzz_entries/requests.rs"]
pub(crate) mod requests;
#[path = "fuzz_entries/second.rs"]
mod second;

use bytes::Bytes;
use ollama_gateway::config::types::{ModelPins, Role, Validation};
use ollama_gateway::config::{self, Environment};
use ollama_gateway::ollama::call::{self, Boundary, Call, MediaType, Rules};
use ollama_gateway::ollama::content::ContentRules;
use ollama_gateway::ollama::endpoint::Endpoint;
use ollama_gateway::ollama::fault::BodyFault;
use ollama_gateway::ollama::model_name::ModelName;
use ollama_gateway::ollama::response::{Context, End, Progress, StreamOptions, StreamSanitiser, UsageChunk};
use ollama_gateway::ollama::strict_json::{Writer, parse};
use std::sync::{Arc, LazyLock};

/// What is read is written so that it is read again as the same.
pub(crate) fn strict_json(data: &[u8]) {
    const DEPTH: usize = 64;
    let Ok(tree) = parse(data, DEPTH) else { return };
    let mut writer = Writer::default();
    writer.value(&tree);
    let written = writer.into_bytes();
    let again = parse(&written, DEPTH).expect("what was written is refused");
    assert_eq!(tree, again, "what was written is read as something else");
    let mut writer = Writer::default();
    writer.value(&again);
    assert_eq!(written, writer.into_bytes(), "it is written in two ways");
}

/// The routes, by the letter that a body of the corpus begins with: `a` is the first. The order is fixed, so that files
/// keep their meaning.
pub(crate) const ROUTES: [Endpoint; 17] = [
    Endpoint::Chat,
    Endpoint::Generate,
    Endpoint::Embed,
    Endpoint::Embeddings,
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::V1Embeddings,
    Endpoint::Responses,
    Endpoint::Messages,
    Endpoint::Show,
    Endpoint::Delete,
    Endpoint::Copy,
    Endpoint::Pull,
    Endpoint::Push,
    Endpoint::Create,
    Endpoint::WebSearch,
    Endpoint::WebFetch,
];

/// A policy that bodies are judged by.
struct Judge {
    role: Arc<Role>,
    validation: Validation,
    content: ContentRules,
}

impl Judge {
    fn parse(&self, endpoint: Endpoint, body: &[u8]) -> Result<Call, BodyFault> {
        call::parse(
            endpoint,
            &Bytes::copy_from_slice(body),
            &Rules { role: &self.role, validation: &self.validation, content: &self.content, pins: ModelPins::none() },
        )
    }
}

/// By the case of the letter: a control character, a digit, an upper-case or a lower-case one.
static JUDGES: LazyLock<[Judge; 4]> = LazyLock::new(|| {
    const POLICY: &str = r#"
        [server]
        names = ["ai.example.org"]
        [validation]
        blocked = ["forbidden word"]
        [roles.lower]
        endpoints = ["inference"]
        models = ["*"]
        [roles.upper]
        endpoints = ["inference"]
        models = ["*"]
        allow = ["template", "raw", "suffix", "context", "debug-render", "web-search", "cloud", "foreign-registries",
                 "schema-pattern"]
        registries = ["evil.example"]
        [roles.upper.options]
        num_ctx = { max = 8192 }
        keep_alive = "default"
        [roles.digit]
        endpoints = ["inference"]
        models = ["tiny:*"]
        system_prompt = { pin = "Only talk about trains." }
        [roles.control]
        endpoints = ["inference"]
        models = ["tiny:*"]
        system_prompt = "deny"
    "#;
    let config = config::parse("gateway.toml", POLICY, &Environment::default()).expect("the policy is valid");
    ["control", "digit", "upper", "lower"].map(|name| Judge {
        role: Arc::clone(config.roles.get(name).expect("the role is there")),
        validation: config.validation.clone(),
        content: ContentRules::compile(&config.validation).expect("the rules compile"),
    })
});

/// The first byte chooses the route and the policy. What is let through can be read in one way, names an allowed model
/// by its one spelling, and is let through again as it is.
pub(crate) fn call(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let letter = usize::from(first & 31).saturating_sub(1);
    let (endpoint, judge) = (ROUTES[letter % ROUTES.len()], &JUDGES[usize::from(first >> 5) % JUDGES.len()]);
    let Ok(call) = judge.parse(endpoint, body) else { return };
    parse(&call.body(), 128).expect("what is sent can be read in two ways");
    if let Some(model) = call.model() {
        let again = ModelName::parse(model.canonical()).expect("the model's spelling is no name");
        assert_eq!(&again, model, "the model's spelling is another model");
    }
    let again = judge.parse(endpoint, &call.body()).expect("what is sent would be refused");
    assert_eq!(text(&call.body()), text(&again.body()), "what is sent would be changed");
    assert_eq!((call.max_tokens(), call.shape()), (again.max_tokens(), again.shape()));
}

/// The first byte chooses the policy; the rest is a form with the boundary `cut`. What is let through is a form of ours
/// that is let through again as it is, and its model is allowed and spelled in one way.
pub(crate) fn multipart(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    let judge = &JUDGES[usize::from(first >> 5) % JUDGES.len()];
    let rules =
        Rules { role: &judge.role, validation: &judge.validation, content: &judge.content, pins: ModelPins::none() };
    let read = |content_type: &str, body: &[u8]| {
        let boundary = Boundary::of_content_type(content_type).expect("the boundary is one");
        call::parse_multipart(&boundary, body, &rules)
    };
    let Ok(call) = read("multipart/form-data; boundary=cut", body) else { return };
    assert_eq!(call.media_type(), MediaType::Form);
    let model = call.model().expect("a form without a model is sent");
    assert_eq!(ModelName::parse(model.canonical()).as_ref(), Ok(model), "the model's spelling is another model");
    let again = read(call.media_type().as_str(), &call.body()).expect("what is sent would be refused");
    assert!(call.body() == again.body(), "what is sent would be changed");
}

fn text(body: &[u8]) -> &str {
    std::str::from_utf8(body).expect("what is sent is no text")
}

/// The streams, by the first letter.
const STREAMS: [Endpoint; 8] = [
    Endpoint::Chat,
    Endpoint::Generate,
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::Messages,
    Endpoint::Pull,
    Endpoint::Create,
];

/// The first byte chooses the route, the second how the rest is cut into chunks. What comes out does not depend on the
/// cuts, is text, and holds none of what is private.
pub(crate) fn frames(data: &[u8]) {
    let [first, cut, stream @ ..] = data else { return };
    let endpoint = STREAMS[usize::from(first & 31).saturating_sub(1) % STREAMS.len()];
    let usage = if first & 32 == 0 { UsageChunk::Hide } else { UsageChunk::Show };
    let whole = sanitised(endpoint, usage, stream, stream.len());
    let pieces = sanitised(endpoint, usage, stream, usize::from(*cut) + 1);
    assert_eq!(text(&whole), text(&pieces), "{endpoint:?}: the cuts make a difference");
    for private in ["\"remote_host\"", "\"_debug_info\""] {
        let top_level = |line: &str| line.starts_with(&format!("{{{private}"));
        assert!(!text(&whole).lines().any(top_level), "{private} got out");
    }
}

fn sanitised(endpoint: Endpoint, usage_chunk: UsageChunk, stream: &[u8], cut: usize) -> Vec<u8> {
    let options = StreamOptions {
        request_id: "id".to_owned(),
        usage_chunk,
        context: Context::Drop,
        max_frame: 1 << 16,
        rules: None,
    };
    let mut sanitiser = StreamSanitiser::new(endpoint, options);
    let mut out = Vec::new();
    let mut ended = false;
    for chunk in stream.chunks(cut.max(1)) {
        let before = out.len();
        let progress = sanitiser.push(chunk, &mut out);
        assert!(!ended || out.len() == before, "{endpoint:?}: something follows the end");
        ended = progress != Progress::Continue;
    }
    sanitiser.finish(End::Clean, &mut out);
    out
}

/// A name has one spelling, which is a fixed point.
pub(crate) fn model_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(name) = ModelName::parse(text) else { return };
    let again = ModelName::parse(name.canonical()).expect("the spelling is no name");
    assert_eq!(name, again, "the spelling is another name");
    assert_eq!(name.is_foreign(), name.foreign_host().is_some());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.:/".contains(c);
    assert!(name.canonical().chars().all(plain), "{:?}", name.canonical());
}
