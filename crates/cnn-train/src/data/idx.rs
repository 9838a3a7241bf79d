//! IDX files, as MNIST and its relatives are published in: a magic number, the extents as big-endian `u32`, then
//! bytes. Plain, or compressed with gzip. Format: <http://yann.lecun.com/exdb/mnist/>, section "file formats".

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::{Error, Result};

/// Most elements that a file may claim: a hundred times MNIST.
const MOST_ELEMENTS: u64 = 1 << 33;

/// An array of bytes with its extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub data: Vec<u8>,
}

impl Idx {
    /// Reads a file. It may be compressed, whatever its name.
    pub fn read(path: &Path) -> Result<Idx> {
        let open = || -> io::Result<Result<Idx, String>> { Self::parse(BufReader::new(File::open(path)?)) };
        let parsed = open().map_err(|cause| Error::File { path: path.to_path_buf(), cause })?;
        parsed.map_err(|reason| Error::Format { path: path.to_path_buf(), reason })
    }

    /// Reads bytes, compressed or not. The error says what is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Idx, String> {
        Self::parse(bytes).unwrap_or_else(|error| Err(error.to_string()))
    }

    fn parse(mut source: impl io::BufRead) -> io::Result<Result<Idx, String>> {
        let start = source.fill_buf()?;
        match start.starts_with(&[0x1f, 0x8b]) {
            true => Self::parse_plain(GzDecoder::new(source)),
            false => Self::parse_plain(source),
        }
    }

    fn parse_plain(mut source: impl Read) -> io::Result<Result<Idx, String>> {
        let mut magic = Vec::new();
        source.by_ref().take(4).read_to_end(&mut magic)?;
        let [0, 0, kind, rank] = magic[..] else {
            return Ok(Err("no IDX file: it does not start with its magic number".to_string()));
        };
        if kind != 0x08 {
            return Ok(Err(format!("element type {kind:#04x}, only unsigned bytes (0x08) are read")));
        }
        let mut extents = Vec::new();
        source.by_ref().take(4 * u64::from(rank)).read_to_end(&mut extents)?;
        if rank == 0 || extents.len() != 4 * usize::from(rank) {
            return Ok(Err(format!("the header of {rank} extents is cut off")));
        }
        let extent = |bytes: &[u8]| bytes.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        let shape: Vec<u64> = extents.chunks(4).map(extent).collect();
        let claimed = shape.iter().try_fold(1u64, |product, &d| product.checked_mul(d)).filter(|&n| n <= MOST_ELEMENTS);
        let Some(claimed) = claimed else {
            return Ok(Err(format!("claims {shape:?} elements, more than {MOST_ELEMENTS}")));
        };
        // One more than claimed, to see a file that holds more. Memory grows with what is there, not with the claim.
        let mut data = Vec::new();
        source.take(claimed + 1).read_to_end(&mut data)?;
        if data.len() as u64 != claimed {
            let found = if data.len() as u64 > claimed { "more".to_string() } else { data.len().to_string() };
            return Ok(Err(format!("claims {shape:?}, which is {claimed} bytes, but holds {found}")));
        }
        Ok(Ok(Idx { shape: shape.into_iter().map(|d| d as usize).collect(), data }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn bytes(header: &[u8], data: usize) -> Vec<u8> {
        [header, &vec![7; data]].concat()
    }

    const TWO_BY_THREE: [u8; 12] = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3];

    #[test]
    fn plain_and_compressed_read_alike() {
        let plain = bytes(&TWO_BY_THREE, 6);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        let idx = Idx::from_bytes(&plain).unwrap();
        assert_eq!((idx.shape.as_slice(), idx.data.len()), ([2, 3].as_slice(), 6));
        assert_eq!(Idx::from_bytes(&encoder.finish().unwrap()).unwrap(), idx);
    }

    #[test]
    fn a_count_that_lies_is_told() {
        let error = |bytes: &[u8]| Idx::from_bytes(bytes).unwrap_err();
        assert_eq!(error(&bytes(&TWO_BY_THREE, 5)), "claims [2, 3], which is 6 bytes, but holds 5");
        assert_eq!(error(&bytes(&TWO_BY_THREE, 9)), "claims [2, 3], which is 6 bytes, but holds more");
        assert!(error(&[0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]).contains("more than"));
    }

    #[test]
    fn what_is_no_idx_is_told() {
        for bytes in
            [&b""[..], b"\x00\x00", b"PNG!", &TWO_BY_THREE[..9], &[0, 0, 8, 0], &[0x1f, 0x8b], &[0x1f, 0x8b, 8, 0]]
        {
            assert!(Idx::from_bytes(bytes).is_err(), "{bytes:?}");
        }
        let error = Idx::from_bytes(&[0, 0, 0x0d, 1, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(error, "element type 0x0d, only unsigned bytes (0x08) are read");
    }
}
