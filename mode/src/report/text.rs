//! Text for the page: escaped words, and numbers as people read them.

/// What stands where there is no number.
pub(super) const NONE: &str = "–";

/// `text` made safe for HTML, in elements and in quoted attributes.
///
/// Control characters, which an untrained byte-level model happily writes, become the replacement character.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A fraction as a percentage with two decimals.
pub(super) fn percent(fraction: f64) -> String {
    finite(fraction, |f| format!("{:.2}", 100.0 * f))
}

/// A difference of fractions in percentage points, with its sign.
pub(super) fn points(difference: f64) -> String {
    // The hyphen is shorter than a plus sign; the minus sign is not.
    finite(difference, |f| format!("{:+.2}", 100.0 * f).replace('-', "\u{2212}"))
}

/// A count, in thousands, millions or billions.
pub(super) fn count(n: u64) -> String {
    let of = |unit: f64, letter: &str| format!("{:.1} {letter}", n as f64 / unit);
    match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => of(1e3, "k"),
        1_000_000..1_000_000_000 => of(1e6, "M"),
        _ => of(1e9, "G"),
    }
}

/// Bytes, in the units of memory.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.2} MiB", n as f64 / 1_048_576.0),
    }
}

/// A duration.
pub(super) fn seconds(s: f64) -> String {
    finite(s, |s| if s < 120.0 { format!("{s:.1} s") } else { format!("{:.1} min", s / 60.0) })
}

/// A learning rate as command lines take it, in three digits: one that was an `f32` has a long tail.
pub(super) fn rate(rate: f64) -> String {
    finite(rate, |r| {
        let rounded = format!("{r:.2e}").parse().unwrap_or(r);
        format!("{rounded:e}")
    })
}

/// A loss.
pub(super) fn loss(loss: f64) -> String {
    finite(loss, |l| format!("{l:.3}"))
}

fn finite(value: f64, print: impl Fn(f64) -> String) -> String {
    if value.is_finite() { print(value) } else { NONE.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_markup_quotes_and_control_characters() {
        assert_eq!(
            escape("<script>'a' & \"b\"</script>"),
            "&lt;script&gt;&#39;a&#39; &amp; &quot;b&quot;&lt;/script&gt;"
        );
        assert_eq!(escape("a\u{0}b\u{1b}\n\tc"), "a\u{fffd}b\u{fffd}\n\tc");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.24216), "24.22");
        assert_eq!(points(-0.105), "−10.50");
        assert_eq!(points(0.0312), "+3.12");
        assert_eq!([count(999), count(13_500), count(1_234_567)], ["999", "13.5 k", "1.2 M"]);
        assert_eq!([bytes(12), bytes(2048), bytes(5 << 20)], ["12 B", "2.0 KiB", "5.00 MiB"]);
        assert_eq!([seconds(61.04), seconds(150.0)], ["61.0 s", "2.5 min"]);
        assert_eq!([rate(0.003), rate(f64::from(9e-3_f32)), rate(0.0)], ["3e-3", "9e-3", "0e0"]);
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for print in [percent, points, seconds, rate, loss] {
                assert_eq!(print(bad), NONE);
            }
        }
    }
}
