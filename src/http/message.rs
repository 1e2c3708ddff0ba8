//! Requests and answers as values.

use std::net::SocketAddr;

use crate::error::{Error, ErrorKind, Result};
use crate::http::text;

/// Most headers of an answer.
pub const MAX_ANSWER_HEADERS: usize = 64;
/// What is asked of a client that found no room, in seconds.
const RETRY_AFTER: &str = "1";

/// Headers that are the library's to set.
const OWN_HEADERS: [&str; 8] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "sec-websocket-accept",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request, whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `PUT`, `POST`, `DELETE` or, where a GET route matched, `HEAD`.
    pub method: String,
    /// The path as it was sent, percent-encoded, without its query.
    pub path: String,
    /// What stands behind the path's `?`, as it was sent.
    pub query: String,
    /// The headers in order, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What the names of the route's pattern stand for, decoded; several components with slashes between.
    pub params: Vec<(String, String)>,
    /// The body, decompressed.
    pub body: Vec<u8>,
    /// Where it came from.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
}

impl Request {
    /// The value of a header, several joined by `", "`; names are the same in any case.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let values: Vec<&[u8]> = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_slice())
            .collect();
        (!values.is_empty()).then(|| values.join(b", ".as_slice()))
    }

    /// What a name of the route's pattern stands for.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter of the query, decoded; empty for one without a value.
    pub fn query_parameter(&self, name: &str) -> Option<String> {
        let mut parameters = text::query_parameters(&self.query).into_iter();
        parameters.find(|(n, _)| n == name).map(|(_, value)| value.unwrap_or_default())
    }
}

/// An answer, whole.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// 200 to 599; 101 opens a WebSocket.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer of a status with a line of text.
    pub fn of_status(status: u16, line: &str) -> Answer {
        let headers = vec![("content-type".to_owned(), "text/plain; charset=utf-8".to_owned())];
        Answer { status, headers, body: format!("{line}\n").into_bytes() }
    }

    /// The answer for which there is no room at the moment: 503, and when to come again.
    pub fn busy() -> Answer {
        let mut answer = Answer::of_status(503, "too much waits for an answer");
        answer.headers.push(("retry-after".to_owned(), RETRY_AFTER.to_owned()));
        answer
    }
}

/// Whether an answer can have this header. Errors: Argument (a name or value that no header can have, or a header that the
/// library sets).
pub fn check_answer_header(name: &str, value: &str) -> Result<()> {
    let shown: String = name.chars().take(80).collect();
    let bad = |what: &str| Error::new(ErrorKind::Argument, format!("the header {shown:?} {what}"));
    if !text::is_header_name(name) {
        return Err(bad("cannot be called so"));
    }
    if !text::is_header_value(value) {
        return Err(bad("cannot have this value: line ends and other control characters are forbidden, as are more than 8192 bytes"));
    }
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(bad("is the library's to set"));
    }
    Ok(())
}

/// Whether an answer can have this status. Errors: Argument.
pub fn check_status(status: u32) -> Result<u16> {
    match u16::try_from(status) {
        Ok(status @ 200..=599) => Ok(status),
        _ => Err(Error::new(ErrorKind::Argument, format!("the status is {status}, allowed is 200 to 599"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_can_have() {
        assert!(check_answer_header("Content-Type", "text/plain").is_ok());
        for (name, value) in
            [("Content-Length", "1"), ("TRANSFER-ENCODING", "chunked"), ("a b", ""), ("a", "x\r\ny: z")]
        {
            assert_eq!(check_answer_header(name, value).unwrap_err().kind(), ErrorKind::Argument, "{name}");
        }
        for (status, right) in
            [(199, false), (200, true), (599, true), (600, false), (101, false), (70_000, false)]
        {
            assert_eq!(check_status(status).is_ok(), right, "{status}");
        }
    }

    #[test]
    fn what_a_request_is_asked() {
        let request = Request {
            method: "GET".into(),
            path: "/a".into(),
            query: "a=1&b&a=2".into(),
            headers: vec![("x".into(), b"1".to_vec()), ("y".into(), vec![]), ("x".into(), b"2".to_vec())],
            params: vec![("n".into(), "v".into())],
            body: vec![],
            address: "127.0.0.1:1".parse().unwrap(),
            secure: false,
        };
        assert_eq!(request.header("X").as_deref(), Some(&b"1, 2"[..]));
        assert_eq!((request.header("y").as_deref(), request.header("z")), (Some(&b""[..]), None));
        assert_eq!((request.param("n"), request.param("m")), (Some("v"), None));
        assert_eq!(request.query_parameter("a").as_deref(), Some("1"));
        assert_eq!((request.query_parameter("b").as_deref(), request.query_parameter("c")), (Some(""), None));
    }
}
