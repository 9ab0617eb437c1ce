//! Hears the service's own log lines: what rollcall says of itself is all that the demo tells of it.
//!
//! Lines go through a channel, so that telling them never holds up the service, and they are told in the order in which they
//! were said. The channel has no bound: the demo's few calendars say less in an hour than fits in a megabyte.

use std::{collections::BTreeMap, fmt};

use tokio::{sync::mpsc, time::Instant};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, filter::Targets, layer::Context, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// A log line: its message, and its fields with those of the spans around it.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) at: Instant,
    pub(super) level: Level,
    pub(super) message: String,
    fields: Fields,
}

#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Heard {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.0.get(name).map(String::as_str)
    }

    /// A field that is parsed; `None` also where it is something else.
    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.field(name)?.parse().ok()
    }
}

/// Sends every line of the service, from `info` up, into `ear`. The simulator's own troubles are heard too.
///
/// # Errors
/// The process has a subscriber already.
pub(super) fn listen(ear: mpsc::UnboundedSender<Heard>) -> anyhow::Result<()> {
    let targets = Targets::new().with_target("rollcall", Level::INFO);
    tracing_subscriber::registry().with(Ear(ear).with_filter(targets)).try_init()?;
    Ok(())
}

struct Ear(mpsc::UnboundedSender<Heard>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            record.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.0.extend(outer.0.clone());
            }
        }
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        // Nobody listens any more when the demo is over.
        let _ = self.0.send(Heard { at: Instant::now(), level: *event.metadata().level(), message, fields });
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_heard_with_the_fields_of_its_turn() {
        let (ear, mut heard) = mpsc::unbounded_channel();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Ear(ear)), || {
            let turn = tracing::info_span!("turn", event.id = %"e1");
            let _inside = turn.enter();
            tracing::info!(plan = "keep", changed = 2_u64, "decided");
        });
        let heard = heard.try_recv().unwrap();
        assert_eq!((heard.message.as_str(), heard.level), ("decided", Level::INFO));
        assert_eq!(
            (heard.field("event.id"), heard.field("plan"), heard.parsed("changed")),
            (Some("e1"), Some("keep"), Some(2))
        );
    }
}
