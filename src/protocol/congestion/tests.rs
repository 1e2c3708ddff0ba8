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
