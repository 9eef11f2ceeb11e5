//! What can go wrong below the tensors: devices, memory, and launches that do not fit their kernel.

/// An error of a device or of a kernel launch.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KernelError {
    /// The device string is not one that exists.
    #[error("unknown device '{0}': use cpu, gpu, gpu:N or reference")]
    UnknownDevice(String),
    /// No such GPU adapter.
    #[error("no GPU adapter {wanted}: {found} found; use --device cpu, or install a Vulkan, Metal or DX12 driver")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// What the machine has.
        found: String,
    },
    /// The adapter refused to open.
    #[error("the GPU '{name}' can't be opened: {why}; use --device cpu")]
    OpenAdapter {
        /// The adapter's name.
        name: String,
        /// The driver's words.
        why: String,
    },
    /// The driver reported an error after work had been submitted.
    #[error("the GPU failed: {0}; use a smaller batch if it ran out of memory, or --device cpu")]
    Gpu(String),
    /// The device is gone: its driver has reset it, or it has been unplugged.
    #[error("the GPU '{name}' was lost: {why}; start again, a run with --resume, or use --device cpu")]
    Lost {
        /// The adapter's name.
        name: String,
        /// The driver's words.
        why: String,
    },
    /// A kernel was launched with the wrong number or sizes of buffers.
    #[error("kernel {kernel}: {what}")]
    Launch {
        /// Name of the kernel.
        kernel: &'static str,
        /// What does not fit.
        what: String,
    },
    /// The adapter can't run a kernel of this size.
    #[error("kernel {kernel} needs {needs} {what} and the adapter has {has}; use a smaller batch, or --device cpu")]
    Limit {
        /// Name of the kernel.
        kernel: &'static str,
        /// Which limit.
        what: &'static str,
        /// What the kernel needs.
        needs: u64,
        /// What the adapter has.
        has: u64,
    },
    /// The adapter lacks what a shader is written for.
    #[error("kernel {kernel}: {file} needs {what}, which the adapter does not have; use --device cpu")]
    Lack {
        /// Name of the kernel.
        kernel: &'static str,
        /// The shader.
        file: &'static str,
        /// What it needs.
        what: &'static str,
    },
    /// A shader that can't be compiled.
    #[error(transparent)]
    Shader(Box<ShaderError>),
    /// Main memory without room.
    #[error("no memory for a buffer of {bytes} bytes; use a smaller model, batch or length")]
    Memory {
        /// Size of the buffer.
        bytes: u64,
    },
    /// Two devices met in one operation.
    #[error("a buffer of device {0} was used on another device; copy it there first")]
    WrongDevice(String),
    /// What went wrong in one of many random launches.
    #[error("{source}; again alone with --draws 1 --seed {seed}")]
    Draw {
        /// The draw's own seed.
        seed: u32,
        /// What went wrong.
        source: Box<KernelError>,
    },
    /// An adapter that can't tell how long something took.
    #[error("{0} has no timestamps; profile on another device")]
    NoTimestamps(String),
    /// A launch wrote something that is no number; found by [`crate::Device::watch_finite`].
    #[error("kernel {kernel} wrote {value} to element {element} of {output}, at {place}")]
    NotFinite {
        /// The kernel.
        kernel: &'static str,
        /// The output.
        output: &'static str,
        /// Which element.
        element: usize,
        /// NaN or infinite.
        value: f32,
        /// What the model was doing.
        place: String,
    },
}

/// What is wrong with a shader, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel {kernel}: {place}: {what}")]
pub struct ShaderError {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// The file, and where they are known the line and the column: `FILE:LINE:COLUMN`.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// That line of the file with a caret under what is wrong, and notes; empty without a line.
    pub excerpt: Vec<String>,
}

impl KernelError {
    /// Lines that show where in a shader an error is; few errors have any.
    pub fn excerpt(&self) -> &[String] {
        match self {
            Self::Shader(error) => &error.excerpt,
            Self::Draw { source, .. } => source.excerpt(),
            _ => &[],
        }
    }
}
