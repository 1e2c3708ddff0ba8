//! Doors for streams, and what can be asked about doors.

use std::ffi::c_char;
use std::time::Duration;

use crate::client::{StreamClient, Wire};
use crate::ffi::arguments::{flag, text, write_text};
use crate::ffi::context::{gk_context, with_context};
use crate::ffi::panic::fallible;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT};
use crate::ffi::server::{gk_server, with_server};
use crate::ffi::versioned;
use crate::protocol::framing::DEFAULT_READ_BYTES;
use crate::server::config::{Framing, StreamDoor, TlsFiles};

/// How messages are told apart in a stream: one of `GK_FRAMING_…`. More may be appended.
pub type gk_framing = i32;

/// Not at all: whatever one read brought is a message, and a message of no bytes cannot be sent.
pub const GK_FRAMING_RAW: gk_framing = 0;
/// Each has its length in front: 32 bits, the most significant byte first.
pub const GK_FRAMING_LENGTH: gk_framing = 1;
/// Each is a line: ended by a line feed, which is no part of it, nor is a carriage return before that. A message with
/// a line feed in it, or a carriage return at its end, cannot be sent.
pub const GK_FRAMING_LINES: gk_framing = 2;
/// Each has a JSON header in front with `byteorder`, `content-type`, `content-encoding` and `content-length`, and in
/// front of that the header's length: 16 bits, the most significant byte first.
pub const GK_FRAMING_JSON: gk_framing = 3;

/// Doors for streams that a context can have.
pub const GK_MAX_STREAM_DOORS: u32 = 16;

/// More of a door for streams. `gk_stream_options_init` fills in the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_stream_options {
    /// sizeof this struct.
    pub struct_size: u32,
    /// Bytes that one read takes at most, 1 to 1,048,576: the longest message of a raw stream. Default 4096.
    pub read_bytes: u32,
    /// Of a server's door: connections at once, at most. Who comes above it takes the place of the newcomer that has been silent
    /// for longest (its password, or its part of TLS, is still awaited), and is sent away where there is none. Default 0: as
    /// many as the server takes peers.
    pub max_connections: u32,
    /// 1: the server's password is taken also where others can read it on the way: without TLS and not on loopback.
    /// Default 0: a server that has a password and such a door does not start.
    pub password_in_clear: u32,
    /// How long a message that has begun may stand still, in either direction, in microseconds: less than a
    /// kilobyte of it in this time ends the connection. Silence between messages is no stall. Default 30,000,000, range
    /// 100,000 to 3,600,000,000.
    pub stall_timeout_us: u64,
    /// Of a server's door: the file with the certificate by which it speaks TLS, and nothing else, PEM, with those that
    /// lead from it to one that clients know. It is read when a server starts. Default NULL: nothing is protected.
    pub certificate: *const c_char,
    /// The file with its private key, PEM. Both or none. Default NULL.
    pub private_key: *const c_char,
    /// Of a server's door: connections at once from one source (an IPv4 address or an IPv6 /64, loopback like any other), at
    /// most; who comes above it is sent away. Default 0: a quarter of the door's connections, at least 16.
    pub max_connections_per_source: u32,
    /// 0.
    pub reserved: u32,
}

versioned!(gk_stream_options, first: read_bytes, fields: [
    struct_size, read_bytes, max_connections, password_in_clear, stall_timeout_us, certificate, private_key,
    max_connections_per_source, reserved,
]);

const DEFAULTS: gk_stream_options = gk_stream_options {
    struct_size: std::mem::size_of::<gk_stream_options>() as u32,
    read_bytes: DEFAULT_READ_BYTES as u32,
    max_connections: 0,
    password_in_clear: 0,
    stall_timeout_us: 30_000_000,
    certificate: std::ptr::null(),
    private_key: std::ptr::null(),
    max_connections_per_source: 0,
    reserved: 0,
};

/// Fills in size and defaults.
///
/// - `options`: the struct
/// - `struct_size`: `sizeof(gk_stream_options)`, so that a library with a longer struct does not write behind
///   yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_stream_options_init(
    options: *mut gk_stream_options,
    struct_size: usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(options, struct_size, &DEFAULTS) })
}

/// A framing from C.
pub(crate) fn framing(value: gk_framing) -> Result<Framing, Failure> {
    match value {
        GK_FRAMING_RAW => Ok(Framing::Raw),
        GK_FRAMING_LENGTH => Ok(Framing::Length),
        GK_FRAMING_LINES => Ok(Framing::Lines),
        GK_FRAMING_JSON => Ok(Framing::Json),
        _ => Err(Failure::new(GK_ERR_ARGUMENT, format!("framing is {value}, allowed is 0 to 3"))),
    }
}

/// A door from C.
///
/// # Safety
/// `options` is null or points to options of the size that they say.
unsafe fn door(
    address: &str,
    framing: gk_framing,
    options: *const gk_stream_options,
) -> Result<StreamDoor, Failure> {
    let given = if options.is_null() {
        DEFAULTS
    } else {
        // SAFETY: not null, and the caller's promise.
        unsafe { versioned::read("options", options, DEFAULTS)? }
    };
    let tls = match (given.certificate.is_null(), given.private_key.is_null()) {
        (true, true) => None,
        (false, false) => Some(TlsFiles {
            // SAFETY: the caller's promise, of both.
            certificate: unsafe { text("certificate", given.certificate)? }.into(),
            // SAFETY: the same.
            key: unsafe { text("private_key", given.private_key)? }.into(),
        }),
        _ => {
            let text = "certificate and private_key: one without the other";
            return Err(Failure::new(GK_ERR_ARGUMENT, text));
        }
    };
    Ok(StreamDoor {
        tls,
        read_bytes: usize::try_from(given.read_bytes).unwrap_or(usize::MAX),
        max_connections: given.max_connections,
        max_connections_per_source: given.max_connections_per_source,
        stall_timeout: Duration::from_micros(given.stall_timeout_us),
        password_in_clear: flag("password_in_clear", given.password_in_clear)?,
        ..StreamDoor::new(address, self::framing(framing)?)
    })
}

/// Adds a door for streams (TCP) to the servers that are started with the context, beside the one for datagrams. A
/// connection is a peer like any other, of `GK_DOOR_STREAM`: same callbacks, same `gk_server_send`, block list, bounds,
/// statistics and access log. All messages arrive, in order, whatever their mode. With a password set, the first message
/// of each connection must be it. A server that was started keeps the doors that it has.
///
/// - `address`: as `gk_server_start` takes it; port 0 lets the system choose one, see `gk_server_addresses`
/// - `framing`: how messages are told apart
///
/// Errors: `GK_ERR_ARGUMENT` (framing; more than `GK_MAX_STREAM_DOORS`; not UTF-8), `GK_ERR_NULL`, `GK_ERR_PANIC`. Of the
/// start: `GK_ERR_ADDRESS`, `GK_ERR_ADDRESS_IN_USE`, `GK_ERR_IO`, `GK_ERR_KEY` (a certificate), and `GK_ERR_ARGUMENT` where a password would be
/// taken in clear.
///
/// Thread: any, one at a time per context.
/// Ownership: the address is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_listen_stream(
    context: *mut gk_context,
    address: *const c_char,
    framing: gk_framing,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe { gk_context_listen_stream_with(context, address, framing, std::ptr::null()) }
}

/// The same with more to say of the door.
///
/// - `address`, `framing`: as of `gk_context_listen_stream`
/// - `options`: NULL: the defaults
///
/// Errors: as of `gk_context_listen_stream`, and `GK_ERR_ARGUMENT` (a value of the options).
///
/// Thread: any, one at a time per context.
/// Ownership: all is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_listen_stream_with(
    context: *mut gk_context,
    address: *const c_char,
    framing: gk_framing,
    options: *const gk_stream_options,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe { listen(context, address, framing, options, false) }
}

/// Adds a door, with or without files.
///
/// # Safety
/// As of `gk_context_listen_stream_with`.
pub(super) unsafe fn listen(
    context: *mut gk_context,
    address: *const c_char,
    framing: gk_framing,
    options: *const gk_stream_options,
    files: bool,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe {
        with_context(context, |context| {
            not_null!(address);
            let door = StreamDoor { files, ..door(text("address", address)?, framing, options)? };
            let mut doors = context.config.streams.clone();
            doors.push(door);
            context.set(|config| &mut config.streams, doors)
        })
    }
}

/// Has clients talk in a stream (TCP), with a server's door for streams or any other program that listens. Without
/// `gk_context_set_stream_tls` nothing of it is protected on its way, and nothing proves who the server is:
/// `gk_context_trust_any_server` is needed. A password is the first message. There is no join data, and the session's number is not
/// told. `gk_context_set_wire` takes it back.
///
/// - `framing`: how messages are told apart, as at the server's door
/// - `options`: NULL: the defaults. Of a client's, `read_bytes`, `stall_timeout_us` and `password_in_clear` count; without that
///   flag a password is told to a server on loopback, or one that TLS proves, and a session with another ends before. What
///   is a door's (connections, certificate, private key) must have its default
///
/// Errors: `GK_ERR_ARGUMENT` (framing, a value of the options, or one that is a door's), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: all is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_connect_stream(
    context: *mut gk_context,
    framing: gk_framing,
    options: *const gk_stream_options,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe {
        with_context(context, |context| {
            // What a door would be refused for is wrong here, too.
            let door = door("127.0.0.1:0", framing, options)?;
            door.validate()?;
            for (given, name) in [
                (door.tls.is_some(), "certificate and private_key are"),
                (door.max_connections > 0, "max_connections is"),
                (door.max_connections_per_source > 0, "max_connections_per_source is"),
            ] {
                if given {
                    let text = format!("options->{name} a door's, and of no use to a client");
                    return Err(Failure::new(GK_ERR_ARGUMENT, text));
                }
            }
            context.client.wire = Wire::Stream;
            context.client.stream = StreamClient {
                framing: door.framing,
                read_bytes: door.read_bytes,
                stall_timeout: door.stall_timeout,
                password_in_clear: door.password_in_clear,
                files: false,
                tls: context.client.stream.tls.take(),
            };
            Ok(())
        })
    }
}

/// Gives the addresses that others can reach the server at, one a line: the door (`udp`, `tcp`, `http` or `https`), a blank, and
/// the address with the real port, as in `"udp 192.0.2.7:2021\ntcp 192.0.2.7:9000\nhttps 192.0.2.7:8443\n"`. Where a door takes
/// all interfaces, these are the ones that are up now, without loopback unless there is no other.
///
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_addresses(
    server: *const gk_server,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe {
        with_server(server, |server| {
            let lines = server.addresses().into_iter();
            let lines: String =
                lines.map(|(transport, address)| format!("{transport} {address}\n")).collect();
            write_text(&lines, buf, cap, out_len)
        })
    }
}

/// Gives the address that a door for streams is bound to, with the real port.
///
/// - `index`: which door, from 0, in the order of `gk_context_listen_stream`
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 64 is enough for all
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_ARGUMENT` (no such door), `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_stream_address(
    server: *const gk_server,
    index: usize,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    unsafe {
        with_server(server, |server| {
            let addresses = server.stream_addresses();
            let address = addresses.get(index).ok_or_else(|| {
                let text = format!("there is no door {index} for streams, but {}", addresses.len());
                Failure::new(GK_ERR_ARGUMENT, text)
            })?;
            write_text(&address.to_string(), buf, cap, out_len)
        })
    }
}
