//! The C ABI: the only floor with raw pointers from outside. It translates and guards; what it calls is
//! what Rust users call.
//!
//! The documentation of the exported items is the documentation of `include/gamekeeper.h`, which is made
//! from these files by `tests/header.rs`. cbindgen reads source text and does not expand macros: so every
//! exported function is written out.
//!
//! A new function: document it with `Thread:` and `Ownership:` lines; put its body into
//! `panic::fallible` or `server::with_server`; check pointers with `not_null!`; write out parameters
//! last and only on success; list it in its object's type documentation; bless the header; add it to
//! `tests/c/arguments.c`. A new field: append it to its struct behind the last one, and to its
//! `versioned!` list; no padding may stand between or behind the fields; its default must be what a
//! caller that does not know the field expects.

// The names are the header's.
#![allow(non_camel_case_types)]
// What a caller must keep to is written for C callers, under `Thread:` and `Ownership:` and in the header's chapters.
#![allow(clippy::missing_safety_doc)]
// The same texts are the header's: what stands in brackets there is an IPv6 address.
#![allow(rustdoc::broken_intra_doc_links)]

#[macro_use]
mod macros;
mod arguments;
pub mod callbacks;
pub mod client;
pub mod client_callbacks;
pub mod client_context;
pub mod conditions;
pub mod content;
pub mod context;
pub mod dashboard;
pub mod discover;
pub mod events;
pub mod file_doors;
pub mod files;
mod handler;
pub mod http;
pub mod key;
mod panic;
pub mod peer;
pub mod result;
pub mod send;
pub mod send_many;
pub mod server;
pub mod stats;
pub mod stream_tls;
pub mod streams;
pub mod version;
pub mod versioned;
