//! The examples in C and C++, each with real clients, ended as a user ends them.

use std::net::SocketAddr;

use super::c::{self, Language, Program};
use super::{echo_once, Companion};

fn listening(program: &mut Program) -> SocketAddr {
    program.line_after("listening on ").parse().unwrap()
}

fn echoes(language: Language, source: &str, signal: &str) {
    let mut program = Program::start(&c::build(language, &c::root().join(source)), &["127.0.0.1:0"]);
    let address = listening(&mut program);
    echo_once(address);
    echo_once(address);
    program.signal(signal);
    program.finish();
}

#[test]
fn c_echo_server() {
    echoes(Language::C99, "examples/c/echo_server.c", "INT");
}

#[test]
fn cpp_echo_server() {
    echoes(Language::Cpp17, "examples/cpp/echo_server.cpp", "TERM");
}

#[test]
fn c_echo_client() {
    let mut server = Program::start(
        &c::build(Language::C99, &c::root().join("examples/c/echo_server.c")),
        &["127.0.0.1:0"],
    );
    let address = listening(&mut server).to_string();
    let client = c::build(Language::C99, &c::root().join("examples/c/echo_client.c"));
    let said = Program::start(&client, &[&address]).finish();
    let expected = format!("connected to {address}\nanswered hello\ndisconnected: ");
    assert!(said.starts_with(&expected), "{said}");
    server.signal("INT");
    server.finish();
    // Now nobody is there.
    let output = std::process::Command::new(&client).arg(&address).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("disconnected: "), "{output:?}");
    let output = std::process::Command::new(&client).arg("nonsense").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("cannot play at nonsense"), "{output:?}");
}

/// Two guests; what one says reaches the other, and the goodbye reaches both when the loop ends.
#[test]
fn c_main_loop() {
    let program = c::build(Language::C99, &c::root().join("examples/c/main_loop.c"));
    let mut program = Program::start(&program, &["127.0.0.1:0"]);
    let address = listening(&mut program);
    let first = Companion::connect(address.port());
    assert!(program.line().ends_with("came, 1 here"));
    let second = Companion::connect(address.port());
    assert!(program.line().ends_with("came, 2 here"));
    // The first heard that the second came, and says all it hears to the second, which says it back, and so on.
    first.await_messages(3);
    second.await_messages(3);
    program.signal("INT");
    let rest = program.finish();
    assert_eq!(rest.lines().filter(|line| line.starts_with("somebody left")).count(), 2, "{rest}");
    assert!(rest.lines().last().is_some_and(|line| line.starts_with("open for ")), "{rest}");
}

/// All bots come, are moved by what they say, and see the world's steps in order.
#[test]
fn cpp_engine_loop() {
    let program = c::build(Language::Cpp17, &c::root().join("examples/cpp/engine_loop.cpp"));
    // On a busy machine some may still be on their way after a short time.
    let mut said = String::new();
    for seconds in ["3", "10", "30"] {
        said = Program::start(&program, &[seconds, "32"]).finish();
        if said.starts_with("32 players, 32 saw themselves move, 32 saw steps in order; at least ") {
            break;
        }
    }
    assert!(
        said.starts_with("32 players, 32 saw themselves move, 32 saw steps in order; at least "),
        "{said}"
    );
    let numbers = |text: &str| -> Vec<f64> {
        text.split([' ', ',']).filter_map(|word| word.parse().ok()).collect::<Vec<f64>>()
    };
    let times = said.lines().last().and_then(|line| line.split_once("p50")).map(|(_, times)| numbers(times));
    let times = times.unwrap_or_else(|| panic!("no times in {said}"));
    assert!(times.len() == 4 && times.windows(2).all(|pair| pair[0] <= pair[1]), "{said}");
    let usage = std::process::Command::new(&program).arg("-1").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn a_bad_address_is_an_error_with_words() {
    for (language, source) in [
        (Language::C99, "examples/c/echo_server.c"),
        (Language::C99, "examples/c/main_loop.c"),
        (Language::Cpp17, "examples/cpp/echo_server.cpp"),
    ] {
        let program = c::build(language, &c::root().join(source));
        let output = std::process::Command::new(program).arg("nonsense").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("cannot serve") && text.contains("nonsense"), "{text}");
    }
}

/// The whole echo server in C stays readable at a glance.
#[test]
fn c_echo_server_is_short() {
    let text = std::fs::read_to_string(c::root().join("examples/c/echo_server.c")).unwrap();
    let code = c::without_comments(&text);
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 40, "{lines} lines of code");
}
