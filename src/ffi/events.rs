//! What events carry, and the queue of events for hosts that pull them.

use std::any::Any;
use std::ffi::{c_char, c_void, CString};

use parking_lot::Mutex;

use crate::ffi::arguments::c_text;
use crate::ffi::content::{gk_content, OwnedContent};
use crate::ffi::files::{self, gk_file};
use crate::ffi::result::{gk_result, Failure, GK_ERR_BUSY};
use crate::ffi::server::{gk_server, with_server};
use crate::ffi::versioned;
use crate::server::events::{DisconnectReason, Event, FileEvent, Message, PeerId, Wire};
use crate::server::files::path_text;

/// A remote client of a server: a number that is never reused while the process lives, in any of its
/// servers. A stale one, another server's or an invented one is answered with `GK_ERR_STALE`, and never
/// means another player.
///
/// All its functions can be called from any thread and from inside callbacks. A peer answers questions
/// until its disconnect callback returns; for a host that pulls events, until the next batch is taken.
///
/// - `gk_peer_address`: where its datagrams come from
/// - `gk_peer_token`: the public number of its session
/// - `gk_peer_wire`, `gk_peer_door`: which wire it speaks; how it came in
/// - `gk_peer_latency_us`: the smoothed one-way time
/// - `gk_peer_status`: where the connection stands
/// - `gk_peer_queued_bytes`: what is queued for it
/// - `gk_peer_user_data`, `gk_peer_set_user_data`: a pointer of the host's own
/// - `gk_peer_stats`: lifetime counts
/// - `gk_peer_set_series`, `gk_peer_series`: the last 300 seconds, for peers on which the host asks for it
/// - `gk_server_send`, `gk_server_send_guaranteed`, `gk_server_disconnect`, `gk_server_simulate_peer`: what can
///   be done to it
/// - `gk_server_group_add`, `gk_server_group_remove`: which groups it is in
/// - `gk_server_send_file`, `gk_server_accept_file`, `gk_server_refuse_file`, `gk_server_cancel_file`: files, to it and from it
/// - `gk_peer_accept`, `gk_peer_refuse`: the decision about a client that wants to come in
/// - `gk_peer_set_redundancy`: copies ahead of a loss, of all messages for it
pub type gk_peer = u64;

/// No peer.
pub const GK_PEER_NONE: gk_peer = 0;

/// How a message is delivered: one of `GK_RETRY_…`. On receiving it can be `GK_MODE_UNKNOWN`.
pub type gk_retry_mode = i32;

/// Sent again until it is acknowledged, for as long as the connection lives: exactly once.
pub const GK_RETRY_ON_TIMEOUT: gk_retry_mode = -1;
/// Sent once: at most once.
pub const GK_RETRY_NONE: gk_retry_mode = 0;
/// Sent again until it is acknowledged or the message timeout has passed: at most once.
pub const GK_RETRY_BEST_EFFORT: gk_retry_mode = 1;
/// Sent once, in a channel where a newer message drops older ones, unsent ones included: at most once. Native wire.
pub const GK_RETRY_SEQUENCED: gk_retry_mode = 2;
/// As `GK_RETRY_ON_TIMEOUT`, and delivered in the order in which its channel's messages were sent. Native wire.
pub const GK_RETRY_ORDERED: gk_retry_mode = 3;
/// The wire does not say how a message was sent.
pub const GK_MODE_UNKNOWN: gk_retry_mode = 127;

/// What became of a message: one of `GK_SENT_…`.
pub type gk_outcome = i32;

/// The remote side acknowledged all of it: its end of the connection has it, and will not be sent it again. Its host may not have
/// seen it yet: an ordered message can still wait there for older ones of its channel, and is handed over in its turn unless the
/// connection ends first; events can wait to be pulled; a sequenced message is dropped if a newer one came before it. Where
/// the host's having dealt with it matters, let it answer.
pub const GK_SENT_DELIVERED: gk_outcome = 1;
/// The message timeout passed first. It may have arrived all the same.
pub const GK_SENT_EXPIRED: gk_outcome = 2;
/// The connection ended first. It may have arrived all the same.
pub const GK_SENT_CANCELLED: gk_outcome = 3;

/// How loud a line for the log is: one of `GK_LOG_…`; larger is chattier.
pub type gk_log_level = i32;

/// Something broke.
pub const GK_LOG_ERROR: gk_log_level = 1;
/// Something that the host should know of.
pub const GK_LOG_WARN: gk_log_level = 2;
/// What happens, in outline.
pub const GK_LOG_INFO: gk_log_level = 3;
/// What happens, in detail.
pub const GK_LOG_DEBUG: gk_log_level = 4;

/// Why a peer left, or a client's session ended: one of `GK_DISCONNECT_…`, or a number of the host's own from `GK_DISCONNECT_HOST` on.
pub type gk_disconnect_code = i32;

/// The remote side said goodbye.
pub const GK_DISCONNECT_REMOTE: gk_disconnect_code = 1;
/// The host called `gk_server_disconnect`.
pub const GK_DISCONNECT_KICKED: gk_disconnect_code = 2;
/// Nothing valid came from it for the connection timeout.
pub const GK_DISCONNECT_TIMEOUT: gk_disconnect_code = 3;
/// The server stopped.
pub const GK_DISCONNECT_SHUTDOWN: gk_disconnect_code = 4;
/// A new client proved itself from the same address.
pub const GK_DISCONNECT_REPLACED: gk_disconnect_code = 5;
/// Its address came onto the block list.
pub const GK_DISCONNECT_BLOCKED: gk_disconnect_code = 6;
/// It was not let in.
pub const GK_DISCONNECT_REFUSED: gk_disconnect_code = 7;
/// What it sent breaks the protocol's rules.
pub const GK_DISCONNECT_PROTOCOL: gk_disconnect_code = 8;
/// This end left, seen from a client.
pub const GK_DISCONNECT_LOCAL: gk_disconnect_code = 9;
/// The server does not know the connection any more: it was started again.
pub const GK_DISCONNECT_RESTARTED: gk_disconnect_code = 10;
/// Of a client: the system says that nobody listens at the address. Not all systems tell: then it is
/// `GK_DISCONNECT_TIMEOUT`.
pub const GK_DISCONNECT_NOBODY_LISTENS: gk_disconnect_code = 21;
/// Of a client: the system has no way to the address.
pub const GK_DISCONNECT_UNREACHABLE: gk_disconnect_code = 22;
/// Of a client: the host name has no address, or the resolver does not answer.
pub const GK_DISCONNECT_NAME: gk_disconnect_code = 23;
/// Of a client on mpgameserver's wire only: what answered does not have the pinned key. On the native wire a server with
/// another key cannot read the hello and answers nothing: that is `GK_DISCONNECT_TIMEOUT`, and its text says that nobody
/// answered who has the pinned key.
pub const GK_DISCONNECT_KEY: gk_disconnect_code = 24;
/// First of the codes that are the host's own; from here to INT32_MAX.
pub const GK_DISCONNECT_HOST: gk_disconnect_code = 1000;

/// How a peer came in: one of `GK_DOOR_…`. More will be appended.
pub type gk_door = i32;

/// Encrypted datagrams; `gk_peer_wire` tells of which wire.
pub const GK_DOOR_UDP: gk_door = 1;
/// A stream of bytes over TCP.
pub const GK_DOOR_STREAM: gk_door = 2;
/// A WebSocket.
pub const GK_DOOR_WEBSOCKET: gk_door = 3;

/// The channel of a WebSocket's binary messages.
pub const GK_WEBSOCKET_BINARY: u32 = 0;
/// The channel of a WebSocket's text messages, which are UTF-8.
pub const GK_WEBSOCKET_TEXT: u32 = 1;

/// What a peer speaks: one of `GK_WIRE_…`. More will be appended.
pub type gk_wire = i32;

/// The format of the Python package mpgameserver. Its clients bring nothing to their join, and are not told
/// why they are refused.
pub const GK_WIRE_MPGAMESERVER: gk_wire = 1;
/// The library's own.
pub const GK_WIRE_NATIVE: gk_wire = 2;
/// A stream of bytes: TCP, with a framing.
pub const GK_WIRE_STREAM: gk_wire = 3;

/// Why a client was refused: one of `GK_REFUSED_…`, or a number of the host's own, from `GK_REFUSED_HOST` on
/// by custom.
pub type gk_refusal = u32;

/// The server has as many peers as it may.
pub const GK_REFUSED_FULL: gk_refusal = 1;
/// As many clients as may be wait for a decision.
pub const GK_REFUSED_BUSY: gk_refusal = 2;
/// Nobody decided in time, or the client said nothing.
pub const GK_REFUSED_UNDECIDED: gk_refusal = 3;
/// A password is wanted, and none was given.
pub const GK_REFUSED_PASSWORD_WANTED: gk_refusal = 4;
/// The password is wrong.
pub const GK_REFUSED_PASSWORD_WRONG: gk_refusal = 5;
/// Too many passwords came from the same source.
pub const GK_REFUSED_TOO_MANY_GUESSES: gk_refusal = 6;
/// First of the numbers that are the host's own.
pub const GK_REFUSED_HOST: gk_refusal = 1000;

/// What kind of event a `gk_event` is: one of `GK_EVENT_…`. More will be appended: leave out those that
/// you do not know.
pub type gk_event_type = i32;

/// The server runs: the first event.
pub const GK_EVENT_STARTING: gk_event_type = 1;
/// A client proved itself. Set: `peer`, `text` (its address), `token`, `door`.
pub const GK_EVENT_CONNECT: gk_event_type = 2;
/// A peer left. Set: `peer`, `code` (a `gk_disconnect_code`), `text`.
pub const GK_EVENT_DISCONNECT: gk_event_type = 3;
/// A message arrived. Set: `peer`, `data`, `len`, `sequence`, `mode`, `channel`, `door`, `content`.
pub const GK_EVENT_MESSAGE: gk_event_type = 4;
/// One tick, or several that nobody pulled in time: then `seconds` is their sum and `tick` the last one's number. Set: `seconds`, `tick`.
pub const GK_EVENT_UPDATE: gk_event_type = 5;
/// A peer's queue that had refused a message has room again. Set: `peer`.
pub const GK_EVENT_WRITABLE: gk_event_type = 6;
/// The slow timer for housekeeping.
pub const GK_EVENT_RECONCILE: gk_event_type = 7;
/// What became of a message sent with `notify`. Set: `peer`, `code` (a `gk_outcome`), `user_data`.
pub const GK_EVENT_SENT: gk_event_type = 8;
/// The server has stopped: the last event.
pub const GK_EVENT_SHUTDOWN: gk_event_type = 9;
/// A line for the log. Set: `code` (a `gk_log_level`), `text`.
pub const GK_EVENT_LOG: gk_event_type = 10;
/// Of a client: an address of the server is being tried. Set: `text` (the address).
pub const GK_EVENT_CONNECTING: gk_event_type = 20;
/// A client waits for `gk_peer_accept` or `gk_peer_refuse`. Set: `peer`, `text` (its address), `token`, `door`,
/// `wire`, `password`, `data`, `len`.
pub const GK_EVENT_AUTHORISE: gk_event_type = 11;
/// A datagram that is of no wire. Set: `text` (its source), `data`, `len`.
pub const GK_EVENT_RAW: gk_event_type = 12;
/// A file is offered.
pub const GK_EVENT_FILE_OFFER: gk_event_type = 13;
/// More of a file is on the receiver's disk.
pub const GK_EVENT_FILE_PROGRESS: gk_event_type = 14;
/// The transfer of a file ended.
pub const GK_EVENT_FILE_END: gk_event_type = 15;

/// A request came to an HTTP route without a function. `gk_response_send` answers it. Set: `request`, `user_data` (the
/// route's).
pub const GK_EVENT_REQUEST: gk_event_type = 30;

/// A message from a peer, as the message callback gets it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_message {
    /// Bytes that the library filled.
    pub struct_size: u32,
    /// The sender's number of the message: 1 to 65535 on mpgameserver's wire, where it wraps; of a message
    /// that came in fragments that of the first one.
    pub sequence: u32,
    /// The bytes, borrowed until the callback returns. Never NULL, not even when `len` is 0.
    pub data: *const u8,
    /// How many.
    pub len: usize,
    /// How it was sent; `GK_MODE_UNKNOWN` on mpgameserver's wire.
    pub mode: gk_retry_mode,
    /// The channel it was sent on; 0 on mpgameserver's wire.
    pub channel: u32,
    /// How its sender came in.
    pub door: gk_door,
    /// 0.
    pub reserved: u32,
    /// What it is, where its sender told: in streams of `GK_FRAMING_JSON`, and on WebSockets. Else NULL. Borrowed until the
    /// callback returns.
    pub content: *const gk_content,
}

/// A new peer, as the connect callback gets it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_connect_info {
    /// Bytes that the library filled.
    pub struct_size: u32,
    /// The public number of its session, unique among the server's live peers.
    pub token: u32,
    /// Where its datagrams come from: `"192.0.2.1:50000"` or `"[2001:db8::1]:50000"`. Borrowed until the
    /// callback returns.
    pub address: *const c_char,
    /// How it came in.
    pub door: gk_door,
    /// 0.
    pub reserved: u32,
}

/// A client that proved itself and wants to come in, as the authorise callback gets it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_join_request {
    /// Bytes that the library filled.
    pub struct_size: u32,
    /// The public number of its session, unique among the server's live peers.
    pub token: u32,
    /// Where its datagrams come from. Borrowed until the callback returns; so are the others.
    pub address: *const c_char,
    /// What it brought, a ticket for instance: what the client says, so check it. Never NULL, not even when
    /// `len` is 0, which it always is on mpgameserver's wire.
    pub data: *const u8,
    /// How many bytes.
    pub len: usize,
    /// How it came in.
    pub door: gk_door,
    /// What it speaks.
    pub wire: gk_wire,
    /// 1: it gave the password. 0: none is set, or its wire has none to give.
    pub password: u32,
    /// 0.
    pub reserved: u32,
}

/// The end of a peer: as the disconnect callback gets it, and as `gk_server_disconnect` takes it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_disconnect_info {
    /// To the callback: bytes that the library filled. To `gk_server_disconnect`: sizeof this struct.
    pub struct_size: u32,
    /// Why. To `gk_server_disconnect`: `GK_DISCONNECT_KICKED` (the default) or a code of the host's own,
    /// `GK_DISCONNECT_HOST` or more; the others are the library's to give.
    pub code: gk_disconnect_code,
    /// One sentence for a person, UTF-8. To the callback: never NULL, borrowed until it returns. To
    /// `gk_server_disconnect`: copied; NULL (the default) is no text.
    pub text: *const c_char,
    /// To `gk_server_disconnect`: 1 ends the connection once what is queued is acknowledged, at the latest
    /// after the connection timeout; 0 (the default) at once, and cancels what is queued. To the callback: 0.
    pub after_delivery: u32,
    /// A number that goes with it, of whoever ended the connection; 0 (the default): none. Where the wire has
    /// room for it, the other side gets it. A `code` of the host's own stands here too if this is 0.
    pub app_code: u32,
}

versioned!(gk_disconnect_info, first: code, fields: [struct_size, code, text, after_delivery, app_code]);

/// One tick, as the update callback gets it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_update {
    /// Bytes that the library filled.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Seconds since the last update.
    pub seconds: f64,
    /// Number of this tick, from 1.
    pub tick: u64,
}

/// An event as `gk_server_next_events` and `gk_client_next_events` hand it out. Which fields are set is said at
/// each `GK_EVENT_…`, `peer` with servers only; the others are 0 or NULL. What the pointers point to lives until
/// the next call that succeeds with the same server or client, or until that is freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_event {
    /// Bytes that the library filled.
    pub struct_size: u32,
    /// What happened.
    pub r#type: gk_event_type,
    /// To whom, or `GK_PEER_NONE`.
    pub peer: gk_peer,
    /// Message, authorise, raw: the bytes; never NULL then, not even when `len` is 0.
    pub data: *const u8,
    /// The same: how many.
    pub len: usize,
    /// Message: the sender's number of it, as in `gk_message`.
    pub sequence: u32,
    /// Message: how it was sent, as in `gk_message`.
    pub mode: gk_retry_mode,
    /// Message: its channel, as in `gk_message`.
    pub channel: u32,
    /// Connect, authorise and message: how the peer came in.
    pub door: gk_door,
    /// Disconnect: a `gk_disconnect_code`. Sent: a `gk_outcome`. Log: a `gk_log_level`.
    pub code: i32,
    /// Connect and authorise: the public number of its session.
    pub token: u32,
    /// Connect, authorise and raw: the address. Disconnect and log: one sentence. Else NULL.
    pub text: *const c_char,
    /// Update: seconds since the last one.
    pub seconds: f64,
    /// Update: number of the tick, from 1.
    pub tick: u64,
    /// Sent: the `user_data` of the `gk_send_options`.
    pub user_data: *mut c_void,
    /// Authorise: what the client speaks.
    pub wire: gk_wire,
    /// Authorise: 1 if it gave the password.
    pub password: u32,
    /// Disconnect: the number that goes with it, as in `gk_disconnect_info`.
    pub app_code: u32,
    /// 0.
    pub reserved: u32,
    /// Request: which.
    pub request: u64,
    /// Files: which one. `text` is an offered file's name (`data` its SHA-256, `file_size` its length), and where it is, or why not,
    /// when it ended (`code` is a `gk_file_result`).
    pub file: gk_file,
    /// Files: bytes on the receiver's disk.
    pub file_done: u64,
    /// Files: bytes in all.
    pub file_size: u64,
    /// Message: what it is, as in `gk_message`; NULL where its sender did not tell.
    pub content: *const gk_content,
}

versioned!(gk_event, first: len, fields: [
    struct_size, r#type, peer, data, len, sequence, mode, channel, door, code, token, text, seconds, tick,
    user_data, wire, password, app_code, reserved, request, file, file_done, file_size,
    content,
]);

/// A pointer to read no bytes from: `memcpy` may not be given NULL even for 0 bytes.
static NO_BYTES: u8 = 0;

pub(crate) fn data_pointer(data: &[u8]) -> *const u8 {
    if data.is_empty() {
        &NO_BYTES
    } else {
        data.as_ptr()
    }
}

pub(crate) fn wire(wire: Wire) -> gk_wire {
    match wire {
        Wire::Mpgameserver => GK_WIRE_MPGAMESERVER,
        Wire::Native => GK_WIRE_NATIVE,
        Wire::Stream => GK_WIRE_STREAM,
    }
}

pub(crate) fn disconnect_code(reason: DisconnectReason) -> gk_disconnect_code {
    match reason {
        DisconnectReason::Remote => GK_DISCONNECT_REMOTE,
        DisconnectReason::Kicked => GK_DISCONNECT_KICKED,
        DisconnectReason::Timeout => GK_DISCONNECT_TIMEOUT,
        DisconnectReason::Shutdown => GK_DISCONNECT_SHUTDOWN,
        DisconnectReason::Replaced => GK_DISCONNECT_REPLACED,
        DisconnectReason::Blocked => GK_DISCONNECT_BLOCKED,
        DisconnectReason::Refused => GK_DISCONNECT_REFUSED,
        DisconnectReason::Protocol => GK_DISCONNECT_PROTOCOL,
        DisconnectReason::Local => GK_DISCONNECT_LOCAL,
        DisconnectReason::Restarted => GK_DISCONNECT_RESTARTED,
        DisconnectReason::Host(code) => code,
    }
}

/// The message for a call of the host's. It points to `message` and `content`, which is the message's.
pub(crate) fn message(message: &Message, content: Option<&OwnedContent>) -> gk_message {
    gk_message {
        struct_size: std::mem::size_of::<gk_message>() as u32,
        sequence: u32::from(message.sequence),
        data: data_pointer(&message.data),
        len: message.data.len(),
        mode: message.mode.map_or(GK_MODE_UNKNOWN, |mode| mode as gk_retry_mode),
        channel: message.channel.into(),
        door: message.door as gk_door,
        reserved: 0,
        content: content.map_or(std::ptr::null(), OwnedContent::pointer),
    }
}

/// What the events of one batch point to. The server's handle keeps it until the next batch.
#[derive(Default)]
struct Batch {
    /// Only held: the C structs point into them. Moving a `Vec` or a `CString` does not move its bytes.
    _block: Vec<u8>,
    _messages: Vec<Vec<u8>>,
    _texts: Vec<CString>,
    #[allow(clippy::vec_box)]
    _contents: Vec<Box<OwnedContent>>,
}

/// Longest message that lies in its batch's block, one behind the other; a longer one stays where it is.
const MAX_BLOCK_MESSAGE: usize = 2048;

/// Turns events into C structs that point into a batch.
#[derive(Default)]
pub(crate) struct BatchBuilder {
    /// Short messages, one behind the other. It must not grow, since events point into it.
    block: Vec<u8>,
    messages: Vec<Vec<u8>>,
    texts: Vec<CString>,
    /// In boxes: a `Vec` that grows moves what it holds, and events point to them.
    #[allow(clippy::vec_box)]
    contents: Vec<Box<OwnedContent>>,
}

impl BatchBuilder {
    pub(crate) fn text(&mut self, text: &str) -> *const c_char {
        let text = c_text(text);
        let pointer = text.as_ptr();
        self.texts.push(text);
        pointer
    }

    pub(crate) fn message(&mut self, received: Message) -> gk_event {
        let content = received.content.as_deref().map(OwnedContent::new);
        let shape = message(&received, content.as_deref());
        self.contents.extend(content);
        let start = self.block.len();
        let data = if shape.len <= MAX_BLOCK_MESSAGE && shape.len <= self.block.capacity() - start {
            self.block.extend_from_slice(&received.data);
            self.block.get(start..).map_or(shape.data, data_pointer)
        } else {
            self.messages.push(received.data);
            shape.data
        };
        gk_event {
            data,
            len: shape.len,
            sequence: shape.sequence,
            mode: shape.mode,
            channel: shape.channel,
            door: shape.door,
            content: shape.content,
            ..blank(GK_EVENT_MESSAGE)
        }
    }

    fn bytes(&mut self, data: Vec<u8>, event: gk_event) -> gk_event {
        let event = gk_event { data: data_pointer(&data), len: data.len(), ..event };
        self.messages.push(data);
        event
    }

    pub(crate) fn file(&mut self, event: FileEvent) -> gk_event {
        match event {
            FileEvent::Offered(file, offer) => gk_event {
                file: file.to_bits(),
                file_size: offer.size,
                text: self.text(&offer.name),
                ..self.bytes(offer.digest.to_vec(), blank(GK_EVENT_FILE_OFFER))
            },
            FileEvent::Progress { file, done, size } => gk_event {
                file: file.to_bits(),
                file_done: done,
                file_size: size,
                ..blank(GK_EVENT_FILE_PROGRESS)
            },
            FileEvent::Ended(file, end) => {
                let text = match &end.result {
                    Ok(path) => self.text(&path_text(path.as_ref())),
                    Err((_, text)) => self.text(text),
                };
                let (file, file_size, code) = (file.to_bits(), end.size, files::result(&end));
                gk_event { file, file_size, code, text, ..blank(GK_EVENT_FILE_END) }
            }
        }
    }

    fn event(&mut self, event: Event) -> gk_event {
        match event {
            Event::Starting => blank(GK_EVENT_STARTING),
            Event::Connect(peer, info) => gk_event {
                text: self.text(&info.address.to_string()),
                token: info.token,
                door: info.door as gk_door,
                ..of_peer(GK_EVENT_CONNECT, peer)
            },
            Event::Disconnect(peer, info) => gk_event {
                code: disconnect_code(info.reason),
                text: self.text(&info.text),
                app_code: info.wire_code(),
                ..of_peer(GK_EVENT_DISCONNECT, peer)
            },
            Event::Message(peer, received) => gk_event { peer: peer.to_bits(), ..self.message(received) },
            Event::Update { seconds, tick } => gk_event { seconds, tick, ..blank(GK_EVENT_UPDATE) },
            Event::Writable(peer) => of_peer(GK_EVENT_WRITABLE, peer),
            Event::Reconcile => blank(GK_EVENT_RECONCILE),
            Event::Sent(peer, tag, outcome) => gk_event {
                code: outcome as i32,
                // The tag is the pointer that `gk_send_options` brought: see `send::options`.
                user_data: tag as usize as *mut c_void,
                ..of_peer(GK_EVENT_SENT, peer)
            },
            Event::Shutdown => blank(GK_EVENT_SHUTDOWN),
            Event::Log(level, line) => {
                gk_event { code: level as i32, text: self.text(&line), ..blank(GK_EVENT_LOG) }
            }
            Event::Authorise(peer, request) => gk_event {
                text: self.text(&request.address.to_string()),
                token: request.token,
                door: request.door as gk_door,
                wire: wire(request.wire),
                password: u32::from(request.password),
                ..self.bytes(request.data, of_peer(GK_EVENT_AUTHORISE, peer))
            },
            Event::Raw(from, data) => {
                let text = self.text(&from.to_string());
                gk_event { text, ..self.bytes(data, blank(GK_EVENT_RAW)) }
            }
            Event::Request(request, tag) => gk_event {
                request: request.to_bits(),
                // The tag is the pointer that `gk_context_route` brought.
                user_data: tag as usize as *mut c_void,
                ..blank(GK_EVENT_REQUEST)
            },
            Event::File(peer, event) => gk_event { peer: peer.to_bits(), ..self.file(event) },
        }
    }
}

pub(crate) fn blank(kind: gk_event_type) -> gk_event {
    gk_event {
        struct_size: std::mem::size_of::<gk_event>() as u32,
        r#type: kind,
        peer: GK_PEER_NONE,
        data: std::ptr::null(),
        len: 0,
        sequence: 0,
        mode: 0,
        channel: 0,
        door: 0,
        code: 0,
        token: 0,
        text: std::ptr::null(),
        seconds: 0.0,
        tick: 0,
        user_data: std::ptr::null_mut(),
        wire: 0,
        password: 0,
        app_code: 0,
        reserved: 0,
        request: 0,
        file: 0,
        file_done: 0,
        file_size: 0,
        content: std::ptr::null(),
    }
}

fn of_peer(kind: gk_event_type, peer: PeerId) -> gk_event {
    gk_event { peer: peer.to_bits(), ..blank(kind) }
}

/// Takes up to `max` events out of the server's queue, oldest first. The queue holds the events for which
/// no callback is set; it exists only if `gk_context_set_max_queued_events` made it. It is filled while
/// the server runs: by its own thread, or inside `gk_server_poll`. The last event is
/// `GK_EVENT_SHUTDOWN`; the events of a server that has stopped can still be taken.
///
/// - `events`: an array of `max` elements, which need no initialisation; may be NULL if `max` is 0
/// - `event_size`: `sizeof(gk_event)`
/// - `max`: how many at most
/// - `out_count`: how many were written; 0 if nothing happened
///
/// Errors: `GK_ERR_STATE` (no event queue), `GK_ERR_REENTRANT` (inside a callback), `GK_ERR_BUSY` (another
/// thread is in it), `GK_ERR_ARGUMENT` (`event_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`. The batch before is
/// kept when the call fails.
///
/// Thread: any, one at a time.
/// Ownership: what the events point to belongs to the server and lives until the next call that succeeds,
/// or `gk_server_free`. Peers whose disconnect was in the batch before become stale.
#[no_mangle]
pub unsafe extern "C" fn gk_server_next_events(
    server: *mut gk_server,
    events: *mut gk_event,
    event_size: usize,
    max: usize,
    out_count: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        let array = EventArray { events, event_size, max, out_count };
        // SAFETY: the caller's promise.
        unsafe {
            array.fill(&server.0.attachment, |max| server.next_events(max), received, BatchBuilder::event)
        }
    })
}

/// The message in an event, if it is one.
fn received(event: &Event) -> Option<&Message> {
    match event {
        Event::Message(_, message) => Some(message),
        _ => None,
    }
}

/// Where a host wants its events.
pub(crate) struct EventArray {
    pub(crate) events: *mut gk_event,
    pub(crate) event_size: usize,
    pub(crate) max: usize,
    pub(crate) out_count: *mut usize,
}

impl EventArray {
    /// Takes events and writes them. What they point to is kept in `kept` until the next time.
    ///
    /// # Safety
    /// `events` is null or has `max` slots of `event_size` bytes; `out_count` is null or can be written.
    pub(crate) unsafe fn fill<E>(
        self,
        kept: &Mutex<Option<Box<dyn Any + Send>>>,
        take: impl FnOnce(usize) -> crate::Result<Vec<E>>,
        message_of: impl Fn(&E) -> Option<&Message>,
        build: impl Fn(&mut BatchBuilder, E) -> gk_event,
    ) -> Result<(), Failure> {
        let EventArray { events, event_size, max, out_count } = self;
        not_null!(out_count);
        if max > 0 {
            not_null!(events);
        }
        versioned::check_stride::<gk_event>("event_size", event_size)?;
        let Some(mut kept) = kept.try_lock() else {
            return Err(Failure::new(GK_ERR_BUSY, "another thread is taking these events"));
        };
        let taken = take(max)?;
        // More than was asked for would be written behind the caller's array.
        assert!(taken.len() <= max, "more events than asked for");
        let count = taken.len();
        let short = taken.iter().filter_map(|event| Some(message_of(event)?.data.len()));
        let block: usize = short.filter(|len| *len <= MAX_BLOCK_MESSAGE).sum();
        let mut builder = BatchBuilder { block: Vec::with_capacity(block), ..BatchBuilder::default() };
        for (at, event) in taken.into_iter().enumerate() {
            let event = build(&mut builder, event);
            // SAFETY: `at < max`, and the caller's array has `max` slots of `event_size` bytes.
            unsafe {
                let slot = events.cast::<u8>().add(at * event_size);
                versioned::write_slot(slot, event_size, &event);
            }
        }
        let BatchBuilder { block, messages, texts, contents } = builder;
        let batch = Batch { _block: block, _messages: messages, _texts: texts, _contents: contents };
        *kept = Some(Box::new(batch));
        // SAFETY: not null, and the caller's to write.
        unsafe { out_count.write(count) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::events::Door;
    use crate::server::events::{ConnectInfo, DisconnectInfo, LogLevel, Outcome};
    use std::ffi::CStr;

    fn build(event: Event) -> (gk_event, BatchBuilder) {
        let mut builder = BatchBuilder::default();
        let event = builder.event(event);
        (event, builder)
    }

    #[test]
    fn an_events_pointers_survive_the_move_into_the_batch() {
        let data = vec![1, 2, 3];
        let (event, builder) = build(Event::Message(
            PeerId::from_bits(9),
            Message {
                sequence: 65535,
                channel: 0,
                mode: None,
                data: data.clone(),
                content: None,
                door: Door::Udp,
            },
        ));
        let BatchBuilder { block, messages, texts, contents } = builder;
        let batch = Batch { _block: block, _messages: messages, _texts: texts, _contents: contents };
        // SAFETY: the batch lives.
        assert_eq!(unsafe { std::slice::from_raw_parts(event.data, event.len) }, data);
        assert_eq!((event.peer, event.sequence, event.mode), (9, 65535, GK_MODE_UNKNOWN));
        drop(batch);
    }

    #[test]
    fn an_empty_message_has_a_pointer() {
        let (event, _builder) = build(Event::Message(
            PeerId::from_bits(9),
            Message {
                sequence: 1,
                channel: 7,
                mode: Some(crate::server::events::RetryMode::Ordered),
                data: Vec::new(),
                content: None,
                door: Door::Udp,
            },
        ));
        assert!(!event.data.is_null() && event.len == 0);
    }

    #[test]
    fn texts_and_codes() {
        let peer = PeerId::from_bits(5);
        let text = |event: &gk_event| {
            // SAFETY: the builder of the caller lives.
            unsafe { CStr::from_ptr(event.text) }.to_str().unwrap().to_owned()
        };
        let info = ConnectInfo { address: "[::1]:7".parse().unwrap(), token: 0x4000_0001, door: Door::Udp };
        let (event, _builder) = build(Event::Connect(peer, info));
        assert_eq!((text(&event).as_str(), event.token, event.door), ("[::1]:7", 0x4000_0001, GK_DOOR_UDP));
        let info = DisconnectInfo::new(DisconnectReason::Host(1234), "bye");
        let (event, _builder) = build(Event::Disconnect(peer, info));
        assert_eq!((text(&event).as_str(), event.code), ("bye", 1234));
        let (event, _builder) = build(Event::Log(LogLevel::Warn, "line".into()));
        assert_eq!((text(&event).as_str(), event.code, event.peer), ("line", GK_LOG_WARN, GK_PEER_NONE));
        let (event, _builder) = build(Event::Sent(peer, 0x1000, Outcome::Expired));
        assert_eq!((event.code, event.user_data as usize), (GK_SENT_EXPIRED, 0x1000));
        assert!(event.text.is_null());
    }
}
