//! How long a step of data parallelism will take: a prediction from sizes and speeds, to choose a codec and a number of workers by.
//!
//! It counts what [`Exchange`](super::Exchange) does in its two phases. Links carry both directions at once, and each worker has one of its
//! own; messages that wait for each other in a switch, and workers that wait for the slowest, are not in it.
//!
//! Workers on one machine share its cores. What crosses a link between them is copied by those cores too, so that all that they do takes the
//! time of the cores, whatever overlaps.

/// The speed of links, and of a codec on a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExchangeTime {
    /// Bytes of an encoded number.
    pub bytes: f64,
    /// Seconds to encode a number.
    pub encode: f64,
    /// Seconds to decode a number.
    pub decode: f64,
    /// Bytes a second that a worker can send, and receive at the same time.
    pub bandwidth: f64,
    /// Seconds from sending a message of nothing to having read it.
    pub latency: f64,
}

impl ExchangeTime {
    /// Seconds to sum so many numbers over so many workers; one alone takes none.
    pub fn seconds(&self, numbers: f64, workers: usize) -> f64 {
        match workers {
            0 | 1 => 0.0,
            _ => 2.0 * self.latency + numbers * self.work(workers),
        }
    }

    /// The same with latency and bandwidth such that two measured times, each of its numbers, come out: nothing where the larger one
    /// took no longer than its coding.
    pub fn fitted(self, workers: usize, [few, many]: [(f64, f64); 2]) -> Option<ExchangeTime> {
        let carrying = |(numbers, seconds): (f64, f64)| seconds - numbers * self.coding(workers);
        let per_number = (carrying(many) - carrying(few)) / (many.0 - few.0);
        let bandwidth = self.wire(workers) * self.bytes / per_number;
        let latency = (carrying(few) - few.0 * per_number).max(0.0) / 2.0;
        (bandwidth.is_finite() && bandwidth > 0.0).then_some(ExchangeTime { bandwidth, latency, ..self })
    }

    /// Seconds of the processor to sum a number, where it also copies what crosses a link.
    fn work(&self, workers: usize) -> f64 {
        match workers {
            0 | 1 => 0.0,
            _ => self.wire(workers) * self.bytes / self.bandwidth + self.coding(workers),
        }
    }

    /// How often a number crosses a worker's link in one direction: parts to their slices' workers, and slices of the sum to all.
    fn wire(&self, workers: usize) -> f64 {
        2.0 * (workers as f64 - 1.0) / workers as f64
    }

    /// Seconds a number: all parts but its own and its slice of the sum are encoded; the others' parts of its slice, that slice, and
    /// the others' slices are decoded.
    fn coding(&self, workers: usize) -> f64 {
        self.encode + self.decode * (2.0 - 1.0 / workers as f64)
    }
}

/// What a step works on, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepTime {
    /// Numbers that are exchanged, those of the gradients.
    pub parameters: f64,
    /// Floating-point operations of forward and backward passes over the whole batch, which workers share evenly.
    pub flops: f64,
    /// Floating-point operations that one worker does in a second.
    pub flops_per_s: f64,
    /// Numbers of a bucket: each leaves as soon as the backward pass, two thirds of the work, has filled it.
    pub bucket: f64,
    /// The exchange of a bucket.
    pub exchange: ExchangeTime,
    /// How many workers find cores that are free, on all of their machines together; infinite where each has a machine of its own.
    pub at_a_time: f64,
}

impl StepTime {
    /// Seconds of a step: with what overlaps, or what all workers do together on the cores that there are, whichever is longer.
    pub fn seconds(&self, workers: usize) -> f64 {
        let workers = workers.max(1);
        let computing = self.flops / (self.flops_per_s * workers as f64);
        let work = computing + self.parameters * self.exchange.work(workers);
        self.overlapped(computing, workers).max(work * workers as f64 / self.at_a_time)
    }

    /// Seconds of a step in which each worker has cores of its own.
    fn overlapped(&self, computing: f64, workers: usize) -> f64 {
        let buckets = (self.parameters / self.bucket).ceil().max(1.0);
        let each = self.exchange.seconds(self.parameters / buckets, workers);
        // The first bucket leaves when it is full; the last one comes back after all is computed.
        let [forward, backward] = [1.0, 2.0].map(|thirds| thirds / 3.0 * computing);
        forward + (backward + each).max(backward / buckets + buckets * each)
    }

    /// How many times as fast as one worker.
    pub fn speedup(&self, workers: usize) -> f64 {
        self.seconds(1) / self.seconds(workers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALONE: f64 = f64::INFINITY;
    const LINK: ExchangeTime = ExchangeTime { bytes: 4.0, encode: 0.0, decode: 0.0, bandwidth: 125e6, latency: 1e-4 };

    #[test]
    fn a_million_numbers_over_a_gigabit() {
        // Two workers send half of 4 MB in each phase.
        assert!((LINK.seconds(1e6, 2) - (0.032 + 2e-4)).abs() < 1e-9);
        assert!((LINK.seconds(1e6, 4) - (0.048 + 2e-4)).abs() < 1e-9);
        assert_eq!(LINK.seconds(1e6, 1), 0.0);
        let eight_bits = ExchangeTime { bytes: 1.0, encode: 1e-9, decode: 2e-9, ..LINK };
        assert!((eight_bits.seconds(1e6, 2) - (0.008 + 2e-4 + 0.001 + 0.003)).abs() < 1e-9);
    }

    #[test]
    fn speeds_are_found_again_from_two_times() {
        for workers in [2, 3, 96] {
            let truth = ExchangeTime { encode: 1e-9, decode: 5e-10, ..LINK };
            let measured = [1e3, 1e7].map(|numbers| (numbers, truth.seconds(numbers, workers)));
            let found = ExchangeTime { bandwidth: 1.0, latency: 1.0, ..truth }.fitted(workers, measured).unwrap();
            assert!((found.bandwidth / truth.bandwidth - 1.0).abs() < 1e-6, "{found:?}");
            assert!((found.latency / truth.latency - 1.0).abs() < 1e-6, "{found:?}");
        }
        assert_eq!(LINK.fitted(2, [(1e3, 1.0), (1e6, 0.5)]), None);
    }

    #[test]
    fn what_overlaps_costs_the_longer_of_both() {
        let (flops, flops_per_s) = (9e9, 1e10);
        let step = StepTime { parameters: 1e6, flops, flops_per_s, bucket: 1e5, exchange: LINK, at_a_time: ALONE };
        let computing = |workers: f64| 0.9 / workers;
        let each = LINK.seconds(1e5, 2);
        // Hidden but for the last bucket.
        assert!((step.seconds(2) - (computing(2.0) + each)).abs() < 1e-9);
        // Nothing but links, after the forward pass and the first bucket.
        let slow = StepTime { exchange: ExchangeTime { bandwidth: 1e6, ..LINK }, ..step };
        let each = slow.exchange.seconds(1e5, 2);
        assert!((slow.seconds(2) - (0.15 + 0.03 + 10.0 * each)).abs() < 1e-9);
        assert!((step.seconds(1) - computing(1.0)).abs() < 1e-9);
        assert!(step.speedup(2) > 1.8 && slow.speedup(2) < 1.0);
    }

    #[test]
    fn workers_that_share_cores_hide_nothing() {
        let exchange = ExchangeTime { encode: 1e-9, decode: 2e-9, bandwidth: 4e9, ..LINK };
        let step = StepTime { parameters: 1e7, flops: 9e9, flops_per_s: 1e10, bucket: 1e5, exchange, at_a_time: 2.0 };
        assert!((step.seconds(1) - 0.9).abs() < 1e-9);
        // Two workers: 0.45 s each, and 10^7 numbers of 1 ns copied, 1 encoded and 1.5 times 2 ns decoded.
        assert!((step.seconds(2) - (0.45 + 0.05)).abs() < 1e-9);
        // Four take turns: the same computing in all, and twice what four exchange, 1.5 + 1 + 1.75 * 2 ns a number.
        assert!((step.seconds(4) - (0.45 + 2.0 * 0.06)).abs() < 1e-9);
        // Nobody is held up where there is room for what is hidden.
        let alone = StepTime { at_a_time: ALONE, ..step };
        assert_eq!(StepTime { at_a_time: 100.0, ..step }.seconds(4), alone.seconds(4));
    }

    fn steps() -> impl Strategy<Value = StepTime> {
        let exchange = (0.1f64..4.0, 0.0f64..1e-8, 0.0f64..1e-8, 1e6f64..1e10, 0.0f64..1e-3);
        let exchange = exchange.prop_map(|(bytes, encode, decode, bandwidth, latency)| ExchangeTime {
            bytes,
            encode,
            decode,
            bandwidth,
            latency,
        });
        let at_a_time = prop_oneof![Just(ALONE), 1.0f64..16.0];
        let step = (exchange, 1e3f64..1e8, 1e6f64..1e12, 1e8f64..1e13, 1e3f64..1e6, at_a_time);
        step.prop_map(|(exchange, parameters, flops, flops_per_s, bucket, at_a_time)| StepTime {
            parameters,
            flops,
            flops_per_s,
            bucket,
            exchange,
            at_a_time,
        })
    }

    proptest! {
        #[test]
        fn more_of_anything_takes_no_less_time(step in steps(), workers in 1usize..100, more in 1.0f64..10.0) {
            let StepTime { exchange, .. } = step;
            // In as many buckets as before.
            let [parameters, bucket] = [step.parameters, step.bucket].map(|count| count * 2.0);
            let least = step.seconds(workers) * (1.0 - 1e-9);
            let steps = [
                StepTime { parameters, bucket, ..step },
                StepTime { flops: step.flops * more, ..step },
                StepTime { at_a_time: step.at_a_time / more, ..step },
            ];
            let exchanges = [
                ExchangeTime { bytes: exchange.bytes * more, ..exchange },
                ExchangeTime { encode: exchange.encode * more, ..exchange },
                ExchangeTime { decode: exchange.decode * more, ..exchange },
                ExchangeTime { bandwidth: exchange.bandwidth / more, ..exchange },
                ExchangeTime { latency: exchange.latency * more, ..exchange },
            ];
            for slower in exchanges.map(|exchange| StepTime { exchange, ..step }).iter().chain(&steps) {
                prop_assert!(slower.seconds(workers) >= least, "{slower:?}");
            }
        }

        #[test]
        fn nobody_is_faster_than_the_cores_and_workers_that_there_are(step in steps(), workers in 1usize..100) {
            prop_assert!(step.speedup(workers) <= (workers as f64).min(step.at_a_time) * (1.0 + 1e-9));
        }

        #[test]
        fn what_crosses_a_link_grows_to_twice_the_numbers(numbers in 1e3f64..1e9, workers in 2usize..1000) {
            let seconds = ExchangeTime { latency: 0.0, ..LINK }.seconds(numbers, workers);
            let share = (workers as f64 - 1.0) / workers as f64;
            prop_assert!((seconds / (2.0 * share * numbers * LINK.bytes / LINK.bandwidth) - 1.0).abs() < 1e-9);
        }
    }
}
