//! A step as a picture: a row for each device, a box for what it does when, who waits, and the bytes on each link. SVG.

use super::traced::Traced;
use crate::mesh::plan::{Action, Branch, HalfLayer, Layout, Work};
use std::collections::HashMap;
use std::fmt::Write;

/// Where the boxes begin and how wide the whole step is, in pixels.
const LEFT: f64 = 150.0;
const WIDTH: f64 = 860.0;
/// Height of a device's row, and of what lies above and below all of them.
const ROW: f64 = 30.0;
const TOP: f64 = 104.0;
/// A gap that is not drawn, in pixels.
const GAP: f64 = 0.4;

/// What a box shows.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A branch, forward or backward.
    Branch(Branch, bool),
    Merge,
    Head,
    Optimizer,
    Collective,
    Waiting,
}

impl Kind {
    fn of(action: &Action) -> Self {
        let place = |place: &HalfLayer, backward| Self::Branch(place.branch, backward);
        match action {
            Action::Collective { .. } => Self::Collective,
            Action::Send { .. } | Action::Receive { .. } => Self::Waiting,
            Action::Compute(work) => match work {
                Work::Forward { place: at, .. } | Work::Join(at) => place(at, false),
                Work::JoinBackward(at) | Work::Backward(at) | Work::NormBackward(at) => place(at, true),
                Work::Merge { .. } | Work::MergeBackward(_) | Work::Slice { .. } | Work::Sum => Self::Merge,
                Work::Embed
                | Work::FinalNorm { .. }
                | Work::FinalNormBackward
                | Work::Logits { .. }
                | Work::LossGradient { .. }
                | Work::Score { .. } => Self::Head,
                Work::Gradients(_) | Work::Measure | Work::Update | Work::Found => Self::Optimizer,
            },
        }
    }

    fn colour(self) -> &'static str {
        const BACKBONE: [&str; 2] = ["#7fa8d1", "#3b6ea5"];
        const EXPERTS: [[&str; 2]; 4] =
            [["#f2b872", "#d97f1f"], ["#e3cb6d", "#b38f12"], ["#e6a29b", "#c4574b"], ["#cba6d1", "#93579c"]];
        match self {
            Self::Branch(Branch::Backbone, backward) => BACKBONE[usize::from(backward)],
            Self::Branch(Branch::Expert(expert), backward) => EXPERTS[expert % EXPERTS.len()][usize::from(backward)],
            Self::Merge => "#4f9d69",
            Self::Head => "#6b5b95",
            Self::Optimizer => "#7a7a7a",
            Self::Collective => "#d9534f",
            Self::Waiting => "#e9e5dc",
        }
    }

    fn name(self, experts: &[String]) -> String {
        match self {
            Self::Branch(branch, backward) => {
                let name = match branch {
                    Branch::Expert(expert) => experts.get(expert).cloned(),
                    Branch::Backbone => None,
                };
                name.unwrap_or_else(|| branch.to_string()) + if backward { ", backward" } else { "" }
            }
            Self::Merge => "merge".into(),
            Self::Head => "embedding, head, loss".into(),
            Self::Optimizer => "optimizer".into(),
            Self::Collective => "collective".into(),
            Self::Waiting => "transfer, waiting".into(),
        }
    }
}

/// Bytes that a step sends, from mesh to mesh; those from one to itself are its collectives'.
pub fn bytes_by_link(traced: &Traced, layout: &Layout) -> Vec<(String, String, u64)> {
    let mut links: Vec<(String, String, u64)> = Vec::new();
    let mut add = |from: &str, to: &str, bytes: u64| match links.iter_mut().find(|(a, b, _)| (a == from) && (b == to)) {
        Some((_, _, sum)) => *sum += bytes,
        None => links.push((from.into(), to.into(), bytes)),
    };
    for entry in &traced.schedule.entries {
        let from = &layout.mesh_of(entry.device).name;
        match &entry.action {
            Action::Compute(_) | Action::Receive { .. } => {}
            Action::Send { to, rows } => {
                add(from, &layout.mesh_of(*to).name, (rows.len() * traced.schedule.width * size_of::<f32>()) as u64);
            }
            Action::Collective { kind, group, elements } => {
                let crosses = group.iter().any(|&device| layout.mesh_of(device).name != *from);
                add(from, if crosses { "all" } else { from }, kind.bytes_sent(group.len(), *elements));
            }
        }
    }
    links
}

/// The picture of a step that was carried out or simulated; `title` says which.
pub fn timeline(traced: &Traced, layout: &Layout, experts: &[String], title: &str) -> String {
    let scale = WIDTH / traced.seconds;
    let busy = traced.busy();
    let devices = layout.devices();
    let links = bytes_by_link(traced, layout);
    let height = TOP + ROW * devices as f64 + 66.0 + 17.0 * links.len() as f64;
    let mut svg = String::new();
    let text = |svg: &mut String, x: f64, y: f64, class: &str, text: &str| {
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>", escaped(text));
    };
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text {{ fill: #222 }} .title {{ font-size: 16px; font-weight: bold }} .end {{ text-anchor: end }} \
         .middle {{ text-anchor: middle }} .faint {{ fill: #666 }}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
        LEFT + WIDTH + 90.0
    );
    text(&mut svg, 16.0, 26.0, "title", title);
    let mut kinds: Vec<Kind> = Vec::new();
    let mut boxes = String::new();
    let complete = complete(traced);
    for device in 0..devices {
        let y = TOP + ROW * device as f64;
        let mesh = layout.mesh_of(device);
        let label = format!("{} {}", mesh.name, device - mesh.first);
        text(&mut boxes, LEFT - 10.0, y + 18.0, "end", &label);
        let _ = writeln!(
            boxes,
            "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{WIDTH}\" height=\"{:.1}\" fill=\"#f7f5f0\"/>",
            y + 3.0,
            ROW - 6.0
        );
        let mut open: Option<(Kind, f64, f64)> = None;
        let entries = traced.schedule.of(device).zip(&traced.spans[device]);
        for ((number, entry), &[began, ended]) in entries {
            let kind = Kind::of(&entry.action);
            // Of a collective the wait for its last device is no work.
            let come = complete.get(&number).map_or(began, |come| come.clamp(began, ended));
            for (kind, from, to) in [(Kind::Waiting, began * scale, come * scale), (kind, come * scale, ended * scale)]
            {
                if to <= from {
                    continue;
                }
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
                match &mut open {
                    Some((before, _, end)) if *before == kind && from - *end < GAP => *end = to,
                    _ => {
                        open.replace((kind, from, to)).into_iter().for_each(|shown| draw(&mut boxes, shown, y));
                    }
                }
            }
        }
        open.into_iter().for_each(|shown| draw(&mut boxes, shown, y));
        let idle = 100.0 * (1.0 - busy[device]);
        text(&mut boxes, LEFT + WIDTH + 12.0, y + 18.0, "", &format!("idle {idle:.0} %"));
    }
    kinds.sort_by_key(|kind| match kind {
        Kind::Branch(Branch::Backbone, backward) => usize::from(*backward),
        Kind::Branch(Branch::Expert(expert), backward) => 2 + 2 * expert + usize::from(*backward),
        Kind::Merge => 1_000,
        Kind::Head => 1_001,
        Kind::Optimizer => 1_002,
        Kind::Collective => 1_003,
        Kind::Waiting => 1_004,
    });
    let (mut x, mut y) = (16.0, 40.0);
    for kind in kinds {
        let name = kind.name(experts);
        let width = 34.0 + 6.4 * name.chars().count() as f64;
        if x + width > LEFT + WIDTH + 80.0 {
            (x, y) = (16.0, y + 18.0);
        }
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{}\" stroke=\"#999\" stroke-width=\"0.3\"/>",
            kind.colour()
        );
        text(&mut svg, x + 17.0, y + 10.5, "", &name);
        x += width;
    }
    svg.push_str(&boxes);
    let bottom = TOP + ROW * devices as f64;
    for tick in 0..=5 {
        let (x, at) = (LEFT + WIDTH * f64::from(tick) / 5.0, 1e3 * traced.seconds * f64::from(tick) / 5.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#0002\"/>",
            TOP - 4.0
        );
        text(&mut svg, x, TOP - 9.0, "middle faint", &format!("{at:.1} ms"));
    }
    text(&mut svg, 16.0, bottom + 30.0, "", "Bytes sent in a step");
    for (i, (from, to, bytes)) in links.iter().enumerate() {
        let what = if from == to { format!("within {from}") } else { format!("{from} to {to}") };
        let y = bottom + 50.0 + 17.0 * i as f64;
        text(&mut svg, LEFT + 60.0, y, "end", &what);
        text(&mut svg, LEFT + 160.0, y, "end", &amount(*bytes));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A collective: when its last device came, and the entries that are part of it.
#[derive(Default)]
struct Met {
    last: f64,
    entries: Vec<usize>,
}

/// When the last device came to each collective, by the numbers of the entries that are part of it.
fn complete(traced: &Traced) -> HashMap<usize, f64> {
    // A group's collectives come in the same order on all of its devices.
    let mut met: HashMap<(&[usize], usize), Met> = HashMap::new();
    for (device, spans) in traced.spans.iter().enumerate() {
        let mut before: HashMap<&[usize], usize> = HashMap::new();
        for ((number, entry), [began, _]) in traced.schedule.of(device).zip(spans) {
            if let Action::Collective { group, .. } = &entry.action {
                let turn = before.entry(group).or_default();
                let met = met.entry((group, *turn)).or_default();
                (met.last, *turn) = (met.last.max(*began), *turn + 1);
                met.entries.push(number);
            }
        }
    }
    met.into_values().flat_map(|met| met.entries.into_iter().map(move |number| (number, met.last))).collect()
}

fn draw(svg: &mut String, (kind, from, to): (Kind, f64, f64), y: f64) {
    if to - from < 0.05 {
        return;
    }
    let (x, width, colour) = (LEFT + from, to - from, kind.colour());
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.2}\" y=\"{:.1}\" width=\"{width:.2}\" height=\"{:.1}\" fill=\"{colour}\"/>",
        y + 3.0,
        ROW - 6.0
    );
}

fn amount(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
