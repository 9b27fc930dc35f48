//! `tidelog group`: the durable groups of a running broker, listed and looked at, made, committed, put back, moved and removed.

use clap::Args;
use clap::Subcommand;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::arguments::ConnectArgs;
use super::arguments::LsArgs;
use super::control::Control;
use super::runtime;
use super::stdout;
use crate::mqtt::ShareName;
use crate::mqtt::TopicFilter;
use crate::mqtt::Violation;
use crate::session::AddressError;
use crate::session::Commit;
use crate::session::Start;
use crate::session::Strategy;

/// The columns that hold text, and stand to the left.
const TEXT_COLUMNS: usize = 4;

/// The columns of the table, and what they show of a group.
const COLUMNS: [(&str, &str); 12] = [
    ("GROUP", "/group"),
    ("FILTER", "/filter"),
    ("STRATEGY", "/strategy"),
    ("COMMIT", "/commit"),
    ("POSITION", "/position"),
    ("COMMITTED", "/committed"),
    ("IN-FLIGHT", "/in_flight"),
    ("HELD", "/held"),
    ("RETURNED", "/returned"),
    ("MEMBERS", "/members"),
    ("LAG", "/lag/messages"),
    ("SECONDS", "/lag/seconds"),
];

/// How `group` is used.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List them.
    Ls(LsArgs),
    /// Look at one, and count how far it is behind.
    Show(ShowArgs),
    /// Make one, which keeps its place without members.
    Create(CreateArgs),
    /// Commit what was delivered, so that it goes to nobody again.
    Commit(CommitArgs),
    /// Give back what was delivered and not committed.
    Reset(NameArgs),
    /// Go on somewhere else.
    Seek(SeekArgs),
    /// Remove it; it must have no members.
    Rm(NameArgs),
}

/// Which group, and where the broker is.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct NameArgs {
    #[command(flatten)]
    connect: Box<ConnectArgs>,
    /// Its name, as in `$share/NAME/FILTER`.
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: ShareName,
    /// Which one, if several have this name: its topic filter. Without it all of them are meant.
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Option<TopicFilter>,
}

/// The flags of `group show`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    group: NameArgs,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// The flags of `group create`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    connect: Box<ConnectArgs>,
    /// Its name, as in `$share/NAME/FILTER`.
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: ShareName,
    /// Which topics.
    #[arg(value_name = "FILTER", value_parser = parse_filter)]
    filter: TopicFilter,
    /// Where it begins: earliest, latest (the default), last-N, o-OFFSET, t-UNIXMS, ago-15m or 2026-08-01T00:00:00Z.
    #[arg(long, value_name = "START", value_parser = parse_start)]
    from: Option<String>,
    /// Who gets the next message: least-inflight (the default), round-robin, random, sticky, key or exclusive.
    #[arg(long, value_name = "STRATEGY", value_parser = parse_strategy)]
    strategy: Option<Strategy>,
    /// What ends a delivery: ack (the default) or manual.
    #[arg(long, value_name = "MODE", value_parser = parse_commit)]
    commit: Option<Commit>,
}

/// The flags of `group commit`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct CommitArgs {
    #[command(flatten)]
    group: NameArgs,
    /// Up to this offset, itself included. Without it: everything that was delivered so far, to whomever.
    #[arg(long, value_name = "OFFSET")]
    offset: Option<u64>,
}

/// The flags of `group seek`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct SeekArgs {
    #[command(flatten)]
    group: NameArgs,
    /// Where to: earliest, latest, last-N, o-OFFSET, t-UNIXMS, ago-15m or 2026-08-01T00:00:00Z; committed is a reset.
    #[arg(value_name = "START", value_parser = parse_start)]
    to: String,
}

impl GroupCommand {
    /// Does it.
    ///
    /// # Errors
    /// Fails with what the broker says, or if there is none.
    pub(crate) fn run(self) -> Result<(), Failure> {
        runtime::run(async {
            match self {
                Self::Ls(arguments) => list(arguments).await,
                Self::Show(arguments) => show(arguments).await,
                Self::Create(arguments) => create(arguments).await,
                Self::Commit(arguments) => commit(arguments).await,
                Self::Reset(group) => print_count(&group.ask("reset", Map::new()).await?),
                Self::Seek(SeekArgs { group, to }) => {
                    let to = Map::from_iter([("to".to_owned(), to.into())]);
                    print_count(&group.ask("seek", to).await?)
                }
                Self::Rm(group) => group.ask("remove", Map::new()).await.map(drop),
            }
        })
    }
}

impl NameArgs {
    /// Makes one request about it.
    async fn ask(
        self,
        verb: &str,
        fields: Map<String, Value>,
    ) -> Result<Map<String, Value>, Failure> {
        let Self { connect, name, filter } = self;
        let mut control = Control::open(*connect).await?;
        let answer = request(&mut control, &name, verb, filter.as_ref(), fields).await?;
        control.close().await;
        Ok(answer)
    }
}

async fn request(
    control: &mut Control,
    name: &ShareName,
    verb: &str,
    filter: Option<&TopicFilter>,
    mut fields: Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    fields.extend(filter.map(|filter| ("filter".to_owned(), filter.as_str().into())));
    control.request(&format!("groups/{name}/{verb}"), &Value::Object(fields).to_string()).await
}

async fn list(arguments: LsArgs) -> Result<(), Failure> {
    let mut control = Control::open(*arguments.connect).await?;
    let found = listed(&mut control).await?;
    control.close().await;
    stdout::print(&if arguments.json { lines(&found) } else { table(&found) })
}

/// All groups, however many answers that takes.
async fn listed(control: &mut Control) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    let mut payload = String::new();
    loop {
        let mut answer = control.request("groups/list", &payload).await?;
        if let Some(Value::Array(listed)) = answer.remove("groups") {
            found.extend(listed);
        }
        let Some(next) = answer.get("next").and_then(Value::as_str) else { return Ok(found) };
        payload = json!({ "after": next }).to_string();
    }
}

async fn show(arguments: ShowArgs) -> Result<(), Failure> {
    let mut group = arguments.group.ask("show", Map::new()).await?;
    for of_the_answer in ["ok", "request"] {
        group.remove(of_the_answer);
    }
    let found = [Value::Object(group)];
    stdout::print(&if arguments.json { lines(&found) } else { table(&found) })
}

async fn create(arguments: CreateArgs) -> Result<(), Failure> {
    let CreateArgs { connect, name, filter, from, strategy, commit } = arguments;
    let words = [
        ("from", from.as_deref()),
        ("strategy", strategy.map(Strategy::name)),
        ("commit", commit.map(Commit::name)),
    ];
    let said = words.into_iter().filter_map(|(word, value)| Some((word.to_owned(), value?.into())));
    let group = NameArgs { connect, name, filter: Some(filter) };
    group.ask("create", said.collect()).await.map(drop)
}

/// The broker takes a commit without an offset for one of what the asking client was delivered, which here is nothing: we look for the place up to
/// which the groups have given their messages out.
async fn commit(arguments: CommitArgs) -> Result<(), Failure> {
    let CommitArgs { group: NameArgs { connect, name, filter }, offset } = arguments;
    let mut control = Control::open(*connect).await?;
    let offset = match offset {
        Some(offset) => Some(offset),
        None => delivered(&listed(&mut control).await?, &name, filter.as_ref()),
    };
    let fields = offset.map(|offset| ("offset".to_owned(), offset.into()));
    let fields = fields.into_iter().collect();
    let answer = request(&mut control, &name, "commit", filter.as_ref(), fields).await?;
    control.close().await;
    print_count(&answer)
}

/// The last offset that one of the groups meant has looked at; `None` if it is none.
fn delivered(groups: &[Value], name: &ShareName, filter: Option<&TopicFilter>) -> Option<u64> {
    let says = |group: &Value, field: &str, wanted: &str| {
        group.get(field).and_then(Value::as_str) == Some(wanted)
    };
    let meant = groups.iter().filter(|group| {
        says(group, "group", name) && filter.is_none_or(|filter| says(group, "filter", filter))
    });
    let positions = meant.filter_map(|group| group.get("position").and_then(Value::as_u64));
    positions.max()?.checked_sub(1)
}

/// Says how many messages it was, if that is what the answer says.
fn print_count(answer: &Map<String, Value>) -> Result<(), Failure> {
    let counted = ["committed", "returned"]
        .into_iter()
        .find_map(|what| Some(format!("{} {what}\n", answer.get(what)?)));
    counted.map_or(Ok(()), |line| stdout::print(&line))
}

fn lines(found: &[Value]) -> String {
    found.iter().fold(String::new(), |text, group| format!("{text}{group}\n"))
}

/// A table with a line for each, its head first; nothing if there is none. Columns that no group has anything for are left out.
fn table(found: &[Value]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let known = |(_, path): &&(&str, &str)| found.iter().any(|group| group.pointer(path).is_some());
    let columns: Vec<&(&str, &str)> = COLUMNS.iter().filter(known).collect();
    let head: Vec<String> = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let row = |group: &Value| columns.iter().map(|(_, path)| cell(group, path)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(found.iter().map(row)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells.map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns.len()).filter_map(width).collect();
    rows.iter().fold(String::new(), |text, row| text + &line(row, &widths))
}

fn cell(group: &Value, path: &str) -> String {
    match group.pointer(path) {
        Some(Value::String(text)) => text.escape_debug().to_string(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let padded = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        if column < TEXT_COLUMNS { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    let cells: Vec<String> = padded.collect();
    cells.join("  ").trim_end().to_owned() + "\n"
}

/// Reads a group's name.
pub(super) fn parse_name(text: &str) -> Result<ShareName, Violation> {
    ShareName::try_from(text)
}

fn parse_filter(text: &str) -> Result<TopicFilter, Violation> {
    TopicFilter::try_from(text)
}

/// Looks whether a start can be read.
pub(super) fn parse_start(text: &str) -> Result<String, AddressError> {
    Start::parse(text).map(|_| text.to_owned())
}

/// Reads the name of a strategy.
pub(super) fn parse_strategy(text: &str) -> Result<Strategy, AddressError> {
    Strategy::from_name(text).ok_or(AddressError::BadStrategy)
}

/// Reads the name of a commit mode.
pub(super) fn parse_commit(text: &str) -> Result<Commit, AddressError> {
    Commit::from_name(text).ok_or(AddressError::BadCommit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, position: u64) -> Value {
        json!({
            "group": name, "filter": "a/#", "strategy": "key", "commit": "ack", "position": position,
            "committed": 7, "in_flight": 1, "held": 0, "returned": 2, "members": 3,
        })
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let mut last = group("workers", 18_422);
        last["lag"] = json!({ "messages": 12, "seconds": 2.5 });
        let expected = [
            "GROUP    FILTER  STRATEGY  COMMIT  POSITION  COMMITTED  IN-FLIGHT  HELD  RETURNED  MEMBERS  LAG  SECONDS",
            "a\\n      a/#     key       ack            9          7          1     0         2        3",
            "workers  a/#     key       ack        18422          7          1     0         2        3   12      2.5",
            "",
        ];
        assert_eq!(table(&[group("a\n", 9), last]), expected.join("\n"));
        assert!(!table(&[group("a", 9)]).contains("LAG"));
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn a_commit_of_everything_ends_where_the_group_stands() {
        let groups = [group("a", 9), group("b", 20), group("c", 0)];
        let end = |name: &str, filter: Option<&str>| {
            let filter = filter.map(|filter| TopicFilter::try_from(filter).unwrap());
            delivered(&groups, &ShareName::try_from(name).unwrap(), filter.as_ref())
        };
        assert_eq!((end("a", None), end("b", Some("a/#"))), (Some(8), Some(19)));
        assert_eq!((end("b", Some("a")), end("c", None), end("d", None)), (None, None, None));
    }
}
