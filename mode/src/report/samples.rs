//! What the models write when they are given the same beginning.

use super::data::Sample;
use super::page::Section;
use super::text::escape;

/// The samples section.
pub(super) fn section(samples: &[Sample]) -> Option<Section> {
    if samples.is_empty() {
        return None;
    }
    let mut body = String::from("<p>The prompt is grey; what the model adds is not.</p>\n");
    for Sample { prompt, continuations } in samples {
        let prompt = escape(prompt);
        body.push_str("<div class=\"cards\">\n");
        for continuation in continuations {
            body.push_str(&format!(
                "<figure><figcaption>{}</figcaption><pre><span>{prompt}</span>{}</pre></figure>\n",
                escape(&continuation.model),
                escape(&continuation.text)
            ));
        }
        body.push_str("</div>\n");
    }
    Some(Section { id: "samples", title: "Samples", body })
}
