//! Vectorised mathematics for the CPU bodies.
//!
//! The loops are plain Rust that the compiler vectorises; [`simd`] compiles them once per instruction set (through `pulp`'s
//! run-time dispatch), so that one binary is fast on every x86-64 and Arm machine. `exp` is a range reduction to
//! |r| <= ln 2 / 2 and a polynomial of degree 6 (relative error under 2e-7); sums run in lanes of fixed number, so that
//! their bits do not depend on the machine's vector width.

/// Declares functions whose bodies are compiled for each instruction set; a call runs the widest that this machine has.
/// What a body calls must be `#[inline(always)]`.
///
/// (A closure handed to `pulp` is not inlined once it is of any size, and then is compiled for the least instruction set.)
macro_rules! simd {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident $(<$($generic:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),* $(,)?)
        $(-> $out:ty)? $body:block)+) => {$(
        $(#[$meta])*
        $vis fn $name $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $out)? {
            // As arguments of a function, unlike as fields, references are known not to overlap.
            #[inline(always)]
            fn body $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $out)? $body
            #[allow(non_camel_case_types)]
            struct Arguments<$($arg),*>($($arg),*);
            impl $(<$($generic: $bound),+>)? pulp::WithSimd for Arguments<$($ty),*> {
                type Output = $crate::simd::simd!(@output $($out)?);
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
                    let Self($($arg),*) = self;
                    body($($arg),*)
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

/// Number of partial results of a lane-wise reduction: four of the widest vectors, which keep the processor's adders busy.
const LANES: usize = 64;

/// Those of a short one.
const FEW: usize = 16;

/// `start` joined with each (x_i, y_i, ..), up to the shortest's length, by `join`: in [`LANES`] partial results and [`FEW`] for
/// what remains, which `merge` joins pairwise at the end. (Chunks of fixed length, for with indices the compiler sees no vectors.)
#[inline(always)]
fn reduce<const N: usize>(
    operands: [&[f32]; N],
    start: f32,
    join: impl Fn(f32, [f32; N]) -> f32,
    merge: impl Fn(f32, f32) -> f32,
) -> f32 {
    let len = operands.iter().map(|x| x.len()).min().unwrap_or(0);
    let parts = operands.map(|x| x[..len].as_chunks::<LANES>());
    let mut many = [start; LANES];
    for i in 0..len / LANES {
        let chunks = parts.map(|(chunks, _)| &chunks[i]);
        for (lane, partial) in many.iter_mut().enumerate() {
            *partial = join(*partial, chunks.map(|chunk| chunk[lane]));
        }
    }
    let mut few = [start; FEW];
    for (lane, partial) in few.iter_mut().enumerate() {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| many[lane + i * FEW]);
        *partial = merge(merge(a, b), merge(c, d));
    }
    let parts = parts.map(|(_, rest)| rest.as_chunks::<FEW>());
    for i in 0..len % LANES / FEW {
        let chunks = parts.map(|(chunks, _)| &chunks[i]);
        for (lane, partial) in few.iter_mut().enumerate() {
            *partial = join(*partial, chunks.map(|chunk| chunk[lane]));
        }
    }
    for (lane, partial) in few.iter_mut().enumerate().take(len % FEW) {
        *partial = join(*partial, parts.map(|(_, rest)| rest[lane]));
    }
    let mut width = FEW / 2;
    while width > 0 {
        for lane in 0..width {
            few[lane] = merge(few[lane], few[lane + width]);
        }
        width /= 2;
    }
    few[0]
}

/// Sum of f(x_i, y_i, ..).
#[inline(always)]
fn sum_of<const N: usize>(operands: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    reduce(operands, 0.0, |sum, x| sum + f(x), |a, b| a + b)
}

/// Sum of a_i b_i.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of([a, b], |[a, b]| a * b)
}

/// Sum of a_i b_i c_i.
#[inline(always)]
pub(crate) fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    sum_of([a, b, c], |[a, b, c]| a * b * c)
}

/// Sum of x_i.
#[inline(always)]
pub(crate) fn sum(x: &[f32]) -> f32 {
    sum_of([x], |[x]| x)
}

/// Sum of e^(x_i - shift).
#[inline(always)]
pub(crate) fn sum_exp(x: &[f32], shift: f32) -> f32 {
    sum_of([x], |[x]| exp(x - shift))
}

/// Greatest x_i.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    reduce([x], f32::NEG_INFINITY, |best, [x]| greater(best, x), greater)
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
        for len in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let want = (0..len).sum::<usize>() as f32;
            assert_eq!(sum(&x), want);
            assert_eq!(dot(&x, &vec![2.0; len]), 2.0 * want);
            assert_eq!(dot3(&x, &vec![2.0; len], &vec![0.5; len]), want);
            if len > 0 {
                assert_eq!(max(&x), (len - 1) as f32);
            }
        }
    }
}
