//! What can happen in a word problem, and with which numbers.
//!
//! A problem is a chain of acts. Each takes a quantity of one [`Kind`] to a quantity of another, so
//! that the chain makes sense whatever its acts are; the first one makes the quantity, and the last
//! one may ask for something that ends the story.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use super::words::any;

/// What a quantity counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Things somebody has.
    Things,
    /// Money somebody has.
    Money,
    /// Litres, kilograms or metres of something.
    Stuff,
    /// Kilometres somebody has gone.
    Way,
    /// People in a place.
    Crowd,
}

/// The arithmetic of an act: `v` is the quantity before it, `a` and `b` are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `a`; opens a story without an equation.
    Given,
    /// `a + b`; opens.
    Sum,
    /// `a - b`; opens.
    Difference,
    /// `a * b`; opens.
    Product,
    /// `a * b` with a speed and hours; opens.
    Speed,
    /// `v + a`.
    Add,
    /// `v - a`.
    Take,
    /// `v * a`, with a small `a`.
    Times,
    /// `v * a`, where `a` is a price.
    Price,
    /// `v / a`.
    Share,
    /// `v / a`, where `a` is a speed.
    Hours,
    /// `a * b`, added to `v`.
    AddProduct,
    /// `a * b`, taken from `v`.
    TakeProduct,
    /// `v / a`, taken from `v`.
    TakePart,
    /// `v / a`, added to `v`.
    AddPart,
    /// `v / a`, times the price `b`.
    SharePrice,
    /// `a - v`.
    Goal,
    /// `v * a`, added to `v`.
    WithTimes,
    /// `v + a`, added to `v`.
    WithMore,
}

/// Something that can happen, and the ways to tell it.
pub struct Act {
    /// Its name in the combination that decides a problem's split.
    pub key: &'static str,
    /// The quantity before; none if the act opens a story.
    pub from: Option<Kind>,
    /// The quantity after.
    pub to: Kind,
    /// The arithmetic.
    pub shape: Shape,
    /// Whether the other person is the one the story goes on with.
    pub turns: bool,
    /// Sentences that tell it, without capital and full stop.
    pub tells: &'static [&'static str],
    /// Questions that end the story with it; none if the story can go on.
    pub asks: &'static [&'static str],
    /// Sentences of the worked solution, with the equations `{e1}` and `{e2}`.
    pub works: &'static [&'static str],
}

impl Act {
    /// Whether it tells how much the other person has; a story can bear that once, or it would
    /// contradict itself.
    pub fn compares(&self) -> bool {
        let opens_with_other = self.from.is_none() && self.tells.iter().any(|t| t.contains("{other}"));
        self.turns || opens_with_other || matches!(self.shape, Shape::WithTimes | Shape::WithMore)
    }
}

/// One equation of a worked solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equation {
    /// Left operand.
    pub left: u32,
    /// One of `+`, `-`, `*`, `/`.
    pub op: char,
    /// Right operand.
    pub right: u32,
    /// The result.
    pub result: u32,
}

impl std::fmt::Display for Equation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} = {}", self.left, self.op, self.right, self.result)
    }
}

/// The numbers of one act in one problem.
pub struct Numbers {
    /// The first number that is told.
    pub a: u32,
    /// The second one, 0 if there is none.
    pub b: u32,
    /// The equations that lead to the result.
    pub equations: Vec<Equation>,
    /// The quantity after the act.
    pub result: u32,
}

/// The greatest quantity in a story.
const MOST: u32 = 3_000;

impl Shape {
    /// Draws numbers for the act when the quantity before it is `v` and people travel at `speeds`;
    /// all of them whole and 2 or more. None if there are no sensible ones.
    pub fn draw(self, v: u32, speeds: (u32, u32), random: &mut ChaCha8Rng) -> Option<Numbers> {
        let a = self.first(v, speeds, random)?;
        let b = self.second(v, a, random)?;
        let equation = |left: u32, op, right: u32| {
            let result = match op {
                '+' => left.checked_add(right),
                '-' => left.checked_sub(right),
                '*' => left.checked_mul(right),
                _ => left.checked_div(right).filter(|_| left.is_multiple_of(right)),
            };
            let result = result.filter(|result| (2..=MOST).contains(result))?;
            Some(Equation { left, op, right, result })
        };
        let one = |left, op, right| equation(left, op, right).map(|first| vec![first]);
        let two = |left, op, right, then: fn(u32, u32, u32) -> (u32, char, u32)| {
            let first = equation(left, op, right)?;
            let (left, op, right) = then(v, first.result, b);
            Some(vec![first, equation(left, op, right)?])
        };
        let equations = match self {
            Self::Given => Some(Vec::new()),
            Self::Sum => one(a, '+', b),
            Self::Difference => one(a, '-', b),
            Self::Product | Self::Speed => one(a, '*', b),
            Self::Add => one(v, '+', a),
            Self::Take => one(v, '-', a),
            Self::Times | Self::Price => one(v, '*', a),
            Self::Share | Self::Hours => one(v, '/', a),
            Self::Goal => one(a, '-', v),
            Self::AddProduct => two(a, '*', b, |v, p, _| (v, '+', p)),
            Self::TakeProduct => two(a, '*', b, |v, p, _| (v, '-', p)),
            Self::TakePart => two(v, '/', a, |v, p, _| (v, '-', p)),
            Self::AddPart => two(v, '/', a, |v, p, _| (v, '+', p)),
            Self::SharePrice => two(v, '/', a, |_, p, b| (p, '*', b)),
            Self::WithTimes => two(v, '*', a, |v, p, _| (v, '+', p)),
            Self::WithMore => two(v, '+', a, |v, p, _| (v, '+', p)),
        }?;
        let result = equations.last().map_or(a, |last| last.result);
        Some(Numbers { a, b, equations, result })
    }

    fn first(self, v: u32, speeds: (u32, u32), random: &mut ChaCha8Rng) -> Option<u32> {
        let mut within = |least: u32, most: u32| (least <= most).then(|| random.random_range(least..=most));
        match self {
            // Multiples of 12 can be shared in many ways.
            Self::Given => Some(if within(0, 2)? == 0 { within(13, 99)? } else { 12 * within(1, 12)? }),
            Self::Sum | Self::Difference => within(8, 75),
            Self::Product => within(3, 24),
            Self::Speed => within(speeds.0, speeds.1),
            Self::Add | Self::WithMore => within(2, v.clamp(9, 80)),
            Self::Take => within(2, v.saturating_sub(2).min(150)),
            Self::Times | Self::WithTimes => within(2, if v < 200 { 5 } else { 3 }),
            Self::Price => within(2, 12),
            Self::AddProduct | Self::TakeProduct => within(2, 12),
            Self::TakePart | Self::AddPart => divisor(v, &[2, 3, 4, 5, 10], random),
            Self::Share | Self::SharePrice => divisor(v, &[2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20], random),
            Self::Hours => {
                divisor(v, &(speeds.0..=speeds.1).collect::<Vec<_>>(), random).filter(|speed| v / speed <= 12)
            }
            // A goal is a round number; the next but one, so that it is not always close.
            Self::Goal => Some(v.next_multiple_of(10) + 10 * within(0, 5)?),
        }
    }

    fn second(self, v: u32, a: u32, random: &mut ChaCha8Rng) -> Option<u32> {
        let mut within = |least: u32, most: u32| (least <= most).then(|| random.random_range(least..=most));
        match self {
            Self::Sum => within(3, 60),
            Self::Difference => within(2, a - 4),
            Self::Product => within(2, 9),
            Self::Speed => within(2, 6),
            Self::AddProduct => within(2, 9),
            Self::TakeProduct => within(2, (v.saturating_sub(2) / a).min(9)),
            Self::SharePrice => within(3, 15),
            _ => Some(0),
        }
    }
}

fn divisor(v: u32, candidates: &[u32], random: &mut ChaCha8Rng) -> Option<u32> {
    let divisors: Vec<_> = candidates.iter().copied().filter(|d| v.is_multiple_of(*d) && v / d >= 2).collect();
    Some(any(&divisors, random)).filter(|_| !divisors.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn numbers_are_sensible_whatever_the_quantity() {
        use Shape::*;
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for shape in [
            Given,
            Sum,
            Difference,
            Product,
            Speed,
            Add,
            Take,
            Times,
            Price,
            Share,
            Hours,
            AddProduct,
            TakeProduct,
            TakePart,
            AddPart,
            SharePrice,
            Goal,
            WithTimes,
            WithMore,
        ] {
            let mut drawn = 0;
            for v in 2..600 {
                let Some(numbers) = shape.draw(v, (3, 6), &mut random) else { continue };
                drawn += 1;
                assert!(numbers.a >= 2 && numbers.b != 1, "{shape:?} of {v}");
                assert!((2..=MOST).contains(&numbers.result), "{shape:?} of {v}");
                let last = numbers.equations.last().map_or(numbers.a, |e| e.result);
                assert_eq!(last, numbers.result);
            }
            assert!(drawn >= 25, "{shape:?} was possible {drawn} times");
        }
    }
}
