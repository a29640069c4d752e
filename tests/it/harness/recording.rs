//! The exchanges recorded from real Ollama servers, as data: `tests/cases/ollama/NAME.json`.

use super::package_file;
use serde::Deserialize;

/// One recorded answer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Recording {
    /// What was asked.
    #[serde(default)]
    pub(crate) request: Asked,
    /// What Ollama answered; some recordings are of requests that got no answer.
    pub(crate) response: Option<Answered>,
}

/// What was asked.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Asked {
    /// The method; `None` where the request was raw bytes.
    pub(crate) method: Option<String>,
    /// The target as it stood in the request line.
    pub(crate) target: Option<String>,
}

/// What Ollama answered.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Answered {
    /// `None`: nothing came.
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) chunks: Vec<Chunk>,
    /// `content-length`, `chunked`, `close`, `none`
    pub(crate) framing: Option<String>,
    /// `complete`, `incomplete:fin`, `incomplete:rst`, `timeout`, `client_stopped`
    pub(crate) end: Option<String>,
}

/// One write of Ollama's.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Chunk {
    pub(crate) text: String,
}

impl Recording {
    /// Reads one by its name; a name that is not there fails the test.
    pub(crate) fn load(name: &str) -> Self {
        let path = package_file("tests/cases/ollama").join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The names of all recordings, sorted.
    pub(crate) fn names() -> Vec<String> {
        let folder = std::fs::read_dir(package_file("tests/cases/ollama")).unwrap();
        let mut names: Vec<String> = folder
            .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// What Ollama answered; fails where it did not.
    pub(crate) fn answered(&self) -> &Answered {
        self.response.as_ref().expect("a recording with an answer")
    }
}

impl Answered {
    /// The whole body.
    pub(crate) fn body(&self) -> String {
        self.chunks.iter().map(|chunk| chunk.text.as_str()).collect()
    }
}
