//! A launch that a GPU has seen before allocates nothing in main memory.

mod common;

use mode_kernels::scale::scale;
use mode_kernels::{Dtype, KernelError, View};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// How often this thread has allocated, or grown something.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: it is the system's allocator, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller promises what it asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the same.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the same.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_launch_seen_before_allocates_nothing() -> Result<(), KernelError> {
    // Fewer than a submission holds, for wgpu allocates at each.
    const LAUNCHES: u64 = 100;
    let Some(gpu) = common::gpu() else { return Ok(()) };
    // In mixed precision some are of f16.
    let other = if gpu.capabilities().f16 { Dtype::F16 } else { Dtype::F32 };
    let (x, y) = (View::whole(gpu.alloc(64)?), View::whole(gpu.alloc_as(other, 64)?));
    let launch = |i: u64| {
        let (from, to) = if i.is_multiple_of(2) { (&x, &y) } else { (&y, &x) };
        // Its f32s change from step to step, as an optimizer's do.
        scale(&gpu, 1.0 + i as f32, from, to, false)
    };
    (0..LAUNCHES).try_for_each(launch)?;
    gpu.synchronize()?;
    launch(0)?;
    let before = COUNT.get();
    (1..=LAUNCHES).try_for_each(launch)?;
    let count = COUNT.get() - before;
    // wgpu's lists of commands begin empty in each submission, and double a few times.
    assert!(count < LAUNCHES / 4, "{count} allocations in {LAUNCHES} launches");
    gpu.synchronize()
}
