//! What the state machine promises (recall-api §14), and each rule of §2 to §4 and §8.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bot::BotState;
use super::meeting::{NewEvent, Platform, Response};
use super::*;

const MEET: &str = "https://meet.google.com/abc-defg-hij";
const ZOOM: &str = "https://acme.zoom.us/j/123";

/// A workspace, and the time it is there.
struct World {
    workspace: Workspace,
    now: DateTime<Utc>,
}

impl World {
    fn new() -> Self {
        let now = "2026-01-20T09:00:00Z".parse().unwrap();
        Self { workspace: Workspace::new(Knobs::default(), 7), now }
    }

    fn at(&self, minutes: i64) -> DateTime<Utc> {
        self.now + TimeDelta::minutes(minutes)
    }

    fn pass(&mut self, time: TimeDelta) {
        self.now += time;
        self.workspace.tick(self.now);
        self.check();
    }

    fn connect(&mut self, email: &str) -> Uuid {
        let email = Some(email.to_owned());
        let change = CalendarChange::default();
        let id = self.workspace.create_calendar(Platform::GoogleCalendar, email, change, self.now);
        self.workspace.tick(self.now);
        id
    }

    /// A meeting that starts in so many minutes.
    fn meet(&mut self, calendar: Uuid, minutes: i64) -> Uuid {
        let new = NewEvent::new("Weekly sync", self.at(minutes), 30).at(MEET);
        self.workspace.create_events(calendar, vec![new], self.now)[0]
    }

    fn shift(&mut self, event: Uuid, minutes: i64) {
        let start = self.at(minutes);
        self.workspace.edit_event(event, |meeting| meeting.move_to(start), self.now);
    }

    fn schedule(&mut self, event: Uuid, key: &str) -> Uuid {
        self.try_schedule(event, key, &json!({})).unwrap();
        let bots = self.shown(event)["bots"].clone();
        bots.as_array().unwrap().last().unwrap()["bot_id"].as_str().unwrap().parse().unwrap()
    }

    fn try_schedule(&mut self, event: Uuid, key: &str, config: &Value) -> Result<(), Refusal> {
        let done = self.workspace.schedule_bot(event, key, config, self.now);
        self.check();
        done
    }

    fn shown(&self, event: Uuid) -> Value {
        self.workspace.event_json(event).unwrap()
    }

    fn updated_at(&self, event: Uuid) -> DateTime<Utc> {
        self.shown(event)["updated_at"].as_str().unwrap().parse().unwrap()
    }

    fn live(&self) -> Vec<&Bot> {
        self.workspace.all_bots().into_iter().filter(|bot| bot.is_live()).collect()
    }

    fn state(&self, bot: Uuid) -> BotState {
        self.workspace.bots[&bot].state
    }

    fn topics(&mut self) -> Vec<String> {
        self.workspace.take_notices().into_iter().map(|notice| notice.topic).collect()
    }

    /// `last_updated_ts` of the last `calendar.sync_events`.
    fn told(&mut self) -> DateTime<Utc> {
        let notice = self.workspace.take_notices().pop().unwrap();
        let body: Value = serde_json::from_str(&notice.body).unwrap();
        body["data"]["last_updated_ts"].as_str().unwrap().parse().unwrap()
    }

    /// What must hold after everything.
    fn check(&self) {
        let workspace = &self.workspace;
        let is_scheduled = |id: &&Uuid| workspace.bots[id].state == BotState::Scheduled;
        for event in workspace.events.values() {
            let scheduled: Vec<_> = event.bots.iter().filter(is_scheduled).collect();
            assert!(scheduled.len() <= 1, "one scheduled bot per event");
            let row = event.row.as_ref();
            assert!(scheduled.is_empty() || !row.unwrap().is_deleted, "no bot on a deleted event");
        }
        let mut keys: Vec<_> = Vec::new();
        for bot in workspace.bots.values().filter(|bot| bot.state == BotState::Scheduled) {
            keys.push(&bot.key);
            assert_eq!(workspace.scheduled.get(&bot.key), Some(&bot.id), "keys lead to their bots");
            assert!(!bot.events.is_empty());
            for event in &bot.events {
                assert!(workspace.events[event].bots.contains(&bot.id), "links go both ways");
            }
        }
        assert_eq!(keys.len(), workspace.scheduled.len(), "one scheduled bot per key");
    }
}

#[test]
fn a_key_is_one_bot_for_all_its_events_and_it_dies_with_the_last() {
    let mut world = World::new();
    let (ada, bo) = (world.connect("ada@acme.test"), world.connect("bo@acme.test"));
    let (hers, his) = (world.meet(ada, 60), world.meet(bo, 60));
    let bot = world.schedule(hers, "k");
    assert_eq!(world.schedule(his, "k"), bot);
    world.workspace.delete_bot(hers, world.now).unwrap();
    assert_eq!(world.state(bot), BotState::Scheduled);
    world.workspace.delete_bot(his, world.now).unwrap();
    assert_eq!(world.state(bot), BotState::Removed);
    world.workspace.delete_bot(his, world.now).unwrap();
    world.check();
}

#[test]
fn scheduling_again_replaces_the_whole_configuration_and_keeps_the_unshared_bot() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    world.try_schedule(event, "k", &json!({"bot_name": "A", "metadata": {"x": "1"}})).unwrap();
    let bot = world.live()[0].id;
    world.try_schedule(event, "other", &json!({"bot_name": "B"})).unwrap();
    assert_eq!(world.live().len(), 1);
    assert_eq!((world.live()[0].id, &world.live()[0].config), (bot, &json!({"bot_name": "B"})));

    world.workspace.knobs.new_bot_id = true;
    assert_ne!(world.schedule(event, "other"), bot);
    assert_eq!(world.live().len(), 1);
}

#[test]
fn an_event_that_takes_another_key_leaves_the_shared_bot_to_the_rest() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let (one, two) = (world.meet(ada, 60), world.meet(ada, 60));
    let shared = world.schedule(one, "k");
    world.schedule(two, "k");
    let own = world.schedule(one, "l");
    assert_ne!(own, shared);
    assert_eq!(world.schedule(two, "l"), own);
    assert_eq!(world.state(shared), BotState::Removed);
}

#[test]
fn link_and_time_come_from_the_event_unless_given() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    world.schedule(event, "k");
    assert_eq!((world.live()[0].join_at, world.live()[0].meeting_url.as_str()), (world.at(60), MEET));
    let join_at = world.at(58).to_rfc3339();
    world.try_schedule(event, "k", &json!({"join_at": join_at, "meeting_url": ZOOM})).unwrap();
    assert_eq!((world.live()[0].join_at, world.live()[0].meeting_url.as_str()), (world.at(58), ZOOM));
    for wrong in [json!({"join_at": "soon"}), json!({"join_at": {}}), json!({"meeting_url": 1})] {
        assert!(matches!(world.try_schedule(event, "k", &wrong), Err(Refusal::Field(..))));
    }
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let bare = NewEvent::new("No link", world.at(60), 30).at("https://example.test/room");
    let bare = world.workspace.create_events(ada, vec![bare], world.now)[0];
    assert_eq!(world.shown(bare)["meeting_url"], Value::Null, "the platform is not supported");
    let (ended, cancelled, deleted) = (world.meet(ada, -30), world.meet(ada, 60), world.meet(ada, 60));
    world.workspace.edit_event(cancelled, |meeting| meeting.cancelled = true, world.now);
    world.workspace.set_deleted(deleted, true, world.now);

    assert_eq!(world.try_schedule(ended, "k", &json!({})), Err(Refusal::Ended));
    for event in [bare, cancelled, deleted] {
        assert!(matches!(world.try_schedule(event, "k", &json!({})), Err(Refusal::NotSchedulable(_))));
    }
    assert_eq!(world.try_schedule(Uuid::nil(), "k", &json!({})), Err(Refusal::NotFound));
    world.try_schedule(bare, "k", &json!({"meeting_url": ZOOM})).unwrap();

    let later = world.meet(ada, 60);
    world.workspace.disconnect_calendar(ada, false, world.now);
    world.workspace.tick(world.now);
    assert!(matches!(world.try_schedule(later, "k", &json!({})), Err(Refusal::NotSchedulable(_))));
    assert_eq!(world.live().len(), 0);
}

#[test]
fn a_bot_joins_at_its_time_stays_to_the_end_and_remains_as_history() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    let bot = world.schedule(event, "k");
    world.pass(TimeDelta::minutes(60));
    assert_eq!(world.state(bot), BotState::InCall);
    world.workspace.delete_bot(event, world.now).unwrap();
    assert_eq!(world.state(bot), BotState::InCall, "out of the endpoint's reach");
    world.pass(TimeDelta::minutes(30));
    assert_eq!(world.state(bot), BotState::Done);

    world.shift(event, 120);
    let next = world.schedule(event, "k");
    assert_ne!(next, bot, "keys are for future bots only");
    assert_eq!(world.shown(event)["bots"].as_array().unwrap().len(), 2);
}

#[test]
fn an_event_in_progress_gets_a_bot_at_once_and_another_if_that_was_put_out() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, -10);
    let bot = world.schedule(event, "k");
    assert_eq!(world.state(bot), BotState::InCall);
    assert!(world.workspace.kick_bots(event, world.now));
    assert_eq!(world.state(bot), BotState::Left);
    assert!(!world.workspace.kick_bots(event, world.now));
    let second = world.schedule(event, "k");
    assert_ne!(second, bot);

    world.workspace.knobs.share_bots_in_call = true;
    assert_eq!(world.schedule(event, "k"), second);
    assert_eq!(world.live().len(), 1);
}

#[test]
fn an_empty_pool_refuses_only_bots_that_join_soon_and_are_new() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let (soon, later) = (world.meet(ada, 9), world.meet(ada, 20));
    world.workspace.knobs.pool_empty = 1.0;
    assert_eq!(world.try_schedule(soon, "k", &json!({})), Err(Refusal::PoolEmpty));
    let bot = world.schedule(later, "l");
    world.pass(TimeDelta::minutes(15));
    assert_eq!(world.schedule(later, "l"), bot, "a bot that is there already needs no pool");
}

#[test]
fn a_moved_event_keeps_its_stale_bot_until_it_is_scheduled_again() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    world.schedule(event, "k");
    world.shift(event, 120);
    world.workspace.edit_event(event, |meeting| meeting.meeting_url = Some(ZOOM.into()), world.now);
    let shown = world.shown(event);
    assert_ne!(shown["bots"][0]["start_time"], shown["start_time"]);
    assert_eq!((&shown["bots"][0]["meeting_url"], &shown["meeting_url"]), (&json!(MEET), &json!(ZOOM)));
    world.schedule(event, "l");
    let shown = world.shown(event);
    assert_eq!(shown["bots"][0]["start_time"], shown["start_time"]);

    world.workspace.knobs.move_bots = true;
    world.shift(event, 180);
    assert_eq!(world.live()[0].join_at, world.at(180));
}

#[test]
fn a_deleted_event_loses_its_bot_and_stays_listed_and_may_come_back() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    world.schedule(event, "k");
    world.workspace.set_deleted(event, true, world.now);
    assert_eq!((world.shown(event)["is_deleted"].clone(), world.live().len()), (json!(true), 0));
    let all = EventFilter { calendar_id: Some(ada), ..EventFilter::default() };
    assert_eq!(world.workspace.list_events(&all).len(), 1);
    let living = EventFilter { is_deleted: Some(false), ..all };
    assert_eq!(world.workspace.list_events(&living).len(), 0);
    world.workspace.set_deleted(event, false, world.now);
    assert_eq!(world.workspace.list_events(&living).len(), 1);
    world.check();
}

#[test]
fn a_deleted_calendar_takes_events_and_bots_along_and_says_nothing() {
    let mut world = World::new();
    let (ada, bo) = (world.connect("ada@acme.test"), world.connect("bo@acme.test"));
    let (own, hers, his) = (world.meet(ada, 60), world.meet(ada, 90), world.meet(bo, 90));
    let gone = world.schedule(own, "own");
    let shared = world.schedule(hers, "shared");
    world.schedule(his, "shared");
    world.topics();
    world.workspace.delete_calendar(ada, world.now).unwrap();
    assert_eq!(world.topics(), [""; 0]);
    assert!(world.workspace.event(own).is_none() && world.workspace.calendar(ada).is_none());
    assert_eq!((world.state(gone), world.state(shared)), (BotState::Removed, BotState::Scheduled));
    assert_eq!(world.workspace.delete_calendar(ada, world.now), Err(Refusal::NotFound));
    world.check();
}

#[test]
fn a_disconnected_calendar_stays_readable_without_bots_and_catches_up_when_it_is_back() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let (kept, dropped) = (world.meet(ada, 60), world.meet(ada, 90));
    world.schedule(kept, "k");
    world.topics();
    world.workspace.disconnect_calendar(ada, false, world.now);
    world.workspace.tick(world.now);
    assert_eq!(world.topics(), ["calendar.update"]);
    assert_eq!((world.live().len(), world.shown(kept)["bots"].clone()), (0, json!([])));

    world.workspace.set_deleted(dropped, true, world.now);
    assert_eq!(world.topics(), [""; 0]);
    assert_eq!(world.shown(dropped)["is_deleted"], false, "nobody tells Recall");

    world.workspace.update_calendar(ada, CalendarChange::default(), world.now).unwrap();
    world.workspace.tick(world.now);
    let status = |world: &World| world.workspace.calendar(ada).unwrap().status;
    assert_eq!(status(&world), Status::Disconnected, "the grant is void");
    world.topics();
    let renewed = json!({"oauth_refresh_token": "new"});
    let oauth = renewed.as_object().unwrap().clone();
    let renewed = CalendarChange { oauth, ..CalendarChange::default() };
    world.workspace.update_calendar(ada, renewed, world.now).unwrap();
    world.workspace.tick(world.now);
    assert_eq!(status(&world), Status::Connected);
    assert_eq!(world.topics(), ["calendar.update", "calendar.update", "calendar.sync_events"]);
    assert_eq!(world.shown(dropped)["is_deleted"], true);
    assert_eq!(world.live().len(), 0, "bots do not come back by themselves");
}

#[test]
fn an_empty_update_reconnects_while_the_grant_is_good() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    world.workspace.disconnect_calendar(ada, true, world.now);
    world.workspace.tick(world.now);
    world.workspace.update_calendar(ada, CalendarChange::default(), world.now).unwrap();
    world.workspace.tick(world.now);
    assert_eq!(world.workspace.calendar(ada).unwrap().status, Status::Connected);
}

#[test]
fn a_revocation_is_noticed_late_and_a_connection_takes_its_time() {
    let mut world = World::new();
    world.workspace.knobs.connect_delay_secs = 30;
    world.workspace.knobs.revocation_lag_secs = 3600;
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 30);
    assert_eq!(world.workspace.event_json(event), None, "not synced yet");
    world.pass(TimeDelta::seconds(30));
    assert_eq!(world.topics(), ["calendar.update", "calendar.sync_events"]);
    let bot = world.schedule(event, "k");
    world.workspace.disconnect_calendar(ada, false, world.now);
    world.pass(TimeDelta::minutes(45));
    assert_eq!(world.state(bot), BotState::InCall, "it went out meanwhile");
    world.pass(TimeDelta::minutes(15));
    assert_eq!(world.workspace.calendar(ada).unwrap().status, Status::Disconnected);
}

#[test]
fn an_event_beyond_the_window_is_unknown_until_it_enters() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    world.topics();
    let event = world.meet(ada, 29 * 24 * 60);
    let past = world.meet(ada, -25 * 60);
    assert_eq!((world.workspace.event_json(event), world.workspace.event_json(past)), (None, None));
    assert_eq!(world.topics(), [""; 0]);
    world.pass(TimeDelta::hours(23));
    assert_eq!(world.topics(), [""; 0]);
    world.pass(TimeDelta::hours(1));
    assert_eq!(world.told(), world.updated_at(event));
}

#[test]
fn an_event_that_leaves_the_window_keeps_its_row_and_is_updated_when_it_is_back() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    let before = world.shown(event);
    world.topics();
    world.shift(event, 40 * 24 * 60);
    assert_eq!((world.shown(event), world.topics()), (before.clone(), vec![]));
    world.pass(TimeDelta::days(12));
    assert_ne!(world.shown(event), before);
    assert_eq!(world.topics(), ["calendar.sync_events"]);
}

#[test]
fn an_event_is_forgotten_sixty_days_after_its_end() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    world.pass(TimeDelta::days(60));
    assert!(world.workspace.event(event).is_some());
    world.pass(TimeDelta::minutes(90));
    assert!(world.workspace.event(event).is_none());
}

#[test]
fn updated_at_strictly_grows_even_if_the_clock_does_not_and_only_on_a_change() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    let mut last = world.updated_at(event);
    for minutes in [70, 80, 90] {
        world.shift(event, minutes);
        assert!(world.updated_at(event) > last);
        last = world.updated_at(event);
        assert_eq!(world.told(), last);
        world.shift(event, minutes);
        world.schedule(event, "k");
        assert_eq!((world.updated_at(event), world.topics()), (last, vec![]));
        world.now -= TimeDelta::seconds(1);
    }
}

#[test]
fn one_batch_is_one_webhook_and_its_time_is_a_lower_bound() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    world.topics();
    let new = (0..5).map(|n| NewEvent::new("Sync", world.at(60 + n), 30).at(MEET)).collect();
    let events = world.workspace.create_events(ada, new, world.now);
    let told = world.told();
    assert!(events.iter().all(|event| told <= world.updated_at(*event)));
    let since = EventFilter { updated_gte: Some(told), ..EventFilter::default() };
    assert_eq!(world.workspace.list_events(&since).len(), 5);
    world.workspace.knobs.webhooks_per_change = 3;
    world.shift(events[0], 90);
    assert_eq!(world.topics().len(), 3);
}

#[test]
fn with_the_knob_a_change_of_bots_touches_the_event() {
    let mut world = World::new();
    world.workspace.knobs.sync_on_bot_change = true;
    let ada = world.connect("ada@acme.test");
    let event = world.meet(ada, 60);
    let before = world.updated_at(event);
    world.schedule(event, "k");
    assert!(world.updated_at(event) > before);
    assert_eq!(world.told(), world.updated_at(event));
    world.workspace.delete_bot(event, world.now).unwrap();
    assert_eq!(world.topics(), ["calendar.sync_events"]);
    world.workspace.delete_bot(event, world.now).unwrap();
    assert_eq!(world.topics(), [""; 0], "there was nothing to delete");
}

#[test]
fn a_transferred_event_keeps_its_id() {
    let mut world = World::new();
    let (ada, bo) = (world.connect("ada@acme.test"), world.connect("bo@acme.test"));
    let event = world.meet(ada, 60);
    world.workspace.transfer_event(event, bo, world.now);
    assert_eq!(world.shown(event)["calendar_id"], json!(bo));
    world.workspace.delete_calendar(ada, world.now).unwrap();
    assert!(world.workspace.event(event).is_some());
}

#[test]
fn an_event_beyond_the_window_stays_listed_where_it_was() {
    let mut world = World::new();
    let (ada, bo) = (world.connect("ada@acme.test"), world.connect("bo@acme.test"));
    let event = world.meet(ada, 60);
    let far = world.at(30 * 24 * 60);
    world.workspace.edit_event(event, |meeting| meeting.move_to(far), world.now);
    world.workspace.transfer_event(event, bo, world.now);
    let of_ada = EventFilter { calendar_id: Some(ada), ..EventFilter::default() };
    assert_eq!(world.workspace.list_events(&of_ada).len(), 1);
    assert_eq!(world.shown(event)["calendar_id"], json!(ada));
}

#[test]
fn ical_uid_filters_by_a_prefix_and_its_case() {
    let mut world = World::new();
    let ada = world.connect("ada@acme.test");
    let mut new = NewEvent::new("Sync", world.at(60), 30);
    new.ical_uid = Some("AbC_1@google.com".into());
    world.workspace.create_events(ada, vec![new], world.now);
    let count = |prefix: &str| {
        let filter = EventFilter { ical_uid: Some(prefix.into()), ..EventFilter::default() };
        world.workspace.list_events(&filter).len()
    };
    assert_eq!((count("AbC"), count("abc"), count("bC")), (1, 0, 0));
}

#[test]
fn a_printed_event_is_shown_as_it_was_printed() {
    let mut world = World::new();
    let printed = json!({
        "id": "7c1f5a0e-2d6b-4f0c-9f0a-6c0d8d5b1e01",
        "calendar_id": "0b9f8f6e-7b0a-4b1e-9c60-4f4d0b1f2a11",
        "platform": "google_calendar", "platform_id": "4s0m3_20260120T213000Z", "ical_uid": "4s0m3@google.com",
        "start_time": "2026-01-20T21:30:00Z", "end_time": "2026-01-20T22:00:00Z",
        "meeting_platform": "google_meet", "meeting_url": MEET,
        "created_at": "2026-01-05T10:00:00.000000Z", "updated_at": "2026-01-15T09:30:00.123456Z",
        "is_deleted": false,
        "bots": [{"bot_id": "e1d9c6b2-5a4f-4b0f-8f58-1f0f2f3a4b5c", "start_time": "2026-01-20T21:30:00Z",
            "deduplication_key": "k", "meeting_url": MEET}],
        "raw": {"anything": ["as", "it", "is"], "summary": "Weekly sync"},
    });
    let id = world.workspace.insert_printed(printed.clone(), world.now);
    assert_eq!(world.shown(id), printed);
    assert_eq!(world.told(), world.updated_at(id));
    world.check();
    world.pass(TimeDelta::days(1));
    let bots = world.workspace.all_bots();
    assert_eq!((bots.len(), bots[0].state), (1, BotState::Done));
}

#[test]
fn raw_tells_what_top_level_does_not_on_both_platforms() {
    let mut world = World::new();
    let google = world.connect("ada@acme.test");
    let outlook = world.workspace.create_calendar(
        Platform::MicrosoftOutlook,
        Some("ada@acme.test".into()),
        CalendarChange::default(),
        world.now,
    );
    world.workspace.tick(world.now);
    let new = NewEvent::new("Customer call", world.at(60), 30)
        .at("https://teams.microsoft.com/l/meetup-join/1")
        .with("ada@acme.test", Response::Accepted)
        .with("guest@other.test", Response::Declined)
        .organized_by("host@other.test")
        .in_series("series");
    let made = |world: &mut World, calendar| world.workspace.create_events(calendar, vec![new.clone()], world.now)[0];
    let (google, outlook) = (made(&mut world, google), made(&mut world, outlook));

    let raw = world.shown(google)["raw"].clone();
    assert_eq!(raw["summary"], "Customer call");
    assert_eq!(raw["attendees"][0], json!({"email": "ada@acme.test", "responseStatus": "accepted", "self": true}));
    assert_eq!((&raw["organizer"]["email"], &raw["recurringEventId"]), (&json!("host@other.test"), &json!("series")));
    let raw = world.shown(outlook)["raw"].clone();
    assert_eq!((&raw["subject"], &raw["seriesMasterId"]), (&json!("Customer call"), &json!("series")));
    assert_eq!(raw["start"]["dateTime"], "2026-01-20T10:00:00.0000000");
    assert_eq!(raw["attendees"][1]["status"]["response"], "declined");
    assert_eq!(raw["onlineMeeting"]["joinUrl"], world.shown(outlook)["meeting_url"]);

    for event in [google, outlook] {
        world.workspace.edit_event(event, |meeting| meeting.cancelled = true, world.now);
    }
    assert_eq!(world.shown(google)["raw"]["status"], "cancelled");
    assert_eq!(world.shown(outlook)["raw"]["isCancelled"], true);
    assert_eq!(world.shown(outlook)["is_deleted"], false);
}

#[test]
fn the_same_seed_makes_the_same_ids() {
    let ids = || {
        let mut world = World::new();
        let ada = world.connect("ada@acme.test");
        (ada, world.meet(ada, 60))
    };
    assert_eq!(ids(), ids());
}

/// One thing that people, clients or time may do.
fn something(world: &mut World, rng: &mut fastrand::Rng, calendars: &[Uuid], events: &mut Vec<Uuid>) {
    let calendar = calendars[rng.usize(..calendars.len())];
    let event = events[rng.usize(..events.len())];
    let key = ["a", "b", "c"][rng.usize(..3)];
    let now = world.now;
    match rng.u8(..12) {
        0 => events.push(world.meet(calendar, rng.i64(-60..50 * 24 * 60))),
        1 => world.shift(event, rng.i64(-60..50 * 24 * 60)),
        2 => world.workspace.set_deleted(event, rng.bool(), now),
        3 => world.workspace.disconnect_calendar(calendar, rng.bool(), now),
        4 => world.workspace.reconnect_calendar(calendar, now),
        5 => drop(world.workspace.delete_bot(event, now)),
        6 => drop(world.workspace.kick_bots(event, now)),
        7 => world.workspace.transfer_event(event, calendar, now),
        8 => world.pass(TimeDelta::minutes(rng.i64(1..600))),
        9 => world.workspace.knobs.move_bots = rng.bool(),
        10 => world.workspace.knobs.new_bot_id = rng.bool(),
        _ => drop(world.try_schedule(event, key, &json!({}))),
    }
    world.workspace.tick(world.now);
    world.check();
}

#[test]
fn whatever_happens_the_invariants_hold_and_every_webhook_is_a_lower_bound() {
    for seed in 0..100 {
        let mut world = World::new();
        let mut rng = fastrand::Rng::with_seed(seed);
        let calendars: Vec<_> = ["ada", "bo"].map(|name| world.connect(name)).into();
        let mut events: Vec<_> = calendars.iter().map(|calendar| world.meet(*calendar, 60)).collect();
        for _ in 0..150 {
            let before: HashMap<_, _> = rows(&world);
            world.topics();
            something(&mut world, &mut rng, &calendars, &mut events);
            let notices = world.workspace.take_notices();
            for (id, (row, calendar)) in rows(&world) {
                let old = before.get(&id);
                if old.is_some_and(|(old, _)| *old == row) {
                    continue;
                }
                assert!(old.is_none_or(|(old, _)| old < &row), "seed {seed}: it grows");
                let told = notices.iter().filter(|notice| notice.calendar_id == Some(calendar));
                let told = told.filter_map(|notice| {
                    let body: Value = serde_json::from_str(&notice.body).unwrap();
                    body["data"]["last_updated_ts"].as_str()?.parse::<DateTime<Utc>>().ok()
                });
                assert!(told.into_iter().any(|told| told <= row), "seed {seed}: somebody is told");
            }
        }
    }
}

/// `updated_at` and calendar of each row.
fn rows(world: &World) -> HashMap<Uuid, (DateTime<Utc>, Uuid)> {
    let rows = world.workspace.events.values();
    rows.filter_map(|event| {
        let row = event.row.as_ref()?;
        Some((event.id, (row.updated_at, row.calendar_id)))
    })
    .collect()
}
