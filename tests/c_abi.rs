//! The C ABI as C and C++ programs see it.

// Programs and clients are real, and so is the time that they take.

mod c_support;
#[path = "c_abi/examples.rs"]
mod examples;
#[path = "c_abi/layout.rs"]
mod layout;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use c_support::{self as c, Language, Program};
use gamekeeper::client::driver::{Client, Event, Mode};
use gamekeeper::server::config::Config;

/// A client that says "hello" and sends back what it gets, until its connection ends or it is told to go.
struct Companion {
    leave: Arc<AtomicBool>,
    received: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

impl Companion {
    fn connect(port: u16) -> Companion {
        let leave = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU32::new(0));
        let (told, count) = (Arc::clone(&leave), Arc::clone(&received));
        let thread = std::thread::spawn(move || {
            let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut client = Client::connect(server, None, &Config::default()).unwrap();
            while !told.load(Ordering::Relaxed) {
                client.update().unwrap();
                while let Some(event) = client.poll_event() {
                    match event {
                        Event::Connected => client.send(b"hello", Mode::Guaranteed, 0).unwrap(),
                        Event::Message { data, .. } => {
                            count.fetch_add(1, Ordering::Relaxed);
                            // On its way out it cannot answer.
                            let _closing = client.send(&data, Mode::Guaranteed, 0);
                        }
                        Event::Closed(_) => return,
                        _ => {}
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            client.close(false);
            client.update().unwrap();
        });
        Companion { leave, received, thread: Some(thread) }
    }

    fn await_messages(&self, least: u32) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.received.load(Ordering::Relaxed) < least {
            assert!(Instant::now() < deadline, "{least} messages did not come");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.expect("it was there").expect("the client did not panic");
        }
    }
}

/// Runs a program to its end, connects the clients that it asks for, and requires its last word, "ok".
fn run(language: Language, source: &str, arguments: &[&str]) {
    let program = c::build(language, &c::root().join(source));
    run_program(&program, arguments);
}

fn run_program(program: &Path, arguments: &[&str]) {
    let mut program = Program::start(program, arguments);
    let mut clients = Vec::new();
    loop {
        let line = program.line();
        if line == "ok" {
            break;
        }
        let port = line.strip_prefix("client ").unwrap_or_else(|| panic!("what is {line:?}?"));
        clients.push(Companion::connect(port.parse().unwrap()));
    }
    program.finish();
}

#[test]
fn header_compiles_as_c99_and_cpp17_included_twice() {
    let source = "#include <gamekeeper.h>\n#include <gamekeeper.h>\nint main(void) { return GK_OK; }\n";
    c::check_syntax(Language::C99, "header-c", source);
    c::check_syntax(Language::Cpp17, "header-cpp", source);
}

/// The program in the header's opening comment is a program.
#[test]
fn example_in_the_header_serves_a_client() {
    let header = std::fs::read_to_string(c::root().join("include/gamekeeper.h")).unwrap();
    let lines: Vec<&str> = header
        .lines()
        .skip_while(|line| !line.contains("#include <gamekeeper.h>"))
        .take_while(|line| *line == " *" || line.starts_with(" *     "))
        .map(|line| line.get(7..).unwrap_or(""))
        .collect();
    assert!(lines.len() > 20 && lines.len() <= 40, "{} lines", lines.len());
    let source = c::temporary("header-example.c");
    std::fs::write(&source, lines.join("\n") + "\n").unwrap();
    let mut program = Program::start(&c::build(Language::C99, &source), &[]);
    let port = program.line_after("port ");
    let port: u16 = port.split(';').next().unwrap().parse().unwrap();
    echo_once(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    program.finish();
}

/// Connects, sends one message, and waits until it comes back.
fn echo_once(server: SocketAddr) {
    let mut client = Client::connect(server, None, &Config::default()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "no echo from {server}");
        client.update().unwrap();
        while let Some(event) = client.poll_event() {
            match event {
                Event::Connected => client.send(b"echo me", Mode::Guaranteed, 0).unwrap(),
                Event::Message { data, .. } if *data == b"echo me"[..] => {
                    client.close(false);
                    client.update().unwrap();
                    return;
                }
                other => panic!("{other:?} instead of an echo"),
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn arguments_are_checked() {
    run(Language::C99, "tests/c/arguments.c", &[env!("CARGO_TARGET_TMPDIR")]);
}

#[test]
fn every_function_is_in_the_arguments_test() {
    let header = std::fs::read_to_string(c::root().join("include/gamekeeper.h")).unwrap();
    let test = std::fs::read_to_string(c::root().join("tests/c/arguments.c")).unwrap();
    for name in c::declared(&header) {
        let by_macro = |prefix: &str, macro_name: &str| {
            name.strip_prefix(prefix).is_some_and(|rest| test.contains(&format!("{macro_name}({rest})")))
        };
        assert!(
            test.contains(&format!("{name}("))
                || by_macro("gk_context_set_", "SETTER")
                || by_macro("gk_context_on_", "CALLBACK"),
            "tests/c/arguments.c does not call {name}"
        );
    }
}

/// What the C++ wrapper does without, each with its reason.
const NOT_WRAPPED: [(&str, &str); 3] = [
    ("gk_context_listen_stream", "listen_stream of the wrapper calls the longer form"),
    ("gk_server_send_guaranteed", "send_guaranteed of the wrapper sends with that mode"),
    ("gk_client_send_guaranteed", "the same"),
];

#[test]
fn cpp_wrapper_covers_the_c_api() {
    let read = |name: &str| std::fs::read_to_string(c::root().join("include").join(name)).unwrap();
    let code: Vec<String> = read("gamekeeper.hpp")
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned())
        .collect();
    let code = code.join("\n");
    let used: std::collections::BTreeSet<&str> =
        code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let declared = c::declared(&read("gamekeeper.h"));
    for (name, reason) in NOT_WRAPPED {
        assert!(declared.contains(name) && !used.contains(name), "{name} is not left out ({reason})");
    }
    let left_out: Vec<&String> = declared
        .iter()
        .filter(|name| !used.contains(name.as_str()) && NOT_WRAPPED.iter().all(|(other, _)| other != name))
        .collect();
    assert!(left_out.is_empty(), "gamekeeper.hpp does not use {left_out:?}");
}

#[test]
fn cpp_wrapper() {
    run(Language::Cpp17, "tests/cpp/wrapper.cpp", &[]);
}

#[test]
fn cpp_clients() {
    run(Language::Cpp17, "tests/cpp/client.cpp", &[]);
}

/// The text is a program that uses all of the clients, so that their templates are compiled too.
#[test]
fn cpp_header_compiles_without_exceptions() {
    let flags = ["-fno-exceptions", "-fno-rtti"];
    let source = "#include <gamekeeper.hpp>\nint main() { return gk::key::generate().ok() ? 0 : 1; }\n";
    c::check_syntax_with(Language::Cpp17, "no-exceptions", source, &flags);
    let source = std::fs::read_to_string(c::root().join("tests/cpp/client.cpp")).unwrap();
    c::check_syntax_with(Language::Cpp17, "no-exceptions-clients", &source, &flags);
}

#[test]
fn servers_live_and_end() {
    run(Language::C99, "tests/c/lifecycle.c", &[]);
}

#[test]
fn a_server_and_its_clients_share_a_program() {
    run(Language::C99, "tests/c/client.c", &[]);
}

#[test]
fn hosts_decide_who_comes_in() {
    run(Language::C99, "tests/c/admission.c", &[]);
}

#[test]
fn callers_with_older_and_newer_structs() {
    run(Language::C99, "tests/c/callers.c", &[]);
}

#[test]
fn bad_networks() {
    run(Language::C99, "tests/c/conditions.c", &[]);
}

#[test]
fn library_can_be_closed_while_a_server_runs() {
    let library = c::shared_library();
    let program = c::build_with(Language::C99, &c::root().join("tests/c/reload.c"), c::Link::Nothing);
    run_program(&program, &[library.to_str().unwrap()]);
}

#[test]
fn static_library_links() {
    let program = c::build_with(Language::C99, &c::root().join("tests/c/callers.c"), c::Link::Static);
    run_program(&program, &[]);
}
