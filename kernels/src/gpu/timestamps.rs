//! Timestamps around dispatches.

use crate::Cost;
use crate::profile::Timing;

/// What is being timed.
pub(super) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    /// Dispatches recorded and not yet read.
    pending: Vec<(&'static str, Cost)>,
    done: Vec<Timing>,
}

impl Timestamps {
    /// For submissions of `most` dispatches.
    pub(super) fn new(device: &wgpu::Device, most: u32) -> Self {
        let buffer = |usage| {
            let size = u64::from(2 * most) * u64::from(wgpu::QUERY_SIZE);
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        Self {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * most,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            pending: Vec::new(),
            done: Vec::new(),
        }
    }

    /// A pass of one dispatch of `kernel`, timed.
    pub(super) fn pass(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: &'static str,
        cost: Cost,
    ) -> wgpu::ComputePass<'static> {
        let first = 2 * self.pending.len() as u32;
        self.pending.push((kernel, cost));
        let descriptor = wgpu::ComputePassDescriptor {
            label: Some(kernel),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            }),
        };
        encoder.begin_compute_pass(&descriptor).forget_lifetime()
    }

    /// Records that the timestamps are to be read.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let count = 2 * self.pending.len() as u32;
        if count > 0 {
            encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
            let size = u64::from(count) * u64::from(wgpu::QUERY_SIZE);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, size);
        }
    }

    /// Reads them, once the submission that resolved them is on its way.
    pub(super) fn read(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) {
        if self.pending.is_empty() {
            return;
        }
        self.staging.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        // A device that is lost says so at the next launch; there is nothing to time then.
        let _ = device.poll(wgpu::PollType::wait_indefinitely());
        if let Ok(mapped) = self.staging.slice(..).get_mapped_range() {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&mapped);
            let seconds = f64::from(queue.get_timestamp_period()) * 1e-9;
            for (&(kernel, cost), ticks) in self.pending.iter().zip(ticks.chunks_exact(2)) {
                let seconds = ticks[1].saturating_sub(ticks[0]) as f64 * seconds;
                self.done.push(Timing { kernel, cost, seconds });
            }
        }
        self.staging.unmap();
        self.pending.clear();
    }

    pub(super) fn finish(self) -> Vec<Timing> {
        self.done
    }
}
