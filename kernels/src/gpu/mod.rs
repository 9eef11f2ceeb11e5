//! The GPU device: wgpu on Vulkan, Metal or DX12.
//!
//! Launches are recorded into one open compute pass and submitted many at a time; wgpu orders dispatches that share a
//! buffer. Each launch's parameters get a slot of their own in a ring of uniforms, bound by a dynamic offset: one slot
//! reused would give every dispatch of a submission the last values. Buffers, pipelines and bind groups are kept, so that
//! a steady training step creates none.

mod adapters;
mod bind_groups;
mod capabilities;
mod load;
mod pipeline;
mod pipeline_cache;
mod plan;
mod reading;
mod recorder;
mod timestamps;

pub use adapters::{AdapterSummary, adapters};
pub use capabilities::Capabilities;
pub(crate) use reading::Reading;

use crate::buffer::Storage;
use crate::pool::{self, Counters, Pool, size_class};
use crate::profile::Timing;
use crate::shaders::{Replacements, one_line};
use crate::{Cost, Kernel, KernelError, Parameters, View};
use bind_groups::Bound;
use pipeline::Pipelines;
use recorder::{Dispatch, Recorder};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A storage buffer, and a number that no other of its device has had: what bind groups are known by.
#[derive(Clone)]
pub(crate) struct Slab {
    number: u64,
    buffer: wgpu::Buffer,
}

/// A GPU that has been opened.
pub(crate) struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    adapter: AdapterSummary,
    limits: wgpu::Limits,
    pipelines: Pipelines,
    recorder: Mutex<Recorder>,
    pool: Pool<Slab>,
    /// What small results are read through, while no one is reading.
    staging: Mutex<Vec<wgpu::Buffer>>,
    /// Slabs made so far.
    slabs: AtomicU64,
    /// The first error that nobody has been told of yet; the loss of the device stays.
    error: Arc<Mutex<Option<KernelError>>>,
}

impl Gpu {
    /// Opens adapter number `index` with the limits that it has, rather than WebGPU's defaults (128 MiB a binding).
    pub(crate) fn open(index: usize) -> Result<Self, KernelError> {
        let (adapter, info) = adapters::nth(index)?;
        let limits = adapter.limits();
        let features = capabilities::features(&adapter, &info);
        let experimental_features = if features.intersects(wgpu::Features::all_experimental_mask()) {
            // SAFETY: wgpu asks for no more than to know that its checks of these are not complete. The shaders that use
            // cooperative matrices keep to what the adapter lists, and load and store inside of arrays of theirs alone.
            unsafe { wgpu::ExperimentalFeatures::enabled() }
        } else {
            wgpu::ExperimentalFeatures::disabled()
        };
        let request = wgpu::DeviceDescriptor {
            label: Some("mode"),
            required_features: features,
            experimental_features,
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&request))
            .map_err(|e| KernelError::OpenAdapter { name: info.name.clone(), why: e.to_string() })?;
        let error = Arc::new(Mutex::new(None));
        let slot = error.clone();
        device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
            let error = KernelError::Gpu(one_line(&e.to_string()));
            slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }));
        let slot = error.clone();
        let name = info.name.clone();
        device.set_device_lost_callback(move |_, message| {
            let lost = KernelError::Lost { name: name.clone(), why: one_line(&message) };
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(lost);
        });
        let recorder = Mutex::new(Recorder::new(&device, &limits));
        Ok(Self {
            device,
            queue,
            adapter: adapters::summary(&adapter, &info),
            info,
            limits,
            pipelines: Pipelines::default(),
            recorder,
            pool: Pool::new(1, |free| pool::least(free, |slab| slab.number)),
            staging: Mutex::default(),
            slabs: AtomicU64::new(0),
            error,
        })
    }

    pub(crate) fn name(&self) -> String {
        let software = if self.is_hardware() { "" } else { " (software, slow)" };
        format!("{} through {}{software}", self.info.name, self.info.backend)
    }

    pub(crate) fn is_hardware(&self) -> bool {
        self.info.device_type != wgpu::DeviceType::Cpu
    }

    pub(crate) fn adapter(&self) -> &AdapterSummary {
        &self.adapter
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.adapter.capabilities
    }

    pub(crate) fn replace_shaders(&self, texts: Replacements) {
        self.pipelines.replace(texts);
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first error since the last call, if any.
    pub(crate) fn take_error(&self) -> Result<(), KernelError> {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match &*error {
            None => Ok(()),
            Some(lost @ KernelError::Lost { .. }) => Err(lost.clone()),
            Some(_) => error.take().map_or(Ok(()), Err),
        }
    }

    pub(crate) fn alloc(&self, len: usize) -> Result<Slab, KernelError> {
        let size = 4 * size_class(len).ok_or(KernelError::Memory { bytes: u64::MAX })? as u64;
        let most = self.most_bytes();
        if size > most {
            return Err(KernelError::Limit { kernel: "buffer", what: "bytes in one buffer", needs: size, has: most });
        }
        self.pool.take(size as usize, || {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let buffer = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
            let buffer = self.device.create_buffer(&buffer);
            self.take_error()?;
            Ok(Slab { number: self.slabs.fetch_add(1, Ordering::Relaxed), buffer })
        })
    }

    /// Bytes of a buffer at the most.
    pub(crate) fn most_bytes(&self) -> u64 {
        self.limits.max_buffer_size.min(self.limits.max_storage_buffer_binding_size)
    }

    /// Seconds of a timestamp's unit.
    pub(crate) fn tick(&self) -> f64 {
        f64::from(self.queue.get_timestamp_period()) * 1e-9
    }

    pub(crate) fn counters(&self) -> Counters {
        let (pipelines, bind_groups) = (self.pipelines.count(), self.recorder().bind_groups_made());
        Counters { pipelines, bind_groups, ..self.pool.counters() }
    }

    /// Takes a buffer back. The queue runs in order, so a later launch may overwrite it at once.
    pub(crate) fn recycle(&self, slab: Slab) {
        self.pool.put(slab.buffer.size() as usize, slab);
    }

    pub(crate) fn trim(&self) {
        // What recorded work still holds is freed once that is done.
        self.recorder().submit(&self.device, &self.queue);
        self.pool.clear();
        self.recorder().forget_bind_groups();
    }

    pub(crate) fn launch<K: Kernel>(
        &self,
        params: &K::Params,
        inputs: &[&View],
        outputs: &[&View],
    ) -> Result<(), KernelError> {
        let plan = self.plan::<K>(params)?;
        let mut cost = K::cost(params);
        // Which dispatch does how much of it is not known; that one does half of its share or twice is no matter to a bound.
        let share = 1.0 / plan.len().max(1) as f64;
        let load = Cost { flop: share * cost.flop, bytes: share * cost.bytes };
        for stage in plan.iter() {
            let bound = Bound::new::<K>(&stage.pipeline, inputs, outputs)?;
            let dispatch = Dispatch {
                kernel: K::NAME,
                entry: stage.entry,
                cost: std::mem::take(&mut cost),
                load,
                fields: K::Params::FIELDS,
                params: bytemuck::bytes_of(params),
                groups: stage.groups,
            };
            self.recorder().dispatch(&self.device, &self.queue, &stage.pipeline, bound, &dispatch);
        }
        Ok(())
    }

    /// Times every dispatch from now on.
    pub(crate) fn start_timing(&self) -> Result<(), KernelError> {
        if !self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(KernelError::NoTimestamps(self.name()));
        }
        self.recorder().start_timing(&self.device, &self.queue);
        Ok(())
    }

    /// What was timed.
    pub(crate) fn stop_timing(&self) -> Result<Vec<Timing>, KernelError> {
        let timings = self.recorder().stop_timing(&self.device, &self.queue);
        self.take_error()?;
        Ok(timings)
    }

    /// Writes are ordered before the next submission as a whole, so what has been recorded must go first.
    pub(crate) fn write(&self, view: &View, bytes: &[u8]) -> Result<(), KernelError> {
        self.recorder().submit(&self.device, &self.queue);
        self.queue.write_buffer(&storage(view)?.buffer, 4 * view.words().start as u64, bytes);
        self.take_error()
    }

    /// What a driver's reset does.
    pub(crate) fn lose(&self) {
        self.device.destroy();
    }

    /// Records a copy.
    pub(crate) fn copy(&self, from: &View, to: &View) -> Result<(), KernelError> {
        let ((start, size), (target, _)) = (bytes(from), bytes(to));
        let (from, to) = ((&storage(from)?.buffer, start), (&storage(to)?.buffer, target));
        self.recorder().copy((&self.device, &self.queue), from, to, size);
        Ok(())
    }

    pub(crate) fn synchronize(&self) -> Result<(), KernelError> {
        self.recorder().submit(&self.device, &self.queue);
        self.wait()
    }

    fn wait(&self) -> Result<(), KernelError> {
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|e| KernelError::Gpu(one_line(&e.to_string())))?;
        self.take_error()
    }
}

fn storage(view: &View) -> Result<&Slab, KernelError> {
    match &view.buffer.storage {
        Storage::Gpu(slab) => Ok(slab),
        _ => Err(KernelError::WrongDevice(view.buffer.device.name())),
    }
}

/// First byte of a view and number of its bytes.
fn bytes(view: &View) -> (u64, u64) {
    let words = view.words();
    (4 * words.start as u64, 4 * words.len() as u64)
}
