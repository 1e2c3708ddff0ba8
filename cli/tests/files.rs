//! Files through the programs and the library: in bounded memory, killed and resumed, many at once, onto full disks.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use gamekeeper::client::{
    ClientConfig, Conditions, Direction, FileEnd, FileFailure, FileOptions, Handler, Quota, ServerKey,
};
use gamekeeper::server::config::Config;
use gamekeeper::server::events::{self, FileEvent, PeerId};
use gamekeeper::server::files::FileTarget;
use gamekeeper::{Client, Server};

/// What a sender or receiver may have in memory at most, whatever the file's length: code, stacks, buffers of sockets, windows.
const MAX_RSS_KIB: u64 = 64 * 1024;
/// Bytes of the large file; `GAMEKEEPER_FILE_MIB` makes it larger.
const LARGE_MIB: u64 = 64;
/// A mere deadline.
const PATIENCE: Duration = Duration::from_secs(600);

/// Ended by its drop, also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("gamekeeper-files-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("in")).expect("a directory can be made");
        Directory(path)
    }

    fn file(&self, name: &str, len: u64, seed: u64) -> PathBuf {
        let path = self.0.join(name);
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
        let mut state = seed | 1;
        for _ in 0..len / 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.write_all(&state.to_le_bytes()).expect("room");
        }
        file.write_all(&vec![7; (len % 8) as usize]).expect("room");
        file.flush().expect("room");
        path
    }

    fn received(&self) -> PathBuf {
        self.0.join("in")
    }

    /// Names of what was received, the unfinished included.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.received()).expect("a directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn same(left: &Path, right: &Path) -> bool {
    let open = |path: &Path| BufReader::new(std::fs::File::open(path).expect("a file"));
    let (mut left, mut right) = (open(left), open(right));
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let len = left.read(&mut a).expect("readable");
        if len == 0 {
            return right.read(&mut b).expect("readable") == 0;
        }
        if right.read_exact(&mut b[..len]).is_err() || a[..len] != b[..len] {
            return false;
        }
    }
}

struct Receiving {
    running: Running,
    output: BufReader<std::process::ChildStdout>,
    address: String,
}

fn receiving(mut command: Command) -> Receiving {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().expect("it runs"));
    let mut output = BufReader::new(running.0.stdout.take().expect("a pipe"));
    let mut first = String::new();
    output.read_line(&mut first).expect("UTF-8");
    let address = first.strip_prefix("listening on ").and_then(|rest| rest.split(';').next());
    let address = address.unwrap_or_else(|| panic!("{first}")).to_owned();
    Receiving { running, output, address }
}

fn receive(directory: &Directory, more: &[&str]) -> Receiving {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gamekeeper"));
    command.arg("receive").arg(directory.received()).args(["--port", "0"]).args(more);
    receiving(command)
}

impl Receiving {
    /// The next line about a file.
    fn received(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("UTF-8") > 0, "the receiver has ended");
            if line.starts_with("received ") {
                return line;
            }
        }
    }
}

fn send(address: &str, files: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gamekeeper"));
    command.args(["send", "--insecure", address]).args(files).stdin(Stdio::null());
    command
}

/// The most memory that a process ever had.
#[cfg(target_os = "linux")]
fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(target_os = "linux")]
#[test]
fn a_large_file_passes_in_bounded_memory() {
    let mib =
        std::env::var("GAMEKEEPER_FILE_MIB").ok().map_or(LARGE_MIB, |text| text.parse().expect("a number"));
    let directory = Directory::new("large");
    let path = directory.file("large.bin", mib << 20, 1);
    let mut receiver = receive(&directory, &[]);
    let begin = Instant::now();
    let mut sender =
        Running(send(&receiver.address, &[&path]).stdout(Stdio::null()).spawn().expect("it runs"));
    let mut peaks = [0, 0];
    let status = loop {
        for (peak, pid) in peaks.iter_mut().zip([sender.0.id(), receiver.running.0.id()]) {
            *peak = peak_kib(pid).map_or(*peak, |now| now.max(*peak));
        }
        if let Some(status) = sender.0.try_wait().expect("a child") {
            break status;
        }
        assert!(begin.elapsed() < PATIENCE, "it takes too long");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success());
    let took = begin.elapsed().as_secs_f64();
    receiver.received();
    assert!(same(&path, &directory.received().join("large.bin")));
    assert_eq!(directory.names(), ["large.bin"]);
    println!(
        "{mib} MiB: {took:.1} s, {:.1} MiB/s; sender {} KiB, receiver {} KiB at most",
        mib as f64 / took,
        peaks[0],
        peaks[1]
    );
    assert!(peaks.iter().all(|peak| (1..=MAX_RSS_KIB).contains(peak)), "{peaks:?}");
}

/// Takes everything into a directory, and tells how it went.
struct Taker(PathBuf, mpsc::Sender<(String, Result<PathBuf, FileFailure>)>);

impl events::Handler for Taker {
    fn takes(&self) -> events::Takes {
        events::Takes { file: true, ..events::Takes::default() }
    }

    fn file(&mut self, server: &Server, peer: PeerId, event: &FileEvent) {
        match event {
            FileEvent::Offered(file, _) => {
                let target = FileTarget { directory: self.0.clone(), ..FileTarget::default() };
                server.accept_file(peer, *file, target).expect("it was just offered");
            }
            FileEvent::Progress { .. } => {}
            FileEvent::Ended(_, end) => {
                let result = end.result.clone().map(Option::unwrap_or_default).map_err(|(why, _)| why);
                let _gone = self.1.send((end.name.clone(), result));
            }
        }
    }
}

type Told = mpsc::Receiver<(String, Result<PathBuf, FileFailure>)>;

fn taker(directory: &Directory, quota: Quota) -> (Server, Told) {
    let (sender, told) = mpsc::channel();
    let config =
        Config { files: Some(quota), connection_timeout: Duration::from_secs(2), ..Config::default() };
    let taker = Box::new(Taker(directory.received(), sender));
    (Server::start(config, taker, "127.0.0.1:0").expect("it starts"), told)
}

#[test]
fn a_sender_that_is_killed_goes_on_over_a_lossy_path() {
    let directory = Directory::new("killed");
    let path = directory.file("a.bin", (24 << 20) + 5, 2);
    let (server, told) = taker(&directory, Quota::default());
    let rough = Conditions {
        loss: 0.02,
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(2),
        ..Conditions::default()
    };
    for direction in [Direction::Receive, Direction::Send] {
        server.simulate(direction, Some(rough.clone())).expect("in range");
    }
    let address = server.local_address().to_string();
    let partial = |names: &[String]| names.iter().find(|name| name.ends_with(".part")).cloned();
    let mut kept = 0;
    for life in 1..=3_u64 {
        let mut sender = Running(send(&address, &[&path]).stdout(Stdio::null()).spawn().expect("it runs"));
        // Somewhere on the way: when so much more of it is there.
        let until = Instant::now() + PATIENCE;
        loop {
            let len = partial(&directory.names())
                .and_then(|name| std::fs::metadata(directory.received().join(name)).ok())
                .map_or(0, |about| about.len());
            if len > kept + life * 1_000_000 {
                break;
            }
            assert!(Instant::now() < until && sender.0.try_wait().expect("a child").is_none());
            std::thread::sleep(Duration::from_millis(5));
        }
        sender.0.kill().expect("it lives");
        drop(sender);
        let (_, result) = told.recv_timeout(PATIENCE).expect("the receiver is told");
        assert_eq!(result, Err(FileFailure::Disconnected));
        let name = partial(&directory.names()).expect("what came is kept");
        let len = std::fs::metadata(directory.received().join(name)).expect("it is there").len();
        assert!(len > kept, "it goes on where it was: {len} after {kept}");
        kept = len;
    }
    let before = server.file_totals().bytes;
    assert!(send(&address, &[&path]).stdout(Stdio::null()).status().expect("it runs").success());
    let (_, result) = told.recv_timeout(PATIENCE).expect("the receiver is told");
    let arrived = result.expect("it arrives");
    assert!(same(&path, &arrived) && directory.names() == ["a.bin"]);
    assert!(server.file_totals().bytes >= before);
    server.stop().expect("it stops");
}

#[test]
fn a_receiver_that_is_killed_goes_on_when_it_is_back() {
    let directory = Directory::new("receiver");
    let path = directory.file("a.bin", 48 << 20, 3);
    let first = receive(&directory, &[]);
    let port = first.address.rsplit(':').next().expect("a port").to_owned();
    let mut sender = Running(
        send(&first.address, &[&path])
            .args(["--retries", "60"])
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs"),
    );
    let until = Instant::now() + PATIENCE;
    let size = |names: Vec<String>| {
        let sizes = names.iter().filter_map(|n| std::fs::metadata(directory.received().join(n)).ok());
        sizes.map(|about| about.len()).max().unwrap_or(0)
    };
    while size(directory.names()) < 2_000_000 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(first);
    let kept = size(directory.names());
    assert!(directory.names()[0].ends_with(".part"), "it was killed on the way: {:?}", directory.names());
    let mut command = Command::new(env!("CARGO_BIN_EXE_gamekeeper"));
    command.arg("receive").arg(directory.received()).args(["--port", &port]);
    let mut second = receiving(command);
    second.received();
    assert!(sender.0.wait().expect("a child").success());
    assert!(kept > 0 && same(&path, &directory.received().join("a.bin")));
    assert_eq!(directory.names(), ["a.bin"]);
}

#[test]
fn many_senders_of_one_name_do_not_mix() {
    let directory = Directory::new("many");
    let mut receiver = receive(&directory, &[]);
    let files: Vec<PathBuf> = (0..6)
        .map(|i| {
            std::fs::create_dir_all(directory.0.join(i.to_string())).expect("a directory");
            directory.file(&format!("{i}/same.bin"), 3_000_000 + i, i)
        })
        .collect();
    let mut senders: Vec<Running> = files
        .iter()
        // The first file twice: two of one hash at once.
        .chain(&files[..1])
        .map(|path| Running(send(&receiver.address, &[path]).stdout(Stdio::null()).spawn().expect("it runs")))
        .collect();
    for sender in &mut senders {
        assert!(sender.0.wait().expect("a child").success());
    }
    for _ in 0..7 {
        receiver.received();
    }
    assert_eq!(directory.names().len(), 7, "{:?}", directory.names());
    for name in directory.names() {
        let arrived = directory.received().join(&name);
        assert!(files.iter().any(|path| same(path, &arrived)), "{name}");
    }
}

/// A receiver that can make no file longer than so many KiB, as with a disk that is full.
#[cfg(unix)]
#[test]
fn a_full_disk_is_told_at_both_ends_and_leaves_nothing() {
    let directory = Directory::new("full");
    let path = directory.file("a.bin", 5 << 20, 4);
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$@\"";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_gamekeeper"), "receive"]);
    command.arg(directory.received()).args(["--port", "0", "--count", "1"]).stderr(Stdio::piped());
    let mut receiver = receiving(command);
    let output = send(&receiver.address, &[&path]).output().expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("a.bin: the receiver's disk is full"), "{said}");
    assert!(receiver.running.0.wait().expect("a child").success());
    let mut theirs = String::new();
    let mut stderr = receiver.running.0.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut theirs).expect("UTF-8");
    assert!(theirs.contains("a.bin from 127.0.0.1:"), "{theirs}");
    assert!(directory.names().is_empty(), "{:?}", directory.names());
}

#[test]
fn refusals_name_their_reason() {
    let directory = Directory::new("refused");
    let path = directory.file("a.bin", 10_000, 5);
    let receiver = receive(&directory, &["--max-size", "9999"]);
    let output = send(&receiver.address, &[&path]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("longer than the receiver takes"), "{said}");
    let output = send(&receiver.address, &[&directory.0.join("none")]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no file"));
    // A server that has not enabled them says so too.
    let (server, _told) = taker(&directory, Quota::default());
    drop(server.stop());
    let plain = Server::start(Config::default(), Box::new(Nobody), "127.0.0.1:0").expect("it starts");
    let output = send(&plain.local_address().to_string(), &[&path]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("takes no files"), "{said}");
    plain.stop().expect("it stops");
    assert!(directory.names().is_empty());
}

struct Nobody;

impl events::Handler for Nobody {
    fn takes(&self) -> events::Takes {
        events::Takes::default()
    }
}

/// A client's handler that takes files, and says when it is connected.
struct Downloads(PathBuf, mpsc::Sender<Option<FileEnd>>);

impl Handler for Downloads {
    fn takes(&self) -> gamekeeper::client::Takes {
        gamekeeper::client::Takes { connected: true, file: true, ..Default::default() }
    }

    fn connected(&mut self, _: &Client, _: &gamekeeper::client::ConnectInfo) {
        let _gone = self.1.send(None);
    }

    fn file(&mut self, client: &Client, event: &FileEvent) {
        match event {
            FileEvent::Offered(file, _) => {
                let target = FileTarget { directory: self.0.clone(), ..FileTarget::default() };
                client.accept_file(*file, target).expect("it was just offered");
            }
            FileEvent::Progress { .. } => {}
            FileEvent::Ended(_, end) => {
                let _gone = self.1.send(Some(end.clone()));
            }
        }
    }
}

/// Sends a file to whoever connects, from inside the callback.
struct Gives(PathBuf, mpsc::Sender<Result<(), FileFailure>>);

impl events::Handler for Gives {
    fn takes(&self) -> events::Takes {
        events::Takes { connect: true, file: true, ..events::Takes::default() }
    }

    fn connect(&mut self, server: &Server, peer: PeerId, _: &events::ConnectInfo) {
        let done = self.1.clone();
        let options = events::FileOptions {
            name: Some("../sent under/another name.bin".into()),
            on_done: Some(Box::new(move |_, _, _, end| {
                let _gone = done.send(end.result.clone().map(|_| ()).map_err(|(why, _)| why));
            })),
            ..Default::default()
        };
        server.send_file(peer, &self.0, options).expect("it takes files");
    }
}

#[test]
fn a_server_sends_to_its_clients_while_its_tick_goes_on() {
    let directory = Directory::new("down");
    let path = directory.file("a.bin", 20 << 20, 6);
    let (sender, done) = mpsc::channel();
    let config = Config { files: Some(Quota::default()), ..Config::default() };
    let gives = Box::new(Gives(path.clone(), sender));
    let server = Server::start(config, gives, "127.0.0.1:0").expect("it starts");
    let (sender, told) = mpsc::channel();
    let mut config = ClientConfig::new(ServerKey::Any);
    config.files = Some(Quota::default());
    let downloads = Box::new(Downloads(directory.received(), sender));
    let client = Client::start(config, downloads, &server.local_address().to_string()).expect("it starts");
    assert_eq!(told.recv_timeout(PATIENCE).expect("it connects"), None);
    assert_eq!(done.recv_timeout(PATIENCE), Ok(Ok(())));
    let end = told.recv_timeout(PATIENCE).expect("it is told").expect("an end");
    let arrived = end.result.expect("it arrives").expect("a path");
    assert_eq!(arrived, directory.received().join("another name.bin"));
    assert!(same(&path, &arrived));
    client.stop().expect("it stops");
    server.stop().expect("it stops");
}

#[test]
fn a_file_that_changes_is_an_error_at_both_ends() {
    let directory = Directory::new("changes");
    let path = directory.file("a.bin", 64 << 20, 7);
    let (server, told) = taker(&directory, Quota::default());
    let (sender, seen) = mpsc::channel();
    let mut config = ClientConfig::new(ServerKey::Any);
    config.files = Some(Quota::default());
    let downloads = Box::new(Downloads(directory.received(), sender.clone()));
    let client = Client::start(config, downloads, &server.local_address().to_string()).expect("it starts");
    assert_eq!(seen.recv_timeout(PATIENCE).expect("it connects"), None);
    let shortened = path.clone();
    let options = FileOptions {
        on_progress: Some(Arc::new(move |_, _, done, size| {
            if done > size / 8 {
                let file = std::fs::File::options().write(true).open(&shortened).expect("a file");
                file.set_len(100).expect("it can be cut");
            }
        })),
        on_done: Some(Box::new(move |_, _, end| {
            let _gone = sender.send(Some(end.clone()));
        })),
        ..FileOptions::default()
    };
    client.send_file(&path, options).expect("it is connected");
    let end = seen.recv_timeout(PATIENCE).expect("it is told").expect("an end");
    assert!(matches!(end.result, Err((FileFailure::Vanished, _))), "{end:?}");
    let (_, result) = told.recv_timeout(PATIENCE).expect("it is told");
    assert_eq!(result, Err(FileFailure::Vanished));
    client.stop().expect("it stops");
    server.stop().expect("it stops");
    assert!(directory.names().is_empty(), "{:?}", directory.names());
}

/// A receiver with doors for streams: its addresses there, in the order in which it tells them.
fn doors(receiver: &mut Receiving, names: &[&str]) -> Vec<String> {
    let mut addresses = Vec::new();
    while addresses.len() < names.len() {
        let mut line = String::new();
        assert!(receiver.output.read_line(&mut line).expect("UTF-8") > 0, "the receiver has ended");
        let name = names[addresses.len()];
        if let Some(address) = line.trim_end().strip_prefix(&format!("{name} at ")) {
            addresses.push(address.to_owned());
        }
    }
    addresses
}

fn send_tcp(address: &str, files: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gamekeeper"));
    command.args(["send", "--tcp", address]).args(files).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[test]
fn files_over_tcp_and_over_datagrams_go_into_one_directory() {
    let directory = Directory::new("tcp");
    let mut receiver = receive(&directory, &["--tcp"]);
    let tcp = doors(&mut receiver, &["TCP"]).remove(0);
    let path = directory.file("a.bin", (9 << 20) + 3, 8);
    let empty = directory.file("empty.bin", 0, 8);
    let mut senders: Vec<Running> = (0..4)
        .map(|_| Running(send_tcp(&tcp, &[&path, &empty]).spawn().expect("it runs")))
        .chain([Running(send(&receiver.address, &[&path]).stdout(Stdio::null()).spawn().expect("it runs"))])
        .collect();
    for sender in &mut senders {
        assert!(sender.0.wait().expect("a child").success());
    }
    for _ in 0..9 {
        receiver.received();
    }
    let names = directory.names();
    assert_eq!(names.len(), 9, "{names:?}");
    for name in names {
        let original = if name.starts_with("empty") { &empty } else { &path };
        assert!(same(original, &directory.received().join(&name)), "{name}");
    }
}

#[test]
fn a_sender_over_tcp_that_is_killed_goes_on_where_it_was() {
    let directory = Directory::new("tcp-killed");
    let path = directory.file("a.bin", 200 << 20, 9);
    let mut receiver = receive(&directory, &["--tcp"]);
    let tcp = doors(&mut receiver, &["TCP"]).remove(0);
    let mut sender = Running(send_tcp(&tcp, &[&path]).spawn().expect("it runs"));
    let until = Instant::now() + PATIENCE;
    let size = || {
        let names = directory.names();
        let sizes = names.iter().filter_map(|n| std::fs::metadata(directory.received().join(n)).ok());
        sizes.map(|about| about.len()).max().unwrap_or(0)
    };
    while size() < 1_000_000 {
        assert!(Instant::now() < until && sender.0.try_wait().expect("a child").is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    sender.0.kill().expect("it lives");
    drop(sender);
    let kept = size();
    assert!(directory.names()[0].ends_with(".part"), "{:?}", directory.names());
    assert!(send_tcp(&tcp, &[&path]).status().expect("it runs").success());
    receiver.received();
    assert!(kept > 0 && same(&path, &directory.received().join("a.bin")));
    assert_eq!(directory.names(), ["a.bin"]);
}

/// A sender of ten lines.
const PLAIN_SENDER: &str = "
import socket, sys
address, name, path = sys.argv[1:]
host, port = address.rsplit(':', 1)
with socket.create_connection((host, int(port))) as s, open(path, 'rb') as f:
    s.sendall(name.encode() + b' ' + f.read(1000))
    while piece := f.read(5000):
        s.sendall(piece)
    s.shutdown(socket.SHUT_WR)
    s.recv(1)
";

fn python(address: &str, name: &str, path: &Path) -> Running {
    let mut command = Command::new("python3");
    command.args(["-c", PLAIN_SENDER, address, name]).arg(path).stdin(Stdio::null());
    Running(command.spawn().expect("Python runs"))
}

#[test]
fn ten_lines_of_python_send_plain_files_many_at_once() {
    let directory = Directory::new("plain");
    let mut receiver = receive(&directory, &["--plain-tcp", "127.0.0.1:0"]);
    let plain = doors(&mut receiver, &["plain TCP"]).remove(0);
    let sizes = [0, 1, 999, 1000, 1001, 70_000, 2_000_003, 3_000_000];
    let paths: Vec<PathBuf> =
        sizes.iter().map(|len| directory.file(&format!("{len}.bin"), *len, len + 1)).collect();
    let mut senders: Vec<Running> = paths
        .iter()
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            python(&plain, &format!("../../etc/{name}"), path)
        })
        .collect();
    for sender in &mut senders {
        assert!(sender.0.wait().expect("a child").success());
    }
    for _ in &paths {
        receiver.received();
    }
    assert_eq!(directory.names().len(), sizes.len());
    for path in &paths {
        assert!(same(path, &directory.received().join(path.file_name().expect("a name"))), "{path:?}");
    }
}

/// One that is gone without an end when it is told so.
const RESETTING_SENDER: &str = "
import socket, struct, sys
host, port = sys.argv[1].rsplit(':', 1)
s = socket.create_connection((host, int(port)))
s.sendall(b'gone.bin some bytes')
sys.stdin.read()
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.close()
";

#[test]
fn plain_senders_that_vanish_or_send_too_much_leave_nothing() {
    use std::net::{Shutdown, TcpStream};
    let directory = Directory::new("plain-gone");
    let mut receiver = receive(&directory, &["--plain-tcp", "127.0.0.1:0", "--max-size", "100000"]);
    let plain = doors(&mut receiver, &["plain TCP"]).remove(0);
    let appears = || {
        let until = Instant::now() + PATIENCE;
        while directory.names().is_empty() {
            assert!(Instant::now() < until, "it was taken");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let is_empty = |why: &str| {
        let until = Instant::now() + PATIENCE;
        while !directory.names().is_empty() {
            assert!(Instant::now() < until, "{why}: {:?}", directory.names());
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    // Gone without an end: the system resets it.
    let mut command = Command::new("python3");
    command.args(["-c", RESETTING_SENDER, &plain]).stdin(Stdio::piped());
    let mut sender = Running(command.spawn().expect("Python runs"));
    appears();
    drop(sender.0.stdin.take());
    assert!(sender.0.wait().expect("a child").success());
    is_empty("a reset");
    // Too much of it: the receiver ends it.
    let mut stream = TcpStream::connect(&plain).expect("it listens");
    stream.write_all(b"gone.bin some bytes").expect("room");
    appears();
    // It may be ended on the way.
    let _ended = stream.write_all(&vec![7; 200_000]);
    is_empty("too much");
    // No name: nobody hears of it.
    let mut stream = TcpStream::connect(&plain).expect("it listens");
    stream.write_all(b"no-space-at-all").expect("room");
    stream.shutdown(Shutdown::Write).expect("it is open");
    let mut rest = Vec::new();
    let _reset = stream.read_to_end(&mut rest);
    is_empty("no name");
    // And the next one is served as ever.
    let path = directory.file("b.bin", 5000, 3);
    assert!(python(&plain, "b.bin", &path).0.wait().expect("a child").success());
    receiver.received();
    assert_eq!(directory.names(), ["b.bin"]);
}

#[test]
fn a_busy_receiver_is_asked_again() {
    let directory = Directory::new("busy");
    let (server, told) = taker(&directory, Quota { files_total: 1, files_per_peer: 1, ..Quota::default() });
    let address = server.local_address().to_string();
    let paths: Vec<PathBuf> = (0..6).map(|i| directory.file(&format!("{i}.bin"), 300_000 + i, i)).collect();
    let (left, right) = paths.split_at(3);
    let mut senders: Vec<Running> = [left, right]
        .iter()
        .map(|files| {
            let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
            Running(send(&address, &files).stdout(Stdio::null()).spawn().expect("it runs"))
        })
        .collect();
    for sender in &mut senders {
        assert!(sender.0.wait().expect("a child").success());
    }
    for _ in &paths {
        told.recv_timeout(PATIENCE).expect("it is told").1.expect("it arrives");
    }
    server.stop().expect("it stops");
    assert_eq!(directory.names().len(), paths.len());
}

#[test]
fn a_receiver_of_so_many_files_tells_the_sender_of_the_last() {
    let directory = Directory::new("count");
    for (round, tcp) in [false, true].into_iter().enumerate() {
        let path = directory.file(&format!("{round}.bin"), 100_000, round as u64);
        let mut receiver = receive(&directory, &["--count", "1", "--tcp"]);
        let stream = doors(&mut receiver, &["TCP"]).remove(0);
        let sent = match tcp {
            false => send(&receiver.address, &[&path]).args(["--retries", "0"]).output(),
            true => send_tcp(&stream, &[&path]).args(["--retries", "0"]).output(),
        };
        let sent = sent.expect("it runs");
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        assert!(receiver.running.0.wait().expect("a child").success());
    }
    assert_eq!(directory.names(), ["0.bin", "1.bin"]);
}

#[test]
fn two_receivers_of_one_name_into_one_directory_do_not_mix() {
    let directory = Directory::new("two");
    let (one, other) = (receive(&directory, &[]), receive(&directory, &[]));
    // The same file to both, and another of its name.
    let path = directory.file("a.bin", 5_000_001, 10);
    std::fs::create_dir_all(directory.0.join("more")).expect("a directory");
    let another = directory.file("more/a.bin", 5_000_001, 20);
    let pairs = [(&one, &path), (&other, &path), (&one, &another), (&other, &another)];
    let mut senders: Vec<Running> = pairs
        .iter()
        .map(|(receiver, path)| {
            Running(send(&receiver.address, &[path]).stdout(Stdio::null()).spawn().expect("it runs"))
        })
        .collect();
    for sender in &mut senders {
        assert!(sender.0.wait().expect("a child").success());
    }
    let names = directory.names();
    assert_eq!(names.len(), 4, "{names:?}");
    let of = |original: &Path| {
        names.iter().filter(|name| same(original, &directory.received().join(name))).count()
    };
    assert_eq!((of(&path), of(&another)), (2, 2), "{names:?}");
}
