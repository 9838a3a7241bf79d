//! Maps a file into memory.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use cnn_core::Storage;

/// The bytes of a mapped file; none of an empty one, which cannot be mapped.
pub(crate) enum Mapping {
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

impl Storage for Mapping {
    #[cfg(unix)]
    #[allow(unsafe_code)]
    fn release(&self, range: Range<usize>) {
        if let Mapping::Mapped(map) = self {
            // SAFETY: the mapping is of a file, private and never written, so pages that are dropped are read from the file
            // again when they are needed, with the same bytes.
            let dropped =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            // Memory that stays is no error.
            dropped.ok();
        }
    }
}

#[allow(unsafe_code)]
pub(crate) fn map(path: &Path) -> io::Result<Mapping> {
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
