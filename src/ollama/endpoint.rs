//! The closed route table: every route of Ollama's router, and nothing else.
//!
//! Guarantees: a path is matched by its exact bytes, so `/api%2Fdelete`, `//api/delete`, `/api/tags/../delete` and
//! `/API/delete` (which Ollama itself routes or redirects) are no endpoint here; a path with a parameter carries it
//! parsed. What is sent to Ollama is made from this table, never from the client's bytes.
//! Does not: know who may call what (see `policy::access`).
//! Source: Ollama's `server/routes.go`, `GenerateRoutes`.

use crate::ollama::model_name::ModelName;

/// One route of the table. Each has one row in [`Endpoint::facts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is named after its route; `facts` is the documentation")]
pub enum Endpoint {
    Root,
    Health,
    Version,
    Status,
    Pull,
    Push,
    Tags,
    Show,
    Delete,
    Me,
    Signout,
    UserKeys,
    Create,
    BlobUpload,
    BlobHead,
    Copy,
    WebSearch,
    WebFetch,
    Recommendations,
    Ps,
    Generate,
    Chat,
    Embed,
    Embeddings,
    ChatCompletions,
    Completions,
    V1Embeddings,
    Models,
    Model,
    Responses,
    Messages,
    Transcriptions,
}

/// What a role must name to use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Answered here, for anybody.
    Public,
    /// Runs a model.
    Inference,
    /// Tells which models there are, reduced to what the caller may use.
    Catalogue,
    /// Changes the models on this server.
    Management,
    /// Makes Ollama dial out, or acts for its account.
    Egress,
    /// In no class: only a role that names the endpoint itself may call it.
    Named,
}

impl Class {
    /// The name in the configuration and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Inference => "inference",
            Self::Catalogue => "catalogue",
            Self::Management => "management",
            Self::Egress => "egress",
            Self::Named => "named",
        }
    }
}

/// Whose protocol a route speaks: the shape of its errors and streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Ollama's own: `{"error":"…"}`, NDJSON.
    Ollama,
    /// OpenAI's: `{"error":{…}}`, server-sent events.
    OpenAi,
    /// Anthropic's: `{"type":"error",…}`, server-sent events.
    Anthropic,
}

/// What a request to the route carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payload {
    /// No body: one that comes is refused.
    Nothing,
    /// One JSON object.
    Json,
    /// Raw bytes, streamed.
    Blob,
    /// `multipart/form-data`.
    Multipart,
}

/// Which request rate counts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateClass {
    /// `limits.general`
    General,
    /// `limits.chat`
    Chat,
    /// `limits.health`
    Health,
}

/// What a model is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Runs {
    /// No model runs.
    Nothing,
    /// It goes on with a conversation.
    Chat,
    /// It goes on with a text.
    Completion,
    /// It says where a text lies among others.
    Embedding,
    /// It writes down what is said.
    Transcription,
}

/// What a request may carry besides text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// Nothing.
    Nothing,
    /// Images, in base64.
    Images,
    /// Sound, as it is.
    Audio,
}

/// The row of one endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The name in the configuration, the log and the metrics.
    pub name: &'static str,
    /// The methods it answers; `HEAD` only where Ollama registers it.
    pub methods: &'static [&'static str],
    /// The exact path, or its fixed part up to the parameter where it ends in `/`.
    pub path: &'static str,
    /// What a role must name.
    pub class: Class,
    /// Whose protocol.
    pub dialect: Dialect,
    /// What a request carries.
    pub payload: Payload,
    /// Which rate counts.
    pub rate: RateClass,
    /// What a model is to do.
    pub runs: Runs,
    /// What it may carry besides text.
    pub media: Media,
}

/// A path parameter, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathParameter {
    /// The route has none.
    None,
    /// `sha256:` and 64 lower-case hexadecimal digits.
    Digest(String),
    /// The name of a model.
    Model(ModelName),
    /// An encoded public key: `[A-Za-z0-9_=-]`, at most 512.
    Key(String),
}

/// Why a path and a method are no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// No such path.
    UnknownPath,
    /// The path is known, this method is not; these are.
    UnknownMethod(&'static str),
}

macro_rules! row {
    ($name:literal, $methods:expr, $path:literal, $class:ident, $dialect:ident, $payload:ident, $rate:ident, $runs:ident, $media:ident) => {
        Facts {
            name: $name,
            methods: &$methods,
            path: $path,
            class: Class::$class,
            dialect: Dialect::$dialect,
            payload: Payload::$payload,
            rate: RateClass::$rate,
            runs: Runs::$runs,
            media: Media::$media,
        }
    };
}

impl Endpoint {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 32] = [
        Self::Root,
        Self::Health,
        Self::Version,
        Self::Status,
        Self::Pull,
        Self::Push,
        Self::Tags,
        Self::Show,
        Self::Delete,
        Self::Me,
        Self::Signout,
        Self::UserKeys,
        Self::Create,
        Self::BlobUpload,
        Self::BlobHead,
        Self::Copy,
        Self::WebSearch,
        Self::WebFetch,
        Self::Recommendations,
        Self::Ps,
        Self::Generate,
        Self::Chat,
        Self::Embed,
        Self::Embeddings,
        Self::ChatCompletions,
        Self::Completions,
        Self::V1Embeddings,
        Self::Models,
        Self::Model,
        Self::Responses,
        Self::Messages,
        Self::Transcriptions,
    ];

    /// The row of this endpoint.
    #[must_use]
    #[rustfmt::skip]
    pub const fn facts(self) -> Facts {
        match self {
            Self::Root            => row!("root",            ["GET", "HEAD"], "/",                         Public,     Ollama,    Nothing,   Health,  Nothing,       Nothing),
            Self::Health          => row!("health",          ["GET", "HEAD"], "/api/health",               Public,     Ollama,    Nothing,   Health,  Nothing,       Nothing),
            Self::Version         => row!("version",         ["GET", "HEAD"], "/api/version",              Catalogue,  Ollama,    Nothing,   General, Nothing,       Nothing),
            Self::Status          => row!("status",          ["GET"],         "/api/status",               Management, Ollama,    Nothing,   General, Nothing,       Nothing),
            Self::Pull            => row!("pull",            ["POST"],        "/api/pull",                 Egress,     Ollama,    Json,      General, Nothing,       Nothing),
            Self::Push            => row!("push",            ["POST"],        "/api/push",                 Egress,     Ollama,    Json,      General, Nothing,       Nothing),
            Self::Tags            => row!("tags",            ["GET", "HEAD"], "/api/tags",                 Catalogue,  Ollama,    Nothing,   General, Nothing,       Nothing),
            Self::Show            => row!("show",            ["POST"],        "/api/show",                 Catalogue,  Ollama,    Json,      General, Nothing,       Nothing),
            Self::Delete          => row!("delete",          ["DELETE"],      "/api/delete",               Management, Ollama,    Json,      General, Nothing,       Nothing),
            Self::Me              => row!("me",              ["POST"],        "/api/me",                   Egress,     Ollama,    Nothing,   General, Nothing,       Nothing),
            Self::Signout         => row!("signout",         ["POST"],        "/api/signout",              Egress,     Ollama,    Nothing,   General, Nothing,       Nothing),
            Self::UserKeys        => row!("user-keys",       ["DELETE"],      "/api/user/keys/",           Egress,     Ollama,    Nothing,   General, Nothing,       Nothing),
            Self::Create          => row!("create",          ["POST"],        "/api/create",               Management, Ollama,    Json,      General, Nothing,       Nothing),
            Self::BlobUpload      => row!("blobs",           ["POST"],        "/api/blobs/",               Management, Ollama,    Blob,      General, Nothing,       Nothing),
            Self::BlobHead        => row!("blob-check",      ["HEAD"],        "/api/blobs/",               Management, Ollama,    Nothing,   General, Nothing,       Nothing),
            Self::Copy            => row!("copy",            ["POST"],        "/api/copy",                 Management, Ollama,    Json,      General, Nothing,       Nothing),
            Self::WebSearch       => row!("web-search",      ["POST"],        "/api/experimental/web_search", Egress,  Ollama,    Json,      General, Nothing,       Nothing),
            Self::WebFetch        => row!("web-fetch",       ["POST"],        "/api/experimental/web_fetch", Egress,   Ollama,    Json,      General, Nothing,       Nothing),
            Self::Recommendations => row!("recommendations", ["GET"],         "/api/experimental/model-recommendations", Egress, Ollama, Nothing, General, Nothing,       Nothing),
            Self::Ps              => row!("ps",              ["GET"],         "/api/ps",                   Catalogue,  Ollama,    Nothing,   General, Nothing,       Nothing),
            Self::Generate        => row!("generate",        ["POST"],        "/api/generate",             Inference,  Ollama,    Json,      Chat,    Completion,    Images),
            Self::Chat            => row!("chat",            ["POST"],        "/api/chat",                 Inference,  Ollama,    Json,      Chat,    Chat,          Images),
            Self::Embed           => row!("embed",           ["POST"],        "/api/embed",                Inference,  Ollama,    Json,      General, Embedding,     Nothing),
            Self::Embeddings      => row!("embeddings",      ["POST"],        "/api/embeddings",           Inference,  Ollama,    Json,      General, Embedding,     Nothing),
            Self::ChatCompletions => row!("v1-chat",         ["POST"],        "/v1/chat/completions",      Inference,  OpenAi,    Json,      Chat,    Chat,          Images),
            Self::Completions     => row!("v1-completions",  ["POST"],        "/v1/completions",           Inference,  OpenAi,    Json,      Chat,    Completion,    Nothing),
            Self::V1Embeddings    => row!("v1-embeddings",   ["POST"],        "/v1/embeddings",            Inference,  OpenAi,    Json,      General, Embedding,     Nothing),
            Self::Models          => row!("v1-models",       ["GET"],         "/v1/models",                Catalogue,  OpenAi,    Nothing,   General, Nothing,       Nothing),
            Self::Model           => row!("v1-model",        ["GET"],         "/v1/models/",               Catalogue,  OpenAi,    Nothing,   General, Nothing,       Nothing),
            Self::Responses       => row!("v1-responses",    ["POST"],        "/v1/responses",             Inference,  OpenAi,    Json,      Chat,    Chat,          Images),
            Self::Messages        => row!("v1-messages",     ["POST"],        "/v1/messages",              Inference,  Anthropic, Json,      Chat,    Chat,          Images),
            Self::Transcriptions  => row!("v1-transcriptions", ["POST"],      "/v1/audio/transcriptions",  Named,      OpenAi,    Multipart, Chat,    Transcription, Audio),
        }
    }

    /// Finds the endpoint of a method and the raw path of an origin-form target (without its query).
    ///
    /// # Errors
    /// [`NoRoute`]: what a client is told is a 404, or a 405 with `Allow`.
    pub fn find(method: &str, path: &str) -> Result<(Self, PathParameter), NoRoute> {
        let mut allow = "";
        for endpoint in Self::ALL {
            let facts = endpoint.facts();
            let Some(parameter) = match_path(facts.path, path) else { continue };
            if facts.methods.contains(&method) {
                return Ok((endpoint, parameter));
            }
            allow = allow_header(facts.path);
        }
        if allow.is_empty() { Err(NoRoute::UnknownPath) } else { Err(NoRoute::UnknownMethod(allow)) }
    }

    /// Whose error shape a path gets, known or not.
    #[must_use]
    pub fn dialect_of_path(path: &str) -> Dialect {
        if path == "/v1/messages" || path.starts_with("/v1/messages/") {
            Dialect::Anthropic
        } else if path == "/v1" || path.starts_with("/v1/") {
            Dialect::OpenAi
        } else {
            Dialect::Ollama
        }
    }
}

/// The `Allow` header of a path of the table.
fn allow_header(path: &str) -> &'static str {
    match path {
        "/api/blobs/" => "HEAD, POST",
        "/" | "/api/health" | "/api/version" | "/api/tags" => "GET, HEAD",
        "/api/delete" | "/api/user/keys/" => "DELETE",
        "/api/status" | "/api/ps" | "/v1/models" | "/v1/models/" | "/api/experimental/model-recommendations" => "GET",
        _ => "POST",
    }
}

fn match_path(fixed: &str, path: &str) -> Option<PathParameter> {
    let rest = path.strip_prefix(fixed)?;
    match fixed {
        "/api/blobs/" => parse_digest(rest).map(PathParameter::Digest),
        "/api/user/keys/" => parse_key(rest).map(PathParameter::Key),
        "/v1/models/" => parse_model(rest).map(PathParameter::Model),
        _ => rest.is_empty().then_some(PathParameter::None),
    }
}

fn parse_digest(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha256-"))?;
    let well_formed = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    well_formed.then(|| format!("sha256:{hex}"))
}

fn parse_key(text: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'=' | b'-');
    (!text.is_empty() && text.len() <= 512 && text.bytes().all(allowed)).then(|| text.to_owned())
}

/// The one place where a percent sign is read: clients encode the `:` and `/` of a model's name. Nothing else is decoded,
/// and what comes of it must be a model's name.
fn parse_model(text: &str) -> Option<ModelName> {
    let decoded = text.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/");
    ModelName::parse(&decoded).ok()
}
