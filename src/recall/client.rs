//! The client: one method for each endpoint that rollcall uses, named as Recall names it.
//!
//! A method makes one request and tells what came of it; it never retries, waits or counts. Budgets and retries are for the
//! caller, who can put a key aside instead of holding it. No request follows a redirect, and of a next page only the query is
//! taken: the key goes nowhere else.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{self, HeaderValue},
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json, value::RawValue};
use tracing::Instrument;

use super::{
    error::Error,
    wire::{self, Page},
};
use crate::{
    config::RecallConfig,
    domain::{
        budget::CallClass,
        calendar::{Calendar, CalendarId},
        event::{Event, EventId},
    },
    telemetry,
};

/// A call that takes longer has failed. Recall's own load balancer gives up at a minute.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A page is up to 100 events; larger than this is not read into memory.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// The query of a next page is a cursor and some filters; a longer one would not fit in a request line.
const MAX_QUERY_BYTES: usize = 4096;

/// Calls the API of one workspace.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: Url,
    authorization: HeaderValue,
}

/// A page of calendars.
#[derive(Debug)]
pub struct CalendarPage {
    /// The calendars that could be read.
    pub calendars: Vec<Calendar>,
    /// Why others could not.
    pub unreadable: Vec<String>,
    /// The next page, if there is one.
    pub next: Option<PageQuery>,
}

/// A page of events.
#[derive(Debug)]
pub struct EventPage {
    /// The events that could be read, in the page's order.
    pub events: Vec<Event>,
    /// Those that could not.
    pub unreadable: Vec<UnreadableEvent>,
    /// The next page, if there is one.
    pub next: Option<PageQuery>,
}

impl EventPage {
    /// How large the events' payloads are together.
    pub fn payload_bytes(&self) -> usize {
        self.events.iter().map(|event| event.raw.get().len()).sum()
    }
}

/// An item of a page that is not an event as documented.
#[derive(Debug)]
pub struct UnreadableEvent {
    /// Its id, or its place in the page where it has none.
    pub event_id: String,
    /// Its calendar, as far as it names one.
    pub calendar_id: Option<CalendarId>,
    /// What is wrong with it.
    pub reason: String,
}

/// The query of a next page, verbatim as the API wrote it: its cursor and the filters of the list.
///
/// Its scheme, host and path are not kept. The API is known to write `http://` behind its load balancer, a proxy in front of it
/// has another host and path, and a page must not be able to send the key elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery(String);

impl PageQuery {
    /// That of a URL; `None` if it has none, or one that is no query: too long, or with characters that no URL has and that
    /// Postgres does not store.
    fn of(url: &str) -> Option<Self> {
        let (_, query) = url.split_once('?')?;
        let is_query = query.len() <= MAX_QUERY_BYTES && !query.contains(char::is_control);
        is_query.then(|| Self(query.to_owned()))
    }

    /// The query, to be kept until the run goes on.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What `as_str` gave.
    pub fn from_stored(query: String) -> Self {
        Self(query)
    }
}

impl Client {
    /// A client for the API at `config.base_url`.
    ///
    /// # Errors
    /// The TLS backend cannot be set up.
    pub fn new(config: &RecallConfig) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .build()?;
        let mut authorization = HeaderValue::try_from(format!("Token {}", config.api_key.expose_secret()))
            .unwrap_or_else(|_| unreachable!("Config admits printable ASCII only"));
        // Kept out of logs and of anything that prints headers.
        authorization.set_sensitive(true);
        Ok(Self { http, base_url: config.base_url.clone(), authorization })
    }

    /// [List Calendars](https://docs.recall.ai/reference/calendars_list): a page of all calendars of the workspace.
    /// 60 a minute.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_calendars(&self, page: Option<&PageQuery>) -> Result<CalendarPage, Error> {
        let call = "List Calendars";
        let mut url = self.url(&["calendars"]);
        url.set_query(page.map(PageQuery::as_str));
        let body = self.send(call, CallClass::List, self.http.get(url)).await?;
        let (items, next) = Self::read_page(call, &body)?;
        let mut answer = CalendarPage { calendars: Vec::with_capacity(items.len()), unreadable: vec![], next };
        for item in items {
            match wire::read_calendar(item.get()) {
                Ok(calendar) => answer.calendars.push(calendar),
                Err(error) => answer.unreadable.push(telemetry::problem(&error)),
            }
        }
        Ok(answer)
    }

    /// [Retrieve Calendar](https://docs.recall.ai/reference/calendars_retrieve). 300 a minute.
    ///
    /// # Errors
    /// See [`Error`]; 404 for a calendar that was deleted.
    pub async fn retrieve_calendar(&self, id: CalendarId) -> Result<Calendar, Error> {
        let call = "Retrieve Calendar";
        let url = self.url(&["calendars", &id.to_string()]);
        let body = self.send(call, CallClass::Read, self.http.get(url)).await?;
        read(call, &body, wire::read_calendar)
    }

    /// [List Calendar Events](https://docs.recall.ai/reference/calendar_events_list): the first page of a calendar's events
    /// that changed at or after `updated_since`, or of all. 60 a minute. The order of events is not documented.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_calendar_events(
        &self,
        calendar: CalendarId,
        updated_since: Option<DateTime<Utc>>,
    ) -> Result<EventPage, Error> {
        let mut url = self.url(&["calendar-events"]);
        url.query_pairs_mut().append_pair("calendar_id", &calendar.to_string());
        if let Some(since) = updated_since {
            append_since(&mut url, since);
        }
        self.get_event_page(url).await
    }

    /// The same without a calendar: the first page of the workspace's events that changed at or after `updated_since`. That
    /// it spans the workspace follows from `calendar_id` being optional, and is said nowhere.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_workspace_events(&self, updated_since: DateTime<Utc>) -> Result<EventPage, Error> {
        let mut url = self.url(&["calendar-events"]);
        append_since(&mut url, updated_since);
        self.get_event_page(url).await
    }

    /// The next page of a list of events, requested as the API named it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_calendar_events_next(&self, page: &PageQuery) -> Result<EventPage, Error> {
        let mut url = self.url(&["calendar-events"]);
        url.set_query(Some(page.as_str()));
        self.get_event_page(url).await
    }

    /// [Retrieve Calendar Event](https://docs.recall.ai/reference/calendar_events_retrieve). 300 a minute.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn retrieve_calendar_event(&self, id: EventId) -> Result<Event, Error> {
        let call = "Retrieve Calendar Event";
        let url = self.url(&["calendar-events", &id.to_string()]);
        let body = self.send(call, CallClass::Read, self.http.get(url)).await?;
        read(call, &body, wire::read_event)
    }

    /// [Schedule Bot](https://docs.recall.ai/reference/calendar_events_bot_create): makes, moves or reconfigures the one bot
    /// of an event; the whole configuration is replaced. 600 a minute. Safe to repeat before the event has begun: the same
    /// key updates the same bot. Answers with the event.
    ///
    /// # Errors
    /// See [`Error`]; 400 once the event has ended, 409 while another call has the same key, 507 if no bot is free.
    pub async fn schedule_bot(&self, id: EventId, key: &str, bot_config: &Map<String, Value>) -> Result<Event, Error> {
        let call = "Schedule Bot";
        let url = self.url(&["calendar-events", &id.to_string(), "bot"]);
        let request = self.http.post(url).json(&json!({ "deduplication_key": key, "bot_config": bot_config }));
        let body = self.send(call, CallClass::ScheduleBot, request).await?;
        read(call, &body, wire::read_event)
    }

    /// [Delete Bot](https://docs.recall.ai/reference/calendar_events_bot_destroy): removes the event's scheduled bot, unless
    /// another event shares it. 600 a minute. Safe to repeat. Answers with the event.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_bot(&self, id: EventId) -> Result<Event, Error> {
        let call = "Delete Bot";
        let url = self.url(&["calendar-events", &id.to_string(), "bot"]);
        let body = self.send(call, CallClass::DeleteBot, self.http.request(Method::DELETE, url)).await?;
        read(call, &body, wire::read_event)
    }

    async fn get_event_page(&self, url: Url) -> Result<EventPage, Error> {
        let call = "List Calendar Events";
        let body = self.send(call, CallClass::List, self.http.get(url)).await?;
        let (items, next) = Self::read_page(call, &body)?;
        let mut page = EventPage { events: Vec::with_capacity(items.len()), unreadable: vec![], next };
        for (place, item) in items.iter().enumerate() {
            match wire::read_event(item.get()) {
                Ok(event) => page.events.push(event),
                Err(error) => page.unreadable.push(UnreadableEvent {
                    event_id: wire::read_id(item.get()).unwrap_or_else(|| format!("item {place}")),
                    calendar_id: wire::read_calendar_id(item.get()),
                    reason: telemetry::problem(&error),
                }),
            }
        }
        Ok(page)
    }

    /// Sends one request and reads its whole answer.
    async fn send(&self, call: &'static str, class: CallClass, request: RequestBuilder) -> Result<Vec<u8>, Error> {
        let span = tracing::debug_span!("api_call", call);
        let request = request
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::ACCEPT, "application/json");
        let answer = async {
            let response = request.send().await.map_err(|error| Error::no_answer(call, error))?;
            let (status, retry_after) = (response.status(), retry_after(&response));
            let body = read_body(call, response).await?;
            if status.is_success() { Ok(body) } else { Err(Error::refused(call, class, status, retry_after, &body)) }
        }
        .instrument(span)
        .await;
        let outcome = match &answer {
            Ok(_) => "ok".to_owned(),
            Err(Error::Refused { status, .. }) => status.as_u16().to_string(),
            Err(_) => "no answer".to_owned(),
        };
        metrics::counter!(telemetry::API_CALLS, "call" => call, "outcome" => outcome).increment(1);
        answer
    }

    fn read_page<'a>(call: &'static str, body: &'a [u8]) -> Result<(Vec<&'a RawValue>, Option<PageQuery>), Error> {
        let page: Page = serde_json::from_slice(body)
            .map_err(|error| Error::Unreadable { call, problem: telemetry::problem(&error) })?;
        let next =
            match page.next.as_deref().filter(|next| !next.is_empty()) {
                None => None,
                Some(next) => Some(PageQuery::of(next).ok_or_else(|| Error::Unreadable {
                    call,
                    problem: "a next page that cannot be asked for".into(),
                })?),
            };
        Ok((page.results, next))
    }

    /// The URL of a route under `/api/v2/`, with the slash that all documented paths end with.
    fn url(&self, segments: &[&str]) -> Url {
        let path = format!("{}api/v2/{}/", self.base_url.path(), segments.join("/"));
        let mut url = self.base_url.clone();
        url.set_path(&path);
        url
    }
}

/// `append_pair` percent-encodes; a bare `+00:00` would arrive as a space.
fn append_since(url: &mut Url, since: DateTime<Utc>) {
    url.query_pairs_mut().append_pair("updated_at__gte", &since.to_rfc3339_opts(SecondsFormat::Micros, true));
}

fn read<T>(call: &'static str, body: &[u8], read: fn(&str) -> Result<T, serde_json::Error>) -> Result<T, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::Unreadable { call, problem: "not UTF-8".into() })?;
    read(text).map_err(|error| Error::Unreadable { call, problem: telemetry::problem(&error) })
}

/// Seconds, as the API writes it; an hour at most, lest a strange value hold everything for days.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, 3600)))
}

async fn read_body(call: &'static str, mut response: Response) -> Result<Vec<u8>, Error> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut body = Vec::with_capacity(announced.min(MAX_ANSWER_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(|error| Error::no_answer(call, error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(Error::Unreadable { call, problem: format!("longer than {MAX_ANSWER_BYTES} bytes") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn client(base_url: &str) -> Client {
        let limits = crate::domain::budget::Limits { list: 1, read: 1, bot: 1 };
        let base_url = Url::parse(base_url).unwrap();
        Client::new(&RecallConfig { api_key: "key".into(), base_url, limits }).unwrap()
    }

    #[test]
    fn of_a_next_page_the_query_alone_is_kept() {
        let read = |next: &str| {
            let body = format!(r#"{{"next":{next},"results":[]}}"#);
            let page = Client::read_page("List Calendars", body.as_bytes());
            page.map(|(_, next)| next.map(|next| next.as_str().to_owned())).map_err(|error| error.to_string())
        };
        for next in ["https://api.test/api/v2/calendars/?cursor=a%3D&b=c", "http://elsewhere.test/?cursor=a%3D&b=c"] {
            assert_eq!(read(&format!(r#""{next}""#)), Ok(Some("cursor=a%3D&b=c".into())));
        }
        for none in ["null", r#""""#] {
            assert_eq!(read(none), Ok(None));
        }
        assert!(read(r#""garbage""#).is_err(), "the end of the list is not taken for granted");
    }

    #[test]
    fn a_path_before_the_api_stays() {
        let client = client("https://proxy.test/recall/");
        assert_eq!(client.url(&["calendars"]).as_str(), "https://proxy.test/recall/api/v2/calendars/");
    }

    #[test]
    fn retry_after_is_between_a_second_and_an_hour() {
        let read = |value: &str| {
            let response = http::Response::builder().header("retry-after", value).body("").unwrap();
            retry_after(&response.into()).map(|pause| pause.as_secs())
        };
        let values = ["0", "7", " 7", "86400", "-1", "Tue, 20 Jan 2026 09:00:00 GMT"].map(read);
        assert_eq!(values, [Some(1), Some(7), Some(7), Some(3600), None, None]);
    }

    #[test]
    fn the_key_is_not_printed() {
        let client = client("https://api.test/");
        assert_eq!(client.authorization, "Token key");
        assert!(!format!("{client:?}").contains("Token key"));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&format!("http://{}/", listener.local_addr().unwrap()));
        let answer_once = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            drop(listener);
            assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
            let redirect = b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            connection.write_all(redirect).await.unwrap();
        };
        let (answer, ()) = tokio::join!(client.list_calendars(None), answer_once);
        let error = answer.unwrap_err();
        assert!(matches!(&error, Error::Refused { status, .. } if status.as_u16() == 302), "{error}");
    }

    #[tokio::test]
    async fn an_error_does_not_hold_the_url() {
        let error = client("http://127.0.0.1:1/").list_calendars(None).await.unwrap_err();
        let text = crate::telemetry::chain(&error);
        assert!(!text.contains("api/v2"), "{text}");
    }
}
