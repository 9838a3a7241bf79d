//! Sums over all workers, in two phases: each worker gets every other's numbers for a slice of its own and adds them up in `f32`; then it
//! sends its slice of the sum to all. A number is encoded twice on its way whatever the number of workers, and a worker sends about as
//! much as it has, twice, whatever their number too.
//!
//! Sums are made in the order of ranks, and every worker takes up the numbers that it sends as those who receive them do, so that all
//! end with the same bits.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::ThreadPool;

use super::message::{Kind, Link};
use crate::codec::{BLOCK, Codec, Onto};
use crate::{Error, Result};

/// Sums numbers over workers, as a codec writes them.
#[derive(Debug)]
pub struct Exchange {
    codec: Arc<dyn Codec>,
    pool: Arc<ThreadPool>,
    /// By bucket: what encoding lost, where that is sent later.
    lost: Option<HashMap<usize, Lost>>,
    encoded: Vec<u8>,
    sum: Vec<f32>,
}

/// What is still to be sent.
#[derive(Debug, Default)]
struct Lost {
    /// Of this worker's numbers.
    parts: Vec<f32>,
    /// Of its slice of the sum.
    sum: Vec<f32>,
}

impl Exchange {
    /// Encodes on the threads of `pool`. With error feedback, what encoding a bucket loses is added when that bucket is
    /// summed the next time.
    pub fn new(codec: Arc<dyn Codec>, error_feedback: bool, pool: Arc<ThreadPool>) -> Self {
        Exchange { codec, pool, lost: error_feedback.then(HashMap::new), encoded: Vec::new(), sum: Vec::new() }
    }

    /// Begins anew: what was lost stays lost.
    pub fn forget(&mut self) {
        if let Some(lost) = &mut self.lost {
            lost.clear();
        }
    }

    /// Replaces `values` by their sums over all workers, who call this with as many. One worker alone sends, and loses, nothing.
    pub fn sum(&mut self, link: &mut Link, bucket: usize, values: &mut [f32]) -> Result<()> {
        if link.workers() == 1 {
            return Ok(());
        }
        let mut lost = self.lost.as_mut().map(|lost| lost.remove(&bucket).unwrap_or_default());
        let slices = slices(values.len(), link.workers());
        self.send_parts(link, &slices, values, lost.as_mut().map(|lost| &mut lost.parts))?;
        self.add_parts(link, &slices[link.rank()], values)?;
        self.send_sum(link, &slices[link.rank()], values, lost.as_mut().map(|lost| &mut lost.sum))?;
        for from in link.others() {
            let slice = &mut values[slices[from].clone()];
            if !slice.is_empty() {
                let sum = link.receive(from, Kind::Sum)?;
                self.codec.decode_onto(&self.pool, sum, slice, Onto::Replace).map_err(|error| blame(from, error))?;
            }
        }
        if let Some((all, lost)) = self.lost.as_mut().zip(lost) {
            all.insert(bucket, lost);
        }
        Ok(())
    }

    fn send_parts(
        &mut self,
        link: &mut Link,
        slices: &[Range<usize>],
        values: &[f32],
        mut lost: Option<&mut Vec<f32>>,
    ) -> Result<()> {
        if let Some(lost) = &mut lost {
            lost.resize(values.len(), 0.0);
        }
        for to in link.others().filter(|&to| !slices[to].is_empty()) {
            let lost = lost.as_mut().map(|lost| &mut lost[slices[to].clone()]);
            self.write(link, &values[slices[to].clone()], lost)?;
            link.send(to, Kind::Part)?;
        }
        Ok(())
    }

    /// Sums up this worker's slice.
    fn add_parts(&mut self, link: &mut Link, own: &Range<usize>, values: &[f32]) -> Result<()> {
        self.sum.clear();
        self.sum.resize(own.len(), 0.0);
        for from in (0..link.workers()).filter(|_| !own.is_empty()) {
            if from == link.rank() {
                self.sum.iter_mut().zip(&values[own.clone()]).for_each(|(sum, value)| *sum += value);
                continue;
            }
            let part = link.receive(from, Kind::Part)?;
            self.codec.decode_add(&self.pool, part, &mut self.sum).map_err(|error| blame(from, error))?;
        }
        Ok(())
    }

    /// Sends this worker's slice of the sum, and takes up what the others will read.
    fn send_sum(
        &mut self,
        link: &mut Link,
        own: &Range<usize>,
        values: &mut [f32],
        mut lost: Option<&mut Vec<f32>>,
    ) -> Result<()> {
        if own.is_empty() {
            return Ok(());
        }
        if let Some(lost) = &mut lost {
            lost.resize(own.len(), 0.0);
        }
        let sum = std::mem::take(&mut self.sum);
        self.write(link, &sum, lost.map(Vec::as_mut_slice))?;
        self.sum = sum;
        link.others().try_for_each(|to| link.send(to, Kind::Sum))?;
        self.codec.decode(&self.pool, link.written(), &mut values[own.clone()])
    }

    /// Makes a message of numbers.
    fn write(&mut self, link: &mut Link, values: &[f32], lost: Option<&mut [f32]>) -> Result<()> {
        let Exchange { codec, pool, encoded, .. } = self;
        match lost {
            None => link.write(codec.encoded_bytes(values.len()), |bytes| codec.encode_into(pool, values, bytes)),
            Some(lost) => {
                codec.encode_with_feedback(pool, values, lost, encoded)?;
                link.write(encoded.len(), |bytes| {
                    bytes.copy_from_slice(encoded);
                    Ok(())
                })
            }
        }
    }
}

/// Each worker's slice, in order: whole blocks of codecs, as evenly as they go, so that no scale is of fewer numbers than need be.
/// Some are empty where there are fewer blocks than workers.
fn slices(count: usize, workers: usize) -> Vec<Range<usize>> {
    let blocks = count.div_ceil(BLOCK);
    let (each, more) = (blocks / workers, blocks % workers);
    let start = |worker: usize| count.min(BLOCK * (worker * each + worker.min(more)));
    (0..workers).map(|worker| start(worker)..start(worker + 1)).collect()
}

/// An error in numbers that a worker sent.
fn blame(worker: usize, error: Error) -> Error {
    Error::Worker { worker, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::threads;
    use super::*;
    use crate::codec::{self, NAMES};

    fn pool() -> Arc<ThreadPool> {
        Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap())
    }

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    }

    /// What each worker ends with after summing its numbers `times` times.
    fn summed(name: &str, feedback: bool, parts: &[Vec<f32>], times: usize) -> Vec<Vec<Vec<f32>>> {
        let work = |end, part: &Vec<f32>| {
            let mut link = Link::new(Box::new(end));
            let mut exchange = Exchange::new(codec::find(name).unwrap(), feedback, pool());
            let once = |_| {
                let mut part = part.clone();
                exchange.sum(&mut link, 3, &mut part).unwrap();
                part
            };
            (0..times).map(once).collect()
        };
        std::thread::scope(|scope| {
            let start = |(end, part)| scope.spawn(move || work(end, part));
            let workers: Vec<_> = threads(parts.len()).into_iter().zip(parts).map(start).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        })
    }

    /// The definition: every slice coded by all but its owner, summed in order, coded again.
    fn expected(name: &str, parts: &[Vec<f32>]) -> Vec<f32> {
        let (codec, pool) = (codec::find(name).unwrap(), pool());
        let coded = |values: &[f32]| {
            let (mut bytes, mut back) = (Vec::new(), vec![0.0; values.len()]);
            codec.encode(&pool, values, &mut bytes).unwrap();
            codec.decode(&pool, &bytes, &mut back).unwrap();
            back
        };
        let mut all = Vec::new();
        for (owner, slice) in slices(parts[0].len(), parts.len()).into_iter().enumerate() {
            let mut sum = vec![0.0; slice.len()];
            for (rank, part) in parts.iter().enumerate() {
                let part = &part[slice.clone()];
                let part = if rank == owner { part.to_vec() } else { coded(part) };
                sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            }
            all.extend(coded(&sum));
        }
        all
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_worker_ends_with_the_same_sums(
            workers in 1usize..6,
            count in prop_oneof![0usize..9, 2040usize..2060, 4000usize..12_000],
            codec in 0..NAMES.len(),
        ) {
            let parts: Vec<_> = (0..workers).map(|rank| values(count, rank)).collect();
            let want = if workers == 1 { parts[0].clone() } else { expected(NAMES[codec], &parts) };
            for got in summed(NAMES[codec], false, &parts, 1) {
                prop_assert_eq!(bits(&got[0]), bits(&want));
            }
        }

        #[test]
        fn slices_follow_one_another_and_differ_by_a_block(count in 0usize..50_000, workers in 1usize..20) {
            let slices = slices(count, workers);
            prop_assert_eq!((slices.len(), slices[0].start, slices[workers - 1].end), (workers, 0, count));
            prop_assert!(slices.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].len() + BLOCK > pair[1].len()));
            let blocks = slices.iter().map(|slice| slice.len().div_ceil(BLOCK));
            prop_assert!(blocks.clone().max().unwrap() - blocks.min().unwrap() <= 1);
        }
    }

    #[test]
    fn with_feedback_what_is_lost_comes_later() {
        const TIMES: usize = 200;
        let parts: Vec<_> = (0..3).map(|rank| values(5000, rank)).collect();
        let want: Vec<f32> = (0..5000).map(|i| parts.iter().map(|part| part[i]).sum()).collect();
        let error = |feedback| {
            let all = summed("one-bit", feedback, &parts, TIMES);
            assert!(all.iter().all(|worker| worker == &all[0]));
            let mean = |i: usize| all[0].iter().map(|step| step[i]).sum::<f32>() / TIMES as f32;
            (0..5000).map(|i| (mean(i) - want[i]).abs()).fold(0.0, f32::max)
        };
        let (with, without) = (error(true), error(false));
        assert!(with < 0.1 && without > 0.5, "{with} {without}");
    }

    #[test]
    fn what_is_lost_can_be_forgotten() {
        let mut exchange = Exchange::new(codec::find("one-bit").unwrap(), true, pool());
        exchange.lost.as_mut().unwrap().insert(1, Lost { parts: vec![1.0], sum: vec![2.0] });
        exchange.forget();
        assert!(exchange.lost.unwrap().is_empty());
    }

    #[test]
    fn numbers_that_are_too_few_are_their_senders_fault() {
        let mut ends = threads(2).into_iter();
        let [mut zero, mut one] = [0, 1].map(|_| Link::new(Box::new(ends.next().unwrap())));
        zero.write(12, |_| Ok(())).unwrap();
        zero.send(1, Kind::Part).unwrap();
        // The first block is worker 0's, the second, of one number, worker 1's.
        let mut exchange = Exchange::new(codec::find("none").unwrap(), false, pool());
        let error = exchange.sum(&mut one, 0, &mut vec![0.0; BLOCK + 1]).unwrap_err().to_string();
        assert!(error.starts_with("worker 0: none: 1 numbers take 4 bytes, not 12"), "{error}");
    }

    #[test]
    fn a_number_that_is_none_stays_none_for_all() {
        let mut parts: Vec<_> = (0..2).map(|rank| values(6000, rank)).collect();
        parts[1][100] = f32::NAN;
        for name in NAMES {
            let all = summed(name, false, &parts, 1);
            assert!(all.iter().all(|worker| worker[0][100].is_nan()), "{name}");
        }
    }
}
