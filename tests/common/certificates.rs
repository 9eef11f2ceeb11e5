//! Self-signed certificates, for the tests of processes that talk to each other.

use std::path::Path;

/// Writes NAME.pem and NAME.key for each name.
pub fn certificates(folder: &Path, names: &[&str]) {
    for name in names {
        let made = rcgen::generate_simple_self_signed(vec!["mode".into()]).expect("a certificate");
        std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).expect("a file");
        std::fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).expect("a file");
    }
}
