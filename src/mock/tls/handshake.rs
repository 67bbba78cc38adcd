//! Faults of TLS handshakes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::sync::Mutex;

/// What happens to a TLS handshake (Cargo feature `mock-tls`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// The broker reads the first message and closes the connection.
    Disconnect,
    /// The broker reads everything and answers nothing, until the client closes the connection.
    NoAnswer,
    /// The broker does nothing for this time. Then it makes the handshake.
    Delay(Duration),
    /// The broker reads the first message and refuses it with a fatal alert of this number: 40 is `handshake_failure`, 80
    /// `internal_error`, 112 `unrecognized_name`.
    Alert(u8),
    /// The broker reads the first message, answers with random bytes and closes the connection.
    Garbage,
}

/// The faults of the next handshakes.
#[derive(Default)]
pub(super) struct Faults(Mutex<VecDeque<(usize, HandshakeFault)>>);

impl Faults {
    pub(super) fn add(&self, times: usize, fault: HandshakeFault) {
        if times > 0 {
            self.0.lock().push_back((times, fault));
        }
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    fn next(&self) -> Option<HandshakeFault> {
        let mut faults = self.0.lock();
        let (times, fault) = faults.front_mut()?;
        let fault = *fault;
        *times -= 1;
        if *times == 0 {
            faults.pop_front();
        }
        Some(fault)
    }

    /// Applies the next fault, if there is one. Returns an error if the handshake does not take place.
    pub(super) fn apply(
        &self,
        mut socket: &TcpStream,
        pause: &dyn Fn(Duration) -> bool,
    ) -> io::Result<()> {
        let Some(fault) = self.next() else {
            return Ok(());
        };
        match fault {
            HandshakeFault::Delay(time) if !pause(time) => return Ok(()),
            HandshakeFault::Delay(_) => {}
            HandshakeFault::NoAnswer => drop(io::copy(&mut socket, &mut io::sink())?),
            HandshakeFault::Disconnect => read_message(socket)?,
            HandshakeFault::Alert(number) => {
                read_message(socket)?;
                write_alert(socket, number)?;
            }
            HandshakeFault::Garbage => {
                read_message(socket)?;
                let mut bytes = [0; 256];
                fastrand::fill(&mut bytes);
                // Not the first byte of any record of TLS.
                bytes[0] |= 0x80;
                socket.write_all(&bytes)?;
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

/// Reads the client's first message, which comes at once.
fn read_message(mut socket: &TcpStream) -> io::Result<()> {
    socket.read(&mut [0; 64 << 10]).map(drop)
}

/// Writes a fatal alert that is not encrypted.
pub(super) fn write_alert(mut socket: &TcpStream, number: u8) -> io::Result<()> {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    socket.write_all(&[ALERT, 3, 3, 0, 2, FATAL, number])
}
