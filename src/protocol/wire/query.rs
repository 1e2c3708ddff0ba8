//! Looking for servers: a query, which anybody may send, and the answer, which is never the longer of the two.
//!
//! ```text
//! QUERY   C5  "GKQ1"  nonce 8  zeros up to the length that the answer may have
//! ANSWER  C6  "GKQ1"  nonce 8  what the host has to tell
//! ```

/// First byte of a query.
pub const QUERY: u8 = 0xC5;
/// First byte of an answer.
pub const ANSWER: u8 = 0xC6;
/// What follows it in both: the format and its version.
pub const MAGIC: [u8; 4] = *b"GKQ1";
/// Bytes of a nonce, which an answer repeats, so that it cannot be sent by somebody who did not see the query.
pub const NONCE_LEN: usize = 8;
/// Bytes in front of what an answer tells.
pub const HEAD_LEN: usize = 1 + MAGIC.len() + NONCE_LEN;
/// Length of the queries that this library sends.
pub const QUERY_LEN: usize = 1200;
/// Most bytes that an answer to such a query tells.
pub const MAX_INFO: usize = QUERY_LEN - HEAD_LEN;

/// The bytes by which an answer is matched to its query.
pub type Nonce = [u8; NONCE_LEN];

fn head(kind: u8, nonce: &Nonce, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(nonce);
}

fn parse(kind: u8, datagram: &[u8]) -> Option<(Nonce, &[u8])> {
    let rest = datagram.strip_prefix(&[kind])?.strip_prefix(&MAGIC)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
    Some((*nonce, rest))
}

/// Whether a datagram's first byte is that of a query.
pub fn is_query(datagram: &[u8]) -> bool {
    datagram.first() == Some(&QUERY)
}

/// Appends a query of [`QUERY_LEN`] bytes.
pub fn write_query(nonce: &Nonce, out: &mut Vec<u8>) {
    let start = out.len();
    head(QUERY, nonce, out);
    out.resize(start + QUERY_LEN, 0);
}

/// The nonce of a query. What stands behind it is padding, and not looked at.
pub fn parse_query(datagram: &[u8]) -> Option<Nonce> {
    parse(QUERY, datagram).map(|(nonce, _)| nonce)
}

/// Appends an answer.
pub fn write_answer(nonce: &Nonce, info: &[u8], out: &mut Vec<u8>) {
    head(ANSWER, nonce, out);
    out.extend_from_slice(info);
}

/// The nonce of an answer, and what it tells.
pub fn parse_answer(datagram: &[u8]) -> Option<(Nonce, &[u8])> {
    parse(ANSWER, datagram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (nonce, mut query, mut answer) = ([1, 2, 3, 4, 5, 6, 7, 8], Vec::new(), Vec::new());
        write_query(&nonce, &mut query);
        assert_eq!((query.len(), &query[..14]), (1200, &b"\xC5GKQ1\x01\x02\x03\x04\x05\x06\x07\x08\x00"[..]));
        assert!(is_query(&query));
        assert_eq!(parse_query(&query), Some(nonce));
        write_answer(&nonce, b"a server", &mut answer);
        assert_eq!(answer, b"\xC6GKQ1\x01\x02\x03\x04\x05\x06\x07\x08a server");
        assert_eq!(parse_answer(&answer), Some((nonce, &b"a server"[..])));
    }

    #[test]
    fn the_longest_answer_is_as_long_as_a_query() {
        let mut answer = Vec::new();
        write_answer(&[0; 8], &[7; MAX_INFO], &mut answer);
        assert_eq!(answer.len(), QUERY_LEN);
    }

    #[test]
    fn nothing_else_is_either() {
        let (mut query, mut answer) = (Vec::new(), Vec::new());
        write_query(&[9; 8], &mut query);
        write_answer(&[9; 8], b"", &mut answer);
        for length in 0..HEAD_LEN {
            assert_eq!(parse_query(&query[..length]), None, "{length}");
            assert_eq!(parse_answer(&answer[..length]), None, "{length}");
        }
        assert!(parse_query(&query[..HEAD_LEN]).is_some() && parse_answer(&answer).is_some());
        assert!(parse_query(&answer).is_none() && parse_answer(&query).is_none());
        for at in 0..5 {
            let (mut other, mut wrong) = (query.clone(), answer.clone());
            (other[at], wrong[at]) = (other[at] ^ 1, wrong[at] ^ 1);
            assert!(parse_query(&other).is_none() && parse_answer(&wrong).is_none(), "{at}");
        }
    }
}
