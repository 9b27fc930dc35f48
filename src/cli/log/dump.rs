//! `tidelog log dump`: records as JSON lines.

use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::ops::ControlFlow;

use clap::Args;

use super::directory;
use super::directory::DirectoryArgs;
use super::failure;
use crate::cli::Failure;
use crate::cli::arguments::number;
use crate::cli::moment::Moment;
use crate::cli::terminal;
use crate::commitlog;
use crate::commitlog::DumpFilter;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::mqtt::TopicFilter;
use crate::store;
use crate::store::Kind;
use crate::time::Timestamp;

/// The flags of `log dump`.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// Begin with this offset.
    #[arg(long, value_name = "OFFSET", value_parser = number(0..=u64::MAX))]
    from: Option<u64>,
    /// End before this offset.
    #[arg(long, value_name = "OFFSET", value_parser = number(0..=u64::MAX))]
    to: Option<u64>,
    /// Only records of this moment or later: 2026-01-31T12:00:00Z, ago-15m or t-MILLISECONDS since 1970.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Timestamp>,
    /// Only records before this moment.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<Timestamp>,
    /// End after so many records.
    #[arg(long, value_name = "COUNT", value_parser = number(0..=u64::MAX))]
    limit: Option<u64>,
    /// Only records of this kind, as in message or session.
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    kind: Option<Kind>,
    /// Only messages whose topic matches this filter.
    #[arg(short = 't', long, value_name = "FILTER", conflicts_with = "kind")]
    topic: Option<String>,
}

impl DumpArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let topic = self.topic.as_deref().map(TopicFilter::try_from).transpose();
        let topic = topic.map_err(|error| Failure::usage(format!("--topic: {error}")))?;
        let matches = |key: &[u8]| {
            let topic = topic.as_ref().zip(std::str::from_utf8(key).ok());
            topic.is_some_and(|(filter, key)| filter.matches(key))
        };
        let filter = DumpFilter {
            from: self.from.map(Offset::new),
            to: self.to.map(Offset::new),
            since: self.since,
            until: self.until,
            kind: topic.is_some().then_some(Kind::Message).or(self.kind).map(Kind::as_u8),
            matcher: topic.is_some().then_some(&matches),
        };
        let disk = directory::open(&self.directory.path()?)?;
        let mut printer = Printer::new(self.limit);
        let damage = commitlog::dump(&disk, &filter, &mut |record| printer.print(&record));
        let damage = damage.map_err(|error| failure(&error))?;
        printer.finish()?;
        for damage in &damage {
            terminal::error(&damage.to_string());
        }
        if damage.is_empty() {
            Ok(())
        } else {
            Err(Failure::failed("not everything could be read"))
        }
    }
}

/// Prints records until the limit, or until nobody reads.
struct Printer {
    output: BufWriter<io::StdoutLock<'static>>,
    left: Option<u64>,
    written: io::Result<()>,
}

impl Printer {
    fn new(limit: Option<u64>) -> Self {
        let output = BufWriter::new(io::stdout().lock());
        Self { output, left: limit, written: Ok(()) }
    }

    fn print(&mut self, record: &StoredRecord) -> ControlFlow<()> {
        if self.left == Some(0) {
            return ControlFlow::Break(());
        }
        self.left = self.left.map(|left| left - 1);
        self.written = writeln!(self.output, "{}", store::describe(record));
        if self.written.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn finish(mut self) -> Result<(), Failure> {
        let written = self.written.and_then(|()| self.output.flush());
        written.map_err(|error| terminal::output_failure(&error))
    }
}

/// Parses the name of a kind of record.
fn parse_kind(name: &str) -> Result<Kind, String> {
    let mut kinds = (0..=u8::MAX).filter_map(Kind::from_u8);
    kinds.clone().find(|kind| kind.name() == name).ok_or_else(|| {
        let names: Vec<_> = kinds.by_ref().map(Kind::name).collect();
        format!("one of {} is meant", names.join(", "))
    })
}

/// Parses a moment.
fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let unknown =
        || "a moment such as 2026-01-31T12:00:00Z, ago-15m or t-1767225600000 is meant".to_owned();
    if let Some(age) = text.strip_prefix("ago-") {
        let age = humantime::parse_duration(age).map_err(|_| unknown())?;
        return Ok(Moment::now().timestamp() - age);
    }
    if let Some(milliseconds) = text.strip_prefix("t-") {
        let milliseconds: u64 = milliseconds.parse().map_err(|_| unknown())?;
        return Ok(Timestamp::from_micros(milliseconds.saturating_mul(1_000)));
    }
    let time = humantime::parse_rfc3339(text).map_err(|_| unknown())?;
    let since_epoch = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::EPOCH + since_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_three_ways() {
        let moment = Timestamp::from_micros(1_767_225_600_000_000);
        assert_eq!(parse_moment("2026-01-01T00:00:00Z"), Ok(moment));
        assert_eq!(parse_moment("t-1767225600000"), Ok(moment));
        let ago = parse_moment("ago-15m").unwrap();
        assert!(ago > moment && ago < Moment::now().timestamp());
        for wrong in ["yesterday", "t-", "ago-", "2026-01-01", "-1"] {
            assert!(parse_moment(wrong).is_err(), "{wrong}");
        }
    }
}
