//! A whole client: it connects, says what it reads from standard input, and prints what it is told.
//!
//!     cargo run --example client -- 127.0.0.1:1474
//!
//! The handler's methods are called on the client's own thread, one at a time.

use gamekeeper::client::{ClientConfig, ConnectInfo, DisconnectInfo, Handler, Message, ServerKey};
use gamekeeper::Client;

/// How long the last words may take to arrive.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The game. Its state would be fields of this.
struct Talk;

impl Handler for Talk {
    fn connected(&mut self, _: &Client, info: &ConnectInfo) {
        println!("connected to {}", info.address);
    }

    fn message(&mut self, _: &Client, message: &Message) {
        println!("told {}", String::from_utf8_lossy(&message.data));
    }

    fn disconnected(&mut self, client: &Client, info: &DisconnectInfo) {
        // A game that shall go on calls `client.reconnect()` here, after a while.
        println!("disconnected: {}", info.text);
        // It takes effect when this returns.
        let _ = client.stop();
    }
}

fn main() -> gamekeeper::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1474".into());
    // A game that is played beyond one's own machine pins the server's key.
    let config = ClientConfig::new(ServerKey::Any);
    let client = Client::start(config, Box::new(Talk), &address)?;
    for line in std::io::stdin().lines().map_while(Result::ok) {
        // Not connected yet or any more, or the queue is full: a console has nothing to do then but say so.
        if let Err(error) = client.send_guaranteed(line.as_bytes()) {
            println!("not sent: {error}");
        }
    }
    if !client.is_stopped() {
        // What was said last has arrived when this returns without an error.
        client.disconnect_wait(PATIENCE)?;
    }
    client.stop()
}
