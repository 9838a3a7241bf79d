//! Eight-bit codes of floats, found and looked up on the device: for gradients and activations that are sent between workers.
//!
//! What the codes stand for comes from outside as a [`Table`], and so do the scales; the crate `cnn-train` has both. Encoding is a
//! binary search in local memory, decoding a look-up there (Dettmers, "8-bit approximations for parallelism in deep learning",
//! 2016, section 3.2).

use std::sync::Arc;

use cnn_core::{Error, Result};

use crate::Ocl;
use crate::buffer::Buffer;
use crate::driver::Driver;
use crate::kernel::Argument::{Int, Memory};
use crate::kernel::{Argument, Launch};
use crate::launch::{self, Buffers, Ready};
use crate::program::{Program, Source};

const SOURCE: Source = Source { name: "codec", text: include_str!("codec.cl") };

/// Numbers of a block, which can have a scale of its own.
pub const BLOCK: usize = 2048;

/// Work-items of a group; each takes four numbers at a time.
const ITEMS: usize = 64;

/// Magnitudes that a code can have.
const MAGNITUDES: usize = 128;

/// An eight-bit type: the highest bit of a code is its sign.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// What each code stands for, before it is multiplied by a scale.
    pub values: &'a [f32; 2 * MAGNITUDES],
    /// The codes that numbers can get, without signs, by ascending magnitude: at most 128.
    pub codes: &'a [u8],
    /// Between each of these and the next, the largest number that still gets the lower one, ascending.
    pub thresholds: &'a [f32],
}

/// An eight-bit type on a device.
#[derive(Debug)]
pub struct EightBit {
    driver: Arc<Driver>,
    program: Arc<Program>,
    values: Arc<Buffer>,
    /// Both filled up to 128.
    codes: Arc<Buffer>,
    thresholds: Arc<Buffer>,
}

impl EightBit {
    /// Errors where the table has not one code more than thresholds, or too many, and where the device fails.
    pub fn new(ocl: &Ocl, table: &Table<'_>) -> Result<Self> {
        let Table { values, codes, thresholds } = *table;
        if codes.len() > MAGNITUDES || codes.len() != thresholds.len() + 1 {
            return Err(unfit(format!("a table of {} codes and {} thresholds", codes.len(), thresholds.len())));
        }
        let driver = ocl.driver();
        let program = driver.program(SOURCE, &[("BLOCK", BLOCK as i64), ("ITEMS", ITEMS as i64)])?;
        let mut padded = [f32::INFINITY; MAGNITUDES];
        padded[..thresholds.len()].copy_from_slice(thresholds);
        let mut words = [0.0; MAGNITUDES];
        words.iter_mut().zip(codes).for_each(|(word, &code)| *word = f32::from_bits(code.into()));
        Ok(EightBit {
            values: upload(driver, values)?,
            codes: upload(driver, &words)?,
            thresholds: upload(driver, &padded)?,
            driver: driver.clone(),
            program,
        })
    }

    /// Copies numbers to the device. Errors where it has no room for them.
    pub fn load(&self, numbers: &[f32]) -> Result<Loaded<'_>> {
        Ok(Loaded { of: self, numbers: upload(&self.driver, numbers)?, count: numbers.len() })
    }

    /// What `codes` stand for, times one scale for all, or one for each block of [`BLOCK`]. Errors where their numbers do not fit
    /// `numbers`, and where the device fails.
    pub fn decode(&self, codes: &[u8], scales: &[f32], numbers: &mut [f32]) -> Result<()> {
        let step = step(numbers.len(), scales.len(), codes.len())?;
        if numbers.is_empty() {
            return Ok(());
        }
        let mut words = vec![0.0f32; codes.len().div_ceil(4)];
        for (word, codes) in words.iter_mut().zip(codes.chunks(4)) {
            let mut bytes = [0; 4];
            bytes[..codes.len()].copy_from_slice(codes);
            *word = f32::from_bits(u32::from_le_bytes(bytes));
        }
        let (words, scales) = (upload(&self.driver, &words)?, upload(&self.driver, scales)?);
        let decoded = Arc::new(Buffer::new(&self.driver, "decoded numbers", numbers.len())?);
        let buffers = [words, scales, self.values.clone(), decoded.clone()];
        self.run("decode", numbers.len(), buffers, &[numbers.len(), step])?;
        launch::read(&self.driver.queue, &decoded, numbers)
    }

    /// Enqueues a kernel with a group for each block of `count` numbers.
    fn run<const N: usize>(
        &self,
        kernel: &'static str,
        count: usize,
        buffers: [Arc<Buffer>; N],
        ints: &[usize],
    ) -> Result<()> {
        let ints = ints.iter().map(|&number| Int(number as i32));
        let arguments: Vec<Argument> = buffers.into_iter().map(Memory).chain(ints).collect();
        let launch = Launch::new(&self.program, kernel, [count.div_ceil(BLOCK) * ITEMS, 1, 1]);
        let launch = launch.group([ITEMS, 1, 1]).with(arguments);
        Ready::new(&self.driver, &launch, &Buffers::default())?.enqueue(&self.driver.queue).map(drop)
    }
}

/// Numbers on the device, to be encoded.
#[derive(Debug)]
pub struct Loaded<'a> {
    of: &'a EightBit,
    numbers: Arc<Buffer>,
    count: usize,
}

impl Loaded<'_> {
    /// The bits of the largest magnitude of each block of [`BLOCK`] numbers; those of NaN are larger than those of infinity.
    pub fn largest_magnitudes(&self) -> Result<Vec<u32>> {
        let mut largest = vec![0.0; self.count.div_ceil(BLOCK)];
        if self.count > 0 {
            let found = Arc::new(Buffer::new(&self.of.driver, "largest magnitudes", largest.len())?);
            self.of.run("largest_magnitudes", self.count, [self.numbers.clone(), found.clone()], &[self.count])?;
            launch::read(&self.of.driver.queue, &found, &mut largest)?;
        }
        Ok(largest.into_iter().map(f32::to_bits).collect())
    }

    /// The codes of the numbers times one reciprocal for all, or one for each block of [`BLOCK`]: those of the nearest magnitude by
    /// the thresholds. Codes of NaN and infinities mean nothing. Errors where the numbers of reciprocals or codes do not fit, and
    /// where the device fails.
    pub fn encode(&self, reciprocals: &[f32], codes: &mut [u8]) -> Result<()> {
        let step = step(self.count, reciprocals.len(), codes.len())?;
        if self.count == 0 {
            return Ok(());
        }
        let EightBit { driver, codes: ranked, thresholds, .. } = self.of;
        let factors: Vec<f32> = reciprocals.iter().flat_map(|&reciprocal| factors(reciprocal)).collect();
        let mut words = vec![0.0; self.count.div_ceil(4)];
        let encoded = Arc::new(Buffer::new(driver, "codes", words.len())?);
        let (factors, numbers) = (upload(driver, &factors)?, self.numbers.clone());
        let buffers = [numbers, factors, thresholds.clone(), ranked.clone(), encoded.clone()];
        self.of.run("encode", self.count, buffers, &[self.count, step])?;
        launch::read(&driver.queue, &encoded, &mut words)?;
        for (codes, word) in codes.chunks_mut(4).zip(words) {
            codes.copy_from_slice(&word.to_bits().to_le_bytes()[..codes.len()]);
        }
        Ok(())
    }
}

/// How far it is from a block's scale to the next: 0 where there is one for all.
fn step(count: usize, scales: usize, codes: usize) -> Result<usize> {
    match scales {
        _ if codes != count => Err(unfit(format!("{codes} codes for {count} numbers"))),
        1 => Ok(0),
        _ if scales == count.div_ceil(BLOCK) => Ok(1),
        _ => Err(unfit(format!("{scales} scales for {count} numbers"))),
    }
}

/// Two numbers whose product is a reciprocal, neither of them subnormal: devices may take such numbers for 0.
fn factors(reciprocal: f32) -> [f32; 2] {
    const SMALL: f32 = 1.0 / (1 << 24) as f32;
    match reciprocal.is_subnormal() {
        true => [SMALL, reciprocal / SMALL],
        false => [1.0, reciprocal],
    }
}

fn upload(driver: &Driver, numbers: &[f32]) -> Result<Arc<Buffer>> {
    let mut buffer = Buffer::new(driver, "numbers and their codes", numbers.len())?;
    if !numbers.is_empty() {
        launch::write(&driver.queue, &mut buffer, numbers)?;
    }
    Ok(Arc::new(buffer))
}

fn unfit(reason: String) -> Error {
    Error::Backend { backend: "ocl".to_string(), reason }
}
