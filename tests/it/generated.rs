//! Manual pages and completions that every program generates, and where `scripts/install` puts them.

use std::path::Path;

use crate::output::Output;
use crate::project::{Project, binary};

/// Every program, as the folders in `bins` name them.
fn programs() -> Vec<String> {
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../bins")).unwrap();
    let folders = folders.map(|folder| folder.unwrap().path());
    let mut names: Vec<String> = folders
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .map(|folder| folder.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    names
}

#[test]
fn every_program_has_a_page_and_completions() {
    let project = Project::empty();
    for program in programs() {
        for (kind, part) in [("man", ".TH"), ("bash", "complete -F"), ("zsh", "#compdef"), ("fish", "complete -c")] {
            let output = project.command(&program).args(["--generate", kind]).run();
            output.assert_code(0);
            assert!(output.text().contains(part), "{program} {kind}: {}", output.text());
        }
        let wrong = project.command(&program).args(["--generate", "tcsh"]).run();
        wrong.assert_code(4).assert_one_line(&[&program, "tcsh", "man, bash, zsh or fish"]);
    }
    project.shell("rpt-run --generate bash | bash -n").run().assert_code(0);
}

/// `scripts/install` with these binaries, into a folder of the project.
fn install(project: &Project, built: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/install");
    let command = project.shell(&format!("exec {script}")).env("PREFIX", project.path().join("prefix"));
    command.env("BUILT", built).run()
}

#[test]
fn install_puts_everything_in_its_place() {
    let project = Project::empty();
    let built = binary("rpt-run").parent().unwrap().to_path_buf();
    let prefix = project.path().join("prefix");
    // The second time over what is there, as an upgrade does.
    for _ in 0..2 {
        let output = install(&project, &built);
        output.assert_code(0).assert_one_line(&["prefix/bin is not on PATH"]);
        assert_eq!(output.lines().len(), programs().len());
    }
    for program in programs() {
        let at = |path: String| project.read(&format!("prefix/{path}"));
        assert!(at(format!("share/man/man1/{program}.1")).contains(".SH EXAMPLES"), "{program}");
        assert!(at(format!("share/zsh/site-functions/_{program}")).starts_with(&format!("#compdef {program}")));
        assert!(
            at(format!("share/fish/vendor_completions.d/{program}.fish")).contains(&format!("complete -c {program}"))
        );
        let version = project.shell(&format!("prefix/bin/{program} --version")).run();
        assert!(version.assert_code(0).text().starts_with(&format!("{program} ")), "{version:#?}");
    }
    // bash completes an option and a subcommand with what was put there.
    let script = "for file in prefix/share/bash-completion/completions/*; do . \"$file\"; done\n\
        completed() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); \
        $(complete -p \"$1\" | sed 's/.*-F \\([^ ]*\\).*/\\1/') \"$1\" \"${@: -1}\" \"\"; echo \"${COMPREPLY[@]}\"; }\n\
        completed rpt-run --jun\n\
        completed rpt-history fla\n";
    project.write("complete.bash", script);
    let output = project.shell("bash --norc complete.bash").run();
    assert_eq!(output.assert_code(0).lines(), ["--junit --junit-family", "flaky"], "{output:#?}");
    assert!(prefix.join("bin/rpt-run").is_file());
}

#[test]
fn install_says_what_is_not_built() {
    let project = Project::empty();
    let output = install(&project, &project.path());
    assert_ne!(output.code(), 0);
    assert!(output.stderr().contains("rpt-collect"), "{output:#?}");
}
