//! Layouts of so many devices that fit a problem, with what a step would take on given hardware: time, and memory of the fullest device.

use super::hardware::Hardware;
use super::priced::{Assumed, Priced};
use crate::mesh::plan::{Layout, Mesh, Problem, footprint, share};
use serde::Serialize;
use std::collections::BTreeSet;

/// Layouts that are looked at, at the most.
const MOST: usize = 256;

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

/// Layouts of at most so many devices that can share out a problem and that the hardware has.
///
/// SPMD of every grid, and a backbone's mesh of every grid with meshes of experts beside it. Of those there are as many as leave the
/// fullest fewer layers than any fewer do, all of one size or each as large as its layers ask for, and they share out windows or
/// matrices. With G grids, M counts of meshes and S sizes that is G (1 + 2 M (S + 1)) at the most; `MOST` of them stay, those that leave
/// the busiest device the fewest layers.
pub fn layouts(problem: &Problem, hardware: &Hardware, devices: usize) -> Vec<Layout> {
    let grids = grids(problem, devices);
    let mut names: BTreeSet<String> = grids.iter().map(|grid| format!("spmd-{}", grid.shape())).collect();
    for loads in loads(problem) {
        for is_line in [|mesh: &Mesh| mesh.data == 1, |mesh: &Mesh| mesh.tensor == 1] {
            let mut line: Vec<&Mesh> = grids.iter().filter(|grid| is_line(grid)).collect();
            line.sort_by_key(|mesh| mesh.size());
            for home in &grids {
                let left = devices - home.size();
                let even = line.iter().map(|&mesh| vec![mesh; loads.len()]);
                for meshes in even.chain(allot(&loads, &line, left)) {
                    if meshes.iter().map(|mesh| mesh.size()).sum::<usize>() <= left {
                        let shapes = std::iter::once(home).chain(meshes).map(Mesh::shape);
                        names.insert(shapes.collect::<Vec<_>>().join("+"));
                    }
                }
            }
        }
    }
    let named = names.iter().filter_map(|name| Layout::named(name, problem.expert_layers.len()).ok());
    let mut found: Vec<Layout> = named.filter(|layout| problem.check(layout).is_ok() && hardware.has(layout)).collect();
    found.sort_by(|a, b| busiest(problem, a).total_cmp(&busiest(problem, b)).then(a.devices().cmp(&b.devices())));
    found.truncate(MOST);
    found
}

/// Every grid that one mesh for all could have.
fn grids(problem: &Problem, devices: usize) -> Vec<Mesh> {
    let grid = |data, tensor| Mesh { name: String::new(), data, tensor, first: 0 };
    let all = (1..=devices).flat_map(|tensor| (1..=devices / tensor).map(move |data| grid(data, tensor)));
    all.filter(|mesh| problem.check_mesh(mesh).is_ok()).collect()
}

/// Layers of the experts on each mesh, for every count of meshes that leaves the fullest fewer than any smaller count does.
fn loads(problem: &Problem) -> Vec<Vec<usize>> {
    let experts = &problem.expert_layers;
    let mut useful: Vec<Vec<usize>> = Vec::new();
    for meshes in 1..=experts.len() {
        let loads: Vec<usize> =
            (0..meshes).map(|mesh| share(experts.len(), meshes, mesh).map(|expert| experts[expert]).sum()).collect();
        if useful.last().is_none_or(|before| loads.iter().max() < before.iter().max()) {
            useful.push(loads);
        }
    }
    useful
}

/// Meshes out of `line`, one for each load and of no more devices than there are in all: where most is left to a device the mesh grows,
/// as long as that leaves the busiest device less.
fn allot<'a>(loads: &[usize], line: &[&'a Mesh], devices: usize) -> Option<Vec<&'a Mesh>> {
    let mut sizes = vec![0; loads.len()];
    let each = |sizes: &[usize], mesh: usize| loads[mesh] as f64 / line[sizes[mesh]].size() as f64;
    let (mut best, mut least) = (None, f64::INFINITY);
    while sizes.iter().map(|&size| line[size].size()).sum::<usize>() <= devices {
        let busiest = (0..loads.len()).max_by(|&a, &b| each(&sizes, a).total_cmp(&each(&sizes, b)))?;
        if each(&sizes, busiest) < least {
            (best, least) = (Some(sizes.iter().map(|&size| line[size]).collect()), each(&sizes, busiest));
        }
        sizes[busiest] += 1;
        if sizes[busiest] == line.len() {
            break;
        }
    }
    best
}

/// Layers of the busiest device, where it has a share of them or of their windows.
fn busiest(problem: &Problem, layout: &Layout) -> f64 {
    let layers = |number: usize| {
        let experts: usize = layout.experts_on(number).map(|expert| problem.expert_layers[expert]).sum();
        experts * problem.blocks + if number == 0 { problem.config.layers } else { 0 }
    };
    let each = |(number, mesh): (usize, &Mesh)| layers(number) as f64 / mesh.size() as f64;
    layout.meshes.iter().enumerate().map(each).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::simulator::tests::hardware;
    use super::*;
    use crate::mesh::Rates;
    use crate::mesh::plan::problem::tests::problem;

    fn names(problem: &Problem, devices: usize) -> Vec<String> {
        layouts(problem, &hardware(None, None), devices).into_iter().map(|layout| layout.name).collect()
    }

    #[test]
    fn meshes_are_as_large_as_their_experts() {
        let unequal = Problem { expert_layers: vec![1, 3], ..problem() };
        let found = names(&unequal, 8);
        let has = |name: &str| found.iter().any(|found| found == name);
        for name in ["spmd-1", "spmd-2x4", "2x2+4", "4+1+2", "4+1+2x1", "2x2+1+2x1", "2+2+2", "2+2x1+2x1"] {
            assert!(has(name), "{name} is not among {found:?}");
        }
        // A larger mesh for the lighter expert helps nobody, and a mesh of three can't share out four heads.
        assert!(!has("4+2+1") && !has("1+3+1") && !has("3+1+1"), "{found:?}");
        // Equal experts on two meshes get equal ones, three the larger where there are two of them.
        assert!(!names(&problem(), 5).iter().any(|name| name == "2+1+2"));
        let three = Problem { expert_layers: vec![2; 3], ..problem() };
        assert!(names(&three, 5).iter().any(|name| name == "2+1+2"));
    }

    #[test]
    fn a_count_of_meshes_that_spares_nobody_is_not_tried() {
        let found = loads(&Problem { expert_layers: vec![1; 16], ..problem() });
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 3, 4, 6, 8, 16]);
    }

    #[test]
    fn unequal_meshes_are_the_best_of_unequal_experts() {
        let unequal = Problem { expert_layers: vec![1, 4], ..problem() };
        let (devices, hardware) = (7, hardware(None, Some(1e8)));
        let all = layouts(&unequal, &hardware, devices);
        let time = |layout: &Layout| predict(&unequal, layout, &hardware, 4.0).seconds;
        let best = all.iter().min_by(|a, b| time(a).total_cmp(&time(b))).expect("a layout");
        let sizes: Vec<usize> = best.meshes[1..].iter().map(Mesh::size).collect();
        assert!(matches!(sizes.as_slice(), [light, heavy] if light < heavy), "{}", best.name);
    }

    #[test]
    fn candidates_are_bounded() {
        let many = Problem { expert_layers: (1..=16).collect(), windows: 64, ..problem() };
        let found = layouts(&many, &hardware(None, None), 64);
        assert_eq!(found.len(), MOST);
        let most = |layout: &Layout| busiest(&many, layout);
        assert!(found.iter().all(|layout| layout.devices() <= 64 && most(layout) <= most(&found[MOST - 1])));
        // What a server with four laptops can't have is not among them.
        let mut few = hardware(None, None);
        few.device.count = Some(1);
        few.experts = Some(Rates { count: Some(4), ..few.device.clone() });
        let found = layouts(&many, &few, 64);
        assert!(found.iter().all(|layout| layout.meshes[0].size() == 1 && layout.devices() <= 5) && found.len() > 2);
    }
}
