//! Owns which runs and which tests a command speaks of. Pure.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::test_id::is_within;

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only runs that began then or later, in microseconds since the Unix epoch.
    pub since_us: Option<i64>,
    /// Only runs that began then or before.
    pub until_us: Option<i64>,
    /// Only the newest so many of them.
    pub last: Option<u32>,
    /// Only runs of this branch.
    pub branch: Option<String>,
}

impl RunFilter {
    /// Whether it lets every run through.
    pub fn is_all(&self) -> bool {
        *self == RunFilter::default()
    }
}

/// Which tests: those that any of the patterns names; all when there is none.
#[derive(Debug, Clone, Default)]
pub struct TestFilter {
    patterns: Vec<String>,
}

impl TestFilter {
    /// A pattern is a node id, which stands for all that it holds (a folder, a file, a class,
    /// a function with its cases), or a glob over whole ids when it has a `*` or `?` in it.
    pub fn new(patterns: Vec<String>) -> TestFilter {
        TestFilter { patterns }
    }

    /// Whether it lets every test through.
    pub fn is_all(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether it lets this test through.
    pub fn matches(&self, node_id: &str) -> bool {
        self.patterns.is_empty()
            || self
                .patterns
                .iter()
                .any(|pattern| is_within(node_id, pattern) || (pattern.contains(['*', '?']) && glob(pattern, node_id)))
    }

    /// The id, where the filter is one pattern that can be a whole id.
    pub fn as_exact(&self) -> Option<&str> {
        match self.patterns.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// Whether the whole of `text` matches: `*` is any run of characters, `?` any one. Brackets
/// are themselves: they are common in ids. Goes back at most to the last `*`, so that a hostile
/// pattern costs a product of lengths and no more.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    seen = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

/// Reads a moment: a span back from `now_us` (`90s`, `30m`, `12h`, `7d`, `2w`), a date
/// (`2026-11-22`, its begin in UTC) or an RFC 3339 time. In microseconds since the Unix epoch.
pub fn moment(text: &str, now_us: i64) -> Result<i64, String> {
    if let Some(span) = span_us(text) {
        return Ok(now_us.saturating_sub(span));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_microsecond());
    }
    let date = text.parse::<Date>().ok().and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    date.map(|date| date.timestamp().as_microsecond())
        .ok_or_else(|| format!("{text:?} is neither a span (12h, 7d), a date (2026-11-22) nor a time (RFC 3339)"))
}

/// `7d` in microseconds.
pub fn span_us(text: &str) -> Option<i64> {
    let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let seconds = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    text[..digits].parse::<i64>().ok()?.checked_mul(seconds * 1_000_000)
}

/// A moment as ISO 8601 in UTC, to the microsecond. A moment beyond the calendar is given as its number.
pub fn iso(moment_us: i64) -> String {
    Timestamp::from_microsecond(moment_us).map_or_else(|_| moment_us.to_string(), |time| format!("{time:.6}"))
}

/// The moment that [`iso`] wrote.
pub fn moment_of(text: &str) -> Result<i64, String> {
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time.as_microsecond()),
        Err(error) => text.parse().map_err(|_| format!("{text:?} is no time: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_tests() {
        for (pattern, id, expected) in [
            ("a/t.py", "a/t.py::f[x*y]", true),
            ("a/t.py::f[x*y]", "a/t.py::f[x*y]", true),
            ("*::f*", "a/t.py::f[1]", true),
            ("*::g*", "a/t.py::f[1]", false),
            ("a/t.py::f[?]", "a/t.py::f[1]", true),
            ("a/t.py::f[?]", "a/t.py::f[12]", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
            ("*é?", "a/é!", true),
            ("**", "", true),
        ] {
            let filter = TestFilter::new(vec!["other".to_string(), pattern.to_string()]);
            assert_eq!(filter.matches(id), expected, "{pattern} {id}");
        }
        assert!(TestFilter::default().matches("anything"));
    }

    #[test]
    fn moments() {
        let now = 1_000_000_000_000_000;
        for (text, expected) in [
            ("90s", Some(now - 90_000_000)),
            ("2w", Some(now - 14 * 86_400_000_000)),
            ("1970-01-02", Some(86_400_000_000)),
            ("1970-01-01T00:00:01.5Z", Some(1_500_000)),
            ("1970-01-01T01:00:00+01:00", Some(0)),
            ("d", None),
            ("7y", None),
            ("2026-13-01", None),
            ("99999999999999999999d", None),
            ("9999999999999d", None),
            ("", None),
        ] {
            assert_eq!(moment(text, now).ok(), expected, "{text}");
        }
        assert_eq!(iso(1_500_000), "1970-01-01T00:00:01.500000Z");
        assert_eq!(iso(i64::MAX), i64::MAX.to_string());
        for moment in [i64::MIN, -1, 0, 1_500_000, i64::MAX] {
            assert_eq!(moment_of(&iso(moment)), Ok(moment));
        }
    }
}
