//! Owns the words of a run that is on, cut to the columns there are. Pure: what is true of the run
//! and how wide the terminal is are arguments.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A time that is left is told from here on: shorter ones would only flicker.
const LEFT_TOLD_FROM: Duration = Duration::from_secs(2);

/// How wide the bar is: none where the counts need all the room.
pub(super) fn bar_width(columns: usize) -> usize {
    match columns {
        72.. => 24,
        56.. => 12,
        _ => 0,
    }
}

/// `28/64 27 passed, 1 failed, about 12 s left`, without what has no room.
pub(super) fn counts(done: u64, total: u64, outcomes: &str, left: Option<Duration>, room: usize) -> String {
    let place = format!("{done}/{total}");
    let left = left.filter(|left| *left >= LEFT_TOLD_FROM).map(|left| match left.as_secs() {
        seconds @ ..120 => format!("about {seconds} s left"),
        seconds => format!("about {} min left", seconds.div_ceil(60)),
    });
    let outcomes = Some(outcomes.to_string()).filter(|outcomes| !outcomes.is_empty());
    let whole: Vec<String> = outcomes.clone().into_iter().chain(left).collect();
    let shorter: Vec<String> = outcomes.into_iter().collect();
    let all = [whole, shorter].map(|parts| format!("{place} {}", parts.join(", ")));
    let fitting = all.into_iter().find(|text| text.width() <= room).unwrap_or(place);
    fitting.trim_end().to_string()
}

/// A test that runs: how long, and the end of its id, where its name is.
pub(super) fn running(id: &str, since: Duration, columns: usize) -> String {
    let head = format!("{:>7.1} s  ", since.as_secs_f64());
    let room = columns.saturating_sub(head.width() + 1);
    format!("{head}{}", end_of(id, room))
}

/// As much of the end of a text as has room, with dots for the rest.
fn end_of(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_string();
    }
    let mut kept = 0;
    let mut begin = text.len();
    for (index, character) in text.char_indices().rev() {
        kept += character.width().unwrap_or(0);
        if kept + 3 > room {
            break;
        }
        begin = index;
    }
    format!("...{}", &text[begin..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_left_out() {
        let at = |room| counts(28, 64, "27 passed, 1 failed", Some(Duration::from_secs(12)), room);
        assert_eq!(at(80), "28/64 27 passed, 1 failed, about 12 s left");
        assert_eq!(at(40), "28/64 27 passed, 1 failed");
        assert_eq!(at(10), "28/64");
        assert_eq!(counts(0, 64, "", None, 80), "0/64");
        assert_eq!(counts(1, 64, "1 passed", Some(Duration::from_secs(1)), 80), "1/64 1 passed");
        assert!(counts(1, 64, "1 passed", Some(Duration::from_secs(121)), 80).ends_with("about 3 min left"));
        assert!((0..200).all(|columns| bar_width(columns) < columns.max(1)));
    }

    #[test]
    fn a_line_never_breaks() {
        for id in ["tests/test_shop.py::test_checkout", "tests/test_日本.py::test_ünï[日本語日本語日本語]"]
        {
            for columns in 16..90 {
                let line = running(id, Duration::from_millis(1234), columns);
                assert!(line.width() < columns, "{columns}: {line}");
            }
            assert!(running(id, Duration::ZERO, 100).ends_with(id));
        }
        assert_eq!(running("a.py::test_name", Duration::from_secs(2), 22), "    2.0 s  ...st_name");
    }
}
