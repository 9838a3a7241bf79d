//! Ten pictures to try a digit model with: the first test image of each class of MNIST (LeCun, Cortes and Burges
//! 1998), as grey PNG files of 28x28 pixels. `scripts/mnist-assets` makes them.

macro_rules! digit {
    ($class:literal) => {
        ($class, include_bytes!(concat!("../assets/digits/", $class, ".png")))
    };
}

/// Class and PNG file of each digit, 0 to 9 in order.
///
/// ```
/// let model = cnn_models::find("lenet5")?;
/// let (class, png) = cnn_models::digits()[7];
/// assert_eq!(class, 7);
/// assert_eq!(model.preprocess().bytes(png)?.shape()[..], [1, 1, 32, 32]);
/// # Ok::<(), cnn_models::Error>(())
/// ```
pub fn digits() -> [(usize, &'static [u8]); 10] {
    [digit!(0), digit!(1), digit!(2), digit!(3), digit!(4), digit!(5), digit!(6), digit!(7), digit!(8), digit!(9)]
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_is_a_grey_picture_of_its_class() {
        for (index, (class, png)) in super::digits().into_iter().enumerate() {
            assert_eq!(index, class);
            let picture = image::load_from_memory(png).unwrap();
            assert_eq!((picture.width(), picture.height(), picture.color()), (28, 28, image::ColorType::L8));
        }
    }
}
