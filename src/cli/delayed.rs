//! `tidelog delayed ls` and `tidelog delayed cancel`: messages that a running broker keeps back until they are due.

use std::fmt::Write;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::arguments::ConnectArgs;
use super::arguments::LsArgs;
use super::control::Control;
use super::runtime;
use super::stdout;

/// How `delayed` is used.
#[derive(Debug, Subcommand)]
pub(crate) enum DelayedCommand {
    /// List them in the order in which they were published.
    Ls(LsArgs),
    /// Take one or more out, so that they never come.
    Cancel(CancelArgs),
}

/// The flags of `delayed cancel`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    connect: Box<ConnectArgs>,
    /// The ids, as `ls` shows them.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<u64>,
}

impl DelayedCommand {
    /// Does it.
    ///
    /// # Errors
    /// Fails with what the broker says, or if there is none.
    pub(crate) fn run(self) -> Result<(), Failure> {
        runtime::run(async {
            match self {
                Self::Ls(arguments) => list(arguments).await,
                Self::Cancel(arguments) => cancel(arguments).await,
            }
        })
    }
}

async fn list(arguments: LsArgs) -> Result<(), Failure> {
    let mut control = Control::open(*arguments.connect).await?;
    let mut after = None;
    let mut found: Vec<Value> = Vec::new();
    loop {
        let payload = after.map_or(String::new(), |id: u64| json!({ "after": id }).to_string());
        let mut answer = control.request("delayed/list", &payload).await?;
        if let Some(Value::Array(listed)) = answer.remove("delayed") {
            found.extend(listed);
        }
        after = answer.get("next").and_then(Value::as_u64);
        if after.is_none() {
            break;
        }
    }
    control.close().await;
    stdout::print(&if arguments.json { lines(&found) } else { table(&found) })
}

async fn cancel(arguments: CancelArgs) -> Result<(), Failure> {
    let mut control = Control::open(*arguments.connect).await?;
    for id in arguments.ids {
        let answer = control.request(&format!("delayed/{id}/cancel"), "").await;
        answer.map_err(|failure| Failure {
            message: format!("{id}: {}", failure.message),
            ..failure
        })?;
    }
    control.close().await;
    Ok(())
}

fn lines(found: &[Value]) -> String {
    found.iter().fold(String::new(), |text, delayed| format!("{text}{delayed}\n"))
}

/// A table with a line for each, its head first; nothing if there is none.
fn table(found: &[Value]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let number =
        |delayed: &Value, name| delayed.get(name).and_then(Value::as_u64).unwrap_or_default();
    let width = found.iter().map(|delayed| number(delayed, "id").to_string().len()).max();
    let width = width.unwrap_or_default().max(2);
    let mut text = format!("{:>width$}  {:<24}  TOPIC\n", "ID", "DUE");
    for delayed in found {
        let topic = delayed.get("topic").and_then(Value::as_str).unwrap_or_default();
        let (id, due) = (number(delayed, "id"), moment(number(delayed, "due")));
        // Writing to a string can't fail.
        let _ = writeln!(text, "{id:>width$}  {due:<24}  {}", topic.escape_debug());
    }
    text
}

/// A moment in UTC; its milliseconds where the calendar ends.
fn moment(millis: u64) -> String {
    const YEAR_10_000: u64 = 253_402_300_800_000;
    match UNIX_EPOCH.checked_add(Duration::from_millis(millis)) {
        Some(time) if millis < YEAR_10_000 => humantime::format_rfc3339_millis(time).to_string(),
        Some(_) | None => millis.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each() {
        let found = [
            json!({ "id": 7, "topic": "a/b", "due": 1_700_000_005_000_u64, "published": 0 }),
            json!({ "id": 123, "topic": "c\n", "due": u64::MAX, "published": 0 }),
        ];
        let expected = [
            " ID  DUE                       TOPIC",
            "  7  2023-11-14T22:13:25.000Z  a/b",
            "123  18446744073709551615      c\\n",
            "",
        ];
        assert_eq!(table(&found), expected.join("\n"));
        assert_eq!(table(&[]), "");
        assert_eq!(
            lines(&found[..1]),
            "{\"due\":1700000005000,\"id\":7,\"published\":0,\"topic\":\"a/b\"}\n"
        );
    }
}
