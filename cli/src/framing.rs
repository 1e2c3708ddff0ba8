//! How messages are told apart in streams, as arguments.

use clap::{Args, ValueEnum};
use gamekeeper::client::Framing;

#[derive(Args)]
pub struct TcpArguments {
    /// Streams over TCP
    #[arg(long)]
    pub tcp: bool,
    /// How messages are told apart in them
    #[arg(long, value_enum, default_value_t = FramingName::Length, requires = "tcp")]
    pub framing: FramingName,
    /// The password may be told where others can read it on the way
    #[arg(long, requires = "tcp")]
    pub password_in_clear: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FramingName {
    /// Not at all: whatever one read brings
    Raw,
    /// By 32 bits of length in front of each
    Length,
    /// By the ends of lines
    Lines,
    /// By a JSON header in front of each
    Json,
}

impl From<FramingName> for Framing {
    fn from(name: FramingName) -> Framing {
        match name {
            FramingName::Raw => Framing::Raw,
            FramingName::Length => Framing::Length,
            FramingName::Lines => Framing::Lines,
            FramingName::Json => Framing::Json,
        }
    }
}
