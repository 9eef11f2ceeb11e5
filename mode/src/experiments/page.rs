//! An experiment's findings as a section of a page: words, tables and verdicts, as Markdown and as HTML.

use super::Experiment;
use super::finding::Finding;
use super::plot::Figure;
use super::statistics::Interval;
use crate::report::{ReportError, escape};

/// A table.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Headings.
    pub head: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
}

/// A section.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Paragraphs before the tables.
    pub lead: Vec<String>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Verdicts.
    pub findings: Vec<Finding>,
    /// The command that made it.
    pub command: String,
}

/// A fraction in per cent with its interval.
pub fn percent(interval: Interval) -> String {
    let half = if interval.half.is_finite() { format!("{:.2}", 100.0 * interval.half) } else { "?".into() };
    format!("{:.2} ± {half}", 100.0 * interval.mean)
}

/// A difference in percentage points with its interval.
pub fn points(interval: Interval) -> String {
    let sign = if interval.mean < 0.0 { "−" } else { "+" };
    let half = if interval.half.is_finite() { format!("{:.2}", 100.0 * interval.half) } else { "?".into() };
    format!("{sign}{:.2} ± {half}", 100.0 * interval.mean.abs())
}

/// The table of verdicts.
fn verdicts(findings: &[Finding]) -> Table {
    let head = ["The paper finds", "There", "Here", "Verdict", "Detectable", "Seeds", "Compared"];
    let row = |finding: &Finding| {
        vec![
            finding.claim.clone(),
            finding.paper.map_or_else(|| "–".into(), |points| format!("{points:+.2}").replace('-', "−")),
            points(finding.measured),
            finding.verdict().words().into(),
            format!("{:.2}", 100.0 * finding.detectable()),
            finding.seeds_wanted().map_or_else(|| "–".into(), |seeds| seeds.to_string()),
            finding.compared.clone(),
        ]
    };
    Table {
        caption: "Differences in percentage points with 95 % intervals over seeds and text; detectable: what these seeds find four times \
                  in five; seeds: how many would so find a difference as great as ours."
            .into(),
        head: head.map(String::from).to_vec(),
        rows: findings.iter().map(row).collect(),
    }
}

impl Section {
    /// One of an experiment, yet without anything in it.
    pub fn of(experiment: &Experiment) -> Self {
        let command = format!("mode experiment {} --scale tiny", experiment.name);
        Self { title: experiment.title.into(), command, ..Self::default() }
    }

    fn all_tables(&self) -> Vec<Table> {
        let verdicts = (!self.findings.is_empty()).then(|| verdicts(&self.findings));
        self.tables.iter().cloned().chain(verdicts).collect()
    }

    /// As Markdown, below a heading of the second level.
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        for paragraph in &self.lead {
            text.push_str(&format!("{paragraph}\n\n"));
        }
        for table in self.all_tables() {
            text.push_str(&format!("{}\n\n", table.caption));
            let row = |cells: &[String]| {
                format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
            };
            text.push_str(&row(&table.head));
            text.push_str(&row(&vec!["---".into(); table.head.len()]));
            table.rows.iter().for_each(|cells| text.push_str(&row(cells)));
            text.push('\n');
        }
        for figure in &self.figures {
            text.push_str(&format!("![{0}](figures/{1}.svg)\n\n{0}\n\n", figure.caption, figure.name));
        }
        text.push_str(&format!("`{}`\n", self.command));
        text
    }

    /// As HTML, for the inside of a section.
    ///
    /// # Errors
    /// What the drawing library reports.
    pub fn html(&self) -> Result<String, ReportError> {
        let mut body = String::new();
        for paragraph in &self.lead {
            body.push_str(&format!("<p>{}</p>\n", escape(paragraph)));
        }
        for table in self.all_tables() {
            let cells = |tag: &str, cells: &[String]| {
                cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>()
            };
            let rows: String = table.rows.iter().map(|row| format!("<tr>{}</tr>\n", cells("td", row))).collect();
            body.push_str(&format!(
                "<div class=\"table\"><table>\n<caption>{}</caption>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n",
                escape(&table.caption),
                cells("th scope=\"col\"", &table.head).replace("</th scope=\"col\">", "</th>"),
            ));
        }
        for figure in &self.figures {
            let caption = escape(&figure.caption);
            body.push_str(&format!("<figure>\n{}\n<figcaption>{caption}</figcaption>\n</figure>\n", figure.svg()?));
        }
        Ok(body + &format!("<p class=\"note\"><code>{}</code></p>\n", escape(&self.command)))
    }
}
