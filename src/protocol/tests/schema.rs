//! An interpreter of Kafka's message schemas: makes random values and encodes them at each version.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value as Json;

use crate::protocol::{Form, Writer};

/// A message or a part of it, with Kafka's field names.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Struct(BTreeMap<&'static str, Value>),
}

pub(super) struct Schema {
    pub(super) api_key: Option<i16>,
    pub(super) valid_versions: RangeInclusive<i16>,
    flexible_versions: RangeInclusive<i16>,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    kind: Kind,
    versions: RangeInclusive<i16>,
    nullable_versions: RangeInclusive<i16>,
    tag: Option<u32>,
    default: Value,
}

enum Kind {
    Boolean,
    Integer { bytes: u32 },
    Text,
    Bytes,
    Uuid,
    Array(Box<Kind>),
    Struct(Vec<Field>),
}

/// Fields that this client neither sets nor reads.
const LEFT_AT_DEFAULT: &[&str] = &[
    "IncludeClusterAuthorizedOperations",
    "IncludeTopicAuthorizedOperations",
    "ClusterAuthorizedOperations",
    "TopicAuthorizedOperations",
    "ZkMigrationReady",
];

impl Schema {
    /// Reads `tests/data/schemas/{name}.json`.
    pub(super) fn load(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/schemas")
            .join(format!("{name}.json"));
        let text = std::fs::read_to_string(path).unwrap();
        let is_comment = |line: &&str| line.trim_start().starts_with("//");
        let json: String = text.lines().filter(|line| !is_comment(line)).collect();
        let json: Json = serde_json::from_str(&json).unwrap();
        Self {
            api_key: json["apiKey"].as_i64().map(|key| key.try_into().unwrap()),
            valid_versions: versions(&json["validVersions"]),
            flexible_versions: versions(&json["flexibleVersions"]),
            fields: fields(&json["fields"], &json["commonStructs"]),
        }
    }

    pub(super) fn form(&self, version: i16) -> Form {
        if self.flexible_versions.contains(&version) {
            Form::Flexible
        } else {
            Form::Classic
        }
    }

    pub(super) fn random(&self, version: i16, random: &mut fastrand::Rng) -> Value {
        random_struct(&self.fields, version, random)
    }

    /// Encodes a value. `stray_tag` is the value of a tagged field, unknown to all schemas, that is added to every
    /// structure.
    pub(super) fn encode(&self, value: &Value, version: i16, stray_tag: Option<&[u8]>) -> Vec<u8> {
        let encoding = Encoding {
            version,
            form: self.form(version),
            stray_tag,
        };
        let mut out = Vec::new();
        encoding.put_struct(&self.fields, value, &mut out);
        out
    }
}

/// `shared` holds the structures that the message defines by name and several fields use.
fn fields(json: &Json, shared: &Json) -> Vec<Field> {
    let fields = json.as_array().unwrap();
    fields.iter().map(|json| field(json, shared)).collect()
}

fn field(json: &Json, shared: &Json) -> Field {
    let kind = kind(json["type"].as_str().unwrap(), &json["fields"], shared);
    let default = match (&json["default"], &kind) {
        (Json::String(text), _) if text == "null" => Value::Null,
        (Json::String(text), Kind::Boolean) => Value::Boolean(text == "true"),
        (Json::String(text), Kind::Integer { .. }) => Value::Integer(text.parse().unwrap()),
        (Json::String(text), Kind::Text) => Value::Text(text.clone()),
        (Json::Bool(value), _) => Value::Boolean(*value),
        (Json::Number(number), _) => Value::Integer(number.as_i64().unwrap()),
        (Json::Null, kind) => kind.zero(),
        (default, _) => panic!("default {default}"),
    };
    Field {
        // Leaks a few names, until the test run ends.
        name: json["name"].as_str().unwrap().to_owned().leak(),
        kind,
        versions: versions(&json["versions"]),
        nullable_versions: versions(&json["nullableVersions"]),
        tag: json["tag"].as_u64().map(|tag| tag.try_into().unwrap()),
        default,
    }
}

fn kind(name: &str, children: &Json, shared: &Json) -> Kind {
    if let Some(element) = name.strip_prefix("[]") {
        return Kind::Array(Box::new(kind(element, children, shared)));
    }
    match name {
        "bool" => Kind::Boolean,
        "int8" => Kind::Integer { bytes: 1 },
        "int16" => Kind::Integer { bytes: 2 },
        "int32" => Kind::Integer { bytes: 4 },
        "int64" => Kind::Integer { bytes: 8 },
        "string" => Kind::Text,
        "bytes" | "records" => Kind::Bytes,
        "uuid" => Kind::Uuid,
        _ if children.is_array() => Kind::Struct(fields(children, shared)),
        _ => {
            let mut shared_structs = shared.as_array().unwrap().iter();
            let found = shared_structs.find(|json| json["name"] == name).unwrap();
            Kind::Struct(fields(&found["fields"], shared))
        }
    }
}

impl Kind {
    fn zero(&self) -> Value {
        match self {
            Kind::Boolean => Value::Boolean(false),
            Kind::Integer { .. } => Value::Integer(0),
            Kind::Text => Value::Text(String::new()),
            Kind::Bytes => Value::Bytes(Vec::new()),
            Kind::Uuid => Value::Bytes(vec![0; 16]),
            Kind::Array(_) => Value::Array(Vec::new()),
            Kind::Struct(fields) => Value::Struct(
                fields
                    .iter()
                    .map(|field| (field.name, field.default.clone()))
                    .collect(),
            ),
        }
    }
}

/// `3+`, `0-12`, `4` or `none`.
#[expect(clippy::reversed_empty_ranges, reason = "no version at all")]
fn versions(json: &Json) -> RangeInclusive<i16> {
    let number = |text: &str| text.parse::<i16>().unwrap();
    match json.as_str() {
        None | Some("none") => 1..=0,
        Some(text) => match (text.strip_suffix('+'), text.split_once('-')) {
            (Some(first), _) => number(first)..=i16::MAX,
            (None, Some((first, last))) => number(first)..=number(last),
            (None, None) => number(text)..=number(text),
        },
    }
}

fn random_struct(fields: &[Field], version: i16, random: &mut fastrand::Rng) -> Value {
    let present = fields
        .iter()
        .filter(|field| field.versions.contains(&version));
    Value::Struct(
        present
            .map(|field| (field.name, random_field(field, version, random)))
            .collect(),
    )
}

fn random_field(field: &Field, version: i16, random: &mut fastrand::Rng) -> Value {
    let keeps_default = field.tag.is_some() && random.bool();
    if keeps_default || LEFT_AT_DEFAULT.contains(&field.name) {
        return field.default.clone();
    }
    // The crate reads null records as empty ones, and would write them as such.
    if field.nullable_versions.contains(&version) && field.name != "Records" && random.u8(..4) == 0
    {
        return Value::Null;
    }
    match random_value(&field.kind, version, random) {
        // The refusal of an ApiVersions request has the layout of version 0, and its own test.
        Value::Integer(35) if field.name == "ErrorCode" => Value::Integer(0),
        value => value,
    }
}

fn random_value(kind: &Kind, version: i16, random: &mut fastrand::Rng) -> Value {
    match kind {
        Kind::Boolean => Value::Boolean(random.bool()),
        Kind::Integer { bytes } => {
            let shift = 64 - 8 * bytes;
            let value = match random.u8(..6) {
                0 => i64::MIN,
                1 => i64::MAX,
                2 => -1,
                3 => return Value::Integer(random.i64(0..100)),
                _ => random.i64(..),
            };
            Value::Integer(value >> shift)
        }
        Kind::Text => {
            let length = if random.u8(..20) == 0 {
                200
            } else {
                random.usize(..6)
            };
            Value::Text((0..length).map(|_| random.char(..)).collect())
        }
        Kind::Bytes => Value::Bytes((0..random.usize(..200)).map(|_| random.u8(..)).collect()),
        Kind::Uuid => Value::Bytes((0..16).map(|_| random.u8(..)).collect()),
        Kind::Array(element) => {
            // Sometimes more elements than a one-byte varint can count, but rarely nested structures.
            let many = !matches!(**element, Kind::Struct(_)) || random.u8(..8) == 0;
            let length = if many && random.u8(..10) == 0 {
                130
            } else {
                random.usize(..4)
            };
            Value::Array(
                (0..length)
                    .map(|_| random_value(element, version, random))
                    .collect(),
            )
        }
        Kind::Struct(fields) => random_struct(fields, version, random),
    }
}

struct Encoding<'a> {
    version: i16,
    form: Form,
    stray_tag: Option<&'a [u8]>,
}

impl Encoding<'_> {
    fn put_struct(&self, fields: &[Field], value: &Value, out: &mut Vec<u8>) {
        let Value::Struct(values) = value else {
            panic!("{value:?} is no structure")
        };
        let mut tagged = BTreeMap::new();
        for field in fields
            .iter()
            .filter(|field| field.versions.contains(&self.version))
        {
            let value = &values[field.name];
            match field.tag {
                None => self.put(&field.kind, value, out),
                Some(_) if *value == field.default => {}
                Some(tag) => self.put(
                    &field.kind,
                    value,
                    tagged.entry(tag).or_insert_with(Vec::new),
                ),
            }
        }
        if self.form == Form::Flexible {
            if let Some(stray) = self.stray_tag {
                tagged.insert(77_777, stray.to_vec());
            }
            out.put_unsigned_varint(tagged.len() as u32);
            for (tag, bytes) in tagged {
                out.put_unsigned_varint(tag);
                out.put_unsigned_varint(bytes.len() as u32);
                out.extend_from_slice(&bytes);
            }
        }
    }

    fn put(&self, kind: &Kind, value: &Value, out: &mut Vec<u8>) {
        match (kind, value) {
            (Kind::Boolean, Value::Boolean(value)) => out.push(u8::from(*value)),
            (Kind::Integer { bytes }, Value::Integer(value)) => {
                out.extend_from_slice(&value.to_be_bytes()[8 - *bytes as usize..]);
            }
            (Kind::Text, Value::Text(text)) => {
                self.put_length(2, Some(text.len()), out);
                out.extend_from_slice(text.as_bytes());
            }
            (Kind::Text, Value::Null) => self.put_length(2, None, out),
            (Kind::Bytes, Value::Bytes(bytes)) => {
                self.put_length(4, Some(bytes.len()), out);
                out.extend_from_slice(bytes);
            }
            (Kind::Uuid, Value::Bytes(bytes)) => out.extend_from_slice(bytes),
            (Kind::Array(element), Value::Array(values)) => {
                self.put_length(4, Some(values.len()), out);
                values
                    .iter()
                    .for_each(|value| self.put(element, value, out));
            }
            (Kind::Bytes | Kind::Array(_), Value::Null) => self.put_length(4, None, out),
            (Kind::Struct(fields), value) => self.put_struct(fields, value, out),
            (_, value) => panic!("{value:?} does not fit its field"),
        }
    }

    fn put_length(&self, classic_bytes: usize, length: Option<usize>, out: &mut Vec<u8>) {
        match self.form {
            Form::Classic => {
                let length = length.map_or(-1, |length| length as i64);
                out.extend_from_slice(&length.to_be_bytes()[8 - classic_bytes..]);
            }
            Form::Flexible => out.put_unsigned_varint(length.map_or(0, |length| length as u32 + 1)),
        }
    }
}
