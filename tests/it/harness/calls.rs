//! One good call of every endpoint. An endpoint without one does not compile.

use super::client::Request;
use ollama_gateway::ollama::endpoint::Endpoint;
use serde_json::{Value, json};

const DIGEST: &str = "sha256:27f724009879e1f4573ad984494a40173bac050209ba155c36baa10bf70f269a";

/// A request that a caller with the right would make.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// Its JSON; `null` where it has none.
    pub(crate) body: Value,
    /// Who answers.
    pub(crate) from: From,
}

/// Who answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// Ollama.
    Ollama,
    /// The gateway itself.
    Here,
    /// The gateway may, from what it knows.
    Either,
}

impl Call {
    /// The call of an endpoint that any role with the right may make.
#[rustfmt::skip]
    pub(crate) fn of(endpoint: Endpoint) -> Self {
    let said = [json!({"role": "user", "content": "hi"})];
    let chat = json!({"model": "tiny", "messages": said, "stream": false});
    let prompt = json!({"model": "tiny", "prompt": "hi", "stream": false});
    let input = json!({"model": "tiny", "input": "hi"});
    let model = json!({"model": "tiny"});
    let none = Value::Null;
    let blob = format!("/api/blobs/{DIGEST}");
    let (method, path, body, from) = match endpoint {
        Endpoint::Root            => ("GET", "/", none, From::Here),
        Endpoint::Health          => ("GET", "/api/health", none, From::Here),
        Endpoint::Version         => ("GET", "/api/version", none, From::Either),
        Endpoint::Status          => ("GET", "/api/status", none, From::Ollama),
        Endpoint::Pull            => ("POST", "/api/pull", json!({"model": "tiny", "stream": false}), From::Ollama),
        Endpoint::Push            => ("POST", "/api/push", json!({"model": "tiny", "stream": false}), From::Ollama),
        Endpoint::Tags            => ("GET", "/api/tags", none, From::Either),
        Endpoint::Show            => ("POST", "/api/show", model, From::Ollama),
        Endpoint::Delete          => ("DELETE", "/api/delete", model, From::Ollama),
        Endpoint::Me              => ("POST", "/api/me", none, From::Ollama),
        Endpoint::Signout         => ("POST", "/api/signout", none, From::Ollama),
        Endpoint::UserKeys        => ("DELETE", "/api/user/keys/AAAA", none, From::Ollama),
        Endpoint::Create          => ("POST", "/api/create", json!({"model": "mine", "from": "tiny"}), From::Ollama),
        Endpoint::BlobUpload      => ("POST", blob.as_str(), json!("blob"), From::Ollama),
        Endpoint::BlobHead        => ("HEAD", blob.as_str(), none, From::Ollama),
        Endpoint::Copy            => ("POST", "/api/copy", json!({"source": "tiny", "destination": "mine"}), From::Ollama),
        Endpoint::WebSearch       => ("POST", "/api/experimental/web_search", json!({"query": "hi"}), From::Ollama),
        Endpoint::WebFetch        => ("POST", "/api/experimental/web_fetch", json!({"url": "https://example.org/"}), From::Ollama),
        Endpoint::Recommendations => ("GET", "/api/experimental/model-recommendations", none, From::Ollama),
        Endpoint::Ps              => ("GET", "/api/ps", none, From::Either),
        Endpoint::Generate        => ("POST", "/api/generate", prompt, From::Ollama),
        Endpoint::Chat            => ("POST", "/api/chat", chat, From::Ollama),
        Endpoint::Embed           => ("POST", "/api/embed", input, From::Ollama),
        Endpoint::Embeddings      => ("POST", "/api/embeddings", json!({"model": "tiny", "prompt": "hi"}), From::Ollama),
        Endpoint::ChatCompletions => ("POST", "/v1/chat/completions", chat, From::Ollama),
        Endpoint::Completions     => ("POST", "/v1/completions", prompt, From::Ollama),
        Endpoint::V1Embeddings    => ("POST", "/v1/embeddings", input, From::Ollama),
        Endpoint::Models          => ("GET", "/v1/models", none, From::Either),
        Endpoint::Model           => ("GET", "/v1/models/tiny", none, From::Either),
        Endpoint::Responses       => ("POST", "/v1/responses", input, From::Ollama),
        Endpoint::Messages        => ("POST", "/v1/messages", json!({"model": "tiny", "messages": said, "max_tokens": 16}), From::Ollama),
        Endpoint::Transcriptions  => ("POST", "/v1/audio/transcriptions", none, From::Ollama),
    };
    Self { endpoint, method, path: path.to_owned(), body, from }
}

    /// As a request, with a key or without one.
    pub(crate) fn request(&self, key: Option<&str>) -> Request {
        let mut request = Request::new(self.method, &self.path);
        if self.endpoint == Endpoint::Transcriptions {
            request = multipart(request);
        } else if self.endpoint == Endpoint::BlobUpload {
            request = request.header("Content-Type", "application/octet-stream").body("blob");
        } else if !self.body.is_null() {
            request = request.header("Content-Type", "application/json").body(self.body.to_string());
        }
        key.map_or(request.clone(), |key| request.key(key))
    }
}

fn multipart(request: Request) -> Request {
    let part = |name: &str, value: &str| format!("--cut\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n");
    let body = part("name=\"model\"", "tiny") + &part("name=\"file\"; filename=\"a.mp3\"", "ID3") + "--cut--\r\n";
    request.header("Content-Type", "multipart/form-data; boundary=cut").body(body)
}
