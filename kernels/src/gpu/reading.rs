//! Copies to the host: through a staging buffer that is mapped once the submission which fills it has run.

use super::{Gpu, bytes, storage};
use crate::shaders::one_line;
use crate::{Arrived, KernelError, View};
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// Bytes of the staging buffers that are kept, for the few numbers that each step of a loop reads.
const STAGING: u64 = 4_096;

/// A copy on its way.
pub(crate) struct Reading {
    staging: wgpu::Buffer,
    size: u64,
    submission: Option<wgpu::SubmissionIndex>,
    /// How it went, and when that was known.
    mapped: Receiver<(Result<(), wgpu::BufferAsyncError>, Instant)>,
}

impl Gpu {
    /// A buffer to read `size` bytes through.
    fn staging(&self, size: u64) -> wgpu::Buffer {
        let kept = match size {
            0..=STAGING => self.staging.lock().unwrap_or_else(PoisonError::into_inner).pop(),
            _ => None,
        };
        kept.unwrap_or_else(|| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("read"),
                size: size.max(STAGING),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })
    }

    /// Records copies of some views, one behind the other, and submits everything.
    pub(crate) fn read_later(&self, views: &[&View]) -> Result<Reading, KernelError> {
        let size = views.iter().map(|view| bytes(view).1).sum();
        let staging = self.staging(size);
        let submission = {
            let (mut recorder, mut place) = (self.recorder(), 0);
            for view in views {
                let (start, size) = bytes(view);
                recorder.copy((&self.device, &self.queue), (&storage(view)?.buffer, start), (&staging, place), size);
                place += size;
            }
            recorder.submit(&self.device, &self.queue)
        };
        let (send, mapped) = channel();
        staging.slice(..size).map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone if nobody waits for it any more.
            let _ = send.send((result, Instant::now()));
        });
        Ok(Reading { staging, size, submission, mapped })
    }

    /// Waits for a copy, and for nothing that was submitted after it.
    pub(crate) fn finish(&self, reading: Reading) -> Result<Arrived, KernelError> {
        let Reading { staging, size, submission, mapped } = reading;
        // A lost device says so better than the read that it has no answer for.
        let failed = |e: &dyn std::fmt::Display| {
            self.take_error().err().unwrap_or_else(|| KernelError::Gpu(one_line(&e.to_string())))
        };
        let wait = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        self.device.poll(wait).map_err(|e| failed(&e))?;
        self.take_error()?;
        let (result, at) = mapped.recv().map_err(|e| failed(&e))?;
        result.map_err(|e| failed(&e))?;
        let range = staging.slice(..size).get_mapped_range().map_err(|e| failed(&e))?;
        let values = bytemuck::pod_collect_to_vec(&range);
        drop(range);
        staging.unmap();
        if staging.size() == STAGING {
            self.staging.lock().unwrap_or_else(PoisonError::into_inner).push(staging);
        }
        Ok(Arrived { values, at })
    }

    /// Copies a view out, and waits for it.
    pub(crate) fn read(&self, view: &View) -> Result<Vec<f32>, KernelError> {
        Ok(self.finish(self.read_later(&[view])?)?.values)
    }
}
