//! Bodies: sizes, the least rate, plain JSON.

use super::exchange::Ask;
use super::flight::WAITED_FOR;
use super::ground::{Caller, Ground};
use super::rates::length;
use super::{Table, Verdict, passed, refused};
use crate::cli::CommandError;
use crate::config::types::UnknownFields;
use crate::ollama::endpoint::{Endpoint, Payload};
use crate::pipeline::admit;

/// Bodies above this are announced and not sent.
pub(super) const SENT: usize = 64 * 1024 * 1024;

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let takes_json = |e: &Endpoint| e.facts().payload == Payload::Json;
    // Rather one that takes messages, which most rules are about.
    let first = [Endpoint::Chat, Endpoint::ChatCompletions, Endpoint::Messages, Endpoint::Generate];
    let endpoints: Vec<_> = first.into_iter().chain(Endpoint::ALL.into_iter().filter(takes_json)).collect();
    let Some((caller, endpoint)) = ground.caller_of(&endpoints) else {
        rows.add("[validation]", Verdict::Left("no role may send a body of JSON".to_owned()));
        return Ok(());
    };
    announced(ground, (&caller, endpoint), rows).await?;
    max_body(ground, (&caller, endpoint), rows).await?;
    for (what, ask, codes) in malformed(ground, (&caller, endpoint)) {
        let seen = ground.stand().await?.ask(&ask).await;
        rows.add(what, refused(&seen, codes));
    }
    unknown_field(ground, (&caller, endpoint), rows).await?;
    least_rate(ground, (&caller, endpoint), rows).await
}

type By<'a> = (&'a Caller, Endpoint);

/// A length that is told and too large is refused before a byte of the body.
async fn announced(ground: &Ground, (caller, endpoint): By<'_>, rows: &mut Table) -> Result<(), CommandError> {
    let cap = admit::cap(endpoint, &ground.stated.validation);
    let ask = ground.call_with(endpoint, caller, "").with("content-length", cap.saturating_add(1).to_string());
    let seen = ground.stand().await?.ask(&ask).await;
    rows.add(format!("a body of {cap} bytes and one, announced"), refused(&seen, &["body_too_large"]));
    Ok(())
}

async fn max_body(ground: &Ground, (caller, endpoint): By<'_>, rows: &mut Table) -> Result<(), CommandError> {
    let most = ground.stated.validation.max_body;
    let what = format!("validation.max_body = {most}");
    if most > SENT {
        rows.add(what, Verdict::Left("not sent: too large".to_owned()));
        return Ok(());
    }
    let mut ask = ground.call(endpoint, caller);
    let spaces = most.saturating_add(1).saturating_sub(ask.body.len());
    ask.body.resize(ask.body.len().saturating_add(spaces), b' ');
    rows.add(what, refused(&ground.stand().await?.ask(&ask).await, &["body_too_large"]));
    Ok(())
}

fn malformed(ground: &Ground, (caller, endpoint): By<'_>) -> Vec<(&'static str, Ask, &'static [&'static str])> {
    let good = ground.call(endpoint, caller);
    let text = String::from_utf8_lossy(&good.body).into_owned();
    let inside = text.strip_prefix('{').unwrap_or(&text);
    let whole = |body: String| ground.call_with(endpoint, caller, body);
    let member = |member: &str| whole(format!("{{{member},{inside}"));
    let depth = ground.stated.validation.max_depth.saturating_add(1);
    let deep = format!("\"x\":{}1{}", "[".repeat(depth), "]".repeat(depth));
    vec![
        (
            "another content type",
            good.clone().without("content-type").with("content-type", "text/plain"),
            &["content_type_unsupported"],
        ),
        ("a compressed body", good.with("content-encoding", "gzip"), &["content_encoding_unsupported"]),
        ("no body", whole(String::new()), &["body_empty"]),
        ("no JSON", whole("{".to_owned()), &["invalid_json"]),
        ("something behind the JSON", whole(format!("{text}x")), &["trailing_data"]),
        ("no object", whole("[]".to_owned()), &["not_an_object"]),
        ("a byte order mark", whole(format!("\u{feff}{text}")), &["body_byte_order_mark"]),
        ("no UTF-8", ground.call_with(endpoint, caller, vec![b'{', b'"', 0xff, b'"']), &["body_not_utf8"]),
        ("half a surrogate pair", member("\"x\":\"\\ud800\""), &["lone_surrogate"]),
        ("a key twice", member("\"model\":\"a\""), &["duplicate_key"]),
        ("a key in another case", member("\"MODEL\":\"a\""), &["key_variant", "duplicate_key"]),
        ("a key that is not ASCII", member("\"m\u{f6}del\":\"a\""), &["key_not_ascii"]),
        ("a number that is too large", member("\"x\":1e999"), &["number_out_of_range"]),
        ("validation.max_depth", member(&deep), &["too_deep"]),
    ]
}

async fn unknown_field(ground: &Ground, (caller, endpoint): By<'_>, rows: &mut Table) -> Result<(), CommandError> {
    let text = String::from_utf8_lossy(&ground.call(endpoint, caller).body).into_owned();
    let ask = ground.call_with(endpoint, caller, text.replacen('{', "{\"a_probe\":\"a_probe\",", 1));
    let stand = ground.stand().await?;
    let seen = stand.ask(&ask).await;
    match ground.stated.validation.unknown_fields {
        UnknownFields::Refuse => rows.add("validation.unknown_fields = \"refuse\"", refused(&seen, &["unknown_field"])),
        UnknownFields::Drop => {
            let kept = memchr::memmem::find(&stand.upstream.last_body(), b"a_probe").is_some();
            let dropped = || Verdict::Fired("is not passed on".to_owned());
            let verdict = match passed(&seen) {
                Verdict::Fired(_) if kept => Verdict::Silent("Ollama gets the field".to_owned()),
                Verdict::Fired(_) => dropped(),
                other @ (Verdict::Silent(_) | Verdict::Left(_)) => other,
            };
            rows.add("validation.unknown_fields = \"drop\"", verdict);
        }
    }
    Ok(())
}

/// A body that stops.
async fn least_rate(ground: &Ground, (caller, endpoint): By<'_>, rows: &mut Table) -> Result<(), CommandError> {
    let grace = ground.stated.server.body_grace;
    let what = format!("server.body_grace = {}", length(grace));
    if grace > WAITED_FOR {
        rows.add(what, Verdict::Left("not waited for".to_owned()));
        return Ok(());
    }
    let ask = ground.call_with(endpoint, caller, "{").with("content-length", "10");
    rows.add(what, refused(&ground.stand().await?.ask(&ask).await, &["body_too_slow"]));
    Ok(())
}
