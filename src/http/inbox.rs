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

use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    store::{
        self,
        deliveries::{self, Delivery},
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
    /// than `list_pause` ago is due when that is over.
    pub fn open(db: PgPool, list_pause: Duration) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), tokio::spawn(write(db, list_pause, receiver)))
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

async fn write(db: PgPool, list_pause: Duration, mut receiver: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while receiver.recv_many(&mut batch, MAX_BATCH).await > 0 {
        refuse_late(&mut batch);
        if batch.is_empty() {
            continue;
        }
        metrics::histogram!(telemetry::BATCH_SIZE).record(batch.len() as f64);
        let (deliveries, answers): (Vec<Delivery>, Vec<_>) =
            batch.drain(..).map(|waiting| (waiting.delivery, waiting.answer)).unzip();
        let results = commit_batch(&db, list_pause, &deliveries).await;
        for (answer, result) in answers.into_iter().zip(results) {
            // Whoever has hung up will send it again, and the id will be known.
            let _ = answer.send(result);
        }
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

/// Whether each of the deliveries was committed.
async fn commit_batch(db: &PgPool, list_pause: Duration, deliveries: &[Delivery]) -> Vec<Result<(), NotCommitted>> {
    match commit(db, list_pause, deliveries).await {
        Ok(()) => vec![Ok(()); deliveries.len()],
        Err(store::Error::Refused(_)) if deliveries.len() > 1 => {
            let mut results = Vec::with_capacity(deliveries.len());
            for delivery in deliveries {
                let committed = commit(db, list_pause, std::slice::from_ref(delivery)).await;
                results.push(committed.map_err(|error| not_committed(&error)));
            }
            results
        }
        Err(error) => vec![Err(not_committed(&error)); deliveries.len()],
    }
}

fn not_committed(error: &store::Error) -> NotCommitted {
    tracing::warn!(error = chain(error), "deliveries cannot be committed; their senders are told to try again");
    NotCommitted
}

/// Commits, or says in time that it cannot: a sender must not be left waiting, nor those behind it.
async fn commit(db: &PgPool, list_pause: Duration, deliveries: &[Delivery]) -> Result<(), store::Error> {
    let mut connection = db.acquire().await?;
    match timeout(COMMIT_LIMIT, commit_on(&mut connection, list_pause, deliveries)).await {
        Ok(result) => result,
        Err(_) => {
            // What it is waiting for may never come. Given back to the pool it would be waited for there.
            drop(connection.detach());
            Err(store::Error::Unavailable(sqlx::Error::PoolTimedOut))
        }
    }
}

async fn commit_on(
    connection: &mut PgConnection,
    list_pause: Duration,
    deliveries: &[Delivery],
) -> Result<(), store::Error> {
    let Some(now) = deliveries.iter().map(|delivery| delivery.received_at).max() else { return Ok(()) };
    // Committed by itself: nothing leaves a connection in the midst of a transaction, see `store::begin`.
    let new = deliveries::accept(connection, deliveries, list_pause, now).await?;
    let mut new: HashSet<String> = new.into_iter().collect();
    for delivery in deliveries.iter().filter(|delivery| new.remove(&delivery.id)) {
        let calendar = delivery.calendar_id.map(tracing::field::display);
        tracing::info!(delivery.id, topic = delivery.topic, calendar.id = calendar, "delivery accepted");
    }
    Ok(())
}
