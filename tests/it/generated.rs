//! Manual pages and completions that every program generates.

use crate::project::Project;

#[test]
fn every_program_has_a_page_and_completions() {
    let project = Project::empty();
    for program in ["rpt-collect", "rpt-order", "rpt-shard", "rpt-run", "rpt-history", "rpt-serve"] {
        for (kind, part) in [("man", ".TH"), ("bash", "complete -F"), ("zsh", "#compdef"), ("fish", "complete -c")] {
            let output = project.command(program).args(["--generate", kind]).run();
            output.assert_code(0);
            assert!(output.text().contains(part), "{program} {kind}: {}", output.text());
        }
        let wrong = project.command(program).args(["--generate", "tcsh"]).run();
        wrong.assert_code(4).assert_one_line(&[program, "tcsh", "man, bash, zsh or fish"]);
    }
    project.shell("rpt-run --generate bash | bash -n").run().assert_code(0);
}
