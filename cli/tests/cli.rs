//! The command line does what it says: the program itself is run, on loopback.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::{line_of, Running, BINARY};

/// A command of the program.
fn gamekeeper(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    gamekeeper(arguments).stdin(Stdio::null()).output().expect("it runs")
}

/// What a run that must fail says: one line on standard error, nothing else.
fn failure(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.starts_with("gamekeeper: ") && said.lines().count() == 1, "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    said
}

/// A server on a free port.
struct Serving {
    running: Running,
    output: BufReader<std::process::ChildStdout>,
    address: String,
    /// Its native key, as text.
    key: String,
}

fn serve(arguments: &[&str]) -> Serving {
    let mut command = gamekeeper(&["serve", "--port", "0"]);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().expect("it runs"));
    let mut output = BufReader::new(running.0.stdout.take().expect("a pipe"));
    let mut line = || line_of(&mut output);
    let first = line();
    let address = first.strip_prefix("listening on ").and_then(|rest| rest.split(';').next());
    let address = address.unwrap_or_else(|| panic!("{first}")).to_owned();
    let second = line();
    let key = second.trim_end().strip_prefix("native key: ").unwrap_or_else(|| panic!("{second}")).to_owned();
    while !line().starts_with("-----END") {}
    let reached = line();
    assert_eq!(reached.trim_end(), format!("others reach it at udp {address}"));
    Serving { running, output, address, key }
}

/// A client whose input stays open.
struct Connected {
    running: Running,
    output: BufReader<std::process::ChildStdout>,
}

impl Connected {
    fn new(arguments: &[&str]) -> Connected {
        let mut command = gamekeeper(&["connect"]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running(command.spawn().expect("it runs"));
        let output = BufReader::new(running.0.stdout.take().expect("a pipe"));
        Connected { running, output }
    }

    fn say(&mut self, line: &str) {
        let input = self.running.0.stdin.as_mut().expect("a pipe");
        writeln!(input, "{line}").expect("it reads");
    }

    fn hear(&mut self) -> String {
        line_of(&mut self.output).trim_end().to_owned()
    }

    /// Ends its input; it must end well, and say nothing more.
    fn end(mut self) {
        drop(self.running.0.stdin.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("it speaks UTF-8");
        assert_eq!(rest, "");
        assert!(self.running.0.wait().expect("it ends").success());
    }
}

/// A directory of a test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("gamekeeper-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory can be made");
        Directory(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Whatever stays behind lies among the system's temporary files.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn keygen_writes_a_private_file_and_replaces_nothing_unasked() {
    let directory = Directory::new("keygen");
    let file = directory.path("root.pem");
    let made = run(&["keygen", &file]);
    let said = String::from_utf8(made.stdout).expect("UTF-8");
    assert!(
        made.status.success() && said.contains("BEGIN PUBLIC KEY") && !said.contains("PRIVATE"),
        "{said}"
    );
    let native =
        said.lines().next().and_then(|line| line.strip_prefix("native key: ")).expect("the first line");
    assert!(native.len() == 64 && native.bytes().all(|b| b.is_ascii_hexdigit()), "{native}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let before = std::fs::read(&file).expect("it is there");
    assert!(failure(&["keygen", &file], 1).contains("--force"));
    assert_eq!(std::fs::read(&file).expect("it is there"), before);
    assert!(run(&["keygen", &file, "--force"]).status.success());
    assert_ne!(std::fs::read(&file).expect("it is there"), before);
}

#[test]
fn lines_go_to_an_echo_server_and_come_back_on_both_wires() {
    let directory = Directory::new("echo");
    let file = directory.path("root.pem");
    assert!(run(&["keygen", &file]).status.success());
    let server = serve(&["--key", &file]);
    for wire in ["native", "mpgameserver"] {
        // A root key has what both wires pin.
        let mut client = Connected::new(&[&server.address, "--key", &file, "--wire", wire]);
        for line in ["hello", "", "Grüße", "the end"] {
            client.say(line);
            assert_eq!(client.hear(), line, "{wire}");
        }
        client.end();
    }
}

#[test]
fn the_printed_key_can_be_pinned_and_another_one_is_not_believed() {
    let server = serve(&[]);
    let mut client = Connected::new(&[&server.address, "--key", &server.key]);
    client.say("hello");
    assert_eq!(client.hear(), "hello");
    client.end();
    let other = serve(&[]);
    assert_ne!(server.key, other.key);
    failure(&["connect", &server.address, "--key", &other.key], 1);
    assert!(failure(&["connect", &server.address], 1).contains("--insecure"));
    assert!(failure(&["connect", &server.address, "--key", "no-such-file"], 1).contains("no-such-file"));
}

#[test]
fn a_whole_pipe_is_echoed_before_the_client_ends() {
    let server = serve(&["--quiet"]);
    let mut command = gamekeeper(&["connect", &server.address, "--insecure", "--linger", "5"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    // More than the client's queue holds.
    let text: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
    let input = text.clone();
    let mut pipe = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all");
    assert!(output.status.success());
    let echoed = String::from_utf8(output.stdout).expect("UTF-8");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&echoed).len(), 10_000);
    assert!(sorted(&echoed) == sorted(&text), "the same lines");
}

#[test]
fn a_relay_tells_everybody_else() {
    let mut server = serve(&["--mode", "relay"]);
    let mut clients = [0, 1, 2].map(|_| Connected::new(&[&server.address, "--insecure"]));
    for _ in &clients {
        let mut line = String::new();
        server.output.read_line(&mut line).expect("UTF-8");
        assert!(line.starts_with("+ "), "{line}");
    }
    let [a, b, c] = &mut clients;
    a.say("from a");
    assert_eq!((b.hear(), c.hear()), ("from a".into(), "from a".into()));
    b.say("from b");
    // What a said did not come back to it.
    assert_eq!((a.hear(), c.hear()), ("from b".into(), "from b".into()));
    clients.into_iter().for_each(Connected::end);
}

#[test]
fn bots_measure_an_echo_server_on_both_wires() {
    let server = serve(&["--quiet"]);
    let crowd = ["bots", &server.address, "--connections", "5", "--rate", "20", "--seconds", "1"];
    let modes =
        ["unreliable", "sequenced", "best-effort", "guaranteed", "ordered"].map(|mode| ("native", mode));
    for (wire, mode) in modes.into_iter().chain([("mpgameserver", "guaranteed")]) {
        let output = run(&[&crowd[..], &["--wire", wire, "--mode", mode]].concat());
        let (table, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        let (table, said) = (table.expect("UTF-8"), said.expect("UTF-8"));
        assert!(output.status.success(), "{wire} {mode}: {table}{said}");
        let value = |name: &str| {
            let row = table.lines().find_map(|line| line.strip_prefix(name));
            row.unwrap_or_else(|| panic!("{name}: {table}")).trim().to_owned()
        };
        assert_eq!(value("connected "), "5 of 5");
        let (sent, received) = (value("sent "), value("received "));
        let number = |text: &str| text.parse::<u64>().expect("a number");
        assert!((1..=105).contains(&number(&sent)), "{table}");
        if matches!(mode, "guaranteed" | "ordered") {
            assert_eq!((&sent, &value("loss ")[..]), (&received, "0.00 %"), "{wire} {mode}");
        } else {
            assert!((1..=number(&sent)).contains(&number(&received)), "{table}");
        }
        assert!(value("latency max ").ends_with(" ms"));
    }
}

#[test]
fn bots_beyond_what_the_server_takes_are_told() {
    let server = serve(&["--quiet", "--max-clients", "2"]);
    let arguments = ["bots", &server.address, "--connections", "3", "--rate", "5", "--seconds", "0.5"];
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 3 clients were not let in"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 of 3"));
}

#[test]
fn a_password_is_asked_for_and_compared() {
    let directory = Directory::new("password");
    let file = directory.path("password");
    std::fs::write(&file, "open sesame\n").expect("it can be written");
    let server = serve(&["--password", "open sesame"]);
    let connect = ["connect", &server.address, "--key", &server.key];
    let mut client = Connected::new(&[&connect[1..], &["--password-file", &file]].concat());
    client.say("hello");
    assert_eq!(client.hear(), "hello");
    client.end();
    let wrong = failure(&[&connect[..], &["--password", "close sesame"]].concat(), 1);
    assert!(wrong.contains("password"), "{wrong}");
    let none = failure(&connect, 1);
    assert!(none.contains("password"), "{none}");
    // Not to whoever answers, unless that was said.
    assert!(failure(&["bots", &server.address, "--password", "x"], 1).contains("--insecure"));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_server_cleanly() {
    let mut server = serve(&[]);
    let mut client = Connected::new(&[&server.address, "--insecure"]);
    client.say("hello");
    assert_eq!(client.hear(), "hello");
    let id = server.running.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    assert!(server.running.0.wait().expect("it ends").success());
    let mut rest = String::new();
    server.output.read_to_string(&mut rest).expect("UTF-8");
    assert!(rest.contains("stopped: 1 messages received, 1 sent"), "{rest}");
    // The client is told, and says so with its exit code.
    assert_eq!(client.running.0.wait().expect("it ends").code(), Some(1));
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let server = serve(&[]);
    let port = server.address.rsplit(':').next().expect("a port");
    let busy = failure(&["serve", "--port", port], 1);
    assert!(busy.contains("in use"), "{busy}");
    // A port that was free a moment ago.
    let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let free = free.to_string();
    assert!(failure(&["connect", &free, "--insecure"], 1).contains(&free));
    assert!(failure(&["bots", &free, "--connections", "2"], 1).contains(&free));
    failure(&["connect", "no address", "--insecure"], 1);
    failure(&["serve", "--key", "no-such-file"], 1);
    failure(&["serve", "--tick-rate", "0"], 1);
    failure(&["serve", "--host", "192.0.2.1", "--port", "0"], 1);
}

#[test]
fn what_is_not_understood_is_one_line() {
    for arguments in [
        &["serve", "--nonsense"][..],
        &["nonsense"],
        &[],
        &["keygen"],
        &["serve", "--port", "70000"],
        &["serve", "--mode", "nonsense"],
        &["serve", "--max-clients", "0"],
        &["serve", "--password", "a", "--ask-password"],
        &["connect"],
        &["connect", "127.0.0.1:1", "--key", "a", "--insecure"],
        &["bots", "127.0.0.1:1", "--connections", "10001"],
        &["bots", "127.0.0.1:1", "--rate", "NaN"],
        &["bots", "127.0.0.1:1", "--size", "1"],
        &["bots", "127.0.0.1:1", "--seconds", "-1"],
    ] {
        failure(arguments, 2);
    }
    let sequenced = ["bots", "127.0.0.1:1", "--mode", "sequenced", "--wire", "mpgameserver"];
    assert!(failure(&sequenced, 1).contains("sequenced"));
    assert!(run(&["--help"]).status.success());
    assert!(run(&["--version"]).status.success());
}
