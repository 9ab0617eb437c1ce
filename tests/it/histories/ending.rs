//! How a history ends: nothing goes wrong any more, time passes, and everything comes right.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use rollcall::{
    domain::calendar::CalendarId,
    sim,
    store::queue::{self, Key, Request},
};
use serde_json::Value;
use sqlx::{Row, types::Json};
use uuid::Uuid;

use super::{
    Violation,
    checks::Watch,
    operation::Forgery,
    oracle,
    player::LINKS,
    stage::{ADMIN_TOKEN, Stage},
};

/// Rounds of turns after which a stage that does not come to rest never will.
const MAX_ROUNDS: usize = 300;
/// How long to wait for what is due and yet cannot be claimed, since its class of calls has no budget.
const BUDGET_PAUSE: TimeDelta = TimeDelta::seconds(20);

/// Ends the troubles, waits, and looks at what has become of everything.
pub async fn converge(stage: &mut Stage<'_>, watch: &mut Watch) -> Result<(), Violation> {
    end_troubles(stage, watch).await;
    watch.look(stage).await?;
    // Beyond leases and backoff, then over a sweep; after that beyond what holds the sweep itself back.
    for minutes in [3, 10, 20] {
        stage.advance(TimeDelta::minutes(minutes)).await;
        stage.settle(watch).await?;
    }
    watch.past.in_doubt = calls_in_doubt(stage).await;
    // Where nothing failed but webhooks, the sweep is enough: no meeting waits for a full sync.
    if !watch.needs_full_sync {
        check_mirror(stage, Bots::MayDiffer).await?;
        check_bots(stage, watch).await?;
    }
    // A change of bots that touched no event is found by a full sync, and what that does may be another such change.
    for _ in 0..2 {
        request_full_syncs(stage).await;
        stage.settle(watch).await?;
    }
    // What is parked since its calendar was cut off, which is noticed during a sweep that waits for budget, is woken by the next one.
    for _ in 0..2 {
        stage.request_sweep().await;
        stage.settle(watch).await?;
    }
    check_queue(stage).await?;
    check_mirror(stage, Bots::Same).await?;
    check_bots(stage, watch).await?;
    check_that_all_is_quiet(stage, watch).await?;
    check_secrets(stage).await
}

async fn end_troubles(stage: &mut Stage<'_>, watch: &mut Watch) {
    stage.sim.clear_faults();
    stage.sim.clear_overrides();
    stage.sim.knobs(|knobs| knobs.pool_empty = 0.0);
    stage.site.proxy.open();
    stage.let_go(watch).await;
    stage.sim.enable_endpoint();
    stage.start_waiting().await;
    // Beyond the time that a configuration counts as running which no replica has any more, and to when Recall has noticed each
    // disconnection.
    let until_noticed = watch.noticed_by.map_or(TimeDelta::zero(), |noticed_by| noticed_by - stage.now());
    stage.advance(until_noticed.max(TimeDelta::minutes(2))).await;
    stage.end_rollout().await;
    stage.confirm().await;
}

impl Stage<'_> {
    /// Delivers and takes turns, and waits for whatever waits, until only the sweep is left.
    async fn settle(&mut self, watch: &mut Watch) -> Result<(), Violation> {
        for _ in 0..MAX_ROUNDS {
            self.sim.deliver_due().await;
            for replica in 0..self.replicas.len() {
                self.take_turns(replica, 100, watch).await?;
            }
            if self.sim.pending_webhooks().iter().any(|message| message.due <= self.now()) {
                continue;
            }
            match self.next_due().await {
                None => return Ok(()),
                Some(due) if due <= self.now() => self.advance(BUDGET_PAUSE).await,
                Some(due) => self.advance(due - self.now()).await,
            }
        }
        Err(Violation::new("the queue does not come to rest", describe_queue(self).await))
    }

    /// When a key that waits can next be claimed, other than what is parked, and the sweep unless it waits for budget.
    async fn next_due(&self) -> Option<DateTime<Utc>> {
        let next = sqlx::query_scalar(
            "select min(greatest(due_at, leased_until)) from reconcile_queue
             where (kind <> 'sweep' or waits_for is not null) and isfinite(due_at)",
        );
        next.fetch_one(&self.site.db).await.unwrap()
    }
}

async fn request_full_syncs(stage: &Stage<'_>) {
    let (now, mut db) = (stage.now(), stage.site.db.acquire().await.unwrap());
    let connected = sqlx::query_scalar("select id from calendars where status = 'connected' and gone_at is null");
    let ids: Vec<Uuid> = connected.fetch_all(&mut *db).await.unwrap();
    let full = |id| Request {
        key: Key::Calendar(CalendarId(id)),
        since: Some(DateTime::UNIX_EPOCH),
        deadline: now,
        cause: "a test",
        events_only: false,
    };
    queue::request(&mut db, &ids.into_iter().map(full).collect::<Vec<_>>(), now).await.unwrap();
}

async fn describe_queue(stage: &Stage<'_>) -> String {
    let waiting = sqlx::query_scalar::<_, Option<String>>(
        "select string_agg(kind || ' ' || key || ' due ' || due_at || coalesce(': ' || last_error, ''), '; ')
         from reconcile_queue where kind <> 'sweep'",
    );
    waiting.fetch_one(&stage.site.db).await.unwrap().unwrap_or_default()
}

async fn check_queue(stage: &Stage<'_>) -> Result<(), Violation> {
    let waiting = describe_queue(stage).await;
    if !waiting.is_empty() {
        return Err(Violation::new("keys are left in the queue", waiting));
    }
    let unreadable: i64 =
        sqlx::query_scalar("select count(*) from unreadable_events").fetch_one(&stage.site.db).await.unwrap();
    if unreadable > 0 {
        return Err(Violation::new("events are called unreadable", unreadable.to_string()));
    }
    // P1: what was acknowledged is there.
    let delivered: Vec<String> = stage
        .sim
        .webhooks()
        .into_iter()
        .filter_map(|message| {
            message
                .attempts
                .iter()
                .any(|attempt| attempt.status.is_some_and(|status| status < 300))
                .then_some(message.id)
        })
        .collect();
    let recorded = sqlx::query_scalar::<_, i64>(
        "select count(*) from unnest($1::text[]) as id where not exists (select from deliveries where deliveries.id = id.id)",
    );
    let lost: i64 = recorded.bind(delivered).fetch_one(&stage.site.db).await.unwrap();
    if lost > 0 {
        return Err(Violation::new("an acknowledged delivery is lost", lost.to_string()));
    }
    // P2.
    let forged = sqlx::query_scalar::<_, i64>("select count(*) from deliveries where id = $1").bind(Forgery::ID);
    let recorded = forged.fetch_one(&stage.site.db).await.unwrap();
    if recorded > 0 { Err(Violation::new("a forged delivery is recorded", recorded.to_string())) } else { Ok(()) }
}

async fn check_bots(stage: &Stage<'_>, watch: &Watch) -> Result<(), Violation> {
    let said = sqlx::query_as("select id, aspect, value from settings").fetch_all(&stage.site.db).await.unwrap();
    let said = said.into_iter().map(|(id, aspect, value): (Uuid, String, String)| ((id, aspect), value)).collect();
    let seen = oracle::Seen { said, ..oracle::Seen::of(&stage.sim) };
    oracle::check_bots(&seen, &stage.policy(), &watch.past)
}

async fn calls_in_doubt(stage: &Stage<'_>) -> BTreeSet<(String, Uuid)> {
    let open = sqlx::query_as(
        "select key, unnest(open_calls) from bot_keys
         union all select scheduled_key, event_id from decisions where scheduled_key is not null",
    );
    open.fetch_all(&stage.site.db).await.unwrap().into_iter().collect()
}

/// Whether the mirror has to know the bots as well, which Recall may change without a new version of the event.
#[derive(Clone, Copy, PartialEq)]
enum Bots {
    Same,
    MayDiffer,
}

/// The mirror has each event of each connected calendar, as the API shows it.
async fn check_mirror(stage: &Stage<'_>, bots: Bots) -> Result<(), Violation> {
    let connected = stage.sim.calendars().into_iter().filter(|calendar| calendar["status"] == "connected");
    for calendar in connected {
        let id: Uuid = calendar["id"].as_str().unwrap_or_default().parse().unwrap_or_default();
        let mirrored = sqlx::query_scalar::<_, Json<Value>>(
            "select json_build_object('status', status, 'platform', platform, 'platform_email', email,
                 'metadata', metadata, 'gone', gone_at is not null) from calendars where id = $1",
        );
        let mirrored = mirrored.bind(id).fetch_optional(&stage.site.db).await.unwrap().map(|Json(row)| row);
        let mut shown = serde_json::json!({ "gone": false });
        for field in ["status", "platform", "platform_email", "metadata"] {
            shown[field] = calendar[field].clone();
        }
        if mirrored.as_ref() != Some(&shown) {
            return Err(Violation::new("a calendar is not as mirrored", format!("{shown} is {mirrored:?}")));
        }
        for event in stage.sim.events(id) {
            check_event(stage, &event, bots).await?;
        }
    }
    Ok(())
}

async fn check_event(stage: &Stage<'_>, shown: &Value, bots: Bots) -> Result<(), Violation> {
    let id: Uuid = shown["id"].as_str().unwrap_or_default().parse().unwrap_or_default();
    let row = sqlx::query(
        "select calendar_id::text, platform, platform_id, ical_uid, meeting_url, meeting_platform,
             is_deleted, raw, bots, start_time, end_time, created_at, updated_at, gone_at is not null
         from events where id = $1",
    );
    let Some(row) = row.bind(id).fetch_optional(&stage.site.db).await.unwrap() else {
        return Err(Violation::new("an event is not mirrored", shown.to_string()));
    };
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    let mut differing = vec![];
    for (place, field) in
        ["calendar_id", "platform", "platform_id", "ical_uid", "meeting_url", "meeting_platform"].iter().enumerate()
    {
        if row.get::<Option<String>, _>(place).as_deref() != shown[field].as_str() {
            differing.push(*field);
        }
    }
    for (place, field) in [(9, "start_time"), (10, "end_time"), (11, "created_at"), (12, "updated_at")] {
        if Some(row.get::<DateTime<Utc>, _>(place)) != time(&shown[field]) {
            differing.push(field);
        }
    }
    if row.get::<bool, _>(6) != (shown["is_deleted"] == true) || row.get::<bool, _>(13) {
        differing.push("is_deleted");
    }
    if row.get::<Json<Value>, _>(7).0 != shown["raw"] {
        differing.push("raw");
    }
    if bots == Bots::Same && !are_same_bots(&row.get::<Json<Value>, _>(8).0, &shown["bots"]) {
        differing.push("bots");
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(Violation::new(
        "an event is not as mirrored",
        format!("{differing:?} of {shown}; bots {}", row.get::<Json<Value>, _>(8).0),
    ))
}

fn are_same_bots(mirrored: &Value, shown: &Value) -> bool {
    let comparable = |bots: &Value| -> Vec<(String, String, Option<DateTime<Utc>>)> {
        let read = |bot: &Value| {
            let text = |field: &str| bot[field].as_str().unwrap_or_default().to_owned();
            (text("bot_id"), text("deduplication_key") + &text("meeting_url"), text("start_time").parse().ok())
        };
        bots.as_array().into_iter().flatten().map(read).collect()
    };
    comparable(mirrored) == comparable(shown)
}

/// P11: one more sweep, and one more look at each event, makes no bot call.
async fn check_that_all_is_quiet(stage: &mut Stage<'_>, watch: &mut Watch) -> Result<(), Violation> {
    let before = watch.bot_calls;
    stage.request_sweep().await;
    stage.settle(watch).await?;
    let made = watch.bot_calls - before;
    if made > 0 { Err(Violation::new("a converged system made bot calls", made.to_string())) } else { Ok(()) }
}

/// P10.
async fn check_secrets(stage: &Stage<'_>) -> Result<(), Violation> {
    let secrets = [sim::DEFAULT_API_KEY, sim::DEFAULT_SECRET, ADMIN_TOKEN];
    let logs = stage.site.logs();
    let mut unmentionable = secrets.iter().chain(&LINKS).chain(&["Secret"]);
    if let Some(line) = logs.lines().find(|line| unmentionable.any(|secret| line.contains(secret))) {
        return Err(Violation::new("a secret was logged", line.to_owned()));
    }
    let rows = sqlx::query_scalar::<_, i64>(
        "select count(*) from (
             select t::text from deliveries t union all select t::text from reconcile_queue t
             union all select t::text from calendars t union all select t::text from events t
             union all select t::text from decisions t union all select t::text from unreadable_events t
             union all select t::text from settings t
         ) as row (text) where text like any ($1)",
    );
    let patterns: Vec<String> = secrets.iter().map(|secret| format!("%{secret}%")).collect();
    let found = rows.bind(patterns).fetch_one(&stage.site.db).await.unwrap();
    if found > 0 { Err(Violation::new("a secret is in a row", found.to_string())) } else { Ok(()) }
}
