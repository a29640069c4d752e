//! Every fault of a configuration is told in the words of a file of its own.
//!
//! `cases/config/invalid/*.toml` end with the exact lines that are printed, each after `# expect: `; a line
//! `# environment: NAME=VALUE` sets a variable. `cases/config/valid/*.toml` load. `gateway.toml.example` is a case too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ollama_gateway::config::types::{Certificate, CertificateFiles, Config, SystemPrompt};
use ollama_gateway::config::{self, Environment, Place};
use ollama_gateway::ollama::endpoint::Endpoint;

#[test]
fn each_invalid_file_is_refused_in_its_own_words() {
    let files = cases("invalid");
    assert!(files.len() >= 50, "{} cases", files.len());
    let wrong: Vec<String> = files.iter().filter_map(|path| mismatch(path)).collect();
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

#[test]
fn each_valid_file_loads() {
    let files = cases("valid");
    assert!(!files.is_empty());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(faults) = config::parse("gateway.toml", &text, &environment(&text)) {
            panic!("{}\n{faults}", path.display());
        }
    }
}

#[test]
fn the_example_is_the_defaults() {
    let path = root().join("gateway.toml.example");
    let example = config::load(&path, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let least = parsed("[server]\nnames = [\"ai.example.org\"]\n");
    assert_eq!(format!("{example:#?}"), format!("{least:#?}"));
}

/// Each key that the checker asks for is in the example, commented out where its default is "nothing".
#[test]
fn the_example_has_every_key() {
    let example = std::fs::read_to_string(root().join("gateway.toml.example")).unwrap();
    let uncommented = example.replace("# root", "root").replace("# profile", "profile").replace("# eab", "eab");
    let uncommented = uncommented.replace("# concurrent", "concurrent").replace("# num_ctx", "num_ctx");
    let uncommented = ["issuer", "secret", "keys", "oidc", "authorization", "max_files", "ratio"]
        .iter()
        .fold(uncommented, |text, key| text.replace(&format!("# {key}"), key));
    let uncommented = ["tokens", "requests", "gpu_seconds"]
        .iter()
        .fold(uncommented, |text, key| text.replace(&format!("# {key}"), key));
    let models = ["[models.\"llama3.2:3b\"]", "num_ctx = 8192", "keep_alive = \"30m\"", "loaded_models"];
    let uncommented = models.iter().fold(uncommented, |text, key| text.replace(&format!("# {key}"), key));
    let client = ["[tls.client]", "ca =", "crls =", "mode =", "listeners =", "principals ="];
    let uncommented = client.iter().fold(uncommented, |text, key| text.replace(&format!("# {key}"), key));
    let uncommented: Vec<&str> = uncommented.lines().collect();
    for section in SECTIONS {
        let probe = format!("[{section}]\nzzzzzzzzzzzzzzzzzzzzzz = 1\n");
        let faults = config::parse("probe", &probe, &Environment::default()).unwrap_err();
        let hint = faults.0.iter().find(|fault| fault.key.ends_with("zzz")).unwrap().hint.clone().unwrap();
        let header = uncommented.iter().position(|line| line.starts_with(&format!("[{section}]"))).unwrap();
        let body = uncommented.iter().skip(header + 1).take_while(|line| !line.starts_with('['));
        let body: Vec<&str> = body.filter_map(|line| line.split_once(" = ")).map(|(key, _)| key).collect();
        for key in hint.strip_prefix("its keys are ").unwrap().split(", ") {
            let table = uncommented.iter().any(|line| line.starts_with(&format!("[{section}.{key}]")));
            assert!(table || body.contains(&key), "[{section}] {key} is not in gateway.toml.example");
        }
    }
}

const SECTIONS: [&str; 22] = [
    "server",
    "admin",
    "tls",
    "tls.acme",
    "tls.client",
    "upstream",
    "cors",
    "limits",
    "queue",
    "models.\"llama3.2:3b\"",
    "bans",
    "auth",
    "auth.jwt",
    "roles.user",
    "roles.user.together",
    "roles.user.options",
    "validation",
    "store",
    "log",
    "audit",
    "usage",
    "traces",
];

/// No key takes a date: each has to say so, at its own place.
#[test]
fn every_key_of_the_example_refuses_a_value_of_another_type() {
    let example = std::fs::read_to_string(root().join("gateway.toml.example")).unwrap();
    let lines: Vec<&str> = example.lines().collect();
    let mut keys = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with(['#', '['])) else { continue };
        let broken = lines
            .iter()
            .enumerate()
            .map(|(i, old)| if i == at { format!("{key} = 1979-05-27\n") } else { format!("{old}\n") });
        let faults = config::parse("gateway.toml", &broken.collect::<String>(), &Environment::default()).unwrap_err();
        assert!(faults.0.iter().any(|fault| fault.place.line() == Some(at + 1)), "line {}: {line}\n{faults}", at + 1);
        keys += 1;
    }
    assert!(keys > 70, "{keys}");
}

/// Values in the cases that stand for secrets.
#[test]
fn no_fault_repeats_a_secret() {
    for path in cases("invalid") {
        let text = std::fs::read_to_string(&path).unwrap();
        let Err(faults) = config::parse("gateway.toml", &text, &environment(&text)) else { continue };
        let printed = format!("{faults} {faults:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("bGl0ZXJhbC1zZWNyZXQ"), "{}", path.display());
    }
}

#[test]
fn a_file_that_is_not_there_is_a_fault() {
    let faults = config::load(Path::new("/nowhere/gateway.toml"), &Environment::default()).unwrap_err();
    let text = "/nowhere/gateway.toml: cannot be read: No such file or directory\n  hint: `--config FILE` names it; \
                gateway.toml.example is one to start from";
    assert_eq!(faults.to_string(), text);
    assert_eq!(faults.0[0].place, Place::File("/nowhere/gateway.toml".to_owned()));
}

#[test]
fn the_environment_overrides_the_file() {
    let file = "[server]\nnames = [\"a.example.org\"]\n[cors]\norigins = [\"https://file.example.org\"]\n\
                [limits]\ngeneral = { rate = \"50/minute\", burst = 7 }\nchat = { rate = \"6/minute\", burst = 3 }\n";
    let set = environment(
        "# environment: CORS_ORIGINS=https://env.example.org, http://localhost:3000\n# environment: RATE_LIMIT_CHAT=2/minute\n\
         # environment: RATE_LIMIT_GENERAL=70/hour\n# environment: RATE_LIMIT_HEALTH=60/minute\n\
         # environment: CORS_ALLOW_CREDENTIALS=true\n# environment: CORS_ALLOW_HEADERS=X-Mine\n\
         # environment: CORS_ALLOW_METHODS=GET\n# environment: DATABASE_URL=postgres://u:pw@db.example.org/g\n",
    );
    let config = config::parse("gateway.toml", file, &set).unwrap();
    assert_eq!(config.cors.origins, ["https://env.example.org", "http://localhost:3000"]);
    assert_eq!(config.cors.methods, ["GET"]);
    assert!(config.cors.headers.contains(&"X-Mine".to_owned()) && config.cors.headers.contains(&"X-Token".to_owned()));
    let (general, chat, health) = (config.limits.general, config.limits.chat, config.limits.health);
    assert_eq!((general.count.get(), general.per.as_secs(), general.burst.get()), (70, 3_600, 7));
    assert_eq!((chat.count.get(), chat.burst.get()), (2, 2));
    assert_eq!((health.count.get(), health.burst.get()), (60, 60));
    let written = format!("{file}health = {{ rate = \"9/minute\", burst = 4 }}\n");
    let health = config::parse("gateway.toml", &written, &set).unwrap().limits.health;
    assert_eq!((health.count.get(), health.burst.get()), (60, 4));
    let shown = format!("{config:?}{set:?}");
    assert!(!shown.contains("pw@"), "{shown}");
    let config::types::Store::Postgres(url) = config.store else { panic!("sqlite") };
    assert_eq!(url.expose(), "postgres://u:pw@db.example.org/g?sslmode=verify-full");
}

#[test]
fn a_role_is_what_is_written_on_top_of_what_is_built_in() {
    let config = parsed(
        "[server]\nnames = [\"AI.Example.org.\", \"192.0.2.7\"]\n[tls]\ncertificate = { chain = \"c.pem\", key = \"/k.pem\" }\n\
         [roles.user]\nsystem_prompt = { pin = \"You are kind.\" }\n[roles.user.options]\nnum_predict = { max = 100 }\n",
    );
    let (user, admin) = (&config.roles["user"], &config.roles["admin"]);
    assert_eq!(config.server.names, ["ai.example.org", "192.0.2.7"]);
    assert_eq!(user.system_prompt, SystemPrompt::Pin("You are kind.".to_owned()));
    assert_eq!((user.options.num_predict_default, user.options.num_predict_max), (100, 100));
    assert_eq!(admin.options.num_predict_max, 32_768);
    assert!(user.endpoints.contains(Endpoint::Chat) && !user.endpoints.contains(Endpoint::Delete));
    assert!(admin.endpoints.contains(Endpoint::Delete) && !admin.endpoints.contains(Endpoint::Pull));
    let files = CertificateFiles { chain: PathBuf::from("c.pem"), key: PathBuf::from("/k.pem") };
    assert_eq!(config.tls.certificate, Certificate::Files(vec![files]));
}

#[test]
fn the_trial_serves_this_machine_alone() {
    let config = config::for_trial(Path::new("/tmp/trial"), ([127, 0, 0, 1], 4242).into(), None);
    assert!(config.server.https.iter().all(|address| address.ip().is_loopback()));
    assert!(config.server.http.is_empty() && config.admin.listen.is_none() && config.tls.acme.is_none());
    assert_eq!(config.upstream.address, "127.0.0.1:4242");
    assert_eq!(config.roles.len(), 2);
}

fn parsed(text: &str) -> Config {
    config::parse("gateway.toml", text, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// What differs between the printed faults of a file and the ones at its end.
fn mismatch(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
    let expected = expected.join("\n");
    let name = path.file_name().unwrap().to_string_lossy();
    let printed = match config::parse("gateway.toml", &text, &environment(&text)) {
        Ok(_) => "it loads".to_owned(),
        Err(faults) => faults.to_string(),
    };
    (printed != expected || expected.is_empty())
        .then(|| format!("--- {name}\nexpected:\n{expected}\nprinted:\n{printed}"))
}

fn environment(text: &str) -> Environment {
    let variables = text.lines().filter_map(|line| line.strip_prefix("# environment: ")?.split_once('='));
    Environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>())
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/cases/config").join(kind);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
