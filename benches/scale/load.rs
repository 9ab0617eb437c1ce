//! Signed deliveries over connections that are kept open.

use std::time::{Duration, Instant};

use rollcall::{clock::Clock, sim::DEFAULT_SECRET};
use svix::webhooks::Webhook;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::Failure;

/// Over so many connections at once.
const CONNECTIONS: u32 = 64;

/// Which calendars deliveries are for: any of `count`, each `apart`th of those that were filled in.
#[derive(Clone, Copy, Debug)]
pub struct Calendars {
    pub count: u32,
    pub apart: u32,
}

/// Deliveries acknowledged in a second.
pub async fn rate(addr: &str, calendars: Calendars, during: Duration) -> Result<f64, Failure> {
    let began = Instant::now();
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let addr = addr.to_owned();
            tokio::spawn(async move { send(&addr, calendars, began + during).await.map_err(|error| error.to_string()) })
        })
        .collect();
    let mut acknowledged = 0;
    for sender in senders {
        acknowledged += sender.await??;
    }
    Ok(f64::from(acknowledged) / began.elapsed().as_secs_f64())
}

async fn send(addr: &str, calendars: Calendars, until: Instant) -> Result<u32, Failure> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut acknowledged = 0;
    while Instant::now() < until {
        acknowledged += u32::from(post(&mut stream, fastrand::u32(0..calendars.count) * calendars.apart).await? == 204);
    }
    Ok(acknowledged)
}

/// Sends one delivery, for calendar `number` of those that were filled in. Returns the status.
async fn post(stream: &mut TcpStream, number: u32) -> Result<u16, Failure> {
    let calendar = crate::filled_id('c', number + 1);
    let now = Clock::system().now();
    let body = format!(
        r#"{{"event":"calendar.sync_events","data":{{"calendar_id":"{calendar}","last_updated_ts":"{}"}}}}"#,
        now.to_rfc3339()
    );
    let (id, timestamp) = (format!("msg_{:016x}{:011x}", fastrand::u64(..), fastrand::u32(..)), now.timestamp());
    let signature = Webhook::new(DEFAULT_SECRET)?.sign(&id, timestamp, body.as_bytes())?;
    let head = format!(
        "POST /webhooks/recall HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nsvix-id: {id}\r\n\
         svix-timestamp: {timestamp}\r\nsvix-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = [0; 1024];
    let mut length = 0;
    // Both answers that there are have no body, or one that comes with the head.
    while !answer[..length].windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let read = stream.read(&mut answer[length..]).await?;
        if read == 0 {
            return Err("the connection was closed".into());
        }
        length += read;
    }
    Ok(std::str::from_utf8(&answer[9..12])?.parse()?)
}
