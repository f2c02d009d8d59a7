//! Owns reading a git checkout: commit, branch, and whether the tree is clean.
//! Without git or outside a repository nothing is known, and nothing fails.

use std::path::{Path, PathBuf};

use duct::cmd;

/// Where HEAD is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// In hex.
    pub(super) commit_id: Option<String>,
    /// `None` when detached.
    pub(super) branch: Option<String>,
}

/// HEAD of the repository around `dir`. Reads git's files itself, which takes microseconds
/// where a process takes milliseconds, and asks git where these do not say.
pub(super) fn head(dir: &Path) -> Head {
    let Some(git_dir) = dir.ancestors().find_map(git_dir) else {
        return Head::default();
    };
    let Ok(content) = std::fs::read_to_string(git_dir.join("HEAD")) else {
        return Head::default();
    };
    let content = content.trim();
    let Some(reference) = content.strip_prefix("ref: ") else {
        return Head { commit_id: is_commit(content).then(|| content.to_string()), branch: None };
    };
    let commit_id = resolve(&git_dir, reference).or_else(|| ask(dir, &["rev-parse", "--verify", "--quiet", "HEAD"]));
    let branch = match reference.strip_prefix("refs/heads/") {
        // What the reftable format writes: the real HEAD is in its tables.
        Some(".invalid") => ask(dir, &["symbolic-ref", "--short", "--quiet", "HEAD"]),
        branch => branch.map(str::to_string),
    };
    Head { commit_id, branch }
}

/// A command that lists what is not committed, one a line: changes, and files neither tracked nor ignored.
pub(super) fn status(dir: &Path) -> duct::Expression {
    // Optional locks would make a git command of the user's fail at the same moment.
    cmd("git", ["-C", &dir.to_string_lossy(), "status", "--porcelain"])
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin_null()
        .stderr_null()
        .stdout_capture()
}

/// The git directory of the checkout whose top is `dir`.
fn git_dir(dir: &Path) -> Option<PathBuf> {
    let entry = dir.join(".git");
    if entry.is_dir() {
        return Some(entry);
    }
    // A worktree or a submodule: a file that names the place.
    let content = std::fs::read_to_string(entry).ok()?;
    Some(dir.join(content.strip_prefix("gitdir:")?.trim()))
}

fn resolve(git_dir: &Path, reference: &str) -> Option<String> {
    // Worktrees share their refs with the main checkout.
    let common = match std::fs::read_to_string(git_dir.join("commondir")) {
        Ok(path) => git_dir.join(path.trim()),
        Err(_) => git_dir.to_path_buf(),
    };
    let loose = [git_dir, common.as_path()].into_iter().find_map(|base| {
        let content = std::fs::read_to_string(base.join(reference)).ok()?;
        let commit = content.trim();
        is_commit(commit).then(|| commit.to_string())
    });
    loose.or_else(|| {
        let packed = std::fs::read_to_string(common.join("packed-refs")).ok()?;
        let line = packed.lines().find(|line| line.split(' ').nth(1) == Some(reference))?;
        let commit = line.split(' ').next()?;
        is_commit(commit).then(|| commit.to_string())
    })
}

/// The variables in which a CI service names the commit that it checked out, and those in which
/// it names the branch, the first that says one. Its checkouts are detached.
const SERVICES: [(&str, &[&str]); 2] = [
    // The second is a tag's name where no branch is built: then GITHUB_REF_TYPE says so.
    ("GITHUB_SHA", &["GITHUB_HEAD_REF", "GITHUB_REF_NAME"]),
    ("CI_COMMIT_SHA", &["CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH"]),
];

/// The branch that a CI service says `commit` was checked out for. `variable` reads the environment.
pub(super) fn branch_of_service(commit: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (_, branches) = SERVICES.iter().find(|(sha, _)| variable(sha).as_deref() == Some(commit))?;
    let of_tag = variable("GITHUB_REF_TYPE").as_deref() == Some("tag");
    let mut branches = branches.iter().filter(|name| !(of_tag && **name == "GITHUB_REF_NAME"));
    branches.find_map(|name| variable(name).filter(|branch| !branch.is_empty()))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn ask(dir: &Path, args: &[&str]) -> Option<String> {
    let dir = dir.to_string_lossy();
    let answer = cmd("git", ["-C", &dir].iter().chain(args)).stdin_null().stderr_null().read().ok()?;
    let answer = answer.trim();
    (!answer.is_empty()).then(|| answer.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    #[test]
    fn a_detached_checkout_of_a_ci_service_has_its_branch() {
        let branch = |variables: &[(&str, &str)]| {
            branch_of_service(COMMIT, |name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
            })
        };
        let github = ("GITHUB_SHA", COMMIT);
        let reference = ("GITHUB_REF_NAME", "7/merge");
        assert_eq!(branch(&[github, ("GITHUB_HEAD_REF", "topic"), reference]).as_deref(), Some("topic"));
        assert_eq!(branch(&[github, ("GITHUB_HEAD_REF", ""), reference]).as_deref(), Some("7/merge"));
        assert_eq!(branch(&[github, ("GITHUB_REF_TYPE", "tag"), reference]), None);
        assert_eq!(branch(&[("CI_COMMIT_SHA", COMMIT), ("CI_COMMIT_BRANCH", "main")]).as_deref(), Some("main"));
        // Another repository's commit is not what the service speaks of.
        assert_eq!(branch(&[("GITHUB_SHA", "0"), reference]), None);
        assert_eq!(branch(&[reference]), None);
    }

    #[test]
    fn where_head_is() {
        let branch = format!("{COMMIT}\n");
        let packed = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^abc\n");
        for (files, commit, name) in [
            (vec![(".git/HEAD", "ref: refs/heads/a/b\n"), (".git/refs/heads/a/b", &branch)], true, Some("a/b")),
            (vec![(".git/HEAD", "ref: refs/heads/main\n"), (".git/packed-refs", &packed)], true, Some("main")),
            (vec![(".git/HEAD", &branch)], true, None),
            (vec![(".git/HEAD", "ref: refs/heads/unborn\n")], false, Some("unborn")),
            (vec![(".git/HEAD", "\u{0}nonsense")], false, None),
            (
                vec![
                    (".git", "gitdir: main.git/worktrees/w\n"),
                    ("main.git/worktrees/w/HEAD", "ref: refs/heads/w\n"),
                    ("main.git/worktrees/w/commondir", "../..\n"),
                    ("main.git/refs/heads/w", &branch),
                ],
                true,
                Some("w"),
            ),
        ] {
            let root = tempfile::tempdir().unwrap();
            write(root.path(), &files);
            let below = root.path().join("x/y");
            std::fs::create_dir_all(&below).unwrap();
            let expected = Head { commit_id: commit.then(|| COMMIT.to_string()), branch: name.map(str::to_string) };
            assert_eq!(head(&below), expected, "{files:?}");
        }
    }
}
