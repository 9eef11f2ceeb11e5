//! Learning rates: every method tries the same grid, and goes on beyond its end while that scores best.

use std::collections::BTreeMap;

/// The seed that learning rates are tuned with, which no cell has.
pub(crate) const TUNING_SEED: u64 = 0;

/// All rates that any method may come to try, in order.
const LADDER: [f64; 10] = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1];

/// Those that every method tries.
pub(crate) const GRID: [f64; 5] = {
    let [_, _, _, a, b, c, d, e, _, _] = LADDER;
    [a, b, c, d, e]
};

/// What a method scored best with, of all that it tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// The learning rate.
    pub rate: f64,
    /// Its score.
    pub score: f64,
    /// All rates that were measured.
    pub tried: Vec<f64>,
}

impl Tuned {
    /// The rates beside the best one, which have to be tried before it is known to be the best.
    fn beside(&self) -> impl Iterator<Item = f64> {
        // Where none left numbers, as beside a broken base, others won't.
        let place = LADDER.iter().position(|&rate| rate == self.rate && self.score > 0.0);
        let places = place.into_iter().flat_map(|place| [place.wrapping_sub(1), place + 1]);
        places.filter_map(|place| LADDER.get(place).copied())
    }
}

/// Methods whose grids were measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(pub BTreeMap<String, Tuned>);

impl Rates {
    /// What a method has to try: the grid, and what lies beside the best so far.
    pub fn to_try(&self, method: &str) -> Vec<f64> {
        let tuned = self.0.get(method);
        let more = tuned.into_iter().flat_map(|tuned| tuned.tried.iter().copied().chain(tuned.beside()));
        let mut all: Vec<f64> = GRID.into_iter().chain(more).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }

    /// What a method scored best with, once what lies beside that was tried as well.
    pub fn of(&self, method: &str) -> Option<&Tuned> {
        self.0.get(method).filter(|tuned| tuned.beside().all(|rate| tuned.tried.contains(&rate)))
    }
}

/// Whether no rate beyond this one may be tried.
pub(crate) fn is_last(rate: f64) -> bool {
    rate == LADDER[0] || rate == LADDER[LADDER.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(rate: f64, tried: &[f64]) -> Rates {
        Rates(BTreeMap::from([("a".into(), Tuned { rate, score: 0.5, tried: tried.to_vec() })]))
    }

    #[test]
    fn a_grid_goes_on_while_its_end_is_the_best() {
        assert_eq!(Rates::default().to_try("a"), GRID);
        assert!(Rates::default().of("a").is_none());
        assert!(rates(1e-3, &GRID).of("a").is_some_and(|tuned| tuned.rate == 1e-3));
        let low = rates(3e-4, &GRID);
        assert!(low.of("a").is_none());
        assert_eq!(low.to_try("a")[..2], [1e-4, 3e-4]);
        let lower = rates(3e-4, &low.to_try("a"));
        assert!(lower.of("a").is_some() && lower.to_try("a") == low.to_try("a"));
        let none = Rates(BTreeMap::from([("a".into(), Tuned { rate: 3e-4, score: 0.0, tried: GRID.to_vec() })]));
        assert!(none.of("a").is_some() && none.to_try("a") == GRID);
        // At the ladder's end there is nothing more to try.
        assert!(rates(3e-1, &LADDER).of("a").is_some() && is_last(3e-1) && !is_last(3e-2));
    }
}
