//! The versions of each API that a broker has.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::protocol::Request;
use crate::protocol::messages::ApiVersionsResponse;

/// A broker's answer to ApiVersions.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokerVersions {
    ranges: Arc<HashMap<i16, (i16, i16)>>,
}

impl BrokerVersions {
    /// Returns the highest version of `R` that both sides have.
    pub(crate) fn best<R: Request>(&self) -> Result<i16, Error> {
        let (ours_min, ours_max) = (*R::VERSIONS.start(), *R::VERSIONS.end());
        let api = R::API_KEY;
        let Some(&(min, max)) = self.ranges.get(&api.code()) else {
            return Err(Error::new(
                ErrorKind::UnsupportedVersion,
                format!("the broker does not offer {}", api.name()),
            ));
        };
        let best = max.min(ours_max);
        if best < min.max(ours_min) {
            return Err(Error::new(
                ErrorKind::UnsupportedVersion,
                format!(
                    "the broker speaks {} {min} to {max}, this client {ours_min} to {ours_max}",
                    api.name()
                ),
            ));
        }
        Ok(best)
    }
}

impl From<&ApiVersionsResponse> for BrokerVersions {
    fn from(response: &ApiVersionsResponse) -> Self {
        let ranges: HashMap<_, _> = response
            .api_keys
            .iter()
            .map(|api| (api.api_code, (api.min_version, api.max_version)))
            .collect();
        Self {
            ranges: Arc::new(ranges),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::InitProducerIdRequest;

    fn broker_with(min: i16, max: i16) -> BrokerVersions {
        BrokerVersions {
            ranges: Arc::new(HashMap::from([(22, (min, max))])),
        }
    }

    #[test]
    fn the_highest_common_version_is_taken() {
        let best = |min, max| broker_with(min, max).best::<InitProducerIdRequest<'_>>();
        assert_eq!(best(0, 1).unwrap(), 1);
        assert_eq!(best(2, 100).unwrap(), 5);
        assert_eq!(
            best(50, 100).unwrap_err().kind(),
            ErrorKind::UnsupportedVersion
        );
        let nothing = BrokerVersions::default().best::<InitProducerIdRequest<'_>>();
        assert!(nothing.unwrap_err().to_string().contains("InitProducerId"));
    }
}
