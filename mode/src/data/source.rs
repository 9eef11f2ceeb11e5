//! The user's own text: a file, a folder, or the fields of a JSON-lines file.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Corpus, DataError, cut};

/// Bytes of the documents that a text file is cut into.
const TEXT_PIECE: usize = 2_000;

/// Bytes above which a file of a folder is cut, so that one long file cannot be all of a split.
const FILE_PIECE: usize = 16_000;

/// Where a corpus comes from; made by parsing what the user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A text file or a folder of them.
    Path(PathBuf),
    /// A file with one JSON object in each line, and the fields that make a document.
    JsonLines {
        /// The file.
        file: PathBuf,
        /// The fields, joined by a newline in this order.
        fields: Vec<String>,
    },
}

impl FromStr for Source {
    type Err = DataError;

    /// Reads `PATH` or `FILE.jsonl:field[,field]`.
    ///
    /// # Errors
    /// [`DataError::BadSource`] for an empty path, a `.jsonl` file without fields, or an empty field.
    fn from_str(text: &str) -> Result<Self, DataError> {
        let bad = || DataError::BadSource { text: text.to_owned() };
        // The mark is `.jsonl:` rather than any colon, because a Windows path has a colon as well.
        let Some((stem, fields)) = text.rsplit_once(".jsonl:") else {
            let path = Path::new(text);
            let lacks_fields = path.extension() == Some(OsStr::new("jsonl"));
            return if text.is_empty() || lacks_fields { Err(bad()) } else { Ok(Self::Path(path.into())) };
        };
        let fields: Vec<_> = fields.split(',').map(|field| field.trim().to_owned()).collect();
        if stem.is_empty() || fields.iter().any(String::is_empty) {
            return Err(bad());
        }
        Ok(Self::JsonLines { file: format!("{stem}.jsonl").into(), fields })
    }
}

impl Corpus {
    /// Reads a corpus; `name` is its domain. Files are cut at blank lines into documents, empty and
    /// nearly repeated ones are dropped, files of a folder that are not text are passed over.
    ///
    /// # Errors
    /// A [`DataError`] that names the file, and the line where there is one.
    pub fn open(name: &str, source: &Source) -> Result<Self, DataError> {
        let texts = match source {
            Source::JsonLines { file, fields } => json_lines(file, fields)?,
            Source::Path(path) if path.is_dir() => {
                let files = text_files(path, &|path| !is_output(path))?;
                files.iter().flat_map(|(name, text)| cut_file(name, text, FILE_PIECE)).collect()
            }
            Source::Path(path) => cut_file(&file_name(path), &read_text(path)?, TEXT_PIECE),
        };
        Ok(Self::of_texts(name, texts, usize::MAX))
    }
}

/// The text files of a folder and of those below it for which `wanted` holds, in the order of their
/// names: `/`-separated path below the folder, and text. Hidden files and binary ones are left out.
pub fn text_files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<(String, String)>, DataError> {
    let mut files = Vec::new();
    walk(folder, "", wanted, &mut files)?;
    Ok(files)
}

fn walk(
    folder: &Path,
    prefix: &str,
    wanted: &dyn Fn(&Path) -> bool,
    files: &mut Vec<(String, String)>,
) -> Result<(), DataError> {
    let refused = |e: std::io::Error| DataError::Read { path: folder.into(), reason: e.to_string() };
    let entries = std::fs::read_dir(folder).map_err(refused)?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links are passed over: they may lead in circles, or out of the folder.
        let kind = entry.file_type().map_err(refused)?;
        let name = file_name(&path);
        if name.starts_with('.') || !wanted(&path) {
            continue;
        }
        if kind.is_dir() {
            walk(&path, &format!("{prefix}{name}/"), wanted, files)?;
        } else if kind.is_file() {
            match read_text(&path) {
                Ok(text) if !text.contains('\0') => files.push((format!("{prefix}{name}"), text)),
                Ok(_) | Err(DataError::NotUtf8 { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Folders that tools fill and people do not read.
fn is_output(path: &Path) -> bool {
    ["target", "node_modules", "__pycache__"].map(OsStr::new).contains(&path.file_name().unwrap_or_default())
}

/// The text of a file, with `\n` line ends and without a byte-order mark.
fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = read_bytes(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| DataError::NotUtf8 { path: path.into(), offset: error.utf8_error().valid_up_to() })?;
    Ok(crate::files::plain(&text))
}

/// Bytes of a file of texts at the most, and of what is no file, such as a pipe: a device that reads for ever must not fill the
/// memory.
const MOST_BYTES: [u64; 2] = [1 << 34, 1 << 30];

/// The bytes of a file.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => DataError::Missing { path: path.into() },
        _ => DataError::Read { path: path.into(), reason: error.to_string() },
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let most = MOST_BYTES[usize::from(!file.metadata().map_err(failed)?.is_file())];
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 <= most {
        return Ok(bytes);
    }
    Err(DataError::Read { path: path.into(), reason: format!("it is longer than {most} bytes; give a part of it") })
}

fn cut_file(name: &str, text: &str, limit: usize) -> Vec<(String, String)> {
    let pieces = cut::pieces(text, limit).into_iter().enumerate();
    pieces.map(|(n, piece)| (format!("{name}#{n}"), piece.to_owned())).collect()
}

fn json_lines(file: &Path, fields: &[String]) -> Result<Vec<(String, String)>, DataError> {
    let text = read_text(file)?;
    let name = file_name(file);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(n, line)| Ok((format!("{name}#{n}"), json_document(file, n + 1, line, fields)?))).collect()
}

fn json_document(file: &Path, line: usize, text: &str, fields: &[String]) -> Result<String, DataError> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| DataError::NotJson { path: file.into(), line, reason: error.to_string() })?;
    let values = fields.iter().map(|field| {
        object.get(field).and_then(serde_json::Value::as_str).ok_or_else(|| {
            let texts = object.iter().filter(|(_, value)| value.is_string());
            let present: Vec<_> = texts.map(|(name, _)| name.as_str()).collect();
            DataError::NoField {
                path: file.into(),
                line,
                field: field.clone(),
                present: if present.is_empty() { "none".into() } else { present.join(", ") },
            }
        })
    });
    Ok(values.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::Scratch;

    fn message<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn sources_are_parsed() {
        assert_eq!("a/b.txt".parse::<Source>().unwrap(), Source::Path("a/b.txt".into()));
        let json = Source::JsonLines { file: r"C:\x.jsonl".into(), fields: vec!["question".into(), "answer".into()] };
        assert_eq!(r"C:\x.jsonl:question,answer".parse::<Source>().unwrap(), json);
        for bad in ["", "x.jsonl", "x.jsonl:", "x.jsonl:a,,b", ".jsonl:a"] {
            assert!(message(bad.parse::<Source>()).contains("field[,field]"), "{bad}");
        }
    }

    #[test]
    fn a_text_file_becomes_documents_of_moderate_size() {
        let scratch = Scratch::new("text");
        let text: String = (0..400).map(|n| format!("Paragraph {n} says {}.\r\n\r\n", n * n)).collect();
        let file = scratch.write("a.txt", text.as_bytes());
        let corpus = Corpus::open("English", &Source::Path(file)).unwrap();
        assert!(corpus.documents.len() > 4 && corpus.documents.iter().all(|d| d.text.len() <= 2_000));
        assert!(corpus.documents.iter().all(|d| !d.text.contains('\r')));
    }

    #[test]
    fn a_folder_is_walked_without_what_nobody_reads() {
        let scratch = Scratch::new("folder");
        for path in ["b/x.rs", "a.rs", "target/t.rs", ".git/g.rs", "node_modules/n.js", ".hidden"] {
            scratch.write(path, format!("the text of {path}").as_bytes());
        }
        scratch.write("binary", &[0xff, 0xfe, 0]);
        scratch.write("zero", b"a\0b");
        let corpus = Corpus::open("Code", &Source::Path(scratch.path.clone())).unwrap();
        let mut names: Vec<_> = corpus.documents.iter().map(|d| d.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a.rs#0", "b/x.rs#0"]);
    }

    #[test]
    fn json_fields_are_joined() {
        let scratch = Scratch::new("json");
        let file = scratch.write("m.jsonl", b"{\"q\":\"One and one?\",\"a\":\"Two.\",\"n\":2}\n\n");
        let open = |fields: &[&str]| {
            let fields = fields.iter().map(|f| (*f).to_owned()).collect();
            Corpus::open("Math", &Source::JsonLines { file: file.clone(), fields })
        };
        assert_eq!(open(&["q", "a"]).unwrap().documents[0].text, "One and one?\nTwo.");
        let absent = message(open(&["q", "text"]));
        assert!(absent.contains("line 1") && absent.contains("\"text\"") && absent.contains("q, a"));
        assert!(message(open(&["n"])).contains("\"n\""));
    }

    #[test]
    fn bad_files_are_named() {
        let scratch = Scratch::new("bad");
        let missing = Source::Path(scratch.path.join("nowhere.txt"));
        assert!(message(Corpus::open("English", &missing)).contains("nowhere.txt"));
        let latin = Source::Path(scratch.write("latin.txt", b"caf\xe9"));
        assert!(message(Corpus::open("English", &latin)).contains("offset 3"));
        let file = scratch.write("x.jsonl", b"{\"a\":\"b\"}\nnot json\n");
        let lines = Source::JsonLines { file, fields: vec!["a".into()] };
        let said = message(Corpus::open("Math", &lines));
        assert!(said.contains("x.jsonl line 2") && !said.contains('\n'));
    }
}
