//! A model that asks an expert's owner (`client.rs`), and the owner (`server.rs`), over a transport; what crosses: `message.rs`.

mod client;
mod message;
mod server;

pub use client::ExpertClient;
#[cfg(feature = "net")]
pub(crate) use message::said;
pub use server::answer;
