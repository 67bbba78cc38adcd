//! The lines of standard input. A thread of its own reads them, so that a signal stops the reading at the end of a line
//! and no line that was read is lost.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::signals;

const LONGEST_LINE: usize = 64 << 20;
/// After a signal the reader may wait for input that does not come. What it read before arrives within this time.
const GRACE: Duration = Duration::from_millis(250);
/// The same time if the last line has no end yet.
const GRACE_IN_A_LINE: Duration = Duration::from_secs(2);

/// How much the reader reads ahead. The program still sends what was read before a signal.
#[derive(Clone, Copy)]
pub(crate) enum ReadAhead {
    Much,
    Little,
}

pub(crate) struct Input {
    ahead: ReadAhead,
    /// The sending end of the channel, until the reader starts.
    unstarted: Option<SyncSender<Event>>,
    events: Receiver<Event>,
    block: Vec<u8>,
    /// The bytes of the block that were returned in lines.
    taken: usize,
    state: State,
    is_terminal: bool,
}

#[derive(PartialEq)]
enum State {
    Open,
    AtEnd,
    /// A signal came, and the reader still waits for input.
    Abandoned,
}

enum Event {
    Bytes(Vec<u8>),
    End(io::Result<()>),
    /// A signal came: wakes the receiver.
    Stop,
}

impl ReadAhead {
    /// The size of a block in bytes.
    fn block_bytes(self) -> usize {
        match self {
            Self::Much => 64 << 10,
            Self::Little => 512,
        }
    }

    /// The number of blocks that can wait in the channel: at least one, see [`Input::new`].
    fn block_count(self) -> usize {
        match self {
            Self::Much => 4,
            Self::Little => 1,
        }
    }
}

impl Input {
    /// Returns an input whose reader is not started, and a function that wakes `next_line` after a signal.
    pub(crate) fn new(ahead: ReadAhead) -> (Self, impl FnOnce() + Send + 'static) {
        let (sender, events) = sync_channel(ahead.block_count());
        let stop = sender.clone();
        let input = Self {
            ahead,
            unstarted: Some(sender),
            events,
            block: Vec::new(),
            taken: 0,
            state: State::Open,
            is_terminal: io::stdin().is_terminal(),
        };
        // A full channel wakes the receiver, too. A channel without capacity would not: the receiver may have checked
        // for a signal and not wait yet.
        (input, move || drop(stop.try_send(Event::Stop)))
    }

    /// Starts the reader. From now on, lines that were read are lost if a signal ends the program.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let Some(sender) = self.unstarted.take() else {
            return Ok(());
        };
        let (source, block) = (source()?, self.ahead.block_bytes());
        let reader = thread::Builder::new().name("input".to_owned());
        reader.spawn(move || read(source, block, &sender)).map(drop)
    }

    /// Returns the next line without its end, or `None` at the end of the input.
    pub(crate) fn next_line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        loop {
            let mut rest = &self.block[self.taken..];
            let read = rest.read_until(b'\n', &mut line);
            self.taken += read.map_err(|error| error.to_string())?;
            if line.ends_with(b"\n") {
                line.pop();
                if line.ends_with(b"\r") {
                    line.pop();
                }
                return Ok(Some(line));
            }
            if line.len() > LONGEST_LINE {
                return Err("longer than 64 MiB".to_owned());
            }
            let grace = match line.is_empty() {
                true => GRACE,
                false => GRACE_IN_A_LINE,
            };
            if !self.fill(grace).map_err(|error| error.to_string())? {
                break;
            }
        }
        match (&self.state, signals::stopped_by()) {
            _ if line.is_empty() => Ok(None),
            (State::Abandoned, Some(signal)) => Err(format!(
                "{signal} came after {} bytes of it were read, without its end",
                line.len()
            )),
            _ => Ok(Some(line)),
        }
    }

    /// Waits for the next block, after a signal up to `grace`. Returns false if none comes.
    fn fill(&mut self, grace: Duration) -> io::Result<bool> {
        if self.is_terminal && self.state == State::Open {
            let mut stdout = io::stdout();
            let _ = stdout.write_all(b">").and_then(|()| stdout.flush());
        }
        while self.state == State::Open {
            let event = match signals::stopped_by() {
                None => self.events.recv().map_err(RecvTimeoutError::from),
                Some(_) => self.events.recv_timeout(grace),
            };
            match event {
                Ok(Event::Bytes(bytes)) => {
                    self.block = bytes;
                    self.taken = 0;
                    return Ok(true);
                }
                Ok(Event::End(result)) => {
                    self.state = State::AtEnd;
                    result?;
                }
                Ok(Event::Stop) => {}
                Err(_) => self.state = State::Abandoned,
            }
        }
        Ok(false)
    }

    /// Returns the number of lines that were read after the last call of `next_line`.
    pub(crate) fn lines_left(&mut self) -> u64 {
        let mut rest = self.block.split_off(self.taken);
        while let Ok(event) = self.events.try_recv() {
            if let Event::Bytes(bytes) = event {
                rest.extend(bytes);
            }
        }
        self.block.clear();
        self.taken = 0;
        let ends = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
        ends + u64::from(rest.last().is_some_and(|byte| *byte != b'\n'))
    }
}

/// Standard input without a buffer: a buffer could read more than was asked for.
#[cfg(unix)]
fn source() -> io::Result<impl Read + Send> {
    use std::os::fd::AsFd;
    let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(std::fs::File::from(descriptor))
}

#[cfg(not(unix))]
fn source() -> io::Result<impl Read + Send> {
    Ok(io::stdin())
}

/// Reads until the end of the input or a signal. After a signal it reads only to the end of the current line.
fn read(mut source: impl Read, block: usize, events: &SyncSender<Event>) {
    let mut is_in_line = false;
    let end = loop {
        let size = match (signals::stopped_by(), is_in_line) {
            (None, _) => block,
            (Some(_), true) => 1,
            (Some(_), false) => break Ok(()),
        };
        let mut bytes = vec![0; size];
        match source.read(&mut bytes) {
            Ok(0) => break Ok(()),
            Ok(length) => {
                bytes.truncate(length);
                is_in_line = !bytes.ends_with(b"\n");
                if events.send(Event::Bytes(bytes)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    let _ = events.send(Event::End(end));
}
