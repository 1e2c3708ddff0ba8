//! What can be asked about a peer.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use crate::ffi::arguments::{text, write_text};
use crate::ffi::events::{gk_door, gk_peer, gk_refusal, gk_wire, wire};
use crate::ffi::result::{gk_result, Failure};
use crate::ffi::send::peer_id;
use crate::ffi::server::{gk_server, with_server};
use crate::server::events::PeerInfo;

/// Where a peer's connection stands: one of `GK_STATUS_…`.
pub type gk_status = i32;

/// The handshake is under way.
pub const GK_STATUS_CONNECTING: gk_status = 1;
/// Messages flow.
pub const GK_STATUS_CONNECTED: gk_status = 2;
/// The end has been asked for; what is queued is still being delivered.
pub const GK_STATUS_DISCONNECTING: gk_status = 3;
/// Ended by one of the two sides.
pub const GK_STATUS_DISCONNECTED: gk_status = 4;
/// Ended by silence.
pub const GK_STATUS_DROPPED: gk_status = 5;

/// It proved itself, and nobody has decided yet whether it may come in.
pub const GK_STATUS_JOINING: gk_status = 6;

/// Writes one property of a peer.
///
/// # Safety
/// As [`with_server`]; `out` is null or can be written.
unsafe fn property<T>(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut T,
    of: impl FnOnce(&PeerInfo) -> T,
) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        let info = server.peer_info(peer_id(peer)?)?;
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(of(&info)) };
        Ok(())
    })
}

/// Gives where a peer's datagrams come from: `"192.0.2.1:50000"` or `"[2001:db8::1]:50000"`.
///
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 64 is enough for all
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_address(
    server: *const gk_server,
    peer: gk_peer,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        let info = server.peer_info(peer_id(peer)?)?;
        // SAFETY: the caller's promise.
        unsafe { write_text(&info.address.to_string(), buf, cap, out_len) }
    })
}

/// Gives the public number of a peer's session, unique among the server's live peers.
///
/// - `out`: the number
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_token(server: *const gk_server, peer: gk_peer, out: *mut u32) -> gk_result {
    property(server, peer, out, |info| info.token)
}

/// Gives how a peer came in: by datagrams, of which `gk_peer_wire` tells the wire, or by another door.
///
/// - `out`: one of `GK_DOOR_…`
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_door(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut gk_door,
) -> gk_result {
    property(server, peer, out, |info| info.door as gk_door)
}

/// Gives the smoothed time that a message takes one way: half of what an acknowledgement takes.
///
/// - `out`: microseconds; 0 if nothing was measured yet
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_latency_us(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut u64,
) -> gk_result {
    property(server, peer, out, |info| latency_us(info.latency))
}

/// A latency as C has it.
pub(crate) fn latency_us(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

/// Gives where a peer's connection stands.
///
/// - `out`: one of `GK_STATUS_…`
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_status(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut gk_status,
) -> gk_result {
    property(server, peer, out, |info| info.status as i32)
}

/// Gives which wire a peer speaks.
///
/// - `out`: one of `GK_WIRE_…`
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_wire(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut gk_wire,
) -> gk_result {
    property(server, peer, out, |info| wire(info.wire))
}

/// Gives how many bytes of message are queued for a peer and not yet acknowledged.
///
/// - `out`: bytes
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_queued_bytes(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut usize,
) -> gk_result {
    property(server, peer, out, |info| info.queued_bytes)
}

/// Gives the host's own pointer for a peer.
///
/// - `out`: what `gk_peer_set_user_data` set last; NULL before
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: what it points to is the host's.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_user_data(
    server: *const gk_server,
    peer: gk_peer,
    out: *mut *mut c_void,
) -> gk_result {
    with_server(server, |server| {
        not_null!(out);
        let value = server.user_data(peer_id(peer)?)?;
        // SAFETY: not null, and the caller's to write.
        unsafe { out.write(value as *mut c_void) };
        Ok(())
    })
}

/// Sets the host's own pointer for a peer. The place to give it free is the disconnect callback.
///
/// - `user_data`: anything; the library never follows it
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: what it points to stays the host's.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_set_user_data(
    server: *mut gk_server,
    peer: gk_peer,
    user_data: *mut c_void,
) -> gk_result {
    let value = user_data as usize;
    with_server(server, |server| Ok::<(), Failure>(server.set_user_data(peer_id(peer)?, value)?))
}

/// Lets a client in that waits for a decision: its connect follows, from the server's thread.
///
/// Errors: `GK_ERR_STALE` (it left, or was refused), `GK_ERR_STATE` (it was let in already; stopped),
/// `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_accept(server: *mut gk_server, peer: gk_peer) -> gk_result {
    with_server(server, |server| Ok::<(), Failure>(server.accept(peer_id(peer)?)?))
}

/// Refuses a client that waits for a decision: it is told to go, and no event follows. The peer is stale
/// from now on.
///
/// - `code`: why, `GK_REFUSED_HOST` or more by custom; told to the client where its wire has room for it
/// - `text`: one sentence for a person, UTF-8; NULL is none
///
/// Errors: as `gk_peer_accept`, and `GK_ERR_UTF8`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_refuse(
    server: *mut gk_server,
    peer: gk_peer,
    code: gk_refusal,
    text: *const c_char,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: not null, and the caller's promise.
        let given = if text.is_null() { "" } else { unsafe { self::text("text", text)? } };
        Ok::<(), Failure>(server.refuse(peer_id(peer)?, code, given)?)
    })
}

/// Sets how many packets beside the first carry a copy of every short message for a peer, before anybody knows of a loss, in the
/// place of what `gk_context_set_redundancy` said: for players on bad paths. Native wire; at a peer of the other it changes
/// nothing. A message's own redundancy counts where it is more. Messages that have left keep what they had.
///
/// - `copies`: 0 to 4
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (more than 4), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_peer_set_redundancy(
    server: *mut gk_server,
    peer: gk_peer,
    copies: u32,
) -> gk_result {
    with_server(server, |server| {
        // What does not fit is out of range too.
        Ok::<(), Failure>(server.set_redundancy(peer_id(peer)?, u8::try_from(copies).unwrap_or(u8::MAX))?)
    })
}
