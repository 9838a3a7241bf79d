//! Runs convolutions that follow one another inside one step, for backends that keep what lies between them in a cache.

use super::{Program, Step};
use crate::Layer;

impl Program<'_> {
    /// Fuses convolutions of which each is the only reader of the one before, as long as `takes` them: it is asked for each pair,
    /// then for each longer chain. Poolings end a chain.
    pub fn fuse_chains(&mut self, takes: impl Fn(&Program<'_>, &[&Step]) -> bool) {
        let mut leader = 0;
        while leader < self.steps.len() {
            while let Some(follower) = self.next_in_chain(leader) {
                let chain: Vec<&Step> = self.steps[leader].links().chain([&self.steps[follower]]).collect();
                if !takes(self, &chain) {
                    break;
                }
                let link = self.steps[follower].clone();
                self.absorb(leader, follower);
                self.steps[leader].pool = link.pool;
                self.steps[leader].chain.push(link);
            }
            leader += 1;
        }
    }

    /// The step after a chain that may belong to it.
    fn next_in_chain(&self, leader: usize) -> Option<usize> {
        let Step { output, pool, .. } = self.steps[leader];
        let is_convolution = |step: &Step| matches!(self.layer(step), Layer::Conv2d(_)) && step.residual.is_none();
        let follower = self.steps.iter().position(|step| step.inputs == [output])?;
        let both = is_convolution(&self.steps[leader]) && is_convolution(&self.steps[follower]);
        (both && pool.is_none() && self.uses(output) == 1 && follower > leader).then_some(follower)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Program;
    use crate::Network;
    use crate::layers::{Activation, Add, BatchNorm2d, Conv2d, MaxPool2d};

    fn network() -> Network {
        let mut net = Network::builder("n", [3, 8, 8]);
        net.push("a", Conv2d::new(4, 1)).unwrap();
        net.push("b", Conv2d::new(4, [3, 1]).groups(4)).unwrap();
        net.push("norm", BatchNorm2d::new()).unwrap();
        net.push("relu", Activation::Relu).unwrap();
        net.push("pool", MaxPool2d::new(2)).unwrap();
        let fork = net.push("c", Conv2d::new(4, 1)).unwrap();
        let branch = net.push("d", Conv2d::new(4, 1)).unwrap();
        net.push_with("sum", Add, &[fork, branch]).unwrap();
        net.finish().unwrap()
    }

    fn chains(longest: usize) -> Vec<Vec<usize>> {
        let network = network();
        let mut program = Program::for_inference(&network);
        program.fuse_chains(|_, chain| chain.len() <= longest);
        program.steps.iter().map(|step| step.links().map(|link| link.node).collect()).collect()
    }

    #[test]
    fn only_readers_of_one_another_become_a_chain() {
        assert_eq!(chains(9), [vec![0, 1], vec![5], vec![6], vec![7]]);
        assert_eq!(chains(1), [vec![0], vec![1], vec![5], vec![6], vec![7]]);
    }

    #[test]
    fn a_chain_ends_with_what_follows_its_last_convolution() {
        let network = network();
        let mut program = Program::for_inference(&network);
        program.fuse_chains(|_, _| true);
        let step = &program.steps[0];
        assert_eq!((step.pool, &step.fused[..]), (Some(4), &[1, 2, 3, 4][..]));
        assert_eq!(step.output, network.output_of(4));
        let last = step.links().last().unwrap();
        assert_eq!((last.batch_norm, last.activation), (Some(2), Some(Activation::Relu)));
        assert_eq!((step.batch_norm, step.activation), (None, None));
    }
}
