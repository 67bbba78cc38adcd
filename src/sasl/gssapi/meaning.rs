//! What an error code of MIT's library means for a client. The codes up to 127 are those of a KDC (RFC 4120, section 7.5.9, and
//! RFC 4556), the others are the library's own (`krb5_err.et`).

use super::library::Fault;

/// Kerberos's error codes begin here: `ERROR_TABLE_BASE_krb5`.
const KERBEROS: i64 = -1_765_328_384;
/// The codes of MIT's GSSAPI begin here: `ERROR_TABLE_BASE_k5g`.
const GSSAPI: i64 = 39_756_032;

/// The meaning of an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    ClientUnknown,
    ServerUnknown,
    /// The KDC has several entries of a principal.
    NotUnique,
    /// The KDC knows the client and gives it no ticket.
    ClientLocked,
    /// The KDC knows the broker and gives no tickets for it.
    ServerLocked,
    /// A principal or a ticket is valid from a later time on.
    NotYetValid,
    WrongKey,
    /// The KDC demands another proof of identity than a key or a ticket.
    OtherProof,
    Expired,
    /// The KDC does not accept the client's ticket, which has not expired.
    StaleTicket,
    Skew,
    /// The KDC takes the request for a copy of an earlier one.
    Replay,
    /// The KDC has no time, or misses a service behind it.
    Busy,
    /// The ticket is for other network addresses than this machine's.
    OtherAddress,
    NoCipher,
    NoConfiguration,
    NoCredentials,
    OtherPrincipal,
    /// The text of a principal has no legal form.
    BadName,
    BadCache,
    BadKeytab,
    NoKey,
    RealmUnknown,
    /// The realms of client and broker do not trust each other.
    NoPath,
    Unreachable,
    Other,
}

impl Meaning {
    pub(super) fn of(fault: &Fault) -> Self {
        let minor = i64::from(fault.minor);
        match minor - KERBEROS {
            code @ 1..128 => Self::of_kdc(code),
            code @ 128..256 => Self::of_library(code),
            _ => match minor - GSSAPI {
                0 => Self::OtherPrincipal,
                1 => Self::NoKey,
                2 | 12 => Self::NoCredentials,
                _ => Self::Other,
            },
        }
    }

    /// Returns whether it goes away by itself, as Java's client takes it, too (`KerberosError`). The other faults last until
    /// somebody mends them.
    pub(super) fn is_temporary(self) -> bool {
        matches!(self, Self::NotYetValid | Self::Replay | Self::Busy)
    }

    fn of_kdc(code: i64) -> Self {
        match code {
            6 => Self::ClientUnknown,
            7 => Self::ServerUnknown,
            8 => Self::NotUnique,
            // Expired, no key, a policy, locked, an expired password.
            1 | 4 | 9 | 12 | 18 | 23 => Self::ClientLocked,
            // Expired, locked, only for other users (27 and 69).
            2 | 5 | 19 | 27 | 69 => Self::ServerLocked,
            // The client, the broker, the ticket.
            21 | 22 | 33 => Self::NotYetValid,
            24 | 31 => Self::WrongKey,
            // Certificates (RFC 4556) and other kinds of pre-authentication.
            16 | 25 | 48 | 62..=66 | 70..=81 | 90 | 91 => Self::OtherProof,
            32 => Self::Expired,
            // Withdrawn, for another KDC, made with a key that the KDC does not have.
            20 | 26 | 35 | 36 | 39 | 41 | 44 | 45 => Self::StaleTicket,
            // 11: the end of the ticket would be before its beginning.
            11 | 37 => Self::Skew,
            34 => Self::Replay,
            29 => Self::Busy,
            38 => Self::OtherAddress,
            14 | 15 | 50 => Self::NoCipher,
            17 | 28 | 43 | 67 | 68 => Self::NoPath,
            _ => Self::Other,
        }
    }

    fn of_library(code: i64) -> Self {
        match code {
            133 | 134 | 251 => Self::BadName,
            135 | 136 | 224 | 248 => Self::NoConfiguration,
            139 | 140 | 193 | 194 | 196 | 197 | 199 | 212 | 246 => Self::BadCache,
            141 | 142 | 195 | 203 => Self::NoCredentials,
            145 | 146 => Self::StaleTicket,
            148 => Self::Skew,
            150..=153 | 188 | 189 | 200 | 236 | 237 => Self::NoCipher,
            154 | 217 | 243 => Self::RealmUnknown,
            149 | 155 | 185 => Self::NoPath,
            // 220, 239 to 241: the name of the KDC has no address.
            156 | 220 | 239..=241 => Self::Unreachable,
            163 => Self::Replay,
            179 | 180 | 184 | 213 | 229 | 235 => Self::BadKeytab,
            181 | 182 | 230 => Self::NoKey,
            208..=210 | 252 => Self::OtherProof,
            _ => Self::Other,
        }
    }
}

/// Returns whether a ticket of the cache has expired.
pub(super) fn is_expired(fault: &Fault) -> bool {
    Meaning::of(fault) == Meaning::Expired
}

/// Makes the fault of a code of a KDC.
#[cfg(test)]
pub(super) fn fault_of_kdc(code: i64) -> Fault {
    Fault {
        major: 0,
        minor: i32::try_from(KERBEROS + code).unwrap(),
        text: "a text of the library".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(minor: i64) -> Meaning {
        Meaning::of(&fault_of_kdc(minor - KERBEROS))
    }

    #[test]
    fn what_java_retries_and_a_busy_kdc_are_temporary_and_nothing_else() {
        for code in 0..256 {
            let is_temporary = [21, 22, 29, 33, 34, 163].contains(&code);
            let meaning = meaning(KERBEROS + code);
            assert_eq!(meaning.is_temporary(), is_temporary, "{code} {meaning:?}");
        }
    }

    #[test]
    fn each_code_has_the_meaning_of_its_text_in_mits_library() {
        for (code, expected) in [
            (1, Meaning::ClientLocked),
            (2, Meaning::ServerLocked),
            (6, Meaning::ClientUnknown),
            (7, Meaning::ServerUnknown),
            (8, Meaning::NotUnique),
            (12, Meaning::ClientLocked),
            (14, Meaning::NoCipher),
            (18, Meaning::ClientLocked),
            (19, Meaning::ServerLocked),
            (20, Meaning::StaleTicket),
            (21, Meaning::NotYetValid),
            (22, Meaning::NotYetValid),
            (23, Meaning::ClientLocked),
            (24, Meaning::WrongKey),
            (25, Meaning::OtherProof),
            (29, Meaning::Busy),
            (31, Meaning::WrongKey),
            (32, Meaning::Expired),
            (33, Meaning::NotYetValid),
            (34, Meaning::Replay),
            (36, Meaning::StaleTicket),
            (37, Meaning::Skew),
            (38, Meaning::OtherAddress),
            (44, Meaning::StaleTicket),
            (60, Meaning::Other),
            (68, Meaning::NoPath),
            (136, Meaning::NoConfiguration),
            (148, Meaning::Skew),
            (154, Meaning::RealmUnknown),
            (156, Meaning::Unreachable),
            (181, Meaning::NoKey),
            (194, Meaning::BadCache),
            (195, Meaning::NoCredentials),
            (210, Meaning::OtherProof),
            (220, Meaning::Unreachable),
            (224, Meaning::NoConfiguration),
            (230, Meaning::NoKey),
            (236, Meaning::NoCipher),
        ] {
            assert_eq!(meaning(KERBEROS + code), expected, "{code}");
        }
        assert_eq!(meaning(GSSAPI), Meaning::OtherPrincipal);
        assert_eq!(meaning(GSSAPI + 12), Meaning::NoCredentials);
        // Numbers of the system, such as EACCES.
        assert_eq!(meaning(13), Meaning::Other);
    }
}
