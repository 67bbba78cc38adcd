//! Reads the stores on a thread of its own. A read from a file system of the network may hang for ever, and the thread that
//! dials has a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::fault::tls_error;
use super::material::Material;
use super::settings::TlsSettings;
use crate::error::Error;
use crate::sync::{Mutex, STACK_BYTES, channel};
use crate::threads::ThreadGroup;

/// Reads the files that the settings name.
pub(super) type Read = fn(&TlsSettings) -> Result<Material, Error>;

/// The reads of a producer's stores.
pub(super) struct StoreReads {
    settings: Arc<TlsSettings>,
    read: Read,
    /// The number of reads that still run and for which no caller waits any more.
    hung: Arc<AtomicUsize>,
}

/// How far a read is.
#[derive(PartialEq)]
enum Progress {
    Runs,
    /// The caller waits no longer.
    Hangs,
    Ended,
}

impl StoreReads {
    pub(super) fn new(settings: Arc<TlsSettings>, read: Read) -> Self {
        Self {
            settings,
            read,
            hung: Arc::default(),
        }
    }

    /// Reads the stores and blocks for up to `patience`. Returns an error at once while an earlier read hangs, so that
    /// threads that hang do not add up.
    pub(super) fn read_within(
        &self,
        patience: Duration,
        threads: &Arc<ThreadGroup>,
    ) -> Result<Material, Error> {
        if self.hung.load(Ordering::Acquire) > 0 {
            return Err(hangs());
        }
        let (answer, answered) = channel::bounded(1);
        let progress = Arc::new(Mutex::new(Progress::Runs));
        let body = {
            let (settings, read) = (Arc::clone(&self.settings), self.read);
            let end = End {
                progress: Arc::clone(&progress),
                hung: Arc::clone(&self.hung),
            };
            move || {
                let _end = end;
                let _ = answer.send(read(&settings));
            }
        };
        let started = threads.spawn("kp-stores".into(), STACK_BYTES, body);
        started.map_err(|error| {
            let message = format!("no thread can be started that reads the stores: {error}");
            tls_error(message, "")
        })?;
        if let Ok(material) = answered.recv_timeout(patience) {
            return material;
        }
        let mut progress = progress.lock();
        if *progress == Progress::Runs {
            *progress = Progress::Hangs;
            self.hung.fetch_add(1, Ordering::AcqRel);
        }
        Err(hangs())
    }
}

/// Notes the end of a read, also if it panics.
struct End {
    progress: Arc<Mutex<Progress>>,
    hung: Arc<AtomicUsize>,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut progress = self.progress.lock();
        if *progress == Progress::Hangs {
            self.hung.fetch_sub(1, Ordering::AcqRel);
        }
        *progress = Progress::Ended;
    }
}

fn hangs() -> Error {
    tls_error(
        "the stores are not read in time",
        "check the file system of ssl.truststore.location and ssl.keystore.location, or the code that was given to \
         tls_trust_provider or tls_client_key_provider",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;
    use std::time::Instant;

    use super::*;

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    const A_MOMENT: Duration = Duration::from_millis(20);

    /// Held while the file system hangs.
    static FILE_SYSTEM: std::sync::Mutex<()> = std::sync::Mutex::new(());

    fn read(settings: &TlsSettings) -> Result<Material, Error> {
        let _hanging = FILE_SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
        Material::read(settings)
    }

    #[test]
    fn a_read_that_hangs_ends_in_time_and_no_other_begins_until_it_has_ended() {
        let threads = Arc::<ThreadGroup>::default();
        let reads = StoreReads::new(Arc::default(), read);
        assert!(reads.read_within(PATIENCE, &threads).is_ok());
        let hanging = FILE_SYSTEM.lock();
        let began = Instant::now();
        for patience in [A_MOMENT, PATIENCE, PATIENCE] {
            let refused = reads.read_within(patience, &threads).err();
            let message = refused.expect("it hangs").to_string();
            assert!(message.contains("not read in time"), "{message}");
        }
        assert!(began.elapsed() < PATIENCE);
        assert_eq!(reads.hung.load(Ordering::Acquire), 1);
        drop(hanging);
        assert_eq!(threads.join_until(Instant::now() + PATIENCE), 0);
        assert!(reads.read_within(PATIENCE, &threads).is_ok());
    }

    #[test]
    fn a_read_that_panics_does_not_count_as_one_that_hangs() {
        let threads = Arc::<ThreadGroup>::default();
        let reads = StoreReads::new(Arc::default(), |_| panic!("a fault of the reader"));
        for _ in 0..2 {
            assert!(reads.read_within(PATIENCE, &threads).is_err());
            assert_eq!(reads.hung.load(Ordering::Acquire), 0);
        }
    }
}
