//! The devices in main memory, whose kernels run when they are launched: the CPU, the reference, and the dry one, whose
//! elements take no memory and whose kernels do nothing. What its pool counts is what the CPU's would.
//!
//! Bodies compute with the device's own numbers. What is stored as halves is widened for them before, and what they make of it
//! rounded after, here and nowhere else: so f16 activations cost the CPU time, and save it memory.

use crate::buffer::Storage;
use crate::dtype::{as_halves, as_halves_mut};
use crate::memory::Memory;
use crate::pool::{self, Counters, Pool, size_class};
use crate::{Bindings, Dtype, Kernel, KernelError, View};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Elements that are worth a thread's waking to copy, at the least.
const PIECE: usize = 1 << 18;

/// Elements that are worth a thread's waking to widen or round.
const TASK: usize = 1 << 14;

/// A device in main memory whose elements are `T`.
pub(crate) struct Host<T> {
    pool: Pool<Memory<T>>,
}

/// The CPU device: f32, the fast bodies.
pub(crate) type Cpu = Host<f32>;
/// The reference device: f64, the oracle.
pub(crate) type Reference = Host<f64>;
/// The dry device: no elements, no work.
pub(crate) type Dry = Host<()>;

/// How a host device's elements are stored in a buffer, and which body of a kernel it runs.
pub(crate) trait Element: bytemuck::Pod + Send + Sync {
    /// Bytes that the pool counts.
    const BYTES: usize;
    fn storage(data: Memory<Self>) -> Storage;
    fn lock(storage: &Storage) -> Option<&RwLock<Memory<Self>>>;
    /// Where a view's elements lie in its buffer.
    fn range(view: &View) -> Range<usize>;
    fn run<K: Kernel>(params: &K::Params, bindings: Bindings<Self>);
    /// The numbers of what is stored as `dtype`.
    fn widen(dtype: Dtype, stored: &[Self], values: &mut [Self]);
    /// Stores numbers as `dtype`.
    fn store(dtype: Dtype, values: &[Self], stored: &mut [Self]);
    /// Numbers rounded to f16.
    fn round(values: &[Self], rounded: &mut [Self]);
}

impl Element for f32 {
    const BYTES: usize = size_of::<Self>();
    fn storage(data: Memory<Self>) -> Storage {
        Storage::Cpu(RwLock::new(data))
    }
    fn lock(storage: &Storage) -> Option<&RwLock<Memory<Self>>> {
        if let Storage::Cpu(lock) = storage { Some(lock) } else { None }
    }
    fn range(view: &View) -> Range<usize> {
        view.words()
    }
    fn run<K: Kernel>(params: &K::Params, bindings: Bindings<Self>) {
        K::cpu(params, bindings);
    }
    fn widen(dtype: Dtype, stored: &[Self], values: &mut [Self]) {
        let halves = as_halves(stored).par_chunks(TASK);
        values.par_chunks_mut(TASK).zip(halves).for_each(|(values, halves)| {
            dtype.decode(&halves[..values.len()], values);
        });
    }
    fn store(dtype: Dtype, values: &[Self], stored: &mut [Self]) {
        let halves = as_halves_mut(stored).par_chunks_mut(TASK);
        values.par_chunks(TASK).zip(halves).for_each(|(values, halves)| {
            dtype.encode_into(values, &mut halves[..values.len()]);
        });
    }
    fn round(values: &[Self], rounded: &mut [Self]) {
        values.par_chunks(TASK).zip(rounded.par_chunks_mut(TASK)).for_each(|(values, rounded)| {
            Dtype::F16.decode(&Dtype::F16.encode(values), rounded);
        });
    }
}

impl Element for () {
    const BYTES: usize = f32::BYTES;
    fn storage(data: Memory<Self>) -> Storage {
        Storage::Dry(RwLock::new(data))
    }
    fn lock(storage: &Storage) -> Option<&RwLock<Memory<Self>>> {
        if let Storage::Dry(lock) = storage { Some(lock) } else { None }
    }
    fn range(view: &View) -> Range<usize> {
        view.words()
    }
    fn run<K: Kernel>(_: &K::Params, _: Bindings<Self>) {}
    fn widen(_: Dtype, _: &[Self], _: &mut [Self]) {}
    fn store(_: Dtype, _: &[Self], _: &mut [Self]) {}
    fn round(_: &[Self], _: &mut [Self]) {}
}

impl Element for f64 {
    const BYTES: usize = size_of::<Self>();
    fn storage(data: Memory<Self>) -> Storage {
        Storage::Reference(RwLock::new(data))
    }
    fn lock(storage: &Storage) -> Option<&RwLock<Memory<Self>>> {
        if let Storage::Reference(lock) = storage { Some(lock) } else { None }
    }
    fn range(view: &View) -> Range<usize> {
        view.elements()
    }
    fn run<K: Kernel>(params: &K::Params, bindings: Bindings<Self>) {
        K::reference(params, bindings);
    }
    /// Its buffers hold the numbers themselves.
    fn widen(_: Dtype, stored: &[Self], values: &mut [Self]) {
        values.copy_from_slice(stored);
    }
    fn store(dtype: Dtype, values: &[Self], stored: &mut [Self]) {
        stored.iter_mut().zip(values).for_each(|(stored, value)| *stored = dtype.rounded(*value));
    }
    fn round(values: &[Self], rounded: &mut [Self]) {
        Self::store(Dtype::F16, values, rounded);
    }
}

/// The elements of a view's buffer.
fn elements<T: Element>(view: &View) -> Result<&RwLock<Memory<T>>, KernelError> {
    T::lock(&view.buffer.storage).ok_or_else(|| KernelError::WrongDevice(view.buffer.device.name()))
}

impl<T: Element> Host<T> {
    pub(crate) fn new() -> Self {
        Self { pool: Pool::new(T::BYTES, pool::last) }
    }

    /// Storage for `len` elements with undefined contents.
    pub(crate) fn alloc(&self, len: usize) -> Result<Storage, KernelError> {
        let class = size_class(len).ok_or(KernelError::Memory { bytes: u64::MAX })?;
        Ok(T::storage(self.pool.take(class, || Memory::zeroed(class))?))
    }

    pub(crate) fn counters(&self) -> Counters {
        self.pool.counters()
    }

    /// Takes a buffer's storage back into the pool.
    pub(crate) fn recycle(&self, data: Memory<T>) {
        self.pool.put(data.len(), data);
    }

    /// Frees unused memory.
    pub(crate) fn trim(&self) {
        self.pool.clear();
    }

    pub(crate) fn launch<K: Kernel>(
        &self,
        params: &K::Params,
        inputs: &[&View],
        outputs: &[&View],
    ) -> Result<(), KernelError> {
        let mut read: Vec<(RwLockReadGuard<Memory<T>>, &View)> = Vec::with_capacity(inputs.len());
        for view in inputs {
            let lock = elements::<T>(view)?;
            read.push((lock.read().unwrap_or_else(PoisonError::into_inner), view));
        }
        let mut write: Vec<(RwLockWriteGuard<Memory<T>>, &View)> = Vec::with_capacity(outputs.len());
        for view in outputs {
            let lock = elements::<T>(view)?;
            write.push((lock.write().unwrap_or_else(PoisonError::into_inner), view));
        }
        // What the body is given in place of a binding that it does not read as it is stored.
        let stored = read.iter().map(|(data, view)| (&data[T::range(view)], view));
        let stored = stored.chain(write.iter().map(|(data, view)| (&data[T::range(view)], view)));
        let given = stored.enumerate().map(|(i, (stored, view))| self.given::<K>(params, i, stored, view.len));
        let mut given = given.collect::<Result<Vec<_>, _>>()?;
        let (of_inputs, of_outputs) = given.split_at_mut(inputs.len());
        let bindings = Bindings::new(
            read.iter()
                .zip(&*of_inputs)
                .map(|((data, view), given)| given.as_ref().map_or(&data[T::range(view)], |given| &given[..view.len]))
                .collect(),
            write
                .iter_mut()
                .zip(of_outputs.iter_mut())
                .map(|((data, view), given)| match given {
                    Some(given) => &mut given[..view.len],
                    None => &mut data[T::range(view)],
                })
                .collect(),
        );
        T::run::<K>(params, bindings);
        for (i, (data, view)) in write.iter_mut().enumerate() {
            if let Some(given) = &of_outputs[i] {
                let dtype = K::dtype(params, inputs.len() + i);
                T::store(dtype, &given[..view.len], &mut data[T::range(view)]);
            }
        }
        given.into_iter().flatten().for_each(|given| self.recycle(given));
        Ok(())
    }

    /// The numbers of binding `i`, of `len` elements, in memory of their own, unless the body takes them as they are stored.
    fn given<K: Kernel>(
        &self,
        params: &K::Params,
        i: usize,
        stored: &[T],
        len: usize,
    ) -> Result<Option<Memory<T>>, KernelError> {
        let dtype = K::dtype(params, i);
        let rounded = i < K::INPUTS.len() && K::rounds(params, i);
        if !rounded && (dtype == Dtype::F32 || K::reads_halves(params, i)) {
            return Ok(None);
        }
        let class = size_class(len).ok_or(KernelError::Memory { bytes: u64::MAX })?;
        let mut given = self.pool.take(class, || Memory::zeroed(class))?;
        match rounded {
            true => T::round(&stored[..len], &mut given[..len]),
            false => T::widen(dtype, stored, &mut given[..len]),
        }
        Ok(Some(given))
    }

    /// Copies elements in.
    pub(crate) fn write(&self, view: &View, values: &[T]) -> Result<(), KernelError> {
        let lock = elements::<T>(view)?;
        let mut data = lock.write().unwrap_or_else(PoisonError::into_inner);
        data[T::range(view)].copy_from_slice(values);
        Ok(())
    }

    /// Copies elements from one buffer to another.
    pub(crate) fn copy(&self, from: &View, to: &View) -> Result<(), KernelError> {
        let source = elements::<T>(from)?;
        let target = elements::<T>(to)?;
        let source = source.read().unwrap_or_else(PoisonError::into_inner);
        let mut target = target.write().unwrap_or_else(PoisonError::into_inner);
        let (source, target) = (&source[T::range(from)], &mut target[T::range(to)]);
        // One piece a thread, as large as can be: the system's copy goes past the caches where a piece is larger than they are.
        let piece = source.len().div_ceil(rayon::current_num_threads()).max(PIECE);
        if source.len() <= piece {
            target.copy_from_slice(source);
        } else {
            let pieces = target.par_chunks_mut(piece).zip(source.par_chunks(piece));
            pieces.for_each(|(target, source)| target.copy_from_slice(source));
        }
        Ok(())
    }

    /// Copies elements out.
    pub(crate) fn read(&self, view: &View) -> Result<Vec<T>, KernelError> {
        let lock = elements::<T>(view)?;
        let data = lock.read().unwrap_or_else(PoisonError::into_inner);
        Ok(data[T::range(view)].to_vec())
    }
}
