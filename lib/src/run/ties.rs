//! Owns what keeps items from being given to anybody at any time: which stay together
//! on one worker, what they need, and which run alone. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::needs::{Needs, Thing};
use super::together::{Candidate, Joined, Load, choose};
use crate::server::{BriefItem, UsedFixture};
use crate::settings::{Dist, Settings};
use crate::unit::{Subject, UnitKey};

/// Ties of the items of a run.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// By item: the number of those that it stays together with; 0: of none. Empty where
    /// no items stay together.
    bonds: Vec<u32>,
    /// What they need.
    pub needs: Needs,
    /// Those that run alone, after all others.
    pub alone: HashSet<u32>,
    /// Fixtures whose tests stay together.
    pub kept: BTreeSet<String>,
}

impl Ties {
    /// Which others the item stays together with.
    pub(super) fn bond(&self, item: u32) -> Option<u32> {
        self.bonds.get(item as usize).copied().filter(|&bond| bond > 0)
    }

    /// Whether any items stay together.
    pub(super) fn any_bonds(&self) -> bool {
        !self.bonds.is_empty()
    }

    /// Whether the item is one of several that never run beside each other.
    pub(super) fn is_kept(&self, item: u32) -> bool {
        !self.needs.staying(&self.needs.of([item])).is_empty()
    }

    /// The ties of `load.order`. `fixtures`: who uses which.
    pub(super) fn of(
        items: &[BriefItem],
        load: &Load,
        fixtures: &[UsedFixture],
        settings: &Settings,
        dist: Dist,
    ) -> Ties {
        let requested: HashSet<u32> = match fixtures.is_empty() {
            true => HashSet::new(),
            false => load.order.iter().copied().collect(),
        };
        let members = |fixture: &UsedFixture| {
            let all = fixture.runs.iter().flat_map(|&(first, count)| first..first.saturating_add(count));
            let all: BTreeSet<u32> = all.filter(|item| requested.contains(item)).collect();
            all.into_iter().collect()
        };
        let candidates: Vec<Candidate> = fixtures
            .iter()
            .map(|fixture| Candidate { members: members(fixture), is_exclusive: fixture.is_exclusive })
            .collect();
        let neighbours = neighbours(items, load.order, dist);
        let marks = |item: u32| items[item as usize].marks.as_deref();
        let is_serial = |item: &u32| {
            let marked = marks(*item).is_some_and(|marks| marks.serial);
            marked || !settings.serial.is_empty() && settings.is_serial(&items[*item as usize].node_id)
        };
        let mut ties = Ties { alone: load.order.iter().copied().filter(is_serial).collect(), ..Ties::default() };
        let uses = |item: u32| marks(item).map_or(&[][..], |marks| &marks.uses);
        let any_uses = load.order.iter().any(|&item| !uses(item).is_empty());
        if candidates.is_empty() && neighbours.is_empty() && !any_uses {
            return ties;
        }
        let mut joined = Joined::new(items.len());
        neighbours.iter().for_each(|(_, members)| joined.join(members));
        let chosen = choose(&candidates, &mut joined, load, dist);
        ties.needs = Needs::new(items.len());
        let of_chosen = candidates.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(one, _)| &one.members);
        let of_groups = neighbours.iter().filter(|(is_group, _)| *is_group).map(|(_, members)| members);
        let exclusive: BTreeSet<u32> =
            of_chosen.chain(of_groups).filter_map(|members| members.first()).copied().collect();
        let names = fixtures.iter().zip(&chosen).filter(|(_, chosen)| **chosen);
        ties.kept = names.map(|(fixture, _)| fixture.name.clone()).collect();
        let exclusive: BTreeSet<u32> = exclusive.into_iter().map(|item| joined.root(item)).collect();
        let rights: HashMap<u32, u32> =
            exclusive.into_iter().map(|root| (root, ties.needs.add_thing(Thing { count: 1, stays: true }))).collect();
        let resources: BTreeMap<&str, u32> = settings
            .resources
            .iter()
            .map(|(name, &count)| (name.as_str(), ties.needs.add_thing(Thing { count, stays: false })))
            .collect();
        let mut sizes: HashMap<u32, u32> = HashMap::new();
        for &item in load.order {
            let root = joined.root(item);
            *sizes.entry(root).or_default() += 1;
            if let Some(&right) = rights.get(&root) {
                ties.needs.add_need(item, right);
            }
            for &resource in uses(item).iter().filter_map(|name| resources.get(name.as_str())) {
                ties.needs.add_need(item, resource);
            }
        }
        if sizes.values().any(|&size| size > 1) {
            let bond = |item: u32, joined: &mut Joined| {
                let root = joined.root(item);
                if sizes.get(&root).is_some_and(|&size| size > 1) { root + 1 } else { 0 }
            };
            ties.bonds = (0..items.len() as u32).map(|item| bond(item, &mut joined)).collect();
        }
        ties
    }
}

/// A test that names a fixture in its mark uses it, even if it asks for it only while it runs.
pub(super) fn add_marked(fixtures: &mut Vec<UsedFixture>, items: &[BriefItem], order: &[u32]) {
    for &item in order {
        let marks = items[item as usize].marks.as_deref();
        for name in marks.map_or(&[][..], |marks| &marks.exclusive) {
            match fixtures.iter_mut().find(|fixture| fixture.is_exclusive && fixture.name == *name) {
                Some(fixture) => fixture.runs.push((item, 1)),
                None => fixtures.push(UsedFixture { name: name.clone(), is_exclusive: true, runs: vec![(item, 1)] }),
            }
        }
    }
}

/// Items that stay together for their place or their xdist_group, and whether it is that.
fn neighbours(items: &[BriefItem], order: &[u32], dist: Dist) -> Vec<(bool, Vec<u32>)> {
    let by_place = matches!(dist, Dist::File | Dist::Class);
    let mut of_keys: BTreeMap<UnitKey, Vec<u32>> = BTreeMap::new();
    for &number in order {
        let item = &items[number as usize];
        if by_place || item.group.is_some() {
            let subject = Subject { node_id: &item.node_id, group: item.group.as_deref(), summary: None };
            of_keys.entry(UnitKey::of(&subject, dist.keep())).or_default().push(number);
        }
    }
    of_keys.into_iter().map(|(key, members)| (matches!(key, UnitKey::Group(_)), members)).collect()
}

/// A test that takes a resource of which the settings know nothing: its item and the name.
pub(super) fn unknown_resource<'a>(
    items: &'a [BriefItem],
    order: &[u32],
    settings: &Settings,
) -> Option<(&'a BriefItem, &'a str)> {
    order.iter().map(|&item| &items[item as usize]).find_map(|item| {
        let uses = &item.marks.as_deref()?.uses;
        let unknown = uses.iter().find(|name| !settings.resources.contains_key(name.as_str()))?;
        Some((item, unknown.as_str()))
    })
}

/// A test whose mark of rpt's own says what it cannot say: its item, and what is wrong.
pub(super) fn misused<'a>(items: &'a [BriefItem], order: &[u32]) -> Option<(&'a BriefItem, &'a str)> {
    let mut requested = order.iter().map(|&item| &items[item as usize]);
    requested.find_map(|item| Some((item, item.marks.as_deref()?.misuse.as_deref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Marks;

    fn item(id: &str, uses: &[&str]) -> BriefItem {
        let (node_id, group) = id.split_once('@').map_or((id, None), |(id, group)| (id, Some(group)));
        let uses: Vec<String> = uses.iter().map(ToString::to_string).collect();
        let marks = Marks { serial: node_id.ends_with("alone"), uses, ..Marks::default() };
        BriefItem {
            node_id: node_id.into(),
            group: group.map(Into::into),
            marks: Some(Box::new(marks)),
            location: None,
        }
    }

    fn ties(items: &[BriefItem], fixtures: &[UsedFixture], settings: &Settings, dist: Dist) -> Ties {
        let order: Vec<u32> = (0..items.len() as u32).collect();
        Ties::of(items, &Load { time: &|_| 1, order: &order, workers: 2, session: 0 }, fixtures, settings, dist)
    }

    fn fixture(name: &str, is_exclusive: bool, runs: &[(u32, u32)]) -> UsedFixture {
        UsedFixture { name: name.into(), is_exclusive, runs: runs.to_vec() }
    }

    #[test]
    fn an_untied_suite_costs_nothing() {
        let items = [item("a.py::f", &[]), item("a.py::g", &[])];
        let ties = ties(&items, &[], &Settings::default(), Dist::Auto);
        assert!(!ties.any_bonds() && ties.needs.is_empty() && ties.alone.is_empty());
        assert_eq!((ties.bond(1), ties.is_kept(1)), (None, false));
    }

    #[test]
    fn groups_fixtures_and_files_are_bonds_and_the_first_two_are_had_by_one_worker() {
        let items = [
            item("a.py::1@g", &[]),
            item("a.py::2", &[]),
            item("b.py::3@g", &[]),
            item("b.py::4", &[]),
            item("b.py::5", &[]),
        ];
        let server = [fixture("server", true, &[(2, 2)])];
        let of = |dist| {
            let ties = ties(&items, &server, &Settings::default(), dist);
            let bonds: Vec<Option<u32>> = (0..5).map(|item| ties.bond(item)).collect();
            (bonds, (0..5).map(|item| ties.is_kept(item)).collect::<Vec<bool>>())
        };
        let kept = vec![true, false, true, true, false];
        assert_eq!(of(Dist::Test), (vec![Some(1), None, Some(1), Some(1), None], kept));
        let all = vec![true, false, true, true, true];
        assert_eq!(of(Dist::File), (vec![Some(1), None, Some(1), Some(1), Some(1)], all));
        // One test that uses it is no bond, and still the only one at a time.
        let alone = ties(&items[3..], &[fixture("server", true, &[(0, 1)])], &Settings::default(), Dist::Auto);
        assert_eq!((alone.any_bonds(), alone.is_kept(0), alone.is_kept(1)), (false, true, false));
    }

    #[test]
    fn a_mark_that_names_a_fixture_is_a_use() {
        let mut items = [item("a.py::f", &[]), item("a.py::g", &[]), item("b.py::h", &[])];
        for (number, name) in [(0, "server"), (2, "other"), (1, "other")] {
            items[number].marks = Some(Box::new(Marks { exclusive: vec![name.into()], ..Marks::default() }));
        }
        let mut fixtures = vec![fixture("server", true, &[(2, 1)])];
        add_marked(&mut fixtures, &items, &[0, 1, 2]);
        assert_eq!(fixtures, [fixture("server", true, &[(2, 1), (0, 1)]), fixture("other", true, &[(1, 1), (2, 1)])]);
        let ties = ties(&items, &fixtures, &Settings::default(), Dist::Test);
        assert_eq!([0, 1, 2].map(|item| ties.bond(item)), [Some(1); 3]);
    }

    #[test]
    fn resources_and_tests_that_run_alone() {
        let settings = Settings {
            resources: [("db".to_string(), 1), ("gpu".to_string(), 2)].into(),
            serial: vec!["b.py".into()],
            ..Settings::default()
        };
        let items = [item("a.py::f", &["db"]), item("a.py::alone", &["gpu", "db"]), item("b.py::h", &[])];
        let ties = ties(&items, &[], &settings, Dist::Auto);
        assert_eq!(ties.alone, HashSet::from([1, 2]));
        assert_eq!((ties.needs.of([0]).len(), ties.needs.of([1]).len(), ties.needs.of([2]).len()), (1, 2, 0));
        assert!(!ties.is_kept(0));
        let order = [0, 1, 2];
        assert!(unknown_resource(&items, &order, &settings).is_none());
        let (test, name) = unknown_resource(&items, &order, &Settings::default()).unwrap();
        assert_eq!((&*test.node_id, name), ("a.py::f", "db"));
    }
}
