//! The rules of the house that no compiler knows: size, names, layers, and what a stage type must not have.

use crate::harness::package_file;
use std::collections::BTreeSet;
use std::path::Path;

const MAX_LINES: usize = 400;

/// Words that say nothing about what is in a file or a type.
const EMPTY_NAMES: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "manager", "handler"];

/// Bottom to top: a module uses its own layer and those below it. The longest name that fits counts.
const LAYERS: [&[&str]; 7] = [
    &["ollama", "http1", "config::types", "config::secret"],
    &["config", "policy", "telemetry", "store"],
    &["identity", "limits", "upstream", "certificates"],
    &["rejection", "demo"],
    &["gateway", "pipeline"],
    &["server", "console", "reload"],
    &["cli"],
];

/// Modules that get everything they need as values: no sockets, no clock.
const SANS_IO: [&str; 13] = [
    "src/pipeline/inspect.rs",
    "src/pipeline/route.rs",
    "src/pipeline/authorize.rs",
    "src/pipeline/sanitise.rs",
    "src/ollama/call/",
    "src/ollama/response/",
    "src/ollama/strict_json",
    "src/ollama/model_name",
    "src/ollama/dialect",
    "src/http1/framing.rs",
    "src/http1/lines.rs",
    "src/http1/request.rs",
    "src/http1/response.rs",
];

/// Each proves that the stages before it were passed, so that nobody else may make one.
const STAGES: [&str; 9] =
    ["Inspected", "Routed", "Authenticated", "Authorized", "Limited", "Admitted", "Queued", "Received", "Answer"];

struct File {
    name: String,
    text: String,
}

fn sources(folders: &[&str]) -> Vec<File> {
    let mut files = Vec::new();
    for folder in folders {
        collect(&package_file(folder), &mut files);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn collect(folder: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(package_file("")).unwrap().display().to_string();
            files.push(File { name, text: std::fs::read_to_string(&path).unwrap() });
        }
    }
}

#[track_caller]
fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_is_short_and_says_what_it_guarantees() {
    let files = sources(&["src", "tests/it"]);
    assert!(files.len() > 40);
    let fault = |file: &File| {
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            return Some(format!("{}: {lines} lines", file.name));
        }
        (!file.text.starts_with("//! ")).then(|| format!("{}: does not open with //!", file.name))
    };
    assert_none(files.iter().filter_map(fault).collect());
}

#[test]
fn no_name_is_empty_of_meaning() {
    let mut faults = Vec::new();
    for file in
        sources(&["src", "tests/it", "benches", "fuzz"].map(|f| if package_file(f).is_dir() { f } else { "src" }))
    {
        let words = file.name.trim_end_matches(".rs").split(['/', '_']);
        if words.clone().any(|word| EMPTY_NAMES.contains(&word)) {
            faults.push(file.name.clone());
        }
        for (kind, rest) in
            ["struct ", "enum ", "trait ", "mod "].iter().flat_map(|k| file.text.split(k).skip(1).map(move |r| (k, r)))
        {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let lower = name.to_ascii_lowercase();
            if EMPTY_NAMES.iter().any(|empty| lower.ends_with(empty)) {
                faults.push(format!("{}: {kind}{name}", file.name));
            }
        }
    }
    faults.sort();
    faults.dedup();
    assert_none(faults);
}

/// The layer of a path such as `pipeline::body`.
fn layer(module: &str) -> Option<usize> {
    let fits = |name: &&str| module == *name || module.starts_with(&format!("{name}::"));
    let named = LAYERS.iter().enumerate().flat_map(|(layer, names)| names.iter().map(move |name| (layer, name)));
    named.filter(|(_, name)| fits(name)).max_by_key(|(_, name)| name.len()).map(|(layer, _)| layer)
}

/// `src/pipeline/mod.rs` is `pipeline`.
fn module_of(file: &File) -> String {
    let path = file.name.trim_start_matches("src/").trim_end_matches(".rs");
    path.trim_end_matches("/mod").replace('/', "::")
}

fn code(file: &File) -> impl Iterator<Item = &str> {
    let served = file.text.split("#[cfg(test)]").next().unwrap();
    served.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn no_layer_uses_one_above_it() {
    let files = sources(&["src"]);
    // A module that uses nothing of this crate is at the bottom, wherever its file lies.
    let leaves: BTreeSet<String> = files
        .iter()
        .filter(|file| code(file).all(|line| !line.contains("crate::") && !line.contains("super::")))
        .map(module_of)
        .collect();
    let mut faults = BTreeSet::new();
    for file in &files {
        let module = module_of(file);
        if matches!(module.as_str(), "main" | "lib") {
            continue;
        }
        let Some(own) = layer(&module) else {
            faults.insert(format!("{}: in no layer", file.name));
            continue;
        };
        for used in code(file).flat_map(|line| line.split("crate::").skip(1)) {
            let path: String =
                used.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')).collect();
            let of_leaf = leaves.iter().any(|leaf| leaf.contains("::") && path.starts_with(&format!("{leaf}::")));
            if !of_leaf && layer(&path).is_some_and(|used| used > own) {
                faults.insert(format!("{} uses {path}", file.name));
            }
        }
    }
    assert_none(faults.into_iter().collect());
}

#[test]
fn what_is_sans_io_names_no_runtime_and_no_clock() {
    let mut faults = Vec::new();
    for file in sources(&["src"]) {
        if !SANS_IO.iter().any(|name| file.name.starts_with(name)) || file.name.ends_with("tests.rs") {
            continue;
        }
        let code = file.text.split("#[cfg(test)]").next().unwrap();
        for word in ["tokio::", "Instant::now", "SystemTime::now", "std::fs", "std::net::Tcp"] {
            if code.contains(word) {
                faults.push(format!("{}: {word}", file.name));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn stage_types_cannot_be_made_or_copied_by_others() {
    let files = sources(&["src/pipeline"]);
    let mut faults = Vec::new();
    for stage in STAGES {
        let declaration = format!("pub struct {stage}");
        let found = files.iter().find_map(|file| {
            let (before, after) = file.text.split_once(&declaration)?;
            after.starts_with([' ', '<', '(', '{']).then_some((file, before, after))
        });
        let Some((file, before, after)) = found else {
            faults.push(format!("{stage}: no such stage"));
            continue;
        };
        let attributes = before.rsplit("\n\n").next().unwrap();
        let derived = attributes.lines().filter(|line| line.starts_with("#[derive")).collect::<String>();
        for kind in ["Clone", "Copy", "Default", "Deserialize"] {
            let by_hand = [format!("{kind} for {stage}"), format!("{kind}<'_> for {stage}")];
            if derived.contains(kind) || files.iter().any(|f| by_hand.iter().any(|words| f.text.contains(words))) {
                faults.push(format!("{stage} is {kind}"));
            }
        }
        let fields = after.split("\n}").next().unwrap();
        if fields.contains("    pub ") || after.starts_with("(pub ") {
            faults.push(format!("{stage}: a field is public ({})", file.name));
        }
        if files.iter().any(|f| f.text.contains(&format!("> for {stage} {{")) && f.text.contains("impl From<")) {
            faults.push(format!("{stage}: From"));
        }
    }
    assert_none(faults);
}

#[test]
fn unsafe_code_is_nowhere() {
    let manifest = std::fs::read_to_string(package_file("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
}

#[test]
fn no_private_key_is_among_the_files() {
    let mut faults = Vec::new();
    for folder in ["certs", "tests/cases", "deploy", "systemd"] {
        let folder = package_file(folder);
        if folder.is_dir() {
            find_keys(&folder, &mut faults);
        }
    }
    assert_none(faults);
}

fn find_keys(folder: &Path, faults: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_keys(&path, faults);
        } else if holds_key(&String::from_utf8_lossy(&std::fs::read(&path).unwrap())) {
            let ignored = path.extension().is_some_and(|extension| extension == "pem");
            if !(ignored && path.parent().is_some_and(|folder| folder.ends_with("certs"))) {
                faults.push(path.display().to_string());
            }
        }
    }
}

/// Whether there is a key after the words, and not the words alone.
fn holds_key(text: &str) -> bool {
    text.split("PRIVATE KEY-----\n").skip(1).any(|after| {
        after.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\n')).count() > 60
    })
}
