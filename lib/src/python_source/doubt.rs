//! Owns whether a suite may give other ids at each collection, as far as its sources
//! and its ids tell. Pure. Where nothing speaks for it the first collection is trusted;
//! else a second one must agree with it.

use super::lexer::{Kind, lines, words};

/// Names of what differs from one process to the next: the clock, chance, the process
/// and its machine, threads.
const DIFFERING: [&str; 31] = [
    "time",
    "time_ns",
    "datetime",
    "monotonic",
    "perf_counter",
    "today",
    "now",
    "utcnow",
    "uuid",
    "uuid1",
    "uuid4",
    "random",
    "randint",
    "shuffle",
    "secrets",
    "token_hex",
    "urandom",
    "faker",
    "Faker",
    "getpid",
    "gethostname",
    "tempfile",
    "mkdtemp",
    "mkstemp",
    "gettempdir",
    "threading",
    "multiprocessing",
    "concurrent",
    "asyncio",
    "weakref",
    "gc",
];

/// The first name in `source` by which ids may differ. Bodies of test functions are
/// left out: collection does not run them.
pub fn differing_name(source: &[u8]) -> Option<String> {
    let mut inside_test = None;
    for line in lines(source) {
        if inside_test.is_some_and(|indent| line.indent > indent) {
            continue;
        }
        inside_test = None;
        let mut named = line.tokens.iter().skip_while(|token| token.is("async"));
        if named.next().is_some_and(|token| token.is("def"))
            && named.next().is_some_and(|token| token.text.starts_with(b"test"))
        {
            inside_test = Some(line.indent);
        }
        for token in &line.tokens {
            let found = match token.kind {
                Kind::Sign => None,
                Kind::Text if !token.is_formatted() => None,
                Kind::Word | Kind::Text => words(token.text).find(|word| is_differing(word)),
            };
            if let Some(word) = found {
                return Some(String::from_utf8_lossy(word).into_owned());
            }
        }
    }
    None
}

fn is_differing(word: &[u8]) -> bool {
    DIFFERING.iter().any(|name| name.as_bytes() == word)
}

/// Whether an id looks like one that holds a time, an address or something random:
/// eight digits in a row, `0x`, or twelve hex digits with digits among them.
pub fn looks_differing(node_id: &str) -> bool {
    let Some(at) = node_id.find('[') else {
        return false;
    };
    let parameters = &node_id.as_bytes()[at..];
    let runs = |belongs: fn(&u8) -> bool| parameters.split(move |byte| !belongs(byte));
    runs(u8::is_ascii_digit).any(|run| run.len() >= 8)
        || runs(u8::is_ascii_hexdigit).any(|run| run.len() >= 12 && run.iter().any(u8::is_ascii_digit))
        || parameters.windows(2).any(|pair| pair == b"0x")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_code_that_collection_runs() {
        assert_eq!(differing_name(b"import time\n").as_deref(), Some("time"));
        assert_eq!(differing_name(b"x = f'{uuid4()}'\n").as_deref(), Some("uuid4"));
        assert_eq!(differing_name(b"def values():\n    return random.choice(y)\n").as_deref(), Some("random"));
        assert_eq!(differing_name(b"'time' # now\ntimes = 3\n").as_deref(), None);
        assert_eq!(
            differing_name(b"def test_it():\n    now()\n    if x:\n        time()\nclass A: pass\n").as_deref(),
            None
        );
        assert_eq!(differing_name(b"async def test_it():\n    now()\ntoday()\n").as_deref(), Some("today"));
    }

    #[test]
    fn ids_that_look_made_up() {
        for id in ["t.py::f[1700000000]", "t.py::f[<A at 0x7f>]", "t.py::f[8d3c5e0a-9f0b-4c6e-8b1f-0123456789ab]"] {
            assert!(looks_differing(id), "{id}");
        }
        for id in ["t.py::f_12345678", "t.py::f[2024-01-02]", "t.py::f[abcdefabcdef]", "t.py::f[x10]"] {
            assert!(!looks_differing(id), "{id}");
        }
    }
}
