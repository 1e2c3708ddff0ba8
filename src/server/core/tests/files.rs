//! Files at the core: when the loop is woken for them, and what a host that pulls is told of.

use std::path::Path;

use super::world::{ms, World};
use crate::protocol::connection::native::Join;
use crate::protocol::files::hub::Hub;
use crate::protocol::files::message::Message;
use crate::protocol::files::{Event as FileEvent, FileId, Quota, Target};
use crate::protocol::time::Time;
use crate::server::config::Config;
use crate::server::events::*;
use crate::server::files::FILE_DELIVERY;

fn offer(file: u32) -> Vec<u8> {
    Message::Offer { file, size: 3, digest: [file as u8; 32], name: b"a" }.write()
}

fn with_files(config: Config) -> Config {
    Config { files: Some(Quota::default()), ..config }
}

/// A handler that takes all events, those of files included.
fn taking() -> World {
    World::taking(Takes { file: true, ..Takes::ALL }, with_files(Config::default()))
}

fn offers(events: &[Event]) -> usize {
    events.iter().filter(|e| matches!(e, Event::File(_, FileEvent::Offered(..)))).count()
}

#[test]
fn what_is_asked_of_the_disk_does_not_wait_for_a_tick() {
    let mut w = taking();
    let end = w.native_client(Join::default());
    let peer = w.joined(end);
    w.run(ms(500));
    assert!(w.core.poll_timeout().is_none_or(|at| at > w.now));
    w.core.send_file(peer, Path::new("/none"), "a", &mut None).expect("both take files");
    assert_eq!(w.core.poll_timeout(), Some(Time::default()));
    assert!(w.core.poll_file_request().is_some() && w.core.poll_file_request().is_none());
    assert!(w.core.poll_timeout().is_none_or(|at| at > w.now));
    // So does what is to be said to the other side.
    w.ends[end].connection.send(w.now, offer(1).into(), FILE_DELIVERY, 0).expect("room");
    w.run(ms(100));
    assert_eq!(offers(&w.seen), 1);
    let now = w.now;
    w.core.refuse_file(now, peer, FileId::receiving(1), "no").expect("it waits");
    assert_eq!(w.core.poll_timeout(), Some(Time::default()));
    w.run(ms(100));
    let refused = |e: &crate::protocol::connection::Event| matches!(e, crate::protocol::connection::Event::Message { data, .. } if data.ends_with(b"no"));
    assert!(w.ends[end].events.iter().any(refused));
}

#[test]
fn offers_wait_for_room_in_the_event_queue() {
    const QUEUE: usize = 8;
    let mut w = World::new(with_files(Config { max_queued_events: QUEUE as u32, ..Config::default() }));
    let clients: Vec<(usize, PeerId)> = (0..4)
        .map(|_| {
            let end = w.native_client(Join::default());
            (end, w.joined(end))
        })
        .collect();
    for (end, _) in &clients {
        for file in 1..=4 {
            w.ends[*end].connection.send(w.now, offer(file).into(), FILE_DELIVERY, 0).expect("room");
        }
    }
    w.run(ms(1000));
    let before = w.seen.len();
    w.pull(usize::MAX);
    assert!(w.seen.len() - before <= QUEUE, "{}", w.seen.len() - before);
    for _ in 0..20 {
        // What found no room at all is said again.
        w.run(ms(1000));
        let pulled = w.pull(usize::MAX);
        assert!(pulled <= QUEUE, "{pulled}");
    }
    assert_eq!(offers(&w.seen), 16, "none is lost");
}

#[test]
fn a_host_that_disconnects_when_a_file_is_there_has_it_told() {
    let mut w = taking();
    let end = w.native_client(Join::default());
    let peer = w.joined(end);
    w.run(ms(500));
    let mut sender = Hub::<u64>::new(Quota::default());
    sender.send(0, "a", "/out".into()).expect("room");
    assert!(sender.poll_request().is_some());
    let digest = [1; 32];
    let opened = crate::protocol::files::Reply::Opened { size: 0, digest };
    sender.handle_reply(w.now, 0, FileId::sending(1), opened);
    let said = sender.poll_message(0).expect("an offer");
    w.ends[end].connection.send(w.now, said.into(), FILE_DELIVERY, 0).expect("room");
    w.run(ms(100));
    let now = w.now;
    w.core.accept_file(now, peer, FileId::receiving(1), Target::default()).expect("it waits");
    let reply = |w: &mut World, reply| {
        assert!(w.core.poll_file_request().is_some());
        w.core.handle_file_reply(now, peer.to_bits(), FileId::receiving(1), reply);
    };
    reply(&mut w, crate::protocol::files::Reply::Prepared { offset: 0 });
    reply(&mut w, crate::protocol::files::Reply::Finished { path: "/in/a".into() });
    // Nothing has left since, as in a callback.
    let info = DisconnectInfo::new(DisconnectReason::Host(1), "thank you");
    w.core.disconnect(now, peer, info, true).expect("it is there");
    w.run(ms(2000));
    let heard: Vec<&[u8]> = w.ends[end].messages();
    let done = Message::Done { file: 1 }.write();
    assert!(heard.contains(&&done[..]), "{heard:?}");
    assert!(w.ends[end].closed().is_some());
}
