//! Lines on the terminal: when, who, what; in columns, and in colour only where somebody looks.

use std::{
    fmt,
    io::{IsTerminal, Write},
    time::Duration,
};

/// Who or what a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// Somebody changed their calendar.
    Person,
    /// A message from Recall to rollcall.
    Webhook,
    /// What rollcall found when it looked.
    Change,
    /// What it decided, and why.
    Decision,
    /// What it had Recall do.
    Bot,
    /// The look at everything that nobody asked for.
    Sweep,
    /// Recall did not do as asked this time.
    Retry,
    /// Something went wrong.
    Trouble,
    /// Whether bots and calendars agree.
    Check,
}

impl Voice {
    fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Webhook => "webhook",
            Self::Change => "change",
            Self::Decision => "decision",
            Self::Bot => "bot",
            Self::Sweep => "sweep",
            Self::Retry => "retry",
            Self::Trouble => "trouble",
            Self::Check => "check",
        }
    }

    /// The colour, as in an ANSI escape.
    fn colour(self) -> &'static str {
        match self {
            Self::Person => "1;36",
            Self::Webhook => "34",
            Self::Change => "33",
            Self::Decision => "35",
            Self::Bot => "32",
            Self::Sweep => "2",
            Self::Retry => "2;31",
            Self::Trouble => "31",
            Self::Check => "1",
        }
    }
}

/// Writes the lines.
#[derive(Debug)]
pub(super) struct Terminal {
    has_colour: bool,
}

impl Terminal {
    pub(super) fn new() -> Self {
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colour: std::io::stdout().is_terminal() && !wants_none }
    }

    /// A line of the story.
    pub(super) fn tell(&self, at: Duration, voice: Voice, what: &str) {
        let (minutes, seconds) = (at.as_secs() / 60, at.as_secs() % 60);
        let name = format!("{:<9}", voice.name());
        let name = if self.has_colour { format!("\x1b[{}m{name}\x1b[0m", voice.colour()) } else { name };
        self.print(format_args!("{minutes:02}:{seconds:02}  {name} {what}"));
    }

    /// A line outside the story. A reader who has gone, as `head` does, is no reason to fail.
    pub(super) fn print(&self, line: fmt::Arguments<'_>) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
