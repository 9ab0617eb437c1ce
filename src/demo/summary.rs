//! What frames the story: who is who, the opening in numbers, the check, and the account at the end.

use std::collections::{BTreeMap, HashSet};

use super::{
    DemoArgs, Ending,
    narrator::Narrator,
    oracle::{self, Difference},
    stage::{LISTS_PER_MINUTE, SWEEP_INTERVAL},
    voice::Voice,
};
use crate::sim::{Endpoint, MessageState, Sim};

/// Differences that are listed; more are counted.
const MAX_LISTED: usize = 20;

/// Says what is what.
pub(super) fn introduce(narrator: &Narrator, args: &DemoArgs, seed: u64) {
    let DemoArgs { seconds, calendars, .. } = args;
    narrator.print(&format!(
        "\
people     {calendars} invented people whose calendars change all the time, as calendars do
Recall     a simulated Recall.ai: it watches those calendars, tells of changes by webhook, and sends bots to meetings;
           some of its webhooks get lost, some come twice
rollcall   the real service, with a Postgres: a webhook makes it look at a calendar (webhook → change), decide which bot
           each meeting should have (decision), and have Recall schedule, move or remove it (bot)

It looks at every calendar unasked each {SWEEP_INTERVAL} rather than each 15m, and may list {LISTS_PER_MINUTE} times a minute rather than 60, so that
all fits in {seconds} s. Then the bots are checked against the calendars. Times of meetings are UTC; --seed {seed} plays it again.
"
    ));
}

/// The opening in numbers.
pub(super) fn tell_opening(narrator: &Narrator, sim: &Sim) {
    let calendars = sim.calendars().len();
    let events: usize = calendar_ids(sim).map(|id| sim.events(id).len()).sum();
    let wanted = oracle::wanted_bots(sim);
    let tally = narrator.tally;
    narrator.tell(
        Voice::Person,
        &format!(
            "{calendars} people connected their calendars at once: {events} events, which are {} meetings with a link",
            wanted.len()
        ),
    );
    narrator.tell(
        Voice::Webhook,
        &format!("{} accepted, and {} API calls made since", count(tally.accepted, "webhook"), sim.calls().len()),
    );
    narrator.tell(
        Voice::Bot,
        &format!(
            "{} scheduled for {}; an event on several calendars shares one",
            count(sim.live_bots().len(), "bot"),
            count(wanted.len(), "meeting")
        ),
    );
}

/// How the check came out.
pub(super) fn tell_check(narrator: &Narrator, sim: &Sim, differences: &[Difference]) {
    let wanted = oracle::wanted_bots(sim);
    let meetings = count(wanted.len(), "meeting");
    if differences.is_empty() {
        let except = match oracle::count_stranded(&wanted, &sim.live_bots()) {
            0 => String::new(),
            stranded => format!(" but for {} in a call that was called off meanwhile", count(stranded, "bot")),
        };
        let what =
            format!("✓ {meetings} should have a bot, {} have exactly one, nothing else has{except}", wanted.len());
        return narrator.tell(Voice::Check, &what);
    }
    let found = count(differences.len(), "difference");
    narrator.tell(Voice::Check, &format!("✗ {meetings} should have a bot, and there are {found}:"));
    for difference in differences.iter().take(MAX_LISTED) {
        narrator.print(&format!("       {difference}"));
    }
    if let Some(more) = differences.len().checked_sub(MAX_LISTED).filter(|more| *more > 0) {
        narrator.print(&format!("       … and {more} more"));
    }
}

/// The account at the end.
pub(super) fn conclude(narrator: &Narrator, sim: &Sim, ending: Ending) {
    let tally = narrator.tally;
    narrator.print("");
    narrator.print(&format!("people     {} in their calendars", count(tally.happenings, "happening")));
    narrator.print(&format!("webhooks   {}", count_webhooks(sim)));
    narrator.print(&format!("API calls  {}", count_calls(sim)));
    narrator.print(&format!(
        "bots       {} got one, {} had it moved, {} had it taken away; Recall itself takes those of deleted events",
        count(tally.scheduled, "event"),
        tally.moved,
        tally.removed
    ));
    if tally.troubles > 0 {
        narrator.print(&format!("trouble    {} in rollcall's log", count(tally.troubles, "line")));
    }
    narrator.print(match ending {
        Ending::Agreed => "result     ✓ the bots are exactly those that should be there",
        Ending::Differed => "result     ✗ the bots are not those that should be there",
        Ending::Unchecked => "result     interrupted before the bots were checked",
    });
}

fn count_webhooks(sim: &Sim) -> String {
    let messages = sim.webhooks();
    let lost = messages.iter().filter(|message| message.state == MessageState::Lost).count();
    let delivered = messages.iter().filter(|message| message.state == MessageState::Delivered);
    let ids: HashSet<&str> = delivered.clone().map(|message| message.id.as_str()).collect();
    let repeated = delivered.count() - ids.len();
    format!("{} came up: {} delivered, {repeated} of them twice; {lost} lost", ids.len() + lost, ids.len())
}

fn count_calls(sim: &Sim) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let calls = sim.calls();
    for call in &calls {
        let kind = match call.endpoint {
            Endpoint::ListCalendars | Endpoint::ListEvents => "list",
            Endpoint::ScheduleBot => "schedule a bot",
            Endpoint::DeleteBot => "remove one",
            _ => "read",
        };
        *counts.entry(kind).or_default() += 1;
    }
    let kinds = ["list", "read", "schedule a bot", "remove one"];
    let parts: Vec<String> =
        kinds.iter().map(|kind| format!("{} to {kind}", counts.get(kind).copied().unwrap_or_default())).collect();
    let events: usize = calendar_ids(sim).map(|id| sim.events(id).len()).sum();
    let conflicts = calls.iter().filter(|call| call.status == 409).count();
    let refused = calls.iter().filter(|call| call.status >= 400).count() - conflicts;
    format!(
        "{} for {}: {}; {refused} refused, {conflicts} put off because two calendars asked for one bot at once",
        calls.len(),
        count(events, "event"),
        parts.join(", ")
    )
}

fn calendar_ids(sim: &Sim) -> impl Iterator<Item = uuid::Uuid> {
    sim.calendars().into_iter().filter_map(|calendar| calendar["id"].as_str()?.parse().ok())
}

/// `1 bot`, `2 bots`.
fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
