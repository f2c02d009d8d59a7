//! Owns what tests need that there is only so much of, and whether a worker may be given
//! some of it while others hold what they hold. Pure: who holds what is an argument.
//!
//! A worker has all that an item needs before the item is put into its pipe, at once or
//! not at all, and never waits for more while it holds some. So whoever holds something
//! gets on by itself and no two workers can wait for each other.

/// A thing that there is only so much of: a resource by name, or the right to a fixture
/// or group that one worker has at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thing {
    /// How many workers may hold it at a time, at least 1.
    pub count: u32,
    /// Whoever had an item that needs it holds it until all that it set up is torn down;
    /// else until the last such item that it was given has ended.
    pub stays: bool,
}

/// What every item needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Needs {
    things: Vec<Thing>,
    /// By item: the place of what it needs among `sets`. Empty where nobody needs anything.
    of_item: Vec<u32>,
    /// Things in ascending order; the first is empty.
    sets: Vec<Vec<u32>>,
}

/// Things, in ascending order.
pub(super) type Held = Vec<u32>;

impl Needs {
    /// Needs of `items` items, of which nobody needs anything yet.
    pub(super) fn new(items: usize) -> Needs {
        Needs { things: Vec::new(), of_item: vec![0; items], sets: vec![Vec::new()] }
    }

    /// A new thing.
    pub(super) fn add_thing(&mut self, thing: Thing) -> u32 {
        self.things.push(thing);
        self.things.len() as u32 - 1
    }

    /// The item needs that thing, too.
    pub(super) fn add_need(&mut self, item: u32, thing: u32) {
        let mut wanted = self.sets[self.of_item[item as usize] as usize].clone();
        insert(&mut wanted, &[thing]);
        let place = self.sets.iter().rposition(|set| *set == wanted).unwrap_or_else(|| {
            self.sets.push(wanted);
            self.sets.len() - 1
        });
        self.of_item[item as usize] = place as u32;
    }

    /// Whether nobody needs anything.
    pub(super) fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// Whether both need the same.
    pub(super) fn are_alike(&self, one: u32, other: u32) -> bool {
        self.is_empty() || self.of_item[one as usize] == self.of_item[other as usize]
    }

    /// What any of `items` needs.
    pub(super) fn of(&self, items: impl IntoIterator<Item = u32>) -> Held {
        let mut all = Held::new();
        if self.is_empty() {
            return all;
        }
        let mut last = 0;
        for item in items {
            // Neighbours mostly need the same.
            let place = self.of_item[item as usize];
            if place != last {
                insert(&mut all, &self.sets[place as usize]);
                last = place;
            }
        }
        all
    }

    /// Those of `held` that stay with whoever had them.
    pub(super) fn staying(&self, held: &[u32]) -> Held {
        held.iter().copied().filter(|&thing| self.things[thing as usize].stays).collect()
    }

    /// Whether a worker that holds `own` may be given what is `wanted` beside `others`.
    pub(super) fn are_free(&self, wanted: &[u32], own: &[u32], others: &[Held]) -> bool {
        wanted.iter().all(|thing| {
            let holders = || others.iter().filter(|held| held.binary_search(thing).is_ok()).count();
            own.binary_search(thing).is_ok() || holders() < self.things[*thing as usize].count as usize
        })
    }
}

/// Adds `more` to `held`.
pub(super) fn insert(held: &mut Held, more: &[u32]) {
    for thing in more {
        if let Err(place) = held.binary_search(thing) {
            held.insert(place, *thing);
        }
    }
}

#[cfg(test)]
#[path = "needs_tests.rs"]
mod tests;
