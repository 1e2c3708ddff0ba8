//! What a message is, as JSON headers tell it.

use std::ffi::{c_char, CString};

use crate::ffi::arguments::{c_text, text};
use crate::ffi::panic::fallible;
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT};
use crate::ffi::versioned;
use crate::protocol::framing::{Content, MAX_CONTENT_TYPE};

/// What a message is: what the header of `GK_FRAMING_JSON` tells of it, and whether a WebSocket's message is text. With a
/// message that arrived it is what the sender says: the bytes are delivered as they came. `gk_content_init` fills in the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gk_content {
    /// sizeof this struct; with a message that arrived, bytes that the library filled.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The content type, as `"text/json"`, UTF-8, at most 255 bytes. Never NULL with a message that arrived. Default NULL:
    /// `application/octet-stream`.
    pub r#type: *const c_char,
    /// The content encoding, as `"utf-8"` or `"binary"`, in the same way. Default NULL: `utf-8` with types that begin with
    /// `text/`, else `binary`.
    pub encoding: *const c_char,
    /// The order of bytes in numbers of the content, as `"little"` or `"big"`, in the same way. Default NULL: `little`.
    pub byteorder: *const c_char,
}

versioned!(gk_content, first: r#type, fields: [struct_size, reserved, r#type, encoding, byteorder]);

const DEFAULTS: gk_content = gk_content {
    struct_size: std::mem::size_of::<gk_content>() as u32,
    reserved: 0,
    r#type: std::ptr::null(),
    encoding: std::ptr::null(),
    byteorder: std::ptr::null(),
};

/// Fills in size and defaults.
///
/// - `content`: the struct
/// - `struct_size`: `sizeof(gk_content)`, so that a library with a longer struct does not write behind yours
///
/// Errors: `GK_ERR_ARGUMENT` (`struct_size`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the struct stays the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_content_init(content: *mut gk_content, struct_size: usize) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { versioned::init(content, struct_size, &DEFAULTS) })
}

/// A content from C; none from NULL.
///
/// # Safety
/// `pointer` is null or points to a content of the size that it says, with texts that end.
pub(crate) unsafe fn content(pointer: *const gk_content) -> Result<Option<Box<Content>>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and the caller's promise.
    let given = unsafe { versioned::read("content", pointer, DEFAULTS)? };
    let read = |name: &'static str, value: *const c_char| {
        if value.is_null() {
            return Ok(None);
        }
        // SAFETY: not null, and the caller's promise.
        let text = unsafe { text(name, value)? };
        if text.len() > MAX_CONTENT_TYPE {
            let text = format!("{name} has {} bytes, allowed are {MAX_CONTENT_TYPE}", text.len());
            return Err(Failure::new(GK_ERR_ARGUMENT, text));
        }
        Ok(Some(text.to_owned()))
    };
    let mut content = read("content->type", given.r#type)?.map_or_else(Content::default, |t| Content::of(&t));
    if let Some(encoding) = read("content->encoding", given.encoding)? {
        content.encoding = encoding;
    }
    if let Some(byte_order) = read("content->byteorder", given.byteorder)? {
        content.byte_order = byte_order;
    }
    Ok(Some(Box::new(content)))
}

/// A content for C, with what it points to. On the heap: it stays where it is.
pub(crate) struct OwnedContent {
    shape: gk_content,
    _texts: [CString; 3],
}

// SAFETY: the pointers lead into its own texts, which nobody changes.
unsafe impl Send for OwnedContent {}

impl OwnedContent {
    pub(crate) fn new(content: &Content) -> Box<OwnedContent> {
        let texts = [c_text(&content.kind), c_text(&content.encoding), c_text(&content.byte_order)];
        let [kind, encoding, byteorder] = texts.each_ref().map(|text| text.as_ptr());
        let shape = gk_content { r#type: kind, encoding, byteorder, ..DEFAULTS };
        // Moving a `CString` does not move its bytes.
        Box::new(OwnedContent { shape, _texts: texts })
    }

    /// Good for as long as this lives, wherever its box is moved.
    pub(crate) fn pointer(&self) -> *const gk_content {
        &raw const self.shape
    }
}
