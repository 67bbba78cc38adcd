//! The producer's settings, from files and from the command line.

use kafka_producer::ProducerConfig;

use crate::arguments::{Arguments, pair};

/// Reads the files of `--producer.config` and `--command-config`, then the pairs of the options in `properties`, which
/// override the files.
pub(crate) fn of<const N: usize>(
    arguments: &Arguments,
    client_id: &str,
    properties: [&'static str; N],
) -> Result<ProducerConfig, String> {
    let mut config = ProducerConfig::new().client_id(client_id);
    for file in arguments
        .values("--producer.config")
        .chain(arguments.values("--command-config"))
    {
        config
            .load_properties_file(file)
            .map_err(|error| error.to_string())?;
    }
    for property in properties
        .into_iter()
        .flat_map(|option| arguments.values(option))
    {
        let (name, value) = pair(property)?;
        set(&mut config, name, value)?;
    }
    Ok(config)
}

pub(crate) fn set(config: &mut ProducerConfig, name: &str, value: &str) -> Result<(), String> {
    config.set(name, value).map_err(|error| error.to_string())
}
