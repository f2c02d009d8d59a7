//! Owns the way between node ids and the class and test names of pytest's JUnit files. Pure.
//!
//! pytest writes `a/test_b.py::C::test_d[x]` as classname `a.test_b.C` and name `test_d[x]`
//! (its `mangle_test_address`), which loses where the file ends. Going back, in this order:
//! an id of which history knows that it is written like this; the `file` attribute (xunit1
//! has it); else the file ends at the last part that looks like a test file's name
//! (`test_*`, `*_test`), or, where none does, before the first part that begins in upper case.

use std::collections::HashMap;

use crate::test_id::TestId;

/// The node ids that history knows, by what pytest writes for them.
#[derive(Debug, Default)]
pub struct KnownIds {
    /// `None` where two ids are written alike.
    by_address: HashMap<(String, String), Option<String>>,
}

impl KnownIds {
    /// From what history knows.
    pub fn new(node_ids: impl IntoIterator<Item = String>) -> KnownIds {
        let mut by_address = HashMap::new();
        for node_id in node_ids {
            by_address.entry(address(&node_id)).and_modify(|known| *known = None).or_insert(Some(node_id));
        }
        KnownIds { by_address }
    }

    /// The node id of a test case.
    pub fn node_id(&self, classname: &str, name: &str, file: Option<&str>) -> String {
        let address = (classname.to_string(), name.to_string());
        if let Some(Some(known)) = self.by_address.get(&address) {
            return known.clone();
        }
        rebuild(classname, name, file)
    }
}

/// What pytest writes for a node id: classname and name.
pub fn address(node_id: &str) -> (String, String) {
    let id = TestId::parse(node_id);
    let module = id.file.strip_suffix(".py").unwrap_or(id.file).replace('/', ".");
    let mut parts = vec![module.as_str()];
    parts.extend(id.class_name().into_iter().flat_map(|classes| classes.split("::")));
    // Everything from the first bracket on belongs to the name, `::` in it included.
    let name = match node_id.split_once('[') {
        Some((_, params)) if id.params.is_some() => format!("{}[{params}", id.function()),
        _ => id.function().to_string(),
    };
    (parts.join("."), name)
}

/// The node id that is written so, as far as the names tell.
pub fn rebuild(classname: &str, name: &str, file: Option<&str>) -> String {
    let parts: Vec<&str> = classname.split('.').filter(|part| !part.is_empty()).collect();
    let (file, classes) = match file {
        Some(file) => {
            // The file says how many parts are its own. A class inherited from another file has none of them.
            let own = file.strip_suffix(".py").unwrap_or(file).replace(['/', '\\'], ".");
            let rest = classname.strip_prefix(own.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('.'));
            let count = match rest {
                Some(rest) => rest.split('.').filter(|part| !part.is_empty()).count(),
                None => parts.len() - module_length(&parts),
            };
            (file.replace('\\', "/"), &parts[parts.len() - count..])
        }
        None => {
            let length = module_length(&parts);
            (format!("{}.py", parts[..length].join("/")), &parts[length..])
        }
    };
    let names: Vec<&str> = classes.iter().copied().chain([name]).collect();
    if parts.is_empty() && file == ".py" {
        return name.to_string();
    }
    format!("{file}::{}", names.join("::"))
}

/// How many parts of a class name are the file's.
fn module_length(parts: &[&str]) -> usize {
    let is_test_file = |part: &&str| part.starts_with("test_") || part.ends_with("_test") || *part == "test";
    if let Some(at) = parts.iter().rposition(is_test_file) {
        return at + 1;
    }
    let class = parts.iter().position(|part| part.starts_with(char::is_uppercase));
    class.filter(|&at| at > 0).unwrap_or(parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (node_id, classname, name) in [
            ("a/test_b.py::test_c", "a.test_b", "test_c"),
            ("a/test_b.py::A::B::test_c", "a.test_b.A.B", "test_c"),
            ("a/test_b.py::test_c[x::y[0]]", "a.test_b", "test_c[x::y[0]]"),
            ("a/test_b.py::test_c[x/y.py]", "a.test_b", "test_c[x/y.py]"),
            ("a/b_test.py::TestA::test_c[]", "a.b_test.TestA", "test_c[]"),
            ("checks/cases.py::Suite::runs", "checks.cases.Suite", "runs"),
        ] {
            assert_eq!(address(node_id), (classname.to_string(), name.to_string()));
            assert_eq!(rebuild(classname, name, None), node_id);
            let file = TestId::parse(node_id).file;
            assert_eq!(rebuild(classname, name, Some(file)), node_id);
        }
    }

    #[test]
    fn what_history_knows_decides() {
        let odd = "a/lowercase.py::inner::check[1]".to_string();
        let known = KnownIds::new([odd.clone(), "x/y.py::f".to_string(), "x.y::f".to_string()]);
        assert_eq!(known.node_id("a.lowercase.inner", "check[1]", None), odd);
        // Written alike: nothing is known.
        assert_eq!(known.node_id("x.y", "f", None), "x/y.py::f");
        assert_eq!(known.node_id("", "f", None), "f");
        assert_eq!(known.node_id("base.test_z.T", "f", Some("a/test_b.py")), "a/test_b.py::T::f");
    }
}
