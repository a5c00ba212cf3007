//! The narration: plain lines, with colours and a live line of figures on a terminal.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write, stdout},
    sync::Mutex,
    time::Duration,
};

use tokio::time::interval;

/// The width of a paragraph, in characters.
const WIDTH: usize = 100;

/// The width of the live line. It fits into a terminal of the usual 80 characters, because a line
/// that wraps cannot be overwritten.
const LIVE_WIDTH: usize = 79;

/// The time between two states of the live line.
const LIVE_PERIOD: Duration = Duration::from_millis(250);

pub(crate) struct Terminal {
    pub(crate) is_terminal: bool,
    colours: bool,
    /// Whether the live line is on the screen.
    live: Mutex<bool>,
}

#[derive(Clone, Copy)]
pub(crate) enum Style {
    Plain,
    Bold,
    Good,
    Bad,
}

impl Terminal {
    /// Colours need a terminal that supports them, and `NO_COLOR` turns them off
    /// (<https://no-color.org>).
    #[expect(clippy::disallowed_methods, reason = "both variables are conventions of terminals")]
    pub(crate) fn new() -> Self {
        let is_terminal =
            stdout().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        let no_color = std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty());
        Self { is_terminal, colours: is_terminal && !no_color, live: Mutex::new(false) }
    }

    /// Prints a paragraph, wrapped, after an empty line.
    pub(crate) fn paragraph(&self, text: &str) {
        self.line(Style::Plain, "");
        self.say(text);
    }

    /// Prints text, wrapped.
    pub(crate) fn say(&self, text: &str) {
        for line in wrap(text, WIDTH) {
            self.line(Style::Plain, &line);
        }
    }

    /// Prints the title of a step.
    pub(crate) fn title(&self, text: &str) {
        self.line(Style::Plain, "");
        let rule = "─".repeat(WIDTH.saturating_sub(text.chars().count() + 4));
        self.line(Style::Bold, &format!("── {text} {rule}"));
    }

    /// Prints one line.
    pub(crate) fn line(&self, style: Style, text: &str) {
        let code = match style {
            Style::Plain => "",
            Style::Bold => "1",
            Style::Good => "32",
            Style::Bad => "31",
        };
        let mut output = self.cleared();
        if self.colours && !code.is_empty() {
            let _ = writeln!(output, "\x1b[{code}m{text}\x1b[0m");
        } else {
            let _ = writeln!(output, "{text}");
        }
        print(&output);
    }

    /// Waits for a future, and shows a live line meanwhile if the output is a terminal.
    pub(crate) async fn during<F: Future>(&self, state: impl Fn() -> String, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        let mut ticks = interval(LIVE_PERIOD);
        loop {
            tokio::select! {
                output = &mut work => return output,
                _ = ticks.tick(), if self.is_terminal => self.show(&state()),
            }
        }
    }

    fn show(&self, state: &str) {
        let mut output = self.cleared();
        let state: String = state.chars().take(LIVE_WIDTH).collect();
        if self.colours {
            let _ = write!(output, "\x1b[2m{state}\x1b[0m");
        } else {
            output.push_str(&state);
        }
        *self.live.lock().expect("nothing panics while it holds this") = true;
        print(&output);
    }

    /// Returns the characters that remove the live line from the screen, if it is there.
    fn cleared(&self) -> String {
        let live =
            std::mem::take(&mut *self.live.lock().expect("nothing panics while it holds this"));
        if live { format!("\r{}\r", " ".repeat(LIVE_WIDTH)) } else { String::new() }
    }
}

/// Prints text. An output that is closed ends nothing, because the caller may still read the status.
fn print(text: &str) {
    let mut output = stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
