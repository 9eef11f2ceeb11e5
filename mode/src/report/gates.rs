//! Heat maps of the gates: how much of each block's output comes from which branch, by the domain of the text.

use super::data::{DomainGates, GateTable};
use super::page::Section;
use super::table::{row_head, table};
use super::text::{NONE, escape};

const CAPTION: &str = "Mean gate weight over all tokens of the test text, by block; the weights of a row add up to 1. \
    A gate that works opens a branch on the text of its own domain.";

/// The gates section.
pub(super) fn section(models: &[GateTable]) -> Option<Section> {
    let body = format!("<p>{CAPTION}</p>\n{}", maps(models));
    (!models.is_empty()).then_some(Section { id: "gates", title: "Where the gates open", body })
}

/// A map a model and domain.
pub(crate) fn maps(models: &[GateTable]) -> String {
    let mut body = String::new();
    for model in models {
        body.push_str(&format!("<h3>{}</h3>\n<div class=\"maps\">\n", escape(&model.name)));
        for domain in &model.domains {
            body.push_str(&heat_map(&model.branches, domain));
        }
        body.push_str("</div>\n");
    }
    body
}

fn heat_map(branches: &[String], domain: &DomainGates) -> String {
    let mut columns = vec!["Block:"];
    columns.extend(branches.iter().map(String::as_str));
    let rows = domain.weights.iter().enumerate().map(|(block, weights)| {
        let cells = (0..branches.len()).map(|branch| cell(weights.get(branch).copied()));
        row_head(&(block + 1).to_string()) + &cells.collect::<String>()
    });
    table(&format!("on {}", domain.domain), &columns, rows)
}

fn cell(weight: Option<f64>) -> String {
    match weight.filter(|w| w.is_finite()) {
        Some(w) => format!("<td class=\"heat\" style=\"--weight:{:.3}\">{w:.2}</td>", w.clamp(0.0, 1.0)),
        None => format!("<td>{NONE}</td>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_print_their_weight_and_stay_within_the_scale() {
        assert!(cell(Some(0.25)).contains("--weight:0.250\">0.25<"));
        assert!(cell(Some(7.0)).contains("--weight:1.000\">7.00<"));
        assert_eq!(cell(Some(f64::NAN)), cell(None));
    }
}
