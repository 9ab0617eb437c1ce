//! Signatures, made from the specification and not with the library that the service verifies them with.

use sha2::{Digest, Sha256};

/// The keys of the configured secrets, and one of a stranger's.
pub const KEYS: [&[u8]; 2] = [b"recall-simulator-signing-key-001", b"other-secret-of-the-tests"];
pub const STRANGERS_KEY: &[u8] = b"a-secret-that-is-not-configured!";

/// The entry of a signature header: `v1,` and base64 of HMAC-SHA256 over id, seconds and body.
pub fn sign(key: &[u8], id: &str, seconds: i64, body: &[u8]) -> String {
    let message = [format!("{id}.{seconds}.").as_bytes(), body].concat();
    format!("v1,{}", base64(&hmac(key, &message)))
}

/// A key as it is configured.
pub fn secret(key: &[u8]) -> String {
    format!("whsec_{}", base64(key))
}

/// RFC 2104, for keys of one block at most.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(block, key)| *block ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0u32, |group, (n, byte)| group | u32::from(*byte) << (16 - 8 * n));
        for place in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
