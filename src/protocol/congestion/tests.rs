//! What the controller reaches on a simulated bottleneck. `-- --nocapture` prints the tables.

mod simulation;

use simulation::{quantile, Load, Path, Simulation};

const SECOND: u64 = 1_000_000;
const TRANSFER: u64 = 16 << 20;
const SEEDS: std::ops::Range<u64> = 1..7;

/// One transfer with 60 messages a second beside it: the part of the rate it used, and the messages' 99th
/// percentile of delay after two seconds, ms.
fn transfer(path: Path, bytes: u64, seed: u64) -> (f64, f64) {
    let rate = path.rates[0].1;
    let mut simulation = Simulation::new(path, seed, &[Load::bulk(0, bytes).messages(60, 1)]);
    simulation.run(300 * SECOND);
    let flow = &simulation.flows[0];
    let done = flow.done.expect("the transfer ends");
    let used = bytes as f64 / (done as f64 / 1e6) / rate;
    let delay = quantile(&flow.delays, 0.99, 2 * SECOND, done);
    let (packets, lost) = (flow.packets, flow.lost);
    println!("  seed {seed}: used {:5.1} %, p99 {delay:6.1} ms, sent {packets}, lost {lost}", used * 100.0);
    (used, delay)
}

#[test]
fn a_transfer_uses_a_lossy_path_and_does_not_delay_messages() {
    println!("20 Mbit/s, 100 ms, 1 % loss");
    for seed in SEEDS {
        let (used, delay) = transfer(Path::new(20.0, 100, 0.01), TRANSFER, seed);
        assert!(used >= 0.7, "{used}");
        assert!(delay <= 25.0, "{delay}");
    }
}

/// Parts of what arrived that each flow has, while both were at work.
fn shares(simulation: &Simulation, from: u64, to: u64) -> Vec<f64> {
    let bytes: Vec<u64> = simulation.flows.iter().map(|flow| flow.between(from, to)).collect();
    let total: u64 = bytes.iter().sum();
    bytes.iter().map(|bytes| *bytes as f64 / total as f64).collect()
}

#[test]
fn two_transfers_share_fairly() {
    println!("two transfers, 20 Mbit/s, 100 ms");
    for (loss, stagger) in [(0.01, 0), (0.01, 1000), (0.01, 2000), (0.0, 0), (0.0, 1500), (0.0, 3000)] {
        for seed in SEEDS {
            let loads = [Load::bulk(0, TRANSFER).messages(60, 1), Load::bulk(stagger, TRANSFER)];
            let mut simulation = Simulation::new(Path::new(20.0, 100, loss), seed, &loads);
            simulation.run(300 * SECOND);
            let done = simulation.flows.iter().filter_map(|flow| flow.done).min().expect("one ends");
            let share = shares(&simulation, stagger * 1000, done)[0];
            let both = simulation.flows.iter().filter_map(|flow| flow.done).max().expect("both end");
            let used = (2 * TRANSFER) as f64 / (both as f64 / 1e6) / 2.5e6;
            let delay = quantile(&simulation.flows[0].delays, 0.99, 2 * SECOND, done);
            println!(
                "  loss {loss}, {stagger} ms later, seed {seed}: first {:.1} %, used {:.1} %, p99 {delay} ms",
                share * 100.0,
                used * 100.0
            );
            assert!((0.33..=0.67).contains(&share), "{share}");
        }
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
            let used: u64 = simulation.flows.iter().map(|flow| flow.between(2 * SECOND, 62 * SECOND)).sum();
            let used = used as f64 / 60.0 / 2.5e6;
            println!(
                "  ours at {ours}, Reno at {reno}, seed {seed}: ours {:.1} %, used {:.1} %",
                share * 100.0,
                used * 100.0
            );
            assert!((0.12..=0.88).contains(&share), "{share}");
        }
    }
}

#[test]
fn other_paths_are_used_too() {
    let mut lossy = Path::new(20.0, 100, 0.05);
    let wide = Path::new(100.0, 10, 0.01);
    let mut shallow = Path::new(20.0, 100, 0.0);
    shallow.buffer /= 10;
    let mut deep = Path::new(20.0, 100, 0.0);
    deep.buffer *= 8;
    let mut batched = Path::new(20.0, 40, 0.01);
    batched.ack_batch = 5_000;
    let mut coarse = Path::new(50.0, 5, 0.0);
    coarse.timer = 4_000;
    lossy.timer = 1;
    let mut frames = Path::new(20.0, 30, 0.0);
    frames.ack_batch = 16_667;
    let mut lan = Path::new(100.0, 1, 0.0);
    lan.ack_batch = 16_667;
    lan.buffer = 500_000;
    let paths = [
        ("5 % loss", lossy, 16 << 20, 0.6, 25.0),
        ("1 Mbit/s, 20 ms", Path::new(1.0, 20, 0.0), 1 << 20, 0.7, 60.0),
        ("2 Mbit/s, 60 ms, 2 % loss", Path::new(2.0, 60, 0.02), 4 << 20, 0.7, 60.0),
        ("100 Mbit/s, 10 ms, 1 % loss", wide, 64 << 20, 0.7, 25.0),
        ("100 Mbit/s, 200 ms, 0.1 % loss", Path::new(100.0, 200, 0.001), 256 << 20, 0.7, 30.0),
        ("buffer of a tenth of the product", shallow, 16 << 20, 0.7, 25.0),
        ("buffer of eight products", deep, 16 << 20, 0.7, 25.0),
        ("acknowledgements in batches of 5 ms", batched, 16 << 20, 0.7, 25.0),
        ("client of 60 frames a second", frames, 16 << 20, 0.7, 25.0),
        ("the same nearby", lan, 64 << 20, 0.7, 25.0),
        ("timer of 4 ms, round trip 5 ms", coarse, 32 << 20, 0.7, 25.0),
    ];
    for (name, path, bytes, least, most) in paths {
        println!("{name}");
        for seed in SEEDS {
            let (used, delay) = transfer(path.clone(), bytes, seed);
            assert!(used >= least, "{name}: {used}");
            assert!(delay <= most, "{name}: {delay}");
        }
    }
}

#[test]
fn a_change_of_the_rate_is_found() {
    for (from, to, name) in
        [(20.0, 5.0, "rate drops"), (5.0, 20.0, "rate rises"), (2.0, 40.0, "rate rises much")]
    {
        println!("{name}");
        for seed in SEEDS {
            let mut path = Path::new(from, 100, 0.01);
            path.buffer = 250_000;
            path.rates.push((8 * SECOND, to * 125_000.0));
            let mut simulation = Simulation::new(path, seed, &[Load::bulk(0, u64::MAX).messages(60, 1)]);
            simulation.run(20 * SECOND);
            let flow = &simulation.flows[0];
            let full = |i: u64| flow.between(i, i + SECOND / 2) as f64 / (to * 62_500.0) > 0.8;
            let found =
                (16..36).find(|i| full(i * SECOND / 2)).map_or(f64::INFINITY, |i| i as f64 / 2.0 - 8.0);
            let all = quantile(&flow.delays, 0.99, 8 * SECOND, 20 * SECOND);
            let later = quantile(&flow.delays, 0.99, 11 * SECOND, 20 * SECOND);
            println!("  seed {seed}: found after {found} s, p99 {all} ms, three seconds later {later} ms");
        }
    }
}

#[test]
fn many_transfers_share() {
    for (count, mbit) in [(4, 20.0), (8, 20.0), (8, 100.0), (16, 50.0)] {
        println!("{count} flows {mbit}");
        for seed in SEEDS {
            let loads: Vec<Load> =
                (0..count).map(|i| Load::bulk(i * 700, u64::MAX).messages(60, 1)).collect();
            let mut simulation = Simulation::new(Path::new(mbit, 60, 0.001), seed, &loads);
            simulation.run(60 * SECOND);
            let s = shares(&simulation, 30 * SECOND, 60 * SECOND);
            let least = s.iter().copied().fold(1.0, f64::min) * count as f64;
            let most = s.iter().copied().fold(0.0, f64::max) * count as f64;
            let p = quantile(&simulation.flows[0].delays, 0.99, 30 * SECOND, 60 * SECOND);
            let total: u64 = simulation.flows.iter().map(|f| f.between(30 * SECOND, 60 * SECOND)).sum();
            println!(
                "  seed {seed}: least {least:.2}, most {most:.2}, p99 {p} ms, used {:.1}",
                total as f64 / 30.0 / mbit / 1250.0
            );
        }
    }
}

#[test]
fn game_traffic_is_never_held_back() {
    for (name, hertz, burst) in
        [("20 Hz", 20, 1), ("60 Hz", 60, 1), ("20 Hz, bursts of 5", 20, 5), ("60 Hz, bursts of 8", 60, 8)]
    {
        println!("{name}");
        for (mbit, rtt, loss) in [(20.0, 100, 0.01), (5.0, 30, 0.0), (100.0, 1, 0.05), (50.0, 250, 0.02)] {
            for seed in SEEDS {
                let load = Load::bulk(0, 0).messages(hertz, burst);
                let mut simulation = Simulation::new(Path::new(mbit, rtt, loss), seed, &[load]);
                simulation.run(120 * SECOND);
                let held = quantile(&simulation.flows[0].held, 1.0, 0, 120 * SECOND);
                println!("  {mbit}/{rtt} seed {seed}: held {held} ms");
                assert!(held == 0.0, "{name}: {held}");
            }
        }
    }
}
