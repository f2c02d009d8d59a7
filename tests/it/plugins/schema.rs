//! JUnit files are what the schema of their readers says.

use super::beside::{python, python_of};
use crate::project::Project;
use crate::suites::Suite;

const VALIDATE: &str = "import sys, xmlschema; xmlschema.XMLSchema(sys.argv[1]).validate(sys.argv[2])";

#[test]
fn every_outcome_and_oddity_is_valid() {
    let suite = Suite::named("oddities");
    let project = Project::suite(&suite).env("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1").env("RPT_PYTHON", python());
    let run = project.command("rpt-run").args(["-n", "2", "--reruns", "1", "--junit", "out.xml", ".", "--"]);
    run.args(&suite.args).run().assert_code(1);
    let text = project.read("out.xml");
    for part in ["<failure", "<error", "<skipped", "<rerunFailure", "<rerunError", "<system-out", "<?rpt"] {
        assert!(text.contains(part), "{part}");
    }
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/it/plugins/xunit2.xsd");
    python_of(&project).args(["-c", VALIDATE, schema, "out.xml"]).run().assert_code(0);
}
