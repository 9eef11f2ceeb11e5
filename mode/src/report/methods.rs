//! The methods the demo compares: what each does, and which line and colour stand for it in every drawing.

use super::text::escape;

/// Name and plain words, in the order of the results table; a method's place is its style's number in `style.css`.
pub(super) const METHODS: [(&str, &str); 9] = [
    ("base", "The pre-trained model, not adapted at all. Every difference is taken to it."),
    ("full", "Full fine-tuning: every weight of the base goes on learning, on Code and Math mixed."),
    ("full-long", "As full, for as many tokens as mode-2x reads over its two stages."),
    ("lora", "The base is frozen; small low-rank matrices added to its weights learn Code and Math."),
    ("lora-long", "As lora, for as many tokens as mode-2x reads over its two stages."),
    (
        "mode-code",
        "The base is frozen; beside each of its blocks one expert learns Code, and a gate weighs both for every token.",
    ),
    ("mode-math", "As mode-code, with an expert for Math."),
    (
        "mode-2x",
        "Both experts, each trained alone, set side by side; then experts and gates learn briefly together. The base stays frozen.",
    ),
    ("mode-2x-frozen", "As mode-2x, but in the second stage the experts are frozen as well: only the gates learn."),
];

/// How many styles `style.css` defines: one for each method and three for other runs.
pub(super) const STYLES: usize = METHODS.len() + 3;

/// The style of the run called `name`, the `place`th of its drawing.
pub(super) fn style(name: &str, place: usize) -> usize {
    let known = METHODS.iter().position(|(method, _)| *method == name);
    known.unwrap_or(METHODS.len() + place % (STYLES - METHODS.len()))
}

/// True for one of the demo's methods.
pub(super) fn is_method(name: &str) -> bool {
    METHODS.iter().any(|(method, _)| *method == name)
}

/// A short piece of the line that stands for a style.
pub(super) fn swatch(style: usize) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 36 8\" aria-hidden=\"true\"><line class=\"run run-{style}\" x1=\"1\" y1=\"4\" x2=\"35\" y2=\"4\"/></svg>"
    )
}

/// What each of the methods `names` does, as a list of definitions; names without a description are passed over.
pub(super) fn legend<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::from("<dl class=\"legend\">\n");
    for name in names {
        if let Some((_, words)) = METHODS.iter().find(|(method, _)| *method == name) {
            out.push_str(&format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(words)));
        }
    }
    out.push_str("</dl>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_is_defined_once_in_the_style_sheet() {
        let css = include_str!("style.css");
        for style in 0..STYLES {
            assert_eq!(css.matches(&format!(".run-{style} {{")).count(), 1, "style {style}");
        }
    }

    #[test]
    fn methods_keep_their_style_and_strangers_share_the_rest() {
        assert_eq!(style("base", 5), 0);
        assert_eq!(style("mode-2x", 0), 7);
        assert!((0..20).all(|place| (METHODS.len()..STYLES).contains(&style("other", place))));
    }
}
