//! The WGSL of every kernel, as text, and the one way in which it is specialised.
//!
//! Each file is a valid shader on its own, or with the files of `shared/` that its line here adds. Binding 0 is the uniform `Params`, then come the inputs, then the outputs, in
//! the order that the kernel's definition lists them.

/// One shader: a file of this folder, and the files of `shared/` that it is valid with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shader {
    /// The file's name.
    pub file: &'static str,
    /// The files that it is made of, itself first: their paths in this folder, and their texts.
    pub parts: &'static [(&'static str, &'static str)],
    /// The text of all of them.
    pub text: &'static str,
}

macro_rules! shaders {
    ($($(#[$doc:meta])* $name:ident = $file:literal $(+ $shared:literal)*;)*) => {
        // The shared text comes last, so that the lines of a message are those of the file.
        $($(#[$doc])* pub const $name: Shader = Shader {
            file: $file,
            parts: &[
                ($file, include_str!(concat!("../", $file))),
                $((concat!("shared/", $shared), include_str!(concat!("../shared/", $shared)))),*
            ],
            text: concat!(include_str!(concat!("../", $file)) $(, include_str!(concat!("../shared/", $shared)))*),
        };)*
        /// Every shader.
        pub const ALL: &[Shader] = &[$($name),*];
    };
}

shaders! {
    /// An activation, forward.
    ACTIVATION = "activation.wgsl" + "activation.wgsl";
    /// An activation, backward.
    ACTIVATION_BACKWARD = "activation_backward.wgsl" + "activation.wgsl";
    /// AdamW.
    ADAMW = "adamw.wgsl";
    /// c = a + b.
    ADD = "add.wgsl";
    /// Causal attention, forward.
    ATTENTION = "attention.wgsl" + "attention_tile.wgsl" + "attention_head.wgsl";
    /// Causal attention, backward.
    ATTENTION_BACKWARD = "attention_backward.wgsl" + "attention_tile.wgsl" + "attention_head.wgsl";
    /// Causal attention, forward, by cooperative matrices.
    ATTENTION_COOPERATIVE = "attention_cooperative.wgsl" + "attention_head.wgsl";
    /// Causal attention, forward, of few queries.
    ATTENTION_SHORT = "attention_short.wgsl";
    /// A bias on every row.
    BIAS = "bias.wgsl";
    /// A block of columns.
    COLUMNS = "columns.wgsl";
    /// Cross-entropy of the next token, and the gradient of its logits.
    CROSS_ENTROPY = "cross_entropy.wgsl" + "logits_row.wgsl";
    /// Cross-entropy over a part of the vocabulary.
    CROSS_ENTROPY_PART = "cross_entropy_part.wgsl" + "logits_row.wgsl";
    /// Rows of a table by id.
    EMBEDDING = "embedding.wgsl" + "weight.wgsl";
    /// Rows added to a table by id.
    EMBEDDING_BACKWARD = "embedding_backward.wgsl";
    /// One value everywhere.
    FILL = "fill.wgsl";
    /// Chains of multiply-adds.
    FMA = "fma.wgsl" + "chains.wgsl";
    /// Chains of multiply-adds in f16.
    FMA_HALF = "fma_half.wgsl" + "chains.wgsl";
    /// The fused gate merge, forward.
    GATE_MERGE = "gate_merge.wgsl" + "gate_row.wgsl";
    /// The fused gate merge, backward.
    GATE_MERGE_BACKWARD = "gate_merge_backward.wgsl" + "gate_row.wgsl";
    /// A gated linear unit, forward.
    GLU = "glu.wgsl" + "activation.wgsl";
    /// A gated linear unit, backward.
    GLU_BACKWARD = "glu_backward.wgsl" + "activation.wgsl";
    /// Matrix product.
    MATMUL = "matmul.wgsl" + "operand_a.wgsl" + "operand_b.wgsl" + "weight.wgsl" + "product.wgsl" + "epilogue.wgsl" + "activation.wgsl";
    /// Matrix product by rows that subgroups broadcast.
    MATMUL_BROADCAST =
        "matmul_broadcast.wgsl" + "operand_a.wgsl" + "operand_b.wgsl" + "weight.wgsl" + "product.wgsl" + "epilogue.wgsl" + "activation.wgsl";
    /// Matrix product by cooperative matrices.
    MATMUL_COOPERATIVE = "matmul_cooperative.wgsl" + "operand_a.wgsl" + "product.wgsl" + "epilogue.wgsl" + "activation.wgsl";
    /// Matrix product of few rows or columns.
    MATMUL_NARROW =
        "matmul_narrow.wgsl" + "operand_a.wgsl" + "operand_b.wgsl" + "weight.wgsl" + "product.wgsl" + "epilogue.wgsl" + "activation.wgsl";
    /// Chains of cooperative multiply-adds.
    MMA = "mma.wgsl";
    /// c = a b, or rows by a number each.
    MULTIPLY = "multiply.wgsl";
    /// RMSNorm, forward.
    RMS_NORM = "rms_norm.wgsl";
    /// RMSNorm, gradient of the weight.
    RMS_NORM_DW = "rms_norm_dw.wgsl";
    /// RMSNorm, gradient of the input.
    RMS_NORM_DX = "rms_norm_dx.wgsl";
    /// Rotary position embedding and its inverse.
    ROTARY = "rotary.wgsl";
    /// y = alpha x, or y += alpha x.
    SCALE = "scale.wgsl";
    /// Softmax of short rows.
    SOFTMAX = "softmax.wgsl";
    /// Softmax, backward.
    SOFTMAX_BACKWARD = "softmax_backward.wgsl";
    /// Sum of squares.
    SUM_OF_SQUARES = "sum_of_squares.wgsl";
    /// Sum over rows.
    SUM_ROWS = "sum_rows.wgsl" + "epilogue.wgsl" + "activation.wgsl";
}

/// What a shader begins with that has f16 in it.
pub const F16: &str = "enable f16;";

/// `wgsl` with the values of top-level `const NAME: u32 = ..;` and `alias NAME = ..;` replaced, and `enable f16;` before its first
/// line if one of the types is made of that and the text has none. Nothing else of the text changes, and no line moves.
///
/// ```
/// let text = mode_shaders::specialise(mode_shaders::ATTENTION.text, &[("HEAD", 128)], &[])?;
/// assert!(text.contains("const HEAD: u32 = 128u;"));
/// # Ok::<(), &'static str>(())
/// ```
///
/// # Errors
/// The name of a constant or an alias that the shader does not declare.
pub fn specialise(
    wgsl: &str,
    constants: &[(&'static str, u32)],
    types: &[(&'static str, &'static str)],
) -> Result<String, &'static str> {
    let mut text = wgsl.to_string();
    let mut replace = |name: &'static str, declaration: String, value: &str| {
        let start = text.find(&declaration).ok_or(name)? + declaration.len();
        let end = start + text[start..].find(';').ok_or(name)?;
        let lines = "\n".repeat(text[start..end].matches('\n').count());
        text.replace_range(start..end, &format!("{value}{lines}"));
        Ok(())
    };
    for &(name, value) in constants {
        replace(name, format!("const {name}: u32 = "), &format!("{value}u"))?;
    }
    for &(name, value) in types {
        replace(name, format!("alias {name} = "), value)?;
    }
    if types.iter().any(|(_, value)| value.contains("f16")) && !text.contains(F16) {
        text.insert_str(0, &format!("{F16} "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specialise_replaces_one_value() {
        let text = "const HEAD: u32 = 64;\nconst HEADS: u32 = 2;";
        let eight = specialise(text, &[("HEAD", 8)], &[]);
        assert_eq!(eight.as_deref(), Ok("const HEAD: u32 = 8u;\nconst HEADS: u32 = 2;"));
        assert_eq!(specialise(text, &[("TILE", 8)], &[]), Err("TILE"));
        let half = specialise("alias Real = f32;\nvar x: Real;", &[], &[("Real", "f16")]);
        assert_eq!(half.as_deref(), Ok("enable f16; alias Real = f16;\nvar x: Real;"));
        let declared = specialise("enable f16;\nalias Real = f32;", &[], &[("Real", "vec4<f16>")]);
        assert_eq!(declared.as_deref(), Ok("enable f16;\nalias Real = vec4<f16>;"));
        let over_lines = specialise("const HEAD: u32 = 32\n + 32;\nconst HEADS: u32 = 2;", &[("HEAD", 8)], &[]);
        assert_eq!(over_lines.as_deref(), Ok("const HEAD: u32 = 8u\n;\nconst HEADS: u32 = 2;"));
    }

    #[test]
    fn every_file_in_the_folder_is_named_once() {
        let files = |folder: &str| {
            let mut files: Vec<String> = std::fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR")))
                .expect("the crate's folder")
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name.ends_with(".wgsl"))
                .collect();
            files.sort();
            files
        };
        let mut named: Vec<&str> = ALL.iter().map(|shader| shader.file).collect();
        named.sort_unstable();
        assert_eq!(files(""), named);
        let paths = ALL.iter().flat_map(|shader| shader.parts).map(|(path, _)| *path);
        let mut shared: Vec<&str> = paths.filter_map(|path| path.strip_prefix("shared/")).collect();
        shared.sort_unstable();
        shared.dedup();
        assert_eq!(files("shared"), shared);
    }

    #[test]
    fn a_text_is_that_of_its_parts() {
        for shader in ALL {
            assert_eq!(shader.parts.iter().map(|(_, text)| *text).collect::<String>(), shader.text);
            assert!(shader.parts.iter().all(|(_, text)| text.ends_with('\n')), "{}", shader.file);
        }
    }
}
