//! The Vulkan device of the suites. A fault of a driver may end the process, so each suite runs in a process of its own,
//! once for each width of vectors of the software driver: its subgroups then have 4, 8 and 16 threads.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rooftile_runtime::vulkan::validation_messages;
use rooftile_runtime::{Device, VulkanDevice};

/// Bits of the software driver's vectors.
pub const WIDTHS: [&str; 3] = ["128", "256", "512"];

const CHILD: &str = "ROOFTILE_VULKAN_CHILD";

/// A software driver compiles within a submission, and other jobs may want the processor.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The device, or why there is none.
///
/// # Errors
/// The reason.
pub fn device() -> Result<&'static dyn Device, String> {
    static DEVICE: OnceLock<Result<VulkanDevice, String>> = OnceLock::new();
    match DEVICE.get_or_init(|| VulkanDevice::with_timeout(0, TIMEOUT).map_err(|e| e.to_string())) {
        Ok(device) => Ok(device),
        Err(e) => Err(e.clone()),
    }
}

/// Runs `suite`, the body of the test of that name, in a process of its own for each width.
///
/// # Panics
/// If a process fails, or the validation layer has anything to say.
pub fn in_children(test: &str, suite: impl FnOnce(&'static dyn Device)) {
    in_children_of(test, &WIDTHS, suite);
}

/// As [`in_children`], for these widths; there is at least one.
///
/// # Panics
/// As [`in_children`].
pub fn in_children_of(test: &str, widths: &[&str], suite: impl FnOnce(&'static dyn Device)) {
    if std::env::var_os(CHILD).is_some() {
        suite(device().expect("the parent has it"));
        let messages = validation_messages();
        assert!(messages.is_empty(), "the validation layer: {}", messages.join("\n"));
        return;
    }
    let described = match device() {
        Ok(device) => device.target().gpu().map_or_else(String::new, |t| t.name.clone()),
        Err(why) => return println!("SKIPPED: {test} on vulkan ({why})"),
    };
    // Other drivers do not know the setting.
    let widths = if described.contains("llvmpipe") { widths } else { &widths[..1] };
    for width in widths {
        let program = std::env::current_exe().expect("this test");
        let output = Command::new(program)
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, "1")
            .env("LP_NATIVE_VECTOR_WIDTH", width)
            .output()
            .expect("a process");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().filter(|l| l.starts_with("SKIPPED: ")).for_each(|l| println!("{l}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{test} with vectors of {width} bits: {}\n{text}\n{errors}",
            output.status
        );
    }
}
