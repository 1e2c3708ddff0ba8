//! What the controller reaches on a simulated bottleneck, and what it never does. `-- --nocapture` prints the tables.

mod limits;
mod simulation;

use simulation::{quantile, Load, Path, Simulation};

const SECOND: u64 = 1_000_000;
const TRANSFER: u64 = 16 << 20;
const SEEDS: std::ops::Range<u64> = 1..6;

/// One transfer with 60 messages a second beside it: the part of the rate it used, and the messages' 99th
/// percentile of delay from `from` on, ms.
fn transfer(path: Path, bytes: u64, seed: u64, from: u64) -> (f64, f64) {
    let rate = path.rates[0].1;
    let mut simulation = Simulation::new(path, seed, &[Load::bulk(0, bytes).messages(60, 1)]);
    simulation.run(300 * SECOND);
    let flow = &simulation.flows[0];
    let done = flow.done.expect("the transfer ends");
    let used = bytes as f64 / (done as f64 / 1e6) / rate;
    let delay = quantile(&flow.delays, 0.99, from, done);
    let (packets, lost) = (flow.packets, flow.lost);
    println!("  seed {seed}: used {:5.1} %, p99 {delay:6.1} ms, sent {packets}, lost {lost}", used * 100.0);
    (used, delay)
}

/// Each flow's part of what arrived.
fn shares(simulation: &Simulation, from: u64, to: u64) -> Vec<f64> {
    let bytes: Vec<u64> = simulation.flows.iter().map(|flow| flow.between(from, to)).collect();
    let total: u64 = bytes.iter().sum();
    bytes.iter().map(|bytes| *bytes as f64 / total as f64).collect()
}

/// Part of the rate that all flows together used.
fn used(simulation: &Simulation, from: u64, to: u64, megabits: f64) -> f64 {
    let bytes: u64 = simulation.flows.iter().map(|flow| flow.between(from, to)).sum();
    bytes as f64 / ((to - from) as f64 / 1e6) / (megabits * 125_000.0)
}

#[test]
fn a_transfer_uses_a_lossy_path_and_does_not_delay_messages() {
    println!("20 Mbit/s, 100 ms, 1 % loss");
    for seed in SEEDS {
        let (used, delay) = transfer(Path::new(20.0, 100, 0.01), TRANSFER, seed, 2 * SECOND);
        assert!(used >= 0.8, "{used}");
        assert!(delay <= 20.0, "{delay}");
    }
}

#[test]
fn two_transfers_share_fairly() {
    println!("two transfers, 20 Mbit/s, 100 ms");
    for (loss, stagger) in [(0.01, 0), (0.01, 1000), (0.01, 2000), (0.0, 0), (0.0, 1500)] {
        for seed in SEEDS {
            let loads = [Load::bulk(0, TRANSFER).messages(60, 1), Load::bulk(stagger, TRANSFER)];
            let mut simulation = Simulation::new(Path::new(20.0, 100, loss), seed, &loads);
            simulation.run(300 * SECOND);
            let done = simulation.flows.iter().filter_map(|flow| flow.done).min().expect("one ends");
            let share = shares(&simulation, stagger * 1000, done)[0];
            let used = used(&simulation, 0, done, 20.0);
            let delay = quantile(&simulation.flows[0].delays, 0.99, stagger * 1000 + 3 * SECOND, done);
            println!(
                "  loss {loss}, {stagger} ms later, seed {seed}: first {:.1} %, used {:.1} %, p99 {delay:.1} ms",
                share * 100.0,
                used * 100.0
            );
            assert!((0.4..=0.6).contains(&share), "{share}");
            assert!(used >= 0.8, "{used}");
            // The queue holds 100 ms; the latecomer has filled it in its startup.
            assert!(delay <= 55.0, "{delay}");
        }
    }
}

#[test]
fn many_transfers_share() {
    println!("eight transfers, 40 Mbit/s, 60 ms");
    for seed in 1..3 {
        let loads: Vec<Load> = (0..8).map(|i| Load::bulk(i * 700, u64::MAX).messages(60, 1)).collect();
        let mut simulation = Simulation::new(Path::new(40.0, 60, 0.001), seed, &loads);
        simulation.run(40 * SECOND);
        let shares = shares(&simulation, 20 * SECOND, 40 * SECOND);
        let least = shares.iter().copied().fold(1.0, f64::min) * 8.0;
        let delay = quantile(&simulation.flows[0].delays, 0.99, 20 * SECOND, 40 * SECOND);
        let used = used(&simulation, 20 * SECOND, 40 * SECOND, 40.0);
        println!(
            "  seed {seed}: least {least:.2} of its part, used {:.1} %, p99 {delay:.1} ms",
            used * 100.0
        );
        assert!(least >= 0.5, "{shares:?}");
        assert!(used >= 0.85, "{used}");
        // The queue holds 60 ms.
        assert!(delay < 60.0, "{delay}");
    }
}

#[test]
fn reno_and_a_transfer_live_side_by_side() {
    println!("beside Reno, 20 Mbit/s, 100 ms");
    for (ours, reno) in [(0, 0), (0, 2000), (2000, 0)] {
        for seed in SEEDS {
            let loads = [Load::bulk(ours, u64::MAX), Load::reno(reno)];
            let mut simulation = Simulation::new(Path::new(20.0, 100, 0.0), seed, &loads);
            simulation.run(62 * SECOND);
            let share = shares(&simulation, 2 * SECOND, 62 * SECOND)[0];
            let percent = share * 100.0;
            println!("  ours at {ours} ms, Reno at {reno} ms, seed {seed}: ours {percent:.1} %");
            assert!((0.2..=0.8).contains(&share), "{share}");
        }
    }
}

/// Name, path, bytes, least part of the rate, longest delay in ms.
type Case = (&'static str, Path, u64, f64, f64);

fn paths() -> Vec<Case> {
    let mut shallow = Path::new(20.0, 100, 0.0);
    shallow.buffer /= 10;
    let mut deep = Path::new(20.0, 100, 0.0);
    deep.buffer *= 8;
    let mut batched = Path::new(20.0, 40, 0.01);
    batched.ack_batch = 5_000;
    let mut coarse = Path::new(50.0, 5, 0.0);
    coarse.timer = 4_000;
    let mut frames = Path::new(20.0, 30, 0.0);
    frames.ack_batch = 16_667;
    let mut nearby = Path::new(100.0, 1, 0.0);
    nearby.ack_batch = 16_667;
    nearby.buffer = 500_000;
    let mut jitter = Path::new(20.0, 40, 0.01);
    jitter.jitter = 10_000;
    let mut more = Path::new(20.0, 20, 0.0);
    more.jitter = 30_000;
    vec![
        // Delays include the jitter.
        ("20 Mbit/s, 40 ms, jitter of 10 ms", jitter, 16 << 20, 0.7, 40.0),
        ("jitter of 30 ms, round trip of 20 ms", more, 16 << 20, 0.6, 60.0),
        ("20 Mbit/s, 100 ms, 5 % loss", Path::new(20.0, 100, 0.05), 16 << 20, 0.6, 25.0),
        // A datagram takes 10 ms here, a buffer of four 40.
        ("1 Mbit/s, 20 ms", Path::new(1.0, 20, 0.0), 1 << 20, 0.7, 40.0),
        ("2 Mbit/s, 60 ms, 2 % loss", Path::new(2.0, 60, 0.02), 4 << 20, 0.7, 60.0),
        ("100 Mbit/s, 10 ms, 1 % loss", Path::new(100.0, 10, 0.01), 32 << 20, 0.7, 10.0),
        ("100 Mbit/s, 200 ms, 0.1 % loss", Path::new(100.0, 200, 0.001), 128 << 20, 0.7, 30.0),
        ("buffer of a tenth of the product", shallow, 16 << 20, 0.7, 25.0),
        ("buffer of eight products", deep, 16 << 20, 0.7, 25.0),
        ("acknowledgements in batches of 5 ms", batched, 16 << 20, 0.7, 25.0),
        ("a client of 60 frames a second", frames, 16 << 20, 0.7, 25.0),
        ("the same nearby", nearby, 32 << 20, 0.7, 30.0),
        ("a timer of 4 ms, a round trip of 5 ms", coarse, 16 << 20, 0.7, 10.0),
    ]
}

#[test]
fn other_paths_are_used_too() {
    for (name, path, bytes, least, most) in paths() {
        println!("{name}");
        let seeds = if path.rates[0].1 > 5e6 { 1..3 } else { SEEDS };
        for seed in seeds {
            let startup = (2 * SECOND).max(20 * path.rtt);
            let (used, delay) = transfer(path.clone(), bytes, seed, startup);
            assert!(used >= least, "{name}: {used}");
            assert!(delay <= most, "{name}: {delay}");
        }
    }
}

#[test]
fn a_change_of_the_rate_is_found() {
    for (from, to) in [(20.0, 5.0), (5.0, 20.0), (2.0, 40.0)] {
        println!("from {from} to {to} Mbit/s, 100 ms");
        for seed in SEEDS {
            let mut path = Path::new(from, 100, 0.01);
            path.buffer = 250_000;
            path.rates.push((8 * SECOND, to * 125_000.0));
            let buffer = path.buffer as f64 / (to * 125.0);
            let mut simulation = Simulation::new(path, seed, &[Load::bulk(0, u64::MAX).messages(60, 1)]);
            simulation.run(18 * SECOND);
            let flow = &simulation.flows[0];
            let half = |i: u64| 8 * SECOND + i * SECOND / 2;
            let full = |i: &u64| flow.between(half(*i), half(*i + 1)) as f64 >= to * 62_500.0 * 0.8;
            let found = (0..20).find(full).map_or(f64::INFINITY, |i| i as f64 / 2.0);
            let first = quantile(&flow.delays, 0.99, 8 * SECOND, 11 * SECOND);
            let later = quantile(&flow.delays, 0.99, 11 * SECOND, 18 * SECOND);
            println!("  seed {seed}: found after {found} s, p99 {first:.1} ms, from 3 s on {later:.1} ms");
            assert!(found <= 3.0, "{found}");
            assert!(first < buffer.max(40.0), "{first}");
            assert!(later <= 30.0, "{later}");
        }
    }
}

#[test]
fn game_traffic_is_never_held_back() {
    for (hertz, burst) in [(20, 1), (60, 1), (20, 5), (60, 4)] {
        for (megabits, rtt, loss) in [(20.0, 100, 0.01), (5.0, 30, 0.0), (100.0, 1, 0.05), (50.0, 250, 0.02)]
        {
            for seed in SEEDS {
                let load = Load::bulk(0, 0).messages(hertz, burst);
                let mut simulation = Simulation::new(Path::new(megabits, rtt, loss), seed, &[load]);
                simulation.run(60 * SECOND);
                let flow = &simulation.flows[0];
                assert!(flow.held.len() as u64 > 50 * hertz * burst);
                let held = quantile(&flow.held, 1.0, 0, 60 * SECOND);
                assert_eq!(held, 0.0, "{hertz} Hz, {burst} at once, {megabits} Mbit/s, {rtt} ms");
            }
        }
    }
}
