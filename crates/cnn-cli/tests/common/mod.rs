//! The program run as a user runs it, and data for it.

// Each file of tests uses a part.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) fn cnn(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cnn"));
    // A cache of its own: what the user tuned does not count here.
    let cache = env!("CARGO_TARGET_TMPDIR");
    command.args(arguments).env_remove("CNN_BACKEND").env("XDG_CACHE_HOME", cache);
    command
}

/// The JSON that the last line of standard output holds.
pub(crate) fn json(arguments: &[&str]) -> Value {
    let output = cnn(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// The one line of standard error of a command that has to end with code 2.
pub(crate) fn refused(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = cnn(arguments).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    assert!(text.starts_with("error: ") && !text.contains("panicked"), "{text}");
    text.trim_start_matches("error: ").trim_end().to_string()
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A directory with the thousand digits, as training set and as test set.
pub(crate) fn mnist() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for kind in ["images-idx3", "labels-idx1"] {
        let source = repository().join(format!("tests/data/mnist-1000/t10k-{kind}-ubyte.gz"));
        for split in ["t10k", "train"] {
            std::fs::copy(&source, directory.path().join(format!("{split}-{kind}-ubyte.gz"))).unwrap();
        }
    }
    directory
}
