//! rollcall: exactly one bot on every meeting that should have one.
//!
//! A webhook is a hint that says *look*. The receiver commits "look at calendar C, back to T" and answers; a worker claims one
//! key at a time, reads the truth from the API, mirrors it, asks a pure function what each event's bot should be, and carries
//! that out with calls that are safe to repeat. A timer asks for every calendar now and then, through the same code. All state
//! is in Postgres; any number of replicas may run, and any of them may die after any line.
//!
//! # The rooms, in reading order
//!
//! - [`domain`]: the functional core: calendars, events, policy, and [`domain::plan`], what should become of an event's bot
//! - [`http`]: the receiver: who may send ([`http::signature`]), and a durable yes ([`http::inbox`])
//! - [`store`]: all SQL; begin with [`store::queue`]
//! - [`recall`]: the upstream API as it is, and what its failures mean
//! - [`reconcile`]: the imperative shell: a turn for a calendar, an event, the sweep, the whole workspace
//! - [`worker`]: claim → reconcile → settle, retry, put off or park
//! - [`explain`]: why an event has its bot, or none; [`operator`]: the commands that tell it, and take what people say
//! - [`app`], [`config`], [`clock`], [`telemetry`]: wiring
//! - [`sim`]: a simulated Recall, which knows nothing of the rest; [`demo`]: both, and people whose calendars live
//!
//! Dependencies point one way; `tests/it/rooms.rs` says so.
//!
//! # The promises
//!
//! - **P1** A 2xx means that the hint is committed. If it cannot be, the answer is 5xx, and the sender tries again.
//! - **P2** No webhook that is not proven reaches the database, the queue or the API.
//! - **P3** Every acknowledged change is reflected in mirror and bots, in spite of crashes, lost or repeated or reordered
//!   webhooks, failing or lying API answers, database restarts.
//! - **P4** At most one live bot per event, one per deduplication key; none for events that are deleted, cancelled, ended,
//!   without a link, not wanted, or on a disconnected calendar.
//! - **P5** The mirror never goes backwards: an older version never overwrites a newer one; equal `updated_at` is let through.
//! - **P6** A calendar's cursor moves only after the last page of a run is committed, and only to what was seen.
//! - **P7** Never two turns for one key at once; a request that arrives during a turn causes one more turn.
//! - **P8** All replicas together stay within the API's limits, use them fully, and spend them on the soonest meetings first.
//! - **P9** One bad event, calendar or answer stops nothing but itself, and is visible until it is well again.
//! - **P10** Secrets (API key, webhook secrets and tokens, OAuth material the API echoes) are in no log, row, page or error.
//! - **P11** A converged system makes no calls: planning again after carrying out a plan changes nothing, even if scheduling a
//!   bot itself touches the event.
//!
//! # The words
//!
//! **event** is a calendar event; **delivery** one webhook POST; **notification** and **topic** its content and its `event`
//! field. **schedule / unschedule** a bot. **mirror** our copy; **sync** incremental or full; **cursor** how far. **request,
//! claim, lease, settle, retry, put off, park** the life of a key; **turn** one pass for one key. **plan** the pure decision.
//! **sweep** the timer's request for all. **drift** what a full sync found that no webhook told.

pub mod app;
pub mod clock;
pub mod config;
pub mod demo;
pub mod domain;
pub mod explain;
pub mod http;
pub mod operator;
pub mod recall;
pub mod reconcile;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod worker;
