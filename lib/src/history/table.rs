//! Owns tables for people: columns that line up, marks and sparklines. Pure.
//!
//! Whatever comes from a test (ids, messages, branches) is shown escaped.

use unicode_width::UnicodeWidthStr;

use crate::cli::one_line;
use crate::outcome::Outcome;

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Whether its cells stand at its right edge, as numbers do.
    pub right: bool,
}

impl Column {
    /// A column of words.
    pub const fn words(title: &'static str) -> Column {
        Column { title, right: false }
    }

    /// A column of numbers.
    pub const fn numbers(title: &'static str) -> Column {
        Column { title, right: true }
    }
}

/// What a cell wants to say with its colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// Fine.
    Good,
    /// Broken.
    Bad,
    /// To look at.
    Warn,
    /// In the background.
    Faint,
}

impl Tone {
    /// The tone of an outcome, in pytest's colours.
    pub fn of(outcome: Outcome) -> Tone {
        match outcome {
            Outcome::Passed => Tone::Good,
            Outcome::Failed | Outcome::Error => Tone::Bad,
            Outcome::Skipped | Outcome::Xfailed | Outcome::Xpassed => Tone::Warn,
            Outcome::NotRun => Tone::Faint,
        }
    }

    /// `text` in this tone.
    pub fn paint(self, text: &str, color: bool) -> String {
        let code = match self {
            Tone::Plain => return text.to_string(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Faint => "2",
        };
        if color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// One cell: a single line, escaped.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in a tone.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Cell {
        Cell { text: one_line(text.as_ref()), tone }
    }

    /// A plain cell.
    pub fn new(text: impl AsRef<str>) -> Cell {
        Cell::toned(text, Tone::Plain)
    }

    /// A number; a zero stays in the background.
    pub fn count(number: i64, tone: Tone) -> Cell {
        Cell::toned(number.to_string(), if number == 0 { Tone::Faint } else { tone })
    }
}

/// A table with its headings, one line a row.
pub fn render(columns: &[Column], rows: &[Vec<Cell>], color: bool) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|column| column.title.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let heading: Vec<Cell> = columns.iter().map(|column| Cell::toned(column.title, Tone::Faint)).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[at].saturating_sub(cell.text.width()));
            let painted = cell.tone.paint(&cell.text, color);
            let (before, after) = if columns[at].right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.extend([if at == 0 { "" } else { "  " }, before, &painted, after]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One mark for an outcome: pytest's own letters, `-` for a test that did not run.
pub fn mark(outcome: Outcome) -> char {
    match outcome {
        Outcome::Passed => '.',
        Outcome::Failed => 'F',
        Outcome::Error => 'E',
        Outcome::Skipped => 's',
        Outcome::Xfailed => 'x',
        Outcome::Xpassed => 'X',
        Outcome::NotRun => '-',
    }
}

/// Marks of outcomes in lines of `width`.
pub fn marks(outcomes: &[Outcome], width: usize, color: bool) -> Vec<String> {
    outcomes
        .chunks(width.max(1))
        .map(|line| line.iter().map(|&outcome| Tone::of(outcome).paint(&mark(outcome).to_string(), color)).collect())
        .collect()
}

/// Durations as bars, at most `width` of them. More durations than bars: each bar is the
/// longest of its share, so that no peak is hidden. Bars grow with the duration, from the
/// shortest to the longest.
pub fn sparkline(durations_us: &[i64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let count = durations_us.len().min(width);
    let bars: Vec<i64> = (0..count)
        .map(|at| {
            let (from, to) = (at * durations_us.len() / count, (at + 1) * durations_us.len() / count);
            durations_us[from..to].iter().copied().max().unwrap_or_default()
        })
        .collect();
    let (low, high) = (bars.iter().min().copied().unwrap_or(0), bars.iter().max().copied().unwrap_or(0));
    let range = (high - low).max(1) as f64;
    bars.iter().map(|&bar| BARS[((bar - low) as f64 / range * 7.0).round() as usize % BARS.len()]).collect()
}

/// A duration in the unit that suits it.
pub fn duration(duration_us: i64) -> String {
    let us = duration_us as f64;
    if duration_us < 1_000 {
        format!("{duration_us} µs")
    } else if duration_us < 1_000_000 {
        format!("{:.1} ms", us / 1e3)
    } else if duration_us < 60_000_000 {
        format!("{:.2} s", us / 1e6)
    } else {
        format!("{} min {:02} s", duration_us / 60_000_000, duration_us / 1_000_000 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_script() {
        let rows = vec![
            vec![Cell::new("測試"), Cell::count(0, Tone::Bad)],
            vec![Cell::new("a\u{1b}[2J\n"), Cell::count(12, Tone::Bad)],
        ];
        let columns = [Column::words("test"), Column::numbers("n")];
        assert_eq!(render(&columns, &rows, false), "test         n\n測試         0\na\\u{1b}[2J  12\n");
        assert!(render(&columns, &rows, true).contains("\x1b[31m12\x1b[0m"));
    }

    #[test]
    fn bars() {
        assert_eq!(sparkline(&[], 10), "");
        assert_eq!(sparkline(&[5, 5], 10), "▁▁");
        assert_eq!(sparkline(&[0, 1, 2, 3, 4, 5, 6, 7], 10), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[0, 9, 0, 0, 1, 0], 3), "█▁▂");
    }

    #[test]
    fn durations_and_marks() {
        for (us, text) in [(0, "0 µs"), (1_500, "1.5 ms"), (2_000_000, "2.00 s"), (61_000_000, "1 min 01 s")] {
            assert_eq!(duration(us), text);
        }
        assert_eq!(marks(&Outcome::ALL, 4, false), [".FEs", "xX-"]);
    }
}
