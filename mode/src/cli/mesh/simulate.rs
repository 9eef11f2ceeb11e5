//! `mode mesh simulate`: figures from the planner and the simulator alone.

use crate::cli::print_json;
use crate::mesh::{fig4, scale};
use crate::{Error, files};
use std::path::PathBuf;

/// A figure.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// fig4, the paper's figure; or scale: the paper's model on 64 to 4,096 chips, on paper
    #[arg(value_parser = ["fig4", "scale"])]
    figure: String,
    /// Draw it into this file as well, an SVG
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: Arguments) -> Result<(), Error> {
    if arguments.figure == "scale" {
        return scale(&arguments);
    }
    if let Some(out) = &arguments.out {
        files::check_output(out, arguments.force)?;
    }
    let figure = fig4::figure()?;
    if let Some(out) = &arguments.out {
        files::write(out, fig4::plot(&figure).map_err(|what| Error::content(out, what))?)?;
    }
    if arguments.json {
        return print_json(&figure);
    }
    say!("{}", fig4::table(&figure));
    if let Some(out) = &arguments.out {
        say!("written  {}", out.display());
    }
    Ok(())
}

/// A table of the best layouts for many chips.
fn scale(arguments: &Arguments) -> Result<(), Error> {
    if arguments.out.is_some() {
        return Err(Error::Setting("--out: scale is a table and draws nothing; leave it out".into()));
    }
    let found = scale::scale();
    if arguments.json {
        return print_json(&found);
    }
    say!(
        "On paper: the paper's model on TPUv5e, a window of 2,048 tokens a chip, the best SPMD and MPMD layouts by this project's schedule."
    );
    say!(
        "{:>7} {:>6} {:24} {:>8} {:>10} {:>9} {:>8} | {:>8} {:>6} {:>8} {:>6} | {:>8} {:>8} {:>6} | {:>9}",
        "experts",
        "chips",
        "layout of a replica",
        "replicas",
        "ms a step",
        "Mtokens/s",
        "GB chip",
        "backbone",
        "merges",
        "collect.",
        "idle",
        "expert",
        "collect.",
        "idle",
        "gradients"
    );
    for of in &found {
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        say!(
            "{:>7} {:>6} {:24} {:>8} {:>10.0} {:>9.3} {:>8} | {:>8} {:>6} {:>8} {:>6} | {:>8} {:>8} {:>6} | {:>9}",
            of.experts,
            of.chips,
            of.layout,
            of.replicas,
            of.milliseconds,
            of.tokens_per_second / 1e6,
            format!("{:.1}{}", of.bytes / 1e9, if of.fits { "" } else { "!" }),
            percent(of.backbone.computing),
            percent(of.backbone.merging),
            percent(of.backbone.collectives),
            percent(of.backbone.idle),
            percent(of.expert.computing),
            percent(of.expert.collectives),
            percent(of.expert.idle),
            percent(of.gradients)
        );
    }
    say!(
        "!: more than a chip of 16 GB holds, with activations of f32 and halves of layers computed again; none of that kind fits"
    );
    Ok(())
}
