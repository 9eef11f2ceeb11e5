//! The figure in words: the table, what was fitted and what was assumed.

use super::{Figure, LENGTH, Program, TOKENS};
use std::fmt::Write;

/// What is assumed. But for the 18 layers the paper states none of it; those marked * were chosen with the figure's numbers seen.
const ASSUMED: [&str; 13] = [
    "18 layers of width 1536 and hidden 12288, embedding tied, about 256k words: what gives table 1's parameters",
    "exactly 256,256 words, and 24 heads of 64, which 8, 6 and 4 chips can share",
    "windows of 2,048 tokens; attention over the whole square of scores, at the efficiency of products",
    "bf16 on the wire, f32 where streams meet and for logits",
    "the data sheet's peak of 197 TFLOP/s, memory at 819 GB/s, 50 GB/s that a chip sends, and receives, from mesh to mesh",
    "norms, rotations, activations and sums cost nothing (a compiler makes them part of products), nor does the optimizer; the copying of \
     branches before a merge and the embedding do, as in this project's kernels",
    "collectives wait for all and overlap with nothing; messages have no latency; memory is not looked at, though it is counted (!)",
    "panel c's MPMD on the layout of panel a's five meshes",
    "* 16,384 tokens a step in panels b and c, half of them in panel a",
    "* gradients of the weights of the frozen backbone's layers are computed, and gradients cross into the first block",
    "* under MPMD, but not in panel a, each branch of a block is computed again in the backward pass, with its all-reduces but the last",
    "* the head is shared out by words; every chip of the backbone's mesh merges all tokens",
    "* what goes to another mesh goes by tokens, and is gathered there",
];

/// What a mark says.
const OVER: &str = "!: the simulated step needs more than a chip's 16 GB, by this project's own count: weights of the frozen backbone in bf16, all \
                    else in f32, attention's scores not counted. The paper's step was run, so it needs less";

/// The figure in words.
pub fn table(figure: &Figure) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    line(
        "Figure 4, milliseconds a step on 8 TPUv5e: the paper's, the authors' schedule simulated, and this project's own schedule",
    );
    line(&format!(
        "{:6} {:22} {:10} {:14} {:>7} {:>9} {:>7} {:>9} {:>8}",
        "panel", "", "program", "layout", "paper", "simulated", "off", "our own", "GB chip"
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
            "4{:5} {what:22} {program:10} {:14} {:>7.1} {:>9.1} {:>+6.1}% {:>9} {:>8}{}",
            point.panel,
            point.layout,
            point.paper,
            predicted.authors,
            100.0 * (predicted.authors / point.paper - 1.0),
            if point.program == Program::Pjit { "-".into() } else { format!("{:.1}", predicted.ours) },
            format!("{:.1}", predicted.authors_memory.bytes / 1e9),
            if predicted.authors_memory.fits { "" } else { "!" }
        ));
    }
    line(OVER);
    let [right, all] = figure.signs;
    line(&format!(
        "\nSPMD and MPMD, 17 points: off by {:.1} % rms; the sign of MPMD - SPMD is right in {right} of {all}",
        100.0 * figure.rms
    ));
    let out: Vec<String> =
        figure.left_out.iter().map(|(panel, rms)| format!("4{panel} {:.1} %", 100.0 * rms)).collect();
    line(&format!(
        "each panel predicted from a fit to the other two, the choices marked * being what they are: {} rms",
        out.join(", ")
    ));
    line(&format!("SPMD-pjit, 7 points, with a bandwidth of its own: off by {:.1} % rms", 100.0 * figure.pjit_rms));
    line("\nfitted:");
    line(&format!(
        "  {:.3} of a chip's peak, {:.1} GB/s that a chip sends in a collective",
        figure.fitted.efficiency,
        figure.fitted.bandwidth / 1e9
    ));
    line(&format!("  {:.1} GB/s for SPMD-pjit, at the same share of the peak", figure.pjit_bandwidth / 1e9));
    line(&format!(
        "  (known are tokens over each of these two alone: twice {TOKENS} tokens a step and twice both would give the same times, but for windows of {LENGTH} in attention)"
    ));
    line("assumed (*: chosen with the figure's numbers seen):");
    ASSUMED.iter().for_each(|assumed| line(&format!("  {assumed}")));
    line(
        "our own schedule: what freezing allows is left out, nothing is computed again, each chip merges its own tokens; nobody has measured it",
    );
    text.trim_end().into()
}
