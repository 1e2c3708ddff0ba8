//! Many times in little room.

use std::time::Duration;

/// Buckets of each power of two, as a power of two: times are kept to within one part in 64.
const PRECISION: u32 = 6;
/// Buckets for microseconds of any 64-bit number.
const BUCKETS: usize = (64 - PRECISION as usize + 1) << PRECISION;

/// How often times of which length came: always of the same size, however many there are.
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { buckets: vec![0; BUCKETS], count: 0, max: 0 }
    }

    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket(micros)) {
            *bucket += 1;
            self.count += 1;
            self.max = self.max.max(micros);
        }
    }

    /// The time within which this share (0 to 1) of all came; zero where none came.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, number) in self.buckets.iter().enumerate() {
            seen += number;
            if seen >= wanted {
                return Duration::from_micros(highest(index).min(self.max));
            }
        }
        self.max()
    }

    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }
}

/// The first 2^PRECISION numbers have a bucket each; from there on each power of two has so many.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(PRECISION + 1);
    ((shift as usize) << PRECISION) + (value >> shift) as usize
}

/// The largest number in a bucket.
fn highest(bucket: usize) -> u64 {
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let low = (bucket - (shift << PRECISION)) as u64;
    (low << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_bucket_that_is_close_to_it() {
        let around = |power: u32| [(1u64 << power) - 1, 1 << power, (1 << power) + 1, 3 << power >> 1];
        for value in (0..64).flat_map(around).chain([u64::MAX]) {
            let index = bucket(value);
            assert!(index < BUCKETS, "{value}");
            let high = highest(index);
            assert!(value <= high && high - value <= value >> PRECISION, "{value} is in {index}, to {high}");
            assert!(index == 0 || highest(index - 1) < value, "{value}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        for (share, millis) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e3;
            assert!((millis..=millis * 1.02).contains(&found), "{share}: {found} ms");
        }
        assert_eq!(histogram.quantile(1.0), Duration::from_millis(1000));
        assert_eq!(histogram.max(), Duration::from_millis(1000));
    }
}
