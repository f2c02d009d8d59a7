//! Owns which names in a project's settings match nothing, as far as that can be known: a part
//! of a suite says nothing of names that the rest may have. Pure: what exists is an argument.

use std::path::{Component, Path};

use crate::settings::Settings;
use crate::test_id::{TestId, file_of, is_within};

/// What is known of the collection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'a> {
    /// Of a file of which there is an item, all items are there.
    pub files_are_whole: bool,
    /// Every file of the project was collected.
    pub is_whole: bool,
    /// Names that were looked for among the fixtures, and that none has.
    pub unknown_fixtures: &'a [String],
}

/// One line for each name that matches nothing. `exists`: whether there is such a file or
/// folder at pytest's rootdir.
pub(super) fn unmatched(
    settings: &Settings,
    ids: &[&str],
    extent: Extent,
    exists: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    let place = &settings.place;
    for id in &settings.serial {
        let file = file_of(id);
        let is_below = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_below && file != "." {
            notes.push(format!("{place}: serial names {id:?}, but node ids are relative to pytest's rootdir"));
        } else if !exists(file) {
            notes.push(format!("{place}: serial names {id:?}, but there is no such file or folder"));
        } else if extent.files_are_whole
            && !TestId::parse(id).names.is_empty()
            && ids.iter().any(|known| file_of(known) == file)
            && !ids.iter().any(|known| is_within(known, id))
        {
            notes.push(format!("{place}: serial names {id:?}, but no test of that file is it"));
        }
    }
    for name in settings.exclusive.iter().filter(|name| extent.is_whole && extent.unknown_fixtures.contains(name)) {
        notes.push(format!("{place}: exclusive names {name:?}, but there is no such fixture"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files_are_whole: bool, is_whole: bool) -> Vec<String> {
        let settings = Settings {
            place: "rpt.toml".into(),
            serial: [
                "t",
                "t/a.py",
                "t/gone.py",
                "t/a.py::f",
                "t/a.py::gone",
                "t/b.py::f",
                "/r/t/a.py",
                "../t/a.py",
                ".",
            ]
            .map(String::from)
            .into(),
            exclusive: vec!["server".into(), "servr".into()],
            ..Settings::default()
        };
        let unknown_fixtures = ["servr".to_string()];
        let extent = Extent { files_are_whole, is_whole, unknown_fixtures: &unknown_fixtures };
        let exists = |path: &str| ["t", "t/a.py", "t/b.py"].contains(&path);
        let notes = unmatched(&settings, &["t/a.py::f[1]", "t/a.py::g"], extent, |path| path == "." || exists(path));
        notes.into_iter().map(|note| note.replace("rpt.toml: ", "")).collect()
    }

    #[test]
    fn what_matches_nothing_is_told_where_it_is_known() {
        let always = [
            "serial names \"t/gone.py\", but there is no such file or folder",
            "serial names \"/r/t/a.py\", but node ids are relative to pytest's rootdir",
            "serial names \"../t/a.py\", but node ids are relative to pytest's rootdir",
        ];
        assert_eq!(told(false, false), always);
        let of_file = "serial names \"t/a.py::gone\", but no test of that file is it";
        assert_eq!(told(true, false), [always[0], of_file, always[1], always[2]]);
        let fixture = "exclusive names \"servr\", but there is no such fixture";
        assert_eq!(told(true, true), [always[0], of_file, always[1], always[2], fixture]);
    }
}
