//! Connections that can be cut or slowed: what a client sees when an answer is lost on its way, or hardly comes.
//!
//! Returning an error from a handler always sends some answer, so the cut is made below HTTP: the socket's writer refuses.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep};

const WHOLE: u8 = 0;
const CUT: u8 = 1;
const CUT_IN_BODY: u8 = 2;
const TRICKLING: u8 = 3;

/// From one byte to the next of what trickles.
const TRICKLE_PAUSE: Duration = Duration::from_secs(1);

/// A handle on a request's connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<AtomicU8>);

impl Line {
    /// Nothing more is sent.
    pub(crate) fn cut(&self) {
        self.0.store(CUT, Ordering::SeqCst);
    }

    /// The head and half of the body are still sent.
    pub(crate) fn cut_in_body(&self) {
        self.0.store(CUT_IN_BODY, Ordering::SeqCst);
    }

    /// The head is sent, and then a byte a second.
    pub(crate) fn trickle(&self) {
        self.0.store(TRICKLING, Ordering::SeqCst);
    }
}

/// Accepts connections that can be cut.
#[derive(Debug)]
pub(crate) struct Lines(pub(crate) TcpListener);

/// A connection that can be cut.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    line: Line,
    /// Until the next byte of what trickles.
    pause: Pin<Box<Sleep>>,
}

impl Listener for Lines {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Wire { stream, line: Line::default(), pause: Box::pin(sleep(Duration::ZERO)) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(incoming: IncomingStream<'_, Lines>) -> Self {
        incoming.io().line.clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.line.0.load(Ordering::SeqCst) {
            CUT => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            CUT_IN_BODY => {
                let sent = half_of_body(bytes);
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, sent));
                self.line.cut();
                Poll::Ready(written)
            }
            TRICKLING => match head_length(bytes) {
                0 => {
                    ready!(self.pause.as_mut().poll(cx));
                    self.pause.as_mut().reset(Instant::now() + TRICKLE_PAUSE);
                    Pin::new(&mut self.stream).poll_write(cx, &bytes[..1])
                }
                head => Pin::new(&mut self.stream).poll_write(cx, &bytes[..head]),
            },
            WHOLE.. => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The head and half of what follows it; at least a byte less than all, and at least one.
fn half_of_body(bytes: &[u8]) -> &[u8] {
    let head = head_length(bytes);
    let sent = head + (bytes.len() - head) / 2;
    &bytes[..sent.max(1).min(bytes.len())]
}

/// Where the body begins; 0 if the head does not end here.
fn head_length(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4)
}
