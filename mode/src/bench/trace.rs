//! Profiles as files for other programs: the launches in time for Perfetto (or `chrome://tracing`), and as rows for a spreadsheet.

use super::profile::{Launch, Profile, Profiles};
use super::sweep::AXES;
use serde_json::{Value, json};

/// The launches in Chrome's trace format, times in microseconds; each profile is a thread, and begins at 0.
pub(crate) fn trace(profiles: &Profiles) -> Value {
    let name = |what: &str, thread: usize, name: String| json!({"name": what, "ph": "M", "pid": 0, "tid": thread, "args": {"name": name}});
    let mut events = vec![name("process_name", 0, profiles.device.clone())];
    for (thread, profile) in profiles.profiles.iter().enumerate() {
        events.push(name("thread_name", thread, profile.title()));
        events.extend(profile.launches.iter().map(|launch| event(launch, thread)));
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

fn event(launch: &Launch, thread: usize) -> Value {
    let Launch { kernel, entry, cooperative, begin_ms, ms, flop, bytes, rates, .. } = launch;
    let mut args = json!({
        "entry": entry, "flop": flop, "bytes": bytes, "gflops": rates.gflops, "gbytes": rates.gbytes, "bound": rates.bound,
        "percent": rates.percent, "cooperative": cooperative
    });
    for (setting, value) in &launch.settings {
        args[*setting] = json!(value);
    }
    json!({"name": kernel, "ph": "X", "pid": 0, "tid": thread, "ts": 1e3 * begin_ms, "dur": 1e3 * ms, "args": args})
}

/// One row a launch.
pub(crate) fn csv(profiles: &Profiles) -> String {
    let mut text = format!(
        "what,{},launch,kernel,entry,settings,begin_ms,ms,flop,bytes,gflops,gbytes,bound,percent\n",
        AXES.join(",")
    );
    for profile in &profiles.profiles {
        let size = |axis| {
            let size = profile.sizes.iter().find(|(name, _)| name == axis);
            size.map_or_else(String::new, |(_, size)| size.to_string())
        };
        let sizes: Vec<String> = AXES.iter().map(size).collect();
        for (i, launch) in profile.launches.iter().enumerate() {
            let Launch { kernel, entry, settings, begin_ms, ms, flop, bytes, rates, .. } = launch;
            let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let percent = rates.percent.map_or_else(String::new, |percent| percent.to_string());
            text.push_str(&format!(
                "{},{},{i},{kernel},{},{},{begin_ms},{ms},{flop},{bytes},{},{},{},{percent}\n",
                profile.what,
                sizes.join(","),
                entry.unwrap_or_default(),
                settings.join(" "),
                rates.gflops,
                rates.gbytes,
                rates.bound
            ));
        }
    }
    text
}

impl Profile {
    /// What was profiled, with its sizes.
    pub fn title(&self) -> String {
        let sizes = self.sizes.iter().map(|(name, size)| format!("{name} {size}"));
        let words: Vec<String> = std::iter::once(self.what.to_string()).chain(sizes).collect();
        words.join(", ")
    }
}
