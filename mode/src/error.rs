//! What can go wrong, and with which exit code the program says so.

use mode_autograd::AutogradError;
use mode_kernels::KernelError;
use mode_tensor::TensorError;
use std::path::{Path, PathBuf};

/// An error of the program. Its text is one line that says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor, a file of tensors or a device.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Gradients.
    #[error(transparent)]
    Autograd(AutogradError),
    /// A device.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Text, tokens or their sources.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// The report.
    #[error(transparent)]
    Report(#[from] crate::report::ReportError),
    /// The Hugging Face hub.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// A file or folder that can't be read or written.
    #[error("{}: {source}; check the path, its permissions and the free space", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON file that is broken or lacks a field.
    #[error("{}: {source}", .path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A file whose contents make no sense.
    #[error("{}: {what}", .path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// An adapter made for another base model.
    #[error(
        "{}: made for the base model with hash {wanted:.12}.., but {} has {found:.12}..; use the base model that it was \
         trained on",
        .adapter.display(), .base.display()
    )]
    OtherBase {
        /// The expert, composed model or LoRA.
        adapter: PathBuf,
        /// The base that was given.
        base: PathBuf,
        /// Hash that the adapter names.
        wanted: String,
        /// Hash of the base.
        found: String,
    },
    /// A setting or an argument that can't be.
    #[error("{0}")]
    Setting(String),
    /// A layout that is none, or that can't share out what is to be trained.
    #[error("layout {layout}: {what}")]
    Layout {
        /// Its name.
        layout: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Another device of a mesh, or its process.
    #[error("{device} {what}; the run has stopped, and can be resumed from its last checkpoint")]
    Peer {
        /// Which.
        device: String,
        /// What is wrong with it.
        what: String,
    },
    /// Another device of a mesh that is there and says nothing.
    #[error(
        "{device} has sent nothing for {seconds} s; the run has stopped, and can be resumed from its last checkpoint, with more --patience"
    )]
    Silent {
        /// Which.
        device: String,
        /// For how long.
        seconds: f32,
    },
    /// An expert's owner, whose process was asked for what its layers give.
    #[error("{owner} {what}; see that its `mode expert serve` runs, and ask again")]
    Owner {
        /// Which.
        owner: String,
        /// What is wrong with it.
        what: String,
    },
    /// An expert in another process that is asked for what its layers give, and can't be.
    #[error(
        "expert '{0}' is in another process, to which there is no way; give --connect {0}=HOST:PORT, or leave it out by --without {0}"
    )]
    NoWay(String),
    /// The same where gradients are recorded.
    #[error(
        "expert '{0}' is in another process, through which no gradients go; leave --grad-norms out, and train with `mode worker`"
    )]
    NoGradient(String),
    /// A run's loss stopped being a number.
    #[error("the loss, its gradient or a trained weight is {loss} at step {step}; lower learning_rate, or set clip")]
    NotFinite {
        /// Step, from 1.
        step: u64,
        /// NaN or infinite.
        loss: f32,
    },
    /// The same in mixed precision.
    #[error(
        "the loss in f16, which ends at 65,504, is {loss} at step {step}; set train.precision = \"f32\", lower learning_rate, or set clip"
    )]
    NotFiniteHalf {
        /// Step, from 1.
        step: u64,
        /// NaN or infinite.
        loss: f32,
    },
    /// Gradients that f16 does not hold at any scale of the loss.
    #[error(
        "{skipped} of {step} steps were skipped, the last in a row at the least loss scale, for their gradients overflow f16; set train.precision = \"f32\""
    )]
    NoScale {
        /// Step, from 1.
        step: u64,
        /// Steps skipped.
        skipped: u64,
    },
    /// The first value that is no number, as `--check-nan` finds it.
    #[error("step {step}: {what}; lower learning_rate, set clip, or look at that layer's weights")]
    FirstNotFinite {
        /// Step, from 1.
        step: u64,
        /// Which kernel wrote it, and where.
        what: String,
    },
    /// A model that computes something that is no number.
    #[error("{0}, which is no number: the model's weights are broken, or too large for f32")]
    NotNumbers(String),
    /// Frozen weights that are not the same bits after training: a defect of the program.
    #[error("frozen weights changed while training {0}; please report this")]
    FrozenChanged(String),
    /// A run that was told to stop, and did after saving where it stood.
    #[error("interrupted after step {step}, which {} holds; `mode train` and `mode compose` go on with --resume", .checkpoint.display())]
    Interrupted {
        /// Steps taken.
        step: u64,
        /// Where they are.
        checkpoint: PathBuf,
    },
    /// Several runs that were told to stop, and can be gone on with.
    #[error("interrupted; the same command goes on where it was")]
    Stopped,
    /// A check that failed.
    #[error("{0}")]
    CheckFailed(String),
}

impl From<AutogradError> for Error {
    fn from(error: AutogradError) -> Self {
        match error {
            AutogradError::Tensor(error) => Self::Tensor(error),
            error => Self::Autograd(error),
        }
    }
}

impl Error {
    /// A file or folder and what the system said of it.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }

    /// A file whose contents make no sense.
    pub fn content(path: &Path, what: impl Into<String>) -> Self {
        Self::Content { path: path.into(), what: what.into() }
    }

    /// The same, with the file that a setting stands in.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Setting(what) => Self::content(path, what),
            layout @ Self::Layout { .. } => Self::content(path, layout.to_string()),
            other => other,
        }
    }

    /// Lines that show where in a shader it is; few errors have any.
    pub fn excerpt(&self) -> &[String] {
        match self {
            Self::Kernel(error) | Self::Tensor(TensorError::Kernel(error)) => error.excerpt(),
            _ => &[],
        }
    }

    /// True for training or an evaluation that left no numbers: of a search that is a result, the worst.
    pub(crate) fn is_divergence(&self) -> bool {
        matches!(self, Self::NotFinite { .. } | Self::NotFiniteHalf { .. } | Self::NoScale { .. } | Self::NotNumbers(_))
    }

    /// 1 for a run or check that failed, 2 for bad input.
    pub fn exit_code(&self) -> u8 {
        match self {
            #[cfg(feature = "hub")]
            Self::Hub(error) => error.exit_code(),
            Self::Interrupted { .. } | Self::Stopped => 130,
            Self::NotFinite { .. }
            | Self::Peer { .. }
            | Self::Silent { .. }
            | Self::Owner { .. }
            | Self::NotFiniteHalf { .. }
            | Self::NoScale { .. }
            | Self::FirstNotFinite { .. }
            | Self::NotNumbers(_)
            | Self::FrozenChanged(_)
            | Self::CheckFailed(_) => 1,
            Self::Kernel(KernelError::Gpu(_)) | Self::Tensor(TensorError::Kernel(KernelError::Gpu(_))) => 1,
            _ => 2,
        }
    }
}
