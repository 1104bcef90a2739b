//! ApiVersions (key 18): what this broker serves (KIP-35, KIP-511, KIP-584, KIP-1242).

use coretide_model::ErrorCode;
use coretide_wire::ApiKey;
use coretide_wire::api::SERVED;
use coretide_wire::encode_response;
use coretide_wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

use super::{Handled, Outcome, Request, route};
use crate::shard::Shard;

/// The feature level from which tools tell the release whose APIs these are: 4.3, the newest they know (KIP-584).
const METADATA_VERSION: i16 = 30;
/// The oldest level that a Kafka of this release still starts with.
const METADATA_VERSION_MIN: i16 = 7;
const CLIENT_SOFTWARE_FROM: i16 = 3;

pub(crate) fn handle(shard: &mut Shard, request: &Request) -> Handled {
    let asked: ApiVersionsRequest = request.decode()?;
    let version = request.head.version;
    if version >= CLIENT_SOFTWARE_FROM
        && !(is_software_word(&asked.client_software_name) && is_software_word(&asked.client_software_version))
    {
        return request.answer(&refused(ErrorCode::InvalidRequest));
    }
    // A client that means another cluster or another node has an old address of that one.
    let meant = asked.cluster_id.is_none_or(|cluster_id| {
        *cluster_id == *shard.config.cluster_id && asked.node_id == shard.config.broker.node_id
    });
    if !meant {
        return request.answer(&refused(ErrorCode::RebootstrapRequired));
    }
    request.answer(&ApiVersionsResponse { api_keys: served().collect(), ..features() })
}

/// A version that we do not know: version 0 of the answer, which every client can read, says which we do (W2).
pub(crate) fn unsupported(_shard: &mut Shard, request: &Request) -> Handled {
    let api_keys = served().filter(|api| api.api_key == ApiKey::ApiVersions.code()).collect();
    let error_code = ErrorCode::UnsupportedVersion.code();
    let answer = ApiVersionsResponse { error_code, api_keys, ..ApiVersionsResponse::default() };
    Ok(Outcome::Answer(encode_response(&answer, 0, request.head.correlation_id)?.into()))
}

fn refused(error: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: error.code(), ..ApiVersionsResponse::default() }
}

/// What has a handler, in Kafka's order.
fn served() -> impl Iterator<Item = ApiVersion> {
    SERVED.iter().filter(|served| route(served.key).is_some()).map(|served| ApiVersion {
        api_key: served.key.code(),
        min_version: served.advertised_min,
        max_version: served.max,
    })
}

/// Features are named only when what they stand for is served: no `group.version`, no `transaction.version`.
fn features() -> ApiVersionsResponse {
    let name = || "metadata.version".to_string();
    ApiVersionsResponse {
        supported_features: vec![SupportedFeatureKey {
            name: name(),
            min_version: METADATA_VERSION_MIN,
            max_version: METADATA_VERSION,
        }],
        finalized_features_epoch: 0,
        finalized_features: vec![FinalizedFeatureKey {
            name: name(),
            max_version_level: METADATA_VERSION,
            min_version_level: METADATA_VERSION,
        }],
        ..ApiVersionsResponse::default()
    }
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_software_word(word: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let ends = [word.bytes().next(), word.bytes().next_back()];
    ends.into_iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric())) && word.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w4_software_words() {
        for good in ["a", "librdkafka", "2.1.0-beta.1", "a--b"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a_b", "ä"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }
}
