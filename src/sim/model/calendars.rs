//! Calendars: connecting, losing the connection, connecting again, deletion.
//!
//! \[U\] settled here: `calendar.update` goes out before `calendar.sync_events`; a first connection always sends both, a later
//! one sends `sync_events` only if something changed meanwhile; bots do not come back by themselves.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::meeting::Platform;
use super::{Refusal, Wake, Workspace, micros};

/// The connection's state, as the API spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Connecting,
    Connected,
    Disconnected,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

/// A connected account's primary calendar.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    pub(crate) id: Uuid,
    pub(crate) platform: Platform,
    /// The account's address; the API shows it once the first sync is done.
    pub(crate) email: String,
    pub(crate) status: Status,
    pub(crate) webhook_url: Option<String>,
    pub(crate) events: Vec<Uuid>,
    /// `oauth_*`: kept and echoed as given, secrets too \[C\].
    oauth: Map<String, Value>,
    metadata: Value,
    has_synced: bool,
    /// Whether the provider still honours the consent.
    grant_is_good: bool,
    status_changes: Vec<Value>,
    pub(crate) created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// As it was shown before its last change, for stale answers.
    previous: Option<Value>,
}

impl Calendar {
    pub(crate) fn json(&self) -> Value {
        let shown_email = self.has_synced.then_some(&self.email);
        let mut shown = json!({
            "id": self.id,
            "oauth_client_id": "", "oauth_client_secret": "", "oauth_refresh_token": "", "oauth_email": null,
            "platform": self.platform.as_str(),
            "platform_email": shown_email,
            "status": self.status.as_str(),
            "status_changes": self.status_changes,
            "webhook_url": self.webhook_url,
            "metadata": self.metadata,
            "created_at": micros(self.created_at),
            "updated_at": micros(self.updated_at),
        });
        if let Some(fields) = shown.as_object_mut() {
            fields.extend(self.oauth.clone());
        }
        shown
    }

    pub(crate) fn stale_json(&self) -> Value {
        self.previous.clone().unwrap_or_else(|| self.json())
    }

    fn set_status(&mut self, status: Status, stamp: DateTime<Utc>) {
        self.previous = Some(self.json());
        self.status = status;
        self.updated_at = stamp;
        let mut change = json!({"status": status.as_str(), "created_at": micros(stamp)});
        if status == Status::Disconnected {
            // [U] which keys tell the cause.
            change["sub_code"] = "invalid_grant".into();
        }
        self.status_changes.push(change);
    }
}

/// The writable fields of a create or update call; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct CalendarChange {
    pub(crate) oauth: Map<String, Value>,
    pub(crate) webhook_url: Option<Option<String>>,
    pub(crate) metadata: Option<Value>,
}

impl CalendarChange {
    fn is_empty(&self) -> bool {
        self.oauth.is_empty() && self.webhook_url.is_none() && self.metadata.is_none()
    }

    fn renews_grant(&self) -> bool {
        ["oauth_client_secret", "oauth_refresh_token", "oauth_client_private_key"]
            .iter()
            .any(|field| self.oauth.contains_key(*field))
    }
}

/// The documented filters of List Calendars.
#[derive(Clone, Debug, Default)]
pub(crate) struct CalendarFilter {
    pub(crate) created_at_gte: Option<DateTime<Utc>>,
    pub(crate) email: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) status: Option<String>,
}

impl CalendarFilter {
    fn lets(&self, calendar: &Calendar) -> bool {
        let shown_email = calendar.has_synced.then_some(&calendar.email);
        self.created_at_gte.is_none_or(|since| calendar.created_at >= since)
            && self.email.as_ref().is_none_or(|email| shown_email == Some(email))
            && self.platform.as_ref().is_none_or(|platform| calendar.platform.as_str() == platform)
            && self.status.as_ref().is_none_or(|status| calendar.status.as_str() == status)
    }
}

impl Workspace {
    pub(crate) fn calendar(&self, id: Uuid) -> Option<&Calendar> {
        self.calendars.get(&id)
    }

    /// Calendars that pass `filter`, oldest first.
    pub(crate) fn list_calendars(&self, filter: &CalendarFilter) -> Vec<&Calendar> {
        let mut found: Vec<_> = self.calendars.values().filter(|calendar| filter.lets(calendar)).collect();
        found.sort_by_key(|calendar| (calendar.created_at, calendar.id));
        found
    }

    /// Makes a calendar that will connect. Never deduplicates, as Recall does not.
    pub(crate) fn create_calendar(
        &mut self,
        platform: Platform,
        email: Option<String>,
        change: CalendarChange,
        now: DateTime<Utc>,
    ) -> Uuid {
        let id = self.new_id();
        let owner = self.calendars.len() + 1;
        let email = email.unwrap_or_else(|| format!("owner{owner}@calendars.test"));
        self.insert_calendar(id, platform, email, change, now);
        id
    }

    /// As [`create_calendar`](Self::create_calendar), under a given id.
    pub(crate) fn insert_calendar(
        &mut self,
        id: Uuid,
        platform: Platform,
        email: String,
        change: CalendarChange,
        now: DateTime<Utc>,
    ) {
        let stamp = self.stamp(now);
        let mut calendar = Calendar {
            id,
            platform,
            email,
            status: Status::Connecting,
            webhook_url: change.webhook_url.flatten(),
            events: Vec::new(),
            oauth: change.oauth,
            metadata: change.metadata.unwrap_or_else(|| json!({})),
            has_synced: false,
            grant_is_good: true,
            status_changes: Vec::new(),
            created_at: stamp,
            updated_at: stamp,
            previous: None,
        };
        calendar.set_status(Status::Connecting, stamp);
        calendar.previous = None;
        self.calendars.insert(id, calendar);
        self.wake(now + TimeDelta::seconds(self.knobs.connect_delay_secs), Wake::Connect(id));
    }

    /// PATCH. An empty one tries a lost connection again; new credentials do so with a new grant \[C\].
    pub(crate) fn update_calendar(
        &mut self,
        id: Uuid,
        change: CalendarChange,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let stamp = self.stamp(now);
        let calendar = self.calendars.get_mut(&id).ok_or(Refusal::NotFound)?;
        let reconnects = calendar.status == Status::Disconnected && (change.is_empty() || change.renews_grant());
        calendar.grant_is_good |= change.renews_grant();
        let before = calendar.json();
        calendar.oauth.extend(change.oauth);
        if let Some(webhook_url) = change.webhook_url {
            calendar.webhook_url = webhook_url;
        }
        if let Some(metadata) = change.metadata {
            calendar.metadata = metadata;
        }
        let changed = calendar.json() != before;
        if changed {
            calendar.previous = Some(before);
            calendar.updated_at = stamp;
        }
        if reconnects {
            self.begin_connecting(id, now);
        } else if changed {
            self.notify_update(id);
        }
        Ok(())
    }

    fn begin_connecting(&mut self, id: Uuid, now: DateTime<Utc>) {
        let stamp = self.stamp(now);
        if let Some(calendar) = self.calendars.get_mut(&id) {
            calendar.set_status(Status::Connecting, stamp);
        }
        self.notify_update(id);
        self.wake(now + TimeDelta::seconds(self.knobs.connect_delay_secs), Wake::Connect(id));
    }

    /// The connection attempt ends: well, with a sync, or not, if the grant is void.
    pub(super) fn connect(&mut self, id: Uuid, now: DateTime<Utc>) {
        let stamp = self.stamp(now);
        let Some(calendar) = self.calendars.get_mut(&id) else {
            return;
        };
        if calendar.status != Status::Connecting {
            return;
        }
        if !calendar.grant_is_good {
            calendar.set_status(Status::Disconnected, stamp);
            self.notify_update(id);
            return;
        }
        calendar.set_status(Status::Connected, stamp);
        let is_first = !std::mem::replace(&mut calendar.has_synced, true);
        let events = calendar.events.clone();
        self.notify_update(id);
        let told = self.sync(events, now);
        if is_first && !told.contains(&id) {
            self.notify_sync(id, stamp);
        }
    }

    /// The provider ends the connection; Recall notices after `revocation_lag_secs`.
    pub(crate) fn disconnect_calendar(&mut self, id: Uuid, grant_is_good: bool, now: DateTime<Utc>) {
        if let Some(calendar) = self.calendars.get_mut(&id) {
            calendar.grant_is_good = grant_is_good;
        }
        let lag = TimeDelta::seconds(self.knobs.revocation_lag_secs);
        self.wake(now + lag, Wake::Disconnect(id));
    }

    /// Events stay readable, scheduled bots go, `calendar.update` is sent \[C\].
    pub(super) fn lose_connection(&mut self, id: Uuid, now: DateTime<Utc>) {
        let stamp = self.stamp(now);
        let Some(calendar) = self.calendars.get_mut(&id) else {
            return;
        };
        if calendar.status == Status::Disconnected {
            return;
        }
        calendar.set_status(Status::Disconnected, stamp);
        for event in calendar.events.clone() {
            self.unlink_scheduled(event, now);
        }
        self.notify_update(id);
    }

    /// The person consents again.
    pub(crate) fn reconnect_calendar(&mut self, id: Uuid, now: DateTime<Utc>) {
        let Some(calendar) = self.calendars.get_mut(&id) else {
            return;
        };
        calendar.grant_is_good = true;
        if calendar.status == Status::Disconnected {
            self.begin_connecting(id, now);
        }
    }

    /// DELETE: events are not found any more, their scheduled bots go unless shared, and no webhook is sent \[C\].
    pub(crate) fn delete_calendar(&mut self, id: Uuid, now: DateTime<Utc>) -> Result<(), Refusal> {
        let calendar = self.calendars.get(&id).ok_or(Refusal::NotFound)?;
        for event in calendar.events.clone() {
            self.unlink_scheduled(event, now);
            self.events.remove(&event);
        }
        self.calendars.remove(&id);
        Ok(())
    }

    /// Sends `calendar.sync_events` without a cause.
    pub(crate) fn touch_calendar(&mut self, id: Uuid, now: DateTime<Utc>) {
        let stamp = self.stamp(now);
        self.notify_sync(id, stamp);
    }
}

/// Metadata as the API holds it.
pub(crate) fn metadata_json(metadata: &BTreeMap<String, String>) -> Value {
    metadata.iter().map(|(key, value)| (key.clone(), json!(value))).collect()
}
