//! Probes: whatever happens, a replica says that it is alive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use super::fleet::{Fleet, get};

/// Asks each replica for `/livez` again and again, which must be answered.
pub struct Probes {
    asked: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Probes {
    pub fn start(fleet: &Fleet) -> Self {
        let asked = Arc::<AtomicUsize>::default();
        let probe = |addr: String| {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                loop {
                    assert_eq!(get(&addr, "/livez").await, Some(200), "/livez");
                    asked.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
        };
        let tasks = fleet.addresses().into_iter().map(probe).collect();
        Self { asked, tasks }
    }

    /// How often it was answered.
    pub async fn stop(self) -> usize {
        for task in self.tasks {
            task.abort();
            // Cancelled is well; anything else is a failed probe.
            assert!(task.await.unwrap_err().is_cancelled(), "/livez was not answered 200");
        }
        self.asked.load(Ordering::SeqCst)
    }
}
