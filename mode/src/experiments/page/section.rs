//! An experiment's findings as a section of a page: words, tables and verdicts, as Markdown and as HTML.

use super::plot::Figure;
use crate::experiments::Experiment;
use crate::experiments::results::finding::Finding;
use crate::experiments::results::numbers::{nats, points, signed};
use crate::experiments::results::statistics::hold;
use crate::report::{DomainGates, GateTable, ReportError, escape, gate_maps};

/// What stands above mean gate weights.
const GATES: &str = "Mean gate weights over all tokens of the test text and all seeds, by block; those of all branches in a block add up to 1. \
    A gate that works opens a branch on the text of its own domain.";

/// What stands above accuracies.
pub const ACCURACY: &str = "Next-token accuracy in per cent; ± is where another seed would lie, 19 times in 20";

/// What stands above verdicts.
const VERDICTS: &str = "Differences in percentage points with 95 % intervals over seeds and text";

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

impl Table {
    fn markdown(&self) -> String {
        let row = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
        };
        let rows: String = self.rows.iter().map(|cells| row(cells)).collect();
        format!("{}\n\n{}{}{rows}\n", self.caption, row(&self.head), row(&vec!["---".into(); self.head.len()]))
    }
}

/// A section.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// Paragraphs before the tables.
    pub lead: Vec<String>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Mean gate weights of models.
    pub gates: Vec<GateTable>,
    /// What the program printed, each with what it shows.
    pub printed: Vec<(String, String)>,
    /// Verdicts.
    pub findings: Vec<Finding>,
    /// The command that made it.
    pub command: String,
}

/// Mean gate weights as a table: a row a model and domain, a column a block, in its cells the branches' weights.
fn gate_table(models: &[GateTable]) -> Table {
    let blocks = models.iter().flat_map(|model| &model.domains).map(|domain| domain.weights.len()).max().unwrap_or(0);
    let row = |model: &GateTable, domain: &DomainGates| {
        let weights = |block: usize| {
            let weights = domain.weights.get(block).into_iter().flatten().map(|weight| format!("{weight:.2}"));
            weights.collect::<Vec<_>>().join(" / ")
        };
        let words = [model.name.clone(), model.branches.join(" / "), domain.domain.clone()];
        words.into_iter().chain((0..blocks).map(weights)).collect()
    };
    let heads = ["Cell", "Branches", "Text"].map(String::from).into_iter();
    Table {
        caption: GATES.into(),
        head: heads.chain((1..=blocks).map(|block| format!("Block {block}"))).collect(),
        rows: models.iter().flat_map(|model| model.domains.iter().map(move |domain| row(model, domain))).collect(),
    }
}

/// The table of verdicts.
fn verdicts(section: &Section) -> Table {
    let head = ["Claim", "There", "Here", "Verdict", "p", "Loss", "Detectable", "Seeds", "Compared"];
    let row = |(finding, is_held): (&Finding, bool)| {
        let chance = finding.chance();
        let p = if chance < 0.001 { "< 0.001".into() } else { format!("{chance:.3}") };
        vec![
            finding.claim.clone(),
            finding.paper.map_or_else(|| "–".into(), signed),
            points(finding.measured),
            finding.verdict().words(finding.paper.is_none()).into(),
            if is_held { p + " *" } else { p },
            finding.loss.map_or_else(|| "–".into(), nats),
            format!("{:.2}", 100.0 * finding.detectable()),
            finding.seeds_wanted().map_or_else(|| "–".into(), |seeds| seeds.to_string()),
            finding.compared.clone(),
        ]
    };
    let rows = section.findings.iter().zip(section.held()).map(row).collect();
    Table { caption: VERDICTS.into(), head: head.map(String::from).to_vec(), rows }
}

impl Section {
    /// One of an experiment, yet without anything in it.
    pub fn of(experiment: &Experiment) -> Self {
        Self { title: experiment.title, ..Self::default() }
    }

    /// Which of its findings are none of chance beside all others of it.
    pub fn held(&self) -> Vec<bool> {
        hold(&self.findings.iter().map(Finding::chance).collect::<Vec<_>>())
    }

    fn all_tables(&self) -> Vec<Table> {
        let verdicts = (!self.findings.is_empty()).then(|| verdicts(self));
        self.tables.iter().cloned().chain(verdicts).collect()
    }

    /// As Markdown, below a heading of the second level.
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        for paragraph in &self.lead {
            text.push_str(&format!("{paragraph}\n\n"));
        }
        self.all_tables().iter().for_each(|table| text.push_str(&table.markdown()));
        for figure in &self.figures {
            text.push_str(&format!("![{0}](figures/{1}.svg)\n\n{0}\n\n", figure.caption, figure.name));
        }
        if !self.gates.is_empty() {
            text.push_str(&gate_table(&self.gates).markdown());
        }
        for (caption, printed) in &self.printed {
            text.push_str(&format!("{caption}\n\n```text\n{printed}\n```\n\n"));
        }
        if !self.command.is_empty() {
            text.push_str(&format!("`{}`\n", self.command));
        }
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
        if !self.gates.is_empty() {
            body.push_str(&format!("<p>{GATES}</p>\n{}", gate_maps(&self.gates)));
        }
        for (caption, printed) in &self.printed {
            body.push_str(&format!("<p>{}</p>\n<pre>{}</pre>\n", escape(caption), escape(printed)));
        }
        if !self.command.is_empty() {
            body.push_str(&format!("<p class=\"note\"><code>{}</code></p>\n", escape(&self.command)));
        }
        Ok(body)
    }
}
