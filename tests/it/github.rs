//! rpt-run --github: annotations, the step's summary, and output of tests that is no command.

use crate::output::Output;
use crate::project::Project;

fn project() -> Project {
    Project::empty().file(
        "inner/test_it.py",
        "import os, sys\n\
         def test_passes(): pass\n\
         def test_fails():\n\
         \x20   print('::error::from a test')\n\
         \x20   os.write(2, b'::set-env name=PATH::/evil\\n##[add-mask]a\\n')\n\
         \x20   assert 0, 'broken, 100 %'\n",
    )
}

/// The lines of stderr of which GitHub would read commands.
fn read_as_commands(output: &Output) -> Vec<String> {
    let mut commands = Vec::new();
    let mut token: Option<String> = None;
    for line in output.stderr().lines().map(str::trim_start) {
        match &token {
            Some(stopped) if line == format!("::{stopped}::") => token = None,
            Some(_) => {}
            None => match line.strip_prefix("::stop-commands::") {
                Some(begun) => token = Some(begun.to_string()),
                None if line.starts_with("::") || line.contains("##[") => commands.push(line.to_string()),
                None => {}
            },
        }
    }
    assert!(token.is_none(), "commands are stopped for ever");
    commands
}

#[test]
fn a_failure_is_an_annotation_and_nothing_else_is_a_command() {
    let project = project();
    let summary = project.temporary().join("summary.md");
    std::fs::write(&summary, "from before\n").unwrap();
    for format in ["json", "text"] {
        let run = project.command("rpt-run").args(["-n", "2", "--format", format, ".", "--", "-s"]);
        let run = run.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKSPACE", project.path());
        let output = run.env("GITHUB_STEP_SUMMARY", &summary).run();
        output.assert_code(1);
        assert_eq!(
            read_as_commands(&output),
            [
                "::error file=inner/test_it.py,line=6,title=test_fails failed::AssertionError: broken, 100 %25%0Aassert 0"
            ]
        );
        assert!(output.stderr().contains("::set-env"), "it was printed");
    }
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("from before\n") && text.contains("| failed | 1 |"), "{text}");
    assert!(text.contains("<code>inner/test_it.py::test_fails failed</code>"), "{text}");
    std::fs::remove_file(summary).unwrap();
    project.assert_nothing_left();
}

#[test]
fn it_is_off_elsewhere_and_on_when_asked_for() {
    let project = project();
    let run = |github: &str| project.command("rpt-run").args(["-n", "1", "--github", github, "."]).run();
    assert!(!run("auto").stderr().contains("::stop-commands::"));
    assert_eq!(read_as_commands(&run("on")).len(), 1);
    let off = project.command("rpt-run").args(["-n", "1", "--github", "off", "."]).env("GITHUB_ACTIONS", "true").run();
    assert!(!off.stderr().contains("::stop-commands::"));
}

#[test]
fn files_that_cannot_be_collected_are_annotations() {
    let project = Project::with_test("import nothing_of_that_name\n");
    let output = project.command("rpt-run").args(["-n", "1", "--github", "on", "."]).run();
    output.assert_code(2);
    let commands = read_as_commands(&output);
    assert_eq!(commands.len(), 1, "{commands:?}");
    assert!(commands[0].starts_with("::error file=test_it.py,title=test_it.py cannot be collected::"), "{commands:?}");
}
