//! What the drivers in Rust share. A driver is a program that puts one load on one Kafka client: [`main`] reads the command
//! line, puts the load on the client behind [`Producer`], and prints one line of JSON.

mod asynchronous;
mod delivered;
mod latencies;
mod load;
mod options;
mod records;
mod report;
mod waiting;

pub use asynchronous::now_or_wait;
pub use delivered::Delivered;
pub use latencies::Latencies;
pub use options::{Acks, End, Mode, Options, Spread};
pub use records::{Outgoing, Records};
pub use report::{Report, print};
pub use waiting::{Outcome, Waiting};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client that is under test.
pub trait Producer: Sync + Sized {
    type Lane<'a>: Lane
    where
        Self: 'a;

    /// # Errors
    /// [`NotAvailable`] if the client cannot do what the options ask for.
    fn start(options: &Options) -> Result<Self, BoxError>;

    /// What one calling thread sends through.
    fn lane(&self) -> Result<Self::Lane<'_>, BoxError>;

    fn close(self) -> Result<(), BoxError>;
}

/// One thread's way into a client. An outcome that is an error is an error of whichever call sees it first.
pub trait Lane {
    /// Hands a record over, and waits while the client takes none.
    fn send(&mut self, record: &Outgoing) -> Result<(), BoxError>;

    /// Sends the next `count` records.
    fn send_burst(&mut self, records: &mut Records, count: usize) -> Result<(), BoxError> {
        for _ in 0..count {
            self.send(&records.next())?;
        }
        Ok(())
    }

    /// Looks at the outcomes that are there, without waiting.
    fn poll(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Waits until everything sent has an outcome, and looks at all of them.
    fn settle(&mut self) -> Result<(), BoxError>;

    /// How long the records that were due at some time took. To be called when all is settled.
    fn latencies(&mut self) -> Latencies;
}

/// The client has no such feature. The table shows "n/a" and the reason.
#[derive(Debug)]
pub struct NotAvailable(pub String);

impl NotAvailable {
    pub fn because<T>(reason: impl Into<String>) -> Result<T, BoxError> {
        Err(Box::new(Self(reason.into())))
    }
}

impl std::fmt::Display for NotAvailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAvailable {}

/// A driver's whole `main`.
pub fn main<P: Producer>() -> std::process::ExitCode {
    print(Options::from_arguments().and_then(|options| load::run::<P>(&options)))
}
