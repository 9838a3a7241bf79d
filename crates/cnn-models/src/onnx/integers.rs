//! Arithmetic on whole numbers that are known at import: extents, indices, and what is computed of them.

use cnn_core::Shape;
use cnn_core::layers::{Binary, Unary};

use super::array::{ANY_BATCH, Array, ElementType};
use super::context::{Outcome, Refusal};

/// A function of each number, of those that stay whole.
pub(super) fn unary(function: Unary, values: &[i64], element_type: ElementType) -> Option<Array> {
    let of = |value: i64| match function {
        Unary::Not => Some(i64::from(value == 0)),
        _ if value == ANY_BATCH => None,
        Unary::Abs => value.checked_abs(),
        Unary::Scale { scale: -1.0, offset: 0.0 } => value.checked_neg(),
        Unary::Sign => Some(value.signum()),
        _ => None,
    };
    let results: Option<Vec<i64>> = values.iter().map(|&value| of(value)).collect();
    results.map(|results| Array::ints(vec![results.len()], results, element_type))
}

/// Where each element of the broadcast result comes from.
fn places<'a>(dims: &'a [usize], shape: &'a Shape) -> impl Fn(usize) -> usize + 'a {
    move |place| {
        let (mut rest, mut at, mut stride) = (place, 0, 1);
        for axis in (0..dims.len()).rev() {
            let index = rest % dims[axis];
            rest /= dims[axis];
            if shape[axis] != 1 {
                at += index * stride;
            }
            stride *= shape[axis];
        }
        at
    }
}

/// An operation on two arrays that broadcast to `dims`.
pub(super) fn binary(
    operation: Binary,
    (a, b): (&[i64], &[i64]),
    (dims, shapes): (&[usize], &[Shape]),
    element_type: ElementType,
) -> Outcome<Array> {
    let (left, right) = (places(dims, &shapes[0]), places(dims, &shapes[1]));
    let elements = dims.iter().product::<usize>();
    let results: Outcome<Vec<i64>> =
        (0..elements).map(|place| of(operation, a[left(place)], b[right(place)])).collect();
    let [low, high] = element_type.limits();
    let results = results?;
    if results.iter().any(|&v| v != ANY_BATCH && (v < low || v > high)) {
        return Err("overflows its element type at import".into());
    }
    Ok(Array::ints(dims.to_vec(), results, element_type))
}

fn of(operation: Binary, a: i64, b: i64) -> Outcome<i64> {
    if a == ANY_BATCH || b == ANY_BATCH {
        return match operation {
            Binary::Product if a == 1 || b == 1 => Ok(ANY_BATCH),
            Binary::Sum | Binary::Difference if b == 0 => Ok(ANY_BATCH),
            Binary::Sum if a == 0 => Ok(ANY_BATCH),
            // An extent is no negative number, such as the -1 that stands for what is left.
            Binary::Equal if a < 0 && b < 0 => Ok(i64::from(a == b)),
            _ => Err(Refusal::mixes()),
        };
    }
    let result = match operation {
        Binary::Sum => a.checked_add(b),
        Binary::Difference => a.checked_sub(b),
        Binary::Product => a.checked_mul(b),
        Binary::Quotient => a.checked_div(b),
        Binary::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        Binary::Maximum => Some(a.max(b)),
        Binary::Minimum => Some(a.min(b)),
        Binary::Remainder => {
            a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        Binary::TruncatedRemainder => a.checked_rem(b),
        Binary::Leak => {
            if a < 0 {
                a.checked_mul(b)
            } else {
                Some(a)
            }
        }
        Binary::Equal => Some(i64::from(a == b)),
        Binary::Less => Some(i64::from(a < b)),
        Binary::LessOrEqual => Some(i64::from(a <= b)),
        Binary::And => Some(i64::from(a != 0 && b != 0)),
        Binary::Or => Some(i64::from(a != 0 || b != 0)),
        Binary::Xor => Some(i64::from((a != 0) != (b != 0))),
    };
    result.ok_or_else(|| "overflows or divides by 0 at import".into())
}

/// The second array's elements where the first's are other than 0, the third's elsewhere.
pub(super) fn choose(
    [condition, a, b]: [&[i64]; 3],
    (dims, shapes): (&[usize], &[Shape]),
    element_type: ElementType,
) -> Array {
    let at = [0, 1, 2].map(|n| places(dims, &shapes[n]));
    let one = |place: usize| if condition[at[0](place)] != 0 { a[at[1](place)] } else { b[at[2](place)] };
    Array::ints(dims.to_vec(), (0..dims.iter().product::<usize>()).map(one).collect(), element_type)
}
