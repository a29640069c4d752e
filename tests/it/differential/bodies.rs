//! Bodies of every route that takes JSON: mostly what real clients send, in every dialect.

use super::dice::Dice;
use super::grammar::{Node, mutate, object, raw, spell, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ollama_gateway::ollama::endpoint::{Endpoint, Payload};

/// The routes whose body is JSON.
pub(crate) fn routes() -> Vec<Endpoint> {
    Endpoint::ALL.into_iter().filter(|endpoint| endpoint.facts().payload == Payload::Json).collect()
}

/// One body of a route.
pub(crate) fn body(endpoint: Endpoint, dice: &mut Dice) -> Vec<u8> {
    let mut tree = tree(endpoint, dice);
    let times = [0, 0, 0, 1, 1, 2, 3][dice.below(7)];
    (0..times).for_each(|_| mutate(&mut tree, dice));
    spell(&tree, dice)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest are the routes that manage models")]
fn tree(endpoint: Endpoint, dice: &mut Dice) -> Node {
    let members = match endpoint {
        Endpoint::Generate => generate(dice),
        Endpoint::Chat => chat(dice),
        Endpoint::Embed => embed(dice, &["truncate", "dimensions", "options", "keep_alive"]),
        Endpoint::V1Embeddings => embed(dice, &["dimensions", "encoding_format", "user"]),
        Endpoint::Embeddings => vec![("model", model(dice)), ("prompt", words(dice))],
        Endpoint::ChatCompletions => chat_completions(dice),
        Endpoint::Completions => completions(dice),
        Endpoint::Responses => responses(dice),
        Endpoint::Messages => messages(dice),
        Endpoint::Copy => vec![("source", model(dice)), ("destination", model(dice))],
        Endpoint::WebSearch => vec![("query", words(dice)), ("max_results", small(dice))],
        Endpoint::WebFetch => vec![("url", text(dice.pick(&["https://example.org/a", "file:///etc", "http://x y"])))],
        _ => managed(endpoint, dice),
    };
    object(members)
}

type Members = Vec<(&'static str, Node)>;

/// Adds some of the optional fields.
fn some(members: &mut Members, dice: &mut Dice, names: &[&'static str]) {
    for name in names {
        if dice.once_in(4) {
            let place = dice.below(members.len() + 1);
            let value = optional(name, dice);
            members.insert(place, (name, value));
        }
    }
}

fn optional(name: &str, dice: &mut Dice) -> Node {
    match name {
        "stream" | "raw" | "truncate" | "shift" | "_debug_render_only" | "logprobs" | "verbose" | "insecure" => {
            flag(dice)
        }
        "options" | "parameters" => options(dice),
        "system" | "suffix" | "template" | "instructions" | "password" => words(dice),
        "keep_alive" => raw(dice.pick(&["0", "-1", "\"10m\"", "\"-1s\"", "1e300", "300"])),
        "think" => raw(dice.pick(&["true", "false", "\"high\"", "\"max\"", "\"\"", "\"HIGH\""])),
        "format" => raw(dice.pick(&["\"json\"", "\"\"", SCHEMA])),
        "response_format" => raw(dice.pick(&["{\"type\":\"json_object\"}", "{\"type\":\"text\"}", RESPONSE_FORMAT])),
        "text" => raw(dice.pick(&["{\"format\":{\"type\":\"text\"}}", TEXT_FORMAT, "{}"])),
        "context" => raw(dice.pick(&["[1,2,3]", "[]", "[-1]", "[1.0]", "[1e9]"])),
        "top_logprobs" | "logprobs_count" | "dimensions" | "max_uses" => small(dice),
        "temperature" | "top_p" | "frequency_penalty" | "presence_penalty" => {
            raw(dice.pick(&["0", "0.7", "1", "1.0", "1e-1", "2", "-0.5", "0.123456789"]))
        }
        "top_k" | "seed" => raw(dice.pick(&["0", "42", "42.0", "-7", "9007199254740991", "1e3"])),
        "max_tokens" | "max_completion_tokens" | "max_output_tokens" => tokens(dice),
        "stop" | "stop_sequences" => raw(dice.pick(&["\"END\"", "[\"a\",\"b\"]", "[]", "[\"\\u0041\"]"])),
        "stream_options" => raw(dice.pick(&["{\"include_usage\":true}", "{\"include_usage\":false}", "{}"])),
        "reasoning" => raw(dice.pick(&["{\"effort\":\"low\"}", "{}", "{\"effort\":\"high\",\"summary\":\"auto\"}"])),
        "reasoning_effort" => raw(dice.pick(&["\"low\"", "\"none\"", "\"\"", "\"huge\""])),
        "thinking" => raw(dice.pick(&["{\"type\":\"enabled\",\"budget_tokens\":1024}", "{\"type\":\"disabled\"}"])),
        "output_config" => raw(dice.pick(&["{\"effort\":\"low\"}", "{}"])),
        "encoding_format" => raw(dice.pick(&["\"float\"", "\"base64\"", "\"\""])),
        "images" => Node::List((0..=dice.below(2)).map(|_| image(dice)).collect()),
        "tools" => Node::List((0..dice.below(3)).map(|_| tool(dice)).collect()),
        "name" | "from" => model(dice),
        "truncation" => text("auto"),
        "n" => raw("1"),
        _ => words(dice),
    }
}

pub(super) const SCHEMA: &str = r#"{"type":"object","properties":{"b":{"type":["string","null"],"enum":["x",null]},
    "a":{"type":"array","items":{"type":"integer","minimum":1}},"Type":{"type":"number"}},"required":["b"],
    "additionalProperties":false}"#;
const RESPONSE_FORMAT: &str = r#"{"type":"json_schema","json_schema":{"name":"x","strict":true,"schema":{"type":"object",
    "properties":{"z":{"type":"string"},"a":{"type":"number"}}}}}"#;
const TEXT_FORMAT: &str = r#"{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true}}"#;

fn flag(dice: &mut Dice) -> Node {
    raw(dice.pick(&["true", "false"]))
}

fn small(dice: &mut Dice) -> Node {
    raw(dice.pick(&["0", "1", "5", "20", "5.0", "1e1", "1000"]))
}

fn tokens(dice: &mut Dice) -> Node {
    raw(dice.pick(&["1", "100", "100.0", "2048", "2049", "1000000", "0", "-1", "-5", "1e3", "99999999999999999999"]))
}

/// Spellings of models that are allowed, and now and then of one that is not.
pub(crate) fn model(dice: &mut Dice) -> Node {
    const ALLOWED: [&str; 9] = [
        "tiny",
        "TINY",
        "tiny:latest",
        "library/tiny",
        "registry.ollama.ai/library/Tiny",
        " tiny\n",
        "allowed:7b",
        "tiny:local",
        "https://registry.ollama.ai/library/tiny",
    ];
    const OTHER: [&str; 8] = [
        "forbidden",
        "tiny:cloud",
        "allowed:7b-Cloud",
        "evil.example/x/tiny",
        "tiny\0",
        "t\u{131}ny",
        "tiny:local:cloud",
        "",
    ];
    if dice.once_in(12) { text(dice.pick(&OTHER)) } else { text(dice.pick(&ALLOWED)) }
}

pub(crate) fn words(dice: &mut Dice) -> Node {
    const WORDS: [&str; 22] = [
        "hello",
        "  padded\t",
        "zwölf Boxkämpfer",
        "日本語のテキスト",
        "\u{1f600} smile",
        "quote \" and \\ back",
        "line\nfeed",
        "<b>&amp;</b>",
        "\u{2028}sep\u{2029}",
        "ſ\u{212a}",
        "{\"model\":\"forbidden\"}",
        "\u{a0}nbsp\u{3000}",
        "a\u{0}b",
        "\u{feff}bom",
        "\\u0041",
        "x",
        // What is sent as it came, if it came spelled as we would.
        "\tlet a = \"\\\\n\";\r\n\tb(\"\\\"\")\n",
        "ends in \\n",
        "ends in \\\\\n",
        "\u{b}\u{c}\\u000b\u{b}\u{c}",
        "\\t\u{8}\u{1a}\u{1f}\u{7f}\\t",
        "\n\n\u{85}é\"\u{2003}\t",
    ];
    if dice.once_in(200) {
        return text(&"long ".repeat(dice.below(1200)));
    }
    if dice.once_in(40) { text("") } else { text(dice.pick(&WORDS)) }
}

/// The head of a PNG, which is all that is looked at.
fn png() -> Vec<u8> {
    [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x02\0\0\0\x02\x08\x06\0\0\0"[..], &[1, 2, 3, 4, 5, 6, 7]].concat()
}

fn base64_image(dice: &mut Dice) -> String {
    let mut encoded = STANDARD.encode(png());
    match dice.below(8) {
        0 => encoded.insert(12, '\n'),
        1 => encoded.insert_str(20, "\r\n"),
        2 => encoded = STANDARD.encode(b"GIF89a no image"),
        3 => encoded = encoded.trim_end_matches('=').to_owned(),
        _ => {}
    }
    encoded
}

fn image(dice: &mut Dice) -> Node {
    match dice.below(12) {
        0 => Node::List(png().iter().map(|byte| raw(&byte.to_string())).collect()),
        1 => text("http://169.254.169.254/x.png"),
        _ => text(&base64_image(dice)),
    }
}

fn data_url(dice: &mut Dice) -> String {
    let head =
        dice.pick(&["data:image/png;base64,", "data:image/png;base64,", "data:;base64,", "https://example.org/"]);
    format!("{head}{}", base64_image(dice))
}

fn options(dice: &mut Dice) -> Node {
    let mut members: Members = Vec::new();
    for name in ["temperature", "top_p", "seed", "stop", "top_k", "frequency_penalty"] {
        if dice.once_in(4) {
            members.push((name, optional(name, dice)));
        }
    }
    for name in ["num_ctx", "num_gpu", "num_batch", "num_thread", "use_mmap", "Num_Predict", "num_keep", "unknown"] {
        if dice.once_in(5) {
            members.push((name, small(dice)));
        }
    }
    if dice.once_in(2) {
        members.push(("num_predict", tokens(dice)));
    }
    object(members)
}

fn generate(dice: &mut Dice) -> Members {
    let mut members = vec![("model", model(dice)), ("prompt", words(dice))];
    some(&mut members, dice, &["stream", "options", "format", "think", "keep_alive", "system", "logprobs"]);
    if dice.once_in(4) {
        let rare = ["raw", "suffix", "template", "context", "_debug_render_only", "shift", "images", "top_logprobs"];
        some(&mut members, dice, &rare);
    }
    members
}

fn chat(dice: &mut Dice) -> Members {
    let turns = (0..=dice.below(3)).map(|_| native_message(dice)).collect();
    let mut members = vec![("model", model(dice)), ("messages", Node::List(turns))];
    some(&mut members, dice, &["stream", "options", "format", "think", "keep_alive", "tools", "truncate"]);
    if dice.once_in(4) {
        some(&mut members, dice, &["_debug_render_only", "shift", "logprobs", "top_logprobs"]);
    }
    members
}

fn role(dice: &mut Dice) -> Node {
    text(dice.pick(&["user", "user", "user", "assistant", "system", "USER", "System", "tool", "Developer"]))
}

fn native_message(dice: &mut Dice) -> Node {
    let mut members = vec![("role", role(dice)), ("content", words(dice))];
    if dice.once_in(6) {
        members.push(("images", optional("images", dice)));
    }
    if dice.once_in(6) {
        members.push(("tool_calls", raw(dice.pick(&NATIVE_CALLS))));
    }
    if dice.once_in(8) {
        members.push((dice.pick(&["thinking", "tool_name", "tool_call_id"]), words(dice)));
    }
    object(members)
}

const NATIVE_CALLS: [&str; 3] = [
    r#"[{"function":{"name":"f","arguments":{"z":1,"a":{"y":[1.5,null],"b":"\u00e9"},"A":2}}}]"#,
    r#"[{"id":"c1","type":"function","function":{"index":0,"name":"f","arguments":{}}}]"#,
    r#"[{"function":{"name":"f","arguments":{"a":1,"a":2}}}]"#,
];

const OPENAI_CALLS: [&str; 4] = [
    r#"[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"z\": 1, \"a\":{\"b\":\"\\u00e9\"}}"}}]"#,
    r#"[{"id":"c1","index":1,"type":"function","function":{"name":"f","arguments":"{}"}}]"#,
    r#"[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1,\"a\":2}"}}]"#,
    r#"[{"id":"c1","type":"function","function":{"name":"f","arguments":""}}]"#,
];

fn tool(dice: &mut Dice) -> Node {
    let function = object(vec![("name", text("f")), ("description", words(dice)), ("parameters", raw(SCHEMA))]);
    object(vec![("type", text("function")), ("function", function)])
}

fn embed(dice: &mut Dice, names: &[&'static str]) -> Members {
    let several = Node::List((0..dice.below(4)).map(|_| words(dice)).collect());
    let input = if dice.once_in(2) { several } else { words(dice) };
    let mut members = vec![("model", model(dice)), ("input", input)];
    some(&mut members, dice, names);
    members
}

fn sampling(members: &mut Members, dice: &mut Dice) {
    some(members, dice, &["stream", "temperature", "top_p", "max_tokens"]);
    some(members, dice, &["stop", "seed", "frequency_penalty", "stream_options", "max_completion_tokens", "n", "user"]);
}

fn completions(dice: &mut Dice) -> Members {
    let mut members = vec![("model", model(dice)), ("prompt", words(dice))];
    sampling(&mut members, dice);
    members
}

fn chat_completions(dice: &mut Dice) -> Members {
    let turns = (0..=dice.below(3)).map(|_| openai_message(dice)).collect();
    let mut members = vec![("model", model(dice)), ("messages", Node::List(turns))];
    sampling(&mut members, dice);
    some(
        &mut members,
        dice,
        &["tools", "response_format", "reasoning", "reasoning_effort", "logprobs", "top_logprobs"],
    );
    members
}

fn openai_message(dice: &mut Dice) -> Node {
    let url = data_url(dice);
    let content = match dice.below(5) {
        0 => {
            let part = object(vec![("type", text("text")), ("text", words(dice))]);
            let url = object(vec![("url", text(&url)), ("detail", text("low"))]);
            Node::List(vec![part, object(vec![("type", text("image_url")), ("image_url", url)])])
        }
        1 => Node::List((0..2).map(|_| object(vec![("type", text("text")), ("text", words(dice))])).collect()),
        _ => words(dice),
    };
    let mut members = vec![("role", role(dice)), ("content", content)];
    if dice.once_in(6) {
        members.push(("tool_calls", raw(dice.pick(&OPENAI_CALLS))));
    }
    if dice.once_in(8) {
        members.push((dice.pick(&["reasoning", "name", "tool_call_id", "refusal"]), words(dice)));
    }
    object(members)
}

fn responses(dice: &mut Dice) -> Members {
    let items = Node::List((0..=dice.below(3)).map(|_| response_item(dice)).collect());
    let input = if dice.once_in(3) { words(dice) } else { items };
    let mut members = vec![("model", model(dice)), ("input", input)];
    some(&mut members, dice, &["instructions", "max_output_tokens", "stream", "temperature", "top_p", "text"]);
    some(&mut members, dice, &["reasoning", "truncation", "user"]);
    if dice.once_in(5) {
        let tool = object(vec![("type", text("function")), ("name", text("f")), ("parameters", raw(SCHEMA))]);
        members.push(("tools", Node::List(vec![tool])));
    }
    members
}

fn response_item(dice: &mut Dice) -> Node {
    let url = data_url(dice);
    let content = match dice.below(4) {
        0 => {
            let part = object(vec![("type", text("input_text")), ("text", words(dice))]);
            Node::List(vec![part, object(vec![("type", text("input_image")), ("image_url", text(&url))])])
        }
        1 => Node::List(vec![object(vec![("type", text("output_text")), ("text", words(dice))])]),
        _ => words(dice),
    };
    match dice.below(8) {
        0 => raw(r#"{"type":"function_call","id":"i","call_id":"c","name":"f","arguments":"{\"b\":1,\"a\":[2]}"}"#),
        1 => object(vec![("type", text("function_call_output")), ("call_id", text("c")), ("output", content)]),
        2 => object(vec![("type", text("reasoning")), ("summary", raw("[]")), ("encrypted_content", words(dice))]),
        3 => object(vec![("type", text("message")), ("role", role(dice)), ("content", content)]),
        _ => object(vec![("role", role(dice)), ("content", content)]),
    }
}

fn messages(dice: &mut Dice) -> Members {
    let turns = (0..=dice.below(3)).map(|_| anthropic_message(dice)).collect();
    let mut members = vec![("model", model(dice)), ("max_tokens", tokens(dice)), ("messages", Node::List(turns))];
    some(&mut members, dice, &["stream", "system", "temperature", "top_p", "top_k", "stop_sequences", "thinking"]);
    some(&mut members, dice, &["output_config", "metadata_x"]);
    if dice.once_in(5) {
        let tool = object(vec![("name", text("f")), ("description", words(dice)), ("input_schema", raw(SCHEMA))]);
        members.push(("tools", Node::List(vec![tool])));
    }
    members
}

fn anthropic_message(dice: &mut Dice) -> Node {
    let said = object(vec![("type", text("text")), ("text", words(dice))]);
    let source = vec![("type", text("base64")), ("media_type", text("image/png")), ("data", text(&base64_image(dice)))];
    let content = match dice.below(7) {
        0 => Node::List(vec![said, object(vec![("type", text("image")), ("source", object(source))])]),
        1 => Node::List(vec![raw(r#"{"type":"tool_use","id":"t","name":"f","input":{"z":1,"a":{"y":null}}}"#)]),
        2 => Node::List(vec![raw(r#"{"type":"tool_result","tool_use_id":"t","content":" done "}"#), said]),
        3 => Node::List(vec![raw(r#"{"type":"thinking","thinking":"hm","signature":"s"}"#), said]),
        4 => {
            Node::List(vec![raw(r#"{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"x"}]}"#)])
        }
        _ => words(dice),
    };
    object(vec![("role", text(dice.pick(&["user", "user", "assistant", "USER"]))), ("content", content)])
}

fn managed(endpoint: Endpoint, dice: &mut Dice) -> Members {
    let key = if dice.once_in(4) { "name" } else { "model" };
    let mut members = vec![(key, model(dice))];
    some(&mut members, dice, &["stream", "verbose", "insecure", "password"]);
    if endpoint == Endpoint::Create {
        members.push(("from", model(dice)));
        some(&mut members, dice, &["system", "parameters", "template"]);
    }
    members
}
