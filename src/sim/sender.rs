//! Posts webhooks. What is due, and what follows from the answer, is `outbox.rs`'s to say.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::outbox::{Attempt, Outgoing};
use super::shared::Shared;

/// The longest that the live sender sleeps without looking at the queue: a floor under its wake-ups.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Posts everything that is due, several at a time, and says how it went, in the queue's order.
pub(crate) async fn deliver_due(shared: &Arc<Shared>) -> Vec<Attempt> {
    let (due, at_once) = take_due(shared);
    if at_once <= 1 {
        let mut attempts = Vec::new();
        for outgoing in due {
            attempts.push(deliver(shared, outgoing).await);
        }
        return attempts;
    }
    let places = Arc::new(Semaphore::new(at_once));
    let start = |outgoing| {
        let (shared, places) = (Arc::clone(shared), Arc::clone(&places));
        tokio::spawn(async move {
            let _place = places.acquire().await;
            deliver(&shared, outgoing).await
        })
    };
    let tasks: Vec<_> = due.into_iter().map(start).collect();
    let mut attempts = Vec::new();
    for task in tasks {
        // A task ends early only with the runtime.
        attempts.extend(task.await);
    }
    attempts
}

/// Delivers by itself until the simulator stops. A slow receiver holds up nothing but its own message.
pub(crate) async fn live(shared: Arc<Shared>) {
    let mut moved = shared.clock.movements();
    let mut tasks = JoinSet::new();
    loop {
        for outgoing in take_due(&shared).0 {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move { deliver(&shared, outgoing).await });
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = shared.changed.notified() => {}
            _ = moved.changed() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

fn take_due(shared: &Arc<Shared>) -> (Vec<Outgoing>, usize) {
    shared.with(|world, now| {
        let knobs = &world.workspace.knobs;
        (world.outbox.take_due(knobs, now), knobs.webhook_concurrency)
    })
}

async fn deliver(shared: &Arc<Shared>, outgoing: Outgoing) -> Attempt {
    let timeout_ms = shared.with(|world, _| world.workspace.knobs.webhook_timeout_ms);
    let (status, error) = post(shared, &outgoing, Duration::from_millis(timeout_ms)).await;
    let attempt = Attempt { status, error, ..outgoing.attempt };
    shared.with(|world, now| world.outbox.record(outgoing.index, attempt.clone(), now));
    attempt
}

async fn post(shared: &Shared, outgoing: &Outgoing, timeout: Duration) -> (Option<u16>, Option<String>) {
    let mut request = shared
        .client
        .post(&outgoing.attempt.url)
        .timeout(timeout)
        .header("content-type", "application/json")
        .body(outgoing.body.clone());
    for (name, value) in &outgoing.headers {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(answer) => (Some(answer.status().as_u16()), None),
        Err(error) => {
            // The URL may hold a token.
            (None, Some(error.without_url().to_string()))
        }
    }
}
