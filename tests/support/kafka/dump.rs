//! Looks into a broker's log files with Kafka's DumpLogSegments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{KafkaCluster, TimestampType};

/// A record batch in a log segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DumpedBatch {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) count: i32,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) is_transactional: bool,
    pub(crate) is_control: bool,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) max_timestamp: i64,
    pub(crate) size: usize,
    pub(crate) magic: i8,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub(crate) compression: String,
    /// Whether the CRC is that of the bytes.
    pub(crate) is_valid: bool,
    pub(crate) records: Vec<DumpedRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DumpedRecord {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    /// -1 for a null key or value.
    pub(crate) key_size: i32,
    pub(crate) value_size: i32,
    pub(crate) sequence: i32,
    pub(crate) header_keys: Vec<String>,
}

impl KafkaCluster {
    /// The batches of every partition of a topic, from the leaders' files, with every record decompressed and decoded.
    ///
    /// Panics if the tool finds bytes that are no batch, gaps in the offsets, a wrong CRC, or a batch whose header and records
    /// disagree.
    pub(crate) fn dump_log(&self, topic: &str) -> BTreeMap<i32, Vec<DumpedBatch>> {
        let mut partitions = BTreeMap::new();
        let mut files = Vec::new();
        for partition in self.partitions(topic) {
            let folder = self
                .broker(partition.leader)
                .partition_folder(topic, partition.index);
            let segments = segments(&folder);
            partitions.insert(partition.index, Vec::new());
            files.extend(segments.into_iter().map(|file| (file, partition.index)));
        }
        let list: Vec<_> = files
            .iter()
            .map(|(file, _)| file.display().to_string())
            .collect();
        let arguments = [
            "--deep-iteration",
            "--print-data-log",
            "--files",
            &list.join(","),
        ];
        let output = self.run_tool("org.apache.kafka.tools.DumpLogSegments", &arguments, b"");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !errors.contains("Non-consecutive") && !errors.contains("Exception"),
            "{topic}: {errors}"
        );

        // Values are printed unchanged, so they may contain line ends and bytes that are not UTF-8.
        let text = String::from_utf8_lossy(&output.stdout);
        let mut current = None;
        for line in text.lines() {
            if let Some(file) = line.strip_prefix("Dumping ") {
                let found = files
                    .iter()
                    .find(|(path, _)| path.as_path() == Path::new(file));
                current = found.and_then(|(_, partition)| partitions.get_mut(partition));
            } else if let Some(batches) = &mut current {
                read_line(line, batches);
            }
        }
        for (partition, batches) in &partitions {
            batches
                .iter()
                .for_each(|batch| check(&format!("{topic}-{partition}"), batch));
        }
        partitions
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = entries.map(|entry| entry.expect("a folder's entry").path());
    let mut segments: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|name| name == "log"))
        .collect();
    // The names are offsets with leading zeros.
    segments.sort();
    segments
}

fn read_line(line: &str, batches: &mut Vec<DumpedBatch>) {
    assert!(
        !(line.starts_with("Found ") && line.contains(" invalid bytes ")),
        "{line}"
    );
    if line.starts_with("baseOffset: ") {
        batches.push(parse_batch(line));
    } else if let Some(record) = line.strip_prefix("| offset: ") {
        batches
            .last_mut()
            .expect("a batch before its records")
            .records
            .push(parse_record(record));
    }
}

fn parse_batch(line: &str) -> DumpedBatch {
    let fields = Fields(line);
    let (timestamp_type, max_timestamp) = fields.timestamp();
    DumpedBatch {
        base_offset: fields.number("baseOffset"),
        last_offset: fields.number("lastOffset"),
        count: fields.number("count"),
        producer_id: fields.number("producerId"),
        producer_epoch: fields.number("producerEpoch"),
        base_sequence: fields.number("baseSequence"),
        last_sequence: fields.number("lastSequence"),
        is_transactional: fields.number("isTransactional"),
        is_control: fields.number("isControl"),
        timestamp_type,
        max_timestamp,
        size: fields.number("size"),
        magic: fields.number("magic"),
        compression: fields.text("compresscodec").to_owned(),
        is_valid: fields.number("isvalid"),
        records: Vec::new(),
    }
}

/// What follows `| offset: `, up to the key and the payload, which may be anything.
fn parse_record(line: &str) -> DumpedRecord {
    let (offset, line) = line.split_once(' ').expect("more than an offset");
    let fields = Fields(line);
    let keys = line
        .split_once("headerKeys: [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(keys, _)| keys);
    DumpedRecord {
        offset: offset.parse().expect("an offset"),
        timestamp: fields.timestamp().1,
        key_size: fields.number("keySize"),
        value_size: fields.number("valueSize"),
        sequence: fields.number("sequence"),
        header_keys: keys
            .split(',')
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

fn check(position: &str, batch: &DumpedBatch) {
    assert!(batch.is_valid, "{position}: the CRC is wrong: {batch:?}");
    assert_eq!(batch.magic, 2, "{position}: {batch:?}");
    assert_eq!(
        batch.records.len(),
        batch.count as usize,
        "{position}: {batch:?}"
    );
    let offsets = batch.records.iter().map(|record| record.offset);
    assert!(
        offsets.eq(batch.base_offset..=batch.last_offset),
        "{position}: {batch:?}"
    );
    if batch.base_sequence >= 0 {
        let sequences = batch.records.iter().map(|record| record.sequence);
        assert!(
            sequences.eq(batch.base_sequence..=batch.last_sequence),
            "{position}: {batch:?}"
        );
    }
}

/// `name: value name: value ...`; the first field of a name counts.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn find(&self, name: &str) -> Option<&'a str> {
        let (_, rest) = self.0.match_indices(name).find_map(|(at, _)| {
            let starts = at == 0 || self.0.as_bytes()[at - 1] == b' ';
            let rest = self.0[at + name.len()..].strip_prefix(": ")?;
            starts.then_some((at, rest))
        })?;
        rest.split(' ').next()
    }

    fn text(&self, name: &str) -> &'a str {
        self.find(name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> T {
        let text = self.text(name);
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?} in {:?}", self.0))
    }

    fn timestamp(&self) -> (TimestampType, i64) {
        match self.find("CreateTime") {
            Some(_) => (TimestampType::CreateTime, self.number("CreateTime")),
            None => (TimestampType::LogAppendTime, self.number("LogAppendTime")),
        }
    }
}
