//! GGUF's names for tensors, and what its converter did to some of them.

use crate::model::Config;
use crate::model::config::NormKind;
use crate::model::family::Names;

/// What the converter did to a tensor, which reading undoes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    None,
    /// A head's rows were interleaved: its pairs of rotary elements are neighbours, where Hugging Face has i beside i + width / 2.
    Interleaved {
        heads: usize,
    },
    /// 1 was added to the weights of a norm that multiplies by 1 + weight.
    PlusOne,
}

impl Change {
    /// The change of the tensor that the family calls `name` in a file of `architecture`.
    pub(super) fn of(name: &str, architecture: &str, config: &Config) -> Self {
        let names = &config.family.names;
        let is = |index: usize| names.inputs.get(index).is_some_and(|part| name.contains(&format!(".{part}.")));
        match architecture {
            "llama" if is(0) => Self::Interleaved { heads: config.heads },
            "llama" if is(1) => Self::Interleaved { heads: config.kv_heads },
            _ if config.norm == NormKind::RmsPlusOne && name.ends_with("norm.weight") => Self::PlusOne,
            _ => Self::None,
        }
    }

    /// Puts rows back where Hugging Face has them: row 2 i + s of a head comes to i + s width / 2.
    pub(super) fn undo_rows<T: Copy>(self, values: Vec<T>, rows: usize) -> Vec<T> {
        let Self::Interleaved { heads } = self else { return values };
        if rows == 0 || !rows.is_multiple_of(2 * heads) {
            return values;
        }
        let (length, width) = (values.len() / rows, rows / heads);
        let from = |row: usize| {
            let (head, i) = (row / width, row % width);
            head * width + i % (width / 2) * 2 + i / (width / 2)
        };
        (0..rows).flat_map(|row| values[from(row) * length..][..length].iter().copied()).collect()
    }

    /// Takes off what was added.
    pub(super) fn undo_values(self, values: &mut [f32]) {
        if self == Self::PlusOne {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
    }
}

/// What the family calls the tensor that GGUF calls `name`; None if it has no such part.
pub(super) fn family_name(names: &Names, name: &str) -> Option<String> {
    let (stem, end) = name.rsplit_once('.')?;
    let Some(in_block) = stem.strip_prefix("blk.") else {
        let part = match stem {
            "output" => return Some(format!("{}.{end}", names.head)),
            "token_embd" => names.embedding,
            "position_embd" => names.positions,
            "output_norm" => names.norm,
            _ => "",
        };
        return (!part.is_empty()).then(|| format!("{}{part}.{end}", names.body));
    };
    let (block, part) = in_block.split_once('.')?;
    let input = |index: usize| if names.inputs.len() == 3 { names.inputs[index] } else { "" };
    let part = match part {
        "attn_norm" => names.input_norm,
        "attn_q" => input(0),
        "attn_k" => input(1),
        "attn_v" => input(2),
        "attn_qkv" if names.inputs.len() == 1 => names.inputs[0],
        "attn_output" => names.output,
        "attn_q_norm" => names.head_norms[0],
        "attn_k_norm" => names.head_norms[1],
        "post_attention_norm" => names.attention_norm,
        "ffn_norm" => names.feed_norm,
        "ffn_gate" => names.gate,
        "ffn_up" => names.up,
        "ffn_down" => names.down,
        "post_ffw_norm" => names.feed_out_norm,
        _ => "",
    };
    (!part.is_empty()).then(|| format!("{}{}{block}.{part}.{end}", names.body, names.layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        // Two heads of four rows each, one number a row: Hugging Face's 0 1 2 3 lie as 0 2 1 3.
        let change = Change::Interleaved { heads: 2 };
        assert_eq!(change.undo_rows(vec![0, 2, 1, 3, 4, 6, 5, 7], 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Change::None.undo_rows(vec![1, 2], 2), [1, 2]);
    }
}
