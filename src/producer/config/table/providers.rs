//! Where values come from.

macro_rules! providers {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// The names of the config providers. When the producer is built, they fill in `${NAME:KEY}` and
            /// `${NAME:PATH:KEY}` in the values of settings. `config.providers.NAME.class` is `FileConfigProvider`
            /// (a properties file PATH), `DirectoryConfigProvider` (a file KEY in the directory PATH) or
            /// `EnvVarConfigProvider` (an environment variable), also with Java's package before it.
            /// `config.providers.NAME.param.allowed.paths` and, for variables,
            /// `config.providers.NAME.param.allowlist.pattern` restrict them.
            "config.providers" = provider_names(),
                default "", range "names, separated by commas";
        }
    };
}

pub(crate) use providers;
