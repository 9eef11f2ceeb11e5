//! The model: a pre-trained decoder as the frozen backbone, experts beside its blocks, and gates.
//!
//! A decoder of L layers is cut into m blocks of L/m layers. In block i, x being the stream that enters it,
//!
//! ```text
//! y = a_bb f_bb(x) + sum_j a_j f_j(x),   (a_bb, a_1 .. a_N) = softmax(x W_i^T + b_i)   per token
//! ```
//!
//! (arXiv 2410.10181, section 2). f_bb are the block's own layers, f_j the layers of expert j; all branches read the same
//! x, and meet nowhere else. Every branch carries the residual stream, f = x + Delta, and the weights sum to 1, so the
//! stream itself passes unscaled: y = x + a_bb Delta_bb + sum_j a_j Delta_j.

mod adapter;
mod attention;
mod backbone;
mod bottleneck;
mod cache;
mod config;
mod context;
mod decoder;
mod expert;
mod family;
mod feed_forward;
mod folder;
mod gate;
mod gating;
mod gguf;
mod half;
mod held;
mod init;
mod layer;
mod lora;
mod merge;
mod norm;
mod projection;
mod remote;
mod rope;
mod served;
mod sets;
mod switch;
mod weights;

pub(crate) use adapter::save as save_adapter;
pub use adapter::{Adapted, LoraInfo, add_lora};
pub use attention::Attention;
pub use backbone::Backbone;
pub(crate) use backbone::{base_sha256, rotations, weight_bytes};
pub use bottleneck::add_bottlenecks;
pub(crate) use bottleneck::save as save_bottlenecks;
pub use cache::{Cache, Span};
pub use config::{Biases, Config, NormKind};
pub use context::Context;
pub use decoder::{Model, Output, Trained};
pub(crate) use expert::{BASE_CONFIG, PRIVATE, WEIGHTS as EXPERT_WEIGHTS, save as save_expert};
pub use expert::{Expert, ExpertInfo, make_private};
pub use family::Family;
pub use feed_forward::FeedForward;
pub(crate) use folder::{base_of, open_held, open_on_held, save_composed};
pub use folder::{open, open_on, open_with_experts};
pub use gate::{Gate, GateRule};
pub use gating::{Gating, Reads};
pub use gguf::open_tokenizer;
pub(crate) use gguf::{is_gguf, tokenizer_file};
pub use half::Halves;
pub(crate) use held::Held;
pub use init::{ExpertInit, Random};
pub use layer::{Half, Layer};
pub use merge::merge_lora;
pub use norm::Norm;
pub use projection::Projection;
pub use remote::{RemoteExpert, Rows};
pub use rope::{Rope, Scaling};
pub use served::{Chunk, ServedExpert};
pub use sets::{ExpertSet, Group};
pub use weights::Rule;
pub(crate) use weights::sha256_of;
