//! Owns what the newest results of a test took, packed into one integer, so that it is
//! kept and read at the price of a number.

/// What the newest results took by themselves, newest first, in 12 bits each: a skip has
/// its place, and no time.
///
/// A time below 128 us is kept exactly, else its 8 leading bits are, which is at most
/// 0.4 % too short: far below what times differ from one run to the next. The longest
/// that fits is 76 hours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecentTimes(pub i64);

impl RecentTimes {
    /// How many results: 5 of 12 bits each fit a positive 64-bit integer.
    pub const CAPACITY: u32 = 5;

    const BITS: u32 = 12;
    const MASK: i64 = (1 << (RecentTimes::CAPACITY * RecentTimes::BITS)) - 1;

    /// Puts a time behind the `newer` newest ones, `None` for a skip; what falls off the end
    /// is forgotten.
    pub(super) fn insert(&mut self, time_us: Option<i64>, newer: u32) {
        if newer >= RecentTimes::CAPACITY {
            return;
        }
        let shift = newer * RecentTimes::BITS;
        let (front, back) = (self.0 & ((1 << shift) - 1), self.0 >> shift);
        let code = time_us.map_or(0, code_of);
        self.0 = (((back << RecentTimes::BITS | code) << shift) | front) & RecentTimes::MASK;
    }

    /// Forgets all but the `newest` newest results.
    pub(super) fn keep(&mut self, newest: u32) {
        if newest < RecentTimes::CAPACITY {
            self.0 &= (1 << (newest * RecentTimes::BITS)) - 1;
        }
    }

    /// The median of the times, in microseconds, the lower of two middles; `None` without a
    /// time. Where `mean_us`, the mean over all runs, is no other time to the precision that is
    /// kept, it is the exact figure.
    pub fn median_us(self, mean_us: u64) -> Option<u64> {
        let mut codes = [0; RecentTimes::CAPACITY as usize];
        let mut count = 0;
        for code in (0..RecentTimes::CAPACITY).map(|at| (self.0 >> (at * RecentTimes::BITS)) & 0xfff) {
            if code > 0 {
                codes[count] = code;
                count += 1;
            }
        }
        let codes = &mut codes[..count];
        // Codes ascend with the times.
        codes.sort_unstable();
        let middle = count.checked_sub(1)? / 2;
        let same = codes[middle] == code_of(mean_us.min(LONGEST as u64) as i64);
        Some(if same { mean_us } else { time_of(codes[middle]) })
    }
}

/// The longest time that has a code, in microseconds.
const LONGEST: i64 = 255 << 30;

/// The code of a time: the time itself below 128, else its 8 leading bits without the
/// first, behind the number of bits that follow them, plus 1. Never 0: that is a skip.
fn code_of(time_us: i64) -> i64 {
    let time = time_us.clamp(1, LONGEST);
    let dropped = (63 - i64::from(time.leading_zeros())) - 7;
    if dropped < 0 { time } else { (dropped + 1) << 7 | (time >> dropped & 0x7f) }
}

fn time_of(code: i64) -> u64 {
    let (exponent, leading) = (code >> 7, code & 0x7f);
    (if exponent == 0 { leading } else { (128 | leading) << (exponent - 1) }) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_median_is_that_of_the_newest_that_ran() {
        let mut times = RecentTimes::default();
        assert_eq!(times.median_us(0), None);
        for time in [Some(90), Some(10), None, Some(30), Some(20), Some(40)] {
            times.insert(time, 0);
        }
        // 40, 20, 30, a skip and 10: 90 fell off.
        assert_eq!(times.median_us(0), Some(20));
        times.insert(Some(1), 5);
        assert_eq!(times.median_us(0), Some(20));
        // Behind the newest: 10 falls off.
        times.insert(Some(50), 1);
        assert_eq!(times.median_us(0), Some(30));
        let mut constant = RecentTimes::default();
        constant.insert(Some(59_999), 0);
        assert_eq!((constant.median_us(59_999), constant.median_us(70_000)), (Some(59_999), Some(59_904)));
    }

    proptest! {
        #[test]
        fn a_time_is_kept_to_half_a_percent(time_us in 0_i64..1 << 38, more in 0_i64..1000) {
            let kept = time_of(code_of(time_us)) as i64;
            prop_assert!(kept <= time_us.max(1) && (time_us - kept) * 128 <= time_us, "{time_us} became {kept}");
            prop_assert!(code_of(time_us) <= code_of(time_us + more) && code_of(time_us) <= 0xfff);
        }
    }
}
