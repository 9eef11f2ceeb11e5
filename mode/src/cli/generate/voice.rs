//! An answer's text as its tokens come: printed as soon as it is whole characters, and ended at a stop text.

use crate::Error;
use crate::cli::print_text;
use crate::data::Tokenizer;

/// What a decoder puts where a character's bytes are not all there yet.
const UNFINISHED: char = '\u{fffd}';

/// One answer.
pub(super) struct Voice<'a> {
    tokenizer: Option<&'a Tokenizer>,
    stops: &'a [String],
    ids: Vec<u32>,
    /// Where a stop text begins.
    end: Option<usize>,
    /// Bytes of the text that are on stdout.
    printed: usize,
    streamed: bool,
}

impl<'a> Voice<'a> {
    pub(super) fn new(tokenizer: Option<&'a Tokenizer>, stops: &'a [String], streamed: bool) -> Self {
        Self { tokenizer, stops, ids: Vec::new(), end: None, printed: 0, streamed }
    }

    /// Takes the next token; false if a stop text has come.
    pub(super) fn hear(&mut self, id: u32) -> Result<bool, Error> {
        self.ids.push(id);
        if !self.streamed && self.stops.is_empty() {
            return Ok(true);
        }
        let Some(text) = self.text()? else {
            if self.streamed {
                print_text(&format!("{}{id}", if self.ids.len() > 1 { " " } else { "" }));
            }
            return Ok(true);
        };
        self.end = self.stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
        // What may yet become a stop text waits, as do the bytes of a character that is not whole.
        match self.end {
            Some(end) if self.streamed => self.print_to(&text, end),
            None if self.streamed && !text.ends_with(UNFINISHED) => {
                self.print_to(&text, text.len() - self.beginning(&text))
            }
            _ => {}
        }
        Ok(self.end.is_none())
    }

    /// The whole text, of which the rest is printed; none without a tokenizer.
    pub(super) fn finish(&mut self) -> Result<Option<String>, Error> {
        let Some(mut text) = self.text()? else { return Ok(None) };
        text.truncate(self.end.unwrap_or(text.len()));
        if self.streamed {
            self.print_to(&text, text.len());
        }
        Ok(Some(text))
    }

    fn text(&self) -> Result<Option<String>, Error> {
        Ok(self.tokenizer.map(|tokenizer| tokenizer.decode(&self.ids, true)).transpose()?)
    }

    /// Bytes at the end of `text` with which a stop text begins.
    fn beginning(&self, text: &str) -> usize {
        let begins = |stop: &String| {
            let most = stop.len().saturating_sub(1).min(text.len());
            (1..=most).rev().find(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n])).unwrap_or(0)
        };
        self.stops.iter().map(begins).max().unwrap_or(0)
    }

    fn print_to(&mut self, text: &str, end: usize) {
        if let Some(new) = text.get(self.printed..end) {
            print_text(new);
            self.printed = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_a_stop_text_waits() {
        let stops = ["\n\nQ:".to_string(), "é!".into()];
        let voice = Voice::new(None, &stops, true);
        assert_eq!(voice.beginning("An answer.\n\n"), 2);
        assert_eq!(voice.beginning("An answer.\n\nQ"), 3);
        assert_eq!(voice.beginning("caf\u{e9}"), 2);
        assert_eq!(voice.beginning("An answer."), 0);
    }
}
