//! The AWS region for which a signature is valid: that of the cluster.

use super::environment::Environment;

/// The part of a region's name before its number.
const DIRECTIONS: &str = "north south east west central northeast northwest southeast southwest northcentral southcentral";

/// The part of a region's name before its direction, for names that do not end in one of [`DOMAINS`].
const AREAS: &str = "us us-gov us-iso us-isob us-isof eu eu-isoe eusc-de ap sa ca me af il mx cn";

/// The domains of AWS. Before them, the form of a label tells that it is a region, so new regions are recognised, too.
const DOMAINS: [&str; 8] = [
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
    ".cloud.adc-e.uk",
    ".csp.hci.ic.gov",
];

/// Returns the region that the name of a broker has in it, as those of MSK have. As with Java's library, a name of your own can
/// have one, too, also as a part of a label, as in `kafka-us-east-1.example.com`. There it must be one of the known areas: the
/// label of `rack-east-1.example.com` is no region. The last label with a region counts.
pub(super) fn of_host(host: &str) -> Option<&str> {
    let is_aws = DOMAINS.iter().any(|domain| {
        let start = host.len().checked_sub(domain.len());
        start.is_some_and(|start| {
            host.get(start..)
                .is_some_and(|end| end.eq_ignore_ascii_case(domain))
        })
    });
    let mut labels = host.split('.').rev();
    match is_aws {
        true => labels.find(|label| is_region(label)),
        false => labels.find_map(known_region_in),
    }
}

/// Returns the region of a known area that a label has between hyphens, or at its beginning or end. The name of an
/// availability zone, such as `us-east-1a`, has its region.
fn known_region_in(label: &str) -> Option<&str> {
    let starts = std::iter::once(0).chain(label.match_indices('-').map(|(at, _)| at + 1));
    starts
        .filter_map(|start| Some(&label[start..][..known_region_at(&label[start..])?]))
        // The one with the longest area: `us-gov-west-1`.
        .max_by_key(|region| region.len())
}

/// Returns the length of the region of a known area with which a text begins.
fn known_region_at(text: &str) -> Option<usize> {
    let areas = AREAS.split(' ');
    areas
        .filter_map(|area| {
            let rest = text.strip_prefix(area)?.strip_prefix('-')?;
            let (direction, rest) = rest.split_once('-')?;
            DIRECTIONS.split(' ').find(|known| *known == direction)?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let end = &rest[digits..];
            let is_end = end.is_empty()
                || end.starts_with('-')
                || matches!(end.as_bytes(), [b'a'..=b'f'] | [b'a'..=b'f', b'-', ..]);
            let is_number = (1..=2).contains(&digits);
            (is_number && is_end).then(|| text.len() - end.len())
        })
        .max()
}

/// Returns the region that the environment names.
pub(super) fn of_environment(environment: &Environment) -> Option<String> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|name| environment.text(name))
        .filter(|name| is_legal(name))
}

/// Returns whether a text can be the name of a region. The name becomes a part of host names.
pub(super) fn is_legal(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len()) && name.bytes().all(is_legal)
}

/// Returns whether a text has the form of AWS's regions, as in `eu-central-1`, `us-gov-west-1`, `eusc-de-east-1`.
fn is_region(label: &str) -> bool {
    let parts: Vec<_> = label.split('-').collect();
    let (area, country, direction, number) = match parts[..] {
        [area, direction, number] => (area, None, direction, number),
        [area, country, direction, number] => (area, Some(country), direction, number),
        _ => return false,
    };
    let is_word = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    is_word(area, 2..=4)
        && country.is_none_or(|country| is_word(country, 2..=4))
        && DIRECTIONS.split(' ').any(|known| known == direction)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_of_an_aws_host_is_the_last_label_that_has_its_form() {
        for (host, region) in [
            (
                "b-1.demo.abcde1.c2.kafka.eu-central-1.amazonaws.com",
                Some("eu-central-1"),
            ),
            (
                "b-1-public.demo.abcde1.c2.kafka.us-west-2.amazonaws.com",
                Some("us-west-2"),
            ),
            (
                "boot-abcde.c1.kafka-serverless.ap-southeast-3.amazonaws.com",
                Some("ap-southeast-3"),
            ),
            (
                "b-1.demo.abcde1.c2.kafka.cn-northwest-1.amazonaws.com.cn",
                Some("cn-northwest-1"),
            ),
            (
                "b-1.demo.abcde1.c2.kafka.us-gov-west-1.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            (
                "b-1.demo.abcde1.c2.kafka.us-iso-east-1.c2s.ic.gov",
                Some("us-iso-east-1"),
            ),
            (
                "b-1.demo.abcde1.c2.kafka.us-isob-east-1.sc2s.sgov.gov",
                Some("us-isob-east-1"),
            ),
            (
                "b-1.demo.abcde1.c2.kafka.eusc-de-east-1.amazonaws.eu",
                Some("eusc-de-east-1"),
            ),
            (
                "vpce-1.vpce-svc-1.ap-northeast-1.vpce.amazonaws.com",
                Some("ap-northeast-1"),
            ),
            (
                "boot-abcde.c1.kafka-serverless.us-east-1.amazonaws.com",
                Some("us-east-1"),
            ),
            // Private connectivity of MSK, and a region that is newer than this list.
            (
                "b-1.scram.demo.abcde1.c2.kafka.us-east-1.amazonaws.com",
                Some("us-east-1"),
            ),
            (
                "b-1.demo.abcde1.c2.kafka.nz-southeast-7.amazonaws.com",
                Some("nz-southeast-7"),
            ),
            // The name of a cluster is not its region.
            (
                "b-1.eu-west-1.abcde1.c2.kafka.us-east-1.AmazonAWS.com",
                Some("us-east-1"),
            ),
        ] {
            assert_eq!(of_host(host), region, "{host}");
        }
    }

    #[test]
    fn a_name_of_your_own_may_have_the_region_of_a_known_area_in_a_label() {
        for (host, region) in [
            ("kafka.us-east-1.corp.example.com", Some("us-east-1")),
            ("kafka-us-east-1.example.com", Some("us-east-1")),
            ("us-gov-west-1-kafka.example.com", Some("us-gov-west-1")),
            ("kafka-eusc-de-east-1-b.example.com", Some("eusc-de-east-1")),
            ("b-1-us-east-1a.example.com", Some("us-east-1")),
            ("us-east-1a.example.com", Some("us-east-1")),
            ("us-east-1a-2.example.com", Some("us-east-1")),
            ("kafka.example.com", None),
            ("ca-rack-1.example.com", None),
            ("rack-east-1.example.com", None),
            ("demo-north-1.example.com", None),
            ("bus-east-1.example.com", None),
            ("us-east-1x9.example.com", None),
            ("us-east-123.example.com", None),
            ("us-east.example.com", None),
            ("us-east-é.example.com", None),
            ("é-us-east-1.example.com", Some("us-east-1")),
            ("10.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(of_host(host), region, "{host}");
        }
    }

    #[test]
    fn the_environment_names_a_region() {
        let region = |variables: &[_]| of_environment(&Environment::of_list(variables));
        assert_eq!(
            region(&[("AWS_REGION", "us-east-1"), ("AWS_DEFAULT_REGION", "x")]).unwrap(),
            "us-east-1"
        );
        assert_eq!(
            region(&[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "eu-west-1")]).unwrap(),
            "eu-west-1"
        );
        assert_eq!(
            region(&[("AWS_REGION", "evil.example.com/"), ("", "")]),
            None
        );
    }
}
