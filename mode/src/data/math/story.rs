//! Tells one problem: draws a chain of acts, the words and the numbers, and writes it all down.
//!
//! Patterns have slots in braces: `{who}`/`{whom}` (name or pronoun of the person the story is
//! about), `{name}`, `{he}`, `{him}`, `{his}`, `{other}`, the words of the [`Cast`], the numbers `{a}`
//! and `{b}`, `{times}` and `{frac}` (`a` as "three times", "a third"), `{e1}` and `{e2}` (equations).
//! A `$` in a slot, as in `{$a}`, makes it an amount of money. A pattern that begins with `^` says by
//! itself how it follows what came before.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use super::act::{Act, Kind, Numbers, Shape};
use super::words::{Cast, any, phrase, someone};
use super::{ANSWER_MARK, SOLUTION_MARK, acts};

/// What ties a sentence to the one before.
const LINKS: &str = "then|after that,|later,|a little later,|soon afterwards,|before long,|not much \
                     later,|next,|shortly after,|a while later,";

/// More of these, for stories that go on for days.
const LONG_LINKS: &str = "the next day,|in the evening,|a week later,|some time later,|on Wednesday,|on \
                          Friday,|the following morning,|two days later,";

/// Sentences that have nothing to do with the question, as life has them.
const ASIDES: &str = "it was a sunny day|it had been raining since the morning|{name} was {n} years old|\
                      the walk home took {n} minutes|{name} liked to sing while {he} worked|the clock \
                      struck {n}|{name} and {other} had known each other for {n} years|{name} had been \
                      looking forward to this for {n} days|{someone} watched from the window|nobody \
                      was in a hurry|{name} lived at number {n} of a quiet street|the radio was playing \
                      an old song|{name} wrote everything down in a small notebook|{other} wore a \
                      green hat|there was still a lot to do|{name} got up at {n} o'clock that day";

/// Questions about the quantity at the end; those with a full stop are orders.
const fn questions(kind: Kind) -> &'static str {
    match kind {
        Kind::Things => {
            "how many {things} did {name} have in the end?|how many {things} did {name} have then?|how \
             many {things} were there in the end?|how many {things} did {name} end up with?|find the \
             number of {things} that {name} had in the end.|work out how many {things} {name} had at \
             last.|what was the number of {things} at the end of the story?|how many {things} could \
             {name} count after all that?"
        }
        Kind::Money => {
            "how much money did {name} have in the end?|how much money did {name} have then?|how much \
             did {name} end up with?|what amount did {name} have after all that?|find the amount of \
             money that {name} had in the end.|work out how much money {name} had at last."
        }
        Kind::Stuff => {
            "how many {unit} of {stuff} were there in the end?|how many {unit} of {stuff} did {name} \
             have then?|how much {stuff} did {name} end up with, in {unit}?|find out how many {unit} of \
             {stuff} {name} had at last.|how much {stuff} was there after all that, in {unit}?"
        }
        Kind::Way => {
            "how many kilometres did {name} go in total?|how far did {name} go, in kilometres?|what \
             distance did {name} cover, in kilometres?|find the number of kilometres that {name} went.|\
             how long was the way of {name}, in kilometres?"
        }
        Kind::Crowd => {
            "how many {crowd} were there in the end?|how many {crowd} were {venue} then?|what was the \
             number of {crowd} at last?|find the number of {crowd} in the end.|how many {crowd} did \
             that leave {venue}?"
        }
    }
}

/// A problem with its solution.
pub struct Problem {
    /// The acts and the topic, with `|` between them; it decides the split.
    pub combination: String,
    /// The problem, the worked solution and the answer.
    pub text: String,
}

/// Draws and tells one problem.
pub fn tell(random: &mut ChaCha8Rng) -> Problem {
    loop {
        let mut teller = Teller::new(random);
        if let Some(problem) = teller.problem() {
            return problem;
        }
    }
}

struct Teller<'a> {
    random: &'a mut ChaCha8Rng,
    cast: Cast,
    /// Which of the two people the story is about at present.
    hero: usize,
    /// Whether the hero was named, so that a pronoun will do.
    named: bool,
    /// Whether small numbers of the story are words.
    spelled: bool,
    clauses: Vec<String>,
    work: Vec<String>,
    links: Vec<&'static str>,
}

impl<'a> Teller<'a> {
    fn new(random: &'a mut ChaCha8Rng) -> Self {
        let cast = Cast::draw(random);
        let spelled = random.random_bool(0.3);
        let (clauses, work, links) = (Vec::new(), Vec::new(), Vec::new());
        Self { random, cast, hero: 0, named: false, spelled, clauses, work, links }
    }

    /// None in the rare case that the numbers lead into a dead end.
    fn problem(&mut self) -> Option<Problem> {
        let mut steps = any(&[2, 2, 3, 3, 3, 4, 4, 4, 5, 5], self.random);
        let style = any(&[Style::Told, Style::Told, Style::Numbered, Style::Bare], self.random);
        let kind = any(&[0, 0, 0, 1, 1, 2, 3, 4], self.random);
        let kind = [Kind::Things, Kind::Money, Kind::Stuff, Kind::Way, Kind::Crowd][kind];
        self.links = LINKS.split('|').collect();
        if matches!(kind, Kind::Things | Kind::Money | Kind::Stuff) {
            self.links.extend(LONG_LINKS.split('|'));
        }
        self.links.shuffle(self.random);
        let mut chain: Vec<&Act> = Vec::new();
        let mut quantity = None;
        while steps > 0 {
            let (act, numbers) = self.next(&chain, quantity.unwrap_or((kind, 0)), steps == 1)?;
            // A quantity that is merely given is no step of the solution.
            steps -= usize::from(act.shape != Shape::Given);
            quantity = Some((act.to, numbers.result));
            self.happen(act, &numbers, style, steps == 0);
            chain.push(act);
            if chain.len() == 1 && self.random.random_bool(0.2) {
                let aside = phrase(ASIDES, self.random);
                let aside = self.fill(aside, &numbers, Part::Story);
                self.clauses.push(aside + ".");
            }
        }
        let (last, result) = quantity?;
        if chain.last()?.asks.is_empty() {
            let question = phrase(questions(last), self.random);
            let numbers = Numbers { a: 0, b: 0, equations: Vec::new(), result };
            let question = self.fill(question, &numbers, Part::Story);
            self.clauses.push(question);
        }
        let mut combination: Vec<_> = chain.iter().map(|act| act.key).collect();
        combination.push(match kind {
            Kind::Things => &self.cast.thing.1,
            Kind::Money => "money",
            Kind::Stuff => &self.cast.stuff.0,
            Kind::Way => self.cast.travel.0,
            Kind::Crowd => self.cast.crowd,
        });
        let combination = combination.join("|");
        let (story, work) = (self.story(), self.work.join("\n"));
        Some(Problem { combination, text: format!("{story}{SOLUTION_MARK}{work}\n{ANSWER_MARK}{result}") })
    }

    /// An act that can follow, with numbers; as the last one rather one that ends the story.
    fn next(&mut self, chain: &[&Act], (kind, v): (Kind, u32), last: bool) -> Option<(&'static Act, Numbers)> {
        let fits = |act: &&Act| match act.from {
            None => chain.is_empty() && act.to == kind,
            Some(from) => !chain.is_empty() && from == kind && (last || act.asks.is_empty()),
        };
        let compared = chain.iter().any(|act| act.compares());
        let new = |act: &&Act| !(compared && act.compares()) && chain.iter().all(|earlier| earlier.key != act.key);
        let mut candidates: Vec<_> = acts().filter(fits).filter(new).collect();
        candidates.shuffle(self.random);
        if last && self.random.random_bool(0.5) {
            candidates.sort_by_key(|act| act.asks.is_empty());
        }
        let speeds = (self.cast.travel.1, self.cast.travel.2);
        candidates.into_iter().find_map(|act| Some((act, act.shape.draw(v, speeds, self.random)?)))
    }

    fn happen(&mut self, act: &Act, numbers: &Numbers, style: Style, last: bool) {
        let pattern = any(act.tells, self.random);
        let linked = !pattern.starts_with('^') && !self.clauses.is_empty() && self.random.random_bool(0.45);
        let mut clause = self.fill(pattern.trim_start_matches('^'), numbers, Part::Story);
        self.named |= clause.contains(self.cast.people[self.hero].name);
        if let Some(link) = self.links.pop().filter(|_| linked) {
            clause = format!("{link} {clause}");
        }
        self.clauses.push(clause);
        self.write_down(act, numbers, style);
        if last && !act.asks.is_empty() {
            let question = format!("{}?", any(act.asks, self.random));
            let question = self.fill(&question, numbers, Part::Story);
            self.clauses.push(question);
        }
        if act.turns {
            self.hero = 1 - self.hero;
            self.named = self.clauses.last().is_some_and(|c| c.contains(self.cast.people[self.hero].name));
        }
    }

    fn write_down(&mut self, act: &Act, numbers: &Numbers, style: Style) {
        if style == Style::Bare {
            self.work.extend(numbers.equations.iter().map(ToString::to_string));
        } else if act.shape != Shape::Given || self.random.random_bool(0.3) {
            let pattern = any(act.works, self.random);
            let told = capital(&self.fill(pattern, numbers, Part::Solution));
            let step = self.work.len() + 1;
            self.work.push(if style == Style::Numbered { format!("{step}. {told}.") } else { format!("{told}.") });
        }
    }

    /// The clauses as sentences; short ones are sometimes joined.
    fn story(&mut self) -> String {
        let mut story = String::new();
        let mut joinable = false;
        for clause in &self.clauses {
            let ends = clause.ends_with(['?', '.']);
            let short = !ends && clause.len() < 60 && !clause.contains(", ");
            let joined = joinable && short && self.random.random_bool(0.5);
            joinable = short && !joined;
            if joined {
                let and = any(&[", and ", "; ", ", and "], self.random);
                story.truncate(story.trim_end_matches(['.', ' ']).len());
                story.push_str(and);
                story.push_str(clause);
            } else {
                story.push_str(&capital(clause));
            }
            story.push_str(if ends { " " } else { ". " });
        }
        story.trim_end().to_owned()
    }

    /// The pattern with its slots filled.
    fn fill(&mut self, pattern: &str, numbers: &Numbers, part: Part) -> String {
        let mut out = String::new();
        let mut rest = pattern;
        while let Some((before, slot, after)) = next_slot(rest) {
            out.push_str(before);
            let text = match slot.strip_prefix('$') {
                Some(amount) => self.money(amount, numbers, part),
                None => self.slot(slot, numbers, part),
            };
            // The words for the others have slots themselves.
            out.push_str(&if text.contains('{') { self.fill(&text, numbers, part) } else { text });
            rest = after;
        }
        out + rest
    }

    fn money(&mut self, amount: &str, numbers: &Numbers, part: Part) -> String {
        let equation = amount.starts_with('e');
        match self.cast.currency {
            "$" if equation => format!("{} dollars", self.slot(amount, numbers, part)),
            "$" => format!("${}", self.slot(amount, numbers, Part::Solution)),
            currency => format!("{} {currency}", self.slot(amount, numbers, part)),
        }
    }

    fn slot(&mut self, slot: &str, numbers: &Numbers, part: Part) -> String {
        let hero = self.cast.people[self.hero];
        let [he, him, his] = hero.pronouns;
        let pronoun = self.named && part == Part::Story && self.random.random_bool(0.75);
        let equation = |n: usize| numbers.equations.get(n).map(ToString::to_string).unwrap_or_default();
        let chosen = match slot {
            "who" if pronoun => he,
            "whom" if pronoun => him,
            "who" | "whom" | "name" => hero.name,
            "he" => he,
            "him" => him,
            "his" => his,
            "other" => self.cast.people[1 - self.hero].name,
            "someone" => someone(self.random),
            "thing" => &self.cast.thing.0,
            "things" => &self.cast.thing.1,
            "got" => phrase(self.cast.verbs.0, self.random),
            "lost" => phrase(self.cast.verbs.1, self.random),
            "goods" => &self.cast.goods,
            "box" => &self.cast.vessel.0,
            "boxes" => &self.cast.vessel.1,
            "stuff" => &self.cast.stuff.0,
            "unit" => self.cast.stuff.1,
            "one-unit" => self.cast.stuff.1.trim_end_matches('s'),
            "crowd" => self.cast.crowd,
            "venue" => self.cast.venue,
            "place" => self.cast.place,
            "moved" => self.cast.travel.0,
            "town" => self.cast.town,
            "times" => ["", "", "twice", "three times", "four times"].get(numbers.a as usize).unwrap_or(&"five times"),
            "frac" => match numbers.a {
                2 => "half",
                3 => "a third",
                4 => "a quarter",
                5 => "a fifth",
                _ => "a tenth",
            },
            "a" => return self.number(numbers.a, part),
            "b" => return self.number(numbers.b, part),
            "n" => return self.random.random_range(6..=12).to_string(),
            "e1" => return equation(0),
            "e2" => return equation(1),
            _ => "",
        };
        chosen.to_owned()
    }

    fn number(&self, number: u32, part: Part) -> String {
        const WORDS: [&str; 13] =
            ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
        let word = WORDS.get(number as usize).filter(|_| self.spelled && part == Part::Story);
        word.map_or_else(|| number.to_string(), |word| (*word).to_owned())
    }
}

/// How a solution is written down.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Style {
    /// In sentences.
    #[default]
    Told,
    /// In sentences with numbers before them.
    Numbered,
    /// As equations and nothing else.
    Bare,
}

/// Where a pattern stands; the solution has names and digits only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Story,
    Solution,
}

fn next_slot(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (slot, after) = rest.split_once('}')?;
    Some((before, slot, after))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn every_slot_of_every_pattern_can_be_filled() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let mut teller = Teller::new(&mut random);
        let equation = super::super::act::Equation { left: 2, op: '+', right: 2, result: 4 };
        let numbers = Numbers { a: 2, b: 2, equations: vec![equation; 2], result: 4 };
        let kinds = [Kind::Things, Kind::Money, Kind::Stuff, Kind::Way, Kind::Crowd];
        let general = kinds.map(questions).into_iter().chain([ASIDES]).flat_map(|all| all.split('|'));
        let special = acts().flat_map(|act| act.tells.iter().chain(act.asks).chain(act.works)).copied();
        for pattern in special.chain(general) {
            let mut rest = pattern;
            while let Some((_, slot, after)) = next_slot(rest) {
                assert!(!teller.fill(&format!("{{{slot}}}"), &numbers, Part::Story).is_empty(), "{pattern}");
                rest = after;
            }
        }
    }

    #[test]
    fn sentences_begin_with_capitals_and_end() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..500 {
            let text = tell(&mut random).text;
            let (story, _) = text.split_once(SOLUTION_MARK).unwrap();
            assert!(story.ends_with(['?', '.']), "{story}");
            for sentence in story.split_inclusive(['.', '?']).map(str::trim) {
                assert!(!sentence.starts_with(char::is_lowercase), "{story}");
                assert!(!sentence.contains("  ") && !sentence.contains(" ,"), "{story}");
            }
        }
    }

    #[test]
    fn both_ends_of_a_story_vary_in_length() {
        let mut random = ChaCha8Rng::seed_from_u64(6);
        let lengths: Vec<_> = (0..500).map(|_| tell(&mut random).combination.split('|').count()).collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&3), Some(&7)));
    }
}
