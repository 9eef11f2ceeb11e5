//! The page around the sections: head, lead, contents and the environment at the end.

use super::data::Report;
use super::text::escape;

/// One section of the page.
pub(crate) struct Section {
    /// Its anchor.
    pub(crate) id: &'static str,
    /// Its heading.
    pub(crate) title: &'static str,
    /// Its HTML, ready to print.
    pub(crate) body: String,
}

const STYLE: &str = include_str!("style.css");

const HOW_TO_READ: &str = "Every accuracy is the share of next tokens guessed right, in per cent, on text no model was trained on: \
    English shows what is kept of the old skill, Code and Math what is gained. \
    Their mean ranks the methods, as in the paper (arXiv 2410.10181).";

/// The whole page of a report.
pub(super) fn page(report: &Report, sections: &[Section]) -> String {
    let mut lead: String = report.summary.iter().map(|sentence| paragraph(" class=\"lead\"", sentence)).collect();
    if !(report.rows.is_empty() && report.seeds.is_empty()) {
        lead.push_str(&paragraph("", HOW_TO_READ));
    }
    around(&report.title, &lead, sections)
}

fn paragraph(attributes: &str, sentence: &str) -> String {
    format!("<p{attributes}>{}</p>\n", escape(sentence))
}

/// A page of a heading, what stands below it as HTML, and sections.
pub(crate) fn around(title: &str, lead: &str, sections: &[Section]) -> String {
    let title = escape(title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n"
    );
    out.push_str(lead);
    out.push_str("<nav aria-label=\"Contents\"><ul>\n");
    for Section { id, title, .. } in sections {
        out.push_str(&format!("<li><a href=\"#{id}\">{title}</a></li>\n"));
    }
    out.push_str("</ul></nav>\n</header>\n<main>\n");
    for Section { id, title, body } in sections {
        out.push_str(&format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{body}</section>\n"));
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// Where and with what the figures were made.
pub(crate) fn environment(pairs: &[(String, String)]) -> Option<Section> {
    if pairs.is_empty() {
        return None;
    }
    let mut body = String::from("<dl class=\"environment\">\n");
    for (name, value) in pairs {
        body.push_str(&format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value)));
    }
    body.push_str("</dl>\n");
    Some(Section { id: "environment", title: "Environment", body })
}
