//! Which request gets what, and which gets nothing.
//!
//! Who may look: where a token is set, whoever has it (`Authorization: Bearer TOKEN`); where none is, which only a door on
//! the loopback allows, whoever reaches that door under a name of the loopback. The name is looked at because a page from
//! elsewhere can have its own name point here. The page itself is the same for all, has no figures in it, and asks for the
//! token.
//!
//! Who may act: the same, and only by a request that no page from elsewhere can make a browser send: with a header that
//! forms cannot have, and from a page of the host that was asked. Of a page's origin the scheme says nothing here: before a
//! proxy that speaks TLS it is `https`, where the request comes by `http`, and what a proxy says of itself anybody can say.

use std::fmt::Write;
use std::net::IpAddr;

use ring::digest;

use crate::error::{Error, ErrorKind, Result};
use crate::server::dashboard::PAGE;
use crate::server::password::Password;

/// Shortest token in bytes: who can ask as often as they like should not find it.
pub const MIN_TOKEN_BYTES: usize = 16;

/// The header that actions must have.
pub const ACTION_HEADER: &str = "x-gamekeeper-action";

/// A request, as far as it counts here.
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// The value of a header by its name in lower case.
    pub header: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The page.
    Page,
    /// `/stats.json`
    Stats,
    /// `/peers.json`
    Peers,
    /// `/metrics`
    Metrics,
    /// Ends a peer's connection.
    Disconnect(u64),
    /// Ends a peer's connection and blocks its address.
    Block(u64),
    /// Refused, with a status and why.
    Refuse(u16, &'static str),
}

/// A token. Errors: Argument (shorter than [`MIN_TOKEN_BYTES`], longer than a password may be, or with characters that no
/// header can have).
pub fn token(text: &str) -> Result<Password> {
    if text.len() < MIN_TOKEN_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text =
            format!("a token has at least {MIN_TOKEN_BYTES} characters, all printable ASCII without blanks");
        return Err(Error::new(ErrorKind::Argument, text));
    }
    Password::new(text.as_bytes())
}

/// Decides about a request.
pub fn decide(asked: &Asked<'_>, token: Option<&Password>) -> Decision {
    let read = match asked.path {
        "/" | "/index.html" => Some(Decision::Page),
        "/stats.json" => Some(Decision::Stats),
        "/peers.json" => Some(Decision::Peers),
        "/metrics" => Some(Decision::Metrics),
        _ => None,
    };
    let action = action(asked.path);
    let Some(found) = read.clone().or_else(|| action.clone()) else {
        return Decision::Refuse(404, "nothing here is called so");
    };
    let right = match asked.method {
        "GET" | "HEAD" => read.is_some(),
        "POST" => action.is_some(),
        _ => false,
    };
    if !right {
        return Decision::Refuse(405, "not by this method");
    }
    // The page is the same for everybody, and is where the token is asked for.
    if found == Decision::Page && token.is_some() {
        return found;
    }
    if let Some(refused) = may_look(asked, token) {
        return refused;
    }
    if action.is_some() {
        if let Some(refused) = may_act(asked) {
            return refused;
        }
    }
    found
}

/// `/peers/ID/disconnect` and `/peers/ID/block`.
fn action(path: &str) -> Option<Decision> {
    let (id, verb) = path.strip_prefix("/peers/")?.split_once('/')?;
    let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let id = id.parse().ok().filter(|_| plain)?;
    match verb {
        "disconnect" => Some(Decision::Disconnect(id)),
        "block" => Some(Decision::Block(id)),
        _ => None,
    }
}

fn may_look(asked: &Asked<'_>, token: Option<&Password>) -> Option<Decision> {
    let Some(token) = token else {
        let host = (asked.header)("host").unwrap_or_default();
        let local = std::str::from_utf8(&host).is_ok_and(is_local_name);
        return (!local)
            .then_some(Decision::Refuse(403, "without a token only under a name of the loopback"));
    };
    let given = (asked.header)("authorization").unwrap_or_default();
    let guess = match given.split_at_checked(7) {
        Some((scheme, guess)) if scheme.eq_ignore_ascii_case(b"bearer ") => guess,
        _ => b"",
    };
    (!token.is(guess)).then_some(Decision::Refuse(401, "the token is missing or wrong"))
}

fn may_act(asked: &Asked<'_>) -> Option<Decision> {
    let header = |name: &str| (asked.header)(name).and_then(|value| String::from_utf8(value).ok());
    if header(ACTION_HEADER).is_none() {
        return Some(Decision::Refuse(403, "an action needs the header x-gamekeeper-action"));
    }
    // Programs that are no browsers send neither of the two.
    let host = header("host").unwrap_or_default();
    let foreign =
        (asked.header)("origin").is_some() && !header("origin").is_some_and(|origin| is_of(&origin, &host));
    let site = (asked.header)("sec-fetch-site");
    let elsewhere = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    (foreign || elsewhere).then_some(Decision::Refuse(403, "an action comes from this page or from no page"))
}

/// Whether a page's origin is of this host, port included; by either scheme.
fn is_of(origin: &str, host: &str) -> bool {
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    !host.is_empty() && page.is_some_and(|page| page.eq_ignore_ascii_case(host))
}

/// Whether a Host header names the loopback, by address or as `localhost`.
fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Headers of every answer: nothing is kept, nothing is guessed, nothing is shown inside of another page.
pub const HEADERS: [(&str, &str); 5] = [
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
];

/// The page's Content-Security-Policy: its own script and style by their digests, figures from where it came from, and
/// nothing else.
pub fn content_security_policy() -> String {
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest_of(between("<script>", "</script>")),
        digest_of(between("<style>", "</style>")),
    )
}

fn between(open: &str, close: &str) -> &'static str {
    let rest = PAGE.split_once(open).map_or("", |(_, rest)| rest);
    rest.split_once(close).map_or("", |(inner, _)| inner)
}

fn digest_of(text: &str) -> String {
    base64(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            match DIGITS.get((word >> (18 - 6 * at)) as usize & 63) {
                Some(digit) if at <= group.len() => {
                    let _written = out.write_char(char::from(*digit));
                }
                _ => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn ask(method: &str, path: &str, headers: &[(&str, &str)], with_token: bool) -> Decision {
        let header =
            |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes().to_vec());
        let token = with_token.then(|| token(TOKEN).expect("long enough"));
        decide(&Asked { method, path, header: &header }, token.as_ref())
    }

    fn status(decision: &Decision) -> u16 {
        match decision {
            Decision::Refuse(status, _) => *status,
            _ => 200,
        }
    }

    #[test]
    fn without_a_token_only_names_of_the_loopback_are_answered() {
        for (host, expected) in [
            ("localhost:8080", 200),
            ("LOCALHOST", 200),
            ("127.0.0.1:8080", 200),
            ("127.8.9.1", 200),
            ("[::1]:8080", 200),
            ("[::ffff:127.0.0.1]:1", 200),
            ("evil.example:8080", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example:80", 403),
            ("192.0.2.1:8080", 403),
            ("", 403),
            ("[", 403),
        ] {
            for path in ["/", "/stats.json", "/peers.json", "/metrics"] {
                assert_eq!(status(&ask("GET", path, &[("host", host)], false)), expected, "{host} {path}");
            }
        }
        assert_eq!(status(&ask("GET", "/metrics", &[], false)), 403);
    }

    #[test]
    fn with_a_token_figures_need_it_and_the_page_does_not() {
        let host = ("host", "game.example");
        assert_eq!(ask("GET", "/", &[host], true), Decision::Page);
        for (given, expected) in [
            ("Bearer 0123456789abcdef", 200),
            ("bearer 0123456789abcdef", 200),
            ("Bearer 0123456789abcdeF", 401),
            ("Bearer 0123456789abcdef ", 401),
            ("Bearer ", 401),
            ("Basic 0123456789abcdef", 401),
            ("0123456789abcdef", 401),
            ("", 401),
        ] {
            for path in ["/stats.json", "/peers.json", "/metrics"] {
                let decision = ask("GET", path, &[host, ("authorization", given)], true);
                assert_eq!(status(&decision), expected, "{given} {path}");
            }
        }
        assert_eq!(status(&ask("GET", "/stats.json", &[("host", "localhost")], true)), 401);
        assert_eq!(
            status(&ask("POST", "/peers/1/block", &[("host", "localhost"), (ACTION_HEADER, "1")], true)),
            401
        );
    }

    #[test]
    fn actions_come_from_the_page_itself_or_from_no_page() {
        let host = ("host", "localhost:8080");
        let with = |more: &[(&str, &str)]| {
            let headers: Vec<_> = [host].iter().chain(more).copied().collect();
            status(&ask("POST", "/peers/77/disconnect", &headers, false))
        };
        let action = (ACTION_HEADER, "1");
        assert_eq!(with(&[]), 403);
        assert_eq!(with(&[action]), 200);
        assert_eq!(with(&[action, ("origin", "http://localhost:8080")]), 200);
        assert_eq!(with(&[action, ("origin", "http://localhost:8081")]), 403);
        // A proxy before it speaks TLS.
        assert_eq!(with(&[action, ("origin", "https://localhost:8080")]), 200);
        assert_eq!(
            with(&[action, ("origin", "https://localhost:8080"), ("sec-fetch-site", "cross-site")]),
            403
        );
        assert_eq!(with(&[action, ("origin", "https://localhost:8081")]), 403);
        assert_eq!(with(&[action, ("origin", "https://localhost:8080.evil.example")]), 403);
        assert_eq!(with(&[action, ("origin", "ftp://localhost:8080")]), 403);
        assert_eq!(with(&[action, ("origin", "localhost:8080")]), 403);
        assert_eq!(with(&[action, ("origin", "")]), 403);
        // What a proxy is said to have been asked for is nothing to go by.
        assert_eq!(
            with(&[action, ("origin", "https://evil.example"), ("x-forwarded-host", "evil.example")]),
            403
        );
        assert_eq!(with(&[action, ("origin", "null")]), 403);
        assert_eq!(with(&[action, ("origin", "http://evil.example")]), 403);
        assert_eq!(with(&[action, ("sec-fetch-site", "same-origin")]), 200);
        assert_eq!(with(&[action, ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(with(&[action, ("sec-fetch-site", "same-site")]), 403);
        let headers = [("host", "evil.example"), action, ("origin", "http://evil.example")];
        assert_eq!(status(&ask("POST", "/peers/77/disconnect", &headers, false)), 403);
    }

    #[test]
    fn behind_a_proxy_with_tls_the_page_may_act_and_others_may_not() {
        let bearer = format!("Bearer {TOKEN}");
        let with = |host: &str, origin: &str| {
            let headers = [
                ("host", host),
                ("authorization", bearer.as_str()),
                (ACTION_HEADER, "1"),
                ("origin", origin),
            ];
            status(&ask("POST", "/peers/77/block", &headers, true))
        };
        assert_eq!(with("dash.example", "https://dash.example"), 200);
        assert_eq!(with("dash.example:8443", "https://dash.example:8443"), 200);
        assert_eq!(with("dash.example", "https://evil.example"), 403);
        assert_eq!(with("dash.example", "https://dash.example:8443"), 403);
        assert_eq!(with("", "https://"), 403);
    }

    #[test]
    fn paths_and_methods_are_what_they_are() {
        let headers = [("host", "localhost"), (ACTION_HEADER, "1")];
        for (method, path, expected) in [
            ("GET", "/", Decision::Page),
            ("HEAD", "/index.html", Decision::Page),
            ("GET", "/stats.json", Decision::Stats),
            ("GET", "/peers.json", Decision::Peers),
            ("GET", "/metrics", Decision::Metrics),
            ("POST", "/peers/18446744073709551615/block", Decision::Block(u64::MAX)),
            ("POST", "/peers/0/disconnect", Decision::Disconnect(0)),
        ] {
            assert_eq!(ask(method, path, &headers, false), expected, "{method} {path}");
        }
        for (method, path, expected) in [
            ("GET", "/peers/1/block", 405),
            ("POST", "/stats.json", 405),
            ("POST", "/", 405),
            ("DELETE", "/peers/1/block", 405),
            ("POST", "/peers/18446744073709551616/block", 404),
            ("POST", "/peers/+1/block", 404),
            ("POST", "/peers//block", 404),
            ("POST", "/peers/1/ban", 404),
            ("GET", "/../etc/passwd", 404),
            ("GET", "", 404),
        ] {
            assert_eq!(status(&ask(method, path, &headers, false)), expected, "{method} {path}");
        }
    }

    #[test]
    fn tokens_are_long_and_fit_into_a_header() {
        assert!(token(TOKEN).is_ok());
        for bad in ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdefü"] {
            assert_eq!(token(bad).map(|_| ()).unwrap_err().kind(), ErrorKind::Argument, "{bad:?}");
        }
        assert!(token(&"a".repeat(257)).is_err());
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn the_policy_names_script_and_style_by_their_digests() {
        let policy = content_security_policy();
        assert!(!policy.contains("unsafe") && policy.starts_with("default-src 'none'"));
        assert_eq!(policy.matches("'sha256-").count(), 2);
        assert!(between("<script>", "</script>").contains("stats.json"));
        assert!(between("<style>", "</style>").contains("prefers-color-scheme"));
    }
}
