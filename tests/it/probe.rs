//! `check --probe`: it is content with a sound file, and with nothing else. Each limiter is taken out in turn, and the row
//! of that limiter, and no other, must say so.

use crate::harness::{Ollama, Setup};
use futures_util::StreamExt as _;
use ollama_gateway::cli::probe::{Area, Row, Verdict, examine};
use ollama_gateway::config::{self, Config, Environment};

/// A file with every kind of limit; each can really fire.
const STATED: &str = r#"
[server]
names = ["ai.example.org"]
body_grace = "1s"
max_connections = 100
trusted_proxies = []

[limits]
general = { rate = "50/minute", burst = 15 }
chat = { rate = "20/minute", burst = 6 }
health = { rate = "30/minute", burst = 8 }
authentication_failures = { rate = "30/minute", burst = 6 }
connections_per_address = 10

[queue]
slots = 3
length = 5
wait = "1s"

[upstream]
max_connections = 20

[bans]
deny = ["198.51.100.0/24"]
failures = "9/hour"
unknown_routes = "8/hour"

[auth]
conversation_ids = "required"

[roles.user]
endpoints = ["inference", "catalogue", "v1-transcriptions"]
models = ["llama3.2:*"]
addresses = ["203.0.113.0/24"]
system_prompt = "deny"
concurrent = 2
tokens = ["5000/minute", "200000/day"]
requests = "300/day"
gpu_seconds = "600/hour"

[roles.user.together]
tokens = "400000/day"
requests = "700/day"
gpu_seconds = "1800/hour"

[roles.user.options]
num_ctx = { max = 8192 }
num_predict = { default = 100, max = 200 }
keep_alive = "7m"

[roles.admin]
system_prompt = { pin = "Be brief." }

[validation]
max_message_chars = 300
max_messages = 6
max_body = "64 KiB"
max_images_bytes = "32 KiB"
max_images = 2
max_image_pixels = 10000
max_image_side = 200
max_audio_bytes = "16 KiB"
max_depth = 20
max_tools = 3
max_schema_bytes = "2 KiB"
max_embed_inputs = 5
max_embed_bytes = "8 KiB"
unknown_fields = "refuse"
blocked = ["forbidden word"]
patterns = ['\b\d{3}-\d{2}-\d{4}\b', "(?i)passw(or)?d: \\S+"]
"#;

fn parsed(text: &str) -> Config {
    config::parse("probe", text, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Area, what is written, what takes its place in the gateways, and the beginning of the row that must fail.
#[rustfmt::skip]
const TAKEN_OUT: [(Area, &str, &str, &str); 53] = [
    (Area::Roles, "addresses = [\"203.0.113.0/24\"]", "", "roles.user.addresses"),
    (Area::Roles, "models = [\"llama3.2:*\"]", "models = [\"*\"]", "roles.user.models: another one"),
    (Area::Roles, "\"catalogue\", \"v1", "\"catalogue\", \"management\", \"v1", "roles.user: management"),
    (Area::Roles, "\"catalogue\", \"v1", "\"catalogue\", \"egress\", \"v1", "roles.user: egress"),
    (Area::Roles, "\"catalogue\", \"v1", "\"v1", "roles.user: catalogue"),
    (Area::Guards, "system_prompt = \"deny\"", "", "roles.user.system_prompt"),
    (Area::Guards, "{ pin = \"Be brief.\" }", "\"allow\"", "roles.admin.system_prompt"),
    (Area::Guards, "max = 200 ", "max = 300 ", "roles.user.options.num_predict"),
    (Area::Guards, "num_ctx = { max = 8192 }", "", "roles.user.options.num_ctx"),
    (Area::Guards, "keep_alive = \"7m\"", "keep_alive = \"default\"", "roles.user.options.keep_alive"),
    (Area::Guards, "keep_alive = \"7m\"", "keep_alive = \"7m\"\ntop_logprobs = 20", "roles.user.options.top_logprobs"),
    (Area::Guards, "system_prompt = \"deny\"", "system_prompt = \"deny\"\nallow = [\"cloud\"]\nmodels=[\"*\"]", "roles.user.allow without \"cloud\""),
    (Area::Guards, "system_prompt = \"deny\"", "system_prompt = \"deny\"\nallow = [\"foreign-registries\"]\nmodels=[\"*\"]", "roles.user.allow without \"foreign"),
    (Area::Guards, "system_prompt = \"deny\"", "system_prompt = \"deny\"\nallow = [\"schema-pattern\"]", "roles.user.allow without \"schema"),
    (Area::Guards, "system_prompt = \"deny\"", "system_prompt = \"deny\"\nallow = [\"raw\"]", "roles.user.allow without \"raw\""),
    (Area::Guards, "max_message_chars = 300", "max_message_chars = 9999", "validation.max_message_chars"),
    (Area::Guards, "max_messages = 6", "", "validation.max_messages"),
    (Area::Guards, "max_tools = 3", "", "validation.max_tools"),
    (Area::Guards, "max_schema_bytes = \"2 KiB\"", "", "validation.max_schema_bytes"),
    (Area::Guards, "max_images = 2", "", "validation.max_images "),
    (Area::Guards, "max_images_bytes = \"32 KiB\"", "", "validation.max_images_bytes"),
    (Area::Guards, "max_image_side = 200", "", "validation.max_image_side"),
    (Area::Guards, "max_image_pixels = 10000", "", "validation.max_image_pixels"),
    (Area::Guards, "max_embed_inputs = 5", "", "validation.max_embed_inputs"),
    (Area::Guards, "max_embed_bytes = \"8 KiB\"", "", "validation.max_embed_bytes"),
    (Area::Guards, "max_audio_bytes = \"16 KiB\"", "", "validation.max_audio_bytes"),
    (Area::Requests, "names = [\"ai.example.org\"]", "names = [\"ai.example.org\", \"not-served.invalid\"]", "server.names: another host"),
    (Area::Requests, "conversation_ids = \"required\"", "", "auth.conversation_ids"),
    (Area::Requests, "conversation_ids = \"required\"", "conversation_ids = \"required\"\npath_keys = true", "auth.path_keys"),
    (Area::Requests, "[queue]", "[cors]\norigins = [\"*\"]\n[queue]", "cors.origins"),
    (Area::Requests, "[roles.admin]", "[roles.anonymous]\nendpoints = [\"catalogue\"]\nmodels = [\"*\"]\n[roles.admin]", "auth.anonymous"),
    (Area::Bodies, "max_body = \"64 KiB\"", "", "a body of|validation.max_body"),
    (Area::Bodies, "max_depth = 20", "", "validation.max_depth"),
    (Area::Bodies, "unknown_fields = \"refuse\"", "", "validation.unknown_fields"),
    (Area::Bodies, "body_grace = \"1s\"", "body_grace = \"1m\"", "server.body_grace"),
    (Area::Content, "blocked = [\"forbidden word\"]", "", "validation.blocked[0]"),
    (Area::Content, "'\\b\\d{3}-\\d{2}-\\d{4}\\b', ", "", "validation.patterns[0]"),
    (Area::Content, ", \"(?i)passw(or)?d: \\\\S+\"", "", "validation.patterns[1]"),
    (Area::Rates, "general = { rate = \"50/minute\", burst = 15 }", "general = { rate = \"90000/s\", burst = 9000 }", "limits.general|limits.general, refusals"),
    (Area::Rates, "chat = { rate = \"20/minute\", burst = 6 }", "chat = { rate = \"45/minute\", burst = 14 }", "limits.chat"),
    (Area::Rates, "health = { rate = \"30/minute\", burst = 8 }", "health = { rate = \"90000/s\", burst = 9000 }", "limits.health"),
    (Area::Rates, "authentication_failures = { rate = \"30/minute\", burst = 6 }", "authentication_failures = { rate = \"90000/s\", burst = 9000 }", "limits.authentication_failures"),
    (Area::Budgets, "tokens = [\"5000/minute\", \"200000/day\"]", "tokens = \"200000/day\"", "roles.user.tokens per minute"),
    (Area::Budgets, "tokens = [\"5000/minute\", \"200000/day\"]", "tokens = \"5000/minute\"", "roles.user.tokens per day"),
    (Area::Budgets, "requests = \"300/day\"", "", "roles.user.requests per day"),
    (Area::Budgets, "gpu_seconds = \"600/hour\"", "", "roles.user.gpu_seconds per hour"),
    (Area::Budgets, "requests = \"700/day\"", "", "roles.user.together.requests per day"),
    (Area::Flight, "concurrent = 2", "", "roles.user.concurrent"),
    (Area::Flight, "length = 5", "length = 50", "queue.length"),
    (Area::Flight, "connections_per_address = 10", "connections_per_address = 11", "limits.connections_per_address"),
    (Area::Bans, "deny = [\"198.51.100.0/24\"]", "", "bans.deny"),
    (Area::Bans, "failures = \"9/hour\"", "failures = \"off\"", "bans.failures"),
    (Area::Bans, "unknown_routes = \"8/hour\"", "unknown_routes = \"off\"", "bans.unknown_routes"),
];

fn failed(rows: &[Row]) -> Vec<&Row> {
    rows.iter().filter(|row| matches!(row.verdict, Verdict::Silent(_))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_file_fires_everywhere() {
    let stated = parsed(STATED);
    let rows = Box::pin(examine(&stated, &stated, &Area::ALL)).await.unwrap();
    assert_eq!(failed(&rows), Vec::<&Row>::new());
    let fired = rows.iter().filter(|row| matches!(row.verdict, Verdict::Fired(_))).count();
    assert!(fired >= 100, "{fired} of {}", rows.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limiter_that_is_taken_out_is_named_and_no_other() {
    let stated = parsed(STATED);
    let stated = &stated;
    let each = futures_util::stream::iter(TAKEN_OUT).map(|(area, written, instead, row)| async move {
        let effective = without(written, instead, row);
        let rows = Box::pin(examine(stated, &effective, &[area])).await.unwrap();
        let failed: Vec<&str> = failed(&rows).into_iter().map(|row| row.what.as_str()).collect();
        let rows: Vec<&str> = row.split('|').collect();
        let alone = failed.len() == rows.len() && failed.iter().zip(&rows).all(|(failed, row)| failed.starts_with(row));
        (!alone).then(|| format!("without {written:?}: {failed:?} failed, not {row:?} alone"))
    });
    let wrong: Vec<_> = each.buffered(6).filter_map(|wrong| async { wrong }).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The file with one thing changed.
fn without(written: &str, instead: &str, row: &str) -> Config {
    assert!(STATED.contains(written), "{written}");
    let mut text = STATED.replacen(written, instead, 1);
    if row == "auth.anonymous" {
        text = text.replace("[auth]", "[auth]\nanonymous = true");
    }
    if instead.contains("\nmodels") {
        text = text.replace("models = [\"llama3.2:*\"]\n", "");
    }
    parsed(&text)
}

/// What is added to the least file, and what is said of it.
#[rustfmt::skip]
const NEVER: [(Area, &str, &str, &str); 12] = [
    (Area::Rates, "[limits]\ngeneral = { rate = \"100000/s\", burst = 10000 }", "limits.general", "it gives one back every 10us"),
    (Area::Roles, "[roles.anonymous]\nendpoints = [\"chat\"]\nmodels = [\"*\"]\n[auth]\nanonymous = false", "roles.anonymous", "nobody can have it"),
    (Area::Roles, "[roles.far]\nendpoints = [\"chat\"]\nmodels = [\"*\"]\naddresses = [\"10.0.0.0/8\"]\n[bans]\ndeny = [\"10.0.0.0/8\"]", "roles.far.addresses", "nobody can have it"),
    (Area::Roles, "[roles.cloudy]\nendpoints = [\"chat\"]\nmodels = [\"a:*\", \"big:cloud\"]", "roles.cloudy.models \"big:cloud\"", "lets no model through"),
    (Area::Budgets, "[roles.user]\nrequests = \"200000/day\"", "roles.user.requests per day", "can never be used up"),
    (Area::Budgets, "[roles.user]\ngpu_seconds = \"86400/hour\"", "roles.user.gpu_seconds per hour", "of 86400, one caller can use 14400"),
    (Area::Budgets, "[roles.user]\ntokens = \"900000000000/hour\"", "roles.user.tokens per hour", "can never be used up"),
    (Area::Flight, "[queue]\nslots = 300", "queue.slots = 300", "upstream.max_connections is 256"),
    (Area::Guards, "[validation]\nmax_image_side = 100", "validation.max_image_pixels", "can never be exceeded"),
    (Area::Content, "[validation]\nblocked = [\"secret\"]\npatterns = [\"secrets?\"]", "validation.patterns[0]", "validation.blocked[0] matches whatever it does"),
    (Area::Bans, "[bans]\nfailures = \"100/s\"", "bans.failures", "never lets one address fail so often"),
    (Area::Bans, "[bans]\nexempt = [\"0.0.0.0/0\"]", "bans.unknown_routes", "every address that is served is exempt"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_cannot_fire_is_an_error() {
    let mut wrong = Vec::new();
    for (area, added, what, said) in NEVER {
        let stated = parsed(&format!("[server]\nnames = [\"ai.example.org\"]\nbody_grace = \"7s\"\n{added}\n"));
        let rows = Box::pin(examine(&stated, &stated, &[area])).await.unwrap();
        let named = |row: &&Row| row.what.starts_with(what);
        let found =
            rows.iter().find(|row| named(row) && matches!(&row.verdict, Verdict::Silent(why) if why.contains(said)));
        if found.is_none() {
            wrong.push(format!("{added}\n   {:?}", failed(&rows)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_the_table_touches_nothing_and_exits_by_it() {
    let ollama = Ollama::start().await;
    // Of the tests' own limits some are too high to fire: that is what it has to say of them.
    let setup = Setup::before(&ollama).set("server", "body_grace", "\"7s\"");
    let (code, stdout, stderr) = Box::pin(setup.run(&["check", "--probe"])).await;
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    assert!(stdout.contains("ERROR rates    limits.general"), "{stdout}");
    assert!(stdout.contains("ok    roles    roles.user: inference"), "{stdout}");
    assert_eq!(std::fs::read_dir(setup.state()).unwrap().count(), 0, "something is in the state folder");
    ollama.assert_nothing_received();
    let sound =
        ["general", "chat", "health", "authentication_failures"].iter().fold(setup, |s, key| s.unset("limits", key));
    let (code, stdout, stderr) = Box::pin(sound.set("queue", "slots", "4").run(&["check", "--probe"])).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains(" fired, 0 did not, "), "{stdout}");
    let (code, ..) = Box::pin(sound_less().run(&["check", "--probe"])).await;
    assert_eq!(code, 2);
}

/// A file that does not load.
fn sound_less() -> Setup {
    Setup::before_address("127.0.0.1:1".parse().unwrap()).set("server", "no_such_key", "1")
}
