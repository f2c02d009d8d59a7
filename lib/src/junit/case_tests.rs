//! Tests of `case`: how one result stands in the file.

use super::*;
use crate::outcome::Crash;

fn written(result: &TestResult, family: Family) -> (String, Counts) {
    let (mut out, mut counts) = (Vec::new(), Counts::default());
    write(&mut out, result, family, &mut counts).unwrap();
    (String::from_utf8(out).unwrap(), counts)
}

fn result(outcome: Outcome) -> TestResult {
    TestResult { node_id: "a/test_b.py::C::test_d[x]".into(), outcome, duration_ms: 1500.0, ..TestResult::default() }
}

#[test]
fn what_xml_cannot_hold_is_shown_as_pytest_shows_it() {
    let text = "<&>\" \u{1b}\u{0}\u{7f}\u{fffe}\u{fffd} \r\n\té🐍";
    let quoted = "&lt;&amp;&gt;&quot; #x1B#x00#x7F#xFFFE\u{fffd} &#13;&#10;&#9;é🐍";
    assert_eq!(Quoted(text).to_string(), quoted);
    let plain = "&lt;&amp;&gt;\" #x1B#x00#x7F#xFFFE\u{fffd} &#13;\n\té🐍";
    assert_eq!(Text(text).to_string(), plain);
}

#[test]
fn a_failure_has_pytests_message_and_text() {
    let mut failed = result(Outcome::Failed);
    failed.message = Some("def f():\nE   assert 1 == 2".into());
    let (text, counts) = written(&failed, Family::Xunit2);
    assert_eq!(
        text,
        "<testcase classname=\"a.test_b.C\" name=\"test_d[x]\" time=\"1.500\"><failure message=\"assert 1 == 2\">def f():\nE   assert 1 == 2</failure></testcase>\n"
    );
    assert_eq!(counts, Counts { tests: 1, failures: 1, ..Counts::default() });
    failed.crash = Some(Crash { path: "/x".into(), lineno: 2, message: Some("assert 1 == 2\n  more".into()) });
    assert!(written(&failed, Family::Xunit2).0.contains("<failure message=\"assert 1 == 2&#10;  more\">"));
    failed.cause = Some("crash: signal 11".into());
    assert!(written(&failed, Family::Xunit2).0.contains("<failure type=\"rpt.cause\" message=\"crash: signal 11\">"));
}

#[test]
fn the_legacy_family_has_file_and_line() {
    let mut passed = result(Outcome::Passed);
    passed.file_path = Some("a/test_b.py".into());
    passed.lineno = Some(7);
    assert!(written(&passed, Family::Xunit1).0.contains(" file=\"a/test_b.py\" line=\"6\" time=\"1.500\"></testcase>"));
    passed.location = Some(crate::record::Location { path: "base.py".into(), line: None }.into());
    assert!(written(&passed, Family::Xunit1).0.contains(" file=\"base.py\" time="));
    assert!(!written(&passed, Family::Xunit2).0.contains("file="));
}

#[test]
fn what_the_names_do_not_tell_stands_aside() {
    let mut odd = result(Outcome::Xpassed);
    odd.wasxfail = Some("why".into());
    assert!(written(&odd, Family::Xunit2).0.contains("<?rpt wasxfail=\"why\" outcome=\"xpassed\"?>"));
    odd.node_id = "checks/Cases.py::runs ?>".into();
    assert!(written(&odd, Family::Xunit2).0.contains("<?rpt node_id=\"checks/Cases.py::runs ?&gt;\" wasxfail"));
}

#[test]
fn earlier_attempts_are_kept() {
    let part = |attempt, when, outcome, message: &str| Attempt {
        attempt,
        when,
        outcome,
        duration_ms: 1.0,
        message: Some(message.into()),
        sections: vec![("Captured stdout call".into(), "said".into())],
        ..Attempt::default()
    };
    let mut flaky = result(Outcome::Passed);
    flaky.attempts = vec![
        part(1, Phase::Call, Outcome::Failed, "E   boom"),
        part(2, Phase::Setup, Outcome::Error, "E   no"),
        part(3, Phase::Call, Outcome::Passed, ""),
    ];
    let (text, counts) = written(&flaky, Family::Xunit2);
    assert!(
        text.contains("<flakyFailure message=\"boom\" type=\"call\"><stackTrace>E   boom</stackTrace><system-out>")
    );
    assert!(text.contains("<flakyError message=\"failed on setup with &quot;no&quot;\" type=\"setup\">"));
    assert_eq!(counts, Counts { tests: 1, ..Counts::default() });
    let mut torn = result(Outcome::Failed);
    torn.message = Some("E   call".into());
    torn.attempts = vec![
        part(1, Phase::Call, Outcome::Failed, "E   before"),
        part(2, Phase::Call, Outcome::Failed, "E   call"),
        part(2, Phase::Teardown, Outcome::Error, "E   torn"),
    ];
    let (text, counts) = written(&torn, Family::Xunit2);
    assert!(text.contains("<rerunFailure message=\"before\""));
    assert!(text.contains("<error message=\"failed on teardown with &quot;torn&quot;\">E   torn</error></testcase>"));
    assert_eq!(counts, Counts { tests: 2, failures: 1, errors: 1, skipped: 0 });
}

#[test]
fn long_messages_are_cut_as_pytest_cuts_them() {
    let line = "x".repeat(300);
    assert_eq!(
        shortened(&format!("{line}\n{line}\nz")),
        format!("{line}\n[+2 more lines; full report in element text]")
    );
    let long = "y".repeat(600);
    assert_eq!(shortened(&long), format!("{}...\n[truncated; full report in element text]", "y".repeat(500)));
    assert_eq!(shortened("short\n"), "short\n");
}

#[test]
fn times_have_three_digits_or_as_many_as_they_need() {
    assert_eq!(
        [seconds(0.0), seconds(1500.0), seconds(0.123), seconds(12.34)],
        ["0.000", "1.500", "0.000123", "0.01234"]
    );
}
