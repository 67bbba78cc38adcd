//! `sasl.jaas.config`, read as Java's client reads it: `Class flag key=value ... ;` exactly once.

mod modules;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use self::modules::LoginModule;
use self::tokens::{Token, Tokens, is_space};
use super::misconfigured;
use crate::error::Error;
use crate::secret::{HIDDEN, Secret};

/// A text above this size is no login module with its options.
const MOST_BYTES: usize = 1 << 20;

/// A login module with its options.
#[derive(Clone)]
pub(crate) struct Jaas {
    module: LoginModule,
    options: BTreeMap<String, Secret>,
    warnings: Vec<String>,
}

impl Jaas {
    /// Reads the text of `sasl.jaas.config`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let entry = Entry::read(text)?;
        let module = LoginModule::of(entry.class.reveal());
        Ok(Self {
            module: module.map_err(|error| match &entry.slip {
                Some(slip) if slip.kind == SlipKind::WholeQuoted => {
                    error.with_advice(slip.advice())
                }
                _ => error,
            })?,
            options: entry.options,
            warnings: [entry.slip, entry.curly]
                .into_iter()
                .flatten()
                .filter_map(|slip| slip.warning())
                .collect(),
        })
    }

    /// Returns the login module.
    #[cfg(feature = "sasl-gssapi")]
    pub(crate) fn module(&self) -> LoginModule {
        self.module
    }

    /// Returns the value of an option. If the text has the option several times, the last value counts.
    pub(crate) fn option(&self, name: &str) -> Option<&Secret> {
        self.options.get(name)
    }

    /// Returns all options in the order of their names. A name can be a part of a password that was not quoted: it is not
    /// to be shown.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.options.iter().map(|(name, value)| (&**name, value))
    }

    /// Returns what is legal and probably not meant.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns an error if Java's client cannot use the module for `sasl.mechanism`, which is `None` if the user did not
    /// set it.
    pub(crate) fn check_mechanism(&self, mechanism: Option<&str>) -> Result<(), Error> {
        let fitting = self.module.mechanisms();
        if fitting.contains(&mechanism.unwrap_or("GSSAPI")) {
            return Ok(());
        }
        let class = self.module.class();
        let settings: Vec<_> = fitting
            .iter()
            .map(|name| format!("sasl.mechanism={name}"))
            .collect();
        let settings = settings.join(" or ");
        Err(match mechanism {
            None => misconfigured(format!(
                "sasl.mechanism is not set, so it is GSSAPI, and sasl.jaas.config names {class}"
            ))
            .with_advice(format!("set {settings}")),
            Some(mechanism) => misconfigured(format!(
                "sasl.mechanism is {mechanism}, and sasl.jaas.config names {class}"
            ))
            .with_advice(format!(
                "set {settings}, or name the login module of {mechanism}"
            )),
        })
    }
}

/// Shows no option: even a name can be a part of a password that was not quoted.
impl fmt::Debug for Jaas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jaas")
            .field("module", &self.module)
            .field("options", &self.options.len())
            .finish_non_exhaustive()
    }
}

/// The one entry of a text, before its class is looked up.
#[derive(Debug)]
struct Entry {
    class: Secret,
    options: BTreeMap<String, Secret>,
    slip: Option<Slip>,
    curly: Option<Slip>,
}

/// What is probably not meant, where it happens first: most faults of a text follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slip {
    kind: SlipKind,
    /// The option with the value, if its name is known and can be shown.
    option: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlipKind {
    /// The text is a section of a JAAS file, with its braces.
    Section,
    /// The text begins with a quote, and not with a class.
    WholeQuoted,
    /// A typographic quote, which is a letter like others, begins a value.
    CurlyQuote,
    /// A value without quotes begins with a slash, which begins a comment.
    LeadingSlash,
    /// A value without quotes ends at a character that it cannot hold, or begins with one.
    Unquoted,
    /// A value without quotes ends at a comment.
    Comment,
    /// A semicolon ends a value without quotes, and more follows without a blank.
    Semicolon,
    /// A comma follows a value.
    Comma,
    /// More follows a closing quote without a blank.
    QuoteInside,
    /// A line break or the end of the text ends a value in quotes.
    QuoteNotClosed,
}

/// What Java says to a text, and what to do about it.
struct Fault {
    says: String,
    advice: &'static str,
}

/// Quotes that word processors and web pages write in place of `"` and `'`.
const CURLY_QUOTES: [char; 6] = [
    '\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{201a}',
];

const SEMICOLON: &str = "add a semicolon at the end; in a .properties file, a backslash at the end of a line continues the \
     value in the next one";

const ONE_MODULE: &str = "keep one login module, which ends at its semicolon, and nothing behind it; a semicolon that belongs \
     to a value needs quotes around the value";

const FORM: &str = "write the class of a login module, the word required, options as name=\"value\" with blanks between \
     them, and one semicolon at the end";

impl Fault {
    fn new(says: impl Into<String>) -> Self {
        Self::with_advice(says, FORM)
    }

    fn with_advice(says: impl Into<String>, advice: &'static str) -> Self {
        let says = says.into();
        Self { says, advice }
    }
}

impl Entry {
    fn read(text: &str) -> Result<Self, Error> {
        if text.len() > MOST_BYTES {
            return Err(misconfigured(format!(
                "sasl.jaas.config has {} bytes, and at most {MOST_BYTES} are read",
                text.len()
            )));
        }
        let mut parser = Parser {
            tokens: Tokens::new(text),
            is_first: true,
            slip: None,
            curly: None,
        };
        let mut entry = parser.entries().map_err(|fault| {
            let advice = parser.slip.as_ref().map(Slip::advice);
            misconfigured(format!("sasl.jaas.config: {}", fault.says))
                .with_advice(advice.unwrap_or_else(|| fault.advice.to_owned()))
        })?;
        entry.slip = parser.slip;
        entry.curly = parser.curly;
        Ok(entry)
    }
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    /// Whether no entry has ended yet.
    is_first: bool,
    slip: Option<Slip>,
    /// The first value with typographic quotes around it that does not break off.
    curly: Option<Slip>,
}

impl Parser<'_> {
    /// Reads all entries, since a fault in a later one is the one that Java reports. Returns the only one.
    fn entries(&mut self) -> Result<Entry, Fault> {
        let mut only = None;
        let mut count = 0_usize;
        loop {
            let class = self.tokens.next();
            if class.is_end() {
                break;
            }
            let is_first = self.is_first;
            let entry = self.entry(&class).map_err(|fault| match is_first {
                true => fault,
                false => Fault::with_advice(fault.says, ONE_MODULE),
            })?;
            count += 1;
            only.get_or_insert(entry);
            self.is_first = false;
        }
        match only {
            None => Err(Fault::new("Login module not specified in JAAS config")),
            Some(entry) if count == 1 => Ok(entry),
            Some(_) => Err(Fault::with_advice(
                format!("JAAS config property contains {count} login modules, should be 1 module"),
                ONE_MODULE,
            )),
        }
    }

    fn entry(&mut self, class: &Token) -> Result<Entry, Fault> {
        let flag = self.tokens.next();
        self.note_frame(class, &flag);
        self.check_flag(class, &flag)?;
        let mut options = BTreeMap::new();
        loop {
            let name = self.tokens.next();
            if name.is_end() {
                return Err(Fault::with_advice(
                    "JAAS config entry not terminated by semi-colon",
                    SEMICOLON,
                ));
            }
            if name.is(';') {
                break;
            }
            let value = self.value(&name)?;
            // Java keeps an option without a name, and nothing can ask for it.
            if let Some(name) = name.text() {
                options.insert(name.reveal().to_owned(), value);
            }
        }
        // Java makes the entry when it has read all of it, and refuses an empty class without a text of its own.
        let class = class.text().filter(|class| !class.reveal().is_empty());
        let class = class.ok_or_else(|| Fault::new("Login module not specified in JAAS config"))?;
        Ok(Entry {
            class: class.clone(),
            options,
            slip: None,
            curly: None,
        })
    }

    /// Notes what is around an entry that should stand alone.
    fn note_frame(&mut self, class: &Token, flag: &Token) {
        let kind = match class {
            Token::Other('{' | '}') => SlipKind::Section,
            _ if flag.is('{') => SlipKind::Section,
            // A class has no white space. Quotes around the class alone are legal.
            Token::Quoted { text, .. } if self.is_first && text.reveal().contains(is_space) => {
                SlipKind::WholeQuoted
            }
            Token::Word(text) if self.is_first && text.reveal().starts_with(CURLY_QUOTES) => {
                SlipKind::WholeQuoted
            }
            _ => return,
        };
        self.slip.get_or_insert(Slip { kind, option: None });
    }

    fn check_flag(&self, class: &Token, flag: &Token) -> Result<(), Fault> {
        if flag.is_end() {
            return Err(Fault::new(
                "Login module control flag not specified in JAAS config",
            ));
        }
        let Some(text) = flag.text() else {
            return Err(Fault::new(
                "Login module control flag is not available in the JAAS config",
            ));
        };
        // Java compares in upper case, which is `REQUIRED` of a few other texts, too.
        match &*text.reveal().to_uppercase() {
            "REQUIRED" | "REQUISITE" | "SUFFICIENT" | "OPTIONAL" => Ok(()),
            _ => {
                // In a later entry it can be a part of a value with a semicolon, and without a class before it anything.
                let follows_class = self.is_first
                    && matches!(class, Token::Word(class) if modules::is_class(class.reveal()));
                let is_shown = follows_class && matches!(flag, Token::Word(_));
                let shown = if is_shown { text.reveal() } else { HIDDEN };
                Err(Fault::new(format!(
                    "Invalid login module control flag '{}' in JAAS config",
                    crate::error::printable(shown)
                )))
            }
        }
    }

    /// Reads what follows the name of an option.
    fn value(&mut self, name: &Token) -> Result<Secret, Fault> {
        let missing = || {
            let shown = match name.text() {
                // This is how Java says it.
                None => "null",
                Some(name) => shown(name.reveal()).unwrap_or(HIDDEN),
            };
            Fault::new(format!(
                "Value not specified for key '{shown}' in JAAS config"
            ))
        };
        if !self.tokens.next().is('=') {
            return Err(missing());
        }
        let begins_with_slash = self.begins_with_slash();
        let value = self.tokens.next();
        match begins_with_slash {
            true => self.note(name, SlipKind::LeadingSlash),
            false => self.note_slip(name, &value),
        }
        value.text().cloned().ok_or_else(missing)
    }

    /// Returns whether a slash follows that begins a comment to the end of the line.
    fn begins_with_slash(&self) -> bool {
        let mut following = self.tokens.following().skip_while(|next| is_space(*next));
        following.next() == Some('/') && following.next() != Some('*')
    }

    fn note_slip(&mut self, name: &Token, value: &Token) {
        if let Some(kind) = slip_kind(value, self.tokens.following()) {
            self.note(name, kind);
        } else if matches!(value, Token::Word(text) if text.reveal().starts_with(CURLY_QUOTES)) {
            self.curly.get_or_insert_with(|| Slip {
                kind: SlipKind::CurlyQuote,
                option: shown_name(name),
            });
        }
    }

    fn note(&mut self, name: &Token, kind: SlipKind) {
        self.slip.get_or_insert_with(|| Slip {
            kind,
            option: shown_name(name),
        });
    }
}

fn shown_name(name: &Token) -> Option<String> {
    let name = name.text().and_then(|name| shown(name.reveal()));
    name.map(str::to_owned)
}

fn slip_kind(value: &Token, mut following: impl Iterator<Item = char>) -> Option<SlipKind> {
    let next = following.next().filter(|next| !is_space(*next));
    match (value, next) {
        (Token::Quoted { closed: false, .. }, _) => Some(SlipKind::QuoteNotClosed),
        (Token::End, _) => None,
        (Token::Other(';'), _) => None,
        (Token::Number | Token::Other(_), _) => Some(SlipKind::Unquoted),
        (Token::Word(text), _) if is_cut_at_curly_quote(text.reveal(), next) => {
            Some(SlipKind::CurlyQuote)
        }
        (_, None) => None,
        (_, Some(',')) => Some(SlipKind::Comma),
        (Token::Word(_), Some('/')) => Some(SlipKind::Comment),
        (Token::Word(_), Some(';')) => {
            let is_end = following.next().is_none_or(is_space);
            (!is_end).then_some(SlipKind::Semicolon)
        }
        (Token::Word(_), Some(_)) => Some(SlipKind::Unquoted),
        (Token::Quoted { .. }, Some(';' | '/')) => None,
        (Token::Quoted { .. }, Some(_)) => Some(SlipKind::QuoteInside),
    }
}

/// Returns whether a value begins with a typographic quote and ends before the other one.
fn is_cut_at_curly_quote(value: &str, next: Option<char>) -> bool {
    let is_whole = value.ends_with(CURLY_QUOTES) && next.is_none_or(|next| next == ';');
    value.starts_with(CURLY_QUOTES) && !is_whole
}

impl Slip {
    fn value(&self) -> String {
        match &self.option {
            Some(option) => format!("the value of {option}"),
            None => "a value".to_owned(),
        }
    }

    fn quoted(&self) -> String {
        format!("{}=\"...\"", self.option.as_deref().unwrap_or("name"))
    }

    /// Returns what to do after a fault that probably follows from this.
    fn advice(&self) -> String {
        let (value, quoted) = (self.value(), self.quoted());
        match self.kind {
            SlipKind::Section => "write only the entry that is inside the braces, up to its semicolon: a section such as \
                 KafkaClient { ... }; is for a JAAS file"
                .to_owned(),
            SlipKind::WholeQuoted => {
                "remove the quotes around the whole value: it begins with the class of a login module".to_owned()
            }
            SlipKind::CurlyQuote => format!(
                "write straight quotes, as in {quoted}: {value} begins with a typographic quote, which Java reads as a letter"
            ),
            SlipKind::LeadingSlash => format!(
                "quote the value, as in {quoted}: {value} has no quotes and begins with a slash, which begins a comment there"
            ),
            SlipKind::Unquoted => format!(
                "quote the value, as in {quoted}: {value} has no quotes and breaks off, because without them it begins \
                 with a letter and holds letters, digits, dots, dashes, underscores and dollar signs only"
            ),
            SlipKind::Comment => format!(
                "quote the value, as in {quoted}: {value} has no quotes and breaks off at a slash, which begins a \
                 comment there"
            ),
            SlipKind::Semicolon => format!(
                "quote the value, as in {quoted}: {value} has no quotes and breaks off at a semicolon"
            ),
            SlipKind::Comma => format!(
                "separate options by blanks: a comma follows {value}; if the comma belongs to the value, quote the \
                 value, as in {quoted}"
            ),
            SlipKind::QuoteInside => format!(
                "write \\\" for a quote inside {value}, and \\\\\\\" in a .properties file, or set the value in single \
                 quotes; if the value ends there, add a blank behind the quote"
            ),
            SlipKind::QuoteNotClosed => format!(
                "close the quote of {value} on its line: a line break ends a value, so write \\n for one, and \\\\n in a \
                 .properties file"
            ),
        }
    }

    /// Returns a warning if a text with this is not refused and its value is probably cut.
    fn warning(&self) -> Option<String> {
        let value = self.value();
        if self.kind == SlipKind::CurlyQuote {
            return Some(format!(
                "sasl.jaas.config: {value} begins with a typographic quote, which is kept as part of it; write it as {}",
                self.quoted()
            ));
        }
        let why = match self.kind {
            SlipKind::QuoteNotClosed => "it ends at the end of its line, where no quote closes it",
            SlipKind::Comment => {
                "it has no quotes and ends at a slash, which begins a comment there"
            }
            SlipKind::LeadingSlash => {
                "a slash before it begins a comment, because it has no quotes"
            }
            _ => return None,
        };
        Some(format!(
            "sasl.jaas.config: {value} may be shorter than meant: {why}; write it as {}",
            self.quoted()
        ))
    }
}

/// Returns the name of an option if it can be shown. Another name may be a part of a value that was not quoted.
fn shown(name: &str) -> Option<&str> {
    const OPTIONS: &str = "username password tokenauth clientId clientSecret scope useKeyTab keyTab principal storeKey \
        useTicketCache ticketCache renewTGT doNotPrompt refreshKrb5Config isInitiator serviceName useKeytab credsType \
        debug awsProfileName awsRoleArn awsRoleSessionName awsRoleExternalId awsRoleAccessKeyId awsRoleSecretAccessKey \
        awsRoleSessionToken awsStsRegion awsAddDefaultProviders awsShouldUseFips awsMaxRetries awsMaxBackOffTimeMs \
        awsDebugCreds";
    const BEGINNINGS: [&str; 3] = ["unsecuredLogin", "extension_", "ssl."];
    let is_known = OPTIONS.split(' ').any(|option| option == name);
    let is_kind = name.len() <= 80
        && BEGINNINGS
            .iter()
            .any(|beginning| name.starts_with(beginning));
    (is_known || is_kind).then_some(name)
}

#[cfg(test)]
mod tests;
