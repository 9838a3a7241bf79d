//! What goes to standard output, and what to standard error.

use std::io::Write;
use std::ops::Range;

use cnn::train::metrics::Confusion;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Prints for a person, or, with `--json`, ends standard output with one JSON object.
pub(crate) struct Output {
    json: bool,
    silent: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Output { json, silent: false }
    }

    /// Of the worker of this rank: only the first one prints.
    pub(crate) fn of_rank(&self, rank: usize) -> Self {
        Output { json: self.json, silent: self.silent || rank != 0 }
    }

    /// Whether nothing is printed.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Prints text for a person: to standard output, or to standard error where that is for JSON.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        if self.silent {
            return;
        }
        let written = match self.json {
            true => writeln!(std::io::stderr(), "{text}"),
            false => writeln!(std::io::stdout(), "{text}"),
        };
        quit_if_nobody_reads(written);
    }

    /// Prints the command's result where JSON was asked for.
    pub(crate) fn finish(&self, result: &impl Serialize) -> anyhow::Result<()> {
        if self.json && !self.silent {
            quit_if_nobody_reads(writeln!(std::io::stdout(), "{}", serde_json::to_string(result)?));
        }
        Ok(())
    }
}

/// `cnn inspect vgg16 | head` is no error.
fn quit_if_nobody_reads(written: std::io::Result<()>) {
    if written.is_err() {
        std::process::exit(0);
    }
}

/// A table with a header; the columns `numbers` to the right, the others to the left.
pub(crate) fn table(header: &[&str], numbers: Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().take(numbers.end).skip(numbers.start) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A row a class, with its name where it has one; a column for what it was taken for.
pub(crate) fn confusion_table(confusion: &Confusion, names: &[String]) -> Table {
    let classes: Vec<String> = (0..confusion.classes()).map(|c| c.to_string()).collect();
    let header: Vec<&str> = std::iter::once("is \\ taken for").chain(classes.iter().map(String::as_str)).collect();
    let mut rows = table(&header, 1..header.len());
    for (truth, class) in classes.iter().enumerate() {
        let name =
            names.get(truth).filter(|name| *name != class).map_or(class.clone(), |name| format!("{class} {name}"));
        let counts = confusion.row(truth).iter().map(|&n| if n == 0 { ".".to_string() } else { n.to_string() });
        rows.add_row(std::iter::once(name).chain(counts));
    }
    rows
}
