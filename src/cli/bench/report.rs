//! A run's summary: a table for people, one JSON object for programs.

use std::fmt::Write as _;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::times::Percentiles;

/// What was found, in the order in which it is shown.
#[derive(Debug, Default)]
pub(super) struct Report {
    title: String,
    counts: Vec<(&'static str, u64, Option<f64>)>,
    times: Vec<(&'static str, Percentiles)>,
    lines: Vec<String>,
    json: Map<String, Value>,
}

impl Report {
    /// Nothing but a title.
    pub(super) fn new(title: String) -> Self {
        Self { title, ..Self::default() }
    }

    /// A fact for programs.
    pub(super) fn field(&mut self, key: &str, value: impl Into<Value>) {
        self.json.insert(key.to_owned(), value.into());
    }

    /// How many, and how many a second if that was measured.
    pub(super) fn count(&mut self, key: &'static str, count: u64, rate: Option<f64>) {
        self.field(key, count);
        if let Some(rate) = rate {
            self.field(&format!("{key}_per_second"), round(rate));
        }
        self.counts.push((key, count, rate));
    }

    /// How long something took.
    pub(super) fn times(&mut self, key: &str, shown: &'static str, times: Option<Percentiles>) {
        self.field(key, times.map_or(Value::Null, |times| times.json()));
        self.times.extend(times.map(|times| (shown, times)));
    }

    /// A figure that need not be there.
    pub(super) fn figure(&mut self, key: &str, value: Option<f64>) {
        self.field(key, value.map_or(Value::Null, |value| json!(value)));
    }

    /// A line for people.
    pub(super) fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    /// For programs.
    pub(super) fn json(self, error: Option<&str>) -> String {
        let mut json = self.json;
        json.insert("error".to_owned(), error.map_or(Value::Null, Value::from));
        format!("{}\n", Value::Object(json))
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        let _ = writeln!(text, "{:<16}{:>15}{:>15}", "", "in all", "a second");
        for (name, count, rate) in &self.counts {
            let rate = rate.map(|rate| format!("{rate:.0}")).unwrap_or_default();
            let (count, rate) = (grouped(&count.to_string()), grouped(&rate));
            let line = format!("{:<16}{count:>15}{rate:>15}", name.replace('_', " "));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !self.times.is_empty() {
            let names = ["p50", "p90", "p99", "p99.9", "max"];
            let names = names.map(|name| format!("{name:>11}")).concat();
            let _ = writeln!(text, "\n{:<20}{names}", "microseconds");
        }
        for (name, times) in &self.times {
            let cells = times.all().map(|micros| format!("{micros:>11.1}")).concat();
            let _ = writeln!(text, "{name:<20}{cells}");
        }
        if !self.lines.is_empty() {
            text.push('\n');
        }
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// To a tenth.
fn round(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        for (digits, expected) in
            [("", ""), ("1", "1"), ("123", "123"), ("1234", "1,234"), ("1234567", "1,234,567")]
        {
            assert_eq!(grouped(digits), expected);
        }
    }

    #[test]
    fn a_report_is_a_table_or_an_object() {
        let mut report = Report::new("pair: QoS 1".to_owned());
        report.count("out_of_order", 1_234, Some(56.78));
        let times = Percentiles { p50: 1.0, p90: 2.0, p99: 3.0, p99_9: 4.0, max: 5.0 };
        report.times("ack_us", "to acknowledgement", Some(times));
        report.times("late_us", "sent late", None);
        report.figure("own_cpu_us_per_message", None);
        report.line("the end".to_owned());
        let table = report.table();
        assert!(table.starts_with("pair: QoS 1\n\n"), "{table}");
        assert!(table.contains("out of order              1,234             57"), "{table}");
        assert!(!table.contains("late") && table.ends_with("\nthe end\n"), "{table}");
        let json: Value = serde_json::from_str(&report.json(Some("lost"))).unwrap();
        assert_eq!(json["out_of_order_per_second"], json!(56.8));
        assert_eq!((&json["ack_us"]["p99_9"], &json["late_us"]), (&json!(4.0), &Value::Null));
        assert_eq!(
            (&json["error"], json["own_cpu_us_per_message"].is_null()),
            (&json!("lost"), true)
        );
    }
}
