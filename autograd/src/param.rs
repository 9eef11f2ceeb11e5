//! Parameters: named tensors that an optimizer may change.

use mode_tensor::{Tensor, TensorError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

struct Inner {
    id: u64,
    name: String,
    home: RwLock<Home>,
    trained: AtomicBool,
}

/// Where a parameter's numbers are.
struct Home {
    value: Tensor,
    /// Where the optimizer wants its gradient; whoever writes there holds a clone.
    gradient: Option<Arc<Tensor>>,
}

/// A named tensor, trained or frozen. Clones are the same parameter.
#[derive(Clone)]
pub struct Param(Arc<Inner>);

impl Param {
    /// A frozen parameter.
    pub fn new(name: impl Into<String>, value: Tensor) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = RwLock::new(Home { value, gradient: None });
        Self(Arc::new(Inner { id, name: name.into(), home, trained: AtomicBool::new(false) }))
    }

    /// The name, as the model's files know it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The tensor, which optimizers change in place.
    pub fn value(&self) -> Tensor {
        self.0.home.read().unwrap_or_else(PoisonError::into_inner).value.clone()
    }

    /// Gives it other numbers, in memory of their own.
    ///
    /// # Errors
    /// Another shape.
    pub fn set_value(&self, value: Tensor) -> Result<(), TensorError> {
        let mut home = self.0.home.write().unwrap_or_else(PoisonError::into_inner);
        if value.shape() != home.value.shape() {
            let (new, old) = (value.shape().to_vec(), home.value.shape().to_vec());
            return Err(TensorError::Shape { op: "set_value", what: "another shape", left: new, right: old });
        }
        *home = Home { value, gradient: None };
        Ok(())
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

    /// Puts its numbers elsewhere, and says where its gradient shall go.
    pub(crate) fn move_to(&self, value: Tensor, gradient: Tensor) {
        let gradient = Some(Arc::new(gradient));
        *self.0.home.write().unwrap_or_else(PoisonError::into_inner) = Home { value, gradient };
    }

    /// Where its gradient shall go, unless another pass's gradient is there and still in use.
    pub(crate) fn free_place(&self) -> Option<Arc<Tensor>> {
        // Locked as if to write, or two threads could both find it free.
        let home = self.0.home.write().unwrap_or_else(PoisonError::into_inner);
        home.gradient.as_ref().filter(|place| Arc::strong_count(place) == 1).cloned()
    }

    /// Lets its gradients go anywhere again, if they went to `place`.
    pub(crate) fn leave_place(&self, place: &Tensor) {
        let mut home = self.0.home.write().unwrap_or_else(PoisonError::into_inner);
        home.gradient.take_if(|current| current.is_same_memory(place));
    }
}

impl std::fmt::Debug for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.name(), self.value().shape())
    }
}
