//! Servers and clients that run on threads of their own, and end with whoever holds them.

use std::ops::Deref;

use gamekeeper::client::{self, Client};
use gamekeeper::server::events as server;
use gamekeeper::Server;
use godot::prelude::*;

/// A server that stops when this is dropped; that waits until its peers have heard the goodbye, 0.2 s at most.
pub struct RunningServer(Server);

impl RunningServer {
    pub fn new(server: Server) -> Self {
        RunningServer(server)
    }
}

impl Deref for RunningServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        // A server that broke has nothing left to stop.
        let _ = self.0.stop();
    }
}

/// The same of a client.
pub struct RunningClient(Client);

impl RunningClient {
    pub fn new(client: Client) -> Self {
        RunningClient(client)
    }
}

impl Deref for RunningClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl Drop for RunningClient {
    fn drop(&mut self) {
        let _ = self.0.stop();
    }
}

/// Leaves everything to the event queue but what nobody here looks at.
pub struct Quiet {
    /// Whether ticks are events.
    pub ticks: bool,
}

impl server::Handler for Quiet {
    fn takes(&self) -> server::Takes {
        server::Takes {
            starting: true,
            update: !self.ticks,
            reconcile: true,
            shutdown: true,
            ..server::Takes::default()
        }
    }
}

impl client::Handler for Quiet {
    fn takes(&self) -> client::Takes {
        client::Takes { connecting: true, update: !self.ticks, shutdown: true, ..client::Takes::default() }
    }
}

/// Shows a line of the library's log, if somebody should know of it.
pub fn show(level: server::LogLevel, text: &str) {
    match level {
        server::LogLevel::Error => godot_error!("gamekeeper: {text}"),
        server::LogLevel::Warn => godot_warn!("gamekeeper: {text}"),
        _ => {}
    }
}
