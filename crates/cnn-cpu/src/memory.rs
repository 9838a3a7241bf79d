//! Memory for weights and activations: aligned to cache lines, and in huge pages where it is large, as a stream of
//! weights misses the address cache at every small page.

use std::ops::{Deref, DerefMut};

/// From this many floats on, a buffer is mapped pages of its own.
const LARGE: usize = 1 << 20;

/// Floats that start on a cache line.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Memory,
    length: usize,
}

#[derive(Debug)]
enum Memory {
    Lines(Vec<Line>),
    Pages(memmap2::MmapMut),
}

#[derive(Debug, Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Default for Buffer {
    fn default() -> Self {
        Buffer::zeroed(0)
    }
}

impl Buffer {
    /// Zeros. Aborts where there is no memory, as a `Vec` does; see [`try_zeroed`](Self::try_zeroed).
    pub(crate) fn zeroed(length: usize) -> Self {
        Self::try_zeroed(length).unwrap_or_else(|| {
            std::alloc::handle_alloc_error(
                std::alloc::Layout::array::<f32>(length).unwrap_or(std::alloc::Layout::new::<f32>()),
            )
        })
    }

    /// Zeros, or nothing where there is no memory.
    pub(crate) fn try_zeroed(length: usize) -> Option<Self> {
        let memory = match length < LARGE {
            true => Memory::Lines(vec![bytemuck::Zeroable::zeroed(); length.div_ceil(16)]),
            false => {
                let pages = memmap2::MmapMut::map_anon(length.checked_mul(size_of::<f32>())?).ok()?;
                // Where the system has no huge pages, or gives none, small ones do.
                #[cfg(target_os = "linux")]
                pages.advise(memmap2::Advice::HugePage).ok();
                Memory::Pages(pages)
            }
        };
        Some(Buffer { memory, length })
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.memory {
            Memory::Lines(lines) => &bytemuck::cast_slice(lines)[..self.length],
            Memory::Pages(pages) => &bytemuck::cast_slice(pages)[..self.length],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.memory {
            Memory::Lines(lines) => &mut bytemuck::cast_slice_mut(lines)[..self.length],
            Memory::Pages(pages) => &mut bytemuck::cast_slice_mut(pages)[..self.length],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_and_aligned() {
        for length in [0, 1, 17, LARGE, LARGE + 5] {
            let mut buffer = Buffer::zeroed(length);
            assert!(buffer.len() == length && buffer.iter().all(|&v| v == 0.0));
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            buffer.fill(1.0);
        }
        assert!(Buffer::try_zeroed(usize::MAX).is_none());
    }
}
