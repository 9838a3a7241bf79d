//! The first row of a table that accepts, with the reasons of those that refused.

use crate::backend::CompileOptions;
use crate::{Error, Result};

/// A named way to do a piece of work, which can refuse.
pub trait Row<P: ?Sized> {
    /// Its name in the table, such as `im2col`.
    fn name(&self) -> &'static str;

    /// Whether it takes the problem, or in one line why not.
    fn accepts(&self, problem: &P) -> Result<(), String>;
}

/// A row that did not take a layer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// The row's name, such as `conv2d/im2col`.
    pub algorithm: String,
    /// Its reason.
    pub reason: String,
}

/// What [`choose`] found.
#[derive(Debug)]
pub struct Choice<'a, R: ?Sized> {
    /// The row.
    pub row: &'a R,
    /// Those that were asked before it, with their reasons.
    pub refused: Vec<Refusal>,
}

/// The row named `wish`, if it is in the table and accepts; else the first that accepts. `family` is put before the
/// rows' names in reports: `conv2d` makes `conv2d/im2col`. Errors when every row refuses.
pub fn choose<'a, P: ?Sized, R: Row<P> + ?Sized>(
    family: &str,
    table: &[&'a R],
    problem: &P,
    layer: &str,
    wish: Option<&str>,
) -> Result<Choice<'a, R>> {
    let full = |row: &R| format!("{family}/{}", row.name());
    let wished = |row: &&&R| wish.is_some_and(|w| w == row.name() || w == full(row));
    let mut refused = Vec::new();
    let (first, rest): (Vec<&&R>, Vec<&&R>) = table.iter().partition(wished);
    for row in first.iter().chain(&rest) {
        match row.accepts(problem) {
            Ok(()) => return Ok(Choice { row, refused }),
            Err(reason) => refused.push(Refusal { algorithm: full(row), reason }),
        }
    }
    let refusals = refused.iter().map(|r| format!("{}: {}", r.algorithm, r.reason)).collect::<Vec<_>>().join("; ");
    Err(Error::NoAlgorithm { layer: layer.to_string(), refusals })
}

/// Errors where `wish` is none of the `known` rows, each named as in reports.
pub fn check_name(wish: Option<&str>, known: &[String]) -> Result<()> {
    let Some(name) = wish else { return Ok(()) };
    match known.iter().any(|k| k == name || row_of(k) == name) {
        true => Ok(()),
        false => Err(Error::UnknownAlgorithm { name: name.to_string(), known: known.join(", ") }),
    }
}

/// Where the row that the caller asked for is among those that refused: an error if the options are strict, else a warning.
pub fn heed_wish(backend: &str, layer: &str, options: &CompileOptions, refused: &[Refusal]) -> Result<()> {
    let wish = options.algorithm.as_deref();
    let wished = |r: &&Refusal| wish.is_some_and(|wish| r.algorithm == wish || row_of(&r.algorithm) == wish);
    let Some(refusal) = refused.iter().find(wished) else { return Ok(()) };
    let reason = format!("layer `{layer}`: {} refuses: {}", refusal.algorithm, refusal.reason);
    options.cannot(backend, reason, "another algorithm runs")
}

/// The row's name without its family.
fn row_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, row)| row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct UpTo(&'static str, u32);

    impl Row<u32> for UpTo {
        fn name(&self) -> &'static str {
            self.0
        }
        fn accepts(&self, problem: &u32) -> Result<(), String> {
            if *problem <= self.1 { Ok(()) } else { Err(format!("{problem} is over {}", self.1)) }
        }
    }

    #[test]
    fn the_first_that_accepts_is_taken_and_a_wish_goes_first() {
        let (small, large) = (UpTo("small", 3), UpTo("large", 9));
        let table: [&UpTo; 2] = [&small, &large];
        assert_eq!(choose("f", &table, &2, "l", None).unwrap().row.name(), "small");
        let choice = choose("f", &table, &5, "l", None).unwrap();
        assert_eq!(choice.row.name(), "large");
        assert_eq!(choice.refused, [Refusal { algorithm: "f/small".into(), reason: "5 is over 3".into() }]);
        assert_eq!(choose("f", &table, &2, "l", Some("f/large")).unwrap().row.name(), "large");
        assert_eq!(choose("f", &table, &5, "l", Some("small")).unwrap().refused[0].algorithm, "f/small");
        let error = choose("f", &table, &10, "l", None).unwrap_err().to_string();
        assert_eq!(error, "layer `l`: no algorithm accepts it (f/small: 10 is over 3; f/large: 10 is over 9)");
    }
}
