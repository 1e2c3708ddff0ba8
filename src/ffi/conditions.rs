//! Bad networks to try things on.

use std::time::Duration;

use crate::ffi::events::gk_peer;
use crate::ffi::panic::fallible;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT};
use crate::ffi::send::peer_id;
use crate::ffi::server::{gk_server, with_server};
use crate::ffi::versioned;
use crate::protocol::conditions::{Conditions, Direction, DEFAULT_QUEUE_BYTES};

/// Which datagrams are meant, as our side sees them: one of `GK_DIRECTION_…`.
pub type gk_direction = i32;

/// Those that we receive.
pub const GK_DIRECTION_RECEIVE: gk_direction = 1;
/// Those that we send.
pub const GK_DIRECTION_SEND: gk_direction = 2;

/// What a simulated network does to the datagrams of one direction. `gk_conditions_init` fills in the
/// defaults, which do nothing. Chances are per datagram, from 0 to 1; times are at most 60,000,000 µs.
///
/// In this order: a burst of losses or a single loss takes a datagram; it waits for the rate, or finds the
/// queue full and is dropped; it is perhaps doubled; each copy travels for the delay and its jitter, is perhaps
/// held back, and perhaps damaged. At most 65,536 datagrams and 32 MiB are under way on one link; what comes
/// on top is dropped.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_conditions {
    /// sizeof this struct.
    pub struct_size: u32,
    /// Chance of being lost, each datagram for itself. Default 0.
    pub loss: f32,
    /// Chance that a burst begins, in which everything is lost. Default 0.
    pub burst_loss: f32,
    /// Mean length of a burst in datagrams, 1 to 10,000. Default 1.
    pub burst_length: f32,
    /// How long each datagram travels, in microseconds. Default 0.
    pub delay_us: u64,
    /// How far that may lie above or below `delay_us`, evenly; never below 0. Datagrams at smaller distances
    /// than twice this arrive in another order, as with Linux's netem. Default 0.
    pub jitter_us: u64,
    /// Chance of arriving twice. Default 0.
    pub duplicate: f32,
    /// Chance of being held back by `reorder_delay_us`, so that later ones pass. Default 0.
    pub reorder: f32,
    /// For how long, in microseconds. Default 0.
    pub reorder_delay_us: u64,
    /// Bytes per second that pass, without the headers of IP and UDP; 0: without limit. Default 0.
    pub rate_bytes_per_s: u64,
    /// Bytes that wait for the rate, up to 32 MiB: beyond it datagrams are dropped. Default 65,536.
    pub queue_bytes: u64,
    /// Chance that one bit is turned over. Default 0.
    pub corrupt: f32,
    /// 0.
    pub reserved: u32,
    /// Where chance comes from: with the same seed the same is done to the same datagrams. Default 0.
    pub seed: u64,
}

versioned!(gk_conditions, first: loss, fields: [
    struct_size, loss, burst_loss, burst_length, delay_us, jitter_us, duplicate, reorder, reorder_delay_us,
    rate_bytes_per_s, queue_bytes, corrupt, reserved, seed,
]);

const DEFAULTS: gk_conditions = gk_conditions {
    struct_size: std::mem::size_of::<gk_conditions>() as u32,
    loss: 0.0,
    burst_loss: 0.0,
    burst_length: 1.0,
    delay_us: 0,
    jitter_us: 0,
    duplicate: 0.0,
    reorder: 0.0,
    reorder_delay_us: 0,
    rate_bytes_per_s: 0,
    queue_bytes: DEFAULT_QUEUE_BYTES as u64,
    corrupt: 0.0,
    reserved: 0,
    seed: 0,
};

/// A direction from C.
pub(crate) fn direction(value: gk_direction) -> Result<Direction, Failure> {
    match value {
        GK_DIRECTION_RECEIVE => Ok(Direction::Receive),
        GK_DIRECTION_SEND => Ok(Direction::Send),
        _ => Err(Failure::new(GK_ERR_ARGUMENT, format!("direction is {value}, allowed is 1 or 2"))),
    }
}

/// Conditions from C; null is none. Whoever takes them checks the values.
///
/// # Safety
/// `pointer` is null or points to conditions of the size that they say.
pub(crate) unsafe fn conditions(pointer: *const gk_conditions) -> Result<Option<Conditions>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and the caller's promise.
    let given = unsafe { versioned::read("conditions", pointer, DEFAULTS)? };
    if given.reserved != 0 {
        let text = format!("conditions->reserved is {}, and must be 0", given.reserved);
        return Err(Failure::new(GK_ERR_ARGUMENT, text));
    }
    Ok(Some(Conditions {
        loss: given.loss,
        burst_loss: given.burst_loss,
        burst_length: given.burst_length,
        delay: Duration::from_micros(given.delay_us),
        jitter: Duration::from_micros(given.jitter_us),
        duplicate: given.duplicate,
        reorder: given.reorder,
        reorder_delay: Duration::from_micros(given.reorder_delay_us),
        rate: given.rate_bytes_per_s,
        // What does not fit is beyond the range, too.
        queue_bytes: usize::try_from(given.queue_bytes).unwrap_or(usize::MAX),
        corrupt: given.corrupt,
        seed: given.seed,
    }))
}

/// Fills in size and defaults.
///
/// - `conditions`: the struct
/// - `struct_size`: `sizeof(gk_conditions)`, so that a library with a longer struct does not write behind
///   yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_conditions_init(conditions: *mut gk_conditions, struct_size: usize) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(conditions, struct_size, &DEFAULTS) })
}

/// Lets the datagrams of one direction pass a bad network from now on: those of all peers without conditions
/// of their own, and of strangers. They all share one link, and its rate. What is under way when
/// conditions change or end arrives as it would have.
///
/// - `direction`: one of `GK_DIRECTION_…`
/// - `conditions`: what it does; NULL ends it
///
/// Errors: `GK_ERR_ARGUMENT` (`direction`, or a value of `conditions`), `GK_ERR_STATE` (stopped),
/// `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_simulate(
    server: *mut gk_server,
    direction: gk_direction,
    conditions: *const gk_conditions,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let conditions = unsafe { self::conditions(conditions)? };
        Ok(server.simulate(self::direction(direction)?, conditions)?)
    })
}

/// Gives a peer a bad network of its own in one direction, in the place of that of `gk_server_simulate`;
/// conditions that do nothing keep that one away from it.
///
/// - `direction`: one of `GK_DIRECTION_…`
/// - `conditions`: what it does; NULL: the server's hold for this peer again
///
/// Errors: `GK_ERR_STALE`, `GK_ERR_ARGUMENT` (`direction`, or a value of `conditions`), `GK_ERR_STATE`
/// (stopped), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_simulate_peer(
    server: *mut gk_server,
    peer: gk_peer,
    direction: gk_direction,
    conditions: *const gk_conditions,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let conditions = unsafe { self::conditions(conditions)? };
        Ok(server.simulate_peer(peer_id(peer)?, self::direction(direction)?, conditions)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_rust() {
        // SAFETY: the struct lives and has the size that it says.
        let read = unsafe { conditions(&DEFAULTS) };
        assert_eq!(read.ok().flatten(), Some(Conditions::default()));
    }

    #[test]
    fn every_field_arrives_where_it_belongs() {
        let given = gk_conditions {
            loss: 0.1,
            burst_loss: 0.2,
            burst_length: 3.0,
            delay_us: 4,
            jitter_us: 5,
            duplicate: 0.6,
            reorder: 0.7,
            reorder_delay_us: 8,
            rate_bytes_per_s: 9,
            queue_bytes: 10,
            corrupt: 0.11,
            seed: 12,
            ..DEFAULTS
        };
        let expected = Conditions {
            loss: 0.1,
            burst_loss: 0.2,
            burst_length: 3.0,
            delay: Duration::from_micros(4),
            jitter: Duration::from_micros(5),
            duplicate: 0.6,
            reorder: 0.7,
            reorder_delay: Duration::from_micros(8),
            rate: 9,
            queue_bytes: 10,
            corrupt: 0.11,
            seed: 12,
        };
        // SAFETY: as above.
        let read = unsafe { conditions(&given) };
        assert_eq!(read.ok().flatten(), Some(expected));
    }
}
