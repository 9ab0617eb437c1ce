//! The wire between Recall and rollcall: what befalls webhooks on their way, as the simulator knows it.

use crate::sim::{Message, MessageState, Recall};

/// A copy follows its original closely: how far back to look for it.
const COPY_DISTANCE: usize = 8;

/// What befell a webhook.
#[derive(Clone, Debug)]
pub(super) enum Mishap {
    /// It will never arrive.
    Lost(Message),
    /// It arrived a second time.
    Repeated(Message),
}

/// Remembers what it has seen.
#[derive(Debug, Default)]
pub(super) struct Wire {
    messages_seen: usize,
    /// Copies that are still on their way, by their place among all messages.
    copies: Vec<usize>,
}

impl Wire {
    /// What befell webhooks since this was last called.
    pub(super) fn watch(&mut self, recall: &Recall) -> Vec<Mishap> {
        let messages = recall.webhooks();
        let mut mishaps = Vec::new();
        for (place, message) in messages.iter().enumerate().skip(self.messages_seen) {
            let mut before = messages[..place].iter().rev().take(COPY_DISTANCE);
            if message.state == MessageState::Lost {
                mishaps.push(Mishap::Lost(message.clone()));
            } else if before.any(|earlier| earlier.id == message.id) {
                self.copies.push(place);
            }
        }
        self.messages_seen = messages.len();
        self.copies.retain(|place| {
            let has_arrived = messages[*place].state == MessageState::Delivered;
            if has_arrived {
                mishaps.push(Mishap::Repeated(messages[*place].clone()));
            }
            !has_arrived
        });
        mishaps
    }
}
