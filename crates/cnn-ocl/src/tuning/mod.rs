//! What is known of each device: the parameters of the kernels, looked up by device, architecture, vendor, default.

mod search;
mod space;

use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use search::{Outcome, Tried, tune, write_tuning};

use crate::device::Traits;

/// What the library ships.
const SHIPPED: &str = include_str!("../../tuning/kernels.toml");

/// Parameters of the kernels on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Channels of a block, and floats of a vector: 1, 2, 4, 8 or 16.
    pub lanes: usize,
    /// Rows of the highest tile of sums.
    pub rows: usize,
    /// Vectors of a tile's rows.
    pub vectors: usize,
    /// Work-items of a group of the kernels with tiles, along the tiles and along the blocks of outputs.
    pub tile_group: [usize; 2],
    /// Work-items of a group of the kernel `work_group`, across and down; none where no group is faster on the device than those
    /// that the driver chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_group: Option<[usize; 2]>,
    /// Work-items that share the sum of one fully connected output of a single sample.
    pub linear_parts: usize,
    /// Bytes of transformed values that are worked on at a time in Winograd convolution.
    pub winograd_bytes: usize,
    /// Vectors of samples that lie side by side in training, each read by a work-item of a group.
    #[serde(default = "sample_vectors")]
    pub sample_vectors: usize,
    /// Parameters of CLBlast's kernel `Xgemm` by shape: the first whose pixels are as many or more are used. Where there is
    /// none, CLBlast's own.
    #[serde(default)]
    pub clblast: Vec<Clblast>,
    /// Multiply-adds that the device does while it reads a byte.
    pub macs_per_byte: f64,
}

/// Parameters of CLBlast's kernel `Xgemm`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clblast {
    /// The most pixels of an output that they are for.
    pub most_pixels: usize,
    /// GEMMK, KREG, KWG, KWI, MDIMA, MDIMC, MWG, NDIMB, NDIMC, NWG, SA, SB, STRM, STRN, VWM, VWN.
    pub parameters: [usize; 16],
}

/// What files that do not tell have.
fn sample_vectors() -> usize {
    16
}

/// An entry of the database.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The most exact of these three that the entry is about; none for the default.
    device: Option<String>,
    architecture: Option<String>,
    vendor: Option<String>,
    /// Where the parameters come from: the device that they were measured on, or a published fact.
    source: String,
    parameters: Tuning,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Database {
    entry: Vec<Entry>,
}

impl Tuning {
    /// Work-items of a group of the kernels that look at each element once.
    pub(crate) fn line_group(&self) -> [usize; 3] {
        [64, 1, 1]
    }

    /// CLBlast's parameters for an output of so many pixels.
    #[cfg(feature = "clblast")]
    pub(crate) fn clblast_for(&self, pixels: usize) -> Option<[usize; 16]> {
        self.clblast.iter().find(|entry| entry.most_pixels >= pixels).map(|entry| entry.parameters)
    }

    /// Work-items of a group of the kernels that transform tiles.
    pub(crate) fn transform_group(&self) -> [usize; 3] {
        [self.tile_group[0], self.tile_group[1], 1]
    }

    /// The shipped parameters for devices of which nothing is known.
    pub fn fallback() -> Tuning {
        let default = shipped().iter().find(|e| e.device.is_none() && e.architecture.is_none() && e.vendor.is_none());
        default.expect("the shipped database has a default").parameters.clone()
    }

    /// The shipped parameters that fit the device best.
    pub fn of(traits: &Traits) -> Tuning {
        let exactness = |entry: &&Entry| match entry {
            Entry { device: Some(device), .. } => (*device == traits.name).then_some(3),
            Entry { architecture: Some(architecture), .. } => (*architecture == traits.architecture).then_some(2),
            Entry { vendor: Some(vendor), .. } => (*vendor == traits.vendor).then_some(1),
            _ => Some(0),
        };
        let best = shipped().iter().filter(|entry| exactness(entry).is_some()).max_by_key(exactness);
        best.map_or_else(Tuning::fallback, |entry| entry.parameters.clone())
    }

    /// What a user's file, written by the tuner, has about the device. A file that is missing says nothing; one that cannot be
    /// read or understood is warned of.
    pub fn of_file(path: &Path, traits: &Traits) -> Option<Tuning> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("{}: {error}; the shipped parameters are used", path.display());
                return None;
            }
        };
        Self::of_text(&text, &traits.name).unwrap_or_else(|reason| {
            tracing::warn!("{}: {reason}; the shipped parameters are used", path.display());
            None
        })
    }

    /// What the text of such a file has about a device of this name, or in one line what is wrong with it.
    pub fn of_text(text: &str, device: &str) -> Result<Option<Tuning>, String> {
        let database: Database = toml::from_str(text).map_err(|error| error.message().to_string())?;
        let entry = database.entry.into_iter().rev().find(|entry| entry.device.as_deref() == Some(device));
        entry.map(|entry| entry.parameters.checked()).transpose()
    }

    /// The parameters, if kernels can be made with them.
    pub(crate) fn checked(self) -> Result<Tuning, String> {
        /// Beyond what any device has, and far below where sizes overflow.
        const MOST: usize = 1 << 12;
        const MOST_BYTES: usize = 1 << 30;
        let sizes = [self.rows, self.vectors, self.linear_parts, self.sample_vectors];
        let groups = self.tile_group.into_iter().chain(self.work_group.into_iter().flatten());
        let possible_set = |set: &[usize; 16]| set[2..10].iter().all(|value| (1..=MOST).contains(value));
        let clblast = self.clblast.iter().all(|entry| possible_set(&entry.parameters));
        let possible = [1, 2, 4, 8, 16].contains(&self.lanes)
            && sizes.into_iter().chain(groups).all(|value| (1..=MOST).contains(&value))
            && self.rows * self.vectors * self.lanes <= MOST
            && self.sample_vectors * self.lanes <= MOST
            && (1..=MOST_BYTES).contains(&self.winograd_bytes)
            && clblast
            && self.macs_per_byte > 0.0
            && self.macs_per_byte.is_finite();
        if possible { Ok(self) } else { Err(format!("no kernels can be made with {self:?}")) }
    }
}

/// The text of a database of these entries. Errors where a number is too large for the format.
fn text(entries: &[Entry]) -> Result<String, toml::ser::Error> {
    toml::to_string(&Database { entry: entries.to_vec() })
}

/// The shipped entries.
fn shipped() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| {
        let database: Database = toml::from_str(SHIPPED).expect("the shipped database is well-formed");
        database.entry
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(name: &str, architecture: &str, vendor: &str) -> Traits {
        Traits {
            name: name.to_string(),
            vendor: vendor.to_string(),
            architecture: architecture.to_string(),
            is_cpu: false,
            half: false,
            alignment: 128,
            largest_buffer: 1 << 30,
            local_memory: 32 << 10,
            largest_group: 256,
        }
    }

    #[test]
    fn the_most_exact_entry_is_taken() {
        assert_eq!(Tuning::of(&traits("x", "pocl-16", "amd")).lanes, 16);
        assert_eq!(Tuning::of(&traits("x", "pocl-8", "amd")).rows, 6);
        assert_eq!(Tuning::of(&traits("Mali-T628", "midgard", "arm")).lanes, 4);
        assert_eq!(Tuning::of(&traits("x", "y", "z")).lanes, 4);
    }

    #[test]
    fn shipped_parameters_are_possible() {
        for Entry { source, parameters: p, .. } in shipped() {
            assert_eq!(p.clone().checked().as_ref(), Ok(p), "{source}");
        }
    }

    #[test]
    fn a_users_file_is_read_back_and_garbage_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuning.toml");
        let traits = traits("a device", "x", "y");
        assert_eq!(Tuning::of_file(&path, &traits), None);
        let tuned = Tuning { rows: 3, ..Tuning::fallback() };
        let entry = |device: &str, tuning: &Tuning| Entry {
            device: Some(device.to_string()),
            architecture: None,
            vendor: None,
            source: "a test".to_string(),
            parameters: tuning.clone(),
        };
        std::fs::write(&path, text(&[entry("another", &Tuning::fallback()), entry("a device", &tuned)]).unwrap())
            .unwrap();
        assert_eq!(Tuning::of_file(&path, &traits), Some(tuned.clone()));
        let impossible = Tuning { lanes: 3, ..tuned };
        for garbage in ["", "[[entry]]", "lanes = 3", "\u{0}\u{ff}", &text(&[entry("a device", &impossible)]).unwrap()]
        {
            std::fs::write(&path, garbage).unwrap();
            assert_eq!(Tuning::of_file(&path, &traits), None, "{garbage}");
        }
    }
}
