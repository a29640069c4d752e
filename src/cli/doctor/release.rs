//! Which Ollama runs, what is known to be wrong with it, and whether it talks to its maker's cloud.
//!
//! The table holds published advisories alone, with the first release that has the fix.

use super::{Finding, ask_ollama};
use crate::config::types::Upstream;
use serde_json::Value;

/// A published vulnerability that a later release mends.
struct Advisory {
    id: &'static str,
    /// Releases before it do not have the fault yet.
    since: Release,
    fixed: Release,
    what: &'static str,
}

const fn advisory(id: &'static str, fixed: (u32, u32, u32), what: &'static str) -> Advisory {
    Advisory { id, since: FIRST, fixed: Release { numbers: fixed, stage: Stage::Final }, what }
}

impl Advisory {
    const fn since(self, numbers: (u32, u32, u32)) -> Self {
        Self { since: Release { numbers, stage: Stage::Candidate }, ..self }
    }

    fn concerns(&self, release: Release) -> bool {
        self.since <= release && release < self.fixed
    }
}

const FIRST: Release = Release { numbers: (0, 0, 0), stage: Stage::Candidate };

const ADVISORIES: [Advisory; 13] = [
    advisory("CVE-2024-28224", (0, 1, 29), "DNS rebinding"),
    advisory("CVE-2024-37032", (0, 1, 34), "files written by a hostile registry"),
    advisory("CVE-2024-39721", (0, 1, 34), "a create that never ends"),
    advisory("CVE-2025-44779", (0, 1, 34), "files deleted by a pull"),
    advisory("CVE-2024-39720", (0, 1, 46), "reading past the end of a model file"),
    advisory("CVE-2024-39722", (0, 1, 46), "tells which files exist"),
    advisory("CVE-2024-45436", (0, 1, 47), "an archive that writes outside its folder"),
    advisory("CVE-2024-12886", (0, 4, 0), "memory exhausted by a hostile registry"),
    advisory("CVE-2025-15514", (0, 13, 6), "a damaged image ends the runner").since((0, 11, 5)),
    advisory("CVE-2025-51471", (0, 14, 3), "a token sent to another host"),
    advisory("CVE-2026-7482", (0, 17, 1), "memory of the server leaked through a model file"),
    advisory("CVE-2025-66959", (0, 31, 2), "a model file that ends the server"),
    advisory("CVE-2025-66960", (0, 31, 2), "a model file that ends the server"),
];

/// No release is known to mend these; what they need (pull, push, create, blobs) is refused to all but admins.
const UNFIXED: [&str; 5] = ["CVE-2025-63389", "CVE-2026-5530", "CVE-2026-7020", "CVE-2024-8063", "CVE-2024-12055"];

/// Whether a release is the final one of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Candidate,
    Final,
}

/// A release of Ollama; a candidate comes before the final one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Release {
    numbers: (u32, u32, u32),
    stage: Stage,
}

impl Release {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (numbers, stage) = match text.split_once(['-', '+']) {
            Some((numbers, _)) => (numbers, Stage::Candidate),
            None => (text, Stage::Final),
        };
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let numbers = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(Self { numbers, stage })
    }
}

/// Asks Ollama.
pub(super) async fn look(upstream: &Upstream) -> Vec<Finding> {
    let answer = match ask_ollama(upstream, "/api/version").await {
        Ok(answer) => answer,
        Err(error) => {
            let found = format!("{} does not answer: {error}", upstream.address);
            return vec![Finding::wrong("upstream", found, "start Ollama, or correct upstream.url")];
        }
    };
    let version =
        serde_json::from_str::<Value>(&answer.body).ok().and_then(|v| Some(v.get("version")?.as_str()?.to_owned()));
    let status = ask_ollama(upstream, "/api/status").await.ok();
    vec![release(version.as_deref()), cloud(status.map(|answer| (answer.status, answer.body)))]
}

fn release(version: Option<&str>) -> Finding {
    let Some((text, release)) = version.and_then(|text| Some((text, Release::parse(text)?))) else {
        let remedy = "look whether it is Ollama: curl http://127.0.0.1:11434/api/version";
        return Finding::unknown("version", "what answers does not tell a version of Ollama", remedy);
    };
    let open: Vec<_> = ADVISORIES.iter().filter(|advisory| advisory.concerns(release)).collect();
    let Some(newest) = open.iter().map(|advisory| advisory.fixed.numbers).max() else {
        let count = UNFIXED.len();
        return Finding::ok(
            "version",
            format!(
                "Ollama {text}: all published faults that a release mends are mended; {count} have no fix, and what they need is refused"
            ),
        );
    };
    let listed: Vec<_> = open.iter().map(|advisory| format!("{} ({})", advisory.id, advisory.what)).collect();
    let (major, minor, patch) = newest;
    let found = format!("Ollama {text} has known faults: {}", listed.join(", "));
    Finding::wrong("version", found, format!("update Ollama to {major}.{minor}.{patch} or later"))
}

/// `{"cloud":{"disabled":true,…}}`; a release without the route knows no cloud, or hides it.
fn cloud(status: Option<(u16, String)>) -> Finding {
    let disabled = |body: &str| serde_json::from_str::<Value>(body).ok()?.get("cloud")?.get("disabled")?.as_bool();
    match status.and_then(|(status, body)| (status == 200).then(|| disabled(&body))?) {
        Some(true) => Finding::ok("cloud", "Ollama's cloud is off"),
        Some(false) => Finding::wrong(
            "cloud",
            "Ollama's cloud is on: a model named …:cloud sends its prompt to another company's machines",
            "set OLLAMA_NO_CLOUD=1 for Ollama's service and restart it",
        ),
        None => Finding::unknown(
            "cloud",
            "this Ollama does not tell whether its cloud is on",
            "set OLLAMA_NO_CLOUD=1 for Ollama's service, and update Ollama",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn releases_are_in_order() {
        let parse = |text| Release::parse(text).unwrap();
        assert!(
            parse("0.17.1-rc0") < parse("0.17.1")
                && parse("0.9.9") < parse("0.17.0")
                && parse("v1.0.0") > parse("0.99.9")
        );
        for other in ["", "0.17", "0.17.1.2", "0.x.1", "latest"] {
            assert_eq!(Release::parse(other), None, "{other}");
        }
    }

    #[test]
    fn an_old_release_is_told_what_it_has_and_where_to_go() {
        let found = release(Some("0.17.0"));
        assert_eq!(found.verdict, Verdict::Wrong);
        assert!(found.found.contains("CVE-2026-7482") && !found.found.contains("CVE-2025-51471"), "{}", found.found);
        assert_eq!(found.remedy.as_deref(), Some("update Ollama to 0.31.2 or later"));
        assert!(!release(Some("0.9.0")).found.contains("CVE-2025-15514"), "it came later");
        assert!(release(Some("0.11.5-rc0")).found.contains("CVE-2025-15514"));
        assert_eq!(release(Some("0.31.2")).verdict, Verdict::Ok);
        assert_eq!(release(Some("weird")).verdict, Verdict::Unknown);
    }

    #[test]
    fn the_cloud_is_known_to_be_off_or_it_is_not() {
        let said = |body: &str| cloud(Some((200, body.to_owned()))).verdict;
        assert_eq!(said("{\"cloud\":{\"disabled\":true,\"source\":\"env\"}}"), Verdict::Ok);
        assert_eq!(said("{\"cloud\":{\"disabled\":false}}"), Verdict::Wrong);
        assert_eq!((said("{}"), cloud(Some((404, String::new()))).verdict), (Verdict::Unknown, Verdict::Unknown));
    }
}
