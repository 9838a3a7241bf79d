//! Products of matrices that both flow through the network.

use super::{Call, Gradients, Operation};
use crate::{Misfit, Shape};

/// Products of matrices, pair by pair. A product with fixed weights is a [`Linear`](super::Linear).
///
/// # Shapes
/// Inputs `[B, M, K]` and `[B, K, N]`, where a `B` of 1 stands for all of the other's; output `[B, M, N]`.
#[derive(Debug, Clone, PartialEq)]
pub struct MatMul;

/// Pairs, rows, terms and columns, and the pairs of each input.
fn extents(inputs: &[&Shape]) -> Option<([usize; 4], [usize; 2])> {
    match [&inputs.first()?[..], &inputs.get(1)?[..]] {
        [&[a, m, k], &[b, l, n]] if k == l && (a == b || a == 1 || b == 1) && inputs.len() == 2 => {
            Some(([a.max(b), m, k, n], [a, b]))
        }
        _ => None,
    }
}

/// Calls `visit` for each product of two elements: with the flat index of the output, of the left and of the right.
fn for_each(call: &Call<'_>, mut visit: impl FnMut(usize, usize, usize)) {
    let Some(([pairs, m, k, n], [left, right])) = extents(&call.input_shapes()) else { return };
    for pair in 0..call.batch * pairs {
        let (sample, b) = (pair / pairs, pair % pairs);
        let a = (sample * left + b % left) * m * k;
        let b = (sample * right + b % right) * k * n;
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            (0..k).for_each(|l| visit((pair * m + i) * n + j, a + i * k + l, b + l * n + j));
        }
    }
}

impl Operation for MatMul {
    fn kind(&self) -> &str {
        "MatMul"
    }

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, Misfit> {
        let extents = extents(inputs).ok_or("takes shapes [B, M, K] and [B, K, N]")?;
        let ([pairs, m, _, n], _) = extents;
        Ok(Shape::from([pairs, m, n]))
    }

    fn flops(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        (output.elements() as u64).saturating_mul(2 * inputs[0][2] as u64)
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (a, b) = (call.inputs[0].data, call.inputs[1].data);
        let terms = call.inputs[0].shape[2];
        let (mut sum, mut term) = (0f64, 0);
        for_each(call, |place, i, j| {
            sum += f64::from(a[i]) * f64::from(b[j]);
            term += 1;
            if term == terms {
                output[place] = sum as f32;
                (sum, term) = (0.0, 0);
            }
        });
    }

    fn backward(&self, call: &Call<'_>, _output: &[f32], output_gradient: &[f32], gradients: &mut Gradients<'_, '_>) {
        let (a, b) = (call.inputs[0].data, call.inputs[1].data);
        let mut sums = [vec![0f64; a.len()], vec![0f64; b.len()]];
        for_each(call, |place, i, j| {
            let dy = f64::from(output_gradient[place]);
            sums[0][i] += dy * f64::from(b[j]);
            sums[1][j] += dy * f64::from(a[i]);
        });
        for (gradient, sums) in gradients.inputs.iter_mut().zip(sums) {
            gradient.iter_mut().zip(sums).for_each(|(g, sum)| *g += sum as f32);
        }
    }
}
