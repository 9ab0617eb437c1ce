//! Turns: whole ones, two at once, ones that die in the middle, and ones that hang beyond their lease.

use std::{collections::BTreeMap, future::poll_fn, pin::pin, task::Poll, time::Duration};

use futures_util::future::join_all;
use rollcall::{
    domain::budget::CallClass,
    sim::{Endpoint, Fault},
    worker::Worker,
};

use super::{
    Violation,
    checks::{Watch, class},
    operation::Setting,
    stage::Stage,
};

impl Stage<'_> {
    /// Takes up to `count` turns, and looks after each. Returns early when no key is due.
    pub async fn take_turns(&mut self, replica: usize, count: usize, watch: &mut Watch) -> Result<(), Violation> {
        for _ in 0..count {
            let paid = self.count_paid().await;
            // Where the database's answer is lost, a turn does not know what it has paid for.
            let is_disturbed = self.site.proxy.is_closed() || !self.site.proxy.has_cut();
            let logged = self.site.logs().len();
            let took = take_one_turn(self.worker(replica)).await;
            if !is_disturbed {
                self.look_at_payment(&paid, logged, watch).await?;
            }
            watch.look(self).await?;
            if !took {
                break;
            }
        }
        Ok(())
    }

    /// P8: a turn pays for each call that it makes, and for none that it does not make. It had paid `before`, and `logged` so much.
    async fn look_at_payment(
        &self,
        before: &BTreeMap<String, i64>,
        logged: usize,
        watch: &mut Watch,
    ) -> Result<(), Violation> {
        let (paid, calls) = (self.count_paid().await, self.sim.calls());
        // A connection that is kept may end just when a call is sent over it: that one arrives nowhere.
        let logs = self.site.logs();
        let lost = logs.get(logged..).unwrap_or_default().matches("got no complete answer").count() as i64;
        let mut excess = 0;
        for of in CallClass::ALL {
            let count = |paid: &BTreeMap<String, i64>| paid.get(of.as_str()).copied().unwrap_or_default();
            let paid = count(&paid) - count(before);
            let made = calls.iter().filter(|call| class(call.endpoint) == of).count() as i64;
            excess += paid - made;
            if paid < made || excess > lost + watch.late_payments {
                let detail = format!("{of}: {paid} paid, {made} made");
                return Err(Violation::new("calls were not paid for one by one", detail));
            }
        }
        watch.late_payments -= (excess - lost).max(0);
        Ok(())
    }

    /// Calls that were paid for at the present time, by class.
    async fn count_paid(&self) -> BTreeMap<String, i64> {
        let paid = sqlx::query_as("select class, count(*) from api_slots where taken_at = $1 group by class");
        paid.bind(self.now()).fetch_all(&self.site.db).await.unwrap().into_iter().collect()
    }

    pub async fn take_turns_together(&mut self, count: usize, watch: &mut Watch) -> Result<(), Violation> {
        for _ in 0..count {
            let took = join_all(self.replicas.iter().map(|replica| take_one_turn(replica.worker.clone()))).await;
            watch.look(self).await?;
            if !took.contains(&true) {
                break;
            }
        }
        Ok(())
    }

    /// What one of them mirrors another may change again before anybody looks.
    pub async fn take_turns_at_once(&self, replica: usize, count: usize, watch: &mut Watch) {
        watch.turns_go_on = true;
        let worker = self.worker(replica);
        join_all((0..count).map(|_| take_one_turn(worker.clone()))).await;
    }

    /// The process dies in the middle of a turn, if the turn lasts that long, and is started again.
    pub async fn kill_in_turn(&mut self, replica: usize, polls: usize) {
        poll_at_most(polls, take_one_turn(self.worker(replica))).await;
        self.let_pass().await;
        self.restart(replica, Setting::Same).await;
    }

    /// Begins a turn whose next call hangs. What asked for faults is forgotten if the turn makes no call.
    pub async fn hang_in_turn(&mut self, replica: usize, after_acting: bool, watch: &mut Watch) {
        let fault = if after_acting { Fault::HangAnswer } else { Fault::Hang };
        self.sim.clear_faults();
        self.sim.fail_next(Endpoint::Any, fault, 1);
        let hanging = self.sim.hanging();
        let worker = self.worker(replica);
        let turn = tokio::spawn(async move { _ = take_one_turn(worker).await });
        while !turn.is_finished() && self.sim.hanging() == hanging {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        self.sim.clear_faults();
        if !turn.is_finished() {
            watch.turn_hangs(&self.sim);
            self.hung.push(turn);
        }
    }

    /// What hangs goes on, and ends.
    pub async fn let_go(&mut self, watch: &mut Watch) {
        watch.turns_go_on = true;
        self.sim.release();
        for turn in std::mem::take(&mut self.hung) {
            turn.await.unwrap();
        }
        self.let_pass().await;
    }

    /// The processes die whose turns hang; their calls are under way all the same.
    pub async fn abandon(&mut self) {
        self.hung.drain(..).for_each(|turn| turn.abort());
        self.let_pass().await;
    }

    /// Lets what is on its way over the network arrive.
    async fn let_pass(&self) {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Says whether there was one. A replica that cannot reach the database, or is not started, takes none.
pub async fn take_one_turn(worker: Option<Worker>) -> bool {
    match worker {
        Some(worker) => worker.take_one_turn().await.unwrap_or(false),
        None => false,
    }
}

/// Drops the future when it has been polled so many times and is not done.
async fn poll_at_most<T>(mut polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
