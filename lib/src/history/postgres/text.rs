//! Owns texts of any content in columns of PostgreSQL, which take every character but NUL. Pure.
//! U+001A stands before what it escapes: NUL is `\x1a0`, U+001A itself `\x1a1`.

use std::borrow::Cow;

const ESCAPE: char = '\u{1a}';

/// A text as it stands in a column.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => stored.push_str("\u{1a}0"),
            ESCAPE => stored.push_str("\u{1a}1"),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// The text that was stored.
pub(super) fn loaded(stored: &str) -> Cow<'_, str> {
    if !stored.contains(ESCAPE) {
        return Cow::Borrowed(stored);
    }
    let mut text = String::with_capacity(stored.len());
    let mut rest = stored.chars();
    while let Some(character) = rest.next() {
        match character {
            ESCAPE => text.push(if rest.next() == Some('0') { '\0' } else { ESCAPE }),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back_and_none_holds_a_nul(text in "[\0\u{1a}01aé]{0,12}") {
            let in_column = stored(&text);
            prop_assert!(!in_column.contains('\0'));
            prop_assert_eq!(&*loaded(&in_column), &text);
        }
    }
}
