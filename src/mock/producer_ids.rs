//! InitProducerId: producer ids and epochs.

use std::collections::HashMap;

use super::dispatch::Context;
use crate::ErrorCode;
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

pub(super) struct ProducerIds {
    next_id: i64,
    /// The epoch of the next id.
    next_epoch: i16,
    /// Id and epoch of each transactional id.
    transactional: HashMap<String, (i64, i16)>,
}

impl ProducerIds {
    pub(super) fn new(first_epoch: i16) -> Self {
        Self {
            next_id: 1,
            next_epoch: first_epoch,
            transactional: HashMap::new(),
        }
    }

    /// Returns a new id, or the next epoch of a transactional id's producer id.
    fn next(&mut self, transactional_id: Option<&str>) -> (i64, i16) {
        let known = transactional_id.and_then(|id| self.transactional.get(id).copied());
        let given = match known {
            // The last epoch is reserved: the coordinator uses it to fence.
            Some((id, epoch)) if epoch < i16::MAX - 1 => (id, epoch + 1),
            _ => {
                self.next_id += 1;
                (self.next_id - 1, std::mem::take(&mut self.next_epoch))
            }
        };
        if let Some(id) = transactional_id {
            self.transactional.insert(id.to_owned(), given);
        }
        given
    }
}

pub(super) fn handle(
    context: Context<'_>,
    request: &InitProducerIdRequest<'_>,
) -> InitProducerIdResponse {
    let ids = &mut context.shared.state.lock().producer_ids;
    let (producer_id, producer_epoch) = ids.next(request.transactional_id);
    InitProducerIdResponse {
        throttle_time_ms: 0,
        error: ErrorCode::NONE,
        producer_id,
        producer_epoch,
    }
}

pub(super) fn refuse(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        throttle_time_ms: 0,
        error,
        producer_id: -1,
        producer_epoch: -1,
    }
}
