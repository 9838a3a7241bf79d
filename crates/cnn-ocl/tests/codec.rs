//! The kernels of eight-bit codes against plain loops, on a table of equal steps.

use std::sync::LazyLock;

use cnn_ocl::Ocl;
use cnn_ocl::codec::{BLOCK, EightBit, Table};

static OCL: LazyLock<Ocl> = LazyLock::new(|| Ocl::new("").expect("an OpenCL device"));

/// Magnitudes 0, 1 .. 127 times a step, under codes that go down.
const STEP: f32 = 1.0 / 128.0;

fn kernels() -> EightBit {
    let values = std::array::from_fn(|code| match code {
        0..=127 => (127 - code) as f32 * STEP,
        _ => (code as f32 - 255.0) * STEP,
    });
    let codes: Vec<u8> = (0..128).rev().collect();
    let thresholds: Vec<f32> = (0..127).map(|i| (i as f32 + 0.5) * STEP).collect();
    EightBit::new(&OCL, &Table { values: &values, codes: &codes, thresholds: &thresholds }).unwrap()
}

/// From -1 to 1, no half-way between two magnitudes; the second block's are a tenth of that.
fn numbers(count: usize) -> Vec<f32> {
    let number = |i: usize| (i * 7919 % 2003) as f32 / 1001.0 - 1.0;
    (0..count).map(|i| number(i) * if i / BLOCK == 1 { 0.1 } else { 1.0 }).collect()
}

#[test]
fn codes_are_those_of_the_nearest_magnitude_and_come_back() {
    let kernels = kernels();
    for count in [1, 3, 4, 61, BLOCK - 1, BLOCK, 2 * BLOCK + 7] {
        let numbers = numbers(count);
        let loaded = kernels.load(&numbers).unwrap();
        let largest: Vec<f32> = loaded.largest_magnitudes().unwrap().into_iter().map(f32::from_bits).collect();
        let expected = numbers.chunks(BLOCK).map(|block| block.iter().fold(0f32, |most, n| most.max(n.abs())));
        assert_eq!(largest, expected.collect::<Vec<f32>>());
        for scales in [vec![2.0], (0..largest.len()).map(|block| [2.0, 0.25][block % 2]).collect()] {
            let scale_of = |i: usize| scales[i / BLOCK * usize::from(scales.len() > 1)];
            let reciprocals: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
            let mut codes = vec![0xaa; count];
            loaded.encode(&reciprocals, &mut codes).unwrap();
            let mut back = vec![f32::NAN; count];
            kernels.decode(&codes, &scales, &mut back).unwrap();
            for (i, (&number, code)) in numbers.iter().zip(codes).enumerate() {
                let rank = (number.abs() / scale_of(i) / STEP).round();
                let sign = if number.is_sign_negative() { 128 } else { 0 };
                assert_eq!(code, 127 - rank as u8 + sign, "{number} of {count}");
                assert_eq!(back[i], (rank * STEP * scale_of(i)).copysign(number), "{number} of {count}");
            }
        }
    }
}

#[test]
fn no_numbers_have_no_codes() {
    let kernels = kernels();
    let loaded = kernels.load(&[]).unwrap();
    assert_eq!(loaded.largest_magnitudes().unwrap(), []);
    loaded.encode(&[], &mut []).unwrap();
    kernels.decode(&[], &[], &mut []).unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let kernels = kernels();
    let loaded = kernels.load(&[0.5; 5]).unwrap();
    for (scales, codes) in [(0, 5), (2, 5), (1, 4), (1, 6)] {
        assert!(loaded.encode(&vec![1.0; scales], &mut vec![0; codes]).is_err(), "{scales} {codes}");
        assert!(kernels.decode(&vec![0; codes], &vec![1.0; scales], &mut [0.0; 5]).is_err(), "{scales} {codes}");
    }
    let table = Table { values: &[0.0; 256], codes: &[0, 1], thresholds: &[] };
    assert!(EightBit::new(&OCL, &table).is_err());
}
