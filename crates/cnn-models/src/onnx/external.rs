//! Tensors whose bytes lie in files beside the model. Only plain files in the model's own folder or below it are opened: a file from
//! elsewhere must not be able to make the program read what its author cannot.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cnn_core::SharedBytes;

use crate::weights_file::mapping;

/// The folder of a model and the files in it that are open.
#[derive(Default)]
pub(super) struct Folder {
    /// None for a model that is no file.
    path: Option<PathBuf>,
    open: HashMap<PathBuf, SharedBytes>,
}

impl Folder {
    pub(super) fn none() -> Self {
        Folder::default()
    }

    pub(super) fn of(model: &Path) -> Self {
        let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Folder { path: Some(folder.to_path_buf()), open: HashMap::new() }
    }

    /// The bytes that the keys and values of a tensor tell of; `length` of them where they do not tell it.
    pub(super) fn data(
        &mut self,
        entries: &[(String, String)],
        length: usize,
    ) -> Result<(SharedBytes, Range<usize>), String> {
        let get = |key: &str| entries.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
        let number = |key: &str| match get(key) {
            None => Ok(None),
            Some(text) => text.parse::<usize>().map(Some).map_err(|_| format!("has the {key} `{text}`")),
        };
        let location = get("location").ok_or("lies in a file without a name")?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?.unwrap_or(length));
        let bytes = self.file(location)?;
        let size = (*bytes).as_ref().len();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok((bytes, offset..end)),
            _ => Err(format!("lies at {offset} in `{location}` with {length} bytes, but that has {size}")),
        }
    }

    fn file(&mut self, location: &str) -> Result<SharedBytes, String> {
        let Some(folder) = &self.path else {
            return Err(format!("lies in the file `{location}`, but the model is none"));
        };
        let outside = || format!("lies in `{location}`, which is outside the model's folder");
        let mut path = folder.clone();
        let mut parts = 0;
        for part in Path::new(location).components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::CurDir => continue,
                _ => return Err(outside()),
            }
            parts += 1;
            let kind = fs::symlink_metadata(&path).map_err(|error| format!("lies in `{location}`: {error}"))?;
            if kind.is_symlink() {
                return Err(format!("lies in `{location}`, which is or passes through a link"));
            }
        }
        // Windows reads `C:x` and `a:stream` as more than names.
        if parts == 0 || location.contains(['\\', ':', '\0']) {
            return Err(outside());
        }
        if let Some(bytes) = self.open.get(&path) {
            return Ok(bytes.clone());
        }
        // A pipe or a device would never end.
        if !fs::metadata(&path).is_ok_and(|kind| kind.is_file()) {
            return Err(format!("lies in `{location}`, which is no plain file"));
        }
        let bytes = mapping::map(&path).map_err(|error| format!("lies in `{location}`: {error}"))?;
        let bytes: SharedBytes = Arc::new(bytes);
        self.open.insert(path, bytes.clone());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(location: &str) -> Vec<(String, String)> {
        let entry = |key: &str, value: &str| (key.to_string(), value.to_string());
        vec![entry("location", location), entry("offset", "2")]
    }

    #[test]
    fn only_files_in_the_folder_are_read() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("model");
        fs::create_dir_all(inner.join("sub")).unwrap();
        fs::write(outer.path().join("secret"), b"secret").unwrap();
        fs::write(inner.join("data"), b"abcdef").unwrap();
        fs::write(inner.join("sub/data"), b"ghijkl").unwrap();
        let mut folder = Folder::of(&inner.join("m.onnx"));
        for (location, want) in [("data", b"cdef"), ("./data", b"cdef"), ("sub/data", b"ijkl")] {
            let (bytes, range) = folder.data(&entries(location), 4).unwrap();
            assert_eq!(&(*bytes).as_ref()[range], want);
        }
        let absolute = outer.path().join("secret");
        let outside = ["../secret", "sub/../../secret", "sub/../data", absolute.to_str().unwrap(), "", ".", "..", "/"];
        for location in outside {
            let error = folder.data(&entries(location), 4).err().unwrap();
            assert!(error.contains("outside the model's folder"), "{location}: {error}");
        }
        assert!(folder.data(&entries("sub"), 4).err().unwrap().contains("no plain file"));
        assert!(folder.data(&entries("missing"), 4).is_err());
        assert!(folder.data(&entries("data"), 5).err().unwrap().contains("but that has 6"));
        assert!(folder.data(&entries("data"), usize::MAX).err().unwrap().contains("but that has 6"));
        assert!(folder.data(&[("offset".to_string(), "0".to_string())], 4).is_err());
        let wrong = [entries("data"), vec![("length".to_string(), "-1".to_string())]].concat();
        assert!(folder.data(&wrong, 4).err().unwrap().contains("has the length `-1`"));
        assert!(Folder::none().data(&entries("data"), 4).err().unwrap().contains("the model is none"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_refused() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("model");
        fs::create_dir(&inner).unwrap();
        fs::write(outer.path().join("secret"), b"secret").unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret"), inner.join("link")).unwrap();
        std::os::unix::fs::symlink(outer.path(), inner.join("sub")).unwrap();
        let mut folder = Folder::of(&inner.join("m.onnx"));
        for location in ["link", "sub/secret"] {
            let error = folder.data(&entries(location), 4).err().unwrap();
            assert!(error.contains("a link"), "{location}: {error}");
        }
    }
}
