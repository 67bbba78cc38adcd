//! Why a store or a key could not be read. `Display` says what is wrong, [`StoreFault::advice`] what to do. Both leave
//! out the setting or file that the bytes came from: the caller puts it in front.

use std::borrow::Cow;
use std::fmt;

use super::Format;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreFault {
    Empty,
    TooLarge,
    /// Neither a store nor a certificate.
    Unknown,
    Utf16,
    Jceks,
    /// Something else than what was expected, such as a certificate in place of a key.
    Instead(&'static Other),
    /// This build has no part that reads it.
    FormatNotBuilt(Format),
    #[cfg_attr(
        feature = "tls-stores",
        expect(dead_code, reason = "with this feature every key is read")
    )]
    EncryptedKeyNotBuilt,
    /// The bytes break the rules of their format at this place.
    Damaged(Format, &'static str),
    /// JKS can be read without.
    StorePasswordMissing,
    WrongStorePassword(Format),
    KeyPasswordMissing(Owner),
    WrongKeyPassword(Owner),
    /// The encryption or the MAC is unknown. The text names it.
    UnknownAlgorithm(Owner, String),
    /// No known tool makes stores that take so much work or memory to open.
    TooCostly(Owner),
    /// The certificate chains of all keys of a PKCS#12 store take too much memory.
    #[cfg_attr(
        not(feature = "tls-stores"),
        expect(dead_code, reason = "without this feature no PKCS#12 is read")
    )]
    LongChains,
    /// A block of PEM, with its label and the line of its BEGIN.
    Block(String, usize, BlockFault),
    NoCertificate(Found),
    NoKey(Found),
    /// A text without a block of PEM.
    NotPem(Text),
    KeyWithoutCertificate,
    SeveralKeys(usize),
    TraditionalKey,
    DsaKey(Owner),
    BadKey(Owner),
}

/// What is encrypted or authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A store of PKCS#12 as a whole.
    Store,
    /// A private key in a store of this format, with its alias if it has one.
    Key(Format, Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockFault {
    NoEnd,
    NotBase64,
    NotACertificate,
}

/// What a text without a block of PEM seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Path,
    Base64,
    /// Base64 of PEM, as in a Secret of Kubernetes.
    Base64OfPem,
}

/// The names of what the user sets, for advice: settings, or setters of code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) password: &'static str,
    pub(crate) key_password: &'static str,
    /// What to do with a path that was given in place of PEM.
    pub(crate) for_path: &'static str,
}

impl Names {
    pub(crate) const KEY_STORE: Self = Self {
        password: "ssl.keystore.password",
        key_password: "ssl.key.password",
        for_path: "ssl.keystore.location takes a path, with ssl.keystore.type=PEM, of one file with the key and its \
                   certificates",
    };
    pub(crate) const TRUST_STORE: Self = Self {
        password: "ssl.truststore.password",
        key_password: "ssl.key.password",
        for_path: "ssl.truststore.location takes a path, with ssl.truststore.type=PEM",
    };
    pub(crate) const CLIENT_KEY: Self = Self {
        password: "ClientKey::password",
        key_password: "ClientKey::key_password",
        for_path: "read the file, and give its text",
    };
    pub(crate) const TRUST_MATERIAL: Self = Self {
        password: "TrustMaterial::password",
        key_password: "ClientKey::key_password",
        for_path: "read the file, and give its text",
    };
}

/// A thing that is no store, or not the one that is needed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Other {
    what: &'static str,
    advice: &'static str,
}

/// The labels of PEM blocks that were found in place of what was looked for. Each is there once, and not all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found(pub(super) Vec<String>);

impl Other {
    pub(super) const CERTIFICATE: Self = Self {
        what: "it is a certificate without a private key",
        advice: "a key store needs both; write them into one file of PEM",
    };
    pub(super) const PRIVATE_KEY: Self = Self {
        what: "it is a private key in DER",
        advice: "write it and its certificates into one file of PEM",
    };
    pub(super) const STORE: Self = Self {
        what: "it is a store, and not a private key by itself",
        advice: "give it as a store (ClientKey::store)",
    };
    pub(super) const CERTIFICATE_FOR_KEY: Self = Self {
        what: "it is a certificate, and not a private key",
        advice: "give the private key first, then the certificates",
    };
    pub(super) const PKCS7: Self = Self {
        what: "it is PKCS#7",
        advice: PKCS7,
    };
    pub(super) const OTHER_DER: Self = Self {
        what: "it is DER, but neither a certificate nor a store",
        advice: "write what it has as PEM",
    };
    pub(super) const PUBLIC_KEY: Self = Self {
        what: "it is a PKCS#12 store that is protected by a public key in place of a password",
        advice: "export it again with a password",
    };
}

impl std::error::Error for StoreFault {}

/// What is wrong, as it follows "cannot be read: ".
impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLarge => write!(f, "it has more than {} MiB", super::MAX_BYTES >> 20),
            Self::Unknown => f.write_str("it is neither PEM nor JKS nor PKCS#12"),
            Self::Utf16 => f.write_str("it is text in UTF-16"),
            Self::Instead(found) => f.write_str(found.what),
            Self::Jceks => f.write_str("it is a JCEKS store, a format that only Java has"),
            Self::FormatNotBuilt(format) => write!(f, "it is a {} store, and this build reads PEM only", format.spelt()),
            Self::EncryptedKeyNotBuilt => {
                f.write_str("the private key is encrypted, and this build reads unencrypted keys only")
            }
            Self::Damaged(format, place) => {
                write!(f, "it is not a complete {} store: error in its {place}", format.spelt())
            }
            Self::StorePasswordMissing => f.write_str("it is an encrypted PKCS#12 store, and no password is given"),
            Self::WrongStorePassword(format) => {
                write!(f, "the password of the {} store is wrong, or the store was changed", format.spelt())
            }
            Self::Block(label, line, fault) => block(f, label, *line, *fault),
            Self::NoCertificate(found) => write!(f, "it has no certificate{found}"),
            Self::NoKey(found) => write!(f, "it has no private key{found}"),
            Self::NotPem(Text::Path) => f.write_str("it looks like a path, and the text of PEM is needed"),
            Self::NotPem(Text::Base64) => f.write_str("it is base64 without a line of BEGIN"),
            Self::NotPem(Text::Base64OfPem) => f.write_str("it is PEM that was encoded as base64 once more"),
            Self::KeyWithoutCertificate => f.write_str("it has no certificate for its private key"),
            Self::SeveralKeys(count) => write!(f, "it has {count} private keys, and one is needed"),
            Self::TraditionalKey => {
                f.write_str("its private key is encrypted in OpenSSL's old form (Proc-Type: 4,ENCRYPTED), which is weak")
            }
            Self::KeyPasswordMissing(owner) => write!(f, "{owner} is encrypted, and no password is given"),
            Self::WrongKeyPassword(owner) => write!(f, "{owner} cannot be decrypted: the password of the key is wrong"),
            Self::UnknownAlgorithm(owner, name) => write!(f, "{owner} is protected by {name}, which is not supported"),
            Self::TooCostly(owner) => write!(f, "{owner} needs more work or memory to decrypt than is allowed"),
            Self::LongChains => f.write_str("its keys have too many certificates together"),
            Self::DsaKey(owner) => write!(f, "{owner} is a DSA key, which TLS no longer uses"),
            Self::BadKey(owner) => write!(f, "{owner} is damaged, or has an unknown form"),
        }
    }
}

impl StoreFault {
    /// Returns what to do, with the names of what was set. Empty if that is plain.
    pub(crate) fn advice(&self, names: &Names) -> Cow<'static, str> {
        let text = match self {
            Self::Empty | Self::Damaged(..) => "write the whole file again; it may be half-written",
            Self::TooLarge | Self::Unknown => "check that it is the right file",
            Self::Utf16 => "save it as UTF-8",
            Self::Instead(found) => found.advice,
            Self::Jceks => return Cow::Owned(keytool("JCEKS")),
            Self::FormatNotBuilt(_) | Self::EncryptedKeyNotBuilt => {
                "build kafka-producer with its feature `tls-stores`, or use PEM that is not encrypted"
            }
            Self::StorePasswordMissing => {
                return Cow::Owned(format!(
                    "set {} to the password that opens the store in keytool or openssl",
                    names.password
                ));
            }
            Self::WrongStorePassword(_) => {
                return Cow::Owned(format!(
                    "check {}: the password must open the store in keytool or openssl",
                    names.password
                ));
            }
            Self::Block(_, _, BlockFault::NoEnd) => {
                "write the whole text again; it may be half-written"
            }
            Self::Block(..) => "write the text again",
            Self::NoCertificate(found) | Self::NoKey(found) => found.advice(),
            Self::NotPem(Text::Path) => names.for_path,
            Self::NotPem(Text::Base64) => {
                "if it is the body of PEM, write its lines of BEGIN and END around it; if not, decode it (base64 -d)"
            }
            Self::NotPem(Text::Base64OfPem) => "decode it (base64 -d)",
            Self::KeyWithoutCertificate => {
                "add the certificate that was issued for the key, and those of its issuers"
            }
            Self::SeveralKeys(_) => "leave only the key of the first certificate",
            Self::TraditionalKey => OPENSSL,
            Self::KeyPasswordMissing(_) => {
                return Cow::Owned(format!("set {}", names.key_password));
            }
            Self::WrongKeyPassword(owner) => return Cow::Owned(owner.advice_on_password(names)),
            Self::UnknownAlgorithm(owner, _) | Self::TooCostly(owner) => return owner.command(),
            Self::LongChains => "make a store with the key of this client only",
            Self::DsaKey(_) => "make an RSA or EC key, and a certificate for it",
            Self::BadKey(_) => "make it again",
        };
        Cow::Borrowed(text)
    }
}

fn block(f: &mut fmt::Formatter<'_>, label: &str, line: usize, fault: BlockFault) -> fmt::Result {
    write!(f, "the block \"BEGIN {label}\" in line {line} ")?;
    match fault {
        BlockFault::NoEnd => write!(f, "has no \"END {label}\""),
        BlockFault::NotBase64 => f.write_str("has text that is not base64"),
        BlockFault::NotACertificate => f.write_str("is not a certificate"),
    }
}

impl Format {
    /// The usual name. `Display` has Java's.
    fn spelt(self) -> &'static str {
        match self {
            Self::Pem => "PEM",
            Self::Jks => "JKS",
            Self::Jceks => "JCEKS",
            Self::Pkcs12 => "PKCS#12",
            Self::Der => "DER",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the PKCS#12 store"),
            Self::Key(_, None) => f.write_str("the private key"),
            Self::Key(_, Some(alias)) => write!(f, "the private key `{}`", shortened(alias)),
        }
    }
}

impl Owner {
    /// The command that writes the same in a form that can be read.
    fn command(&self) -> Cow<'static, str> {
        match self {
            Self::Store | Self::Key(Format::Pkcs12, _) => Cow::Owned(keytool("PKCS12")),
            Self::Key(Format::Jks, _) => Cow::Owned(keytool("JKS")),
            Self::Key(..) => Cow::Borrowed(OPENSSL),
        }
    }

    fn advice_on_password(&self, names: &Names) -> String {
        let Names {
            password,
            key_password,
            ..
        } = names;
        match self {
            Self::Key(Format::Jks, _) => format!(
                "set {key_password} to the key's own password; without it, that of {password} is used"
            ),
            Self::Key(Format::Pkcs12, _) => format!(
                "check {key_password}; keytool gives the key of a PKCS#12 store the store's password, and without \
                 {key_password}, that of {password} is used"
            ),
            _ => format!("check {key_password}"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, label) in self.0.iter().enumerate() {
            let before = if index == 0 { "; it has" } else { "," };
            write!(f, "{before} \"BEGIN {label}\"")?;
        }
        Ok(())
    }
}

impl Found {
    fn advice(&self) -> &'static str {
        let has = |name: &str| self.0.iter().any(|label| label.contains(name));
        if has("REQUEST") {
            "let an authority make a certificate of the request"
        } else if has("PKCS7") {
            PKCS7
        } else if has("OPENSSH") {
            "TLS needs a key in PKCS#8, not a key of SSH"
        } else {
            "check that it is the right file"
        }
    }
}

const PKCS7: &str = "take the certificates out: openssl pkcs7 -print_certs -in OLD -out NEW";
const OPENSSL: &str = "convert the key: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW";

fn keytool(store_type: &str) -> String {
    format!(
        "convert the store: keytool -importkeystore -srckeystore OLD -srcstoretype {store_type} -destkeystore NEW \
         -deststoretype PKCS12"
    )
}

/// An alias is a text of the file's: it is cut, and shown without control characters.
pub(crate) fn shortened(alias: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = alias
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if alias.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}
