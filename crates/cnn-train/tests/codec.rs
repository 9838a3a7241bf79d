//! The codecs: every row against the definition, whatever the numbers, their count and the threads; and bytes from outside.

use cnn_train::codec::{self, BLOCK, CodeTable, Codec, EightBit, NAMES, Onto, Scaling};
use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

const EIGHT_BIT: [&str; 4] = ["dynamic-tree", "linear", "mantissa", "static-tree"];

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

fn tables() -> impl Iterator<Item = CodeTable> {
    EIGHT_BIT.iter().map(|name| codec::table(name).unwrap())
}

/// Some numbers of very different sizes, the same every time.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..count).map(|_| (next() as i32 as f32 / 2e9) * 10f32.powi((next() % 9) as i32 - 6)).collect()
}

fn encoded(codec: &dyn Codec, pool: &ThreadPool, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xaa; 3];
    codec.encode(pool, values, &mut bytes).unwrap();
    assert_eq!(bytes.len(), codec.encoded_bytes(values.len()));
    bytes
}

fn decoded(codec: &dyn Codec, pool: &ThreadPool, bytes: &[u8], count: usize) -> Vec<f32> {
    let mut values = vec![f32::NAN; count];
    codec.decode(pool, bytes, &mut values).unwrap();
    values
}

/// What is encoded, by the definition: one block of numbers.
fn block_by_definition(table: &CodeTable, values: &[f32]) -> (f32, Vec<u8>) {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = match largest {
        _ if values.iter().any(|value| !value.is_finite()) => f32::NAN,
        _ if largest < f32::MIN_POSITIVE => 0.0,
        _ => largest,
    };
    let reciprocal = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    (scale, values.iter().map(|value| table.encode(value * reciprocal)).collect())
}

/// The message: scales, then codes.
fn message(blocks: impl Iterator<Item = (f32, Vec<u8>)>) -> Vec<u8> {
    let (mut scales, mut codes) = (Vec::new(), Vec::new());
    for (scale, block) in blocks {
        scales.extend(scale.to_le_bytes());
        codes.extend(block);
    }
    scales.extend(codes);
    scales
}

/// Every row on numbers that are already divided by their scale.
fn check_codes(table: &CodeTable, values: &[f32]) {
    let want: Vec<u8> = values.iter().map(|&value| table.encode(value)).collect();
    for (row, codec) in EightBit::rows(table, Scaling::Offset(0)).unwrap() {
        let got = encoded(&codec, &pool(1), values);
        assert_eq!(got[..4], 1f32.to_le_bytes());
        for ((&value, &want), &got) in values.iter().zip(&want).zip(&got[4..]) {
            assert_eq!(got, want, "{} {row}: {value:e}", table.name());
        }
    }
}

#[test]
fn codes_and_midpoints_and_their_neighbours() {
    for table in tables() {
        let mut probes = vec![0.0, f32::from_bits(1), f32::MIN_POSITIVE / 2.0, f32::MIN_POSITIVE, 1e30, f32::MAX];
        let places = table.values()[..128].iter().chain(table.thresholds());
        for place in places {
            let near = (-40i32..=40).filter_map(|by| place.to_bits().checked_add_signed(by));
            probes.extend(near.map(f32::from_bits));
        }
        let both: Vec<f32> = probes.iter().flat_map(|&value| [value, -value]).collect();
        check_codes(&table, &both);
        // Each alone among numbers that are in no doubt.
        let alone: Vec<f32> = probes.iter().step_by(7).flat_map(|&v| [v].into_iter().chain([0.0; 36])).collect();
        check_codes(&table, &alone);
    }
}

#[test]
fn numbers_of_every_size() {
    // Each 6007th float, from 0 to the last finite one: about 2,800 in each doubling between 1e-9 and 100.
    let values: Vec<f32> = (0..0x7f80_0000u32).step_by(6007).map(f32::from_bits).collect();
    for table in tables() {
        check_codes(&table, &values);
    }
}

#[test]
fn scales_are_those_of_the_definition() {
    let pool = pool(1);
    for table in tables() {
        for count in [0, 1, 7, 31, 32, 33, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17] {
            let values = numbers(count);
            let blocks = message(values.chunks(BLOCK).map(|block| block_by_definition(&table, block)));
            let tensor = message(values.chunks(count.max(1)).map(|all| block_by_definition(&table, all)));
            for (row, codec) in EightBit::rows(&table, Scaling::Block).unwrap() {
                assert!(encoded(&codec, &pool, &values) == blocks, "{} {row} {count}", table.name());
            }
            for (row, codec) in EightBit::rows(&table, Scaling::Tensor).unwrap() {
                let bytes = encoded(&codec, &pool, &values);
                assert!(bytes == tensor, "{} {row} {count}", table.name());
                let back = decoded(&codec, &pool, &bytes, count);
                if let Some((scale, codes)) = bytes.split_first_chunk() {
                    let scale = f32::from_le_bytes(*scale);
                    assert!(back.iter().zip(codes).all(|(value, &code)| *value == table.decode(code) * scale));
                }
            }
        }
    }
}

#[test]
fn offsets_are_powers_of_ten() {
    let table = codec::table("static-tree").unwrap();
    let codec = EightBit::new(table, Scaling::Offset(2)).unwrap();
    let bytes = encoded(&codec, &pool(1), &[23.45678, -1e9, 0.0]);
    assert_eq!(bytes[..4], 100f32.to_le_bytes());
    assert_eq!(decoded(&codec, &pool(1), &bytes, 3), [24.0625, -97.1875, 0.0]);
    for wrong in ["31", "-31", "200", "much", ""] {
        assert!(wrong.parse::<Scaling>().is_err(), "{wrong}");
    }
    for right in [Scaling::Tensor, Scaling::Block, Scaling::Offset(-3)] {
        assert_eq!(right.to_string().parse::<Scaling>().unwrap(), right);
    }
    assert!(codec::find_scaled("linear", Scaling::Offset(31)).is_err());
    assert!(codec::find_scaled("fp16", Scaling::Block).unwrap_err().to_string().contains("no scaling"));
    assert!(codec::find("dynamic").unwrap_err().to_string().contains("dynamic-tree, linear"));
}

#[test]
fn numbers_that_are_not_finite_are_seen() {
    let pool = pool(1);
    for table in tables() {
        for scaling in [Scaling::Tensor, Scaling::Block, Scaling::Offset(0)] {
            for wrong in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = numbers(3 * BLOCK);
                values[BLOCK + 70] = wrong;
                let rows = EightBit::rows(&table, scaling).unwrap();
                let one = encoded(&rows[0].1, &pool, &values);
                for (row, codec) in rows {
                    let bytes = encoded(&codec, &pool, &values);
                    assert!(bytes == one, "{} {row} {scaling} {wrong}", table.name());
                    let back = decoded(&codec, &pool, &bytes, values.len());
                    let spoilt = if scaling == Scaling::Block { BLOCK..2 * BLOCK } else { 0..3 * BLOCK };
                    for (i, value) in back.iter().enumerate() {
                        assert_eq!(value.is_nan(), spoilt.contains(&i), "{} {row} {wrong} {i}", table.name());
                    }
                }
            }
        }
    }
}

#[test]
fn all_codes_are_those_of_zero_where_one_number_is_not_finite() {
    // More than a thread's piece, the wrong number in the last.
    let mut values = numbers(100_003);
    values[100_000] = f32::NAN;
    for table in tables() {
        let zeros: Vec<u8> = values.iter().map(|value| table.encode(0f32.copysign(*value))).collect();
        for scaling in [Scaling::Tensor, Scaling::Offset(2)] {
            for (row, codec) in EightBit::rows(&table, scaling).unwrap() {
                let bytes = encoded(&codec, &pool(2), &values);
                assert!(bytes[..4] == f32::NAN.to_le_bytes() && bytes[4..] == zeros, "{} {row}", table.name());
            }
        }
    }
}

#[test]
fn nothing_but_zeros_and_subnormals() {
    let pool = pool(1);
    let subnormal = f32::from_bits(0x007f_ffff);
    for table in tables() {
        for scaling in [Scaling::Tensor, Scaling::Block] {
            for (row, codec) in EightBit::rows(&table, scaling).unwrap() {
                for values in [vec![0.0; 100], vec![-0.0; 100], vec![subnormal; 100], vec![-subnormal; 33]] {
                    let back = decoded(&codec, &pool, &encoded(&codec, &pool, &values), values.len());
                    assert!(back.iter().all(|&value| value == 0.0), "{} {row} {values:?}", table.name());
                    assert!(back.iter().zip(&values).all(|(a, b)| a.is_sign_negative() == b.is_sign_negative()));
                }
                // The smallest and the largest numbers that can be scales.
                for largest in [f32::MIN_POSITIVE, f32::MAX] {
                    let values = [largest, -largest, largest / 2.0, 0.0];
                    let back = decoded(&codec, &pool, &encoded(&codec, &pool, &values), 4);
                    assert!(back.iter().zip(values).all(|(a, b)| (a - b).abs() <= largest * 0.3), "{back:?}");
                }
            }
        }
    }
}

#[test]
fn threads_change_nothing() {
    let values = numbers(200_000 + 11);
    let one = pool(1);
    let mut codecs: Vec<_> = NAMES.iter().map(|name| codec::find(name).unwrap()).collect();
    codecs.extend(EIGHT_BIT.iter().map(|name| codec::find_scaled(name, Scaling::Block).unwrap()));
    for codec in codecs {
        let bytes = encoded(codec.as_ref(), &one, &values);
        let back = decoded(codec.as_ref(), &one, &bytes, values.len());
        let mut residual = vec![0.25; values.len()];
        let mut fed = Vec::new();
        codec.encode_with_feedback(&one, &values, &mut residual, &mut fed).unwrap();
        for threads in [2, 3] {
            let many = pool(threads);
            assert!(encoded(codec.as_ref(), &many, &values) == bytes, "{}", codec.name());
            assert!(decoded(codec.as_ref(), &many, &bytes, values.len()) == back, "{}", codec.name());
            let (mut other, mut other_fed) = (vec![0.25; values.len()], Vec::new());
            codec.encode_with_feedback(&many, &values, &mut other, &mut other_fed).unwrap();
            assert!(other == residual && other_fed == fed, "{}", codec.name());
        }
    }
}

#[test]
fn numbers_past_the_caches_are_the_same() {
    let (count, pool) = ((1 << 22) + 45, pool(2));
    for scaling in [Scaling::Tensor, Scaling::Block] {
        let codec = codec::find_scaled("dynamic-tree", scaling).unwrap();
        let bytes: Vec<u8> = (0..codec.encoded_bytes(count)).map(|i| (i * 7 + i / 256) as u8).collect();
        // Scales that are numbers.
        let bytes: Vec<u8> = bytes.into_iter().map(|byte| byte & 0xbf).collect();
        let mut added = vec![0.0; count + 3];
        codec.decode_add(&pool, &bytes, &mut added[3..]).unwrap();
        let mut replaced = vec![f32::NAN; count + 3];
        codec.decode(&pool, &bytes, &mut replaced[3..]).unwrap();
        assert!(replaced[3..] == added[3..], "{scaling}");
    }
}

#[test]
fn decoded_numbers_replace_or_are_added_or_subtracted() {
    let pool = pool(1);
    for name in NAMES {
        let codec = codec::find(name).unwrap();
        let bytes = encoded(codec.as_ref(), &pool, &numbers(100));
        let plain = decoded(codec.as_ref(), &pool, &bytes, 100);
        for (onto, sign) in [(Onto::Add, 1.0), (Onto::Subtract, -1.0)] {
            let mut values = vec![0.5; 100];
            codec.decode_onto(&pool, &bytes, &mut values, onto).unwrap();
            assert!(values.iter().zip(&plain).all(|(&a, &b)| a == 0.5 + sign * b), "{name} {onto:?}");
        }
    }
}

#[test]
fn other_lengths_are_errors() {
    let pool = pool(1);
    for name in NAMES {
        let codec = codec::find(name).unwrap();
        for count in [0, 1, 9, BLOCK + 1] {
            let bytes = encoded(codec.as_ref(), &pool, &vec![1.0; count]);
            let longer = [&bytes[..], &[0]].concat();
            let shorter = &bytes[..bytes.len().saturating_sub(1)];
            for wrong in [&longer[..], shorter].into_iter().filter(|wrong| wrong.len() != bytes.len()) {
                let mut values = vec![3.0; count];
                let error = codec.decode(&pool, wrong, &mut values).unwrap_err().to_string();
                assert!(error.contains(name) && error.contains(&bytes.len().to_string()), "{error}");
                assert!(values.iter().all(|&value| value == 3.0));
                assert!(codec.encode_into(&pool, &values, &mut vec![0; wrong.len()]).is_err());
            }
        }
        assert!(codec.encoded_bytes(usize::MAX) >= usize::MAX / 8);
        assert!(codec.encode_with_feedback(&pool, &[1.0], &mut [], &mut Vec::new()).is_err());
    }
}

#[test]
fn one_bit_sends_signs_and_means() {
    let (codec, pool) = (codec::find("one-bit").unwrap(), pool(1));
    let bytes = encoded(codec.as_ref(), &pool, &[1.0, -2.0, 3.0, 0.5]);
    assert_eq!(bytes, [&1.5f32.to_le_bytes()[..], &(-2f32).to_le_bytes(), &[2]].concat());
    // A block has means of its own; bits of no number are not looked at.
    let values: Vec<f32> = (0..BLOCK + 9).map(|i| if i < BLOCK { 1.0 } else { -3.0 }).collect();
    let mut bytes = encoded(codec.as_ref(), &pool, &values);
    *bytes.last_mut().unwrap() |= 0xfe;
    assert_eq!(decoded(codec.as_ref(), &pool, &bytes, values.len()), values);
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bytes = encoded(codec.as_ref(), &pool, &[1.0, wrong, -1.0]);
        assert!(decoded(codec.as_ref(), &pool, &bytes, 3).iter().all(|value| value.is_nan()), "{wrong}");
    }
    let large = [f32::MAX; 100];
    assert_eq!(decoded(codec.as_ref(), &pool, &encoded(codec.as_ref(), &pool, &large), 100), large);
}

#[test]
fn half_precision_and_plain_numbers_keep_what_they_can() {
    let pool = pool(1);
    let (half, plain) = (codec::find("fp16").unwrap(), codec::find("none").unwrap());
    let values = [1.0, 0.2345678, -0.0, 65504.0, 65520.0, -1e9, 6e-8, 2e-8, f32::INFINITY];
    let bytes = encoded(half.as_ref(), &pool, &values);
    assert_eq!(bytes[..6], [0x00, 0x3c, 0x82, 0x33, 0x00, 0x80]);
    let want = [1.0, 0.23461914, -0.0, 65504.0, f32::INFINITY, -f32::INFINITY, 5.9604645e-8, 0.0, f32::INFINITY];
    assert_eq!(decoded(half.as_ref(), &pool, &bytes, values.len()), want);
    let many: Vec<f32> = numbers(1000);
    let back = decoded(half.as_ref(), &pool, &encoded(half.as_ref(), &pool, &many), 1000);
    assert!(back.iter().zip(&many).all(|(a, b)| *a == half::f16::from_f32(*b).to_f32()));
    let odd = [f32::from_bits(0x7fa1_2345), f32::from_bits(1), -0.0];
    let bytes = encoded(plain.as_ref(), &pool, &odd);
    assert_eq!(bytes, odd.map(f32::to_le_bytes).concat());
    assert!(decoded(plain.as_ref(), &pool, &bytes, 3).iter().zip(odd).all(|(a, b)| a.to_bits() == b.to_bits()));
    assert!(decoded(half.as_ref(), &pool, &encoded(half.as_ref(), &pool, &[f32::NAN]), 1)[0].is_nan());
}

#[test]
fn what_is_lost_is_sent_later() {
    let pool = pool(1);
    let values: Vec<f32> = numbers(3000).iter().map(|value| value.clamp(-0.1, 0.1)).collect();
    for name in NAMES {
        let codec = codec::find(name).unwrap();
        let (mut residual, mut sent, mut bytes) = (vec![0.0; 3000], vec![0.0; 3000], Vec::new());
        const STEPS: usize = 20;
        for _ in 0..STEPS {
            codec.encode_with_feedback(&pool, &values, &mut residual, &mut bytes).unwrap();
            codec.decode_add(&pool, &bytes, &mut sent).unwrap();
        }
        for ((sent, lost), value) in sent.iter().zip(&residual).zip(&values) {
            assert!((sent + lost - value * STEPS as f32).abs() < 1e-4, "{name}: {sent} + {lost}, {value}");
        }
        // One spoilt step does not spoil the next.
        codec.encode_with_feedback(&pool, &vec![f32::NAN; 3000], &mut residual, &mut bytes).unwrap();
        assert!(residual.iter().all(|&value| value == 0.0), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_agree_on_any_numbers(values in prop::collection::vec(prop::num::f32::ANY, 0..5000), finite: bool) {
        let values: Vec<f32> = values.into_iter().filter(|value| !finite || value.is_finite()).collect();
        for table in tables() {
            for scaling in [Scaling::Tensor, Scaling::Block, Scaling::Offset(3)] {
                let rows = EightBit::rows(&table, scaling).unwrap();
                let all: Vec<_> = rows.iter().map(|(_, codec)| encoded(codec, &pool(1), &values)).collect();
                prop_assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{} {}", table.name(), scaling);
            }
        }
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0usize..300) {
        for name in NAMES {
            let codec = codec::find(name).unwrap();
            let right = bytes.len() == codec.encoded_bytes(count);
            prop_assert_eq!(codec.decode(&pool(1), &bytes, &mut vec![0.0; count]).is_ok(), right);
            let exact: Vec<u8> = bytes.iter().copied().cycle().take(codec.encoded_bytes(count)).collect();
            if exact.len() == codec.encoded_bytes(count) {
                prop_assert!(codec.decode(&pool(1), &exact, &mut vec![0.0; count]).is_ok());
            }
        }
    }
}
