//! SCRAM (RFC 5802, RFC 7677), the broker's part. The client of this crate has its own implementation (`crate::sasl`), so
//! that a fault of one shows with the other.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use super::{Exchange, OTHER_AUTHORIZATION_ID, Refusal, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    pub(super) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], text: &str) -> Vec<u8> {
        fn with<M: Mac + KeyInit>(key: &[u8], text: &str) -> Vec<u8> {
            // HMAC takes keys of any length.
            M::new_from_slice(key)
                .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
                .unwrap_or_default()
        }
        match self {
            Self::Sha256 => with::<Hmac<Sha256>>(key, text),
            Self::Sha512 => with::<Hmac<Sha512>>(key, text),
        }
    }

    fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        let password = password.as_bytes();
        match self {
            Self::Sha256 => {
                let mut salted = Zeroizing::new(vec![0; 32]);
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
                salted
            }
            Self::Sha512 => {
                let mut salted = Zeroizing::new(vec![0; 64]);
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted);
                salted
            }
        }
    }
}

/// What a broker keeps of a password.
#[derive(Clone)]
pub(super) struct Credential {
    salt: Vec<u8>,
    pub(super) iterations: u32,
    stored_key: Zeroizing<Vec<u8>>,
    server_key: Zeroizing<Vec<u8>>,
}

impl Credential {
    pub(super) fn new(hash: Hash, password: &str, iterations: u32) -> Self {
        Self::with_salt(hash, password, iterations, random_text().into_bytes())
    }

    fn with_salt(hash: Hash, password: &str, iterations: u32, salt: Vec<u8>) -> Self {
        let salted = hash.salted_password(password, &salt, iterations);
        let client_key = Zeroizing::new(hash.hmac(&salted, "Client Key"));
        Self {
            salt,
            iterations,
            stored_key: Zeroizing::new(hash.digest(&client_key)),
            server_key: Zeroizing::new(hash.hmac(&salted, "Server Key")),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// Returns a text that cannot be guessed, without a comma.
fn random_text() -> String {
    let mut bytes = [0; 24];
    // Without random numbers of the system, these are good enough for a mock.
    if getrandom::fill(&mut bytes).is_err() {
        fastrand::fill(&mut bytes);
    }
    STANDARD.encode(bytes)
}

pub(super) struct Scram {
    hash: Hash,
    users: HashMap<String, Credential>,
    /// By id: the owner, and the credential for the token's HMAC.
    tokens: HashMap<String, (String, Credential)>,
    server_nonce: String,
    state: State,
}

enum State {
    First,
    Final(Box<Begun>),
    Over,
}

/// An exchange after the first message.
struct Begun {
    user: String,
    credential: Credential,
    gs2_header: String,
    nonce: String,
    /// The client's first message without the header, a comma, the broker's answer, a comma.
    messages: String,
}

impl Scram {
    pub(super) fn new(
        hash: Hash,
        users: HashMap<String, Credential>,
        tokens: HashMap<String, (String, Credential)>,
    ) -> Self {
        Self {
            hash,
            users,
            tokens,
            server_nonce: random_text(),
            state: State::First,
        }
    }

    /// Returns the exchange after the client's first message, and the answer to it.
    fn first(&self, text: &str) -> Result<(Begun, String), Refusal> {
        let first = ClientFirst::parse(text).ok_or(Refusal::InvalidCredentials)?;
        let name = unescaped(first.name).ok_or(Refusal::InvalidCredentials)?;
        let known = match first.is_token {
            true => self.tokens.get(&name).cloned(),
            false => {
                let credential = self.users.get(&name);
                credential.map(|credential| (name.clone(), credential.clone()))
            }
        };
        let (user, credential) = known.ok_or(Refusal::InvalidCredentials)?;
        if first
            .authorization_id
            .is_some_and(|id| unescaped(id).as_ref() != Some(&name))
        {
            return Err(Refusal::Reason(OTHER_AUTHORIZATION_ID.to_owned()));
        }
        let nonce = format!("{}{}", first.nonce, self.server_nonce);
        let (salt, iterations) = (STANDARD.encode(&credential.salt), credential.iterations);
        let answer = format!("r={nonce},s={salt},i={iterations}");
        let begun = Begun {
            user,
            credential,
            gs2_header: first.gs2_header.to_owned(),
            nonce,
            messages: format!("{},{answer},", first.bare),
        };
        Ok((begun, answer))
    }
}

impl Exchange for Scram {
    fn next(&mut self, message: &[u8]) -> Result<Step, Refusal> {
        let text = std::str::from_utf8(message).map_err(|_| Refusal::InvalidCredentials)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::First => {
                let (begun, answer) = self.first(text)?;
                self.state = State::Final(Box::new(begun));
                Ok(Step::Continue(answer.into_bytes()))
            }
            State::Final(begun) => begun.finish(self.hash, text),
            State::Over => Err(Refusal::InvalidCredentials),
        }
    }
}

impl Begun {
    /// Checks the client's last message: `c=<header>,r=<nonce>,p=<proof>`.
    fn finish(&self, hash: Hash, text: &str) -> Result<Step, Refusal> {
        let (without_proof, proof) = text.split_once(",p=").ok_or(Refusal::InvalidCredentials)?;
        let expected = format!("c={},r={}", STANDARD.encode(&self.gs2_header), self.nonce);
        let proof = STANDARD
            .decode(proof)
            .map_err(|_| Refusal::InvalidCredentials)?;
        let signed = format!("{}{without_proof}", self.messages);
        let client_signature = hash.hmac(&self.credential.stored_key, &signed);
        let client_key = proof.iter().zip(&client_signature).map(|(a, b)| a ^ b);
        let client_key = Zeroizing::new(client_key.collect::<Vec<_>>());
        let is_right = proof.len() == client_signature.len()
            && hash.digest(&client_key) == *self.credential.stored_key;
        if without_proof != expected || !is_right {
            return Err(Refusal::InvalidCredentials);
        }
        let server_signature = hash.hmac(&self.credential.server_key, &signed);
        let answer = format!("v={}", STANDARD.encode(server_signature));
        Ok(Step::done(answer.into_bytes(), &self.user))
    }
}

/// The client's first message: `n,[a=<authorization id>],n=<name>,r=<nonce>[,tokenauth=true]`.
struct ClientFirst<'a> {
    gs2_header: &'a str,
    bare: &'a str,
    authorization_id: Option<&'a str>,
    name: &'a str,
    nonce: &'a str,
    is_token: bool,
}

impl<'a> ClientFirst<'a> {
    /// `None` if the message is not well formed. Refuses extensions that Kafka does not know, because brokers lose them and
    /// then find another signature.
    fn parse(text: &'a str) -> Option<Self> {
        let (authorization_id, bare) = text.strip_prefix("n,")?.split_once(',')?;
        let gs2_header = text.strip_suffix(bare)?;
        let authorization_id = match authorization_id {
            "" => None,
            id => Some(id.strip_prefix("a=")?),
        };
        let mut attributes = bare.split(',');
        let name = attributes.next()?.strip_prefix("n=")?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let is_token = match attributes.next() {
            None => false,
            Some("tokenauth=true") => true,
            Some(_) => return None,
        };
        let is_nonce = !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic());
        (is_nonce && attributes.next().is_none()).then_some(Self {
            gs2_header,
            bare,
            authorization_id,
            name,
            nonce,
            is_token,
        })
    }
}

/// Returns a name without its escapes; `None` if a broker would not take it.
fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (character, rest) = match part.as_bytes() {
            [b'2', b'C', ..] => (',', &part[2..]),
            [b'3', b'D', ..] => ('=', &part[2..]),
            _ => return None,
        };
        text.push(character);
        text.push_str(rest);
    }
    let is_legal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, 1..=0x7f));
    is_legal.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an exchange with the user of RFC 7677, section 3, and its salt and nonce.
    fn exchange_of_rfc_7677() -> Scram {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let credential = Credential::with_salt(Hash::Sha256, "pencil", 4096, salt);
        let users = HashMap::from([("user".to_owned(), credential)]);
        let mut scram = Scram::new(Hash::Sha256, users, HashMap::new());
        scram.server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
        scram
    }

    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const FINAL: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_exchange_of_rfc_7677_succeeds() {
        let mut scram = exchange_of_rfc_7677();
        let Ok(Step::Continue(answer)) = scram.next(FIRST) else {
            panic!("no answer");
        };
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
        let Ok(Step::Done { answer, user, .. }) = scram.next(FINAL) else {
            panic!("refused");
        };
        assert_eq!(answer, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(user, "user");
        assert_eq!(scram.next(FINAL).unwrap_err(), Refusal::InvalidCredentials);
    }

    #[test]
    fn a_wrong_proof_nonce_or_header_is_refused() {
        let text = std::str::from_utf8(FINAL).unwrap();
        for wrong in [
            text.replace("p=dHz", "p=dHy"),
            text.replace("NEkqO%h", "NEkqO%i"),
            text.replace("c=biws", "c=eSws"),
            text.replace(",p=", ",x=1,p="),
            text.replace(",p=", ","),
            text.replace("VQ=", "VQ"),
            String::new(),
        ] {
            let mut scram = exchange_of_rfc_7677();
            scram.next(FIRST).unwrap();
            let refusal = scram.next(wrong.as_bytes()).unwrap_err();
            assert_eq!(refusal, Refusal::InvalidCredentials, "{wrong}");
        }
    }

    #[test]
    fn malformed_first_messages_and_unknown_users_are_refused() {
        for first in [
            "",
            "n,,",
            "y,,n=user,r=a",
            "p=tls-unique,,n=user,r=a",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=user,r=a b",
            "n,,n=nobody,r=a",
            "n,,n=us=er,r=a",
            "n,,n=,r=a",
            "n,,n=us\u{e9}r,r=a",
            "n,,m=x,n=user,r=a",
            "n,,n=user,r=a,x=1",
            "n,,n=user,r=a,tokenauth=true",
            "n,user,n=user,r=a",
        ] {
            let refusal = exchange_of_rfc_7677().next(first.as_bytes()).unwrap_err();
            assert_eq!(refusal, Refusal::InvalidCredentials, "{first}");
        }
        let refusal = exchange_of_rfc_7677().next(b"n,a=other,n=user,r=a");
        assert!(matches!(refusal, Err(Refusal::Reason(_))));
        exchange_of_rfc_7677().next(b"n,a=user,n=user,r=a").unwrap();
    }

    #[test]
    fn names_are_unescaped() {
        for (escaped, name) in [
            ("1=2C2", "1,2"),
            ("user=3D=3DB", "user==B"),
            ("=2C=3D", ",="),
        ] {
            assert_eq!(unescaped(escaped).as_deref(), Some(name));
        }
        for illegal in ["", "a=", "a=2c", "a=2", "a=4D", "\u{e9}"] {
            assert_eq!(unescaped(illegal), None, "{illegal}");
        }
    }
}
