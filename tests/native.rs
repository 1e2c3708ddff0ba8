//! The native wire between real processes: losses, a server that is killed and comes back, a client that the system
//! stops, and one whose address changes under it.
#![cfg(target_os = "linux")]

#[path = "native/roles.rs"]
mod roles;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gamekeeper::keys::RootKey;

/// How long a test waits for anything: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// A connection timeout that no test reaches.
const NEVER: &str = "600000";

/// A process with one of the roles. It is killed, by its own id, when the test is over.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// `within`: the network namespace that it runs in.
    fn start(role: &str, within: Option<&str>, settings: &[(&str, &str)]) -> Process {
        let own = std::env::current_exe().expect("the test's own path");
        let mut command = match within {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(own);
                command
            }
            None => Command::new(own),
        };
        command.args(["--exact", "roles::child", "--ignored", "--nocapture"]).env(roles::ROLE, role);
        for (name, value) in settings {
            command.env(format!("{}{name}", roles::PREFIX), value);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(said) = line.strip_prefix(roles::MARK) {
                    // A test that has heard enough may be over.
                    let _nobody = tell.send(said.to_owned());
                }
            }
        });
        Process { child, lines }
    }

    /// Waits for a line that begins so, and gives its rest.
    fn says(&self, beginning: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match line.strip_prefix(beginning) {
                    Some(rest) => return rest.trim().to_owned(),
                    None => heard.push(line),
                },
                Err(error) => panic!("{beginning:?} was not said ({error}), but {heard:?}"),
            }
        }
    }

    /// What was said and nobody waited for.
    fn has_said(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    fn signal(&self, signal: i32) {
        let id = i32::try_from(self.child.id()).expect("an id");
        // SAFETY: a plain call; the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

#[test]
fn every_mode_and_a_megabyte_each_way_through_losses() {
    let server = Process::start("server", None, &[("LOSS", "0.05"), ("TIMEOUT_MS", NEVER)]);
    let address = server.says("listening");
    let settings = [("ADDRESS", address.as_str()), ("BYTES", "1048576"), ("TIMEOUT_MS", NEVER)];
    let client = Process::start("client", None, &settings);
    client.says("connected");
    client.says("modes");
    assert_eq!(client.says("all"), "1048576");
}

#[test]
fn a_server_that_comes_back_after_a_kill_is_recognised() {
    let key = std::env::temp_dir().join(format!("gamekeeper-native-{}.pem", std::process::id()));
    RootKey::generate().expect("a key").save(&key).expect("it is written");
    let file = key.to_str().expect("a path in UTF-8");
    let mut first =
        Process::start("server", None, &[("ADDRESS", "127.0.0.1:0"), ("KEY", file), ("TIMEOUT_MS", NEVER)]);
    let address = first.says("listening");
    let client = Process::start("client", None, &[("ADDRESS", &address), ("TIMEOUT_MS", NEVER)]);
    client.says("pong");
    first.kill();
    let second =
        Process::start("server", None, &[("ADDRESS", &address), ("KEY", file), ("TIMEOUT_MS", NEVER)]);
    assert_eq!(second.says("listening"), address);
    // Long before the timeout, which is longer than a test waits.
    assert_eq!(client.says("ended"), "Restarted");
    let _removed = std::fs::remove_file(key);
}

#[test]
fn a_stopped_client_resumes_if_it_is_back_in_time() {
    let server = Process::start("server", None, &[("TIMEOUT_MS", NEVER)]);
    let address = server.says("listening");
    let client = Process::start("client", None, &[("ADDRESS", &address), ("TIMEOUT_MS", NEVER)]);
    client.says("pong");
    client.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(1));
    let before = client.has_said();
    client.signal(libc::SIGCONT);
    client.says("pong");
    client.says("pong");
    assert!(before.iter().chain(&client.has_said()).all(|line| !line.starts_with("ended")));
}

#[test]
fn a_client_that_is_stopped_for_too_long_ends_with_a_timeout() {
    let server = Process::start("server", None, &[("TIMEOUT_MS", "1000")]);
    let address = server.says("listening");
    let client = Process::start("client", None, &[("ADDRESS", &address), ("TIMEOUT_MS", "1000")]);
    client.says("pong");
    client.signal(libc::SIGSTOP);
    assert_eq!(server.says("left"), "Timeout");
    client.signal(libc::SIGCONT);
    assert_eq!(client.says("ended"), "Timeout");
}

/// Two network namespaces with a cable between them; taken down on drop.
struct Cable {
    server: String,
    client: String,
    /// The client's end of the cable.
    device: String,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output();
    let output = output.map_err(|error| format!("ip does not run: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("`ip {arguments}`: {words}"))
    }
}

impl Cable {
    fn lay() -> Result<Cable, String> {
        let id = std::process::id();
        let cable =
            Cable { server: format!("gks{id}"), client: format!("gkc{id}"), device: format!("gkd{id}") };
        let Cable { server, client, device } = &cable;
        ip(&format!("netns add {server}"))?;
        ip(&format!("netns add {client}"))?;
        // Both ends are made where they belong: this machine's own network never sees them.
        ip(&format!("-n {server} link add gkh{id} type veth peer name {device} netns {client}"))?;
        ip(&format!("-n {server} addr add 10.213.0.1/24 dev gkh{id}"))?;
        ip(&format!("-n {server} link set gkh{id} up"))?;
        ip(&format!("-n {client} addr add 10.213.0.2/24 dev {device}"))?;
        ip(&format!("-n {client} link set {device} up"))?;
        Ok(cable)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            // It may never have come to be.
            let _gone = ip(&format!("netns del {namespace}"));
        }
    }
}

#[test]
fn a_transfer_goes_on_from_another_address() {
    let cable = match Cable::lay() {
        Ok(cable) => cable,
        Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("no namespaces: {why}"),
        Err(why) => return println!("skipped: no network namespaces can be had here: {why}"),
    };
    // Slow enough that the move is in the middle of it.
    let settings = [("ADDRESS", "10.213.0.1:0"), ("RATE", "1000000"), ("TIMEOUT_MS", NEVER)];
    let server = Process::start("server", Some(&cable.server), &settings);
    let address = server.says("listening");
    let settings = [("ADDRESS", address.as_str()), ("BYTES", "4194304"), ("TIMEOUT_MS", NEVER)];
    let client = Process::start("client", Some(&cable.client), &settings);
    client.says("back");
    // Removing the first address would take the others of its network along.
    ip(&format!("-n {} addr del 10.213.0.2/24 dev {}", cable.client, cable.device)).expect("del");
    ip(&format!("-n {} addr add 10.213.0.3/24 dev {}", cable.client, cable.device)).expect("add");
    let before = client.has_said();
    assert!(!before.iter().any(|line| line.starts_with("all")), "it was over before the move: {before:?}");
    let moves: u64 = server.says("migrations").parse().expect("a number");
    assert!(moves >= 1);
    assert_eq!(client.says("all"), "4194304");
}

#[test]
fn a_server_next_door_is_found_by_broadcast_and_by_ipv6() {
    let cable = Cable::lay().expect("network namespaces");
    ip(&format!("-n {} route add default dev {}", cable.client, cable.device)).expect("a way for broadcasts");
    let settings = [("ADDRESS", "[::]:0"), ("INFO", "next door"), ("TIMEOUT_MS", NEVER)];
    let server = Process::start("server", Some(&cable.server), &settings);
    let address = server.says("listening");
    let port = address.rsplit(':').next().expect("a port").to_owned();
    let settings = [("PORT", port.as_str()), ("FAMILY", "4")];
    let search = Process::start("search", Some(&cable.client), &settings);
    assert_eq!(search.says("found"), format!("10.213.0.1:{port} next door"));
    // From here on they are neighbours by IPv6 only.
    ip(&format!("-n {} addr del 10.213.0.2/24 dev {}", cable.client, cable.device)).expect("del");
    let settings = [("PORT", port.as_str()), ("FAMILY", "6")];
    let search = Process::start("search", Some(&cable.client), &settings);
    let found = search.says("found");
    let (found, info) = found.split_once(' ').expect("an address and what it tells");
    assert!(found.starts_with("[fe80::") && found.ends_with(&format!("]:{port}")), "{found}");
    assert_eq!(info, "next door");
    // Where it was found, it can be played at.
    let settings = [("ADDRESS", found), ("TIMEOUT_MS", NEVER)];
    let client = Process::start("client", Some(&cable.client), &settings);
    client.says("pong");
}
