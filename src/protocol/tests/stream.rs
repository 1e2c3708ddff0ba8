//! Connections in streams: what comes, what is written, how they end.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::connection::stream::{Connection, Terms, MIN_PROGRESS_BYTES};
use crate::protocol::connection::{
    CloseReason, Closing, Door, Event, Farewell, FarewellKind, Room, SendError, Settings, State,
};
use crate::protocol::delivery::{Delivery, Mode, Outcome, Priority, QueueError};
use crate::protocol::framing::{Content, EncodeError, Framing};
use crate::protocol::time::Time;
use crate::server::config::Config;

const STALL: Duration = Duration::from_secs(30);

fn settings() -> Arc<Settings> {
    let config = Config { max_message_size: 1 << 20, max_queued_bytes: 1 << 20, ..Config::default() };
    config.protocol_settings()
}

fn terms(framing: Framing) -> Terms {
    Terms { door: Door::Stream, framing, password: false, answer_time: Duration::ZERO, stall_timeout: STALL }
}

fn endless() -> Room<'static> {
    Room::ENDLESS
}

fn at(seconds: f64) -> Time {
    Time::default() + Duration::from_secs_f64(seconds)
}

/// A server's end that was let in.
fn joined(framing: Framing) -> Connection {
    let mut connection = Connection::accepted(at(0.0), settings(), terms(framing), 7);
    assert_eq!(connection.poll_event(), None, "it is not open yet");
    connection.handle_opened(None, Vec::new());
    assert_eq!(connection.poll_event(), Some(Event::Join { password: None, data: Vec::new() }));
    connection.accept();
    connection
}

fn messages(connection: &mut Connection) -> Vec<Vec<u8>> {
    let events = std::iter::from_fn(|| connection.poll_event());
    events.filter_map(|e| if let Event::Message { data, .. } = e { Some(data) } else { None }).collect()
}

fn ending(connection: &mut Connection) -> Option<(CloseReason, FarewellKind)> {
    let events = std::iter::from_fn(|| connection.poll_event());
    events
        .filter_map(|e| if let Event::Closed(c) = e { Some((c.reason, c.farewell.kind)) } else { None })
        .last()
}

fn push(connection: &mut Connection, now: f64, bytes: &[u8]) {
    connection.handle_bytes(at(now), bytes, &mut endless());
}

fn send(connection: &mut Connection, data: &[u8], tag: u64) -> Result<(), SendError> {
    connection.send(at(0.0), data.into(), Mode::Guaranteed.into(), tag)
}

/// Everything that is written when the system takes `step` bytes at a time.
fn written(connection: &mut Connection, now: f64, step: usize) -> Vec<u8> {
    let (mut all, mut out) = (Vec::new(), Vec::new());
    loop {
        connection.peek_bytes(at(now), &mut out);
        if out.is_empty() {
            return all;
        }
        let taken = step.min(out.len());
        all.extend_from_slice(&out[..taken]);
        connection.handle_written(at(now), taken);
    }
}

#[test]
fn messages_of_both_directions_arrive_whole_whatever_a_write_takes() {
    for step in [1, 3, 1000, 1 << 20] {
        let (mut one, mut other) = (joined(Framing::Length), joined(Framing::Length));
        let long = vec![5; if step < 1000 { 500 } else { 200_000 }];
        for data in [&b"hello"[..], b"", &long] {
            send(&mut one, data, 0).expect("room");
        }
        push(&mut other, 0.0, &written(&mut one, 0.0, step));
        assert_eq!(messages(&mut other), [b"hello".to_vec(), Vec::new(), long], "step {step}");
        assert_eq!((one.queued_messages(), one.queued_bytes()), (0, 0));
    }
}

#[test]
fn a_message_is_delivered_when_the_system_has_all_of_it() {
    let mut connection = joined(Framing::Lines);
    send(&mut connection, b"abc", 9).expect("room");
    let mut out = Vec::new();
    connection.peek_bytes(at(0.0), &mut out);
    assert_eq!(out, b"abc\n");
    connection.handle_written(at(0.0), 3);
    assert_eq!(connection.poll_event(), None);
    connection.peek_bytes(at(0.0), &mut out);
    assert_eq!(out, b"\n");
    connection.handle_written(at(0.0), 1);
    assert_eq!(connection.poll_event(), Some(Event::Sent { tag: 9, outcome: Outcome::Delivered }));
}

#[test]
fn what_is_urgent_overtakes_what_waits_but_not_what_has_begun() {
    let mut connection = joined(Framing::Lines);
    let bulk = Delivery { priority: Priority::Bulk, ..Mode::Guaranteed.into() };
    for fill in [b'a', b'b', b'c'] {
        connection.send(at(0.0), vec![fill; 40_000].into(), bulk, 0).expect("room");
    }
    let mut out = Vec::new();
    connection.peek_bytes(at(0.0), &mut out);
    connection.handle_written(at(0.0), 10);
    send(&mut connection, b"now", 0).expect("room");
    let all = written(&mut connection, 0.0, 1000);
    let lines: Vec<u8> = all.split(|b| *b == b'\n').filter_map(|line| line.first().copied()).collect();
    assert_eq!(lines, *b"anbc");
}

#[test]
fn a_full_queue_refuses_and_tells_when_it_has_room() {
    let mut connection = joined(Framing::Raw);
    while send(&mut connection, &[0; 100_000], 0).is_ok() {}
    assert_eq!(send(&mut connection, &[0; 100_000], 0), Err(SendError::Queue(QueueError::Full)));
    assert_eq!(connection.poll_event(), None);
    written(&mut connection, 0.0, 1 << 16);
    assert_eq!(connection.poll_event(), Some(Event::Writable));
    assert_eq!(connection.poll_event(), None);
    assert_eq!(send(&mut connection, &[0; (1 << 20) + 1], 0), Err(SendError::Queue(QueueError::TooLarge)));
}

#[test]
fn a_line_feed_in_a_line_is_refused() {
    let mut connection = joined(Framing::Lines);
    assert_eq!(send(&mut connection, b"a\nb", 0), Err(SendError::Framing(EncodeError::LineFeed)));
    assert_eq!(connection.queued_messages(), 0);
}

#[test]
fn the_first_message_is_the_password_and_the_rest_waits_for_the_decision() {
    let terms = Terms { password: true, ..terms(Framing::Lines) };
    let mut connection = Connection::accepted(at(0.0), settings(), terms, 7);
    connection.handle_opened(None, Vec::new());
    assert_eq!(connection.poll_event(), None);
    push(&mut connection, 0.0, b"sec");
    assert_eq!(connection.poll_event(), None);
    push(&mut connection, 0.0, b"ret\nhello\n");
    let password = Some(b"secret".to_vec());
    assert_eq!(connection.poll_event(), Some(Event::Join { password, data: Vec::new() }));
    assert_eq!(connection.poll_event(), None, "it is not in yet");
    assert!(connection.poll_timeout(at(0.0)).is_none(), "and its waiting is nobody's stall");
    connection.accept();
    connection.resume(at(0.0), &mut endless());
    assert_eq!(messages(&mut connection), [b"hello".to_vec()]);
}

#[test]
fn where_the_host_has_no_room_bytes_stay_with_their_sender() {
    let mut connection = joined(Framing::Length);
    let mut room = Room { messages: 2, bytes: usize::MAX, buffers: None, sink: None };
    let mut stream = Vec::new();
    for _ in 0..1000 {
        stream.extend_from_slice(&100u32.to_be_bytes());
        stream.extend_from_slice(&[1; 100]);
    }
    let mut pushed = 0;
    for piece in stream.chunks(1000) {
        if !connection.wants_bytes() {
            break;
        }
        connection.handle_bytes(at(0.0), piece, &mut room);
        pushed += piece.len();
    }
    assert_eq!(messages(&mut connection).len(), 2);
    assert!(pushed < 70_000, "{pushed} bytes were read");
    assert!(connection.is_waiting_for_room());
    connection.resume(at(1.0), &mut endless());
    assert!(connection.wants_bytes());
    for piece in stream[pushed..].chunks(1000) {
        push(&mut connection, 1.0, piece);
    }
    assert_eq!(messages(&mut connection).len(), 998);
}

#[test]
fn whoever_ends_its_side_still_gets_what_is_queued() {
    let mut connection = joined(Framing::Lines);
    push(&mut connection, 0.0, b"question");
    send(&mut connection, b"answer", 0).expect("room");
    connection.handle_end(at(0.0), &mut endless());
    assert_eq!(messages(&mut connection), [b"question".to_vec()]);
    assert_eq!((connection.state(), connection.poll_timeout(at(0.0))), (State::Connected, Some(at(0.0))));
    connection.handle_timeout(at(0.0));
    assert_eq!(connection.state(), State::Lingering);
    assert_eq!(written(&mut connection, 0.0, 2), b"answer\n");
    assert_eq!(ending(&mut connection), Some((CloseReason::Remote, FarewellKind::Left)));
    assert_eq!(connection.state(), State::Closed);
}

#[test]
fn an_end_that_comes_while_the_host_has_no_room_waits_behind_the_messages() {
    let mut connection = joined(Framing::Lines);
    let mut none = Room::NONE;
    connection.handle_bytes(at(0.0), b"one\ntwo\n", &mut none);
    connection.handle_end(at(0.0), &mut none);
    assert_eq!(connection.poll_event(), None);
    connection.resume(at(100.0), &mut Room { messages: 1, bytes: 100, buffers: None, sink: None });
    assert_eq!(messages(&mut connection), [b"one".to_vec()]);
    assert_eq!(connection.state(), State::Connected);
    connection.resume(at(100.0), &mut Room { messages: 2, bytes: 100, buffers: None, sink: None });
    assert_eq!(messages(&mut connection), [b"two".to_vec()]);
    connection.handle_timeout(at(100.0));
    assert_eq!(connection.state(), State::Closed);
}

#[test]
fn a_host_that_answers_later_has_time_for_it() {
    let terms = Terms { answer_time: Duration::from_secs(1), ..terms(Framing::Lines) };
    let mut connection = Connection::accepted(at(0.0), settings(), terms, 7);
    connection.handle_opened(None, Vec::new());
    connection.accept();
    push(&mut connection, 0.0, b"question\n");
    connection.handle_end(at(0.0), &mut endless());
    assert_eq!(messages(&mut connection), [b"question".to_vec()]);
    send(&mut connection, b"answer", 0).expect("it still listens");
    assert_eq!(written(&mut connection, 0.5, 100), b"answer\n");
    assert_eq!(connection.poll_timeout(at(0.5)), Some(at(1.0)));
    connection.handle_timeout(at(1.0));
    assert_eq!(ending(&mut connection), Some((CloseReason::Remote, FarewellKind::Left)));
    // Who never said anything waits for no answer.
    let mut silent = joined(Framing::Lines);
    silent.handle_end(at(0.0), &mut endless());
    assert_eq!(ending(&mut silent), Some((CloseReason::Remote, FarewellKind::Left)));
}

#[test]
fn a_close_after_delivery_waits_for_the_system_and_no_longer_than_the_connection_timeout() {
    for slow in [false, true] {
        let mut connection = joined(Framing::Lines);
        send(&mut connection, b"bye", 4).expect("room");
        connection.close(at(0.0), true, Farewell::default());
        assert_eq!(send(&mut connection, b"more", 0), Err(SendError::NotConnected));
        assert_eq!(connection.state(), State::Lingering);
        if slow {
            let due = connection.poll_timeout(at(0.0)).expect("it does not linger for ever");
            assert_eq!(due, at(0.0) + settings().connection_timeout);
            connection.handle_timeout(due);
            let cancelled = Event::Sent { tag: 4, outcome: Outcome::Cancelled };
            assert_eq!(connection.poll_event(), Some(cancelled));
        } else {
            assert_eq!(written(&mut connection, 0.0, 100), b"bye\n");
        }
        assert_eq!(ending(&mut connection), Some((CloseReason::Local, FarewellKind::Left)), "slow: {slow}");
    }
}

#[test]
fn a_close_at_once_cancels() {
    let mut connection = joined(Framing::Lines);
    send(&mut connection, b"bye", 4).expect("room");
    connection.close(at(0.0), false, Farewell::default());
    let cancelled = Event::Sent { tag: 4, outcome: Outcome::Cancelled };
    assert_eq!(connection.poll_event(), Some(cancelled));
    assert_eq!(written(&mut connection, 0.0, 100), b"");
    assert_eq!(connection.poll_timeout(at(0.0)), None);
}

#[test]
fn what_breaks_the_framing_ends_the_connection_and_no_other_is_told() {
    let mut connection = joined(Framing::Length);
    push(&mut connection, 0.0, &[0xff; 8]);
    assert_eq!(ending(&mut connection), Some((CloseReason::Protocol, FarewellKind::Protocol)));
    push(&mut connection, 0.0, &[0; 8]);
    assert_eq!(connection.poll_event(), None);
}

#[test]
fn silence_between_messages_is_no_reason_to_end() {
    let mut connection = joined(Framing::Length);
    push(&mut connection, 0.0, &[0, 0, 0, 1, 7]);
    assert_eq!(messages(&mut connection).len(), 1);
    assert_eq!(connection.poll_timeout(at(0.0)), None);
    connection.handle_timeout(at(100_000.0));
    assert_eq!(connection.state(), State::Connected);
}

#[test]
fn a_message_that_comes_a_byte_at_a_time_is_given_up() {
    let mut connection = joined(Framing::Length);
    push(&mut connection, 0.0, &100_000u32.to_be_bytes());
    let mut now = 0.0;
    while connection.state() == State::Connected && now < 1000.0 {
        now += 1.0;
        push(&mut connection, now, &[1]);
        connection.handle_timeout(at(now));
    }
    assert_eq!(now, STALL.as_secs_f64());
    assert_eq!(ending(&mut connection), Some((CloseReason::Timeout, FarewellKind::Timeout)));
}

#[test]
fn a_slow_message_that_moves_is_not() {
    let mut connection = joined(Framing::Length);
    push(&mut connection, 0.0, &100_000u32.to_be_bytes());
    let pieces = 100_000 / MIN_PROGRESS_BYTES;
    for piece in 0..pieces {
        let now = piece as f64 * (STALL.as_secs_f64() - 1.0);
        push(&mut connection, now, &[1; MIN_PROGRESS_BYTES]);
        connection.handle_timeout(at(now));
        assert_eq!(connection.state(), State::Connected, "piece {piece}");
    }
}

#[test]
fn whoever_does_not_read_is_given_up() {
    let mut connection = joined(Framing::Length);
    send(&mut connection, &[1; 100_000], 3).expect("room");
    connection.handle_written(at(1.0), 10);
    let due = connection.poll_timeout(at(1.0)).expect("it does not wait for ever");
    assert_eq!(due, at(0.0) + STALL);
    connection.handle_timeout(due);
    assert_eq!(ending(&mut connection), Some((CloseReason::Timeout, FarewellKind::Timeout)));
}

#[test]
fn messages_that_come_whole_leave_whole_and_keep_what_they_are() {
    let (mut one, mut other) = (joined(Framing::Whole), joined(Framing::Whole));
    for (data, kind) in [(&b"hello"[..], Some("text/plain")), (b"", None), (b"\x00\xff", None)] {
        let content = kind.map(|kind| Box::new(Content::of(kind)));
        one.send_content(at(0.0), data.into(), content, Mode::Guaranteed.into(), 0).expect("room");
    }
    for _ in 0..3 {
        let (payload, content) = one.peek_message(at(0.0)).expect("there is one");
        one.handle_taken(at(0.0));
        other.handle_message(at(0.0), payload.to_vec(), content, &mut endless());
    }
    assert!(one.peek_message(at(0.0)).is_none());
    assert_eq!((one.queued_messages(), one.queued_bytes()), (0, 0));
    let events: Vec<Event> = std::iter::from_fn(|| other.poll_event()).collect();
    let told: Vec<(&[u8], Option<&str>)> = events
        .iter()
        .filter_map(
            |e| if let Event::Message { data, content, .. } = e { Some((data, content)) } else { None },
        )
        .map(|(data, content)| (&data[..], content.as_ref().map(|c| &c.kind[..])))
        .collect();
    assert_eq!(told, [(&b"hello"[..], Some("text/plain")), (b"", None), (b"\x00\xff", None)]);
    assert_eq!(other.poll_timeout(at(0.0)), None);
}

#[test]
fn who_has_not_given_its_password_gets_no_room_for_more() {
    let terms = Terms { password: true, ..terms(Framing::Length) };
    let mut connection = Connection::accepted(at(0.0), settings(), terms, 7);
    connection.handle_opened(None, Vec::new());
    push(&mut connection, 0.0, &1000u32.to_be_bytes());
    assert_eq!(ending(&mut connection), Some((CloseReason::Protocol, FarewellKind::Protocol)));
    // A person types it, and ends it as terminals do.
    let terms = Terms { framing: Framing::Raw, ..terms };
    let mut connection = Connection::accepted(at(0.0), settings(), terms, 7);
    connection.handle_opened(None, Vec::new());
    push(&mut connection, 0.0, b"secret\r\n");
    let password = Some(b"secret".to_vec());
    assert_eq!(connection.poll_event(), Some(Event::Join { password, data: Vec::new() }));
    connection.accept();
    push(&mut connection, 0.0, &[1; 1000]);
    assert_eq!(messages(&mut connection), [vec![1; 1000]]);
}

#[test]
fn a_goodbye_with_words_is_handed_on() {
    let mut connection = joined(Framing::Whole);
    let said = Farewell { code: 4000, text: "bored".into(), ..Farewell::default() };
    connection.handle_failure(at(0.0), Some(said.clone()), &mut endless());
    let closed = Closing { reason: CloseReason::Remote, farewell: said };
    assert_eq!(connection.poll_event(), Some(Event::Closed(closed)));
}

#[test]
fn a_client_is_connected_when_its_stream_is_open_and_gives_up_when_it_never_is() {
    for opens in [true, false] {
        let mut client =
            Connection::opened(at(0.0), settings(), terms(Framing::Lines), Some(b"secret")).expect("room");
        assert_eq!((client.state(), client.poll_event()), (State::Connecting, None));
        assert_eq!(written(&mut client, 0.0, 100), b"");
        if opens {
            client.handle_opened(None, Vec::new());
            assert_eq!((client.state(), client.poll_event()), (State::Connected, Some(Event::Connected)));
            send(&mut client, b"hello", 0).expect("room");
            assert_eq!(written(&mut client, 0.0, 100), b"secret\nhello\n");
        } else {
            let due = client.poll_timeout(at(0.0)).expect("it does not wait for ever");
            assert_eq!(due, at(0.0) + settings().handshake_timeout);
            client.handle_timeout(due);
            assert_eq!(ending(&mut client), Some((CloseReason::Timeout, FarewellKind::Left)));
        }
    }
}

#[test]
fn a_long_message_is_shown_in_pieces() {
    let mut connection = joined(Framing::Length);
    send(&mut connection, &vec![7; 1 << 20], 0).expect("room");
    let mut out = Vec::new();
    connection.peek_bytes(at(0.0), &mut out);
    assert!((1..=64 << 10).contains(&out.len()), "{}", out.len());
    assert_eq!(written(&mut connection, 0.0, 1 << 16).len(), 4 + (1 << 20));
}

/// What one input brings at most where the host has room for so many messages.
fn room_for(messages: usize) -> Room<'static> {
    Room { messages, ..Room::ENDLESS }
}

#[test]
fn what_came_whole_before_a_stream_broke_is_handed_up_when_there_is_room() {
    let mut connection = joined(Framing::Lines);
    connection.handle_bytes(at(0.0), b"one\ntwo\nthree\nfou", &mut room_for(1));
    assert_eq!(messages(&mut connection), [b"one"]);
    send(&mut connection, b"never written", 9).expect("room");
    let said = Farewell { text: "reset".into(), ..Farewell::default() };
    connection.handle_failure(at(0.0), Some(said), &mut room_for(0));
    assert_eq!(connection.poll_event(), Some(Event::Sent { tag: 9, outcome: Outcome::Cancelled }));
    assert_eq!(connection.poll_event(), None, "two messages wait");
    assert!(connection.is_waiting_for_room() && !connection.wants_bytes());
    assert_eq!(written(&mut connection, 0.0, 100), b"");
    // What is said meanwhile has the end of what was said before.
    send(&mut connection, b"nor this", 10).expect("it is as if it had been queued");
    assert_eq!(connection.poll_event(), Some(Event::Sent { tag: 10, outcome: Outcome::Cancelled }));
    connection.resume(at(1.0), &mut room_for(1));
    assert_eq!(messages(&mut connection), [b"two"]);
    connection.resume(at(2.0), &mut room_for(1));
    let Some(Event::Message { data, .. }) = connection.poll_event() else { panic!("the third message") };
    assert_eq!(data, b"three");
    connection.resume(at(2.0), &mut room_for(1));
    let Some(Event::Closed(closing)) = connection.poll_event() else { panic!("its end") };
    assert_eq!((closing.reason, closing.farewell.text.as_str()), (CloseReason::Remote, "reset"));
}

#[test]
fn what_can_be_written_no_more_is_still_read() {
    let mut connection = joined(Framing::Lines);
    send(&mut connection, b"never written", 3).expect("room");
    connection.handle_write_failure(&Farewell::default());
    assert_eq!(connection.poll_event(), Some(Event::Sent { tag: 3, outcome: Outcome::Cancelled }));
    assert!(connection.wants_bytes());
    push(&mut connection, 0.0, b"last words\n");
    assert_eq!(messages(&mut connection), [b"last words"]);
    connection.handle_timeout(at(3600.0));
    assert_eq!(connection.state(), State::Connected, "nothing stalls");
    connection.handle_failure(at(0.0), None, &mut endless());
    assert_eq!(ending(&mut connection), Some((CloseReason::Remote, FarewellKind::Left)));
    // One that has only its queue left to be written has nothing to be read for.
    let mut leaving = joined(Framing::Lines);
    send(&mut leaving, b"bye", 0).expect("room");
    leaving.close(at(0.0), true, Farewell::default());
    leaving.handle_write_failure(&Farewell::default());
    assert!(leaving.is_closed());
}

#[test]
fn a_long_answer_to_a_half_that_ended_is_taken_to_its_end() {
    let mut connection = joined(Framing::Length);
    push(&mut connection, 0.0, b"\0\0\0\x03ask");
    assert_eq!(messages(&mut connection), [b"ask"]);
    connection.handle_end(at(0.0), &mut endless());
    let piece = vec![7; 100_000];
    let mut sent = 0;
    for round in 0..4 {
        while send(&mut connection, &piece, 0).is_ok() {
            sent += 1;
        }
        // The callbacks are over, and there was no room for all of it.
        connection.handle_timeout(at(0.0));
        assert_eq!(connection.state(), State::Connected, "round {round}");
        assert!(connection.poll_timeout(at(0.0)).is_none_or(|at_| at_ > at(0.0)), "it does not spin");
        assert!(written(&mut connection, 0.0, 1 << 20).len() >= 1_000_000);
        assert_eq!(connection.poll_event(), Some(Event::Writable), "round {round}");
    }
    assert!(sent >= 40);
    send(&mut connection, b"end", 0).expect("room");
    connection.handle_timeout(at(0.0));
    assert_eq!(connection.state(), State::Lingering, "nothing was refused since");
    written(&mut connection, 0.0, 1 << 20);
    assert_eq!(ending(&mut connection), Some((CloseReason::Remote, FarewellKind::Left)));
    // Who has said nothing is sent what there is, too, and waited for.
    let mut silent = joined(Framing::Length);
    while send(&mut silent, &piece, 0).is_ok() {}
    silent.handle_end(at(0.0), &mut endless());
    assert!(
        silent.state() == State::Connected && !silent.is_waiting_for_room(),
        "nothing is there to be resumed"
    );
    assert!(silent.poll_timeout(at(0.0)).is_none_or(|at_| at_ > at(0.0)), "it does not spin");
    // Whoever takes nothing of the answer is given up all the same.
    let mut deaf = joined(Framing::Length);
    push(&mut deaf, 0.0, b"\0\0\0\x03ask");
    deaf.handle_end(at(0.0), &mut endless());
    while send(&mut deaf, &piece, 0).is_ok() {}
    deaf.handle_timeout(at(0.0));
    deaf.handle_timeout(at(0.0) + STALL);
    assert!(deaf.is_closed());
}

#[test]
fn lingering_lasts_while_something_moves_and_no_longer() {
    let timeout = settings().connection_timeout.as_secs_f64();
    let mut connection = joined(Framing::Raw);
    send(&mut connection, &[1; 100_000], 0).expect("room");
    connection.close(at(0.0), true, Farewell::default());
    let (mut now, mut out) = (0.0, Vec::new());
    for _ in 0..5 {
        now += timeout * 0.9;
        connection.peek_bytes(at(now), &mut out);
        connection.handle_written(at(now), MIN_PROGRESS_BYTES);
        connection.handle_timeout(at(now));
        assert_eq!(connection.state(), State::Lingering, "{now}");
    }
    // Less than that is no progress.
    connection.handle_written(at(now + timeout * 0.9), MIN_PROGRESS_BYTES - 1);
    connection.handle_timeout(at(now + timeout));
    assert!(connection.is_closed());
}
