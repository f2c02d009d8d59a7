//! Owns cutting a Python source into logical lines of tokens. Pure. Lenient: what is
//! no Python gives some tokens too, and an error nowhere.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// A string, its quotes and prefix included.
    Text,
    /// One character of punctuation.
    Sign,
}

/// A piece of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its bytes.
    pub text: &'a [u8],
}

impl Token<'_> {
    /// Whether it is this word or sign.
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text.as_bytes()
    }

    /// Whether it is a string with expressions in it, of which one ends elsewhere: later versions of Python
    /// let an expression hold the quotes that it stands in.
    pub fn is_cut(&self) -> bool {
        let count = |sign: u8| self.text.iter().filter(|byte| **byte == sign).count();
        self.is_formatted() && count(b'{') != count(b'}')
    }

    /// Whether it is a string with expressions in it.
    pub fn is_formatted(&self) -> bool {
        let prefix = self.text.iter().take_while(|byte| byte.is_ascii_alphabetic());
        self.kind == Kind::Text && prefix.into_iter().any(|byte| matches!(byte, b'f' | b'F' | b't' | b'T'))
    }
}

/// A logical line: one statement, or several with `;` between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Columns before it; a tab goes to the next multiple of eight.
    pub indent: usize,
    /// At least one.
    pub tokens: Vec<Token<'a>>,
}

/// The logical lines of `source`.
pub fn lines(source: &[u8]) -> Vec<Line<'_>> {
    let mut lexer = Lexer { source, at: 0 };
    // A byte order mark.
    if source.starts_with(b"\xef\xbb\xbf") {
        lexer.at = 3;
    }
    let mut found = Vec::new();
    while let Some(line) = lexer.line() {
        if !line.tokens.is_empty() {
            found.push(line);
        }
    }
    found
}

/// Whether lines end, or go on, in a way that `lines` does not follow: at a carriage return alone, or
/// behind a backslash before one.
pub fn has_odd_ends(source: &[u8]) -> bool {
    source.iter().enumerate().any(|(at, byte)| {
        let is_behind_backslash = at > 0 && source[at - 1] == b'\\';
        *byte == b'\r' && (is_behind_backslash || source.get(at + 1) != Some(&b'\n'))
    })
}

/// The words in `text`: names and numbers, as a Python source has them.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !is_word(*byte)).filter(|word| !word.is_empty())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

struct Lexer<'a> {
    source: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn line(&mut self) -> Option<Line<'a>> {
        self.peek()?;
        let mut line = Line { indent: self.indent(), tokens: Vec::new() };
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
                b'#' => self.skip_until_line_end(),
                b'\\' if matches!(self.source.get(self.at + 1), Some(b'\n' | b'\r')) => {
                    self.at += 2;
                    if self.source.get(self.at - 1) == Some(&b'\r') && self.peek() == Some(b'\n') {
                        self.at += 1;
                    }
                }
                b' ' | b'\t' | b'\r' | 0x0c => self.at += 1,
                b'\'' | b'"' => line.tokens.push(self.string(self.at)),
                _ if is_word(byte) => line.tokens.push(self.word()),
                _ => {
                    match byte {
                        b'(' | b'[' | b'{' => depth += 1,
                        b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    line.tokens.push(Token { kind: Kind::Sign, text: &self.source[self.at..=self.at] });
                    self.at += 1;
                }
            }
        }
        Some(line)
    }

    fn indent(&mut self) -> usize {
        let mut columns = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b' ' => columns += 1,
                b'\t' => columns = (columns / 8 + 1) * 8,
                0x0c => columns = 0,
                _ => break,
            }
            self.at += 1;
        }
        columns
    }

    fn skip_until_line_end(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        while self.peek().is_some_and(is_word) {
            self.at += 1;
        }
        let prefix = &self.source[start..self.at];
        let may_prefix = prefix.len() <= 2 && prefix.iter().all(|byte| b"rRbBuUfFtT".contains(byte));
        if may_prefix && matches!(self.peek(), Some(b'\'' | b'"')) {
            return self.string(start);
        }
        Token { kind: Kind::Word, text: prefix }
    }

    /// A string whose first quote is at the present place and whose prefix began at `start`.
    fn string(&mut self, start: usize) -> Token<'a> {
        let quote = self.source[self.at];
        let triple = self.source[self.at..].starts_with(&[quote; 3]);
        let end: &[u8] = if triple { &[quote; 3] } else { &[quote] };
        self.at += end.len();
        while let Some(byte) = self.peek() {
            if byte == b'\\' {
                self.at += 2;
            } else if self.source[self.at..].starts_with(end) {
                self.at += end.len();
                break;
            } else if byte == b'\n' && !triple {
                // Not closed: Python would refuse it.
                break;
            } else {
                self.at += 1;
            }
        }
        self.at = self.at.min(self.source.len());
        Token { kind: Kind::Text, text: &self.source[start..self.at] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(source: &str) -> Vec<String> {
        let text = |token: &Token| String::from_utf8_lossy(token.text).into_owned();
        lines(source.as_bytes())
            .iter()
            .map(|line| format!("{}: {}", line.indent, line.tokens.iter().map(text).collect::<Vec<_>>().join(" ")))
            .collect()
    }

    #[test]
    fn logical_lines() {
        let source = "import a  # why\n\n\tx = (1,\n  # inside\n 2)\nif b: \\\n  y = 'it''s' + rb\"\\\"\"\n'''doc\n# no comment\n''' ; z\n";
        assert_eq!(
            shown(source),
            [
                "0: import a",
                "8: x = ( 1 , 2 )",
                "0: if b : y = 'it' 's' + rb\"\\\"\"",
                "0: '''doc\n# no comment\n''' ; z"
            ]
        );
    }

    #[test]
    fn what_is_no_python_ends() {
        assert_eq!(shown("x = 'open\ny = ((\n)"), ["0: x = 'open", "0: y = ( ( )"]);
        assert_eq!(shown("'\\"), ["0: '\\"]);
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_no_word_is_lost(source in "[a-z ()#'\"\\\\\n\t]{0,80}") {
            let found = lines(source.as_bytes());
            prop_assert!(found.iter().all(|line| !line.tokens.is_empty()));
            if !source.contains(['#', '\'', '"', '\\']) {
                let kept: Vec<&[u8]> = found.iter().flat_map(|line| &line.tokens).filter(|token| token.kind == Kind::Word).map(|token| token.text).collect();
                prop_assert_eq!(kept, words(source.as_bytes()).collect::<Vec<_>>());
            }
        }
    }
}
