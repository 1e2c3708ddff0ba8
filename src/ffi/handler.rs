//! The server's events as calls of the host's C functions.

use std::net::SocketAddr;

use crate::ffi::arguments::c_text;
use crate::ffi::callbacks::Callbacks;
use crate::ffi::content::OwnedContent;
use crate::ffi::events::{
    data_pointer, disconnect_code, gk_connect_info, gk_disconnect_info, gk_door, gk_join_request, gk_update,
    message, wire,
};
use crate::ffi::server::pointer_of;
use crate::panic_scope::outside;
use crate::server::events::{
    ConnectInfo, Decision, DisconnectInfo, FileEvent, Handler, JoinRequest, LogLevel, Message, PeerId, Takes,
};
use crate::server::Server;

/// Calls what the context had when the server started.
pub(crate) struct FfiHandler {
    callbacks: Callbacks,
}

impl FfiHandler {
    pub(crate) fn new(callbacks: Callbacks) -> Self {
        FfiHandler { callbacks }
    }
}

/// Calls a slot if it is set. While the host's code runs, a panic in it is the host's own.
macro_rules! call {
    ($slot:expr, $server:expr $(, $argument:expr)*) => {{
        let slot = $slot;
        if let Some(function) = slot.function {
            let server = pointer_of($server).cast_mut();
            // SAFETY: the host gave the function for calls with these arguments; the server lives through
            // the call because the loop that makes it holds a reference, and the rest is borrowed above.
            outside(|| unsafe { function(slot.user_data, server $(, $argument)*) });
        }
    }};
}

impl Handler for FfiHandler {
    fn takes(&self) -> Takes {
        let callbacks = &self.callbacks;
        Takes {
            starting: callbacks.starting.function.is_some(),
            connect: callbacks.connect.function.is_some(),
            disconnect: callbacks.disconnect.function.is_some(),
            message: callbacks.message.function.is_some(),
            update: callbacks.update.function.is_some(),
            writable: callbacks.writable.function.is_some(),
            reconcile: callbacks.reconcile.function.is_some(),
            shutdown: callbacks.shutdown.function.is_some(),
            log: callbacks.log.function.is_some(),
            authorise: callbacks.authorise.function.is_some(),
            raw: callbacks.raw.function.is_some(),
            file: callbacks.files.are_set(),
        }
    }

    fn starting(&mut self, server: &Server) {
        call!(self.callbacks.starting, server);
    }

    fn connect(&mut self, server: &Server, peer: PeerId, info: &ConnectInfo) {
        let address = c_text(&info.address.to_string());
        let info = gk_connect_info {
            struct_size: std::mem::size_of::<gk_connect_info>() as u32,
            token: info.token,
            address: address.as_ptr(),
            door: info.door as gk_door,
            reserved: 0,
        };
        call!(self.callbacks.connect, server, peer.to_bits(), &info);
    }

    fn disconnect(&mut self, server: &Server, peer: PeerId, info: &DisconnectInfo) {
        let text = c_text(&info.text);
        let info = gk_disconnect_info {
            struct_size: std::mem::size_of::<gk_disconnect_info>() as u32,
            code: disconnect_code(info.reason),
            text: text.as_ptr(),
            after_delivery: 0,
            app_code: info.wire_code(),
        };
        call!(self.callbacks.disconnect, server, peer.to_bits(), &info);
    }

    fn message(&mut self, server: &Server, peer: PeerId, received: &Message) {
        let content = received.content.as_deref().map(OwnedContent::new);
        let message = message(received, content.as_deref());
        call!(self.callbacks.message, server, peer.to_bits(), &message);
    }

    fn update(&mut self, server: &Server, seconds: f64, tick: u64) {
        let struct_size = std::mem::size_of::<gk_update>() as u32;
        let update = gk_update { struct_size, reserved: 0, seconds, tick };
        call!(self.callbacks.update, server, &update);
    }

    fn writable(&mut self, server: &Server, peer: PeerId) {
        call!(self.callbacks.writable, server, peer.to_bits());
    }

    fn reconcile(&mut self, server: &Server) {
        call!(self.callbacks.reconcile, server);
    }

    fn shutdown(&mut self, server: &Server) {
        call!(self.callbacks.shutdown, server);
    }

    fn log(&mut self, server: &Server, level: LogLevel, text: &str) {
        let text = c_text(text);
        call!(self.callbacks.log, server, level as i32, text.as_ptr());
    }

    fn authorise(&mut self, server: &Server, peer: PeerId, request: &JoinRequest) -> Decision {
        let address = c_text(&request.address.to_string());
        let request = gk_join_request {
            struct_size: std::mem::size_of::<gk_join_request>() as u32,
            token: request.token,
            address: address.as_ptr(),
            data: data_pointer(&request.data),
            len: request.data.len(),
            door: request.door as gk_door,
            wire: wire(request.wire),
            password: u32::from(request.password),
            reserved: 0,
        };
        call!(self.callbacks.authorise, server, peer.to_bits(), &request);
        // The host says it with a call of its own: in there, or later.
        Decision::Later
    }

    fn raw(&mut self, server: &Server, from: SocketAddr, data: &[u8]) {
        let from = c_text(&from.to_string());
        call!(self.callbacks.raw, server, from.as_ptr(), data_pointer(data), data.len());
    }

    fn file(&mut self, server: &Server, peer: PeerId, event: &FileEvent) {
        self.callbacks.files.call(server, peer, event);
    }
}
