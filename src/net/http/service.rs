//! One request: routed, read, handed to the host, answered.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode, Version};
use tokio::sync::watch;

use crate::http::config::{Kind, Route};
use crate::http::message::{Answer, Request};
use crate::http::route::{find, Found, Method};
use crate::http::text::{accepts_gzip, content_type, is_compressible};
use crate::net::http::body::{self, Outgoing, Unpacker, Unread, COMPRESSED_BYTES};
use crate::net::http::connection::{Shared, Trouble};
use crate::net::http::crowd::Seat;
use crate::net::http::exchange::{Held, Refused, Ticket};
use crate::net::http::{files, websocket};

/// Longest path and query of a request, in bytes; a longer one is answered with 414.
const MAX_TARGET_BYTES: usize = 8 << 10;

/// Who is at the other end of a connection.
pub struct Client {
    pub address: SocketAddr,
    /// The door that it came in by.
    pub door: usize,
    pub secure: bool,
    /// Its place: until the last of its tasks has ended.
    pub seat: Arc<Seat>,
}

type Incomer = hyper::Request<Incoming>;
type Params = Vec<(String, Vec<String>)>;

/// What a request comes to.
enum Reply {
    /// Bytes.
    Answer(Answer),
    /// A file.
    File(files::Found),
    /// A WebSocket: its key's answer, and the request that opens it.
    Socket(Answer, String, Ticket),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Reply {
        Reply::Answer(answer)
    }
}

fn refuse(status: u16, line: &str) -> Answer {
    Answer::of_status(status, line)
}

/// Answers one request.
pub async fn serve(
    mut incoming: Incomer,
    client: Arc<Client>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) -> Response<Outgoing> {
    // Where the end of a body is told by chunks, a second header may tell another end to whoever stands before us. RFC 9112,
    // 6.1: the connection ends with the answer, and nothing that follows is read as a request.
    let chunked = incoming.headers().contains_key(header::TRANSFER_ENCODING);
    let may_pack = incoming
        .headers()
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .any(|value| value.to_str().is_ok_and(accepts_gzip));
    let (reply, left) = route(&mut incoming, &client, &shared).await;
    // What was not read would be taken for the next request, or would have to be read and thrown away.
    let closes = chunked || left || *stop.borrow();
    let mut response = match reply {
        Reply::Answer(answer) => answered(plain(answer, may_pack), &client, &shared),
        Reply::File(found) => answered(file(found), &client, &shared),
        Reply::Socket(answer, key, ticket) => {
            let response = upgraded(answer, &key);
            let upgrade = hyper::upgrade::on(&mut incoming);
            tokio::spawn(websocket::run(upgrade, ticket, client, shared, stop));
            return response;
        }
    };
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What a request comes to, and whether its body was left unread.
async fn route(incoming: &mut Incomer, client: &Client, shared: &Arc<Shared>) -> (Reply, bool) {
    let empty = incoming.body().is_end_stream();
    if let Err(answer) = check_head(incoming) {
        return (answer.into(), true);
    }
    let path = incoming.uri().path();
    // Those of this door, with their places among all.
    let here = || shared.config.routes.iter().enumerate().filter(|(_, route)| route.is_at(client.door));
    let method = Method::of(incoming.method().as_str());
    let (at, params) = match find(here().map(|(_, route)| (route.method, &route.pattern)), method, path) {
        Found::Route(at, params) => (at, params),
        Found::OtherMethods(methods) => {
            let mut answer = refuse(405, "no route for this method");
            let names: Vec<&str> = methods.into_iter().map(Method::name).collect();
            answer.headers.push(("allow".into(), names.join(", ")));
            return (answer.into(), !empty);
        }
        Found::Nothing => return (refuse(404, "no route for this path").into(), !empty),
    };
    let Some((index, route)) = here().nth(at) else { return (refuse(404, "no route").into(), !empty) };
    match &route.kind {
        Kind::Files(root) => {
            let components = params.last().map_or(&[][..], |(_, components)| components.as_slice());
            let found = files::open(root, components);
            (found.map_or_else(|| refuse(404, "no such file").into(), Reply::File), !empty)
        }
        Kind::Host => host(incoming, index, route, params, client, shared).await,
        Kind::WebSocket => (socket(incoming, index, params, client, shared).await, !empty),
    }
}

/// What no route may see.
fn check_head(incoming: &Incomer) -> Result<(), Answer> {
    let target = incoming.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET_BYTES {
        return Err(refuse(414, "the path is too long"));
    }
    let hosts = incoming.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && incoming.version() == Version::HTTP_11) {
        return Err(refuse(400, "a request has one Host header"));
    }
    let mut codings = incoming.headers().get_all(header::TRANSFER_ENCODING).iter();
    let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !codings.next().is_none_or(plain) || codings.next().is_some() {
        return Err(refuse(501, "the only transfer coding is chunked"));
    }
    Ok(())
}

/// The request as the host will see it, still without its body.
fn seen(incoming: &Incomer, params: Params, client: &Client) -> Request {
    let headers = incoming.headers().iter();
    Request {
        method: incoming.method().as_str().to_owned(),
        path: incoming.uri().path().to_owned(),
        query: incoming.uri().query().unwrap_or("").to_owned(),
        headers: headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect(),
        params: params.into_iter().map(|(name, components)| (name, components.join("/"))).collect(),
        body: Vec::new(),
        address: client.address,
        secure: client.secure,
    }
}

async fn host(
    incoming: &mut Incomer,
    index: usize,
    route: &Route,
    params: Params,
    client: &Client,
    shared: &Arc<Shared>,
) -> (Reply, bool) {
    let mut request = seen(incoming, params, client);
    let encoding = request.header("content-encoding").unwrap_or_default();
    let encoding = String::from_utf8_lossy(&encoding).into_owned();
    let Some(unpacker) = Unpacker::new(&encoding, route.max_body) else {
        return (refuse(415, "the body can be gzip, deflate or as it is").into(), true);
    };
    // What says that it is too long need not be sent.
    if incoming.body().size_hint().lower() > route.max_body as u64 {
        return (unread(Unread::TooLong).into(), true);
    }
    let mut held = shared.exchange.hold();
    match body::read(incoming.body_mut(), unpacker, &shared.exchange, &mut held).await {
        Ok(bytes) => request.body = bytes,
        Err(why) => return (unread(why).into(), true),
    }
    let reply = match ask(request, index, held, shared).await {
        Ok((answer, _)) => answer,
        Err(answer) => answer,
    };
    (reply.into(), false)
}

fn unread(why: Unread) -> Answer {
    match why {
        Unread::TooLong => refuse(413, "the body is too long"),
        Unread::NoRoom => Answer::busy(),
        Unread::Slow => refuse(408, "the body comes too slowly"),
        Unread::Malformed => refuse(400, "the body is not what its headers say"),
    }
}

/// Hands a request to the host and waits for its answer.
async fn ask(
    request: Request,
    index: usize,
    held: Held,
    shared: &Arc<Shared>,
) -> Result<(Answer, Ticket), Answer> {
    let mut ticket = match shared.exchange.submit(request, index, held) {
        Ok(ticket) => ticket,
        Err(Refused::Full) => return Err(Answer::busy()),
        Err(Refused::Closed) => return Err(refuse(503, "the server is stopping")),
    };
    match tokio::time::timeout(shared.config.limits.request_timeout, ticket.answer()).await {
        Ok(answer) => Ok((answer, ticket)),
        Err(_late) => Err(refuse(504, "no answer in time")),
    }
}

/// Whether one of a header's comma-separated values is `word`, in any case.
fn has_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let mut values =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    values.any(|value| value.trim().eq_ignore_ascii_case(word))
}

async fn socket(
    incoming: &Incomer,
    index: usize,
    params: Params,
    client: &Client,
    shared: &Arc<Shared>,
) -> Reply {
    let headers = incoming.headers();
    let asked =
        has_word(headers, header::UPGRADE, "websocket") && has_word(headers, header::CONNECTION, "upgrade");
    if !asked || incoming.method() != hyper::Method::GET || incoming.version() != Version::HTTP_11 {
        let mut answer = refuse(426, "here WebSockets are opened");
        answer.headers.push(("upgrade".into(), "websocket".into()));
        return answer.into();
    }
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    // What is behind the head would be taken for frames.
    if !incoming.body().is_end_stream() {
        return refuse(400, "a request that opens a WebSocket has no body").into();
    }
    if only(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        let mut answer = refuse(426, "the version of WebSocket is 13");
        answer.headers.push(("sec-websocket-version".into(), "13".into()));
        return answer.into();
    }
    let Some(key) = only(header::SEC_WEBSOCKET_KEY).filter(|key| websocket::is_key(key)) else {
        return refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64").into();
    };
    let key = websocket::accept_of(key);
    let request = seen(incoming, params, client);
    match ask(request, index, shared.exchange.hold(), shared).await {
        Ok((answer, ticket)) if answer.status == 101 => Reply::Socket(answer, key, ticket),
        Ok((answer, _)) | Err(answer) => answer.into(),
    }
}

/// The answer, if there is room for what of it will be in memory until its client has read it.
fn answered(response: Response<Outgoing>, client: &Client, shared: &Shared) -> Response<Outgoing> {
    let bytes = response.body().in_memory();
    if bytes == 0 {
        return response;
    }
    let Some((share, cut)) = client.seat.hold(bytes) else {
        let line = format!("answers have no room: 503 for {} in the place of {bytes} bytes", client.address);
        shared.complain(Trouble::NoRoom, line);
        return plain(Answer::busy(), false);
    };
    if cut > 0 {
        let line = format!("answers have no room: {cut} HTTP clients that read too slowly were cut off");
        shared.complain(Trouble::Slow, line);
    }
    response.map(|body| body.counted(share))
}

fn upgraded(answer: Answer, key: &str) -> Response<Outgoing> {
    let mut response = plain(answer, false);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    response
}

/// An answer as hyper takes it, compressed where that is wanted and worth it.
fn plain(answer: Answer, may_pack: bool) -> Response<Outgoing> {
    let Answer { status, headers, mut body } = answer;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut map = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        // They were checked when they were set.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            map.append(name, value);
        }
    }
    let kind = map.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let packable = is_compressible(kind) && !map.contains_key(header::CONTENT_ENCODING);
    if packable && COMPRESSED_BYTES.contains(&body.len()) {
        map.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(packed) = Some(&body).filter(|_| may_pack).and_then(|body| body::gzip(body)) {
            body = packed;
            map.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    // Answers of these have none.
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        body.clear();
    }
    let mut response = Response::new(Outgoing::whole(body));
    *response.status_mut() = status;
    *response.headers_mut() = map;
    response
}

fn file(found: files::Found) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::file(found.file, found.length));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&found.name)));
    // What is no script is not to be taken for one.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
