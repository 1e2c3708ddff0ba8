//! A link on a virtual clock: rates within bounds that a right one fails once in millions of seeds (and the
//! seeds are fixed), everything else exactly.

use super::*;

const START: Time = Time::from_micros(1_700_000_000_000_000);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// All that has arrived by now.
fn arrived(link: &mut Link<u32>, now: Time) -> Vec<(Vec<u8>, u32)> {
    std::iter::from_fn(|| link.poll(now)).collect()
}

/// What arrives in the end, with the time.
fn drain(link: &mut Link<u32>) -> Vec<(Time, u32)> {
    let mut all = Vec::new();
    while let Some(at) = link.poll_timeout() {
        let (_, to) = link.poll(at).expect("it is due");
        all.push((at, to));
    }
    all
}

/// Sends numbered datagrams at one distance, and gives who arrived when.
fn send(conditions: Conditions, count: u32, distance: Duration, len: usize) -> (Vec<(Time, u32)>, LinkStats) {
    conditions.validate().expect("valid");
    let mut link = Link::new(conditions);
    for number in 0..count {
        link.push(START + distance * number, &vec![7; len], number);
    }
    (drain(&mut link), link.stats())
}

/// `count` of `of` lies within five standard deviations of what a probability makes expect.
fn assert_share(count: u64, of: u64, probability: f64) {
    let (of, mean) = (of as f64, of as f64 * probability);
    let deviation = (mean * (1.0 - probability)).sqrt();
    assert!((count as f64 - mean).abs() <= 5.0 * deviation, "{count} of {of} for {probability}");
}

#[test]
fn nothing_is_the_default_and_passes_at_once() {
    let (arrived, stats) = send(Conditions::default(), 1000, ms(1), 100);
    let expected: Vec<_> = (0..1000).map(|n| (START + ms(1) * n, n)).collect();
    assert_eq!(arrived, expected);
    assert_eq!(stats, LinkStats { pushed: 1000, ..LinkStats::default() });
}

#[test]
fn what_is_lost_is_the_share_that_was_asked_for() {
    for seed in 0..5 {
        for loss in [0.001, 0.05, 0.5] {
            let (arrived, stats) = send(Conditions { loss, seed, ..Conditions::default() }, 20_000, ms(1), 1);
            assert_eq!(arrived.len() as u64 + stats.dropped, 20_000);
            assert_share(stats.dropped, 20_000, f64::from(loss));
        }
    }
    let (arrived, _) = send(Conditions { loss: 1.0, ..Conditions::default() }, 1000, ms(1), 1);
    assert!(arrived.is_empty());
}

#[test]
fn bursts_are_as_many_and_as_long_as_was_asked_for() {
    for seed in 0..5 {
        let conditions = Conditions { burst_loss: 0.01, burst_length: 8.0, seed, ..Conditions::default() };
        let count = 60_000;
        let (arrived, stats) = send(conditions, count, ms(1), 1);
        let numbers: Vec<u32> = arrived.iter().map(|(_, number)| *number).collect();
        let gaps: Vec<u32> = numbers.windows(2).map(|w| w[1] - w[0] - 1).filter(|gap| *gap > 0).collect();
        // A burst can follow another at once: one gap in a hundred has two. A mean of 560 lengths that differ
        // by 7.5 differs by 0.32.
        let mean = gaps.iter().sum::<u32>() as f32 / gaps.len() as f32;
        assert!((6.4..9.8).contains(&mean), "mean {mean} of {} gaps", gaps.len());
        // 99 datagrams between two bursts of 8.
        let expected = f64::from(count) / (99.0 + 8.0);
        assert!((gaps.len() as f64 - expected).abs() < 5.0 * expected.sqrt(), "{} gaps", gaps.len());
        assert!(gaps.iter().any(|gap| *gap > 20) && gaps.contains(&1), "lengths differ");
        assert_eq!(u64::from(count), numbers.len() as u64 + stats.dropped);
    }
    let one = Conditions { burst_loss: 0.5, ..Conditions::default() };
    assert_share(send(one, 10_000, ms(1), 1).1.dropped, 10_000, 0.5);
}

#[test]
fn a_burst_of_certain_start_never_lets_go() {
    let conditions = Conditions { burst_loss: 1.0, burst_length: 3.0, ..Conditions::default() };
    assert_eq!(send(conditions, 500, ms(1), 1).1.dropped, 500);
}

#[test]
fn delay_is_exact_and_keeps_the_order() {
    let (arrived, _) = send(Conditions { delay: ms(80), ..Conditions::default() }, 100, Duration::ZERO, 10);
    let expected: Vec<_> = (0..100).map(|n| (START + ms(80), n)).collect();
    assert_eq!(arrived, expected);
    let mut link = Link::new(Conditions { delay: ms(80), ..Conditions::default() });
    link.push(START, b"x", 1);
    assert_eq!(link.poll_timeout(), Some(START + ms(80)));
    assert_eq!(link.poll(START + ms(79)), None);
    assert_eq!(link.poll(START + ms(80)), Some((b"x".to_vec(), 1)));
    assert_eq!((link.poll(START + ms(80)), link.poll_timeout()), (None, None));
}

#[test]
fn jitter_is_even_around_the_delay_and_reorders() {
    let conditions = Conditions { delay: ms(50), jitter: ms(20), seed: 3, ..Conditions::default() };
    let (arrived, _) = send(conditions.clone(), 20_000, ms(1), 1);
    let late: Vec<Duration> = arrived.iter().map(|(at, n)| at.since(START + ms(1) * *n)).collect();
    assert!(late.iter().all(|late| (ms(30)..=ms(70)).contains(late)));
    for quarter in 0..4 {
        let range = ms(30 + 10 * quarter)..ms(40 + 10 * quarter);
        assert_share(late.iter().filter(|late| range.contains(late)).count() as u64, 20_000, 0.25);
    }
    assert!(arrived.windows(2).any(|w| w[0].1 > w[1].1), "as netem does it");
    assert!(arrived.windows(2).all(|w| w[0].0 <= w[1].0), "they come out by time");
    // At a distance beyond twice the jitter nothing can pass anything.
    let (arrived, _) = send(conditions, 2000, ms(41), 1);
    assert!(arrived.windows(2).all(|w| w[0].1 < w[1].1));
}

#[test]
fn jitter_beyond_the_delay_stops_at_zero() {
    let conditions = Conditions { delay: ms(5), jitter: ms(20), ..Conditions::default() };
    let (arrived, _) = send(conditions, 5000, ms(100), 1);
    let at_once = arrived.iter().filter(|(at, n)| at.since(START + ms(100) * *n).is_zero()).count();
    // From 20 ms before to 20 ms after 5 ms: three eighths of it are below zero.
    assert_share(at_once as u64, 5000, 0.375);
    assert!(arrived.iter().all(|(at, n)| *at >= START + ms(100) * *n));
}

#[test]
fn copies_are_whole_and_counted() {
    let conditions = Conditions { duplicate: 0.2, seed: 9, ..Conditions::default() };
    let mut link = Link::new(conditions);
    let mut extra = 0;
    for number in 0..10_000_u32 {
        link.push(START, &number.to_be_bytes(), number);
        let out = arrived(&mut link, START);
        assert!(out.iter().all(|(data, to)| (data[..] == number.to_be_bytes()) && *to == number));
        assert!((1..=2).contains(&out.len()));
        extra += out.len() as u64 - 1;
    }
    assert_eq!(link.stats().duplicated, extra);
    assert_share(extra, 10_000, 0.2);
}

#[test]
fn what_is_held_back_is_passed_by_exactly_those_behind_it() {
    let conditions =
        Conditions { delay: ms(10), reorder: 0.1, reorder_delay: ms(25), seed: 4, ..Conditions::default() };
    let (arrived, stats) = send(conditions, 10_000, ms(10), 1);
    let held: Vec<_> = arrived.iter().filter(|(at, n)| at.since(START + ms(10) * *n) == ms(35)).collect();
    let others = arrived.iter().filter(|(at, n)| at.since(START + ms(10) * *n) == ms(10)).count();
    assert_eq!((held.len() as u64, held.len() + others), (stats.reordered, 10_000));
    assert_share(stats.reordered, 10_000, 0.1);
}

#[test]
fn a_damaged_datagram_differs_in_one_bit() {
    let mut link = Link::new(Conditions { corrupt: 0.3, seed: 11, ..Conditions::default() });
    let mut seen = [0_u32; 32];
    let mut damaged = 0;
    for _ in 0..20_000 {
        link.push(START, &[0, 0xff, 0x55, 0], 0);
        let (out, _) = link.poll(START).expect("not delayed");
        let bits = u32::from_be_bytes(out.try_into().expect("as long as before")) ^ 0x00ff_5500;
        assert!(bits.count_ones() <= 1);
        if bits != 0 {
            damaged += 1;
            seen[bits.trailing_zeros() as usize] += 1;
        }
    }
    assert_eq!(link.stats().corrupted, damaged);
    assert_share(damaged, 20_000, 0.3);
    assert!(seen.iter().all(|count| *count > 0), "every bit at some time: {seen:?}");
    // There is nothing to damage in an empty one.
    let mut link = Link::new(Conditions { corrupt: 1.0, ..Conditions::default() });
    link.push(START, &[], 5);
    assert_eq!((link.poll(START), link.stats().corrupted), (Some((Vec::new(), 5)), 0));
}

#[test]
fn the_rate_is_exact_and_the_queue_bounded() {
    // 1000 bytes take a third of a second: the remainders must not add up.
    let conditions = Conditions { rate: 3000, queue_bytes: 1 << 20, ..Conditions::default() };
    let (arrived, _) = send(conditions, 900, Duration::ZERO, 1000);
    assert_eq!(arrived.len(), 900);
    for (at, n) in arrived {
        let micros = (u64::from(n) + 1) * 1_000_000 / 3;
        assert_eq!(at.since(START).as_micros() as u64, micros + u64::from((n + 1) % 3 != 0), "{n}");
    }
    // Ten of 1000 fit the queue, the eleventh does not; after 3 ms there is room for three more.
    let conditions = Conditions { rate: 1_000_000, queue_bytes: 10_000, ..Conditions::default() };
    let mut link = Link::new(conditions);
    for number in 0..15 {
        link.push(START, &[0; 1000], number);
    }
    assert_eq!(link.stats().overflowed, 5);
    for number in 15..20 {
        link.push(START + ms(3), &[0; 1000], number);
    }
    assert_eq!(link.stats().overflowed, 7);
    let numbers: Vec<_> = drain(&mut link).iter().map(|(_, n)| *n).collect();
    assert_eq!(numbers, (0..10).chain(15..18).collect::<Vec<_>>());
}

#[test]
fn an_idle_link_takes_any_datagram_and_saves_up_nothing() {
    let conditions = Conditions { rate: 1000, queue_bytes: 0, ..Conditions::default() };
    let mut link = Link::new(conditions);
    link.push(START, &[0; 500], 1);
    link.push(START + ms(499), &[0; 1], 2);
    assert_eq!(link.stats().overflowed, 1);
    link.push(START + ms(500), &[0; 500], 3);
    // An hour of silence is no credit.
    link.push(START + ms(3_600_000), &[0; 500], 4);
    let expected = [(START + ms(500), 1), (START + ms(1000), 3), (START + ms(3_600_500), 4)];
    assert_eq!(drain(&mut link), expected);
}

#[test]
fn what_is_held_is_bounded_in_number_and_bytes() {
    let late = Conditions { delay: MAX_DELAY, duplicate: 1.0, ..Conditions::default() };
    let (arrived, stats) = send(late.clone(), MAX_HELD_DATAGRAMS as u32, Duration::ZERO, 1);
    assert_eq!(arrived.len(), MAX_HELD_DATAGRAMS);
    assert_eq!(stats.overflowed, MAX_HELD_DATAGRAMS as u64);
    let mut link = Link::new(late);
    let fitting = MAX_HELD_BYTES / 1400;
    for number in 0..fitting as u32 {
        link.push(START, &[0; 1400], number);
    }
    assert_eq!(link.held.len(), fitting);
    assert_eq!(link.held_bytes, fitting * 1400);
    assert_eq!(link.stats().overflowed, fitting as u64);
    drain(&mut link);
    assert_eq!(link.held_bytes, 0);
    link.push(START, &[0; 1400], 0);
    assert_eq!(link.held.len(), 2, "there is room again");
}

/// Everything at once.
fn terrible(seed: u64) -> Conditions {
    Conditions {
        loss: 0.1,
        burst_loss: 0.01,
        burst_length: 4.0,
        delay: ms(40),
        jitter: ms(30),
        duplicate: 0.1,
        reorder: 0.1,
        reorder_delay: ms(100),
        rate: 50_000,
        queue_bytes: 5_000,
        corrupt: 0.1,
        seed,
    }
}

#[test]
fn a_seed_is_a_fate() {
    let run = |seed| {
        let mut link = Link::new(terrible(seed));
        let mut out = Vec::new();
        for number in 0..2000 {
            let now = START + ms(5) * number;
            link.push(now, &[number as u8; 300], number);
            out.extend(arrived(&mut link, now));
        }
        (out, link.stats())
    };
    let (first, stats) = run(1);
    assert_eq!((first.clone(), stats), run(1));
    assert_ne!(first, run(2).0);
    let LinkStats { pushed, dropped, overflowed, duplicated, reordered, corrupted } = stats;
    assert_eq!(pushed, 2000);
    for count in [dropped, overflowed, duplicated, reordered, corrupted] {
        assert!(count > 0, "all of it happened: {stats:?}");
    }
}

#[test]
fn the_first_numbers_of_a_seed_are_those_of_splitmix64() {
    let mut random = Random(1_234_567);
    let numbers: Vec<u64> = (0..3).map(|_| random.next()).collect();
    assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
}

#[test]
fn other_conditions_leave_alone_what_is_under_way() {
    let mut link = Link::new(Conditions { delay: ms(100), rate: 10, ..Conditions::default() });
    link.push(START, b"ten bytes.", 1);
    link.set_conditions(Conditions::default());
    link.push(START, b"fast", 2);
    assert_eq!(drain(&mut link), [(START, 2), (START + ms(1100), 1)]);
    assert_eq!(link.stats().pushed, 2);
}

#[test]
fn values_out_of_range_are_named() {
    let base = Conditions::default;
    let wrong: Vec<(&str, Conditions)> = vec![
        ("loss", Conditions { loss: 1.01, ..base() }),
        ("loss", Conditions { loss: f32::NAN, ..base() }),
        ("burst_loss", Conditions { burst_loss: -0.1, ..base() }),
        ("burst_length", Conditions { burst_length: 0.0, ..base() }),
        ("burst_length", Conditions { burst_length: f32::INFINITY, ..base() }),
        ("delay", Conditions { delay: MAX_DELAY + ms(1), ..base() }),
        ("jitter", Conditions { jitter: Duration::MAX, ..base() }),
        ("duplicate", Conditions { duplicate: 2.0, ..base() }),
        ("reorder", Conditions { reorder: f32::NEG_INFINITY, ..base() }),
        ("reorder_delay", Conditions { reorder_delay: MAX_DELAY * 2, ..base() }),
        ("queue_bytes", Conditions { queue_bytes: MAX_HELD_BYTES + 1, ..base() }),
        ("corrupt", Conditions { corrupt: f32::INFINITY, ..base() }),
    ];
    for (name, conditions) in wrong {
        let text = conditions.validate().expect_err(name);
        assert!(text.starts_with(&format!("{name} is ")), "{text}");
        // No harm all the same.
        let mut link = Link::new(conditions);
        link.push(START, &[1; 100], 0);
        drain(&mut link);
    }
    assert_eq!(terrible(0).validate(), Ok(()));
    let extreme = Conditions {
        delay: MAX_DELAY,
        jitter: MAX_DELAY,
        burst_length: MAX_BURST_LENGTH,
        rate: u64::MAX,
        queue_bytes: MAX_HELD_BYTES,
        ..terrible(u64::MAX)
    };
    assert_eq!(extreme.validate(), Ok(()));
    send(extreme, 1000, ms(1), 1400);
    send(Conditions { rate: 1, ..base() }, 1000, ms(1), 1400);
}
