//! Tests of `expression`: selection, dialects, and mistakes in pytest's words.

use proptest::prelude::*;

use super::*;

const NEW: Dialect = Dialect { arguments: true, first_backslash: false };
const OLD: Dialect = Dialect { arguments: false, first_backslash: true };

fn selector() -> Selector {
    let arguments = vec![
        ("n".to_string(), Equal::Number, "3".to_string()),
        ("s".to_string(), Equal::Text, "a b".to_string()),
        ("none".to_string(), Equal::None, String::new()),
        ("list".to_string(), Equal::Never, String::new()),
        ("own".to_string(), Equal::Unknown, String::new()),
    ];
    Selector(
        vec!["test_file.py".into(), "TestClass".into(), "slow".into()],
        vec![("slow".into(), Vec::new()), ("number".into(), arguments)],
    )
}

fn keyword(text: &str) -> Result<bool, Refusal> {
    Expression::parse(text, Flag::Keyword, NEW)?.selects("test_It[A-1]", &selector())
}

fn marker(text: &str) -> Result<bool, Refusal> {
    Expression::parse(text, Flag::Marker, NEW)?.selects("test_It", &selector())
}

#[test]
fn keywords_are_parts_of_names_whatever_their_case() {
    for text in ["IT", "testclass", "_file.", "a-1]", "not other", "other or (slow and not other)", "not not it"] {
        assert_eq!(keyword(text), Ok(true), "{text}");
    }
    for text in ["", "other", "not it", "it and other", "(not it)"] {
        assert_eq!(keyword(text), Ok(false), "{text}");
    }
}

#[test]
fn markers_are_whole_names_with_arguments() {
    for text in ["slow", "number(n=3)", "number(n=003, s='a b')", "number(none=None)", "not number(list=1)", "not slo"]
    {
        assert_eq!(marker(text), Ok(true), "{text}");
    }
    for text in ["Slow", "number(n=4)", "number(n='3')", "number(absent=None)", "slow(n=3)", "number(n=3, s=\"\")"] {
        assert_eq!(marker(text), Ok(false), "{text}");
    }
    assert_eq!(marker("number(own=1)"), Err(Refusal::Undecided));
    // Nobody asks where the answer is known without.
    assert_eq!(marker("slow or number(own=1)"), Ok(true));
}

/// The words and places are pytest 9.2's.
#[test]
fn mistakes_are_told_as_pytest_tells_them() {
    for (text, message) in [
        ("(", "column 2: expected not OR left parenthesis OR identifier; got end of input"),
        ("a b", "column 3: expected end of input; got identifier"),
        ("a and", "column 6: expected not OR left parenthesis OR identifier; got end of input"),
        ("(a", "column 3: expected right parenthesis; got end of input"),
        ("a ! b", "column 3: unexpected character \"!\""),
        ("a(b='c)", "column 5: closing quote \"'\" is missing"),
        ("a(b='c\\d')", "column 7: escaping with \"\\\" not supported in marker expression"),
        ("a(1=2)", "column 3: not a valid python identifier 1"),
        ("a(class=2)", "column 3: unexpected reserved python keyword `class`"),
        ("a(b=c)", "column 5: unexpected character/s \"c\""),
        ("a()", "column 3: expected identifier; got right parenthesis"),
        ("ä b", "column 3: expected end of input; got identifier"),
        ("a) $", "column 2: expected end of input; got right parenthesis"),
    ] {
        match Expression::parse(text, Flag::Marker, NEW) {
            Err(Refusal::Wrong(said)) => {
                assert!(said.starts_with(&format!("Wrong expression passed to '-m': {text}: at column")), "{said}");
                assert!(said.contains(message), "{said}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(
        keyword("it(n=1)"),
        Err(Refusal::Wrong("Keyword expressions do not support call parameters.".to_string()))
    );
}

#[test]
fn dialects() {
    assert_eq!(Dialect::of("9.2.0"), NEW);
    assert_eq!(Dialect::of("7.4.4"), OLD);
    assert_eq!(Dialect::of("8.2.9"), OLD);
    assert_eq!(Dialect::of("8.3.0"), Dialect { arguments: true, first_backslash: true });
    let said = |text: &str, dialect| Expression::parse(text, Flag::Marker, dialect).unwrap_err().to_string();
    assert!(said("a(b=1)", OLD).ends_with("column 2: expected end of input; got left parenthesis"));
    assert!(said("a = 1", OLD).ends_with("column 3: unexpected character \"=\""));
    let backslash = "a\\b or c(d='e\\f')";
    assert!(said(backslash, Dialect::of("8.4.2")).contains("column 2: escaping"));
    assert!(said(backslash, NEW).contains("column 14: escaping"));
}

#[test]
fn what_only_python_can_tell_is_left_to_it() {
    for text in ["a(b=1, b=2)", "a(é=1)", "a(b=²)", "²", &"(".repeat(200), &vec!["a"; 300].join(" or ")] {
        assert_eq!(Expression::parse(text, Flag::Marker, NEW), Err(Refusal::Undecided), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused(text in "[ab()=,'\"\\\\ !ä]{0,30}|((a|not|or|and|\\(|\\)) ){0,12}") {
        for dialect in [NEW, OLD] {
            for flag in [Flag::Keyword, Flag::Marker] {
                if let Ok(expression) = Expression::parse(&text, flag, dialect) {
                    let _ = expression.selects("a", &selector());
                }
            }
        }
    }
}
