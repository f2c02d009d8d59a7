//! Owns the grammar of a pytest node id. Pure: never looks at the file system.
//!
//! `path/to/test_a.py::TestClass::test_name[param]`: the path ends at the first
//! `::`, the parameters begin at the first `[` after it, and both may hold
//! anything else, `::` and brackets included.

/// A node id taken apart; every part borrows from the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestId<'a> {
    /// The file, relative to pytest's rootdir, with `/`.
    pub file: &'a str,
    /// Everything between the file and the parameters: `TestClass::test_name`; empty for a file's own id.
    pub names: &'a str,
    /// The text inside the outermost brackets, if there are any.
    pub params: Option<&'a str>,
}

impl<'a> TestId<'a> {
    /// Takes `node_id` apart. Never fails: an id without `::` is a file or a folder.
    pub fn parse(node_id: &'a str) -> TestId<'a> {
        // Every test of a suite comes by here: half the time of a search for a text.
        let bytes = node_id.as_bytes();
        let Some(end) = memchr::memchr_iter(b':', bytes).find(|&at| bytes.get(at + 1) == Some(&b':')) else {
            return TestId { file: node_id, names: "", params: None };
        };
        let (file, rest) = (&node_id[..end], &node_id[end + 2..]);
        match rest.split_once('[') {
            None => TestId { file, names: rest, params: None },
            Some((names, params)) => TestId { file, names, params: Some(params.strip_suffix(']').unwrap_or(params)) },
        }
    }

    /// The class (or nested classes, joined with `::`), if the test is in one.
    pub fn class_name(&self) -> Option<&'a str> {
        self.names.rsplit_once("::").map(|(classes, _)| classes)
    }

    /// The name of the function or method, without parameters; empty for a file.
    pub fn function(&self) -> &'a str {
        self.names.rsplit_once("::").map_or(self.names, |(_, function)| function)
    }
}

/// The file of a node id: what stands before the first `::`.
pub fn file_of(node_id: &str) -> &str {
    TestId::parse(node_id).file
}

/// Whether the node `node_id` is `ancestor` itself or lies below it: a file below
/// a folder, a class below its file, a case `f[1]` below its function `f`.
pub fn is_within(node_id: &str, ancestor: &str) -> bool {
    let ancestor = ancestor.strip_suffix('/').unwrap_or(ancestor);
    if ancestor.is_empty() || ancestor == "." {
        return true;
    }
    let Some(rest) = node_id.strip_prefix(ancestor) else {
        return false;
    };
    match rest.as_bytes() {
        [] => true,
        [b':', b':', ..] => !ancestor.contains('['),
        [b'[', ..] => ancestor.contains("::") && !ancestor.contains('['),
        [b'/', ..] => !ancestor.contains("::"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let id = TestId::parse("a/test_b.py::A::B::test_c[x::y[0]-z]");
        assert_eq!(id.file, "a/test_b.py");
        assert_eq!(id.class_name(), Some("A::B"));
        assert_eq!(id.function(), "test_c");
        assert_eq!(id.params, Some("x::y[0]-z"));
        let file = TestId::parse("a/test[1].py");
        assert_eq!((file.file, file.names, file.params), ("a/test[1].py", "", None));
        let empty = TestId::parse("t.py::test_e[]");
        assert_eq!((empty.function(), empty.params, empty.class_name()), ("test_e", Some(""), None));
    }

    #[test]
    fn ancestry() {
        for (id, ancestor, expected) in [
            ("a/t.py::f", "a/t.py::f", true),
            ("a/t.py::f[1]", "a/t.py::f", true),
            ("a/t.py::f[1]", "a/t.py::f[1]", true),
            ("a/t.py::f[1][2]", "a/t.py::f[1]", false),
            ("a/t.py::ff", "a/t.py::f", false),
            ("a/t.py::C::f", "a/t.py::C", true),
            ("a/t.py::C::f", "a/t.py", true),
            ("a/t.py::C::f", "a", true),
            ("a/t.py::C::f", "a/", true),
            ("a/t.py::C::f", ".", true),
            ("ab/t.py::C::f", "a", false),
            ("a/t.pyx::f", "a/t.py", false),
        ] {
            assert_eq!(is_within(id, ancestor), expected, "{id} within {ancestor}");
        }
    }
}
