//! What a context holds for clients alone.

use crate::client::{ClientConfig, KnownKeys, ServerKey, StreamClient, Wire};
use crate::ffi::arguments::bytes;
use crate::ffi::context::{gk_context, with_context};
use crate::ffi::events::{gk_wire, GK_WIRE_MPGAMESERVER, GK_WIRE_NATIVE};
use crate::ffi::result::{gk_result, Failure, GK_ERR_ARGUMENT, GK_ERR_KEY};
use crate::keys::PublicKey;

/// Bytes of an X25519 public key.
const NATIVE_KEY_LEN: usize = 32;

/// See [`ClientConfig`].
#[derive(Clone, Default)]
pub(crate) struct ClientPart {
    pub(crate) wire: Wire,
    pub(crate) stream: StreamClient,
    server_key: Option<ServerKey>,
    join_data: Vec<u8>,
    pub(crate) password: Option<Vec<u8>>,
}

impl ClientPart {
    fn pin(&mut self, change: impl FnOnce(&mut KnownKeys)) {
        let mut keys = match self.server_key.take() {
            Some(ServerKey::Pinned(keys)) => keys,
            Some(ServerKey::Any) | None => KnownKeys::default(),
        };
        change(&mut keys);
        self.server_key = Some(ServerKey::Pinned(keys));
    }
}

impl gk_context {
    /// What a client is made from.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, Failure> {
        let part = self.client.clone();
        // By what a stream's server is to be believed is said with its TLS.
        let by_tls = (part.wire == Wire::Stream && part.stream.tls.is_some()).then_some(ServerKey::Any);
        let Some(server_key) = part.server_key.or(by_tls) else {
            let text = "no key of the server is pinned, and gk_context_trust_any_server was not called";
            return Err(Failure::new(GK_ERR_KEY, text));
        };
        Ok(ClientConfig {
            wire: part.wire,
            stream: part.stream,
            join_data: part.join_data,
            password: part.password,
            ..ClientConfig::of(&self.config, server_key)
        })
    }
}

/// Sets how clients talk in datagrams; servers understand all wires. For streams there is
/// `gk_context_connect_stream`.
///
/// - `wire`: `GK_WIRE_NATIVE` (the default) or `GK_WIRE_MPGAMESERVER`
///
/// Errors: `GK_ERR_ARGUMENT` (another), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_wire(context: *mut gk_context, wire: gk_wire) -> gk_result {
    with_context(context, |context| {
        context.client.wire = match wire {
            GK_WIRE_NATIVE => Wire::Native,
            GK_WIRE_MPGAMESERVER => Wire::Mpgameserver,
            other => {
                let text = format!("wire is {other}, allowed is GK_WIRE_NATIVE or GK_WIRE_MPGAMESERVER");
                return Err(Failure::new(GK_ERR_ARGUMENT, text));
            }
        };
        Ok(())
    })
}

/// Has clients of the native wire believe a server that has the private part of this key, and no other.
///
/// - `key`, `len`: the server's X25519 public key, 32 bytes
///
/// Errors: `GK_ERR_KEY` (`len`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_pin_native_key(
    context: *mut gk_context,
    key: *const u8,
    len: usize,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: the caller's promise.
        let key = <[u8; NATIVE_KEY_LEN]>::try_from(unsafe { bytes("key", key, len)? })
            .map_err(|_| Failure::new(GK_ERR_KEY, format!("a key of {len} bytes, and it has 32")))?;
        context.client.pin(|keys| keys.native = Some(key));
        Ok(())
    })
}

/// Has clients of mpgameserver's wire believe a server that has the private part of this root key, and no other.
///
/// - `der`, `len`: the public part, SubjectPublicKeyInfo, as `gk_key_public_der` or
///   `gk_server_public_key_der` gives it
///
/// Errors: `GK_ERR_KEY`, `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_pin_root_key(
    context: *mut gk_context,
    der: *const u8,
    len: usize,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: the caller's promise.
        let key = PublicKey::from_der(unsafe { bytes("der", der, len)? })?;
        context.client.pin(|keys| keys.root = Some(key));
        Ok(())
    })
}

/// Has clients believe whoever answers, and forgets pinned keys. Nobody on the way can read what is sent then, but
/// who reads it at its end is not known: for development, or where something else tells.
///
/// Errors: `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: nothing is passed.
#[no_mangle]
pub unsafe extern "C" fn gk_context_trust_any_server(context: *mut gk_context) -> gk_result {
    with_context(context, |context| {
        context.client.server_key = Some(ServerKey::Any);
        Ok(())
    })
}

/// Sets what the server's host gets to see before it lets a client in: a name, a ticket. Native wire only: with
/// the other one a client with join data does not start.
///
/// - `data`, `len`: the bytes, at most 768; may be NULL with 0 (the default)
///
/// Errors: `GK_ERR_ARGUMENT` (`len`), `GK_ERR_NULL`, `GK_ERR_PANIC`.
///
/// Thread: any, one at a time per context.
/// Ownership: the bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gk_context_set_join_data(
    context: *mut gk_context,
    data: *const u8,
    len: usize,
) -> gk_result {
    with_context(context, |context| {
        // SAFETY: the caller's promise.
        let join_data = unsafe { bytes("data", data, len)? };
        let probe = ClientConfig { join_data: join_data.to_vec(), ..ClientConfig::new(ServerKey::Any) };
        probe.validate()?;
        context.client.join_data = probe.join_data;
        Ok(())
    })
}
