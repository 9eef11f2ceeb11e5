//! Tests of the whole page.

use super::*;

/// A report with something in every section.
fn example() -> Report {
    let row = |method: &str, english: f64, code: f64, math: f64| Row {
        method: method.into(),
        english,
        code,
        math,
        mean: (english + code + math) / 3.0,
        params_total: 1_500_000,
        params_trained: 250_000,
        steps: 100,
        tokens_seen: 102_400,
        seconds: 12.5,
        learning_rate: 3e-3,
        model: format!("runs/demo/{method}"),
    };
    let curve = |name: &str| Curve {
        name: name.into(),
        points: (0..100).map(|s| (s, 4.0 - 0.01 * s as f64)).collect(),
        validation: vec![(50, 3.5)],
    };
    let hash = "0123456789abcdef".repeat(4);
    Report {
        runs: Vec::new(),
        seeds: Vec::new(),
        title: "An example".into(),
        summary: vec!["One sentence.".into()],
        rows: vec![
            row("base", 0.242, 0.176, 0.06),
            row("full", 0.084, 0.228, 0.697),
            row("mode-2x", 0.137, 0.258, 0.662),
        ],
        curves: vec![curve("base"), curve("full"), curve("mode-2x")],
        gates: vec![GateTable {
            name: "mode-2x".into(),
            branches: vec!["base".into(), "Code".into(), "Math".into()],
            domains: vec![DomainGates { domain: "English".into(), weights: vec![vec![0.7, 0.2, 0.1]; 3] }],
        }],
        frozen: vec![FrozenNote {
            run: "mode-2x".into(),
            trained: "experts and gates".into(),
            trained_parameters: 250_000,
            trained_bytes: 1_000_000,
            frozen: "the base".into(),
            frozen_parameters: 1_250_000,
            frozen_bytes: 5_000_000,
            sha256_before: hash.clone(),
            sha256_after: hash,
        }],
        grid: vec![GridScore { method: "full".into(), learning_rate: 3e-3, score: 0.33, chosen: true }],
        defaults: vec![ChoiceScore {
            setting: "expert init".into(),
            candidate: "zero output".into(),
            score: 0.35,
            chosen: true,
        }],
        samples: vec![Sample {
            prompt: "Once".into(),
            continuations: vec![Continuation { model: "base".into(), text: " upon a time".into() }],
        }],
        environment: vec![("seed".into(), "1".into())],
    }
}

const SECTIONS: [&str; 9] =
    ["results", "tradeoff", "curves", "gates", "frozen", "grid", "defaults", "samples", "environment"];

#[test]
fn a_full_report_has_every_section_and_the_figures() -> Result<(), ReportError> {
    let page = html(&example())?;
    for id in SECTIONS {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    for figure in ["<b>24.20</b>", "<b>35.23</b>", "+19.30", "250.0 k", "3e-3", "✓ bit-identical", "0.70"] {
        assert!(page.contains(figure), "{figure}");
    }
    Ok(())
}

#[test]
fn an_empty_report_is_a_page_without_sections() -> Result<(), ReportError> {
    let page = html(&Report::default())?;
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("<section"));
    Ok(())
}

#[test]
fn the_page_needs_nothing_beside_itself() -> Result<(), ReportError> {
    let page = html(&example())?;
    for outside in ["http:", "https:", "<script", "<link", "<img", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    Ok(())
}

#[test]
fn elements_are_closed_in_order() -> Result<(), ReportError> {
    let page = html(&example())?;
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let name: String = tag.chars().take_while(|c| c.is_alphanumeric() || *c == '/').collect();
        let head = tag.split('>').next().unwrap_or("");
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "<{tag}"),
            None if head.ends_with('/') || ["", "meta"].contains(&name.as_str()) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    Ok(())
}

#[test]
fn no_text_becomes_markup() -> Result<(), serde_json::Error> {
    const EVIL: &str = "<script>\"&'";
    fn poison(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = EVIL.into(),
            serde_json::Value::Array(items) => items.iter_mut().for_each(poison),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(poison),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(example())?;
    poison(&mut value);
    let mut report: Report = serde_json::from_value(value)?;
    report.rows[0].method = "base".into();
    let page = html(&report).unwrap_or_default();
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
    assert!(!page.contains(EVIL));
    Ok(())
}

#[test]
fn numbers_that_are_none_print_as_dashes() -> Result<(), ReportError> {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut report = example();
        for row in &mut report.rows {
            (row.english, row.code, row.mean, row.seconds, row.learning_rate) = (bad, bad, bad, bad, bad);
        }
        report.curves[0].points[3].1 = bad;
        report.curves[1].points.iter_mut().for_each(|p| p.1 = bad);
        report.gates[0].domains[0].weights[0][1] = bad;
        report.grid[0].score = bad;
        report.grid[0].learning_rate = bad;
        let page = html(&report)?;
        assert!(page.contains("<td>–</td>"));
        assert!(!page.contains("NaN") && !page.contains("inf<") && !page.contains("inf\""), "{page}");
    }
    Ok(())
}

#[test]
fn rows_are_written_under_the_contracts_names_and_in_its_order() -> Result<(), serde_json::Error> {
    let json = serde_json::to_string(&example().rows[0])?;
    let names = [
        "method",
        "english",
        "code",
        "math",
        "mean",
        "params_total",
        "params_trained",
        "steps",
        "tokens_seen",
        "seconds",
        "learning_rate",
        "model",
    ];
    let places: Vec<_> = names.iter().map(|name| json.find(&format!("\"{name}\":"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{json}");
    Ok(())
}

#[test]
fn a_report_survives_json_even_with_nan() -> Result<(), serde_json::Error> {
    let report = example();
    let json = serde_json::to_string(&report)?;
    let back: Report = serde_json::from_str(&json)?;
    assert_eq!(html(&back).ok(), html(&report).ok());

    let mut diverged = report;
    diverged.curves[1].points[9].1 = f64::NAN;
    diverged.gates[0].domains[0].weights[0][0] = f64::INFINITY;
    diverged.grid[0].score = f64::NAN;
    let back: Report = serde_json::from_str(&serde_json::to_string(&diverged)?)?;
    assert!(back.curves[1].points[9].1.is_nan() && back.grid[0].score.is_nan());
    assert!(back.gates[0].domains[0].weights[0][0].is_nan());
    Ok(())
}
