//! Learning rates and defaults by measurement: `mode demo --tune`.
//!
//! One grid of the same size for every method, scored on validation text by the mean next-token accuracy of the three
//! domains; a single expert by that of English and its own domain, for it is not meant to know the other. Then the settings
//! that the paper leaves open (how experts start, what gates give them, how gates are composed), one at a time around the
//! defaults, scored the same way on `mode-2x`. A default stays unless another candidate is better by more than a seed changes;
//! of the rules for gates only those can win with which one expert composes to itself. What was chosen is committed as `tuned.json`, which the demo uses and its report shows.

use super::plan::Plan;
use super::tuned::{GRID, Tuned};
use super::{Demo, Settings, corpora};
use crate::model::{ExpertInit, GateRule};
use crate::report::{ChoiceScore, GridScore};
use crate::train::{Recipe, Unfrozen};
use crate::{Error, files};
use serde::Serialize;
use std::path::Path;

/// A default is not changed for less: it is about the sampling error of a score, a share of some 18,000 tokens.
const TIE: f64 = 0.002;

/// Measures the grid and the defaults; writes `tuned.json` into the demo's folder. With `force`, what a `tuned.json` there
/// already holds of the grid, under the same settings, is not measured again.
///
/// # Errors
/// As [`super::demo`].
pub fn tune(mut demo: Demo, force: bool) -> Result<(), Error> {
    demo.plan(&Tuned::default(), force)?;
    let texts = corpora::prepare(&mut demo)?;
    let validation = texts.validation;
    let file = demo.out.join("tuned.json");
    let settings = serde_json::to_value(&demo.settings).map_err(|source| Error::Json { path: file.clone(), source })?;
    let before: Tuned = if file.exists() { files::read_json(&file)? } else { Tuned::default() };
    let mut tuned = if before.settings == settings { before } else { Tuned { settings, ..Tuned::default() } };
    demo.run(&Plan::new(&demo, &tuned).pretrain(), "base")?;
    for method in ["full", "full-long", "lora", "lora-long", "expert", "mode-2x", "mode-2x-frozen"] {
        let before = tuned.rate(method);
        for learning_rate in GRID {
            let known = |score: &GridScore| score.method == method && score.learning_rate == learning_rate;
            if tuned.grid.iter().any(known) {
                continue;
            }
            let score = match score(&mut demo, &tuned, method, learning_rate, &validation) {
                // A rate so high that the loss is no number loses, and says nothing against the others.
                Err(error) if error.is_divergence() => 0.0,
                other => other?,
            };
            demo.say(format!("{method:14}  {learning_rate:7.0e}  {score:.4}"));
            tuned.grid.push(GridScore { method: method.into(), learning_rate, score, chosen: false });
            files::write_json(&file, &tuned)?;
        }
        choose(tuned.grid.iter_mut().filter(|score| score.method == method).map(|s| (s.score, &mut s.chosen)));
        if method == "expert" {
            // Stage 2 builds on the experts of the rate chosen, so its own scores hold for no other.
            if tuned.rate(method) != before {
                tuned.grid.retain(|score| !score.method.starts_with("mode-2x"));
            }
            for (name, recipe) in Plan::new(&demo, &tuned).experts() {
                demo.run(&recipe, name)?;
            }
        }
        files::write_json(&file, &tuned)?;
    }
    tuned.defaults = defaults(&mut demo, &tuned, &validation)?;
    files::write_json(&file, &tuned)
}

/// Marks the greatest score, the first among equals.
fn choose<'a>(scores: impl Iterator<Item = (f64, &'a mut bool)>) {
    let mut scores: Vec<(f64, &mut bool)> = scores.collect();
    let best = scores.iter().map(|(score, _)| *score).fold(0.0, f64::max);
    let first = scores.iter().position(|(score, _)| *score == best);
    for (i, (_, chosen)) in scores.iter_mut().enumerate() {
        **chosen = Some(i) == first;
    }
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
    for expert_init in [ExpertInit::Random, ExpertInit::ZeroOutput, ExpertInit::Copy] {
        variants.push(("expert.init", kebab(&expert_init), Settings { expert_init, ..standard.clone() }));
    }
    for share in [0.1, 0.25, 0.5, 0.75] {
        variants.push(("expert.share", share.to_string(), Settings { share, ..standard.clone() }));
    }
    for gate_rule in [GateRule::Relative, GateRule::Diluted, GateRule::Fresh] {
        variants.push(("compose.gates", kebab(&gate_rule), Settings { gate_rule, ..standard.clone() }));
    }
    let mut scores: Vec<ChoiceScore> = Vec::new();
    let mut of_standard = None;
    for (setting, candidate, settings) in variants {
        let is_standard = settings == standard;
        demo.settings = settings;
        let score = match of_standard.filter(|_| is_standard) {
            Some(score) => score,
            None => {
                for (name, recipe) in Plan::new(demo, tuned).experts() {
                    demo.run(&recipe, name)?;
                }
                score(demo, tuned, "mode-2x", tuned.rate("mode-2x"), windows)?
            }
        };
        of_standard = of_standard.or(is_standard.then_some(score));
        demo.say(format!("{setting:14}  {candidate:12}  {score:.4}{}", if is_standard { "  (default)" } else { "" }));
        scores.push(ChoiceScore { setting: setting.into(), candidate, score, chosen: is_standard });
    }
    demo.settings = standard;
    for setting in ["expert.init", "expert.share", "compose.gates"] {
        let may_win = |score: &&mut ChoiceScore| score.setting == setting && score.candidate != kebab(&GateRule::Fresh);
        let ahead = |score: &ChoiceScore| score.score + if score.chosen { TIE } else { 0.0 };
        choose(scores.iter_mut().filter(may_win).map(|score| (ahead(score), &mut score.chosen)));
    }
    Ok(scores)
}

/// A setting's value as recipes write it.
fn kebab(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(String::from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tuned::committed;
    use super::*;

    #[test]
    fn the_defaults_are_what_was_measured_best() -> Result<(), Error> {
        let (tuned, settings) = (committed()?, Settings::default());
        let chosen = |setting: &str| {
            let chosen: Vec<&ChoiceScore> =
                tuned.defaults.iter().filter(|c| c.setting == setting && c.chosen).collect();
            assert_eq!(chosen.len(), 1, "{setting}");
            let may_win = tuned.defaults.iter().filter(|c| c.setting == setting && c.candidate != "fresh");
            let best = may_win.map(|c| c.score).fold(0.0, f64::max);
            assert!(
                chosen[0].score + TIE >= best,
                "{setting}: {} is behind by {}",
                chosen[0].candidate,
                best - chosen[0].score
            );
            chosen[0].candidate.clone()
        };
        assert_eq!(chosen("expert.init"), kebab(&settings.expert_init));
        assert_eq!(chosen("expert.share"), settings.share.to_string());
        assert_eq!(chosen("compose.gates"), kebab(&settings.gate_rule));
        for method in ["full", "full-long", "lora", "lora-long", "expert", "mode-2x", "mode-2x-frozen"] {
            let mut scores: Vec<&GridScore> = tuned.grid.iter().filter(|score| score.method == method).collect();
            scores.sort_by(|a, b| b.score.total_cmp(&a.score));
            assert_eq!(scores.len(), GRID.len(), "{method}");
            assert!(scores[0].chosen && scores[1..].iter().all(|score| !score.chosen), "{method}");
        }
        Ok(())
    }
}
