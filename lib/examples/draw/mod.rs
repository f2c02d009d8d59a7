//! Owns the random numbers of the simulations: the same in every run.

/// SplitMix64 and the Box-Muller transform: the same suites in every run.
pub(crate) struct Draw(u64);

impl Draw {
    /// The numbers that belong to `seed`.
    pub(crate) fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((value ^ (value >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, angle) = ((1.0 - self.uniform()).ln(), self.uniform() * std::f64::consts::TAU);
        (-2.0 * radius).sqrt() * angle.cos()
    }
}
