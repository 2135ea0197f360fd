//! What identifies a machine and its set-up, so that a stored profile is used only where it was measured.

use std::fs;

use rooftile_artifact::profile::Fingerprint;

/// This machine's fingerprint. Where the system does not say something, the field is empty.
#[must_use]
pub fn fingerprint() -> Fingerprint {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = |name: &str| {
        fs::read_to_string(format!("/proc/sys/kernel/{name}"))
            .map(|v| v.trim().to_owned())
            .unwrap_or_default()
    };
    let os = format!("{} {}", kernel("ostype"), kernel("osrelease"));
    Fingerprint {
        cpu: field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        cpu_id: cpu_id(&cpuinfo),
        cores: crate::topology::processors().len(),
        os: if os.trim().is_empty() { std::env::consts::OS.to_owned() } else { os },
        huge_pages: fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .map(|text| chosen(&text))
            .unwrap_or_default(),
        device: String::new(),
    }
}

/// Family, model and stepping, or their names on other processors.
fn cpu_id(cpuinfo: &str) -> String {
    let names =
        ["vendor_id", "cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU revision"];
    let parts: Vec<String> = names.iter().filter_map(|name| field(cpuinfo, name)).collect();
    parts.join("-")
}

/// The first value of a line `name : value`.
fn field(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> String {
    let inner = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map_or_else(|| text.trim().to_owned(), |(word, _)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let text = "processor\t: 0\nvendor_id\t: X\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: Fast One\nstepping : 1\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Fast One"));
        assert_eq!(cpu_id(text), "X-25-17-1");
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(fingerprint(), fingerprint());
        assert!(fingerprint().cores >= 1);
    }
}
