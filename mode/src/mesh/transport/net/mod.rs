//! Meshes in processes of their own, over gRPC and TLS: the main process hosts the backbone's mesh, and every other whose process does
//! not wait elsewhere; it joins each of those that do by one call, `/mode.Mesh/Join`, whose two streams carry [`Packet`]s both ways.
//!
//! The owner of an expert that answers others waits and is called in the same way, and is device 1 of two.
//!
//! The caller's first packet is a [`Greeting`], which the other side compares with what it has itself, the second a [`Begin`], when all
//! others are there. Then come pieces of messages, and of each device the word that it has ended. What one worker's device sends another's goes through the main process. Inside a process
//! devices reach each other, and what arrives from elsewhere, by the queues of `local.rs`; `router.rs` has the ends of those elsewhere.
//!
//! Both sides show a certificate, and take no other than the one they were given (`tls.rs`). A connection without an answer to a ping is
//! a broken one, and with it all devices behind it are gone; what is gone is passed on, so that nobody waits for it.

mod client;
mod line;
mod listen;
mod router;
mod session;
mod tls;

pub(crate) use client::{Peer, connect};
pub(crate) use line::Line;
pub(crate) use listen::{Door, listen};
pub(crate) use router::Routed;
pub(crate) use session::{Say, Session, Setting};
pub(crate) use tls::{Identity, read_certificate};

use std::time::Duration;

/// The one call.
const PATH: &str = "/mode.Mesh/Join";

/// Bytes of a message in one packet at the most.
const PIECE: usize = 1 << 20;

/// Bytes of a packet at the most; a longer one breaks the connection.
const MOST_PACKET: usize = PIECE + 1024;

/// Bytes of a message at the most; one that goes on beyond breaks the connection.
const MOST_MESSAGE: usize = 1 << 30;

/// Bytes of messages that devices here have not taken before no more is read of their connection while all compute; the sender keeps the rest.
const MOST_QUEUED: usize = 256 << 20;

/// Bytes that may be on their way before the receiver has taken them.
const WINDOW: u32 = 8 << 20;

/// How often a connection is tried with a ping, and how long its answer may take.
const PING: Duration = Duration::from_secs(3);
const PONG: Duration = Duration::from_secs(5);

/// How long what was said last may take to leave.
const FLUSH: Duration = Duration::from_secs(3);

/// How long each side may take to show a certificate and to greet.
const GREET: Duration = Duration::from_secs(10);

/// What a stream is made of.
#[derive(Clone, PartialEq, prost::Message)]
struct Packet {
    #[prost(oneof = "What", tags = "1, 2, 3, 4")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(message, tag = "1")]
    Greeting(Greeting),
    #[prost(message, tag = "2")]
    Piece(Piece),
    #[prost(message, tag = "3")]
    Ended(Ended),
    #[prost(message, tag = "4")]
    Begin(Begin),
}

/// What the caller has, and whom it means to call.
#[derive(Clone, PartialEq, prost::Message)]
struct Greeting {
    #[prost(message, repeated, tag = "1")]
    facts: Vec<Fact>,
    /// "mesh 'experts-1'" or "expert 'law'".
    #[prost(string, tag = "2")]
    name: String,
}

/// One of the things that both sides must have alike.
#[derive(Clone, PartialEq, prost::Message)]
struct Fact {
    #[prost(string, tag = "1")]
    what: String,
    #[prost(string, tag = "2")]
    which: String,
}

/// What the caller says once it has reached all others.
#[derive(Clone, PartialEq, prost::Message)]
struct Begin {}

/// A part of a message from one device to another: f32, little-endian.
#[derive(Clone, PartialEq, prost::Message)]
struct Piece {
    #[prost(uint32, tag = "1")]
    from: u32,
    #[prost(uint32, tag = "2")]
    to: u32,
    /// Whether the message ends with it.
    #[prost(bool, tag = "3")]
    last: bool,
    #[prost(bytes = "vec", tag = "4")]
    bytes: Vec<u8>,
}

/// A device that sends nothing more.
#[derive(Clone, PartialEq, prost::Message)]
struct Ended {
    #[prost(uint32, tag = "1")]
    device: u32,
    /// What has become of it, where its process can't say so itself; else empty.
    #[prost(string, tag = "2")]
    what: String,
}

impl From<What> for Packet {
    fn from(what: What) -> Self {
        Self { what: Some(what) }
    }
}
