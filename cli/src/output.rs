//! Writing to people and to pipes.

use std::io::{self, IsTerminal, Write};

use crate::failure::{Failure, Outcome};

/// Whether standard error may be coloured: it is a terminal and `NO_COLOR` is not set.
#[must_use]
pub fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Writes text to standard output. A closed pipe is not an error: the reader has seen enough.
///
/// # Errors
/// [`Failure::Input`] when standard output cannot be written.
pub fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Input(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON document, indented, and a newline.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &serde_json::Value) -> Outcome {
    print(&format!("{value:#}\n"))
}

/// Writes one JSON document on a line of its own.
///
/// # Errors
/// As [`print()`].
pub fn print_json_line(value: &serde_json::Value) -> Outcome {
    print(&format!("{value}\n"))
}

/// Rows as columns, the first column to the left, the others to the right.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let gap = " ".repeat(widths[c] - cell.chars().count());
            if c == 0 {
                line += &format!("{cell}{gap}");
            } else {
                line += &format!("  {gap}{cell}");
            }
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// Reads a source file.
///
/// # Errors
/// [`Failure::Input`] naming the file.
pub fn read_source(path: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::Input(format!("{}: {e}", path.display())))
}

/// Writes a file so that it appears whole or not at all.
///
/// # Errors
/// [`Failure::Input`] naming the file.
pub fn write_file(path: &std::path::Path, bytes: &[u8]) -> Outcome {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|e| Failure::Input(format!("{}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["long".to_owned(), "5".to_owned()]];
        assert_eq!(table(&rows), "a     10\nlong   5\n");
    }
}
