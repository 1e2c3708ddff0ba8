//! Keys.

use std::ffi::c_char;
use std::path::Path;
use std::sync::Arc;

use crate::ffi::arguments::{bytes, text, write_array, write_text};
use crate::ffi::panic::{fallible, infallible};
use crate::ffi::result::{gk_result, Failure};
use crate::keys::{PublicKey, RootKey};

/// A root key pair, ECDSA P-256: its private part proves a server's identity, its public part is what
/// clients pin. It does not change once made.
///
/// - `gk_key_generate`, `gk_key_from_pem`, `gk_key_from_der`, `gk_key_load`: make it
/// - `gk_key_free`: end it
/// - `gk_key_save`: write the private part to a file
/// - `gk_key_private_pem`, `gk_key_private_der`: the private part, PKCS#8
/// - `gk_key_public_pem`, `gk_key_public_der`, `gk_key_native_public`: the public part, SubjectPublicKeyInfo
/// - `gk_key_sign`: sign bytes
/// - `gk_public_key_verify`: check a signature with the public part
/// - `gk_public_key_pem_to_der`, `gk_public_key_der_to_pem`: convert the public part
pub struct gk_key {
    pub(crate) root: Arc<RootKey>,
}

/// Makes the object that C gets.
///
/// # Safety
/// `out` is null or can be written.
unsafe fn make(
    out: *mut *mut gk_key,
    root: impl FnOnce() -> Result<RootKey, Failure>,
) -> Result<(), Failure> {
    not_null!(out);
    let key = Box::new(gk_key { root: Arc::new(root()?) });
    // SAFETY: not null, and the caller's to write.
    unsafe { out.write(Box::into_raw(key)) };
    Ok(())
}

/// Runs the body of a function of a key.
///
/// # Safety
/// `key` is null or from one of the functions that make one, and not freed.
unsafe fn with_key(key: *const gk_key, body: impl FnOnce(&RootKey) -> Result<(), Failure>) -> gk_result {
    fallible(|| {
        not_null!(key);
        // SAFETY: not null, and the caller's promise.
        body(&unsafe { &*key }.root)
    })
}

/// Makes a new key from the system's randomness.
///
/// - `out`: the key
///
/// Errors: `GK_ERR_KEY` (the system gives no randomness), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the caller's, to be ended with `gk_key_free`.
#[no_mangle]
pub unsafe extern "C" fn gk_key_generate(out: *mut *mut gk_key) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { make(out, || Ok(RootKey::generate()?)) })
}

/// Ends a key. Contexts and servers that were given it keep their copy.
///
/// - `key`: may be NULL
///
/// Thread: any; nobody may use the key any more.
/// Ownership: ends the caller's.
#[no_mangle]
pub unsafe extern "C" fn gk_key_free(key: *mut gk_key) {
    infallible((), || {
        if !key.is_null() {
            // SAFETY: made by `make`, and given back once.
            drop(unsafe { Box::from_raw(key) });
        }
    });
}

/// Makes a key from its private part as PEM: PKCS#8, "PRIVATE KEY".
///
/// - `pem`: the text
/// - `out`: the key
///
/// Errors: `GK_ERR_KEY`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the caller's, to be ended with `gk_key_free`; the text is not kept.
#[no_mangle]
pub unsafe extern "C" fn gk_key_from_pem(pem: *const c_char, out: *mut *mut gk_key) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { make(out, || Ok(RootKey::from_pem(text("pem", pem)?)?)) })
}

/// Makes a key from its private part as DER: PKCS#8.
///
/// - `der`, `len`: the bytes
/// - `out`: the key
///
/// Errors: `GK_ERR_KEY`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the caller's, to be ended with `gk_key_free`; the bytes are not kept.
#[no_mangle]
pub unsafe extern "C" fn gk_key_from_der(der: *const u8, len: usize, out: *mut *mut gk_key) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { make(out, || Ok(RootKey::from_der(bytes("der", der, len)?)?)) })
}

/// Makes a key from a PEM file with its private part.
///
/// - `path`: UTF-8
/// - `out`: the key
///
/// Errors: `GK_ERR_IO` (the file cannot be read), `GK_ERR_KEY`, `GK_ERR_UTF8`, `GK_ERR_NULL`,
/// `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the caller's, to be ended with `gk_key_free`.
#[no_mangle]
pub unsafe extern "C" fn gk_key_load(path: *const c_char, out: *mut *mut gk_key) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { make(out, || Ok(RootKey::load(Path::new(text("path", path)?))?)) })
}

/// Writes the private part to a file as PEM, readable by its owner only.
///
/// - `path`: UTF-8
///
/// Errors: `GK_ERR_IO`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_key_save(key: *const gk_key, path: *const c_char) -> gk_result {
    // SAFETY: the caller's promise.
    with_key(key, |key| Ok(key.save(Path::new(unsafe { text("path", path)? }))?))
}

/// Gives the private part as PEM: PKCS#8, "PRIVATE KEY".
///
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 512 is enough
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_key_private_pem(
    key: *const gk_key,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    with_key(key, |key| unsafe { write_text(&key.private_pem(), buf, cap, out_len) })
}

/// Gives the public part as PEM: SubjectPublicKeyInfo, "PUBLIC KEY".
///
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 256 is enough
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_key_public_pem(
    key: *const gk_key,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    with_key(key, |key| unsafe { write_text(&key.public_key().to_pem(), buf, cap, out_len) })
}

/// Gives the private part as DER: PKCS#8.
///
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 256 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_key_private_der(
    key: *const gk_key,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    with_key(key, |key| unsafe { write_array(key.private_der(), buf, cap, out_len) })
}

/// Gives the public part as DER: SubjectPublicKeyInfo, 91 bytes.
///
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 91 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_key_public_der(
    key: *const gk_key,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    with_key(key, |key| unsafe { write_array(&key.public_key().to_der(), buf, cap, out_len) })
}

/// Gives the X25519 public key that a server with this root key has on the native wire.
///
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 32 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_key_native_public(
    key: *const gk_key,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    with_key(key, |key| unsafe { write_array(&key.native_public(), buf, cap, out_len) })
}

/// Signs bytes: ECDSA over SHA-256, as ASN.1 DER.
///
/// - `data`, `len`: the bytes; may be NULL with 0
/// - `buf`: gets the signature; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 72 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed. Signatures of the
///   same bytes differ, also in length: ask for 72.
///
/// Errors: `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_KEY` (the system gives no randomness), `GK_ERR_NULL`,
/// `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_key_sign(
    key: *const gk_key,
    data: *const u8,
    len: usize,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    with_key(key, |key| {
        // SAFETY: the caller's promise.
        unsafe { write_array(&key.sign(bytes("data", data, len)?)?, buf, cap, out_len) }
    })
}

/// Checks a signature as `gk_key_sign` makes it.
///
/// - `public_der`, `der_len`: the public part, SubjectPublicKeyInfo as DER
/// - `data`, `len`: the bytes that were signed; may be NULL with 0
/// - `signature`, `signature_len`: the signature
///
/// Errors: `GK_ERR_SIGNATURE` (does not fit), `GK_ERR_KEY`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: nothing is kept.
#[no_mangle]
pub unsafe extern "C" fn gk_public_key_verify(
    public_der: *const u8,
    der_len: usize,
    data: *const u8,
    len: usize,
    signature: *const u8,
    signature_len: usize,
) -> gk_result {
    fallible(|| {
        // SAFETY: the caller's promise.
        let (der, data, signature) = unsafe {
            let der = bytes("public_der", public_der, der_len)?;
            (der, bytes("data", data, len)?, bytes("signature", signature, signature_len)?)
        };
        Ok(PublicKey::from_der(der)?.verify(data, signature)?)
    })
}

/// Converts a public key from PEM ("PUBLIC KEY") to DER (SubjectPublicKeyInfo, 91 bytes).
///
/// - `pem`: the text
/// - `buf`: gets the bytes; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 91 is enough
/// - `out_len`: how many bytes; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_KEY`, `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_UTF8`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_public_key_pem_to_der(
    pem: *const c_char,
    buf: *mut u8,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe { write_array(&PublicKey::from_pem(text("pem", pem)?)?.to_der(), buf, cap, out_len) })
}

/// Converts a public key from DER (SubjectPublicKeyInfo) to PEM ("PUBLIC KEY").
///
/// - `der`, `len`: the bytes
/// - `buf`: gets the text and a NUL; may be NULL if `cap` is 0
/// - `cap`: size of `buf` in bytes; 256 is enough
/// - `out_len`: length of the text without the NUL; with `GK_ERR_BUFFER_TOO_SMALL` the `cap` that is needed
///
/// Errors: `GK_ERR_KEY`, `GK_ERR_BUFFER_TOO_SMALL`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any.
/// Ownership: copied.
#[no_mangle]
pub unsafe extern "C" fn gk_public_key_der_to_pem(
    der: *const u8,
    len: usize,
    buf: *mut c_char,
    cap: usize,
    out_len: *mut usize,
) -> gk_result {
    // SAFETY: the caller's promise.
    fallible(|| unsafe {
        write_text(&PublicKey::from_der(bytes("der", der, len)?)?.to_pem(), buf, cap, out_len)
    })
}
