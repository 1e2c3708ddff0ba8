//! What a peer costs over real sockets: `cargo bench --bench loopback`.
//!
//! First what a datagram costs between process and system, alone: a batch of 64 to, and from, one socket or 64.
//! Reports the median of many batches, in the thread's processor time. `-- --io` does only that.
//!
//! A server on its own thread and a thousand clients on another, over loopback; each client sends 32 bytes
//! and is sent 200 sixty times a second. Reports the server thread's processor time per peer and tick.
//! `-- --busy` has it not sleep between datagrams. `-- --portable` has the server make one system call per datagram. Linux only: it asks for the time of one thread.

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
    use gamekeeper::net::address::ListenAddress;
    use gamekeeper::net::batch::{ReceiveBatch, SendBatch};
    use gamekeeper::net::udp::UdpSocket;
    use gamekeeper::server::config::{Config, Io};
    use gamekeeper::server::events::{Handler, Message, PeerId, SendOptions};
    use gamekeeper::Server;

    /// How long is measured.
    const SECONDS: u64 = 8;
    /// Batches of datagrams between process and system.
    const ROUNDS: usize = 2000;
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
        for io in [Io::Portable, Io::Batched] {
            pass(io, "64 of 200 bytes for 64 sockets", 64, 200, if tests { 10 } else { ROUNDS });
            pass(io, "64 of 1200 bytes for one socket", 1, 1200, if tests { 10 } else { ROUNDS });
        }
        if std::env::args().any(|a| a == "--io") {
            return;
        }
        for peers in if tests { vec![10] } else { vec![100, 1000] } {
            measure(peers, if tests { 1 } else { SECONDS });
        }
    }

    /// Batches of 64 datagrams to, and then from, so many sockets.
    fn pass(io: Io, what: &str, sockets: usize, len: usize, rounds: usize) {
        let bind = || {
            let any = ListenAddress::parse("127.0.0.1:0").expect("an address");
            UdpSocket::bind(&any, 1 << 20, 1 << 20).expect("a socket")
        };
        let (server, clients) = (bind(), (0..sockets).map(|_| bind()).collect::<Vec<_>>());
        let mut inbound = ReceiveBatch::new(&server, io, 1473);
        let mut from_clients = SendBatch::new(Io::Batched, 64, len);
        let mut outbound = SendBatch::new(io, 64, len);
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let fill = |batch: &mut SendBatch, target| {
            batch.buffer().resize(len, 7);
            batch.push(target);
        };
        for _ in 0..rounds {
            (0..64).for_each(|n| fill(&mut outbound, clients[n % sockets].local_address()));
            let start = thread_nanoseconds();
            assert_eq!(server.send(&mut outbound).failed, 0);
            sent.push(thread_nanoseconds() - start);
            for client in &clients {
                while client.recv_from(&mut [0; 2000]).expect("the socket works").is_some() {}
                (0..64 / sockets).for_each(|_| fill(&mut from_clients, server.local_address()));
                assert_eq!(client.send(&mut from_clients).failed, 0);
            }
            let (mut count, start) = (0, thread_nanoseconds());
            while server.receive(&mut inbound).expect("the socket works") || !inbound.is_empty() {
                count += std::iter::from_fn(|| inbound.next().map(|_| ())).count();
            }
            received.push(thread_nanoseconds() - start);
            assert_eq!(count, 64);
        }
        let median = |times: &mut Vec<u64>| {
            times.sort_unstable();
            times[times.len() / 2] as f64 / 64e3
        };
        println!(
            "io/{io:?}, {what}: {:.2} µs to send a datagram, {:.2} µs to receive one",
            median(&mut sent),
            median(&mut received)
        );
    }

    fn measure(peers: usize, seconds: u64) {
        let seen = Arc::new(Seen::default());
        let portable = std::env::args().any(|a| a == "--portable");
        let busy = std::env::args().any(|a| a == "--busy");
        let busy_poll = Duration::from_millis(if busy { 20 } else { 0 });
        let io = if portable { Io::Portable } else { Io::Batched };
        let config = Config { handshake_timeout: PATIENCE, io, busy_poll, ..Config::default() };
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
