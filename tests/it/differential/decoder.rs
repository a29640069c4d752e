//! The Go program of `tests/differential`: built by the test itself, fed through a pipe.

use serde::Deserialize;
use serde_json::Value;
use std::io::{BufRead, BufReader, BufWriter, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

/// What Go reads in a body.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct View {
    /// Why it reads nothing; empty: it does.
    pub(crate) error: String,
    pub(crate) model: String,
    pub(crate) name: Option<NameParts>,
    pub(crate) stream: bool,
    pub(crate) limit: Option<i64>,
    pub(crate) said: Option<Vec<Said>>,
    /// Every field of the route's struct.
    pub(crate) read: Value,
}

/// How Ollama's parser takes a name apart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NameParts {
    pub(crate) valid: bool,
    pub(crate) full: String,
    pub(crate) source: String,
    pub(crate) foreign: bool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Said {
    pub(crate) role: String,
    pub(crate) parts: Option<Vec<String>>,
    pub(crate) thinking: String,
    pub(crate) images: Option<Vec<String>>,
    pub(crate) calls: Option<Vec<Called>>,
    pub(crate) tool_name: String,
    pub(crate) call_id: String,
}

/// One call of a tool; its arguments keep their order.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Called {
    id: String,
    name: String,
    arguments: Value,
}

/// The running program.
pub(crate) struct Decoder {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Decoder {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(program())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the decoder that was just built does not start");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    /// Reads bodies, each by its route's reader. The pipe is written by another thread, so that neither side waits for
    /// the other for ever.
    pub(crate) fn read(&mut self, bodies: &[(&str, &[u8])]) -> Vec<View> {
        let (input, output) = (self.input.as_mut().unwrap(), &mut self.output);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut input = BufWriter::new(input);
                for (route, body) in bodies {
                    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
                    input.write_all(&[u8::try_from(route.len()).unwrap()]).unwrap();
                    for piece in [route.as_bytes(), &length, body] {
                        input.write_all(piece).unwrap();
                    }
                }
                input.flush().unwrap();
            });
            let line = |_: &_| output.next().expect("the decoder ended early").unwrap();
            bodies.iter().map(line).map(|line| view(&line)).collect()
        })
    }
}

fn view(line: &str) -> View {
    // What Go writes may be nested deeper than serde_json reads by default; such a body is refused by the gateway.
    serde_json::from_str(line).unwrap_or_else(|error| View { error: format!("unreadable: {error}"), ..View::default() })
}

impl Drop for Decoder {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ended = self.child.wait();
    }
}

fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/differential");
        let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("differential-{}", std::process::id()));
        let program = built.with_file_name("differential");
        let output = Command::new("go")
            .args(["build", "-buildvcs=false", "-o"])
            .args([built.as_os_str(), ".".as_ref()])
            .env("GOTOOLCHAIN", "local")
            .current_dir(source)
            .output()
            .expect("this test needs Go (1.18 or newer) as `go` in PATH: it compares with Go's own encoding/json");
        assert!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&built, &program).unwrap();
        program
    })
}
