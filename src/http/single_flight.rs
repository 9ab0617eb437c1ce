//! One look at the database for all who ask at once: probes and metrics need no proof, so whoever floods them must not take
//! connections from deliveries.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};

type Flight<T> = Shared<BoxFuture<'static, T>>;

/// Shares a future among those who ask while it runs.
#[derive(Clone, Debug)]
pub(super) struct SingleFlight<T: Clone>(Arc<Mutex<Option<Flight<T>>>>);

impl<T: Clone> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// What the future that runs says, or the one that `make` makes if none does.
    pub(super) async fn run(&self, make: impl FnOnce() -> BoxFuture<'static, T>) -> T {
        let flight = {
            let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match current.as_ref().filter(|flight| flight.peek().is_none()) {
                Some(flight) => flight.clone(),
                None => {
                    let flight = current.insert(make().shared());
                    // Whoever asked may hang up, and what a future that nobody polls has taken it keeps.
                    tokio::spawn(flight.clone());
                    flight.clone()
                }
            }
        };
        flight.await
    }
}
