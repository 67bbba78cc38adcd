//! Codecs and their levels.

macro_rules! compression {
    ($($before:tt)*) => {
        $crate::producer::config::table::next_group! {
            $($before)*

            /// How batches are compressed. Each but `none` needs the Cargo feature of that name.
            "compression.type", compression(CompressionType): CompressionType = choice(),
                default "none", range "none, gzip, snappy, lz4, zstd";

            /// The level of gzip: 1 is fastest, 9 gives the smallest batches, -1 is gzip's default.
            "compression.gzip.level", compression_gzip_level(i32): i32 = gzip_level(),
                default "-1", range "-1 or 1 to 9";

            /// Accepted from Java's files, without effect: the built-in codec has one level. With `compression.type=lz4`, a
            /// value other than the default is logged as a warning.
            "compression.lz4.level", compression_lz4_level(i32): i32 = level(1, 17),
                default "9", range "1 to 17";

            /// The level of zstd: a higher level gives smaller batches and takes longer.
            "compression.zstd.level", compression_zstd_level(i32): i32 = level(-131_072, 22),
                default "3", range "-131072 to 22";
        }
    };
}

pub(crate) use compression;
