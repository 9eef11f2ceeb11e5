//! Drops near-duplicates: a copied licence header, a type documented twice, a forked module.
//!
//! A text is seen as the set of its runs of eight words ("shingles"). It is dropped when more than
//! [`MOST_SEEN`] of its shingles occurred in texts that were kept before it. Shingles of hashes are
//! exact up to hash collisions, which at 64 bits do not happen at the size of our corpora; sampling
//! them by min-hash would only be needed for corpora that do not fit into memory.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use rayon::prelude::*;

/// Words in a shingle: long enough that idioms do not count as copies.
const SHINGLE_WORDS: usize = 8;

/// The share of its shingles that a kept text may have in common with those before it.
const MOST_SEEN: f64 = 0.4;

/// The texts, in order, without those that mostly repeat earlier ones.
pub fn distinct(texts: Vec<(String, String)>) -> Vec<(String, String)> {
    let shingled: Vec<_> = texts.par_iter().map(|(_, text)| shingles(text)).collect();
    let mut seen = HashSet::new();
    let mut kept = Vec::with_capacity(texts.len());
    for (text, shingles) in texts.into_iter().zip(shingled) {
        let known = shingles.iter().filter(|shingle| seen.contains(*shingle)).count();
        if shingles.is_empty() || known as f64 > MOST_SEEN * shingles.len() as f64 {
            continue;
        }
        seen.extend(shingles);
        kept.push(text);
    }
    kept
}

/// The hashes of all runs of eight words; of the whole text if it is shorter than that.
pub(crate) fn shingles(text: &str) -> HashSet<u64> {
    let words: Vec<u64> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(hash).collect();
    if words.is_empty() {
        return HashSet::from_iter((!text.trim().is_empty()).then(|| hash(text)));
    }
    words.windows(SHINGLE_WORDS.min(words.len())).map(hash).collect()
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(texts: &[&str]) -> Vec<String> {
        let named = texts.iter().enumerate().map(|(n, t)| (n.to_string(), (*t).to_owned()));
        distinct(named.collect()).into_iter().map(|(name, _)| name).collect()
    }

    const STORY: &str = "once upon a time there was a small engine that wanted to learn how to \
                         read the books that its makers had written for it";

    #[test]
    fn a_changed_word_does_not_make_a_new_text() {
        let near = STORY.replace("small", "little");
        assert_eq!(kept(&[STORY, &near]), ["0"]);
    }

    #[test]
    fn punctuation_and_layout_do_not_count() {
        let laid_out = STORY.replace(' ', ",\n  ");
        assert_eq!(kept(&[STORY, &laid_out]), ["0"]);
    }

    #[test]
    fn a_quotation_does_not_make_a_duplicate() {
        let own = "every morning the gardener walked along the wall and counted the roses that \
                   had opened since the day before while the cat slept under the old bench";
        let quoting = format!("{own} and said: {}", &STORY[..60]);
        assert_eq!(kept(&[STORY, &quoting]), ["0", "1"]);
    }

    #[test]
    fn short_texts_are_compared_whole_and_empty_ones_dropped() {
        assert_eq!(kept(&["let x = 1;", "let y = 1;", "let x = 1;", " \n"]), ["0", "1"]);
    }
}
