//! Vectorised mathematics for the CPU bodies.
//!
//! Loops over elements are plain Rust that the compiler vectorises; [`simd`] compiles them once per instruction set (through
//! `pulp`'s run-time dispatch), so that one binary is fast on every x86-64 and Arm machine. Sums and maxima say their vectors
//! themselves, for of those the compiler makes memory; how a sum is split depends on the processor's vectors. `exp` is a range
//! reduction to |r| <= ln 2 / 2 and a polynomial of degree 6 (relative error under 2e-7).

use pulp::Simd;

/// Declares functions whose bodies are compiled for each instruction set; a call runs the widest that this machine has.
/// What a body calls must be `#[inline(always)]`. `fn name[simd](..)` gives the body the instruction set, for [`dot`] and the like.
///
/// (A closure handed to `pulp` is not inlined once it is of any size, and then is compiled for the least instruction set.)
macro_rules! simd {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident $([$simd:ident])? $(<$($generic:ident: $bound:path),+>)?
        ($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block)+) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)] // Slices of several operands, and no struct to name for one loop.
        $vis fn $name $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $out)? {
            // As arguments of a function, unlike as fields, references are known not to overlap.
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<Instructions: pulp::Simd, $($($generic: $bound),+)?>(
                _instructions: Instructions,
                $($arg: $ty),*
            ) $(-> $out)? {
                $(let $simd = _instructions;)?
                $body
            }
            #[allow(non_camel_case_types)]
            struct Arguments<$($arg),*>($($arg),*);
            impl $(<$($generic: $bound),+>)? pulp::WithSimd for Arguments<$($ty),*> {
                type Output = $crate::simd::simd!(@output $($out)?);
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, instructions: S) -> Self::Output {
                    let Self($($arg),*) = self;
                    body(instructions, $($arg),*)
                }
            }
            pulp::Arch::new().dispatch(Arguments($($arg),*))
        }
    )+};
    (@output) => { () };
    (@output $out:ty) => { $out };
}
pub(crate) use simd;

/// e^x for x in f32; 0 below -87.3, saturating near 3.4e38 above 88.7.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number without a branch.
    const ROUND: f32 = 12_582_912.0;
    let below = x < -87.3;
    let x = x.clamp(-87.3f32, 88.7);
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p =
        1.0 + r * (1.0 + r * (0.5 + r * (0.166_666_67 + r * (0.041_666_355 + r * (0.008_333_68 + r * 0.001_388_732)))));
    // The last bits of `rounded` are n, which is added to p's exponent; within the clamp the sum is one of an f32.
    let y = f32::from_bits(p.to_bits().wrapping_add(rounded.to_bits().wrapping_sub(ROUND.to_bits()) << 23));
    if below { 0.0 } else { y }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh(x) to 4e-7 of its value: near 0, where a soft cap leaves most scores, by the odd polynomial of Cephes' `tanhf`.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let p = (((-5.704_988_7e-3 * z + 2.063_909e-2) * z - 5.373_971_6e-2) * z + 1.333_144_2e-1) * z - 3.333_328e-1;
    if x.abs() < 0.625 { x + x * z * p } else { 1.0 - 2.0 / (1.0 + exp(2.0 * x)) }
}

/// Sum of f(x_i, y_i, ..) over the shortest's length, in four vectors of partial sums, which keep the processor's adders busy;
/// `rest` is f for what fills no vector. `add` is f added to a vector.
#[inline(always)]
fn sum_of<S: Simd, const N: usize>(
    simd: S,
    operands: [&[f32]; N],
    add: impl Fn(S::f32s, [S::f32s; N]) -> S::f32s,
    rest: impl Fn([f32; N]) -> f32,
) -> f32 {
    let len = operands.iter().map(|x| x.len()).min().unwrap_or(0);
    let parts = operands.map(|x| S::as_simd_f32s(&x[..len]));
    let (vectors, tail) = (parts[0].0.len(), parts[0].1.len());
    let mut sums = [simd.splat_f32s(0.0); 4];
    let mut i = 0;
    while i + 4 <= vectors {
        for (u, sum) in sums.iter_mut().enumerate() {
            *sum = add(*sum, parts.map(|(x, _)| x[i + u]));
        }
        i += 4;
    }
    while i < vectors {
        sums[0] = add(sums[0], parts.map(|(x, _)| x[i]));
        i += 1;
    }
    let [a, b, c, d] = sums;
    let sum = simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)));
    (0..tail).fold(sum, |sum, i| sum + rest(parts.map(|(_, x)| x[i])))
}

/// Sum of a_i b_i.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    sum_of(simd, [a, b], |sum, [a, b]| simd.mul_add_f32s(a, b, sum), |[a, b]| a * b)
}

/// Sum of a_i b_i c_i.
#[inline(always)]
pub(crate) fn dot3<S: Simd>(simd: S, a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let add = |sum, [a, b, c]: [S::f32s; 3]| simd.mul_add_f32s(simd.mul_f32s(a, b), c, sum);
    sum_of(simd, [a, b, c], add, |[a, b, c]| a * b * c)
}

/// Sum of x_i.
#[inline(always)]
pub(crate) fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    sum_of(simd, [x], |sum, [x]| simd.add_f32s(sum, x), |[x]| x)
}

/// Sum of e^(x_i - shift), in lanes.
#[inline(always)]
pub(crate) fn sum_exp(x: &[f32], shift: f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for (sum, &v) in sums.iter_mut().zip(chunk) {
            *sum += exp(v - shift);
        }
    }
    for (sum, &v) in sums.iter_mut().zip(rest) {
        *sum += exp(v - shift);
    }
    sums.iter().sum()
}

/// Greatest x_i.
#[inline(always)]
pub(crate) fn max<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (vectors, rest) = S::as_simd_f32s(x);
    let mut best = [simd.splat_f32s(f32::NEG_INFINITY); 4];
    for (i, &x) in vectors.iter().enumerate() {
        best[i % 4] = simd.max_f32s(best[i % 4], x);
    }
    let [a, b, c, d] = best;
    let best = simd.reduce_max_f32s(simd.max_f32s(simd.max_f32s(a, b), simd.max_f32s(c, d)));
    rest.iter().fold(best, |best, &x| if x > best { x } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        let mut worst = 0.0f64;
        for i in -8_700..=8_850 {
            let x = i as f32 * 0.01 + 0.003;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x.min(88.7))) / f64::from(x.min(88.7)).exp() - 1.0).abs());
            assert!(want > 0.0);
        }
        assert!(worst < 4e-7, "worst relative error {worst:e}");
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(1000.0) > 3e38);
    }

    #[test]
    fn tanh_is_accurate_near_zero_too() {
        let mut worst = 0.0f64;
        for i in 1..=4_000 {
            // From 1e-6 to 10, and their negatives.
            let x = 10f32.powf(-6.0 + 7.0 * i as f32 / 4_000.0);
            for x in [x, -x] {
                worst = worst.max((f64::from(tanh(x)) / f64::from(x).tanh() - 1.0).abs());
            }
        }
        assert!(worst < 4e-7, "worst relative error {worst:e}");
        assert_eq!((tanh(0.0), tanh(100.0), tanh(-100.0)), (0.0, 1.0, -1.0));
    }

    #[test]
    fn sums_of_odd_lengths() {
        for len in [0, 1, 15, 16, 17, 63, 64, 100, 131] {
            let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let want = (0..len).sum::<usize>() as f32;
            let (twos, halves) = (vec![2.0; len], vec![0.5; len]);
            assert_eq!(results(&x, &twos, &halves), [want, 2.0 * want, want, len as f32 - 1.0]);
        }
    }

    simd! {
        fn results[simd](x: &[f32], twos: &[f32], halves: &[f32]) -> [f32; 4] {
            let greatest = if x.is_empty() { -1.0 } else { max(simd, x) };
            [sum(simd, x), dot(simd, x, twos), dot3(simd, x, twos, halves), greatest]
        }
    }
}
