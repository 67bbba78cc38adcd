use rcgen::{ExtendedKeyUsagePurpose, KeyPair};

use super::super::test_peers::*;
use super::*;

const EC: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;

fn client_parameters(name: &str) -> rcgen::CertificateParams {
    let mut parameters = parameters(name, &[]);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters
}

/// An entry of a key store with a P-256 key.
fn ec_entry(issuer: &Authority, name: &str) -> Arc<CertifiedKey> {
    issue(issuer, &client_parameters(name)).certified()
}

fn rsa_entry(issuer: &Authority, name: &str) -> Arc<CertifiedKey> {
    let key = rsa_key();
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_RSA_SHA256).unwrap();
    let made = issue_with(issuer, &client_parameters(name), pair);
    certified(vec![made.der], key.into())
}

/// Returns the common name of the certificate that is chosen for these issuers and schemes.
fn chosen(
    entries: &[&Arc<CertifiedKey>],
    issuers: &[&Authority],
    schemes: &[SignatureScheme],
) -> Option<String> {
    let keys = ClientKeys(entries.iter().map(|entry| Arc::clone(entry)).collect());
    let names: Vec<_> = issuers.iter().map(|issuer| subject(issuer)).collect();
    let names: Vec<_> = names.iter().map(|name| &name[..]).collect();
    begin_handshake();
    let chosen = keys.resolve(&names, schemes)?;
    let contents = Certificate::read(&chosen.cert[0]).unwrap();
    Some(contents.common_names().concat())
}

fn subject(issuer: &Authority) -> Vec<u8> {
    let contents = Certificate::read(issuer.der()).unwrap();
    contents.subject_der().to_vec()
}

#[test]
fn the_first_entry_is_chosen_whose_issuer_and_kind_of_key_the_broker_accepts() {
    let (one, two) = (authority("one"), authority("two"));
    let (ec_one, rsa_one) = (ec_entry(&one, "ec of one"), rsa_entry(&one, "rsa of one"));
    let (ec_two, rsa_two) = (ec_entry(&two, "ec of two"), rsa_entry(&two, "rsa of two"));
    let all = [&rsa_one, &ec_one, &ec_two, &rsa_two];
    let reversed = [&rsa_two, &ec_two, &ec_one, &rsa_one];
    for (entries, issuers, schemes, expected) in [
        (all, &[][..], &[EC, RSA][..], Some("rsa of one")),
        (reversed, &[], &[EC, RSA], Some("rsa of two")),
        (all, &[], &[EC], Some("ec of one")),
        (all, &[&one, &two], &[EC], Some("ec of one")),
        (all, &[&two], &[EC, RSA], Some("ec of two")),
        (all, &[&two], &[RSA], Some("rsa of two")),
        (reversed, &[&one], &[RSA, EC], Some("ec of one")),
        (all, &[&authority("three")], &[RSA, EC], None),
        (all, &[], &[SignatureScheme::ED25519], None),
    ] {
        let answered_with = chosen(&entries, issuers, schemes);
        assert_eq!(answered_with.as_deref(), expected, "{schemes:?}");
        let answer = match expected {
            Some(_) => ClientCertificate::Sent,
            None => ClientCertificate::NoneFits,
        };
        assert_eq!(answered(), answer);
    }
    assert_eq!(chosen(&[], &[&one], &[EC]), None);
    assert_eq!(answered(), ClientCertificate::NoKeyStore);
}

/// A broker names its trusted root, and the entry's certificate is of an authority below it.
#[test]
fn an_issuer_of_any_certificate_of_the_chain_counts() {
    let root = authority("root");
    let middle = intermediate("middle", &root, END);
    let made = issue(&middle, &client_parameters("client"));
    let chain = vec![made.der.clone(), middle.der().clone()];
    let whole = certified(chain, made.private_key());
    let alone = made.certified();
    assert_eq!(
        chosen(&[&alone, &whole], &[&root], &[EC]).as_deref(),
        Some("client")
    );
    assert_eq!(chosen(&[&alone], &[&root], &[EC]), None);
    assert!(chosen(&[&alone], &[&middle], &[EC]).is_some());
}

/// Such a certificate is sent, because the broker's clock decides.
#[test]
fn an_expired_certificate_is_sent_and_noted() {
    let issuer = authority("root");
    let mut parameters = client_parameters("client");
    set_validity(&mut parameters, BEGIN, BEGIN + 1);
    let expired = issue(&issuer, &parameters).certified();
    assert!(chosen(&[&expired], &[&issuer], &[EC]).is_some());
    assert_eq!(answered(), ClientCertificate::SentOutOfDate);
    begin_handshake();
    assert_eq!(answered(), ClientCertificate::NotAsked);
}
