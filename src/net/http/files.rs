//! Files below a directory, and nothing else.

use std::fs::File;
use std::path::{Path, PathBuf};

/// What a directory gives for a path that names it.
const INDEX: &str = "index.html";

/// A file to be given.
pub struct Found {
    pub file: File,
    pub length: u64,
    /// Its name, for its type.
    pub name: String,
}

/// Whether a component names something below where it stands, and nothing hidden. Backslash and colon are separators on some
/// systems.
fn is_plain(component: &str) -> bool {
    !component.is_empty() && !component.starts_with('.') && !component.contains(['/', '\\', ':', '\0'])
}

/// The path of these components below `root`, if it cannot leave it: links are followed, and what they lead to has to be below
/// `root` too.
pub fn join(root: &Path, components: &[String]) -> Option<PathBuf> {
    if !components.iter().all(|component| is_plain(component)) {
        return None;
    }
    let root = root.canonicalize().ok()?;
    let mut path = root.clone();
    path.extend(components);
    let path = path.canonicalize().ok()?;
    path.starts_with(&root).then_some(path)
}

/// Opens the file of these components below `root`; of a directory its index.
pub fn open(root: &Path, components: &[String]) -> Option<Found> {
    let mut path = join(root, components)?;
    if path.is_dir() {
        let mut components = components.to_vec();
        components.push(INDEX.to_owned());
        path = join(root, &components)?;
    }
    // A pipe would keep whoever opens it.
    if !path.is_file() {
        return None;
    }
    let file = File::open(&path).ok()?;
    let data = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Some(Found { length: data.len(), file, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("gamekeeper-files-{}-{name}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("root/sub")).unwrap();
        for file in ["secret", "root/a.txt", "root/.hidden", "root/index.html", "root/sub/b.txt"] {
            fs::write(path.join(file), file).unwrap();
        }
        path
    }

    fn components(path: &str) -> Vec<String> {
        path.split('|').filter(|c| !c.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn nothing_outside_of_the_root_is_opened() {
        let base = directory("walls");
        let root = base.join("root");
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(base.join("secret"), root.join("out")).unwrap();
            symlink(&base, root.join("up")).unwrap();
            symlink(root.join("a.txt"), root.join("in")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
        }
        for (path, found) in [
            ("a.txt", true),
            ("", true),
            ("sub|b.txt", true),
            ("sub", false),
            ("in", cfg!(unix)),
            ("out", false),
            ("up|secret", false),
            ("loop", false),
            ("..|secret", false),
            ("sub|..|..|secret", false),
            (".", false),
            (".hidden", false),
            ("../secret", false),
            ("..\\secret", false),
            ("a.txt\0", false),
            ("C:a.txt", false),
            ("a.txt|", true),
            ("a.txt|b", false),
            ("missing", false),
        ] {
            assert_eq!(open(&root, &components(path)).is_some(), found, "{path:?}");
        }
        assert!(open(&root, &["/etc/passwd".to_owned()]).is_none());
        assert!(open(&base.join("nowhere"), &components("a.txt")).is_none());
        fs::remove_dir_all(&base).unwrap();
    }
}
