//! Many messages to many peers in one call.

use crate::error::Result;
use crate::protocol::payload::Payload;
use crate::server::events::{PeerId, SendOptions};
use crate::server::Server;

/// Messages queued under one lock: the loop, and other threads, have their turn in between.
pub const SENDS_PER_LOCK: usize = 64;

/// One of many messages: what [`Server::send`] takes.
pub struct Outgoing<'a> {
    /// Who gets it.
    pub peer: PeerId,
    /// Its bytes.
    pub data: &'a [u8],
    /// How it is sent.
    pub options: SendOptions,
}

impl Server {
    /// Queues copies of messages one after the other, as as many calls of [`send`](Server::send) would, for less: one wake of
    /// the loop, and one lock for each 64. For each message `told` gets its index and what `send` would have
    /// answered, without a lock held; one that is refused does not keep back those behind it. Errors: State (stopped), Panic; then `told` was not called.
    pub fn send_many<'a>(
        &self,
        messages: impl IntoIterator<Item = Outgoing<'a>>,
        mut told: impl FnMut(usize, Result<()>),
    ) -> Result<()> {
        self.0.life.check_running()?;
        let now = self.0.life.clock.now();
        let mut messages = messages.into_iter();
        let mut results = Vec::new();
        let mut chunk: Vec<(Outgoing<'a>, Result<Option<Payload>>)> = Vec::with_capacity(SENDS_PER_LOCK);
        let mut first = 0;
        loop {
            // Long ones are copied before the lock.
            chunk.extend(messages.by_ref().take(SENDS_PER_LOCK).map(|message| {
                let copied = self.copied(message.data);
                (message, copied)
            }));
            if chunk.is_empty() {
                break;
            }
            let mut core = self.0.core.lock();
            for (mut message, copied) in chunk.drain(..) {
                results.push(copied.and_then(|copied| {
                    let payload = copied.unwrap_or_else(|| core.copy(message.data));
                    core.send(now, message.peer, payload, &mut message.options)
                }));
            }
            drop(core);
            for result in results.drain(..) {
                told(first, result);
                first += 1;
            }
        }
        self.0.life.nudge();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, ClientConfig, ServerKey};
    use crate::error::ErrorKind;
    use crate::server::config::Config;
    use crate::server::events::{Handler, RetryMode};
    use std::time::{Duration, Instant};

    struct Game;

    impl Handler for Game {}

    const PATIENCE: Duration = Duration::from_secs(30);

    fn outgoing(peer: PeerId, data: &[u8]) -> Outgoing<'_> {
        let options = SendOptions { retry: RetryMode::Ordered, ..SendOptions::default() };
        Outgoing { peer, data, options }
    }

    #[test]
    fn all_arrive_in_order_and_each_refusal_is_told_beside_its_message() {
        let config = Config { max_message_size: 5000, ..Config::default() };
        let server = Server::open(config, Box::new(Game), "127.0.0.1:0").unwrap();
        let mut config = ClientConfig::new(ServerKey::Any);
        config.max_queued_events = 1000;
        let client = Client::open(config, Box::new(()), &server.local_address().to_string()).unwrap();
        let end = Instant::now() + PATIENCE;
        let turn = || {
            assert!(Instant::now() < end, "it takes too long");
            client.poll(Some(Duration::from_millis(1))).unwrap();
            server.poll(Some(Duration::from_millis(1))).unwrap();
        };
        let peer = loop {
            turn();
            if let Some(peer) = server.peers().first() {
                break *peer;
            }
        };

        // Three locks' worth, short ones and ones that are copied before the lock; one too long, one for nobody.
        let texts: Vec<Vec<u8>> =
            (0..150u32).map(|n| n.to_le_bytes().repeat(if n % 10 == 0 { 700 } else { 3 })).collect();
        let (long, nobody) = (vec![0; 5001], PeerId::from_bits(u64::MAX));
        let mut messages: Vec<Outgoing> = texts.iter().map(|text| outgoing(peer, text)).collect();
        messages.insert(70, outgoing(peer, &long));
        messages.insert(3, outgoing(nobody, b"x"));
        let mut told = Vec::new();
        server.send_many(messages, |index, result| told.push((index, result.map_err(|e| e.kind())))).unwrap();
        assert!(told.iter().map(|(index, _)| *index).eq(0..152));
        let refused: Vec<_> = told.into_iter().filter(|(_, result)| result.is_err()).collect();
        assert_eq!(refused, [(3, Err(ErrorKind::Stale)), (71, Err(ErrorKind::TooLarge))]);

        let mut received = Vec::new();
        while received.len() < texts.len() {
            turn();
            for event in client.next_events(1000).unwrap() {
                if let crate::client::Event::Message(message) = event {
                    received.push(message.data);
                }
            }
        }
        assert_eq!(received, texts);
        server.stop().unwrap();
        let after = server.send_many([outgoing(peer, b"x")], |_, _| panic!("nobody is told"));
        assert_eq!(after.map_err(|e| e.kind()), Err(ErrorKind::State));
    }
}
