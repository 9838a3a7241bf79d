//! How far two results are apart.

/// How far `got` is from `want`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Root of the mean square of the differences, relative to that of `want`.
    pub relative_rms: f64,
    /// Largest absolute difference.
    pub largest: f64,
    /// Where it is.
    pub place: usize,
}

/// The difference of two results of one length; `None` where they differ in length or in where they are not finite.
pub fn difference(got: &[f32], want: &[f32]) -> Option<Difference> {
    let same_kind = |(g, w): (&f32, &f32)| match (g.is_finite(), w.is_finite()) {
        (true, true) => true,
        (false, false) => g.is_nan() == w.is_nan() && (g.is_nan() || g == w),
        _ => false,
    };
    if got.len() != want.len() || !got.iter().zip(want).all(same_kind) {
        return None;
    }
    let mut found = Difference { relative_rms: 0.0, largest: 0.0, place: 0 };
    let (mut squares, mut norm) = (0.0, 0.0);
    for (place, (&g, &w)) in got.iter().zip(want).enumerate().filter(|(_, (g, _))| g.is_finite()) {
        let apart = (f64::from(g) - f64::from(w)).abs();
        squares += apart * apart;
        norm += f64::from(w) * f64::from(w);
        if apart > found.largest {
            (found.largest, found.place) = (apart, place);
        }
    }
    // A reference of zeros is compared absolutely.
    found.relative_rms = (squares / if norm > 0.0 { norm } else { 1.0 }).sqrt();
    Some(found)
}

/// Panics, naming `what`, unless the relative RMS difference is at most `tolerance` and NaN and infinities agree.
pub fn assert_close(what: &str, got: &[f32], want: &[f32], tolerance: f64) {
    match difference(got, want) {
        None => panic!("{what}: {} values against {}, or NaN and infinities elsewhere", got.len(), want.len()),
        Some(d) if d.relative_rms > tolerance => {
            panic!("{what}: {d:?} over {tolerance:e}: got {}, want {}", got[d.place], want[d.place])
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_must_meet_nan() {
        assert!(difference(&[f32::NAN, 1.0], &[f32::NAN, 1.0]).is_some());
        assert!(difference(&[f32::NAN], &[1.0]).is_none());
        assert!(difference(&[f32::INFINITY], &[f32::NEG_INFINITY]).is_none());
        assert!(difference(&[1.0], &[1.0, 2.0]).is_none());
        assert_eq!(difference(&[3.0, 4.0], &[3.0, 4.5]).unwrap().place, 1);
    }

    #[test]
    #[should_panic(expected = "over 1e-3")]
    fn a_difference_over_the_tolerance_panics() {
        assert_close("x", &[1.0], &[1.01], 1e-3);
    }
}
