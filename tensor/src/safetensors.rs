//! Weights in safetensors files: read as f32 from F32, F16 or BF16, one file or several shards; written as F32.

use crate::{Tensor, TensorError};
use ::safetensors::tensor::{Dtype, Metadata, SafeTensors as Parsed, TensorInfo, TensorView};
use half::{bf16, f16};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
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
/// comes, so that main memory holds one at a time. (The crate's own way to a file goes by a temporary one beside it, which
/// a killed process would leave behind under a name that nobody knows.)
///
/// # Errors
/// A file that can't be written, or what a device reports.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    notes: &[(&str, String)],
) -> Result<(), TensorError> {
    let failed = |source| TensorError::File { path: path.into(), source };
    let header = header(tensors, notes).map_err(|e| format_error(path, e))?;
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&header)).map_err(failed)?;
    for tensor in tensors.values() {
        let values = tensor.to_vec()?;
        file.write_all(bytemuck::cast_slice(&values)).map_err(failed)?;
    }
    file.flush().map_err(failed)
}

/// The header of a file: JSON, filled up with spaces to a multiple of 8 bytes.
fn header(tensors: &BTreeMap<String, Tensor>, notes: &[(&str, String)]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut at = 0;
    let info = |(name, tensor): (&String, &Tensor)| {
        let from = at;
        at += 4 * tensor.len();
        (name.clone(), TensorInfo { dtype: Dtype::F32, shape: tensor.shape().to_vec(), data_offsets: (from, at) })
    };
    let infos = tensors.iter().map(info).collect();
    let notes: HashMap<String, String> = notes.iter().map(|(key, note)| ((*key).to_string(), note.clone())).collect();
    let metadata = Metadata::new(if notes.is_empty() { None } else { Some(notes) }, infos)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}
