//! Owns one file for each failing test: what pytest said and what the test wrote, under a
//! name that every file system takes and no two tests share.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::record::TestResult;
use crate::whole_file;

/// How much of an id a name shows: with what makes it unique it stays below 255 bytes.
const MOST_OF_ID: usize = 150;

/// The folder of the files.
#[derive(Debug)]
pub struct OutputDir {
    folder: PathBuf,
}

impl OutputDir {
    /// Makes the folder.
    pub fn create(folder: &Path) -> std::io::Result<OutputDir> {
        std::fs::create_dir_all(folder)?;
        whole_file::check(&folder.join("test"))?;
        Ok(OutputDir { folder: folder.to_path_buf() })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the file of a test that failed; of one that did not, none.
    pub fn result(&self, result: &TestResult) -> std::io::Result<()> {
        if !result.outcome.is_failure() {
            return Ok(());
        }
        whole_file::write(&self.folder.join(file_name(&result.node_id)), |out| {
            std::io::Write::write_all(out, text(result).as_bytes())
        })
    }
}

/// `tests_test_a.py__test_b_1_-0f3a9c21.txt`
fn file_name(node_id: &str) -> String {
    let plain =
        |character: char| if character.is_ascii_alphanumeric() || "-.".contains(character) { character } else { '_' };
    let shown: String = node_id.chars().take(MOST_OF_ID).map(plain).collect();
    let digest: String = Sha256::digest(node_id.as_bytes())[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    // No file that a shell hides or takes for an option.
    format!("{}-{digest}.txt", shown.trim_start_matches(['.', '-']))
}

fn text(result: &TestResult) -> String {
    let mut text = format!("{} {}\n", result.node_id, result.outcome.name());
    let mut part = |cause: Option<&str>, message: Option<&str>, sections: &[(String, String)]| {
        cause.into_iter().chain(message).for_each(|said| text.push_str(&format!("\n{}\n", said.trim_end())));
        for (title, content) in sections {
            text.push_str(&format!("\n{:-^80}\n{content}", format!(" {title} ")));
            if !content.ends_with('\n') {
                text.push('\n');
            }
        }
    };
    let last = result.attempts.iter().map(|attempt| attempt.attempt).max().unwrap_or(1);
    for earlier in result.attempts.iter().filter(|attempt| attempt.attempt < last && attempt.outcome.is_failure()) {
        part(Some(&format!("attempt {}", earlier.attempt)), earlier.message.as_deref(), &earlier.sections);
    }
    part(result.cause.as_deref(), result.message.as_deref(), &result.sections);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_unique() {
        let ids =
            ["a/../../t.py::f[x/y]", "a/../../t.py::f[x_y]", "-rf::é\n\0", "..", &"x".repeat(5000), &"x".repeat(5001)];
        let names: std::collections::HashSet<String> = ids.iter().map(|id| file_name(id)).collect();
        assert_eq!(names.len(), ids.len());
        for name in names {
            assert!(name.len() < 200 && !name.starts_with('.'), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)), "{name}");
        }
    }

    #[test]
    fn a_file_holds_every_attempt() {
        let mut result = crate::result::died("t.py::f", "gw0", "exit 3", "it ended".into());
        result.sections = vec![("Captured stdout call".into(), "said".into())];
        result.attempts = vec![
            crate::record::Attempt {
                attempt: 1,
                outcome: crate::outcome::Outcome::Failed,
                message: Some("first".into()),
                ..Default::default()
            },
            crate::record::Attempt { attempt: 2, ..Default::default() },
        ];
        let text = text(&result);
        for part in ["t.py::f failed", "attempt 1\n\nfirst", "exit 3\n\nit ended", " Captured stdout call ", "\nsaid\n"]
        {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}
