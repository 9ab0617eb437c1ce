//! A way to a server that can be closed, held, led elsewhere, or cut at a chosen message.
//!
//! Postgres and its client take turns in talking, so a message that a client sends is one statement, or a few that go
//! together. Cut before it arrives, the statement was never made; cut before its answer does, nobody knows that it was: that
//! is how a commit is lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A proxy to a server, or to several that take turns.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    servers: Mutex<Vec<String>>,
    turn: AtomicUsize,
    is_closed: AtomicBool,
    is_held: watch::Sender<bool>,
    /// Messages until the cut; 0: none is to come.
    cut_in: AtomicUsize,
    cuts_answer: AtomicBool,
    /// Moves when all connections are to end.
    ended: watch::Sender<u64>,
}

impl Proxy {
    /// To the server that `url` names.
    pub async fn to(url: &reqwest::Url) -> Self {
        Self::among(vec![server_of(url)]).await
    }

    /// To whichever of these takes the connection.
    pub async fn among(servers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            servers: Mutex::new(servers),
            turn: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            is_held: watch::Sender::new(false),
            cut_in: AtomicUsize::new(0),
            cuts_answer: AtomicBool::new(false),
            ended: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, accepting }
    }

    /// Breaks all connections, and those to come.
    pub fn close(&self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
        self.state.end_all();
    }

    /// Whether nobody gets through.
    pub fn is_closed(&self) -> bool {
        self.state.is_closed.load(Ordering::SeqCst)
    }

    /// Lets everybody through again, and takes back a cut that has not happened.
    pub fn open(&self) {
        self.state.cut_in.store(0, Ordering::SeqCst);
        self.state.is_closed.store(false, Ordering::SeqCst);
    }

    /// Breaks all connections; those to come lead to the server that `url` names.
    pub fn redirect(&self, url: &reqwest::Url) {
        *self.state.servers.lock().unwrap() = vec![server_of(url)];
        self.state.end_all();
    }

    /// Holds back all that is sent, without a word, or lets it go on.
    pub fn hold(&self, is_held: bool) {
        self.state.is_held.send_replace(is_held);
    }

    /// Whether no cut is to come any more.
    pub fn has_cut(&self) -> bool {
        self.state.cut_in.load(Ordering::SeqCst) == 0
    }

    /// Breaks all connections at a message to come.
    pub fn cut_in(&self, messages: usize, after_acting: bool) {
        self.state.cuts_answer.store(after_acting, Ordering::SeqCst);
        self.state.cut_in.store(messages, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.state.end_all();
    }
}

impl State {
    fn end_all(&self) {
        self.ended.send_modify(|times| *times += 1);
    }

    async fn connect(&self) -> Option<TcpStream> {
        let servers = self.servers.lock().unwrap().clone();
        let first = self.turn.fetch_add(1, Ordering::SeqCst);
        for place in 0..servers.len() {
            if let Ok(server) = TcpStream::connect(&servers[(first + place) % servers.len()]).await {
                return Some(server);
            }
        }
        None
    }

    /// Waits while all is held back. An error means that the proxy is gone, which ends the connection anyway.
    async fn pass(&self) {
        let _ = self.is_held.subscribe().wait_for(|is_held| !is_held).await;
    }

    /// Counts a message; says whether it is the one to be cut.
    fn counts_down_to_cut(&self) -> bool {
        let left = self.cut_in.load(Ordering::SeqCst);
        self.cut_in.store(left.saturating_sub(1), Ordering::SeqCst);
        left == 1
    }
}

fn server_of(url: &reqwest::Url) -> String {
    format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap_or(5432))
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        if !state.is_closed.load(Ordering::SeqCst) {
            tokio::spawn(forward(client, Arc::clone(&state)));
        }
    }
}

/// Ends, and with it the connection, on either side's end, or when told to.
async fn forward(mut client: TcpStream, state: Arc<State>) {
    let mut ended = state.ended.subscribe();
    let Some(mut server) = state.connect().await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            _ = ended.changed() => return,
            length = client.read(&mut asked) => {
                let length = length.unwrap_or(0);
                state.pass().await;
                let is_cut = state.counts_down_to_cut();
                if is_cut && !state.cuts_answer.load(Ordering::SeqCst) {
                    return state.end_all();
                }
                if length == 0 || server.write_all(&asked[..length]).await.is_err() {
                    return;
                }
                if is_cut {
                    // The answer says that it has acted.
                    let _ = server.read(&mut answered).await;
                    return state.end_all();
                }
            }
            length = server.read(&mut answered) => {
                let length = length.unwrap_or(0);
                state.pass().await;
                if length == 0 || client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
