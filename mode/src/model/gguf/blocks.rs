//! The types of blocks that are read.

use super::quant::{bf16s, f16s, f32s, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};
use gguf_rs_lib::format::types::GGUFTensorType as Type;
use rayon::prelude::*;

/// A type of blocks.
pub(super) struct Blocks {
    /// As files number it.
    kind: Type,
    /// Numbers in a block.
    pub(super) numbers: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    decode: fn(&[u8], &mut [f32]),
}

const ALL: [Blocks; 11] = [
    Blocks { kind: Type::F32, numbers: 1, bytes: 4, decode: f32s },
    Blocks { kind: Type::F16, numbers: 1, bytes: 2, decode: f16s },
    Blocks { kind: Type::BF16, numbers: 1, bytes: 2, decode: bf16s },
    Blocks { kind: Type::Q8_0, numbers: 32, bytes: 34, decode: q8_0 },
    Blocks { kind: Type::Q4_0, numbers: 32, bytes: 18, decode: q4_0 },
    Blocks { kind: Type::Q4_1, numbers: 32, bytes: 20, decode: q4_1 },
    Blocks { kind: Type::Q5_0, numbers: 32, bytes: 22, decode: q5_0 },
    Blocks { kind: Type::Q5_1, numbers: 32, bytes: 24, decode: q5_1 },
    Blocks { kind: Type::Q4_K, numbers: 256, bytes: 144, decode: q4_k },
    Blocks { kind: Type::Q5_K, numbers: 256, bytes: 176, decode: q5_k },
    Blocks { kind: Type::Q6_K, numbers: 256, bytes: 210, decode: q6_k },
];

/// Blocks that a thread decodes at once.
const TASK: usize = 256;

impl Blocks {
    /// The blocks of a type, if it is read.
    pub(super) fn of(kind: Type) -> Option<&'static Self> {
        ALL.iter().find(|blocks| blocks.kind == kind)
    }

    /// The types that are read, in words.
    pub(super) fn known() -> String {
        ALL.iter().map(|blocks| blocks.kind.name()).collect::<Vec<_>>().join(", ")
    }

    /// The numbers of whole blocks.
    pub(super) fn decode(&self, bytes: &[u8]) -> Vec<f32> {
        let mut numbers = vec![0.0; bytes.len() / self.bytes * self.numbers];
        let tasks = numbers.par_chunks_mut(TASK * self.numbers).zip(bytes.par_chunks(TASK * self.bytes));
        tasks.for_each(|(numbers, bytes)| {
            let blocks = numbers.chunks_exact_mut(self.numbers).zip(bytes.chunks_exact(self.bytes));
            blocks.for_each(|(numbers, block)| (self.decode)(block, numbers));
        });
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Random blocks of every type, as the package gguf reads them.
    #[test]
    fn blocks_are_the_same_to_the_bit() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gguf/blocks.json");
        let golden: serde_json::Map<String, Value> = crate::files::read_json(path.as_ref()).unwrap_or_default();
        for blocks in &ALL {
            let case = &golden[blocks.kind.name()];
            let hex = case["bytes"].as_str().unwrap_or_default();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_default();
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            let found: Vec<Value> = blocks.decode(&bytes).iter().map(|x| x.to_bits().into()).collect();
            assert!(found.len() >= 8 && Value::from(found) == case["bits"], "{}", blocks.kind.name());
        }
    }
}
