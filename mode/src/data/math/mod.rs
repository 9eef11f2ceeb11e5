//! Math without a download: word problems with worked solutions, put together by a program.
//!
//! A problem is a chain of acts (`act`), told with the words of a cast (`words`) in one of many ways
//! (`story`). What may vary varies independently: who, what, where, which acts in which order, which
//! sentence for each, which numbers, how the solution is written down. A problem's split is decided
//! by its combination of acts and topic. So the test asks for combinations that training never
//! shows, made of words and sentences that it does show: it measures composition, not vocabulary.

mod act;
mod crowd;
mod money;
mod story;
mod stuff;
mod things;
mod things_last;
mod things_open;
mod way;
mod words;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rayon::prelude::*;

use super::{Corpus, Document, Split};
use act::Act;

/// What stands between a problem and its worked solution; a prompt ends with it.
pub const SOLUTION_MARK: &str = "\nSolution:\n";

/// What the last line begins with; the answer, a whole number, follows.
pub const ANSWER_MARK: &str = "Answer: ";

/// Everything that can happen.
fn acts() -> impl Iterator<Item = &'static Act> {
    [things_open::OPENINGS, things::THINGS, things_last::ENDINGS, money::MONEY, stuff::STUFF, way::WAY, crowd::CROWD]
        .into_iter()
        .flatten()
}

/// Makes `count` word problems, each a document: the problem, [`SOLUTION_MARK`], lines with
/// equations such as `12 + 7 = 19`, and [`ANSWER_MARK`] with the result. A document's name is its
/// combination of acts and topic, and no combination is in two splits. The same seed and count give
/// the same corpus; a greater count adds problems to it. 7,500 problems are about 3 MB.
pub fn word_problems(seed: u64, count: usize) -> Corpus {
    let documents = (0..count as u64)
        .into_par_iter()
        .map(|number| {
            // A stream for each problem, so that the problems can be made in any order.
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(number);
            let problem = story::tell(&mut random);
            Document { split: Split::of(problem.combination.as_bytes()), name: problem.combination, text: problem.text }
        })
        .collect();
    Corpus::ordered("Math", documents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn names(corpus: &Corpus, split: Split) -> HashSet<&str> {
        let of_split = corpus.documents.iter().filter(|d| d.split == split);
        of_split.map(|d| d.name.as_str()).collect()
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(word_problems(3, 200), word_problems(3, 200));
        assert_ne!(word_problems(3, 200).sha256(), word_problems(4, 200).sha256());
    }

    #[test]
    fn there_is_as_much_as_was_asked_for() {
        let corpus = word_problems(1, 7_500);
        assert_eq!(corpus.documents.len(), 7_500);
        assert!(corpus.bytes() > 2_000_000, "{}", corpus.bytes());
    }

    #[test]
    fn no_combination_is_in_two_splits() {
        let corpus = word_problems(1, 7_500);
        let (train, test) = (names(&corpus, Split::Train), names(&corpus, Split::Test));
        let validation = names(&corpus, Split::Validation);
        assert!(train.is_disjoint(&test) && train.is_disjoint(&validation));
        assert!(test.is_disjoint(&validation) && test.len() > 300 && validation.len() > 150);
    }

    #[test]
    fn every_part_of_a_test_problem_was_trained() {
        let corpus = word_problems(1, 7_500);
        let parts =
            |split| -> HashSet<&str> { names(&corpus, split).into_iter().flat_map(|name| name.split('|')).collect() };
        let trained = parts(Split::Train);
        assert!(acts().all(|act| trained.contains(act.key)));
        assert!(parts(Split::Test).is_subset(&trained));
        let words = |split| -> HashSet<String> {
            let texts = corpus.texts(split).collect::<Vec<_>>().join(" ").to_lowercase();
            texts.split(|c: char| !c.is_alphabetic()).map(str::to_owned).collect()
        };
        // A rare singular is no foreign word if its plural was trained.
        let known = words(Split::Train);
        let mut tested = words(Split::Test).into_iter();
        let foreign = tested.find(|word| !known.iter().any(|known| known.starts_with(word)));
        assert_eq!(foreign, None);
    }

    #[test]
    fn every_equation_is_right_and_the_answer_is_the_last_result() {
        for document in word_problems(2, 3_000).documents {
            let (story, solution) = document.text.split_once(SOLUTION_MARK).unwrap();
            assert!(!story.contains(['{', '}', '^', '=']), "{story}");
            let (work, answer) = solution.split_once(ANSWER_MARK).unwrap();
            let tokens: Vec<_> = work.split_whitespace().collect();
            let mut last = 0;
            for equation in tokens.windows(5).filter(|five| five[3] == "=") {
                let number = |text: &str| text.trim_end_matches(['.', ',', ';']).parse::<i64>().unwrap();
                let (left, right) = (number(equation[0]), number(equation[2]));
                last = number(equation[4]);
                match equation[1] {
                    "+" => assert_eq!(left + right, last, "{work}"),
                    "-" => assert_eq!(left - right, last, "{work}"),
                    "*" => assert_eq!(left * right, last, "{work}"),
                    "/" => assert_eq!((left / right, left % right), (last, 0), "{work}"),
                    other => panic!("{other} in {work}"),
                }
                assert!(last > 0);
            }
            let steps = tokens.iter().filter(|token| **token == "=").count();
            assert!((2..=10).contains(&steps), "{work}");
            assert_eq!(answer.parse(), Ok(last), "{work}");
        }
    }

    #[test]
    fn the_acts_are_many_and_told_in_many_ways() {
        let keys: HashSet<_> = acts().map(|act| act.key).collect();
        assert_eq!(keys.len(), acts().count());
        let patterns: HashSet<_> = acts().flat_map(|act| act.tells).collect();
        assert!(patterns.len() >= 300, "{}", patterns.len());
        assert!(acts().all(|act| act.tells.len() >= 2 && act.works.len() >= 2));
    }
}
