//! Generation: one token after the other, for one sequence or a batch of them. Keys and values of the tokens so far are kept, so
//! each new token computes itself alone; a batch reads the backbone's matrices once for all of its sequences, whichever experts
//! each of them asks for.

mod sampling;

use crate::Error;
use crate::model::{Cache, ExpertSet, Group, Model, Random, Span};
use mode_tensor::Ids;
pub use sampling::Sampling;
use sampling::{likeliest, pick};
use std::time::Instant;

/// What was generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The new ids, in order.
    pub ids: Vec<u32>,
    /// The five likeliest first tokens with their log-probabilities, best first.
    pub top: Vec<(u32, f64)>,
}

/// How to generate.
#[derive(Debug, Clone)]
pub struct Settings {
    /// New tokens at the most.
    pub count: usize,
    /// How each is chosen.
    pub sampling: Sampling,
    /// Tokens that end a sequence.
    pub stop: Vec<u32>,
    /// Sequences that are answered in one pass; each has a cache of its own for as long.
    pub at_once: usize,
}

/// A sequence to go on with.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its tokens so far.
    pub prompt: Vec<u32>,
    /// Number of the set of experts that answers it.
    pub set: usize,
}

/// What a batch gave, and how long it took.
pub struct Batch {
    /// By request.
    pub answers: Vec<Generated>,
    /// Seconds for the prompts, up to each one's first new token.
    pub prompt_seconds: f64,
    /// Seconds for all tokens after those.
    pub new_seconds: f64,
}

/// The `count` likeliest successors of `prompt`, one after the other; ends early only at one of `stop`.
///
/// # Errors
/// As [`generate_batch`].
pub fn generate(model: &Model, prompt: &[u32], count: usize, stop: &[u32]) -> Result<Generated, Error> {
    let request = Request { prompt: prompt.to_vec(), set: 0 };
    let settings = Settings { count, sampling: Sampling::Greedy, stop: stop.to_vec(), at_once: 1 };
    let mut batch = generate_batch(model, &[model.without(&[])?], &[request], &settings, &mut |_, _| true)?;
    Ok(batch.answers.remove(0))
}

/// Goes on with each request's sequence, answered by its set of experts, some at once; number n draws with the seed plus n. `heard` is
/// told each new token with its request's number, and says whether that sequence goes on.
///
/// # Errors
/// No request, an empty prompt, a set that there is not, an id out of range, more tokens than the model has positions, or logits
/// that are no numbers.
pub fn generate_batch(
    model: &Model,
    sets: &[ExpertSet],
    requests: &[Request],
    settings: &Settings,
    heard: &mut dyn FnMut(usize, u32) -> bool,
) -> Result<Batch, Error> {
    check(model, sets, requests, settings)?;
    let mut all = Batch { answers: Vec::new(), prompt_seconds: 0.0, new_seconds: 0.0 };
    for part in requests.chunks(settings.at_once) {
        let first = all.answers.len();
        let made = together(model, sets, part, first, settings, &mut |number, id| heard(first + number, id))?;
        all.answers.extend(made.answers);
        all.prompt_seconds += made.prompt_seconds;
        all.new_seconds += made.new_seconds;
    }
    Ok(all)
}

/// The same for requests that are answered in one pass; `first` is the first one's number.
fn together(
    model: &Model,
    sets: &[ExpertSet],
    requests: &[Request],
    first: usize,
    settings: &Settings,
    heard: &mut dyn FnMut(usize, u32) -> bool,
) -> Result<Batch, Error> {
    let mut sequences: Vec<Sequence> =
        (first..).zip(requests).map(|(number, request)| Sequence::new(request, number, settings)).collect();
    // Sequences of one set lie side by side.
    let mut open: Vec<usize> = (0..requests.len()).filter(|_| settings.count > 0).collect();
    open.sort_by_key(|&number| requests[number].set);
    let start = Instant::now();
    let mut prompt_seconds = 0.0;
    for round in 0..settings.count {
        if open.is_empty() {
            break;
        }
        let logits = step(model, sets, requests, &sequences, &open)?;
        let width = logits.len() / open.len();
        let mut row = 0;
        let mut failed = None;
        open.retain(|&number| {
            let logits = &logits[row * width..][..width];
            row += 1;
            match sequences[number].extend(logits, settings) {
                Ok(id) => heard(number, id) && !settings.stop.contains(&id),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if round == 0 {
            prompt_seconds = start.elapsed().as_secs_f64();
        }
    }
    let new_seconds = start.elapsed().as_secs_f64() - prompt_seconds;
    let answer = |(sequence, request): (Sequence, &Request)| {
        let mut ids = sequence.ids;
        Generated { ids: ids.split_off(request.prompt.len()), top: sequence.top }
    };
    Ok(Batch { answers: sequences.into_iter().zip(requests).map(answer).collect(), prompt_seconds, new_seconds })
}

fn check(model: &Model, sets: &[ExpertSet], requests: &[Request], settings: &Settings) -> Result<(), Error> {
    settings.sampling.check()?;
    if requests.is_empty() || settings.at_once == 0 {
        return Err(Error::Setting("there is no prompt, or none is to be answered at once; give at least one".into()));
    }
    for request in requests {
        request.check(model, settings)?;
        if request.set >= sets.len() {
            return Err(Error::Setting(format!("set {} of {} sets of experts", request.set, sets.len())));
        }
    }
    Ok(())
}

impl Request {
    /// An error unless the model can go on with it.
    pub(crate) fn check(&self, model: &Model, settings: &Settings) -> Result<(), Error> {
        let (tokens, count) = (self.prompt.len(), settings.count);
        if tokens == 0 {
            return Err(Error::Setting("the prompt is empty; give at least one token".into()));
        }
        // The last of the new tokens is only predicted.
        model.fits(tokens.saturating_add(count.saturating_sub(1))).map_err(|error| {
            Error::Setting(format!("{error}: {tokens} of the prompt and {count} new ones; lower --max-new"))
        })?;
        Ok(Ids::new(model.backbone.device(), &self.prompt)?.check_range(model.backbone.config.vocabulary)?)
    }
}

struct Sequence {
    ids: Vec<u32>,
    cache: Cache,
    top: Vec<(u32, f64)>,
    random: Random,
}

impl Sequence {
    fn new(request: &Request, number: usize, settings: &Settings) -> Self {
        let seed = if let Sampling::Random { seed, .. } = settings.sampling { seed } else { 0 };
        // Each draws for itself, whatever else is in the batch.
        let seed = seed.wrapping_add(number as u64);
        Self {
            ids: request.prompt.clone(),
            cache: Cache::new(request.prompt.len() + settings.count),
            top: Vec::new(),
            random: Random::new(seed),
        }
    }

    /// Chooses the next token.
    fn extend(&mut self, logits: &[f32], settings: &Settings) -> Result<u32, Error> {
        if let Some(logit) = logits.iter().find(|logit| !logit.is_finite()) {
            return Err(Error::NotNumbers(format!("a logit is {logit}")));
        }
        if self.top.is_empty() {
            self.top = likeliest(logits, 5);
        }
        let id = pick(logits, &settings.sampling, &mut self.random);
        self.ids.push(id);
        Ok(id)
    }
}

/// One pass over what the caches of the open sequences do not hold yet; the logits after each.
fn step(
    model: &Model,
    sets: &[ExpertSet],
    requests: &[Request],
    sequences: &[Sequence],
    open: &[usize],
) -> Result<Vec<f32>, Error> {
    let device = model.backbone.device();
    let new = |number: usize| &sequences[number].ids[sequences[number].cache.past()..];
    let ids: Vec<u32> = open.iter().flat_map(|&number| new(number)).copied().collect();
    let last: Vec<u32> = open
        .iter()
        .scan(0, |end, &number| {
            *end += new(number).len() as u32;
            Some(*end - 1)
        })
        .collect();
    let spans: Vec<Span> =
        open.iter().map(|&number| Span { cache: &sequences[number].cache, tokens: new(number).len() }).collect();
    let mut groups: Vec<Group> = Vec::new();
    let mut first = 0;
    for same in open.chunk_by(|&a, &b| requests[a].set == requests[b].set) {
        groups.push(model.group(&sets[requests[same[0]].set], &spans[first..first + same.len()]));
        first += same.len();
    }
    let output = model.forward_spans(&Ids::new(device, &ids)?, &groups)?;
    model.logits_after(&output, &last)
}
