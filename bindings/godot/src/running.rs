//! Servers and clients that run on threads of their own, and end with whoever holds them.

use std::ops::Deref;

use gamekeeper::client::{self, Client};
use gamekeeper::protocol::conditions::{Conditions, Direction, LinkStats};
use gamekeeper::server::events as server;
use gamekeeper::{Result, Server};
use godot::prelude::*;

/// What servers and clients of the library have in common, as far as the classes here use it.
pub trait Runs {
    /// What happens to it.
    type Event;

    /// The seconds and the number of a tick, if an event is one.
    fn tick(event: &Self::Event) -> Option<(f64, u64)>;
    fn next_events(&self, most: usize) -> Result<Vec<Self::Event>>;
    fn simulate(&self, direction: Direction, conditions: Option<Conditions>) -> Result<()>;
    fn link_stats(&self, direction: Direction) -> Option<LinkStats>;
    fn stop(&self) -> Result<()>;
}

impl Runs for Server {
    type Event = server::Event;

    fn tick(event: &server::Event) -> Option<(f64, u64)> {
        match event {
            server::Event::Update { seconds, tick } => Some((*seconds, *tick)),
            _ => None,
        }
    }

    fn next_events(&self, most: usize) -> Result<Vec<server::Event>> {
        self.next_events(most)
    }

    fn simulate(&self, direction: Direction, conditions: Option<Conditions>) -> Result<()> {
        self.simulate(direction, conditions)
    }

    fn link_stats(&self, direction: Direction) -> Option<LinkStats> {
        self.link_stats(None, direction)
    }

    fn stop(&self) -> Result<()> {
        self.stop()
    }
}

impl Runs for Client {
    type Event = client::Event;

    fn tick(event: &client::Event) -> Option<(f64, u64)> {
        match event {
            client::Event::Update { seconds, tick } => Some((*seconds, *tick)),
            _ => None,
        }
    }

    fn next_events(&self, most: usize) -> Result<Vec<client::Event>> {
        self.next_events(most)
    }

    fn simulate(&self, direction: Direction, conditions: Option<Conditions>) -> Result<()> {
        self.simulate(direction, conditions)
    }

    fn link_stats(&self, direction: Direction) -> Option<LinkStats> {
        self.link_stats(direction)
    }

    fn stop(&self) -> Result<()> {
        self.stop()
    }
}

/// A server or client that stops when this is dropped; that waits until the other end has heard the goodbye, 0.2 s at most.
pub struct Running<T: Runs>(T);

pub type RunningServer = Running<Server>;
pub type RunningClient = Running<Client>;

impl<T: Runs> Running<T> {
    pub fn new(of: T) -> Self {
        Running(of)
    }
}

impl<T: Runs> Deref for Running<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Runs> Drop for Running<T> {
    fn drop(&mut self) {
        // What broke has nothing left to stop.
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
