//! A stand-in that answers every route of Ollama's as a real one was recorded to.

use super::ollama::Ollama;
use super::reply::Reply;

/// Route, whether a stream is wanted, and the recording that answers it.
const ROUTES: [(&str, Option<bool>, &str); 25] = [
    ("/api/chat", Some(true), "chat_stream"),
    ("/api/chat", Some(false), "chat_nostream"),
    ("/api/generate", Some(true), "generate_stream_absent_default_true"),
    ("/api/generate", Some(false), "generate_nostream"),
    ("/api/embed", None, "embed_string"),
    ("/api/embeddings", None, "embeddings_legacy_empty"),
    ("/api/tags", None, "accept_encoding_gzip"),
    ("/api/ps", None, "ps_get"),
    ("/api/show", None, "show_legacy_name_field"),
    ("/api/version", None, "version_get"),
    ("/api/status", None, "status_get"),
    ("/api/copy", None, "copy_ok"),
    ("/api/delete", None, "delete_ok"),
    ("/api/blobs/", None, "blob_post_ok"),
    ("/api/create", None, "create_from"),
    ("/v1/chat/completions", Some(true), "v1_chat_stream_usage"),
    ("/v1/chat/completions", Some(false), "v1_chat_nostream"),
    ("/v1/completions", Some(true), "v1_completions_stream"),
    ("/v1/completions", Some(false), "v1_completions"),
    ("/v1/embeddings", None, "v1_embeddings"),
    ("/v1/models", None, "v1_models"),
    ("/v1/responses", Some(true), "v1_responses_stream"),
    ("/v1/responses", Some(false), "v1_responses"),
    ("/v1/messages", Some(true), "v1_messages_stream"),
    ("/v1/messages", Some(false), "v1_messages"),
];

/// What no recording shows succeed, since the recorded server could not dial out.
const SAID: [(&str, &str); 7] = [
    ("/api/pull", "{\"status\":\"success\"}\n"),
    ("/api/push", "{\"status\":\"success\"}\n"),
    ("/api/me", "{\"id\":\"1\",\"name\":\"somebody\"}"),
    ("/api/signout", "{}"),
    ("/api/user/keys/", "{}"),
    ("/api/experimental/", "{\"results\":[]}"),
    ("/v1/audio/transcriptions", "{\"text\":\"hello\"}"),
];

/// The whole stand-in. Models named `nope` are missing.
pub(crate) async fn recorded() -> Ollama {
    let ollama = Ollama::start().await;
    for (path, body) in SAID {
        ollama.on(path, Reply::json(200, body));
    }
    for (path, streams, name) in ROUTES {
        match streams {
            Some(streams) => ollama.on_stream(path, streams, Reply::recording(name)),
            None => ollama.on(path, Reply::recording(name)),
        };
    }
    for (path, name) in [
        ("/api/chat", "generate_missing"),
        ("/api/generate", "generate_missing"),
        ("/api/embed", "embed_missing"),
        ("/v1/chat/completions", "v1_chat_missing"),
        ("/v1/embeddings", "v1_embeddings_missing"),
        ("/v1/messages", "v1_messages_missing"),
        ("/v1/responses", "v1_responses_missing"),
    ] {
        ollama.on_model(path, "nope", Reply::recording(name)).on_model(path, "nope:latest", Reply::recording(name));
    }
    ollama
}
