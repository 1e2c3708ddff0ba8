//! What a peer costs over real sockets: `cargo bench --bench loopback`.
//!
//! A server on its own thread and a thousand clients on another, over loopback; each client sends 32 bytes
//! and is sent 200 sixty times a second. Reports the server thread's processor time per peer and tick.
//! Linux only: it asks for the time of one thread.

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("loopback: not measured on this system");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use gamekeeper::client::driver::{Client, Event, Mode};
    use gamekeeper::server::config::Config;
    use gamekeeper::server::events::{Handler, Message, PeerId, SendOptions};
    use gamekeeper::Server;

    /// How long is measured.
    const SECONDS: u64 = 8;
    /// Longest time for all to connect.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[derive(Default)]
    struct Seen {
        /// Nanoseconds that the server's thread has run so far.
        ran: AtomicU64,
        messages: AtomicU64,
        playing: AtomicBool,
    }

    struct Game(Arc<Seen>);

    impl Handler for Game {
        fn message(&mut self, _: &Server, _: PeerId, _: &Message) {
            self.0.messages.fetch_add(1, Ordering::Relaxed);
        }

        fn update(&mut self, server: &Server, _: f64, _: u64) {
            if self.0.playing.load(Ordering::Relaxed) {
                for peer in server.peers() {
                    server.send(peer, &[2; 200], SendOptions::default()).expect("there is room");
                }
            }
            self.0.ran.store(thread_nanoseconds(), Ordering::Relaxed);
        }
    }

    fn thread_nanoseconds() -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is that of a live timespec, which the call fills.
        let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(result, 0, "Linux has this clock");
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    pub fn main() {
        // `cargo test --benches` only wants to know that it runs.
        let tests = std::env::args().any(|a| a == "--test");
        for peers in if tests { vec![10] } else { vec![100, 1000] } {
            measure(peers, if tests { 1 } else { SECONDS });
        }
    }

    fn measure(peers: usize, seconds: u64) {
        let seen = Arc::new(Seen::default());
        let config = Config { handshake_timeout: PATIENCE, ..Config::default() };
        let server =
            Server::start(config.clone(), Box::new(Game(seen.clone())), "127.0.0.1:0").expect("a server");
        let stop = Arc::new(AtomicBool::new(false));
        let (address, stopping) = (server.local_address(), stop.clone());
        let clients = std::thread::spawn(move || play(address, &config, peers, &stopping));
        let end = Instant::now() + PATIENCE;
        while server.peers().len() < peers {
            assert!(Instant::now() < end, "they do not connect");
            std::thread::sleep(Duration::from_millis(10));
        }
        seen.playing.store(true, Ordering::Relaxed);
        // Until windows and queues are as they stay.
        std::thread::sleep(Duration::from_secs(1));
        let look =
            || (server.stats(), seen.ran.load(Ordering::Relaxed), seen.messages.load(Ordering::Relaxed));
        let (stats, ran, messages) = look();
        std::thread::sleep(Duration::from_secs(seconds));
        let (stats_after, ran_after, messages_after) = look();
        let ticks = (stats_after.ticks - stats.ticks).max(1);
        let ran = (ran_after - ran) as f64;
        println!(
            "loopback/{peers} peers: {:.2} µs of the server's thread per peer and tick ({:.0} % of a processor), \
             {:.2} µs per datagram; per second {:.1} ticks, {} messages and {} datagrams in, {} out; {} ticks missed",
            ran / 1e3 / ticks as f64 / peers as f64,
            ran / 1e7 / seconds as f64,
            ran / 1e3
                / ((stats_after.packets_received + stats_after.packets_sent)
                    - (stats.packets_received + stats.packets_sent)) as f64,
            ticks as f64 / seconds as f64,
            (messages_after - messages) / seconds,
            (stats_after.packets_received - stats.packets_received) / seconds,
            (stats_after.packets_sent - stats.packets_sent) / seconds,
            stats_after.ticks_missed - stats.ticks_missed,
        );
        stop.store(true, Ordering::Relaxed);
        clients.join().expect("no panic");
        server.stop().expect("stopped");
    }

    /// Plays all clients until told to stop.
    fn play(server: std::net::SocketAddr, config: &Config, number: usize, stop: &AtomicBool) {
        let mut clients: Vec<_> =
            (0..number).map(|_| Client::connect(server, None, config).expect("a client")).collect();
        let tick = Duration::from_micros(16_667);
        let mut next = Instant::now();
        let mut connected = 0;
        while !stop.load(Ordering::Relaxed) {
            for client in &mut clients {
                if connected == number {
                    client.send(&[1; 32], Mode::Once, 0).expect("there is room");
                }
                client.update().expect("the client's socket works");
                while let Some(event) = client.poll_event() {
                    assert!(!matches!(event, Event::Closed(_)), "nobody is lost");
                    connected += usize::from(event == Event::Connected);
                }
            }
            next += tick;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
}
