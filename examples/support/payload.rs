//! The values that producer_performance sends.

use std::borrow::Cow;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;

use kafka_producer::ProducerConfig;

use crate::arguments::Arguments;
use crate::output::print;

/// Where values come from. Values that are known beforehand live as long as the program, so that no value is copied.
pub(crate) enum Payload {
    Random { letters: &'static [u8], size: usize },
    Parts(Vec<&'static [u8]>),
    Monotonic,
}

impl Payload {
    pub(crate) fn of(arguments: &Arguments, config: &ProducerConfig) -> Result<Self, String> {
        let size = arguments.number::<usize>("--record-size")?;
        let file = arguments.value("--payload-file");
        if arguments.value("--payload-delimiter") == Some("") {
            return Err("--payload-delimiter must not be empty".to_owned());
        }
        match (size, file, arguments.has("--payload-monotonic")) {
            (Some(0), None, false) => Err("--record-size should be greater than zero".to_owned()),
            (Some(size), None, false) => Self::random(size, config),
            (None, Some(file), false) => Self::parts(
                file,
                arguments.value("--payload-delimiter").unwrap_or("\\n"),
            ),
            (None, None, true) => Ok(Self::Monotonic),
            _ => Err(
                "exactly one of --record-size, --payload-file and --payload-monotonic is needed"
                    .to_owned(),
            ),
        }
    }

    /// Makes random letters once, enough for records that differ. Making them for each record would be most of the measured
    /// work.
    fn random(size: usize, config: &ProducerConfig) -> Result<Self, String> {
        const SPARE: usize = 1 << 20;
        let largest = config.get("max.request.size").unwrap_or_default();
        if largest.parse().is_ok_and(|largest: usize| size > largest) {
            return Err(format!(
                "--record-size {size}: larger than max.request.size={largest}, which --command-property changes"
            ));
        }
        let mut random = fastrand::Rng::with_seed(0);
        let mut letters = Vec::new();
        let no_memory = |error| format!("--record-size {size}: {error}");
        let count = size.saturating_add(SPARE);
        letters.try_reserve_exact(count).map_err(no_memory)?;
        letters.extend((0..count).map(|_| random.u8(b'A'..=b'Z')));
        Ok(Self::Random {
            letters: letters.leak(),
            size,
        })
    }

    fn parts(file: &str, delimiter: &str) -> Result<Self, String> {
        // Java reads no more.
        const LARGEST: u64 = i32::MAX as u64;
        let fault = |error: &dyn Display| format!("--payload-file {file}: {error}");
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
            .map_err(|error| fault(&error))?;
        if bytes.len() as u64 > LARGEST {
            return Err(fault(&"larger than 2 GiB"));
        }
        let delimiter = if delimiter == "\\n" { "\n" } else { delimiter };
        let parts = split(bytes.leak(), delimiter.as_bytes());
        print(format_args!(
            "Reading payloads from: {file}\nNumber of messages read: {}",
            parts.len()
        ));
        if parts.is_empty() {
            Err(fault(&"empty"))
        } else {
            Ok(Self::Parts(parts))
        }
    }

    pub(crate) fn value(&self, number: u64) -> Cow<'static, [u8]> {
        match self {
            Self::Random { letters, size } => {
                let start = fastrand::usize(..=letters.len() - size);
                letters[start..start + size].into()
            }
            Self::Parts(parts) => parts[fastrand::usize(..parts.len())].into(),
            Self::Monotonic => number.to_string().into_bytes().into(),
        }
    }
}

/// Splits `bytes` at the delimiters, each of which ends a part. What follows the last delimiter is a part, too.
fn split<'a>(mut bytes: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let mut windows = bytes.windows(delimiter.len());
        let end = windows.position(|window| window == delimiter);
        let (part, rest) = match end {
            Some(end) => (&bytes[..end], &bytes[end + delimiter.len()..]),
            None => (bytes, &[][..]),
        };
        parts.push(part);
        bytes = rest;
    }
    parts
}
