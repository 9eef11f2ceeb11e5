//! The keys and values of the tokens so far (the KV cache), so that a new token computes only its own.
//!
//! Each layer, of the backbone or of an expert, has its own: keys (already turned) and values, `[capacity, kv_heads * head width]`.
//! What a token's row holds depends on no later token, so generation with a cache and without are the same but for rounding.

use mode_tensor::{Tensor, TensorError, copy_rows};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};

/// Keys and values of one window's tokens, for all layers.
pub struct Cache {
    capacity: usize,
    past: Cell<usize>,
    /// Ends with it, which others who keep something for it see.
    life: Arc<()>,
    /// By the name of the layer's input norm.
    layers: RefCell<HashMap<String, [Tensor; 2]>>,
}

/// New tokens of a sequence, and where those before are.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    /// Keys and values of the tokens before.
    pub cache: &'a Cache,
    /// New tokens.
    pub tokens: usize,
}

impl Cache {
    /// An empty cache for `capacity` tokens; memory is taken when a layer first needs it.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, past: Cell::new(0), life: Arc::default(), layers: RefCell::default() }
    }

    /// Tokens that it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Tokens that it holds.
    pub fn past(&self) -> usize {
        self.past.get()
    }

    /// Counts tokens whose keys and values all layers have put in.
    pub(crate) fn advance(&self, tokens: usize) {
        self.past.set(self.past() + tokens);
    }

    /// Takes it for one that holds so many tokens of those that were put in.
    pub(crate) fn go_on_from(&self, past: usize) {
        self.past.set(past);
    }

    /// What is alive as long as it is, and is of no other.
    pub(crate) fn life(&self) -> Weak<()> {
        Arc::downgrade(&self.life)
    }

    /// Puts a layer's new keys and values `[tokens, kv_heads * head width]` behind those of the tokens before, and returns all of them,
    /// `[past + tokens, kv_heads * head width]`.
    pub(crate) fn extend(&self, layer: &str, new: [&Tensor; 2]) -> Result<[Tensor; 2], TensorError> {
        let (past, [k, v]) = (self.past(), new);
        let memory = |like: &Tensor| Tensor::empty(like.device(), &[self.capacity, like.width()]);
        let mut layers = self.layers.borrow_mut();
        let [keys, values] = match layers.entry(layer.into()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(first) => first.insert([memory(k)?, memory(v)?]),
        };
        copy_rows(k, keys, past)?;
        copy_rows(v, values, past)?;
        let so_far = [past + k.rows(), k.width()];
        Ok([keys.window(0, &so_far)?, values.window(0, &so_far)?])
    }
}
