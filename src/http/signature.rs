//! Who sent a webhook: a signature under `svix-*` or `webhook-*` headers, or a token in the query.
//!
//! `VerifiedBody` can be made here alone, and is the only thing that can be parsed: nothing unproven gets further (P2).
//! Recall sends both header families, and its two generations of documents use either proof, so all are accepted at once; but
//! a signature's three headers have to be of one family.

use axum::http::{HeaderMap, HeaderName};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use svix::webhooks::Webhook;

use crate::config::WebhookConfig;

/// How far a signature's timestamp may be from now, both ways: what Svix's own libraries allow.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// The longest message id that is taken; Svix's have 31 characters.
const MAX_ID_CHARS: usize = 256;

/// A header family of the Standard Webhooks scheme.
struct Family {
    id: HeaderName,
    timestamp: HeaderName,
    signature: HeaderName,
}

const FAMILIES: [Family; 2] = [
    Family {
        id: HeaderName::from_static("webhook-id"),
        timestamp: HeaderName::from_static("webhook-timestamp"),
        signature: HeaderName::from_static("webhook-signature"),
    },
    Family {
        id: HeaderName::from_static("svix-id"),
        timestamp: HeaderName::from_static("svix-timestamp"),
        signature: HeaderName::from_static("svix-signature"),
    },
];

/// A body whose sender is proven.
#[derive(Debug)]
pub struct VerifiedBody<'a> {
    /// The bytes that were sent.
    pub bytes: &'a [u8],
    /// The sender's message id, if it has one.
    pub id: Option<String>,
    /// What proved it: `secret 1`, `token 2`.
    pub proved_by: String,
}

/// Why a sender is not proven. Says nothing about which secrets or tokens there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// Neither signature headers nor a token.
    #[error("no signature headers and no token")]
    NoProof,
    /// Some signature headers, but not the three of one family.
    #[error("id, timestamp and signature headers must be there, and of one family, svix-* or webhook-*")]
    IncompleteHeaders,
    /// The timestamp is not a number of seconds, or too far from now.
    #[error("the timestamp is not within five minutes of now")]
    Timestamp,
    /// No configured secret made the signature.
    #[error("the signature is not of this body and a configured secret")]
    Signature,
    /// The token is none of the configured ones.
    #[error("the token is not a configured one")]
    Token,
}

/// Proves senders.
#[derive(Debug)]
pub struct Verifier {
    secrets: Vec<Webhook>,
    tokens: Vec<SecretString>,
}

impl Verifier {
    /// A verifier for the configured secrets and tokens.
    ///
    /// # Errors
    /// A secret is not `whsec_` and base64. `Config` has checked that.
    pub fn new(config: &WebhookConfig) -> Result<Self, svix::webhooks::WebhookError> {
        let secrets = config.secrets.iter().map(|secret| Webhook::new(secret.expose_secret()));
        Ok(Self { secrets: secrets.collect::<Result<_, _>>()?, tokens: config.tokens.clone() })
    }

    /// Whether the request brings anything that could prove its sender; if not, its body need not be read.
    ///
    /// # Errors
    /// It does not.
    pub fn check_claims_proof(&self, headers: &HeaderMap, query: Option<&str>) -> Result<(), Unproven> {
        let has_signature = FAMILIES.iter().any(|family| headers.contains_key(&family.signature));
        if has_signature || tokens_in(query).next().is_some() { Ok(()) } else { Err(Unproven::NoProof) }
    }

    /// Proves the sender of `body`, by any signature or token that fits.
    ///
    /// # Errors
    /// None does.
    pub fn verify<'a>(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        body: &'a [u8],
        now: DateTime<Utc>,
    ) -> Result<VerifiedBody<'a>, Unproven> {
        let mut unproven = Unproven::NoProof;
        if let Some(position) = self.find_token(query) {
            let id = FAMILIES.iter().find_map(|family| message_id(headers, family));
            return Ok(VerifiedBody { bytes: body, id, proved_by: format!("token {position}") });
        } else if tokens_in(query).next().is_some() {
            unproven = Unproven::Token;
        }
        for family in &FAMILIES {
            match self.verify_signature(headers, family, body, now) {
                Ok(Some((id, position))) => {
                    return Ok(VerifiedBody { bytes: body, id: Some(id), proved_by: format!("secret {position}") });
                }
                Ok(None) => {}
                Err(reason) if unproven != Unproven::Signature => unproven = reason,
                Err(_) => {}
            }
        }
        Err(unproven)
    }

    /// The message id and the position of the secret that signed it; `None` if no header of the family is there.
    fn verify_signature(
        &self,
        headers: &HeaderMap,
        family: &Family,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Option<(String, usize)>, Unproven> {
        let parts = [&family.id, &family.timestamp, &family.signature].map(|name| headers.get(name));
        let [id, timestamp, signature] = match parts {
            [None, None, None] => return Ok(None),
            [Some(id), Some(timestamp), Some(signature)] => [id, timestamp, signature],
            _ => return Err(Unproven::IncompleteHeaders),
        };
        let message_id = message_id(headers, family).ok_or(Unproven::IncompleteHeaders)?;
        let sent_at =
            timestamp.to_str().ok().and_then(|text| text.parse().ok()).and_then(DateTime::from_timestamp_secs);
        if sent_at.is_none_or(|sent_at| (now - sent_at).abs() > TOLERANCE) {
            return Err(Unproven::Timestamp);
        }
        // Only these three, so that the crate cannot mix families.
        let names = ["svix-id", "svix-timestamp", "svix-signature"].map(HeaderName::from_static);
        let headers: HeaderMap = names.into_iter().zip([id, timestamp, signature].map(Clone::clone)).collect();
        // The crate's own check of the timestamp reads the system's clock; ours is above.
        let position = self.secrets.iter().position(|secret| secret.verify_ignoring_timestamp(body, &headers).is_ok());
        position.map(|position| Some((message_id, position + 1))).ok_or(Unproven::Signature)
    }

    /// The position of a configured token that the query names. Each is compared with each, in constant time.
    fn find_token(&self, query: Option<&str>) -> Option<usize> {
        let mut found = None;
        for given in tokens_in(query) {
            for (position, token) in self.tokens.iter().enumerate() {
                if bool::from(token.expose_secret().as_bytes().ct_eq(given.as_bytes())) {
                    found = Some(position + 1);
                }
            }
        }
        found
    }
}

fn message_id(headers: &HeaderMap, family: &Family) -> Option<String> {
    let id = headers.get(&family.id)?.to_str().ok()?;
    (!id.is_empty() && id.len() <= MAX_ID_CHARS).then(|| id.to_owned())
}

/// The values of `token` in the query, decoded.
fn tokens_in(query: Option<&str>) -> impl Iterator<Item = std::borrow::Cow<'_, str>> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "token")
        .map(|(_, value)| value)
}
