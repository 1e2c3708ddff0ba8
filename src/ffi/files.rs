//! Files: sending them, deciding about them, hearing of them, at both ends.

use std::ffi::{c_char, c_void, CString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::client::Client;
use crate::ffi::arguments::{c_text, flag, text};
use crate::ffi::callbacks::Slot;
use crate::ffi::client::{gk_client, pointer_of as client_pointer, with_client};
use crate::ffi::context::{gk_context, with_context};
use crate::ffi::events::{gk_peer, GK_PEER_NONE};
use crate::ffi::panic::fallible;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT, GK_ERR_STALE};
use crate::ffi::send::peer_id;
use crate::ffi::server::{gk_server, pointer_of as server_pointer, with_server};
use crate::ffi::versioned;
use crate::panic_scope::outside;
use crate::protocol::files::COUNT_PER_PEER;
use crate::server::events::PeerId;
use crate::server::files::{path_text, FileEnd, FileEvent, FileId, FileOffer, FileTarget, Quota};
use crate::server::Server;

/// A file under way: a number that is unique among those of one peer, or of one session of a client.
pub type gk_file = u64;
/// No file.
pub const GK_FILE_NONE: gk_file = 0;

/// How the transfer of a file ended: one of `GK_FILE_…`.
pub type gk_file_result = i32;
/// All of it arrived, was checked, and is in its place.
pub const GK_FILE_DONE: gk_file_result = 0;
/// One of the two hosts gave it up.
pub const GK_FILE_CANCELLED: gk_file_result = 1;
/// The receiver's host does not want it.
pub const GK_FILE_REFUSED: gk_file_result = 2;
/// The receiver takes as many files as it may.
pub const GK_FILE_BUSY: gk_file_result = 3;
/// It would exceed a quota of the receiver.
pub const GK_FILE_QUOTA: gk_file_result = 4;
/// It is longer than the receiver takes.
pub const GK_FILE_TOO_LARGE: gk_file_result = 5;
/// The sender cannot read it, or it changed while it was sent.
pub const GK_FILE_VANISHED: gk_file_result = 6;
/// The receiver's disk is full.
pub const GK_FILE_NO_SPACE: gk_file_result = 7;
/// The receiver cannot write it.
pub const GK_FILE_DISK: gk_file_result = 8;
/// What arrived is not what was offered.
pub const GK_FILE_MISMATCH: gk_file_result = 9;
/// The other side broke the rules of transfers.
pub const GK_FILE_PROTOCOL: gk_file_result = 10;
/// Less than 16 KiB came in a minute, or nobody decided about it for ten. What is there stays for a next try.
pub const GK_FILE_STALLED: gk_file_result = 11;
/// The connection ended. What is there stays for a next try.
pub const GK_FILE_DISCONNECTED: gk_file_result = 12;

/// How much is received. `gk_file_quota_init` fills in the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_file_quota {
    /// sizeof this struct.
    pub struct_size: u32,
    /// Files of one peer at once, those included that wait for a decision. Default 4; more are refused.
    pub files_per_peer: u32,
    /// Files at once from all peers. Default 64.
    pub files_total: u32,
    /// 0.
    pub reserved: u32,
    /// Bytes of the longest file. Default 0: no bound.
    pub max_file_bytes: u64,
    /// Bytes of one peer while it is connected. Default 0: no bound.
    pub bytes_per_peer: u64,
    /// Bytes of all peers since the start. Default 0: no bound.
    pub bytes_total: u64,
    /// Files taken of one peer while it is connected, however short. Default 65,536; 0: no bound.
    pub count_per_peer: u64,
    /// Files taken of all peers since the start, however short. Default 0: no bound.
    pub count_total: u64,
}

versioned!(gk_file_quota, first: bytes_total, fields: [
    struct_size, files_per_peer, files_total, reserved, max_file_bytes, bytes_per_peer, bytes_total, count_per_peer,
    count_total
]);

/// A file that is offered.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_file_offer {
    /// sizeof this struct.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Its name, UTF-8, reduced to a safe base name.
    pub name: *const c_char,
    /// Bytes; 0 of a plain file, of which nobody knows.
    pub size: u64,
    /// SHA-256 of it, 32 bytes; all 0 of a plain file.
    pub sha256: *const u8,
}

/// Where an accepted file goes. `gk_file_target_init` fills in the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_file_target {
    /// sizeof this struct.
    pub struct_size: u32,
    /// 1: a file of this name is replaced once the new one is whole. Default 0: the new one gets a number.
    pub replace: u32,
    /// The directory, which must exist. Nothing is written elsewhere. No default.
    pub directory: *const c_char,
    /// Another name than the offered one; it is reduced to a safe base name too. Default NULL: the offered one.
    pub name: *const c_char,
}

versioned!(gk_file_target, first: name, fields: [struct_size, replace, directory, name]);

/// How the transfer of a file ended.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_file_end {
    /// sizeof this struct.
    pub struct_size: u32,
    /// `GK_FILE_DONE`, or why it failed.
    pub result: gk_file_result,
    /// The file's name: of a received one the offered, made safe.
    pub name: *const c_char,
    /// Where a received file is; empty for one that was sent, and after a failure.
    pub path: *const c_char,
    /// One sentence about a failure; empty without one.
    pub text: *const c_char,
    /// Bytes in all.
    pub size: u64,
}

/// How a file is to be sent. `gk_file_options_init` fills in the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_file_options {
    /// sizeof this struct.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The name that it is offered under. Default NULL: the path's last component.
    pub name: *const c_char,
    /// Told how much of it the receiver has written. Default NULL: who `gk_context_on_file` says is told.
    pub on_progress: gk_file_progress_fn,
    /// Passed to both callbacks. Default NULL.
    pub user_data: *mut c_void,
}

versioned!(gk_file_options, first: user_data, fields: [struct_size, reserved, name, on_progress, user_data]);

/// A peer offers a file. `gk_server_accept_file` takes it, `gk_server_refuse_file` does not: from inside this callback, or later
/// from any thread.
///
/// When: once per file. Without this callback, and without an event queue, all are refused.
/// Thread: the server's.
/// Borrowed: `offer` and what it points to, until the callback returns.
/// May call: everything but `gk_server_poll`, `gk_server_next_events`, `gk_server_wait`.
pub type gk_file_offer_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        peer: gk_peer,
        file: gk_file,
        offer: *const gk_file_offer,
    ),
>;

/// The server offers a file. `gk_client_accept_file` takes it, `gk_client_refuse_file` does not: from inside this callback, or
/// later from any thread.
///
/// When: once per file. Without this callback, and without an event queue, all are refused.
/// Thread: the client's.
/// Borrowed: `offer` and what it points to, until the callback returns.
/// May call: everything but `gk_client_poll`, `gk_client_next_events`, `gk_client_wait`, `gk_client_disconnect_wait`.
pub type gk_client_file_offer_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        client: *mut gk_client,
        file: gk_file,
        offer: *const gk_file_offer,
    ),
>;

/// So many of a file's bytes are on the receiver's disk.
///
/// When: about every 256 KiB. Of a client's files `server` is NULL and `peer` is `GK_PEER_NONE`.
/// Thread: the server's, or the client's.
/// Borrowed: nothing.
/// May call: as `gk_sent_fn`.
pub type gk_file_progress_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        peer: gk_peer,
        file: gk_file,
        done: u64,
        size: u64,
    ),
>;

/// The transfer of a file ended.
///
/// When: exactly once for each file that was sent or accepted, and for each offer that was withdrawn; at the latest before the
/// peer's disconnect. Never from inside the call that sends it. Of a client's files `server` is NULL and `peer` is
/// `GK_PEER_NONE`.
/// Thread: the server's, or the client's.
/// Borrowed: `end` and its texts, until the callback returns.
/// May call: as `gk_sent_fn`.
pub type gk_file_end_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        server: *mut gk_server,
        peer: gk_peer,
        file: gk_file,
        end: *const gk_file_end,
    ),
>;

/// What a context has for files at one end; `O` is that end's callback for offers.
#[derive(Clone, Copy, Default)]
pub(crate) struct FileSlots<O> {
    offer: Slot<O>,
    progress: Slot<gk_file_progress_fn>,
    end: Slot<gk_file_end_fn>,
}

const QUOTA_DEFAULTS: gk_file_quota = gk_file_quota {
    struct_size: std::mem::size_of::<gk_file_quota>() as u32,
    files_per_peer: 4,
    files_total: 64,
    reserved: 0,
    max_file_bytes: 0,
    bytes_per_peer: 0,
    bytes_total: 0,
    count_per_peer: COUNT_PER_PEER,
    count_total: 0,
};

const TARGET_DEFAULTS: gk_file_target = gk_file_target {
    struct_size: std::mem::size_of::<gk_file_target>() as u32,
    replace: 0,
    directory: std::ptr::null(),
    name: std::ptr::null(),
};

const OPTIONS_DEFAULTS: gk_file_options = gk_file_options {
    struct_size: std::mem::size_of::<gk_file_options>() as u32,
    reserved: 0,
    name: std::ptr::null(),
    on_progress: None,
    user_data: std::ptr::null_mut(),
};

/// Fills in size and defaults.
///
/// - `quota`: the struct
/// - `struct_size`: `sizeof(gk_file_quota)`, so that a library with a longer struct does not write behind yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_file_quota_init(quota: *mut gk_file_quota, struct_size: usize) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(quota, struct_size, &QUOTA_DEFAULTS) })
}

/// Fills in size and defaults.
///
/// - `target`: the struct
/// - `struct_size`: `sizeof(gk_file_target)`, so that a library with a longer struct does not write behind yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_file_target_init(target: *mut gk_file_target, struct_size: usize) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(target, struct_size, &TARGET_DEFAULTS) })
}

/// Fills in size and defaults.
///
/// - `options`: the struct
/// - `struct_size`: `sizeof(gk_file_options)`, so that a library with a longer struct does not write behind yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_file_options_init(
    options: *mut gk_file_options,
    struct_size: usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(options, struct_size, &OPTIONS_DEFAULTS) })
}

/// Lets files be sent and received, by servers and clients, on the native wire. Both ends must allow it. For streams see
/// `gk_context_listen_stream_files` and `gk_context_connect_stream_files`.
///
/// - `quota`: how much is received; NULL (the default): files are not allowed
///
/// Errors: `GK_ERR_ARGUMENT` (`quota`; a longest message below 32,781 bytes; NULL while a door for streams has files),
/// `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_files(
    context: *mut gk_context,
    quota: *const gk_file_quota,
) -> gk_result {
    with_context(context, |context| {
        let quota = if quota.is_null() {
            None
        } else {
            // SAFETY: not null, and the caller's promise.
            let given = unsafe { versioned::read("quota", quota, QUOTA_DEFAULTS)? };
            Some(Quota {
                max_file_bytes: given.max_file_bytes,
                files_per_peer: given.files_per_peer,
                bytes_per_peer: given.bytes_per_peer,
                files_total: given.files_total,
                bytes_total: given.bytes_total,
                count_per_peer: given.count_per_peer,
                count_total: given.count_total,
            })
        };
        context.set(|config| &mut config.files, quota)
    })
}

/// Sets what is called about files of servers; see `gk_file_offer_fn`, `gk_file_progress_fn`, `gk_file_end_fn`. Files that were
/// sent with an `on_done` or `on_progress` of their own are not told of here.
///
/// - `offer`, `progress`, `end`: each may be NULL. All NULL: the events go to the event queue if there is one. With another
///   one set and no `offer` all offers are refused
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every server that is started
/// with this context. Servers that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_file(
    context: *mut gk_context,
    offer: gk_file_offer_fn,
    progress: gk_file_progress_fn,
    end: gk_file_end_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.callbacks.files = FileSlots {
            offer: Slot { function: offer, user_data },
            progress: Slot { function: progress, user_data },
            end: Slot { function: end, user_data },
        };
        Ok(())
    })
}

/// Sets what is called about files of clients; see `gk_client_file_offer_fn`, `gk_file_progress_fn`, `gk_file_end_fn`. Files that
/// were sent with an `on_done` or `on_progress` of their own are not told of here.
///
/// - `offer`, `progress`, `end`: each may be NULL. All NULL: the events go to the event queue if there is one. With another
///   one set and no `offer` all offers are refused
/// - `user_data`: passed to each call as it is
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: `user_data` stays the host's; it must live until the shutdown of every client that is started
/// with this context. Clients that run already keep what they copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_on_client_file(
    context: *mut gk_context,
    offer: gk_client_file_offer_fn,
    progress: gk_file_progress_fn,
    end: gk_file_end_fn,
    user_data: *mut c_void,
) -> gk_result {
    with_context(context, |context| {
        context.client_callbacks.files = FileSlots {
            offer: Slot { function: offer, user_data },
            progress: Slot { function: progress, user_data },
            end: Slot { function: end, user_data },
        };
        Ok(())
    })
}

/// How a file is to be sent, checked.
struct Wanted {
    path: PathBuf,
    name: Option<String>,
    progress: Slot<gk_file_progress_fn>,
    done: Slot<gk_file_end_fn>,
}

/// # Safety
/// `path` is null or a text; `options` is null or points to options of the size that they say.
unsafe fn wanted(
    path: *const c_char,
    options: *const gk_file_options,
    on_done: gk_file_end_fn,
) -> Result<Wanted, Failure> {
    // SAFETY: the caller's promise.
    let path = PathBuf::from(unsafe { text("path", path)? });
    let given = if options.is_null() {
        OPTIONS_DEFAULTS
    } else {
        // SAFETY: not null, and the caller's promise.
        unsafe { versioned::read("options", options, OPTIONS_DEFAULTS)? }
    };
    let name = if given.name.is_null() {
        None
    } else {
        // SAFETY: not null, and the caller's promise.
        Some(unsafe { text("options->name", given.name)? }.to_owned())
    };
    let user_data = given.user_data;
    Ok(Wanted {
        path,
        name,
        progress: Slot { function: given.on_progress, user_data },
        done: Slot { function: on_done, user_data },
    })
}

/// The host's function, to be called from the loop's thread alone, whoever holds it meanwhile.
#[derive(Clone, Copy)]
struct Shared<F>(Slot<F>);

// SAFETY: the library never follows `user_data`; calls come from the loop's thread alone.
unsafe impl<F: Send> Send for Shared<F> {}
// SAFETY: as above.
unsafe impl<F: Send> Sync for Shared<F> {}

impl Shared<gk_file_progress_fn> {
    fn call(&self, server: *mut gk_server, peer: u64, file: FileId, done: u64, size: u64) {
        let Slot { function, user_data } = self.0;
        if let Some(function) = function {
            // SAFETY: the host gave the function for calls with these arguments.
            outside(|| unsafe { function(user_data, server, peer, file.to_bits(), done, size) });
        }
    }
}

impl Shared<gk_file_end_fn> {
    fn call(&self, server: *mut gk_server, peer: u64, file: FileId, end: &FileEnd) {
        let Slot { function, user_data } = self.0;
        let texts = EndTexts::new(end);
        let end = texts.end(end);
        if let Some(function) = function {
            // SAFETY: the host gave the function for calls with these arguments; what they borrow lives above.
            outside(|| unsafe { function(user_data, server, peer, file.to_bits(), &end) });
        }
    }
}

/// Sends a file to a peer: it is hashed, offered, and flows beside everything else, when nothing else waits. Files beyond four
/// to one peer wait. When the connection breaks, sending it again goes on where it left off.
///
/// - `path`: the file; it must not change before the end
/// - `options`: name and progress; may be NULL
/// - `on_done`: told once how it ended, with the `user_data` of the options; may be NULL: who `gk_context_on_file` says is told
/// - `out_file`: its number; may be NULL
///
/// Errors, after which `on_done` is not called: `GK_ERR_STALE`, `GK_ERR_STATE` (files are not enabled at one of the two ends, or
/// the peer is on mpgameserver's wire; stopped), `GK_ERR_WOULD_BLOCK` (1024 wait), `GK_ERR_ARGUMENT` (`options`),
/// `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`. That it cannot be read is told to `on_done`.
///
/// Thread: any.
/// Ownership: texts are copied; `options->user_data` stays the host's and must live until `on_done`.
#[no_mangle]
pub unsafe extern "C" fn gk_server_send_file(
    server: *mut gk_server,
    peer: gk_peer,
    path: *const c_char,
    options: *const gk_file_options,
    on_done: gk_file_end_fn,
    out_file: *mut gk_file,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let Wanted { path, name, progress, done } = unsafe { wanted(path, options, on_done)? };
        let mut options = crate::server::events::FileOptions { name, ..Default::default() };
        if progress.function.is_some() {
            let progress = Shared(progress);
            options.on_progress = Some(Arc::new(move |server: &Server, peer: PeerId, file, done, size| {
                let all = &progress;
                all.call(server_pointer(server).cast_mut(), peer.to_bits(), file, done, size);
            }));
        }
        if done.function.is_some() {
            let done = Shared(done);
            options.on_done = Some(Box::new(move |server, peer, file, end| {
                let all = &done;
                all.call(server_pointer(server).cast_mut(), peer.to_bits(), file, end);
            }));
        }
        let file = server.send_file(peer_id(peer)?, &path, options)?;
        if !out_file.is_null() {
            // SAFETY: not null, and the caller's to write.
            unsafe { out_file.write(file.to_bits()) };
        }
        Ok(())
    })
}

/// Sends a file to the server: it is hashed, offered, and flows beside everything else, when nothing else waits. Files beyond
/// four wait. When the connection breaks, sending it again in another session goes on where it left off.
///
/// - `path`: the file; it must not change before the end
/// - `options`: name and progress; may be NULL
/// - `on_done`: told once how it ended, with the `user_data` of the options; may be NULL: who `gk_context_on_client_file` says
///   is told
/// - `out_file`: its number; may be NULL
///
/// Errors, after which `on_done` is not called: `GK_ERR_STATE` (not connected; files are not enabled at one of the two ends, or
/// the wire is mpgameserver's), `GK_ERR_WOULD_BLOCK` (1024 wait), `GK_ERR_ARGUMENT` (`options`), `GK_ERR_UTF8`, `GK_ERR_NULL`,
/// `GK_ERR_PANIC`. That it cannot be read is told to `on_done`.
///
/// Thread: any.
/// Ownership: texts are copied; `options->user_data` stays the host's and must live until `on_done`.
#[no_mangle]
pub unsafe extern "C" fn gk_client_send_file(
    client: *mut gk_client,
    path: *const c_char,
    options: *const gk_file_options,
    on_done: gk_file_end_fn,
    out_file: *mut gk_file,
) -> gk_result {
    with_client(client, |client| {
        // SAFETY: the caller's promise.
        let Wanted { path, name, progress, done } = unsafe { wanted(path, options, on_done)? };
        let mut options = crate::client::FileOptions { name, ..Default::default() };
        if progress.function.is_some() {
            let progress = Shared(progress);
            options.on_progress = Some(Arc::new(move |_: &Client, file, done, size| {
                let all = &progress;
                all.call(std::ptr::null_mut(), GK_PEER_NONE, file, done, size);
            }));
        }
        if done.function.is_some() {
            let done = Shared(done);
            options.on_done = Some(Box::new(move |_, file, end| {
                let all = &done;
                all.call(std::ptr::null_mut(), GK_PEER_NONE, file, end);
            }));
        }
        let file = client.send_file(&path, options)?;
        if !out_file.is_null() {
            // SAFETY: not null, and the caller's to write.
            unsafe { out_file.write(file.to_bits()) };
        }
        Ok(())
    })
}

fn file_id(file: gk_file) -> Result<FileId, Failure> {
    FileId::from_bits(file).ok_or_else(|| Failure::new(GK_ERR_STALE, format!("{file:#x} is no file")))
}

/// # Safety
/// `pointer` is null or points to a target of the size that it says.
unsafe fn target(pointer: *const gk_file_target) -> Result<FileTarget, Failure> {
    if pointer.is_null() {
        return Err(Failure::null("target"));
    }
    // SAFETY: not null, and the caller's promise.
    let given = unsafe { versioned::read("target", pointer, TARGET_DEFAULTS)? };
    // SAFETY: the caller's promise.
    let directory = unsafe { text("target->directory", given.directory)? };
    if directory.is_empty() {
        return Err(Failure::new(GK_ERR_ARGUMENT, "target->directory is empty"));
    }
    let name = if given.name.is_null() {
        None
    } else {
        // SAFETY: not null, and the caller's promise.
        Some(unsafe { text("target->name", given.name)? }.to_owned())
    };
    let replace = flag("target->replace", given.replace)?;
    Ok(FileTarget { directory: Path::new(directory).to_owned(), name, replace })
}

/// Takes a file that a peer offered. What does not work later is told when it ends: a directory that does not exist, a quota.
///
/// - `file`: the number of the offer
/// - `target`: where it goes
///
/// Errors: `GK_ERR_STALE` (peer or file are gone, or it was decided), `GK_ERR_STATE`, `GK_ERR_ARGUMENT` (`target`),
/// `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: texts are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_accept_file(
    server: *mut gk_server,
    peer: gk_peer,
    file: gk_file,
    target: *const gk_file_target,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let target = unsafe { self::target(target)? };
        Ok(server.accept_file(peer_id(peer)?, file_id(file)?, target)?)
    })
}

/// Does not take a file that a peer offered; no further callback about it follows.
///
/// - `file`: the number of the offer
/// - `why`: for the peer's host, at most 255 bytes; may be NULL
///
/// Errors: `GK_ERR_STALE` (peer or file are gone, or it was decided), `GK_ERR_STATE`, `GK_ERR_UTF8`, `GK_ERR_NULL`,
/// `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_server_refuse_file(
    server: *mut gk_server,
    peer: gk_peer,
    file: gk_file,
    why: *const c_char,
) -> gk_result {
    with_server(server, |server| {
        // SAFETY: the caller's promise.
        let why = if why.is_null() { "" } else { unsafe { text("why", why)? } };
        Ok(server.refuse_file(peer_id(peer)?, file_id(file)?, why)?)
    })
}

/// Gives up a file, either way: what was received of it is removed, and both hosts are told that it ended.
///
/// - `file`: its number
///
/// Errors: `GK_ERR_STALE` (peer or file are gone), `GK_ERR_STATE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_server_cancel_file(
    server: *mut gk_server,
    peer: gk_peer,
    file: gk_file,
) -> gk_result {
    with_server(server, |server| Ok(server.cancel_file(peer_id(peer)?, file_id(file)?)?))
}

/// Takes a file that the server offered. What does not work later is told when it ends: a directory that does not exist, a quota.
///
/// - `file`: the number of the offer
/// - `target`: where it goes
///
/// Errors: `GK_ERR_STALE` (it is gone, or was decided), `GK_ERR_STATE`, `GK_ERR_ARGUMENT` (`target`), `GK_ERR_UTF8`,
/// `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: texts are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_client_accept_file(
    client: *mut gk_client,
    file: gk_file,
    target: *const gk_file_target,
) -> gk_result {
    with_client(client, |client| {
        // SAFETY: the caller's promise.
        let target = unsafe { self::target(target)? };
        Ok(client.accept_file(file_id(file)?, target)?)
    })
}

/// Does not take a file that the server offered; no further callback about it follows.
///
/// - `file`: the number of the offer
/// - `why`: for the server's host, at most 255 bytes; may be NULL
///
/// Errors: `GK_ERR_STALE` (it is gone, or was decided), `GK_ERR_STATE`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the text is copied.
#[no_mangle]
pub unsafe extern "C" fn gk_client_refuse_file(
    client: *mut gk_client,
    file: gk_file,
    why: *const c_char,
) -> gk_result {
    with_client(client, |client| {
        // SAFETY: the caller's promise.
        let why = if why.is_null() { "" } else { unsafe { text("why", why)? } };
        Ok(client.refuse_file(file_id(file)?, why)?)
    })
}

/// Gives up a file, either way: what was received of it is removed, and both hosts are told that it ended.
///
/// - `file`: its number
///
/// Errors: `GK_ERR_STALE` (it is gone), `GK_ERR_STATE`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_client_cancel_file(client: *mut gk_client, file: gk_file) -> gk_result {
    with_client(client, |client| Ok(client.cancel_file(file_id(file)?)?))
}

/// Texts that live while the host is called.
struct EndTexts {
    name: CString,
    path: CString,
    text: CString,
}

impl EndTexts {
    fn new(end: &FileEnd) -> EndTexts {
        let (path, text) = match &end.result {
            Ok(path) => (path_text(path.as_ref()), ""),
            Err((_, text)) => (String::new(), text.as_str()),
        };
        EndTexts { name: c_text(&end.name), path: c_text(&path), text: c_text(text) }
    }

    fn end(&self, end: &FileEnd) -> gk_file_end {
        gk_file_end {
            struct_size: std::mem::size_of::<gk_file_end>() as u32,
            result: result(end),
            name: self.name.as_ptr(),
            path: self.path.as_ptr(),
            text: self.text.as_ptr(),
            size: end.size,
        }
    }
}

/// The number for C.
pub(crate) fn result(end: &FileEnd) -> gk_file_result {
    match &end.result {
        Ok(_) => GK_FILE_DONE,
        Err((failure, _)) => *failure as gk_file_result,
    }
}

fn offer_for_c(offer: &FileOffer, name: &CString) -> gk_file_offer {
    gk_file_offer {
        struct_size: std::mem::size_of::<gk_file_offer>() as u32,
        reserved: 0,
        name: name.as_ptr(),
        size: offer.size,
        sha256: offer.digest.as_ptr(),
    }
}

impl<F: Copy> FileSlots<Option<F>> {
    /// Whether the host has any callback for files.
    pub(crate) fn are_set(&self) -> bool {
        self.offer.function.is_some() || self.progress.function.is_some() || self.end.function.is_some()
    }

    fn progress_or_end(&self, server: *mut gk_server, peer: u64, event: &FileEvent) {
        match event {
            FileEvent::Offered(..) => {}
            FileEvent::Progress { file, done, size } => {
                Shared(self.progress).call(server, peer, *file, *done, *size);
            }
            FileEvent::Ended(file, end) => Shared(self.end).call(server, peer, *file, end),
        }
    }
}

impl FileSlots<gk_file_offer_fn> {
    pub(crate) fn call(&self, server: &Server, peer: PeerId, event: &FileEvent) {
        let pointer = server_pointer(server).cast_mut();
        let FileEvent::Offered(file, offer) = event else {
            return self.progress_or_end(pointer, peer.to_bits(), event);
        };
        let name = c_text(&offer.name);
        let offer = offer_for_c(offer, &name);
        match self.offer.function {
            // SAFETY: the host gave the function for calls with these arguments; what they borrow lives above.
            Some(function) => outside(|| unsafe {
                function(self.offer.user_data, pointer, peer.to_bits(), file.to_bits(), &offer);
            }),
            // It may be gone already.
            None => drop(server.refuse_file(peer, *file, "")),
        }
    }
}

impl FileSlots<gk_client_file_offer_fn> {
    pub(crate) fn call(&self, client: &Client, event: &FileEvent) {
        let FileEvent::Offered(file, offer) = event else {
            return self.progress_or_end(std::ptr::null_mut(), GK_PEER_NONE, event);
        };
        let name = c_text(&offer.name);
        let (offer, pointer) = (offer_for_c(offer, &name), client_pointer(client).cast_mut());
        match self.offer.function {
            // SAFETY: the host gave the function for calls with these arguments; what they borrow lives above.
            Some(function) => outside(|| unsafe {
                function(self.offer.user_data, pointer, file.to_bits(), &offer);
            }),
            // It may be gone already.
            None => drop(client.refuse_file(*file, "")),
        }
    }
}
