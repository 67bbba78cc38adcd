//! The cryptography of this build: ring, or graviola if the build has no ring.

use rustls::crypto::CryptoProvider;

use crate::error::Error;

/// Returns the cryptography of this build. Returns an error of kind [`Config`](crate::ErrorKind::Config) if this computer's
/// processor cannot run it.
#[cfg(any(feature = "tls", not(feature = "tls-graviola")))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "ring runs on every processor of its targets, and graviola does not"
)]
pub(crate) fn provider() -> Result<CryptoProvider, Error> {
    #[cfg(any(feature = "tls", feature = "mock-tls"))]
    return Ok(rustls::crypto::ring::default_provider());
    #[cfg(not(any(feature = "tls", feature = "mock-tls")))]
    compile_error!("tls-core is no feature to use alone: use tls or tls-graviola");
}

#[cfg(all(feature = "tls-graviola", not(feature = "tls")))]
pub(crate) use graviola::provider;

#[cfg(all(feature = "tls-graviola", not(feature = "tls")))]
mod graviola {
    use super::*;
    use crate::error::ErrorKind;

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    compile_error!(
        "tls-graviola is for x86-64 and AArch64 only: use tls, which needs a C compiler"
    );

    /// Returns graviola's cryptography. Without the check it would panic at its first use.
    pub(crate) fn provider() -> Result<CryptoProvider, Error> {
        match is_cpu_supported() {
            true => Ok(rustls_graviola::default_provider()),
            false => Err(Error::new(ErrorKind::Config, UNSUPPORTED).with_advice(ADVICE)),
        }
    }

    const UNSUPPORTED: &str = "this computer's processor lacks instructions that the TLS of this build (graviola) needs: AES, \
                               PCLMULQDQ, BMI1, BMI2, ADX, AVX and AVX2 on x86-64; AES, PMULL, SHA-2 and NEON on AArch64";
    const ADVICE: &str = "build kafka-producer with its feature `tls` in place of `tls-graviola`";

    fn is_cpu_supported() -> bool {
        // graviola uses BMI2 on x86-64 and does not ask for it: real processors with ADX have it. A virtual machine may hide
        // it.
        #[cfg(target_arch = "x86_64")]
        let has_bmi2 = std::arch::is_x86_feature_detected!("bmi2");
        #[cfg(not(target_arch = "x86_64"))]
        let has_bmi2 = true;
        has_bmi2 && ::graviola::util::is_cpu_supported()
    }

    #[cfg(all(test, debug_assertions, target_arch = "x86_64"))]
    mod tests {
        use super::*;
        use crate::tls::TlsClient;
        use crate::tls::settings::{TlsSettings, TrustSource};

        /// With this variable, a build of graviola with debug assertions does as if the processor had no ADX.
        const NO_ADX: &str = "GRAVIOLA_CPU_DISABLE_adx";
        const TEST: &str =
            "tls::provider::graviola::tests::a_processor_that_lacks_instructions_is_an_error";

        #[test]
        fn a_processor_that_lacks_instructions_is_an_error() {
            if std::env::var_os(NO_ADX).is_some() {
                let settings = TlsSettings {
                    trust: Some(TrustSource::inline("unused")),
                    ..TlsSettings::default()
                };
                let error = TlsClient::new(settings).expect_err("no ADX");
                assert_eq!(error.kind(), ErrorKind::Config);
                assert!(error.to_string().contains(UNSUPPORTED), "{error}");
                return;
            }
            provider().expect("the processor of this machine");
            let program = std::env::current_exe().unwrap();
            let without = std::process::Command::new(program)
                .args(["--exact", TEST])
                .env(NO_ADX, "1")
                .output()
                .unwrap();
            let printed = String::from_utf8_lossy(&without.stdout).into_owned();
            assert!(without.status.success(), "{printed}");
            assert!(printed.contains("1 passed"), "{printed}");
        }
    }
}
