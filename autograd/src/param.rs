//! Parameters: named tensors that an optimizer may change.

use mode_tensor::Tensor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

struct Inner {
    id: u64,
    name: String,
    value: Tensor,
    trained: AtomicBool,
}

/// A named tensor, trained or frozen. Clones are the same parameter.
#[derive(Clone)]
pub struct Param(Arc<Inner>);

impl Param {
    /// A frozen parameter.
    pub fn new(name: impl Into<String>, value: Tensor) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Inner { id, name: name.into(), value, trained: AtomicBool::new(false) }))
    }

    /// The name, as the model's files know it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The tensor, which optimizers change in place.
    pub fn value(&self) -> &Tensor {
        &self.0.value
    }

    /// True if gradients are wanted.
    pub fn is_trained(&self) -> bool {
        self.0.trained.load(Ordering::Relaxed)
    }

    /// Trains or freezes it, from the next forward pass on.
    pub fn set_trained(&self, trained: bool) {
        self.0.trained.store(trained, Ordering::Relaxed);
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }
}

impl std::fmt::Debug for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.name(), self.value().shape())
    }
}
