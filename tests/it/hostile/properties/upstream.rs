//! An API that answers whatever it is told to, and the service's client, which calls it over a real connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rollcall::{config::RecallConfig, domain::budget::Limits, recall::Client};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

const API_KEY: &str = "api-key-of-the-tests";

thread_local! {
    static STAGE: Stage = Stage::new();
}

struct Stage {
    runtime: Runtime,
    client: Client,
    script: Arc<Mutex<Script>>,
}

/// The answer to all requests, and the head of each.
#[derive(Default)]
struct Script {
    answer: Vec<u8>,
    requests: Vec<String>,
}

/// What the client makes of an answer with this status, header lines and body; and that it told the key to nobody else, and
/// nothing else to anybody.
pub fn ask<T>(status: u16, header_lines: &[u8], body: &[u8], call: impl AsyncFnOnce(&Client) -> T) -> T {
    // These have no body.
    let body = if [204, 304].contains(&status) { b"" } else { body };
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n", body.len());
    let answer = [head.as_bytes(), header_lines, b"\r\n", body].concat();
    STAGE.with(|stage| {
        *lock(&stage.script) = Script { answer, requests: vec![] };
        let outcome = stage.runtime.block_on(call(&stage.client));
        for request in &lock(&stage.script).requests {
            let line = request.lines().next().unwrap_or_default();
            assert!(line.split(' ').nth(1).is_some_and(|path| path.starts_with("/base/api/v2/")), "{line}");
            assert!(request.contains(&format!("authorization: Token {API_KEY}\r\n")), "{request}");
        }
        outcome
    })
}

/// How many requests the last `ask` made.
pub fn count_requests() -> usize {
    STAGE.with(|stage| lock(&stage.script).requests.len())
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let base_url = format!("http://{}/base/", listener.local_addr().expect("an address"));
        let config = RecallConfig {
            api_key: API_KEY.into(),
            base_url: base_url.parse().expect("a URL"),
            limits: Limits { list: 1, read: 1, bot: 1 },
        };
        let script = Arc::new(Mutex::new(Script::default()));
        runtime.spawn(serve(listener, Arc::clone(&script)));
        Self { runtime, client: Client::new(&config).expect("a client"), script }
    }
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(answer_all(connection, Arc::clone(&script)));
    }
}

async fn answer_all(mut connection: TcpStream, script: Arc<Mutex<Script>>) {
    while let Some(head) = read_request(&mut connection).await {
        let answer = {
            let mut script = lock(&script);
            script.requests.push(head);
            script.answer.clone()
        };
        if connection.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Reads a whole request and returns its head; `None` once the client has hung up.
async fn read_request(connection: &mut TcpStream) -> Option<String> {
    let mut received = vec![];
    loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&received[..end + 4]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if received.len() >= end + 4 + length.unwrap_or(0) {
                return Some(head);
            }
        }
        if connection.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    }
}
