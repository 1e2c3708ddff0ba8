//! 16-bit counters on the wire, 64-bit numbers in the code.
//!
//! mpgameserver's counters run 1..=65535 and wrap to 1; 0 means 'none'. Number `n` (from 1) is the `n`-th
//! packet or message; on the wire it is `(n - 1) % 65535 + 1`.

/// Values on the ring.
pub const RING: u64 = 65_535;

/// How number `n` is written. `n` counts from 1; 0 is written as 0, 'none'.
pub fn to_wire(n: u64) -> u16 {
    if n == 0 {
        0
    } else {
        ((n - 1) % RING + 1) as u16
    }
}

/// `a - b` on the ring, in -32767..=32767. Neither may be 0, which is not on the ring.
pub fn diff(a: u16, b: u16) -> i32 {
    let d = i32::from(a) - i32::from(b);
    if d > 32_767 {
        d - RING as i32
    } else if d < -32_767 {
        d + RING as i32
    } else {
        d
    }
}

/// The number nearest to `newest` that is written as `wire`. `None` for 0 and for numbers before the first.
/// With `newest` 0 (nothing seen yet) the counter's first round is meant.
pub fn widen(wire: u16, newest: u64) -> Option<u64> {
    if wire == 0 {
        return None;
    }
    if newest == 0 {
        return Some(u64::from(wire));
    }
    newest.checked_add_signed(i64::from(diff(wire, to_wire(newest)))).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_without_zero() {
        assert_eq!(to_wire(1), 1);
        assert_eq!(to_wire(65_535), 65_535);
        assert_eq!(to_wire(65_536), 1);
        assert_eq!(diff(2, 65_534), 3);
        assert_eq!(diff(65_534, 2), -3);
        assert_eq!(diff(1, 65_535), 1);
    }

    #[test]
    fn widens_every_number_within_half_the_ring() {
        for newest in [1u64, 2, 32_767, 32_768, 65_534, 65_535, 65_536, 131_070, 1 << 40] {
            for d in [-32_767i64, -32_766, -300, -1, 0, 1, 2, 300, 32_766, 32_767] {
                let Some(n) = newest.checked_add_signed(d).filter(|n| *n > 0) else { continue };
                assert_eq!(widen(to_wire(n), newest), Some(n), "{newest} {d}");
            }
        }
        assert_eq!(widen(0, 7), None);
        assert_eq!(widen(65_535, 1), None, "before the first");
    }
}
