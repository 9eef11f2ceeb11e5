//! Tells the comments of Rust source from everything else.
//!
//! Just enough of a lexer to be right about it: nested block comments, strings and raw strings (in
//! which `//` is text), and the quote of a lifetime as against that of a character.

/// What a stretch of source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything the compiler reads.
    Code,
    /// A comment for readers of the source.
    Comment,
    /// A comment for users of the item: `///`, `//!`, `/** */`, `/*! */`.
    Doc,
}

/// Cuts `source` into stretches of one kind each; joined, they are `source` again.
pub fn stretches(source: &str) -> Vec<(Kind, &str)> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < source.len() {
        let rest = &source[at..];
        if rest.starts_with("//") || rest.starts_with("/*") {
            let comment = &rest[..comment_len(rest)];
            if start < at {
                found.push((Kind::Code, &source[start..at]));
            }
            found.push((kind_of(comment), comment));
            at += comment.len();
            start = at;
        } else {
            at += token_len(rest);
        }
    }
    if start < source.len() {
        found.push((Kind::Code, &source[start..]));
    }
    found
}

/// The source without its comments, without lines that held nothing else, and with runs of blank
/// lines (in strings too: this is for reading, not for compiling) made one.
pub fn without_comments(source: &str) -> String {
    // A mark where a comment was tells a line that held only a comment from a blank line.
    const MARK: char = '\u{0}';
    let marked: String =
        stretches(source).into_iter().map(|(kind, text)| if kind == Kind::Code { text } else { "\u{0}" }).collect();
    let mut out = String::with_capacity(marked.len());
    for line in marked.lines() {
        let code = line.replace(MARK, "");
        let code = code.trim_end();
        if !code.is_empty() {
            out.push_str(code);
            out.push('\n');
        } else if !line.contains(MARK) && !out.ends_with("\n\n") && !out.is_empty() {
            out.push('\n');
        }
    }
    out
}

fn kind_of(comment: &str) -> Kind {
    let doc = match comment.get(..3) {
        Some("///") => !comment.starts_with("////"),
        Some("/**") => !comment.starts_with("/***") && comment != "/**/",
        Some("//!" | "/*!") => true,
        _ => false,
    };
    if doc { Kind::Doc } else { Kind::Comment }
}

fn comment_len(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    let (mut depth, mut at) = (0, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the token that `text` begins with; a token is only told apart as far as needed.
fn token_len(text: &str) -> usize {
    let word = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    if word > 0 {
        let raw = matches!(&text[..word], "r" | "br" | "cr");
        return if raw { word + raw_string_len(&text[word..]) } else { word };
    }
    match text.as_bytes()[0] {
        b'"' => quoted_len(text, '"'),
        b'\'' if is_char(&text[1..]) => quoted_len(text, '\''),
        _ => text.chars().next().map_or(1, char::len_utf8),
    }
}

/// Whether what follows a `'` makes a character (`a'`, `\n'`) and not a lifetime (`a`).
fn is_char(after: &str) -> bool {
    let mut chars = after.chars();
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The length of `#"..."#` with its number of hashes; 0 if a raw identifier or anything else.
fn raw_string_len(text: &str) -> usize {
    let hashes = text.bytes().take_while(|&b| b == b'#').count();
    if text.as_bytes().get(hashes) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", &text[..hashes]);
    let open = hashes + 1;
    text[open..].find(&end).map_or(text.len(), |at| open + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        let code = stretches(source).into_iter().filter(|(kind, _)| *kind == Kind::Code);
        code.map(|(_, text)| text).collect()
    }

    #[test]
    fn the_stretches_make_the_source_again() {
        let source = include_str!("rust_lexer.rs");
        assert_eq!(stretches(source).into_iter().map(|(_, text)| text).collect::<String>(), source);
    }

    #[test]
    fn comments_of_all_sorts_are_told() {
        let kinds = |s| stretches(s).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
        assert_eq!(kinds("/// a\n//// b"), [Kind::Doc, Kind::Code, Kind::Comment]);
        assert_eq!(kinds("//! a"), [Kind::Doc]);
        assert_eq!(kinds("/** a */"), [Kind::Doc]);
        assert_eq!(kinds("/**/"), [Kind::Comment]);
        assert_eq!(kinds("// ż"), [Kind::Comment]);
    }

    #[test]
    fn block_comments_nest() {
        assert_eq!(code("a /* b /* c */ d */ e"), "a  e");
        assert_eq!(code("a /* never closed"), "a ");
    }

    #[test]
    fn slashes_in_strings_are_text() {
        for literal in [
            r#""http://x""#,
            r#""\"//""#,
            r##"r"//\""##,
            r###"r#"a " // b"#"###,
            r###"br##"a "# // b"##"###,
            r#"b"//""#,
            r#"c"/*""#,
            r#"'"' , "//""#,
            r#"b'"', "/*""#,
            r"'\'', '/', '\u{2F}'",
        ] {
            assert_eq!(code(&format!("{literal} x // gone")), format!("{literal} x "));
        }
    }

    #[test]
    fn lifetimes_and_raw_identifiers_open_nothing() {
        assert_eq!(code("fn f<'a>(x: &'a str) {} // \""), "fn f<'a>(x: &'a str) {} ");
        assert_eq!(code("r#type // '"), "r#type ");
        assert_eq!(code("for\"//\""), "for\"//\"");
    }

    #[test]
    fn lines_of_comments_leave_no_gap() {
        let source = "//! Doc\n\n/// A\nfn a() {} // x\n// B\nfn b() {}\n\n// c\n\n\nfn c() {}\n";
        assert_eq!(without_comments(source), "fn a() {}\nfn b() {}\n\nfn c() {}\n");
    }
}
