//! Owns the tests of a plan: the same list for all nodes, whatever the order in which each collected
//! them, and how a node finds its own items by it. Pure.

use sha2::{Digest, Sha256};

/// The most tests of a plan.
pub const MAX_TESTS: usize = 10_000_000;

/// The most bytes of a plan's ids, as they are kept.
pub const MAX_BYTES: usize = 256 << 20;

/// Ids in sorted order, each as often as it was collected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    ids: Vec<Box<str>>,
}

impl Listing {
    /// The listing of `tests` (ids, in the order in which they were collected), and for each of its
    /// numbers the place of that test among them.
    pub fn of(tests: &[&str]) -> (Listing, Vec<u32>) {
        let mut places: Vec<u32> = (0..tests.len() as u32).collect();
        // Equal ids stay as they were collected.
        places.sort_by_key(|&place| tests[place as usize]);
        (Listing { ids: places.iter().map(|&place| tests[place as usize].into()).collect() }, places)
    }

    /// How many tests.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of a number.
    pub fn id(&self, number: u32) -> Option<&str> {
        self.ids.get(number as usize).map(|id| &**id)
    }

    /// SHA-256 over the length (8 bytes, big-endian) and the text of each id.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for id in &self.ids {
            hasher.update((id.len() as u64).to_be_bytes());
            hasher.update(id.as_bytes());
        }
        hasher.finalize().into()
    }

    /// The ids as they are kept: msgpack.
    pub fn packed(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        rmp_serde::to_vec(&self.ids)
    }

    /// The listing that was packed.
    pub fn unpacked(bytes: &[u8]) -> Result<Listing, rmp_serde::decode::Error> {
        rmp_serde::from_slice(bytes).map(|ids| Listing { ids })
    }

    /// What only this one holds, and what only the other.
    pub fn differences(&self, other: &Listing) -> (Vec<Box<str>>, Vec<Box<str>>) {
        let (mut ours, mut theirs) = (self.ids.iter().peekable(), other.ids.iter().peekable());
        let (mut only_ours, mut only_theirs) = (Vec::new(), Vec::new());
        loop {
            match (ours.peek(), theirs.peek()) {
                (Some(one), Some(other)) if one == other => {
                    ours.next();
                    theirs.next();
                }
                (Some(one), other) if other.is_none_or(|other| one < other) => only_ours.extend(ours.next().cloned()),
                (_, Some(_)) => only_theirs.extend(theirs.next().cloned()),
                (_, None) => return (only_ours, only_theirs),
            }
        }
    }
}

/// Numbers of tests as a unit keeps them: four bytes each, little-endian.
pub(super) fn pack_numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The numbers again. `None`: no numbers of a plan with so many tests, each once.
pub(super) fn unpack_numbers(bytes: &[u8], tests: usize) -> Option<Vec<u32>> {
    let (parts, rest) = bytes.as_chunks::<4>();
    let numbers: Vec<u32> = parts.iter().map(|part| u32::from_le_bytes(*part)).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let is_sound = rest.is_empty() && sorted.len() == numbers.len() && !numbers.is_empty();
    (is_sound && sorted.last().is_none_or(|last| (*last as usize) < tests)).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_of_collection_makes_no_difference() {
        let (one, places) = Listing::of(&["b", "a", "b", "c"]);
        assert_eq!(places, [1, 0, 2, 3]);
        let (other, _) = Listing::of(&["c", "b", "b", "a"]);
        assert_eq!((&one, one.digest()), (&other, other.digest()));
        assert_eq!(Listing::unpacked(&one.packed().unwrap()).unwrap(), one);
        assert_ne!(one.digest(), Listing::of(&["a", "b", "c"]).0.digest());
        assert_ne!(Listing::of(&["ab", "c"]).0.digest(), Listing::of(&["a", "bc"]).0.digest());
        assert_eq!((one.id(0), one.id(3), one.id(4)), (Some("a"), Some("c"), None));
    }

    #[test]
    fn numbers_that_make_no_sense_are_none() {
        assert_eq!(unpack_numbers(&pack_numbers(&[3, 0, 2]), 4), Some(vec![3, 0, 2]));
        for (bytes, tests) in [(pack_numbers(&[4]), 4), (pack_numbers(&[1, 1]), 4), (vec![0; 5], 4), (vec![], 4)] {
            assert_eq!(unpack_numbers(&bytes, tests), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn differences_are_those_of_the_sets(
            ours in proptest::collection::vec("[a-c]{1,2}", 0..20),
            theirs in proptest::collection::vec("[a-c]{1,2}", 0..20),
        ) {
            let listing = |ids: &[String]| Listing::of(&ids.iter().map(String::as_str).collect::<Vec<_>>()).0;
            let (only_ours, only_theirs) = listing(&ours).differences(&listing(&theirs));
            // Taking away what only one has and adding what only the other has gives the other.
            let mut left: Vec<Box<str>> = ours.iter().map(|id| id.as_str().into()).collect();
            for id in &only_ours {
                let place = left.iter().position(|one| one == id).unwrap();
                left.remove(place);
            }
            left.extend(only_theirs);
            left.sort();
            let mut theirs: Vec<Box<str>> = theirs.iter().map(|id| id.as_str().into()).collect();
            theirs.sort();
            prop_assert_eq!(left, theirs);
        }
    }
}
