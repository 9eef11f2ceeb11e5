//! Blocks of quantised weights, and the numbers x_i that they stand for.
//!
//! A row is cut into blocks of 32 or 256 numbers, each stored as small integers q with a scale d, and perhaps an offset m, of its
//! own. The blocks of 256 (the "K" types) are cut once more, into groups whose scales s, and offsets, are integers themselves.
//! Arithmetic is f32, in the order of ggml's own, so that the numbers are the same to the bit.

use half::{bf16, f16};

fn word(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn scale(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

pub(super) fn f32s(b: &[u8], x: &mut [f32]) {
    x[0] = f32::from_bits(word(b, 0));
}

pub(super) fn f16s(b: &[u8], x: &mut [f32]) {
    x[0] = scale(b, 0);
}

pub(super) fn bf16s(b: &[u8], x: &mut [f32]) {
    x[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32();
}

/// x_i = d q_i. Bytes: d, 32 signed q.
pub(super) fn q8_0(b: &[u8], x: &mut [f32]) {
    let d = scale(b, 0);
    for i in 0..32 {
        x[i] = f32::from(b[2 + i] as i8) * d;
    }
}

/// The low halves of 16 bytes are q_0 .. q_15, the high ones q_16 .. q_31.
fn nibble(b: &[u8], i: usize) -> u8 {
    (b[i % 16] >> (i / 16 * 4)) & 15
}

/// x_i = d (q_i - 8). Bytes: d, 16 of q.
pub(super) fn q4_0(b: &[u8], x: &mut [f32]) {
    let d = scale(b, 0);
    for i in 0..32 {
        x[i] = d * (f32::from(nibble(&b[2..], i)) - 8.0);
    }
}

/// x_i = d q_i + m. Bytes: d, m, 16 of q.
pub(super) fn q4_1(b: &[u8], x: &mut [f32]) {
    let (d, m) = (scale(b, 0), scale(b, 2));
    for i in 0..32 {
        x[i] = d * f32::from(nibble(&b[4..], i)) + m;
    }
}

/// A fifth bit for each nibble: q_i + 16 h_i. Bytes: 4 of h, 16 of q.
fn five(b: &[u8], i: usize) -> f32 {
    f32::from(nibble(&b[4..], i) | ((word(b, 0) >> i & 1) << 4) as u8)
}

/// x_i = d (q_i + 16 h_i - 16). Bytes: d, 4 of h, 16 of q.
pub(super) fn q5_0(b: &[u8], x: &mut [f32]) {
    let d = scale(b, 0);
    for i in 0..32 {
        x[i] = d * (five(&b[2..], i) - 16.0);
    }
}

/// x_i = d (q_i + 16 h_i) + m. Bytes: d, m, 4 of h, 16 of q.
pub(super) fn q5_1(b: &[u8], x: &mut [f32]) {
    let (d, m) = (scale(b, 0), scale(b, 2));
    for i in 0..32 {
        x[i] = d * five(&b[4..], i) + m;
    }
}

/// Scale s_g and offset o_g of group g of eight, six bits each in twelve bytes: the first four groups' in the low six bits of
/// bytes g and 4 + g; the others' low four bits in the two halves of byte 4 + g, their high two atop those of groups g - 4.
fn group(b: &[u8], g: usize) -> (u8, u8) {
    if g < 4 {
        return (b[g] & 63, b[g + 4] & 63);
    }
    ((b[g + 4] & 15) | (b[g - 4] >> 6 << 4), (b[g + 4] >> 4) | (b[g] >> 6 << 4))
}

/// x_i = d s_g q_i - m o_g for i in group g = i / 32. Bytes: d, m, 12 of s and o, 128 of q: 32 for every two groups, the first in the
/// low halves.
pub(super) fn q4_k(b: &[u8], x: &mut [f32]) {
    let (d, m, q) = (scale(b, 0), scale(b, 2), &b[16..]);
    for (g, x) in x.chunks_exact_mut(32).enumerate() {
        let (s, o) = group(&b[4..], g);
        let (s, o) = (d * f32::from(s), m * f32::from(o));
        for i in 0..32 {
            x[i] = s * f32::from(q[g / 2 * 32 + i] >> (g % 2 * 4) & 15) - o;
        }
    }
}

/// x_i = d s_g (q_i + 16 h_i) - m o_g for i in group g = i / 32. Bytes: d, m, 12 of s and o, 32 of h, whose bit g is group g's, 128 of q
/// as q4_k has them.
pub(super) fn q5_k(b: &[u8], x: &mut [f32]) {
    let (d, m, h, q) = (scale(b, 0), scale(b, 2), &b[16..48], &b[48..]);
    for (g, x) in x.chunks_exact_mut(32).enumerate() {
        let (s, o) = group(&b[4..], g);
        let (s, o) = (d * f32::from(s), m * f32::from(o));
        for i in 0..32 {
            let low = q[g / 2 * 32 + i] >> (g % 2 * 4) & 15;
            x[i] = s * f32::from(low | (h[i] >> g & 1) << 4) - o;
        }
    }
}

/// x_i = d s_g (q_i + 16 h_i - 32) for i in group g = i / 16. Bytes: 128 of q, 64 of h, 16 signed s, d. Each half of 128 numbers has
/// 64 bytes of q, the first 64 numbers in their low halves, and 32 of h, two bits for each of its four quarters.
pub(super) fn q6_k(b: &[u8], x: &mut [f32]) {
    let (s, d) = (&b[192..208], scale(b, 208));
    for i in 0..256 {
        let (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
        let low = b[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
        let high = b[128 + half * 32 + l] >> (quarter * 2) & 3;
        x[i] = d * f32::from(s[i / 16] as i8) * (f32::from(low | high << 4) - 32.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        // Half of 3 - 8 and 9 - 8, then a fifth bit that turns 3 into 19 - 16.
        let mut block = [0; 22];
        (block[0], block[1]) = (0x00, 0x38);
        block[2] = 0x93;
        let mut x = [0.0; 32];
        q4_0(&block[..18], &mut x);
        assert_eq!((x[0], x[16], x[1]), (-2.5, 0.5, -4.0));
        (block[2], block[6]) = (1, 0x93);
        q5_0(&block, &mut x);
        assert_eq!((x[0], x[16], x[1]), (1.5, -3.5, -8.0));
    }
}
