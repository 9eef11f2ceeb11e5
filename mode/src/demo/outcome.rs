//! What the demo found, as rows and as the report.

use super::corpora::Texts;
use super::{DOMAINS, Demo, tuned};
use crate::generate::generate;
use crate::model::open;
use crate::report::{Continuation, Curve, DomainGates, FrozenNote, GateTable, Report, Row, Sample, html};
use crate::train::{Evaluation, Finished};
use crate::{Error, files, memory};

/// A method's result.
pub(super) struct Measured {
    pub(super) row: Row,
    last: Finished,
    /// By domain, block and branch.
    gates: Vec<Vec<Vec<f64>>>,
    branches: Vec<String>,
}

impl Measured {
    /// From the runs that led to a model, the last of which made it, its evaluations by domain and its branches' names.
    pub(super) fn new(
        method: &str,
        runs: &[Finished],
        last: &Finished,
        evaluations: Vec<Evaluation>,
        branches: Vec<String>,
    ) -> Self {
        let accuracy = |i: usize| evaluations.get(i).map_or(f64::NAN, |evaluation| evaluation.next_token_accuracy);
        let [english, code, math] = [0, 1, 2].map(accuracy);
        // A composition without steps trains nothing itself: what counts is the stage before it.
        let trained = runs.iter().rev().find(|run| run.steps > 0).unwrap_or(last);
        let row = Row {
            method: method.into(),
            english,
            code,
            math,
            mean: (english + code + math) / 3.0,
            params_total: last.params_total,
            params_trained: trained.params_trained,
            steps: runs.iter().map(|run| run.steps).sum(),
            tokens_seen: runs.iter().map(|run| run.tokens_seen).sum(),
            seconds: runs.iter().map(|run| run.seconds).sum(),
            learning_rate: trained.learning_rate,
            model: last.out.to_string_lossy().replace('\\', "/"),
        };
        let gates = evaluations.into_iter().map(|evaluation| evaluation.gate_means).collect();
        Self { row, last: trained.clone(), gates, branches }
    }
}

/// Writes `report.html`.
pub(super) fn write_report(demo: &Demo, texts: &Texts, measured: &[Measured]) -> Result<(), Error> {
    let tuned = tuned::committed()?;
    let report = Report {
        title: "Modular Domain Experts: the demo".into(),
        summary: summary(measured),
        rows: measured.iter().map(|m| m.row.clone()).collect(),
        curves: measured.iter().map(curve).collect(),
        gates: measured.iter().filter(|m| m.gates.iter().any(|blocks| !blocks.is_empty())).map(gates).collect(),
        frozen: measured.iter().map(frozen).collect(),
        grid: tuned.grid,
        defaults: tuned.defaults,
        samples: samples(demo, texts, measured)?,
        environment: environment(demo, texts),
        ..Report::default()
    };
    files::write(&demo.out.join("report.html"), html(&report)?)
}

/// The comparison in words, whatever it says.
fn summary(measured: &[Measured]) -> Vec<String> {
    let find = |name: &str| measured.iter().find(|m| m.row.method == name).map(|m| &m.row);
    let mut lines = Vec::new();
    let Some(mode) = find("mode-2x") else { return lines };
    let percent = |share: f64| format!("{:.1}\u{a0}%", 100.0 * share);
    for name in ["full", "full-long", "lora", "lora-long"] {
        let Some(other) = find(name) else { continue };
        lines.push(format!(
            "Two experts keep {} of next tokens right in English, {name} {}; their mean over the three domains is {}, \
             {name}'s {}.",
            percent(mode.english),
            percent(other.english),
            percent(mode.mean),
            percent(other.mean)
        ));
    }
    lines
}

fn curve(measured: &Measured) -> Curve {
    let points = measured.last.losses.iter().enumerate().map(|(i, &loss)| (i as u64 + 1, f64::from(loss))).collect();
    Curve { name: measured.row.method.clone(), points, validation: Vec::new() }
}

fn gates(measured: &Measured) -> GateTable {
    let domains = DOMAINS.iter().zip(&measured.gates);
    GateTable {
        name: measured.row.method.clone(),
        branches: measured.branches.clone(),
        domains: domains.map(|(d, weights)| DomainGates { domain: d.to_string(), weights: weights.clone() }).collect(),
    }
}

fn frozen(measured: &Measured) -> FrozenNote {
    let last = &measured.last;
    let frozen = last.params_total - last.params_trained;
    FrozenNote {
        run: measured.row.method.clone(),
        trained: last.trained.clone(),
        trained_parameters: last.params_trained,
        trained_bytes: 4 * last.params_trained,
        frozen: last.frozen.clone(),
        frozen_parameters: frozen,
        frozen_bytes: 4 * frozen,
        sha256_before: last.frozen_before.clone(),
        sha256_after: last.frozen_after.clone(),
    }
}

/// Continuations of the start of a test window of each domain, by the base and by the adapted models.
fn samples(demo: &Demo, texts: &Texts, measured: &[Measured]) -> Result<Vec<Sample>, Error> {
    let tokenizer = crate::data::Tokenizer::open(&super::corpora::tokenizer_file(demo))?;
    let mut samples: Vec<Sample> =
        texts.prompts.iter().map(|prompt| Sample { prompt: prompt.clone(), continuations: Vec::new() }).collect();
    for m in measured.iter().filter(|m| ["base", "full", "lora", "mode-2x"].contains(&m.row.method.as_str())) {
        let model = open(m.row.model.as_ref(), &demo.device)?;
        for sample in &mut samples {
            let made = generate(&model, &tokenizer.encode(&sample.prompt, false)?, 32, &[])?;
            let text = tokenizer.decode(&made.ids, true)?;
            sample.continuations.push(Continuation { model: m.row.method.clone(), text });
        }
    }
    Ok(samples)
}

fn environment(demo: &Demo, texts: &Texts) -> Vec<(String, String)> {
    let s = &demo.settings;
    let mut rows = vec![
        ("program".to_string(), format!("mode {}", env!("CARGO_PKG_VERSION"))),
        ("device".into(), demo.device.name()),
        ("machine".into(), memory::machine()),
        ("seed".into(), s.seed.to_string()),
        ("model".into(), format!("{} layers of width {}, vocabulary {}", s.layers, s.width, s.vocabulary)),
        ("experts".into(), format!("m = {} blocks, l = {} layers, {:?}", s.blocks, s.layers_per_block, s.expert_init)),
        ("gates".into(), format!("share {} at first, composed {:?}", s.share, s.gate_rule)),
        ("step".into(), format!("{} windows of {} tokens", s.batch, s.length)),
    ];
    for ((domain, hash), bytes) in DOMAINS.iter().zip(&texts.hashes).zip(&texts.bytes) {
        rows.push((format!("{domain} text"), format!("{bytes} bytes, sha256 {hash}")));
    }
    rows
}
