//! The hardware that a schedule is priced on: a TOML file with rates of devices and links.
//!
//! ```toml
//! name = "two cores of a laptop"
//!
//! [device]                           # each device; [experts] may say otherwise of those of other meshes than the backbone's
//! matmul_flop_per_second = 60e9
//! attention_flop_per_second = 20e9
//! bytes_per_second = 8e9             # of kernels that memory bounds
//! launch_seconds = 2e-6
//! memory_bytes = 12e9
//! count = 2                          # how many there are
//!
//! [host]                             # only where devices share the cores of one machine
//! cores = 2                          # of them compute at once
//! together = 0.9                     # each one's speed then, as a share of one's alone
//! message_bytes_per_second = 4e9     # what a device copies itself of what it sends and receives
//! message_seconds = 20e-6            # what it takes for each message besides
//!
//! [within]                           # the link between devices of a mesh, [experts_within] of another mesh than the backbone's where
//!                                    # that is another; [between]: from mesh to mesh
//! bytes_per_second = 40e9            # that each device sends
//! seconds = 5e-6                     # that each message is on its way besides; those to several devices are so at once
//! ```
//!
//! Where both links are the same, they are one, on which collectives and messages to other meshes take turns.

use crate::mesh::plan::{Layout, Mesh};
use crate::set::{from_table, located};
use crate::{Error, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Devices and links, by their rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// What it is called.
    pub name: String,
    /// Each device.
    pub device: Rates,
    /// Devices of other meshes than the backbone's, where they are of another kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<Rates>,
    /// The machine, where devices share its cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Between devices of a mesh; none for memory that they share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<LinkRate>,
    /// Between devices of another mesh than the backbone's, where that is another link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts_within: Option<LinkRate>,
    /// From mesh to mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between: Option<LinkRate>,
}

/// A device's rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// FLOP a second of products of matrices.
    pub matmul_flop_per_second: f64,
    /// FLOP a second of attention.
    pub attention_flop_per_second: f64,
    /// Bytes a second of what memory bounds.
    pub bytes_per_second: f64,
    /// Seconds of a launch besides.
    pub launch_seconds: f64,
    /// Bytes of memory.
    pub memory_bytes: f64,
    /// How many such devices there are; any number if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// A machine whose cores its devices share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Devices that compute at once; more take turns.
    pub cores: f64,
    /// The speed of each when all cores compute, as a share of one's alone: they share caches, memory and heat.
    #[serde(default = "whole")]
    pub together: f64,
    /// Bytes a second that a device copies itself of what it sends or receives.
    pub message_bytes_per_second: f64,
    /// Seconds that a device takes for each message besides.
    pub message_seconds: f64,
}

/// A link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkRate {
    /// Bytes a second that a device sends.
    pub bytes_per_second: f64,
    /// Seconds that each message is on its way besides; those to several devices are so at once.
    pub seconds: f64,
}

fn whole() -> f64 {
    1.0
}

impl Host {
    /// The speed of each of so many devices that compute.
    pub fn speed(&self, computing: usize) -> f64 {
        let busy = (computing as f64).min(self.cores);
        let shared = if self.cores > 1.0 { (busy - 1.0).max(0.0) / (self.cores - 1.0) } else { 0.0 };
        (1.0 - shared * (1.0 - self.together)) * (self.cores / computing.max(1) as f64).min(1.0)
    }
}

impl Hardware {
    /// Reads a file.
    ///
    /// # Errors
    /// No such file, a broken one, or a rate that is no positive number.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |what: String| Error::content(path, what);
        let text = files::read_text(path)?;
        let table = text.parse().map_err(|e| wrong(located(&text, &e)))?;
        let hardware: Self = from_table(table).map_err(wrong)?;
        hardware.check().map_err(wrong)?;
        Ok(hardware)
    }

    fn check(&self) -> Result<(), String> {
        let rates = |table: &str, rates: &Rates| {
            [
                (format!("{table}.matmul_flop_per_second"), rates.matmul_flop_per_second),
                (format!("{table}.attention_flop_per_second"), rates.attention_flop_per_second),
                (format!("{table}.bytes_per_second"), rates.bytes_per_second),
                (format!("{table}.memory_bytes"), rates.memory_bytes),
            ]
        };
        let mut positive: Vec<(String, f64)> = rates("device", &self.device).into();
        positive.extend(self.experts.iter().flat_map(|experts| rates("experts", experts)));
        for (table, link) in self.links() {
            positive.extend(link.iter().map(|link| (format!("{table}.bytes_per_second"), link.bytes_per_second)));
        }
        if let Some(host) = &self.host {
            positive.push(("host.cores".into(), host.cores));
            positive.push(("host.together".into(), host.together));
            positive.push(("host.message_bytes_per_second".into(), host.message_bytes_per_second));
        }
        if let Some((key, value)) = positive.into_iter().find(|(_, value)| !(1e-3..=1e24).contains(value)) {
            return Err(format!("{key} is {value}; give a positive number, from 0.001 to 1e24"));
        }
        if let Some(host) = self.host.as_ref().filter(|host| host.together > 1.0) {
            return Err(format!("host.together is {}, a share; give 1 or less", host.together));
        }
        let links = self.links().into_iter().filter_map(|(_, link)| link.as_ref()).map(|link| link.seconds);
        let launches = std::iter::once(&self.device).chain(&self.experts).map(|rates| rates.launch_seconds);
        let seconds = launches.chain(links).chain(self.host.iter().map(|host| host.message_seconds));
        if let Some(value) = seconds.into_iter().find(|value| !(0.0..=1e6).contains(value)) {
            return Err(format!("seconds of a launch, a message or a link are {value}; give 0 or more, up to 1e6"));
        }
        if self.name.chars().any(char::is_control) {
            return Err(format!("name is {:?}; give it a word without control characters", self.name));
        }
        match std::iter::once(&self.device).chain(&self.experts).any(|rates| rates.count == Some(0)) {
            true => Err("count is 0; give 1 or more devices, or leave it out".into()),
            false => Ok(()),
        }
    }

    fn links(&self) -> [(&'static str, &Option<LinkRate>); 3] {
        [("within", &self.within), ("experts_within", &self.experts_within), ("between", &self.between)]
    }

    /// How many devices there are in all, if that is known.
    pub fn count(&self) -> Option<usize> {
        let experts = self.experts.as_ref().map_or(Some(0), |experts| experts.count);
        Some(self.device.count? + experts?)
    }

    /// Whether there are as many devices as a layout has.
    pub fn has(&self, layout: &Layout) -> bool {
        let experts: usize = layout.meshes[1..].iter().map(Mesh::size).sum();
        let (own, others) = match &self.experts {
            Some(experts) => (self.device.count, experts.count),
            None => (self.device.count.map(|count| count.saturating_sub(experts)), None),
        };
        own.is_none_or(|count| layout.meshes[0].size() <= count) && others.is_none_or(|count| experts <= count)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        files::write(path, toml::to_string(self).map_err(|e| Error::content(path, e.to_string()))?)
    }

    /// Rates of the devices of a layout's mesh number `mesh`.
    pub fn rates(&self, mesh: usize) -> &Rates {
        self.experts.as_ref().filter(|_| mesh > 0).unwrap_or(&self.device)
    }

    /// The link between devices of a layout's mesh number `mesh`.
    pub fn within(&self, mesh: usize) -> Option<LinkRate> {
        self.experts_within.filter(|_| mesh > 0).or(self.within)
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulator::tests::hardware;

    #[test]
    fn what_no_clock_or_line_shows_is_refused() {
        let mut good = hardware(None, Some(1e9));
        good.device.bytes_per_second = 1e9;
        assert_eq!(good.check(), Ok(()));
        let [mut launch, mut link, mut name] = [good.clone(), good.clone(), good];
        launch.device.launch_seconds = 1e308;
        link.within.iter_mut().for_each(|link| link.seconds = 1e7);
        name.name = "\u{1b}[31m".into();
        for (hardware, says) in [(launch, "up to 1e6"), (link, "up to 1e6"), (name, "without control characters")] {
            assert!(hardware.check().is_err_and(|error| error.contains(says)), "{says}");
        }
    }
}
