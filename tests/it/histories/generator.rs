//! Histories from seeds. Few calendars, few links and round times make collisions likely; weights keep a history from being
//! all trouble, in which nothing is ever scheduled that could be lost.

use WorkspaceLists::{Empty, Forbidden, OneCalendar, Refused};
use fastrand::Rng;
use rollcall::sim::WorkspaceLists;

use super::operation::{Call, Forgery, Knob, Oddity, Operation, Setting, Trouble};

/// Numbers of replicas, so many that two and three have equal shares.
const REPLICAS: usize = 6;

/// The history of a seed, the same for ever as long as this file does not change.
pub fn generate(seed: u64) -> Vec<Operation> {
    let mut rng = Rng::with_seed(seed);
    let rng = &mut rng;
    let mut history = setting_up(rng);
    let calendars = rng.usize(1..=4);
    for person in 0..calendars {
        history.push(Operation::Connect { person, is_outlook: rng.u8(..4) == 0 });
    }
    if rng.u8(..4) > 0 {
        history.extend([Operation::Deliver, Operation::Turns { replica: 0, count: 20 }]);
    }
    // How much goes wrong: nothing in some histories, so that what must hold without faults is seen as well.
    let trouble = *rng.choice(&[0, 1, 1, 2, 4]).unwrap_or(&1);
    // Either far and wide, or a few meetings around now, so that much happens to each.
    let is_dense = rng.bool();
    for _ in 0..rng.usize(30..=110) {
        let operation = operation(rng, trouble);
        history.push(if is_dense { nearer(operation, rng) } else { operation });
    }
    history
}

/// The same around now, to the first few meetings.
fn nearer(operation: Operation, rng: &mut Rng) -> Operation {
    let near = |far: i64, rng: &mut Rng| if far > 60 { rng.i64(-2..=4) * 15 } else { far };
    match operation {
        Operation::CreateMany { calendar, in_minutes, .. } => {
            Operation::Create { calendar, in_minutes: near(in_minutes, rng), minutes: 60, link: Some(0) }
        }
        Operation::Create { calendar, in_minutes, minutes, link } => {
            Operation::Create { calendar, in_minutes: near(in_minutes, rng), minutes, link: link.map(|_| 0) }
        }
        Operation::Meet { calendars, in_minutes, minutes, .. } => {
            Operation::Meet { calendars, in_minutes: near(in_minutes, rng), minutes, link: 0 }
        }
        Operation::Move { event, in_minutes } => {
            Operation::Move { event: event % 4, in_minutes: near(in_minutes, rng) }
        }
        Operation::Shift { event, minutes } => Operation::Shift { event: event % 4, minutes },
        Operation::Retitle { event, title } => Operation::Retitle { event: event % 4, title },
        Operation::Override { event, record } => Operation::Override { event: event % 4, record },
        Operation::Kick { event } => Operation::Kick { event: event % 4 },
        Operation::Advance { minutes } => Operation::Advance { minutes: minutes.min(16) },
        other => other,
    }
}

fn setting_up(rng: &mut Rng) -> Vec<Operation> {
    let knobs = [
        Knob::Descending,
        Knob::NewBotId,
        Knob::SyncOnBotChange,
        Knob::MoveBots,
        Knob::BotStartIsEventStart,
        Knob::ShareBotsInCall,
        Knob::RefuseDeleteOnDeleted,
        Knob::StrictSlash,
        Knob::WebhooksPerChange(3),
        Knob::ConnectDelaySecs(90),
        Knob::RevocationLagSecs(3600),
        Knob::PoolEmptyPercent(30),
        Knob::WorkspaceLists(*rng.choice(&[Empty, OneCalendar, Refused, Forbidden]).unwrap()),
    ];
    let mut history = vec![Operation::Turn(Knob::PageSize(*rng.choice(&[2, 3, 5, 100]).unwrap_or(&100)))];
    history.extend(knobs.into_iter().filter(|_| rng.u8(..4) == 0).map(Operation::Turn));
    if rng.u8(..4) == 0 {
        history.push(Operation::Limit { list: rng.u32(2..6), read: rng.u32(1..6), bot: rng.u32(1..5) });
    }
    if rng.u8(..4) == 0 {
        history.push(Operation::ListPause { secs: *rng.choice(&[2, 60]).unwrap() });
    }
    if rng.u8(..4) == 0 {
        history.push(Operation::JoinEarly { minutes: *rng.choice(&[2, 10]).unwrap() });
    }
    if rng.u8(..4) == 0 {
        history.push(Operation::MaxChanges { bots: rng.u64(..3) });
    }
    if rng.u8(..4) == 0 {
        history.push(Operation::Replicas { count: 3 });
    }
    history
}

/// How often, and what.
type Kind = (u32, fn(&mut Rng) -> Operation);

fn operation(rng: &mut Rng, trouble: u32) -> Operation {
    let fault = 3 * trouble;
    let kinds: [Kind; 11] = [
        (22, people),
        (8, |rng| Operation::Advance {
            minutes: *rng.choice(&[1, 2, 5, 10, 16, 30, 60, 240, 1440, 4320, 20160]).unwrap(),
        }),
        (2, |rng| Operation::AdvanceSeconds { seconds: rng.i64(1..120) }),
        (18, webhooks),
        (28, turns),
        (3, calendars),
        (3, restarts),
        (3, sayings),
        (2 * fault, calls_that_fail),
        (trouble, odd_events),
        (fault, deaths),
    ];
    let total: u32 = kinds.iter().map(|(weight, _)| weight).sum();
    let mut ticket = rng.u32(..total);
    for (weight, make) in kinds {
        if ticket < weight {
            return make(rng);
        }
        ticket -= weight;
    }
    Operation::Deliver
}

fn people(rng: &mut Rng) -> Operation {
    let event = rng.usize(..8);
    match rng.u8(..27) {
        0..=4 => Operation::Create {
            calendar: rng.usize(..4),
            in_minutes: in_minutes(rng),
            minutes: *rng.choice(&[15, 30, 60, 180]).unwrap(),
            link: link(rng),
        },
        5..=7 => Operation::Meet {
            calendars: rng.usize(2..=4),
            in_minutes: in_minutes(rng),
            minutes: *rng.choice(&[30, 60, 180]).unwrap(),
            link: rng.usize(..3),
        },
        8 => Operation::CreateMany { calendar: rng.usize(..4), count: rng.usize(3..12), in_minutes: in_minutes(rng) },
        9..=12 => Operation::Move { event, in_minutes: in_minutes(rng) },
        13 => Operation::Prolong { event, minutes: *rng.choice(&[-15, 15, 60]).unwrap() },
        14 | 15 => Operation::Relink { event, link: link(rng) },
        16 => Operation::Invite { event, guests: rng.usize(..4) },
        17 => Operation::Cancel { event },
        18 => Operation::Delete { event },
        19 => Operation::Restore { event },
        20 => Operation::Transfer { event, calendar: rng.usize(..4) },
        21..=23 => Operation::Retitle { event, title: rng.usize(..4) },
        24 | 25 => Operation::Shift { event, minutes: *rng.choice(&[-9, -5, -2, 2, 5, 9]).unwrap() },
        _ => Operation::Kick { event },
    }
}

/// From a meeting under way to one beyond the window.
fn in_minutes(rng: &mut Rng) -> i64 {
    *rng.choice(&[-30, -15, 0, 5, 15, 15, 30, 30, 60, 60, 90, 120, 1440, 2880, 30 * 1440]).unwrap()
}

fn link(rng: &mut Rng) -> Option<usize> {
    (rng.u8(..6) > 0).then(|| rng.usize(..3))
}

fn webhooks(rng: &mut Rng) -> Operation {
    let webhook = rng.usize(..6);
    match rng.u8(..15) {
        0..=6 => Operation::Deliver,
        7 | 8 => Operation::DeliverOne { webhook },
        9 => Operation::Lose,
        10 => Operation::LoseOne { webhook },
        11 => Operation::Repeat { webhook },
        12 => Operation::Reverse,
        13 => Operation::Forge(*rng.choice(&Forgery::ALL).unwrap()),
        _ => Operation::Delay { count: rng.usize(1..4), minutes: *rng.choice(&[1, 10, 60, 300, 1440]).unwrap() },
    }
}

fn turns(rng: &mut Rng) -> Operation {
    match rng.u8(..13) {
        0..=4 => Operation::Turns { replica: rng.usize(..REPLICAS), count: rng.usize(1..4) },
        5..=8 => Operation::Turns { replica: rng.usize(..REPLICAS), count: 20 },
        9 | 10 => Operation::Together { count: rng.usize(1..6) },
        11 => Operation::Crowd { replica: rng.usize(..REPLICAS), count: rng.usize(2..8) },
        _ => Operation::Sweep,
    }
}

fn calendars(rng: &mut Rng) -> Operation {
    let calendar = rng.usize(..4);
    match rng.u8(..15) {
        0 | 1 => Operation::Connect { person: rng.usize(..4), is_outlook: rng.bool() },
        2 | 3 => Operation::Disconnect { calendar },
        4 | 5 => Operation::Interrupt { calendar },
        6..=9 => Operation::Reconnect { calendar },
        10 => Operation::RemoveCalendar { calendar },
        11 => Operation::Touch { calendar },
        _ => Operation::Label { calendar, plan: *rng.choice(&[Some("pro"), Some("pro"), Some("free"), None]).unwrap() },
    }
}

fn restarts(rng: &mut Rng) -> Operation {
    let settings = [
        Setting::Same,
        Setting::RecordAll,
        Setting::RecordAll,
        Setting::RecordNone,
        Setting::RecordPro,
        Setting::BotNamed(1),
        Setting::BotNamed(2),
        Setting::BotTitled,
        Setting::BotLabelled,
        Setting::BotPerMeeting,
        Setting::BotPerCompany,
        Setting::BotPerEvent,
    ];
    Operation::Restart { replica: rng.usize(..REPLICAS), with: *rng.choice(&settings).unwrap() }
}

fn sayings(rng: &mut Rng) -> Operation {
    let (event, calendar) = (rng.usize(..8), rng.usize(..4));
    match rng.u8(..13) {
        0..=4 => Operation::Override { event, record: *rng.choice(&[Some(true), Some(false), None]).unwrap() },
        5 | 6 => {
            Operation::OverrideCalendar { calendar, record: *rng.choice(&[Some(true), Some(false), None]).unwrap() }
        }
        7 | 8 => Operation::RuleOf { calendar, all: *rng.choice(&[Some(true), Some(false), None]).unwrap() },
        9 | 10 => Operation::Pause { calendar: Some(calendar), is_on: rng.bool() },
        11 => Operation::Pause { calendar: None, is_on: rng.u8(..3) == 0 },
        _ => Operation::Confirm,
    }
}

fn calls_that_fail(rng: &mut Rng) -> Operation {
    let troubles = [
        Trouble::Answers(500),
        Trouble::Answers(502),
        Trouble::Answers(503),
        Trouble::Answers(404),
        Trouble::Answers(401),
        Trouble::Answers(403),
        Trouble::Answers(409),
        Trouble::Answers(507),
        Trouble::AsksToWait(429, 7),
        Trouble::AsksToWait(429, 100),
        Trouble::AsksToWait(507, 20),
        Trouble::Nonsense,
        Trouble::Invalid,
        Trouble::SaysEnded,
        Trouble::Refused,
        Trouble::AnswerLost,
        Trouble::AnswerLost,
        Trouble::AnswerCut,
        Trouble::OtherShape,
        Trouble::PageAgain,
        Trouble::PageShort,
        Trouble::Stale,
        Trouble::Stale,
        Trouble::NextElsewhere,
    ];
    Operation::Fail {
        call: *rng.choice(&Call::ALL).unwrap(),
        with: *rng.choice(&troubles).unwrap(),
        times: rng.usize(1..4),
    }
}

fn odd_events(rng: &mut Rng) -> Operation {
    let event = rng.usize(..8);
    match rng.bool() {
        true => Operation::Garble { event, with: *rng.choice(&Oddity::ALL).unwrap() },
        false => Operation::Mend { event },
    }
}

fn deaths(rng: &mut Rng) -> Operation {
    let replica = rng.usize(..REPLICAS);
    match rng.u8(..12) {
        0..=4 => Operation::Kill { replica, polls: rng.usize(1..60) },
        5 | 6 => Operation::HangIn { replica, after_acting: rng.bool() },
        7 => Operation::LetGo,
        8 => Operation::Abandon,
        9 => Operation::DatabaseAway,
        10 => Operation::DatabaseBack,
        _ => Operation::Cut { messages: rng.usize(1..25), after_acting: rng.bool() },
    }
}
