//! A whole game server: it greets whoever connects and sends back what it is sent.
//!
//!     cargo run --example host -- 127.0.0.1:1474
//!
//! A handler's methods are the events of the game; all of them run on the server's own thread, one at a
//! time. What is not written here has a default that does nothing.

use gamekeeper::server::config::Config;
use gamekeeper::server::events::{ConnectInfo, DisconnectInfo, Handler, Message, PeerId};
use gamekeeper::server::events::{RetryMode, SendOptions};
use gamekeeper::Server;

/// The game. Its state would be fields of this.
struct Echo;

impl Handler for Echo {
    fn connect(&mut self, server: &Server, peer: PeerId, info: &ConnectInfo) {
        println!("{peer:?} joined from {}", info.address);
        // Repeated until it has arrived; without options a message is sent once.
        let guaranteed = SendOptions { retry: RetryMode::OnTimeout, ..SendOptions::default() };
        // A send fails when the peer is gone or reads too slowly: then there is nothing to do here.
        let _ = server.send(peer, b"welcome", guaranteed);
    }

    fn message(&mut self, server: &Server, peer: PeerId, message: &Message) {
        let _ = server.send(peer, &message.data, SendOptions::default());
    }

    fn disconnect(&mut self, _: &Server, peer: PeerId, info: &DisconnectInfo) {
        println!("{peer:?} left: {}", info.text);
    }
}

fn main() -> gamekeeper::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "0.0.0.0:1474".into());
    // A game that players shall recognise sets `root_key`, whose public part their clients pin.
    let server = Server::start(Config::default(), Box::new(Echo), &address)?;
    println!("listening on {}", server.local_address());
    // It runs on its own thread; this one has nothing to do but wait until somebody calls `server.stop()`.
    server.wait(None)
}
