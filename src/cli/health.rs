//! `health`: is the gateway alive? For containers, which need no curl for it.

use super::CommandError;
use crate::config::Config;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);

/// Asks the admin listener of the configuration.
///
/// # Errors
/// It is off, or does not say that it is well.
pub async fn run(config: &Config) -> Result<(), CommandError> {
    let Some(address) = config.admin.listen else {
        return Err(CommandError::Unhealthy("admin.listen is off: there is nobody to ask".to_owned()));
    };
    let asked = tokio::time::timeout(DEADLINE, ask(address)).await;
    match asked {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(CommandError::Unhealthy(format!("{address} answers, but not that it is well"))),
        Ok(Err(error)) => Err(CommandError::Unhealthy(format!("{address} does not answer: {error}"))),
        Err(_) => Err(CommandError::Unhealthy(format!("{address} does not answer in time"))),
    }
}

async fn ask(address: std::net::SocketAddr) -> std::io::Result<bool> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    socket.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200"))
}
