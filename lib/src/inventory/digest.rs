//! Owns the identity of a collection: one digest over all tests in order. Pure.

use sha2::{Digest, Sha256};

use crate::record::Test;

/// Digests the tests of one file that follow each other.
///
/// Canonical form, per test in order: node_id, file_path, lineno in decimal
/// (empty if unknown), name, class_name (empty if none), each mark's name, then
/// `skip` or nothing, `xfail` or nothing, the group. Every field is its length
/// in bytes as u64 little-endian and its UTF-8 bytes; the marks are preceded by
/// their number as u64 little-endian.
#[derive(Default)]
pub struct TestsHasher(Sha256);

impl TestsHasher {
    /// Takes in the next test.
    pub fn push(&mut self, test: &Test) {
        self.push_at(test, test.lineno);
    }

    /// The same as if its line were unknown: lines move with every edit above them.
    pub fn push_without_line(&mut self, test: &Test) {
        self.push_at(test, None);
    }

    fn push_at(&mut self, test: &Test, lineno: Option<u32>) {
        self.field(&test.node_id);
        self.field(&test.file_path);
        self.field(&lineno.map(|line| line.to_string()).unwrap_or_default());
        self.field(&test.name);
        self.field(test.class_name.as_deref().unwrap_or_default());
        self.0.update((test.markers.len() as u64).to_le_bytes());
        for marker in &test.markers {
            self.field(marker);
        }
        self.field(if test.skip { "skip" } else { "" });
        self.field(if test.xfail { "xfail" } else { "" });
        self.field(test.group.as_deref().unwrap_or_default());
    }

    /// 64 hex digits.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }

    fn field(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }
}

/// Digests tests one after another: sha256 over the digits of each [`TestsHasher`], of which
/// there is one for each run of tests of one file. What is known of a file that did not change
/// stands for its tests.
#[derive(Default)]
pub struct InventoryHasher {
    closed: Sha256,
    /// The file of the last test, and its tests so far.
    open: Option<(String, TestsHasher)>,
}

impl InventoryHasher {
    /// Takes in the next test.
    pub fn push(&mut self, test: &Test) {
        if self.open.as_ref().is_none_or(|(file, _)| *file != test.file_path) {
            self.close();
        }
        let (_, tests) = self.open.get_or_insert_with(|| (test.file_path.clone(), TestsHasher::default()));
        tests.push(test);
    }

    /// Takes in the next tests of one file, all that follow each other there, by what their
    /// [`TestsHasher`] gave.
    pub fn push_digest(&mut self, digest: &str) {
        self.close();
        self.closed.update(digest.as_bytes());
    }

    fn close(&mut self) {
        if let Some((_, tests)) = self.open.take() {
            self.closed.update(tests.finish().as_bytes());
        }
    }

    /// `sha256:` and 64 hex digits.
    pub fn finish(mut self) -> String {
        self.close();
        format!("sha256:{}", hex(&self.closed.finalize()))
    }
}

/// The digest over length-delimited parts, as so many bytes in hex.
pub fn hex_digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>, bytes: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize()[..bytes])
}

/// Two lower-case digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[digit as usize] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(tests: &[Test]) -> String {
        let mut hasher = InventoryHasher::default();
        tests.iter().for_each(|test| hasher.push(test));
        hasher.finish()
    }

    #[test]
    fn golden_vectors() {
        assert_eq!(hash(&[]), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let test = Test {
            node_id: "t.py::C::f[ä]".into(),
            file_path: "t.py".into(),
            lineno: Some(3),
            name: "f[ä]".into(),
            class_name: Some("C".into()),
            markers: vec!["slow".into(), "parametrize".into()],
            xfail: true,
            ..Test::default()
        };
        assert_eq!(hash(&[test]), "sha256:97cccdde5ba8492a7eb68f6f7d45506a03995f652aca0fbb2806a0b5542a563a");
    }

    #[test]
    fn a_file_s_digest_stands_for_its_tests() {
        let test = |file: &str, name: &str| Test {
            node_id: format!("{file}::{name}"),
            file_path: file.into(),
            lineno: Some(1),
            ..Test::default()
        };
        let all = [test("a", "f"), test("b", "f"), test("b", "g"), test("a", "h")];
        let mut tests = TestsHasher::default();
        all[1..3].iter().for_each(|test| tests.push(test));
        let mut hasher = InventoryHasher::default();
        hasher.push(&all[0]);
        hasher.push_digest(&tests.finish());
        hasher.push(&all[3]);
        assert_eq!(hasher.finish(), hash(&all));
        assert_ne!(hash(&all), hash(&[all[0].clone(), all[3].clone(), all[1].clone(), all[2].clone()]));
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let one = Test { node_id: "ab".into(), file_path: "c".into(), ..Test::default() };
        let other = Test { node_id: "a".into(), file_path: "bc".into(), ..Test::default() };
        assert_ne!(hash(&[one]), hash(&[other]));
    }
}
