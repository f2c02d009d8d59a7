//! Owns `-k` and `-m`: pytest's grammar, what an expression selects, and pytest's own
//! words for one that is wrong. Pure.
//!
//! After `_pytest/mark/expression.py` and `_pytest/mark/__init__.py` of pytest 7.4, 8
//! and 9. What only Python can decide (a mark's argument with an equality of its own,
//! letters outside ASCII in a number, nesting that exhausts Python's stack) is
//! [`Refusal::Undecided`]: then pytest itself must be asked.

use thiserror::Error;

use crate::inventory::snapshot::{Equal, Selector};

/// Deeper nesting may exhaust the stack of Python's compiler, which is an error of its own.
const MAX_DEPTH: usize = 150;

/// Which of the two options an expression belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// `-k`
    Keyword,
    /// `-m`
    Marker,
}

/// pytest's version, as far as the grammar differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Marks may have keyword arguments (8.3 and later).
    pub arguments: bool,
    /// A backslash anywhere in the expression is reported, not the string's own (before 9).
    pub first_backslash: bool,
}

impl Dialect {
    /// That of a version such as `8.4.2`.
    pub fn of(pytest_version: &str) -> Dialect {
        let mut parts = pytest_version.split('.').map(|part| part.parse().unwrap_or(0));
        let version: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        Dialect { arguments: version >= (8, 3), first_backslash: version < (9, 0) }
    }
}

/// Why there is no selection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The expression is wrong; the text is pytest's own.
    #[error("{0}")]
    Wrong(String),
    /// Only pytest can tell.
    #[error("only pytest can tell")]
    Undecided,
}

/// An expression that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    flag: Flag,
    root: Node,
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Nothing,
    Name(String, Option<Vec<(String, Value)>>),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    /// Decimal, without leading zeros; True is 1, as in Python.
    Number(String),
    None,
}

impl Expression {
    /// Understands `text`, the option's value.
    pub fn parse(text: &str, flag: Flag, dialect: Dialect) -> Result<Expression, Refusal> {
        let characters: Vec<char> = text.chars().collect();
        let mut parser = Parser {
            text: &characters,
            at: 0,
            current: Token { kind: TokenKind::End, text: String::new(), at: 0 },
            dialect,
            names: Vec::new(),
            depth: 0,
        };
        let wrong = |fault: Fault| match fault {
            Fault::Undecided => Refusal::Undecided,
            Fault::At(at, message) => {
                let option = if flag == Flag::Keyword { "-k" } else { "-m" };
                Refusal::Wrong(format!(
                    "Wrong expression passed to '{option}': {text}: at column {}: {message}",
                    at + 1
                ))
            }
        };
        let root = parser.whole().map_err(wrong)?;
        Ok(Expression { flag, root, names: parser.names })
    }

    /// The names it uses.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it selects a test called `name` with this selector.
    pub fn selects(&self, name: &str, selector: &Selector) -> Result<bool, Refusal> {
        self.evaluate(&self.root, name, selector)
    }

    fn evaluate(&self, node: &Node, name: &str, selector: &Selector) -> Result<bool, Refusal> {
        Ok(match node {
            Node::Nothing => false,
            Node::Not(inner) => !self.evaluate(inner, name, selector)?,
            Node::And(left, right) => self.evaluate(left, name, selector)? && self.evaluate(right, name, selector)?,
            Node::Or(left, right) => self.evaluate(left, name, selector)? || self.evaluate(right, name, selector)?,
            Node::Name(word, arguments) => match (self.flag, arguments) {
                (Flag::Keyword, Some(_)) => {
                    return Err(Refusal::Wrong("Keyword expressions do not support call parameters.".to_string()));
                }
                (Flag::Keyword, None) => has_keyword(word, name, selector),
                (Flag::Marker, arguments) => has_mark(word, arguments.as_deref().unwrap_or_default(), selector)?,
            },
        })
    }
}

/// A name is matched anywhere in a test's names, whatever its case.
fn has_keyword(word: &str, name: &str, selector: &Selector) -> bool {
    let contains = |name: &str| {
        if word.is_ascii() && name.is_ascii() {
            let (word, name) = (word.as_bytes(), name.as_bytes());
            return name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        }
        name.to_lowercase().contains(&word.to_lowercase())
    };
    contains(name) || selector.0.iter().any(|name| contains(name))
}

fn has_mark(word: &str, arguments: &[(String, Value)], selector: &Selector) -> Result<bool, Refusal> {
    'marks: for (_, known) in selector.1.iter().filter(|(name, _)| name == word) {
        for (argument, value) in arguments {
            let Some((_, equal, text)) = known.iter().find(|(name, _, _)| name == argument) else {
                continue 'marks;
            };
            let same = match (equal, value) {
                (Equal::Unknown, _) => return Err(Refusal::Undecided),
                (Equal::Text, Value::Text(asked)) | (Equal::Number, Value::Number(asked)) => text == asked,
                (Equal::None, Value::None) => true,
                _ => false,
            };
            if !same {
                continue 'marks;
            }
        }
        return Ok(true);
    }
    Ok(false)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Open,
    Close,
    Or,
    And,
    Not,
    Name,
    End,
    Equal,
    Text,
    Comma,
}

impl TokenKind {
    /// As pytest calls it.
    fn shown(self) -> &'static str {
        match self {
            TokenKind::Open => "left parenthesis",
            TokenKind::Close => "right parenthesis",
            TokenKind::Or => "or",
            TokenKind::And => "and",
            TokenKind::Not => "not",
            TokenKind::Name => "identifier",
            TokenKind::End => "end of input",
            TokenKind::Equal => "=",
            TokenKind::Text => "string literal",
            TokenKind::Comma => ",",
        }
    }
}

#[derive(Debug, Clone)]
struct Token {
    kind: TokenKind,
    text: String,
    at: usize,
}

enum Fault {
    /// At a character, from 0.
    At(usize, String),
    Undecided,
}

/// Reads one token ahead and no further, so that of two mistakes the one is told that
/// pytest tells.
struct Parser<'a> {
    text: &'a [char],
    at: usize,
    current: Token,
    dialect: Dialect,
    names: Vec<String>,
    depth: usize,
}

impl Parser<'_> {
    fn whole(&mut self) -> Result<Node, Fault> {
        self.advance()?;
        if self.current.kind == TokenKind::End {
            return Ok(Node::Nothing);
        }
        let root = self.or()?;
        self.expect(&[TokenKind::End])?;
        Ok(root)
    }

    fn or(&mut self) -> Result<Node, Fault> {
        let mut left = self.and()?;
        let mut links = 0;
        while self.accept(TokenKind::Or)?.is_some() {
            left = Node::Or(Box::new(left), Box::new(self.and()?));
            links += 1;
            self.check_depth(links)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Node, Fault> {
        let mut left = self.not()?;
        let mut links = 0;
        while self.accept(TokenKind::And)?.is_some() {
            left = Node::And(Box::new(left), Box::new(self.not()?));
            links += 1;
            self.check_depth(links)?;
        }
        Ok(left)
    }

    fn check_depth(&self, more: usize) -> Result<(), Fault> {
        if self.depth + more > MAX_DEPTH { Err(Fault::Undecided) } else { Ok(()) }
    }

    fn not(&mut self) -> Result<Node, Fault> {
        self.depth += 1;
        self.check_depth(0)?;
        let node = self.not_inner();
        self.depth -= 1;
        node
    }

    fn not_inner(&mut self) -> Result<Node, Fault> {
        if self.accept(TokenKind::Not)?.is_some() {
            return Ok(Node::Not(Box::new(self.not()?)));
        }
        if self.accept(TokenKind::Open)?.is_some() {
            let inner = self.or()?;
            self.expect(&[TokenKind::Close])?;
            return Ok(inner);
        }
        let Some(name) = self.accept(TokenKind::Name)? else {
            return Err(self.refuse(&[TokenKind::Not, TokenKind::Open, TokenKind::Name]));
        };
        self.names.push(name.text.clone());
        if !self.dialect.arguments || self.accept(TokenKind::Open)?.is_none() {
            return Ok(Node::Name(name.text, None));
        }
        let mut arguments: Vec<(String, Value)> = Vec::new();
        loop {
            let argument = self.argument()?;
            if arguments.iter().any(|(known, _)| *known == argument.0) {
                // Python's compiler has its own words for it.
                return Err(Fault::Undecided);
            }
            arguments.push(argument);
            if self.accept(TokenKind::Comma)?.is_none() {
                break;
            }
        }
        self.expect(&[TokenKind::Close])?;
        Ok(Node::Name(name.text, Some(arguments)))
    }

    fn argument(&mut self) -> Result<(String, Value), Fault> {
        let name = self.expect(&[TokenKind::Name])?;
        if !name.text.is_ascii() {
            return Err(Fault::Undecided);
        }
        if !is_identifier(&name.text) {
            return Err(Fault::At(name.at, format!("not a valid python identifier {}", name.text)));
        }
        if PYTHON_KEYWORDS.contains(&name.text.as_str()) {
            return Err(Fault::At(name.at, format!("unexpected reserved python keyword `{}`", name.text)));
        }
        self.expect(&[TokenKind::Equal])?;
        if let Some(text) = self.accept(TokenKind::Text)? {
            let inner: Vec<char> = text.text.chars().collect();
            return Ok((name.text, Value::Text(inner[1..inner.len() - 1].iter().collect())));
        }
        let value = self.expect(&[TokenKind::Name])?;
        if !value.text.is_ascii() {
            return Err(Fault::Undecided);
        }
        let digits = value.text.strip_prefix('-').unwrap_or(&value.text);
        let value = match value.text.as_str() {
            "True" => Value::Number("1".to_string()),
            "False" => Value::Number("0".to_string()),
            "None" => Value::None,
            text if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                if digits.len() > MAX_DIGITS {
                    return Err(Fault::Undecided);
                }
                let plain = digits.trim_start_matches('0');
                match (plain, text.starts_with('-')) {
                    ("", _) => Value::Number("0".to_string()),
                    (plain, true) => Value::Number(format!("-{plain}")),
                    (plain, false) => Value::Number(plain.to_string()),
                }
            }
            text => return Err(Fault::At(value.at, format!("unexpected character/s \"{text}\""))),
        };
        Ok((name.text, value))
    }

    fn accept(&mut self, kind: TokenKind) -> Result<Option<Token>, Fault> {
        if self.current.kind != kind {
            return Ok(None);
        }
        let token = self.current.clone();
        if kind != TokenKind::End {
            self.advance()?;
        }
        Ok(Some(token))
    }

    fn expect(&mut self, kinds: &[TokenKind]) -> Result<Token, Fault> {
        match self.accept(kinds[0])? {
            Some(token) => Ok(token),
            None => Err(self.refuse(kinds)),
        }
    }

    fn refuse(&self, kinds: &[TokenKind]) -> Fault {
        let expected: Vec<&str> = kinds.iter().map(|kind| kind.shown()).collect();
        Fault::At(self.current.at, format!("expected {}; got {}", expected.join(" OR "), self.current.kind.shown()))
    }

    fn advance(&mut self) -> Result<(), Fault> {
        while matches!(self.text.get(self.at), Some(' ' | '\t')) {
            self.at += 1;
        }
        let start = self.at;
        let Some(&character) = self.text.get(start) else {
            self.current = Token { kind: TokenKind::End, text: String::new(), at: start };
            return Ok(());
        };
        let single = match character {
            '(' => Some(TokenKind::Open),
            ')' => Some(TokenKind::Close),
            '=' if self.dialect.arguments => Some(TokenKind::Equal),
            ',' if self.dialect.arguments => Some(TokenKind::Comma),
            _ => None,
        };
        let kind = if let Some(kind) = single {
            self.at += 1;
            kind
        } else if self.dialect.arguments && matches!(character, '\'' | '"') {
            self.text_token(character)?
        } else {
            while self.text.get(self.at).map(|&character| is_name_character(character)).transpose()?.unwrap_or(false) {
                self.at += 1;
            }
            if self.at == start {
                return Err(Fault::At(start, format!("unexpected character \"{character}\"")));
            }
            TokenKind::Name
        };
        let text: String = self.text[start..self.at].iter().collect();
        let kind = match (kind, text.as_str()) {
            (TokenKind::Name, "or") => TokenKind::Or,
            (TokenKind::Name, "and") => TokenKind::And,
            (TokenKind::Name, "not") => TokenKind::Not,
            _ => kind,
        };
        self.current = Token { kind, text, at: start };
        Ok(())
    }

    fn text_token(&mut self, quote: char) -> Result<TokenKind, Fault> {
        let start = self.at;
        let Some(length) = self.text[start + 1..].iter().position(|&character| character == quote) else {
            return Err(Fault::At(start, format!("closing quote \"{quote}\" is missing")));
        };
        self.at = start + length + 2;
        let inside = &self.text[start..self.at];
        let backslash = if self.dialect.first_backslash {
            // pytest 8 looks for it in the whole expression.
            self.text.iter().position(|&character| character == '\\')
        } else {
            inside.iter().position(|&character| character == '\\').map(|at| start + at)
        };
        match backslash {
            Some(at) => Err(Fault::At(at, "escaping with \"\\\" not supported in marker expression".to_string())),
            None => Ok(TokenKind::Text),
        }
    }
}

/// Longer numbers Python does not read (`sys.set_int_max_str_digits`).
const MAX_DIGITS: usize = 4000;

/// `(:?\w|:|\+|-|\.|\[|\]|\\|/)`. What `\w` is outside ASCII depends on Python's version
/// of Unicode: beyond the commonest letters only pytest can tell.
fn is_name_character(character: char) -> Result<bool, Fault> {
    if character.is_ascii() {
        return Ok(character.is_ascii_alphanumeric() || "_:+-.[]\\/".contains(character));
    }
    if is_letter(character) { Ok(true) } else { Err(Fault::Undecided) }
}

/// Letters that every version of Unicode has had: Latin, Greek, Cyrillic, kana, Han, Hangul.
fn is_letter(character: char) -> bool {
    matches!(character,
        '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{24f}' | '\u{391}'..='\u{3a1}' | '\u{3a3}'..='\u{3ce}'
        | '\u{401}' | '\u{410}'..='\u{44f}' | '\u{451}' | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}'
        | '\u{4e00}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7a3}')
}

fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `keyword.kwlist`.
const PYTHON_KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
    "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
    "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
