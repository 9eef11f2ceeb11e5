//! The tape: what was computed from trained parameters, in order, each with its vjp.

use crate::gradients::Slot;
use crate::{AutogradError, Gradients, Param, Sink};
use mode_tensor::Tensor;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Sends the gradient of an operation's output to its parents.
pub(crate) type Vjp = Box<dyn FnOnce(&Tensor, &mut Sink) -> Result<(), AutogradError>>;

pub(crate) struct Node {
    /// Nodes of the operands; none for an operand that wants no gradient.
    pub(crate) parents: Vec<Option<usize>>,
    /// None for a parameter.
    pub(crate) vjp: Option<Vjp>,
    /// Where a parameter's gradient has to lie.
    gradient: Option<Arc<Tensor>>,
    /// What the device was told it belongs to.
    place: Option<Arc<str>>,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<Node>,
    params: BTreeMap<u64, usize>,
    /// Set by the backward pass, which takes the nodes away.
    spent: bool,
    /// Every parameter is a constant, whether it is trained or not.
    frozen: bool,
}

/// The record of one forward pass. Clones are the same tape.
#[derive(Clone, Default)]
pub struct Tape(Rc<RefCell<Inner>>);

/// A tensor that may have a place on a tape.
#[derive(Clone)]
pub struct Var {
    value: Tensor,
    node: Option<(Tape, usize)>,
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tape that records nothing, for evaluation and generation: what is trained stays so, and is a constant here.
    pub fn frozen() -> Self {
        Self(Rc::new(RefCell::new(Inner { frozen: true, ..Inner::default() })))
    }

    /// A parameter as an operand: a node if it is trained, else a constant. Asked twice, the same node.
    pub fn param(&self, param: &Param) -> Var {
        let mut inner = self.0.borrow_mut();
        if inner.frozen || !param.is_trained() {
            return Var::constant(param.value());
        }
        let next = inner.nodes.len();
        let node = *inner.params.entry(param.id()).or_insert(next);
        if node == next {
            inner.nodes.push(Node { parents: Vec::new(), vjp: None, gradient: param.free_place(), place: None });
        }
        Var { value: param.value(), node: Some((self.clone(), node)) }
    }

    /// True for one that records nothing.
    pub fn is_frozen(&self) -> bool {
        self.0.borrow().frozen
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.0.borrow().nodes.len()
    }

    /// True if nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Walks the tape back from `output`, whose gradient is `seed`, and empties it.
    ///
    /// # Errors
    /// An output that no trained parameter leads to, a tape that has been walked back already, or what a vjp's launches report.
    pub fn backward(&self, output: &Var, seed: Tensor) -> Result<Gradients, AutogradError> {
        self.backward_onto(output, seed, None)
    }

    /// The same, added to the gradients of a pass before, in their memory.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn backward_onto(
        &self,
        output: &Var,
        seed: Tensor,
        before: Option<Gradients>,
    ) -> Result<Gradients, AutogradError> {
        self.backward_from(vec![output.clone()], before, |sink| sink.add(0, seed))
    }

    /// The same from several `operands`, whose gradients `seed` sends to the sink.
    pub(crate) fn backward_from(
        &self,
        operands: Vec<Var>,
        before: Option<Gradients>,
        seed: impl FnOnce(&mut Sink) -> Result<(), AutogradError>,
    ) -> Result<Gradients, AutogradError> {
        let parents: Vec<Option<usize>> = operands.iter().map(Var::index).collect();
        let Some(last) = parents.iter().flatten().max().copied() else { return Err(AutogradError::NothingTrained) };
        if operands.iter().filter_map(|var| var.node.as_ref()).any(|(tape, _)| !Rc::ptr_eq(&tape.0, &self.0)) {
            return Err(AutogradError::TwoTapes { op: "backward" });
        }
        drop(operands);
        let inner = std::mem::replace(&mut *self.0.borrow_mut(), Inner { spent: true, ..Inner::default() });
        let Inner { nodes, params, spent, .. } = inner;
        if spent {
            return Err(AutogradError::Spent { op: "backward" });
        }
        let slot = |node: &Node| Slot { gradient: None, place: node.gradient.clone() };
        let mut slots: Vec<Slot> = nodes.iter().map(slot).collect();
        let mut gradients = before.unwrap_or_default();
        for (param, node) in &params {
            if let Some(before) = gradients.take(*param) {
                slots[*node] = before;
            }
        }
        seed(&mut Sink { parents: &parents, slots: &mut slots })?;
        for (i, node) in nodes.into_iter().enumerate().take(last + 1).rev() {
            let Some(vjp) = node.vjp else { continue };
            // Taken, not borrowed: the memory goes back to the pool as soon as this node has sent it on.
            let Some(gradient) = slots[i].gradient.take() else { continue };
            if let Some(place) = &node.place {
                gradient.device().at(|| format!("the backward of {place}"));
            }
            vjp(&gradient, &mut Sink { parents: &node.parents, slots: &mut slots })?;
        }
        gradients.slots.extend(params.into_iter().map(|(param, node)| (param, std::mem::take(&mut slots[node]))));
        Ok(gradients)
    }
}

impl Var {
    /// A tensor that wants no gradient.
    pub fn constant(value: Tensor) -> Self {
        Self { value, node: None }
    }

    /// The tensor.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// True if a trained parameter leads to it.
    pub fn requires_grad(&self) -> bool {
        self.node.is_some()
    }

    /// The number of its node.
    fn index(&self) -> Option<usize> {
        self.node.as_ref().map(|(_, node)| *node)
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// A shape of another number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, AutogradError> {
        let before = self.value.shape().to_vec();
        let value = self.value.reshape(shape)?;
        Self::record("reshape", value, &[self], |_| Box::new(move |g, sink| sink.add(0, g.reshape(&before)?)))
    }

    /// The result of an operation on `operands`. Its vjp is made, with whatever it keeps, only if an operand wants a
    /// gradient.
    pub(crate) fn record(
        op: &'static str,
        value: Tensor,
        operands: &[&Var],
        vjp: impl FnOnce(&Tensor) -> Vjp,
    ) -> Result<Self, AutogradError> {
        let mut tape: Option<&Tape> = None;
        for (other, _) in operands.iter().filter_map(|var| var.node.as_ref()) {
            if tape.is_some_and(|tape| !Rc::ptr_eq(&tape.0, &other.0)) {
                return Err(AutogradError::TwoTapes { op });
            }
            tape = Some(other);
        }
        let Some(tape) = tape else { return Ok(Self::constant(value)) };
        let parents = operands.iter().map(|var| var.index()).collect();
        let node = Node { parents, vjp: Some(vjp(&value)), gradient: None, place: value.device().place() };
        let mut inner = tape.0.borrow_mut();
        if inner.spent {
            return Err(AutogradError::Spent { op });
        }
        inner.nodes.push(node);
        let index = inner.nodes.len() - 1;
        drop(inner);
        Ok(Self { value, node: Some((tape.clone(), index)) })
    }
}

impl std::fmt::Debug for Var {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Var{:?}{}", self.value.shape(), if self.requires_grad() { "*" } else { "" })
    }
}
