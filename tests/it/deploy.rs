//! What is under `deploy/`: it parses, is as closed as it says, and fits together: names, ports, files.

use super::harness::package_file;
use ollama_gateway::config::{self, Config, Environment};
use serde_json::Value;
use std::process::Command;

/// All documents of a YAML file, by the parser of the tests' Python.
fn documents(file: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let python = package_file("tests/clients/.venv/bin/python");
    let output = Command::new(python).args(["-c", script]).arg(package_file(file)).output().unwrap();
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn resource(file: &str, kind: &str, name: &str) -> Value {
    let found = documents(file).into_iter().find(|d| d["kind"] == kind && d["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in {file}"))
}

fn parsed(text: &str) -> Config {
    config::parse("gateway.toml", text, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn pod(file: &str, name: &str) -> Value {
    resource(file, "Deployment", name)["spec"]["template"]["spec"].clone()
}

#[test]
fn the_kustomization_names_files_that_are_there_and_none_is_forgotten() {
    let kustomization = documents("deploy/kubernetes/kustomization.yaml").remove(0);
    let named: Vec<_> = kustomization["resources"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let folder = std::fs::read_dir(package_file("deploy/kubernetes")).unwrap().map(|f| f.unwrap().file_name());
    let files: Vec<_> = folder.map(|name| name.into_string().unwrap()).filter(|n| n.ends_with(".yaml")).collect();
    assert_eq!(files.len(), named.len() + 1);
    for file in named {
        for document in documents(&format!("deploy/kubernetes/{file}")) {
            assert!(document["apiVersion"].is_string() && document["metadata"]["name"].is_string(), "{file}");
        }
    }
}

/// By the schemas that Kubernetes publishes, strictly: a misspelt field is a fault.
fn is_valid(file: &std::path::Path) -> bool {
    let validator = package_file("tests/clients/.venv/bin/kubernetes-validate");
    Command::new(validator).args(["--strict", "--quiet"]).arg(file).status().unwrap().success()
}

#[test]
fn the_manifests_fit_the_schemas_of_kubernetes() {
    for file in ["namespace", "gateway", "ollama", "networkpolicies"] {
        assert!(is_valid(&package_file(&format!("deploy/kubernetes/{file}.yaml"))), "{file}");
    }
    let folder = tempfile::TempDir::new().unwrap();
    let text = std::fs::read_to_string(package_file("deploy/kubernetes/gateway.yaml")).unwrap();
    for (right, wrong) in
        [("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"), ("replicas: 1", "replicas: one")]
    {
        assert!(text.contains(right), "{right}");
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, text.replace(right, wrong)).unwrap();
        assert!(!is_valid(&file), "{wrong} is found");
    }
}

/// The program of `tests/kubernetes`; Go keeps what it has compiled.
fn strict_decoder(folder: &std::path::Path) -> std::path::PathBuf {
    let program = folder.join("kubernetes");
    let mut build = Command::new(package_file("tests/clients/.venv/bin/go"));
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(package_file("tests/kubernetes"));
    let output = build.env("GOTOOLCHAIN", "local").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// And by the types that its own programs, and the Prometheus operator's, read them with.
#[test]
fn the_manifests_are_read_strictly_by_the_types_of_those_who_read_them() {
    let folder = tempfile::TempDir::new().unwrap();
    let program = strict_decoder(folder.path());
    let manifests = std::fs::read_dir(package_file("deploy/kubernetes")).unwrap().map(|entry| entry.unwrap().path());
    let is_manifest = |path: &std::path::PathBuf| {
        path.extension().is_some_and(|end| end == "yaml") && !path.ends_with("kustomization.yaml")
    };
    let manifests: Vec<_> = manifests.filter(is_manifest).collect();
    assert!(manifests.iter().any(|path| path.ends_with("servicemonitor.yaml")) && manifests.len() > 4);
    let output = Command::new(&program).args(&manifests).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (file, right, wrong, told) in [
        ("servicemonitor", "endpoints:", "endpoint:", "unknown field \"spec.endpoint\""),
        ("servicemonitor", "interval: 15s", "interval: [15]", "cannot unmarshal"),
        ("servicemonitor", "monitoring.coreos.com/v1", "monitoring.coreos.com/v1alpha1", "not a kind that is known"),
        ("gateway", "readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true", "unknown field"),
        ("networkpolicies", "podSelector: {}", "podSelector: {}\n  podSelector: {}", "already set"),
    ] {
        let text = std::fs::read_to_string(package_file(&format!("deploy/kubernetes/{file}.yaml"))).unwrap();
        assert!(text.contains(right), "{right}");
        let broken = folder.path().join("broken.yaml");
        std::fs::write(&broken, text.replacen(right, wrong, 1)).unwrap();
        let output = Command::new(&program).arg(&broken).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(told), "{wrong}: {error}");
    }
}

/// The public pipeline runs the tests, and looks every week whether a dependency has a known fault.
#[test]
fn the_public_pipeline_runs_what_is_there() {
    let workflow = documents(".github/workflows/ci.yml").remove(0);
    // YAML 1.1 reads the word `on` as true.
    let schedule = &workflow["true"]["schedule"][0]["cron"];
    assert!(schedule.as_str().is_some_and(|cron| cron.split(' ').count() == 5 && !cron.ends_with('*')), "{schedule}");
    assert!(workflow["jobs"]["audit"]["if"].is_null(), "the audit runs by the schedule too");
    let steps = workflow["jobs"].as_object().unwrap().values().flat_map(|job| job["steps"].as_array().unwrap());
    let runs: Vec<_> = steps.filter_map(|step| step["run"].as_str()).collect();
    for wanted in ["tests/run", "target/tools/bin/cargo-deny check"] {
        assert!(runs.contains(&wanted), "{wanted}: {runs:?}");
    }
    let deny = std::fs::read_to_string(package_file("tests/run")).unwrap();
    let version = deny.lines().find_map(|line| line.strip_prefix("DENY_VERSION=")).unwrap();
    assert!(runs.iter().any(|run| run.contains(&format!("cargo-deny --version {version} "))), "{runs:?}");
    for run in runs {
        let program = run.split(' ').next().unwrap();
        let ours = program.starts_with("tests/") || program.starts_with("deploy/");
        assert!(!ours || package_file(program).is_file(), "{program}");
    }
}

/// The image, the package and what anybody can build again are the same program, by the same profile.
#[test]
fn what_is_shipped_is_built_in_one_way() {
    let read = |file: &str| std::fs::read_to_string(package_file(file)).unwrap();
    for file in ["Dockerfile", "deploy/debian/prepare", "deploy/release/reproduce"] {
        let text = read(file);
        assert!(text.contains("deploy/release/build") && !text.contains("cargo build"), "{file}");
    }
    let (build, context) = (read("deploy/release/build"), read(".dockerignore"));
    assert!(build.contains("$PWD/deploy/release/dist.profdata") && build.contains("--locked"));
    for file in ["deploy/release/build", "deploy/release/dist.profdata"] {
        let named = context.lines().any(|line| line.strip_prefix('!') == Some(file));
        assert!(named && package_file(file).is_file(), "{file}");
    }
}

#[test]
fn the_scripts_of_a_release_are_sound() {
    for script in [
        "deploy/release/sbom",
        "deploy/release/reproduce",
        "deploy/release/build",
        "deploy/release/profile",
        "deploy/debian/prepare",
        "deploy/debian/verify",
        "tests/systemd/run",
        "tests/systemd/inside",
        "tests/run",
    ] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&package_file(script).metadata().unwrap().permissions());
        assert!(mode & 0o111 != 0, "{script}");
        assert!(Command::new("bash").arg("-n").arg(package_file(script)).status().unwrap().success(), "{script}");
    }
}

/// Kubernetes' profile "restricted", with a read-only root and no token of the cluster.
#[test]
fn the_pods_are_restricted() {
    for (file, name) in
        [("deploy/kubernetes/gateway.yaml", "ollama-gateway"), ("deploy/kubernetes/ollama.yaml", "ollama")]
    {
        let pod = pod(file, name);
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert!(pod["securityContext"]["runAsUser"].as_u64().unwrap() >= 10_000, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        for shared in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[shared].is_null(), "{name}: {shared}");
        }
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
            let image = container["image"].as_str().unwrap();
            let tag = image.rsplit_once(':').unwrap().1;
            assert!(tag != "latest" && tag.starts_with(|c: char| c.is_ascii_digit()), "{image}");
        }
        for volume in pod["volumes"].as_array().unwrap() {
            assert!(volume["hostPath"].is_null(), "{name}");
            let mode = volume["secret"]["defaultMode"].as_u64();
            assert!(volume["secret"].is_null() || mode == Some(0o440), "{name}: {volume}");
        }
    }
    let namespace = resource("deploy/kubernetes/namespace.yaml", "Namespace", "ollama");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn the_policy_in_the_cluster_fits_its_ports_volumes_and_probes() {
    let config = parsed(include_str!("../../deploy/kubernetes/gateway.toml"));
    let pod = pod("deploy/kubernetes/gateway.yaml", "ollama-gateway");
    let container = &pod["containers"][0];
    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"].as_u64().unwrap()
    };
    let metrics = config.admin.metrics.unwrap();
    assert_eq!(port("https"), u64::from(config.server.https[0].port()));
    assert_eq!(port("http"), u64::from(config.server.http[0].port()));
    assert_eq!(port("metrics"), u64::from(metrics.port()));
    assert!(metrics.ip().is_unspecified() && config.admin.listen.unwrap().ip().is_loopback());
    for (probe, path) in [("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], "metrics");
    }
    let mounted = |folder: &str| container["volumeMounts"].as_array().unwrap().iter().any(|m| m["mountPath"] == folder);
    // A folder in the volume, which the gateway makes 0700 itself; the volume's own root belongs to the group.
    assert!(mounted(config.server.state.parent().unwrap().to_str().unwrap()) && mounted("/etc/ollama-gateway/tls"));
    assert_eq!(pod["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > config.server.drain_timeout.as_secs());
    let ollama = resource("deploy/kubernetes/ollama.yaml", "Service", "ollama");
    let address = format!("ollama:{}", ollama["spec"]["ports"][0]["port"]);
    assert_eq!(config.upstream.address, address);
}

#[test]
fn only_the_gateway_reaches_ollama_and_only_the_front_reaches_the_gateway() {
    let file = "deploy/kubernetes/networkpolicies.yaml";
    let nothing = resource(file, "NetworkPolicy", "nothing-by-default");
    assert_eq!(nothing["spec"]["podSelector"], serde_json::json!({}));
    assert_eq!(nothing["spec"]["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
    assert!(nothing["spec"]["ingress"].is_null() && nothing["spec"]["egress"].is_null());
    let ollama = resource(file, "NetworkPolicy", "ollama");
    let from = &ollama["spec"]["ingress"];
    assert_eq!(from.as_array().unwrap().len(), 1);
    assert_eq!(from[0]["from"].as_array().unwrap().len(), 1);
    let selector = &from[0]["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"];
    assert_eq!(selector, "ollama-gateway");
    assert_eq!(ollama["spec"]["egress"], serde_json::json!([]));
    let gateway = resource(file, "NetworkPolicy", "gateway");
    for rule in gateway["spec"]["ingress"].as_array().unwrap() {
        let from = rule["from"].as_array().unwrap();
        assert!(from.iter().all(|peer| peer["namespaceSelector"]["matchLabels"].is_object()), "{rule}");
        assert!(rule["ports"].as_array().is_some_and(|ports| !ports.is_empty()), "{rule}");
    }
    let monitor = resource("deploy/kubernetes/servicemonitor.yaml", "ServiceMonitor", "ollama-gateway");
    let service = resource("deploy/kubernetes/gateway.yaml", "Service", "ollama-gateway-metrics");
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]);
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
}

#[test]
fn in_compose_ollama_has_no_port_and_no_way_out() {
    let compose = documents("deploy/compose.yaml").remove(0);
    let (gateway, ollama) = (&compose["services"]["gateway"], &compose["services"]["ollama"]);
    assert!(ollama["ports"].is_null() && ollama["network_mode"].is_null());
    assert_eq!(ollama["networks"], serde_json::json!(["back"]));
    assert_eq!(compose["networks"]["back"]["internal"], true);
    assert_eq!((&gateway["read_only"], &gateway["cap_drop"][0]), (&true.into(), &"ALL".into()));
    let config = parsed(compose["configs"]["gateway"]["content"].as_str().unwrap());
    assert_eq!(gateway["ports"][0], format!("443:{}", config.server.https[0].port()));
    assert_eq!(gateway["ports"][1], format!("80:{}", config.server.http[0].port()));
    assert_eq!(config.upstream.address, "ollama:11434");
    for image in [&gateway["image"], &ollama["image"]] {
        assert!(!image.as_str().unwrap().ends_with(":latest"), "{image}");
    }
}

#[test]
fn the_debian_package_has_files_that_are_there() {
    let manifest: toml::Table = std::fs::read_to_string(package_file("Cargo.toml")).unwrap().parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let assets: Vec<_> = deb["assets"].as_array().unwrap().iter().filter_map(|asset| asset[0].as_str()).collect();
    let (made, kept): (Vec<_>, Vec<_>) = assets.into_iter().partition(|asset| asset.starts_with("target/"));
    assert!(kept.iter().all(|asset| package_file(asset).is_file()), "{kept:?}");
    // A reload is a signal, and a minimal Debian has no program that sends one.
    let unit = std::fs::read_to_string(package_file("systemd/ollama-gateway.service")).unwrap();
    let depends: Vec<_> = deb["depends"].as_str().unwrap().split(", ").collect();
    assert!(unit.contains("ExecReload=/bin/kill") && depends.contains(&"procps"), "{depends:?}");
    let prepare = std::fs::read_to_string(package_file("deploy/debian/prepare")).unwrap();
    assert!(made.iter().all(|asset| prepare.contains(asset)), "{made:?}");
    let postinst = package_file(deb["maintainer-scripts"].as_str().unwrap()).join("postinst");
    for script in [postinst, package_file("deploy/debian/prepare")] {
        assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success(), "{}", script.display());
    }
}
