//! Tests of `plan`.

use proptest::prelude::*;

use super::*;
use crate::run::together::Load;
use crate::server::Marks;
use crate::settings::{Dist, Settings};

fn items(ids: &[&str]) -> Vec<BriefItem> {
    ids.iter()
        .map(|id| {
            let (node_id, group) = id.split_once('@').map_or((*id, None), |(id, group)| (id, Some(group)));
            BriefItem { node_id: node_id.into(), group: group.map(Into::into), marks: None, location: None }
        })
        .collect()
}

/// The ties of groups.
fn ties(items: &[BriefItem]) -> Ties {
    let order: Vec<u32> = (0..items.len() as u32).collect();
    let load = Load { time: &|_| 1, order: &order, workers: 2, session: 0 };
    Ties::of(items, &load, &[], &Settings::default(), Dist::Auto)
}

#[test]
fn neighbours_of_a_file_and_groups() {
    let items = items(&["a::1", "a::2", "b::1", "a::3", "b::2@g", "a::4", "c::1@g"]);
    let units = units(0..7, &items, &ties(&items));
    assert_eq!(units, [vec![0, 1], vec![2], vec![3], vec![4, 6], vec![5]]);
}

#[test]
fn a_cut_prefers_files_then_classes_and_keeps_groups() {
    let three = items(&["a::1", "a::2", "a::3", "b::1", "b::2", "b::3", "b::4", "b::5"]);
    assert_eq!(cut(&[0, 1, 2, 3, 4, 5, 6, 7], None, &three, &ties(&three)), Some(3));
    let classes = items(&["a::C::1", "a::C::2", "a::C::3", "a::D::1"]);
    assert_eq!(cut(&[0, 1, 2, 3], None, &classes, &ties(&classes)), Some(3));
    let group = items(&["a::1@g", "a::2@g", "a::3@g"]);
    assert_eq!(cut(&[1, 2], Some(0), &group, &ties(&group)), None);
    assert_eq!(cut(&[0], None, &group, &ties(&group)), Some(0));
    let mixed = items(&["a::1@g", "a::2@g", "a::3@g", "a::4"]);
    assert_eq!(cut(&[1, 2, 3], Some(0), &mixed, &ties(&mixed)), Some(2));
}

#[test]
fn one_file_is_spread_over_all_workers() {
    let five = items(&["a::1", "a::2", "a::3", "a::4", "a::5"]);
    let spread_over = |workers| spread(units(0..5, &five, &ties(&five)), workers, &five, &ties(&five));
    assert_eq!(spread_over(1), [vec![0, 1, 2, 3, 4]]);
    assert_eq!(spread_over(2), [vec![0, 1, 2], vec![3, 4]]);
    assert_eq!(spread_over(9).len(), 5);
    let group = items(&["a::1@g", "a::2@g"]);
    assert_eq!(spread(units(0..2, &group, &ties(&group)), 2, &group, &ties(&group)), [vec![0, 1]]);
    assert!(spread(VecDeque::new(), 2, &five, &Ties::default()).is_empty());
}

#[test]
fn neighbours_that_need_different_things_are_units_of_their_own() {
    let mut items = items(&["a::1", "a::2", "a::3", "a::4"]);
    for number in [1, 2] {
        items[number].marks = Some(Box::new(Marks { uses: vec!["db".into()], ..Marks::default() }));
    }
    let settings = Settings { resources: [("db".to_string(), 1)].into(), ..Settings::default() };
    let load = Load { time: &|_| 1, order: &[0, 1, 2, 3], workers: 2, session: 0 };
    let ties = Ties::of(&items, &load, &[], &settings, Dist::Auto);
    assert_eq!(units(0..4, &items, &ties), [vec![0], vec![1, 2], vec![3]]);
}

#[test]
fn ids_that_change_are_matched_by_place() {
    let same = same_tests(&["t::f[9:00]", "t::g", "t::f[9:01]"], &["t::f[9:05]", "t::f[9:06]", "t::g"]);
    assert_eq!(same, [Some(0), Some(2), Some(1)]);
    // One more than before: nobody can tell which is which.
    let unlike = same_tests(&["t::f[9:00]", "t::g"], &["t::f[9:05]", "t::f[9:06]", "t::g"]);
    assert_eq!(unlike, [None, Some(2)]);
}

proptest! {
    #[test]
    fn every_item_is_in_exactly_one_unit(kinds in proptest::collection::vec((0u8..4, 0u8..6), 0..60)) {
        let ids: Vec<String> = kinds.iter().enumerate().map(|(number, (file, group))| {
            if *group < 2 { format!("f{file}::t{number}@{group}") } else { format!("f{file}::t{number}") }
        }).collect();
        let items = items(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        let order: Vec<u32> = (0..items.len() as u32).collect();
        let units = units(order.iter().copied(), &items, &ties(&items));
        let mut seen: Vec<u32> = units.iter().flatten().copied().collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, order);
        for group in ["0", "1"] {
            let holders = units.iter().filter(|unit| unit.iter().any(|&n| items[n as usize].group.as_deref() == Some(group)));
            prop_assert!(holders.count() <= 1);
        }
    }

    #[test]
    fn a_cut_never_splits_a_group(kinds in proptest::collection::vec(0u8..3, 1..40)) {
        let ids: Vec<String> = kinds.iter().enumerate().map(|(number, group)| {
            if *group < 2 { format!("f::t{number}@{group}") } else { format!("f::t{number}") }
        }).collect();
        let items = items(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        let waiting: Vec<u32> = (1..items.len() as u32).collect();
        if let Some(at) = cut(&waiting, Some(0), &items, &ties(&items)) {
            let left = if at == 0 { 0 } else { waiting[at - 1] };
            let group = |number: u32| items[number as usize].group.clone();
            prop_assert!(group(left).is_none() || group(left) != group(waiting[at]));
        }
    }
}
