//! The one table of the producer's settings, with a file for each group.
//!
//! [`for_each_setting`] passes all rows, group after group, to another macro. From the rows come the configuration's fields,
//! setters, parser and checks, the builder's setters, and the README's table. There are two forms of row:
//!
//! ```text
//! docs "property", setter(argument): field type = how to read it, default "text", range "text";
//! docs "property" = how to read it, default "text", range "text";
//! ```
//!
//! The first form has a typed field and a typed setter. The second form is for a setting that few people set in code: it
//! is set by name only, and the part that needs it reads its text. How to read it is a [`Kind`](super::value::Kind) in
//! both forms, so both are checked in the same way.

mod batching;
mod bootstrap;
mod compression;
mod connection;
mod delivery;
mod metadata;
mod oauth;
mod partitioning;
mod providers;
mod sasl;
mod security;
mod threads;

pub(crate) use batching::batching;
pub(crate) use bootstrap::bootstrap;
pub(crate) use compression::compression;
pub(crate) use connection::connection;
pub(crate) use delivery::delivery;
pub(crate) use metadata::metadata;
pub(crate) use oauth::oauth;
pub(crate) use partitioning::partitioning;
pub(crate) use providers::providers;
pub(crate) use sasl::sasl;
pub(crate) use security::security;
pub(crate) use threads::threads;

/// Calls the macro `$callback` with every row of the table.
macro_rules! for_each_setting {
    ($callback:ident) => {
        $crate::producer::config::table::next_group! {
            $callback [bootstrap metadata batching compression partitioning delivery connection security sasl oauth threads providers]
        }
    };
}

/// Adds the rows of the next group, whose macro calls this one again. Passes all rows to the callback after the last group.
macro_rules! next_group {
    ($callback:ident [] $($rows:tt)*) => {
        $callback! { $($rows)* }
    };
    ($callback:ident [$group:ident $($later:ident)*] $($rows:tt)*) => {
        $crate::producer::config::table::$group! { $callback [$($later)*] $($rows)* }
    };
}

pub(crate) use {for_each_setting, next_group};
