//! Owns what becomes of a unit whose node is gone. Pure.

/// So many nodes may a unit take down before its tests are tried one by one.
const TOGETHER: i16 = 2;

/// What becomes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Somebody else runs it.
    Again,
    /// Each of its tests is run by itself.
    Split,
    /// It is one test, and nodes do not survive it: it failed.
    Fail,
}

/// What becomes of a unit of `tests` tests that has now taken down so many nodes. Whichever of them it
/// was is tried alone once more before it is given up: a node may also be taken away by others.
pub(super) fn fate(takedowns: i16, tests: usize) -> Fate {
    match (takedowns, tests) {
        (..TOGETHER, _) => Fate::Again,
        (_, 2..) => Fate::Split,
        (TOGETHER, _) => Fate::Again,
        _ => Fate::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_then_one_by_one_then_no_more() {
        assert_eq!([1, 2, 3].map(|takedowns| fate(takedowns, 5)), [Fate::Again, Fate::Split, Fate::Split]);
        assert_eq!(
            [1, 2, 3, 9].map(|takedowns| fate(takedowns, 1)),
            [Fate::Again, Fate::Again, Fate::Fail, Fate::Fail]
        );
    }
}
