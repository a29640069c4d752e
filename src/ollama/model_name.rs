//! Names of models, as Ollama reads them, and the patterns that a role allows.
//!
//! Guarantees: every spelling that Ollama takes for the same model (`tiny`, `TINY:latest`, `library/tiny`,
//! `https://registry.ollama.ai/library/tiny`, ` tiny:local`) becomes one [`ModelName`], so an allow-list is compared
//! with what Ollama will run; a name that Ollama would send to its cloud or to another registry is known as such.
//! Listings and calls ask the same [`permits`]. Answers `threats.md` §0.4 and `ollama-facts.md` (f) 12, 13.
//! Does not: know which models exist.
//! Source of the rules: Ollama's `types/model/name.go` and `internal/modelref/modelref.go`.

use crate::config::types::{Allowance, Role};
use std::borrow::Cow;

const DEFAULT_HOST: &str = "registry.ollama.ai";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// A model's name in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelName {
    canonical: String,
    host: Option<String>,
    source: Source,
}

/// Where Ollama would run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Local,
    Cloud,
}

/// Why a text is no model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAName;

impl ModelName {
    /// Reads a name as Ollama would.
    ///
    /// # Errors
    /// [`NotAName`]
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let text = text.trim();
        let (base, source) = split_source(text);
        if source.is_some() && split_source(&base).1.is_some() {
            return Err(NotAName); // `x:local:cloud` contradicts itself
        }
        let parts = Parts::read(&base).ok_or(NotAName)?;
        let source = source.unwrap_or(Source::Local);
        Ok(Self { canonical: parts.shortest(source, has_tag(&base)), host: parts.foreign_host(), source })
    }

    /// The spelling that is sent to Ollama.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Whether Ollama would send the prompt to its cloud.
    #[must_use]
    pub const fn is_cloud(&self) -> bool {
        matches!(self.source, Source::Cloud)
    }

    /// Whether it belongs to another registry than Ollama's own.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        self.host.is_some()
    }

    /// The other registry's host, with its port, in lower case.
    #[must_use]
    pub fn foreign_host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

/// Takes `:local`, `:cloud` or `-cloud` off, as Ollama's `parseSourceSuffix` does.
fn split_source(text: &str) -> (Cow<'_, str>, Option<Source>) {
    let Some((before, suffix)) = text.rsplit_once(':') else { return (text.into(), None) };
    let suffix = suffix.trim();
    if suffix.eq_ignore_ascii_case("cloud") {
        return (before.into(), Some(Source::Cloud));
    }
    if suffix.eq_ignore_ascii_case("local") {
        return (before.into(), Some(Source::Local));
    }
    match strip_suffix_fold(suffix, "-cloud") {
        Some(tag) if !suffix.contains('/') => (format!("{before}:{tag}").into(), Some(Source::Cloud)),
        Some(_) | None => (text.into(), None),
    }
}

fn strip_suffix_fold<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    let (head, tail) = text.split_at_checked(at)?;
    tail.eq_ignore_ascii_case(suffix).then_some(head)
}

/// Whether the last path segment has a tag; a colon of a host's port is none.
fn has_tag(text: &str) -> bool {
    text.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// The four parts of a name.
struct Parts<'a> {
    host: &'a str,
    namespace: &'a str,
    model: &'a str,
    tag: &'a str,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (rest, tag) = match text.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, tag),
            Some(_) | None => (text, DEFAULT_TAG),
        };
        let (rest, model) = split_last(rest);
        let (rest, namespace) = rest.map_or((None, DEFAULT_NAMESPACE), split_last);
        let host = match rest.map(|host| (host, host.split_once("://"))) {
            None | Some((_, Some((_, "")))) => DEFAULT_HOST,
            Some((_, Some((_, host))) | (host, None)) => host,
        };
        let well_formed =
            is_part(host, 350, ".:") && is_part(namespace, 80, "") && is_part(model, 80, ".") && is_part(tag, 80, ".");
        well_formed.then_some(Self { host, namespace, model, tag })
    }

    fn foreign_host(&self) -> Option<String> {
        (!self.host.eq_ignore_ascii_case(DEFAULT_HOST)).then(|| self.host.to_ascii_lowercase())
    }

    /// Ollama's `DisplayShortest`, in lower case, with the cloud mark put back.
    fn shortest(&self, source: Source, tagged: bool) -> String {
        let Self { host, namespace, model, tag } = *self;
        let (tag, cloud) = match (source, tagged) {
            (Source::Local, _) => (tag, ""),
            (Source::Cloud, true) => (tag, "-cloud"),
            (Source::Cloud, false) => ("", "cloud"),
        };
        let parts = [host, "/", namespace, "/", model, ":", tag, cloud];
        let said = if !host.eq_ignore_ascii_case(DEFAULT_HOST) {
            parts.as_slice()
        } else if namespace.eq_ignore_ascii_case(DEFAULT_NAMESPACE) {
            parts.split_at(4).1
        } else {
            parts.split_at(2).1
        };
        let mut name = said.concat();
        name.make_ascii_lowercase();
        name
    }
}

fn split_last(text: &str) -> (Option<&str>, &str) {
    text.rsplit_once('/').map_or((None, text), |(rest, last)| (Some(rest), last))
}

/// Ollama's `isValidPart`.
fn is_part(text: &str, longest: usize, also: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let may_stand = |byte: u8| word(byte) || byte == b'-' || also.as_bytes().contains(&byte);
    text.len() <= longest && text.bytes().next().is_some_and(word) && text.bytes().all(may_stand)
}

/// Which models a role may use: a canonical name, or one with `*` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPattern(String);

impl ModelPattern {
    /// Reads `llama3.2:*`, `qwen3:8b`, `team/*`, `*`. A pattern without a tag means `latest`, as everywhere.
    ///
    /// # Errors
    /// [`NotAName`]
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let text = text.trim().to_ascii_lowercase();
        if !text.contains('*') {
            return ModelName::parse(&text).map(|name| Self(name.canonical));
        }
        let rest = text.strip_prefix("registry.ollama.ai/").unwrap_or(&text);
        let rest = rest.strip_prefix("library/").unwrap_or(rest);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:/*".contains(c);
        if !rest.chars().all(allowed) || rest.starts_with(['/', ':', '.', '-']) || rest.ends_with(['/', ':']) {
            return Err(NotAName);
        }
        let tag = if has_tag(rest) || rest.ends_with('*') { "" } else { ":latest" };
        Ok(Self(format!("{rest}{tag}")))
    }

    /// The pattern in its one spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the canonical spelling fits; `*` stands for any characters.
    /// Cloud models and foreign registries need an allowance too: see [`permits`].
    #[must_use]
    pub fn matches(&self, name: &ModelName) -> bool {
        fits(&self.0, &name.canonical)
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, mut pattern)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    while let Some((piece, rest)) = pattern.split_once('*') {
        let Some((_, after)) = text.split_once(piece) else { return false };
        (pattern, text) = (rest, after);
    }
    text.ends_with(pattern)
}

/// Whether a role may run and see a model.
#[must_use]
pub fn permits(role: &Role, name: &ModelName) -> bool {
    let allows = |allowance: Allowance| role.allow.contains(&allowance);
    (!name.is_cloud() || allows(Allowance::Cloud))
        && (!name.is_foreign() || allows(Allowance::ForeignRegistries))
        && role.names(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Option<String> {
        ModelName::parse(text).ok().map(|name| name.canonical)
    }

    #[test]
    fn spellings_of_one_model_become_one_name() {
        for text in [
            "tiny",
            "TINY",
            "tiny:latest",
            "Tiny:LATEST",
            "library/tiny",
            "LIBRARY/tiny",
            " tiny",
            "tiny\n",
            "tiny:local",
            "registry.ollama.ai/library/tiny",
            "Registry.Ollama.AI/library/tiny:latest",
            "tiny:latest:local",
            "tiny:LOCAL",
            "https://registry.ollama.ai/library/tiny",
            "http://registry.ollama.ai/library/tiny:latest",
            "http:///library/tiny",
            "\u{a0}tiny\u{3000}",
        ] {
            assert_eq!(canonical(text).as_deref(), Some("tiny:latest"), "{text:?}");
        }
    }

    #[test]
    fn what_ollama_refuses_is_refused() {
        for text in [
            "",
            " ",
            "ollama://tiny",
            "tiny\t:latest",
            "tiny: latest",
            "./tiny",
            "../tiny",
            "tiny/../tiny",
            "/tiny",
            "tiny/",
            "tiny@sha256:00",
            "registry.ollama.ai//tiny",
            "tiny%00",
            "\u{ff54}iny",
            "t\u{131}ny",
            "ti ny",
            "tiny\0",
            ":x",
            "tiny:",
            "tiny:-cloud",
            "tiny:local:cloud",
            "tiny:cloud-cloud",
            "a/b/c/d/e",
            "-tiny",
            ".tiny",
            "a.b/tiny",
            "x:y:z",
        ] {
            assert_eq!(canonical(text), None, "{text:?}");
        }
        assert_eq!(canonical(&"a".repeat(81)), None);
        assert!(canonical(&"a".repeat(80)).is_some());
    }

    #[test]
    fn other_names_keep_their_parts() {
        assert_eq!(canonical("tiny.").as_deref(), Some("tiny.:latest"));
        assert_eq!(canonical("ollama/tiny").as_deref(), Some("ollama/tiny:latest"));
        assert_eq!(canonical("HF.co/a/B:Q4").as_deref(), Some("hf.co/a/b:q4"));
        let foreign = ModelName::parse("127.0.0.1:1/x/tiny").unwrap();
        assert_eq!((foreign.canonical(), foreign.foreign_host()), ("127.0.0.1:1/x/tiny:latest", Some("127.0.0.1:1")));
        assert!(foreign.is_foreign() && !foreign.is_cloud());
    }

    #[test]
    fn cloud_names_are_known_in_every_spelling() {
        for (text, expected) in [
            ("tiny:cloud", "tiny:cloud"),
            ("tiny:CLOUD ", "tiny:cloud"),
            ("x:7b-Cloud", "x:7b-cloud"),
            ("x: 7b-cloud", "x:7b-cloud"),
        ] {
            let name = ModelName::parse(text).unwrap();
            assert!(name.is_cloud(), "{text}");
            assert_eq!(name.canonical(), expected);
        }
        assert!(!ModelName::parse("tiny-cloud").unwrap().is_cloud());
    }

    #[test]
    fn patterns() {
        let matches =
            |pattern: &str, name: &str| ModelPattern::parse(pattern).unwrap().matches(&ModelName::parse(name).unwrap());
        assert!(matches("llama3.2:*", "LLAMA3.2:1b") && !matches("llama3.2:*", "llama3:1b"));
        assert!(matches("tiny", "tiny:latest") && !matches("tiny", "tiny:1b") && matches("library/t*y", "tiny"));
        assert!(matches("*", "a/b:c") && matches("a*b*c:*", "axbxc:1") && !matches("a*b*c:*", "axc:1"));
        assert!(!matches("*-x:*a", "y:a") && matches("team/*", "team/x:1"));
        assert!(ModelPattern::parse("").is_err() && ModelPattern::parse("a b*").is_err());
    }
}
