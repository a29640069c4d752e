//! The stand-in's connections: one task reads and keeps, another one writes what the test's script says.

use super::hex;
use super::message::{Decoder, Head};
use super::ollama::{Close, Keeping, Received, Shared};
use super::reply::{Reply, Start, Step};
use aws_lc_rs::digest::{Context, SHA256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

/// Bytes of one body or one connection that are kept; of longer bodies the count and the hash are known.
const KEPT: usize = 1 << 20;

/// Serves until it is aborted.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let mut connection = 0;
        shared.change(|seen| {
            connection = seen.closes.len();
            seen.open += 1;
            if shared.keeping == Keeping::Everything {
                seen.closes.push(None);
                seen.raw.push(Vec::new());
            }
        });
        tokio::spawn(serve(stream, connection, Arc::clone(&shared)));
    }
}

/// Reads in one task and writes in the other, so that the end of the connection is seen while an answer is written.
async fn serve(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let (read, write) = stream.into_split();
    let (replies, to_write) = mpsc::channel(16);
    let (closed, is_closed) = watch::channel(false);
    let quit = Arc::new(Notify::new());
    tokio::spawn(write_replies(write, to_write, is_closed, Arc::clone(&shared), Arc::clone(&quit)));
    let mut reader = Reader { read, connection, shared, replies, buffer: Vec::new() };
    let close = tokio::select! {
        close = reader.read_requests() => close,
        () = quit.notified() => Close::Reset(Instant::now()),
    };
    reader.shared.change(|seen| {
        seen.open -= 1;
        seen.closes.get_mut(connection).into_iter().for_each(|end| *end = Some(close));
    });
    closed.send_replace(true);
}

struct Reader {
    read: OwnedReadHalf,
    connection: usize,
    shared: Arc<Shared>,
    replies: mpsc::Sender<Reply>,
    buffer: Vec<u8>,
}

impl Reader {
    async fn read_requests(&mut self) -> Close {
        loop {
            while Head::end(&self.buffer).is_none() {
                if let Err(close) = self.read_more().await {
                    return close;
                }
            }
            if let Err(close) = self.read_request().await {
                return close;
            }
        }
    }

    async fn read_request(&mut self) -> Result<(), Close> {
        let raw_head: Vec<u8> = self.buffer.drain(..Head::end(&self.buffer).unwrap()).collect();
        let head = Head::parse(&raw_head);
        let framing = head.request_framing();
        let mut received = Received {
            connection: self.connection,
            raw_head,
            head,
            body: Vec::new(),
            body_length: 0,
            sha256: String::new(),
        };
        let mut index = 0;
        self.shared.change(|seen| {
            index = seen.requests.len();
            if self.shared.keeping == Keeping::Everything {
                seen.requests.push(received.clone());
            }
        });
        let early = self.shared.reply_to(&received);
        if early.start == Start::AfterHead {
            self.answer(early.clone()).await;
        }
        let (mut decoder, mut hash) = (Decoder::new(framing), Context::new(&SHA256));
        while !decoder.done() {
            while let Some(piece) = decoder.next(&mut self.buffer) {
                hash.update(&piece);
                received.body_length += piece.len() as u64;
                received.body.extend(piece.iter().take(KEPT - received.body.len().min(KEPT)));
            }
            self.shared.change(|seen| {
                seen.requests.get_mut(index).into_iter().for_each(|kept| kept.body_length = received.body_length);
            });
            if !decoder.done() {
                self.read_more().await?;
            }
        }
        received.sha256 = hex(hash.finish().as_ref());
        self.shared.change(|seen| {
            seen.whole += 1;
            seen.requests.get_mut(index).into_iter().for_each(|kept| *kept = received.clone());
        });
        if early.start == Start::AfterBody {
            self.answer(self.shared.reply_to(&received)).await;
        }
        Ok(())
    }

    /// Hands a script to the writer; a writer that broke off takes no more.
    async fn answer(&self, reply: Reply) {
        drop(self.replies.send(reply).await);
    }

    async fn read_more(&mut self) -> Result<(), Close> {
        let mut bytes = vec![0; 64 * 1024];
        match self.read.read(&mut bytes).await {
            Ok(0) => Err(Close::Fin(Instant::now())),
            Err(_) => Err(Close::Reset(Instant::now())),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                let connection = self.connection;
                self.shared.change(|seen| {
                    let Some(raw) = seen.raw.get_mut(connection) else { return };
                    raw.extend(bytes[..count].iter().take(KEPT - raw.len().min(KEPT)));
                });
                Ok(())
            }
        }
    }
}

async fn write_replies(
    mut write: OwnedWriteHalf,
    mut replies: mpsc::Receiver<Reply>,
    mut closed: watch::Receiver<bool>,
    shared: Arc<Shared>,
    quit: Arc<Notify>,
) {
    while let Some(reply) = replies.recv().await {
        for step in reply.steps {
            if matches!(step, Step::Reset) {
                socket2::SockRef::from(write.as_ref()).set_linger(Some(Duration::ZERO)).unwrap();
                write.forget();
                quit.notify_one();
                return;
            }
            let ends = matches!(step, Step::Fin);
            tokio::select! {
                alive = run(&mut write, step) => if !alive {
                    shared.change(|seen| seen.answered += usize::from(ends));
                    return;
                },
                _ = closed.wait_for(|closed| *closed) => return,
            }
        }
        shared.change(|seen| seen.answered += 1);
    }
}

/// Takes one step; `false`: there will be no more.
async fn run(write: &mut OwnedWriteHalf, step: Step) -> bool {
    match step {
        Step::Bytes(bytes) => write.write_all(&bytes).await.is_ok(),
        Step::Repeat(bytes, times) => {
            for _ in 0..times {
                if write.write_all(&bytes).await.is_err() {
                    return false;
                }
            }
            true
        }
        Step::Pause(pause) => {
            tokio::time::sleep(pause).await;
            true
        }
        Step::Gate(gate) => {
            gate.acquire().await.unwrap().forget();
            true
        }
        Step::Stall => std::future::pending().await,
        Step::Fin => {
            drop(write.shutdown().await);
            false
        }
        Step::Reset => false,
    }
}
