//! English and Code without a download: the project's own dependencies, as cargo unpacked them.
//!
//! English is the prose of their documentation comments and of their README and CHANGELOG files;
//! Code is their Rust source without comments. The packages and their versions are fixed here, and
//! all of them are built on every platform, so that whoever built this program has the same text.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::rust_lexer::{Kind, stretches, without_comments};
use super::{Corpus, DataError, cut, prose, source};

/// Bytes of text at which a built-in corpus stops.
const CAP: usize = 3_000_000;

/// Bytes of the longest document: a page of text, a screenful of code.
const PIECE: usize = 4_000;

/// Bytes at which a document of joined comments is long enough to be closed.
const JOINED: usize = 1_500;

/// Bytes below which a document is not worth keeping.
const CRUMB: usize = 200;

/// Bytes below which an item's documentation is a label ("Returns the length.") and no prose.
const LABEL: usize = 160;

/// Packages of the release build on every platform, with the versions of `Cargo.lock`; those whose
/// sources are readable and whose documentation is written in sentences.
const PACKAGES: &str = include_str!("packages.txt");

/// The packages (name, version) that [`english`] and [`code`] read.
pub fn packages() -> impl Iterator<Item = (&'static str, &'static str)> {
    PACKAGES.lines().filter_map(|line| line.split_once(' '))
}

/// The built-in English corpus: 2 to 3 MB of technical prose.
///
/// # Errors
/// [`DataError::NoPackage`] or [`DataError::NoCargoHome`] where a package's source is not on this
/// machine, [`DataError::Read`] where it cannot be read.
pub fn english() -> Result<Corpus, DataError> {
    let texts = extract(
        "english",
        |_| true,
        |path, text| join(if path.ends_with(".rs") { doc_prose(text) } else { prose::paragraphs(text) }),
    )?;
    Ok(Corpus::of_texts("English", texts, CAP))
}

/// The built-in Code corpus: 2 to 3 MB of Rust without comments.
///
/// # Errors
/// As [`english`].
pub fn code() -> Result<Corpus, DataError> {
    Ok(Corpus::of_texts("Code", code_of(|_| true)?, CAP))
}

/// The Rust of some of the [`packages`] alone, by the same rules and with the same splits.
///
/// # Errors
/// As [`english`].
pub fn code_by_packages(name: &str, of: &[&str]) -> Result<Corpus, DataError> {
    Ok(Corpus::of_texts(name, code_of(|package| of.contains(&package))?, CAP))
}

fn code_of(wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>, DataError> {
    extract("code", wanted, |path, text| {
        let code = if path.ends_with(".rs") { without_comments(text) } else { String::new() };
        let pieces = cut::pieces(&code, PIECE).into_iter().filter(|piece| piece.len() >= CRUMB);
        pieces.map(str::to_owned).collect()
    })
}

/// The named texts that `reader` makes of the files of each package wanted (given a path and the text), in the
/// order of the list and then of the paths.
fn extract(
    flag: &str,
    wanted: impl Fn(&str) -> bool,
    reader: impl Fn(&str, &str) -> Vec<String> + Sync,
) -> Result<Vec<(String, String)>, DataError> {
    let registries = registries(flag)?;
    let of_packages: Vec<_> = packages()
        .filter(|(package, _)| wanted(package))
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(package, version)| {
            let folder = find(&registries, package, version, flag)?;
            let mut files = source::text_files(&folder, &readable)?;
            files.retain(|(_, text)| written_by_hand(text));
            let named = files.into_iter().flat_map(|(path, text)| {
                let texts = reader(&path, &text).into_iter().enumerate();
                texts.map(|(n, text)| (format!("{package}/{path}#{n}"), text)).collect::<Vec<_>>()
            });
            Ok(named.collect::<Vec<_>>())
        })
        .collect::<Result<_, DataError>>()?;
    Ok(of_packages.into_iter().flatten().collect())
}

/// Cargo's folder of unpacked packages; it has one folder for each registry.
fn registries(flag: &str) -> Result<PathBuf, DataError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME")
        .or_else(|| Some(set("HOME").or_else(|| set("USERPROFILE"))?.join(".cargo")))
        .map(|home| home.join("registry").join("src"))
        .ok_or_else(|| DataError::NoCargoHome { flag: flag.to_owned() })
}

fn find(folder: &Path, package: &str, version: &str, flag: &str) -> Result<PathBuf, DataError> {
    let mut registries: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    registries.sort();
    let unpacked = format!("{package}-{version}");
    let found = registries.into_iter().map(|r| r.join(&unpacked)).find(|path| path.is_dir());
    found.ok_or_else(|| DataError::NoPackage {
        package: package.to_owned(),
        version: version.to_owned(),
        folder: folder.to_owned(),
        flag: flag.to_owned(),
    })
}

/// Whether a file's name lets one hope for text worth reading: no licences, no test data.
fn readable(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_uppercase();
    let aside = ["LICEN", "COPYING", "UNLICENSE", "NOTICE", "CODE_OF_CONDUCT"];
    let text = path.is_dir() || name.ends_with(".RS") || name.ends_with(".MD");
    text && !aside.iter().any(|a| name.contains(a)) && !["TESTDATA", "TABLES"].contains(&name.as_str())
}

/// Whether a text was written by somebody rather than by a program: not huge, not made of long
/// lines or of numbers, and not said to be generated.
fn written_by_hand(text: &str) -> bool {
    let said = text.get(..text.floor_char_boundary(600)).unwrap_or(text).to_lowercase();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let ink = text.bytes().filter(|b| !b.is_ascii_whitespace()).count();
    text.len() <= 200_000
        && text.lines().all(|line| line.len() <= 2_000)
        && digits * 8 <= ink
        && !["@generated", "do not edit", "automatically generated"].iter().any(|s| said.contains(s))
}

/// The prose of a source file's documentation comments.
fn doc_prose(source: &str) -> Vec<String> {
    // Line comments of one item follow each other with only a line's end between them.
    let mut blocks = vec![String::new()];
    for (kind, text) in stretches(source) {
        match kind {
            Kind::Doc => {
                let Some(block) = blocks.last_mut() else { continue };
                for line in text.trim_end_matches("*/").lines() {
                    let line = line.trim_start();
                    let marks = ["///", "//!", "/**", "/*!", "*"];
                    let line = marks.iter().find_map(|m| line.strip_prefix(m)).unwrap_or(line);
                    block.push_str(line.strip_prefix(' ').unwrap_or(line));
                    block.push('\n');
                }
            }
            _ if text.trim().is_empty() && text.matches('\n').count() == 1 => {}
            _ => blocks.push(String::new()),
        }
    }
    let items = blocks.iter().map(|block| prose::paragraphs(block));
    items.filter(|item| item.iter().map(String::len).sum::<usize>() >= LABEL).flatten().collect()
}

/// Joins paragraphs to documents of a moderate size; a paragraph that a file repeats counts once.
fn join(mut paragraphs: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    paragraphs.retain(|paragraph| seen.insert(paragraph.clone()));
    let mut documents = vec![String::new()];
    for paragraph in paragraphs.iter().flat_map(|paragraph| cut::pieces(paragraph, PIECE)) {
        if documents.last().is_some_and(|document| document.len() >= JOINED) {
            documents.push(String::new());
        }
        if let Some(document) = documents.last_mut() {
            document.push_str(paragraph);
            document.push_str("\n\n");
        }
    }
    let trimmed = documents.iter().map(|document| document.trim_end().to_owned());
    trimmed.filter(|document| document.len() >= CRUMB).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_locked_at_its_version() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
        let lock = std::fs::read_to_string(path).unwrap().replace("\r\n", "\n");
        for (name, version) in packages() {
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{name} {version} is not in Cargo.lock: update the list");
        }
    }

    #[test]
    fn the_built_in_corpora_are_large_clean_and_always_the_same() {
        for (corpus, again) in [(english(), english()), (code(), code())] {
            let corpus = corpus.unwrap();
            assert_eq!(corpus.sha256(), again.unwrap().sha256());
            assert!((2_000_000..=CAP).contains(&corpus.bytes()), "{}", corpus.bytes());
            for document in &corpus.documents {
                assert!((CRUMB..=2 * PIECE).contains(&document.text.len()), "{}", document.name);
                assert!(!document.text.contains('\r') && !document.name.contains('\\'));
            }
        }
    }

    #[test]
    fn comments_become_prose_and_labels_do_not() {
        let prose = "The engine reads what its makers wrote, and learns from it, slowly at first, \
                     then faster and faster.";
        let source = format!(
            "//! {prose}\n//! {prose}\n//!\n//! ```\n//! let x = 1;\n//! ```\n\n\
             /// The length of the thing in bytes.\nfn len() {{}} // {prose} {prose} {prose}\n"
        );
        assert_eq!(doc_prose(&source), [format!("{prose} {prose}")]);
        let starred = format!("/**\n * {prose}\n *\n * {prose}{prose}\n */\nstruct A;");
        assert_eq!(doc_prose(&starred), [prose.to_owned(), format!("{prose}{prose}")]);
    }

    #[test]
    fn tables_and_generated_files_are_left_out() {
        assert!(written_by_hand("fn main() { println!(\"hello\"); }"));
        assert!(!written_by_hand("// This file is @generated by a script\nfn main() {}"));
        assert!(!written_by_hand(&"0x1234, 5678, ".repeat(20)));
        assert!(!written_by_hand(&"x".repeat(2_001)));
        assert!(!readable(Path::new("a/LICENSE-MIT.md")) && readable(Path::new("a/README.md")));
    }

    #[test]
    fn a_missing_package_is_named_with_the_remedy() {
        let said = find(Path::new("nowhere"), "clap", "0.0.1", "code").unwrap_err().to_string();
        assert!(said.contains("clap 0.0.1") && said.contains("cargo fetch") && said.contains("--code"));
    }

    #[test]
    fn paragraphs_are_joined_until_a_document_is_long_enough() {
        let long = |word: &str| word.repeat(250);
        let paragraphs = vec![long("one "), long("one "), long("two "), long("tri "), "end".to_owned()];
        let documents = join(paragraphs);
        assert_eq!(documents.len(), 2);
        assert!(documents[1].ends_with("\n\nend"));
    }
}
