//! What the tuner tries: the values of each parameter, the work that is timed, and what does not fit a device.

use cnn_core::layers::{Conv2d, Linear};
use cnn_core::{Network, Result};

#[cfg(feature = "clblast")]
use super::Clblast;
use super::Tuning;
use crate::device::Traits;

/// Parameters that are tried together on one piece of work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    /// Its name in what is shown.
    pub(super) name: &'static str,
    /// The row whose time counts, where the work is a convolution.
    pub(super) algorithm: Option<&'static str>,
    /// The work.
    pub(super) network: fn() -> Result<Network>,
    /// What has to be beaten, by more than noise, made of what is known so far.
    pub(super) plain: fn(&Tuning) -> Tuning,
    /// Every variant of a tuning.
    pub(super) variants: fn(&Tuning) -> Vec<Tuning>,
}

/// In the order in which they are tried; later ones build on what earlier ones found.
pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "tiles of the products",
        algorithm: None,
        network: || {
            // Most of what networks do: 3 x 3 windows by Winograd, pointwise and strided ones by the depth-flattened row.
            let mut net = Network::builder("convolutions", [64, 56, 56]);
            net.push("3x3", Conv2d::new(128, 3).padding(1))?;
            net.push("pointwise", Conv2d::new(128, 1))?;
            net.push("strided", Conv2d::new(128, 3).padding(1).stride(2))?;
            net.push("small", Conv2d::new(256, 3).padding(1).stride(2))?;
            net.finish()
        },
        plain: Tuning::clone,
        variants: tiles,
    },
    Subject {
        name: "transformed values at a time in Winograd convolution",
        algorithm: Some("conv2d/winograd_f4"),
        network: || convolution(64, 64, 112),
        plain: Tuning::clone,
        variants: |base| (20..28).map(|log| Tuning { winograd_bytes: 1 << log, ..base.clone() }).collect(),
    },
    Subject {
        name: "work-groups of the direct convolution",
        algorithm: Some("conv2d/work_group"),
        network: || convolution(16, 16, 56),
        // As tuned never slower than `direct`, which has the driver's.
        plain: |base| Tuning { work_group: None, ..base.clone() },
        variants: |base| {
            let sizes = [1, 2, 4, 8, 16, 32, 64];
            let pairs = sizes.into_iter().flat_map(|across| sizes.map(|down| [across, down]));
            // The paper's sizes, 1 x 1 to 16 x 16, and flat ones that fill a device's group.
            let wanted = pairs.filter(|[across, down]| across * down <= 256 && *down <= 16);
            wanted.map(|group| Tuning { work_group: Some(group), ..base.clone() }).collect()
        },
    },
    #[cfg(feature = "clblast")]
    Subject {
        name: "CLBlast on the largest outputs",
        algorithm: Some("conv2d/clblast"),
        network: || convolution(16, 64, 160),
        plain: Tuning::clone,
        variants: |base| clblast(base, 1 << 30),
    },
    #[cfg(feature = "clblast")]
    Subject {
        name: "CLBlast on outputs of 112 x 112",
        algorithm: Some("conv2d/clblast"),
        network: || convolution(64, 64, 112),
        plain: Tuning::clone,
        variants: |base| clblast(base, 112 * 112),
    },
    #[cfg(feature = "clblast")]
    Subject {
        name: "CLBlast on outputs of 56 x 56",
        algorithm: Some("conv2d/clblast"),
        network: || convolution(128, 128, 56),
        plain: Tuning::clone,
        variants: |base| clblast(base, 56 * 56),
    },
    #[cfg(feature = "clblast")]
    Subject {
        name: "CLBlast on outputs of 28 x 28",
        algorithm: Some("conv2d/clblast"),
        network: || convolution(256, 256, 28),
        plain: Tuning::clone,
        variants: |base| clblast(base, 28 * 28),
    },
    #[cfg(feature = "clblast")]
    Subject {
        name: "CLBlast on outputs of 14 x 14",
        algorithm: Some("conv2d/clblast"),
        network: || convolution(256, 256, 14),
        plain: Tuning::clone,
        variants: |base| clblast(base, 14 * 14),
    },
    Subject {
        name: "parts of a fully connected layer's sums",
        algorithm: None,
        network: || {
            let mut net = Network::builder("linear", [4096]);
            net.push("linear", Linear::new(1024))?;
            net.finish()
        },
        plain: Tuning::clone,
        variants: |base| (0..9).map(|log| Tuning { linear_parts: 1 << log, ..base.clone() }).collect(),
    },
];

fn convolution(inputs: usize, outputs: usize, extent: usize) -> Result<Network> {
    let mut net = Network::builder("convolution", [inputs, extent, extent]);
    net.push("conv", Conv2d::new(outputs, 3).padding(1))?;
    net.finish()
}

/// Vectors, heights and widths of tiles, and groups of them.
fn tiles(base: &Tuning) -> Vec<Tuning> {
    /// Sums beyond this fit no device's registers.
    const MOST_FLOATS: usize = 512;
    let mut all = Vec::new();
    for lanes in [4, 8, 16] {
        for vectors in [1, 2, 4] {
            for rows in [1, 2, 4, 6, 7, 8, 12, 14] {
                for tile_group in [[1, 1], [4, 4], [8, 8], [16, 4], [16, 8], [32, 2]] {
                    if rows * vectors * lanes <= MOST_FLOATS {
                        all.push(Tuning { lanes, vectors, rows, tile_group, ..base.clone() });
                    }
                }
            }
        }
    }
    all
}

/// CLBlast's parameters for outputs of up to so many pixels: its own, those of its database for Mali, Adreno and NVIDIA GPUs,
/// and register tiles without groups for processors.
#[cfg(feature = "clblast")]
fn clblast(base: &Tuning, most_pixels: usize) -> Vec<Tuning> {
    const SETS: &[[usize; 16]] = &[
        [0, 1, 16, 2, 16, 16, 64, 8, 8, 32, 0, 0, 0, 0, 4, 4],
        [0, 1, 32, 2, 8, 8, 32, 16, 16, 32, 1, 1, 0, 0, 4, 2],
        [0, 1, 32, 2, 8, 8, 64, 8, 8, 64, 0, 0, 0, 0, 4, 4],
        [0, 1, 32, 2, 16, 16, 128, 8, 8, 64, 1, 1, 0, 0, 4, 4],
        [0, 1, 16, 2, 8, 8, 128, 16, 16, 128, 1, 1, 0, 0, 2, 4],
        [0, 1, 32, 2, 4, 4, 64, 4, 4, 64, 0, 0, 0, 0, 8, 8],
        [0, 1, 32, 2, 2, 2, 64, 2, 2, 16, 0, 0, 0, 0, 8, 8],
        [0, 1, 32, 8, 1, 1, 16, 1, 1, 16, 0, 0, 0, 0, 8, 8],
        [0, 1, 32, 2, 1, 1, 32, 1, 1, 8, 0, 0, 0, 0, 8, 4],
        [0, 1, 32, 2, 1, 1, 64, 1, 1, 4, 0, 0, 0, 0, 8, 4],
    ];
    let others = base.clblast.iter().filter(|entry| entry.most_pixels != most_pixels);
    let with = |parameters: &[usize; 16]| {
        let mut clblast: Vec<Clblast> = others.clone().cloned().collect();
        clblast.push(Clblast { most_pixels, parameters: *parameters });
        clblast.sort_by_key(|entry| entry.most_pixels);
        Tuning { clblast, ..base.clone() }
    };
    SETS.iter().map(with).collect()
}

/// Whether the device can run it at all.
pub(super) fn fits(tuning: &Tuning, traits: &Traits) -> bool {
    let group = |[across, down]: [usize; 2]| across * down <= traits.largest_group;
    // A compilation for each size of a group is what costs on a processor, and groups gain nothing there.
    let worth = !traits.is_cpu || tuning.tile_group == [1, 1];
    group(tuning.tile_group) && tuning.work_group.is_none_or(group) && worth
}
