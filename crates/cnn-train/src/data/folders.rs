//! Pictures in folders that are named after their classes: `train/CLASS/*`, and `test/CLASS/*` or `val/CLASS/*`.
//!
//! Classes are numbered in the order of their names, byte by byte, as in the folder `train`. What is hidden, and files
//! other than `.png`, `.jpg` and `.jpeg`, are left out.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Dataset, Split};
use crate::{Error, Result};

fn names(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &["train"],
        Split::Test => &["test", "val"],
    }
}

/// The folder of a split: the first that is there.
fn place(directory: &Path, split: Split) -> Option<PathBuf> {
    names(split).iter().map(|name| directory.join(name)).find(|place| place.is_dir())
}

pub(super) fn is_in(directory: &Path, split: Split) -> bool {
    place(directory, split).is_some()
}

pub(super) fn looked_for(split: Split) -> String {
    format!("folder {}/ of folders of pictures", names(split).join("/ or "))
}

pub(super) fn read(directory: &Path, split: Split, _variant: Option<&str>) -> Result<Dataset> {
    let missing = || Error::NoDataset { path: directory.to_path_buf(), missing: looked_for(split) };
    let own = class_folders(&place(directory, split).ok_or_else(missing)?)?;
    // The numbers of the classes are those that training gives them.
    let classes: Vec<String> = match place(directory, Split::Train) {
        Some(train) => class_folders(&train)?.into_iter().map(|(name, _)| name).collect(),
        None => own.iter().map(|(name, _)| name.clone()).collect(),
    };
    let mut pictures = Vec::new();
    for (name, folder) in own {
        let class = classes.binary_search(&name).map_err(|_| {
            let reason = "no class of this name is in the folder train".to_string();
            Error::Format { path: folder.clone(), reason }
        })?;
        pictures.extend(pictures_in(&folder)?.into_iter().enumerate().map(|(place, file)| (place, class as u32, file)));
    }
    // The first of each class, then the second of each, so that a part of the data set has all classes.
    pictures.sort();
    let (labels, files) = pictures.into_iter().map(|(_, class, file)| (class, file)).unzip();
    Dataset::of_files(files, labels)?.with_classes(classes)
}

/// The folders in a folder with their names, by name.
fn class_folders(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut folders = Vec::new();
    for (name, path) in visible(folder)? {
        if path.is_dir() {
            let no_text =
                |_| Error::Format { path: path.clone(), reason: "the name of a class is not UTF-8".to_string() };
            folders.push((name.into_string().map_err(no_text)?, path.clone()));
        }
    }
    folders.sort();
    match folders.is_empty() {
        true => Err(Error::Format { path: folder.to_path_buf(), reason: "holds no folder of a class".to_string() }),
        false => Ok(folders),
    }
}

/// The pictures of a class, by name.
fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_picture = |path: &Path| {
        let extension = path.extension().unwrap_or_default();
        ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known)) && path.is_file()
    };
    let mut files: Vec<PathBuf> =
        visible(folder)?.into_iter().map(|(_, path)| path).filter(|p| is_picture(p)).collect();
    files.sort();
    match files.is_empty() {
        true => {
            let reason = "holds no .png, .jpg or .jpeg file".to_string();
            Err(Error::Format { path: folder.to_path_buf(), reason })
        }
        false => Ok(files),
    }
}

/// Names and paths of what is in a folder and not hidden.
fn visible(folder: &Path) -> Result<Vec<(OsString, PathBuf)>> {
    let unreadable = |cause| Error::File { path: folder.to_path_buf(), cause };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push((entry.file_name(), entry.path()));
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use cnn_models::{Interpolation, Photo, Preprocess};

    use super::*;

    const PHOTO: Preprocess = Preprocess::Photo(Photo {
        shorter_side: 8,
        interpolation: Interpolation::Bilinear,
        crop: 8,
        mean: [0.0; 3],
        deviation: [1.0; 3],
    });

    /// A picture of one colour, wider with every class.
    fn write(directory: &Path, file: &str, level: u8) {
        let path = directory.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let picture = image::RgbImage::from_pixel(8 + u32::from(level), 9, image::Rgb([level, 2 * level, 7]));
        picture.save_with_format(path, image::ImageFormat::Png).unwrap();
    }

    #[test]
    fn folders_are_classes_and_pictures_may_differ() {
        let directory = tempfile::tempdir().unwrap();
        for (level, file) in
            ["train/cat/2.png", "train/cat/1.PNG", "train/Dog/a.jpg", "val/cat/x.jpeg"].into_iter().enumerate()
        {
            write(directory.path(), file, level as u8);
        }
        for file in ["train/cat/notes.txt", "train/cat/.hidden.png", "train/README"] {
            fs::write(directory.path().join(file), "no picture").unwrap();
        }
        let train = Dataset::open(directory.path(), Split::Train).unwrap();
        assert_eq!((train.classes(), train.channels()), (&["Dog".to_string(), "cat".to_string()][..], None));
        // One of each class, then the second of those that have two.
        let pictures: Vec<(u32, u8)> =
            (0..train.len()).map(|i| (train.label(i), train.image(i, &PHOTO).unwrap().bytes()[64])).collect();
        assert_eq!(pictures, [(0, 4), (1, 2), (1, 0)]);
        assert_eq!(train.image(0, &Preprocess::MNIST).unwrap().shape(), [1, 28, 28]);

        let test = Dataset::open(directory.path(), Split::Test).unwrap();
        assert_eq!((test.len(), test.label(0), test.classes()), (1, 1, train.classes()));
        write(directory.path(), "test/dog/x.png", 1);
        let error = Dataset::open(directory.path(), Split::Test).unwrap_err().to_string();
        assert!(error.ends_with("dog: no class of this name is in the folder train"), "{error}");
    }

    #[test]
    fn what_is_no_picture_is_told_with_its_path_when_it_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "train/a/good.png", 1);
        for (file, bytes) in [("gif.png", &b"GIF89a.........."[..]), ("text.jpg", b"text"), ("zero.png", b"")] {
            fs::write(directory.path().join("train/a").join(file), bytes).unwrap();
        }
        let data = Dataset::open(directory.path(), Split::Train).unwrap();
        assert_eq!(data.len(), 4);
        for (index, name) in [(0, "gif.png"), (2, "text.jpg"), (3, "zero.png")] {
            let error = data.image(index, &PHOTO).unwrap_err().to_string();
            assert!(error.contains(&format!("{name}: no PNG or JPEG picture")), "{error}");
        }
        fs::remove_file(directory.path().join("train/a/good.png")).unwrap();
        let error = data.image(1, &PHOTO).unwrap_err().to_string();
        assert!(error.contains("good.png: "), "{error}");
    }

    #[test]
    fn empty_folders_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let error = || Dataset::open(directory.path(), Split::Train).unwrap_err().to_string();
        fs::create_dir(directory.path().join("train")).unwrap();
        assert!(error().ends_with("train: holds no folder of a class"), "{}", error());
        fs::create_dir(directory.path().join("train/a")).unwrap();
        assert!(error().ends_with("a: holds no .png, .jpg or .jpeg file"), "{}", error());
    }

    #[cfg(unix)]
    #[test]
    fn a_picture_may_have_any_name_a_class_must_be_text() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "train/a/1.png", 1);
        let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe.png");
        fs::copy(directory.path().join("train/a/1.png"), directory.path().join("train/a").join(odd)).unwrap();
        let data = Dataset::open(directory.path(), Split::Train).unwrap();
        assert!(data.len() == 2 && data.image(1, &PHOTO).is_ok());
        fs::create_dir(directory.path().join("train").join(odd)).unwrap();
        let error = Dataset::open(directory.path(), Split::Train).unwrap_err().to_string();
        assert!(error.ends_with("the name of a class is not UTF-8"), "{error}");
    }
}
