//! What every command that connects is told about its server.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gamekeeper::client::{ClientConfig, ServerKey, StreamClient, StreamTls, TlsTrust, Wire};

use crate::framing::TcpArguments;
use crate::keys::known_keys;
use crate::password::PasswordArguments;
use crate::Failure;

#[derive(Args)]
pub struct Remote {
    /// The server: HOST:PORT
    pub address: String,
    /// The server's public key: 64 hexadecimal digits, or a file with a native, a P-256 or a root key
    #[arg(long, value_name = "HEX|FILE", conflicts_with = "insecure")]
    key: Option<String>,
    /// Believe whoever answers
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    password: PasswordArguments,
    /// How to talk
    #[arg(long, value_enum, default_value_t = WireName::Native)]
    wire: WireName,
    #[command(flatten)]
    tcp: TcpArguments,
    #[command(flatten)]
    tls: TlsArguments,
}

#[derive(Args)]
struct TlsArguments {
    /// Speak TLS with a server whose certificate leads to one in this file (PEM)
    #[arg(long, requires = "tcp", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Speak TLS with a server whose own certificate is in this file (PEM), whatever name it is for
    #[arg(long, requires = "tcp", value_name = "FILE", conflicts_with = "tls_ca")]
    tls_cert: Option<PathBuf>,
    /// Speak TLS with whoever answers
    #[arg(long, requires = "tcp", conflicts_with_all = ["tls_ca", "tls_cert"])]
    tls_insecure: bool,
    /// The name that the server's certificate is for; the host of its address where it is not said
    #[arg(long, requires = "tcp", value_name = "NAME")]
    tls_name: Option<String>,
}

impl TlsArguments {
    fn read(&self) -> Result<Option<StreamTls>, Failure> {
        let trust = match (&self.tls_ca, &self.tls_cert) {
            (Some(file), _) => TlsTrust::Authorities(file.clone()),
            (None, Some(file)) => TlsTrust::Certificate(file.clone()),
            (None, None) if self.tls_insecure => TlsTrust::Anybody,
            (None, None) if self.tls_name.is_some() => {
                return Err("--tls-name says whom to expect: --tls-ca must say how that is proved".into())
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(StreamTls { trust, server_name: self.tls_name.clone() }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WireName {
    /// gamekeeper's own protocol
    Native,
    /// The protocol of mpgameserver, whose servers it reaches too
    Mpgameserver,
}

impl Remote {
    /// The configuration of a client. Without a key, `--insecure` must have been said, unless there is nothing to
    /// lose: `harmless` is for commands that send nothing of the user's but the password.
    pub fn config(&self, harmless: bool) -> Result<ClientConfig, Failure> {
        let password = self.password.read()?.map(String::into_bytes);
        let server_key = match &self.key {
            Some(text) => ServerKey::Pinned(known_keys(text)?),
            // In a stream only TLS proves who is there, and whoever asks for one knows it.
            None if self.insecure || self.tcp.tcp || (harmless && password.is_none()) => ServerKey::Any,
            None => return Err("whom to believe? --key pins the server's key, --insecure takes any".into()),
        };
        let stream = StreamClient {
            framing: self.tcp.framing.into(),
            password_in_clear: self.tcp.password_in_clear,
            tls: self.tls.read()?,
            ..StreamClient::default()
        };
        let config = ClientConfig { wire: self.wire(), stream, password, ..ClientConfig::new(server_key) };
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// Why there is no session, with the address that it was to be with.
    pub fn failure(&self, why: &str) -> Failure {
        match why.contains(&self.address) {
            true => why.to_owned(),
            false => format!("{}: {why}", self.address),
        }
    }

    pub fn wire(&self) -> Wire {
        match self.wire {
            _ if self.tcp.tcp => Wire::Stream,
            WireName::Native => Wire::Native,
            WireName::Mpgameserver => Wire::Mpgameserver,
        }
    }
}
