//! Names of models: the gateway's parser beside the rules of Ollama's, in Go.

use super::compare::is_same_model;
use super::decoder::{Decoder, NameParts};
use super::dice::Dice;
use ollama_gateway::ollama::model_name::ModelName;

const PIECES: [&str; 34] = [
    "tiny",
    "TINY",
    "a",
    "x_y",
    "qwen3",
    "7b",
    "latest",
    "library",
    "registry.ollama.ai",
    "Registry.Ollama.AI",
    "127.0.0.1",
    "localhost",
    "hf.co",
    "cloud",
    "CLOUD",
    "local",
    "-cloud",
    "-Cloud",
    ":",
    ":",
    ":",
    "/",
    "/",
    "/",
    "://",
    "https://",
    "http://",
    "@",
    " ",
    "\u{a0}",
    ".",
    "-",
    "\u{212a}",
    "!MISSING!",
];

fn name(dice: &mut Dice) -> String {
    let mut name: String = (0..=dice.below(7)).map(|_| dice.pick(&PIECES)).collect();
    if dice.once_in(100) {
        name = format!("{name}{}", "n".repeat(70 + dice.below(20)));
    }
    name
}

#[test]
fn a_name_is_taken_apart_as_ollama_does() {
    let mut decoder = Decoder::start();
    let mut dice = Dice::new(super::seed());
    let names: Vec<String> = (0..super::wanted()).map(|_| name(&mut dice)).filter(|name| !name.is_empty()).collect();
    let mut accepted = 0;
    for names in names.chunks(super::BATCH) {
        let parsed: Vec<Option<ModelName>> = names.iter().map(|name| ModelName::parse(name).ok()).collect();
        let given: Vec<(&str, &[u8])> = names.iter().map(|name| ("name", name.as_bytes())).collect();
        let canonical =
            |name: &Option<ModelName>| name.as_ref().map_or("x".to_owned(), |name| name.canonical().to_owned());
        let canonical: Vec<String> = parsed.iter().map(canonical).collect();
        let sent: Vec<(&str, &[u8])> = canonical.iter().map(|name| ("name", name.as_bytes())).collect();
        let (given, sent) = (decoder.read(&given), decoder.read(&sent));
        for (((name, parsed), given), sent) in names.iter().zip(&parsed).zip(given).zip(sent) {
            let (given, sent) = (given.name.unwrap(), sent.name.unwrap());
            accepted += usize::from(parsed.is_some());
            check(name, parsed.as_ref(), &given, &sent);
        }
    }
    assert!(accepted * 10 > names.len(), "{accepted} of {} names are names", names.len());
}

fn check(text: &str, parsed: Option<&ModelName>, given: &NameParts, sent: &NameParts) {
    let Some(name) = parsed else {
        assert!(!given.valid, "{text:?} is a name for Ollama: {given:?}");
        return;
    };
    assert!(is_same_model(given, sent), "{text:?} is {given:?}, {} is {sent:?}", name.canonical());
    assert_eq!(name.is_cloud(), given.source == "cloud", "{text:?}");
    assert_eq!(name.is_foreign(), given.foreign, "{text:?}");
}
