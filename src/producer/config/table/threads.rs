//! The producer's own threads.

macro_rules! threads {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// How many threads compress batches, write them and retry; each owns a share of the partitions. Java has no
            /// such setting. `auto`: one for every two cores, with compression one for each core, from 1 to 4.
            "sender.threads", sender_threads(usize): Option<usize> = threads(),
                default "auto", range "auto or 1 to 64";
        }
    };
}

pub(crate) use threads;
