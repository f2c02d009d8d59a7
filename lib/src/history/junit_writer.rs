//! Owns writing results as one JUnit file, with the names that pytest gives them (xunit2).

use std::io::Write;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::import::junit_address;
use crate::outcome::{Outcome, Phase};
use crate::record::TestResult;

/// Writes `results` as one test suite.
pub fn write_junit(out: impl Write, results: &[TestResult]) -> std::io::Result<()> {
    let mut writer = Writer::new(out);
    let count = |outcome: &[Outcome]| results.iter().filter(|result| outcome.contains(&result.outcome)).count();
    let seconds: f64 = results.iter().map(|result| result.duration_ms / 1000.0).sum();
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    writer.write_event(Event::Start(BytesStart::new("testsuites")))?;
    let mut suite = BytesStart::new("testsuite");
    suite.push_attribute(("name", "pytest"));
    suite.push_attribute(("errors", count(&[Outcome::Error, Outcome::NotRun]).to_string().as_str()));
    suite.push_attribute(("failures", count(&[Outcome::Failed]).to_string().as_str()));
    suite.push_attribute(("skipped", count(&[Outcome::Skipped, Outcome::Xfailed]).to_string().as_str()));
    suite.push_attribute(("tests", results.len().to_string().as_str()));
    suite.push_attribute(("time", format!("{seconds:.3}").as_str()));
    writer.write_event(Event::Start(suite))?;
    results.iter().try_for_each(|result| write_case(&mut writer, result))?;
    writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    writer.write_event(Event::End(BytesEnd::new("testsuites")))?;
    writer.into_inner().flush()
}

fn write_case(writer: &mut Writer<impl Write>, result: &TestResult) -> std::io::Result<()> {
    let (classname, name) = junit_address::address(&result.node_id);
    let mut case = BytesStart::new("testcase");
    case.push_attribute(("classname", allowed(&classname).as_str()));
    case.push_attribute(("name", allowed(&name).as_str()));
    case.push_attribute(("time", format!("{:.3}", result.duration_ms / 1000.0).as_str()));
    let told = allowed(result.message.as_deref().or(result.cause.as_deref()).unwrap_or_default());
    let first = told.lines().find(|line| line.starts_with("E ")).or(told.lines().next()).unwrap_or_default();
    let (element, kind, message) = match result.outcome {
        Outcome::Passed | Outcome::Xpassed => return writer.write_event(Event::Empty(case)),
        Outcome::Failed => ("failure", None, first.to_string()),
        Outcome::Error => {
            let phase = result.when.unwrap_or(Phase::Setup);
            ("error", None, format!("failed on {} with \"{first}\"", phase.name()))
        }
        Outcome::NotRun => ("error", None, format!("not run: {first}")),
        Outcome::Skipped => ("skipped", Some("pytest.skip"), first.to_string()),
        Outcome::Xfailed => ("skipped", Some("pytest.xfail"), allowed(result.wasxfail.as_deref().unwrap_or_default())),
    };
    let mut child = BytesStart::new(element);
    kind.into_iter().for_each(|kind| child.push_attribute(("type", kind)));
    child.push_attribute(("message", message.as_str()));
    writer.write_event(Event::Start(case))?;
    writer.write_event(Event::Start(child))?;
    writer.write_event(Event::Text(BytesText::new(&told)))?;
    writer.write_event(Event::End(BytesEnd::new(element)))?;
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}

/// Characters that XML 1.0 cannot hold, written as pytest writes them: `#x1B`.
fn allowed(text: &str) -> String {
    let is_allowed = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{7e}' | '\u{80}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().fold(String::with_capacity(text.len()), |mut allowed, character| {
        if is_allowed(character) {
            allowed.push(character);
        } else {
            allowed.push_str(&format!("#x{:02X}", u32::from(character)));
        }
        allowed
    })
}

#[cfg(test)]
mod tests {
    use super::super::import::{Imported, import};
    use super::super::select::{RunFilter, TestFilter};
    use super::super::store::Store;
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let results: Vec<TestResult> = Outcome::ALL
            .into_iter()
            .map(|outcome| TestResult {
                node_id: format!("a/test_b.py::C::test_d[{}]", outcome.name()),
                outcome,
                duration_ms: 1500.0,
                message: (outcome != Outcome::Passed).then(|| "E   <&>\" \u{1b}\u{0} é]]>".to_string()),
                ..TestResult::default()
            })
            .collect();
        let mut bytes = Vec::new();
        write_junit(&mut bytes, &results).unwrap();
        let mut store = Store::temporary().unwrap();
        import(&mut store, bytes.as_slice(), None, 0, &mut Imported::default()).unwrap();
        for result in &results {
            let trail = store.trail(&result.node_id, &RunFilter::default()).unwrap();
            let expected = match result.outcome {
                Outcome::Xpassed => Outcome::Passed,
                Outcome::NotRun => Outcome::Error,
                other => other,
            };
            assert_eq!((trail.steps[0].outcome, trail.steps[0].duration_us), (expected, 1_500_000), "{trail:?}");
        }
        let failed = store.trail("a/test_b.py::C::test_d[failed]", &RunFilter::default()).unwrap();
        assert_eq!(failed.messages, ["E   <&>\" #x1B#x00 é]]>"]);
        assert_eq!(store.node_ids(&TestFilter::default()).unwrap().len(), results.len());
    }
}
