//! A connection's bytes: requests are read from the front; answers are collected and written when no byte is left to read.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;

/// What a connection reads from and writes to: a socket, or TLS over one.
pub(crate) trait Stream: Send {
    /// The fewest bytes that cost less to drop than to read. `usize::MAX` if the stream cannot drop bytes.
    fn least_dropped(&self) -> usize;

    /// Reads some bytes. 0 is the end.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Drops some bytes, `most` at most, and returns how many. 0 is the end.
    fn drop_some(&mut self, most: usize) -> io::Result<usize>;

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Reads as little of a batch as it can: on Linux the socket drops what is skipped without copying it.
/// Copying the records would be most of what the broker costs.
pub(super) struct Link<S> {
    stream: S,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How much to read at once: little after a batch that was dropped.
    window: usize,
    /// The bytes of the current request that were not read yet.
    frame_left: usize,
    answers: Vec<u8>,
}

const BUFFER_BYTES: usize = 128 << 10;
/// Enough for the fields between two batches, and the second one's header.
const SMALL_WINDOW: usize = 512;
const MAX_FRAME_BYTES: usize = 256 << 20;

/// All of these return `None` if the connection has ended or the request cannot be decoded.
impl<S: Stream> Link<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            window: BUFFER_BYTES,
            frame_left: 0,
            answers: Vec::new(),
        }
    }

    /// Goes to the beginning of the next request.
    pub(super) fn next_frame(&mut self) -> Option<()> {
        self.skip(self.frame_left)?;
        self.frame_left = 4;
        let size = usize::try_from(self.i32()?).ok()?;
        self.frame_left = size;
        (size <= MAX_FRAME_BYTES).then_some(())
    }

    pub(super) fn answer(&mut self, frame: &[u8]) {
        self.answers
            .extend_from_slice(&(frame.len() as u32).to_be_bytes());
        self.answers.extend_from_slice(frame);
    }

    /// The next bytes of the request, without taking them.
    pub(super) fn peek(&mut self, bytes: usize) -> Option<&[u8]> {
        if bytes > self.frame_left {
            return None;
        }
        if self.buffer.len() - self.start < bytes {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            self.buffer.resize(self.buffer.len().max(bytes), 0);
        }
        while self.end - self.start < bytes {
            self.fill()?;
        }
        Some(&self.buffer[self.start..self.start + bytes])
    }

    /// Skips a batch. Another one of its kind is likely to follow.
    pub(super) fn skip_batch(&mut self, bytes: usize) -> Option<()> {
        self.window = if bytes >= self.stream.least_dropped() {
            SMALL_WINDOW
        } else {
            BUFFER_BYTES
        };
        self.skip(bytes)
    }

    pub(super) fn skip(&mut self, bytes: usize) -> Option<()> {
        self.frame_left = self.frame_left.checked_sub(bytes)?;
        let mut left = bytes;
        loop {
            let buffered = left.min(self.end - self.start);
            self.start += buffered;
            left -= buffered;
            if self.start == self.end {
                (self.start, self.end) = (0, 0);
            }
            if left == 0 {
                return Some(());
            }
            if left >= self.stream.least_dropped() {
                left = self.drop_all(left)?;
            } else {
                self.fill()?;
            }
        }
    }

    fn fill(&mut self) -> Option<()> {
        self.flush()?;
        let end = self.buffer.len().min(self.end + self.window);
        match self.stream.read(&mut self.buffer[self.end..end]) {
            Ok(read) if read > 0 => self.end += read,
            _ => return None,
        }
        Some(())
    }

    /// Drops `bytes` from the stream, or all but a few, and returns how many it left.
    fn drop_all(&mut self, bytes: usize) -> Option<usize> {
        let mut left = bytes;
        self.flush()?;
        while left > 0 && left >= self.stream.least_dropped() {
            match self.stream.drop_some(left) {
                Ok(dropped) if dropped > 0 => left -= dropped,
                _ => return None,
            }
        }
        Some(left)
    }

    fn flush(&mut self) -> Option<()> {
        if !self.answers.is_empty() {
            self.stream.write_all(&self.answers).ok()?;
            self.answers.clear();
        }
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.peek(N)?.first_chunk()?;
        self.start += N;
        self.frame_left -= N;
        Some(taken)
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    /// The number of an array's elements, or of bytes; null has none.
    pub(super) fn length(&mut self, flexible: bool) -> Option<usize> {
        let length = if flexible {
            self.compact()?.saturating_sub(1)
        } else {
            self.i32()?.max(0) as usize
        };
        // Each element takes a byte at least.
        (length <= self.frame_left).then_some(length)
    }

    pub(super) fn string(&mut self, flexible: bool, into: &mut Vec<u8>) -> Option<()> {
        let length = if flexible {
            self.compact()?.saturating_sub(1)
        } else {
            self.i16()?.max(0) as usize
        };
        into.clear();
        into.extend_from_slice(self.peek(length)?);
        self.skip(length)
    }

    pub(super) fn skip_tags(&mut self, flexible: bool) -> Option<()> {
        if flexible {
            for _ in 0..self.compact()? {
                self.compact()?;
                let length = self.compact()?;
                self.skip(length)?;
            }
        }
        Some(())
    }

    fn compact(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// A plain socket. On Linux it drops bytes without copying them.
pub(crate) struct PlainStream {
    socket: socket2::Socket,
    /// Never written to, so it takes no memory.
    waste: Box<[MaybeUninit<u8>]>,
}

impl PlainStream {
    pub(crate) fn new(socket: TcpStream) -> Self {
        let _ = socket.set_nodelay(true);
        Self {
            socket: socket.into(),
            waste: Box::new_uninit_slice(MOST_DROPPED),
        }
    }
}

impl Stream for PlainStream {
    fn least_dropped(&self) -> usize {
        match CAN_DROP {
            true => LEAST_DROPPED,
            false => usize::MAX,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.socket.read(into)
    }

    fn drop_some(&mut self, most: usize) -> io::Result<usize> {
        let most = most.min(MOST_DROPPED);
        self.socket.recv_with_flags(&mut self.waste[..most], DROP)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }
}

/// Two system calls instead of one cost more than copying a batch of 16 KiB.
const LEAST_DROPPED: usize = 32 << 10;
const MOST_DROPPED: usize = 1 << 20;
const CAN_DROP: bool = cfg!(any(target_os = "linux", target_os = "android"));
/// Linux's MSG_TRUNC, the same number on every architecture: tcp(7).
const DROP: i32 = 0x20;
