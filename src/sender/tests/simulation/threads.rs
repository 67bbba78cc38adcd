//! The metadata thread and the delivery thread.

use std::sync::Arc;
use std::time::Duration;

use super::world::{Happening, World};
use crate::identity::ProducerIdentity;
use crate::metadata::{Due, PendingRequests};
use crate::protocol::messages::MetadataResponse;
use crate::sender::Event;
use crate::sender::scripted::run_callbacks;

impl World {
    /// Makes the pending requests as the metadata thread does, one at a time.
    pub(super) fn ask_metadata(&mut self) {
        if self.metadata_is_busy {
            return;
        }
        let pending = PendingRequests {
            call: self.producer_ids.due(self.now) == Due::Now,
            ..self.metadata.pending()
        };
        if !pending.any() {
            return;
        }
        self.metadata_is_busy = true;
        let asked = self.metadata.ask(pending);
        let mut traffic = self.traffic();
        let (stale, fails, slow) = (traffic.happens(1), traffic.happens(3), traffic.happens(3));
        drop(traffic);
        let response = (!fails).then(|| self.cluster.describe(stale));
        let most = if slow { 2_000_000 } else { 5000 };
        let span = Duration::from_micros(self.rng.u64(..most));
        self.after(span, Happening::Described(asked, response, pending));
    }

    pub(super) fn described(
        &mut self,
        asked: &[Arc<str>],
        response: Option<MetadataResponse>,
        pending: PendingRequests,
    ) {
        let pause = Duration::from_millis(self.rng.u64(20..60));
        self.after(pause, Happening::MetadataRested);
        let Some(response) = response else {
            if pending.refresh {
                self.metadata.request_refresh();
            }
            return;
        };
        if pending.refresh || pending.topics {
            let version = self.setup.metadata_version;
            self.metadata.take_answer(asked, response, version, pending);
        }
        if pending.call && self.knows_the_cluster() {
            let identity = self.identity();
            self.producer_ids.give_now(identity);
            for index in 0..self.workers.len() {
                self.post(index, Event::Identity(Ok(())));
            }
        }
    }

    /// Returns a producer id, which may have few epochs left.
    fn identity(&mut self) -> ProducerIdentity {
        self.next_producer_id += 1;
        let cluster = self.cluster.number;
        let mut callers = self.callers.borrow_mut();
        callers.ledger.gave(cluster, self.next_producer_id);
        ProducerIdentity {
            producer_id: self.next_producer_id,
            producer_epoch: match self.rng.bool() {
                true => i16::MAX - self.rng.i16(0..4),
                false => 0,
            },
        }
    }

    pub(super) fn deliver(&self) {
        run_callbacks(&self.deliveries);
    }

    /// Runs the last callbacks as the delivery thread does.
    pub(super) fn deliver_the_rest(&mut self) {
        self.deliver();
        self.callers.borrow_mut().ledger.look(self.now);
    }
}
