//! Adds a residual inside the convolution that makes the other input of the sum, for backends whose convolutions do that.

use super::{Program, Step};
use crate::{Layer, ValueId};

/// A convolution and a sum, by their steps, and what the sum adds to the convolution.
type Pair = (usize, usize, ValueId);

impl Program<'_> {
    /// Fuses each sum of two values with the convolution that makes one of them for the sum alone; with the later one where both
    /// are made so. It runs where the sum did, as the other value may be made after the convolution's input.
    pub fn fuse_residuals(&mut self) {
        while let Some((leader, sum, residual)) = (0..self.steps.len()).find_map(|sum| self.pair_of(sum)) {
            let activation = self.steps[sum].activation;
            self.absorb(leader, sum);
            let step = self.steps.remove(leader);
            self.steps.insert(sum - 1, Step { residual: Some(residual), activation, ..step });
        }
    }

    fn pair_of(&self, sum: usize) -> Option<Pair> {
        let step = &self.steps[sum];
        let [a, b] = step.inputs[..] else { return None };
        // A flatten in front of a sum, removed by now, leaves values of other shapes.
        let same_shapes = [a, b].iter().all(|&value| self.network.shape(value) == self.network.shape(step.output));
        if !matches!(self.layer(step), Layer::Add(_)) || !same_shapes {
            return None;
        }
        let pair = |(value, residual)| {
            let leader = self.steps.iter().position(|step| step.output == value)?;
            self.takes_residual(&self.steps[leader]).then_some((leader, sum, residual))
        };
        [(a, b), (b, a)].into_iter().filter_map(pair).max_by_key(|&(leader, ..)| leader)
    }

    fn takes_residual(&self, step: &Step) -> bool {
        let ends = step.activation.is_none() && step.pool.is_none() && step.residual.is_none();
        matches!(self.layer(step), Layer::Conv2d(_)) && ends && step.chain.is_empty() && self.uses(step.output) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::super::Program;
    use crate::layers::{Activation, Add, BatchNorm2d, Conv2d, Flatten, MaxPool2d};
    use crate::network::NetworkBuilder;
    use crate::{Network, ValueId};

    const INPUT: ValueId = ValueId::INPUT;

    fn conv() -> Conv2d {
        Conv2d::new(4, 3).padding(1)
    }

    /// The names of the nodes of each step, and what it adds.
    fn steps(build: impl Fn(&mut NetworkBuilder)) -> Vec<String> {
        let mut net = Network::builder("n", [4, 8, 8]);
        build(&mut net);
        let net = net.finish().unwrap();
        let mut program = Program::for_inference(&net);
        program.fuse_residuals();
        let name = |node: usize| &net.nodes()[node].name[..];
        for (at, step) in program.steps.iter().enumerate() {
            let made = |&value: &ValueId| value == INPUT || program.steps[..at].iter().any(|step| step.output == value);
            assert!(step.inputs.iter().chain(&step.residual).all(made), "{} comes too early", name(step.node));
        }
        assert!(program.steps.iter().any(|step| step.output == program.output));
        let residual = |value: ValueId| value.index().checked_sub(1).map_or("input", name);
        let text = program.steps.iter().map(|step| {
            let nodes: Vec<&str> = [step.node].iter().chain(&step.fused).map(|&node| name(node)).collect();
            nodes.join(" ") + &step.residual.map_or(String::new(), |value| format!(" + {}", residual(value)))
        });
        text.collect()
    }

    #[test]
    fn a_sum_and_its_activation_become_part_of_the_convolution() {
        let got = steps(|net| {
            net.push("conv", conv()).unwrap();
            let norm = net.push("norm", BatchNorm2d::new()).unwrap();
            net.push_with("sum", Add, &[INPUT, norm]).unwrap();
            net.push("relu", Activation::Relu).unwrap();
            net.push("pool", MaxPool2d::new(2)).unwrap();
        });
        assert_eq!(got, ["conv norm sum relu + input", "pool"]);
    }

    #[test]
    fn of_two_convolutions_the_later_one_takes_the_sum() {
        let got = steps(|net| {
            let a = net.push_with("a", conv(), &[INPUT]).unwrap();
            let b = net.push_with("b", conv(), &[INPUT]).unwrap();
            let sum = net.push_with("sum", Add, &[b, a]).unwrap();
            let c = net.push_with("c", conv(), &[INPUT]).unwrap();
            net.push_with("second sum", Add, &[sum, c]).unwrap();
        });
        assert_eq!(got, ["a", "b sum + a", "c second sum + sum"]);
    }

    #[test]
    fn a_convolution_waits_for_the_residual() {
        let got = steps(|net| {
            let conv = net.push_with("conv", conv(), &[INPUT]).unwrap();
            let pool = net.push_with("pool", MaxPool2d::new(3).stride(1).padding(1), &[INPUT]).unwrap();
            net.push_with("other", Activation::Tanh, &[pool]).unwrap();
            net.push_with("sum", Add, &[conv, pool]).unwrap();
        });
        assert_eq!(got, ["pool", "other", "conv sum + pool"]);
    }

    #[test]
    fn what_somebody_else_reads_stays() {
        let twice = steps(|net| {
            let conv = net.push("conv", conv()).unwrap();
            net.push_with("sum", Add, &[conv, conv]).unwrap();
        });
        assert_eq!(twice, ["conv", "sum"]);
        let elsewhere = steps(|net| {
            let conv = net.push("conv", conv()).unwrap();
            let sum = net.push_with("sum", Add, &[conv, INPUT]).unwrap();
            net.push_with("again", Add, &[sum, conv]).unwrap();
        });
        assert_eq!(elsewhere, ["conv", "sum", "again"]);
    }

    #[test]
    fn other_sums_stay() {
        let three = steps(|net| {
            let conv = net.push("conv", conv()).unwrap();
            net.push_with("sum", Add, &[conv, INPUT, INPUT]).unwrap();
        });
        assert_eq!(three, ["conv", "sum"]);
        let activated = steps(|net| {
            net.push("conv", conv()).unwrap();
            let relu = net.push("relu", Activation::Relu).unwrap();
            net.push_with("sum", Add, &[relu, INPUT]).unwrap();
        });
        assert_eq!(activated, ["conv relu", "sum"]);
        let flat = steps(|net| {
            let flat = net.push("flat input", Flatten).unwrap();
            net.push_with("conv", conv(), &[INPUT]).unwrap();
            let made = net.push("flat", Flatten).unwrap();
            net.push_with("sum", Add, &[made, flat]).unwrap();
        });
        assert_eq!(flat, ["conv", "sum"]);
    }

    #[test]
    fn a_chain_takes_no_sum() {
        let mut net = Network::builder("n", [4, 8, 8]);
        net.push("a", conv()).unwrap();
        let b = net.push("b", conv()).unwrap();
        net.push_with("sum", Add, &[INPUT, b]).unwrap();
        let net = net.finish().unwrap();
        let steps = |takes: bool| {
            let mut program = Program::for_inference(&net);
            program.fuse_chains(|_, _| takes);
            program.fuse_residuals();
            program.steps.iter().map(|step| (step.node, step.fused.clone())).collect::<Vec<_>>()
        };
        assert_eq!(steps(false), [(0, vec![]), (1, vec![2])]);
        assert_eq!(steps(true), [(0, vec![1]), (2, vec![])]);
    }
}
