//! Which APIs and versions we serve: Kafka 4.4's, for what is finished. What is not finished is not advertised.

pub use crate::header::{is_flexible, response_header_version};
pub use crate::messages::api_key::ApiKey;

/// One served API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The API.
    pub key: ApiKey,
    /// The first version that is accepted.
    pub min: i16,
    /// The last version that is accepted.
    pub max: i16,
    /// The first version that ApiVersions advertises.
    pub advertised_min: i16,
}

const fn served(key: ApiKey, min: i16, max: i16) -> Served {
    Served { key, min, max, advertised_min: min }
}

/// Everything that is served, in ascending order of keys.
///
/// - Produce is advertised from 0 and refused below 3: librdkafka before 2.11.1 takes an advertised minimum above 0 as
///   "no compression" (KAFKA-18659).
/// - OffsetCommit and OffsetFetch stop before version 10, whose topic ids break tools and which no client needs.
/// - Fetch stops before version 18, which carries a follower's high watermark (KIP-1166) to a leader with followers.
pub const SERVED: &[Served] = &[
    Served { key: ApiKey::Produce, min: 3, max: 13, advertised_min: 0 },
    served(ApiKey::Fetch, 4, 17),
    served(ApiKey::ListOffsets, 1, 11),
    served(ApiKey::Metadata, 0, 13),
    served(ApiKey::OffsetCommit, 2, 9),
    served(ApiKey::OffsetFetch, 1, 9),
    served(ApiKey::FindCoordinator, 0, 6),
    served(ApiKey::JoinGroup, 0, 9),
    served(ApiKey::Heartbeat, 0, 4),
    served(ApiKey::LeaveGroup, 0, 5),
    served(ApiKey::SyncGroup, 0, 5),
    served(ApiKey::DescribeGroups, 0, 6),
    served(ApiKey::ListGroups, 0, 5),
    served(ApiKey::ApiVersions, 0, 5),
    served(ApiKey::CreateTopics, 2, 7),
    served(ApiKey::DeleteTopics, 1, 6),
    served(ApiKey::DeleteRecords, 0, 2),
    served(ApiKey::InitProducerId, 0, 5),
    served(ApiKey::OffsetForLeaderEpoch, 2, 4),
    served(ApiKey::DescribeConfigs, 1, 4),
    served(ApiKey::AlterConfigs, 0, 2),
    served(ApiKey::DescribeLogDirs, 1, 5),
    served(ApiKey::CreatePartitions, 0, 3),
    served(ApiKey::DeleteGroups, 0, 3),
    served(ApiKey::IncrementalAlterConfigs, 0, 1),
    served(ApiKey::ListPartitionReassignments, 0, 0),
    served(ApiKey::OffsetDelete, 0, 0),
    served(ApiKey::DescribeCluster, 0, 2),
    served(ApiKey::DescribeProducers, 0, 0),
    served(ApiKey::ListConfigResources, 0, 1),
    served(ApiKey::DescribeTopicPartitions, 0, 0),
];

/// What to do with a request of this key and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// Decode the body and serve it.
    Serve(ApiKey),
    /// ApiVersions of a version that we do not have: answer version 0 with UNSUPPORTED_VERSION (KIP-511).
    AnswerApiVersionsV0,
    /// Close the connection without an answer, as Kafka does.
    Close,
}

/// Looks a request up in [`SERVED`].
pub fn receive(api_key: i16, version: i16) -> Reception {
    let found = ApiKey::from_code(api_key).and_then(|key| SERVED.iter().find(|served| served.key == key));
    match found {
        Some(served) if (served.min..=served.max).contains(&version) => Reception::Serve(served.key),
        Some(Served { key: ApiKey::ApiVersions, .. }) => Reception::AnswerApiVersionsV0,
        _ => Reception::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka 4.4's ranges for the APIs we serve, written down a second time, with our two caps and Produce's minimum.
    #[test]
    fn the_table_is_kafka_4_4_s() {
        let expected: &[(i16, i16, i16)] = &[
            (0, 0, 13),
            (1, 4, 17),
            (2, 1, 11),
            (3, 0, 13),
            (8, 2, 9),
            (9, 1, 9),
            (10, 0, 6),
            (11, 0, 9),
            (12, 0, 4),
            (13, 0, 5),
            (14, 0, 5),
            (15, 0, 6),
            (16, 0, 5),
            (18, 0, 5),
            (19, 2, 7),
            (20, 1, 6),
            (21, 0, 2),
            (22, 0, 5),
            (23, 2, 4),
            (32, 1, 4),
            (33, 0, 2),
            (35, 1, 5),
            (37, 0, 3),
            (42, 0, 3),
            (44, 0, 1),
            (46, 0, 0),
            (47, 0, 0),
            (60, 0, 2),
            (61, 0, 0),
            (74, 0, 1),
            (75, 0, 0),
        ];
        let advertised: Vec<_> = SERVED.iter().map(|s| (s.key.code(), s.advertised_min, s.max)).collect();
        assert_eq!(advertised, expected);
    }

    #[test]
    fn every_served_version_is_defined() {
        for served in SERVED {
            let (first, last) = served.key.defined_versions();
            assert!(first <= served.min && served.min <= served.max && served.max <= last, "{served:?}");
            assert!(served.advertised_min <= served.min, "{served:?}");
        }
    }

    /// librdkafka before 2.11.1 enables a feature only when a single exact version lies in the advertised range.
    #[test]
    fn the_exact_versions_that_librdkafka_looks_for_are_advertised() {
        let floors =
            [(0, 3), (0, 7), (1, 4), (1, 10), (2, 1), (8, 2), (9, 1), (10, 0), (11, 0), (14, 0), (12, 0), (13, 0)];
        for (key, version) in floors.into_iter().chain([(18, 0), (22, 0)]) {
            let served = SERVED.iter().find(|s| s.key.code() == key).unwrap();
            assert!((served.advertised_min..=served.max).contains(&version), "{key} v{version}");
            assert_eq!(receive(key, version), Reception::Serve(served.key));
        }
        assert_eq!(SERVED[0].advertised_min, 0, "KAFKA-18659");
    }

    #[test]
    fn what_is_not_served_closes_the_connection_except_api_versions() {
        assert_eq!(receive(0, 2), Reception::Close);
        assert_eq!(receive(0, 14), Reception::Close);
        assert_eq!(receive(0, -1), Reception::Close);
        assert_eq!(receive(4, 0), Reception::Close);
        assert_eq!(receive(i16::MAX, 0), Reception::Close);
        assert_eq!(receive(18, 6), Reception::AnswerApiVersionsV0);
        assert_eq!(receive(18, -1), Reception::AnswerApiVersionsV0);
    }
}
