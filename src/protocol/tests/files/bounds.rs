//! What a stranger cannot make an end keep, and what it gets back.

use super::*;

const NOW: Time = Time::from_micros(0);

fn offer(file: u32, data: &[u8]) -> Vec<u8> {
    Message::Offer { file, size: data.len() as u64, digest: hash(data), name: b"a" }.write()
}

fn end_of(file: u32) -> Vec<u8> {
    Message::End { file, by_sender: true, reason: Failure::Cancelled as u8, text: b"" }.write()
}

/// What an end has to say, read.
fn said(end: &mut End) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| end.hub.poll_message(0)).collect()
}

#[test]
fn offers_whose_answers_nobody_hears_are_passed_over() {
    let mut end = End::new(Quota { files_per_peer: 0, ..Quota::default() });
    for file in 0..10 * MAX_ANSWERS as u32 {
        end.hub.handle_message(NOW, 0, &offer(file, b"x"));
    }
    assert_eq!(said(&mut end).len(), MAX_ANSWERS);
    end.hub.handle_message(NOW, 0, &offer(1, b"x"));
    assert_eq!(said(&mut end).len(), 1, "whoever hears them may go on");
}

#[test]
fn files_that_are_given_up_keep_their_places_until_the_disk_lets_go() {
    let mut end = End::new(Quota::default());
    let target = Target { directory: "/in".into(), ..Target::default() };
    let mut asked = 0;
    for file in 0..1000 {
        end.hub.handle_message(NOW, 0, &offer(file, b"xyz"));
        if let Some((_, Event::Offered(id, _))) = end.hub.poll_event(true) {
            asked += 1;
            end.hub.accept(0, id.number, target.clone()).unwrap();
        }
        end.hub.handle_message(NOW, 0, &end_of(file));
        while end.hub.poll_event(true).is_some() {}
        said(&mut end);
    }
    let most = Quota::default().files_per_peer;
    assert_eq!((asked, end.hub.totals().files), (most, most), "the disk did nothing meanwhile");
    let requests = std::iter::from_fn(|| end.hub.poll_request()).count();
    assert_eq!(requests, 2 * most as usize);
    for file in 0..most {
        end.hub.handle_reply(NOW, 0, FileId::receiving(file), Reply::Dropped);
    }
    assert_eq!(end.hub.totals(), Totals::default());
}

#[test]
fn a_connection_that_ends_leaves_its_places_to_the_disk() {
    let mut end = End::new(Quota::default());
    let target = Target { directory: "/in".into(), ..Target::default() };
    end.hub.handle_message(NOW, 7, &offer(1, b"xyz"));
    assert!(end.hub.poll_event(true).is_some());
    end.hub.accept(7, 1, target).unwrap();
    end.hub.close(7);
    assert_eq!(end.hub.totals().files, 1);
    end.work(NOW);
    assert_eq!(end.hub.totals(), Totals::default());
}

#[test]
fn events_that_nobody_takes_are_bounded() {
    let mut end = End::new(Quota::default());
    // Of a file whose offer was not heard of nothing is told.
    for file in 0..1000 {
        end.hub.handle_message(NOW, 0, &offer(file, b"xyz"));
        end.hub.handle_message(NOW, 0, &end_of(file));
        said(&mut end);
    }
    assert!(end.hub.poll_event(true).is_none());
    // Progress is told as it is, not as it was.
    let data = bytes(1, 3 << 20);
    end.hub.handle_message(NOW, 0, &offer(1, &data));
    end.work(NOW);
    let mut events = 0;
    for (at, piece) in data.chunks(MAX_DATA).enumerate() {
        let data = Message::Data { file: 1, offset: (at * MAX_DATA) as u64, data: piece };
        end.hub.handle_message(NOW, 0, &data.write());
        while let Some((of, id, request)) = end.hub.poll_request() {
            if let Some(reply) = end.disk.handle(id, request) {
                end.hub.handle_reply(NOW, of, id, reply);
            }
        }
    }
    while let Some((_, event)) = end.hub.poll_event(true) {
        events += 1;
        if let Event::Progress { done, size, .. } = event {
            assert_eq!((done, size), (data.len() as u64, data.len() as u64));
        }
    }
    assert_eq!(events, 2, "one progress, one end");
}

#[test]
fn credits_that_have_not_left_are_one() {
    let mut end = End::new(Quota::default());
    let data = bytes(2, 4 << 20);
    end.hub.handle_message(NOW, 0, &offer(1, &data));
    end.work(NOW);
    // The sender goes on as if it had heard them.
    for (at, piece) in data.chunks(MAX_DATA).enumerate().take(100) {
        let data = Message::Data { file: 1, offset: (at * MAX_DATA) as u64, data: piece };
        end.hub.handle_message(NOW, 0, &data.write());
        end.work(NOW);
    }
    let words = said(&mut end);
    assert_eq!(words.len(), 2, "ACCEPT and the newest CREDIT");
    assert!(matches!(Message::read(&words[1]), Some(Message::Credit { written, .. }) if written >= 3 << 20));
}

#[test]
fn files_are_counted_however_short_they_are() {
    for (quota, most) in [
        (Quota { count_per_peer: 3, ..Quota::default() }, 3),
        (Quota { count_total: 2, ..Quota::default() }, 2),
    ] {
        let mut ends = [End::new(Quota::default()), End::new(quota)];
        put(&mut ends[0], "/out/a", Vec::new());
        for _ in 0..5 {
            ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
            talk(&mut ends);
        }
        let arrived = (0..5).filter(|at| ends[0].result(*at).is_ok()).count();
        assert_eq!(arrived, most);
        assert_eq!(ends[0].result(4), Err(Failure::Quota));
        assert_eq!(ends[1].hub.totals().count, most as u64);
    }
}

#[test]
fn what_was_there_from_an_earlier_try_counts_once() {
    let data = bytes(3, 100_000);
    let quota = Quota { bytes_total: 100_000, bytes_per_peer: 100_000, ..Quota::default() };
    let mut end = End::new(quota);
    end.hub.handle_message(NOW, 1, &offer(1, &data));
    end.work(NOW);
    end.hub.handle_message(NOW, 1, &Message::Data { file: 1, offset: 0, data: &data[..30_000] }.write());
    end.work(NOW);
    end.hub.close(1);
    end.work(NOW);
    assert_eq!(end.hub.totals(), Totals { bytes: 30_000, ..Totals::default() });
    end.hub.handle_message(NOW, 2, &offer(1, &data));
    let accepted = |end: &mut End| {
        end.work(NOW);
        end.ended.last().map(|(_, ended)| ended.result.clone().map_err(|(why, _)| why))
    };
    assert_eq!(accepted(&mut end), Some(Err(Failure::Quota)), "before it is looked at it counts whole");
    let mut end = End::new(Quota { bytes_total: 140_000, ..quota });
    end.disk.partials.insert(hash(&data), data[..30_000].to_vec());
    for (peer, rest) in [(1, 30_000), (2, 60_000)] {
        end.hub.handle_message(NOW, peer, &offer(1, &data));
        end.work(NOW);
        let more = Message::Data { file: 1, offset: rest as u64, data: &data[rest..rest + 30_000] };
        end.hub.handle_message(NOW, peer, &more.write());
        end.work(NOW);
        end.hub.close(peer);
        end.work(NOW);
    }
    assert_eq!(end.hub.totals().bytes, 60_000, "what came in both");
}

#[test]
fn what_was_there_wrongly_counts_when_it_comes_again() {
    let mut ends = ends();
    let data = bytes(4, 50_000);
    ends[1].disk.partials.insert(hash(&data), vec![0; 20_000]);
    put(&mut ends[0], "/out/a", data);
    ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
    talk(&mut ends);
    assert!(ends[0].result(0).is_ok());
    assert_eq!(ends[1].hub.totals(), Totals { files: 0, bytes: 50_000, count: 1 });
}

#[test]
fn a_file_that_hardly_moves_gives_its_place_up() {
    for (piece, stalls) in [(MIN_DATA, true), (STALL_BYTES as usize, false)] {
        let mut end = End::new(Quota::default());
        let data = bytes(5, 1 << 20);
        end.hub.handle_message(NOW, 0, &offer(1, &data));
        end.work(NOW);
        let mut now = NOW;
        for at in 0..10 {
            let from = at * piece;
            let message = Message::Data { file: 1, offset: from as u64, data: &data[from..from + piece] };
            end.hub.handle_message(now, 0, &message.write());
            end.work(now);
            now = now + STALL_TIME / 2;
            end.hub.handle_timeout(now);
            end.work(now);
            if stalls && !end.ended.is_empty() {
                break;
            }
        }
        assert_eq!(!end.ended.is_empty(), stalls, "{piece} bytes every {:?}", STALL_TIME / 2);
    }
}

#[test]
fn a_slow_disk_is_not_the_senders_fault() {
    let mut end = End::new(Quota::default());
    let data = bytes(6, 100_000);
    end.hub.handle_message(NOW, 0, &offer(1, &data));
    end.work(NOW);
    end.hub.handle_message(NOW, 0, &Message::Data { file: 1, offset: 0, data: &data[..1000] }.write());
    let late = NOW + STALL_TIME * 2;
    end.hub.handle_timeout(late);
    end.work(late);
    end.hub.handle_timeout(late + STALL_TIME / 2);
    end.work(late);
    assert!(end.ended.is_empty());
    end.hub.handle_timeout(late + STALL_TIME);
    end.work(late);
    assert_eq!(end.result(0), Err(Failure::Stalled));
}

#[test]
fn an_offer_about_which_nobody_decides_gives_its_place_up() {
    let mut end = End::new(Quota::default());
    end.hub.handle_message(NOW, 0, &offer(1, b"xyz"));
    assert!(matches!(end.hub.poll_event(true), Some((0, Event::Offered(..)))));
    end.hub.handle_timeout(NOW + DECISION_TIME / 2);
    assert!(end.hub.poll_event(true).is_none());
    end.hub.handle_timeout(NOW + DECISION_TIME);
    end.work(NOW);
    assert_eq!(end.result(0), Err(Failure::Stalled));
    assert_eq!(end.hub.totals(), Totals::default());
    assert_eq!(end.hub.accept(0, 1, Target::default()), Err(NoSuchFile));
}

#[test]
fn last_words_hold_ends_and_no_pieces() {
    let mut ends = ends();
    put(&mut ends[0], "/out/a", bytes(7, 1000));
    ends[0].hub.send(0, "a", "/out/a".into()).unwrap();
    ends[0].work(NOW);
    let message = ends[0].hub.poll_message(0).unwrap();
    ends[1].hub.handle_message(NOW, 0, &message);
    ends[1].work(NOW);
    let accept = ends[1].hub.poll_message(0).unwrap();
    ends[0].hub.handle_message(NOW, 0, &accept);
    ends[0].work(NOW);
    let id = FileId::sending(1);
    assert!(ends[0].hub.speakers().eq([0]), "a piece waits");
    ends[0].hub.cancel(0, id).unwrap();
    let words = ends[0].hub.take_last_words(0);
    let [end] = &words[..] else { panic!("{words:?}") };
    assert!(matches!(Message::read(end), Some(Message::End { by_sender: true, .. })));
    assert_eq!(ends[0].hub.speakers().count(), 0);
}

#[test]
fn ends_need_no_room() {
    let mut end = End::new(Quota::default());
    let id = end.hub.send(0, "a", "/nowhere".into()).unwrap();
    assert!(!end.hub.has_events(false) && end.hub.poll_event(false).is_none());
    end.hub.close(0);
    assert!(end.hub.has_events(false));
    assert!(matches!(end.hub.poll_event(false), Some((0, Event::Ended(of, _))) if of == id));
    assert!(!end.hub.has_events(true), "nothing of a file comes behind its end");
}
