//! A file of weights read where it lies, whose pages are let go once they have been read.

use crate::TensorError;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A file in the address space.
pub struct Mapped {
    path: PathBuf,
    map: memmap2::Mmap,
}

impl Mapped {
    /// Maps a whole file.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let fail = |source| TensorError::File { path: path.into(), source };
        let file = File::open(path).map_err(fail)?;
        // SAFETY: the map is only read; a file that another process truncates meanwhile can end this one by a
        // signal, but never make it read memory that is not the file's.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail)?;
        Ok(Self { path: path.into(), map })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Lets go of the pages that some of its bytes have taken up in main memory, which would else stay until all of the file is
    /// there.
    #[cfg(unix)]
    pub fn forget(&self, read: &[u8]) {
        let Some(start) = (read.as_ptr() as usize).checked_sub(self.map.as_ptr() as usize) else { return };
        if start.saturating_add(read.len()) > self.map.len() {
            return;
        }
        // SAFETY: the map is of a file and only read, so that whoever reads these bytes again gets them from the file.
        // That it may not work is of no interest: the bytes are the same either way.
        let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, read.len()) };
    }

    /// Lets go of pages, where the system can.
    #[cfg(not(unix))]
    pub fn forget(&self, _: &[u8]) {}
}
