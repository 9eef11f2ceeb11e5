//! What `mode inspect --gates` prints of a model, on a sample of each domain: kept as text, so that pages show what users see.

use crate::experiments::plan::texts::Texts;
use crate::inspect::gates;
use crate::model::Model;
use crate::{Error, files};
use std::path::Path;

/// The command, as it is given in the plan's folder `root`, and what it prints of the model in `folder`.
pub(crate) fn inspected(root: &Path, folder: &Path, model: &Model, texts: &Texts) -> Result<String, Error> {
    let Some(encoder) = &texts.encoder else { return Ok(String::new()) };
    let samples = || texts.domains.iter().map(|domain| domain.sample.as_str());
    let named: String = samples().map(|sample| format!(" --gates @{sample}")).collect();
    let mut lines = vec![format!("$ mode inspect {}{named} --tokens 0", folder.display())];
    for sample in samples() {
        lines.extend(gates(model, &encoder.tokenizer, sample, &files::read_text(&root.join(sample))?)?.lines(0));
    }
    Ok(lines.join("\n"))
}
