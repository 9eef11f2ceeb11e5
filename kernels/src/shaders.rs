//! The texts of shaders: the built-in ones, others in their place, and what is wrong with one, by its own file and line.

use crate::{KernelError, ShaderError};
use mode_shaders::Shader;
use naga::Span;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The files that shaders are made of, by their paths in `shaders/`.
pub fn files() -> Vec<&'static str> {
    let mut files: Vec<_> = mode_shaders::ALL.iter().flat_map(|shader| shader.parts).map(|(path, _)| *path).collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// Texts in place of built-in ones, for somebody who changes a kernel.
#[derive(Debug, Clone, Default)]
pub struct Replacements(BTreeMap<String, Replacement>);

#[derive(Debug, Clone)]
struct Replacement {
    /// What messages call it.
    place: String,
    text: String,
    hash: u64,
}

impl Replacements {
    /// Takes `text` in place of `file`, one of [`files`]; messages call it `place`.
    pub fn insert(&mut self, file: &str, place: String, text: String) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.0.insert(file.into(), Replacement { place, text, hash: hasher.finish() });
    }

    /// What tells the texts of a shader from those that it had before: 0 for the built-in ones.
    pub(crate) fn version(&self, shader: &Shader) -> u64 {
        if self.0.is_empty() {
            return 0;
        }
        let hash = |(path, _): &(&str, &str)| self.0.get(*path).map_or(0, |replacement| replacement.hash);
        shader.parts.iter().fold(0, |version: u64, part| version.rotate_left(1) ^ hash(part))
    }
}

/// The text of a shader that is to be compiled, and of what file each line is.
pub(crate) struct Source {
    kernel: &'static str,
    /// Each file's name, and the number of its lines.
    parts: Vec<(String, usize)>,
    text: String,
    replaced: bool,
}

impl Source {
    /// The shader of `kernel`.
    pub(crate) fn new(kernel: &'static str, shader: &Shader, replacements: &Replacements) -> Self {
        let mut source = Self { kernel, parts: Vec::new(), text: String::new(), replaced: false };
        for (path, built_in) in shader.parts {
            let (place, text) = match replacements.0.get(*path) {
                Some(replacement) => (replacement.place.clone(), replacement.text.as_str()),
                None => (format!("shaders/{path}"), *built_in),
            };
            source.replaced |= replacements.0.contains_key(*path);
            source.text += text;
            if !source.text.ends_with('\n') {
                source.text.push('\n');
            }
            let before: usize = source.parts.iter().map(|(_, lines)| lines).sum();
            source.parts.push((place, source.text.matches('\n').count() - before));
        }
        source
    }

    /// Sets constants and types.
    pub(crate) fn specialise(
        &mut self,
        constants: &[(&'static str, u32)],
        types: &[(&'static str, &'static str)],
    ) -> Result<(), KernelError> {
        let missing = |name| {
            self.wrong(format!("there is no 'const {name}: u32 = ..;' or 'alias {name} = ..;', which the kernel sets"))
        };
        self.text = mode_shaders::specialise(&self.text, constants, types).map_err(missing)?;
        Ok(())
    }

    /// True if any of its files is not the built-in one.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// An error of the shader as a whole.
    pub(crate) fn wrong(&self, what: impl Into<String>) -> KernelError {
        let place = self.parts.first().map_or_else(String::new, |(place, _)| place.clone());
        KernelError::Shader(Box::new(ShaderError {
            kernel: self.kernel,
            place,
            what: what.into(),
            excerpt: Vec::new(),
        }))
    }

    /// An error at some bytes of the text; `label` stands beside the caret.
    pub(crate) fn wrong_at(&self, span: Span, what: impl Into<String>, label: &str, notes: &[String]) -> KernelError {
        let Some(range) = span.to_range() else { return self.wrong(what) };
        // What is missing at the end is missing after the last word, not on an empty line.
        let start = range.start.min(self.text.trim_end().len());
        let begin = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = self.text[begin..].lines().next().unwrap_or_default();
        let column = self.text[begin..start].chars().count();
        let width = self.text[start..range.end.clamp(start, begin + line.len())].chars().count().max(1);
        let (place, number) = self.place(self.text[..begin].matches('\n').count());
        let bar = format!("{} |", " ".repeat(number.to_string().len()));
        // A tab is as wide as a terminal has it; one blank keeps the caret in its place.
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut excerpt = vec![bar.clone(), format!("{number} | {line}")];
        excerpt.push(format!("{bar} {}{} {label}", " ".repeat(column), "^".repeat(width)).trim_end().into());
        excerpt.extend(notes.iter().map(|note| format!("{} = {note}", &bar[..bar.len() - 2])));
        let place = format!("{place}:{number}:{}", column + 1);
        KernelError::Shader(Box::new(ShaderError { kernel: self.kernel, place, what: what.into(), excerpt }))
    }

    /// The file of a line of the whole text, counted from 0, and its number there, from 1.
    fn place(&self, mut line: usize) -> (&str, usize) {
        let last = self.parts.len().saturating_sub(1);
        for (i, (place, lines)) in self.parts.iter().enumerate() {
            if line < *lines || i == last {
                return (place, line + 1);
            }
            line -= lines;
        }
        ("", line + 1)
    }

    /// The shader as naga reads it.
    pub(crate) fn parse(&self) -> Result<naga::Module, KernelError> {
        naga::front::wgsl::parse_str(&self.text)
            .map_err(|error| self.own_end(&error).unwrap_or_else(|| self.report(&error)))
    }

    fn report(&self, error: &naga::front::wgsl::ParseError) -> KernelError {
        // Some labels are of what stands nowhere in the text.
        let (span, label) = error.labels().find(|(span, _)| span.is_defined()).unwrap_or_default();
        let notes: Vec<String> = error.notes().map(one_line).collect();
        self.wrong_at(span, one_line(error.message()), label, &notes)
    }

    /// A brace that is missing at a file's end is noticed in the one that follows: it is an error of the first.
    fn own_end(&self, error: &naga::front::wgsl::ParseError) -> Option<KernelError> {
        let own = self.parts.first()?;
        let end = self.text.match_indices('\n').nth(own.1.checked_sub(1)?)?.0;
        let start = |error: &naga::front::wgsl::ParseError| {
            error.labels().find_map(|(span, _)| span.to_range()).map(|range| range.start)
        };
        if start(error)? <= end {
            return None;
        }
        let alone = Self { kernel: self.kernel, parts: vec![own.clone()], text: self.text[..=end].into(), ..*self };
        let error = naga::front::wgsl::parse_str(&alone.text).err()?;
        (start(&error)? >= alone.text.trim_end().len()).then(|| alone.report(&error))
    }

    /// What naga says of a module that it has read.
    pub(crate) fn validate(&self, module: &naga::Module) -> Result<naga::valid::ModuleInfo, KernelError> {
        use naga::valid::{Capabilities, ValidationFlags, Validator};
        Validator::new(ValidationFlags::all(), Capabilities::all()).validate(module).map_err(|error| {
            let mut what = error.to_string();
            let mut cause = std::error::Error::source(error.as_inner());
            while let Some(error) = cause {
                what += &format!(": {error}");
                cause = error.source();
            }
            // Of the function that is wrong, and of what is in it, the latter.
            let width = |span: &Span| span.to_range().map_or(usize::MAX, |range| range.len());
            let span = error.spans().map(|(span, _)| *span).min_by_key(width).unwrap_or_default();
            self.wrong_at(span, one_line(&what), "", &[])
        })
    }
}

/// What compilers, drivers and files say may be of several lines, and of what a terminal would obey; ours is one line of text.
pub fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of `shader` with the texts `replaced` by file.
    fn said(shader: &Shader, replaced: &[(&str, &str)]) -> String {
        let mut replacements = Replacements::default();
        for (file, text) in replaced {
            replacements.insert(file, format!("mine/{file}"), text.to_string());
        }
        let told = |error: KernelError| [&[error.to_string()], error.excerpt()].concat().join("\n");
        let source = Source::new("square", shader, &replacements);
        source.parse().and_then(|module| source.validate(&module)).map_or_else(told, |_| "valid".into())
    }

    #[test]
    fn an_error_shows_its_line_with_a_caret() {
        let text = "// y = x^2\n\nfn square(x: f32) -> f32 {\n\treturn x * z;\n}\n";
        let expected = "kernel square: mine/add.wgsl:4:13: no definition in scope for identifier: `z`\n  |\n4 |  return x * z;\n  |             ^ unknown identifier";
        assert_eq!(said(&mode_shaders::ADD, &[("add.wgsl", text)]), expected);
    }

    #[test]
    fn an_error_in_a_shared_file_names_that() {
        let shared = "fn word(at: u32) -> u32 { return at; }\nfn element(word: u32, at: u32) -> f32 { return word; }";
        let said = said(&mode_shaders::EMBEDDING, &[("shared/weight.wgsl", shared)]);
        assert!(said.starts_with("kernel square: mine/shared/weight.wgsl:2:"), "{said}");
        assert!(said.contains("\n2 | fn element("), "{said}");
    }

    #[test]
    fn a_brace_missing_before_a_shared_file_is_missing_in_its_own() {
        let own = mode_shaders::EMBEDDING.parts[0].1;
        let cut = &own[..own.trim_end().len() - 1];
        let said = said(&mode_shaders::EMBEDDING, &[("embedding.wgsl", cut)]);
        assert!(
            said.starts_with(&format!("kernel square: mine/embedding.wgsl:{}:", cut.trim_end().lines().count())),
            "{said}"
        );
    }

    #[test]
    fn what_is_read_and_not_valid_has_a_place_too() {
        let text = "@group(0) @binding(0) var<storage, read> x: array<f32>;\nfn write() {\n    x[0] = 1.0;\n}\n";
        let said = said(&mode_shaders::ADD, &[("add.wgsl", text)]);
        assert!(said.contains("mine/add.wgsl:3:") && said.contains("\n3 |     x[0] = 1.0;\n  |     ^"), "{said}");
    }

    #[test]
    fn a_constant_that_is_gone_is_named_with_the_file() {
        let mut replacements = Replacements::default();
        replacements.insert("add.wgsl", "mine/add.wgsl".into(), "fn main() {}".into());
        let error = Source::new("add", &mode_shaders::ADD, &replacements).specialise(&[("HEAD", 8)], &[]).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("mine/add.wgsl: there is no 'const HEAD: u32"), "{text}");
    }

    #[test]
    fn versions_tell_texts_apart() {
        let version = |texts: &[(&str, &str)]| {
            let mut replacements = Replacements::default();
            texts.iter().for_each(|(file, text)| replacements.insert(file, String::new(), text.to_string()));
            replacements.version(&mode_shaders::EMBEDDING)
        };
        assert_eq!((version(&[]), version(&[("add.wgsl", "x")])), (0, 0));
        let versions = [
            version(&[("embedding.wgsl", "x")]),
            version(&[("embedding.wgsl", "y")]),
            version(&[("shared/weight.wgsl", "x")]),
            version(&[("shared/weight.wgsl", "x"), ("embedding.wgsl", "x")]),
            0,
        ];
        assert!((0..5).all(|i| !versions[..i].contains(&versions[i])), "{versions:?}");
    }
}
