//! A process that waits for others to call: a mesh's for the main one, an expert's owner for one after the other.

use super::router::Routed;
use super::session::{Accepts, Joined, Session, Setting, runtime};
use super::{Fact, GREET, Greeting, MOST_PACKET, PATH, PING, PONG, Packet, WINDOW, What};
use crate::Error;
use crate::mesh::transport::Hello;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Sender, channel, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// Waits at an address until the process with this certificate has called and has the same as this one, which is `name`. Others are
/// refused, and people are told.
///
/// # Errors
/// An address where nobody can wait.
pub(crate) fn listen(
    address: &str,
    name: &str,
    peer: &CertificateDer<'static>,
    setting: Setting,
) -> Result<(Session, Vec<(usize, Routed)>), Error> {
    let door = Door::open(address, name, peer, setting)?;
    let joined = door.next_caller()?;
    let Door { runtime, setting, accepts, .. } = door;
    Ok(Session::new(runtime, &setting, vec![joined], Some(accepts)))
}

/// An address where one process after the other calls.
pub(crate) struct Door {
    runtime: Arc<Runtime>,
    setting: Setting,
    at: SocketAddr,
    desk: Arc<Desk>,
    accepts: Accepts,
}

impl Door {
    /// Accepts connections of the process with this certificate.
    ///
    /// # Errors
    /// An address where nobody can wait.
    pub(crate) fn open(
        address: &str,
        name: &str,
        peer: &CertificateDer<'static>,
        setting: Setting,
    ) -> Result<Self, Error> {
        let wrong = |what: String| Error::Setting(format!("--listen {address}: {what}"));
        let acceptor = TlsAcceptor::from(setting.identity.server(peer).map_err(|error| wrong(error.to_string()))?);
        let runtime = runtime()?;
        let listener = runtime.block_on(TcpListener::bind(address));
        let listener =
            listener.map_err(|error| wrong(format!("{error}; give an address of this machine and a free port")))?;
        let at = listener.local_addr().map_err(|error| wrong(error.to_string()))?;
        let (hello, say, open) = (setting.hello.clone(), setting.say.clone(), Mutex::new(None));
        let desk = Arc::new(Desk { name: name.into(), hello, say, open });
        let (alive, last) = channel(1);
        let accepts = runtime.spawn(accept(listener, acceptor, desk.clone(), alive));
        Ok(Self { runtime: Arc::new(runtime), setting, at, desk, accepts: (accepts, last) })
    }

    /// Waits for the next caller that has the same as this process.
    ///
    /// # Errors
    /// A thread for connections that has ended.
    pub(crate) fn next(&self) -> Result<(Session, Vec<(usize, Routed)>), Error> {
        Ok(Session::new(self.runtime.clone(), &self.setting, vec![self.next_caller()?], None))
    }

    fn next_caller(&self) -> Result<Joined, Error> {
        let Setting { names, here, say, patience, .. } = &self.setting;
        let behind: Vec<usize> = (0..names.len()).filter(|device| !here.contains(device)).collect();
        let name = &self.desk.name;
        loop {
            let (join, joined) = oneshot::channel();
            *self.desk.open() = Some((join, behind.clone()));
            say(&format!("{name}: waiting at {}", self.at));
            let nobody = |_| Error::Setting(format!("{name}: nobody accepts connections any more; start it again"));
            let mut joined = self.runtime.block_on(joined).map_err(nobody)?;
            // It waits for others first, for each of them as long as it has patience.
            let wait = patience.saturating_mul(names.len() as u32);
            let first = async { timeout(wait, joined.packets.message()).await };
            match self.runtime.block_on(first) {
                Ok(Ok(Some(Packet { what: Some(What::Begin(_)) }))) => return Ok(joined),
                Ok(_) => say(&format!("{name}: the caller has gone before it began")),
                Err(_) => say(&format!("{name}: the caller has not begun for {} s, and is let go", wait.as_secs())),
            }
        }
    }
}

/// Accepts connections for ever. `alive` is dropped with the last of them.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, desk: Arc<Desk>, alive: Sender<()>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let serve = serve(stream, from, acceptor.clone(), desk.clone(), alive.clone());
                tokio::spawn(serve);
            }
            // As when there are too many open files: it may pass.
            Err(_) => tokio::time::sleep(PING).await,
        }
    }
}

/// One connection, from the first byte to the last.
async fn serve(stream: TcpStream, from: SocketAddr, acceptor: TlsAcceptor, desk: Arc<Desk>, _alive: Sender<()>) {
    let refuse = |what: &str| (desk.say)(&format!("{}: refused {from}, {what}", desk.name));
    let _ = stream.set_nodelay(true);
    let stream = match timeout(GREET, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return refuse(&format!("which is not the process with the certificate of --peer: {error}")),
        Err(_) => return refuse("which has shown no certificate"),
    };
    let serve = |request: hyper::Request<Incoming>| {
        let mut called = Called { desk: desk.clone(), from };
        async move {
            let mut grpc = Grpc::new(ProstCodec::<Packet, Packet>::default()).max_decoding_message_size(MOST_PACKET);
            Ok::<_, Infallible>(match request.uri().path() {
                PATH => grpc.streaming(called, request).await,
                _ => {
                    called.refuse("which asks for what is not there");
                    Status::unimplemented("is not there").into_http()
                }
            })
        }
    };
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .serve_connection(TokioIo::new(stream), hyper::service::service_fn(serve));
    // What breaks a connection is told by the devices behind it.
    let _ = served.await;
}

/// What a caller is compared with, and where the one that is taken goes.
struct Desk {
    name: String,
    hello: Hello,
    say: super::Say,
    open: Mutex<Open>,
}

/// Where the next caller goes, with the devices behind it; nowhere while there is one.
type Open = Option<(oneshot::Sender<Joined>, Vec<usize>)>;

impl Desk {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call.
struct Called {
    desk: Arc<Desk>,
    from: SocketAddr,
}

impl Called {
    /// Tells people, and gives what tells the caller.
    fn refuse(&mut self, what: &str) {
        (self.desk.say)(&format!("{}: refused {}, {what}", self.desk.name, self.from));
    }

    async fn join(mut self, mut packets: Streaming<Packet>) -> Result<Response<Packets>, Status> {
        let first = timeout(GREET, packets.message()).await;
        let Ok(Ok(Some(Packet { what: Some(What::Greeting(greeting)) }))) = first else {
            self.refuse("which does not greet");
            return Err(Status::invalid_argument("takes no call without a greeting"));
        };
        let Greeting { facts, name } = greeting;
        let there = Hello(facts.into_iter().map(|Fact { what, which }| (what, which)).collect());
        if let Some(what) = self.desk.hello.difference(&there) {
            self.refuse(&format!("which {what}"));
            // The caller reads it from the other side.
            return Err(Status::failed_precondition(there.difference(&self.desk.hello).unwrap_or_default()));
        }
        if name != self.desk.name {
            self.refuse(&format!("which takes this for {name}"));
            return Err(Status::failed_precondition(format!("is {}; see --connect", self.desk.name)));
        }
        let Some((join, behind)) = self.desk.open().take() else {
            self.refuse("for another caller is there");
            let what = "has a caller already; start one process for each, or call when that has ended";
            return Err(Status::failed_precondition(what));
        };
        let (way, to_send) = unbounded_channel();
        if join.send(Joined { behind, way, packets }).is_err() {
            return Err(Status::unavailable("has ended"));
        }
        let packets: Packets = Box::pin(UnboundedReceiverStream::new(to_send).map(Ok));
        Ok(Response::new(packets))
    }
}

/// What is sent back.
type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

impl StreamingService<Packet> for Called {
    type Response = Packet;
    type ResponseStream = Packets;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Packets>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Packet>>) -> Self::Future {
        let called = Self { desk: self.desk.clone(), from: self.from };
        Box::pin(called.join(request.into_inner()))
    }
}
