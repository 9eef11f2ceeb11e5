//! Every layout of so many devices that fits a problem, with what a step would take on given hardware: time, and memory of the
//! fullest device.

use super::footprint::footprint;
use super::hardware::Hardware;
use super::layout::Layout;
use super::problem::Problem;
use super::simulate::{Assumed, Priced};
use serde::Serialize;

/// What a layout would take.
#[derive(Debug, Clone, Serialize)]
pub struct Prediction {
    /// Which layout.
    pub layout: String,
    /// How many devices it has.
    pub devices: usize,
    /// Seconds a step.
    pub seconds: f64,
    /// Bytes of the fullest device's memory.
    pub bytes: f64,
    /// The share of the step in which each device computes.
    pub busy: Vec<f64>,
    /// Whether every device's memory holds what it needs.
    pub fits: bool,
}

/// What one layout would take.
pub fn predict(problem: &Problem, layout: &Layout, hardware: &Hardware, weight_bytes: f64) -> Prediction {
    let traced = Priced::new(problem, layout, Assumed::default()).simulate(hardware);
    let (mut most, mut fits, mut all) = (0.0_f64, true, 0.0);
    for (number, mesh) in layout.meshes.iter().enumerate() {
        for device in mesh.devices() {
            let bytes = footprint(problem, layout, device, weight_bytes).bytes();
            (most, all) = (most.max(bytes), all + bytes);
            fits &= bytes <= hardware.rates(number).memory_bytes;
        }
    }
    // Devices that share a machine share its memory.
    fits &= hardware.host.is_none() || all <= hardware.device.memory_bytes;
    Prediction {
        layout: layout.name.clone(),
        devices: layout.devices(),
        seconds: traced.seconds,
        bytes: most,
        busy: traced.busy(),
        fits,
    }
}

/// All layouts of at most so many devices that can share out a problem: SPMD of every grid, and a backbone's mesh of every grid with one
/// to as many meshes as there are experts, each of one size along the tensor axis.
pub fn layouts(problem: &Problem, devices: usize) -> Vec<Layout> {
    let experts = problem.expert_layers.len();
    let mut names = Vec::new();
    for tensor in 1..=devices {
        for data in 1..=devices / tensor {
            let grid = if data == 1 { tensor.to_string() } else { format!("{data}x{tensor}") };
            names.push(format!("spmd-{grid}"));
            for meshes in 1..=experts {
                for each in 1..=(devices - data * tensor) / meshes {
                    names.push(format!("{grid}{}", format!("+{each}").repeat(meshes)));
                }
            }
        }
    }
    let fitting = |name: &String| Layout::named(name, experts).ok().filter(|layout| problem.check(layout).is_ok());
    names.iter().filter_map(fitting).collect()
}
