//! Deduplication keys that Schedule Bot is being called with.
//!
//! The copies of one meeting on several calendars become due together, and the API answers 409 to a call while another for
//! the same key is under way. Turns of one process so wait for each other; for those of other replicas there is the 409.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Shared by all turns of a process.
#[derive(Clone, Debug, Default)]
pub struct KeysInFlight(Arc<Mutex<HashSet<String>>>);

/// A key is this turn's until this is dropped, however the turn ends.
#[derive(Debug)]
pub(super) struct InFlight {
    keys: KeysInFlight,
    key: String,
}

impl KeysInFlight {
    /// Takes the key; `None` while another turn has it.
    pub(super) fn enter(&self, key: &str) -> Option<InFlight> {
        let is_free = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
        is_free.then(|| InFlight { keys: self.clone(), key: key.to_owned() })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
