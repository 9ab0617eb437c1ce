//! Load: senders that post signed deliveries, each again and again until it is acknowledged, as Recall does.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rollcall::clock::Clock;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use super::{
    fleet::Fleet,
    measure::Times,
    people::People,
    wire::{Answer, Wire, signed},
};

/// Recall waits this long for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long a sender rests after a failure. Recall rests longer.
const PAUSE: Duration = Duration::from_millis(100);

/// How much is sent, and what.
#[derive(Clone)]
pub struct Plan {
    pub addresses: Vec<String>,
    pub senders: usize,
    /// Each sender begins a delivery this often, or as soon as the one before is acknowledged.
    pub pace: Duration,
    /// One in so many is about one of `calendars`; the others are of a topic that is only recorded.
    pub one_in: usize,
    pub calendars: Vec<Uuid>,
    /// So many and no more; otherwise until told to stop.
    pub total: Option<usize>,
    /// One in so many is sent again after it was acknowledged.
    pub repeats_one_in: Option<usize>,
}

impl Plan {
    /// Some 240 deliveries a second to both replicas.
    pub fn steady(fleet: &Fleet, people: &People) -> Self {
        Self {
            addresses: fleet.addresses(),
            senders: 24,
            pace: Duration::from_millis(100),
            one_in: 10,
            calendars: people.calendars.clone(),
            total: None,
            repeats_one_in: None,
        }
    }
}

/// Senders at work.
pub struct Load {
    stop: watch::Sender<bool>,
    senders: JoinSet<()>,
    score: Arc<Score>,
    began: Instant,
}

#[derive(Default)]
struct Score {
    sent: AtomicUsize,
    repeated: AtomicUsize,
    acknowledged: Mutex<Vec<String>>,
    /// From a delivery's bytes to its 2xx, where that was the first answer.
    times: Mutex<Vec<Duration>>,
    refused: AtomicUsize,
    broken: AtomicUsize,
    /// What no sender may see.
    wrong: Mutex<Vec<String>>,
    slowest: Mutex<Duration>,
}

/// What came of it.
#[derive(Default)]
pub struct Sent {
    pub acknowledged: Vec<String>,
    /// How many of them were sent, and acknowledged, once more.
    pub repeated: usize,
    pub times: Times,
    /// Answers 503.
    pub refused: usize,
    /// Connections that broke, or could not be made.
    pub broken: usize,
    /// The longest that any answer took.
    pub slowest: Duration,
    pub took: Duration,
}

impl Load {
    pub fn start(plan: &Plan) -> Self {
        let (stop, stopped) = watch::channel(false);
        let score = Arc::new(Score::default());
        let mut senders = JoinSet::new();
        for number in 0..plan.senders {
            senders.spawn(send(plan.clone(), number, Arc::clone(&score), stopped.clone()));
        }
        Self { stop, senders, score, began: Instant::now() }
    }

    /// How many deliveries were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.score.acknowledged.lock().unwrap().len()
    }

    /// How many answers were 503 so far.
    pub fn refused(&self) -> usize {
        self.score.refused.load(Ordering::SeqCst)
    }

    /// Begins no more deliveries, waits until all are acknowledged, and looks at the answers.
    pub async fn stop(self) -> Sent {
        self.stop.send_replace(true);
        self.finish(Duration::from_secs(60)).await
    }

    /// Waits until as many as were planned are acknowledged, and looks at the answers.
    pub async fn finish(mut self, limit: Duration) -> Sent {
        let acknowledged = async { while self.senders.join_next().await.transpose().unwrap().is_some() {} };
        timeout(limit, acknowledged).await.expect("all deliveries are acknowledged in the end");
        let took = self.began.elapsed();
        let score = Arc::into_inner(self.score).unwrap();
        let wrong = score.wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{} wrong answers, such as {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
        Sent {
            acknowledged: score.acknowledged.into_inner().unwrap(),
            repeated: score.repeated.into_inner(),
            times: Times::of(score.times.into_inner().unwrap()),
            refused: score.refused.into_inner(),
            broken: score.broken.into_inner(),
            slowest: score.slowest.into_inner().unwrap(),
            took,
        }
    }
}

impl Sent {
    /// The later one, and what was acknowledged before.
    pub fn and(self, mut later: Self) -> Self {
        later.acknowledged.extend(self.acknowledged);
        later
    }
}

async fn send(plan: Plan, number: usize, score: Arc<Score>, stopped: watch::Receiver<bool>) {
    let mut pace = interval(plan.pace.max(Duration::from_micros(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sender = Sender { place: number, wire: None, addresses: plan.addresses.clone() };
    while !*stopped.borrow() {
        if !plan.pace.is_zero() {
            pace.tick().await;
        }
        let count = score.sent.fetch_add(1, Ordering::SeqCst);
        if plan.total.is_some_and(|total| count >= total) {
            return;
        }
        let (id, body) = (format!("msg_load{}", Uuid::new_v4().simple()), plan.body(count));
        sender.deliver(&id, &body, &score).await;
        if plan.repeats_one_in.is_some_and(|one_in| count.is_multiple_of(one_in)) {
            sender.deliver(&id, &body, &score).await;
            score.repeated.fetch_add(1, Ordering::SeqCst);
        }
        score.acknowledged.lock().unwrap().push(id);
    }
}

impl Plan {
    fn body(&self, count: usize) -> String {
        if !count.is_multiple_of(self.one_in) {
            return r#"{"event":"bot.done","data":{"bot":{"id":"1","metadata":{}}}}"#.into();
        }
        let (calendar, now) = (self.calendars[count / self.one_in % self.calendars.len()], Clock::system().now());
        format!(
            r#"{{"event":"calendar.sync_events","data":{{"calendar_id":"{calendar}","last_updated_ts":"{}"}}}}"#,
            now.to_rfc3339()
        )
    }
}

struct Sender {
    /// Which address is tried next.
    place: usize,
    wire: Option<Wire>,
    addresses: Vec<String>,
}

impl Sender {
    /// Sends until a 2xx comes back.
    async fn deliver(&mut self, id: &str, body: &str, score: &Score) {
        for attempt in 0.. {
            let began = Instant::now();
            let answer = timeout(ANSWER_LIMIT, self.post(id, body)).await;
            let took = began.elapsed();
            let longest = took.max(*score.slowest.lock().unwrap());
            match answer {
                Ok(Ok(Answer { status: 204, .. })) => {
                    *score.slowest.lock().unwrap() = longest;
                    if attempt == 0 {
                        score.times.lock().unwrap().push(took);
                    }
                    return;
                }
                Ok(Ok(Answer { status: 503, has_retry_after: true })) => {
                    *score.slowest.lock().unwrap() = longest;
                    score.refused.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Ok(answer)) => score.wrong.lock().unwrap().push(format!("{id}: {answer:?}")),
                Ok(Err(_)) => {
                    score.broken.fetch_add(1, Ordering::SeqCst);
                    self.give_up_connection();
                }
                Err(_) => {
                    score.wrong.lock().unwrap().push(format!("{id}: no answer within {ANSWER_LIMIT:?}"));
                    self.give_up_connection();
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn post(&mut self, id: &str, body: &str) -> std::io::Result<Answer> {
        let wire = match &mut self.wire {
            Some(wire) => wire,
            None => {
                let addr = &self.addresses[self.place % self.addresses.len()];
                self.wire.insert(Wire::connect(addr).await?)
            }
        };
        wire.ask(&signed(Clock::system().now(), id, body)).await
    }

    fn give_up_connection(&mut self) {
        self.wire = None;
        self.place += 1;
    }
}
