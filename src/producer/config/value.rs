//! Reads the value of a setting from text, checks it and writes it: one small type for each kind of setting.

use std::fmt::Display;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::choices::Choice;
use super::secret::SecretText;
use super::{Shown, bootstrap, hints};

/// A kind of setting. The error of `parse` and `check` is a phrase that follows `name=value`, such as
/// `is not a whole number`.
pub(super) trait Kind {
    type Value;
    /// What an error calls the table's range: `range`, or `values` if it lists the legal values.
    const RANGE_IS: &'static str = "range";

    /// Reads a text without white space around it. The value may still be out of range.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// Checks that a value is in range. The value comes from a text or from a typed setter.
    fn check(&self, value: &Self::Value) -> Result<(), String>;

    /// The text that `parse` would read as `value`.
    fn write(&self, value: &Self::Value) -> String;

    /// What `get`, `Debug` and errors may show of `value`.
    fn show(&self, value: &Self::Value) -> String {
        self.write(value)
    }

    /// What `get` and `Debug` may show of a text whose placeholders are not filled in yet.
    fn show_unfilled(&self, text: &str) -> String {
        text.to_owned()
    }

    /// The error's message about a value that was refused.
    fn refusal(property: &str, text: &str, fault: &str, range: &str) -> String {
        let text = Shown::value(text);
        format!("{property}={text} {fault} ({}: {range})", Self::RANGE_IS)
    }
}

/// Addresses of brokers.
pub(super) const fn addresses() -> Addresses {
    Addresses
}

/// Any text, checked elsewhere if at all.
pub(super) const fn text() -> Text {
    Text
}

/// A text that is never shown.
pub(super) const fn secret() -> SecretText {
    SecretText
}

/// `https` or nothing.
pub(super) const fn host_check() -> HostCheck {
    HostCheck
}

/// `true` or `false`.
pub(super) const fn boolean() -> Boolean {
    Boolean
}

/// One of an enum's names.
pub(super) const fn choice<T: Choice>() -> OneOf<T> {
    OneOf(PhantomData)
}

/// A time in whole milliseconds.
pub(super) const fn millis(min: i64, max: i64) -> Millis {
    Millis {
        range: min..=max,
        none: MeansNone::NoNumber,
    }
}

/// A time in which 0 means `None`.
pub(super) const fn millis_or_zero() -> OptionalMillis {
    OptionalMillis(Millis {
        range: 0..=i64::MAX,
        none: MeansNone::Zero,
    })
}

/// A time in which a negative number means `None`.
pub(super) const fn millis_or_negative() -> OptionalMillis {
    OptionalMillis(Millis {
        range: 0..=i64::MAX,
        none: MeansNone::Negative,
    })
}

/// A number of bytes, or another number that is a `usize`.
pub(super) const fn bytes(min: i64, max: i64) -> Whole<usize> {
    Whole::new(min, max)
}

/// A whole number from `min` to Java's largest `int`.
pub(super) const fn count(min: i64) -> Whole<u32> {
    Whole::new(min, i32::MAX as i64)
}

/// A whole number of seconds.
pub(super) const fn seconds(min: i64, max: i64) -> Whole<u32> {
    Whole::new(min, max)
}

/// A number that need not be whole.
pub(super) const fn decimal(min: f64, max: f64) -> Decimal {
    Decimal { min, max }
}

/// A level of compression.
pub(super) const fn level(min: i64, max: i64) -> Whole<i32> {
    Whole::new(min, max)
}

/// A level of gzip: -1 or 1 to 9, and not 0.
pub(super) const fn gzip_level() -> Whole<i32> {
    Whole {
        range: -1..=9,
        except: Some(0),
        value: PhantomData,
    }
}

/// The size of a socket's buffer; -1 lets the system choose.
pub(super) const fn socket_buffer() -> SocketBuffer {
    SocketBuffer
}

/// A number of threads. `auto` means `None`: the producer chooses the number.
pub(super) const fn threads() -> Threads {
    Threads
}

pub(super) struct Text;

impl Kind for Text {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn check(&self, _value: &String) -> Result<(), String> {
        Ok(())
    }

    fn write(&self, value: &String) -> String {
        value.clone()
    }
}

/// Whether a broker's certificate must name the host.
pub(super) struct HostCheck;

impl Kind for HostCheck {
    type Value = bool;
    const RANGE_IS: &'static str = "values";

    fn parse(&self, text: &str) -> Result<bool, String> {
        match text {
            "" => Ok(false),
            _ if text.eq_ignore_ascii_case("https") => Ok(true),
            _ if text.eq_ignore_ascii_case("none") => {
                Err("is librdkafka's value: leave it empty".to_owned())
            }
            _ => Err("is not a legal value".to_owned()),
        }
    }

    fn check(&self, _value: &bool) -> Result<(), String> {
        Ok(())
    }

    fn write(&self, value: &bool) -> String {
        if *value { "https" } else { "" }.to_owned()
    }
}

pub(super) struct Addresses;

impl Kind for Addresses {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    /// An empty list is reported when the producer is built, because the addresses may be set later.
    fn check(&self, value: &String) -> Result<(), String> {
        if value.trim().is_empty() {
            return Ok(());
        }
        bootstrap::parse(value).map(drop)
    }

    fn write(&self, value: &String) -> String {
        value.clone()
    }

    fn refusal(_property: &str, _text: &str, fault: &str, _range: &str) -> String {
        fault.to_owned()
    }
}

pub(super) struct Boolean;

impl Kind for Boolean {
    type Value = bool;
    const RANGE_IS: &'static str = "values";

    fn parse(&self, text: &str) -> Result<bool, String> {
        match text {
            _ if text.eq_ignore_ascii_case("true") => Ok(true),
            _ if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err("is neither true nor false".to_owned()),
        }
    }

    fn check(&self, _value: &bool) -> Result<(), String> {
        Ok(())
    }

    fn write(&self, value: &bool) -> String {
        value.to_string()
    }
}

pub(super) struct OneOf<T>(PhantomData<T>);

impl<T: Choice> Kind for OneOf<T> {
    type Value = T;
    const RANGE_IS: &'static str = "values";

    fn parse(&self, text: &str) -> Result<T, String> {
        let named = |(name, _): &&(&str, T)| name.eq_ignore_ascii_case(text);
        match T::NAMES.iter().find(named) {
            Some((name, value)) if T::IGNORES_CASE || *name == text => return Ok(*value),
            Some((name, _)) => return Err(format!("is not a legal value: write {name}")),
            None => {}
        }
        if T::NOT_YET
            .iter()
            .any(|name| name.eq_ignore_ascii_case(text))
        {
            return Err("is not supported yet".to_owned());
        }
        if let Some(hint) = T::hint(text) {
            return Err(format!("is not a legal value: {hint}"));
        }
        Err("is not a legal value".to_owned())
    }

    fn check(&self, _value: &T) -> Result<(), String> {
        Ok(())
    }

    fn write(&self, value: &T) -> String {
        let name = T::NAMES.iter().find(|(_, candidate)| candidate == value);
        name.map_or("", |(name, _)| name).to_owned()
    }
}

/// Which numbers mean `None`.
#[derive(PartialEq)]
enum MeansNone {
    NoNumber,
    Zero,
    Negative,
}

pub(super) struct Millis {
    range: RangeInclusive<i64>,
    none: MeansNone,
}

impl Kind for Millis {
    type Value = Duration;

    fn parse(&self, text: &str) -> Result<Duration, String> {
        let number: i64 = whole_number(text, hints::as_millis)?;
        let millis = u64::try_from(number).map_err(|_| "is out of range".to_owned())?;
        Ok(Duration::from_millis(millis))
    }

    fn check(&self, value: &Duration) -> Result<(), String> {
        // A caller that gives more milliseconds than an i64 can hold means "for ever".
        let millis = i64::try_from(value.as_millis()).unwrap_or(i64::MAX);
        in_range(&self.range, millis)
    }

    fn write(&self, value: &Duration) -> String {
        match value.subsec_nanos() % 1_000_000 {
            0 => value.as_millis().to_string(),
            _ => (value.as_secs_f64() * 1000.0).to_string(),
        }
    }
}

pub(super) struct OptionalMillis(Millis);

impl Kind for OptionalMillis {
    type Value = Option<Duration>;

    fn parse(&self, text: &str) -> Result<Option<Duration>, String> {
        let number: i64 = whole_number(text, hints::as_millis)?;
        match self.0.none {
            MeansNone::Negative if number < 0 => Ok(None),
            MeansNone::Zero if number == 0 => Ok(None),
            _ => self.0.parse(text).map(Some),
        }
    }

    fn check(&self, value: &Option<Duration>) -> Result<(), String> {
        value.as_ref().map_or(Ok(()), |value| self.0.check(value))
    }

    fn write(&self, value: &Option<Duration>) -> String {
        match value {
            Some(value) => self.0.write(value),
            None if self.0.none == MeansNone::Negative => "-1".to_owned(),
            None => "0".to_owned(),
        }
    }
}

pub(super) struct Whole<T> {
    range: RangeInclusive<i64>,
    except: Option<i64>,
    value: PhantomData<T>,
}

impl<T> Whole<T> {
    const fn new(min: i64, max: i64) -> Self {
        Self {
            range: min..=max,
            except: None,
            value: PhantomData,
        }
    }
}

impl<T: TryInto<i64> + TryFrom<i64> + Display + Copy> Kind for Whole<T> {
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, String> {
        let number: i64 = whole_number(text, hints::as_bytes)?;
        T::try_from(number).map_err(|_| "is out of range".to_owned())
    }

    fn check(&self, value: &T) -> Result<(), String> {
        match (*value).try_into() {
            Ok(number) if Some(number) != self.except => in_range(&self.range, number),
            _ => Err("is out of range".to_owned()),
        }
    }

    fn write(&self, value: &T) -> String {
        value.to_string()
    }
}

pub(super) struct Decimal {
    min: f64,
    max: f64,
}

impl Kind for Decimal {
    type Value = f64;

    fn parse(&self, text: &str) -> Result<f64, String> {
        text.parse().map_err(|_| "is not a number".to_owned())
    }

    fn check(&self, value: &f64) -> Result<(), String> {
        match (self.min..=self.max).contains(value) {
            true => Ok(()),
            false => Err("is out of range".to_owned()),
        }
    }

    fn write(&self, value: &f64) -> String {
        value.to_string()
    }
}

pub(super) struct SocketBuffer;

impl Kind for SocketBuffer {
    type Value = Option<usize>;

    fn parse(&self, text: &str) -> Result<Option<usize>, String> {
        match whole_number::<i64>(text, hints::as_bytes)? {
            -1 => Ok(None),
            size => usize::try_from(size)
                .map(Some)
                .map_err(|_| "is out of range".to_owned()),
        }
    }

    fn check(&self, value: &Option<usize>) -> Result<(), String> {
        match value {
            Some(size) if *size > i32::MAX as usize => Err("is out of range".to_owned()),
            _ => Ok(()),
        }
    }

    fn write(&self, value: &Option<usize>) -> String {
        value.map_or("-1".to_owned(), |size| size.to_string())
    }
}

pub(super) struct Threads;

impl Kind for Threads {
    type Value = Option<usize>;

    fn parse(&self, text: &str) -> Result<Option<usize>, String> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(None);
        }
        bytes(1, 64).parse(text).map(Some)
    }

    fn check(&self, value: &Option<usize>) -> Result<(), String> {
        value
            .as_ref()
            .map_or(Ok(()), |value| bytes(1, 64).check(value))
    }

    fn write(&self, value: &Option<usize>) -> String {
        value.map_or("auto".to_owned(), |threads| threads.to_string())
    }
}

/// Reads a number. If the text is a number with a unit, `rewritten` returns the number to write instead.
fn whole_number<N: FromStr<Err = std::num::ParseIntError>>(
    text: &str,
    rewritten: impl Fn(&str) -> Option<String>,
) -> Result<N, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse()
        .map_err(|error: std::num::ParseIntError| match error.kind() {
            PosOverflow | NegOverflow => "is out of range".to_owned(),
            _ => match rewritten(text) {
                Some(number) => format!("is not a whole number: write {number}"),
                None => "is not a whole number".to_owned(),
            },
        })
}

fn in_range(range: &RangeInclusive<i64>, number: i64) -> Result<(), String> {
    if range.contains(&number) {
        Ok(())
    } else {
        Err("is out of range".to_owned())
    }
}
