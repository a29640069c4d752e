//! `[validation]`: how long and how many: messages, images, tools, schemas, inputs, sounds.

use super::bodies::SENT;
use super::ground::{Caller, Ground};
use super::{Table, Verdict, refused, samples};
use crate::cli::CommandError;
use crate::ollama::endpoint::Endpoint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What takes so much to be reached is not sent.
const MANY: usize = 100_000;

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    if let Some(found) = ground.caller_of(&[Endpoint::Chat]) {
        lengths(ground, &found, rows).await?;
        images(ground, &found, rows).await?;
    }
    if let Some(found) = ground.caller_of(&[Endpoint::Embed]) {
        inputs(ground, &found, rows).await?;
    }
    if let Some(found) = ground.caller_of(&[Endpoint::Transcriptions]) {
        sounds(ground, &found, rows).await?;
    }
    Ok(())
}

type Found = (Caller, Endpoint);

/// Asks with these members in place of the sample's.
async fn ask(
    ground: &Ground,
    (caller, endpoint): &Found,
    (what, codes): (String, &[&str]),
    members: Option<Value>,
    rows: &mut Table,
) -> Result<(), CommandError> {
    let Some(members) = members else {
        rows.add(what, Verdict::Left("not sent: too large".to_owned()));
        return Ok(());
    };
    let sample = ground.call(*endpoint, caller);
    let mut body: Value = serde_json::from_slice(&sample.body).unwrap_or_default();
    if let (Some(body), Some(members)) = (body.as_object_mut(), members.as_object()) {
        body.extend(members.clone());
    }
    let seen = ground.stand().await?.ask(&sample.carrying(body.to_string())).await;
    rows.add(what, refused(&seen, codes));
    Ok(())
}

async fn lengths(ground: &Ground, found: &Found, rows: &mut Table) -> Result<(), CommandError> {
    let rules = &ground.stated.validation;
    let (word, one) = (samples::word(&ground.stated), |length: usize| length.saturating_add(1));
    let user = |text: &str| json!({"role": "user", "content": text});
    let empty = Some(json!({"messages": [user("  ")]}));
    ask(ground, found, ("an empty message".to_owned(), &["message_empty"]), empty, rows).await?;
    let text = (rules.max_message_chars < SENT).then(|| samples::filler(&ground.stated, one(rules.max_message_chars)));
    let long = text.flatten().map(|text| json!({"messages": [user(&text)]}));
    let what = format!("validation.max_message_chars = {}", rules.max_message_chars);
    ask(ground, found, (what, &["message_too_long"]), long, rows).await?;
    let many = (rules.max_messages < MANY).then(|| json!({"messages": vec![user(word); one(rules.max_messages)]}));
    let what = format!("validation.max_messages = {}", rules.max_messages);
    ask(ground, found, (what, &["too_many_messages"]), many, rows).await?;
    let tool =
        json!({"type": "function", "function": {"name": "a", "description": "a", "parameters": {"type": "object"}}});
    let tools = (rules.max_tools < MANY).then(|| json!({"tools": vec![tool; one(rules.max_tools)]}));
    let what = format!("validation.max_tools = {}", rules.max_tools);
    ask(ground, found, (what, &["too_many_tools"]), tools, rows).await?;
    let text = (rules.max_schema_bytes < SENT).then(|| samples::filler(&ground.stated, one(rules.max_schema_bytes)));
    let schema = text.flatten().map(|text| json!({"format": {"type": "object", "description": text}}));
    let what = format!("validation.max_schema_bytes = {}", rules.max_schema_bytes);
    ask(ground, found, (what, &["schema_too_large"]), schema, rows).await
}

async fn images(ground: &Ground, found: &Found, rows: &mut Table) -> Result<(), CommandError> {
    let rules = &ground.stated.validation;
    let word = samples::word(&ground.stated);
    let said = |images: Vec<String>| json!({"messages": [{"role": "user", "content": word, "images": images}]});
    let what = format!("validation.max_images = {}", rules.max_images);
    let count = rules.max_images.saturating_add(1);
    let many = (count < MANY).then(|| said(vec![png((1, 1), 0); count]));
    ask(ground, found, (what, &["too_many_images"]), many, rows).await?;
    if rules.max_images == 0 {
        return Ok(());
    }
    let text = said(vec![STANDARD.encode("GIF89a, or anything else")]);
    ask(ground, found, ("another kind of image".to_owned(), &["image_format"]), Some(text), rows).await?;
    let large = rules.max_images_bytes.saturating_add(1);
    let what = format!("validation.max_images_bytes = {}", rules.max_images_bytes);
    let image = (large < SENT / 2).then(|| said(vec![png((1, 1), large)]));
    ask(ground, found, (what, &["images_too_large"]), image, rows).await?;
    let side = rules.max_image_side;
    let what = format!("validation.max_image_side = {side}");
    let image = Some(said(vec![png((side.saturating_add(1), 1), 0)]));
    ask(ground, found, (what, &["image_dimensions"]), image, rows).await?;
    let what = format!("validation.max_image_pixels = {}", rules.max_image_pixels);
    let pixels = u64::from(side).saturating_mul(u64::from(side));
    if pixels <= rules.max_image_pixels {
        let text = format!("can never be exceeded: an image of max_image_side has at most {pixels}");
        rows.add(what, Verdict::Silent(text));
        return Ok(());
    }
    ask(ground, found, (what, &["image_dimensions"]), Some(said(vec![png((side, side), 0)])), rows).await
}

async fn inputs(ground: &Ground, found: &Found, rows: &mut Table) -> Result<(), CommandError> {
    let rules = &ground.stated.validation;
    let count = rules.max_embed_inputs.saturating_add(1);
    let many = (count < MANY).then(|| json!({"input": vec![samples::word(&ground.stated); count]}));
    let what = format!("validation.max_embed_inputs = {}", rules.max_embed_inputs);
    ask(ground, found, (what, &["too_many_inputs"]), many, rows).await?;
    let length = rules.max_embed_bytes.saturating_add(1);
    let text = (length < SENT).then(|| samples::filler(&ground.stated, length)).flatten();
    let what = format!("validation.max_embed_bytes = {}", rules.max_embed_bytes);
    ask(ground, found, (what, &["inputs_too_large"]), text.map(|text| json!({"input": text})), rows).await
}

async fn sounds(ground: &Ground, (caller, endpoint): &Found, rows: &mut Table) -> Result<(), CommandError> {
    let most = ground.stated.validation.max_audio_bytes;
    let what = format!("validation.max_audio_bytes = {most}");
    let Some(bytes) = u32::try_from(most).ok().filter(|_| most < SENT) else {
        rows.add(what, Verdict::Left("not sent: too large".to_owned()));
        return Ok(());
    };
    let form = samples::form(&caller.model, &samples::wav(bytes));
    let seen = ground.stand().await?.ask(&ground.call_with(*endpoint, caller, form)).await;
    rows.add(what, refused(&seen, &["audio_too_large"]));
    Ok(())
}

/// The header of a PNG of these sides, with zeros up to a length.
fn png((width, height): (u32, u32), length: usize) -> String {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend_from_slice(&width.to_be_bytes());
    png.extend_from_slice(&height.to_be_bytes());
    png.extend_from_slice(&[8, 2, 0, 0, 0]);
    png.resize(png.len().max(length), 0);
    STANDARD.encode(png)
}
