//! What a run reads: its texts as tokens.

use super::recipe::Recipe;
use super::settings::DataSource;
use crate::data::{Corpus, Source, Split, Tokenizer, Tokens};
use crate::model::{is_gguf, open_tokenizer};
use crate::{Error, files};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The tokens of a recipe's texts.
pub(crate) struct RunData {
    /// Training tokens with their weights.
    pub(crate) training: Vec<(f64, Tokens)>,
    /// Windows of validation text, as many of each source as the recipe says.
    pub(crate) validation: Vec<Vec<u32>>,
}

impl RunData {
    /// Reads the recipe's sources. Text is tokenized by the model's tokenizer, its training split alone; validation windows
    /// come from the validation split.
    pub(crate) fn read(recipe: &Recipe, tokenizer: &Path) -> Result<Self, Error> {
        let mut all = Self { training: Vec::new(), validation: Vec::new() };
        let windows = recipe.checkpoint.validation;
        for data in &recipe.data {
            let path = Path::new(&data.source);
            if path.extension().is_some_and(|extension| extension == "tokens") {
                if windows > 0 {
                    let what = "is a file of tokens, which has no validation split; set checkpoint.validation to 0";
                    return Err(Error::content(path, what));
                }
                let tokens = Tokens::read(path)?;
                same_tokenizer(&tokens, path, tokenizer)?;
                all.training.push((data.weight, tokens));
                continue;
            }
            let (tokenizer, corpus) = open(data, tokenizer)?;
            let tokens = |split| {
                let (name, documents) = (&data.name, corpus.documents.len());
                if corpus.texts(split).next().is_none() {
                    let what = format!("data {name}: of its {documents} documents none is for {split:?}");
                    return Err(Error::Setting(what + ": 85 % are for training, 5 % for validation; give more text"));
                }
                Ok(Tokens::encode(name, &tokenizer, corpus.texts(split))?)
            };
            all.training.push((data.weight, tokens(Split::Train)?));
            if windows > 0 {
                all.validation.extend(tokens(Split::Validation)?.windows(recipe.train.length + 1, windows)?);
            }
        }
        Ok(all)
    }

    /// An error unless every token is in the vocabulary.
    pub(crate) fn check(&self, vocabulary: usize) -> Result<(), Error> {
        let training = self.training.iter().map(|(_, tokens)| (tokens.name.as_str(), &tokens.ids));
        let validation = self.validation.iter().map(|window| ("validation text", window));
        for (name, ids) in training.chain(validation) {
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                let what = format!("{name}: token {id} is out of range of the model's {vocabulary}");
                return Err(Error::Setting(what + "; use the tokenizer of the base model"));
            }
        }
        Ok(())
    }

    /// Hex SHA-256 of all training tokens, in order.
    pub(crate) fn sha256(&self) -> String {
        let mut hasher = Sha256::new();
        for (_, tokens) in &self.training {
            hasher.update((tokens.ids.len() as u64).to_le_bytes());
            for id in &tokens.ids {
                hasher.update(id.to_le_bytes());
            }
        }
        files::hex(&hasher.finalize())
    }
}

/// An error if the tokens of `path` are known to be made by another tokenizer.
pub(crate) fn same_tokenizer(tokens: &Tokens, path: &Path, tokenizer: &Path) -> Result<(), Error> {
    // What a GGUF file holds may be what another file holds as well.
    let told = tokens.tokenizer != [0; 32] && tokenizer.exists() && !is_gguf(tokenizer);
    if told && tokens.tokenizer != files::digest(tokenizer)? {
        let what = format!("was made with another tokenizer than {}", tokenizer.display());
        return Err(Error::content(path, what + "; make it again with `mode data prepare` and that one"));
    }
    Ok(())
}

fn open(data: &DataSource, tokenizer: &Path) -> Result<(Tokenizer, Corpus), Error> {
    if !tokenizer.exists() {
        let source = &data.source;
        return Err(Error::Setting(format!("data.source {source}: the base model has no tokenizer.json for text")));
    }
    Ok((open_tokenizer(tokenizer)?, Corpus::open(&data.name, &data.source.parse::<Source>()?)?))
}
