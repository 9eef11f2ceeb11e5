//! Flags of commands that talk to other processes over gRPC and TLS: who this process is, and whom it calls.

use crate::Error;
#[cfg(feature = "net")]
use crate::mesh::Hello;
use crate::mesh::PATIENCE;
#[cfg(feature = "net")]
use crate::mesh::net::{Identity, Say, Setting, read_certificate};
use std::path::PathBuf;
#[cfg(feature = "net")]
use std::{path::Path, sync::Arc, time::Duration};
#[cfg(feature = "net")]
use tokio_rustls::rustls::pki_types::CertificateDer;

/// Who this process is, and whom it believes.
#[derive(clap::Args)]
pub(crate) struct Own {
    /// This process's certificate, a PEM file
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its private key, a PEM file
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The only certificate that the other process may show; who calls says whose: NAME=FILE, once for each
    #[arg(long = "peer", value_name = "FILE")]
    peers: Vec<String>,
    /// Seconds without a word after which another process is given up; twice as many in `mode worker --listen`
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) patience: u64,
}

/// The same, and whom it calls.
#[derive(clap::Args)]
pub(crate) struct Calls {
    /// Reach another process here, by the name of its mesh or expert; may be repeated
    #[arg(long, value_name = "NAME=HOST:PORT", requires_all = ["certificate", "key", "peers"])]
    pub(super) connect: Vec<String>,
    #[command(flatten)]
    pub(super) own: Own,
}

/// A process that is to be called.
#[cfg(feature = "net")]
pub(crate) struct Called {
    /// Which of those that there are.
    pub(crate) number: usize,
    pub(crate) address: String,
    /// What it has to show.
    pub(crate) certificate: CertificateDer<'static>,
}

#[cfg(feature = "net")]
impl Own {
    /// Who this process is.
    pub(crate) fn identity(&self) -> Result<Identity, Error> {
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Identity::read(certificate, key),
            _ => Err(Error::Setting("--certificate and --key: give both".into())),
        }
    }

    /// What it brings with it: messages call all devices `names`, and those of this process are `here`.
    pub(crate) fn setting(&self, identity: Identity, hello: Hello, names: Vec<String>, here: Vec<usize>) -> Setting {
        let say = Arc::new(|line: &str| tell!("{}", super::printable(line))) as Say;
        Setting { hello, names, here, identity, patience: Duration::from_secs(self.patience), say }
    }

    /// The certificate of the only process that may call.
    pub(crate) fn caller(&self) -> Result<CertificateDer<'static>, Error> {
        match self.peers.as_slice() {
            [peer] => read_certificate(Path::new(peer)),
            _ => Err(Error::Setting("--peer: give the caller's certificate, and no other".into())),
        }
    }
}

/// The number of this name among those that there are of a kind, such as "mesh".
#[cfg(feature = "net")]
pub(crate) fn number_of(kind: &str, known: &[String], name: &str, flag: &str) -> Result<usize, Error> {
    known.iter().position(|known| known == name).ok_or_else(|| {
        let nearest = super::nearest(name, known.iter().map(String::as_str));
        let advice = if known.is_empty() { "there is none".into() } else { format!("did you mean '{nearest}'?") };
        Error::Setting(format!("{flag} {name}: there is no such {kind}; {advice}"))
    })
}

impl Calls {
    /// The names of those that are called.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        #[cfg(not(feature = "net"))]
        if !self.connect.is_empty() {
            return Err(without_grpc());
        }
        self.connect.iter().map(|text| named(text, "--connect").map(|(name, _)| name.to_string())).collect()
    }

    /// Whom to call of those that there are of a kind.
    #[cfg(feature = "net")]
    pub(crate) fn called(&self, kind: &str, known: &[String]) -> Result<Vec<Called>, Error> {
        let numbered = |text: &String, flag: &str| {
            let (name, rest) = named(text, flag)?;
            Ok((number_of(kind, known, name, flag)?, rest.to_string()))
        };
        let certificates =
            self.own.peers.iter().map(|text| numbered(text, "--peer")).collect::<Result<Vec<_>, Error>>()?;
        let meant = self.connect.iter().map(|text| numbered(text, "--connect")).collect::<Result<Vec<_>, Error>>()?;
        let mut all = Vec::new();
        for (i, (number, address)) in meant.iter().enumerate() {
            let (text, name) = (&self.connect[i], &known[*number]);
            if meant.iter().filter(|(other, _)| other == number).count() > 1 {
                let what = format!("--connect {text}: {kind} '{name}' is reached twice; give it one process");
                return Err(Error::Setting(what));
            }
            let mut files = certificates.iter().filter(|(of, _)| of == number).map(|(_, file)| file);
            let (Some(file), None) = (files.next(), files.next()) else {
                return Err(Error::Setting(format!("--connect {text}: give one certificate, --peer {name}=FILE")));
            };
            let (number, address) = (*number, address.clone());
            all.push(Called { number, address, certificate: read_certificate(Path::new(file))? });
        }
        Ok(all)
    }
}

/// NAME=REST.
fn named<'a>(text: &'a str, flag: &str) -> Result<(&'a str, &'a str), Error> {
    let unnamed = || Error::Setting(format!("{flag} {text}: write NAME={text}, with the name of who is there"));
    text.split_once('=').ok_or_else(unnamed)
}

/// What a program says that can't talk to others so.
#[cfg(not(feature = "net"))]
pub(crate) fn without_grpc() -> Error {
    let what = "this program was built without gRPC; build it with `cargo build --release --features net`";
    Error::Setting(what.into())
}
