//! Partial gradients: which layers learn at which step.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Learning a part of the layers at each step, with the gradients of that part alone (Zhang et al. 2018, section 5.1):
/// block-coordinate descent (Nesterov 2012; Richtárik and Takáč 2014), a block being all that a layer learns. Steps go in
/// cycles, in which every layer has one turn, in an order that is drawn anew for each cycle. A layer without its turn keeps
/// its weights and what the optimiser remembers of them, and the backward pass ends at the first layer that has one.
/// Running means and variances follow every batch.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partial {
    /// Share of the layers with something to learn that have their turn at a step, above 0 up to 1. Rounded to whole
    /// layers, at least one; the last step of a cycle takes those that are left.
    pub share: f64,
}

impl Partial {
    /// What is out of range, if anything is.
    pub fn check(&self) -> Result<(), String> {
        match self.share > 0.0 && self.share <= 1.0 {
            true => Ok(()),
            false => Err(format!("share {} of the layers is not in (0, 1]", self.share)),
        }
    }
}

/// Which nodes learn at which step: a function of the seed and the step, so that a training can go on at any.
#[derive(Debug)]
pub(super) struct Turns {
    nodes: Vec<usize>,
    at_once: usize,
    seed: u64,
}

impl Turns {
    /// Of these nodes. Errors as [`Partial::check`] does.
    pub(super) fn new(partial: Option<Partial>, nodes: Vec<usize>, seed: u64) -> Result<Self, String> {
        let all = nodes.len().max(1);
        let at_once = match partial {
            Some(partial) => {
                partial.check()?;
                ((partial.share * all as f64).round() as usize).clamp(1, all)
            }
            None => all,
        };
        Ok(Turns { nodes, at_once, seed })
    }

    /// Steps in which every node has its turn once.
    fn cycle(&self) -> u64 {
        self.nodes.len().div_ceil(self.at_once).max(1) as u64
    }

    /// How many turns a node that learns at this step has had with it. The first step is 0.
    pub(super) fn count(&self, step: u64) -> u64 {
        (step / self.cycle()).saturating_add(1)
    }

    /// The nodes that learn at this step.
    pub(super) fn due(&self, step: u64) -> Vec<usize> {
        let cycle = self.cycle();
        let mut order = self.nodes.clone();
        if cycle > 1 {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(step / cycle);
            order.sort_by_cached_key(|_| rng.next_u64());
        }
        order.into_iter().skip((step % cycle) as usize * self.at_once).take(self.at_once).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(share: f64, nodes: usize) -> Turns {
        Turns::new(Some(Partial { share }), (0..nodes).map(|node| 2 * node).collect(), 3).unwrap()
    }

    #[test]
    fn every_node_has_one_turn_a_cycle() {
        for (nodes, share) in
            [(5, 0.2), (5, 0.5), (5, 0.4), (7, 0.3), (1, 0.1), (10, 0.9), (3, 1e-300), (4, 1.0), (0, 0.5)]
        {
            let turns = turns(share, nodes);
            for cycle in [0, 1, 1 << 40] {
                let steps = cycle * turns.cycle()..(cycle + 1) * turns.cycle();
                assert!(steps.clone().all(|step| turns.count(step) == cycle + 1));
                let mut due: Vec<usize> = steps.flat_map(|step| turns.due(step)).collect();
                due.sort();
                assert_eq!(due, turns.nodes, "{nodes} nodes, share {share}");
            }
        }
    }

    #[test]
    fn a_share_is_rounded_to_whole_nodes() {
        let lengths = |share: f64| [0, 1, 2].map(|step| turns(share, 5).due(step).len());
        assert_eq!(lengths(0.2), [1, 1, 1]);
        assert_eq!(lengths(0.01), [1, 1, 1]);
        assert_eq!(lengths(0.5), [3, 2, 3]);
        assert_eq!(lengths(1.0), [5, 5, 5]);
    }

    #[test]
    fn the_order_is_drawn_anew_for_each_cycle_and_seed() {
        let order = |seed: u64, cycle: u64| -> Vec<usize> {
            let turns = Turns::new(Some(Partial { share: 0.1 }), (0..10).collect(), seed).unwrap();
            (10 * cycle..10 * cycle + 10).flat_map(|step| turns.due(step)).collect()
        };
        assert_eq!(order(1, 4), order(1, 4));
        assert_ne!(order(1, 4), order(1, 5));
        assert_ne!(order(1, 4), order(2, 4));
    }

    #[test]
    fn any_step_has_its_turns() {
        let turns = turns(0.3, 7);
        assert_eq!((turns.due(u64::MAX).len(), turns.count(u64::MAX)), (1, u64::MAX / 4 + 1));
        assert_eq!(Turns::new(None, vec![1, 4], 0).unwrap().due(u64::MAX), [1, 4]);
    }

    #[test]
    fn shares_out_of_range_are_told() {
        for share in [0.0, -0.0, -1.0, 1.0000001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Turns::new(Some(Partial { share }), vec![0], 0).is_err(), "{share}");
        }
    }
}
