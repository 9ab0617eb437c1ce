//! Plays a history: each operation in turn, with a look at everything that must hold after each, and the ending.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use reqwest::{Client, Method};
use rollcall::{
    sim::{Attendee, MessageState, NewCalendar, NewEvent, Response},
    store::queue::{self, Key, Request},
};
use uuid::Uuid;

use super::{
    Violation,
    checks::Watch,
    ending,
    operation::{Forgery, Operation},
    stage::{ADMIN_TOKEN, Site, Stage},
};

/// What the meetings are joined by. It must appear in no log.
pub const LINKS: [&str; 3] = [
    "https://meet.google.com/aaa-bbbb-ccc",
    "https://acme.zoom.us/j/123456789",
    "https://teams.microsoft.com/l/meetup-join/1",
];

/// What is hard to read or to store in them. They must appear in no log either.
pub const TITLES: [&str; 4] =
    ["Secret\0Project", "Secret \u{202e}Project \u{1f47b}", "Secret'); drop table events; --", "Secret \\ud800 \" } ]"];

/// Plays a history to its end, or to the first violation.
pub async fn play(site: &Site, operations: &[Operation]) -> Result<(), Violation> {
    let mut stage = Stage::set(site, operations).await;
    let mut watch = Watch::default();
    watch.needs_full_sync = operations.iter().any(|operation| operation.is_failure());
    for (number, operation) in operations.iter().enumerate() {
        let carried_out = stage.carry_out(*operation, &mut watch).await;
        carried_out.map_err(|violation| violation.at(number, operation))?;
    }
    ending::converge(&mut stage, &mut watch).await
}

impl Stage<'_> {
    async fn carry_out(&mut self, operation: Operation, watch: &mut Watch) -> Result<(), Violation> {
        match operation {
            Operation::Turns { replica, count } => return self.take_turns(replica, count, watch).await,
            Operation::Together { count } => return self.take_turns_together(count, watch).await,
            Operation::Crowd { replica, count } => self.take_turns_at_once(replica, count, watch).await,
            Operation::Forge(forgery) => return self.forge(forgery).await,
            Operation::Override { .. }
            | Operation::OverrideCalendar { .. }
            | Operation::RuleOf { .. }
            | Operation::Pause { .. } => self.say(operation).await,
            Operation::Confirm => self.confirm().await,
            Operation::Kill { replica, polls } => {
                self.kill_in_turn(replica, polls).await;
                watch.late_calls += 1;
                watch.late_payments += 1;
            }
            Operation::HangIn { replica, after_acting } => self.hang_in_turn(replica, after_acting, watch).await,
            Operation::LetGo => self.let_go(watch).await,
            Operation::Abandon => self.abandon().await,
            Operation::Restart { replica, with } => self.restart(replica, with).await,
            Operation::DatabaseBack => {
                self.site.proxy.open();
                self.start_waiting().await;
            }
            Operation::DatabaseAway => {
                self.site.proxy.close();
                watch.late_payments += 1;
            }
            Operation::Cut { messages, after_acting } => {
                self.site.proxy.cut_in(messages, after_acting);
                watch.late_payments += 1;
            }
            Operation::Delete { event } | Operation::Transfer { event, .. } => {
                let id = nth(&self.events(), event);
                let before = id.and_then(|id| self.version(id));
                self.let_people_act(operation);
                let after = id.and_then(|id| Some((id, self.version(id)?)));
                watch.past.unseen.extend(after.filter(|(_, version)| before != Some(*version)));
            }
            Operation::Disconnect { .. } => {
                let lag = self.sim.current_knobs().revocation_lag_secs;
                watch.noticed_by = watch.noticed_by.max(Some(self.now() + TimeDelta::seconds(lag)));
                self.let_people_act(operation);
            }
            Operation::Sweep => self.request_sweep().await,
            Operation::Deliver => _ = self.sim.deliver_due().await,
            Operation::DeliverOne { webhook } => self.deliver_one(webhook).await,
            Operation::Fail { call, with, times } => self.sim.fail_next(call.endpoint(), with.fault(), times),
            Operation::Advance { minutes } => self.advance(TimeDelta::minutes(minutes)).await,
            Operation::AdvanceSeconds { seconds } => self.advance(TimeDelta::seconds(seconds)).await,
            _ => self.let_people_act(operation),
        }
        watch.look(self).await
    }

    /// What happens at the simulator alone.
    fn let_people_act(&self, operation: Operation) {
        let sim = &self.sim;
        let calendar = |number: usize| nth(&self.calendars(), number);
        let event = |number: usize| nth(&self.events(), number);
        match operation {
            Operation::Turn(knob) => sim.knobs(|knobs| knob.turn(knobs)),
            Operation::Connect { person, is_outlook } => {
                let email = ["ada@acme.test", "bob@Acme.test", "eve@other.test", "kim@third.test"][person % 4];
                let new = if is_outlook { NewCalendar::outlook(email) } else { NewCalendar::google(email) };
                if self.calendars().len() < 5 {
                    sim.connect_calendar(new);
                }
            }
            Operation::Disconnect { calendar: number } => on(calendar(number), |id| sim.disconnect_calendar(id)),
            Operation::Interrupt { calendar: number } => on(calendar(number), |id| sim.interrupt_calendar(id)),
            Operation::Reconnect { calendar: number } => on(calendar(number), |id| sim.reconnect_calendar(id)),
            Operation::RemoveCalendar { calendar: number } => on(calendar(number), |id| sim.delete_calendar(id)),
            Operation::Label { calendar: number, plan } => {
                let metadata = plan.map(|plan| ("plan".to_owned(), plan.to_owned())).into_iter().collect();
                on(calendar(number), |id| sim.set_metadata(id, &metadata));
            }
            Operation::Touch { calendar: number } => on(calendar(number), |id| sim.touch_calendar(id)),
            Operation::Create { calendar: number, in_minutes, minutes, link } => {
                let meeting = self.meeting(in_minutes, minutes, link);
                on(calendar(number), |id| _ = sim.create_event(id, meeting));
            }
            Operation::CreateMany { calendar: number, count, in_minutes } => {
                let meeting = |n: i64| self.meeting(in_minutes + 15 * n, 30, Some(n as usize));
                on(calendar(number), |id| _ = sim.create_events(id, (0..count as i64).map(meeting).collect()));
            }
            Operation::Meet { calendars, in_minutes, minutes, link } => {
                let invited: Vec<Uuid> = self.calendars().into_iter().take(calendars).collect();
                sim.same_meeting_on(&invited, &self.meeting(in_minutes, minutes, Some(link)));
            }
            Operation::Move { event: number, in_minutes } => {
                on(event(number), |id| sim.move_event(id, self.quarter_in(in_minutes)));
            }
            Operation::Shift { event: number, minutes } => on(event(number), |id| {
                sim.edit_event(id, |event| event.move_to(event.start + TimeDelta::minutes(minutes)));
            }),
            Operation::Prolong { event: number, minutes } => on(event(number), |id| {
                sim.edit_event(id, |event| event.end += TimeDelta::minutes(minutes));
            }),
            Operation::Relink { event: number, link } => {
                on(event(number), |id| sim.relink_event(id, link.map(|link| LINKS[link % LINKS.len()])));
            }
            Operation::Invite { event: number, guests } => {
                let guest = |n: usize| Attendee::new(&format!("guest{n}@other.test"), Response::Accepted);
                on(event(number), |id| sim.edit_attendees(id, (0..guests).map(guest).collect()));
            }
            Operation::Cancel { event: number } => on(event(number), |id| sim.cancel_event(id)),
            Operation::Delete { event: number } => on(event(number), |id| sim.delete_event(id)),
            Operation::Restore { event: number } => on(event(number), |id| sim.restore_event(id)),
            Operation::Transfer { event: number, calendar: to } => {
                on(event(number).zip(calendar(to)), |(id, to)| sim.transfer_event(id, to));
            }
            Operation::Kick { event: number } => on(event(number), |id| _ = sim.kick_bot(id)),
            Operation::Retitle { event: number, title } => on(event(number), |id| {
                sim.edit_event(id, |event| event.title = TITLES[title % TITLES.len()].to_owned());
            }),
            Operation::Garble { event: number, with } => {
                on(event(number), |id| sim.override_event_json(id, |event| with.garble(event)));
            }
            Operation::Mend { event: number } => on(event(number), |id| self.mend(id)),
            Operation::Lose => _ = sim.lose_pending_webhooks(),
            Operation::LoseOne { webhook } => {
                on(nth(&sim.pending_webhooks(), webhook), |message| _ = sim.lose_webhook(&message.id));
            }
            Operation::Repeat { webhook } => {
                let mut sent = sim.webhooks();
                sent.retain(|message| matches!(message.state, MessageState::Delivered | MessageState::Lost));
                on(nth(&sent, webhook), |message| _ = sim.replay_webhook(&message.id));
            }
            Operation::Reverse => sim.reverse_pending_webhooks(),
            Operation::Delay { count, minutes } => sim.delay_next_webhooks(count, TimeDelta::minutes(minutes)),
            _ => {}
        }
    }

    /// The calendars, oldest first.
    pub fn calendars(&self) -> Vec<Uuid> {
        let id = |calendar: serde_json::Value| calendar["id"].as_str()?.parse().ok();
        self.sim.calendars().into_iter().filter_map(id).collect()
    }

    /// The events that the API shows, deleted ones too, latest start first: what is over is named last.
    fn events(&self) -> Vec<Uuid> {
        let shown = self.calendars().into_iter().flat_map(|calendar| self.sim.events(calendar));
        let start_and_id = |event: serde_json::Value| {
            Some((event["start_time"].as_str()?.to_owned(), event["id"].as_str()?.parse::<Uuid>().ok()?))
        };
        let mut events: Vec<_> = shown.filter_map(start_and_id).collect();
        events.sort();
        events.into_iter().rev().map(|(_, id)| id).collect()
    }

    fn version(&self, event: Uuid) -> Option<DateTime<Utc>> {
        self.sim.event(event)?["updated_at"].as_str()?.parse().ok()
    }

    fn meeting(&self, in_minutes: i64, minutes: i64, link: Option<usize>) -> NewEvent {
        let mut meeting = NewEvent::new("Weekly sync", self.quarter_in(in_minutes), minutes);
        meeting.meeting_url = link.map(|link| LINKS[link % LINKS.len()].to_owned());
        meeting
    }

    fn quarter_in(&self, minutes: i64) -> DateTime<Utc> {
        (self.now() + TimeDelta::minutes(minutes)).duration_round(TimeDelta::minutes(15)).unwrap()
    }

    /// Delivers one of the webhooks that are due, before the others.
    async fn deliver_one(&self, number: usize) {
        let mut due = self.sim.pending_webhooks();
        due.retain(|message| message.due <= self.now());
        let Some(chosen) = nth(&due, number) else { return };
        // The others are lost and found again.
        let others: Vec<&str> = due.iter().map(|message| message.id.as_str()).filter(|id| *id != chosen.id).collect();
        others.iter().for_each(|id| _ = self.sim.lose_webhook(id));
        self.sim.deliver_due().await;
        others.iter().for_each(|id| _ = self.sim.replay_webhook(id));
    }

    /// The API shows the event as it is again, in a new version.
    fn mend(&self, event: Uuid) {
        self.sim.override_event(event, None);
        self.sim.edit_event(event, |_| {});
    }

    /// By the operator's API. It may be refused: what it is about is not mirrored, or the database is away.
    async fn say(&self, operation: Operation) {
        let of_calendar =
            |number: usize, aspect: &str| nth(&self.calendars(), number).map(|id| format!("calendars/{id}/{aspect}"));
        let verdict = |record: Option<bool>| record.map(|record| if record { "record" } else { "skip" });
        let (path, value) = match operation {
            Operation::Override { event, record } => {
                (nth(&self.events(), event).map(|id| format!("events/{id}/override")), verdict(record))
            }
            Operation::OverrideCalendar { calendar, record } => (of_calendar(calendar, "override"), verdict(record)),
            Operation::RuleOf { calendar, all } => {
                (of_calendar(calendar, "record_when"), all.map(|all| if all { "all" } else { "none" }))
            }
            Operation::Pause { calendar: Some(calendar), is_on } => {
                (of_calendar(calendar, "pause"), is_on.then_some(""))
            }
            Operation::Pause { calendar: None, is_on } => (Some("pause".to_owned()), is_on.then_some("")),
            _ => return,
        };
        let Some(path) = path else { return };
        match value {
            Some(value) => {
                let body = serde_json::json!({ "value": value, "who": "Ada" });
                self.ask_operator(Method::PUT, &path, body.to_string()).await;
            }
            None => self.ask_operator(Method::DELETE, &path, String::new()).await,
        }
    }

    /// Lets the configuration that decides remove its bots. It may be refused too.
    pub async fn confirm(&self) {
        self.ask_operator(Method::POST, "policy/confirm", String::new()).await;
    }

    async fn ask_operator(&self, method: Method, path: &str, body: String) {
        let request = Client::new().request(method, format!("{}/api/v1/{path}", self.operator));
        let status = request.bearer_auth(ADMIN_TOKEN).body(body).send().await.unwrap().status().as_u16();
        assert!([200, 404, 503].contains(&status), "{status} for {path}");
    }

    async fn forge(&self, forgery: Forgery) -> Result<(), Violation> {
        let Some(calendar) = nth(&self.calendars(), 0) else { return Ok(()) };
        let status = forgery.post(calendar, self.now()).send_to(&self.receiver).await.status();
        let was_refused = status == reqwest::StatusCode::UNAUTHORIZED;
        if was_refused { Ok(()) } else { Err(Violation::new("a forged webhook was accepted", status.to_string())) }
    }

    /// Requests the sweep, as the timer does.
    pub async fn request_sweep(&self) {
        let mut db = self.site.db.acquire().await.unwrap();
        let sweep = Request { key: Key::Sweep, since: None, deadline: self.now(), cause: "a test", events_only: false };
        queue::request(&mut db, &[sweep], self.now()).await.unwrap();
    }
}

fn nth<T: Clone>(of: &[T], number: usize) -> Option<T> {
    (!of.is_empty()).then(|| of[number % of.len()].clone())
}

fn on<T>(found: Option<T>, act: impl FnOnce(T)) {
    if let Some(found) = found {
        act(found);
    }
}
