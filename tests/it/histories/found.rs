//! Histories that broke something once, shrunk: each is the test of its bug.

use super::{
    operation::{Call::*, Knob::*, Oddity::*, Operation::*, Setting::*, Trouble::*},
    survives,
};

/// A list call is paid before Retrieve Calendar; when that took long, the slot was taken again within a minute of the call.
#[tokio::test]
async fn a_list_call_is_paid_when_it_is_made() {
    survives(&[
        Limit { list: 2, read: 5, bot: 1 },
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: true },
        Turns { replica: 0, count: 20 },
        Advance { minutes: 16 },
        HangIn { replica: 1, after_acting: true },
        Advance { minutes: 4320 },
        Together { count: 4 },
    ])
    .await;
}

/// The bot that was in the call had another key, and so was not taken for the meeting's own.
#[tokio::test]
async fn a_changed_deduplication_sends_no_second_bot_to_a_meeting_under_way() {
    for with in [BotPerCompany, BotPerEvent] {
        survives(&[
            Connect { person: 0, is_outlook: false },
            Create { calendar: 0, in_minutes: -15, minutes: 60, link: Some(0) },
            Deliver,
            Turns { replica: 0, count: 20 },
            Restart { replica: 0, with },
        ])
        .await;
    }
}

/// The simulator took a shared bot along with one of its events, away from the others.
#[tokio::test]
async fn a_shared_bot_stays_where_its_other_events_are() {
    survives(&[
        Turn(MoveBots),
        Connect { person: 1, is_outlook: false },
        Connect { person: 2, is_outlook: false },
        Meet { calendars: 2, in_minutes: 1440, minutes: 180, link: 2 },
        Deliver,
        Turns { replica: 1, count: 20 },
        Move { event: 0, in_minutes: -30 },
    ])
    .await;
}

/// The answer to Schedule Bot was older than what was known, and was planned with.
#[tokio::test]
async fn a_stale_answer_sends_no_second_bot() {
    survives(&[
        Connect { person: 2, is_outlook: false },
        Create { calendar: 0, in_minutes: 5, minutes: 30, link: Some(0) },
        Fail { call: Schedule, with: Stale, times: 2 },
        Relink { event: 0, link: Some(1) },
        Turns { replica: 1, count: 20 },
    ])
    .await;
}

/// The sweep woke connected calendars only, so that one which the API refused for good while disconnected stayed parked.
#[tokio::test]
async fn a_parked_calendar_that_is_not_connected_is_woken_by_a_sweep() {
    survives(&[
        Connect { person: 0, is_outlook: true },
        Deliver,
        Turns { replica: 0, count: 20 },
        Interrupt { calendar: 0 },
        Deliver,
        Turns { replica: 0, count: 20 },
        Touch { calendar: 0 },
        Deliver,
        Fail { call: Calendar, with: Invalid, times: 1 },
        Turns { replica: 0, count: 1 },
    ])
    .await;
}

/// What the newer of two configurations had decided while a calendar was not connected was left alone by the older one when
/// it was connected again, and looked at by nobody else.
#[tokio::test]
async fn a_calendar_that_reconnects_during_a_rollout_gets_its_bots_back() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Meet { calendars: 4, in_minutes: -15, minutes: 180, link: 0 },
        Restart { replica: 1, with: BotNamed(2) },
        Turns { replica: 0, count: 2 },
        Deliver,
        Interrupt { calendar: 1 },
        Advance { minutes: 16 },
        Turns { replica: 1, count: 2 },
        Turns { replica: 1, count: 3 },
        Reconnect { calendar: 1 },
        Deliver,
        Turns { replica: 0, count: 20 },
    ])
    .await;
}

/// Each copy's turn sent a bot, since keys do not join bots that are in a call.
#[tokio::test]
async fn copies_of_a_meeting_under_way_share_one_bot() {
    survives(&[
        Connect { person: 1, is_outlook: false },
        Connect { person: 2, is_outlook: false },
        Meet { calendars: 2, in_minutes: -15, minutes: 60, link: 2 },
    ])
    .await;
}

/// An event that moved into a meeting under way kept the bot of its former time, since that meeting has a bot already.
#[tokio::test]
async fn a_bot_of_a_former_time_goes_when_the_meeting_is_covered() {
    survives(&[
        Turn(PoolEmptyPercent(30)),
        Connect { person: 0, is_outlook: true },
        Connect { person: 1, is_outlook: false },
        Create { calendar: 2, in_minutes: 5, minutes: 60, link: Some(0) },
        Meet { calendars: 2, in_minutes: 60, minutes: 60, link: 0 },
        Meet { calendars: 2, in_minutes: 30, minutes: 60, link: 0 },
        Create { calendar: 0, in_minutes: -15, minutes: 60, link: Some(0) },
        Turns { replica: 1, count: 20 },
        Move { event: 0, in_minutes: -15 },
        Restart { replica: 0, with: BotPerCompany },
    ])
    .await;
}

/// The same of an event that moved away from its own meeting under way, and back.
#[tokio::test]
async fn a_bot_of_a_former_time_goes_when_the_meeting_moves_back() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Create { calendar: 0, in_minutes: -15, minutes: 180, link: Some(0) },
        Deliver,
        Turns { replica: 0, count: 20 },
        Move { event: 0, in_minutes: 120 },
        Deliver,
        Turns { replica: 0, count: 20 },
        Move { event: 0, in_minutes: -15 },
    ])
    .await;
}

/// An event moved away from its meeting while its bot was in the call, and nobody knew of that bot any more when another
/// event was there.
#[tokio::test]
async fn a_bot_that_was_left_behind_in_a_meeting_is_not_sent_for_again() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: false },
        Create { calendar: 0, in_minutes: -15, minutes: 60, link: Some(0) },
        Deliver,
        Turns { replica: 0, count: 20 },
        Move { event: 0, in_minutes: 60 },
        Deliver,
        Turns { replica: 0, count: 20 },
        Create { calendar: 1, in_minutes: -15, minutes: 60, link: Some(0) },
    ])
    .await;
}

/// A 400 "has ended" was believed, whatever the clock said, and nothing looked again until the event's next version.
#[tokio::test]
async fn a_lie_that_an_event_has_ended_is_found_out() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Create { calendar: 0, in_minutes: 1440, minutes: 30, link: Some(0) },
        Fail { call: Schedule, with: SaysEnded, times: 1 },
        Deliver,
        Turns { replica: 0, count: 20 },
    ])
    .await;
}

/// The answers to Schedule Bot could not be read, the event moved to another link, and the bot that was in the call was known
/// from the list alone.
#[tokio::test]
async fn a_bot_that_only_the_list_tells_of_is_not_sent_for_again() {
    survives(&[
        Connect { person: 2, is_outlook: true },
        Fail { call: Schedule, with: OtherShape, times: 3 },
        Advance { minutes: 16 },
        Advance { minutes: 16 },
        AdvanceSeconds { seconds: 57 },
        Create { calendar: 0, in_minutes: 15, minutes: 180, link: Some(0) },
        Advance { minutes: 1 },
        Advance { minutes: 5 },
        AdvanceSeconds { seconds: 63 },
        Turns { replica: 1, count: 20 },
        Relink { event: 4, link: Some(1) },
        Create { calendar: 0, in_minutes: 5, minutes: 15, link: Some(0) },
    ])
    .await;
}

/// A turn stood still between its reading the event and its call for the bot, for longer than it held the deduplication key.
#[tokio::test]
async fn a_turn_that_stood_still_reads_again_before_it_sends_a_bot() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Create { calendar: 0, in_minutes: -15, minutes: 180, link: Some(0) },
        Deliver,
        Turns { replica: 0, count: 2 },
        HangIn { replica: 0, after_acting: true },
        Advance { minutes: 16 },
        Turns { replica: 1, count: 20 },
        LetGo,
    ])
    .await;
}

/// A turn died while it called for the bot; the next one could not read the event, and forgot that a call was open.
#[tokio::test]
async fn a_call_of_a_turn_that_died_stays_open_over_another_failure() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Meet { calendars: 4, in_minutes: 0, minutes: 60, link: 0 },
        Meet { calendars: 3, in_minutes: 5, minutes: 30, link: 0 },
        HangIn { replica: 0, after_acting: true },
        Deliver,
        Kill { replica: 1, polls: 53 },
        Kill { replica: 1, polls: 14 },
        Fail { call: Whichever, with: AnswerCut, times: 1 },
        Advance { minutes: 16 },
        Turns { replica: 1, count: 20 },
    ])
    .await;
}

/// A turn read another event, whose call was open, and mirrored that it had moved; nobody was asked to look at it.
#[tokio::test]
async fn what_is_read_of_another_event_is_looked_at() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: false },
        Connect { person: 2, is_outlook: false },
        Connect { person: 3, is_outlook: false },
        Create { calendar: 2, in_minutes: -30, minutes: 180, link: Some(0) },
        Turns { replica: 0, count: 3 },
        Move { event: 2, in_minutes: 30 },
        Meet { calendars: 2, in_minutes: -30, minutes: 30, link: 0 },
        Connect { person: 3, is_outlook: true },
        Move { event: 2, in_minutes: 15 },
        Meet { calendars: 4, in_minutes: 30, minutes: 60, link: 0 },
        Move { event: 2, in_minutes: -30 },
        Fail { call: Schedule, with: PageShort, times: 2 },
        Fail { call: Schedule, with: Answers(502), times: 3 },
        Turns { replica: 1, count: 3 },
        Turns { replica: 1, count: 3 },
        Move { event: 2, in_minutes: 60 },
        Advance { minutes: 16 },
        Fail { call: Whichever, with: AnswerLost, times: 2 },
        Advance { minutes: 16 },
        Turns { replica: 0, count: 20 },
    ])
    .await;
}

/// An event moved to a calendar that was cut off before it was listed. Its bot was asked for with what was mirrored, refused
/// for good, and the key parked for ever.
#[tokio::test]
async fn an_event_that_moved_to_a_calendar_that_is_cut_off_is_left_alone() {
    survives(&[
        Connect { person: 0, is_outlook: true },
        Connect { person: 1, is_outlook: false },
        Connect { person: 2, is_outlook: false },
        CreateMany { calendar: 1, count: 10, in_minutes: 1440 },
        Turns { replica: 1, count: 20 },
        Transfer { event: 0, calendar: 0 },
        Restart { replica: 0, with: BotNamed(1) },
        Disconnect { calendar: 3 },
    ])
    .await;
}

/// The API said twice that an event is gone, which was not so, while a call for it was open: the meeting counted as having its
/// bot for ever, and the event as covered by itself.
#[tokio::test]
async fn an_event_that_comes_back_puts_an_end_to_the_doubt_about_its_call() {
    survives(&[
        Connect { person: 1, is_outlook: true },
        Connect { person: 2, is_outlook: false },
        Meet { calendars: 4, in_minutes: -15, minutes: 180, link: 0 },
        Turns { replica: 0, count: 2 },
        HangIn { replica: 1, after_acting: false },
        Fail { call: Event, with: Answers(404), times: 2 },
        Advance { minutes: 5 },
        Turns { replica: 0, count: 20 },
    ])
    .await;
}

/// A sweep was not shown a calendar that had been removed, and a list of the workspace answered its key all the same. So the
/// bots of its meetings counted as there, and a copy of one that had begun since got none.
#[tokio::test]
async fn a_calendar_that_is_gone_is_noticed_by_the_sweep() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: false },
        Connect { person: 2, is_outlook: false },
        Connect { person: 3, is_outlook: true },
        Meet { calendars: 4, in_minutes: -30, minutes: 30, link: 0 },
        Advance { minutes: 2 },
        Advance { minutes: 16 },
        Create { calendar: 3, in_minutes: -30, minutes: 15, link: Some(0) },
        Advance { minutes: 1 },
        Advance { minutes: 16 },
        Meet { calendars: 2, in_minutes: 45, minutes: 60, link: 0 },
        Advance { minutes: 16 },
        Meet { calendars: 3, in_minutes: 60, minutes: 180, link: 0 },
        Turns { replica: 0, count: 20 },
        Move { event: 3, in_minutes: -15 },
        RemoveCalendar { calendar: 0 },
        Advance { minutes: 16 },
        Turns { replica: 1, count: 20 },
        Advance { minutes: 16 },
        Create { calendar: 1, in_minutes: -15, minutes: 60, link: Some(0) },
    ])
    .await;
}

/// The API said by mistake that an event is gone, whose bot was to be changed. Its copy, which was read after the start, sent
/// another.
#[tokio::test]
async fn an_event_that_is_said_to_be_gone_is_asked_for_before_that_is_believed() {
    survives(&[
        Limit { list: 4, read: 3, bot: 4 },
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: true },
        Connect { person: 2, is_outlook: false },
        Connect { person: 3, is_outlook: true },
        Advance { minutes: 5 },
        Create { calendar: 0, in_minutes: 30, minutes: 30, link: Some(0) },
        Move { event: 0, in_minutes: 15 },
        Turns { replica: 0, count: 20 },
        Meet { calendars: 4, in_minutes: 5, minutes: 180, link: 0 },
        Fail { call: Whichever, with: Answers(404), times: 1 },
        Restart { replica: 1, with: BotNamed(1) },
        Turns { replica: 1, count: 20 },
        Advance { minutes: 16 },
    ])
    .await;
}

/// Recall listed the bot with the event's new start; the older configuration took its key for another `DEDUPLICATION`'s.
#[tokio::test]
async fn a_bot_that_is_listed_with_its_events_new_start_is_moved_during_a_rollout() {
    survives(&[
        Turn(MoveBots),
        Turn(BotStartIsEventStart),
        Connect { person: 3, is_outlook: false },
        Create { calendar: 1, in_minutes: 60, minutes: 180, link: None },
        Create { calendar: 1, in_minutes: 60, minutes: 60, link: Some(0) },
        Restart { replica: 0, with: BotNamed(1) },
        Turns { replica: 1, count: 3 },
        Connect { person: 1, is_outlook: true },
        Crowd { replica: 0, count: 7 },
        Move { event: 0, in_minutes: 45 },
        Advance { minutes: 10 },
        DeliverOne { webhook: 5 },
        DeliverOne { webhook: 3 },
        Turns { replica: 0, count: 2 },
        Turns { replica: 1, count: 2 },
    ])
    .await;
}

/// The oracle's mistake: a bot's key had been narrowed by a call whose answer could not be read, and its event had moved away.
/// The copies of the meeting were said to have no bot, though it was in the call.
#[tokio::test]
async fn a_bot_whose_key_a_former_configuration_formed_serves_its_meeting() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: false },
        Connect { person: 2, is_outlook: false },
        Create { calendar: 0, in_minutes: 30, minutes: 60, link: Some(0) },
        Create { calendar: 3, in_minutes: 60, minutes: 60, link: None },
        Advance { minutes: 16 },
        Interrupt { calendar: 1 },
        Turns { replica: 1, count: 2 },
        Turns { replica: 0, count: 3 },
        Garble { event: 5, with: IsNoObject },
        Turns { replica: 1, count: 1 },
        Meet { calendars: 4, in_minutes: 15, minutes: 30, link: 0 },
        Advance { minutes: 10 },
        Restart { replica: 1, with: BotPerEvent },
        Move { event: 0, in_minutes: 0 },
        Together { count: 2 },
        Meet { calendars: 2, in_minutes: 5, minutes: 60, link: 0 },
        Move { event: 1, in_minutes: 30 },
    ])
    .await;
}

/// The oracle's mistake: the answer to Schedule Bot could not be read, and the event went with its calendar. Nobody could tell
/// whether there was a bot, and a copy of the meeting, which had begun, was to have one all the same.
#[tokio::test]
async fn a_call_in_doubt_for_an_event_that_is_gone_counts_as_done() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: false },
        Fail { call: Schedule, with: Nonsense, times: 2 },
        Meet { calendars: 2, in_minutes: 0, minutes: 60, link: 0 },
        Turns { replica: 0, count: 3 },
        RemoveCalendar { calendar: 1 },
    ])
    .await;
}

/// A bot that joins ten minutes early was given another name ten minutes before the start, when it had just joined: a second one
/// came.
#[tokio::test]
async fn a_bot_that_is_about_to_join_early_is_not_changed() {
    survives(&[
        JoinEarly { minutes: 10 },
        Connect { person: 1, is_outlook: false },
        Advance { minutes: 19 },
        Create { calendar: 2, in_minutes: 15, minutes: 15, link: Some(0) },
        Turns { replica: 0, count: 20 },
        Advance { minutes: 1 },
        Restart { replica: 0, with: BotNamed(1) },
        Together { count: 5 },
    ])
    .await;
}

/// A bot that joined early is listed with that time. Towards the meeting's end it passed for one of a meeting that is over, and another
/// key sent a second one.
#[tokio::test]
async fn a_bot_that_joined_early_is_in_its_meeting_to_the_end() {
    survives(&[
        JoinEarly { minutes: 10 },
        Connect { person: 0, is_outlook: false },
        Meet { calendars: 4, in_minutes: 15, minutes: 30, link: 0 },
        Advance { minutes: 32 },
        Restart { replica: 1, with: BotPerEvent },
        Advance { minutes: 16 },
        Move { event: 1, in_minutes: 5 },
        Turns { replica: 0, count: 20 },
        Advance { minutes: 28 },
    ])
    .await;
}

/// A meeting moved away between the time at which its bot joined, early, and its start. Another one in the same room, at the
/// first one's time, was sent a second bot.
#[tokio::test]
async fn a_bot_that_joined_early_is_known_when_its_meeting_has_moved_away() {
    survives(&[
        JoinEarly { minutes: 10 },
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: true },
        Advance { minutes: 53 },
        Meet { calendars: 2, in_minutes: 30, minutes: 60, link: 0 },
        Disconnect { calendar: 2 },
        Turns { replica: 1, count: 20 },
        Advance { minutes: 16 },
        Advance { minutes: 16 },
        RemoveCalendar { calendar: 0 },
        Move { event: 3, in_minutes: 60 },
        Turns { replica: 0, count: 3 },
        Create { calendar: 2, in_minutes: 5, minutes: 60, link: Some(0) },
    ])
    .await;
}

#[tokio::test]
async fn a_bot_of_a_later_time_goes_when_its_meeting_has_one_that_may_have_joined_early() {
    survives(&[
        JoinEarly { minutes: 10 },
        Connect { person: 1, is_outlook: true },
        Connect { person: 2, is_outlook: false },
        Connect { person: 3, is_outlook: true },
        Deliver,
        Create { calendar: 1, in_minutes: 1440, minutes: 180, link: Some(0) },
        Turns { replica: 1, count: 3 },
        Turns { replica: 1, count: 1 },
        Meet { calendars: 3, in_minutes: 5, minutes: 30, link: 1 },
        Deliver,
        Create { calendar: 1, in_minutes: 90, minutes: 30, link: Some(2) },
        AdvanceSeconds { seconds: 65 },
        Turns { replica: 0, count: 20 },
        Move { event: 4, in_minutes: 1440 },
        DeliverOne { webhook: 0 },
        Advance { minutes: 2 },
        Turns { replica: 1, count: 3 },
        Move { event: 1, in_minutes: 5 },
    ])
    .await;
}

#[tokio::test]
async fn a_copy_is_covered_by_a_bot_that_went_with_its_calendar() {
    survives(&[
        Limit { list: 2, read: 1, bot: 3 },
        Connect { person: 0, is_outlook: true },
        Connect { person: 1, is_outlook: false },
        Connect { person: 2, is_outlook: false },
        Connect { person: 3, is_outlook: false },
        Turns { replica: 0, count: 20 },
        CreateMany { calendar: 3, count: 6, in_minutes: -30 },
        Meet { calendars: 4, in_minutes: 60, minutes: 180, link: 0 },
        Fail { call: Event, with: Answers(507), times: 1 },
        Advance { minutes: 10 },
        Together { count: 3 },
        Crowd { replica: 1, count: 5 },
        Crowd { replica: 0, count: 4 },
        Interrupt { calendar: 2 },
        Create { calendar: 3, in_minutes: 2880, minutes: 15, link: None },
        Fail { call: Whichever, with: Answers(403), times: 1 },
        Advance { minutes: 5 },
        Touch { calendar: 0 },
        Advance { minutes: 5 },
        Advance { minutes: 1 },
        Garble { event: 4, with: EndIsMissing },
        AdvanceSeconds { seconds: 49 },
        Advance { minutes: 30 },
        LoseOne { webhook: 3 },
        Restore { event: 7 },
        Together { count: 3 },
        Move { event: 4, in_minutes: 2880 },
        Disconnect { calendar: 1 },
        Turns { replica: 0, count: 2 },
    ])
    .await;
}

#[tokio::test]
async fn a_copy_is_covered_by_a_bot_that_went_with_its_event_before_the_start() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: false },
        Connect { person: 2, is_outlook: false },
        Connect { person: 3, is_outlook: false },
        Advance { minutes: 10 },
        Together { count: 2 },
        Meet { calendars: 3, in_minutes: 0, minutes: 180, link: 0 },
        Turns { replica: 1, count: 20 },
        Delete { event: 2 },
        Move { event: 2, in_minutes: -30 },
    ])
    .await;
}

#[tokio::test]
async fn a_copy_is_covered_by_a_bot_of_an_event_that_moved_away_as_it_was_deleted() {
    survives(&[
        JoinEarly { minutes: 10 },
        Connect { person: 2, is_outlook: false },
        Create { calendar: 1, in_minutes: 60, minutes: 15, link: Some(0) },
        Turns { replica: 1, count: 20 },
        Delete { event: 0 },
        Move { event: 0, in_minutes: 0 },
        Advance { minutes: 16 },
        Create { calendar: 2, in_minutes: 45, minutes: 60, link: Some(0) },
        Advance { minutes: 16 },
        Advance { minutes: 16 },
    ])
    .await;
}

/// Whether it was cut off since it was read was told by comparing Recall's clock with ours.
#[tokio::test]
async fn a_calendar_that_is_cut_off_in_the_moment_that_it_is_read_gets_its_bots_back() {
    survives(&[
        JoinEarly { minutes: 10 },
        Connect { person: 0, is_outlook: false },
        Create { calendar: 0, in_minutes: 60, minutes: 60, link: Some(0) },
        Advance { minutes: 16 },
        Turns { replica: 1, count: 20 },
        Interrupt { calendar: 3 },
        Reconnect { calendar: 1 },
        Advance { minutes: 16 },
        Advance { minutes: 16 },
    ])
    .await;
}

/// Its bot had joined in the minute in which it was moved away, and was listed with the time that the event had in between.
#[tokio::test]
async fn an_event_that_moves_away_and_back_as_its_bot_joins_keeps_it_though_keys_change() {
    survives(&[
        Turn(MoveBots),
        Turn(BotStartIsEventStart),
        Connect { person: 0, is_outlook: true },
        Meet { calendars: 2, in_minutes: -15, minutes: 30, link: 0 },
        Turns { replica: 1, count: 3 },
        AdvanceSeconds { seconds: 92 },
        Advance { minutes: 10 },
        Advance { minutes: 1 },
        Create { calendar: 0, in_minutes: 30, minutes: 60, link: Some(0) },
        AdvanceSeconds { seconds: 51 },
        Create { calendar: 3, in_minutes: 0, minutes: 60, link: Some(0) },
        Deliver,
        Move { event: 1, in_minutes: 60 },
        Advance { minutes: 1 },
        Create { calendar: 2, in_minutes: 5, minutes: 180, link: Some(0) },
        Turns { replica: 1, count: 3 },
        Move { event: 2, in_minutes: 30 },
        AdvanceSeconds { seconds: 73 },
        Restart { replica: 1, with: BotPerEvent },
        Move { event: 2, in_minutes: 0 },
    ])
    .await;
}

/// Meanwhile another turn had decided, by a newer rule, that there should be no bot, and none was known.
#[tokio::test]
async fn what_a_turn_records_that_went_on_after_its_lease_is_looked_at_again() {
    survives(&[
        Connect { person: 0, is_outlook: false },
        Connect { person: 1, is_outlook: true },
        HangIn { replica: 0, after_acting: true },
        Meet { calendars: 3, in_minutes: 15, minutes: 180, link: 2 },
        Deliver,
        Advance { minutes: 60 },
        Turns { replica: 0, count: 1 },
        Turns { replica: 1, count: 2 },
        Create { calendar: 3, in_minutes: 60, minutes: 15, link: Some(2) },
        Together { count: 3 },
        HangIn { replica: 1, after_acting: true },
        RuleOf { calendar: 1, all: Some(false) },
        Fail { call: Events, with: Answers(403), times: 2 },
        Advance { minutes: 16 },
        Turns { replica: 1, count: 20 },
    ])
    .await;
}

/// It joined before it was noticed that its event had moved, and seemed to be one that was still to join. A meeting at the time it
/// was for was sent a second bot.
#[tokio::test]
async fn a_bot_that_joined_and_is_listed_with_its_events_new_start_stays_behind() {
    survives(&[
        Turn(MoveBots),
        Turn(BotStartIsEventStart),
        JoinEarly { minutes: 10 },
        Connect { person: 3, is_outlook: false },
        Create { calendar: 2, in_minutes: 15, minutes: 30, link: Some(0) },
        Turns { replica: 2, count: 20 },
        Create { calendar: 2, in_minutes: -30, minutes: 60, link: Some(0) },
        Create { calendar: 3, in_minutes: 0, minutes: 60, link: Some(0) },
        Move { event: 3, in_minutes: -15 },
        Move { event: 1, in_minutes: 45 },
        DeliverOne { webhook: 5 },
        Advance { minutes: 10 },
        Turns { replica: 0, count: 20 },
        Create { calendar: 3, in_minutes: 0, minutes: 30, link: Some(0) },
    ])
    .await;
}
