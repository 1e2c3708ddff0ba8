//! Texts of HTTP: percent-encoding, queries, headers, kinds of content.

/// Most parameters of a query that are read; those beyond it are left out.
pub const MAX_QUERY_PARAMETERS: usize = 256;

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Decodes `%41` to `A`, and `+` to a space where the text is of a form. A `%` without two digits stays. `None`: the result
/// is not UTF-8.
pub fn percent_decode(text: &str, form: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = (bytes.get(at + 1).copied().and_then(hex), bytes.get(at + 2).copied().and_then(hex));
        match (byte, digits) {
            (b'%', (Some(high), Some(low))) => {
                out.push(high << 4 | low);
                at += 3;
                continue;
            }
            (b'+', _) if form => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

/// The parameters of a query, in order. One without `=` has no value; one that does not decode to UTF-8 is left out.
pub fn query_parameters(query: &str) -> Vec<(String, Option<String>)> {
    let parts = query.split('&').filter(|part| !part.is_empty()).take(MAX_QUERY_PARAMETERS);
    parts
        .filter_map(|part| match part.split_once('=') {
            Some((name, value)) => Some((percent_decode(name, true)?, Some(percent_decode(value, true)?))),
            None => Some((percent_decode(part, true)?, None)),
        })
        .collect()
}

/// Whether a header can be called so.
pub fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(token)
}

/// Whether a header can have this value: no control character but the tab, and so no line end.
pub fn is_header_value(value: &str) -> bool {
    value.len() <= 8192 && value.bytes().all(|byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
}

/// Whether what a client says it accepts has gzip in it, with a weight above zero.
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    let weight = |parameters: &str| {
        let q = parameters.split(';').find_map(|p| p.trim().strip_prefix("q="));
        q.map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0))
    };
    let mut any = None;
    for entry in accept_encoding.split(',').take(32) {
        let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => return weight(parameters) > 0.0,
            "*" => any = Some(weight(parameters) > 0.0),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

/// Whether content of this type becomes shorter when it is compressed.
pub fn is_compressible(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let applications = ["javascript", "json", "xml", "wasm", "manifest+json", "x-ndjson"];
    kind.starts_with("text/")
        || kind == "image/svg+xml"
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || kind.strip_prefix("application/").is_some_and(|kind| applications.contains(&kind))
}

/// The content type of a file, by the end of its name.
pub fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "css" => "text/css; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "gif" => "image/gif",
        "htm" | "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "jpeg" | "jpg" => "image/jpeg",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "md" | "txt" => "text/plain; charset=utf-8",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "ogg" => "audio/ogg",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        "wav" => "audio/wav",
        "webp" => "image/webp",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "xml" => "application/xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_decoded_once() {
        for (text, form, expected) in [
            ("a%41b", false, Some("aAb")),
            ("%2e%2E", false, Some("..")),
            ("%252e", false, Some("%2e")),
            ("a+b", false, Some("a+b")),
            ("a+b", true, Some("a b")),
            ("%", false, Some("%")),
            ("%4", false, Some("%4")),
            ("%zz", false, Some("%zz")),
            ("%c3%bc", false, Some("ü")),
            ("%c3", false, None),
        ] {
            assert_eq!(percent_decode(text, form).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn queries_keep_their_order_and_their_repetitions() {
        let parameters = query_parameters("a=1&b&&a=2+3&c=&%ff=1&d=%26");
        let shown: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}:{}", value.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(shown, ["a:1", "b:-", "a:2 3", "c:", "d:&"]);
        assert_eq!(query_parameters(&"a&".repeat(1000)).len(), MAX_QUERY_PARAMETERS);
    }

    #[test]
    fn gzip_is_accepted_where_it_is_said() {
        for (header, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("*", true),
            ("*;q=0", false),
            ("gzip;q=0, *", false),
            ("identity", false),
            ("", false),
            ("gzip;q=x", false),
        ] {
            assert_eq!(accepts_gzip(header), expected, "{header}");
        }
    }

    #[test]
    fn headers_cannot_smuggle_lines() {
        assert!(is_header_name("X-A") && is_header_value("a\tb ü"));
        for name in ["", "a b", "a:", "a\r\n", "ü"] {
            assert!(!is_header_name(name), "{name:?}");
        }
        for value in ["a\r\nb", "a\nb", "a\0", "\u{7f}"] {
            assert!(!is_header_value(value), "{value:?}");
        }
    }

    #[test]
    fn types_by_name() {
        assert_eq!(content_type("a.HTML"), "text/html; charset=utf-8");
        assert_eq!(content_type("noextension"), "application/octet-stream");
        assert!(is_compressible("text/html; charset=utf-8") && is_compressible("application/ld+json"));
        assert!(!is_compressible("image/png") && !is_compressible(""));
    }
}
