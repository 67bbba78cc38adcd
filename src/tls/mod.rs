//! TLS: what a user's settings mean for it, stores of certificates and keys, and why a handshake failed. rustls does the
//! protocol itself. `connection::transport` carries the bytes.
