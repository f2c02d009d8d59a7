//! Owns whether importing a test file can be felt in other files. Pure.
//!
//! A file is contained when all that runs at its import defines functions and classes,
//! binds names of its own to values made of literals, names and a list of known
//! callables, and imports. What imports do may be felt elsewhere, so their text is
//! digested: as long as it is the same, so is what they do. Every other construct, and
//! whatever is not understood, makes a file not contained.

use serde::{Deserialize, Serialize};

use super::lexer::{Kind, Line, Token, has_odd_ends, lines};
use super::scope::{KEYWORDS, Scope, arguments, closes, first, is_binding, opens, targets};
use crate::inventory::hex_digest;

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

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Nothing but its imports can be felt outside.
    pub contained: bool,
    /// What it evaluates is the same whatever other files did before.
    pub settled: bool,
    /// Of the text of its imports.
    pub imports: String,
}

/// Looks at a file.
pub fn outline(source: &[u8]) -> Outline {
    let lines = lines(source);
    let mut scope = Scope::default();
    let outer = at_import(&lines);
    outer.iter().for_each(|line| scope.bind(line));
    let is_understood = !has_odd_ends(source) && outer.iter().all(|line| scope.allows(line));
    let contained = is_understood && !scope.makes_members(&outer);
    let settled = outer.iter().all(|line| scope.is_settled(line));
    let imports = outer
        .iter()
        .filter(|line| is_import(line))
        .flat_map(|line| line.tokens.iter().map(|token| token.text).chain(std::iter::once(&b"\n"[..])));
    Outline { contained, settled, imports: hex_digest(imports, 12) }
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
        let is_main = match &line.tokens[..] {
            [first, name, equal, more, main, colon] => {
                let is_comparison = name.is("__name__") && equal.is("=") && more.is("=");
                first.is("if") && is_comparison && main.kind == Kind::Text && colon.is(":")
            }
            _ => false,
        };
        if is_function || is_main {
            inside = Some(line.indent);
        }
        if !is_main {
            found.push(line);
        }
    }
    found
}

impl Scope {
    fn allows(&self, line: &Line) -> bool {
        let tokens = &line.tokens[..];
        if tokens.iter().any(|token| token.is(";")) {
            return false;
        }
        let ends_open = tokens.last().is_some_and(|token| token.is(":"));
        match first(line) {
            b"pass" => true,
            b"import" | b"from" => !tokens.iter().any(is_heard),
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
                let is_statement = !targets.is_empty() && !targets.iter().any(is_heard);
                is_statement && binds_once(tokens) && self.is_plain(tokens)
            }
        }
    }

    fn allows_function(&self, tokens: &[Token]) -> bool {
        let name = tokens.first().map_or(&b""[..], |token| token.text);
        if is_called(name) {
            return false;
        }
        // Defaults and annotations are evaluated; what follows the colon is not.
        let mut depth = 0;
        let end = tokens.iter().position(|token| {
            depth += i32::from(opens(token)) - i32::from(closes(token));
            depth == 0 && token.is(":")
        });
        end.and_then(|end| tokens.get(1..end)).is_some_and(|header| {
            // The parameters' own bracket is no call, and what they take in is not unpacked.
            !unpacks(header, 2) && self.calls_known(header)
        })
    }

    /// Whether there is an enumeration, whose members are made with its class and named by pytest, and
    /// methods that Python calls for that.
    fn makes_members(&self, lines: &[&Line]) -> bool {
        let is_member = |line: &Line| {
            line.tokens
                .split(|token| !token.is(".") && token.kind != Kind::Word)
                .any(|name| first(line) == b"class" && self.resolve(name).is_some_and(|full| full.starts_with("enum.")))
        };
        let is_called = |line: &Line| {
            let name = if first(line) == b"def" { line.tokens.get(1).copied() } else { targets(&line.tokens).pop() };
            name.is_some_and(|name| name.text[0] == b'_')
        };
        lines.iter().any(|line| is_member(line)) && lines.iter().any(|line| is_called(line))
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

    /// Whether evaluating `tokens` calls nothing but known callables.
    fn is_plain(&self, tokens: &[Token]) -> bool {
        !unpacks(tokens, 1) && self.calls_known(tokens)
    }

    fn calls_known(&self, tokens: &[Token]) -> bool {
        tokens.iter().enumerate().all(|(index, token)| {
            if token.is_formatted() {
                return !token.text.contains(&b'(') && !token.is_cut();
            }
            if token.is("await") || token.is("yield") {
                return false;
            }
            let is_called = ["ids", "key", "scope"].iter().any(|name| token.is(name));
            if is_called && tokens.len() > index + 1 && is_binding(tokens, index + 1) {
                return self.calls_nothing(&tokens[index + 2..]);
            }
            !token.is("(") || index == 0 || self.may_open(tokens, index)
        })
    }

    /// Whether what follows `ids=`, `key=` or `scope=`, which is called if it can be, is none of
    /// the file's own or imported functions.
    fn calls_nothing(&self, tokens: &[Token]) -> bool {
        let Some(begin) = tokens.first() else {
            return false;
        };
        let mut depth = 0;
        let end = tokens.iter().position(|token| {
            depth += i32::from(opens(token)) - i32::from(closes(token));
            depth <= 0
        });
        let after = end.and_then(|end| tokens.get(end + 1));
        let is_whole = after.is_none_or(|next| next.is(",") || next.is(")"));
        if begin.is("lambda") || begin.is("None") {
            return begin.is("lambda") || is_whole;
        }
        let is_value = match begin.kind {
            Kind::Text => true,
            Kind::Word => {
                let is_own = self.assigned.contains(begin.text) && !self.callable.contains(begin.text);
                is_own || self.is_known(&tokens[..1])
            }
            // `(name)` is the name.
            Kind::Sign => begin.is("[") || (begin.is("(") && tokens.get(1).is_some_and(|next| next.kind == Kind::Text)),
        };
        is_value && is_whole
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
                let name = &tokens[start..index];
                self.is_known(name) && !self.resolve(name).is_some_and(|name| takes_function(&name, &tokens[index..]))
            }
        }
    }
}

/// Whether pytest looks for this name in a test file and acts on it, whatever it is bound to.
fn is_heard(token: &Token) -> bool {
    token.is("pytest_plugins") || (token.kind == Kind::Word && is_called(token.text))
}

fn is_called(name: &[u8]) -> bool {
    CALLED_AT_COLLECTION.iter().any(|called| called.as_bytes() == name)
}

/// Whether the statement has one `=`: what others bind, `a = b.c = 1`, may be felt elsewhere.
fn binds_once(tokens: &[Token]) -> bool {
    let mut depth = 0;
    let binding = (0..tokens.len()).filter(|index| {
        depth += i32::from(opens(&tokens[*index])) - i32::from(closes(&tokens[*index]));
        depth == 0 && is_binding(tokens, *index)
    });
    binding.count() <= 1
}

/// Whether `**` takes a dictionary apart, in so many brackets or more: it may hold any argument.
fn unpacks(tokens: &[Token], least: i32) -> bool {
    let mut depth = 0;
    tokens.windows(3).any(|three| {
        depth += i32::from(opens(&three[0])) - i32::from(closes(&three[0]));
        depth >= least && (three[0].is("(") || three[0].is(",")) && three[1].is("*") && three[2].is("*")
    })
}

/// Whether the call that opens here hands a function over that is called: `raises(E, f)`, and the names
/// of `parametrize("x", [1], False, f)`.
fn takes_function(name: &str, call: &[Token]) -> bool {
    let values = match name.rsplit('.').next() {
        Some("raises") => 1,
        Some("parametrize") => 3,
        _ => return false,
    };
    arguments(call).iter().filter(|argument| !binds_at(argument)).count() > values
}

fn binds_at(argument: &[Token]) -> bool {
    argument.len() > 1 && is_binding(argument, 1)
}

#[cfg(test)]
#[path = "effect_tests.rs"]
mod tests;
