//! Many messages in one call.

use std::ffi::c_void;

use crate::ffi::arguments::bytes;
use crate::ffi::events::{gk_peer, gk_retry_mode, GK_PEER_NONE, GK_RETRY_NONE};
use crate::ffi::panic::fallible;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT, GK_OK};
use crate::ffi::send::{self, gk_priority, gk_send_options, peer_id, GK_PRIORITY_NORMAL, SEND_DEFAULTS};
use crate::ffi::server::{gk_server, with_server};
use crate::ffi::versioned;
use crate::server::many::Outgoing;

/// One of many messages: what `gk_server_send` takes, and in `result` what it would have answered.
/// `gk_send_item_init` fills in the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_send_item {
    /// sizeof this struct.
    pub struct_size: u32,
    /// How it is delivered. Default `GK_RETRY_NONE`.
    pub retry: gk_retry_mode,
    /// Who gets it. Default `GK_PEER_NONE`, which is refused.
    pub peer: gk_peer,
    /// The bytes; may be NULL with 0. Default NULL.
    pub data: *const u8,
    /// How many. Default 0.
    pub len: usize,
    /// As in `gk_send_options`. Default 0.
    pub channel: u32,
    /// As in `gk_send_options`. Default `GK_PRIORITY_NORMAL`.
    pub priority: gk_priority,
    /// As in `gk_send_options`. Default 0.
    pub redundancy: u32,
    /// 1: what became of the message comes as a `GK_EVENT_SENT` with `user_data`. Default 0.
    pub notify: u32,
    /// Given back in that event. Default NULL.
    pub user_data: *mut c_void,
    /// As in `gk_send_options`. Default 0.
    pub deadline_us: u64,
    /// Filled by the call: `GK_OK`, or why this message was not queued.
    pub result: gk_result,
    /// 0.
    pub reserved: u32,
}

versioned!(gk_send_item, first: reserved, fields: [
    struct_size, retry, peer, data, len, channel, priority, redundancy, notify, user_data, deadline_us, result,
    reserved,
]);

const ITEM_DEFAULTS: gk_send_item = gk_send_item {
    struct_size: std::mem::size_of::<gk_send_item>() as u32,
    retry: GK_RETRY_NONE,
    peer: GK_PEER_NONE,
    data: std::ptr::null(),
    len: 0,
    channel: 0,
    priority: GK_PRIORITY_NORMAL,
    redundancy: 0,
    notify: 0,
    user_data: std::ptr::null_mut(),
    deadline_us: 0,
    result: GK_OK,
    reserved: 0,
};

/// Fills in size and defaults.
///
/// - `item`: the struct
/// - `struct_size`: `sizeof(gk_send_item)`, so that a library with a longer struct does not write behind
///   yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_send_item_init(item: *mut gk_send_item, struct_size: usize) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(item, struct_size, &ITEM_DEFAULTS) })
}

/// Queues many messages, for one peer or for many, in the order of the array: as a call of `gk_server_send` for each, but in one,
/// for callers to whom each call is dear. A message that is refused does not keep back those behind it.
///
/// - `items`: the messages; `result` of each tells what became of it, where `gk_last_error` has no text; may be NULL
///   with 0
/// - `item_size`: `sizeof(gk_send_item)`
/// - `count`: how many
/// - `out_queued`: for how many `result` is `GK_OK`; may be NULL
///
/// Errors, after which nothing is queued and no `result` set: `GK_ERR_STATE` (stopped), `GK_ERR_ARGUMENT`
/// (`item_size`, `count`, or an item's `struct_size` is not `item_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`. A `result` can be:
/// `GK_OK` and the errors of `gk_server_send`.
///
/// Thread: any; an item is no other thread's while the call lasts.
/// Ownership: array and bytes stay the caller's, the bytes are copied; `user_data` stays the host's.
#[no_mangle]
pub unsafe extern "C" fn gk_server_send_many(
    server: *mut gk_server,
    items: *mut gk_send_item,
    item_size: usize,
    count: usize,
    out_queued: *mut usize,
) -> gk_result {
    with_server(server, |server| {
        if count > 0 {
            not_null!(items);
        }
        versioned::check_stride::<gk_send_item>("item_size", item_size)?;
        if count > isize::MAX as usize / item_size {
            return Err(Failure::new(GK_ERR_ARGUMENT, format!("there cannot be {count} items")));
        }
        // SAFETY: inside the caller's array, whose size was checked to be possible.
        let at = |index: usize| unsafe { items.cast::<u8>().add(index * item_size).cast::<gk_send_item>() };
        for index in 0..count {
            // SAFETY: the caller's promise; the first field is there in every version.
            let size = unsafe { at(index).cast::<u32>().read() } as usize;
            if size != item_size {
                let text = format!("item {index} has a struct_size of {size}, but item_size is {item_size}");
                return Err(Failure::new(GK_ERR_ARGUMENT, text));
            }
        }
        let tell = |index: usize, result: gk_result| {
            // SAFETY: as above, and every version of the struct has the field.
            unsafe { (&raw mut (*at(index)).result).write(result) };
        };
        let mut queued = 0;
        // Which items were given on, since `send_many` counts only those.
        let mut given = Vec::with_capacity(count);
        let mut unreadable = Vec::new();
        let mut messages = Vec::with_capacity(count);
        for index in 0..count {
            // SAFETY: the caller's promise.
            match unsafe { outgoing(at(index)) } {
                Ok(message) => {
                    given.push(index);
                    messages.push(message);
                }
                Err(failure) => unreadable.push((index, failure.code())),
            }
        }
        server.send_many(messages, |number, result| {
            queued += usize::from(result.is_ok());
            let code = result.map_or_else(|error| Failure::from(error).code(), |()| GK_OK);
            if let Some(&index) = given.get(number) {
                tell(index, code);
            }
        })?;
        for (index, code) in unreadable {
            tell(index, code);
        }
        if !out_queued.is_null() {
            // SAFETY: not null, and the caller's to write.
            unsafe { out_queued.write(queued) };
        }
        Ok(())
    })
}

/// An item as Rust knows it.
///
/// # Safety
/// `item` points to an item of the size that it says, and what it points to lives for `'a`.
unsafe fn outgoing<'a>(item: *const gk_send_item) -> Result<Outgoing<'a>, Failure> {
    // SAFETY: the caller's promise.
    let item = unsafe { versioned::read("item", item, ITEM_DEFAULTS)? };
    let options = gk_send_options {
        retry: item.retry,
        user_data: item.user_data,
        notify: item.notify,
        channel: item.channel,
        priority: item.priority,
        redundancy: item.redundancy,
        deadline_us: item.deadline_us,
        ..SEND_DEFAULTS
    };
    // SAFETY: the options are ours, the bytes the caller's promise.
    let (options, data) =
        unsafe { (send::options(&raw const options)?, bytes("data", item.data, item.len)?) };
    Ok(Outgoing { peer: peer_id(item.peer)?, data, options })
}
