//! Settings by name: `--set a.b=c` over a table, and what to say of a key or a value that can't be.

use crate::Error;
use serde::de::DeserializeOwned;

/// Sets one `a.b=c`; the value is TOML if it can be, else text.
pub(crate) fn apply(table: &mut toml::Table, set: &str) -> Result<(), Error> {
    let wrong = || Error::Setting(format!("--set {set}: write it as key=value or table.key=value"));
    let (path, value) = set.split_once('=').ok_or_else(wrong)?;
    let digits = !value.trim().is_empty() && value.trim().bytes().all(|byte| byte.is_ascii_digit());
    if digits && value.trim().parse::<i64>().is_err() {
        return Err(Error::Setting(format!("--set {set}: whole numbers go up to {}", i64::MAX)));
    }
    let value = format!("v = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|key| !key.is_empty()).ok_or_else(wrong)?;
    let mut at = table;
    for key in keys {
        let next = at.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = next.as_table_mut().ok_or_else(wrong)?;
    }
    at.insert(last.into(), value);
    Ok(())
}

/// A value out of a table; what is wrong is said with the key that it is wrong at.
pub(crate) fn from_table<T: DeserializeOwned>(table: toml::Table) -> Result<T, String> {
    serde_path_to_error::deserialize(table).map_err(|e| {
        let (at, mut what) = (e.path().to_string(), explain(e.inner().message()));
        if what.ends_with("expected a string") || what.ends_with("expected path string") {
            what += "; write it in quotes";
        }
        if what.ends_with("expected string only") {
            what = "invalid type; give one of its names, in quotes".into();
        }
        // An unknown key is named by the message itself; the path would name it again.
        if what.starts_with("unknown key") || at == "." { what } else { format!("{at}: {what}") }
    })
}

/// A parser's message in one line, with the line of the file.
pub(crate) fn located(text: &str, error: &toml::de::Error) -> String {
    let line = error
        .span()
        .map_or(1, |span| 1 + text.as_bytes().iter().take(span.start).filter(|&&byte| byte == b'\n').count());
    format!("line {line}: {}", explain(error.message()))
}

/// An unknown key with the nearest known one, in place of the list of all.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown ")) else {
        return message.split_whitespace().collect::<Vec<_>>().join(" ");
    };
    let kind = if message.starts_with("unknown variant") { "value" } else { "key" };
    let nearest = quoted.max_by(|a, b| {
        let near = |known: &str| strsim::jaro_winkler(unknown, known);
        near(a).total_cmp(&near(b))
    });
    match nearest {
        Some(known) => format!("unknown {kind} '{unknown}'; did you mean '{known}'?"),
        None => format!("unknown {kind} '{unknown}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_named() {
        let message = "unknown field `sedd`, expected one of `method`, `seed`, `base`";
        assert_eq!(explain(message), "unknown key 'sedd'; did you mean 'seed'?");
    }

    #[test]
    fn settings_reach_into_tables() -> Result<(), Error> {
        let mut table = toml::Table::new();
        apply(&mut table, "train.steps=5")?;
        apply(&mut table, "out=runs/x")?;
        assert_eq!(table["train"]["steps"].as_integer(), Some(5));
        assert_eq!(table["out"].as_str(), Some("runs/x"));
        assert!(apply(&mut table, "steps").is_err());
        Ok(())
    }
}
