//! The AWS region for which a signature is valid: that of the cluster.

use super::environment::Environment;

/// The part of a region's name before its number.
const DIRECTIONS: &str = "north south east west central northeast northwest southeast southwest northcentral southcentral";

/// Returns the region that the name of a broker has in it, as those of MSK have. Private names may have it, too, as Java's
/// client takes them.
pub(super) fn of_host(host: &str) -> Option<&str> {
    host.split('.').rev().find(|label| is_region(label))
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
    fn the_region_is_the_label_of_the_hosts_name_that_has_its_form() {
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
            ("kafka.us-east-1.corp.example.com", Some("us-east-1")),
            ("kafka.example.com", None),
            ("ca-rack-1.example.com", None),
            ("us-east-1a.example.com", None),
            ("us-east.example.com", None),
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
