//! Tests of `github`: lines, limits and what output may not do.

use super::*;

fn github() -> GitHub {
    GitHub::new("/srv/repo".into(), "/srv/repo/python".into(), "secret".into(), 0)
}

fn failed(message: &str, crash: Option<(&str, u32)>) -> TestResult {
    TestResult {
        node_id: "tests/test_a.py::test_b[x, y: z]".into(),
        outcome: Outcome::Failed,
        message: Some(message.into()),
        crash: crash.map(|(path, lineno)| Crash { path: path.into(), lineno, message: None }),
        lineno: Some(3),
        ..TestResult::default()
    }
}

#[test]
fn an_annotation_names_the_line_that_failed() {
    let mut github = github();
    github.result(&failed("E   50 %\n::error::no", Some(("/srv/repo/src/code.py", 7))));
    github.result(&failed("E   a\r\n", Some(("/usr/lib/python3/site-packages/pytest.py", 7))));
    let lines: Vec<String> = github.closing().lines().map(str::to_string).collect();
    assert_eq!(
        lines,
        [
            "::secret::",
            "::error file=src/code.py,line=7,title=test_b[x%2C y%3A z] failed::50 %25",
            "::error file=python/tests/test_a.py,line=3,title=test_b[x%2C y%3A z] failed::a",
        ]
    );
}

#[test]
fn nothing_of_a_test_becomes_a_line_of_its_own() {
    let mut github = github();
    let mut odd = failed("", None);
    odd.node_id = "t.py::test[\n::set-env name=PATH::x\r]".into();
    odd.cause = Some("\n::error::injected\n".into());
    github.result(&odd);
    github.collect_error(&CollectError { file_path: "a\n::b::.py".into(), message: "x\n::c::".into() });
    assert_eq!(github.closing().lines().count(), 3, "{}", github.closing());
    assert!(github.closing().lines().skip(1).all(|line| line.starts_with("::error file=")));
}

#[test]
fn no_more_than_ten_of_a_kind() {
    for (count, last) in [(10, "failed"), (11, "2 more"), (500, "491 more")] {
        let mut github = github();
        (0..count).for_each(|_| github.result(&failed("E   x", None)));
        let mut excused = failed("E   x", None);
        excused.quarantined = true;
        (0..count).for_each(|_| github.result(&excused));
        let text = github.closing();
        let of = |kind: &str| text.lines().filter(|line| line.starts_with(kind)).collect::<Vec<_>>();
        for kind in ["::error ", "::warning "] {
            assert_eq!(of(kind).len(), 10);
            assert!(of(kind)[9].contains(last), "{text}");
        }
    }
}

#[test]
fn the_summary_stays_below_its_limit_whatever_tests_say() {
    let used = 100_000;
    let mut github = GitHub::new("/w".into(), "/w".into(), "secret".into(), used);
    for number in 0..500 {
        let mut result = failed(&format!("```\n</details>{}\u{1b}[31m\u{7}", "é`".repeat(20_000)), None);
        result.node_id = format!("t.py::<b>test{number}[{}]", "y".repeat(5000));
        github.result(&result);
    }
    let totals = RunComplete { total: 500, failed: 500, ..RunComplete::default() };
    let text = github.summary(&totals);
    assert!(text.len() + used < SUMMARY_LIMIT, "{}", text.len());
    assert!(text.contains("| failed | 500 |") && text.contains("for which there is no room here"));
    assert!(text.contains("&lt;b&gt;test0") && !text.contains("<b>") && !text.contains('\u{1b}'));
    // Three backticks in the text: the fence has more.
    assert!(text.contains("\n````text\n```\n"));
}

#[test]
fn a_flaky_test_is_a_warning() {
    let mut flaky = failed("", None);
    flaky.outcome = Outcome::Passed;
    flaky.flaky = true;
    flaky.attempts = vec![crate::record::Attempt {
        attempt: 1,
        outcome: Outcome::Failed,
        message: Some("E   now and then".into()),
        ..Default::default()
    }];
    let mut github = github();
    github.result(&flaky);
    assert!(github.closing().contains("::warning file=python/tests/test_a.py,line=3,"));
    assert!(github.closing().contains("is flaky::now and then"));
}
