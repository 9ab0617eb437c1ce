//! A whole request, as a stranger may write it: `POST /webhooks/recall?…`, headers, an empty line, a body.
//!
//! Who is proven is told by the specification, in `proofs`; the service must say the same, of each input. In a signature's
//! header `{1}` and `{2}` stand for what the configured secrets sign of the family's id and time and the body, `{x}` for what
//! a stranger's does, and `{h}` for the first secret's signature of the honest message: an input can hold a valid signature,
//! and one wrong part beside it.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri},
};

use super::{
    CANARY, receiver,
    signer::{KEYS, STRANGERS_KEY, sign},
    split_line, token,
};

const ID: &str = "msg_2rTestVector0000000000000A";
const HONEST_BODY: &str = r#"{"event":"bot.done","data":{}}"#;
const FAMILIES: [[&str; 3]; 2] =
    [["svix-id", "svix-timestamp", "svix-signature"], ["webhook-id", "webhook-timestamp", "webhook-signature"]];
/// These ask the database.
const NOT_PLAYED: [&str; 2] = ["/readyz", "/metrics"];

/// Plays the request, and compares the verifier with the specification.
pub fn check(input: &[u8]) {
    let Some((method, uri, headers, body)) = read(input) else { return };
    let is_proven = proofs(&headers, uri.query(), body);
    let verified = receiver::verifier().verify(&headers, uri.query(), body, receiver::now());
    assert_eq!(verified.is_ok(), is_proven, "{verified:?}");
    if let Ok(verified) = verified {
        assert_eq!(verified.bytes, body);
        assert!(verified.id.is_none_or(|id| (1..=256).contains(&id.len()) && !id.contains('\0')));
    }
    if NOT_PLAYED.contains(&uri.path()) {
        return;
    }
    let is_webhook = method == Method::POST && uri.path() == "/webhooks/recall";
    let mut request = Request::new(Body::from(body.to_vec()));
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    request.headers_mut().insert("x-canary", HeaderValue::from_static(CANARY));
    let status = receiver::play(request);
    if is_webhook && is_proven {
        assert!([400, 413, 503].contains(&status), "{status} for who is proven");
    } else if is_webhook {
        assert!([401, 413].contains(&status), "{status} for who is not proven");
    } else {
        assert!(status < 500, "{status} for a stranger");
    }
    an_honest_message_is_proven_and_none_that_differs(body);
}

fn read(input: &[u8]) -> Option<(Method, Uri, HeaderMap, &[u8])> {
    let (line, mut rest) = split_line(input)?;
    let (method, target) = line.split_once(' ')?;
    let mut lines = vec![];
    let body = loop {
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(0) => break &rest[1..],
            Some(end) => {
                lines.push(&rest[..end]);
                rest = &rest[end + 1..];
            }
            None => break rest,
        }
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii_start()).ok()?;
        headers.append(HeaderName::from_bytes(&line[..colon]).ok()?, value);
    }
    FAMILIES.iter().for_each(|names| fill_in(&mut headers, names, body));
    Some((method.parse().ok()?, target.parse().ok()?, headers, body))
}

fn fill_in(headers: &mut HeaderMap, names: &[&str; 3], body: &[u8]) {
    let now = receiver::now().timestamp();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let [Some(id), Some(seconds), Some(signatures)] = names.map(text) else { return };
    let seconds = seconds.parse().unwrap_or(now);
    let filled = signatures
        .replace("{1}", &sign(KEYS[0], id, seconds, body))
        .replace("{2}", &sign(KEYS[1], id, seconds, body))
        .replace("{x}", &sign(STRANGERS_KEY, id, seconds, body))
        .replace("{h}", &sign(KEYS[0], ID, now, HONEST_BODY.as_bytes()));
    if let (Some(value), Ok(filled)) = (headers.get_mut(names[2]), HeaderValue::from_str(&filled)) {
        *value = filled;
    }
}

/// The specification: a configured token in the query, or the three headers of one family, of now, one of whose signatures is
/// of a configured secret. Of a header that is there twice, the first counts.
fn proofs(headers: &HeaderMap, query: Option<&str>, body: &[u8]) -> bool {
    token::is_named_in(query.unwrap_or_default()) || FAMILIES.iter().any(|names| proves(headers, names, body))
}

fn proves(headers: &HeaderMap, names: &[&str; 3], body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let [Some(id), Some(seconds), Some(signatures)] = names.map(text) else { return false };
    let Ok(seconds) = seconds.parse::<i64>() else { return false };
    (1..=256).contains(&id.len())
        && seconds.abs_diff(receiver::now().timestamp()) <= 300
        && std::str::from_utf8(body).is_ok()
        && KEYS.iter().any(|key| signatures.split(' ').any(|given| given == sign(key, id, seconds, body)))
}

/// Signs the body, verifies it, and changes one thing at a time.
fn an_honest_message_is_proven_and_none_that_differs(body: &[u8]) {
    if std::str::from_utf8(body).is_err() {
        return;
    }
    let (now, verifier) = (receiver::now().timestamp(), receiver::verifier());
    let signature = sign(KEYS[1], ID, now, body);
    let verify = |id: &str, seconds: i64, signature: &str, body: &[u8]| {
        let values = [id.to_owned(), seconds.to_string(), signature.to_owned()];
        let headers: HeaderMap = FAMILIES[body.len() % 2]
            .into_iter()
            .zip(values)
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?)))
            .collect();
        verifier.verify(&headers, None, body, receiver::now()).map(|body| body.proved_by)
    };
    assert_eq!(verify(ID, now, &signature, body).as_deref(), Ok("secret 2"));
    let longer = [body, b" "].concat();
    let shorter = &body[..body.len().saturating_sub(1)];
    let reversed = format!("v1,{}", signature[3..].chars().rev().collect::<String>());
    for (id, seconds, signature, body) in [
        ("msg_other", now, signature.as_str(), body),
        (ID, now - 1, &signature, body),
        (ID, now - 301, &sign(KEYS[1], ID, now - 301, body), body),
        (ID, now + 301, &sign(KEYS[1], ID, now + 301, body), body),
        (ID, now, &signature[..signature.len() - 1], body),
        (ID, now, &reversed, body),
        (ID, now, &sign(STRANGERS_KEY, ID, now, body), body),
        (ID, now, &signature, &longer),
        (ID, now, &signature, if body.is_empty() { b"." } else { shorter }),
    ] {
        assert!(verify(id, seconds, signature, body).is_err(), "{id} {seconds} {signature}");
    }
}
