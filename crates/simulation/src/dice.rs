//! The one source of chance: the same seed gives the same numbers, everywhere and always.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose what happens next.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `least` up to and without `end`.
    pub(crate) fn between(&mut self, least: i64, end: i64) -> i64 {
        let width = u64::try_from(end.saturating_sub(least)).unwrap_or(0).max(1);
        let offset = i64::try_from(self.roll() % width).unwrap_or(0);
        least.saturating_add(offset)
    }

    /// An index into something that has `count`.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        let index = self.between(0, i64::try_from(count).unwrap_or(i64::MAX));
        usize::try_from(index).unwrap_or(0)
    }

    /// One of them. There must be one.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Whether something happens that happens so many times in 10,000.
    pub(crate) fn happens(&mut self, in_ten_thousand: i64) -> bool {
        self.between(0, 10_000) < in_ten_thousand
    }

    /// The state, to tell whether two runs have gone the same way.
    pub(crate) const fn state(&self) -> u64 {
        self.0
    }
}
