//! What a Python host echoes in a second, beside mpgameserver's own server: `cargo bench --bench python_echo`.
//!
//! The same clients (of mpgameserver's wire, in this process) play on one server after the other, each a Python program of
//! its own; each client has so many short messages under way and sends the next one for each that comes back. The package is
//! set to a tick of 1 ms, since it answers when it ticks. Rounds alternate, the medians are compared; beside them stands what a
//! message cost the server's process, which tells more where other programs want the processor too. Linux only, and with
//! the Python environment of the tests (`python3-venv`; made at the first run).

#[cfg(target_os = "linux")]
#[path = "../tests/support/venv.rs"]
#[allow(dead_code)]
mod venv;

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("python_echo: not measured on this system");
}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{BufRead, BufReader};
    use std::net::SocketAddr;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use gamekeeper::client::driver::{Client, Event, Mode};
    use gamekeeper::server::config::Config;

    use super::venv;

    const CLIENTS: usize = 16;
    /// Messages that each client has under way.
    const UNDER_WAY: usize = 128;
    /// Bytes of a message.
    const BYTES: usize = 32;
    /// Rounds of each server, and how long one is measured, after a start that is not.
    const ROUNDS: usize = 5;
    const MEASURED: Duration = Duration::from_secs(3);
    const BEFORE: Duration = Duration::from_secs(1);
    /// A message that has not come back for so long is lost, and another takes its place.
    const LOST_AFTER: Duration = Duration::from_millis(500);
    /// Longest time for all to connect.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Who is measured: the argument of `echo_host.py`, and the line's text.
    const HOSTS: [(&str, &str); 3] = [
        ("mpgameserver", "mpgameserver, 1 ms interval"),
        ("gamekeeper", "gamekeeper, the same program"),
        ("batched", "gamekeeper, handle_messages and send_many"),
    ];

    /// A server's process; killed on drop.
    struct Host {
        child: Child,
    }

    impl Drop for Host {
        fn drop(&mut self) {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }

    impl Host {
        fn start(name: &str) -> (Host, SocketAddr) {
            let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut child = Command::new(venv::python())
                .arg(checkout.join("bindings/python/tests/programs/echo_host.py"))
                .arg(name)
                .env("GAMEKEEPER_LIBRARY", venv::library())
                .env("PYTHONPATH", checkout.join("bindings/python"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the environment's Python runs");
            let mut line = String::new();
            let output = child.stdout.take().expect("it is piped");
            BufReader::new(output).read_line(&mut line).expect("the host prints its port");
            let host = Host { child };
            let port: u16 = line.trim().parse().expect("the host prints its port");
            (host, SocketAddr::from(([127, 0, 0, 1], port)))
        }
    }

    impl Host {
        /// Processor time of its process so far.
        fn ran(&self) -> Duration {
            let path = format!("/proc/{}/stat", self.child.id());
            let text = std::fs::read_to_string(path).expect("the host runs");
            // Behind the name in parentheses: the 12th and the 13th are its time in user and in system mode.
            let fields = text.rsplit(')').next().unwrap_or_default();
            let ticks = fields.split_whitespace().skip(11).take(2);
            let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
            // SAFETY: it takes a number and gives one.
            let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
            Duration::from_secs_f64(ticks as f64 / per_second as f64)
        }
    }

    struct Player {
        client: Client,
        connected: bool,
        missing: usize,
        heard: Instant,
    }

    impl Player {
        /// Sends what is missing, takes what came; gives how many came.
        fn turn(&mut self, message: &[u8]) -> u64 {
            while self.missing > 0 && self.client.send(message, Mode::Once, 0).is_ok() {
                self.missing -= 1;
            }
            self.client.update().expect("the socket works");
            let mut came = 0;
            while let Some(event) = self.client.poll_event() {
                if matches!(event, Event::Message { .. }) {
                    came += 1;
                }
            }
            if came > 0 {
                self.heard = Instant::now();
                self.missing = (self.missing + came).min(UNDER_WAY);
            } else if self.heard.elapsed() > LOST_AFTER {
                self.heard = Instant::now();
                self.missing = UNDER_WAY;
            }
            came as u64
        }
    }

    fn connect(address: SocketAddr) -> Vec<Player> {
        let config = Config::default();
        let mut players: Vec<Player> = (0..CLIENTS)
            .map(|_| {
                let client = Client::connect(address, None, &config).expect("a client");
                Player { client, connected: false, missing: UNDER_WAY, heard: Instant::now() }
            })
            .collect();
        let end = Instant::now() + PATIENCE;
        while !players.iter().all(|player| player.connected) {
            assert!(Instant::now() < end, "not all clients could connect");
            for player in &mut players {
                player.client.update().expect("the socket works");
                while let Some(event) = player.client.poll_event() {
                    player.connected |= matches!(event, Event::Connected);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        players
    }

    /// Gives how many messages came back, and how long it took.
    fn play(players: &mut [Player], time: Duration) -> (f64, f64) {
        let (message, start) = ([7; BYTES], Instant::now());
        let mut came = 0;
        while start.elapsed() < time {
            let before = came;
            for player in &mut *players {
                came += player.turn(&message);
            }
            if came == before {
                // The server's turn: on a machine with few cores it may need this one.
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        (came as f64, start.elapsed().as_secs_f64())
    }

    /// Messages a second, and microseconds of the host's processor time for each.
    fn round(host: &str, measured: Duration) -> (f64, f64) {
        let (host, address) = Host::start(host);
        let mut players = connect(address);
        play(&mut players, BEFORE.min(measured));
        let before = host.ran();
        let (came, seconds) = play(&mut players, measured);
        let cost = (host.ran() - before).as_secs_f64() * 1e6 / came.max(1.0);
        (came / seconds, cost)
    }

    fn median(mut of: Vec<f64>) -> f64 {
        of.sort_by(f64::total_cmp);
        of.get(of.len() / 2).copied().unwrap_or_default()
    }

    pub fn main() {
        // `cargo test --benches` only wants to know that it runs.
        let tests = std::env::args().any(|a| a == "--test");
        let (rounds, measured) = if tests { (1, Duration::from_millis(200)) } else { (ROUNDS, MEASURED) };
        let mut seen = HOSTS.map(|_| Vec::new());
        for _ in 0..rounds {
            for ((host, _), seen) in HOSTS.iter().zip(&mut seen) {
                seen.push(round(host, measured));
            }
        }
        println!(
            "echo of {BYTES} bytes, {CLIENTS} clients with {UNDER_WAY} messages under way each, median of {rounds} rounds"
        );
        let medians = seen.map(|seen| {
            let (rates, costs): (Vec<f64>, Vec<f64>) = seen.into_iter().unzip();
            (median(rates), median(costs))
        });
        for ((_, title), (rate, cost)) in HOSTS.iter().zip(medians) {
            let (more, less) = (rate / medians[0].0, medians[0].1 / cost);
            println!("{title:<42} {rate:>8.0} messages/s ({more:.1} times), {cost:>6.2} µs of its processor each (1/{less:.1})");
        }
    }
}
