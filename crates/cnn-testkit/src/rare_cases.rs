//! Cases of layers that few networks have: every backend runs them on their plain loops.

use cnn_core::Shape;
use cnn_core::layers::{LocalContrastNorm, LocallyConnected2d, Rrelu, SpectralPool2d};

use crate::Case;
use crate::cases::image;

/// Their cases.
pub(crate) fn rare_cases() -> Vec<Case> {
    let local = |channels: usize, kernel: [usize; 2]| LocallyConnected2d::new(channels, kernel);
    vec![
        Case::new("rrelu", Rrelu::default(), &image(3, 4, 5)),
        Case::new("rrelu of vectors", Rrelu::new(-0.5, 0.9), &[Shape::from([21])]),
        Case::new("spectral pool", SpectralPool2d::new([3, 5]), &image(2, 7, 8)),
        Case::new("spectral pool to even extents", SpectralPool2d::new([4, 6]), &image(2, 7, 8)),
        Case::new("spectral pool of rows alone", SpectralPool2d::new([2, 5]), &image(3, 6, 5)),
        Case::new("spectral pool to one pixel", SpectralPool2d::new(1), &image(2, 5, 4)),
        Case::new("local contrast norm", LocalContrastNorm::new(3), &image(2, 5, 4)),
        Case::new(
            "local contrast norm with a wide window",
            LocalContrastNorm { epsilon: 0.4, ..LocalContrastNorm::new(9) },
            &image(3, 4, 6),
        ),
        Case::new("locally connected 3x3", local(4, [3, 3]), &image(3, 6, 5)),
        Case::new("locally connected padded", local(3, [3, 2]).padding([1, 0, 2, 1]).stride(2), &image(2, 7, 6)),
        Case::new(
            "locally connected in groups",
            local(4, [2, 2]).groups(2).dilation([2, 1]).without_bias(),
            &image(4, 5, 4),
        ),
        Case::new("locally connected padded beyond its kernel", local(2, [2, 2]).padding(3), &image(2, 3, 3)),
    ]
}
