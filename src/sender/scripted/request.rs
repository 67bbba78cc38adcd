//! Produce requests as a broker reads them, and the answers to them.

use super::harness::TOPIC;
use crate::connection::link::{LinkId, OutgoingRequest};
use crate::protocol::messages::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse,
};
use crate::protocol::{ApiKey, DecodeRequest, ErrorCode, Reader, ReceivedHeader, encode_response};
use crate::record::decode::batches;
use crate::record::header::ProducerStamp;

/// A request that a worker wrote.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) link: LinkId,
    pub(crate) broker: i32,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) acks: i16,
    pub(crate) batches: Vec<SentBatch>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SentBatch {
    pub(crate) topic_id: [u8; 16],
    pub(crate) partition: i32,
    pub(crate) stamp: ProducerStamp,
    /// The values.
    pub(crate) records: Vec<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Sent {
    /// The values of all batches.
    pub(crate) fn values(&self) -> Vec<String> {
        let batches = self.batches.iter();
        batches.flat_map(|batch| batch.records.clone()).collect()
    }

    /// The only batch.
    pub(crate) fn batch(&self) -> &SentBatch {
        assert_eq!(self.batches.len(), 1);
        &self.batches[0]
    }

    /// The base sequence of the only batch.
    pub(crate) fn sequence(&self) -> i32 {
        self.batch().stamp.base_sequence
    }

    /// The producer epoch of the only batch.
    pub(crate) fn epoch(&self) -> i16 {
        self.batch().stamp.producer_epoch
    }
}

/// Reads a request to the topic [`TOPIC`], whose values are text. Panics if anything in it is not as it has to be.
pub(crate) fn decode(link: LinkId, broker: i32, request: &OutgoingRequest) -> Sent {
    let frame = frame_of(request);
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(length as usize, frame.len() - 4);
    let mut reader = Reader::new(&frame[4..]);
    let header = ReceivedHeader::decode(&mut reader).unwrap();
    assert_eq!(header.api_code, ApiKey::Produce.code());
    let produce = ProduceRequest::<&[u8]>::decode(header.version, &mut reader).unwrap();
    assert_eq!(reader.remaining(), 0);
    assert_eq!(request.is_answered, produce.acks != 0);
    let mut batches = Vec::new();
    for topic in &produce.topics {
        assert!(header.version >= 13 || topic.name == TOPIC);
        let partitions = topic.partitions.iter();
        batches.extend(partitions.map(|partition| SentBatch {
            topic_id: topic.id,
            partition: partition.index,
            ..decode_batch(partition.records)
        }));
    }
    Sent {
        link,
        broker,
        version: header.version,
        correlation_id: header.correlation_id,
        acks: produce.acks,
        batches,
    }
}

/// The request's bytes in one piece.
fn frame_of(request: &OutgoingRequest) -> Vec<u8> {
    let (mut frame, mut start) = (Vec::new(), 0);
    for (cut, batch) in request.cuts.iter().zip(&request.batches) {
        frame.extend_from_slice(&request.fields[start..*cut]);
        frame.extend_from_slice((**batch).as_ref());
        start = *cut;
    }
    frame.extend_from_slice(&request.fields[start..]);
    frame
}

/// A batch, which is all of `bytes`, without its topic and partition.
fn decode_batch(bytes: &[u8]) -> SentBatch {
    let batch = batches(bytes).next().unwrap().unwrap();
    batch.check_crc().unwrap();
    assert_eq!(batch.bytes.len(), bytes.len());
    let records = batch.records(usize::MAX).unwrap().into_iter();
    let values = records.map(|record| String::from_utf8(record.value.unwrap()).unwrap());
    SentBatch {
        topic_id: [0; 16],
        partition: 0,
        stamp: batch.header.producer,
        records: values.collect(),
        bytes: bytes.to_vec(),
    }
}

/// The frame, without its length, that answers `sent`.
pub(crate) fn encode(sent: &Sent, response: &ProduceResponse) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_response(
        response,
        ApiKey::Produce,
        sent.version,
        sent.correlation_id,
        &mut frame,
    )
    .unwrap();
    frame.split_off(4)
}

/// Builds the response for the request's topic, by name or id as its version demands.
pub(crate) fn response_to(
    sent: &Sent,
    partitions: Vec<ProducePartitionResponse>,
) -> ProduceResponse {
    ProduceResponse {
        topics: vec![ProduceTopicResponse {
            name: if sent.version < 13 { TOPIC } else { "" }.into(),
            id: sent.batches[0].topic_id,
            partitions,
        }],
        ..ProduceResponse::default()
    }
}

/// The frame that acknowledges every batch, each at offset 0.
pub(crate) fn answer_all(sent: &Sent) -> Vec<u8> {
    let partitions = sent.batches.iter().map(|batch| ProducePartitionResponse {
        index: batch.partition,
        ..written(0)
    });
    encode(sent, &response_to(sent, partitions.collect()))
}

pub(crate) fn written(base_offset: i64) -> ProducePartitionResponse {
    ProducePartitionResponse {
        base_offset,
        ..ProducePartitionResponse::default()
    }
}

pub(crate) fn refused(error: ErrorCode) -> ProducePartitionResponse {
    ProducePartitionResponse {
        error,
        ..ProducePartitionResponse::default()
    }
}
