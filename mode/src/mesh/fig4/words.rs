//! The figure in words: the table, what was fitted and what was assumed.

use super::{Figure, LENGTH, Program, TOKENS};
use std::fmt::Write;

/// What is assumed, none of which the paper states. Those marked * were chosen with the figure's numbers seen.
const ASSUMED: [&str; 9] = [
    "18 layers of width 1536, hidden 12288, 24 heads of 64, 256,256 words, embedding tied (the only shapes that give table 1's parameters)",
    "bf16 on the wire and f32 where streams meet and for logits; windows of 2,048 tokens; attention over the whole square of scores",
    "the data sheet's peak of 197 TFLOP/s, memory at 819 GB/s, 50 GB/s a link from mesh to mesh",
    "norms, rotations, activations and sums cost nothing (a compiler makes them part of products); nor does the optimizer",
    "* 16,384 tokens a step in panels b and c, half of them in panel a",
    "* gradients of the frozen backbone's weights are computed, and gradients cross into the first block",
    "* under MPMD, but not in panel a, each branch of a block is computed again in the backward pass, its all-reduces too",
    "* the head is shared out by words; every chip merges all tokens",
    "* what goes to another mesh goes by tokens, and is gathered there",
];

/// The figure in words.
pub fn words(figure: &Figure) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    line(
        "Figure 4, milliseconds a step on 8 TPUv5e: the paper's, the authors' schedule simulated, and this project's own schedule",
    );
    line(&format!(
        "{:6} {:22} {:10} {:14} {:>7} {:>9} {:>7} {:>9}",
        "panel", "", "program", "layout", "paper", "simulated", "off", "our own"
    ));
    for predicted in &figure.points {
        let point = &predicted.point;
        let (what, program) = match (point.panel, point.program) {
            ('a', program) => (format!("{} meshes", point.x), program),
            ('b', program) => (format!("{} added layers", point.x), program),
            (_, program) => (format!("{} merges", point.x), program),
        };
        let program = match program {
            Program::Spmd => "SPMD",
            Program::Mpmd => "MPMD",
            Program::Pjit => "SPMD-pjit",
        };
        line(&format!(
            "4{:5} {what:22} {program:10} {:14} {:>7.1} {:>9.1} {:>+6.1}% {:>9.1}",
            point.panel,
            point.layout,
            point.paper,
            predicted.authors,
            100.0 * (predicted.authors / point.paper - 1.0),
            predicted.ours
        ));
    }
    let [right, all] = figure.signs;
    line(&format!(
        "\nSPMD and MPMD, 17 points: off by {:.1} % rms; the sign of MPMD - SPMD is right in {right} of {all}",
        100.0 * figure.rms
    ));
    let out: Vec<String> =
        figure.left_out.iter().map(|(panel, rms)| format!("4{panel} {:.1} %", 100.0 * rms)).collect();
    line(&format!("each panel predicted from a fit to the other two: {} rms", out.join(", ")));
    line(&format!("SPMD-pjit, 7 points, with a bandwidth of its own: off by {:.1} % rms", 100.0 * figure.pjit_rms));
    line("\nfitted:");
    line(&format!(
        "  {:.3} of a chip's peak, {:.1} GB/s that a chip sends in a collective",
        figure.fitted.efficiency,
        figure.fitted.bandwidth / 1e9
    ));
    line(&format!("  {:.1} GB/s for SPMD-pjit, at the same share of the peak", figure.pjit_bandwidth / 1e9));
    line(&format!(
        "  (tokens a step are told apart from neither: only {TOKENS} over them is known; windows of {LENGTH} weigh in attention alone)"
    ));
    line("assumed (*: chosen with the figure's numbers seen):");
    ASSUMED.iter().for_each(|assumed| line(&format!("  {assumed}")));
    line(
        "our own schedule: what freezing allows is left out, nothing is computed again, each chip merges its own tokens; nobody has measured it",
    );
    text.trim_end().into()
}
