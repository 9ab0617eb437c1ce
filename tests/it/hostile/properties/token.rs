//! A query. Its token proves a sender if it is a configured one, to the byte; an answer never repeats any of it.

use axum::{
    body::Body,
    http::{HeaderMap, Request, Uri},
};

use super::{CANARY, receiver};

/// Compares the verifier with the specification, and plays the query.
pub fn check(input: &[u8]) {
    let query = String::from_utf8_lossy(input);
    let verified = receiver::verifier().verify(&HeaderMap::new(), Some(&query), b"{}", receiver::now());
    assert_eq!(verified.is_ok(), is_named_in(&query), "{verified:?}");
    // A query as a URI has it, with something beside it that must not be repeated.
    let separator = if query.is_empty() { "" } else { "&" };
    let Ok(uri) = format!("/webhooks/recall?{query}{separator}canary={CANARY}").parse::<Uri>() else { return };
    let is_proven = is_named_in(uri.query().unwrap_or_default());
    let mut request = Request::post(uri).body(Body::from(r#"{"event":"bot.done"}"#)).unwrap_or_default();
    request.headers_mut().insert("svix-id", axum::http::HeaderValue::from_static("msg_1"));
    let status = receiver::play(request);
    assert_eq!(status, if is_proven { 503 } else { 401 });
}

/// The specification: the query, which is a form, names a configured token.
pub fn is_named_in(query: &str) -> bool {
    let parameters = query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
    parameters
        .filter(|(name, _)| decode(name) == b"token")
        .any(|(_, value)| receiver::TOKENS.iter().any(|token| decode(value) == token.as_bytes()))
}

fn decode(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = vec![];
    while let [first, after @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        let (byte, after) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, after @ ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => ((16 * high + low) as u8, after),
                _ => (b'%', &rest[1..]),
            },
            _ => (*first, after),
        };
        decoded.push(byte);
        rest = after;
    }
    decoded
}
