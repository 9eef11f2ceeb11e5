//! Learning rates and defaults by measurement: `mode demo --tune`.
//!
//! One grid of the same size for every method, scored on validation text by the mean next-token accuracy of the three
//! domains; a single expert by that of English and its own domain, for it is not meant to know the other. Then the settings that the paper leaves open (how experts start, what gates give them, how gates are composed),
//! one at a time around the defaults, scored the same way on `mode-2x`. What was chosen is committed as `tuned.json`,
//! which the demo uses and its report shows.

use super::plan::Plan;
use super::{Demo, Settings, corpora};
use crate::model::{ExpertInit, GateRule};
use crate::report::{ChoiceScore, GridScore};
use crate::train::{Recipe, Unfrozen};
use crate::{Error, files};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Learning rates tried for each method.
const GRID: [f64; 4] = [1e-3, 3e-3, 1e-2, 3e-2];

/// What was measured, and chosen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tuned {
    /// Learning rates by method.
    pub(super) grid: Vec<GridScore>,
    /// Settings.
    pub(super) defaults: Vec<ChoiceScore>,
}

impl Tuned {
    /// The chosen learning rate of a method.
    pub(super) fn rate(&self, method: &str) -> f64 {
        let chosen = self.grid.iter().find(|score| score.chosen && score.method == method);
        chosen.map_or(GRID[0], |score| score.learning_rate)
    }
}

/// What is committed.
pub(super) fn committed() -> Result<Tuned, Error> {
    serde_json::from_str(include_str!("tuned.json")).map_err(|source| Error::Json { path: "tuned.json".into(), source })
}

/// Measures the grid and the defaults; writes `tuned.json` into the demo's folder. With `force`, methods that a `tuned.json`
/// there already holds are not measured again.
///
/// # Errors
/// As [`super::demo`].
pub fn tune(mut demo: Demo, force: bool) -> Result<(), Error> {
    demo.plan(&Tuned::default(), force)?;
    let texts = corpora::prepare(&mut demo)?;
    let validation = texts.validation;
    let file = demo.out.join("tuned.json");
    let mut tuned: Tuned = if file.exists() { files::read_json(&file)? } else { Tuned::default() };
    demo.run(&Plan::new(&demo, &tuned).pretrain(), "base")?;
    for method in ["full", "full-long", "lora", "lora-long", "expert", "mode-2x", "mode-2x-frozen"] {
        if tuned.grid.iter().any(|score| score.method == method) {
            continue;
        }
        let mut scores = Vec::new();
        for learning_rate in GRID {
            let score = match score(&mut demo, &tuned, method, learning_rate, &validation) {
                // A rate so high that the loss is no number loses, and says nothing against the others.
                Err(Error::NotFinite { .. }) => 0.0,
                other => other?,
            };
            demo.say(format!("{method:14}  {learning_rate:7.0e}  {:.4}", score));
            scores.push(GridScore { method: method.into(), learning_rate, score, chosen: false });
        }
        let best = scores.iter().map(|score| score.score).fold(0.0, f64::max);
        if let Some(chosen) = scores.iter_mut().find(|score| score.score == best) {
            chosen.chosen = true;
        }
        tuned.grid.extend(scores);
        if method == "expert" {
            // Stage 2 builds on the experts of the rate chosen.
            for (name, recipe) in Plan::new(&demo, &tuned).experts() {
                demo.run(&recipe, name)?;
            }
        }
        files::write_json(&file, &tuned)?;
    }
    tuned.defaults = defaults(&mut demo, &tuned, &validation)?;
    files::write_json(&file, &tuned)
}

/// Mean accuracy on validation text of `method` at a learning rate.
fn score(demo: &mut Demo, tuned: &Tuned, method: &str, rate: f64, windows: &[Vec<Vec<u32>>]) -> Result<f64, Error> {
    let plan = Plan::new(demo, tuned);
    let steps = demo.settings.steps;
    match method {
        "expert" => {
            let mut sum = 0.0;
            for (domain, name) in [(1, "expert-code"), (2, "expert-math")] {
                demo.run(&plan.expert(domain, rate), name)?;
                let own = [windows[0].clone(), windows[domain].clone()];
                sum += mean(demo, &plan.composition("mode-1x", &[domain], Unfrozen::All, rate, 0), &own)?;
            }
            Ok(sum / 2.0)
        }
        "mode-2x" => mean(demo, &plan.composition(method, &[1, 2], Unfrozen::All, rate, steps), windows),
        "mode-2x-frozen" => mean(demo, &plan.composition(method, &[1, 2], Unfrozen::Gates, rate, steps), windows),
        _ => mean(demo, &plan.baseline(method, rate), windows),
    }
}

/// Carries out a recipe; the mean accuracy of the three domains.
fn mean(demo: &mut Demo, recipe: &Recipe, windows: &[Vec<Vec<u32>>]) -> Result<f64, Error> {
    let name = folder_name(&recipe.out);
    demo.run(recipe, &name)?;
    let (all, _) = demo.evaluate(&recipe.out, windows)?;
    Ok(all.iter().map(|evaluation| evaluation.next_token_accuracy).sum::<f64>() / all.len() as f64)
}

fn folder_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Both stages of `mode-2x` with one setting changed at a time.
fn defaults(demo: &mut Demo, tuned: &Tuned, windows: &[Vec<Vec<u32>>]) -> Result<Vec<ChoiceScore>, Error> {
    let standard = demo.settings.clone();
    let mut variants: Vec<(&str, String, Settings)> = Vec::new();
    for init in [ExpertInit::Random, ExpertInit::ZeroOutput, ExpertInit::Copy] {
        let settings = Settings { expert_init: init, ..standard.clone() };
        variants.push(("expert.init", format!("{init:?}"), settings));
    }
    for share in [0.1, 0.25, 0.5, 0.75] {
        variants.push(("expert.share", share.to_string(), Settings { share, ..standard.clone() }));
    }
    for rule in [GateRule::Relative, GateRule::Diluted, GateRule::Fresh] {
        variants.push(("compose.gates", format!("{rule:?}"), Settings { gate_rule: rule, ..standard.clone() }));
    }
    let mut scores: Vec<ChoiceScore> = Vec::new();
    for (setting, candidate, settings) in variants {
        let chosen = settings == standard;
        let known = scores.iter().find(|score| score.chosen && chosen).map(|score| score.score);
        demo.settings = settings;
        let score = match known {
            Some(score) => score,
            None => {
                for (name, recipe) in Plan::new(demo, tuned).experts() {
                    demo.run(&recipe, name)?;
                }
                score(demo, tuned, "mode-2x", tuned.rate("mode-2x"), windows)?
            }
        };
        demo.say(format!("{setting:14}  {candidate:12}  {score:.4}{}", if chosen { "  (default)" } else { "" }));
        scores.push(ChoiceScore { setting: setting.into(), candidate, score, chosen });
    }
    demo.settings = standard;
    Ok(scores)
}
