//! Names that strangers give to files, made safe on every system that may see them.

/// Bytes of a safe name at most; with what temporary names and numbers add it stays below 255, which file systems commonly take.
pub const MAX_SAFE_NAME: usize = 200;
/// What a name becomes of which nothing is left.
const NAMELESS: &str = "file";
/// Bytes of an extension that is kept when a name is cut.
const MAX_EXTENSION: usize = 16;
/// Devices of Windows: reserved in every directory, with any extension.
const DEVICES: &[&str] = &["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"];

/// The base name in `name`: no separators, no control characters, nothing that a shell or Windows takes for something else, not
/// hidden, never empty, at most [`MAX_SAFE_NAME`] bytes.
pub fn safe(name: &str) -> String {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = base
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| if matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') { '_' } else { c })
        .collect();
    // A dot in front hides a file; dots and spaces behind it are dropped by Windows, and would make two names one.
    let clean = clean.trim_start_matches(['.', ' ']).trim_end_matches(['.', ' ']);
    if clean.is_empty() {
        return NAMELESS.to_owned();
    }
    let clean = if is_device(clean) { format!("_{clean}") } else { clean.to_owned() };
    cut(&clean)
}

/// The same name with a number before its extension.
pub fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}-{number}.{extension}"),
        _ => format!("{name}-{number}"),
    }
}

/// A text from outside for a terminal or a log: without control characters, and without those that reverse what stands around.
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !is_invisible(*c)).collect()
}

/// Control characters, and those that change the direction of a text or show nothing: `exe.txt` could be read as another name.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let port = |kind| {
        let number = stem.strip_prefix(kind).unwrap_or_default();
        let mut digits = number.chars();
        matches!((digits.next(), digits.next()), (Some('0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'), None))
    };
    DEVICES.contains(&stem.as_str()) || port("COM") || port("LPT")
}

fn cut(name: &str) -> String {
    if name.len() <= MAX_SAFE_NAME {
        return name.to_owned();
    }
    let extension = name.rfind('.').and_then(|at| name.get(at..)).filter(|e| e.len() <= MAX_EXTENSION);
    let extension = extension.unwrap_or_default();
    let mut end = MAX_SAFE_NAME - extension.len();
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    // What it ends with now may be a dot or a space again.
    let stem = name.get(..end).unwrap_or_default().trim_end_matches(['.', ' ']);
    format!("{stem}{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_a_directory() {
        for (given, safe_name) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\Windows\\system32\\cmd.exe", "cmd.exe"),
            ("/", "file"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            ("...", "file"),
            ("a/..", "file"),
            (".bashrc", "bashrc"),
            (". .hidden", "hidden"),
            ("a\0b\nc\u{1b}[31m", "abc[31m"),
            ("C:evil", "C_evil"),
            ("stream.txt:ads", "stream.txt_ads"),
            ("gpj.\u{202e}exe", "gpj.exe"),
            ("trailing. . ", "trailing"),
            ("con", "_con"),
            ("NUL.txt", "_NUL.txt"),
            ("com1 .log", "_com1 .log"),
            ("LPT\u{b2}", "_LPT\u{b2}"),
            ("COM10", "COM10"),
            ("console", "console"),
            ("a?b*c", "a_b_c"),
        ] {
            assert_eq!(safe(given), safe_name, "{given:?}");
        }
    }

    #[test]
    fn long_names_are_cut_between_characters_and_keep_their_extension() {
        let long = format!("{}.tar", "ä".repeat(300));
        let name = safe(&long);
        assert!(name.len() <= MAX_SAFE_NAME && name.len() > MAX_SAFE_NAME - 4 && name.ends_with("ä.tar"));
        assert!(safe(&"x".repeat(5000)).len() == MAX_SAFE_NAME);
        assert!(safe(&format!("a.{}", "y".repeat(5000))).len() <= MAX_SAFE_NAME);
    }

    /// Whatever comes, what it becomes is safe, and stays as it is when it is made safe again.
    #[test]
    fn safe_names_are_safe() {
        let parts = [
            "..",
            "/",
            "\\",
            "a",
            ".",
            " ",
            "CON",
            "\0",
            "\u{202e}",
            "é",
            ":",
            "COM1",
            "x".repeat(150).as_str(),
        ]
        .map(str::to_owned);
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut given = String::new();
            for _ in 0..6 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                given.push_str(&parts[(state >> 33) as usize % parts.len()]);
            }
            let name = safe(&given);
            assert!(!name.is_empty() && name.len() <= MAX_SAFE_NAME + 1, "{given:?}");
            assert!(!name.starts_with('.') && !name.contains(['/', '\\', '\0', ':']), "{given:?} {name:?}");
            assert!(!name.ends_with(['.', ' ']) && !is_device(&name), "{given:?} {name:?}");
            assert_eq!(safe(&name), name, "{given:?}");
        }
    }

    #[test]
    fn numbers_stand_before_the_extension() {
        assert_eq!(numbered("a.tar.gz", 2), "a.tar-2.gz");
        assert_eq!(numbered("a", 1), "a-1");
    }
}
