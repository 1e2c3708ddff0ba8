//! Looking for servers.

use std::ffi::{c_char, c_void};
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::discover::discover;
use crate::ffi::arguments::{c_text, slice, texts};
use crate::ffi::events::data_pointer;
use crate::ffi::panic::fallible;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ADDRESS};
use crate::panic_scope::outside;

/// Ports that one search asks at most.
pub const GK_DISCOVERY_MAX_PORTS: u32 = 64;
/// Addresses that one search asks at most.
pub const GK_DISCOVERY_MAX_ADDRESSES: u32 = 256;

/// A server that answered a search.
///
/// - `gk_client_discover`: look for servers
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_found {
    /// Bytes that the library filled.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Where its answer came from, as `gk_client_start` takes it. One that is reached by several ways is found at several
    /// addresses. A link-local one of IPv6, `"[fe80::1%2]:2021"`, has the number of this machine's interface in it.
    pub address: *const c_char,
    /// What it tells about itself; nobody vouches for that. Never NULL, not even when `len` is 0.
    pub info: *const u8,
    /// How many bytes.
    pub len: usize,
    /// Time from the query to the answer, in microseconds.
    pub round_trip_us: u64,
}

/// A server was found.
///
/// When: at the end of the search, once for each server, in the order in which they answered.
/// Thread: the one that called `gk_client_discover`, inside that call.
/// Borrowed: `found` and what it points to, until the callback returns.
/// May call: everything.
pub type gk_found_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, found: *const gk_found)>;

/// Looks for servers, and waits for answers: on each port at all machines of the local network (IPv4: broadcast; IPv6: the
/// group `ff02::1` on each of the first 32 interfaces that have IPv6) and at this one, and at each address. A server answers
/// if it has discovery info (`gk_context_set_discovery_info`); by IPv6 one that listens on all interfaces. It ends early if
/// no port was given and all addresses have answered.
///
/// - `ports`, `port_count`: at most `GK_DISCOVERY_MAX_PORTS`; may be NULL with 0
/// - `addresses`, `address_count`: `"192.0.2.1:2021"`, `"[2001:db8::1]:2021"`, numbers only; at most
///   `GK_DISCOVERY_MAX_ADDRESSES`; may be NULL with 0
/// - `timeout_us`: how long to wait, at most 60,000,000 (60 s)
/// - `function`: called for each server; may be NULL
/// - `user_data`: passed to each call as it is
/// - `out_count`: how many were found, at most 256; may be NULL
///
/// Errors: `GK_ERR_ARGUMENT` (too many, none at all, port 0, the time), `GK_ERR_ADDRESS`,
/// `GK_ERR_IO`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`. That nobody answered is no error.
///
/// Thread: any; it waits in this call.
/// Ownership: arrays and texts are copied; `user_data` stays the host's.
#[no_mangle]
pub unsafe extern "C" fn gk_client_discover(
    ports: *const u16,
    port_count: usize,
    addresses: *const *const c_char,
    address_count: usize,
    timeout_us: u64,
    function: gk_found_fn,
    user_data: *mut c_void,
    out_count: *mut usize,
) -> gk_result {
    fallible(|| {
        // SAFETY: the caller's promise.
        let (ports, names) =
            unsafe { (slice("ports", ports, port_count)?, texts("addresses", addresses, address_count)?) };
        let parse = |name: &str| {
            let wrong = || Failure::new(GK_ERR_ADDRESS, format!("{name:?} is no address with a port"));
            name.parse::<SocketAddr>().map_err(|_| wrong())
        };
        let addresses = names.into_iter().map(parse).collect::<Result<Vec<_>, Failure>>()?;
        let found = discover(ports, &addresses, Duration::from_micros(timeout_us))?;
        for server in &found {
            let address = c_text(&server.address.to_string());
            let found = gk_found {
                struct_size: std::mem::size_of::<gk_found>() as u32,
                reserved: 0,
                address: address.as_ptr(),
                info: data_pointer(&server.info),
                len: server.info.len(),
                round_trip_us: u64::try_from(server.round_trip.as_micros()).unwrap_or(u64::MAX),
            };
            if let Some(function) = function {
                // SAFETY: the host gave the function for calls with these arguments.
                outside(|| unsafe { function(user_data, &found) });
            }
        }
        if !out_count.is_null() {
            // SAFETY: not null, and the caller's to write.
            unsafe { out_count.write(found.len()) };
        }
        Ok(())
    })
}
