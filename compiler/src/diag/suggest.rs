//! "Did you mean ..?"

/// The candidate nearest to `name`, if one is near enough to be a slip: at most a third of the letters differ (at
/// least one may). The first of equally near ones wins. `name` itself is never suggested.
pub fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == name {
            continue;
        }
        let distance = if candidate.eq_ignore_ascii_case(name) { 0 } else { levenshtein(name, candidate) };
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace a character, swap two neighbours) that turn `a` into `b`: the optimal string
/// alignment distance.
fn levenshtein(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_only() {
        let names = ["acc", "A", "vector", "parallel"];
        assert_eq!(suggest("ac", names), Some("acc"));
        assert_eq!(suggest("a", names), Some("A"));
        assert_eq!(suggest("vectro", names), Some("vector"));
        assert_eq!(suggest("paralel", names), Some("parallel"));
        assert_eq!(suggest("stage", names), None);
        assert_eq!(suggest("acc", names), None);
    }

    #[test]
    fn distances() {
        for (a, b, d) in [("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 1), ("é", "e", 1)] {
            assert_eq!(levenshtein(a, b), d, "{a} {b}");
        }
    }
}
