//! bench
use crate::Error;
/// x
#[derive(clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn main(_: Arguments) -> Result<(), Error> { Ok(()) }
