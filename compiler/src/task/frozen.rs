//! What a search may never edit, as a hash that a run records.

use std::collections::BTreeSet;

use crate::syntax::ast::{File, Item, ItemKind, Kernel};
use crate::syntax::{print_canonical, print_item};

/// BLAKE3 of the canonical text of everything frozen with the task of a kernel or pipeline: its signature with attributes
/// and `where`, the `reference`, the `task`, and every `fn` and `const` that these reach. Where there is no reference, the
/// seed's own algorithm is the reference and is frozen too, with the kernels that it calls.
#[must_use]
pub fn hash(file: &File, name: &str) -> [u8; 32] {
    *blake3::hash(text(file, name).as_bytes()).as_bytes()
}

/// The text that [`hash`] is of.
#[must_use]
pub fn text(file: &File, name: &str) -> String {
    let referenced =
        file.items.iter().any(|i| matches!(&i.kind, ItemKind::Reference(r) if r.name.name == name));
    let mut items: Vec<Item> = Vec::new();
    for item in &file.items {
        let kind = match &item.kind {
            ItemKind::Kernel(k) if k.name.name == name => Some(ItemKind::Kernel(frozen(k, referenced))),
            ItemKind::Pipeline(k) if k.name.name == name => Some(ItemKind::Pipeline(frozen(k, referenced))),
            ItemKind::Reference(r) if r.name.name == name => Some(item.kind.clone()),
            ItemKind::Task(t) if t.name.name == name => Some(item.kind.clone()),
            _ => None,
        };
        items.extend(kind.map(|kind| Item { kind, span: item.span }));
    }
    // Whatever the text so far names is reached: a name that happens to be a local one only freezes more than needed.
    let mut seen: BTreeSet<String> = items.iter().flat_map(words).collect();
    let mut reached = BTreeSet::new();
    loop {
        let mut grown = false;
        for (n, item) in file.items.iter().enumerate() {
            let named = match &item.kind {
                ItemKind::Fn(f) => &f.name.name,
                ItemKind::Const(c) => &c.name.name,
                ItemKind::Kernel(k) if k.name.name != name && !referenced => &k.name.name,
                _ => continue,
            };
            if seen.contains(named) && reached.insert(n) {
                seen.extend(words(item));
                grown = true;
            }
        }
        if !grown {
            break;
        }
    }
    items.extend(reached.into_iter().map(|n| file.items[n].clone()));
    // The order of items has no meaning.
    items.sort_by_cached_key(print_item);
    print_canonical(&File { version: None, items })
}

fn frozen(kernel: &Kernel, referenced: bool) -> Kernel {
    let body = if referenced { Vec::new() } else { kernel.body.clone() };
    Kernel { body, ..kernel.clone() }
}

/// Words of an item's text.
fn words(item: &Item) -> Vec<String> {
    let text = print_item(item);
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}
