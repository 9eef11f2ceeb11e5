//! HTML tables that scroll inside their own box on a narrow screen.

use super::text::escape;

/// A data cell of words.
pub(super) fn words(text: &str) -> String {
    format!("<td class=\"words\">{}</td>", escape(text))
}

/// A data cell with a number that is already printed.
pub(super) fn number(printed: &str) -> String {
    format!("<td>{printed}</td>")
}

/// The number that was best or chosen, marked by more than its colour; `why` is read aloud.
pub(super) fn marked(printed: &str, why: &str) -> String {
    format!("<td class=\"best\"><b>{printed}</b> <span role=\"img\" aria-label=\"{why}\">★</span></td>")
}

/// The cell that names its row.
pub(super) fn row_head(html: &str) -> String {
    format!("<th scope=\"row\">{html}</th>")
}

/// A table. The first of `columns` heads the row names; a column whose name ends in `:` holds words, the others numbers.
///
/// The caption stands outside the scrolling box, where it wraps with the page and stays in sight.
pub(super) fn table(caption: &str, columns: &[&str], rows: impl IntoIterator<Item = String>) -> String {
    let caption = escape(caption);
    let mut out = format!(
        "<figure class=\"table\"><figcaption>{caption}</figcaption>\n\
         <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\"><table>\n<thead><tr>"
    );
    for column in columns {
        out.push_str(&match column.strip_suffix(':') {
            Some(name) => format!("<th scope=\"col\" class=\"words\">{}</th>", escape(name)),
            None => format!("<th scope=\"col\">{}</th>", escape(column)),
        });
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str(&format!("<tr>{row}</tr>\n"));
    }
    out.push_str("</tbody></table></div></figure>\n");
    out
}
