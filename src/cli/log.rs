//! `tidelog log`: looks into a data directory, also while a broker uses it. Nothing is locked or changed.

use std::io;
use std::io::BufWriter;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;

use super::Failure;
use super::arguments::number;
use super::check_config::ConfigArgs;
use super::stdout;
use super::terminal;
use crate::commitlog;
use crate::commitlog::DumpFilter;
use crate::commitlog::LogError;
use crate::commitlog::Offset;
use crate::commitlog::StoredRecord;
use crate::commitlog::VerifyReport;
use crate::commitlog::disk::OsDisk;
use crate::config;
use crate::config::Sources;
use crate::mqtt::TopicFilter;
use crate::store;
use crate::store::Kind;

/// The commands of `log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Check every byte of a data directory; exit with 1 if something is wrong.
    Verify(VerifyArgs),
    /// Print the records of a data directory, one JSON object a line.
    Dump(DumpArgs),
}

/// The flags of `log verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
}

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

/// Which data directory.
#[derive(Debug, Args)]
struct DirectoryArgs {
    /// The data directory; otherwise the configuration's.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl LogCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Fails if the directory can't be read or something in it is wrong.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Verify(arguments) => arguments.run(),
            Self::Dump(arguments) => arguments.run(),
        }
    }
}

impl VerifyArgs {
    fn run(self) -> Result<(), Failure> {
        let disk = self.directory.open()?;
        let mut report = |damage: &commitlog::Damage| terminal::error(&damage.to_string());
        let verified = commitlog::verify(&disk, &mut report).map_err(|error| failure(&error))?;
        stdout::print(&summary(&verified))?;
        match verified.damaged {
            0 => Ok(()),
            1 => Err(Failure::failed("one place is damaged")),
            places => Err(Failure::failed(format!("{places} places are damaged"))),
        }
    }
}

impl DumpArgs {
    fn run(self) -> Result<(), Failure> {
        let topic = self.topic.as_deref().map(TopicFilter::try_from).transpose();
        let topic = topic.map_err(|error| Failure::usage(format!("--topic: {error}")))?;
        let matches = |key: &[u8]| {
            let topic = topic.as_ref().zip(std::str::from_utf8(key).ok());
            topic.is_some_and(|(filter, key)| filter.matches(key))
        };
        let filter = DumpFilter {
            from: self.from.map(Offset::new),
            to: self.to.map(Offset::new),
            kind: topic.is_some().then_some(Kind::Message).or(self.kind).map(Kind::as_u8),
            matcher: topic.is_some().then_some(&matches),
        };
        let disk = self.directory.open()?;
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

impl DirectoryArgs {
    /// The directory of the log.
    fn open(self) -> Result<OsDisk, Failure> {
        let directory = match self.data {
            Some(directory) => directory,
            None => config::load(&Sources::from(self.config))?.data.dir,
        };
        OsDisk::open(&directory).map_err(|error| {
            Failure::failed(format!("can't open {}: {error}", directory.display()))
        })
    }
}

fn failure(error: &LogError) -> Failure {
    Failure::failed(error.to_string())
}

fn summary(verified: &VerifyReport) -> String {
    let summary = format!(
        "offsets {} up to {}: {} records in {} batches, {} bytes in {} segments\n",
        verified.start_offset,
        verified.next_offset,
        verified.records,
        verified.batches,
        verified.bytes,
        verified.segments
    );
    match verified.unfinished_bytes {
        0 => summary,
        bytes => format!(
            "{summary}{bytes} bytes behind the last batch are unfinished: being written now, or torn by a crash\n"
        ),
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
