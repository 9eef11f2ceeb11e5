//! What each run trained and what it left alone, proved by hashes.

use super::data::{FrozenNote, Verdict};
use super::page::Section;
use super::table::{row_head, table, words};
use super::text::{NONE, bytes, count, escape};

/// Hexadecimal digits of a hash that are shown; the whole hash is the cell's tooltip.
const DIGITS: usize = 12;

const COLUMNS: [&str; 6] = ["Run:", "Trained:", "Frozen:", "SHA-256 before:", "after:", "Verdict:"];

/// The section on trained and frozen parameters.
pub(super) fn section(notes: &[FrozenNote]) -> Option<Section> {
    if notes.is_empty() {
        return None;
    }
    let rows = notes.iter().map(|note| {
        row_head(&escape(&note.run))
            + &part(&note.trained, note.trained_parameters, note.trained_bytes)
            + &part(&note.frozen, note.frozen_parameters, note.frozen_bytes)
            + &hash(&note.sha256_before)
            + &hash(&note.sha256_after)
            + &verdict(note.verdict())
    });
    let body = table("Frozen parameters, hashed before and after each run.", &COLUMNS, rows);
    Some(Section { id: "frozen", title: "Trained and frozen", body })
}

fn part(what: &str, parameters: u64, size: u64) -> String {
    if parameters == 0 {
        return words(NONE);
    }
    let numbers = format!("{} parameters, {}", count(parameters), bytes(size));
    format!("<td class=\"words part\">{} <small>{numbers}</small></td>", escape(what))
}

fn hash(hex: &str) -> String {
    if hex.is_empty() {
        return words(NONE);
    }
    let short: String = hex.chars().take(DIGITS).collect();
    format!("<td class=\"words\"><code title=\"{}\">{}</code></td>", escape(hex), escape(&short))
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::NothingFrozen => words("nothing frozen"),
        Verdict::Unchecked => words("not checked"),
        Verdict::BitIdentical => "<td class=\"words good\">✓ bit-identical</td>".to_string(),
        Verdict::Changed => "<td class=\"words bad\">✗ changed</td>".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(frozen: u64, before: &str, after: &str) -> FrozenNote {
        FrozenNote {
            frozen_parameters: frozen,
            sha256_before: before.into(),
            sha256_after: after.into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_verdict_follows_the_hashes() {
        assert_eq!(note(0, "", "").verdict(), Verdict::NothingFrozen);
        assert_eq!(note(9, "ab", "").verdict(), Verdict::Unchecked);
        assert_eq!(note(9, "ab", "AB").verdict(), Verdict::BitIdentical);
        assert_eq!(note(9, "ab", "ac").verdict(), Verdict::Changed);
    }

    #[test]
    fn a_hash_that_is_not_ascii_is_cut_at_a_character() {
        assert!(hash(&"é".repeat(40)).contains(&format!(">{}<", "é".repeat(DIGITS))));
    }
}
