//! A process's connections, from the first greeting to the last device's end.

use super::router::{Begun, Routed, Router, Way};
use super::tls::Identity;
use super::{FLUSH, Packet};
use crate::Error;
use crate::mesh::transport::Hello;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tonic::Streaming;

/// Where a line for people goes.
pub(crate) type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// What a process brings with it.
pub(crate) struct Setting {
    /// What the others must have too.
    pub(crate) hello: Hello,
    /// What messages call the layout's devices.
    pub(crate) names: Vec<String>,
    /// Those of this process.
    pub(crate) here: Vec<usize>,
    /// Who this process is.
    pub(crate) identity: Identity,
    /// How long another device or process may be silent.
    pub(crate) patience: Duration,
    /// Where lines for people go.
    pub(crate) say: Say,
}

/// A connection that has been greeted on.
pub(super) struct Joined {
    /// The devices behind it.
    pub(super) behind: Vec<usize>,
    pub(super) way: Way,
    pub(super) packets: Streaming<Packet>,
}

/// Connections that bring devices elsewhere, which go on in threads of their own.
pub(crate) struct Session {
    runtime: Arc<Runtime>,
    readers: Vec<JoinHandle<()>>,
    accepts: Option<Accepts>,
}

/// Where connections are accepted: who does, and what tells that the last has ended.
pub(super) type Accepts = (JoinHandle<()>, Receiver<()>);

impl Session {
    /// Starts to read what comes, and gives the transports of this process's devices.
    pub(super) fn new(
        runtime: Arc<Runtime>,
        setting: &Setting,
        joined: Vec<Joined>,
        accepts: Option<Accepts>,
    ) -> (Self, Vec<(usize, Routed)>) {
        let mut ways = vec![None; setting.names.len()];
        for Joined { behind, way, .. } in &joined {
            behind.iter().for_each(|&device| ways[device] = Some(way.clone()));
        }
        let (router, transports) = Router::new(setting.names.clone(), &setting.here, ways, setting.patience);
        // A way that is kept here would keep its stream from ending.
        let read = |Joined { behind, packets, .. }: Joined| runtime.spawn(read(router.clone(), behind, packets));
        let readers = joined.into_iter().map(read).collect();
        (Self { runtime, readers, accepts }, transports)
    }

    /// Waits, for a while, until all that was sent has left and all others have said that they are done.
    pub(crate) fn finish(self) {
        let Self { runtime, readers, accepts } = self;
        let end = async {
            for reader in readers {
                let _ = reader.await;
            }
            if let Some((accepts, mut last)) = accepts {
                accepts.abort();
                last.recv().await;
            }
        };
        // Who can't be told any more is not waited for.
        let _ = runtime.block_on(async { tokio::time::timeout(FLUSH, end).await });
        // Where others are waited for it goes on.
        if let Some(runtime) = Arc::into_inner(runtime) {
            runtime.shutdown_background();
        }
    }
}

/// A runtime of one thread: what it does is wait.
pub(super) fn runtime() -> Result<Runtime, Error> {
    let made =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("mesh wire").enable_all().build();
    made.map_err(|error| Error::Setting(format!("a thread for connections: {error}; use fewer")))
}

/// Takes all that comes over a connection.
async fn read(router: Arc<Router>, behind: Vec<usize>, mut packets: Streaming<Packet>) {
    let mut begun = Begun::new();
    let what = loop {
        router.room(&behind).await;
        let arrived = match packets.message().await {
            Ok(Some(packet)) => router.arrived(&behind, &mut begun, packet),
            Ok(None) => Err("is gone: its process has closed the connection".into()),
            Err(status) => Err(format!("is gone: {}", root(&status))),
        };
        if let Err(what) = arrived {
            break what;
        }
    };
    router.lose(&behind, &what);
}

/// What lies at the bottom of an error.
pub(super) fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}
