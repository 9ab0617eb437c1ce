//! `Idempotency-Key` (recall-api §4.5): a repeat within an hour gets the stored answer, even a 507.
//!
//! The concurrent twin's 409 is the hold's, in `api.rs`.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::answer::Answer;
use super::{Received, call};
use crate::sim::faults::Fault;
use crate::sim::shared::World;

const KEPT_FOR: TimeDelta = TimeDelta::hours(1);

/// Answers kept by path and key.
#[derive(Debug, Default)]
pub(crate) struct Replies(HashMap<String, (DateTime<Utc>, Answer)>);

/// Carries a call out, unless its key says that this was done already. Only POST, PUT and PATCH have keys \[C\].
pub(super) fn once(world: &mut World, received: &Received, fault: Option<&Fault>, now: DateTime<Utc>) -> Answer {
    let name = received.idempotency_key.as_ref().map(|key| name(received, key));
    let Some(name) = name.filter(|_| received.route.takes_idempotency_key()) else {
        return call(world, received, fault, now);
    };
    world.replies.0.retain(|_, (at, _)| now - *at < KEPT_FOR);
    if let Some((_, answer)) = world.replies.0.get(&name) {
        return answer.clone();
    }
    let answer = call(world, received, fault, now);
    world.replies.0.insert(name, (now, answer.clone()));
    answer
}

/// The name under which an answer is kept and a call held.
pub(super) fn name(received: &Received, key: &str) -> String {
    format!("idempotency {} {key}", received.target)
}
