//! Which of some numbers is chosen: the rule, whoever measures.
//!
//! Every other number is timed against the one that is built in. Of those that win, the fastest is first held against the reference
//! and then timed once more, for the fastest of several may only have been lucky; if it fails in either, the next one follows. If
//! what is built in is itself wrong, the fastest that is right is chosen.

use super::Choice;
use crate::KernelError;

/// Share of the time that a number must take less, in the geometric mean of all shapes and in both rounds, to be chosen.
pub const GAIN: f64 = 0.03;

/// Share of the time that it may take more for any one of them.
pub const LOSS: f64 = 0.1;

/// How long the launches of a shape took, in the medians of the pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// The shape.
    pub shape: String,
    /// Milliseconds with the number.
    pub own: f64,
    /// Milliseconds with what is built in.
    pub built_in: f64,
    /// The first over the second of a pair.
    pub ratio: f64,
}

/// A number against the one that is built in.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Of the shapes for which the two go different ways.
    pub times: Vec<Times>,
    /// The number's time over the other's, in the geometric mean of all shapes.
    pub ratio: f64,
}

/// What came of a number that was tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The number.
    pub value: u32,
    /// The first round, and the second if it won that; none if it could not be launched.
    pub rounds: Vec<Round>,
    /// Why it can't be chosen, if so.
    pub refused: Option<String>,
}

/// What ends a contest before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The time is over.
    Over,
    /// The device, or what is built in, fails.
    Failed(KernelError),
}

/// Who measures.
pub(super) trait Judge {
    /// Why a number can't be chosen: its launches disagree with the reference.
    fn refusal(&mut self, value: u32) -> Result<Option<String>, Stop>;

    /// Times a number against the one that is built in; the text says why it could not be launched. A first round may take times
    /// from other numbers that go the same way.
    fn round(&mut self, value: u32, first: bool) -> Result<Result<Round, String>, Stop>;
}

impl Round {
    /// That of `shapes` shapes in all; those that are not among `times` take as long with either number.
    pub(super) fn new(times: Vec<Times>, shapes: usize) -> Self {
        let logs: f64 = times.iter().map(|times| times.ratio.ln()).sum();
        Self { times, ratio: (logs / shapes.max(1) as f64).exp() }
    }

    fn slowest(&self) -> Option<&Times> {
        self.times.iter().max_by(|a, b| a.ratio.total_cmp(&b.ratio)).filter(|times| times.ratio > 1.0 + LOSS)
    }

    fn wins(&self) -> bool {
        self.ratio < 1.0 - GAIN && self.slowest().is_none()
    }

    /// How much less time it takes, for a person.
    pub fn words(&self) -> String {
        let change = |ratio: f64| {
            let word = if ratio < 1.0 { "less" } else { "more" };
            format!("{:.1} % {word}", 100.0 * (ratio - 1.0).abs())
        };
        let slow = |times: &Times| format!(", but {} for {}", change(times.ratio), times.shape);
        let slowest = self.slowest().filter(|_| self.ratio < 1.0 - GAIN);
        format!("{}{}", change(self.ratio), slowest.map_or_else(String::new, slow))
    }
}

impl Trial {
    /// What came of it, for a person.
    pub fn words(&self) -> String {
        let rounds: Vec<String> = self.rounds.iter().map(Round::words).collect();
        let took = match rounds.is_empty() {
            true => String::new(),
            false => format!("takes {}", rounds.join(", in a second round ")),
        };
        let refused = self.refused.as_deref().unwrap_or_default();
        format!("{took}{}{refused}", if took.is_empty() || refused.is_empty() { "" } else { ", but " })
    }
}

/// A number as a person reads it.
pub fn number(value: u32) -> String {
    if value == u32::MAX { "never".into() } else { value.to_string() }
}

/// Chooses between what is built in and `others`.
pub(super) fn choose(
    name: &'static str,
    built_in: u32,
    others: &[u32],
    judge: &mut impl Judge,
) -> Result<Choice, Stop> {
    if others.is_empty() {
        let reason = "there is no other way on this device".into();
        return Ok(Choice { name, value: built_in, built_in, trials: Vec::new(), reason });
    }
    let wrong = judge.refusal(built_in)?;
    let mut trials = Vec::new();
    for &value in others {
        trials.push(match judge.round(value, true)? {
            Ok(round) => Trial { value, rounds: vec![round], refused: None },
            Err(why) => Trial { value, rounds: Vec::new(), refused: Some(why) },
        });
    }
    // The fastest first; last what could not be launched.
    trials.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let mut chosen = None;
    for (place, trial) in trials.iter_mut().enumerate() {
        let Some(first) = trial.rounds.first() else { break };
        if wrong.is_none() && !first.wins() {
            continue;
        }
        trial.refused = judge.refusal(trial.value)?;
        if trial.refused.is_some() {
            continue;
        }
        if wrong.is_none() {
            match judge.round(trial.value, false)? {
                Ok(round) => trial.rounds.push(round),
                Err(why) => trial.refused = Some(why),
            }
        }
        if trial.refused.is_none() && (wrong.is_some() || trial.rounds.last().is_some_and(Round::wins)) {
            chosen = Some(place);
            break;
        }
    }
    let value = chosen.map_or(built_in, |place| trials[place].value);
    let reason = reason(built_in, wrong.as_deref(), &trials, chosen);
    Ok(Choice { name, value, built_in, trials, reason })
}

fn ratio(trial: &Trial) -> f64 {
    trial.rounds.first().map_or(f64::INFINITY, |round| round.ratio)
}

fn reason(built_in: u32, wrong: Option<&str>, trials: &[Trial], chosen: Option<usize>) -> String {
    let each = |trial: &Trial| format!("{} {}", number(trial.value), trial.words());
    let wrong = wrong.map_or_else(String::new, |why| format!("{}, which is built in, {why}; ", number(built_in)));
    let Some(chosen) = chosen else {
        let best = trials.first().map_or_else(String::new, each);
        let what = format!("no other takes {:.0} % less time in two rounds and is right", 100.0 * GAIN);
        return format!("{wrong}{what}; the nearest, {best}");
    };
    let next = trials.iter().enumerate().find(|(place, _)| *place != chosen);
    let next = next.map_or_else(String::new, |(_, trial)| format!("; next, {}", each(trial)));
    format!("{wrong}{}{next}", trials[chosen].words())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each number's rounds find; the second's at once. Numbers in `wrong` disagree.
    struct Table {
        rounds: Vec<(u32, [f64; 2])>,
        wrong: Vec<u32>,
        verified: Vec<u32>,
    }

    impl Judge for Table {
        fn refusal(&mut self, value: u32) -> Result<Option<String>, Stop> {
            self.verified.push(value);
            Ok(self.wrong.contains(&value).then(|| "disagrees".into()))
        }

        fn round(&mut self, value: u32, first: bool) -> Result<Result<Round, String>, Stop> {
            let Some((_, ratios)) = self.rounds.iter().find(|(number, _)| *number == value) else {
                return Ok(Err("fails".into()));
            };
            Ok(Ok(round(&[ratios[usize::from(!first)]], 1)))
        }
    }

    fn round(ratios: &[f64], shapes: usize) -> Round {
        let times =
            |(i, &ratio): (usize, &f64)| Times { shape: format!("shape {i}"), own: ratio, built_in: 1.0, ratio };
        Round::new(ratios.iter().enumerate().map(times).collect(), shapes)
    }

    fn chosen(rounds: &[(u32, [f64; 2])], wrong: &[u32]) -> (u32, String, Vec<u32>) {
        let mut table = Table { rounds: rounds.into(), wrong: wrong.into(), verified: Vec::new() };
        let choice = choose("it", 4, &[1, 2, 8, 16], &mut table).expect("nothing stops");
        assert_eq!((choice.built_in, choice.trials.len()), (4, 4));
        (choice.value, choice.reason, table.verified)
    }

    #[test]
    fn more_than_noise_wins_twice_or_not_at_all() {
        let slower = [(1, [1.2; 2]), (2, [0.99; 2]), (16, [1.0; 2])];
        let with = |ratios| [&slower[..], &[(8, ratios)]].concat();
        let (value, reason, verified) = chosen(&with([0.8, 0.82]), &[]);
        assert_eq!((value, verified), (8, vec![4, 8]));
        assert_eq!(reason, "takes 20.0 % less, in a second round 18.0 % less; next, 2 takes 1.0 % less");
        let (value, reason, _) = chosen(&with([0.98, 0.5]), &[]);
        assert!(value == 4 && reason.ends_with(" and is right; the nearest, 8 takes 2.0 % less"), "{reason}");
        let (value, reason, _) = chosen(&with([0.9, 0.98]), &[]);
        assert!(value == 4 && reason.ends_with("8 takes 10.0 % less, in a second round 2.0 % less"), "{reason}");
        // The first is luck, the next is not.
        let (value, _, verified) = chosen(&[(1, [0.9, 1.0]), (2, [0.95, 0.94]), (8, [1.0; 2]), (16, [1.1; 2])], &[]);
        assert_eq!((value, verified), (2, vec![4, 1, 2]));
        // What can't be launched is none.
        let (value, reason, _) = chosen(&[(16, [0.9; 2])], &[]);
        assert!(value == 16 && reason.ends_with("; next, 1 fails"), "{reason}");
    }

    #[test]
    fn what_disagrees_never_wins() {
        let fast = [(1, [0.9; 2]), (2, [0.1; 2]), (8, [0.2; 2]), (16, [2.0; 2])];
        let (value, reason, verified) = chosen(&fast, &[2, 8]);
        assert_eq!((value, verified), (1, vec![4, 2, 8, 1]));
        assert!(reason.ends_with("; next, 2 takes 90.0 % less, but disagrees"), "{reason}");
        assert_eq!(chosen(&fast, &[1, 2, 8]).0, 4);
        // Nor does what is built in: then the fastest that is right is chosen, however slow.
        let (value, reason, _) = chosen(&fast, &[1, 2, 4, 8]);
        assert!(value == 16 && reason.starts_with("4, which is built in, disagrees; takes 100.0 % more"), "{reason}");
        assert_eq!(chosen(&fast, &[1, 2, 4, 8, 16]).0, 4);
    }

    #[test]
    fn a_gain_in_the_mean_does_not_pay_for_a_loss() {
        assert!(round(&[0.9], 1).wins() && round(&[0.85, 1.05], 2).wins());
        assert!(!round(&[0.5, 1.11], 2).wins());
        assert_eq!(round(&[0.5, 1.5], 2).words(), "13.4 % less, but 50.0 % more for shape 1");
        assert_eq!(round(&[1.2, 1.3], 2).words(), "24.9 % more");
        // Shapes that go the same way count as well.
        assert!(!round(&[0.9], 4).wins() && (round(&[0.25], 2).ratio - 0.5).abs() < 1e-12);
    }

    #[test]
    fn without_another_way_nothing_is_measured() {
        let mut nobody = Table { rounds: Vec::new(), wrong: Vec::new(), verified: Vec::new() };
        let choice = choose("it", 4, &[], &mut nobody).expect("nothing stops");
        assert!(choice.value == 4 && nobody.verified.is_empty() && choice.reason.contains("no other way"));
    }
}
