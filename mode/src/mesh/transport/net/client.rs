//! The main process, which calls those that wait.

use super::router::Routed;
use super::session::{Joined, Session, Setting, root, runtime};
use super::{Begin, Fact, GREET, Greeting, MOST_PACKET, PATH, PING, PONG, Packet, WINDOW, What};
use crate::Error;
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// How long a process that is not there yet is left alone.
const PAUSE: Duration = Duration::from_millis(200);

/// A process that waits.
pub(crate) struct Peer {
    /// What it is: "mesh 'experts-1'" or "expert 'law'".
    pub(crate) name: String,
    /// Where.
    pub(crate) address: String,
    /// The certificate that it has to show.
    pub(crate) certificate: CertificateDer<'static>,
    /// The numbers of its devices.
    pub(crate) devices: Vec<usize>,
}

/// Calls all of them, and waits for those that are not there yet.
///
/// # Errors
/// One that can't be reached, is not who it should be, or has not the same as this process.
pub(crate) fn connect(peers: &[Peer], setting: Setting) -> Result<(Session, Vec<(usize, Routed)>), Error> {
    let runtime = runtime()?;
    let call = |peer: &Peer| {
        let wrong = |what: String| Error::Setting(format!("{} at {} {what}", peer.name, peer.address));
        runtime.block_on(peer.join(&setting)).map_err(wrong)
    };
    let joined = peers.iter().map(call).collect::<Result<Vec<_>, _>>()?;
    for Joined { way, .. } in &joined {
        // One that is gone by now is found to be so by who reads from it.
        let _ = way.send(What::Begin(Begin {}).into());
    }
    Ok(Session::new(Arc::new(runtime), &setting, joined, None))
}

impl Peer {
    /// Calls it; an error in words that its name goes before.
    async fn join(&self, setting: &Setting) -> Result<Joined, String> {
        let stream = self.reach(setting).await?;
        let mut grpc = Grpc::new(channel(stream).await?).max_decoding_message_size(MOST_PACKET);
        let (way, to_send) = unbounded_channel();
        let fact = |(what, which): &(String, String)| Fact { what: what.clone(), which: which.clone() };
        let greeting = Greeting { facts: setting.hello.0.iter().map(fact).collect(), name: self.name.clone() };
        way.send(What::Greeting(greeting).into()).map_err(|error| error.to_string())?;
        let greet = async {
            grpc.ready().await.map_err(|error| strange(&error))?;
            let request = Request::new(UnboundedReceiverStream::new(to_send));
            let codec = ProstCodec::<Packet, Packet>::default();
            let answer = grpc.streaming(request, PathAndQuery::from_static(PATH), codec).await;
            answer.map_err(|status| match status.code() {
                Code::FailedPrecondition => status.message().to_string(),
                _ => strange(&status),
            })
        };
        let answer = self.patiently(setting, 2 * GREET, greet).await?;
        Ok(Joined { behind: self.devices.clone(), way, packets: answer?.into_inner() })
    }

    /// A connection to it on which both sides have shown who they are.
    async fn reach(&self, setting: &Setting) -> Result<TlsStream<TcpStream>, String> {
        let config = setting.identity.client(&self.certificate).map_err(|error| error.to_string())?;
        let name = ServerName::try_from("mode").map_err(|error| error.to_string())?;
        let began = Instant::now();
        let mut told = false;
        let stream = loop {
            let error = match timeout(PONG, TcpStream::connect(&self.address)).await {
                Ok(Ok(stream)) => break stream,
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            let waits = matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut);
            if !waits || began.elapsed() > setting.patience {
                return Err(format!("can't be reached: {error}; start its process, and see --connect"));
            }
            if !std::mem::replace(&mut told, true) {
                (setting.say)(&format!("waiting for {} at {}", self.name, self.address));
            }
            tokio::time::sleep(PAUSE).await;
        };
        let _ = stream.set_nodelay(true);
        let shake = async {
            let mut stream = TlsConnector::from(config).connect(name, stream).await?;
            // Whoever is called looks at the caller's certificate last; its first word, HTTP/2's settings, says that all is well.
            match stream.fill_buf().await?.is_empty() {
                true => Err(io::ErrorKind::UnexpectedEof.into()),
                false => Ok(stream),
            }
        };
        self.patiently(setting, GREET, shake).await?.map_err(|error| refused(&error))
    }

    /// What comes within `most`, or within the patience that there is, if that is less; people are told of a wait.
    async fn patiently<T>(
        &self,
        setting: &Setting,
        most: Duration,
        what: impl Future<Output = T>,
    ) -> Result<T, String> {
        let (began, mut what) = (Instant::now(), pin!(what));
        if let Ok(found) = timeout(PING, &mut what).await {
            return Ok(found);
        }
        (setting.say)(&format!("{} at {} is there, and does not answer yet", self.name, self.address));
        let rest = most.min(setting.patience).saturating_sub(began.elapsed());
        timeout(rest, what).await.map_err(|_| "does not answer".into())
    }
}

/// HTTP/2 on a connection that is there.
async fn channel(stream: TlsStream<TcpStream>) -> Result<Channel, String> {
    let mut stream = Some(TokioIo::new(stream));
    // It is not made a second time: what was on its way is lost.
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { stream }
    });
    let endpoint = Endpoint::from_static("http://mode")
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    endpoint.connect_with_connector(connector).await.map_err(|error| strange(&error))
}

/// Why a connection was not made.
fn refused(error: &io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "shows another certificate than that of --peer; give the one of its --certificate".into()
        }
        Some(rustls::Error::AlertReceived(_)) => {
            format!("does not take this process's certificate ({error}); give it as --peer there")
        }
        _ => strange(error),
    }
}

/// What else may be wrong with whoever is called.
fn strange(error: &(dyn std::error::Error + 'static)) -> String {
    format!("does not talk as it should: {}; see --connect", root(error))
}
