//! What a running search shows: a live line on a terminal, a line every few seconds in a pipe, JSON lines on request.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rooftile_search::run::Progress;
use serde_json::{Value, json};

use crate::output;

/// Seconds between two lines in a pipe.
const LINE_S: f64 = 5.0;
/// Seconds between two JSON lines of progress.
const JSON_S: f64 = 0.5;

/// The limits that the time left is told by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Seconds of search.
    pub seconds: Option<f64>,
    /// Evaluations.
    pub evaluations: Option<u64>,
}

/// Shows the progress of one search.
pub struct Display {
    mode: Mode,
    budget: Budget,
    name: String,
    shown: Option<Instant>,
    at_s: f64,
    evaluations: u64,
    resumed: u64,
    resumed_s: Option<f64>,
    best: Option<f64>,
    promotions: u64,
    last: Option<(f64, String)>,
}

enum Mode {
    Json,
    Bar(ProgressBar),
    Lines,
}

impl Display {
    /// A display for a search of `name`, a task.
    #[must_use]
    pub fn new(name: &str, budget: Budget, json: bool) -> Display {
        let mode = if json {
            Mode::Json
        } else if io::stderr().is_terminal() {
            Mode::Bar(bar())
        } else {
            Mode::Lines
        };
        Display {
            mode,
            budget,
            name: name.to_owned(),
            shown: None,
            at_s: 0.0,
            evaluations: 0,
            resumed: 0,
            resumed_s: None,
            best: None,
            promotions: 0,
            last: None,
        }
    }

    /// Takes an event in and shows what it changes.
    pub fn tell(&mut self, event: Progress) {
        match event {
            Progress::Started { resumed } => {
                self.resumed = resumed as u64;
                let line = match resumed {
                    0 => format!("{}: searching", self.name),
                    n => format!("{}: going on after {n} candidates", self.name),
                };
                self.say(&line, &json!({"event": "started", "task": self.name, "resumed": resumed}));
            }
            Progress::Candidate { at_s, evaluations, incumbent, .. } => {
                if self.resumed > 0 && self.resumed_s.is_none() {
                    // Rates are of this part of the run.
                    (self.resumed_s, self.resumed) = (Some(at_s), evaluations);
                }
                (self.at_s, self.evaluations, self.best) = (at_s, evaluations, incumbent);
                self.update();
            }
            Progress::Promotion { id, at_s, score, operator } => {
                self.promotions += 1;
                if matches!(self.mode, Mode::Json) {
                    emit(&json!({"event": "promotion", "candidate": id, "at_s": at_s, "fraction": score,
                        "operator": operator}));
                }
                self.last = Some((at_s, operator));
            }
            Progress::Stage(stage) => {
                let words = match stage {
                    "selection" => "choosing the winner on held-out sizes".to_owned(),
                    "search" => "timing the winner on the search sizes".to_owned(),
                    "heldout" => "timing the winner on the held-out sizes".to_owned(),
                    "sealed" => "timing the winner on the sealed sizes".to_owned(),
                    other => other.to_owned(),
                };
                let line = format!("{}: {words}", self.name);
                self.say(&line, &json!({"event": "stage", "stage": stage}));
            }
            Progress::Note(note) => {
                let line = format!("{}: {note}", self.name);
                self.say(&line, &json!({"event": "note", "note": note}));
            }
        }
    }

    /// Ends the display.
    pub fn finish(self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str, event: &Value) {
        match &self.mode {
            Mode::Json => emit(event),
            Mode::Bar(bar) => bar.set_message(line.to_owned()),
            Mode::Lines => eprintln!("{line}"),
        }
    }

    fn update(&mut self) {
        let every = match &self.mode {
            Mode::Json => JSON_S,
            Mode::Lines => LINE_S,
            Mode::Bar(_) => 0.1,
        };
        if self.shown.is_some_and(|t| t.elapsed().as_secs_f64() < every) {
            return;
        }
        // In a pipe the first line comes after some seconds.
        let first = self.shown.replace(Instant::now()).is_none();
        if first && matches!(self.mode, Mode::Lines) {
            return;
        }
        let event = json!({
            "event": "progress",
            "at_s": self.at_s,
            "evaluations": self.evaluations,
            "evaluations_per_s": self.rate(),
            "fraction": self.best,
            "promotions": self.promotions,
            "left_s": self.left_s(),
        });
        self.say(&self.line(), &event);
    }

    fn rate(&self) -> Option<f64> {
        let seconds = self.at_s - self.resumed_s.unwrap_or(0.0);
        #[expect(clippy::cast_precision_loss, reason = "counts of candidates")]
        let n = self.evaluations.saturating_sub(self.resumed) as f64;
        (seconds > 0.0).then(|| n / seconds)
    }

    fn left_s(&self) -> Option<f64> {
        let by_time = self.budget.seconds.map(|s| (s - self.at_s).max(0.0));
        #[expect(clippy::cast_precision_loss, reason = "counts of candidates")]
        let by_count = self.budget.evaluations.and_then(|n| {
            let rate = self.rate().filter(|r| *r > 0.0)?;
            Some(n.saturating_sub(self.evaluations) as f64 / rate)
        });
        match (by_time, by_count) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The state in a line.
    fn line(&self) -> String {
        let mut line = format!("{}: {} candidates", self.name, self.evaluations);
        if let Some(rate) = self.rate() {
            line += &format!(" ({rate:.1}/s)");
        }
        if let Some(best) = self.best {
            line += &format!(", best {:.1} % of roof", best * 100.0);
        }
        if let Some((at, operator)) = &self.last {
            line += &format!(", last gain {:.0} s ago ({operator})", (self.at_s - at).max(0.0));
        }
        if let Some(left) = self.left_s() {
            line += &format!(", {} left", seconds(left));
        }
        line
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A line of JSON. A reader that has gone needs none.
fn emit(event: &Value) {
    let _ = output::print_json_line(event);
}

/// `75` as `1 min 15 s`.
#[must_use]
pub fn seconds(s: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let whole = s.clamp(0.0, 1e9).round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(at_s: f64, evaluations: u64) -> Progress {
        Progress::Candidate { id: evaluations, label: "measured", at_s, evaluations, incumbent: Some(0.25) }
    }

    #[test]
    fn the_line_says_how_it_goes() {
        let budget = Budget { seconds: Some(60.0), evaluations: None };
        let mut display = Display { mode: Mode::Lines, ..Display::new("k", budget, true) };
        display.tell(candidate(5.0, 50));
        display.last = Some((4.0, "stage".to_owned()));
        assert_eq!(
            display.line(),
            "k: 50 candidates (10.0/s), best 25.0 % of roof, last gain 1 s ago (stage), 55 s left"
        );
    }

    #[test]
    fn a_resumed_runs_rate_is_its_own() {
        let budget = Budget { seconds: None, evaluations: Some(140) };
        let mut display = Display { mode: Mode::Lines, ..Display::new("k", budget, true) };
        display.resumed = 100;
        display.tell(candidate(50.0, 101));
        display.tell(candidate(52.0, 121));
        assert_eq!(display.rate(), Some(10.0));
        assert_eq!(display.left_s(), Some(1.9));
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(seconds(9.6), "10 s");
        assert_eq!(seconds(75.0), "1 min 15 s");
        assert_eq!(seconds(3700.0), "1 h 1 min");
    }
}
