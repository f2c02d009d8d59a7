//! Owns finding the place where a series of durations changed its level. Pure.
//!
//! By ranks, so that single slow runs and the shape of the noise do not matter: Pettitt's
//! test (A. N. Pettitt, "A Non-Parametric Approach to the Change-Point Problem", Applied
//! Statistics 28, 1979). The size of the change is told by the medians on both sides and by
//! Cliff's delta (N. Cliff, Psychological Bulletin 114, 1993): the share of pairs, one value
//! of each side, in which the later one is larger, less the share in which it is smaller.

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Place of the first value of the new level.
    pub at: usize,
    /// Median before.
    pub before: f64,
    /// Median from there on.
    pub after: f64,
    /// -1 (all smaller) to 1 (all larger).
    pub cliffs_delta: f64,
    /// The chance of a change this clear in a series without one: Pettitt's approximation.
    pub p_value: f64,
}

/// The fewest values a side must have: a level is not told from fewer.
pub const FEWEST: usize = 5;

/// The place that splits `values` best; `None` where a side would have fewer than [`FEWEST`].
pub fn change_point(values: &[f64]) -> Option<ChangePoint> {
    let count = values.len();
    let ranks = midranks(values);
    let mut sum = 0.0;
    let mut best: Option<(f64, usize)> = None;
    for (at, rank) in ranks.iter().enumerate().take(count.saturating_sub(FEWEST)) {
        sum += rank;
        let split = at + 1;
        let statistic = 2.0 * sum - split as f64 * (count as f64 + 1.0);
        if split >= FEWEST && best.is_none_or(|(largest, _)| statistic.abs() > f64::abs(largest)) {
            best = Some((statistic, split));
        }
    }
    let (statistic, at) = best?;
    let n = count as f64;
    let (before, after) = values.split_at(at);
    Some(ChangePoint {
        at,
        before: median(before),
        after: median(after),
        // Pettitt's statistic counts pairs: smaller less larger values after it, seen from before.
        cliffs_delta: -statistic / (at as f64 * (n - at as f64)),
        p_value: (2.0 * (-6.0 * statistic * statistic / (n * n * n + n * n)).exp()).min(1.0),
    })
}

/// Ranks from 1; equal values share the mean of theirs.
fn midranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut smaller = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = f64::from(smaller) + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&place| ranks[place] = rank);
        smaller += equal.len() as u32;
    }
    ranks
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_step_is_found_where_it_is() {
        let values: Vec<f64> = (0..40).map(|at| if at < 25 { 10.0 } else { 20.0 } + f64::from(at % 3)).collect();
        let found = change_point(&values).unwrap();
        assert_eq!((found.at, found.before, found.after, found.cliffs_delta), (25, 11.0, 21.0, 1.0));
        assert!(found.p_value < 1e-3);
    }

    #[test]
    fn single_slow_runs_are_no_change() {
        let mut values: Vec<f64> = (0..40).map(|at| 10.0 + f64::from(at * 7 % 5)).collect();
        values[13] = 5_000.0;
        values[31] = 9_000.0;
        assert!(change_point(&values).unwrap().p_value > 0.1);
    }

    #[test]
    fn equal_and_few_values() {
        assert_eq!(change_point(&[1.0; 9]), None);
        let equal = change_point(&[1.0; 20]).unwrap();
        assert_eq!((equal.p_value, equal.cliffs_delta), (1.0, 0.0));
        assert_eq!(midranks(&[2.0, 1.0, 2.0, 3.0]), [2.5, 1.0, 2.5, 4.0]);
    }

    proptest! {
        #[test]
        fn cliffs_delta_is_what_it_says(values in proptest::collection::vec(0_i32..20, 10..40)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let found = change_point(&values).unwrap();
            let (before, after) = values.split_at(found.at);
            let pairs: f64 = before.iter().flat_map(|a| after.iter().map(move |b| {
                f64::from(i8::from(b > a) - i8::from(b < a))
            })).sum();
            prop_assert!((found.cliffs_delta - pairs / (before.len() * after.len()) as f64).abs() < 1e-9);
        }
    }
}
