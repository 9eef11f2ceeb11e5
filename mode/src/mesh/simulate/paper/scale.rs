//! On paper: the paper's model on 64 to 4,096 chips, with 4 to 100 experts. What the best layout would be, and what bounds its step.
//!
//! Chips are in *replicas* of one layout, each with its own windows, eight at once; gradients of what is trained are summed over replicas
//! once a step, after all else. A layout of one replica is planned and simulated; chips are figure 4's, with the two numbers that were fitted there, and
//! nobody has measured any of this.

use super::fig4::{FROZEN_BYTES, Fitted, paper_problem};
use crate::mesh::plan::{Action, Layout, Mesh, Recompute, Work, fullest};
use crate::mesh::simulate::Priced;
use serde::Serialize;

/// Chips.
pub const CHIPS: [usize; 4] = [64, 256, 1_024, 4_096];
/// Experts.
pub const EXPERTS: [usize; 3] = [4, 16, 100];
/// What figure 4 is met with, rounded.
pub(super) const FITTED: Fitted = Fitted { efficiency: 0.80, bandwidth: 39.3e9 };
/// Windows that a replica computes at once.
const MOST_WINDOWS: usize = 8;

/// The best layout of a kind for so many chips and experts.
#[derive(Debug, Clone, Serialize)]
pub struct Scaled {
    /// Chips, of which some may be left over.
    pub chips: usize,
    /// Experts.
    pub experts: usize,
    /// The layout of a replica.
    pub layout: String,
    /// Replicas.
    pub replicas: usize,
    /// Windows of each.
    pub windows: usize,
    /// Milliseconds a step.
    pub milliseconds: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Of the step on the backbone's first chip: computing branches and head, merging, collectives, waiting for other meshes.
    pub backbone: Shares,
    /// The same on the last chip, an expert's where those have meshes of their own.
    pub expert: Shares,
    /// The share of the step that summing gradients over replicas takes.
    pub gradients: f64,
    /// Bytes that the fullest chip would need, with activations of f32.
    pub bytes: f64,
    /// Whether a chip holds them.
    pub fits: bool,
}

/// Where a chip's time goes, as shares of the step.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Shares {
    /// Computing.
    pub computing: f64,
    /// Merging, forward and backward.
    pub merging: f64,
    /// In collectives of its mesh.
    pub collectives: f64,
    /// Waiting for other meshes, and after its last entry.
    pub idle: f64,
}

/// The best SPMD layout and the best MPMD layout for each count of chips and experts: the fastest of those that fit, or where none does
/// of all.
pub fn scale() -> Vec<Scaled> {
    let mut all = Vec::new();
    for experts in EXPERTS {
        for chips in CHIPS {
            let spmd = [1, 2, 4, 8].map(|tensor| format!("spmd-{tensor}")).into_iter().collect();
            all.extend(best(chips, experts, spmd));
            all.extend(best(chips, experts, mpmd(chips, experts)));
        }
    }
    all
}

/// Layouts of a backbone's mesh and meshes of experts that fit on so many chips.
fn mpmd(chips: usize, experts: usize) -> Vec<String> {
    let mut names = Vec::new();
    for backbone in [1, 2, 4, 8] {
        for each in [1, 2, 4, 8] {
            for meshes in (1..=experts).filter(|meshes| experts.is_multiple_of(*meshes)) {
                if backbone + each * meshes <= chips {
                    names.push(format!("{backbone}{}", format!("+{each}").repeat(meshes)));
                }
            }
        }
    }
    names
}

fn best(chips: usize, experts: usize, names: Vec<String>) -> Option<Scaled> {
    let found: Vec<Scaled> = names.iter().filter_map(|name| scaled(chips, experts, name)).collect();
    let fits = found.iter().any(|scaled| scaled.fits);
    let faster = |a: &&Scaled, b: &&Scaled| a.tokens_per_second.total_cmp(&b.tokens_per_second);
    found.iter().filter(|scaled| scaled.fits == fits).max_by(faster).cloned()
}

fn scaled(chips: usize, experts: usize, name: &str) -> Option<Scaled> {
    let layout = Layout::named(name, experts).ok()?;
    let replicas = chips / layout.devices();
    // A window a chip in all, and whole windows in each replica.
    let windows = chips.checked_div(replicas)?;
    // Gone through in equal microbatches, of which one is planned.
    let microbatches = (1..=windows)
        .find(|microbatches| windows.is_multiple_of(*microbatches) && windows / microbatches <= MOST_WINDOWS)?;
    let problem = paper_problem(experts, 3, 2, windows / microbatches, Recompute::Halves);
    problem.check(&layout).ok()?;
    let hardware = FITTED.hardware();
    let priced = Priced::new(&problem, &layout, super::fig4::assumed());
    let traced = priced.simulate(&hardware);
    let most = (0..layout.devices()).map(|device| problem.trained_on(&layout, device)).max().unwrap_or(0) as f64;
    let summed = 2.0 * (replicas as f64 - 1.0) / replicas as f64 * most * 2.0 / FITTED.bandwidth;
    let seconds = traced.seconds * microbatches as f64 + summed;
    let shares = |device: usize| {
        let mut shares = Shares::default();
        for ((_, entry), [began, ended]) in traced.schedule.of(device).zip(&traced.spans[device]) {
            let share = (ended - began) * microbatches as f64 / seconds;
            match &entry.action {
                Action::Compute(Work::Merge { .. } | Work::MergeBackward(_)) => shares.merging += share,
                Action::Compute(_) => shares.computing += share,
                Action::Collective { group, .. } if group.len() < layout.devices() || layout.is_spmd() => {
                    shares.collectives += share;
                }
                _ => {}
            }
        }
        shares.idle = 1.0 - shares.computing - shares.merging - shares.collectives - summed / seconds;
        shares
    };
    let bytes = fullest(&problem, &layout, FROZEN_BYTES);
    let tokens = (replicas * windows * problem.length) as f64;
    Some(Scaled {
        chips,
        experts,
        layout: if name.len() > 24 { short(&layout) } else { name.into() },
        replicas,
        windows,
        milliseconds: 1e3 * seconds,
        tokens_per_second: tokens / seconds,
        backbone: shares(0),
        expert: shares(layout.devices() - 1),
        gradients: summed / seconds,
        bytes,
        fits: bytes <= hardware.device.memory_bytes,
    })
}

/// A long layout's name: `4, 100 times 1` has a hundred meshes of one device.
fn short(layout: &Layout) -> String {
    let (first, rest) = (&layout.meshes[0], &layout.meshes[1..]);
    format!("{}, {} times {}", first.shape(), rest.len(), rest.first().map_or(0, Mesh::size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_up_the_step() {
        for layout in ["spmd-4", "4+1+1+1+1"] {
            let found = scaled(64, 4, layout).expect("a layout");
            for shares in [found.backbone, found.expert] {
                let all = shares.computing + shares.merging + shares.collectives + shares.idle + found.gradients;
                assert!((all - 1.0).abs() < 1e-9 && shares.idle > -1e-9, "{found:?}");
            }
            assert_eq!(found.replicas * found.windows, 64);
        }
        assert!(scaled(64, 100, &format!("1{}", "+1".repeat(100))).is_none(), "101 chips are no 64");
    }
}
