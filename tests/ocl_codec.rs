//! Codecs on an OpenCL device: the bytes and the numbers of the same codec on the processor.

use std::sync::LazyLock;

use cnn::Ocl;
use cnn::opencl::OclCodec;
use cnn::train::codec::{self, BLOCK, Codec, Onto, Scaling};
use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

static OCL: LazyLock<Ocl> = LazyLock::new(|| Ocl::new("").expect("an OpenCL device"));
static POOL: LazyLock<ThreadPool> = LazyLock::new(|| ThreadPoolBuilder::new().num_threads(1).build().unwrap());

const TYPES: [&str; 4] = ["dynamic-tree", "linear", "mantissa", "static-tree"];
const SCALINGS: [Scaling; 5] =
    [Scaling::Tensor, Scaling::Block, Scaling::Offset(0), Scaling::Offset(-30), Scaling::Offset(30)];

fn agree(name: &str, scaling: Scaling, values: &[f32]) {
    let (host, device) = (codec::find_scaled(name, scaling).unwrap(), OclCodec::find(&OCL, name, scaling).unwrap());
    let encoded = |codec: &dyn Codec| {
        let mut bytes = Vec::new();
        codec.encode(&POOL, values, &mut bytes).unwrap();
        bytes
    };
    let bytes = encoded(&*host);
    let differs = encoded(&*device).iter().zip(&bytes).position(|(device, host)| device != host);
    assert_eq!(differs, None, "{name} {scaling}");
    for onto in [Onto::Replace, Onto::Add, Onto::Subtract] {
        let decoded = |codec: &dyn Codec, bytes: &[u8]| {
            let mut numbers = vec![0.5f32; values.len()];
            codec.decode_onto(&POOL, bytes, &mut numbers, onto).unwrap();
            numbers
        };
        // NaN is NaN, whatever its bits.
        let bits = |numbers: Vec<f32>| -> Vec<u32> {
            numbers.into_iter().map(|number| if number.is_nan() { f32::NAN } else { number }.to_bits()).collect()
        };
        let want = bits(decoded(&*host, &bytes));
        assert!(bits(decoded(&*device, &bytes)) == want, "{name} {scaling} {onto:?}");
        assert!(bits(decoded(&*device, &encoded(&*device))) == want, "{name} {scaling} {onto:?}, both ways");
    }
}

#[test]
fn codes_thresholds_and_their_neighbours() {
    for name in TYPES {
        let table = codec::table(name).unwrap();
        let near = table.values().iter().chain(table.thresholds());
        let near = near.flat_map(|value| [-1i32, 0, 1].map(|by| value.to_bits().wrapping_add_signed(by)));
        let mut values: Vec<f32> = near.map(f32::from_bits).filter(|value| value.is_finite()).collect();
        values.extend([0.0, -0.0, 1.0, -1.0]);
        SCALINGS.into_iter().for_each(|scaling| agree(name, scaling, &values));
    }
}

#[test]
fn extremes() {
    let tiny = f32::MIN_POSITIVE;
    let subnormal = f32::from_bits(1);
    let all: [&[f32]; 8] = [
        &[],
        &[0.0, -0.0],
        &[tiny, tiny / 2.0, -tiny / 3.0, subnormal, 2.0 * tiny],
        &[tiny / 2.0, -subnormal],
        &[f32::MAX, -f32::MAX / 3.0, 1e38, 9e37, tiny, -subnormal],
        &[1.0, f32::NAN, -2.0],
        &[f32::INFINITY, 3.0],
        &[f32::NEG_INFINITY],
    ];
    for name in TYPES {
        for values in all {
            SCALINGS.into_iter().for_each(|scaling| agree(name, scaling, values));
        }
        let mut blocks = vec![1e-3; 3 * BLOCK + 5];
        blocks[BLOCK + 1] = f32::NAN;
        blocks[2 * BLOCK] = 70.0;
        agree(name, Scaling::Block, &blocks);
    }
}

#[test]
fn bytes_that_are_not_as_many_as_they_should_be() {
    let codec = OclCodec::find(&OCL, "dynamic-tree", Scaling::Tensor).unwrap();
    let mut values = [1.0; 3];
    for bytes in [0, 3, 6, 8] {
        assert!(codec.decode(&POOL, &vec![0; bytes], &mut values).is_err());
        assert!(codec.encode_into(&POOL, &values, &mut vec![0; bytes]).is_err());
    }
    assert_eq!(values, [1.0; 3]);
    let refused = OclCodec::find(&OCL, "fp16", Scaling::Tensor).unwrap_err().to_string();
    assert!(refused.contains("fp16"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn numbers_of_any_size_and_count(
        count in 1usize..3 * BLOCK,
        bits in prop::collection::vec(any::<u32>(), 64),
        exponents in 0u32..2,
        which in 0usize..20,
    ) {
        // Any bits at all, or those of numbers near 1.
        let value = |i: usize| f32::from_bits(match exponents {
            0 => bits[i % 64].rotate_left(i as u32 % 32),
            _ => bits[i % 64].rotate_left(i as u32 % 32) & 0x83ff_ffff | 0x3c00_0000,
        });
        let values: Vec<f32> = (0..count).map(value).map(|value| if value.is_finite() { value } else { 0.0 }).collect();
        agree(TYPES[which % 4], SCALINGS[which / 4], &values);
    }
}
