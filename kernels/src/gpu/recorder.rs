//! The open command encoder: dispatches and copies in order, submitted many at a time.

use super::bind_groups::{BindGroups, Bound};
use super::load::{self, Load, MOST_LAUNCHES};
use super::pipeline::Pipeline;
use super::timestamps::Timestamps;
use crate::Cost;
use crate::profile::Timing;

/// One dispatch of a kernel.
pub(super) struct Dispatch<'a> {
    pub(super) kernel: &'static str,
    pub(super) entry: &'static str,
    /// What the launch costs, at its first dispatch; nothing at the others.
    pub(super) cost: Cost,
    /// What a submission counts for this one.
    pub(super) load: Cost,
    /// Names and types of the parameters.
    pub(super) fields: &'static [(&'static str, &'static str)],
    pub(super) params: &'a [u8],
    pub(super) groups: [u32; 3],
}

/// What has been recorded and not yet submitted.
pub(super) struct Recorder {
    // Declared before the encoder, so that it is dropped first: a pass must end before its encoder.
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    slot_size: u64,
    ring: wgpu::Buffer,
    staged: Vec<u8>,
    load: Load,
    bind_groups: BindGroups,
    timestamps: Option<Timestamps>,
}

impl Recorder {
    pub(super) fn new(device: &wgpu::Device, limits: &wgpu::Limits) -> Self {
        let slot_size = u64::from(limits.min_uniform_buffer_offset_alignment).max(256);
        let ring = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: MOST_LAUNCHES as u64 * slot_size,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let (staged, load, bind_groups) = Default::default();
        Self { pass: None, encoder: None, slot_size, ring, staged, load, bind_groups, timestamps: None }
    }

    pub(super) fn bind_groups_made(&self) -> u64 {
        self.bind_groups.made()
    }

    /// Records one dispatch.
    pub(super) fn dispatch(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        pipeline: &Pipeline,
        bound: Bound,
        dispatch: &Dispatch,
    ) {
        let Dispatch { load, params, groups, .. } = *dispatch;
        if !self.load.has_room(load) {
            self.submit(device, queue);
        }
        self.load.launch(load);
        let offset = self.staged.len() as u32;
        self.staged.extend_from_slice(params);
        self.staged.resize(offset as usize + self.slot_size as usize, 0);
        let bind_group = self.bind_groups.get(device, pipeline, &self.ring, bound);
        let encoder = self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
        if let Some(timestamps) = &mut self.timestamps {
            self.pass = None;
            self.pass = Some(timestamps.pass(encoder, dispatch, pipeline.cooperative));
        }
        let pass = self.pass.get_or_insert_with(|| encoder.begin_compute_pass(&Default::default()).forget_lifetime());
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, bind_group, &[offset]);
        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
    }

    /// Records a copy between buffers, each with the byte to begin at.
    pub(super) fn copy(
        &mut self,
        (device, queue): (&wgpu::Device, &wgpu::Queue),
        (from, at): (&wgpu::Buffer, u64),
        (to, place): (&wgpu::Buffer, u64),
        size: u64,
    ) {
        if !self.load.has_room(load::of_copy(size)) {
            self.submit(device, queue);
        }
        self.pass = None;
        let encoder = self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default()));
        encoder.copy_buffer_to_buffer(from, at, to, place, size);
        self.load.copy(size);
    }

    /// Hands everything recorded to the queue; what to wait for, if there was anything.
    pub(super) fn submit(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) -> Option<wgpu::SubmissionIndex> {
        self.pass = None;
        let mut encoder = self.encoder.take()?;
        self.load = Load::default();
        if let Some(timestamps) = &self.timestamps {
            timestamps.resolve(&mut encoder);
        }
        if !self.staged.is_empty() {
            queue.write_buffer(&self.ring, 0, &self.staged);
            self.staged.clear();
        }
        let submission = queue.submit([encoder.finish()]);
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.read(device, queue);
        }
        // Frees finished submissions' resources; an error here shows again at the next wait.
        let _ = device.poll(wgpu::PollType::Poll);
        Some(submission)
    }

    /// Times every dispatch from now on.
    pub(super) fn start_timing(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) {
        self.submit(device, queue);
        self.timestamps = Some(Timestamps::new(device, MOST_LAUNCHES as u32));
    }

    /// What was timed.
    pub(super) fn stop_timing(&mut self, device: &wgpu::Device, queue: &wgpu::Queue) -> Vec<Timing> {
        self.submit(device, queue);
        self.timestamps.take().map_or_else(Vec::new, Timestamps::finish)
    }

    /// As [`BindGroups::forget`].
    pub(super) fn forget_bind_groups(&mut self) {
        self.bind_groups.forget();
    }
}
