//! Owns what the names in a Python source stand for, as far as its text tells. Pure.

use std::collections::{HashMap, HashSet};

use super::lexer::{Kind, Line, Token};

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
const BUILTINS: [&str; 37] = [
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
    "super",
    "ascii",
];

/// Words between which brackets group.
pub(super) const KEYWORDS: [&str; 16] = [
    "and", "or", "not", "in", "is", "if", "else", "lambda", "for", "return", "assert", "elif", "except", "as", "from",
    "import",
];

/// The names of a file.
#[derive(Default)]
pub(super) struct Scope {
    /// Imported ones, with what they stand for; empty where two imports differ, and of `importorskip`.
    pub(super) imported: HashMap<Vec<u8>, String>,
    /// Functions and classes defined here.
    pub(super) defined: HashSet<Vec<u8>>,
    /// Bound to values.
    pub(super) assigned: HashSet<Vec<u8>>,
    /// Those of them that may be functions.
    pub(super) callable: HashSet<Vec<u8>>,
}

impl Scope {
    /// Takes in what the line binds.
    pub(super) fn bind(&mut self, line: &Line) {
        let tokens = &line.tokens;
        match first(line) {
            b"import" | b"from" => self.bind_import(tokens),
            b"def" | b"class" => self.defined.extend(tokens.get(1).map(|token| token.text.to_vec())),
            b"async" => self.defined.extend(tokens.get(2).map(|token| token.text.to_vec())),
            _ if tokens.iter().any(|token| token.is("importorskip")) => {
                for target in targets(tokens) {
                    self.imported.insert(target.text.to_vec(), String::new());
                }
            }
            _ => {
                let bound = targets(tokens).into_iter().map(|token| token.text.to_vec());
                if !is_container(tokens) {
                    self.callable.extend(bound.clone());
                }
                self.assigned.extend(bound);
            }
        }
        // A name may be one thing here and another there: whatever it is, it is no known one.
        let within: Vec<Vec<u8>> = bound_within(tokens).map(|token| token.text.to_vec()).collect();
        self.callable.extend(within.iter().cloned());
        self.assigned.extend(within);
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

    /// What the dotted name `tokens` stands for; `None` for anything else, and for a
    /// name bound here.
    pub(super) fn resolve(&self, tokens: &[Token]) -> Option<String> {
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
    pub(super) fn is_known_callable(&self, tokens: &[Token]) -> bool {
        let end = tokens.iter().position(|token| token.is("(")).unwrap_or(tokens.len());
        self.is_known(&tokens[..end])
    }

    /// Whether the whole name is.
    pub(super) fn is_known(&self, name: &[Token]) -> bool {
        let Some(full) = self.resolve(name) else {
            return false;
        };
        let is_builtin = name.len() == 1 && !self.imported.contains_key(name[0].text) && BUILTINS.contains(&&*full);
        is_builtin || KNOWN.contains(&&*full) || KNOWN_MODULES.iter().any(|module| full.starts_with(module))
    }
}

/// Its first token's text.
pub(super) fn first<'a>(line: &'a Line) -> &'a [u8] {
    line.tokens.first().map_or(b"", |token| token.text)
}

/// Names that an expression binds: of comprehensions, of lambdas and by `:=`.
fn bound_within<'a, 'b>(tokens: &'b [Token<'a>]) -> impl Iterator<Item = &'b Token<'a>> {
    let mut end = "";
    tokens.iter().enumerate().filter_map(move |(index, token)| {
        if token.is("for") || token.is("lambda") {
            end = if token.is("for") { "in" } else { ":" };
            return None;
        }
        if token.is(end) {
            end = "";
        }
        let follows = |at: usize, sign: &str| tokens.get(index + at).is_some_and(|next| next.is(sign));
        let is_bound = !end.is_empty() || (index > 0 && follows(1, ":") && follows(2, "="));
        (is_bound && token.kind == Kind::Word).then_some(token)
    })
}

/// The arguments of the call that opens at the first token.
pub(super) fn arguments<'a, 'b>(call: &'b [Token<'a>]) -> Vec<&'b [Token<'a>]> {
    let mut depth = 0;
    let end = call.iter().position(|token| {
        depth += i32::from(opens(token)) - i32::from(closes(token));
        depth == 0
    });
    let inside = call.get(1..end.unwrap_or(call.len())).unwrap_or_default();
    let mut depth = 0;
    let pieces = inside.split(|token| {
        depth += i32::from(opens(token)) - i32::from(closes(token));
        depth == 0 && token.is(",")
    });
    pieces.filter(|piece| !piece.is_empty()).collect()
}

/// Whether the sign at `index` binds: no comparison, and no `:=`.
pub(super) fn is_binding(tokens: &[Token], index: usize) -> bool {
    let is_part = |token: &Token, signs: &[&str]| signs.iter().any(|sign| token.is(sign));
    tokens[index].is("=")
        && !tokens.get(index + 1).is_some_and(|next| next.is("="))
        && !(index > 0 && is_part(&tokens[index - 1], &["=", "<", ">", "!", ":"]))
}

/// Whether what the statement binds is a list, a tuple, a set, a dictionary or a text, as far as it begins.
fn is_container(tokens: &[Token]) -> bool {
    let value = tokens.iter().position(|token| token.is("=")).map(|at| &tokens[at + 1..]);
    let is_constant = |token: &Token| token.kind == Kind::Text || token.text[0].is_ascii_digit();
    match value {
        Some([open, inside, ..]) if open.is("(") => is_constant(inside),
        Some([first, ..]) => first.kind == Kind::Text || first.is("[") || first.is("{"),
        _ => false,
    }
}

/// Whether Python itself gives this name: what is called of it here, and its exceptions.
pub(super) fn is_python_s(name: &[u8]) -> bool {
    let is_exception = [&b"Error"[..], b"Exception", b"Warning"].iter().any(|end| name.ends_with(end));
    is_exception || name == b"type" || BUILTINS.iter().any(|known| known.as_bytes() == name)
}

pub(super) fn opens(token: &Token) -> bool {
    token.is("(") || token.is("[") || token.is("{")
}

pub(super) fn closes(token: &Token) -> bool {
    token.is(")") || token.is("]") || token.is("}")
}

/// The plain names that the statement binds: `a = …`, `a, b = …`, `a: T = …`; none for
/// every other statement.
pub(super) fn targets<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
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
