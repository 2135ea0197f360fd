//! The page around the charts. Everything is inline: no script, no font, no image is fetched.

use std::fmt::Write;

use super::charts::{self, si};
use super::data::{Report, ResultRow};

const STYLE: &str = "
:root{--ink:#1f2937;--dim:#64748b;--line:#e2e6ec;--paper:#fff;--card:#f7f8fa;--accent:#c2410c}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:920px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:40px 0 12px}
p{margin:0 0 12px}.dim{color:var(--dim)}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px;flex:1 1 150px}
.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}.tile span{color:var(--dim);font-size:13px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th{text-align:left;color:var(--dim);font-weight:600}th,td{padding:6px 8px;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right}.wide{overflow-x:auto}
.bar{background:var(--accent);height:10px;border-radius:3px;min-width:2px}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;overflow-x:auto;font:13px/1.45 ui-monospace,monospace;margin:0 0 12px}
pre .add{color:#15803d}pre .del{color:#b91c1c}
svg{width:100%;height:auto;border:1px solid var(--line);border-radius:8px;background:#fff}
.key span{display:inline-flex;align-items:center;gap:6px;margin-right:16px;font-size:13px}
.key i{width:10px;height:10px;border-radius:50%;display:inline-block}
.warn{border-left:4px solid var(--accent);background:#fff7ed;padding:8px 12px;margin:8px 0}
.ok{color:#15803d}.no{color:#b91c1c;font-weight:600}
details summary{cursor:pointer;color:var(--dim);margin:8px 0}
";

/// The whole page.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let title = format!("{} · rooftile", report.task);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head><body><main>",
        escape(&title)
    );
    let _ = write!(out, "<h1>{}</h1><p class=\"dim\">{}</p>", escape(&report.task), escape(&report.file));
    for warning in &report.warnings {
        let _ = write!(out, "<p class=\"warn\">{}</p>", escape(warning));
    }
    out.push_str("<div class=\"tiles\">");
    for (name, value, word) in &report.headlines {
        let _ = write!(
            out,
            "<div class=\"tile\"><span>{}</span><b>{}</b><span>{}</span></div>",
            escape(name),
            escape(value),
            escape(word)
        );
    }
    out.push_str("</div>");
    results(&mut out, &report.results);
    section(&mut out, "Roofline", &charts::roofline(report), Some(KEY));
    section(&mut out, "Progress", &charts::progress(report), None);
    lineage(&mut out, report);
    rejections(&mut out, report);
    archive(&mut out, report);
    facts(&mut out, report);
    out.push_str("</main></body></html>\n");
    out
}

const KEY: &str = "<p class=\"key\"><span><i style=\"background:#9aa7b8\"></i>candidates</span>\
<span><i style=\"background:#64748b\"></i>naive</span><span><i style=\"background:#1d6fb8\"></i>default</span>\
<span><i style=\"background:#c2410c\"></i>winner</span><span>× the size's roof</span></p>";

fn section(out: &mut String, title: &str, chart: &str, key: Option<&str>) {
    if !chart.is_empty() {
        let _ = write!(out, "<h2>{title}</h2>{}{chart}", key.unwrap_or_default());
    }
}

fn results(out: &mut String, rows: &[ResultRow]) {
    if rows.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Results</h2><p class=\"dim\">Held-out sizes chose the winner and never reached the search. Sealed sizes were read \
         once, for this table. Ratios are of paired, interleaved timings, with 95 % limits.</p><div class=\"wide\"><table><tr><th>set</th>\
         <th>size</th><th>verified</th><th class=\"n\">time</th><th class=\"n\">of roof</th><th>bound</th><th class=\"n\">over naive</th>\
         <th class=\"n\">over default</th></tr>",
    );
    let ratio = |r: &Option<(f64, f64, f64)>| {
        r.map_or_else(
            || "–".to_owned(),
            |(m, lo, hi)| format!("{m:.2}× <span class=\"dim\">[{lo:.2}, {hi:.2}]</span>"),
        )
    };
    for row in rows {
        let verified =
            if row.verified { "<span class=\"ok\">yes</span>" } else { "<span class=\"no\">NO</span>" };
        let (time, lo, hi) = row.time_s;
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{verified}</td><td class=\"n\">{}s <span class=\"dim\">[{}, {}]</span></td>\
             <td class=\"n\">{:.1} %</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&row.set),
            escape(&row.size),
            si(time),
            si(lo),
            si(hi),
            row.fraction * 100.0,
            escape(&row.bound),
            ratio(&row.over_naive),
            ratio(&row.over_default),
        );
    }
    out.push_str("</table></div>");
}

fn lineage(out: &mut String, report: &Report) {
    if !report.winner.is_empty() {
        let _ = write!(
            out,
            "<h2>Winner</h2><p>Its difference from the seed:</p><pre>{}</pre>",
            diff(&report.diff)
        );
        let _ = write!(
            out,
            "<details><summary>the whole file</summary><pre>{}</pre></details>",
            escape(&report.winner)
        );
    }
    if report.lineage.is_empty() {
        return;
    }
    out.push_str("<h2>Lineage of the winner</h2><table><tr><th class=\"n\">candidate</th><th>made by</th><th class=\"n\">fraction of roof</th><th>change</th></tr>");
    for step in &report.lineage {
        let fitness = step.fitness.map_or_else(|| "–".to_owned(), |f| format!("{:.2} %", f * 100.0));
        let change =
            if step.diff.is_empty() { String::new() } else { format!("<pre>{}</pre>", diff(&step.diff)) };
        let _ = write!(
            out,
            "<tr><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{fitness}</td><td>{change}</td></tr>",
            step.id,
            escape(&step.operator)
        );
    }
    out.push_str("</table>");
}

fn rejections(out: &mut String, report: &Report) {
    if report.rejections.is_empty() {
        return;
    }
    let most = report.rejections.iter().map(|r| r.1).max().unwrap_or(1).max(1);
    out.push_str("<h2>Rejections</h2><table><tr><th>reason</th><th class=\"n\">candidates</th><th style=\"width:50%\"></th></tr>");
    for (reason, count) in &report.rejections {
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{count}</td><td><div class=\"bar\" style=\"width:{}%\"></div></td></tr>",
            escape(reason),
            count * 100 / most
        );
    }
    out.push_str("</table>");
}

fn archive(out: &mut String, report: &Report) {
    if report.archive.is_empty() {
        return;
    }
    out.push_str("<h2>Archive</h2><p class=\"dim\">The best candidate of every kind that the search has seen.</p><table><tr><th>kind</th><th class=\"n\">candidate</th><th class=\"n\">fraction of roof</th></tr>");
    for (cell, fitness, id) in &report.archive {
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{id}</td><td class=\"n\">{:.2} %</td></tr>",
            escape(&cell.join(" · ")),
            fitness * 100.0
        );
    }
    out.push_str("</table>");
}

fn facts(out: &mut String, report: &Report) {
    if report.facts.is_empty() {
        return;
    }
    out.push_str("<h2>Run and machine</h2><table>");
    for (name, value) in &report.facts {
        let _ = write!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    out.push_str("</table>");
}

/// A unified diff with its lines coloured.
fn diff(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line_class = match line.as_bytes().first() {
            Some(b'+') => "add",
            Some(b'-') => "del",
            _ => "",
        };
        let _ = writeln!(out, "<span class=\"{line_class}\">{}</span>", escape(line));
    }
    out
}

/// Text as HTML text.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let report = Report { task: "<script>alert(1)</script>".into(), ..Report::default() };
        let page = render(&report);
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
    }

    #[test]
    fn nothing_is_fetched() {
        let row = ResultRow {
            set: "sealed".into(),
            size: "M=3".into(),
            time_s: (1e-3, 9e-4, 2e-3),
            ..ResultRow::default()
        };
        let report = Report {
            results: vec![row],
            progress: vec![(0.0, 0, 0.1), (1.0, 10, 0.3)],
            diff: "-a\n+b".into(),
            winner: "kernel".into(),
            ..Report::default()
        };
        let page = render(&report);
        assert!(page.contains("<svg") && page.contains("1.00 ms") && page.contains("class=\"add\""));
        for needle in ["http://", "https://", "src=", "@import", "url("] {
            let page = page.replace("http://www.w3.org", "");
            assert!(!page.contains(needle), "{needle}");
        }
    }
}
