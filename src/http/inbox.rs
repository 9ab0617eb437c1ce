//! The inbox: deliveries that arrive together share a transaction.
//!
//! One task writes. It takes what has arrived, commits it, answers, and takes what has arrived meanwhile: no timer, so a lone
//! delivery waits for nobody, and a storm is a few large commits. An answer goes out only after its commit (P1). If a batch
//! is refused, its deliveries are tried one by one, so that one of them does no harm to the others.
//!
//! While the database says nothing, each batch takes as long as a commit may. Who waits behind one is refused when it has
//! failed, and not tried as well: a sender is answered while it still listens, however many there are.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    store::{
        self,
        deliveries::{self, Delivery},
        queue::Wake,
    },
    telemetry::{self, chain},
};

/// Deliveries that may wait for the writer. Above that the answer is 503 at once.
const CAPACITY: usize = 4096;
/// A commit that takes longer is given up, well within the 15 s that Recall waits.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);
/// A delivery that has waited longer for its batch is refused. With what a connection (5 s) and a commit may take, its sender
/// would hardly hear the answer.
const WAIT_LIMIT: Duration = Duration::from_secs(3);
/// How long a connection is kept for deliveries to come.
const KEEP: Duration = Duration::from_millis(100);
/// Deliveries in one transaction.
const MAX_BATCH: usize = 256;

/// Commits deliveries.
#[derive(Clone, Debug)]
pub struct Inbox(mpsc::Sender<Waiting>);

/// The delivery was not committed; its sender has to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the delivery was not committed")]
pub struct NotCommitted;

#[derive(Debug)]
struct Waiting {
    delivery: Delivery,
    answer: oneshot::Sender<Result<(), NotCommitted>>,
    since: Instant,
}

impl Inbox {
    /// Starts the writer. It ends when all inboxes are dropped and what they took is committed. A calendar that was listed less
    /// than `list_pause` ago is due when that is over. `wake` wakes the worker that looks at it.
    pub fn open(db: PgPool, list_pause: Duration, wake: Wake) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), tokio::spawn(Writer { db, kept: None, list_pause, wake }.write(receiver)))
    }

    /// Commits a delivery, and the request for its calendar's key with it.
    ///
    /// # Errors
    /// The database cannot commit now, or too many are waiting.
    pub async fn accept(&self, delivery: Delivery) -> Result<(), NotCommitted> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Waiting { delivery, answer, since: Instant::now() }).map_err(|_| NotCommitted)?;
        answered.await.unwrap_or(Err(NotCommitted))
    }
}

struct Writer {
    db: PgPool,
    /// The connection of the batch before, while others may follow at once.
    kept: Option<PoolConnection<Postgres>>,
    list_pause: Duration,
    wake: Wake,
}

impl Writer {
    async fn write(mut self, mut receiver: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while self.receive(&mut receiver, &mut batch).await > 0 {
            refuse_late(&mut batch);
            if batch.is_empty() {
                continue;
            }
            metrics::histogram!(telemetry::BATCH_SIZE).record(batch.len() as f64);
            let (deliveries, answers): (Vec<Delivery>, Vec<_>) =
                batch.drain(..).map(|waiting| (waiting.delivery, waiting.answer)).unzip();
            let results = self.commit_batch(&deliveries).await;
            for (answer, result) in answers.into_iter().zip(results) {
                // Whoever has hung up will send it again, and the id will be known.
                let _ = answer.send(result);
            }
        }
    }

    async fn receive(&mut self, receiver: &mut mpsc::Receiver<Waiting>, batch: &mut Vec<Waiting>) -> usize {
        if self.kept.is_some() {
            match timeout(KEEP, receiver.recv_many(batch, MAX_BATCH)).await {
                Ok(received) => return received,
                Err(_) => self.kept = None,
            }
        }
        receiver.recv_many(batch, MAX_BATCH).await
    }

    /// Whether each of the deliveries was committed.
    async fn commit_batch(&mut self, deliveries: &[Delivery]) -> Vec<Result<(), NotCommitted>> {
        match self.commit(deliveries).await {
            Ok(()) => vec![Ok(()); deliveries.len()],
            Err(store::Error::Refused(_)) if deliveries.len() > 1 => {
                let mut results = Vec::with_capacity(deliveries.len());
                for delivery in deliveries {
                    let committed = self.commit(std::slice::from_ref(delivery)).await;
                    results.push(committed.map_err(|error| not_committed(&error)));
                }
                results
            }
            Err(error) => vec![Err(not_committed(&error)); deliveries.len()],
        }
    }

    /// Commits, or says in time that it cannot: a sender must not be left waiting, nor those behind it.
    async fn commit(&mut self, deliveries: &[Delivery]) -> Result<(), store::Error> {
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => self.db.acquire().await?,
        };
        match timeout(COMMIT_LIMIT, self.commit_on(&mut connection, deliveries)).await {
            Ok(result) => {
                // A pool checks each connection that it gets back, which takes a good part of what a commit takes. But nobody
                // else has to wait for this one.
                let has_others = self.db.num_idle() > 0 || self.db.size() < self.db.options().get_max_connections();
                self.kept = (has_others && result.is_ok()).then_some(connection);
                result
            }
            Err(_) => {
                // What it is waiting for may never come. Given back to the pool it would be waited for there.
                drop(connection.detach());
                Err(store::Error::Unavailable(sqlx::Error::PoolTimedOut))
            }
        }
    }

    async fn commit_on(&self, connection: &mut PgConnection, deliveries: &[Delivery]) -> Result<(), store::Error> {
        let Some(now) = deliveries.iter().map(|delivery| delivery.received_at).max() else { return Ok(()) };
        // Committed by itself: nothing leaves a connection in the midst of a transaction, see `store::begin`.
        let accepted = deliveries::accept(connection, deliveries, self.list_pause, &self.wake, now).await;
        // What failed may be committed all the same.
        if accepted.as_ref().map_or(true, |accepted| accepted.has_requested) {
            self.wake.wake();
        }
        let accepted = accepted?;
        let mut new: Option<HashSet<String>> = accepted.new.map(HashSet::from_iter);
        let is_new = |delivery: &&Delivery| new.as_mut().is_none_or(|new| new.remove(&delivery.id));
        for delivery in deliveries.iter().filter(is_new) {
            let calendar = delivery.calendar_id.map(tracing::field::display);
            tracing::info!(delivery.id, topic = delivery.topic, calendar.id = calendar, "delivery accepted");
        }
        Ok(())
    }
}

fn refuse_late(batch: &mut Vec<Waiting>) {
    let late: Vec<Waiting> = batch.extract_if(.., |waiting| waiting.since.elapsed() > WAIT_LIMIT).collect();
    if !late.is_empty() {
        tracing::warn!(deliveries = late.len(), "the database is too slow; senders are told to try again");
    }
    for waiting in late {
        let _ = waiting.answer.send(Err(NotCommitted));
    }
}

fn not_committed(error: &store::Error) -> NotCommitted {
    tracing::warn!(error = chain(error), "deliveries cannot be committed; their senders are told to try again");
    NotCommitted
}
