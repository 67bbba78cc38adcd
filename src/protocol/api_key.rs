//! The APIs of the protocol that concern a producer, and the first flexible version of each (KIP-482).

use std::fmt;

/// An API, with its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub(crate) enum ApiKey {
    Produce = 0,
    Metadata = 3,
    FindCoordinator = 10,
    SaslHandshake = 17,
    ApiVersions = 18,
    InitProducerId = 22,
    AddPartitionsToTxn = 24,
    AddOffsetsToTxn = 25,
    EndTxn = 26,
    TxnOffsetCommit = 28,
    SaslAuthenticate = 36,
    GetTelemetrySubscriptions = 71,
    PushTelemetry = 72,
}

/// How lengths are encoded, and whether structures have tagged fields. Each version of an API has one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Fixed-width lengths, no tagged fields.
    Classic,
    /// Lengths plus one as varints, and tagged fields at the end of each structure (KIP-482).
    Flexible,
}

impl ApiKey {
    pub(crate) const ALL: [Self; 13] = [
        Self::Produce,
        Self::Metadata,
        Self::FindCoordinator,
        Self::SaslHandshake,
        Self::ApiVersions,
        Self::InitProducerId,
        Self::AddPartitionsToTxn,
        Self::AddOffsetsToTxn,
        Self::EndTxn,
        Self::TxnOffsetCommit,
        Self::SaslAuthenticate,
        Self::GetTelemetrySubscriptions,
        Self::PushTelemetry,
    ];

    pub(crate) fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.code() == code)
    }

    pub(crate) const fn code(self) -> i16 {
        self as i16
    }

    /// Returns Kafka's name of the API.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Metadata => "Metadata",
            Self::FindCoordinator => "FindCoordinator",
            Self::SaslHandshake => "SaslHandshake",
            Self::ApiVersions => "ApiVersions",
            Self::InitProducerId => "InitProducerId",
            Self::AddPartitionsToTxn => "AddPartitionsToTxn",
            Self::AddOffsetsToTxn => "AddOffsetsToTxn",
            Self::EndTxn => "EndTxn",
            Self::TxnOffsetCommit => "TxnOffsetCommit",
            Self::SaslAuthenticate => "SaslAuthenticate",
            Self::GetTelemetrySubscriptions => "GetTelemetrySubscriptions",
            Self::PushTelemetry => "PushTelemetry",
        }
    }

    /// Returns the form of the API's requests and responses at `version`.
    pub(crate) const fn form(self, version: i16) -> Form {
        match self.first_flexible_version() {
            Some(first) if version >= first => Form::Flexible,
            _ => Form::Classic,
        }
    }

    const fn first_flexible_version(self) -> Option<i16> {
        match self {
            Self::Produce | Self::Metadata => Some(9),
            Self::FindCoordinator
            | Self::ApiVersions
            | Self::AddPartitionsToTxn
            | Self::AddOffsetsToTxn
            | Self::EndTxn
            | Self::TxnOffsetCommit => Some(3),
            Self::InitProducerId | Self::SaslAuthenticate => Some(2),
            Self::SaslHandshake => None,
            Self::GetTelemetrySubscriptions | Self::PushTelemetry => Some(0),
        }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
