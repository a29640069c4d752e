//! What SECURITY.md says to do when something happened: each command, as it stands there, in its order.

use crate::harness::gateway::key_id;
use crate::harness::{Request, Setup, package_file, routes, within};
use crate::sign_in::{PASSWORD, typed};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;

fn blocks() -> Vec<String> {
    let text = std::fs::read_to_string(package_file("SECURITY.md")).unwrap();
    let after = text.split("## When something happened").nth(1).unwrap();
    after.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_page_find_isolate_preserve_and_rebuild() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    typed(&gateway, &["user", "add", "ana", "--role", "user", "--password-stdin"], &format!("{PASSWORD}\n")).await;
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]});
    for key in [&gateway.user, &gateway.user, &gateway.admin] {
        gateway.send(Request::post("/api/chat", &chat).key(key)).await.expect(200);
    }
    within("usage to be written", async {
        while !gateway.setup.run(&["usage", "--by", "model"]).await.1.contains("tiny:latest") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let (id, other) = (key_id(&gateway.user), key_id(&gateway.admin));
    let log = gateway.setup.file("journal");
    std::fs::write(&log, gateway.log_text()).unwrap();
    let binary = env!("CARGO_BIN_EXE_ollama-gateway");
    let config = gateway.setup.config();
    let known = format!(
        "set -e\nollama-gateway() {{ '{binary}' \"$@\" --config '{}'; }}\njournalctl() {{ cat '{}'; }}\n",
        config.display(),
        log.display()
    );
    let blocks = blocks();
    assert_eq!(blocks.len(), 4, "find, isolate, preserve, rebuild");
    let folder = gateway.setup.file("evidence");
    std::fs::create_dir(&folder).unwrap();
    let mut told = String::new();
    for block in blocks {
        // Whether this machine is sound is another test's business; here, that the command does its work.
        let block = block.replace("ollama-gateway doctor", "ollama-gateway doctor || test $? = 1");
        let block = block.replace("ID", id).replace("user lock NAME", "user lock ana");
        let block = block.replace("NAME", "new-key").replace("ADDRESS", "192.0.2.7");
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{known}{block}")]).current_dir(&folder).kill_on_drop(true);
        let output = within("the commands", command.output()).await.unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{block}\n{out}{error}");
        told.push_str(&out);
    }
    assert!(told.contains("the chain is whole") && told.contains("tiny:latest"), "{told}");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let requests: Vec<Value> = read("requests.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(requests.len() == 2 && requests.iter().all(|request| request["principal"] == id), "{requests:?}");
    assert!(read("incident.jsonl").contains("\"ready\"") && read("audit.jsonl").contains(other));
    assert!(read("audit.jsonl").contains("\"ban add\""), "the commands themselves are recorded");
    assert!(folder.join("incident.backup").metadata().unwrap().len() > 1000);
    within("the key to stop", async {
        while gateway.send(Request::get("/api/version").key(&gateway.user)).await.status != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let (_, users, _) = gateway.setup.run(&["user", "list", "--json"]).await;
    let (_, bans, _) = gateway.setup.run(&["ban", "list", "--json"]).await;
    assert!(users.contains("locked") && bans.contains("192.0.2.7"), "{users} {bans}");
}
