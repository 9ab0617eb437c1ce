//! What can happen in a history. Each operation is a small value that prints as it is written, so that a list of them is both
//! a report and a test.
//!
//! Calendars, events and webhooks are named by number, counted among those that there are when the operation is reached: a
//! list with some operations left out still means something. An operation that finds nothing to act on does nothing.

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::sim::{Endpoint, Fault, Knobs, WorkspaceLists};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::receive::{OTHER_SECRET, Post, update_of};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// Turns one of the simulator's knobs.
    Turn(Knob),
    /// The API's limits for the whole history, known to the service; counts wherever it stands.
    Limit {
        list: u32,
        read: u32,
        bot: u32,
    },
    /// `LIST_PAUSE` for the whole history; counts wherever it stands.
    ListPause {
        secs: u64,
    },
    /// `JOIN_EARLY` for the whole history; counts wherever it stands.
    JoinEarly {
        minutes: u64,
    },
    /// `POLICY_MAX_CHANGES` for the whole history; counts wherever it stands.
    MaxChanges {
        bots: u64,
    },
    /// How many replicas there are, two unless it is said; counts wherever it stands.
    Replicas {
        count: usize,
    },

    /// A person connects a calendar. Few of them share a company.
    Connect {
        person: usize,
        is_outlook: bool,
    },
    Disconnect {
        calendar: usize,
    },
    Interrupt {
        calendar: usize,
    },
    Reconnect {
        calendar: usize,
    },
    RemoveCalendar {
        calendar: usize,
    },
    /// A webhook without a cause.
    Touch {
        calendar: usize,
    },
    /// The product gives a calendar this plan in its metadata, or none.
    Label {
        calendar: usize,
        plan: Option<&'static str>,
    },

    /// Starts are rounded to quarters of an hour, so that meetings collide.
    Create {
        calendar: usize,
        in_minutes: i64,
        minutes: i64,
        link: Option<usize>,
    },
    CreateMany {
        calendar: usize,
        count: usize,
        in_minutes: i64,
    },
    /// The same meeting on the first `calendars` calendars.
    Meet {
        calendars: usize,
        in_minutes: i64,
        minutes: i64,
        link: usize,
    },
    Move {
        event: usize,
        in_minutes: i64,
    },
    /// By minutes from when it is: before a bot joins or after, and not at the time of any other meeting.
    Shift {
        event: usize,
        minutes: i64,
    },
    Prolong {
        event: usize,
        minutes: i64,
    },
    Relink {
        event: usize,
        link: Option<usize>,
    },
    Invite {
        event: usize,
        guests: usize,
    },
    Cancel {
        event: usize,
    },
    Delete {
        event: usize,
    },
    Restore {
        event: usize,
    },
    Transfer {
        event: usize,
        calendar: usize,
    },
    Kick {
        event: usize,
    },
    /// Gives an event a title that is hard to read, or to store.
    Retitle {
        event: usize,
        title: usize,
    },
    /// The API shows an event that cannot be read, until it is mended or the history ends.
    Garble {
        event: usize,
        with: Oddity,
    },
    Mend {
        event: usize,
    },

    /// Somebody says that an event gets a bot, or none, or takes it back.
    Override {
        event: usize,
        record: Option<bool>,
    },
    OverrideCalendar {
        calendar: usize,
        record: Option<bool>,
    },
    /// Gives a calendar the rule `all`, or `none`, or takes it away.
    RuleOf {
        calendar: usize,
        all: Option<bool>,
    },
    /// Begins a pause, or ends it: of a calendar, or of everything.
    Pause {
        calendar: Option<usize>,
        is_on: bool,
    },
    /// Lets the configuration that decides remove its bots.
    Confirm,

    /// Posts what is due, or one of what is due.
    Deliver,
    DeliverOne {
        webhook: usize,
    },
    Lose,
    LoseOne {
        webhook: usize,
    },
    /// Sends one again that was sent, or lost.
    Repeat {
        webhook: usize,
    },
    Reverse,
    /// Somebody else sends a webhook, which must be refused.
    Forge(Forgery),
    /// The next webhooks are sent so much later.
    Delay {
        count: usize,
        minutes: i64,
    },

    Advance {
        minutes: i64,
    },
    AdvanceSeconds {
        seconds: i64,
    },

    /// One turn after the other, while keys are due.
    Turns {
        replica: usize,
        count: usize,
    },
    /// Each replica takes a turn, both at once.
    Together {
        count: usize,
    },
    /// One replica takes so many turns at once.
    Crowd {
        replica: usize,
        count: usize,
    },
    /// The process dies in the middle of a turn: its future is polled so many times, and dropped.
    Kill {
        replica: usize,
        polls: usize,
    },
    /// A turn begins, and hangs in its next call, before that acts or after. Time may pass, and its lease may end.
    HangIn {
        replica: usize,
        after_acting: bool,
    },
    /// What hangs goes on.
    LetGo,
    /// The process dies whose turn hangs.
    Abandon,
    Sweep,
    Restart {
        replica: usize,
        with: Setting,
    },

    Fail {
        call: Call,
        with: Trouble,
        times: usize,
    },
    /// The database can no longer be reached; connections break.
    DatabaseAway,
    DatabaseBack,
    /// All connections to the database break at the n-th message from now: before it arrives, or before its answer does.
    Cut {
        messages: usize,
        after_acting: bool,
    },
}

impl Operation {
    /// Whether it makes something go wrong.
    pub fn is_fault(self) -> bool {
        let harms_webhooks = matches!(
            self,
            Self::Lose
                | Self::LoseOne { .. }
                | Self::Repeat { .. }
                | Self::Reverse
                | Self::Forge(_)
                | Self::Delay { .. }
        );
        harms_webhooks || self.is_failure()
    }

    /// Whether it makes a call, the database or a process fail.
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Kill { .. }
                | Self::HangIn { .. }
                | Self::Abandon
                | Self::Fail { .. }
                | Self::Garble { .. }
                | Self::DatabaseAway
                | Self::Cut { .. }
        )
    }
}

/// A knob of the simulator; see [`Knobs`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Knob {
    PageSize(usize),
    Descending,
    NewBotId,
    SyncOnBotChange,
    MoveBots,
    BotStartIsEventStart,
    ShareBotsInCall,
    RefuseDeleteOnDeleted,
    StrictSlash,
    WebhooksPerChange(u32),
    ConnectDelaySecs(i64),
    RevocationLagSecs(i64),
    PoolEmptyPercent(u8),
    /// What a list shows that names no calendar.
    WorkspaceLists(WorkspaceLists),
}

impl Knob {
    pub fn turn(self, knobs: &mut Knobs) {
        match self {
            Self::PageSize(rows) => knobs.page_size = rows,
            Self::Descending => knobs.descending = true,
            Self::NewBotId => knobs.new_bot_id = true,
            Self::SyncOnBotChange => knobs.sync_on_bot_change = true,
            Self::MoveBots => knobs.move_bots = true,
            Self::BotStartIsEventStart => knobs.bot_start_is_event_start = true,
            Self::ShareBotsInCall => knobs.share_bots_in_call = true,
            Self::RefuseDeleteOnDeleted => knobs.refuse_delete_on_deleted = true,
            Self::StrictSlash => knobs.strict_trailing_slash = true,
            Self::WebhooksPerChange(count) => knobs.webhooks_per_change = count,
            Self::ConnectDelaySecs(secs) => knobs.connect_delay_secs = secs,
            Self::RevocationLagSecs(secs) => knobs.revocation_lag_secs = secs,
            Self::PoolEmptyPercent(percent) => knobs.pool_empty = f64::from(percent) / 100.0,
            Self::WorkspaceLists(lists) => knobs.workspace_lists = lists,
        }
    }
}

/// The rule of [`Setting::RecordPro`].
pub const PRO_RULE: &str = r#"calendar.metadata.plan == "pro""#;

/// What a restart changes in the configuration of a replica; `Same` is what a crash loop does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    Same,
    RecordAll,
    RecordNone,
    /// Only calendars that the product has labelled so.
    RecordPro,
    BotNamed(u8),
    /// A template: the bot's name is made from the title of its event.
    BotTitled,
    /// A template: the bot's name is made from its calendar's label.
    BotLabelled,
    BotPerMeeting,
    BotPerCompany,
    BotPerEvent,
}

impl Setting {
    /// The environment variable, and its value.
    pub fn variable(self) -> Option<(&'static str, String)> {
        match self {
            Self::Same => None,
            Self::RecordAll => Some(("RECORD_WHEN", "all".into())),
            Self::RecordNone => Some(("RECORD_WHEN", "none".into())),
            Self::RecordPro => Some(("RECORD_WHEN", PRO_RULE.into())),
            Self::BotNamed(name) => Some(("BOT_CONFIG", format!(r#"{{"bot_name":"Bot {name}"}}"#))),
            Self::BotTitled => Some(("BOT_CONFIG", r#"{"bot_name":"Bot {{ event.title | length }}"}"#.into())),
            Self::BotLabelled => Some(("BOT_CONFIG", r#"{"bot_name":"Bot of {{ calendar.metadata.plan }}."}"#.into())),
            Self::BotPerMeeting => Some(("DEDUPLICATION", "meeting".into())),
            Self::BotPerCompany => Some(("DEDUPLICATION", "company".into())),
            Self::BotPerEvent => Some(("DEDUPLICATION", "event".into())),
        }
    }
}

/// The calls that the service makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Call {
    Calendars,
    Calendar,
    Events,
    Event,
    Schedule,
    Unschedule,
    Whichever,
}

impl Call {
    pub const ALL: [Self; 7] =
        [Self::Calendars, Self::Calendar, Self::Events, Self::Event, Self::Schedule, Self::Unschedule, Self::Whichever];

    pub fn endpoint(self) -> Endpoint {
        match self {
            Self::Calendars => Endpoint::ListCalendars,
            Self::Calendar => Endpoint::RetrieveCalendar,
            Self::Events => Endpoint::ListEvents,
            Self::Event => Endpoint::RetrieveEvent,
            Self::Schedule => Endpoint::ScheduleBot,
            Self::Unschedule => Endpoint::DeleteBot,
            Self::Whichever => Endpoint::Any,
        }
    }
}

/// What goes wrong with a call; see [`Fault`]. What hangs is an operation of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    Answers(u16),
    AsksToWait(u16, u64),
    /// 200 with something else than was asked for.
    Nonsense,
    /// 400 that no repetition will mend.
    Invalid,
    /// 400 "has ended", though it has not.
    SaysEnded,
    Refused,
    AnswerLost,
    AnswerCut,
    OtherShape,
    PageAgain,
    PageShort,
    Stale,
    NextElsewhere,
}

impl Trouble {
    pub fn fault(self) -> Fault {
        let body = |status, body: &str| Fault::Body { status, body: body.to_owned() };
        match self {
            Self::Answers(status) => Fault::Status(status),
            Self::AsksToWait(status, secs) => Fault::RetryAfter { status, secs },
            Self::Nonsense => body(200, r#"{"next":7,"results":{}}"#),
            Self::Invalid => body(400, r#"{"bot_config":["Not valid."]}"#),
            Self::SaysEnded => body(
                400,
                r#"{"code":"invalid_request_data","errors":{"non_field_errors":["Cannot schedule bot as calendar event has ended."]}}"#,
            ),
            Self::Refused => Fault::Drop,
            Self::AnswerLost => Fault::LoseAnswer,
            Self::AnswerCut => Fault::Truncate,
            Self::OtherShape => Fault::WrongShape,
            Self::PageAgain => Fault::RepeatPage,
            Self::PageShort => Fault::ShiftPage,
            Self::Stale => Fault::Stale,
            Self::NextElsewhere => Fault::NextElsewhere("https://elsewhere.test".to_owned()),
        }
    }
}

/// What is wrong with an event that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Oddity {
    StartIsNull,
    EndIsMissing,
    StartIsInYear10000,
    DeletedIsText,
    IdIsNone,
    IsNoObject,
}

impl Oddity {
    pub const ALL: [Self; 6] = [
        Self::StartIsNull,
        Self::EndIsMissing,
        Self::StartIsInYear10000,
        Self::DeletedIsText,
        Self::IdIsNone,
        Self::IsNoObject,
    ];

    pub fn garble(self, event: &mut Value) {
        match self {
            Self::StartIsNull => event["start_time"] = Value::Null,
            Self::EndIsMissing => _ = event.as_object_mut().and_then(|event| event.remove("end_time")),
            Self::StartIsInYear10000 => event["start_time"] = json!("10000-01-01T00:00:00Z"),
            Self::DeletedIsText => event["is_deleted"] = json!("perhaps"),
            Self::IdIsNone => event["id"] = json!("none"),
            Self::IsNoObject => *event = json!([1e300]),
        }
    }
}

/// What is wrong with a webhook that somebody else sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Forgery {
    Unsigned,
    OtherSecret,
    TooOld,
    OtherBody,
}

impl Forgery {
    pub const ALL: [Self; 4] = [Self::Unsigned, Self::OtherSecret, Self::TooOld, Self::OtherBody];

    /// A webhook for this calendar, with the id that forged ones have.
    pub fn post(self, calendar: Uuid, now: DateTime<Utc>) -> Post {
        let body = update_of(calendar);
        match self {
            Self::Unsigned => Post::unsigned("?token=guessed", &body),
            Self::OtherSecret => Post::signed_with(OTHER_SECRET, "svix", Self::ID, now, &body),
            Self::TooOld => Post::signed_at(now - TimeDelta::minutes(6), Self::ID, &body),
            Self::OtherBody => Post { body: update_of(Uuid::nil()), ..Post::signed_at(now, Self::ID, &body) },
        }
    }

    pub const ID: &str = "msg_forged";
}
