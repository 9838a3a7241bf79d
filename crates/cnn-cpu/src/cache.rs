//! Sizes of the caches, which the blocking of the matrix product follows.

use std::fs;

/// Bytes of data cache that one core has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caches {
    /// First level.
    pub l1: usize,
    /// Second level.
    pub l2: usize,
}

impl Default for Caches {
    /// What nearly every core of the last ten years has at least.
    fn default() -> Self {
        Caches { l1: 32 << 10, l2: 512 << 10 }
    }
}

impl Caches {
    /// This machine's, as Linux lists them; the default where it does not.
    pub fn detect() -> Self {
        let mut caches = Caches::default();
        for index in 0..8 {
            let read = |file: &str| {
                let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
                fs::read_to_string(path).ok().map(|text| text.trim().to_string())
            };
            let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size")) else { break };
            let size = size.strip_suffix('K').and_then(|kib| kib.parse::<usize>().ok()).map(|kib| kib << 10);
            match (level.as_str(), kind.as_str(), size) {
                ("1", "Data", Some(size)) => caches.l1 = size,
                ("2", "Unified", Some(size)) => caches.l2 = size,
                _ => {}
            }
        }
        caches
    }
}
