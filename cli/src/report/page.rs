//! The page around the charts. Everything is inline: no script, no font, no image is fetched.

use std::fmt::Write;

use super::charts::{self, si};
use super::data::{Report, ResultRow, Speedup};

const STYLE: &str = "
:root{--ink:#1f2937;--dim:#5b6675;--line:#e2e6ec;--paper:#fff;--card:#f7f8fa;--accent:#c2410c;--add:#15803d;--del:#b91c1c;--note:#fff7ed;color-scheme:light dark}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:40px 0 12px}
h1,p,td.long,.tile{overflow-wrap:anywhere}
p{margin:0 0 12px}.dim{color:var(--dim)}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:20px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 16px;flex:1 1 150px}
.tile b{display:block;font-size:22px;font-variant-numeric:tabular-nums}.tile span{color:var(--dim);font-size:13px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th{text-align:left;color:var(--dim);font-weight:600}th,td{padding:6px 8px;border-bottom:1px solid var(--line);vertical-align:top}
th{white-space:nowrap}td.n,th.n{text-align:right;white-space:nowrap}td small{display:block;color:var(--dim);font-size:12px}
td.size{min-width:130px}td.long{min-width:180px}td small.why{min-width:160px;overflow-wrap:anywhere}td.change{width:55%}td.change pre{margin:0;padding:8px}
.bar{background:var(--accent);height:10px;border-radius:3px;min-width:2px;margin-top:6px}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;overflow-x:auto;font:13px/1.45 ui-monospace,monospace;margin:0 0 12px}
pre .add{color:var(--add)}pre .del{color:var(--del)}
svg{display:block;width:100%;min-width:640px;height:auto;border:1px solid var(--line);border-radius:8px;background:#fff}
.warn{border-left:4px solid var(--accent);background:var(--note);padding:8px 12px;margin:8px 0}
.ok{color:var(--add)}.no{color:var(--del);font-weight:600}
details summary{cursor:pointer;color:var(--dim);margin:8px 0}
@media(prefers-color-scheme:dark){
:root{--ink:#e5e9f0;--dim:#9aa7b8;--line:#374151;--paper:#14181f;--card:#1c222c;--accent:#f97316;--add:#4ade80;--del:#f87171;--note:#2b2117}
svg{filter:invert(.92) hue-rotate(180deg)}}
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
    section(&mut out, "Roofline", &charts::roofline(report));
    section(&mut out, "Progress", &charts::progress(report));
    lineage(&mut out, report);
    rejections(&mut out, report);
    archive(&mut out, report);
    facts(&mut out, report);
    out.push_str("</main></body></html>\n");
    out
}

fn section(out: &mut String, title: &str, chart: &str) {
    if !chart.is_empty() {
        let _ = write!(out, "<h2>{title}</h2><div class=\"wide\">{chart}</div>");
    }
}

fn results(out: &mut String, rows: &[ResultRow]) {
    out.push_str("<h2>Results</h2>");
    if rows.is_empty() {
        out.push_str("<p>Nothing was judged on held-out or sealed sizes: no candidate was right.</p>");
        return;
    }
    out.push_str(
        "<p class=\"dim\">Held-out sizes chose the winner and never reached the search. Sealed sizes were read \
         once, for this table. Ratios are of paired, interleaved timings; below them are 95 % limits, where there were pairs enough.</p>\
         <div class=\"wide\"><table><tr><th>set</th>\
         <th>size</th><th>verified</th><th class=\"n\">time</th><th class=\"n\">of roof</th><th>bound</th><th class=\"n\">over naive</th>\
         <th class=\"n\">over default</th></tr>",
    );
    let ratio = |r: &Option<Speedup>| match r {
        None => "–".to_owned(),
        Some(Speedup { median, limits: None }) => format!("{median:.2}×"),
        Some(Speedup { median, limits: Some((lo, hi)) }) => {
            format!("{median:.2}×<small>{lo:.2} to {hi:.2}</small>")
        }
    };
    for row in rows {
        let verified = match &row.failure {
            None => "<span class=\"ok\">yes</span>".to_owned(),
            Some(why) => format!("<span class=\"no\">NO</span><small class=\"why\">{}</small>", escape(why)),
        };
        let time = row.time_s.map_or_else(
            || "–".to_owned(),
            |(time, lo, hi)| format!("{}s<small>{}s to {}s</small>", si(time), si(lo), si(hi)),
        );
        let fraction = row.fraction.map_or_else(|| "–".to_owned(), |f| format!("{:.1} %", f * 100.0));
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"size\">{}</td><td>{verified}</td><td class=\"n\">{time}</td>\
             <td class=\"n\">{fraction}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&row.set),
            escape(&row.size).replace(',', ", "),
            escape(&row.bound),
            ratio(&row.over_naive),
            ratio(&row.over_default),
        );
    }
    out.push_str("</table></div>");
}

fn lineage(out: &mut String, report: &Report) {
    out.push_str("<h2>Winner</h2>");
    if report.winner.is_empty() {
        out.push_str("<p>There is none: no candidate was right at every size.</p>");
    } else {
        let change = match report.diff.as_str() {
            "" => "<p>It is the seed itself.</p>".to_owned(),
            text => format!("<p>Its difference from the seed:</p><pre>{}</pre>", diff(text)),
        };
        for line in &report.by_size {
            let _ = write!(out, "<p>{}</p>", escape(line));
        }
        let whole = escape(&report.winner);
        let _ = write!(out, "{change}<details><summary>the whole file</summary><pre>{whole}</pre></details>");
    }
    if report.lineage.is_empty() {
        return;
    }
    out.push_str("<h2>Lineage of the winner</h2><div class=\"wide\"><table><tr><th class=\"n\">candidate</th><th>made by</th><th class=\"n\">fraction of roof</th><th>change</th></tr>");
    for (n, step) in report.lineage.iter().enumerate() {
        let fitness = step.fitness.map_or_else(|| "–".to_owned(), |f| format!("{:.2} %", f * 100.0));
        let change = match step.diff.as_str() {
            "" if n == 0 => "<span class=\"dim\">the start</span>".to_owned(),
            "" => String::new(),
            text => format!("<pre>{}</pre>", diff(text)),
        };
        let _ = write!(
            out,
            "<tr><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{fitness}</td><td class=\"change\">{change}</td></tr>",
            step.id,
            escape(&step.operator)
        );
    }
    out.push_str("</table></div>");
}

fn rejections(out: &mut String, report: &Report) {
    out.push_str("<h2>Rejections</h2>");
    if report.rejections.is_empty() {
        out.push_str("<p class=\"dim\">No candidate was rejected.</p>");
        return;
    }
    let most = report.rejections.iter().map(|r| r.1).max().unwrap_or(1).max(1);
    out.push_str("<div class=\"wide\"><table><tr><th>reason</th><th class=\"n\">candidates</th><th style=\"width:50%\"></th></tr>");
    for (reason, count) in &report.rejections {
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{count}</td><td><div class=\"bar\" style=\"width:{}%\"></div></td></tr>",
            escape(reason),
            count * 100 / most
        );
    }
    out.push_str("</table></div>");
}

fn archive(out: &mut String, report: &Report) {
    if report.archive.is_empty() {
        return;
    }
    out.push_str("<h2>Archive</h2><p class=\"dim\">The best candidate of every kind that the search has seen.</p><div class=\"wide\"><table><tr><th>kind</th><th class=\"n\">candidate</th><th class=\"n\">fraction of roof</th></tr>");
    for (cell, fitness, id) in &report.archive {
        let _ = write!(
            out,
            "<tr><td class=\"long\">{}</td><td class=\"n\">{id}</td><td class=\"n\">{:.2} %</td></tr>",
            escape(&cell.join(" · ")),
            fitness * 100.0
        );
    }
    out.push_str("</table></div>");
}

fn facts(out: &mut String, report: &Report) {
    if report.facts.is_empty() {
        return;
    }
    out.push_str("<h2>Run and machine</h2><div class=\"wide\"><table>");
    for (name, value) in &report.facts {
        let _ = write!(out, "<tr><th>{}</th><td class=\"long\">{}</td></tr>", escape(name), escape(value));
    }
    out.push_str("</table></div>");
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
            time_s: Some((1e-3, 9e-4, 2e-3)),
            ..ResultRow::default()
        };
        let report = Report {
            results: vec![row],
            progress: vec![(0.0, 0, 0.1), (1.0, 10, 0.3)],
            diff: "-a\n+b".into(),
            winner: "kernel".into(),
            by_size: vec!["when N < 8: candidate 3".into()],
            ..Report::default()
        };
        let page = render(&report);
        assert!(page.contains("<p>when N &lt; 8: candidate 3</p>"), "{page}");
        assert!(page.contains("<svg") && page.contains("1.00 ms") && page.contains("class=\"add\""));
        for needle in ["http://", "https://", "src=", "@import", "url("] {
            let page = page.replace("http://www.w3.org", "");
            assert!(!page.contains(needle), "{needle}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_a_number() {
        let few = Some(Speedup { median: 2.5, limits: None });
        let many = Some(Speedup { median: 2.0, limits: Some((1.5, 2.25)) });
        let rows = vec![
            ResultRow { set: "heldout".into(), over_naive: few, over_default: many, ..ResultRow::default() },
            ResultRow { failure: Some("Y: <nrmse>".into()), ..ResultRow::default() },
        ];
        let page = render(&Report { results: rows, winner: "kernel".into(), ..Report::default() });
        assert!(!page.contains("NaN") && page.contains("2.50×</td>"), "{page}");
        assert!(page.contains("2.00×<small>1.50 to 2.25</small>"), "{page}");
        assert!(page.contains("NO</span><small class=\"why\">Y: &lt;nrmse&gt;</small>"), "{page}");
    }

    #[test]
    fn a_run_without_a_winner_says_so() {
        let page = render(&Report { task: "k".into(), ..Report::default() });
        for words in ["There is none", "no candidate was right", "No candidate was rejected"] {
            assert!(page.contains(words), "{words}");
        }
        assert!(!page.contains("<svg") && page.ends_with("</html>\n"));
    }

    /// Whatever can be wide lies in a box of its own that scrolls, and long words break.
    #[test]
    fn nothing_is_wider_than_the_page() {
        let page = render(&Report {
            task: "k".repeat(300),
            rejections: vec![("illegal".into(), 3)],
            lineage: vec![super::super::data::Ancestor::default()],
            archive: vec![(vec!["serial".into()], 0.5, 1)],
            facts: vec![("machine".into(), "m".repeat(300))],
            results: vec![ResultRow::default()],
            progress: vec![(0.0, 0, 0.1), (1.0, 10, 0.3)],
            ..Report::default()
        });
        let bare = page.replace("<div class=\"wide\"><table", "").replace("<div class=\"wide\"><svg", "");
        assert!(!bare.contains("<table") && !bare.contains("<svg"), "{bare}");
        assert!(page.contains("h1,p,td.long,.tile{overflow-wrap:anywhere}"));
    }
}
