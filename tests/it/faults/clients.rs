//! Thousands of clients that are slow, silent or too talkative: honest webhooks are answered all the same.

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::{
    fleet::{Fleet, TOKEN},
    load::{Load, Plan},
    measure::{Times, descriptors, memory},
    people::People,
    probes::Probes,
    until,
};
use crate::world::{create_database, drop_database};

/// Clients of each kind.
const CLIENTS: usize = 400;
/// How long they are at it.
const SIEGE: Duration = Duration::from_secs(25);
/// All of them are hung up on within this time: a body may take ten seconds, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a client rests that was hung up on.
const REST: Duration = Duration::from_millis(500);
/// An honest webhook is answered within this time, well within the 15 s that Recall waits.
const HONEST_LIMIT: Duration = Duration::from_secs(5);
/// MiB that a replica may take at most.
const MEMORY_LIMIT: u64 = 150;

/// What a client does that sends no webhook.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Connects, and says nothing.
    Silent,
    /// Sends a head, a byte at a time.
    SlowHead,
    /// Sends a body, a byte at a time.
    SlowBody,
    /// Asks something, reads no more, and asks nothing more.
    Idle,
    /// Sends half a head of many small headers.
    ManyHeaders,
    /// Sends headers without end, as fast as they are taken.
    EndlessHead,
    /// Sends as much of a head as is taken, and then nothing.
    FatHead,
}

const KINDS: [Kind; 7] =
    [Kind::Silent, Kind::SlowHead, Kind::SlowBody, Kind::Idle, Kind::ManyHeaders, Kind::EndlessHead, Kind::FatHead];

#[tokio::test]
#[ignore = "make faults"]
async fn slow_and_talkative_clients_keep_no_webhook_waiting() {
    let (database, url) = create_database().await;
    let fleet = Fleet::start(&url, &[]).await;
    let people = People::connect(&fleet.recall, 12).await;
    fleet.until_calm().await;
    let pids = fleet.pids();
    let count = || pids.iter().map(|pid| descriptors(*pid)).max().unwrap();
    let before = count();
    let probes = Probes::start(&fleet);
    let load = Load::start(&Plan::steady(&fleet, &people));
    let siege = Siege::lay(&fleet);
    let (began, mut most) = (Instant::now(), 0);
    until("the siege is over", SIEGE * 2, async || {
        most = most.max(count());
        began.elapsed() > SIEGE
    })
    .await;
    let sent = load.stop().await;
    let peak = pids.iter().map(|pid| memory(*pid, "VmHWM")).max().unwrap();
    println!("clients: at most {most} descriptors and {peak} MiB in a replica; honest acks {}", sent.times);
    let held = siege.lift().await;
    until("the clients' descriptors are given back", PATIENCE, async || count() <= before + 40).await;
    assert!(most <= before + KINDS.len() * CLIENTS / 2 + 100, "{most} descriptors");
    assert!(peak < MEMORY_LIMIT, "a replica took {peak} MiB");
    assert_eq!(sent.refused + sent.broken, 0, "every honest delivery was acknowledged at once");
    assert!(sent.slowest < HONEST_LIMIT, "{}", sent.times);
    let ending = fleet.converge(&sent).await;
    println!(
        "clients: {} that were slow, silent or too talkative came {} times in {:.0} s, and were held for at most: {}; {} x \
         /livez 200; {} deliveries acknowledged and recorded",
        KINDS.len() * CLIENTS,
        held.0,
        SIEGE.as_secs_f64(),
        held.1,
        probes.stop().await,
        ending.recorded,
    );
    fleet.end().await;
    drop_database(&database).await;
}

/// Clients at work.
struct Siege {
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
    /// For how long each connection was held.
    held: Arc<Mutex<Vec<(Kind, Duration)>>>,
    /// Connections that nobody hung up on.
    forgotten: Arc<Mutex<Vec<Kind>>>,
}

impl Siege {
    fn lay(fleet: &Fleet) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        let (held, forgotten) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        for number in 0..KINDS.len() * CLIENTS {
            let addr = fleet.replicas[number % fleet.replicas.len()].addr.clone();
            let (kind, stopped) = (KINDS[number / 2 % KINDS.len()], stopped.clone());
            let (held, forgotten) = (Arc::clone(&held), Arc::clone(&forgotten));
            clients.spawn(async move {
                while !*stopped.borrow() {
                    let began = Instant::now();
                    match timeout(PATIENCE, kind.visit(&addr)).await {
                        // A client that was refused or cut off has been hung up on, too.
                        Ok(_) => held.lock().unwrap().push((kind, began.elapsed())),
                        Err(_) => forgotten.lock().unwrap().push(kind),
                    }
                    tokio::time::sleep(REST).await;
                }
            });
        }
        Self { stop, clients, held, forgotten }
    }

    /// How often a client was hung up on, and after how long at most, by kind.
    async fn lift(mut self) -> (usize, String) {
        self.stop.send_replace(true);
        while self.clients.join_next().await.transpose().unwrap().is_some() {}
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        let longest = KINDS.map(|kind| {
            let times = held.iter().filter(|(held, _)| *held == kind).map(|(_, time)| *time).collect();
            format!("{kind:?} {:.1} s", Times::of(times).longest().as_secs_f64())
        });
        let forgotten = self.forgotten.lock().unwrap();
        assert!(forgotten.is_empty(), "nobody hung up on {} clients, such as {:?}", forgotten.len(), forgotten[0]);
        (held.len(), longest.join(", "))
    }
}

impl Kind {
    /// Ends when the server hangs up.
    async fn visit(self, addr: &str) -> io::Result<()> {
        let (mut answers, mut asks) = TcpStream::connect(addr).await?.into_split();
        let head = format!("POST /webhooks/recall?token={TOKEN} HTTP/1.1\r\nHost: rollcall\r\n");
        let ask = async {
            match self {
                Self::Silent => {}
                Self::SlowHead => trickle(&mut asks, &head).await?,
                Self::SlowBody => {
                    asks.write_all(format!("{head}Content-Length: 200\r\n\r\n").as_bytes()).await?;
                    trickle(&mut asks, &"x".repeat(199)).await?;
                }
                Self::Idle => asks.write_all(b"GET /livez HTTP/1.1\r\nHost: rollcall\r\n\r\n").await?,
                Self::ManyHeaders => asks.write_all((head + &"X-A: b\r\n".repeat(2000)).as_bytes()).await?,
                Self::EndlessHead => {
                    asks.write_all(head.as_bytes()).await?;
                    loop {
                        asks.write_all(&[b'x'; 4096]).await?;
                    }
                }
                // Less than what would be refused at once.
                Self::FatHead => asks.write_all((head + "X-A: " + &"b".repeat(390_000)).as_bytes()).await?,
            }
            std::future::pending().await
        };
        let hung_up = async {
            let mut answer = [0; 1024];
            while answers.read(&mut answer).await? > 0 {}
            io::Result::Ok(())
        };
        tokio::select! {
            ended = ask => ended,
            ended = hung_up => ended,
        }
    }
}

async fn trickle(asks: &mut (impl AsyncWriteExt + Unpin), text: &str) -> io::Result<()> {
    for byte in text.bytes() {
        asks.write_all(&[byte]).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
