//! The same program in a process of its own, whose peak of memory is that of one training.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::output::Output;

/// The JSON object that `cnn <words> --json` ends with. What it tells meanwhile is told here; its error is the error.
pub(super) fn run(output: &Output, words: &[String]) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.args(words).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut error = None;
    if let Some(told) = child.stderr.take() {
        for line in BufReader::new(told).lines() {
            let line = line?;
            match line.strip_prefix("error: ") {
                Some(reason) => error = Some(reason.to_string()),
                None => output.say(line),
            }
        }
    }
    let mut result = String::new();
    if let Some(mut printed) = child.stdout.take() {
        printed.read_to_string(&mut result)?;
    }
    let status = child.wait()?;
    match error {
        Some(reason) => bail!(reason),
        None if !status.success() => bail!("`cnn {}` ended with {status}", words.join(" ")),
        None => serde_json::from_str(&result).with_context(|| format!("`cnn {}`", words.join(" "))),
    }
}
