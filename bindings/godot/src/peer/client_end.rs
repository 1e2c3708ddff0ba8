//! A client's end of the engine's networking.

use std::time::{Duration, Instant};

use gamekeeper::client::{Client, ClientConfig, Event, Message, RetryMode, SendOptions};
use gamekeeper::ErrorKind;
use godot::global::Error;
use godot::prelude::*;

use super::{message, packet, Effect, GamekeeperMultiplayerPeer, SERVER_ID};
use crate::convert::{failed, number, seconds, server_key, with_port, wrong, MAX_QUEUED_EVENTS};
use crate::running::{show, Quiet, RunningClient};
use crate::wire::{self, Numbers, Transfer};

/// How long a server that let us in may take to tell us our id. Its game may be loading.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that wait for the server at most; a full queue refuses packets.
const MAX_QUEUED_MESSAGES: u32 = 65_536;

/// A client, and the id that the server gave it.
pub struct ClientEnd {
    pub client: RunningClient,
    /// 0 before it is told.
    pub id: i32,
    /// When we were let in.
    let_in: Option<Instant>,
    full: bool,
    leaving: bool,
    numbers: Numbers,
}

impl ClientEnd {
    pub fn new(
        of: &GamekeeperMultiplayerPeer,
        address: &GString,
        port: i32,
        key: &GString,
    ) -> Result<Self, (Error, String)> {
        if !(1..=65_535).contains(&port) {
            return Err(wrong(format!("port is {port}, allowed is 1 to 65535")));
        }
        let believed =
            server_key(key, of.allow_any_server).map_err(|text| (Error::ERR_UNAUTHORIZED, text))?;
        let password = of.password.to_string();
        let config = ClientConfig {
            join_data: wire::JOIN.to_vec(),
            password: (!password.is_empty()).then(|| password.into_bytes()),
            redundancy: u8::try_from(of.redundancy).unwrap_or(u8::MAX),
            // Nobody looks at ticks here.
            tick_rate_hz: 1.0,
            connection_timeout: seconds("connection_timeout", of.connection_timeout).map_err(wrong)?,
            handshake_timeout: seconds("handshake_timeout", of.handshake_timeout).map_err(wrong)?,
            max_queued_messages: MAX_QUEUED_MESSAGES,
            max_queued_events: MAX_QUEUED_EVENTS,
            peer_send_rate: u64::try_from(of.send_rate).map_err(|_| wrong("send_rate is below 0".into()))?,
            ..ClientConfig::new(believed)
        };
        let address = with_port(address.to_string().trim(), port);
        let client = Client::start(config, Box::new(Quiet { ticks: false }), &address).map_err(failed)?;
        Ok(ClientEnd {
            client: RunningClient::new(client),
            id: 0,
            let_in: None,
            full: false,
            leaving: false,
            numbers: Numbers::default(),
        })
    }

    pub fn effect(&mut self, event: Event) -> Effect {
        match event {
            Event::Connected(_) => {
                self.let_in = Some(Instant::now());
                Effect::Nothing
            }
            Event::Message(message) if !self.leaving => self.message(message),
            Event::Writable => {
                self.full = false;
                Effect::Nothing
            }
            Event::Disconnected(info) => Effect::Lost { code: info.code, text: info.text },
            Event::Log(level, text) => {
                show(level, &text);
                Effect::Nothing
            }
            _ => Effect::Nothing,
        }
    }

    fn message(&mut self, message: Message) -> Effect {
        if message.channel == wire::CONTROL {
            return match wire::read_welcome(&message.data) {
                Some(id) if self.id == 0 => {
                    self.id = id;
                    Effect::Joined(SERVER_ID, None)
                }
                _ => Effect::Nothing,
            };
        }
        // A server sends nothing before its welcome has arrived.
        if self.id == 0 {
            return Effect::Nothing;
        }
        packet(SERVER_ID, message, &mut self.numbers).map_or(Effect::Nothing, Effect::Packet)
    }

    /// Whether the server let us in long ago and has not told us our id.
    pub fn is_overdue(&self) -> bool {
        self.id == 0 && self.let_in.is_some_and(|since| since.elapsed() > WELCOME_TIMEOUT)
    }

    /// Ends the session; the event that tells of it follows.
    pub fn leave(&mut self) {
        self.leaving = true;
        // A client that broke tells so when its events are asked for.
        let _ = self.client.disconnect();
    }

    pub fn send(&mut self, transfer: Transfer, channel: i32, data: &[u8]) -> Result<(), Error> {
        if self.leaving {
            return Err(Error::ERR_UNCONFIGURED);
        }
        let (retry, on): (RetryMode, u8) =
            wire::outward(transfer, channel).ok_or(Error::ERR_INVALID_PARAMETER)?;
        let message = message(transfer, channel, data, &mut self.numbers);
        let options = SendOptions { retry, channel: on, ..SendOptions::default() };
        let Err(error) = self.client.send(&message, options) else { return Ok(()) };
        match error.kind() {
            // The session has just ended: the event that tells of it waits.
            ErrorKind::State => Ok(()),
            ErrorKind::WouldBlock => {
                if !std::mem::replace(&mut self.full, true) {
                    godot_warn!("gamekeeper: the queue to the server is full: packets are refused");
                }
                Err(Error::ERR_BUSY)
            }
            _ => Err(number(&error)),
        }
    }
}
