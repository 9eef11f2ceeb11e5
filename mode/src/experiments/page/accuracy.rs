//! The table of accuracies: a row a cell, its figures on Math, Code and English and their mean, as the paper's Table 1 has them.

use super::section::{ACCURACY, Table};
use crate::data::DOMAINS;
use crate::experiments::results::Line;
use crate::experiments::results::finding::Findings;

/// What stands beside accuracies.
#[derive(Debug, Clone, Copy)]
pub enum Beside {
    /// Parameters of the whole model.
    Parameters,
    /// Those that the last stage trains.
    Trained,
    /// Tokens that it was trained on.
    Tokens,
    /// Learning rates.
    Rate,
}

impl Beside {
    fn head(self) -> &'static str {
        match self {
            Self::Parameters => "Parameters",
            Self::Trained => "Trained last",
            Self::Tokens => "Tokens",
            Self::Rate => "Rate",
        }
    }

    fn of(self, found: &Findings, cell: &str) -> String {
        let of_line = |number: fn(&Line) -> u64| found.of(cell).first().map_or(0, |line| number(line)).to_string();
        match self {
            Self::Parameters => of_line(|line| line.params_total),
            Self::Trained => of_line(|line| line.params_trained),
            Self::Tokens => of_line(|line| line.tokens_seen),
            Self::Rate => found.rate(cell),
        }
    }
}

/// The cells that were measured, in this order.
pub fn accuracies(found: &Findings, cells: impl IntoIterator<Item = String>, beside: &[Beside]) -> Table {
    let row = |cell: String| {
        let accuracy = [&DOMAINS[2..], &DOMAINS[1..2], &DOMAINS[..1], &DOMAINS].map(|on| found.percent(&cell, on));
        let words: Vec<String> = beside.iter().map(|column| column.of(found, &cell)).collect();
        let loss = found.loss(&cell, &DOMAINS);
        [vec![cell], words, accuracy.to_vec(), vec![loss]].concat()
    };
    let of_beside: Vec<&str> = beside.iter().map(|column| column.head()).collect();
    let head = [&["Cell"], &of_beside[..], &["Math", "Code", "English", "Mean", "Loss, nats"]].concat();
    Table {
        caption: ACCURACY.into(),
        head: head.into_iter().map(String::from).collect(),
        rows: cells.into_iter().filter(|cell| !found.of(cell).is_empty()).map(row).collect(),
    }
}
