//! Owns a plan's figures, as the protocol names them, and their view for people.

use super::Plan;
use crate::estimate::Estimates;
use crate::record::ShardInfo;
use crate::unit::Subject;

/// The figures of `plan`.
pub fn info_of(plan: &Plan, subjects: &[Subject], estimates: &Estimates) -> ShardInfo {
    let mut counts = vec![0_usize; plan.total as usize];
    for &shard in &plan.shards {
        counts[shard as usize] += 1;
    }
    let durations: Vec<u64> = plan.times_us(subjects, estimates).iter().map(|time| (time + 500) / 1000).collect();
    let as_numbers: Vec<u64> = counts.iter().map(|&count| count as u64).collect();
    ShardInfo {
        strategy: plan.strategy.name().to_string(),
        total_shards: plan.total,
        total_tests: plan.shards.len(),
        count_imbalance_percent: imbalance_percent(&as_numbers),
        duration_imbalance_percent: imbalance_percent(&durations),
        estimated_wall_time_ms: durations.iter().copied().max().unwrap_or(0),
        shard_test_counts: counts,
        shard_durations_ms: durations,
    }
}

/// The longest bar, in characters.
const BAR: u64 = 40;

/// The view for people: a line for each shard, its bar as long as its share of the largest.
pub fn info_text(info: &ShardInfo) -> String {
    let by_time = info.estimated_wall_time_ms > 0;
    let counts = info.shard_test_counts.iter().map(|&count| count as u64);
    let sizes: Vec<u64> = if by_time { info.shard_durations_ms.clone() } else { counts.collect() };
    let largest = sizes.iter().copied().max().unwrap_or(0).max(1);
    let mut text = format!("{} tests on {} shards by {}\n", info.total_tests, info.total_shards, info.strategy);
    for (shard, (&size, count)) in sizes.iter().zip(&info.shard_test_counts).enumerate() {
        let bar = "#".repeat((size * BAR).div_ceil(largest) as usize);
        let time = if by_time { seconds(size) } else { "-".to_string() };
        text.push_str(format!("{shard:>5}  {time:>10}  {count:>7} tests  {bar}").trim_end());
        text.push('\n');
    }
    text.push_str(&format!("imbalance: {:.2} % of the tests", info.count_imbalance_percent));
    if by_time {
        let wall = seconds(info.estimated_wall_time_ms);
        text.push_str(&format!(", {:.2} % of the time; estimated wall time {wall}\n", info.duration_imbalance_percent));
    } else {
        text.push_str("; no recorded times\n");
    }
    text
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.2} s", milliseconds as f64 / 1000.0)
}

/// (max - min) / max * 100, 0 where max is 0, rounded to 2 places.
fn imbalance_percent(sizes: &[u64]) -> f64 {
    match (sizes.iter().min(), sizes.iter().max()) {
        (Some(&min), Some(&max)) if max > 0 => ((max - min) as f64 / max as f64 * 10_000.0).round() / 100.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imbalance_is_a_share_of_the_largest() {
        assert_eq!(imbalance_percent(&[3, 2, 3]), 33.33);
        assert_eq!(imbalance_percent(&[5, 0]), 100.0);
        assert_eq!(imbalance_percent(&[0, 0]), 0.0);
        assert_eq!(imbalance_percent(&[]), 0.0);
    }
}
