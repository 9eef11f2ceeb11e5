//! Main memory of one buffer: from the allocator if it is small, else pages of its own, which go back to the system when they are
//! freed. (An allocator keeps large pieces that are freed between others in use, a tenth of a training run's memory.)

use crate::KernelError;
use bytemuck::Pod;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Bytes from which on a buffer has pages of its own.
const PAGES: usize = 64 * 1024;

/// Bytes from which on it asks for huge ones: to look up the small ones' addresses would take as long as to read them.
#[cfg(target_os = "linux")]
const HUGE_PAGES: usize = 4 << 20;

/// `len` elements.
pub(crate) enum Memory<T> {
    Small(Vec<T>),
    Pages(memmap2::MmapMut, PhantomData<T>),
}

impl<T: Pod> Memory<T> {
    /// Zeros.
    pub(crate) fn zeroed(len: usize) -> Result<Self, KernelError> {
        let bytes = len.checked_mul(size_of::<T>());
        let failed = || KernelError::Memory { bytes: bytes.map_or(u64::MAX, |bytes| bytes as u64) };
        match bytes.ok_or_else(failed)? {
            0..PAGES => Ok(Self::Small(bytemuck::try_zeroed_vec(len).map_err(|()| failed())?)),
            bytes => {
                let pages = memmap2::MmapMut::map_anon(bytes).map_err(|_| failed())?;
                #[cfg(target_os = "linux")]
                if bytes >= HUGE_PAGES {
                    // A size class's last eighth may never be touched, and would be here. A system without them serves small ones.
                    let _ = pages.advise_range(memmap2::Advice::HugePage, 0, bytes - bytes / 8);
                }
                Ok(Self::Pages(pages, PhantomData))
            }
        }
    }
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self::Small(Vec::new())
    }
}

impl<T: Pod> Deref for Memory<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Self::Small(elements) => elements,
            Self::Pages(pages, _) => bytemuck::cast_slice(pages),
        }
    }
}

impl<T: Pod> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Small(elements) => elements,
            Self::Pages(pages, _) => bytemuck::cast_slice_mut(pages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_are_zeros_that_can_be_written() -> Result<(), KernelError> {
        for len in [0, 1, PAGES / 4 - 1, PAGES / 4, 1_000_001] {
            let mut memory = Memory::<f32>::zeroed(len)?;
            assert!(memory.len() == len && memory.iter().all(|&element| element == 0.0));
            memory.fill(1.0);
            assert!(memory.iter().all(|&element| element == 1.0));
        }
        assert_eq!(Memory::<()>::zeroed(1 << 40)?.len(), 1 << 40);
        assert!(Memory::<f64>::zeroed(usize::MAX / 2).is_err());
        Ok(())
    }
}
