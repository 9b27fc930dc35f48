//! `tidelog user`: the users of a password file.

use std::io;
use std::io::BufRead;
use std::io::IsTerminal;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use rustix::termios::LocalModes;
use rustix::termios::OptionalActions;
use rustix::termios::tcgetattr;
use rustix::termios::tcsetattr;

use crate::access::passwords;
use crate::access::passwords::Credentials;
use crate::access::passwords::EntryError;
use crate::access::passwords::Passwords;
use crate::access::passwords::SCRAM_ITERATIONS_DEFAULT;
use crate::access::scram;
use crate::config::Sources;

use super::Failure;
use super::arguments::number;
use super::check_config::ConfigArgs;
use super::replace;
use super::stdout;

/// Add, remove, list and check the users of a password file
#[derive(Args, Clone, Debug)]
pub struct UserArgs {
    /// The password file [default: access.passwords of the configuration]
    #[arg(long, short = 'f', global = true, value_name = "PATH")]
    file: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum UserCommand {
    /// Add a user, or give one a new password
    Add(AddArgs),
    /// Remove a user
    Rm {
        /// The user's name
        name: String,
    },
    /// Print the users' names
    Ls,
    /// Check a user's password; exit with 1 if it is wrong
    Check {
        /// The user's name
        name: String,

        #[command(flatten)]
        password: PasswordArgs,
    },
}

#[derive(Args, Clone, Debug)]
struct AddArgs {
    /// The user's name
    name: String,

    #[command(flatten)]
    password: PasswordArgs,

    /// Leave out what enhanced authentication (SCRAM-SHA-256) needs
    #[arg(long)]
    no_scram: bool,

    /// The PBKDF2 iterations of SCRAM-SHA-256, which the client computes at each login
    #[arg(long, value_name = "N", default_value_t = SCRAM_ITERATIONS_DEFAULT, conflicts_with = "no_scram",
          value_parser = number(scram::ITERATIONS_MIN..=scram::ITERATIONS_MAX))]
    iterations: u32,
}

#[derive(Args, Clone, Debug)]
struct PasswordArgs {
    /// The password. Others on this machine can see it while the command runs; without it, it is asked for, or read
    /// from the first line of standard input
    #[arg(long, short = 'P', value_name = "PASSWORD")]
    password: Option<String>,
}

/// Where passwords are read from.
pub struct Input<'a> {
    /// The lines.
    pub lines: &'a mut dyn BufRead,
    /// Whether they come from a person at the terminal of standard input, who is to be asked.
    pub terminal: bool,
}

impl UserArgs {
    /// Runs the command, on the terminal or on standard input and output.
    pub fn run(self) -> Result<(), Failure> {
        let terminal = io::stdin().is_terminal();
        stdout::print(&self.answer(&mut Input { lines: &mut io::stdin().lock(), terminal })?)
    }

    /// Runs the command with this input. Returns what is to be printed.
    pub fn answer(self, input: &mut Input<'_>) -> Result<String, Failure> {
        let file = file(self.file, self.config)?;
        match self.command {
            UserCommand::Add(args) => add(&file, args, input),
            UserCommand::Rm { name } => remove(&file, &name),
            UserCommand::Ls => list(&file),
            UserCommand::Check { name, password } => check(&file, &name, password, input),
        }
    }
}

fn file(named: Option<PathBuf>, config: ConfigArgs) -> Result<PathBuf, Failure> {
    if let Some(file) = named {
        return Ok(file);
    }
    let config = Sources::from(config).layers()?.config()?;
    config
        .access
        .passwords
        .ok_or_else(|| failure("which file? Name it with --file, or set access.passwords"))
}

fn add(file: &Path, args: AddArgs, input: &mut Input<'_>) -> Result<String, Failure> {
    let name = args.name;
    passwords::check_name(&name).map_err(|error| failure(error.to_string()))?;
    let password = password(args.password, Ask::Twice, input)?;
    let scram = if args.no_scram { None } else { Some((random()?, args.iterations)) };
    let credentials = Credentials::derive(&password, random()?, scram)
        .map_err(|error| failure(error.to_string()))?;
    replace::update(file, |text| {
        parse(file, text)?;
        passwords::with_user(text, &name, &credentials)
            .map_err(|error: EntryError| failure(error.to_string()))
    })?;
    Ok(format!("{name} is in {}; a running broker reads it again on SIGHUP\n", file.display()))
}

fn remove(file: &Path, name: &str) -> Result<String, Failure> {
    existing(file)?;
    let unknown = || failure(format!("{}: there is no user {name:?}", file.display()));
    replace::update(file, |text| passwords::without_user(text, name).ok_or_else(unknown))?;
    Ok(format!(
        "{name} is no longer in {}; a running broker reads it again on SIGHUP\n",
        file.display()
    ))
}

fn list(file: &Path) -> Result<String, Failure> {
    Ok(existing(file)?.names().flat_map(|name| [name, "\n"]).collect())
}

fn check(
    file: &Path,
    name: &str,
    password: PasswordArgs,
    input: &mut Input<'_>,
) -> Result<String, Failure> {
    let passwords = existing(file)?;
    let password = self::password(password, Ask::Once, input)?;
    if passwords.verify(name, &password) {
        Ok("the password is right\n".to_owned())
    } else {
        Err(failure("unknown user or wrong password"))
    }
}

fn existing(file: &Path) -> Result<Passwords, Failure> {
    let text = replace::read(file)?;
    parse(file, &text.ok_or_else(|| failure(format!("{}: there is no such file", file.display())))?)
}

fn parse(file: &Path, text: &str) -> Result<Passwords, Failure> {
    Passwords::parse(text).map_err(|error| failure(format!("{}: {error}", file.display())))
}

fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| failure(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

/// How often a person is asked for a password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Once,
    Twice,
}

fn password(args: PasswordArgs, ask: Ask, input: &mut Input<'_>) -> Result<Vec<u8>, Failure> {
    let password = match args.password {
        Some(password) => password,
        None if input.terminal => asked(ask, input)?,
        None => line(input)?,
    };
    if password.is_empty() {
        Err(failure("the password is empty"))
    } else {
        Ok(password.into_bytes())
    }
}

fn asked(ask: Ask, input: &mut Input<'_>) -> Result<String, Failure> {
    let password = hidden("Password: ", input)?;
    if ask == Ask::Twice && hidden("Again: ", input)? != password {
        return Err(failure("the passwords differ"));
    }
    Ok(password)
}

/// Reads a line that the terminal does not show.
fn hidden(prompt: &str, input: &mut Input<'_>) -> Result<String, Failure> {
    let failed = |error: rustix::io::Errno| failure(format!("the terminal: {error}"));
    let mut terminal = io::stderr();
    let told = terminal.write_all(prompt.as_bytes()).and_then(|()| terminal.flush());
    told.map_err(|error| failure(format!("the terminal: {error}")))?;
    let before = tcgetattr(io::stdin()).map_err(failed)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
    let line = line(input);
    tcsetattr(io::stdin(), OptionalActions::Flush, &before).map_err(failed)?;
    line
}

fn line(input: &mut Input<'_>) -> Result<String, Failure> {
    let mut line = String::new();
    input
        .lines
        .read_line(&mut line)
        .map_err(|error| failure(format!("standard input: {error}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn failure(message: impl Into<String>) -> Failure {
    Failure { message: message.into(), exit_code: 1 }
}
