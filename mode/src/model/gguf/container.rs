//! The file itself: metadata, and where its tensors lie.
//!
//! A GGUF file is a header, keys with values, a list of tensors (name, dims with the innermost first, type, offset), and then, at
//! a multiple of the alignment, their bytes. The list is read by `gguf-rs-lib`, which bounds what counts and lengths may make it
//! take; the bytes are read where they lie.

use super::blocks::Blocks;
use super::meta::shown;
use crate::Error;
use gguf_rs_lib::error::GGUFError;
use gguf_rs_lib::format::Metadata;
use gguf_rs_lib::reader::file_reader::GGUFFileReader;
use gguf_rs_lib::tensor::TensorInfo;
use mode_tensor::Mapped;
use std::collections::BTreeMap;
use std::io::{Cursor, ErrorKind};
use std::ops::Range;
use std::path::Path;

/// An open file whose list has been checked against its size.
pub(super) struct Container {
    pub(super) file: Mapped,
    pub(super) metadata: Metadata,
    /// By GGUF's names.
    pub(super) tensors: BTreeMap<String, Stored>,
}

/// Where a tensor lies.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) blocks: &'static Blocks,
    pub(super) dtype: &'static str,
    /// The outermost dim first.
    pub(super) shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Container {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = Mapped::open(path)?;
        let reader = GGUFFileReader::new(Cursor::new(file.bytes())).map_err(|error| refusal(path, &error))?;
        let start = reader.tensor_data_offset();
        let mut tensors = BTreeMap::new();
        for info in reader.tensor_infos() {
            let stored = Stored::new(info, start, file.bytes().len());
            let stored =
                stored.map_err(|what| Error::content(path, format!("tensor '{}' {what}", shown(info.name()))))?;
            tensors.insert(info.name().to_string(), stored);
        }
        let metadata = reader.metadata().clone();
        Ok(Self { file, metadata, tensors })
    }

    /// A tensor's bytes.
    pub(super) fn bytes(&self, stored: &Stored) -> &[u8] {
        self.file.bytes().get(stored.bytes.clone()).unwrap_or_default()
    }

    /// True if two tensors have the same shape, type and bits.
    pub(super) fn same(&self, one: &Stored, other: &Stored) -> bool {
        (&one.shape, one.dtype, self.bytes(one)) == (&other.shape, other.dtype, self.bytes(other))
    }
}

impl Stored {
    fn new(info: &TensorInfo, start: u64, end: usize) -> Result<Self, String> {
        let kind = info.tensor_type();
        let blocks = Blocks::of(kind)
            .ok_or_else(|| format!("is stored as {}; {} are read: convert it", kind.name(), Blocks::known()))?;
        let size = |dim: &u64| usize::try_from(*dim).ok();
        let shape: Option<Vec<usize>> = info.shape().dims().iter().rev().map(size).collect();
        let place = || {
            let shape = shape?;
            let numbers = shape.iter().try_fold(1usize, |all, dim| all.checked_mul(*dim))?;
            let rows_fit = shape.last()?.is_multiple_of(blocks.numbers);
            let bytes = (numbers / blocks.numbers).checked_mul(blocks.bytes).filter(|_| rows_fit)?;
            let from = usize::try_from(start.checked_add(info.data_offset())?).ok()?;
            let to = from.checked_add(bytes).filter(|to| *to <= end)?;
            Some(Self { blocks, dtype: kind.name(), shape, bytes: from..to })
        };
        place().ok_or_else(|| "does not lie in the file; copy or download it again".into())
    }
}

/// Why a file is none.
fn refusal(path: &Path, error: &GGUFError) -> Error {
    let cut = match error {
        GGUFError::UnexpectedEof => true,
        GGUFError::Io(error) => error.kind() == ErrorKind::UnexpectedEof,
        _ => false,
    };
    if cut {
        return Error::content(path, "not a whole GGUF file: it ends too soon; copy or download it again");
    }
    let why = shown(&error.to_string());
    Error::content(path, format!("not a GGUF file that can be read ({why}); download it again, or convert it anew"))
}
