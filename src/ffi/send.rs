//! What a server does to its peers: messages and goodbyes.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crate::ffi::arguments::{bytes, flag, text};
use crate::ffi::callbacks::{gk_sent_fn, Slot};
use crate::ffi::content::{content, gk_content};
use crate::ffi::events::{
    gk_disconnect_code, gk_disconnect_info, gk_peer, gk_retry_mode, GK_DISCONNECT_HOST, GK_DISCONNECT_KICKED,
    GK_PEER_NONE, GK_RETRY_BEST_EFFORT, GK_RETRY_NONE, GK_RETRY_ON_TIMEOUT, GK_RETRY_ORDERED,
    GK_RETRY_SEQUENCED,
};
use crate::ffi::panic::fallible;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ADDRESS, GK_ERR_ARGUMENT, GK_ERR_STALE};
use crate::ffi::server::{gk_server, pointer_of, with_server};
use crate::ffi::versioned;
use crate::panic_scope::outside;
use crate::protocol::framing::Content;
use crate::server::config::MAX_REDUNDANCY;
use crate::server::events::{
    DisconnectInfo, DisconnectReason, PeerId, Priority, RetryMode, SendOptions, SentCallback,
};

/// Bytes that the name of a group has at most, without the NUL.
pub const GK_GROUP_MAX_NAME_BYTES: u32 = 64;

/// How a message is to be sent. `gk_send_options_init` fills in the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_send_options {
    /// sizeof this struct.
    pub struct_size: u32,
    /// How it is delivered. Default `GK_RETRY_NONE`.
    pub retry: gk_retry_mode,
    /// Told once what became of the message; of a client's it gets a NULL for the server and `GK_PEER_NONE`.
    /// Default NULL.
    pub on_sent: gk_sent_fn,
    /// Passed to `on_sent`, or given back in the event. Default NULL.
    pub user_data: *mut c_void,
    /// 1: what became of the message comes as a `GK_EVENT_SENT` with `user_data`; `on_sent` must be NULL, and
    /// there must be an event queue. Default 0.
    pub notify: u32,
    /// The channel of sequenced and ordered messages, 0 to 255; each has an order of its own. Default 0.
    pub channel: u32,
    /// Which of the messages that wait goes first. Default `GK_PRIORITY_NORMAL`.
    pub priority: gk_priority,
    /// How many packets beside the first carry a copy of it, if it is short (512 bytes) and of a mode that is
    /// resent, before anybody knows of a loss: 0 to 4. Native wire; mpgameserver's passes it over. Default 0;
    /// where `gk_context_set_redundancy` has more, that counts.
    pub redundancy: u32,
    /// After so many microseconds it is given up if it is neither guaranteed nor ordered. Default 0: the message
    /// timeout.
    pub deadline_us: u64,
    /// What it is. In streams of `GK_FRAMING_JSON` its header tells it, and on a WebSocket types that begin with `text/` make it
    /// text; elsewhere nobody is told. Default NULL: bytes; on a WebSocket the channel says.
    pub content: *const gk_content,
}

versioned!(gk_send_options, first: retry, fields: [
    struct_size, retry, on_sent, user_data, notify, channel, priority, redundancy, deadline_us, content,
]);

/// Which of a peer's waiting messages goes first: one of `GK_PRIORITY_…`.
pub type gk_priority = i32;
/// Before all others.
pub const GK_PRIORITY_URGENT: gk_priority = 0;
/// The default.
pub const GK_PRIORITY_NORMAL: gk_priority = 1;
/// After those.
pub const GK_PRIORITY_LOW: gk_priority = 2;
/// When nothing else waits: transfers.
pub const GK_PRIORITY_BULK: gk_priority = 3;

pub(crate) const SEND_DEFAULTS: gk_send_options = gk_send_options {
    struct_size: std::mem::size_of::<gk_send_options>() as u32,
    retry: GK_RETRY_NONE,
    on_sent: None,
    user_data: std::ptr::null_mut(),
    notify: 0,
    channel: 0,
    priority: GK_PRIORITY_NORMAL,
    redundancy: 0,
    deadline_us: 0,
    content: std::ptr::null(),
};

const DISCONNECT_DEFAULTS: gk_disconnect_info = gk_disconnect_info {
    struct_size: std::mem::size_of::<gk_disconnect_info>() as u32,
    code: GK_DISCONNECT_KICKED,
    text: std::ptr::null(),
    after_delivery: 0,
    app_code: 0,
};

/// Fills in size and defaults.
///
/// - `options`: the struct
/// - `struct_size`: `sizeof(gk_send_options)`, so that a library with a longer struct does not write behind
///   yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_send_options_init(
    options: *mut gk_send_options,
    struct_size: usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(options, struct_size, &SEND_DEFAULTS) })
}

/// Fills in size and defaults.
///
/// - `info`: the struct
/// - `struct_size`: `sizeof(gk_disconnect_info)`, so that a library with a longer struct does not write
///   behind yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_disconnect_info_init(
    info: *mut gk_disconnect_info,
    struct_size: usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(info, struct_size, &DISCONNECT_DEFAULTS) })
}

/// The completion callback for the server, or none if the function is null.
fn completion(function: gk_sent_fn, user_data: *mut c_void) -> Option<SentCallback> {
    let function = function?;
    let slot = Slot { function, user_data };
    Some(Box::new(move |server, peer, outcome| {
        // The whole slot moves into the closure, because only the slot may change threads.
        let slot = slot;
        let server = pointer_of(server).cast_mut();
        // SAFETY: the host gave the function for calls with these arguments; the server lives through the call.
        outside(|| unsafe { (slot.function)(slot.user_data, server, peer.to_bits(), outcome as i32) });
    }))
}

/// What options ask for, checked.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) retry: RetryMode,
    pub(crate) channel: u8,
    pub(crate) priority: Priority,
    pub(crate) redundancy: u8,
    pub(crate) deadline: Option<Duration>,
    pub(crate) on_sent: Slot<gk_sent_fn>,
    notify: bool,
}

impl Wanted {
    /// The tag of the event that is asked for. A pointer fits: no platform of ours has wider ones.
    pub(crate) fn tag(&self) -> Option<u64> {
        self.notify.then_some(self.on_sent.user_data as usize as u64)
    }
}

fn within(name: &str, value: u32, most: u8) -> Result<u8, Failure> {
    let text = || format!("options->{name} is {value}, allowed is 0 to {most}");
    u8::try_from(value).ok().filter(|v| *v <= most).ok_or_else(|| Failure::new(GK_ERR_ARGUMENT, text()))
}

/// # Safety
/// `pointer` is null or points to options of the size that they say.
pub(crate) unsafe fn wanted(pointer: *const gk_send_options) -> Result<Wanted, Failure> {
    if pointer.is_null() {
        return Ok(Wanted::default());
    }
    // SAFETY: not null, and the caller's promise.
    let given = unsafe { versioned::read("options", pointer, SEND_DEFAULTS)? };
    let retry = match given.retry {
        GK_RETRY_ON_TIMEOUT => RetryMode::OnTimeout,
        GK_RETRY_NONE => RetryMode::None,
        GK_RETRY_BEST_EFFORT => RetryMode::BestEffort,
        GK_RETRY_SEQUENCED => RetryMode::Sequenced,
        GK_RETRY_ORDERED => RetryMode::Ordered,
        other => {
            let text = format!("options->retry is {other}, allowed is -1 to 3");
            return Err(Failure::new(GK_ERR_ARGUMENT, text));
        }
    };
    let notify = flag("options->notify", given.notify)?;
    if notify && given.on_sent.is_some() {
        return Err(Failure::new(GK_ERR_ARGUMENT, "options have both on_sent and notify"));
    }
    let priority = match given.priority {
        GK_PRIORITY_URGENT => Priority::Urgent,
        GK_PRIORITY_NORMAL => Priority::Normal,
        GK_PRIORITY_LOW => Priority::Low,
        GK_PRIORITY_BULK => Priority::Bulk,
        other => {
            let text = format!("options->priority is {other}, allowed is 0 to 3");
            return Err(Failure::new(GK_ERR_ARGUMENT, text));
        }
    };
    let channel = within("channel", given.channel, u8::MAX)?;
    let redundancy = within("redundancy", given.redundancy, MAX_REDUNDANCY)?;
    let deadline = (given.deadline_us > 0).then(|| Duration::from_micros(given.deadline_us));
    let on_sent = Slot { function: given.on_sent, user_data: given.user_data };
    Ok(Wanted { retry, channel, priority, redundancy, deadline, on_sent, notify })
}

/// What options tell of the message; read besides [`wanted`], which is copied.
///
/// # Safety
/// As [`wanted`].
pub(crate) unsafe fn told_content(pointer: *const gk_send_options) -> Result<Option<Box<Content>>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and the caller's promise, of both.
    unsafe { content(versioned::read("options", pointer, SEND_DEFAULTS)?.content) }
}

/// # Safety
/// As [`wanted`].
pub(crate) unsafe fn options(pointer: *const gk_send_options) -> Result<SendOptions, Failure> {
    // SAFETY: the caller's promise, twice.
    let (wanted, content) = unsafe { (wanted(pointer)?, told_content(pointer)?) };
    let on_sent = completion(wanted.on_sent.function, wanted.on_sent.user_data);
    let Wanted { retry, channel, priority, redundancy, deadline, .. } = wanted;
    Ok(SendOptions { retry, channel, priority, redundancy, deadline, on_sent, tag: wanted.tag(), content })
}

/// A peer as an argument.
pub(crate) fn peer_id(peer: gk_peer) -> Result<PeerId, Failure> {
    if peer == GK_PEER_NONE {
        return Err(Failure::new(GK_ERR_STALE, "peer is GK_PEER_NONE"));
    }
    Ok(PeerId::from_bits(peer))
}

/// Queues a message for a peer.
///
/// - `data`, `len`: the bytes; may be NULL with 0: an empty message is one
/// - `options`: NULL sends it once, without asking what became of it
///
/// Errors, after which nothing is queued and `on_sent` is not called: `GK_ERR_STALE`,
/// `GK_ERR_WOULD_BLOCK` (the peer's queue is full: `writable` will tell; or with `notify` the event queue is:
/// take events first), `GK_ERR_TOO_LARGE`, `GK_ERR_STATE` (stopped, or `notify` without an event queue), `GK_ERR_ARGUMENT` (`options`), `GK_ERR_NULL`,
/// `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied; `options->user_data` stays the host's and must live until `on_sent`.
#[no_mangle]
pub unsafe extern "C" fn gk_server_send(
    server: *mut gk_server,
    peer: gk_peer,
    data: *const u8,
    len: usize,
    options: *const gk_send_options,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let (data, options) = unsafe { (bytes("data", data, len)?, self::options(options)?) };
        Ok(server.send(peer_id(peer)?, data, options)?)
    })
}

/// Queues a message for a peer that is sent again until it is acknowledged: it arrives exactly once if the
/// connection lives. The same as `gk_server_send` with `GK_RETRY_ON_TIMEOUT`.
///
/// - `data`, `len`: the bytes; may be NULL with 0
/// - `on_sent`: told once what became of it; may be NULL
/// - `user_data`: passed to `on_sent`
///
/// Errors: as `gk_server_send`.
///
/// Thread: any.
/// Ownership: the bytes are copied; `user_data` stays the host's and must live until `on_sent`.
#[no_mangle]
pub unsafe extern "C" fn gk_server_send_guaranteed(
    server: *mut gk_server,
    peer: gk_peer,
    data: *const u8,
    len: usize,
    on_sent: gk_sent_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let data = unsafe { bytes("data", data, len)? };
        let on_sent = completion(on_sent, user_data);
        let options = SendOptions { retry: RetryMode::OnTimeout, on_sent, ..SendOptions::default() };
        Ok(server.send(peer_id(peer)?, data, options)?)
    })
}

/// Queues a message for all connected peers, or all but one. Peers whose queue is full are left out; they
/// get `writable` later.
///
/// - `except`: who does not get it; `GK_PEER_NONE`, or a peer that is gone: all get it
/// - `data`, `len`: the bytes; may be NULL with 0
/// - `options`: NULL sends it once; `on_sent` must be NULL and `notify` 0
/// - `out_sent`: for how many peers it was queued; may be NULL
///
/// Errors: `GK_ERR_TOO_LARGE`, `GK_ERR_STATE` (stopped), `GK_ERR_ARGUMENT` (`options`), `GK_ERR_NULL`,
/// `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_broadcast(
    server: *mut gk_server,
    except: gk_peer,
    data: *const u8,
    len: usize,
    options: *const gk_send_options,
    out_sent: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let (data, options) = unsafe { (bytes("data", data, len)?, self::options(options)?) };
        if options.on_sent.is_some() || options.tag.is_some() {
            return Err(Failure::new(GK_ERR_ARGUMENT, "a broadcast has no on_sent and no notify"));
        }
        let except = (except != GK_PEER_NONE).then(|| PeerId::from_bits(except));
        let sent = server.broadcast(except, data, options)?.sent;
        if !out_sent.is_null() {
            // SAFETY: not null, and the caller's to write.
            unsafe { out_sent.write(sent) };
        }
        Ok(())
    })
}

/// Puts a peer into the group of a name, which comes to be with its first member and ends with its last. The membership
/// ends with the peer. To be in it already is no error. For all peers there is `gk_server_broadcast`.
///
/// - `group`: the name, 1 to `GK_GROUP_MAX_NAME_BYTES` bytes of UTF-8; names are told apart byte by byte
/// - `peer`: who
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (an empty name, or too long), `GK_ERR_UTF8`, `GK_ERR_WOULD_BLOCK` (it is in
/// 64 groups, or the server has 65,536), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the name is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_group_add(
    server: *mut gk_server,
    group: *const c_char,
    peer: gk_peer,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let group = unsafe { text("group", group)? };
        Ok(server.group_add(group, peer_id(peer)?)?)
    })
}

/// Takes a peer out of a group. Not to be in it is no error.
///
/// - `group`: the name, as `gk_server_group_add` takes it
/// - `peer`: who
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (an empty name, or too long), `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the name stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_server_group_remove(
    server: *mut gk_server,
    group: *const c_char,
    peer: gk_peer,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let group = unsafe { text("group", group)? };
        server.group_remove(group, peer_id(peer)?)?;
        Ok(())
    })
}

/// Queues a message for all members of a group, or all but one. Peers whose queue is full are left out and
/// counted; they get `writable` later.
///
/// - `group`: the name, as `gk_server_group_add` takes it; a group without members reaches nobody
/// - `except`: who does not get it; `GK_PEER_NONE`, or a peer that is gone: all get it
/// - `data`, `len`: the bytes; may be NULL with 0
/// - `options`: NULL sends it once; `on_sent` must be NULL and `notify` 0
/// - `out_sent`: for how many peers it was queued; may be NULL
/// - `out_refused`: how many have a full queue; may be NULL
///
/// Errors: `GK_ERR_TOO_LARGE`, `GK_ERR_STATE` (stopped), `GK_ERR_ARGUMENT` (`options`; an empty name, or too long),
/// `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied, once for all.
#[no_mangle]
pub unsafe extern "C" fn gk_server_group_send(
    server: *mut gk_server,
    group: *const c_char,
    except: gk_peer,
    data: *const u8,
    len: usize,
    options: *const gk_send_options,
    out_sent: *mut usize,
    out_refused: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let group = unsafe { text("group", group)? };
        // SAFETY: the caller's promise.
        let (data, options) = unsafe { (bytes("data", data, len)?, self::options(options)?) };
        if options.on_sent.is_some() || options.tag.is_some() {
            return Err(Failure::new(GK_ERR_ARGUMENT, "a message to many has no on_sent and no notify"));
        }
        let except = (except != GK_PEER_NONE).then(|| PeerId::from_bits(except));
        let reach = server.group_send(group, except, data, options)?;
        for (out, count) in [(out_sent, reach.sent), (out_refused, reach.refused)] {
            if !out.is_null() {
                // SAFETY: not null, and the caller's to write.
                unsafe { out.write(count) };
            }
        }
        Ok(())
    })
}

/// Answers a raw datagram: within five seconds, once, and with no more bytes than it had, so that nobody
/// can make the server send a third party more than they send themselves.
///
/// - `to`: where the datagram came from, as the callback or the event told
/// - `data`, `len`: the bytes; may be NULL with 0
///
/// Errors: `GK_ERR_STATE` (nobody there has asked, or they were answered; stopped), `GK_ERR_TOO_LARGE`,
/// `GK_ERR_WOULD_BLOCK` (too many answers wait to be sent: this one is dropped), `GK_ERR_ADDRESS`,
/// `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_send_raw(
    server: *mut gk_server,
    to: *const c_char,
    data: *const u8,
    len: usize,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let (to, data) = unsafe { (text("to", to)?, bytes("data", data, len)?) };
        let to = to
            .parse()
            .map_err(|_| Failure::new(GK_ERR_ADDRESS, format!("to is no address with a port: {to:?}")))?;
        Ok(server.send_raw(to, data)?)
    })
}

fn reason(code: gk_disconnect_code) -> Result<DisconnectReason, Failure> {
    match code {
        GK_DISCONNECT_KICKED => Ok(DisconnectReason::Kicked),
        GK_DISCONNECT_HOST.. => Ok(DisconnectReason::Host(code)),
        _ => {
            let text = format!(
                "info->code is {code}, allowed is GK_DISCONNECT_KICKED, or GK_DISCONNECT_HOST or more"
            );
            Err(Failure::new(GK_ERR_ARGUMENT, text))
        }
    }
}

/// Ends a peer's connection. The disconnect event follows, from the server's thread. A client that waits for a
/// decision is refused by it, and no event follows.
///
/// - `info`: why, and whether now; NULL: `GK_DISCONNECT_KICKED`, now
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_STATE` (stopped), `GK_ERR_ARGUMENT` (`info`), `GK_ERR_UTF8`,
/// `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_disconnect(
    server: *mut gk_server,
    peer: gk_peer,
    info: *const gk_disconnect_info,
) -> gk_result {
    with_server(server, |server| {
        let given = if info.is_null() {
            DISCONNECT_DEFAULTS
        } else {
            // SAFETY: not null, and the caller's promise.
            unsafe { versioned::read("info", info, DISCONNECT_DEFAULTS)? }
        };
        let after_delivery = flag("info->after_delivery", given.after_delivery)?;
        let text = if given.text.is_null() {
            String::new()
        } else {
            // SAFETY: not null, and the caller's promise.
            unsafe { text("info->text", given.text)? }.to_owned()
        };
        let info = DisconnectInfo { reason: reason(given.code)?, code: given.app_code, text };
        Ok(server.disconnect(peer_id(peer)?, info, after_delivery)?)
    })
}
