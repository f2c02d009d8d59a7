//! Owns whether one source may use another. Pure, and wide: a name in an import, after
//! a dot or in a string is a use, and so is every way of importing by a name that is
//! put together.

use super::lexer::{Kind, has_odd_ends, lines, words};

/// Ways to a module that need not name it.
const ROUNDABOUT: [&str; 14] = [
    "import_module",
    "__import__",
    "spec_from_file_location",
    "run_path",
    "run_module",
    "exec_module",
    "load_module",
    "SourceFileLoader",
    "walk_packages",
    "iter_modules",
    "exec",
    "eval",
    "getsource",
    "modules",
];

/// Whether `source` may use the module `name`, whose package is `package`.
pub fn may_use(source: &[u8], name: &str, package: &str) -> bool {
    uses(source, name, package, true)
}

/// Whether `source` names the module `name`, whose package is `package`. Not wide: whoever
/// imports what it does not name is not found.
pub fn names(source: &[u8], name: &str, package: &str) -> bool {
    uses(source, name, package, false)
}

fn uses(source: &[u8], name: &str, package: &str, roundabout: bool) -> bool {
    let is_module = |word: &[u8]| word == name.as_bytes();
    if has_odd_ends(source) {
        return true;
    }
    for line in lines(source) {
        let first = line.tokens.first();
        let is_import = first.is_some_and(|token| token.is("import") || token.is("from"));
        let is_star = is_import && line.tokens.last().is_some_and(|token| token.is("*"));
        if is_star {
            // `from package import *` gives what the package holds, its modules too.
            let from = line.tokens.iter().rev().find(|token| !token.is("*") && !token.is("import"));
            if from.is_some_and(|token| token.is(".") || token.text == package.as_bytes()) {
                return true;
            }
        }
        for (index, token) in line.tokens.iter().enumerate() {
            let after_dot = index > 0 && line.tokens[index - 1].is(".");
            let used = match token.kind {
                Kind::Sign => false,
                Kind::Text => words(token.text).any(is_module),
                // Also where an import stands behind a colon or a semicolon.
                Kind::Word => {
                    is_module(token.text) && (after_dot || line.tokens.iter().any(|token| token.is("import")))
                }
            };
            let is_roundabout = token.kind == Kind::Word && ROUNDABOUT.iter().any(|way| way.as_bytes() == token.text);
            if used || (roundabout && is_roundabout) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_names_it_or_may_come_to_it_otherwise_uses_it() {
        for source in [
            "import test_a",
            "from tests import test_a as a",
            "if x: from test_a import y",
            "from . import *",
            "from tests import *",
            "pytest_plugins = ['tests.test_a']",
            "tests.test_a.x",
        ] {
            assert!(may_use(source.as_bytes(), "test_a", "tests"), "{source}");
            assert!(names(source.as_bytes(), "test_a", "tests"), "{source}");
        }
        assert!(names(b"# why\rimport test_b\r", "test_a", "tests"));
        let source = b"m = importlib.import_module(n); import test_a";
        assert!(names(source, "test_a", "tests") && !names(source, "test_b", "tests"));
        assert!(may_use(b"m = importlib.import_module(n)", "test_a", "tests"));
        for source in ["def test_a(): pass", "from helpers import *", "# test_a", "import test_ab", "test_a = 1"] {
            assert!(!may_use(source.as_bytes(), "test_a", "tests"), "{source}");
        }
    }
}
