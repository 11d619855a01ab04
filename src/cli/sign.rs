//! `chunkgate sign`: signs a request as a client would, for curl and for tests of an identity server.

mod message;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};

use crate::domain::{Clock as _, SystemClock, Timestamp, signing};

/// Arguments of `chunkgate sign`.
#[derive(Debug, Clone, Args)]
pub struct SignArgs {
    /// Names the key
    #[arg(long, env = "CHUNKGATE_API_KEY")]
    pub api_key: String,
    /// The key's secret; better given in the environment, where other users of the machine do not see it
    #[arg(long, env = "CHUNKGATE_SECRET", hide_env_values = true)]
    pub secret: SecretString,
    /// What to sign: unix seconds, milliseconds or RFC 3339 [default: now, in seconds]
    #[arg(long)]
    pub timestamp: Option<String>,
    /// How to sign
    #[arg(long, value_enum, default_value_t = Scheme::V1)]
    pub scheme: Scheme,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Headers)]
    pub format: Format,
    /// The request, for v2
    #[command(flatten)]
    pub request: RequestArgs,
}

/// The request that v2 signs.
#[derive(Debug, Clone, Default, Args)]
pub struct RequestArgs {
    /// Its method [default: GET]
    #[arg(long)]
    pub method: Option<String>,
    /// Its URL, as clients of the service write it
    #[arg(long, required_if_eq("scheme", "v2"))]
    pub url: Option<String>,
    /// A header that it will be sent with, to be covered; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The file that it will be sent with: its digest is printed as Content-Digest, and covered
    #[arg(long, value_name = "FILE")]
    pub body: Option<std::path::PathBuf>,
    /// What makes the signature good for one create, complete or cancel [default: random]
    #[arg(long)]
    pub nonce: Option<String>,
}

/// A signature scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scheme {
    /// HMAC-SHA256 over the timestamp.
    V1,
    /// HTTP message signature (RFC 9421) over the request.
    V2,
}

/// How a signature is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One header a line, for `curl -H @-`.
    Headers,
    /// One JSON object.
    Json,
    /// A query string without the question mark.
    Query,
}

/// Signs and prints.
///
/// # Errors
/// One sentence about the argument that cannot be used.
pub fn run(args: &SignArgs) -> Result<(), String> {
    println!("{}", signed(args, SystemClock.now())?);
    Ok(())
}

/// The text that [`run`] prints, signed at `now` unless the arguments say when.
///
/// # Errors
/// One sentence about the argument that cannot be used.
pub fn signed(args: &SignArgs, now: Timestamp) -> Result<String, String> {
    let timestamp = args.timestamp.clone().unwrap_or_else(|| now.as_second().to_string());
    if !signing::is_api_key(&args.api_key) {
        return Err("--api-key must be 1 to 256 visible ASCII characters".into());
    }
    if args.secret.expose_secret().is_empty() {
        return Err("--secret is empty; give it, or set CHUNKGATE_SECRET".into());
    }
    let Some(time) = signing::parse_timestamp(&timestamp) else {
        return Err("--timestamp must be unix seconds (10 digits), milliseconds (13 digits) or RFC 3339".into());
    };
    match args.scheme {
        Scheme::V1 => {
            let signature = signing::sign_v1(args.secret.expose_secret().as_bytes(), &timestamp);
            Ok(printed(args.format, &args.api_key, &timestamp, &signature))
        }
        Scheme::V2 => message::signed(args, time),
    }
}

fn printed(format: Format, api_key: &str, timestamp: &str, signature: &str) -> String {
    let parts = [("api_key", api_key), ("timestamp", timestamp), ("signature", signature)];
    match format {
        Format::Headers => format!("X-Api-Key: {api_key}\nX-Timestamp: {timestamp}\nX-Signature: {signature}"),
        Format::Json => {
            serde_json::json!({"api_key": api_key, "timestamp": timestamp, "signature": signature}).to_string()
        }
        Format::Query => form_urlencoded::Serializer::new(String::new()).extend_pairs(parts).finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "e79878a0dfdf6c69a40c41dd4c202e09480e0d8e94c2aab57dbba4c78ee20c46";

    fn args(timestamp: Option<&str>, format: Format) -> SignArgs {
        SignArgs {
            api_key: "demo-key".into(),
            secret: "demo-secret".into(),
            timestamp: timestamp.map(str::to_owned),
            scheme: Scheme::V1,
            format,
            request: RequestArgs::default(),
        }
    }

    #[test]
    fn three_formats() {
        let now = Timestamp::from_second(1_700_000_000).expect("valid");
        let printed = |format| signed(&args(None, format), now).expect("good arguments");
        let headers = format!("X-Api-Key: demo-key\nX-Timestamp: 1700000000\nX-Signature: {SIGNATURE}");
        assert_eq!(printed(Format::Headers), headers);
        assert_eq!(printed(Format::Query), format!("api_key=demo-key&timestamp=1700000000&signature={SIGNATURE}"));
        let json: serde_json::Value = serde_json::from_str(&printed(Format::Json)).expect("JSON");
        assert_eq!(json["signature"], SIGNATURE);
    }

    #[test]
    fn what_cannot_be_signed() {
        let now = Timestamp::UNIX_EPOCH;
        assert!(signed(&args(Some("now"), Format::Json), now).is_err());
        assert!(signed(&SignArgs { api_key: "a b".into(), ..args(None, Format::Json) }, now).is_err());
        assert!(signed(&SignArgs { secret: "".into(), ..args(Some("1700000000"), Format::Json) }, now).is_err());
        assert!(!format!("{:?}", args(None, Format::Json)).contains("demo-secret"));
    }
}
