//! Weights in safetensors files: read as f32 from F32, F16 or BF16, one file or several shards; written as F32.

use crate::{Tensor, TensorError};
use ::safetensors::View;
use ::safetensors::tensor::{Dtype, SafeTensors as Parsed, TensorView};
use half::{bf16, f16};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Open safetensors files whose headers have been checked against their sizes.
pub struct SafeTensors {
    files: Vec<(PathBuf, memmap2::Mmap)>,
    /// Tensor name to the number of its file.
    names: BTreeMap<String, usize>,
}

impl SafeTensors {
    /// Opens and checks the files.
    ///
    /// # Errors
    /// A file that can't be read, or is no whole safetensors file.
    pub fn open(paths: &[PathBuf]) -> Result<Self, TensorError> {
        let mut all = Self { files: Vec::new(), names: BTreeMap::new() };
        for path in paths {
            let fail = |source| TensorError::File { path: path.clone(), source };
            let file = File::open(path).map_err(fail)?;
            if file.metadata().map_err(fail)?.len() == 0 {
                return Err(TensorError::Format { path: path.clone(), why: "it is empty".into() });
            }
            // SAFETY: the map is only read; a file that another process truncates meanwhile can end this one by a
            // signal, but never make it read memory that is not the file's.
            let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
            for name in parse(path, &map)?.names() {
                if all.names.insert(name.to_string(), all.files.len()).is_some() {
                    let why = format!("tensor '{name}' is in another shard too; fetch the model again");
                    return Err(TensorError::Format { path: path.clone(), why });
                }
            }
            all.files.push((path.clone(), map));
        }
        Ok(all)
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// True if there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    fn view<T>(
        &self,
        name: &str,
        with: impl FnOnce(&Path, &TensorView) -> Result<T, TensorError>,
    ) -> Result<T, TensorError> {
        let missing = || {
            let path = self.files.first().map(|(path, _)| path.clone()).unwrap_or_default();
            TensorError::Missing { path, name: name.into() }
        };
        let (path, map) = &self.files[*self.names.get(name).ok_or_else(missing)?];
        let parsed = parse(path, map)?;
        let view = parsed.tensor(name).map_err(|e| format_error(path, e))?;
        with(path, &view)
    }

    /// A text that a file's header carries beside its tensors.
    ///
    /// # Errors
    /// A file that is no longer what it was when it was opened.
    pub fn note(&self, key: &str) -> Result<Option<String>, TensorError> {
        for (path, map) in &self.files {
            let (_, header) = Parsed::read_metadata(map).map_err(|e| format_error(path, e))?;
            if let Some(note) = header.metadata().as_ref().and_then(|notes| notes.get(key)) {
                return Ok(Some(note.clone()));
            }
        }
        Ok(None)
    }

    /// A tensor's shape.
    ///
    /// # Errors
    /// No such tensor.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, TensorError> {
        self.view(name, |_, view| Ok(view.shape().to_vec()))
    }

    /// A tensor's elements as f32, if it has the shape wanted.
    ///
    /// # Errors
    /// No such tensor, another shape, or an element type other than F32, F16 and BF16.
    pub fn read(&self, name: &str, wanted: &[usize]) -> Result<Vec<f32>, TensorError> {
        self.view(name, |path, view| {
            if view.shape() != wanted {
                let (found, wanted) = (view.shape().to_vec(), wanted.to_vec());
                return Err(TensorError::WrongShape { path: path.into(), name: name.into(), found, wanted });
            }
            let words = |convert: fn([u8; 2]) -> f32| {
                view.data().chunks_exact(2).map(|b| convert([b[0], b[1]])).collect::<Vec<f32>>()
            };
            match view.dtype() {
                Dtype::F32 => Ok(bytemuck::pod_collect_to_vec(view.data())),
                Dtype::F16 => Ok(words(|b| f16::from_le_bytes(b).to_f32())),
                Dtype::BF16 => Ok(words(|b| bf16::from_le_bytes(b).to_f32())),
                other => {
                    let (path, name, dtype) = (path.into(), name.into(), format!("{other:?}"));
                    Err(TensorError::ElementType { path, name, dtype })
                }
            }
        })
    }
}

fn format_error(path: &Path, error: impl std::fmt::Display) -> TensorError {
    TensorError::Format { path: path.into(), why: error.to_string() }
}

fn parse<'a>(path: &Path, map: &'a [u8]) -> Result<Parsed<'a>, TensorError> {
    Parsed::deserialize(map).map_err(|e| format_error(path, e))
}

/// Writes tensors as F32, in the order of their names, with `notes` in the header. Each is read from its device when its turn
/// comes, so that main memory holds one at a time.
///
/// # Errors
/// A file that can't be written, or what a device reports.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    notes: &[(&str, String)],
) -> Result<(), TensorError> {
    let failed = |source| TensorError::File { path: path.into(), source };
    // The crate makes a file that only its owner can read; ours is as readable as any other that is made here.
    let permissions = File::create(path).and_then(|file| file.metadata()).map_err(failed)?.permissions();
    let error = RefCell::new(None);
    let views = tensors.iter().map(|(name, tensor)| (name, Unread { tensor, error: &error }));
    let notes: HashMap<String, String> = notes.iter().map(|(key, note)| ((*key).to_string(), note.clone())).collect();
    let notes = if notes.is_empty() { None } else { Some(notes) };
    ::safetensors::serialize_to_file(views, notes, path).map_err(|error| match error {
        ::safetensors::SafeTensorError::IoError(source) => failed(source),
        error => format_error(path, error),
    })?;
    if let Some(error) = error.into_inner() {
        return Err(error);
    }
    std::fs::set_permissions(path, permissions).map_err(failed)
}

/// A tensor that is still on its device.
struct Unread<'a> {
    tensor: &'a Tensor,
    /// The first that could not be read: the crate's trait has no way to say so.
    error: &'a RefCell<Option<TensorError>>,
}

impl View for Unread<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }
    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.tensor.to_vec().unwrap_or_else(|error| {
            self.error.borrow_mut().get_or_insert(error);
            vec![0.0; self.tensor.len()]
        });
        Cow::Owned(bytemuck::pod_collect_to_vec(&values))
    }
    fn data_len(&self) -> usize {
        4 * self.tensor.len()
    }
}
