//! Cursor pages and query parameters (recall-api §3.4).
//!
//! The cursor is DRF's, as the documents' example decodes: base64 of `p=<time>`, with `o=` rows to skip among those at that
//! time and `r=1` when walking back. A page over a changing set may therefore repeat or miss rows, as with Recall \[I\].
//! Unknown parameters are ignored \[I\]; a `+` that was not encoded arrives as a space and makes a time malformed \[I\].

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::answer::Answer;
use super::{Received, base64};
use crate::sim::faults::Fault;

/// A query string's parameters; of repeated ones the last counts.
pub(super) struct Query(HashMap<String, String>);

impl Query {
    pub(super) fn of(received: &Received) -> Self {
        Self(form_urlencoded::parse(received.query.as_bytes()).into_owned().collect())
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<DateTime<Utc>>, Answer> {
        self.parsed(name, "Enter a valid date/time.")
    }

    pub(super) fn id(&self, name: &str) -> Result<Option<Uuid>, Answer> {
        self.parsed(name, "Enter a valid UUID.")
    }

    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        match self.text(name)?.as_str() {
            "true" | "True" | "1" => Some(true),
            "false" | "False" | "0" => Some(false),
            _ => None,
        }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, wrong: &str) -> Result<Option<T>, Answer> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| Answer::field(name, wrong))
    }
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    position: DateTime<Utc>,
    skip: usize,
    is_reverse: bool,
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        let decoded = base64::decode(text)?;
        let fields: HashMap<_, _> = form_urlencoded::parse(&decoded).into_owned().collect();
        Some(Self {
            position: fields.get("p")?.parse().ok()?,
            skip: fields.get("o").map_or(Some(0), |skip| skip.parse().ok())?,
            is_reverse: fields.get("r").is_some_and(|reverse| reverse == "1"),
        })
    }

    fn text(&self) -> String {
        let mut fields = form_urlencoded::Serializer::new(String::new());
        if self.is_reverse {
            fields.append_pair("r", "1");
        }
        if self.skip > 0 {
            fields.append_pair("o", &self.skip.to_string());
        }
        fields.append_pair("p", &self.position.format("%Y-%m-%d %H:%M:%S%.f+00:00").to_string());
        base64::encode(fields.finish().as_bytes())
    }
}

/// One page: the rows' indexes in the whole list, and the cursors to either side.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    rows: std::ops::Range<usize>,
    next: Option<Cursor>,
    previous: Option<Cursor>,
}

/// Cuts a page out of sorted positions.
fn cut(positions: &[DateTime<Utc>], cursor: Option<Cursor>, size: usize, descending: bool) -> Page {
    let is_before = |at: &DateTime<Utc>, position: DateTime<Utc>| {
        if descending { *at > position } else { *at < position }
    };
    let first_at = |position| positions.partition_point(|at| is_before(at, position));
    let after = |position| positions.partition_point(|at| is_before(at, position) || *at == position);
    let rows = match cursor {
        None => 0..size.min(positions.len()),
        Some(Cursor { position, skip, is_reverse: false }) => {
            let start = (first_at(position) + skip).min(positions.len());
            start..(start + size).min(positions.len())
        }
        Some(Cursor { position, skip, is_reverse: true }) => {
            let end = after(position).saturating_sub(skip);
            end.saturating_sub(size)..end
        }
    };
    let next = (rows.end < positions.len() && !rows.is_empty()).then(|| {
        let position = positions[rows.end - 1];
        Cursor { position, skip: rows.end - first_at(position), is_reverse: false }
    });
    let previous = (rows.start > 0 && !rows.is_empty()).then(|| {
        let position = positions[rows.start];
        Cursor { position, skip: after(position) - rows.start, is_reverse: true }
    });
    Page { rows, next, previous }
}

/// How a list is to be cut, and what shall be wrong with the page.
pub(super) struct Cutting<'a> {
    pub(super) received: &'a Received,
    pub(super) page_size: usize,
    pub(super) descending: bool,
    pub(super) fault: Option<&'a Fault>,
}

/// The page that the query's cursor asks for. `rows` are sorted, ascending.
pub(super) fn page<T: Copy>(
    mut rows: Vec<(DateTime<Utc>, T)>,
    cutting: &Cutting<'_>,
    text: impl Fn(T) -> Option<String>,
) -> Answer {
    if cutting.descending {
        rows.reverse();
    }
    let cursor = match Query::of(cutting.received).text("cursor") {
        None => None,
        Some(cursor) => match Cursor::read(&cursor) {
            Some(cursor) => Some(cursor),
            None => return Answer::coded(404, "not_found", "Invalid cursor"),
        },
    };
    let positions: Vec<_> = rows.iter().map(|(at, _)| *at).collect();
    let page = cut(&positions, cursor, cutting.page_size.max(1), cutting.descending);
    let mut shown = page.rows;
    let mut next = page.next.map(|cursor| link(cutting.received, &cursor));
    match cutting.fault {
        Some(Fault::RepeatPage) => next = Some(here(cutting.received)),
        Some(Fault::ShiftPage) => shown.end = shown.end.saturating_sub(1).max(shown.start),
        Some(Fault::NextElsewhere(origin)) => {
            let target = next.as_deref().and_then(|next| next.split_once("/api/"));
            let target = target.map_or(cutting.received.target.clone(), |(_, rest)| format!("/api/{rest}"));
            next = Some(format!("{}{target}", origin.trim_end_matches('/')));
        }
        _ => {}
    }
    let previous = page.previous.map(|cursor| link(cutting.received, &cursor));
    let results: Vec<_> = rows[shown].iter().filter_map(|(_, row)| text(*row)).collect();
    let body = format!(
        r#"{{"next":{},"previous":{},"results":[{}]}}"#,
        serde_json::json!(next),
        serde_json::json!(previous),
        results.join(",")
    );
    Answer::json(200, body)
}

/// This request's own URL.
fn here(received: &Received) -> String {
    format!("http://{}{}", received.host, received.target)
}

/// This request's URL with another cursor: it holds the filters, so it is to be followed verbatim \[S\].
fn link(received: &Received, cursor: &Cursor) -> String {
    let path = received.target.split('?').next().unwrap_or_default();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("cursor", &cursor.text());
    for (name, value) in form_urlencoded::parse(received.query.as_bytes()) {
        if name != "cursor" {
            query.append_pair(&name, &value);
        }
    }
    format!("http://{}{path}?{}", received.host, query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(minutes: &[i64]) -> Vec<DateTime<Utc>> {
        minutes.iter().map(|minute| DateTime::from_timestamp(minute * 60, 0).unwrap()).collect()
    }

    #[test]
    fn walking_on_and_back_meets_every_row_once_also_among_equal_times() {
        let ascending = times(&[1, 1, 1, 1, 1, 2, 3, 3, 4]);
        let mut descending = ascending.clone();
        descending.reverse();
        for (positions, is_descending) in [(ascending, false), (descending, true)] {
            for size in 1..=10 {
                let (mut seen, mut cursor, mut last) = (Vec::new(), None, None);
                loop {
                    let page = cut(&positions, cursor, size, is_descending);
                    seen.extend(page.rows.clone());
                    cursor = page.next.map(|next| Cursor::read(&next.text()).unwrap());
                    last = page.previous.or(last);
                    if cursor.is_none() {
                        break;
                    }
                }
                assert_eq!(seen, (0..positions.len()).collect::<Vec<_>>(), "size {size}");
                if let Some(previous) = last {
                    let page = cut(&positions, Some(previous), size, is_descending);
                    assert_eq!(page.rows.len(), size, "the page before the last is full");
                }
            }
        }
    }

    #[test]
    fn the_documented_cursor_is_read() {
        let cursor = Cursor::read(&base64::encode(b"p=2024-02-22 16:15:00%2B00:00")).unwrap();
        assert_eq!(cursor.position, "2024-02-22T16:15:00Z".parse::<DateTime<Utc>>().unwrap());
    }
}
