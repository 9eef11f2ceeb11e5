//! Weights in safetensors files, one file or several shards: F32, F16 or BF16, read as f32 or as they are stored.

use crate::{Device, Dtype, Mapped, Tensor, TensorError};
use ::safetensors::tensor::{Dtype as Stored, Metadata, SafeTensors as Parsed, TensorInfo, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Open safetensors files whose headers have been checked against their sizes.
pub struct SafeTensors {
    files: Vec<Mapped>,
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
            let file = Mapped::open(path)?;
            if file.bytes().is_empty() {
                return Err(TensorError::Format { path: path.clone(), why: "it is empty".into() });
            }
            for name in parse(&file)?.names() {
                if all.names.insert(name.to_string(), all.files.len()).is_some() {
                    let why = format!("tensor '{name}' is in another shard too");
                    return Err(TensorError::Format { path: path.clone(), why });
                }
            }
            all.files.push(file);
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
            let path = self.files.first().map(|file| file.path().to_path_buf()).unwrap_or_default();
            TensorError::Missing { path, name: name.into() }
        };
        let file = &self.files[*self.names.get(name).ok_or_else(missing)?];
        let parsed = parse(file)?;
        let view = parsed.tensor(name).map_err(|e| format_error(file.path(), e))?;
        let result = with(file.path(), &view);
        file.forget(view.data());
        result
    }

    /// A text that a file's header carries beside its tensors.
    ///
    /// # Errors
    /// A file that is no longer what it was when it was opened.
    pub fn note(&self, key: &str) -> Result<Option<String>, TensorError> {
        for file in &self.files {
            let (_, header) = Parsed::read_metadata(file.bytes()).map_err(|e| format_error(file.path(), e))?;
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
        self.wanted(name, wanted, |dtype, bytes| {
            if dtype == Dtype::F32 {
                return Ok(bytemuck::pod_collect_to_vec(bytes));
            }
            let mut values = vec![0.0; bytes.len() / 2];
            dtype.decode(&bytemuck::pod_collect_to_vec(bytes), &mut values);
            Ok(values)
        })
    }

    /// A weight on a device, stored as the file stores it, if it has the shape wanted.
    ///
    /// # Errors
    /// As [`SafeTensors::read`], or what the device reports.
    pub fn load(&self, device: &Device, name: &str, wanted: &[usize]) -> Result<Tensor, TensorError> {
        self.wanted(name, wanted, |dtype, bytes| match dtype {
            Dtype::F32 => Tensor::from_slice(device, &bytemuck::pod_collect_to_vec::<u8, f32>(bytes), wanted),
            halves => Tensor::from_halves(device, halves, &bytemuck::pod_collect_to_vec::<u8, u16>(bytes), wanted),
        })
    }

    /// A matrix on a device that the file stores the other way round: `wanted` is `[rows, columns]`, the file's
    /// `[columns, rows]`.
    ///
    /// # Errors
    /// As [`SafeTensors::load`].
    pub fn load_transposed(&self, device: &Device, name: &str, wanted: &[usize]) -> Result<Tensor, TensorError> {
        let stored: Vec<usize> = wanted.iter().rev().copied().collect();
        self.wanted(name, &stored, |dtype, bytes| match dtype {
            Dtype::F32 => {
                let values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
                Tensor::from_slice(device, &transpose(&values, wanted), wanted)
            }
            halves => {
                let values: Vec<u16> = bytemuck::pod_collect_to_vec(bytes);
                Tensor::from_halves(device, halves, &transpose(&values, wanted), wanted)
            }
        })
    }

    /// True if two tensors have the same shape, type and bits.
    ///
    /// # Errors
    /// No such tensor.
    pub fn same(&self, one: &str, other: &str) -> Result<bool, TensorError> {
        self.view(one, |_, one| {
            self.view(other, |_, other| {
                Ok((one.shape(), one.dtype(), one.data()) == (other.shape(), other.dtype(), other.data()))
            })
        })
    }

    /// `with` on a tensor's type and bytes, once its shape and its type are known to be fit.
    fn wanted<T>(
        &self,
        name: &str,
        wanted: &[usize],
        with: impl FnOnce(Dtype, &[u8]) -> Result<T, TensorError>,
    ) -> Result<T, TensorError> {
        self.view(name, |path, view| {
            if view.shape() != wanted {
                let (found, wanted) = (view.shape().to_vec(), wanted.to_vec());
                return Err(TensorError::WrongShape { path: path.into(), name: name.into(), found, wanted });
            }
            let dtype = match view.dtype() {
                Stored::F32 => Dtype::F32,
                Stored::F16 => Dtype::F16,
                Stored::BF16 => Dtype::BF16,
                other => {
                    let (path, name, dtype) = (path.into(), name.into(), format!("{other:?}"));
                    return Err(TensorError::ElementType { path, name, dtype });
                }
            };
            with(dtype, view.data())
        })
    }
}

/// The matrix `[rows, columns]` whose columns are the rows of `values`.
fn transpose<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let [rows, columns] = [shape.first(), shape.get(1)].map(|size| size.copied().unwrap_or(1));
    (0..rows * columns).map(|i| values[i % columns * rows + i / columns]).collect()
}

fn format_error(path: &Path, error: impl std::fmt::Display) -> TensorError {
    TensorError::Format { path: path.into(), why: error.to_string() }
}

fn parse(file: &Mapped) -> Result<Parsed<'_>, TensorError> {
    Parsed::deserialize(file.bytes()).map_err(|e| format_error(file.path(), e))
}

/// Writes tensors as they are stored, f32 before halves so that all lie at multiples of their size, each in the order of names,
/// with `notes` in the header; matrices for whose names `transposed` says so the other way round. Each is read from its device
/// when its turn comes, so that main memory holds one at a time. (The crate's own way to a file goes by a temporary one beside it, which
/// a killed process would leave behind under a name that nobody knows.)
///
/// # Errors
/// A file that can't be written, or what a device reports.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    transposed: impl Fn(&str) -> bool,
    notes: &[(&str, String)],
) -> Result<(), TensorError> {
    let failed = |source| TensorError::File { path: path.into(), source };
    let mut tensors: Vec<(&String, &Tensor)> = tensors.iter().collect();
    tensors.sort_by_key(|(_, tensor)| tensor.dtype() != Dtype::F32);
    let header = header(&tensors, &transposed, notes).map_err(|e| format_error(path, e))?;
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&header)).map_err(failed)?;
    for (name, tensor) in tensors {
        let mut values = tensor.to_vec()?;
        if transposed(name) {
            values = transpose(&values, &turned(tensor.shape()));
        }
        let written = match tensor.dtype() {
            Dtype::F32 => file.write_all(bytemuck::cast_slice(&values)),
            halves => file.write_all(bytemuck::cast_slice(&halves.encode(&values))),
        };
        written.map_err(failed)?;
    }
    file.flush().map_err(failed)
}

fn turned(shape: &[usize]) -> Vec<usize> {
    shape.iter().rev().copied().collect()
}

/// The header of a file: JSON, filled up with spaces to a multiple of 8 bytes.
fn header(
    tensors: &[(&String, &Tensor)],
    transposed: impl Fn(&str) -> bool,
    notes: &[(&str, String)],
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut at = 0;
    let info = |&(name, tensor): &(&String, &Tensor)| {
        let from = at;
        let (dtype, bytes) = match tensor.dtype() {
            Dtype::F32 => (Stored::F32, 4),
            Dtype::F16 => (Stored::F16, 2),
            Dtype::BF16 => (Stored::BF16, 2),
        };
        at += bytes * tensor.len();
        let shape = if transposed(name) { turned(tensor.shape()) } else { tensor.shape().to_vec() };
        (name.clone(), TensorInfo { dtype, shape, data_offsets: (from, at) })
    };
    let infos = tensors.iter().map(info).collect();
    let notes: HashMap<String, String> = notes.iter().map(|(key, note)| ((*key).to_string(), note.clone())).collect();
    let metadata = Metadata::new(if notes.is_empty() { None } else { Some(notes) }, infos)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}
