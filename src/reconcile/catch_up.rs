//! Catching up by workspace: one list of all calendars' events instead of one for each calendar.
//!
//! After an outage, and at each sweep, thousands of calendars ask what changed, and their lists at 60 a minute would take
//! hours. A list without `calendar_id` shows a hundred changes a page, whatever calendars they belong to. So when the turn of
//! a calendar finds many others waiting, it leaves its key, and theirs, to the workspace's turn.
//!
//! What must hold:
//! - A key is answered only by a list that was begun after its last request, from no later than it looks back to, and read to
//!   the end. A hint is answered only if the list has shown a change of its calendar. All other keys stay, and take turns of
//!   their own: whatever comes in between, nothing is lost but time.
//! - That such a list spans the workspace is inferred, not documented. It is relied upon only after a test: what lists of single
//!   calendars have just shown has to be in it. The verdict is kept, and tested again now and then.
//! - A list that changes while it is read page by page may let an event slip past. Unless nothing changed meanwhile, the next
//!   one begins where this one did.
//! - Keys that ask for more than events are none of this: a calendar that may have changed itself, or is to be read whole.
//!
//! A list answers none of the keys that come after it has begun, and after an outage thousands come within seconds. So it waits
//! until no more do; and one that more and more keys have joined since begins anew, rather than be given up as too dear.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    Error, Outcome, Reconciler,
    calendar::{LAG, OVERLAP, asks_for_events},
    lost_place,
    page::may_need_care,
};
use crate::{
    domain::{budget::CallClass, event::Event},
    recall::{EventPage, Failure, PageQuery},
    store::{
        self,
        calendars::SyncState,
        pages::{Requests, RunAfter, Sequel},
        queue::{self, Claimed, Key, Request},
        workspace_listing::{self, Answerable, EndedListing, Known, Outlook},
    },
    telemetry,
};

/// Pages of one list, at most: several minutes of all list calls. Calendars that are in a hurry wait for them.
const MAX_PAGES: u32 = 400;
/// Pages that a list may have in any case.
const FEWEST_PAGES: u32 = 5;
/// How long keys wait for the list that answers them, at most.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);
/// How long a key waits that has asked for a list.
const ASKING: TimeDelta = TimeDelta::seconds(20);
/// How long to wait for more keys, each time more have come.
const GATHERING: Duration = Duration::from_secs(2);
/// How many times.
const MAX_LOOKS: u32 = 5;
/// How often a test of a list may have no budget before it has come to nothing.
const MAX_TRIES: u32 = 5;
/// How long calendars take turns of their own after a list that came to nothing.
const REST: TimeDelta = TimeDelta::minutes(15);
/// Failed turns after which a list has come to nothing.
const MAX_ATTEMPTS: i32 = 3;
/// How long a good verdict holds.
const TRUST: TimeDelta = TimeDelta::hours(24);
/// How long a bad one does.
const DISTRUST: TimeDelta = TimeDelta::hours(1);
/// Calendars that a test compares with.
const SAMPLE: i64 = 3;
/// Waiting calendars among which those with the latest changes are the sample.
const SAMPLE_AMONG: i64 = 500;
/// How far the API's clock may be from ours.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::seconds(5);

/// What is said of the calendars that are read.
const CAUSE: &str = "a list of the whole workspace";

/// Keys that wait for a list that has yet to begin.
#[derive(Debug, Serialize, Deserialize)]
struct Gathering {
    keys: i64,
    looks: u32,
    /// How often a test of the list had no budget.
    tries: u32,
}

/// A list of the workspace that is under way.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    /// Events that changed at or after this time are listed.
    from: DateTime<Utc>,
    /// From where the keys look back that it answers; `None`: it only reads again what an earlier one may have missed.
    answers_from: Option<DateTime<Utc>>,
    /// No later requests are answered.
    generation: i64,
    started_at: DateTime<Utc>,
    /// The keys that it answers wait until then.
    patience_ends: DateTime<Utc>,
    /// How many there are.
    keys: i64,
    max_pages: u32,
    next: Option<String>,
    pages: u32,
    events: usize,
    changed: usize,
    seen_until: Option<DateTime<Utc>>,
    /// What a test has yet to find: versions of events that lists of single calendars have shown.
    missing: HashMap<Uuid, DateTime<Utc>>,
    is_test: bool,
}

impl Run {
    fn answerable(&self) -> Option<Answerable> {
        self.answers_from.map(|since| Answerable { since, generation: self.generation })
    }
}

/// What lists of single calendars have shown.
struct Sample {
    /// They began here.
    from: DateTime<Utc>,
    /// By event.
    versions: HashMap<Uuid, DateTime<Utc>>,
}

/// How a list ended.
enum End {
    /// Its last page is mirrored.
    Read,
    /// It goes on in another turn.
    NotYet,
    /// It costs more than it saves.
    TooLong,
    /// It lacks what lists of single calendars have shown.
    LacksEvents,
}

impl Reconciler {
    /// What a calendar's turn has to know of the workspace's; `None`: nothing.
    pub(super) async fn outlook(&self, claimed: &Claimed) -> Result<Option<Outlook>, Error> {
        let Some(from_keys) = self.catch_up_from.filter(|_| claimed.events_only) else { return Ok(None) };
        let now = self.clock.now();
        Ok(Some(workspace_listing::outlook(&self.db, i64::from(from_keys), now + ASKING, now).await?))
    }

    /// Whether a list of the workspace will answer a calendar's key, and until when it is to wait for that.
    pub(super) async fn left_to_workspace(
        &self,
        claimed: &Claimed,
        calendar: Option<&SyncState>,
        outlook: Option<Outlook>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let (Some(from_keys), Some(outlook)) = (self.catch_up_from, outlook) else { return Ok(None) };
        let Some(since) = asks_for_events(claimed, calendar) else { return Ok(None) };
        let now = self.clock.now();
        let run = outlook.progress.and_then(|Json(progress)| serde_json::from_value::<Run>(progress).ok());
        let until = match (outlook.attempt, run) {
            (Some(_), Some(run)) => {
                let is_answered = run
                    .answerable()
                    .is_some_and(|answers| answers.since <= since && claimed.generation <= answers.generation);
                // With so many others the next list will answer it; unless it waited when this one began, and was left out since it
                // looks back much further than they do.
                let is_left_out = run
                    .answerable()
                    .is_some_and(|answers| since < answers.since && claimed.generation <= answers.generation);
                let is_one_of_many = outlook.waiting >= i64::from(from_keys) && !is_left_out;
                // Not until the patience ends, even if it is answered: the list may end, and release those that wait for it,
                // before this key does.
                (is_answered || is_one_of_many).then_some(run.patience_ends.min(now + ASKING))
            }
            // It has yet to begin.
            (Some(attempt), None) => (attempt == 0).then_some(now + ASKING),
            (None, _) if outlook.waiting < i64::from(from_keys) => None,
            (None, _) if !may_answer(&workspace_listing::load(&self.db).await?, now) => None,
            (None, _) => {
                self.request_workspace(&mut *self.db.acquire().await?, now).await?;
                Some(now + ASKING)
            }
        };
        Ok(until.filter(|until| *until > now))
    }

    /// Requests a list of the workspace, ahead of the calendars that it is for.
    pub(super) async fn request_workspace(&self, db: &mut PgConnection, now: DateTime<Utc>) -> Result<(), Error> {
        let (key, deadline) = (Key::Workspace, DateTime::UNIX_EPOCH);
        let request =
            Request { key, since: None, deadline, cause: "calendars that wait for their events", events_only: false };
        Ok(queue::request(db, &[request], now).await?)
    }

    pub(super) async fn catch_up(&self, claimed: &Claimed) -> Result<Outcome, Error> {
        let settled = Outcome::Settled { generation: claimed.generation };
        let mut run: Run = match progress(claimed) {
            Some(run) => run,
            None => {
                if let Some(until) = self.gather(claimed).await? {
                    return Ok(Outcome::GoesOn(until));
                }
                match self.begin_listing(claimed, None).await {
                    Ok(Some(run)) => run,
                    Ok(None) => return Ok(settled),
                    Err(error) if comes_to_nothing(&error, claimed) || self.is_too_poor(claimed, &error).await? => {
                        return self.give_up(None, None).await.map(|()| settled);
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let (why, verdict) = match self.list_workspace(claimed, &mut run).await {
            Ok(End::Read) => return self.finish_listing(&run).await.map(|()| settled),
            Ok(End::NotYet) => return Ok(Outcome::GoesOn(self.clock.now())),
            Ok(End::TooLong) => match self.begin_listing(claimed, Some(&run)).await {
                Ok(Some(_)) => return Ok(Outcome::GoesOn(self.clock.now())),
                Ok(None) => ("it would take more calls than lists of single calendars".to_owned(), None),
                Err(error) if comes_to_nothing(&error, claimed) => (telemetry::chain(&error), None),
                Err(error) => return Err(error),
            },
            Ok(End::LacksEvents) => ("it lacks events that lists of single calendars show".to_owned(), Some(false)),
            Err(error) if comes_to_nothing(&error, claimed) || self.is_out_of_patience(&run, &error) => {
                let says_nothing_of_lists = matches!(
                    &error, Error::Api(error) if matches!(error.failure(), Failure::Transient | Failure::Ours)
                );
                let is_refused = run.pages == 0 && !says_nothing_of_lists;
                (telemetry::chain(&error), is_refused.then_some(false))
            }
            Err(error) => return Err(error),
        };
        tracing::warn!(
            why,
            pages = run.pages,
            "a list of the whole workspace came to nothing; calendars are listed singly"
        );
        self.give_up(Some(&run), verdict).await.map(|()| settled)
    }

    /// The API seems to refuse everything. It may be these lists alone, so that is borne as long as keys wait for this one.
    fn is_out_of_patience(&self, run: &Run, error: &Error) -> bool {
        let is_ours = matches!(error, Error::Api(error) if error.failure() == Failure::Ours);
        is_ours && run.patience_ends <= self.clock.now()
    }

    /// Whether a test, which takes several lists in one turn, has had no budget for them too often. Else that is noted.
    async fn is_too_poor(&self, claimed: &Claimed, error: &Error) -> Result<bool, Error> {
        if !matches!(error, Error::NoBudget { .. }) {
            return Ok(false);
        }
        let before: Gathering = progress(claimed).unwrap_or(Gathering { keys: 0, looks: MAX_LOOKS, tries: 0 });
        let gathering = Gathering { tries: before.tries + 1, ..before };
        queue::save_progress(&self.db, claimed, &serde_json::json!(gathering)).await?;
        Ok(gathering.tries >= MAX_TRIES)
    }

    /// Until when to wait for more keys to come; `None`: a list may begin.
    async fn gather(&self, claimed: &Claimed) -> Result<Option<DateTime<Utc>>, Error> {
        let now = self.clock.now();
        let before: Option<Gathering> = progress(claimed);
        let waiting = workspace_listing::survey(&self.db, OVERLAP, now + ASKING, now).await?;
        let keys = waiting.map_or(0, |(_, keys)| keys);
        let looks = before.as_ref().map_or(1, |before| before.looks + 1);
        let have_come = before.is_none_or(|before| keys > before.keys + before.keys / 10);
        // Who does not want calendars to wait has them wait for nothing here.
        let pause = self.list_pause.min(GATHERING);
        if pause.is_zero() || !have_come || looks > MAX_LOOKS {
            return Ok(None);
        }
        queue::save_progress(&self.db, claimed, &serde_json::json!(Gathering { keys, looks, tries: 0 })).await?;
        Ok(Some(now + TimeDelta::from_std(pause).unwrap_or_default()))
    }

    /// Finds out what a list would be good for, and begins it. `None`: it would not be, or for no more than twice the keys that
    /// one which took too many pages was for.
    async fn begin_listing(&self, claimed: &Claimed, too_long: Option<&Run>) -> Result<Option<Run>, Error> {
        let now = self.clock.now();
        let known = workspace_listing::load(&self.db).await?;
        let enough = too_long.map_or(i64::from(self.catch_up_from.unwrap_or(u32::MAX)), |run| 2 * run.keys);
        let due_until = too_long.map_or(now + ASKING, |run| run.patience_ends);
        let waiting = workspace_listing::survey(&self.db, OVERLAP, due_until, now).await?;
        let waiting = waiting.filter(|(_, keys)| *keys >= enough && may_answer(&known, now));
        let answers_from = waiting.map(|(since, _)| since);
        let again = known.read_again_since.filter(|_| known.spans == Some(true) && too_long.is_none());
        let Some(mut from) = answers_from.into_iter().chain(again).min() else { return Ok(None) };

        let is_trusted = known.spans == Some(true);
        let is_fresh = known.tested_at.is_some_and(|at| now < at + TRUST);
        let sample = if is_trusted && is_fresh { None } else { self.take_sample(from, due_until).await? };
        if !is_trusted && sample.is_none() {
            tracing::info!("too little has changed to tell whether a list of the whole workspace shows it");
            self.give_up(None, None).await?;
            return Ok(None);
        }

        from = sample.as_ref().map_or(from, |sample| sample.from);

        let generation = workspace_listing::greatest_generation(&self.db).await?;
        let started_at = self.clock.now();
        let keys = waiting.map_or(0, |(_, keys)| keys);
        let affordable = u32::try_from(keys / 2).unwrap_or(MAX_PAGES).clamp(FEWEST_PAGES, MAX_PAGES);
        let run = Run {
            from,
            answers_from,
            generation,
            started_at,
            patience_ends: started_at + PATIENCE,
            // What is read again is read to its end.
            keys,
            max_pages: answers_from.map_or(MAX_PAGES, |_| affordable),
            next: None,
            pages: 0,
            events: 0,
            changed: 0,
            seen_until: None,
            is_test: sample.is_some(),
            missing: sample.map(|sample| sample.versions).unwrap_or_default(),
        };
        queue::save_progress(&self.db, claimed, &serde_json::json!(run)).await?;
        if let Some(answers) = run.answerable() {
            workspace_listing::defer(&self.db, answers, OVERLAP, run.patience_ends).await?;
        }
        tracing::info!(keys, since = %run.from, "listing the whole workspace");
        Ok(Some(run))
    }

    /// What a test has to find: the latest changes of a few calendars, of two at least.
    async fn take_sample(&self, from: DateTime<Utc>, due_until: DateTime<Utc>) -> Result<Option<Sample>, Error> {
        let calendars = workspace_listing::latest_changed(&self.db, SAMPLE_AMONG, SAMPLE, due_until).await?;
        let from = calendars.iter().map(|(_, changed_at)| *changed_at).fold(from, DateTime::min);
        let (mut versions, mut shown) = (HashMap::new(), 0);
        for (calendar, _) in calendars {
            let list = self.api.list_calendar_events(calendar, Some(from));
            let page = self.call(CallClass::List, list).await?;
            shown += usize::from(!page.events.is_empty());
            versions.extend(page.events.iter().map(|event| (event.id.0, event.updated_at)));
        }
        Ok((shown >= 2).then_some(Sample { from, versions }))
    }

    /// Lists page by page.
    async fn list_workspace(&self, claimed: &Claimed, run: &mut Run) -> Result<End, Error> {
        let mut share = self.share();
        loop {
            if run.pages > 0 && run.next.is_none() {
                return Ok(if run.missing.is_empty() { End::Read } else { End::LacksEvents });
            }
            if run.pages >= run.max_pages {
                return Ok(End::TooLong);
            }
            let sent_at = self.clock.now();
            let answer = match run.next.clone().map(PageQuery::from_stored) {
                Some(next) => self.call(CallClass::List, self.api.list_calendar_events_next(&next)).await,
                None => self.call(CallClass::List, self.api.list_workspace_events(run.from)).await,
            };
            let page = answer.map_err(|error| lost_place(error, run.next.is_some()))?;
            let next = page.next.as_ref().map(|next| next.as_str().to_owned());
            run.pages += 1;
            if next.is_some() && next == run.next {
                return Err(Error::EndlessList(run.pages));
            }
            run.next = next;
            run.events += page.events.len();
            run.seen_until = page.events.iter().map(|event| event.updated_at).chain(run.seen_until).max();
            run.missing.retain(|id, version| {
                !page.events.iter().any(|event| event.id.0 == *id && event.updated_at >= *version)
            });
            match self.mirror_workspace_page(claimed, run, &page, sent_at).await {
                Err(Error::Store(store::Error::Refused(_))) => {
                    let kept = self.keep_storable(page, sent_at).await?;
                    self.mirror_workspace_page(claimed, run, &kept, sent_at).await?;
                }
                mirrored => mirrored?,
            }
            if !share.has_another(self.clock.now()) {
                return Ok(End::NotYet);
            }
        }
    }

    /// The page's events, the requests that follow from them, and how far the run has come.
    async fn mirror_workspace_page(
        &self,
        claimed: &Claimed,
        run: &mut Run,
        page: &EventPage,
        sent_at: DateTime<Utc>,
    ) -> Result<(), Error> {
        let (now, progress) = (self.clock.now(), serde_json::json!(run));
        let calendars: Vec<Uuid> = page.events.iter().map(|event| event.calendar_id.0).collect();
        let mut db = self.db.acquire().await?;
        let causes = workspace_listing::causes(&mut *db, &calendars).await?;
        let cause = |event: &Event| {
            may_need_care(event, now).then(|| causes.get(&event.calendar_id.0).map_or(CAUSE, String::as_str))
        };
        let sequel = Sequel {
            requests: Requests { cause: &cause, are_of_all: false },
            run: RunAfter::GoesOn(claimed, &progress),
            is_likely_known: 2 * run.changed < run.events - page.events.len(),
            now,
            told_by: &self.wake,
        };
        run.changed += self.mirror_page(&mut db, page, sent_at, None, sequel).await?.len();
        // If this is lost, hints are not answered, which is dear but right. Not in the statement: a turn that mirrors a lost
        // connection locks its calendar before its events.
        let mut shown: HashMap<Uuid, DateTime<Utc>> = HashMap::new();
        for event in &page.events {
            let until = shown.entry(event.calendar_id.0).or_insert(event.updated_at);
            *until = event.updated_at.max(*until);
        }
        workspace_listing::note_shown(&mut *db, &shown, run.started_at).await?;
        Ok(())
    }

    /// The list is mirrored to its end: what it answers is settled, and what it does not is due.
    async fn finish_listing(&self, run: &Run) -> Result<(), Error> {
        let now = self.clock.now();
        let mut known = workspace_listing::load(&self.db).await?;
        if run.is_test {
            (known.spans, known.tested_at) = (Some(true), Some(run.started_at));
        }
        known.read_again_since =
            if run.pages > 1 && self.has_changed_meanwhile(run).await? { run.answers_from } else { None };
        // Kept before anything relies on it.
        workspace_listing::save(&self.db, &known).await?;
        let mut settled = 0;
        if let Some(answers) = run.answerable() {
            settled = workspace_listing::settle(&self.db, answers, OVERLAP, run.started_at).await?;
            let seen_until = run.seen_until.unwrap_or(run.from) - LAG;
            let ended = EndedListing { since: answers.since, started_at: run.started_at, seen_until };
            workspace_listing::advance_cursors(&self.db, &ended, OVERLAP, CAUSE).await?;
            workspace_listing::release(&self.db, run.patience_ends, now).await?;
        }
        metrics::counter!(telemetry::SYNCS, "kind" => "workspace").increment(1);
        let Run { pages, events, changed, .. } = run;
        tracing::info!(calendars = settled, pages, events, changed, "workspace listed");
        Ok(())
    }

    /// Whether an event changed while the pages were turned, after which another may have slipped past.
    async fn has_changed_meanwhile(&self, run: &Run) -> Result<bool, Error> {
        let list = self.api.list_workspace_events(run.started_at - CLOCKS_DIFFER);
        let page = self.call(CallClass::List, list).await?;
        Ok(!page.events.is_empty() || !page.unreadable.is_empty())
    }

    /// Leaves the keys to themselves for a while.
    async fn give_up(&self, run: Option<&Run>, verdict: Option<bool>) -> Result<(), Error> {
        let now = self.clock.now();
        let mut known = workspace_listing::load(&self.db).await?;
        known.rests_until = Some(now + REST);
        if verdict.is_some() {
            (known.spans, known.tested_at) = (verdict, Some(now));
        }
        workspace_listing::save(&self.db, &known).await?;
        if let Some(run) = run {
            workspace_listing::release(&self.db, run.patience_ends, now).await?;
        }
        Ok(())
    }
}

/// What an earlier turn has kept, if it is this.
fn progress<T: serde::de::DeserializeOwned>(claimed: &Claimed) -> Option<T> {
    serde_json::from_value(claimed.progress.clone()?).ok()
}

/// Whether calendars may rely on a list, or on a test of one.
fn may_answer(known: &Known, now: DateTime<Utc>) -> bool {
    let is_distrusted = known.spans == Some(false) && known.tested_at.is_some_and(|at| now < at + DISTRUST);
    !is_distrusted && known.rests_until.is_none_or(|until| until <= now)
}

/// Whether a failure ends the attempt at a list; else it is tried again.
fn comes_to_nothing(error: &Error, claimed: &Claimed) -> bool {
    match error {
        Error::LostPlace(_) | Error::EndlessList(_) => true,
        Error::Api(error) => match error.failure() {
            Failure::Throttled { .. } | Failure::Ours => false,
            Failure::Transient => claimed.attempt + 1 >= MAX_ATTEMPTS,
            Failure::NotFound
            | Failure::Ended
            | Failure::Permanent
            | Failure::Conflict
            | Failure::NoCapacity { .. } => true,
        },
        _ => false,
    }
}
