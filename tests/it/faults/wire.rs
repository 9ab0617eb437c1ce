//! A client's connection, by hand: it costs little, keeps the connection, and can be as slow as it likes.

use std::io;

use chrono::{DateTime, Utc};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::receive::Post;

/// A connection that requests are sent on, one after the other.
pub struct Wire(BufReader<TcpStream>);

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Whether it says when to try again.
    pub has_retry_after: bool,
}

impl Wire {
    pub async fn connect(addr: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads its whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.0.get_mut().write_all(request).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let status = self.line().await?.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = Answer { status: status.ok_or(io::ErrorKind::InvalidData)?, has_retry_after: false };
        let mut length = 0;
        loop {
            let line = self.line().await?.to_lowercase();
            match line.split_once(": ") {
                None => break,
                Some(("content-length", value)) => length = value.parse().map_err(|_| io::ErrorKind::InvalidData)?,
                Some(("retry-after", _)) => answer.has_retry_after = true,
                Some(_) => {}
            }
        }
        self.0.read_exact(&mut vec![0; length]).await?;
        Ok(answer)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// A webhook as bytes, signed at this time.
pub fn signed(at: DateTime<Utc>, id: &str, body: &str) -> Vec<u8> {
    let post = Post::signed_at(at, id, body);
    let mut text = format!("POST /webhooks/recall HTTP/1.1\r\nHost: rollcall\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in post.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text += body;
    text.into_bytes()
}
