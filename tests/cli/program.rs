//! The program as a child process.

use std::io::Write;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

/// The program with these words, its streams piped.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog"));
    command.args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A started program, which does not outlive the test.
pub(crate) struct Program {
    child: Option<Child>,
}

impl Program {
    /// Starts it.
    pub(crate) fn start(words: &[&str]) -> Self {
        Self { child: Some(command(words).spawn().unwrap()) }
    }

    /// One that was started otherwise.
    pub(crate) fn of(child: Child) -> Self {
        Self { child: Some(child) }
    }

    /// Starts it where so many files may be open.
    pub(crate) fn start_with_files(files: u32, words: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_tidelog")).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: Some(command.spawn().unwrap()) }
    }

    /// The process.
    pub(crate) fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    /// Gives it this on its standard input, and then the end of it.
    pub(crate) fn feed(&mut self, input: &str) {
        self.child().stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        drop(self.child().stdin.take());
        Ended::new(&self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What a program left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Of a program that ran to its end.
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless it ended well, and printed this.
    #[track_caller]
    pub(crate) fn expect_success(&self, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(0), stdout), "stderr: {}", self.stderr);
    }

    /// Fails the test unless it ended with this code and one line on standard error that contains this.
    #[track_caller]
    pub(crate) fn expect_failure(&self, code: i32, message: &str) {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        assert!(self.stderr.contains(message), "no '{message}' in: {}", self.stderr);
    }
}

/// Runs it to its end.
pub(crate) fn run(words: &[&str]) -> Ended {
    Program::start(words).end()
}

/// Tells it to end.
pub(crate) fn terminate(program: &mut Program) {
    signal(program, rustix::process::Signal::TERM);
}

/// Sends it a signal.
pub(crate) fn signal(program: &mut Program, signal: rustix::process::Signal) {
    let process = i32::try_from(program.child().id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(process.unwrap(), signal).unwrap();
}
