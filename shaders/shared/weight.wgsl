// How a weight is stored, and one element of it: an f32 a word, or two f16 or bf16. A kernel that reads a weight binds it as
// array<u32> and says element(w[word(i)], i); the constant's value decides, and the other ways are compiled away.

const DTYPE: u32 = 0u;                                           // 0: f32, 1: f16, 2: bf16

// The word that holds element i.
fn word(i: u32) -> u32 {
    return select(i / 2u, i, DTYPE == 0u);
}

// Element i, out of its word; the even ones are the low halves.
fn element(word: u32, i: u32) -> f32 {
    if DTYPE == 0u {
        return bitcast<f32>(word);
    }
    if DTYPE == 1u {
        return unpack2x16float(word)[i % 2u];
    }
    return bitcast<f32>(select(word & 0xffff0000u, word << 16u, i % 2u == 0u));
}
