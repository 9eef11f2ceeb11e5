//! Markdown to prose: what a reader would hear if the page were read aloud.
//!
//! Code blocks, tables, badges, link targets and HTML go; hard-wrapped lines are joined again; a
//! paragraph stays if it reads as a sentence, and a heading if a paragraph that stays follows it.

/// The fewest words of a paragraph; shorter ones are labels and signatures.
const FEWEST_WORDS: usize = 6;

/// The least share of letters and spaces in a paragraph; below it, it is notation.
const LEAST_LETTERS: f64 = 0.88;

/// The paragraphs of a markdown text that read as prose, one line each.
pub fn paragraphs(markdown: &str) -> Vec<String> {
    let mut kept = Vec::new();
    let mut heading = None;
    for block in blocks(markdown) {
        let text = plain(&block);
        if block.starts_with('#') {
            heading = Some(text);
        } else if is_prose(&text) {
            kept.extend(heading.take().filter(|h| reads_as_title(h)));
            kept.push(text);
        }
    }
    // What the last paragraph announced was an example, and is gone.
    while kept.last().is_some_and(|paragraph| paragraph.ends_with(':')) {
        kept.pop();
    }
    kept
}

/// The blocks of a page that may be prose, each joined to one line; headings keep their `#`.
fn blocks(markdown: &str) -> Vec<String> {
    let mut blocks: Vec<String> = vec![String::new()];
    let mut fence: Option<&str> = None;
    let mut in_list = false;
    for line in markdown.lines() {
        let text = line.trim();
        let mark = ["```", "~~~"].into_iter().find(|mark| text.starts_with(mark));
        if fence.is_some() || mark.is_some() {
            fence = match fence {
                Some(open) if mark == Some(open) => None,
                Some(open) => Some(open),
                None => mark,
            };
            blocks.push(String::new());
            continue;
        }
        let after_gap = blocks.last().is_none_or(String::is_empty);
        let indented_code = after_gap && !in_list && line.starts_with("    ");
        if text.is_empty() || indented_code || is_markup(text) {
            blocks.push(String::new());
        } else if text.starts_with('#') {
            in_list = false;
            blocks.extend([text.to_owned(), String::new()]);
        } else if let Some(item) = list_item(text) {
            in_list = true;
            blocks.push(item.to_owned());
        } else if let Some(block) = blocks.last_mut() {
            in_list &= !after_gap || line.starts_with(' ');
            if !block.is_empty() {
                block.push(' ');
            }
            block.push_str(text.trim_start_matches("> "));
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// Whether a line is a table row, a rule, a link definition or the start of HTML.
fn is_markup(text: &str) -> bool {
    let rule = text.len() >= 3 && text.chars().all(|c| "-=*_ ".contains(c));
    let definition = text.starts_with('[') && text.contains("]:");
    rule || definition || text.starts_with(['|', '<'])
}

fn list_item(text: &str) -> Option<&str> {
    let bullet = ["- ", "* ", "+ "].iter().find_map(|mark| text.strip_prefix(mark));
    bullet.or_else(|| {
        let (number, item) = text.split_once(". ")?;
        (number.len() <= 2 && number.bytes().all(|b| b.is_ascii_digit())).then_some(item)
    })
}

/// The text without its inline markup.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim_start_matches('#');
    let mut in_code = false;
    while let Some(c) = rest.chars().next() {
        let next = &rest[c.len_utf8()..];
        rest = match c {
            '`' => {
                in_code = !in_code;
                next.trim_start_matches('`')
            }
            _ if in_code => push(&mut out, c, next),
            '\\' => next,
            '*' => next,
            '_' if !out.ends_with(char::is_alphanumeric) || !next.starts_with(char::is_alphanumeric) => next,
            '<' => after_tag(next).unwrap_or_else(|| push(&mut out, c, next)),
            '!' if next.starts_with('[') => after_link(next).map_or(next, |(_, after)| after),
            '[' => match after_link(rest) {
                Some((label, after)) => {
                    out.push_str(&plain(label));
                    after
                }
                None => next,
            },
            _ => push(&mut out, c, next),
        };
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn push<'a>(out: &mut String, c: char, next: &'a str) -> &'a str {
    out.push(c);
    next
}

/// What follows an HTML tag or an autolink whose `<` was read.
fn after_tag(text: &str) -> Option<&str> {
    let end = text.find('>')?;
    let tag = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '/' || c == '!');
    tag.then(|| &text[end + 1..])
}

/// For text at the `[` of a link or image: its label, and what follows the link's target.
fn after_link(text: &str) -> Option<(&str, &str)> {
    let label_len = matching(text, '[', ']')?;
    let label = &text[1..label_len];
    let after = &text[label_len + 1..];
    let (open, close) = if after.starts_with('(') { ('(', ')') } else { ('[', ']') };
    let target = if after.starts_with(open) { matching(after, open, close) } else { None };
    Some((label, target.map_or(after, |end| &after[end + 1..])))
}

/// The offset of the bracket that closes the one `text` begins with.
fn matching(text: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0;
    text.char_indices().find_map(|(at, c)| {
        depth += i32::from(c == open) - i32::from(c == close);
        (depth == 0).then_some(at)
    })
}

fn is_prose(text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic() || *c == ' ').count();
    let all = text.chars().count();
    text.split(' ').count() >= FEWEST_WORDS
        && text.ends_with(['.', '!', '?', ':', ')'])
        && !text.contains("://")
        && letters as f64 >= LEAST_LETTERS * all as f64
}

/// Whether a heading says something: not a version, a date, or the label of an example that is gone.
fn reads_as_title(heading: &str) -> bool {
    const LABELS: [&str; 14] = [
        "example",
        "usage",
        "panic",
        "safety",
        "error",
        "added",
        "changed",
        "fixed",
        "note",
        "parameter",
        "argument",
        "return",
        "see also",
        "valid",
    ];
    let lower = heading.to_lowercase();
    heading.chars().filter(|c| c.is_alphabetic()).count() * 10 >= heading.chars().count() * 8
        && !LABELS.iter().any(|label| lower.starts_with(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_are_joined_and_markup_goes() {
        let page = "A **fast** and [`correct`](https://x.y/(z)) engine,\nwrapped *here* by [Ada][1].";
        assert_eq!(paragraphs(page), ["A fast and correct engine, wrapped here by Ada."]);
    }

    #[test]
    fn code_tables_badges_and_definitions_go() {
        let page = "[![badge](https://b)](https://c)\n\n```rust\nlet this = \"is code that is long enough.\";\n```\n\n\
                    | a table row | that has | some words in it. |\n\n    indented code that has words in it.\n\n\
                    [1]: https://target\n\nOnly this sentence stays in the end.\n";
        assert_eq!(paragraphs(page), ["Only this sentence stays in the end."]);
    }

    #[test]
    fn a_heading_stays_only_before_prose() {
        let page = "# Why it works\n\nBecause somebody once took the time.\n\n## Example\n\nSee how the code below does it:\n\n## Empty\n";
        assert_eq!(paragraphs(page), ["Why it works", "Because somebody once took the time."]);
    }

    #[test]
    fn list_items_stand_alone_and_go_on_over_gaps() {
        let page = "- the first item is a whole sentence,\n  over two lines.\n- short\n\n1. the second item is one as well.\n\n    It has a second paragraph below it.";
        assert_eq!(
            paragraphs(page),
            [
                "the first item is a whole sentence, over two lines.",
                "the second item is one as well.",
                "It has a second paragraph below it."
            ]
        );
    }

    #[test]
    fn names_keep_their_underscores_and_generics() {
        assert_eq!(plain("_use_ `Vec<T>` or some_name<br> \\*now\\*"), "use Vec<T> or some_name now");
        assert_eq!(plain("an open [ bracket and a lone < sign"), "an open bracket and a lone < sign");
    }
}
