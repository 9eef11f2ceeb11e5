//! What a kernel is, and how one is launched.

use crate::{Bindings, Device, Draw, Dtype, KernelError, View, device::Backend};
use mode_shaders::Shader;

/// The floating-point operations and the bytes that a launch must move at the least.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Floating-point operations.
    pub flop: f64,
    /// Bytes read and written once each.
    pub bytes: f64,
}

/// One dispatch of a launch: an entry point of the WGSL and its number of workgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Name of the entry point.
    pub entry: &'static str,
    /// Workgroups in x, y and z.
    pub groups: [u32; 3],
}

impl Pass {
    /// The entry point `entry` on `groups` workgroups, folded into two dimensions where one does not hold them.
    pub fn new(entry: &'static str, groups: usize) -> Self {
        Self { entry, groups: grid(groups) }
    }
}

/// `groups` workgroups as a grid: a dimension holds at most 65,535. A shader finds its number as
/// `group.y * group_count.x + group.x` and stops where that is past the end.
pub fn grid(groups: usize) -> [u32; 3] {
    const MOST: usize = 65_535;
    let rows = groups.div_ceil(MOST).max(1);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

/// The contents of one buffer in a [`Case`].
#[derive(Debug, Clone)]
pub enum Data {
    /// Numbers.
    F32(Vec<f32>),
    /// Ids.
    U32(Vec<u32>),
    /// An output of so many elements, poisoned with NaN before the launch.
    Out(usize),
    /// An output whose contents no one reads: scratch memory of the launch.
    Scratch(usize),
}

impl Data {
    /// Number of elements.
    pub fn count(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::U32(ids) => ids.len(),
            Self::Out(count) | Self::Scratch(count) => *count,
        }
    }
}

/// Which launches a check wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// One element, and sizes that no tile or workgroup divides: quick enough for every test run.
    Odd,
    /// More workgroups than one dimension of a grid holds, or as many elements as a real model's.
    Large,
}

impl Sizes {
    /// `odd` or `large`.
    pub(crate) fn pick<T>(self, odd: impl Into<Vec<T>>, large: impl Into<Vec<T>>) -> Vec<T> {
        match self {
            Self::Odd => odd.into(),
            Self::Large => large.into(),
        }
    }
}

/// One launch on which all bodies must agree: parameters, inputs, and outputs with what they hold beforehand. Numbers are
/// stored as the kernel's [`Kernel::dtype`] says.
#[derive(Clone)]
pub struct Case<P> {
    /// Parameters of the launch.
    pub params: P,
    /// Inputs in binding order.
    pub inputs: Vec<Data>,
    /// Outputs in binding order.
    pub outputs: Vec<Data>,
}

impl<P: Clone> Case<P> {
    /// This one with what `change` makes of its parameters.
    pub(crate) fn with(self, change: impl FnOnce(P) -> P) -> Self {
        Self { params: change(self.params), ..self }
    }

    /// `cases`, and where the sizes are odd each of them again with what each of `stored` makes of its parameters: operands that
    /// are stored as halves.
    pub(crate) fn and(mut cases: Vec<Self>, sizes: Sizes, stored: &[fn(P) -> P]) -> Vec<Self> {
        if sizes == Sizes::Odd {
            let again = stored.iter().flat_map(|&change| cases.iter().map(move |case| case.clone().with(change)));
            let again: Vec<Self> = again.collect();
            cases.extend(again);
        }
        cases
    }
}

/// A launch's parameters: u32 and f32 fields, named and laid out as in the WGSL's `struct Params`, which a test compares.
pub trait Parameters: bytemuck::Pod + Send + Sync {
    /// Names and types of the fields, in order.
    const FIELDS: &'static [(&'static str, &'static str)];
}

/// Declares a kernel's parameters.
macro_rules! params {
    ($(#[$doc:meta])* pub struct Params { $($(#[$field_doc:meta])* pub $field:ident: $ty:ident),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct Params { $($(#[$field_doc])* pub $field: $ty),* }

        impl $crate::Parameters for Params {
            const FIELDS: &'static [(&'static str, &'static str)] = &[$((stringify!($field), stringify!($ty))),*];
        }
    };
}
pub(crate) use params;

/// A kernel: one operation with its three bodies.
///
/// In the WGSL, binding 0 of group 0 is the uniform `Params`, then come the inputs, then the outputs. An entry point
/// need not use all of them. The shader, its constants and types, and the passes follow from the whole numbers among the
/// parameters: a device keeps what it has made of those, and a launch with other f32s is the same to it.
pub trait Kernel: Send + Sync + 'static {
    /// Parameters of a launch.
    type Params: Parameters;
    /// Name in traces, errors and tables.
    const NAME: &'static str;
    /// The shader; of a kernel with several ways to compute the same, tiers, the shader of each.
    const SHADERS: &'static [Shader];
    /// Names of the read-only bindings.
    const INPUTS: &'static [&'static str];
    /// Names of the read-write bindings.
    const OUTPUTS: &'static [&'static str];

    /// Values for the shader's top-level `const`s: part of the compiled pipeline.
    fn constants(_params: &Self::Params) -> Vec<(&'static str, u32)> {
        Vec::new()
    }

    /// The shader that a launch runs, by its place in `SHADERS`. What chooses a tier is the function that launches the
    /// kernel, by shapes and by the [`Capabilities`](crate::Capabilities) of the device.
    fn tier(_params: &Self::Params) -> usize {
        0
    }

    /// Types for the shader's top-level `alias`es: part of the compiled pipeline.
    fn types(_params: &Self::Params) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// How binding number `binding` is stored; bindings count from 0, inputs first, then outputs. Weights may be f32, f16 or bf16,
    /// activations f32 or f16; all else is f32.
    fn dtype(_params: &Self::Params, _binding: usize) -> Dtype {
        Dtype::F32
    }

    /// How far rounding on the way may carry an element of output number `output`, of a tier that does so on inputs that are rounded
    /// already: as a share of that output's greatest element. [`check`](crate::check) accepts as much.
    fn rounding(_params: &Self::Params, _output: usize) -> f64 {
        0.0
    }

    /// True where the CPU body reads halves itself; of all other bindings it is given f32, which are widened before and rounded
    /// after.
    fn reads_halves(_params: &Self::Params, _binding: usize) -> bool {
        false
    }

    /// True for an f32 input that a GPU may round to f16: what runs in main memory does so, for the numbers to be the same.
    fn rounds(_params: &Self::Params, _input: usize) -> bool {
        false
    }

    /// The dispatches of a launch, in order.
    fn passes(params: &Self::Params) -> Vec<Pass>;

    /// The fast body, on the CPU.
    fn cpu(params: &Self::Params, bindings: Bindings<f32>);

    /// The oracle: a naive loop in f64.
    fn reference(params: &Self::Params, bindings: Bindings<f64>);

    /// What a launch costs.
    fn cost(params: &Self::Params) -> Cost;

    /// Launches for the checks, with random contents from `seed`.
    fn cases(sizes: Sizes, seed: u32) -> Vec<Case<Self::Params>>;

    /// One random launch: any shape, type, switch and tier that the kernel takes, small enough that a thousand are checked in
    /// seconds. What is compiled into a shader comes from few values.
    fn draw(draw: &mut Draw) -> Case<Self::Params>;
}

/// Launches kernel `K` on `device`: synchronously on the CPU, recorded in order on a GPU.
///
/// # Errors
/// The wrong number of views, a view of another device or past its buffer's end, one buffer bound for reading and
/// writing at once, or what a GPU reports.
pub fn launch<K: Kernel>(
    device: &Device,
    params: &K::Params,
    inputs: &[&View],
    outputs: &[&View],
) -> Result<(), KernelError> {
    let fail = |what: String| KernelError::Launch { kernel: K::NAME, what };
    if inputs.len() != K::INPUTS.len() || outputs.len() != K::OUTPUTS.len() {
        return Err(fail(format!(
            "{} inputs and {} outputs given, {} and {} expected",
            inputs.len(),
            outputs.len(),
            K::INPUTS.len(),
            K::OUTPUTS.len()
        )));
    }
    for view in inputs.iter().chain(outputs) {
        view.check(K::NAME, device)?;
    }
    let names = K::INPUTS.iter().chain(K::OUTPUTS);
    for (i, (view, name)) in inputs.iter().chain(outputs).zip(names).enumerate() {
        let wanted = K::dtype(params, i);
        if view.dtype() != wanted {
            return Err(fail(format!("{name} is {}, {} expected", view.dtype().name(), wanted.name())));
        }
    }
    for (i, output) in outputs.iter().enumerate() {
        let written_twice = outputs[..i].iter().any(|o| std::sync::Arc::ptr_eq(&o.buffer, &output.buffer));
        if written_twice || inputs.iter().any(|x| std::sync::Arc::ptr_eq(&x.buffer, &output.buffer)) {
            return Err(fail(format!("the buffer of output {} is bound twice", K::OUTPUTS[i])));
        }
    }
    device.count_launch(K::NAME, outputs.first().map_or(0, |output| output.len));
    match device.backend() {
        Backend::Cpu(cpu) => device.timed::<K, _>(params, || cpu.launch::<K>(params, inputs, outputs)),
        Backend::Gpu(gpu) => gpu.launch::<K>(params, inputs, outputs),
        Backend::Reference(reference) => {
            device.timed::<K, _>(params, || reference.launch::<K>(params, inputs, outputs))
        }
        Backend::Dry(dry) => device.timed::<K, _>(params, || dry.launch::<K>(params, inputs, outputs)),
    }?;
    device.check_finite(K::NAME, K::OUTPUTS, outputs)
}
