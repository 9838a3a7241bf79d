//! Where the bytes of encoded numbers lie, and how the work on them is cut into pieces for threads.

use rayon::ThreadPool;

use crate::{Error, Result};

/// Numbers of a piece that one thread works on: enough to be worth a thread's while, few enough to lie in its second cache.
pub(super) const PIECE: usize = 1 << 15;

/// Fewer numbers than this are worked on in the calling thread: a pool takes longer to wake.
const WORTH_A_POOL: usize = 2 * PIECE;

/// Encoded numbers: first the heads of all blocks, then as many bits for each number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Numbers of a block, a divisor of `PIECE`.
    pub(super) block: usize,
    /// Bytes of a block's head.
    pub(super) head: usize,
    /// Bits of a number; those of a block make whole bytes.
    pub(super) bits: usize,
}

/// Numbers, and where they are encoded.
struct Encoding<'a> {
    values: &'a [f32],
    heads: &'a mut [u8],
    body: &'a mut [u8],
}

/// Encoded numbers, and where they go.
struct Decoding<'a> {
    heads: &'a [u8],
    body: &'a [u8],
    values: &'a mut [f32],
}

impl Layout {
    /// Bytes of so many numbers; `usize::MAX` where those are more than fit into memory.
    pub(super) fn bytes(&self, count: usize) -> usize {
        let body = count.checked_mul(self.bits).map(|bits| bits.div_ceil(8));
        body.and_then(|body| body.checked_add(self.heads(count))).unwrap_or(usize::MAX)
    }

    fn heads(&self, count: usize) -> usize {
        count.div_ceil(self.block) * self.head
    }

    /// Calls `work` with a block's numbers, its head and its codes, for all blocks. `bytes` has the length that
    /// [`bytes`](Self::bytes) tells.
    pub(super) fn encode(
        &self,
        pool: &ThreadPool,
        values: &[f32],
        bytes: &mut [u8],
        work: impl Fn(&[f32], &mut [u8], &mut [u8]) + Sync,
    ) {
        let (heads, body) = bytes.split_at_mut(self.heads(values.len()));
        let whole = Encoding { values, heads, body };
        match parallel(pool, values.len()) {
            true => pool.install(|| self.encode_halves(whole, &work)),
            false => self.encode_blocks(whole, &work),
        }
    }

    fn encode_halves(&self, whole: Encoding<'_>, work: &(impl Fn(&[f32], &mut [u8], &mut [u8]) + Sync)) {
        let Some(half) = half(whole.values.len()) else { return self.encode_blocks(whole, work) };
        let (values, more_values) = whole.values.split_at(half);
        let (heads, more_heads) = whole.heads.split_at_mut(self.heads(half));
        let (body, more_body) = whole.body.split_at_mut(half / 8 * self.bits);
        let first = Encoding { values, heads, body };
        let second = Encoding { values: more_values, heads: more_heads, body: more_body };
        // The later half first: what a search for the largest magnitude has read last is still in the caches.
        rayon::join(|| self.encode_halves(second, work), || self.encode_halves(first, work));
    }

    fn encode_blocks(&self, mut rest: Encoding<'_>, work: &impl Fn(&[f32], &mut [u8], &mut [u8])) {
        while !rest.values.is_empty() {
            let count = rest.values.len().min(self.block);
            let (values, more_values) = rest.values.split_at(count);
            let (head, more_heads) = rest.heads.split_at_mut(self.head);
            let (body, more_body) = rest.body.split_at_mut((count * self.bits).div_ceil(8));
            work(values, head, body);
            rest = Encoding { values: more_values, heads: more_heads, body: more_body };
        }
    }

    /// Calls `work` with a block's head, its codes and its numbers, for all blocks. `bytes` has the length that
    /// [`bytes`](Self::bytes) tells.
    pub(super) fn decode(
        &self,
        pool: &ThreadPool,
        bytes: &[u8],
        values: &mut [f32],
        work: impl Fn(&[u8], &[u8], &mut [f32]) + Sync,
    ) {
        let (heads, body) = bytes.split_at(self.heads(values.len()));
        let parallel = parallel(pool, values.len());
        let whole = Decoding { heads, body, values };
        match parallel {
            true => pool.install(|| self.decode_halves(whole, &work)),
            false => self.decode_blocks(whole, &work),
        }
    }

    fn decode_halves(&self, whole: Decoding<'_>, work: &(impl Fn(&[u8], &[u8], &mut [f32]) + Sync)) {
        let Some(half) = half(whole.values.len()) else { return self.decode_blocks(whole, work) };
        let (heads, more_heads) = whole.heads.split_at(self.heads(half));
        let (body, more_body) = whole.body.split_at(half / 8 * self.bits);
        let (values, more_values) = whole.values.split_at_mut(half);
        let first = Decoding { heads, body, values };
        let second = Decoding { heads: more_heads, body: more_body, values: more_values };
        rayon::join(|| self.decode_halves(first, work), || self.decode_halves(second, work));
    }

    fn decode_blocks(&self, mut rest: Decoding<'_>, work: &impl Fn(&[u8], &[u8], &mut [f32])) {
        while !rest.values.is_empty() {
            let count = rest.values.len().min(self.block);
            let (head, more_heads) = rest.heads.split_at(self.head);
            let (body, more_body) = rest.body.split_at((count * self.bits).div_ceil(8));
            let (values, more_values) = rest.values.split_at_mut(count);
            work(head, body, values);
            rest = Decoding { heads: more_heads, body: more_body, values: more_values };
        }
    }
}

/// The larger of what `of` tells of pieces of `values`, which does not depend on how they are cut.
pub(super) fn largest(pool: &ThreadPool, values: &[f32], of: impl Fn(&[f32]) -> u32 + Sync) -> u32 {
    fn halves(values: &[f32], of: &(impl Fn(&[f32]) -> u32 + Sync)) -> u32 {
        let Some(half) = half(values.len()) else { return of(values) };
        let (first, second) = values.split_at(half);
        let (a, b) = rayon::join(|| halves(first, of), || halves(second, of));
        a.max(b)
    }
    match parallel(pool, values.len()) {
        true => pool.install(|| halves(values, &of)),
        false => of(values),
    }
}

/// Calls `work` with pieces of two arrays of one length.
pub(super) fn pairs(pool: &ThreadPool, to: &mut [f32], from: &[f32], work: impl Fn(&mut [f32], &[f32]) + Sync) {
    fn halves(to: &mut [f32], from: &[f32], work: &(impl Fn(&mut [f32], &[f32]) + Sync)) {
        let Some(half) = half(to.len()) else { return work(to, from) };
        let (to, more_to) = to.split_at_mut(half);
        let (from, more_from) = from.split_at(half);
        rayon::join(|| halves(to, from, work), || halves(more_to, more_from, work));
    }
    match parallel(pool, to.len()) {
        true => pool.install(|| halves(to, from, &work)),
        false => work(to, from),
    }
}

fn parallel(pool: &ThreadPool, count: usize) -> bool {
    pool.current_num_threads() > 1 && count >= WORTH_A_POOL
}

/// Where to cut `count` numbers in two: at the end of a piece. `None` where they are one.
fn half(count: usize) -> Option<usize> {
    let pieces = count.div_ceil(PIECE);
    (pieces > 1).then(|| pieces / 2 * PIECE)
}

/// An error unless `bytes` is as long as it has to be.
pub(super) fn check(codec: &str, count: usize, expected: usize, bytes: usize) -> Result<()> {
    match bytes == expected {
        true => Ok(()),
        false => Err(Error::Encoded { codec: codec.to_string(), count, expected, bytes }),
    }
}
