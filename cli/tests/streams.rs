//! Plain programs against `gamekeeper serve --tcp`: netcat, Python's socket and selectors, crowds, and a server that
//! has no descriptor left.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use support::{line_of, Running, BINARY};

/// A deadline, not a time: nothing takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Serving {
    child: Running,
    address: String,
    _output: BufReader<ChildStdout>,
    errors: Option<BufReader<ChildStderr>>,
}

impl Serving {
    /// `limit`: descriptors that it may have.
    fn start(framing: &str, limit: Option<u32>, arguments: &[&str]) -> Serving {
        let mut command = match limit {
            None => Command::new(BINARY),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), BINARY]);
                shell
            }
        };
        command.args(["serve", "--port", "0", "--tcp", "--quiet", "--framing", framing]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Running(command.spawn().expect("it runs"));
        let mut output = BufReader::new(child.0.stdout.take().expect("a pipe"));
        let errors = child.0.stderr.take().map(BufReader::new);
        loop {
            let line = line_of(&mut output);
            if let Some(address) = line.trim_end().strip_prefix("others reach it at tcp ") {
                let address = address.to_owned();
                return Serving { child, address, _output: output, errors };
            }
        }
    }

    fn open(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    fn host_and_port(&self) -> (&str, &str) {
        self.address.rsplit_once(':').expect("an address")
    }

    /// A line that it has said of what went wrong.
    fn error_with(&mut self, part: &str) -> String {
        let errors = self.errors.as_mut().expect("a pipe");
        let mut line = String::new();
        while errors.read_line(&mut line).expect("it speaks UTF-8") > 0 {
            if line.contains(part) {
                return line;
            }
            line.clear();
        }
        panic!("it never said {part:?}");
    }
}

fn echoes(stream: &mut TcpStream, data: &[u8]) -> bool {
    let mut back = vec![0; data.len()];
    stream.write_all(data).is_ok() && stream.read_exact(&mut back).is_ok() && back == data
}

/// What a program said, given so much to read.
fn output_of(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

#[test]
fn netcat_gets_its_lines_back_also_when_it_ends_its_half_first() {
    let server = Serving::start("lines", None, &[]);
    let (host, port) = server.host_and_port();
    // -N: the end of its input is the end of its half.
    let said = output_of(Command::new("nc").args(["-N", host, port]), b"hello\nworld\r\nno end");
    assert_eq!(said, b"hello\nworld\nno end\n");
    let server = Serving::start("raw", None, &[]);
    let (host, port) = server.host_and_port();
    let said = output_of(Command::new("nc").args(["-N", host, port]), b"whatever");
    assert_eq!(said, b"whatever");
}

/// Many connections, each of which sends its messages in pieces and closes when all have come back.
const SELECTORS: &str = r#"
import selectors, socket, sys, types
host, port, connections = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
messages = [b"Message 1 from client.", b"Message 2 from client."]
total = sum(map(len, messages))
selector = selectors.DefaultSelector()
for number in range(connections):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.connect_ex((host, port))
    data = types.SimpleNamespace(received=b"", messages=list(messages), out=b"")
    selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, data)
done = 0
while done < connections:
    for key, mask in selector.select(timeout=60):
        sock, data = key.fileobj, key.data
        if mask & selectors.EVENT_READ:
            received = sock.recv(1024)
            data.received += received
            if not received or len(data.received) == total:
                assert data.received == b"".join(messages), data.received
                selector.unregister(sock)
                sock.close()
                done += 1
                continue
        if mask & selectors.EVENT_WRITE:
            if not data.out and data.messages:
                data.out = data.messages.pop(0)
            if data.out:
                data.out = data.out[sock.send(data.out[:5]):]
print(done)
"#;

#[test]
fn pythons_selectors_open_many_connections_that_send_in_pieces() {
    let server = Serving::start("raw", None, &["--max-clients", "1000"]);
    let (host, port) = server.host_and_port();
    let said = output_of(Command::new("python3").args(["-c", SELECTORS, host, port, "200"]), b"");
    assert_eq!(String::from_utf8_lossy(&said).trim(), "200");
}

#[test]
fn bots_talk_through_tcp() {
    let server = Serving::start("length", None, &["--max-clients", "100"]);
    let arguments = ["--tcp", "--connections", "50", "--seconds", "1", "--size", "2000"];
    let output =
        Command::new(BINARY).args(["bots", &server.address]).args(arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("50"), "{said}");
}

#[test]
fn a_server_without_descriptors_waits_says_so_once_and_goes_on() {
    // Some twenty of these are its own.
    let mut server = Serving::start("raw", Some(40), &["--max-clients", "1000"]);
    let mut first = server.open();
    assert!(echoes(&mut first, b"before"));
    let mut crowd: Vec<TcpStream> = (0..60).map(|_| server.open()).collect();
    let said = server.error_with("no more connections are accepted");
    assert!(said.contains(&server.address), "{said}");
    // Who is in goes on, with nobody's descriptors.
    for _ in 0..20 {
        assert!(echoes(&mut first, b"meanwhile"));
    }
    // When others leave, whoever waits comes in.
    let mut last = crowd.pop().expect("sixty");
    drop(crowd);
    assert!(echoes(&mut last, b"at last"));
    assert!(echoes(&mut first, b"after"));
    drop(last);
    let _ = server.child.0.kill();
    let mut rest = String::new();
    let _ = server.errors.take().expect("a pipe").read_to_string(&mut rest);
    let again = rest.matches("no more connections").count();
    assert!(again <= 2, "it said so {again} more times:\n{rest}");
}

/// A directory that goes with the test.
struct Directory(std::path::PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate for localhost that openssl made, and its key.
fn certificate(name: &str) -> (Directory, String, String) {
    let directory = std::env::temp_dir().join(format!("gamekeeper-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = |file: &str| directory.join(file).to_string_lossy().into_owned();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            &key,
            "-out",
            &cert,
        ])
        .output()
        .expect("openssl is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (Directory(directory), cert, key)
}

#[test]
fn openssl_speaks_tls_with_a_door_and_garbage_ends_only_itself() {
    let (_directory, cert, key) = certificate("tls");
    let server = Serving::start("lines", None, &["--cert", &cert, "--cert-key", &key]);
    // What is no TLS ends its connection, and who says nothing keeps nobody out.
    let mut garbage = server.open();
    garbage.write_all(&[0x47; 600]).expect("it listens");
    let mut rest = Vec::new();
    let _ = garbage.read_to_end(&mut rest);
    let _silent = server.open();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost", version])
            .args(["-CAfile", &cert, "-connect", &server.address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is there");
        let mut input = client.stdin.take().expect("a pipe");
        let mut output = BufReader::new(client.stdout.take().expect("a pipe"));
        for line in ["hello\n".to_owned(), format!("{}\n", "x".repeat(100_000))] {
            input.write_all(line.as_bytes()).expect("it reads");
            let mut back = String::new();
            output.read_line(&mut back).expect("UTF-8");
            assert!(back == line, "{version}: {} bytes came back of {}", back.len(), line.len());
        }
        drop(input);
        let _ = client.kill();
        let _ = client.wait();
    }
}

#[test]
fn bots_speak_tls_with_whom_they_are_told_to_believe() {
    let (_directory, cert, key) = certificate("bots-tls");
    let server = Serving::start("length", None, &["--cert", &cert, "--cert-key", &key]);
    let bots = |trust: &[&str]| {
        let common = ["bots", "--tcp", "--connections", "3", "--seconds", "0.5", &server.address];
        Command::new(BINARY).args(common).args(trust).output().expect("it runs")
    };
    let believed = bots(&["--tls-cert", &cert]);
    assert!(believed.status.success(), "{}", String::from_utf8_lossy(&believed.stderr));
    // It is for localhost, and this address is none of its names.
    let refused = bots(&["--tls-ca", &cert]);
    assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
    // Options that do not go together.
    for wrong in [&["--tls-name", "localhost"][..], &["--tls-insecure", "--tls-ca", &cert]] {
        assert!(!bots(wrong).status.success(), "{wrong:?}");
    }
}

#[test]
fn a_password_goes_first_through_tls_on_any_interface() {
    let (directory, cert, key) = certificate("password");
    let password = directory.0.join("password");
    std::fs::write(&password, "open sesame\n").expect("a file");
    let password = password.to_string_lossy().into_owned();
    let arguments = ["--cert", &cert, "--cert-key", &key, "--host", "0.0.0.0", "--password-file", &password];
    let server = Serving::start("lines", None, &arguments);
    let port = server.host_and_port().1;
    for (input, back) in [("open sesame\nhello\n", "hello\n"), ("wrong\nhello\n", "")] {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is there");
        let mut to = client.stdin.take().expect("a pipe");
        to.write_all(input.as_bytes()).expect("it reads");
        let mut from = BufReader::new(client.stdout.take().expect("a pipe"));
        let mut line = String::new();
        from.read_line(&mut line).expect("UTF-8");
        assert_eq!(line, back);
        drop(to);
        let _ = client.kill();
        let _ = client.wait();
    }
}
