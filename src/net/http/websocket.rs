//! WebSockets: the handshake's key, and frames once one is open.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{Engine, BASE64_STANDARD};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::{watch, Notify};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::WebSocketStream;

use crate::net::http::connection::{stopped, Shared};
use crate::net::http::exchange::Ticket;
use crate::net::http::guard::WRITE_STALL;
use crate::net::http::pieces::Pieces;
use crate::net::http::service::Client;
use crate::net::pipe::channel::{self, Full, Remote};
use crate::net::pipe::Arrival;
use crate::protocol::connection::{Farewell, FarewellKind};
use crate::protocol::framing::{Content, Framing};

/// What RFC 6455 has a server append to the key.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a key is 16 bytes in base64.
pub fn is_key(key: &str) -> bool {
    let Some(body) = key.strip_suffix("==") else { return false };
    body.len() == 22 && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
}

/// What a server shows that it has understood the key by.
pub fn accept_of(key: &str) -> String {
    let digest = ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}{KEY_SUFFIX}").as_bytes(),
    );
    BASE64_STANDARD.encode(digest)
}

/// How often a WebSocket is pinged.
const PING_PAUSE: Duration = Duration::from_secs(20);
/// A WebSocket from which no whole frame came for this long, not even a pong, is closed.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the other side has for its close frame.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Messages that wait in each direction between the two threads.
const CHANNEL_MESSAGES: usize = 64;
/// Bytes that are read at once; each WebSocket has so many.
const READ_BYTES: usize = 4 << 10;
/// Longest frame that is sent, in bytes; a longer message leaves in fragments, so that no WebSocket keeps the memory of the
/// longest message that it was ever sent.
const MAX_SENT_FRAME: usize = 64 << 10;
/// Room for what a WebSocket answers by itself, pongs above all, beside one frame.
const SPARE_BYTES: usize = 64 << 10;
/// So much of a message must come in [`SILENCE`], in bytes: who sends a long one over a slow line is not silent.
const MIN_PROGRESS_BYTES: u64 = 1024;
/// Longest reason in a close frame, in bytes, as RFC 6455 has it.
const MAX_REASON_BYTES: usize = 123;
/// The parameter of the query that brings the password of a server that wants one.
const PASSWORD_PARAMETER: &str = "password";

type Socket = WebSocketStream<Pieces<TokioIo<Upgraded>>>;

/// Wakes the two halves of a WebSocket's task.
#[derive(Default)]
struct Changes {
    inbox: Notify,
    outbox: Notify,
}

/// One WebSocket, from the answer to its opening until its end.
pub async fn run(
    upgrade: OnUpgrade,
    ticket: Ticket,
    client: Arc<Client>,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    // Who left meanwhile is nobody.
    let Ok(upgraded) = upgrade.await else { return };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_SENT_FRAME + SPARE_BYTES)
        .max_message_size(Some(shared.max_message))
        .max_frame_size(Some(shared.max_message));
    let stream = Pieces::new(TokioIo::new(upgraded), READ_BYTES, shared.max_message);
    let came = stream.came();
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let changes = Arc::new(Changes::default());
    let opened = channel::open_seated(
        &shared.entrance,
        arrival(&ticket, &client, &shared),
        CHANNEL_MESSAGES,
        {
            let changes = Arc::clone(&changes);
            move || {
                changes.inbox.notify_one();
                changes.outbox.notify_one();
            }
        },
        {
            let (exchange, id) = (Arc::clone(&shared.exchange), ticket.id());
            move |peer| exchange.seat(id, peer)
        },
    );
    let close = match opened {
        Ok(remote) => serve(&mut socket, &came, &remote, &changes, &mut stop).await,
        Err(_full) => Some(frame(CloseCode::Again, "the server is busy")),
    };
    finish(&mut socket, close).await;
}

fn arrival(ticket: &Ticket, client: &Client, shared: &Shared) -> Arrival {
    let request = shared.exchange.request(ticket.id()).ok();
    let password = request.as_ref().and_then(|request| request.query_parameter(PASSWORD_PARAMETER));
    Arrival {
        door: crate::protocol::connection::Door::Websocket,
        address: client.address,
        framing: Framing::Whole,
        asks_password: false,
        password: password.map(String::into_bytes),
        data: Vec::new(),
        opens_later: false,
        stall_timeout: WRITE_STALL,
        read_bytes: READ_BYTES,
    }
}

/// Moves messages both ways until one side ends it. What to close it with; `None`: the other side has closed, or is gone.
async fn serve(
    socket: &mut Socket,
    came: &AtomicU64,
    remote: &Remote,
    changes: &Changes,
    stop: &mut watch::Receiver<bool>,
) -> Option<CloseFrame> {
    let (mut sink, mut source) = socket.split();
    tokio::select! {
        close = receive(&mut source, came, remote, &changes.inbox) => close,
        close = send(&mut sink, remote, &changes.outbox) => close,
        () = stopped(stop) => Some(frame(CloseCode::Away, "the server is stopping")),
    }
}

/// The half that reads. It stops reading while the server has no room.
async fn receive(
    source: &mut SplitStream<&mut Socket>,
    came: &AtomicU64,
    remote: &Remote,
    changed: &Notify,
) -> Option<CloseFrame> {
    loop {
        let before = came.load(Ordering::Relaxed);
        let message = match tokio::time::timeout(SILENCE, source.next()).await {
            Err(_) if came.load(Ordering::Relaxed) >= before.saturating_add(MIN_PROGRESS_BYTES) => continue,
            Err(_silent) => {
                remote.leave(farewell(FarewellKind::Timeout, 0, "nothing came for a minute"));
                return Some(frame(CloseCode::Policy, "nothing came for a minute"));
            }
            Ok(None) => return None,
            Ok(Some(Err(error))) => return broken(&error, remote),
            Ok(Some(Ok(message))) => message,
        };
        let (mut data, content) = match message {
            Message::Text(text) => (Vec::from(text.as_bytes()), Content::of("text/plain")),
            Message::Binary(data) => (data.to_vec(), Content::default()),
            Message::Close(close) => {
                let (code, text) =
                    close.map_or((0, String::new()), |c| (u16::from(c.code).into(), c.reason.to_string()));
                remote.leave(farewell(FarewellKind::Left, code, &text));
                return None;
            }
            // Pings are answered below us.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        while let Err(Full(back)) = remote.push(data, Some(content.clone())) {
            data = back;
            changed.notified().await;
            // Nobody makes room any more.
            if remote.ended().is_some() {
                return std::future::pending().await;
            }
        }
    }
}

/// The half that writes.
async fn send(
    sink: &mut SplitSink<&mut Socket, Message>,
    remote: &Remote,
    changed: &Notify,
) -> Option<CloseFrame> {
    // Also who is told something all the time has to show that it is there.
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING_PAUSE, PING_PAUSE);
    loop {
        // Asked before what waits is taken: nothing comes behind the end.
        let ended = remote.ended();
        while let Some((payload, content)) = remote.pop() {
            let is_text = content.is_some_and(|content| content.kind.starts_with("text/"));
            // It fails when the other side is gone, or takes too little for too long.
            write(sink, &payload, is_text).await.ok()?;
        }
        if let Some(farewell) = ended {
            return Some(close_of(&farewell));
        }
        tokio::select! {
            () = changed.notified() => {}
            _now = pings.tick() => sink.send(Message::Ping(bytes::Bytes::new())).await.ok()?,
        }
    }
}

/// Sends one message, in fragments where it is long.
async fn write(
    sink: &mut SplitSink<&mut Socket, Message>,
    payload: &[u8],
    is_text: bool,
) -> Result<(), tungstenite::Error> {
    // What is no UTF-8 cannot be text.
    let is_text = is_text && std::str::from_utf8(payload).is_ok();
    let mut kind = if is_text { Data::Text } else { Data::Binary };
    let mut rest = payload;
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(MAX_SENT_FRAME));
        let frame = Frame::message(piece.to_vec(), OpCode::Data(kind), behind.is_empty());
        sink.send(Message::Frame(frame)).await?;
        if behind.is_empty() {
            return Ok(());
        }
        (rest, kind) = (behind, Data::Continue);
    }
}

/// What the other side broke, for the host and for itself.
fn broken(error: &tungstenite::Error, remote: &Remote) -> Option<CloseFrame> {
    let (code, text) = match error {
        tungstenite::Error::Capacity(_) => (CloseCode::Size, "the message is too long"),
        tungstenite::Error::Utf8(_) => (CloseCode::Invalid, "text that is not UTF-8"),
        // It is gone without a word.
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
        tungstenite::Error::Protocol(_) => (CloseCode::Protocol, "a frame that RFC 6455 forbids"),
        _ => return None,
    };
    remote.leave(farewell(FarewellKind::Protocol, u16::from(code).into(), text));
    Some(frame(code, text))
}

fn farewell(kind: FarewellKind, code: u32, text: &str) -> Farewell {
    Farewell { kind, code, text: text.to_owned() }
}

fn frame(code: CloseCode, reason: &str) -> CloseFrame {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    CloseFrame { code, reason: reason.get(..end).unwrap_or_default().into() }
}

/// How a WebSocket says what the server said. Codes of programs' own are 3000 to 4999.
fn close_of(farewell: &Farewell) -> CloseFrame {
    let code = match (farewell.code, farewell.kind) {
        (code @ (1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999), _) => {
            CloseCode::from(u16::try_from(code).unwrap_or(1008))
        }
        (_, FarewellKind::Left) => CloseCode::Normal,
        (_, FarewellKind::Shutdown) => CloseCode::Away,
        (_, FarewellKind::Protocol) => CloseCode::Protocol,
        _ => CloseCode::Policy,
    };
    frame(code, &farewell.text)
}

/// Says goodbye, and waits a little for the other side's.
async fn finish(socket: &mut Socket, close: Option<CloseFrame>) {
    let closing = async {
        if close.is_some() {
            // It may be gone.
            let _gone = socket.send(Message::Close(close)).await;
        }
        // Its goodbye is answered by reading on to the end.
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _late = tokio::time::timeout(CLOSE_TIME, closing).await;
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
    }
}
