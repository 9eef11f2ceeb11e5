//! Devices behind one type: the CPU, a GPU through wgpu, and the f64 reference.

use crate::buffer::Storage;
use crate::cpu::{Cpu, Dry, Host, Reference};
use crate::dtype::as_halves;
use crate::gpu::{self, Gpu};
use crate::shaders::Replacements;
use crate::{Buffer, Counters, Dtype, KernelError, Timing, Tuning, View};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

pub use crate::gpu::{AdapterSummary, Capabilities};

pub(crate) enum Backend {
    Cpu(Cpu),
    Gpu(Box<Gpu>),
    Reference(Reference),
    Dry(Dry),
}

struct Inner {
    backend: Backend,
    watch: Watch,
    tuning: RwLock<Tuning>,
}

/// What a device has been asked to write down of its launches, which `watch.rs` does.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) tracing: AtomicBool,
    pub(crate) trace: Mutex<Vec<(&'static str, usize)>>,
    pub(crate) watching: AtomicBool,
    /// Since when, and what was timed on a device in main memory, while somebody profiles.
    pub(crate) timings: Mutex<Option<(Instant, Vec<Timing>)>>,
    /// What the launches belong to; None at the start.
    pub(crate) place: Mutex<Option<Arc<str>>>,
}

/// Something that holds buffers and runs kernels. Cheap to clone.
///
/// ```
/// use mode_kernels::Device;
///
/// let device = Device::choose(Some("cpu"))?;
/// assert!(device.name().starts_with("CPU"));
/// assert!(Device::choose(Some("abacus")).is_err());
/// # Ok::<(), mode_kernels::KernelError>(())
/// ```
#[derive(Clone)]
pub struct Device(Arc<Inner>);

impl Device {
    /// Windows of a buffer start at multiples of this many words (elements that are f32), which every GPU can bind.
    pub const ALIGNMENT: usize = 64;

    fn new(backend: Backend) -> Self {
        let capabilities = if let Backend::Gpu(gpu) = &backend { gpu.capabilities() } else { Capabilities::default() };
        let tuning = RwLock::new(Tuning::built_in(&capabilities));
        Self(Arc::new(Inner { backend, watch: Watch::default(), tuning }))
    }

    /// The CPU: f32, vectorised, rows over rayon's threads.
    pub fn cpu() -> Self {
        Self::new(Backend::Cpu(Host::new()))
    }

    /// The oracle: every kernel's naive f64 loop. Slow and exact.
    pub fn reference() -> Self {
        Self::new(Backend::Reference(Host::new()))
    }

    /// A device that counts what the CPU would allocate and computes nothing: reads give zeros.
    pub fn dry() -> Self {
        Self::new(Backend::Dry(Host::new()))
    }

    /// GPU number `index` of [`Device::adapters`].
    ///
    /// # Errors
    /// There is no such adapter, or its driver refuses.
    pub fn gpu(index: usize) -> Result<Self, KernelError> {
        Ok(Self::new(Backend::Gpu(Box::new(Gpu::open(index)?))))
    }

    /// The GPU adapters of this machine, hardware and software, in the order of their numbers.
    pub fn adapters() -> Vec<AdapterSummary> {
        gpu::adapters()
    }

    /// The device that `spec` names: `cpu`, `reference`, `gpu` (the first hardware adapter, else a software one) or
    /// `gpu:N`. None: a hardware GPU if there is one, else the CPU.
    ///
    /// # Errors
    /// An unknown word, or no such adapter.
    pub fn choose(spec: Option<&str>) -> Result<Self, KernelError> {
        let Some(spec) = spec else {
            return match Self::adapters().iter().position(|a| a.hardware) {
                Some(index) => Self::gpu(index),
                None => Ok(Self::cpu()),
            };
        };
        match spec {
            "cpu" => Ok(Self::cpu()),
            "reference" => Ok(Self::reference()),
            "gpu" => {
                let adapters = Self::adapters();
                let hardware = adapters.iter().position(|a| a.hardware);
                match hardware.or(if adapters.is_empty() { None } else { Some(0) }) {
                    Some(index) => Self::gpu(index),
                    None => Err(KernelError::NoAdapter { wanted: "at all".into(), found: "none".into() }),
                }
            }
            _ => match spec.strip_prefix("gpu:").and_then(|n| n.parse().ok()) {
                Some(index) => Self::gpu(index),
                None => Err(KernelError::UnknownDevice(spec.into())),
            },
        }
    }

    /// One line for people: what runs the kernels.
    pub fn name(&self) -> String {
        match self.backend() {
            Backend::Cpu(_) => format!("CPU, {} threads", rayon::current_num_threads()),
            Backend::Gpu(gpu) => gpu.name(),
            Backend::Reference(_) => "reference (f64, slow)".into(),
            Backend::Dry(_) => "dry (computes nothing)".into(),
        }
    }

    /// What launches may use of it beyond the least.
    pub fn capabilities(&self) -> Capabilities {
        if let Backend::Gpu(gpu) = self.backend() { gpu.capabilities() } else { Capabilities::default() }
    }

    /// The adapter of a GPU.
    pub fn adapter(&self) -> Option<&AdapterSummary> {
        if let Backend::Gpu(gpu) = self.backend() { Some(gpu.adapter()) } else { None }
    }

    /// The numbers by which launches from now on choose tiers and tiles.
    pub fn tuning(&self) -> Tuning {
        *self.0.tuning.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts others in their place.
    pub fn set_tuning(&self, tuning: Tuning) {
        *self.0.tuning.write().unwrap_or_else(PoisonError::into_inner) = tuning;
    }

    /// The most f32 elements that one tensor may have here, however much memory there is.
    pub fn most_elements(&self) -> u64 {
        let most = u64::from(u32::MAX);
        if let Backend::Gpu(gpu) = self.backend() { most.min(gpu.most_bytes() / 4) } else { most }
    }

    /// From now on compiles these texts in place of the built-in shaders; nothing on devices that run no shaders.
    ///
    /// # Safety
    /// Every loop of theirs ends: compilers are told so, as they are of the built-in ones.
    pub unsafe fn replace_shaders(&self, texts: Replacements) {
        if let Backend::Gpu(gpu) = self.backend() {
            gpu.replace_shaders(texts);
        }
    }

    /// True for a GPU.
    pub fn is_gpu(&self) -> bool {
        matches!(self.backend(), Backend::Gpu(_))
    }

    /// True for a GPU that is not made of software.
    pub fn is_hardware_gpu(&self) -> bool {
        matches!(self.backend(), Backend::Gpu(gpu) if gpu.is_hardware())
    }

    /// True for the device that computes nothing.
    pub fn is_dry(&self) -> bool {
        matches!(self.backend(), Backend::Dry(_))
    }

    /// True if both are the same device.
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.0.watch
    }

    /// Memory for `len` f32 elements, contents undefined.
    ///
    /// # Errors
    /// No room for a buffer of that size.
    pub fn alloc(&self, len: usize) -> Result<Arc<Buffer>, KernelError> {
        self.alloc_as(Dtype::F32, len)
    }

    /// Memory for `len` elements stored as `dtype`, contents undefined.
    ///
    /// # Errors
    /// No room for a buffer of that size.
    pub fn alloc_as(&self, dtype: Dtype, len: usize) -> Result<Arc<Buffer>, KernelError> {
        let words = dtype.words(len);
        let take = || match self.backend() {
            Backend::Cpu(cpu) => cpu.alloc(words),
            Backend::Gpu(gpu) => gpu.alloc(words).map(Storage::Gpu),
            Backend::Reference(reference) => reference.alloc(len),
            Backend::Dry(dry) => dry.alloc(words),
        };
        if let Backend::Gpu(gpu) = self.backend() {
            // What went wrong before has nothing to do with memory, and must not be taken for that.
            gpu.take_error()?;
        }
        let storage = take().or_else(|_| {
            // What the pool holds of other sizes may make the room.
            self.trim();
            take()
        })?;
        Ok(Arc::new(Buffer { storage, len, dtype, device: self.clone() }))
    }

    pub(crate) fn recycle(&self, buffer: &mut Buffer) {
        match (self.backend(), &mut buffer.storage) {
            (Backend::Cpu(cpu), Storage::Cpu(data)) => {
                cpu.recycle(std::mem::take(data.get_mut().unwrap_or_else(PoisonError::into_inner)));
            }
            (Backend::Reference(reference), Storage::Reference(data)) => {
                reference.recycle(std::mem::take(data.get_mut().unwrap_or_else(PoisonError::into_inner)));
            }
            (Backend::Dry(dry), Storage::Dry(data)) => {
                dry.recycle(std::mem::take(data.get_mut().unwrap_or_else(PoisonError::into_inner)));
            }
            (Backend::Gpu(gpu), Storage::Gpu(data)) => gpu.recycle(data.clone()),
            _ => {}
        }
    }

    /// Copies numbers into a view, rounded to what it stores.
    ///
    /// # Errors
    /// Another length than the view's, or what a GPU reports.
    pub fn write(&self, view: &View, values: &[f32]) -> Result<(), KernelError> {
        if view.dtype() != Dtype::F32 {
            return self.write_halves(view, &view.dtype().encode(values));
        }
        view.check("write", self)?;
        same_length("write", view, values.len())?;
        match self.backend() {
            Backend::Cpu(cpu) => cpu.write(view, values),
            Backend::Gpu(gpu) => gpu.write(view, bytemuck::cast_slice(values)),
            Backend::Reference(reference) => {
                reference.write(view, &values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>())
            }
            Backend::Dry(_) => Ok(()),
        }
    }

    /// Copies halves, as they are, into a view that stores such.
    ///
    /// # Errors
    /// As [`Device::write`].
    pub fn write_halves(&self, view: &View, halves: &[u16]) -> Result<(), KernelError> {
        view.check("write", self)?;
        same_length("write", view, halves.len())?;
        if view.dtype() == Dtype::F32 {
            let what = "halves for a buffer of F32; take memory for F16 or BF16".into();
            return Err(KernelError::Launch { kernel: "write", what });
        }
        if let Backend::Reference(reference) = self.backend() {
            let mut values = vec![0.0; halves.len()];
            view.dtype().decode(halves, &mut values);
            return reference.write(view, &values.into_iter().map(f64::from).collect::<Vec<_>>());
        }
        let mut words = vec![0_f32; view.words().len()];
        bytemuck::cast_slice_mut(&mut words)[..halves.len()].copy_from_slice(halves);
        match self.backend() {
            Backend::Cpu(cpu) => cpu.write(view, &words),
            Backend::Gpu(gpu) => gpu.write(view, bytemuck::cast_slice(&words)),
            Backend::Reference(_) | Backend::Dry(_) => Ok(()),
        }
    }

    /// Copies ids into a view.
    ///
    /// # Errors
    /// As [`Device::write`].
    pub fn write_ids(&self, view: &View, ids: &[u32]) -> Result<(), KernelError> {
        view.check("write", self)?;
        same_length("write", view, ids.len())?;
        if view.dtype() != Dtype::F32 {
            let what = format!("ids for a buffer of {}, which holds halves", view.dtype().name());
            return Err(KernelError::Launch { kernel: "write", what });
        }
        match self.backend() {
            Backend::Cpu(cpu) => cpu.write(view, bytemuck::cast_slice(ids)),
            Backend::Gpu(gpu) => gpu.write(view, bytemuck::cast_slice(ids)),
            Backend::Reference(reference) => {
                reference.write(view, &ids.iter().map(|&v| f64::from(v)).collect::<Vec<_>>())
            }
            Backend::Dry(_) => Ok(()),
        }
    }

    /// Copies numbers in at double precision: only the reference keeps more than f32 holds.
    ///
    /// # Errors
    /// As [`Device::write`].
    pub fn write_f64(&self, view: &View, values: &[f64]) -> Result<(), KernelError> {
        if let Backend::Reference(reference) = self.backend() {
            view.check("write", self)?;
            same_length("write", view, values.len())?;
            return reference.write(view, values);
        }
        self.write(view, &values.iter().map(|&v| v as f32).collect::<Vec<_>>())
    }

    /// Copies numbers out of a view; waits for the GPU.
    ///
    /// # Errors
    /// What a GPU reports.
    pub fn read(&self, view: &View) -> Result<Vec<f32>, KernelError> {
        view.check("read", self)?;
        let words = match self.backend() {
            Backend::Cpu(cpu) => cpu.read(view)?,
            Backend::Gpu(gpu) => gpu.read(view)?,
            Backend::Reference(reference) => {
                return Ok(reference.read(view)?.into_iter().map(|v| v as f32).collect());
            }
            Backend::Dry(_) => return Ok(vec![0.0; view.len]),
        };
        if view.dtype() == Dtype::F32 {
            return Ok(words);
        }
        let mut values = vec![0.0; view.len];
        view.dtype().decode(&as_halves(&words)[..view.len], &mut values);
        Ok(values)
    }

    /// Copies numbers out at the device's own precision.
    ///
    /// # Errors
    /// As [`Device::read`].
    pub fn read_f64(&self, view: &View) -> Result<Vec<f64>, KernelError> {
        if let Backend::Reference(reference) = self.backend() {
            view.check("read", self)?;
            return reference.read(view);
        }
        Ok(self.read(view)?.into_iter().map(f64::from).collect())
    }

    /// Copies f32 elements from one view to another as long, which may begin anywhere.
    ///
    /// # Errors
    /// Views of different lengths or of halves, or of one buffer.
    pub fn copy(&self, from: &View, to: &View) -> Result<(), KernelError> {
        from.check("copy", self)?;
        to.check("copy", self)?;
        same_length("copy", to, from.len)?;
        if Arc::ptr_eq(&from.buffer, &to.buffer) || from.dtype() != Dtype::F32 || to.dtype() != Dtype::F32 {
            let what = "copies go from one f32 buffer to another".into();
            return Err(KernelError::Launch { kernel: "copy", what });
        }
        match self.backend() {
            Backend::Cpu(cpu) => cpu.copy(from, to),
            Backend::Gpu(gpu) => gpu.copy(from, to),
            Backend::Reference(reference) => reference.copy(from, to),
            Backend::Dry(_) => Ok(()),
        }
    }

    /// Waits until everything that was launched has run.
    ///
    /// # Errors
    /// What a GPU reports.
    pub fn synchronize(&self) -> Result<(), KernelError> {
        if let Backend::Gpu(gpu) = self.backend() { gpu.synchronize() } else { Ok(()) }
    }

    /// What it has made so far.
    pub fn counters(&self) -> Counters {
        match self.backend() {
            Backend::Cpu(cpu) => cpu.counters(),
            Backend::Gpu(gpu) => gpu.counters(),
            Backend::Reference(reference) => reference.counters(),
            Backend::Dry(dry) => dry.counters(),
        }
    }

    /// Loses a GPU, as a driver's reset would: for tests of what comes after. Nothing on other devices.
    pub fn lose(&self) {
        if let Backend::Gpu(gpu) = self.backend() {
            gpu.lose();
        }
    }

    /// Frees the memory that no buffer uses.
    pub fn trim(&self) {
        match self.backend() {
            Backend::Cpu(cpu) => cpu.trim(),
            Backend::Gpu(gpu) => gpu.trim(),
            Backend::Reference(reference) => reference.trim(),
            Backend::Dry(dry) => dry.trim(),
        }
    }
}

fn same_length(kernel: &'static str, view: &View, len: usize) -> Result<(), KernelError> {
    if view.len == len {
        return Ok(());
    }
    Err(KernelError::Launch { kernel, what: format!("{len} elements for a view of {}", view.len) })
}
