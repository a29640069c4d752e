//! A stand-in for Ollama in a process of its own, so that nobody counts its work: gives one recorded answer to everything.

use super::recorded::Recorded;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const WANTED: &str = "--stand-in";

/// Whether this program was started as one.
pub(crate) fn is_wanted() -> bool {
    std::env::args().nth(1).as_deref() == Some(WANTED)
}

/// Says where it listens, and answers until nobody is there any more.
pub(crate) fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "{}", listener.local_addr().unwrap()).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            std::thread::spawn(move || answer(&client));
        }
    });
    drop(std::io::stdin().read(&mut [0])); // its end: whoever started this has ended
}

fn answer(client: &TcpStream) {
    client.set_nodelay(true).unwrap();
    let recorded = Recorded::read("chat_nostream");
    let answer = [recorded.head(), recorded.answer()].concat();
    let (mut reader, mut writer) = (BufReader::new(client), client);
    while let Some(length) = head(&mut reader) {
        reader.read_exact(&mut vec![0; length]).unwrap();
        writer.write_all(&answer).unwrap();
    }
}

/// Reads a head; the length of its body.
fn head(reader: &mut impl std::io::BufRead) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
            None if line == "\r\n" => return Some(length),
            Some(_) | None => {}
        }
    }
}

/// One that runs as long as this.
pub(crate) struct StandIn {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg(WANTED).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}
