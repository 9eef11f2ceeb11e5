//! Where `mode mesh run` and `show` step: what the command line says, or else the recipe's `[mesh]`.

use crate::Error;
use crate::cli::open::Fleet;
use crate::mesh::{EmulatedLink, Options};
use crate::train::Recipe;
use mode_tensor::Device;
use std::path::Path;

/// A layout and its devices.
#[derive(clap::Args)]
pub(super) struct PlaceArguments {
    /// The layout: spmd-4, spmd-2x2, 4+2+2, .. or a .toml file [default: the recipe's mesh.layout]
    #[arg(long)]
    mesh: Option<String>,
    /// Where each device computes: cpu, gpu or gpu:N; one for all, or each of them [default: the recipe's mesh.devices, or cpu]
    #[arg(long)]
    device: Vec<String>,
    /// Threads of each CPU device [default: the recipe's mesh.threads, or 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    threads: Option<u64>,
    /// Emulate a link on which a device sends, and receives, so many bytes a second
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = rate)]
    link: Option<f64>,
}

/// A link's rate.
fn rate(text: &str) -> Result<f64, String> {
    let wrong = || "give bytes a second, a positive number such as 1e9".to_string();
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 1.0).ok_or_else(wrong)
}

/// What was made of them.
pub(super) struct Places {
    /// What the layout is called.
    pub(super) layout: String,
    pub(super) options: Options,
    names: Vec<String>,
    fleet: Fleet,
}

impl PlaceArguments {
    /// Where a recipe, which was read from `file`, is stepped.
    pub(super) fn places(self, recipe: &Recipe, file: &Path) -> Result<Places, Error> {
        let own = recipe.mesh.as_ref();
        let Some(layout) = self.mesh.or_else(|| own.map(|mesh| mesh.layout.clone())) else {
            return Err(Error::content(file, "has no [mesh] with a layout; give one as --mesh"));
        };
        let link = self.link.map(|bytes_per_second| EmulatedLink { bytes_per_second, latency: 0.0 });
        let threads = self.threads.map_or_else(|| own.map_or(1, |mesh| mesh.threads), |threads| threads as usize);
        let names = match (self.device.is_empty(), own) {
            (true, Some(mesh)) => mesh.devices.clone(),
            (true, None) => vec!["cpu".into()],
            (false, _) => self.device,
        };
        Ok(Places { layout, options: Options { threads, link }, names, fleet: Fleet::default() })
    }
}

impl Places {
    /// The devices of a layout of so many.
    pub(super) fn devices(&self, count: usize) -> Result<Vec<Device>, Error> {
        self.fleet.devices(&self.names, count)
    }

    /// What the devices are, in words.
    pub(super) fn words(&self) -> String {
        let each =
            if self.options.threads == 1 { "one thread".into() } else { format!("{} threads", self.options.threads) };
        let any = |word: &str| self.names.iter().any(|name| name.starts_with(word));
        match (self.names.iter().all(|name| name == "cpu"), any("gpu")) {
            (true, _) => format!("CPU devices of {each} each"),
            (false, true) => format!("{}, GPUs waited for at each entry's end", self.names.join(", ")),
            (false, false) => self.names.join(", "),
        }
    }
}
