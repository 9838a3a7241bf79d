//! Maps a file into memory.

use std::fs::File;
use std::io;
use std::path::Path;

/// The bytes of a mapped file; none of an empty one, which cannot be mapped.
pub(super) enum Mapping {
    Empty,
    Mapped(memmap2::Mmap),
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        match self {
            Mapping::Empty => &[],
            Mapping::Mapped(map) => map,
        }
    }
}

#[allow(unsafe_code)]
pub(super) fn map(path: &Path) -> io::Result<Mapping> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
    }
    if metadata.len() == 0 {
        return Ok(Mapping::Empty);
    }
    // SAFETY: the mapping is read only and private. That nobody changes the file while it is mapped is a condition of
    // `weights_file::map`, which its documentation states; every value read from it is valid as a byte or an f32.
    Ok(Mapping::Mapped(unsafe { memmap2::Mmap::map(&file)? }))
}
