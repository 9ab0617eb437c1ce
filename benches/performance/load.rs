//! A light HTTP/1.1 client: what is sent is bytes that were prepared, and signed, before the clock starts. Client, server and
//! database share the machine, so each microsecond that the client takes is missing elsewhere.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use rollcall::{clock::Clock, sim};
use svix::webhooks::Webhook;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::rounds::quantile;

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request; returns the status and the body of the answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<(u16, String)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server hung up");
            let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end])?;
            let status = head.get(9..12).context("no status")?.parse()?;
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(Ok(0), str::parse)?;
            if self.buffer.len() >= end + 4 + length {
                return Ok((status, String::from_utf8_lossy(&self.buffer[end + 4..]).into_owned()));
            }
        }
    }
}

/// A request without proof.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: rollcall.test\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// A signed `calendar.sync_events`, with the headers that Svix sends and an id of its own, which begins with the time as Svix's do:
/// the calendar has changed `since`.
pub(crate) fn delivery(path: &str, calendar: Uuid, since: DateTime<Utc>) -> anyhow::Result<Vec<u8>> {
    let now = Clock::system().now();
    let body = serde_json::json!({
        "event": "calendar.sync_events",
        "data": { "calendar_id": calendar, "last_updated_ts": since },
    });
    let (id, body, timestamp) = (message_id(now), body.to_string(), now.timestamp());
    let signature = Webhook::new(sim::DEFAULT_SECRET)?.sign(&id, timestamp, body.as_bytes())?;
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: rollcall.test\r\nUser-Agent: Svix-Webhooks/1.62\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nwebhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\n\
         webhook-signature: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    Ok(request.into_bytes())
}

/// As many characters as a KSUID has, and as it does, the time before what is random.
fn message_id(now: DateTime<Utc>) -> String {
    format!("msg_{:08x}{:.19}", now.timestamp(), Uuid::new_v4().simple().to_string())
}

/// So many deliveries, with distinct ids, over so many calendars.
pub(crate) fn deliveries(path: &str, count: usize, calendars: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let now = Clock::system().now();
    (0..count).map(|number| delivery(path, crate::api::calendar_id(number % calendars), now)).collect()
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Sends all requests over so many connections, each as soon as its connection has the answer to the one before.
pub(crate) async fn run(addr: SocketAddr, connections: usize, requests: Vec<Vec<u8>>) -> anyhow::Result<Load> {
    let (count, requests, next) = (requests.len(), Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let mut open = vec![];
    for _ in 0..connections {
        open.push(Connection::open(addr).await?);
    }
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for mut connection in open {
        let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
        tasks.spawn(async move {
            let mut latencies = vec![];
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sent_at = Instant::now();
                let (status, body) = connection.send(request).await?;
                ensure!(status == 204, "answered {status}: {body}");
                latencies.push(sent_at.elapsed().as_secs_f64());
            }
            Ok(latencies)
        });
    }
    let mut latencies = vec![];
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    let took = started.elapsed().as_secs_f64();
    let p50 = quantile(latencies.clone(), 0.5);
    Ok(Load { per_second: count as f64 / took, p50, p99: quantile(latencies, 0.99) })
}
