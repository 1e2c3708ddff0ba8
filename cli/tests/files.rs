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
