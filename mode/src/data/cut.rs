//! Cuts a long text into pieces at the best places: paragraphs, then lines, then words.

/// Where a cut reads best, best first. A blank line before an unindented line ends a paragraph of
/// prose as well as an item of source code.
const SEAMS: [&str; 3] = ["\n\n", "\n", " "];

/// Cuts `text` into pieces of at most `limit` bytes (a single character may be longer); the pieces
/// have no blank lines at their ends, and no text is lost but the white space at the seams.
pub fn pieces(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_end().trim_start_matches('\n');
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(seam(rest, limit));
        pieces.push(piece.trim_end());
        rest = after.trim_start_matches('\n');
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The byte offset at which the first piece of `text` ends.
fn seam(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    let most = text.floor_char_boundary(limit);
    let head = &text[..most];
    // A seam in the first quarter would leave a crumb; a poorer seam further on reads better.
    let far_enough = |at: &usize| *at >= limit / 4;
    let top_level = head
        .rmatch_indices(SEAMS[0])
        .map(|(at, _)| at)
        .find(|at| far_enough(at) && text[at + 2..].starts_with(|c: char| !c.is_whitespace() && c != '}'));
    top_level
        .or_else(|| SEAMS.iter().find_map(|seam| head.rfind(seam).filter(far_enough)))
        .unwrap_or_else(|| most.max(text.chars().next().map_or(0, char::len_utf8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_one_piece() {
        assert_eq!(pieces("\nHello\n\nyou\n", 100), ["Hello\n\nyou"]);
        assert!(pieces("\n \n", 100).is_empty());
    }

    #[test]
    fn paragraphs_come_before_lines_and_lines_before_words() {
        assert_eq!(pieces("aa aa\n\nbb bb\ncc cc", 14), ["aa aa", "bb bb\ncc cc"]);
        assert_eq!(pieces("bb bb\ncc cc", 9), ["bb bb", "cc cc"]);
        assert_eq!(pieces("bb bb bb", 6), ["bb bb", " bb"]);
    }

    #[test]
    fn an_item_is_cut_at_its_end_rather_than_inside() {
        let code = "fn a() {\n    x();\n}\n\nfn b() {\n    y();\n\n    z();\n}";
        assert_eq!(pieces(code, 42)[0], "fn a() {\n    x();\n}");
    }

    #[test]
    fn no_text_is_lost_and_no_piece_is_too_long() {
        let text = "zażółć gęślą jaźń ".repeat(50) + &"ó".repeat(300);
        let cut = pieces(&text, 64);
        assert!(cut.iter().all(|piece| piece.len() <= 64));
        let squeeze = |s: &str| s.split_whitespace().collect::<String>();
        assert_eq!(squeeze(&cut.concat()), squeeze(&text));
    }

    #[test]
    fn a_limit_below_one_character_still_ends() {
        assert_eq!(pieces("żó", 1), ["ż", "ó"]);
    }
}
