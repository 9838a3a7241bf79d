//! Finite differences: the check behind every backward pass.

use cnn_core::layers::{Call, Gradients, Mode, Role, View};
use cnn_core::{Layer, Shape};

use crate::{Case, spread, uniform};

/// Elements of each input and parameter that are moved: many of a small layer, few of a large one.
const SAMPLED: usize = 60;
const SAMPLED_OF_LARGE: usize = 5;

/// Floating-point operations a sample from which on a layer is large.
const LARGE: u64 = 1_000_000;

/// Compares the layer's own backward pass, in training mode, with central differences of its forward pass: the loss
/// is a random weighted sum of the outputs.
///
/// # Errors
/// The first element whose two gradients differ by more than `tolerance`, relative to the larger of the gradient and
/// 1, with both values.
pub fn check(case: &Case, tolerance: f64) -> Result<(), String> {
    let problem = Problem::new(case);
    let (output, dy) = (problem.forward(&problem.values), &problem.cotangent);
    let mut gradients: Vec<Vec<f32>> = problem.values.iter().map(|v| vec![0.0; v.len()]).collect();
    {
        let mut slices: Vec<&mut [f32]> = gradients.iter_mut().map(Vec::as_mut_slice).collect();
        let (inputs, parameters) = slices.split_at_mut(case.inputs.len());
        let mut gradients = Gradients { inputs, parameters };
        problem.with_call(&problem.values, |call| {
            case.layer.operation().backward(call, &output, dy, &mut gradients);
        });
    }
    let shapes: Vec<&Shape> = case.inputs.iter().collect();
    let large = case.layer.operation().flops(&shapes, &problem.output_shape) > LARGE;
    let sampled = if large { SAMPLED_OF_LARGE } else { SAMPLED };
    for (index, gradient) in gradients.iter().enumerate().filter(|(i, _)| !problem.is_state[*i]) {
        for place in (0..gradient.len()).step_by(gradient.len().div_ceil(sampled)) {
            let (analytic, numeric) = (f64::from(gradient[place]), problem.difference_quotient(index, place));
            if (analytic - numeric).abs() > tolerance * numeric.abs().max(1.0) {
                let name = &problem.names[index];
                return Err(format!("{}: d{name}[{place}] is {analytic}, differences give {numeric}", case.name));
            }
        }
    }
    Ok(())
}

struct Problem<'a> {
    case: &'a Case,
    output_shape: Shape,
    /// Inputs, then parameters.
    values: Vec<Vec<f32>>,
    names: Vec<String>,
    is_state: Vec<bool>,
    cotangent: Vec<f32>,
}

impl<'a> Problem<'a> {
    fn new(case: &'a Case) -> Self {
        let operation = case.layer.operation();
        let shapes: Vec<&Shape> = case.inputs.iter().collect();
        let output_shape = operation.output_shape(&shapes).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut problem = Problem {
            case,
            cotangent: uniform(case.seed + 99, case.batch * output_shape.elements()),
            output_shape,
            values: Vec::new(),
            names: Vec::new(),
            is_state: Vec::new(),
        };
        for (i, shape) in case.inputs.iter().enumerate() {
            problem.push(format!("input{i}"), spread(case.seed + i as u64, case.batch * shape.elements()), false);
        }
        for (i, parameter) in operation.parameters(&shapes).into_iter().enumerate() {
            let values = uniform(case.seed + 50 + i as u64, parameter.shape.elements());
            // Positive, as a variance has to be.
            let values = values.into_iter().map(|v| if parameter.role == Role::State { v.abs() + 0.5 } else { v });
            problem.push(parameter.name.to_string(), values.collect(), parameter.role == Role::State);
        }
        problem
    }

    fn push(&mut self, name: String, values: Vec<f32>, is_state: bool) {
        self.names.push(name);
        self.values.push(values);
        self.is_state.push(is_state);
    }

    fn with_call<R>(&self, values: &[Vec<f32>], work: impl FnOnce(&Call<'_>) -> R) -> R {
        let (inputs, parameters) = values.split_at(self.case.inputs.len());
        let views = self.case.inputs.iter().zip(inputs).map(|(shape, data)| View { shape, data });
        let inputs: Vec<View<'_>> = views.collect();
        let parameters: Vec<&[f32]> = parameters.iter().map(Vec::as_slice).collect();
        work(&Call {
            batch: self.case.batch,
            inputs: &inputs,
            output_shape: &self.output_shape,
            parameters: &parameters,
            mode: Mode::Training { seed: self.case.seed, first_sample: 0 },
        })
    }

    fn forward(&self, values: &[Vec<f32>]) -> Vec<f32> {
        let mut output = vec![f32::NAN; self.cotangent.len()];
        self.with_call(values, |call| self.case.layer.operation().forward(call, &mut output));
        output
    }

    fn loss(&self, values: &[Vec<f32>]) -> f64 {
        let output = self.forward(values);
        output.iter().zip(&self.cotangent).map(|(&y, &c)| f64::from(y) * f64::from(c)).sum()
    }

    fn difference_quotient(&self, index: usize, place: usize) -> f64 {
        let mut values = self.values.clone();
        // Where the function has kinks, a step must stay between them (`spread`); elsewhere a larger one rounds less.
        let kinks = matches!(self.case.layer, Layer::MaxPool2d(_) | Layer::Activation(_) | Layer::Prelu(_));
        let step = match self.case.layer.operation().kind() {
            // Its kinks lie anywhere.
            "LocalContrastNorm" => 1e-3,
            // What is drawn changes where a value does, almost nowhere; between, this layer copies, which hardly rounds.
            "StochasticPool2d" => 1e-3,
            _ if kinks => (1.0 / values[index].len() as f32).min(1e-2),
            _ => 1e-2,
        };
        let centre = values[index][place];
        let mut at = |value: f32| {
            values[index][place] = value;
            self.loss(&values)
        };
        let (high, low) = (centre + step, centre - step);
        (at(high) - at(low)) / (f64::from(high) - f64::from(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn every_backward_pass_agrees_with_finite_differences() {
        let failures: Vec<String> = cases().iter().filter_map(|case| check(case, 2e-3).err()).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    /// The check must see a gradient that is wrong: dropout's mask of another seed.
    #[test]
    fn a_wrong_gradient_is_found() {
        #[derive(Debug)]
        struct Wrong;
        impl cnn_core::layers::Operation for Wrong {
            fn kind(&self) -> &str {
                "Wrong"
            }
            fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape, cnn_core::Misfit> {
                Ok(inputs[0].clone())
            }
            fn flops(&self, _: &[&Shape], _: &Shape) -> u64 {
                0
            }
            fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
                output.iter_mut().zip(call.inputs[0].data).for_each(|(y, x)| *y = x * x);
            }
            fn backward(&self, call: &Call<'_>, _: &[f32], dy: &[f32], gradients: &mut Gradients<'_, '_>) {
                let x = call.inputs[0].data;
                gradients.inputs[0].iter_mut().enumerate().for_each(|(i, g)| *g += dy[i] * x[i]);
            }
        }
        let mut case = cases().into_iter().find(|case| case.name == "relu").unwrap();
        case.layer = cnn_core::Layer::Custom(std::sync::Arc::new(Wrong));
        assert!(check(&case, 2e-3).unwrap_err().contains("dinput0"));
    }
}
