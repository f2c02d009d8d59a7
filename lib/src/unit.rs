//! Owns which tests stay together: what order and shard see of a test, and the
//! unit it belongs to. Pure: knows neither when a unit runs nor where.

use clap::ValueEnum;

use crate::summary::TestSummary;
use crate::test_id::{TestId, file_of};

/// What order and shard look at in a test.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// pytest's node id.
    pub node_id: &'a str,
    /// The name of its xdist_group mark.
    pub group: Option<&'a str>,
    /// What history knows of it; `None` where it was never seen.
    pub summary: Option<&'a TestSummary>,
}

/// `--keep`: the tests that share a fixture scope and so stay together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Keep {
    /// Each test by itself; xdist groups still stay together.
    #[default]
    #[value(alias = "group")]
    Test,
    /// The tests of one class; the functions of a file that are in no class.
    Class,
    /// The tests of one file.
    File,
}

impl Keep {
    /// The name on the command line and in a plan.
    pub fn name(self) -> &'static str {
        match self {
            Keep::Test => "test",
            Keep::Class => "class",
            Keep::File => "file",
        }
    }

    /// The scope of that name; none for any other text.
    pub fn from_name(name: &str) -> Option<Keep> {
        Keep::value_variants().iter().copied().find(|keep| keep.name() == name)
    }
}

/// What tests have in common that stay together. An xdist group is stronger
/// than any [`Keep`] and reaches across files, as `--dist loadgroup` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnitKey<'a> {
    /// The name of an xdist group.
    Group(&'a str),
    /// A file, a class's id, or a test's own id.
    Node(&'a str),
}

impl<'a> UnitKey<'a> {
    /// The unit of `subject` under `keep`. As in xdist's `loadscope`, functions
    /// outside a class are kept with their file's other functions.
    pub fn of(subject: &Subject<'a>, keep: Keep) -> UnitKey<'a> {
        if let Some(group) = subject.group {
            return UnitKey::Group(group);
        }
        let node_id = subject.node_id;
        match keep {
            Keep::Test => UnitKey::Node(node_id),
            Keep::File => UnitKey::Node(file_of(node_id)),
            Keep::Class => {
                let id = TestId::parse(node_id);
                let length = id.class_name().map_or(id.file.len(), |class| id.file.len() + "::".len() + class.len());
                UnitKey::Node(&node_id[..length])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_each_scope() {
        let of = |node_id, keep| UnitKey::of(&Subject { node_id, ..Subject::default() }, keep);
        for (node_id, class, file) in [
            ("a/t.py::f[x::y]", "a/t.py", "a/t.py"),
            ("a/t.py::C::f[1]", "a/t.py::C", "a/t.py"),
            ("a/t.py::C::D::f", "a/t.py::C::D", "a/t.py"),
            ("a/t.py", "a/t.py", "a/t.py"),
        ] {
            assert_eq!(of(node_id, Keep::Test), UnitKey::Node(node_id));
            assert_eq!(of(node_id, Keep::Class), UnitKey::Node(class));
            assert_eq!(of(node_id, Keep::File), UnitKey::Node(file));
        }
    }

    #[test]
    fn a_group_is_stronger_than_its_files() {
        for keep in [Keep::Test, Keep::Class, Keep::File] {
            let in_group = |node_id| UnitKey::of(&Subject { node_id, group: Some("db"), summary: None }, keep);
            assert_eq!(in_group("a.py::f"), in_group("b.py::C::g"));
        }
    }
}
