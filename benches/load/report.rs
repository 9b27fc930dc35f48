//! Tables and JSON: for each case every broker's medians, the ranges of its rate, and the goals beside what was reached.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::figures::Figures;
use crate::figures::Measure;
use crate::goal::Results;
use crate::scenario::Case;

/// The rounds of one case.
pub(crate) struct Outcome {
    pub(crate) case: Case,
    /// For each broker, in the order they ran.
    pub(crate) brokers: Vec<(&'static str, Vec<Figures>, Figures)>,
}

/// Everything so far.
#[derive(Default)]
pub(crate) struct Report {
    outcomes: Vec<Outcome>,
}

/// What a goal of the newest case sees.
struct Newest<'a>(&'a Report);

impl Results for Newest<'_> {
    fn medians(&self, case: Option<&str>, peer: &str) -> Option<&Figures> {
        let outcomes = &self.0.outcomes;
        let outcome = match case {
            None => outcomes.last(),
            Some(title) => outcomes.iter().find(|outcome| outcome.case.title == title),
        };
        let brokers = &outcome?.brokers;
        brokers.iter().find(|(name, ..)| *name == peer).map(|(_, _, medians)| medians)
    }
}

impl Report {
    /// Adds a case with the rounds of each broker.
    pub(crate) fn add(&mut self, case: Case, brokers: Vec<(&'static str, Vec<Figures>)>) {
        let with_medians = |(name, rounds): (&'static str, Vec<Figures>)| {
            let medians = Figures::median(&rounds);
            (name, rounds, medians)
        };
        let brokers = brokers.into_iter().map(with_medians).collect();
        self.outcomes.push(Outcome { case, brokers });
    }

    /// The newest case, for people.
    pub(crate) fn print_newest(&self) {
        let Some(outcome) = self.outcomes.last() else { return };
        println!("\n{} {}", outcome.case.scenario, outcome.case.title);
        let mut measures: Vec<Measure> = Vec::new();
        for (measure, _) in outcome.brokers.iter().flat_map(|(_, _, medians)| medians.iter()) {
            if !measures.contains(&measure) {
                measures.push(measure);
            }
        }
        measures.sort();
        let names: Vec<&str> = measures.iter().map(|measure| measure.name()).collect();
        println!("| | {} | rates of the rounds |", names.join(" | "));
        println!("|---|{}", "---|".repeat(names.len() + 1));
        for (name, rounds, medians) in &outcome.brokers {
            let cells: Vec<String> = measures
                .iter()
                .map(|measure| medians.get(*measure).map_or("-".to_owned(), shown))
                .collect();
            let rates: Vec<String> =
                rounds.iter().filter_map(|round| round.get(Measure::Rate)).map(shown).collect();
            println!("| {name} | {} | {} |", cells.join(" | "), rates.join(", "));
        }
        for (goal, reached) in self.judged() {
            println!("- {goal}: {reached}");
        }
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> Value {
        let figures = |figures: &Figures| -> Value {
            let pairs =
                figures.iter().map(|(measure, value)| (measure.name().to_owned(), json!(value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        let outcome = |outcome: &Outcome| {
            let broker = |(name, rounds, medians): &(&str, Vec<Figures>, Figures)| {
                let rounds: Vec<Value> = rounds.iter().map(figures).collect();
                json!({ "broker": name, "medians": figures(medians), "rounds": rounds })
            };
            let brokers: Vec<Value> = outcome.brokers.iter().map(broker).collect();
            json!({ "scenario": outcome.case.scenario, "case": outcome.case.title, "brokers": brokers })
        };
        Value::Array(self.outcomes.iter().map(outcome).collect())
    }

    /// Each goal of the newest case with what was reached.
    fn judged(&self) -> Vec<(String, String)> {
        let goals = self.outcomes.last().map_or(&[][..], |outcome| outcome.case.goals);
        let judged = goals.iter().map(|goal| {
            let reached = match goal.judge(&Newest(self)) {
                Some((reached, true)) => format!("{}, reached", shown(reached)),
                Some((reached, false)) => format!("{}, MISSED", shown(reached)),
                None => "not measured".to_owned(),
            };
            (format!("goal: {goal}"), reached)
        });
        judged.collect()
    }
}

/// A number with about three digits that count.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size > 0.0 => format!("{value:.2}"),
        _ => "0".to_owned(),
    }
}
