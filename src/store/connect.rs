//! What `DATABASE_URL` says, without spilling it.
//!
//! sqlx logs a parameter that it does not know together with its value, which may be a password: `sslpassword`, or a misspelt
//! name. So it is not heard, but for the names.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use tracing::{Event, Subscriber, field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
};

/// How to connect, and the names of the URL's parameters that are not known and ignored.
///
/// # Errors
/// `url` is not a Postgres URL.
pub(super) fn read(url: &SecretString) -> Result<(PgConnectOptions, Vec<String>), sqlx::Error> {
    let ignored = Ignored::default();
    let listener = tracing_subscriber::registry().with(ignored.clone()).with(LevelFilter::WARN);
    let options = tracing::subscriber::with_default(listener, || PgConnectOptions::from_str(url.expose_secret()))?;
    let names = std::mem::take(&mut *ignored.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((options, names))
}

/// Listens for `key`s.
#[derive(Clone, Default)]
struct Ignored(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Ignored {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut |field: &Field, name: &dyn fmt::Debug| {
            if field.name() == "key" {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{name:?}"));
            }
        });
    }
}
