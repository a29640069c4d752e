//! `try`: the lines that it prints work when they are pasted, and nothing stays behind.

use crate::harness::within_time;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A debug build makes its certificate slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start() -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ollama-gateway"));
    command.args(["try", "--port", "0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = String::new();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            text.push_str(&line);
            text.push('\n');
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
    };
    within_time(PATIENCE, "the introduction", reading).await;
    (child, text)
}

/// The commands among the lines, those of several lines whole.
fn commands(text: &str) -> Vec<&str> {
    text.split("\n\n").filter(|paragraph| paragraph.starts_with("curl ")).collect()
}

async fn paste(command: &str) -> String {
    let script = format!("{} --silent --show-error --fail --max-time 20", command.trim());
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output();
    let output = within_time(PATIENCE, command, output).await.unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_it_prints_work_when_pasted_and_nothing_stays() {
    let (mut child, text) = start().await;
    let commands = commands(&text);
    assert_eq!(commands.len(), 4, "{text}");
    let folder = text.split("--cacert ").nth(1).unwrap().split("/self-signed").next().unwrap().to_owned();
    let mut answers = Vec::new();
    for command in commands {
        assert!(!command.contains(" -k") && !command.contains("--insecure"), "{command}");
        answers.push(paste(command).await);
    }
    assert!(answers[0].contains("ok"), "{}", answers[0]);
    assert!(answers[1].contains("\"models\""), "{}", answers[1]);
    assert!(answers[2].lines().last().unwrap().contains("\"done\":true"), "{}", answers[2]);
    assert!(answers[3].trim_end().ends_with("data: [DONE]"), "{}", answers[3]);
    let console = text.split("with this key: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert!(paste(&format!("curl {console}")).await.contains("Sign in"), "{console}");
    assert!(std::path::Path::new(&folder).is_dir(), "{folder}");
    let stop = format!("kill -INT {}", child.id().unwrap());
    assert!(Command::new("sh").args(["-c", &stop]).status().await.unwrap().success());
    assert!(within_time(PATIENCE, "its end", child.wait()).await.unwrap().success());
    assert!(!std::path::Path::new(&folder).exists(), "{folder} is still there");
}
