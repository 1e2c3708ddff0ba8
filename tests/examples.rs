//! The Rust examples do what they say.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;

use gamekeeper::client::driver::{Client, Event, Mode};
use gamekeeper::server::config::Config;
use support::play::drive;

/// An example's program, built if it is not there or not new.
fn example(name: &str) -> Command {
    static BUILT: Once = Once::new();
    // target/<profile>/deps/<this test>
    let own = std::env::current_exe().expect("the test's own path");
    let profile: PathBuf = own.ancestors().nth(2).expect("it stands in a profile's folder").into();
    BUILT.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        // Not the whole workspace: the field's benchmark brings the libraries along that it compares with.
        cargo.args([
            "build",
            "--quiet",
            "--package",
            "gamekeeper",
            "--package",
            "gamekeeper-cli",
            "--package",
            "demo",
        ]);
        cargo.args(["--bins", "--examples", "--manifest-path"]);
        cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        cargo.arg("--target-dir").arg(profile.parent().expect("it stands in the target's folder"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success());
    });
    // The demo is a package of its own, and so a program.
    let folder = if name == "demo" { profile } else { profile.join("examples") };
    let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{}", path.display());
    Command::new(path)
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Ended by its drop, also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn the_demo_shows_a_line_a_second_and_everything_arrives() {
    let output = example("demo").args(["--seconds", "2", "--clients", "4"]).output().expect("it runs");
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("4 of 4 clients connected, 0 were lost."), "{said}");
    assert!(said.contains("Everything arrived."), "{said}");
    let lines = said.lines().filter(|l| l.trim_start().starts_with(|c: char| c.is_ascii_digit())).count();
    assert!(lines >= 2, "{said}");
}

#[test]
fn the_demo_says_what_it_does_not_understand() {
    for arguments in [&["--clients"][..], &["--seconds", "many"], &["--what"], &["nowhere"]] {
        let output = example("demo").args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).starts_with("demo: "), "{}", text(&output));
    }
}

#[cfg(unix)]
#[test]
fn the_demo_ends_cleanly_on_interrupt() {
    let mut child =
        example("demo").args(["--seconds", "600"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut running = Running(child);
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line.expect("text");
        said.push_str(&line);
        // The first second is over, so all clients have had time to connect.
        if line.trim_start().starts_with("1 ") {
            break;
        }
    }
    let id = running.0.id() as libc::pid_t;
    // SAFETY: a signal to a child that was not reaped yet, so the id is still its own.
    assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
    said.extend(lines.map(|l| l.expect("text") + "\n"));
    assert!(running.0.wait().expect("it ended").success(), "{said}");
    assert!(said.contains("Everything arrived."), "{said}");
}

#[test]
fn the_client_talks_with_the_host() {
    let mut child = example("host").arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let _host = Running(child);
    let first = lines.next().expect("a line").expect("text");
    let address = first.strip_prefix("listening on ").expect("its address");
    let mut client = example("client");
    let mut child =
        client.arg(address).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut words = child.stdin.take().expect("it is piped");
    let mut client = Running(child);
    let mut line = || said.next().expect("a line").expect("text");
    assert_eq!(line(), format!("connected to {address}"));
    assert_eq!(line(), "told welcome");
    words.write_all(b"hello\n").expect("it reads");
    assert_eq!(line(), "told hello");
    drop(words);
    assert_eq!(line(), "disconnected: this end left");
    assert!(client.0.wait().expect("it ended").success());
}

#[test]
fn the_host_greets_and_echoes() {
    let mut child = example("host").arg("127.0.0.1:0").stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let _running = Running(child);
    let mut line = || lines.next().expect("a line").expect("text");
    let first = line();
    let address = first.strip_prefix("listening on ").expect("its address").parse().expect("an address");
    let mut client = Client::connect(address, None, &Config::default()).expect("a client");
    drive(&mut [&mut client], |_, e| matches!(e, Some(Event::Message { data, .. }) if data == b"welcome"));
    client.send(b"hello", Mode::Guaranteed, 0).expect("queued");
    drive(&mut [&mut client], |_, e| matches!(e, Some(Event::Message { data, .. }) if data == b"hello"));
    assert!(line().contains("joined from 127.0.0.1:"));
    client.close(false);
    client.update().expect("the client's socket works");
    assert!(line().ends_with("left: the client left"));
}
