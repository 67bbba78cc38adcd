//! Encryption with a password: PBES2 of PKCS#5, and the older schemes of PKCS#12.
//!
//! The file says how much work it takes to derive a key from the password. That work is limited before it is done.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha1::digest::block_api::{BlockSizeUser, EagerHash};
use sha1::digest::{Digest, OutputSizeUser};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::der::{self, Reader};
use crate::secret::Secret;

pub(super) enum PbeFault {
    Malformed,
    /// The text names what is not known.
    Unknown(String),
    TooCostly,
    /// Or the encrypted bytes are damaged.
    WrongPassword,
}

/// The work that remains for one store, in rounds of a hash function.
pub(super) struct Budget(u64);

impl Budget {
    /// Some seconds of work. A store of JDK 9 to 15 takes 200,000 for itself, and 150,000 for each key. Changed stores have
    /// to be quick in tests.
    const ROUNDS: u64 = match (cfg!(fuzzing), cfg!(test)) {
        (true, _) => 10_000,
        (_, true) => 1_000_000,
        _ => 10_000_000,
    };

    pub(super) fn of_a_store() -> Self {
        Self(Self::ROUNDS)
    }

    fn spend(&mut self, rounds: u64, blocks: usize) -> Result<(), PbeFault> {
        let cost = rounds
            .checked_mul(blocks as u64)
            .ok_or(PbeFault::TooCostly)?;
        self.0 = self.0.checked_sub(cost).ok_or(PbeFault::TooCostly)?;
        Ok(())
    }
}

/// A password in the two forms in which it becomes bytes.
pub(super) struct Password<'a> {
    /// For PBES2.
    utf8: &'a [u8],
    /// For what PKCS#12 defines itself: UTF-16, big-endian, with two bytes of zero at the end.
    utf16: Zeroizing<Vec<u8>>,
}

impl<'a> Password<'a> {
    pub(super) fn new(secret: &'a Secret) -> Self {
        let mut utf16 = utf16(secret);
        utf16.extend([0, 0]);
        Self {
            utf8: secret.reveal().as_bytes(),
            utf16,
        }
    }

    /// Some tools leave out the zeros at the end of the empty password.
    pub(super) fn drop_zeros_of_empty(&mut self) -> bool {
        let drops = self.utf16.len() == 2;
        if drops {
            self.utf16.clear();
        }
        drops
    }
}

/// Returns the password in UTF-16, big-endian.
pub(super) fn utf16(secret: &Secret) -> Zeroizing<Vec<u8>> {
    // A text has no more units of UTF-16 than bytes of UTF-8. The vector never moves, which would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * secret.reveal().len() + 2));
    bytes.extend(secret.reveal().encode_utf16().flat_map(u16::to_be_bytes));
    bytes
}

/// Decrypts `data`. `algorithm` has the contents of an AlgorithmIdentifier.
pub(super) fn decrypt(
    mut algorithm: Reader<'_>,
    data: &[u8],
    password: &Password<'_>,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
    let id = algorithm.read(der::OID).ok_or(PbeFault::Malformed)?;
    if id == PBES2 {
        let parameters = algorithm.sequence().ok_or(PbeFault::Malformed)?;
        return pbes2(parameters, data, password, budget);
    }
    let (cipher, key_size) = match id.strip_prefix(PKCS12_PBE) {
        Some([3]) => (Cipher::TripleDes, 24),
        Some([4]) => (Cipher::TripleDesOfTwoKeys, 16),
        Some([5]) => (Cipher::Rc2, 16),
        Some([6]) => (Cipher::Rc2, 5),
        _ => return Err(unknown("the encryption", id)),
    };
    let (salt, rounds) = salt_and_rounds(algorithm).ok_or(PbeFault::Malformed)?;
    let mut derive =
        |purpose, size| Hash::Sha1.derive_pkcs12(password, salt, rounds, purpose, size, budget);
    let key = derive(Purpose::Key, key_size)?;
    let iv = derive(Purpose::Iv, 8)?;
    cipher.decrypt(&key, &iv, data)
}

fn salt_and_rounds(mut algorithm: Reader<'_>) -> Option<(&[u8], u64)> {
    let mut parameters = algorithm.sequence()?;
    Some((parameters.read(der::OCTETS)?, parameters.number()?))
}

fn pbes2(
    mut parameters: Reader<'_>,
    data: &[u8],
    password: &Password<'_>,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
    let (Some(derivation), Some(mut encryption)) = (parameters.sequence(), parameters.sequence())
    else {
        return Err(PbeFault::Malformed);
    };
    let id = encryption.read(der::OID).ok_or(PbeFault::Malformed)?;
    let (cipher, key_size) = match id {
        DES_EDE3_CBC => (Cipher::TripleDes, 24),
        _ => match id.strip_prefix(AES) {
            Some([2]) => (Cipher::Aes128, 16),
            Some([22]) => (Cipher::Aes192, 24),
            Some([42]) => (Cipher::Aes256, 32),
            _ => return Err(unknown("the cipher", id)),
        },
    };
    let iv = encryption.read(der::OCTETS).ok_or(PbeFault::Malformed)?;
    let key = derive_key(derivation, key_size, password, budget)?;
    cipher.decrypt(&key, iv, data)
}

/// Derives a key of `size` bytes by PBKDF2 or scrypt. `algorithm` has the contents of an AlgorithmIdentifier.
fn derive_key(
    mut algorithm: Reader<'_>,
    size: usize,
    password: &Password<'_>,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
    let id = algorithm.read(der::OID).ok_or(PbeFault::Malformed)?;
    let parameters = algorithm.sequence();
    match id {
        PBKDF2 => {
            let parameters = parameters
                .and_then(Pbkdf2::read)
                .ok_or(PbeFault::Malformed)?;
            parameters.derive(size, password, budget)
        }
        SCRYPT => {
            let parameters = parameters
                .and_then(Scrypt::read)
                .ok_or(PbeFault::Malformed)?;
            parameters.derive(size, password, budget)
        }
        _ => Err(unknown("the key derivation", id)),
    }
}

struct Pbkdf2<'a> {
    salt: &'a [u8],
    rounds: u64,
    key_size: Option<u64>,
    /// An object identifier.
    function: &'a [u8],
}

impl<'a> Pbkdf2<'a> {
    fn read(mut parameters: Reader<'a>) -> Option<Self> {
        let salt = parameters.read(der::OCTETS)?;
        let rounds = parameters.number()?;
        let key_size = parameters.optional_number()?;
        let function = match parameters.optional(der::SEQUENCE) {
            Some(function) => Reader::new(function).read(der::OID)?,
            None => HMAC_SHA1,
        };
        Some(Self {
            salt,
            rounds,
            key_size,
            function,
        })
    }

    fn derive(
        &self,
        size: usize,
        password: &Password<'_>,
        budget: &mut Budget,
    ) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
        let hash = Hash::of_hmac(self.function)
            .ok_or_else(|| unknown("the key derivation", self.function))?;
        hash.derive_pbkdf2(password.utf8, self.salt, self.rounds, size, budget)
    }
}

struct Scrypt<'a> {
    salt: &'a [u8],
    /// N, a power of two.
    cost: u64,
    /// r
    block_size: u64,
    /// p
    parallel: u64,
}

impl<'a> Scrypt<'a> {
    /// OpenSSL writes stores that need 16 MiB, and reads up to 32 MiB.
    const MEMORY: u64 = 64 << 20;

    fn read(mut parameters: Reader<'a>) -> Option<Self> {
        Some(Self {
            salt: parameters.read(der::OCTETS)?,
            cost: parameters.number()?,
            block_size: parameters.number()?,
            parallel: parameters.number()?,
        })
    }

    fn derive(
        &self,
        size: usize,
        password: &Password<'_>,
        budget: &mut Budget,
    ) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
        if self.cost < 2
            || !self.cost.is_power_of_two()
            || self.block_size == 0
            || self.parallel == 0
        {
            return Err(PbeFault::Malformed);
        }
        let blocks = self.cost.checked_add(self.parallel);
        let memory =
            blocks.and_then(|blocks| blocks.checked_mul(self.block_size)?.checked_mul(128));
        if memory.is_none_or(|memory| memory > Self::MEMORY) {
            return Err(PbeFault::TooCostly);
        }
        // None of the numbers exceeds 2^19 here. A block of scrypt takes about as long as a round of a hash.
        budget.spend(self.cost * self.block_size, self.parallel as usize)?;
        let log_cost = self.cost.trailing_zeros() as u8;
        let parameters =
            scrypt::Params::new(log_cost, self.block_size as u32, self.parallel as u32);
        let parameters = parameters.map_err(|_| PbeFault::Malformed)?;
        let mut key = Zeroizing::new(vec![0; size]);
        scrypt::scrypt(password.utf8, self.salt, &parameters, &mut key)
            .map_err(|_| PbeFault::Malformed)?;
        Ok(key)
    }
}

/// A block cipher, in CBC mode.
#[derive(Clone, Copy)]
enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
    TripleDesOfTwoKeys,
    Rc2,
}

impl Cipher {
    fn decrypt(self, key: &[u8], iv: &[u8], data: &[u8]) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
        match self {
            Self::Aes128 => decrypt_cbc::<aes::Aes128>(key, iv, data),
            Self::Aes192 => decrypt_cbc::<aes::Aes192>(key, iv, data),
            Self::Aes256 => decrypt_cbc::<aes::Aes256>(key, iv, data),
            Self::TripleDes => decrypt_cbc::<des::TdesEde3>(key, iv, data),
            Self::TripleDesOfTwoKeys => decrypt_cbc::<des::TdesEde2>(key, iv, data),
            Self::Rc2 => decrypt_cbc::<rc2::Rc2>(key, iv, data),
        }
    }
}

fn decrypt_cbc<C: KeyInit + BlockCipherDecrypt>(
    key: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).map_err(|_| PbeFault::Malformed)?;
    let mut bytes = Zeroizing::new(data.to_vec());
    let length = cipher
        .decrypt_padded::<Pkcs7>(&mut bytes)
        .map_err(|_| PbeFault::WrongPassword)?
        .len();
    bytes.truncate(length);
    Ok(bytes)
}

/// What a key of PKCS#12 is for. The number is part of its derivation.
#[derive(Clone, Copy)]
enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Calls a generic function with the hash function that `$hash` stands for.
macro_rules! with_hash {
    ($hash:expr, $function:ident($($argument:expr),*)) => {
        match $hash {
            Hash::Sha1 => $function::<Sha1>($($argument),*),
            Hash::Sha224 => $function::<Sha224>($($argument),*),
            Hash::Sha256 => $function::<Sha256>($($argument),*),
            Hash::Sha384 => $function::<Sha384>($($argument),*),
            Hash::Sha512 => $function::<Sha512>($($argument),*),
        }
    };
}

impl Hash {
    fn of_digest(id: &[u8]) -> Option<Self> {
        match id.strip_prefix(SHA2) {
            Some([1]) => Some(Self::Sha256),
            Some([2]) => Some(Self::Sha384),
            Some([3]) => Some(Self::Sha512),
            Some([4]) => Some(Self::Sha224),
            _ => (id == SHA1).then_some(Self::Sha1),
        }
    }

    fn of_hmac(id: &[u8]) -> Option<Self> {
        match id.strip_prefix(DIGESTS) {
            Some([7]) => Some(Self::Sha1),
            Some([8]) => Some(Self::Sha224),
            Some([9]) => Some(Self::Sha256),
            Some([10]) => Some(Self::Sha384),
            Some([11]) => Some(Self::Sha512),
            _ => None,
        }
    }

    fn size(self) -> usize {
        with_hash!(self, size_of_output())
    }

    fn derive_pbkdf2(
        self,
        password: &[u8],
        salt: &[u8],
        rounds: u64,
        size: usize,
        budget: &mut Budget,
    ) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
        // A round is two hashes.
        budget.spend(rounds, 2 * size.div_ceil(self.size()))?;
        let rounds = u32::try_from(rounds).map_err(|_| PbeFault::TooCostly)?;
        if rounds == 0 {
            return Err(PbeFault::Malformed);
        }
        let mut key = Zeroizing::new(vec![0; size]);
        with_hash!(self, pbkdf2_into(password, salt, rounds, &mut key));
        Ok(key)
    }

    fn derive_pkcs12(
        self,
        password: &Password<'_>,
        salt: &[u8],
        rounds: u64,
        purpose: Purpose,
        size: usize,
        budget: &mut Budget,
    ) -> Result<Zeroizing<Vec<u8>>, PbeFault> {
        budget.spend(rounds, size.div_ceil(self.size()))?;
        if rounds == 0 {
            return Err(PbeFault::Malformed);
        }
        let mut key = Zeroizing::new(vec![0; size]);
        with_hash!(
            self,
            pkcs12_into(&password.utf16, salt, rounds, purpose, &mut key)
        );
        Ok(key)
    }
}

fn size_of_output<D: OutputSizeUser>() -> usize {
    D::output_size()
}

fn pbkdf2_into<D: EagerHash>(password: &[u8], salt: &[u8], rounds: u32, key: &mut [u8]) {
    pbkdf2::pbkdf2_hmac::<D>(password, salt, rounds, key);
}

/// The key derivation of RFC 7292, appendix B.2.
fn pkcs12_into<D: Digest + BlockSizeUser>(
    password: &[u8],
    salt: &[u8],
    rounds: u64,
    purpose: Purpose,
    key: &mut [u8],
) {
    let block = D::block_size();
    let diversifier = vec![purpose as u8; block];
    let mut input = Zeroizing::new(repeated(salt, block));
    input.extend_from_slice(&Zeroizing::new(repeated(password, block)));
    for chunk in key.chunks_mut(<D as Digest>::output_size()) {
        let mut hash = D::new()
            .chain_update(&diversifier)
            .chain_update(&*input)
            .finalize();
        for _ in 1..rounds {
            hash = D::digest(&hash);
        }
        chunk.copy_from_slice(&hash[..chunk.len()]);
        let addend = repeated(&hash, block);
        for part in input.chunks_mut(block) {
            add_one_more(part, &addend[..block]);
        }
    }
}

/// Repeats `bytes` up to a whole number of blocks.
fn repeated(bytes: &[u8], block: usize) -> Vec<u8> {
    let length = bytes.len().next_multiple_of(block);
    bytes.iter().copied().cycle().take(length).collect()
}

/// Adds `addend` and one to a big-endian number of the same size.
fn add_one_more(number: &mut [u8], addend: &[u8]) {
    let mut carry = 1;
    for (byte, addend) in number.iter_mut().zip(addend).rev() {
        carry += u16::from(*byte) + u16::from(*addend);
        *byte = carry as u8;
        carry >>= 8;
    }
}

/// Checks the MAC of a PKCS#12 store. `mac` has the contents of its MacData, `data` what is authenticated.
pub(super) fn check_mac(
    mut mac: Reader<'_>,
    data: &[u8],
    password: &Password<'_>,
    budget: &mut Budget,
) -> Result<(), PbeFault> {
    let mut digest = mac.sequence().ok_or(PbeFault::Malformed)?;
    let (Some(mut algorithm), Some(expected)) = (digest.sequence(), digest.read(der::OCTETS))
    else {
        return Err(PbeFault::Malformed);
    };
    let id = algorithm.read(der::OID).ok_or(PbeFault::Malformed)?;
    let (hash, key) = if id == PBMAC1 {
        let parameters = algorithm.sequence().ok_or(PbeFault::Malformed)?;
        pbmac1(parameters, password, budget)?
    } else {
        let hash = Hash::of_digest(id).ok_or_else(|| unknown("the MAC", id))?;
        let salt = mac.read(der::OCTETS).ok_or(PbeFault::Malformed)?;
        let rounds = if mac.is_empty() {
            1
        } else {
            mac.number().ok_or(PbeFault::Malformed)?
        };
        (
            hash,
            hash.derive_pkcs12(password, salt, rounds, Purpose::Mac, hash.size(), budget)?,
        )
    };
    let agrees = with_hash!(hash, hmac_agrees(&key, data, expected));
    if agrees {
        Ok(())
    } else {
        Err(PbeFault::WrongPassword)
    }
}

/// Returns the hash and the key of a MAC as RFC 9579 defines it.
fn pbmac1(
    mut parameters: Reader<'_>,
    password: &Password<'_>,
    budget: &mut Budget,
) -> Result<(Hash, Zeroizing<Vec<u8>>), PbeFault> {
    let (Some(mut derivation), Some(mut function)) = (parameters.sequence(), parameters.sequence())
    else {
        return Err(PbeFault::Malformed);
    };
    let id = derivation.read(der::OID).ok_or(PbeFault::Malformed)?;
    if id != PBKDF2 {
        return Err(unknown("the key derivation", id));
    }
    let derivation = derivation
        .sequence()
        .and_then(Pbkdf2::read)
        .ok_or(PbeFault::Malformed)?;
    let id = function.read(der::OID).ok_or(PbeFault::Malformed)?;
    let hash = Hash::of_hmac(id).ok_or_else(|| unknown("the MAC", id))?;
    // The size is not optional here. A short key would make the MAC worthless.
    let size = derivation
        .key_size
        .filter(|size| (20..=64).contains(size))
        .ok_or(PbeFault::Malformed)?;
    Ok((hash, derivation.derive(size as usize, password, budget)?))
}

fn hmac_agrees<D: EagerHash + Digest>(key: &[u8], data: &[u8], expected: &[u8]) -> bool {
    let Ok(mut mac) = <Hmac<D> as KeyInit>::new_from_slice(key) else {
        return false;
    };
    Mac::update(&mut mac, data);
    mac.verify_slice(expected).is_ok()
}

fn unknown(part: &str, id: &[u8]) -> PbeFault {
    let known = NAMES
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, name)| *name);
    let dotted = der::dotted(id);
    PbeFault::Unknown(match known {
        Some(name) => format!("{part} {name} ({dotted})"),
        None => format!("{part} {dotted}"),
    })
}

/// 1.2.840.113549.1.5.13
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
/// 1.2.840.113549.1.5.12
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
/// 1.2.840.113549.1.5.14
const PBMAC1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 14];
/// 1.3.6.1.4.1.11591.4.11
const SCRYPT: &[u8] = &[0x2b, 6, 1, 4, 1, 0xda, 0x47, 4, 11];
/// 1.2.840.113549.1.12.1
const PKCS12_PBE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1];
/// 1.2.840.113549.3.7
const DES_EDE3_CBC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 3, 7];
/// 2.16.840.1.101.3.4.1
const AES: &[u8] = &[0x60, 0x86, 0x48, 1, 101, 3, 4, 1];
/// 1.3.14.3.2.26
const SHA1: &[u8] = &[0x2b, 14, 3, 2, 26];
/// 2.16.840.1.101.3.4.2
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 1, 101, 3, 4, 2];
/// 1.2.840.113549.2
const DIGESTS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2];
/// 1.2.840.113549.2.7
const HMAC_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 7];

/// Names of what tools write and this module does not read.
const NAMES: [(&[u8], &str); 6] = [
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 3],
        "pbeWithMD5AndDES-CBC",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 10],
        "pbeWithSHA1AndDES-CBC",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 1],
        "pbeWithSHAAnd128BitRC4",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 2],
        "pbeWithSHAAnd40BitRC4",
    ),
    (
        &[0x2a, 0x83, 0x08, 0x8c, 0x9a, 0x4b, 0x3d, 1, 1, 1, 4],
        "camellia256-cbc",
    ),
    (&[0x2b, 0x0e, 3, 2, 7], "des-cbc"),
];
