//! A run as a person sees it on a terminal: `scripts/terminal.py` is the terminal.

use crate::output::Output;
use crate::project::Project;

/// Collecting takes a while, a test with a long name too, and one fails.
fn project() -> Project {
    Project::empty().file("conftest.py", "import time\ntime.sleep(0.8)\n").file(
        "tests/test_the_whole_shop.py",
        "import time\n\
         def test_fails(): assert 1 == 2\n\
         def test_waits_for_a_courier_who_is_late(): time.sleep(1.5)\n\
         def test_passes(): pass\n",
    )
}

/// `rpt-run` on a terminal of so many columns.
fn on_terminal(project: &Project, columns: &str, environment: &[(&str, &str)], args: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/terminal.py");
    let program = crate::project::binary("rpt-run");
    let mut command = project.python().args([script, columns, "24"]).arg(program).env("TERM", "xterm");
    for (name, value) in environment {
        command = command.env(name, value);
    }
    command.args(["-n", "1", "--no-history"]).args(args).run()
}

/// Every line that was drawn, also those that were drawn over, without colours.
fn drawn(output: &Output) -> Vec<String> {
    let text = output.text();
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let end = after.find(|character: char| character.is_ascii_alphabetic()).unwrap();
        if &after[end..=end] != "m" {
            plain.push('\n');
        }
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    plain.split(['\r', '\n']).map(|line| line.trim_end().to_string()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn it_says_what_goes_on_from_the_start_to_the_end() {
    let project = project();
    let output = on_terminal(&project, "80", &[], &[]);
    output.assert_code(1);
    let lines = drawn(&output);
    let place = |part: &str| {
        lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} is not in {lines:#?}"))
    };
    let order = [
        place("collecting tests"),
        place("░ 0/3"),
        place("FAILED tests/test_the_whole_shop.py::test_fails"),
        place("1/3 1 failed"),
        place(" s  tests/test_the_whole_shop.py::test_waits_for_a_courier_who_is_late"),
        place("= FAILURES ="),
        place("1 failed, 2 passed in"),
    ];
    assert!(order.is_sorted(), "{order:?}: {lines:#?}");
    project.assert_nothing_left();
}

#[test]
fn a_narrow_window_breaks_no_line_of_progress() {
    let project = project();
    let lines = drawn(&on_terminal(&project, "40", &[], &[]));
    let report = lines.iter().position(|line| line.contains("= FAILURES =")).unwrap();
    // A line that has another below it is filled up to the edge.
    let progress = lines[..report].iter().filter(|line| !line.starts_with("FAILED "));
    let progress: Vec<(String, String)> = progress
        .map(|line| {
            let below = line.chars().skip(40).collect::<String>();
            (line.chars().take(40).collect::<String>().trim_end().to_string(), below)
        })
        .collect();
    for (line, below) in &progress {
        assert!(line.chars().count() < 40 && below.chars().count() < 40, "{progress:#?}");
        assert!(below.is_empty() || below.contains(" s  ..."), "{progress:#?}");
    }
    let named = progress.iter().find(|(_, below)| below.ends_with("_who_is_late"));
    assert!(named.is_some_and(|(line, _)| line.starts_with("1/3 1 failed")), "{progress:#?}");
    assert!(lines[report..].iter().any(|line| line.starts_with("==") && line.chars().count() == 40), "{lines:#?}");
}

#[test]
fn colours_are_the_terminal_s_own_and_can_be_left_out() {
    let project = project();
    let shown = on_terminal(&project, "80", &[], &[]).text();
    for code in ["\x1b[31m", "\x1b[1;31mE  "] {
        assert!(shown.contains(code), "{code:?}: {shown:?}");
    }
    // A colour of a fixed palette is unreadable on light or on dark.
    assert!(!shown.contains("38;5;") && !shown.contains("38;2;") && !shown.contains("\x1b[4"), "{shown:?}");
    for (environment, args) in [(&[("NO_COLOR", "1")][..], &[][..]), (&[], &["--color", "never"])] {
        let shown = on_terminal(&project, "80", environment, args).text();
        let colours = shown
            .split("\x1b[")
            .skip(1)
            .filter(|code| code.chars().find(|character| character.is_ascii_alphabetic()) == Some('m'));
        assert_eq!(colours.count(), 0, "{shown:?}");
    }
}

#[test]
fn quiet_shows_nothing_while_it_runs() {
    let project = project();
    let lines = drawn(&on_terminal(&project, "80", &[], &["--quiet", "--format", "json"]));
    assert!(lines.iter().all(|line| line.starts_with('{')), "{lines:#?}");
}
