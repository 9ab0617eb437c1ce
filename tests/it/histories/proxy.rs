//! A way to the database that can be closed, or cut at a chosen message.
//!
//! Postgres and its client take turns in talking, so a message that a client sends is one statement, or a few that go
//! together. Cut before it arrives, the statement was never made; cut before its answer does, nobody knows that it was: that
//! is how a commit is lost.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A proxy to one server.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    server: String,
    is_closed: AtomicBool,
    /// Messages until the cut; 0: none is to come.
    cut_in: AtomicUsize,
    cuts_answer: AtomicBool,
    /// Moves when all connections are to end.
    ended: watch::Sender<u64>,
}

impl Proxy {
    /// To the server that `url` names.
    pub async fn to(url: &reqwest::Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            server: format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432)),
            is_closed: AtomicBool::new(false),
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

    /// Counts a message; says whether it is the one to be cut.
    fn counts_down_to_cut(&self) -> bool {
        let left = self.cut_in.load(Ordering::SeqCst);
        self.cut_in.store(left.saturating_sub(1), Ordering::SeqCst);
        left == 1
    }
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
    let Ok(mut server) = TcpStream::connect(&state.server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            _ = ended.changed() => return,
            length = client.read(&mut asked) => {
                let length = length.unwrap_or(0);
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
                if length == 0 || client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
