//! Whole answers: listings cut down, inference answers passed.

use serde_json::{Value, json};

use super::*;
use crate::ollama::endpoint::Endpoint;

fn view(full: Full) -> View<'static> {
    let may_see = &|name: &str| name.starts_with("tiny");
    View { may_see, full, shown_version: "0.0.0", wanted: Some("tiny:latest"), context: Context::Drop }
}

fn ask(endpoint: Endpoint, body: &Value, full: Full) -> Result<Value, UpstreamFault> {
    let whole = whole(endpoint, body.to_string().as_bytes(), &view(full))?;
    Ok(serde_json::from_slice(&whole.body).unwrap_or(Value::Null))
}

fn reduced(endpoint: Endpoint, body: &Value) -> Result<Value, UpstreamFault> {
    ask(endpoint, body, Full::Reduced)
}

#[test]
fn a_listing_holds_what_the_caller_may_see_and_no_more() {
    let details = json!({"parent_model":"/usr/share/ollama/blobs/sha256-a8","format":"gguf","family":"llama","families":["llama"],
                         "parameter_size":"1M","quantization_level":"F16"});
    let row = |name: &str| {
        json!({"name":name,"model":name,"modified_at":"t","size":7,"digest":"d".repeat(64),"details":details,
        "remote_model":"r","remote_host":"https://ollama.com","expires_at":"e","size_vram":3,"capabilities":["completion"]})
    };
    let listing = json!({"models":[row("tiny:latest"), row("other:latest"), {"size": 1}]});
    let got = reduced(Endpoint::Tags, &listing).unwrap();
    let mut clean = details.clone();
    clean["parent_model"] = json!("");
    assert_eq!(
        got,
        json!({"models":[{"name":"tiny:latest","model":"tiny:latest","modified_at":"t","size":7,
        "digest":"0".repeat(64),"details":clean,"capabilities":["completion"]}]})
    );
    let managed = ask(Endpoint::Ps, &listing, Full::Management).unwrap();
    assert_eq!(managed, json!({"models":[row("tiny:latest")]}), "the whole row, but only of models that may be seen");
    assert_eq!(reduced(Endpoint::Tags, &json!({"models":null})), Ok(json!({"models":[]})));
}

#[test]
fn both_names_of_a_row_count() {
    let listing = json!({"models":[{"name":"tiny","model":"other","details":{}}]});
    assert_eq!(reduced(Endpoint::Tags, &listing), Ok(json!({"models":[]})));
}

#[test]
fn openai_lists_and_single_models() {
    let row = |id: &str| json!({"id":id,"object":"model","created":1,"owned_by":"library"});
    let list = json!({"object":"list","data":[row("other:latest"), row("tiny:latest")]});
    assert_eq!(reduced(Endpoint::Models, &list), Ok(json!({"object":"list","data":[row("tiny:latest")]})));
    assert_eq!(reduced(Endpoint::Model, &list), Ok(row("tiny:latest")));
    let none = json!({"object":"list","data":[row("tiny-2:latest")]});
    assert_eq!(reduced(Endpoint::Model, &none), Err(UpstreamFault::ModelNotFound));
}

#[test]
fn show_is_reduced_to_what_clients_use() {
    let shown = json!({"license":"l","modelfile":"FROM /usr/share/x","parameters":"p","template":"t","system":"s","messages":[],
        "details":{"parent_model":"/usr/share/x","format":"gguf","family":"llama","families":null,"parameter_size":"1M","quantization_level":"F16"},
        "model_info":{"general.architecture":"llama","general.parameter_count":5,"llama.context_length":10,"llama.embedding_length":3,
                      "tokenizer.ggml.tokens":["a"]},
        "tensors":[{"name":"x"}],"remote_host":"h","remote_model":"r","capabilities":["completion"],"modified_at":"t"});
    let got = reduced(Endpoint::Show, &shown).unwrap();
    assert_eq!(
        got,
        json!({
        "details":{"parent_model":"","format":"gguf","family":"llama","families":null,"parameter_size":"1M","quantization_level":"F16"},
        "model_info":{"general.architecture":"llama","general.parameter_count":5,"llama.context_length":10,"llama.embedding_length":3},
        "capabilities":["completion"],"modified_at":"t"})
    );
    assert_eq!(ask(Endpoint::Show, &shown, Full::Management), Ok(shown));
}

#[test]
fn the_version_is_for_management() {
    let said = json!({"version":"0.33.0"});
    assert_eq!(reduced(Endpoint::Version, &said), Ok(json!({"version":"0.0.0"})));
    assert_eq!(ask(Endpoint::Version, &said, Full::Management), Ok(said));
}

#[test]
fn an_embedding_passes_byte_for_byte() {
    let body = br#"{"model":"m","embeddings":[[-0.3577401,1e-7,0.00001]],"total_duration":9,"prompt_eval_count":7}"#;
    let whole = whole(Endpoint::Embed, body, &view(Full::Reduced)).unwrap();
    assert_eq!(whole.body, body);
    assert_eq!((whole.usage.prompt_tokens, whole.usage.total_duration_ns), (Some(7), Some(9)));
}

#[test]
fn a_repeat_abort_is_finished() {
    let native = json!({"model":"m","created_at":"t","message":{"content":"a"},"done":false});
    let got = reduced(Endpoint::Chat, &native).unwrap();
    assert_eq!((&got["done"], &got["done_reason"]), (&json!(true), &json!("stop")));
    let openai = json!({"choices":[{"message":{"content":"a"},"finish_reason":null}],"usage":{"prompt_tokens":0,"completion_tokens":0}});
    let whole = whole(Endpoint::ChatCompletions, openai.to_string().as_bytes(), &view(Full::Reduced)).unwrap();
    assert_eq!((whole.usage.finish, whole.usage.output_tokens), (Finish::Repeated, None), "zeros are no figures");
    assert!(String::from_utf8(whole.body).unwrap().contains("\"finish_reason\":\"stop\""));
    let anthropic = json!({"type":"message","content":[{"type":"text","text":"a"}]});
    assert_eq!(reduced(Endpoint::Messages, &anthropic).unwrap()["stop_reason"], "end_turn");
}

#[test]
fn private_fields_and_errors_do_not_pass() {
    let line = json!({"model":"m","created_at":"t","response":"a","done":true,"context":[1],"_debug_info":{"rendered_template":"SECRET"}});
    assert_eq!(
        reduced(Endpoint::Generate, &line),
        Ok(json!({"model":"m","created_at":"t","response":"a","done":true}))
    );
    for endpoint in Endpoint::ALL {
        for body in
            [json!({"error":"SECRET"}), json!({"error":{"message":"SECRET"}}), json!(["SECRET"]), json!("SECRET")]
        {
            let got = reduced(endpoint, &body);
            assert!(got.is_err(), "{endpoint:?} {body}: {got:?}");
        }
    }
    assert_eq!(reduced(Endpoint::Me, &json!({"signin_url":"https://x"})), Err(UpstreamFault::Refused(401)));
    assert_eq!(reduced(Endpoint::Pull, &json!({"status":"open /usr/x","x":1})), Ok(json!({"status":"working"})));
    assert_eq!(whole(Endpoint::Delete, b"", &view(Full::Reduced)).unwrap().body, b"");
}
