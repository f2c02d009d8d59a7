//! Owns whether importing a test file can be felt in other files. Pure.
//!
//! A file is contained when all that runs at its import defines functions and classes,
//! binds names of its own to values made of literals, names and a list of known
//! callables, and imports. What imports do may be felt elsewhere, so their text is
//! digested: as long as it is the same, so is what they do. Every other construct, and
//! whatever is not understood, makes a file not contained.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::lexer::{Kind, Line, Token, lines};
use crate::inventory::hex_digest;

/// Calls that change nothing outside what they return, by their full names.
const KNOWN: [&str; 68] = [
    "pytest.param",
    "pytest.fixture",
    "pytest.importorskip",
    "pytest.raises",
    "os.path.join",
    "os.path.dirname",
    "os.path.abspath",
    "os.path.realpath",
    "os.path.basename",
    "os.environ.get",
    "os.getenv",
    "pathlib.Path",
    "pathlib.PurePath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "re.compile",
    "re.escape",
    "itertools.product",
    "itertools.chain",
    "itertools.combinations",
    "itertools.permutations",
    "functools.partial",
    "collections.namedtuple",
    "collections.OrderedDict",
    "typing.NamedTuple",
    "typing.TypeVar",
    "typing.NewType",
    "typing.cast",
    "decimal.Decimal",
    "fractions.Fraction",
    "datetime.date",
    "datetime.datetime",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "uuid.UUID",
    "dataclasses.dataclass",
    "dataclasses.field",
    "logging.getLogger",
    "textwrap.dedent",
    "unittest.skip",
    "unittest.skipIf",
    "unittest.skipUnless",
    "unittest.expectedFailure",
    "unittest.mock.patch",
    "unittest.mock.patch.object",
    "unittest.mock.patch.dict",
    "unittest.mock.Mock",
    "unittest.mock.MagicMock",
    "mock.patch",
    "mock.patch.object",
    "mock.patch.dict",
    "hypothesis.given",
    "hypothesis.settings",
    "hypothesis.example",
    "contextlib.suppress",
    "math.sqrt",
    "operator.itemgetter",
    "operator.attrgetter",
    "string.Template",
    "types.SimpleNamespace",
    "ipaddress.ip_address",
    "ipaddress.ip_network",
    "fractions.gcd",
    "struct.pack",
    "struct.calcsize",
    "json.dumps",
    "sys.getsizeof",
];

/// Known modules of which everything may be called.
const KNOWN_MODULES: [&str; 2] = ["pytest.mark.", "hypothesis.strategies."];

/// The same of Python's own names.
const BUILTINS: [&str; 38] = [
    "range",
    "len",
    "list",
    "tuple",
    "dict",
    "set",
    "frozenset",
    "sorted",
    "reversed",
    "zip",
    "enumerate",
    "str",
    "int",
    "float",
    "bool",
    "bytes",
    "bytearray",
    "complex",
    "repr",
    "abs",
    "min",
    "max",
    "sum",
    "any",
    "all",
    "round",
    "chr",
    "ord",
    "isinstance",
    "issubclass",
    "hasattr",
    "object",
    "slice",
    "staticmethod",
    "classmethod",
    "property",
    "super",
    "ascii",
];

/// Classes whose subclasses nobody keeps count of.
const KNOWN_BASES: [&str; 16] = [
    "object",
    "Exception",
    "ValueError",
    "TypeError",
    "RuntimeError",
    "dict",
    "list",
    "str",
    "int",
    "unittest.TestCase",
    "unittest.IsolatedAsyncioTestCase",
    "enum.Enum",
    "enum.IntEnum",
    "typing.NamedTuple",
    "typing.Protocol",
    "typing.Generic",
];

/// Functions that pytest or Python calls while a file is collected.
const CALLED_AT_COLLECTION: [&str; 7] = [
    "pytest_generate_tests",
    "load_tests",
    "__getattr__",
    "__init_subclass__",
    "__set_name__",
    "__class_getitem__",
    "__prepare__",
];

const KEYWORDS: [&str; 16] = [
    "and", "or", "not", "in", "is", "if", "else", "lambda", "for", "return", "assert", "elif", "except", "as", "from",
    "import",
];

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Nothing but its imports can be felt outside.
    pub contained: bool,
    /// Of the text of its imports.
    pub imports: String,
}

/// Looks at a file.
pub fn outline(source: &[u8]) -> Outline {
    let lines = lines(source);
    let mut scope = Scope::default();
    let outer = at_import(&lines);
    outer.iter().for_each(|line| scope.bind(line));
    let contained = outer.iter().all(|line| scope.allows(line));
    let imports = outer
        .iter()
        .filter(|line| is_import(line))
        .flat_map(|line| line.tokens.iter().map(|token| token.text).chain(std::iter::once(&b"\n"[..])));
    Outline { contained, imports: hex_digest(imports, 12) }
}

fn first<'a>(line: &'a Line) -> &'a [u8] {
    line.tokens.first().map_or(b"", |token| token.text)
}

fn is_import(line: &Line) -> bool {
    matches!(first(line), b"import" | b"from") || line.tokens.iter().any(|token| token.is("importorskip"))
}

/// The lines that run when the file is imported: all but those inside functions and
/// behind `if __name__ == "__main__":`.
fn at_import<'a, 'b>(lines: &'b [Line<'a>]) -> Vec<&'b Line<'a>> {
    let mut inside = None;
    let mut found = Vec::new();
    for line in lines {
        if inside.is_some_and(|indent| line.indent > indent) {
            continue;
        }
        inside = None;
        let is_function = matches!(first(line), b"def" | b"async");
        let is_main = first(line) == b"if" && line.tokens.get(1).is_some_and(|token| token.is("__name__"));
        if is_function || is_main {
            inside = Some(line.indent);
        }
        if !is_main {
            found.push(line);
        }
    }
    found
}

/// The names of a file.
#[derive(Default)]
struct Scope {
    /// Imported ones, with what they stand for; empty where two imports differ.
    imported: HashMap<Vec<u8>, String>,
    /// Functions and classes defined here.
    defined: HashSet<Vec<u8>>,
    /// Bound to values.
    assigned: HashSet<Vec<u8>>,
}

impl Scope {
    fn bind(&mut self, line: &Line) {
        let tokens = &line.tokens;
        match first(line) {
            b"import" | b"from" => self.bind_import(tokens),
            b"def" | b"class" => self.defined.extend(tokens.get(1).map(|token| token.text.to_vec())),
            b"async" => self.defined.extend(tokens.get(2).map(|token| token.text.to_vec())),
            _ => self.assigned.extend(targets(tokens).iter().map(|token| token.text.to_vec())),
        }
    }

    fn bind_import(&mut self, tokens: &[Token]) {
        let text = |token: &Token| String::from_utf8_lossy(token.text).into_owned();
        let (module, names) = match tokens.iter().position(|token| token.is("import")) {
            Some(at) if at > 0 => (Some(tokens[1..at].iter().map(text).collect::<String>()), &tokens[at + 1..]),
            _ => (None, &tokens[1..]),
        };
        for name in names.split(|token| token.is(",")) {
            let name: Vec<&Token> = name.iter().filter(|token| !token.is("(") && !token.is(")")).collect();
            let renamed = name.iter().position(|token| token.is("as"));
            let whole: String = name[..renamed.unwrap_or(name.len())].iter().map(|token| text(token)).collect();
            let Some(local) = renamed.map_or(name.first(), |at| name.get(at + 1)) else {
                continue;
            };
            let stands_for = match (&module, renamed) {
                (Some(module), _) => format!("{module}.{whole}"),
                (None, Some(_)) => whole,
                // `import a.b` binds `a`.
                (None, None) => text(local),
            };
            self.imported
                .entry(local.text.to_vec())
                .and_modify(|known| {
                    if *known != stands_for {
                        known.clear();
                    }
                })
                .or_insert(stands_for);
        }
    }

    fn allows(&self, line: &Line) -> bool {
        let tokens = &line.tokens[..];
        if tokens.iter().any(|token| token.is(";")) {
            return false;
        }
        let ends_open = tokens.last().is_some_and(|token| token.is(":"));
        match first(line) {
            b"import" | b"from" | b"pass" => true,
            b"@" => self.is_known_callable(&tokens[1..]) && self.is_plain(tokens),
            b"def" => self.allows_function(&tokens[1..]),
            b"async" => tokens.get(1).is_some_and(|token| token.is("def")) && self.allows_function(&tokens[2..]),
            b"class" => self.allows_class(tokens),
            b"if" | b"elif" | b"else" | b"try" | b"except" | b"finally" => ends_open && self.is_plain(tokens),
            b"assert" => self.is_plain(tokens),
            _ if tokens.iter().all(|token| token.kind == Kind::Text && !token.is_formatted()) => true,
            b"." => tokens.len() == 3,
            _ if tokens.iter().any(|token| token.is("importorskip")) && targets(tokens).is_empty() => {
                self.is_known_callable(tokens) && self.is_plain(tokens)
            }
            _ => {
                let targets = targets(tokens);
                !targets.is_empty() && !targets.iter().any(|token| token.is("pytest_plugins")) && self.is_plain(tokens)
            }
        }
    }

    fn allows_function(&self, tokens: &[Token]) -> bool {
        let name = tokens.first().map_or(&b""[..], |token| token.text);
        if CALLED_AT_COLLECTION.iter().any(|called| called.as_bytes() == name) {
            return false;
        }
        // Defaults and annotations are evaluated; what follows the colon is not.
        let mut depth = 0;
        let end = tokens.iter().position(|token| {
            depth += i32::from(opens(token)) - i32::from(closes(token));
            depth == 0 && token.is(":")
        });
        end.is_some_and(|end| {
            // The parameters' own bracket is no call.
            self.is_plain(&tokens[1..end])
        })
    }

    fn allows_class(&self, tokens: &[Token]) -> bool {
        let bases = match tokens {
            [_, _, colon] if colon.is(":") => return true,
            [_, _, open, bases @ .., close, colon] if open.is("(") && close.is(")") && colon.is(":") => bases,
            _ => return false,
        };
        bases.split(|token| token.is(",")).filter(|base| !base.is_empty()).all(|base| {
            let is_local = base.len() == 1 && self.defined.contains(base[0].text);
            let resolved = self.resolve(base);
            is_local || resolved.is_some_and(|name| KNOWN_BASES.contains(&name.as_str()))
        })
    }

    /// What the dotted name `tokens` stands for; `None` for anything else, and for a
    /// name bound here.
    fn resolve(&self, tokens: &[Token]) -> Option<String> {
        let is_dotted = tokens.len() % 2 == 1
            && tokens.iter().enumerate().all(|(index, token)| match index % 2 {
                0 => token.kind == Kind::Word,
                _ => token.is("."),
            });
        if !is_dotted {
            return None;
        }
        let root = tokens[0].text;
        if self.defined.contains(root) || self.assigned.contains(root) {
            return None;
        }
        let start = match self.imported.get(root) {
            Some(known) if known.is_empty() => return None,
            Some(known) => known.clone(),
            None => String::from_utf8_lossy(root).into_owned(),
        };
        let rest: String = tokens[1..].iter().map(|token| String::from_utf8_lossy(token.text)).collect();
        Some(start + &rest)
    }

    /// Whether the dotted name at the start of `tokens` is a known callable.
    fn is_known_callable(&self, tokens: &[Token]) -> bool {
        let end = tokens.iter().position(|token| token.is("(")).unwrap_or(tokens.len());
        self.is_known(&tokens[..end])
    }

    fn is_known(&self, name: &[Token]) -> bool {
        let Some(full) = self.resolve(name) else {
            return false;
        };
        let is_builtin = name.len() == 1 && !self.imported.contains_key(name[0].text) && BUILTINS.contains(&&*full);
        is_builtin || KNOWN.contains(&&*full) || KNOWN_MODULES.iter().any(|module| full.starts_with(module))
    }

    /// Whether evaluating `tokens` calls nothing but known callables.
    fn is_plain(&self, tokens: &[Token]) -> bool {
        tokens.iter().enumerate().all(|(index, token)| {
            if token.is_formatted() {
                return !token.text.contains(&b'(');
            }
            if token.is("await") || token.is("yield") {
                return false;
            }
            if (token.is("ids") || token.is("key")) && tokens.get(index + 1).is_some_and(|next| next.is("=")) {
                return self.calls_nothing(&tokens[index + 2..]);
            }
            !token.is("(") || index == 0 || self.may_open(tokens, index)
        })
    }

    /// Whether what follows `ids=` or `key=`, which is called if it can be, is none of
    /// the file's own or imported functions.
    fn calls_nothing(&self, tokens: &[Token]) -> bool {
        match tokens {
            [name, rest @ ..] if name.kind == Kind::Word => {
                let ends = rest.first().is_none_or(|next| next.is(",") || next.is(")"));
                let is_value = self.assigned.contains(name.text);
                name.is("lambda") || (ends && (is_value || self.is_known(&tokens[..1])))
            }
            [open, ..] => open.is("[") || open.is("("),
            [] => false,
        }
    }

    /// Whether the bracket at `index` groups, or calls something known.
    fn may_open(&self, tokens: &[Token], index: usize) -> bool {
        let before = &tokens[index - 1];
        match before.kind {
            Kind::Text => false,
            Kind::Sign => !matches!(before.text, b")" | b"]" | b"}"),
            Kind::Word if KEYWORDS.iter().any(|keyword| before.is(keyword)) => true,
            Kind::Word => {
                let mut start = index - 1;
                while start >= 2 && tokens[start - 1].is(".") && tokens[start - 2].kind == Kind::Word {
                    start -= 2;
                }
                if start >= 2 && tokens[start - 1].is(".") {
                    // A method: of a literal text it changes nothing.
                    return tokens[start - 2].kind == Kind::Text && start == index - 1;
                }
                self.is_known(&tokens[start..index])
            }
        }
    }
}

fn opens(token: &Token) -> bool {
    token.is("(") || token.is("[") || token.is("{")
}

fn closes(token: &Token) -> bool {
    token.is(")") || token.is("]") || token.is("}")
}

/// The plain names that the statement binds: `a = …`, `a, b = …`, `a: T = …`; none for
/// every other statement.
fn targets<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let is_name = |token: &Token| token.kind == Kind::Word && !token.text[0].is_ascii_digit();
    let mut names = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match index % 2 {
            0 if is_name(token) => names.push(*token),
            1 if token.is(",") => {}
            1 if token.is("=") && tokens.get(index + 1).is_some_and(|next| !next.is("=")) => return names,
            1 if token.is(":") && index == 1 => return names,
            _ => return Vec::new(),
        }
    }
    Vec::new()
}

#[cfg(test)]
#[path = "effect_tests.rs"]
mod tests;
