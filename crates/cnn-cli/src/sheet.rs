//! Rows that a person reads and a file keeps.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::output::{Output, table};

/// A table whose first column is words.
pub(crate) struct Sheet {
    header: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Sheet {
    pub(crate) fn new(header: &'static [&'static str]) -> Self {
        Sheet { header, rows: Vec::new() }
    }

    /// Adds a row of cells without commas.
    pub(crate) fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    pub(crate) fn print(&self, output: &Output) {
        let mut shown = table(self.header, 1..self.header.len());
        for row in &self.rows {
            shown.add_row(row);
        }
        output.say(shown.trim_fmt());
    }

    /// Writes `<folder>/<name>.csv`.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let path = folder.join(name).with_extension("csv");
        let lines = std::iter::once(self.header.join(",")).chain(self.rows.iter().map(|row| row.join(",")));
        let text: String = lines.flat_map(|line| [line, "\n".to_string()]).collect();
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

/// A number that there may be none of, to three decimals.
pub(crate) fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.3}"))
}
