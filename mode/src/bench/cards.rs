//! What vendors' data sheets say of their cards: a measured ceiling far below is a mistake of the measurement, or a card that is busy,
//! hot or throttled.

use serde::Serialize;

/// A card by its data sheet. Where one name covers several sizes, the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Card {
    /// Its name, whose words stand in the adapter's in this order.
    pub name: &'static str,
    /// f32 TFLOP/s of multiply-adds outside of matrix units; `None` where the vendor does not say.
    pub tflops: Option<f64>,
    /// GB/s of its memory.
    pub gbytes: f64,
    /// TFLOP/s of its matrix units, of f16 without zeros left out, added up in f32; `None` where the vendor does not say.
    pub matrix_tflops: Option<f64>,
    /// True where those are of instructions that Vulkan does not have: Hopper's, in which four subgroups multiply together and do not
    /// wait. A cooperative multiply-add is one subgroup's.
    pub beyond_vulkan: bool,
}

const fn card(name: &'static str, tflops: f64, gbytes: f64) -> Card {
    Card { name, tflops: Some(tflops), gbytes, matrix_tflops: None, beyond_vulkan: false }
}

/// A card whose arithmetic the vendor does not tell.
const fn memory(name: &'static str, gbytes: f64) -> Card {
    Card { tflops: None, ..card(name, 0.0, gbytes) }
}

impl Card {
    const fn matrix(self, tflops: f64) -> Self {
        Self { matrix_tflops: Some(tflops), ..self }
    }

    const fn hopper(self, tflops: f64) -> Self {
        Self { beyond_vulkan: true, ..self.matrix(tflops) }
    }
}

const CARDS: &[Card] = &[
    card("H100 PCIe", 51.0, 2_000.0).hopper(756.0),
    card("H100 80GB HBM3", 67.0, 3_350.0).hopper(989.0),
    card("H100 NVL", 60.0, 3_900.0).hopper(835.0),
    card("H200", 67.0, 4_800.0).hopper(989.0),
    card("H200 NVL", 60.0, 4_800.0).hopper(835.0),
    card("A100", 19.5, 1_555.0).matrix(312.0),
    card("A100 80GB PCIe", 19.5, 1_935.0).matrix(312.0),
    card("A100 SXM4 80GB", 19.5, 2_039.0).matrix(312.0),
    card("L4", 30.3, 300.0).matrix(121.0),
    card("T4", 8.1, 300.0).matrix(65.0),
    card("RTX 3060", 12.7, 360.0),
    card("RTX 3060 Ti", 16.2, 448.0),
    card("RTX 3070", 20.3, 448.0).matrix(40.6),
    card("RTX 3070 Ti", 21.7, 608.0),
    card("RTX 3080", 29.8, 760.0).matrix(59.5),
    card("RTX 3080 Ti", 34.1, 912.0),
    card("RTX 3090", 35.6, 936.0).matrix(71.0),
    card("RTX 3090 Ti", 40.0, 1_008.0),
    card("RTX 4060", 15.1, 272.0),
    card("RTX 4060 Ti", 22.1, 288.0),
    card("RTX 4070", 29.1, 504.0),
    card("RTX 4070 SUPER", 35.5, 504.0),
    card("RTX 4070 Ti", 40.1, 504.0),
    card("RTX 4070 Ti SUPER", 44.1, 672.0),
    card("RTX 4080", 48.7, 717.0).matrix(97.5),
    card("RTX 4080 SUPER", 52.2, 736.0),
    card("RTX 4090", 82.6, 1_008.0).matrix(165.2),
    card("RX 7900 XT", 51.5, 800.0).matrix(103.0),
    card("RX 7900 XTX", 61.4, 960.0).matrix(122.8),
    card("Apple M1", 2.6, 68.0),
    card("Apple M1 Pro", 5.2, 200.0),
    memory("Apple M1 Max", 400.0),
    card("Apple M2", 3.6, 100.0),
    memory("Apple M2 Pro", 200.0),
    memory("Apple M2 Max", 400.0),
    memory("Apple M3", 100.0),
    memory("Apple M3 Pro", 150.0),
    memory("Apple M3 Max", 300.0),
    memory("Apple M4", 120.0),
    memory("Apple M4 Pro", 273.0),
    memory("Apple M4 Max", 410.0),
];

/// Words of adapters that are less than the card they are named after.
const LESS: [&str; 4] = ["laptop", "mobile", "max-q", "mig"];

/// The known card that an adapter's name tells of: the one of the most words.
pub(super) fn known(adapter: &str) -> Option<Card> {
    let adapter = adapter.to_lowercase();
    if adapter.split_whitespace().any(|word| LESS.contains(&word)) {
        return None;
    }
    let words: Vec<&str> = adapter.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let named = |card: &&Card| {
        let name = card.name.to_lowercase();
        let name: Vec<&str> = name.split(' ').collect();
        words.windows(name.len()).any(|words| words == name)
    };
    CARDS.iter().filter(named).max_by_key(|card| card.name.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_known_by_all_their_words() {
        let name = |adapter| known(adapter).map(|card| card.name);
        assert_eq!(name("NVIDIA H100 80GB HBM3 through Vulkan"), Some("H100 80GB HBM3"));
        assert_eq!(name("NVIDIA A100-SXM4-80GB"), Some("A100 SXM4 80GB"));
        assert_eq!(name("NVIDIA A100-PCIE-40GB"), Some("A100"));
        assert_eq!(name("NVIDIA GeForce RTX 4070 Ti SUPER"), Some("RTX 4070 Ti SUPER"));
        assert_eq!(name("AMD Radeon RX 7900 XTX (RADV NAVI31)"), Some("RX 7900 XTX"));
        assert_eq!(name("Apple M1 through Metal"), Some("Apple M1"));
        for other in ["NVIDIA L40S", "NVIDIA GeForce RTX 4090 Laptop GPU", "llvmpipe (LLVM 15.0.6, 256 bits)"] {
            assert_eq!(name(other), None);
        }
    }
}
