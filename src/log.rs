// SPDX-License-Identifier: Apache-2.0
//! What soute says besides its output: the final error, warnings, and with `--debug` every
//! step, to standard error or to the file of `--log`.
//!
//! Podman parses the whole file as one JSON object (containerd takes the last one of level
//! "error"), so unless more is asked for the file gets the final error and nothing else.
//! Then it is not even opened before there is one: nothing costs anything at start, and no
//! container's init holds a file of the host while it waits for start.
//!
//! The subscriber is our own, since a command has no spans. tracing-subscriber's formatter took
//! 34,000 instructions and 10 page faults of each start, this one 800 and 3.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use libcontainer::error::{Call, Error, Fault};
use libcontainer::time::rfc3339;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"` in a file, `error: …` on standard error.
    #[default]
    Text,
    /// One object a line with `level`, `msg` and `time`.
    Json,
}

/// What the global flags say about the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--log`, absolute.
    pub file: Option<PathBuf>,
    /// `--log-format`.
    pub format: Format,
    /// `--log-level` or `--debug`.
    pub level: Option<LevelFilter>,
    /// Descriptor of the file, while it is open.
    pub open: Option<i32>,
}

impl Settings {
    /// Begins to listen for events.
    pub fn listen(&mut self) -> Result<(), Fault> {
        let (level, to) = match &self.file {
            Some(file) => match self.level.unwrap_or(LevelFilter::ERROR) {
                // The final error is `fail`'s, and nothing else is an error event.
                LevelFilter::OFF | LevelFilter::ERROR => return Ok(()),
                level => (level, Some(append(file)?)),
            },
            None => (self.level.unwrap_or(LevelFilter::WARN), None),
        };
        self.open = to.as_ref().map(AsRawFd::as_raw_fd);
        let lines = Lines { level, format: self.format, to };
        // Refused only where one is set already, and this is the one place that sets it.
        let _ = tracing::subscriber::set_global_default(lines);
        Ok(())
    }

    /// The final error. It goes to standard error also when there is a log: some callers
    /// read the one, some the other, some both.
    pub fn fail(&self, error: &anyhow::Error) {
        let (shown, message) = match error.downcast_ref::<Error>() {
            Some(error) => (error.to_string(), error.message()),
            None => (format!("{error:#}"), format!("{error:#}").replace('\n', " ")),
        };
        let line = || line(self.format, Level::ERROR, &message);
        match &self.file {
            Some(file) => {
                let written =
                    append(file).and_then(|mut f| f.write_all(line().as_bytes()).call(|| write_to(file)));
                if let Err(fault) = written {
                    say(&format!("warning: {fault}\n"));
                }
            }
            None if self.format == Format::Json => return say(&line()),
            None => {}
        }
        say(&format!("error: {shown}\n"));
    }
}

/// The subscriber: one line for each event, written by one call.
struct Lines {
    level: LevelFilter,
    format: Format,
    /// Standard error if `None`.
    to: Option<File>,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let (level, message) = (*event.metadata().level(), said.whole());
        match &self.to {
            Some(file) => {
                // A log that cannot be written is no reason to fail what is being done.
                let _ = (&*file).write_all(line(self.format, level, &message).as_bytes());
            }
            None if self.format == Format::Json => say(&line(self.format, level, &message)),
            None => say(&format!("{}: {message}\n", name(level))),
        }
    }

    // A command does one thing, so there are no spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An event's message, and its fields as `name=value`.
#[derive(Default)]
struct Said {
    message: String,
    fields: String,
}

impl Said {
    fn whole(self) -> String {
        match (self.message.is_empty(), self.fields.is_empty()) {
            (_, true) => self.message,
            (true, false) => self.fields,
            (false, false) => format!("{} {}", self.message, self.fields),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            let gap = if self.fields.is_empty() { "" } else { " " };
            write!(self.fields, "{gap}{}={value:?}", field.name())
        };
    }
}

/// A line of a log, in the shape that logrus, and so runc, gives it.
fn line(format: Format, level: Level, message: &str) -> String {
    let (level, time) = (name(level), rfc3339(SystemTime::now()));
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
        Format::Json => {
            let message = serde_json::Value::from(message);
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn append(file: &Path) -> Result<File, Fault> {
    File::options().append(true).create(true).open(file).call(|| format!("--log: open({file:?})"))
}

fn write_to(file: &Path) -> String {
    format!("--log: write({file:?})")
}

/// Standard error may be closed, or a pipe that nobody reads: nobody is left to tell.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logrus_lines() {
        let json = line(Format::Json, Level::WARN, "a \"b\"\n\u{1b}[0m");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["level"], "warning");
        assert_eq!(value["msg"], "a \"b\"\n\u{1b}[0m");
        assert_eq!(value["time"].as_str().unwrap().len(), "2026-05-01T12:00:00.000000000Z".len());
        assert_eq!(json.lines().count(), 1);

        let text = line(Format::Text, Level::ERROR, "a \"b\"\nc");
        assert!(text.starts_with("time=\"20"), "{text}");
        assert!(text.ends_with("Z\" level=error msg=\"a \\\"b\\\"\\nc\"\n"), "{text}");
    }

    #[test]
    fn an_event_is_its_message_and_fields() {
        let said = |message: &str, fields: &str| {
            Said { message: message.to_owned(), fields: fields.to_owned() }.whole()
        };
        assert_eq!(said("steps", "n=1"), "steps n=1");
        assert_eq!(said("", "step=pivot_root"), "step=pivot_root");
        assert_eq!(said("steps", ""), "steps");
    }
}
