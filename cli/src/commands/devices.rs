//! `rooftile devices`: what there is, and why something is missing.

use serde_json::json;

use crate::args::JsonArgs;
use crate::failure::Outcome;
use crate::output;

/// Devices of the runtime, and those of the compiler (which need no hardware).
fn list() -> Vec<(String, String, Option<String>)> {
    let own = [
        ("oracle", "the interpreter of the language, in f64; slow and right"),
        ("nest", "the interpreter of scheduled loops, with every access checked"),
    ];
    let mut list: Vec<_> =
        own.iter().map(|(name, what)| ((*name).to_owned(), (*what).to_owned(), None)).collect();
    for device in rooftile_runtime::devices() {
        list.push((device.name.to_owned(), device.description, device.missing));
    }
    list
}

/// Lists the devices.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &JsonArgs) -> Outcome {
    if args.json {
        let devices: Vec<_> = list()
            .into_iter()
            .map(|(name, description, missing)| {
                json!({ "name": name, "description": description, "available": missing.is_none(), "reason": missing })
            })
            .collect();
        return output::print_json(&json!({ "devices": devices }));
    }
    let mut text = String::new();
    for (name, description, missing) in list() {
        let state = missing.map_or_else(String::new, |why| format!("  (missing: {why})"));
        text += &format!("{name:<10} {description}{state}\n");
    }
    output::print(&text)
}
