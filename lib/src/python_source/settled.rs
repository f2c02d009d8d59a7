//! Owns whether what a test file evaluates at its import is the same wherever it is imported. Pure.
//!
//! A line is settled when it evaluates literals, names of its own file, and what Python and pytest
//! give to everybody. What other modules hold may be otherwise after other test files were
//! imported: a registry has more entries, a package one more module, the environment a variable.
//! So nothing else is settled but an imported name in an annotation, of which no test comes.
//! What pytest makes of imported names themselves is looked at where the file is collected
//! (`is_borrowed` in `shim/rpt_shim/dependencies.py`).
//! That test files leave Python's and pytest's own names as they are is taken for granted.

use super::lexer::{Kind, Line, Token, words};
use super::scope::{KEYWORDS, Scope, closes, first, is_binding, is_python_s, opens, targets};

/// Modules whose names nobody changes, and that hold nothing of anybody else.
const FIXED_MODULES: [&str; 26] = [
    "abc",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "io",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "pathlib",
    "pytest",
    "re",
    "string",
    "struct",
    "textwrap",
    "types",
    "typing",
    "unittest",
    "uuid",
];

/// The same of single names.
const FIXED_NAMES: [&str; 18] = [
    "os.path",
    "os.path.join",
    "os.path.dirname",
    "os.path.basename",
    "os.path.sep",
    "os.sep",
    "os.linesep",
    "os.pathsep",
    "os.name",
    "os.PathLike",
    "sys.builtin_module_names",
    "sys.byteorder",
    "sys.float_info",
    "sys.implementation",
    "sys.maxsize",
    "sys.maxunicode",
    "sys.platform",
    "sys.version_info",
];

/// Functions that look at the current folder, but not for a path that begins with a slash.
const OF_PATHS: [&str; 2] = ["os.path.abspath", "os.path.realpath"];

/// What Python binds by itself, besides what `scope` knows.
const GIVEN: [&str; 22] = [
    "True",
    "False",
    "None",
    "Ellipsis",
    "NotImplemented",
    "__debug__",
    "__file__",
    "__name__",
    "callable",
    "divmod",
    "filter",
    "format",
    "hash",
    "id",
    "iter",
    "map",
    "memoryview",
    "next",
    "open",
    "pow",
    "print",
    "property",
];

impl Scope {
    /// Whether the line, one that runs at import, evaluates the same everywhere.
    pub(super) fn is_settled(&self, line: &Line) -> bool {
        let tokens = &line.tokens[..];
        match first(line) {
            b"import" | b"from" => !tokens.last().is_some_and(|token| token.is("*")),
            b"pass" => true,
            // Whether an import fails is told by what is there, too.
            b"try" | b"except" | b"finally" => false,
            _ if tokens.iter().any(|token| token.is("importorskip")) => self.settles_skip(tokens),
            b"def" => self.settles_function(&tokens[1..]),
            b"async" => self.settles_function(tokens.get(2..).unwrap_or_default()),
            b"class" => self.settles(tokens.get(2..).unwrap_or_default(), 0),
            b"@" => self.settles(&tokens[1..], 0),
            _ => {
                let targets = targets(tokens).len();
                // With commas between them.
                let after = if targets > 0 { 2 * targets - 1 } else { 0 };
                let (annotation, value) = match tokens.get(after) {
                    Some(token) if targets > 0 && token.is(":") => {
                        let value = tokens.iter().position(|token| token.is("=")).unwrap_or(tokens.len());
                        (&tokens[after + 1..value], &tokens[value..])
                    }
                    _ => (&tokens[..0], &tokens[after..]),
                };
                self.settles_annotation(annotation) && self.settles(value, 0)
            }
        }
    }

    /// Of `name = pytest.importorskip("module")`, whose value is imported; of nothing else with it.
    fn settles_skip(&self, tokens: &[Token]) -> bool {
        let start = tokens.iter().position(|token| token.is("=")).filter(|_| targets(tokens).len() == 1);
        let call = &tokens[start.map_or(0, |start| start + 1)..];
        let open = call.iter().position(|token| token.is("(")).unwrap_or(call.len());
        let (name, arguments) = call.split_at(open);
        let has_one_bracket = arguments.iter().filter(|token| token.is("(")).count() == 1;
        let is_last = arguments.last().is_some_and(|token| token.is(")"));
        let is_it = self.resolve(name).is_some_and(|name| name == "pytest.importorskip");
        is_it && has_one_bracket && is_last && self.settles(arguments, 0)
    }

    /// Of a function from its name on.
    fn settles_function(&self, tokens: &[Token]) -> bool {
        // Names of types have a scope of their own.
        if !tokens.get(1).is_some_and(|token| token.is("(")) {
            return false;
        }
        let mut depth = 0;
        // What began where, of the pieces between the parameters' names.
        let (mut is_annotation, mut is_name, mut start) = (false, false, 0);
        for (index, token) in tokens.iter().enumerate().skip(1) {
            depth += i32::from(opens(token)) - i32::from(closes(token));
            let ends_header = depth == 0 && token.is(":");
            let begins_another = depth == 1 && matches!(token.text, b"," | b":" | b"=") && token.kind == Kind::Sign;
            let ends_parameters = depth == 0 && closes(token);
            if !(index == 1 || begins_another || ends_parameters || ends_header) {
                continue;
            }
            if index > 1 && !is_name {
                let piece = &tokens[start..index];
                let is_settled = if is_annotation { self.settles_annotation(piece) } else { self.settles(piece, 1) };
                if !is_settled {
                    return false;
                }
            }
            if ends_header {
                return true;
            }
            // What a function returns is between the parameters' end and the header's.
            is_annotation = token.is(":") || ends_parameters;
            is_name = token.is(",") || index == 1;
            start = index + 1;
        }
        false
    }

    /// Of an annotation: bare names are whatever they are.
    fn settles_annotation(&self, tokens: &[Token]) -> bool {
        self.walk(tokens, 1, true)
    }

    /// Of an expression in so many brackets.
    fn settles(&self, tokens: &[Token], depth: i32) -> bool {
        self.walk(tokens, depth, false)
    }

    fn walk(&self, tokens: &[Token], mut depth: i32, bare_names: bool) -> bool {
        for (index, token) in tokens.iter().enumerate() {
            depth += i32::from(opens(token)) - i32::from(closes(token));
            let is_settled = match token.kind {
                Kind::Sign => true,
                // A text that stands for a type is not evaluated.
                Kind::Text => !token.is_formatted() || words(token.text).all(|word| !self.imported.contains_key(word)),
                Kind::Word => {
                    let follows = |sign: &str| index > 0 && tokens[index - 1].is(sign);
                    let is_keyword = depth > 0 && tokens.len() > index + 1 && is_binding(tokens, index + 1);
                    follows(".")
                        || follows("as")
                        || is_keyword
                        || token.text[0].is_ascii_digit()
                        || KEYWORDS.iter().any(|keyword| token.is(keyword))
                        || self.is_fixed(&tokens[index..], bare_names)
                }
            };
            if !is_settled {
                return false;
            }
        }
        true
    }

    /// Whether the name at the start of `tokens` is the same everywhere.
    fn is_fixed(&self, tokens: &[Token], bare_names: bool) -> bool {
        let root = tokens[0].text;
        let is_own = self.defined.contains(root) || self.assigned.contains(root);
        let is_imported = self.imported.contains_key(root);
        // A class may bind what its file imports.
        if is_own || !is_imported {
            let given = GIVEN.iter().any(|name| name.as_bytes() == root) || is_python_s(root);
            return !is_imported && (is_own || given);
        }
        let mut end = 1;
        while end + 1 < tokens.len() && tokens[end].is(".") && tokens[end + 1].kind == Kind::Word {
            end += 2;
        }
        if end == 1 && bare_names {
            return true;
        }
        let Some(full) = self.resolve(&tokens[..end]) else {
            return false;
        };
        let mut names = full.split('.');
        let module = names.next().unwrap_or_default();
        // A module's own imports: `pathlib.os.environ`.
        if names.any(|name| name == "os" || name == "sys" || name == "importorskip") {
            return false;
        }
        FIXED_MODULES.contains(&module)
            || FIXED_NAMES.contains(&&*full)
            || full.starts_with("sys.version_info.")
            || (OF_PATHS.contains(&&*full) && self.is_of_this_file(&tokens[end..]))
    }

    /// Whether the first value in this call's brackets is where the file lies: `(__file__)`,
    /// `(os.path.dirname(__file__))`.
    fn is_of_this_file(&self, call: &[Token]) -> bool {
        let Some([open, rest @ ..]) = Some(call).filter(|call| !call.is_empty()) else {
            return false;
        };
        if !open.is("(") {
            return false;
        }
        if rest.first().is_some_and(|token| token.is("__file__")) {
            return rest.get(1).is_some_and(|next| next.is(")") || next.is(","));
        }
        let end = rest.iter().position(|token| token.is("(")).unwrap_or(0);
        let full = self.resolve(&rest[..end]);
        full.is_some_and(|full| full.starts_with("os.path.")) && self.is_of_this_file(&rest[end..])
    }
}

#[cfg(test)]
#[path = "settled_tests.rs"]
mod tests;
