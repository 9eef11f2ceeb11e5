//! Timestamps around dispatches.

use super::recorder::Dispatch;
use crate::profile::{Timing, settings};

/// What is being timed.
pub(super) struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    /// Dispatches recorded and not yet read; their times are still 0.
    pending: Vec<Timing>,
    /// The first dispatch's beginning.
    first: Option<u64>,
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
            first: None,
            done: Vec::new(),
        }
    }

    /// A pass of one dispatch, timed, with whether its shader multiplies by cooperative matrices.
    pub(super) fn pass(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        dispatch: &Dispatch,
        cooperative: bool,
    ) -> wgpu::ComputePass<'static> {
        let first = 2 * self.pending.len() as u32;
        let Dispatch { kernel, entry, cost, fields, params, .. } = *dispatch;
        let (entry, settings) = (Some(entry), settings(fields, params));
        self.pending.push(Timing { kernel, entry, settings, cooperative, cost, begin: 0.0, seconds: 0.0 });
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
            for (timing, ticks) in self.pending.drain(..).zip(ticks.chunks_exact(2)) {
                let first = *self.first.get_or_insert(ticks[0]);
                // Some drivers write them out of order.
                let begin = ticks[0].saturating_sub(first) as f64 * seconds;
                self.done.push(Timing { begin, seconds: ticks[1].saturating_sub(ticks[0]) as f64 * seconds, ..timing });
            }
        }
        self.staging.unmap();
        self.pending.clear();
    }

    pub(super) fn finish(self) -> Vec<Timing> {
        self.done
    }
}
