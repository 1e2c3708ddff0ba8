//! Routes: which pattern a path matches, and what stands in the pattern's names then.

use crate::error::{Error, ErrorKind, Result};
use crate::http::text::percent_decode;

/// Longest pattern in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024;
/// Most components of a path that is routed; a longer one matches nothing.
pub const MAX_COMPONENTS: usize = 128;

/// The methods that a route can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Ends what the path names.
    Delete,
    /// Asks for what the path names; HEAD is taken as GET without a body.
    Get,
    /// Hands something to what the path names.
    Post,
    /// Puts the body where the path says.
    Put,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] = [Method::Delete, Method::Get, Method::Post, Method::Put];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Method::Delete => "DELETE",
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }

    /// The method of a name, which is told apart by case; HEAD is GET. `None`: no route can have it.
    pub fn of(name: &str) -> Option<Method> {
        if name == "HEAD" {
            return Some(Method::Get);
        }
        Method::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// How many components a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    One,
    Optional,
    AtLeastOne,
    Any,
}

impl Count {
    fn takes(self, components: usize) -> bool {
        match self {
            Count::One => components == 1,
            Count::Optional => components <= 1,
            Count::AtLeastOne => components >= 1,
            Count::Any => true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Name(String, Count),
}

/// A pattern: literal components and names, with a slash before each. `:name` stands for exactly one component,
/// `:name?` for none or one, `:name+` for one or more, `:name*` for any number; at most one name of a pattern is of
/// the last three kinds. A slash at the end of pattern or path does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

impl Pattern {
    /// Reads a pattern. Errors: Argument (no slash in front, an empty component or name, the same name twice, two names that
    /// stand for a variable number of components, more than [`MAX_PATTERN_BYTES`] bytes).
    pub fn parse(text: &str) -> Result<Pattern> {
        let bad = |what: &str| {
            let shown: String = text.chars().take(80).collect();
            Error::new(ErrorKind::Argument, format!("the pattern {shown:?} {what}"))
        };
        if text.len() > MAX_PATTERN_BYTES {
            return Err(bad("is too long"));
        }
        let rest = text.strip_prefix('/').ok_or_else(|| bad("does not begin with a slash"))?;
        let rest = rest.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(rest);
        let mut parts = Vec::new();
        for component in rest.split('/').filter(|_| !rest.is_empty()) {
            let part = match component.strip_prefix(':') {
                Some(name) => name_of(name),
                None => Part::Literal(component.to_owned()),
            };
            match &part {
                Part::Literal(literal) if literal.is_empty() => return Err(bad("has an empty component")),
                Part::Name(name, _) if name.is_empty() => return Err(bad("has a name without characters")),
                Part::Name(name, _) if parts.iter().any(|p| matches!(p, Part::Name(n, _) if n == name)) => {
                    return Err(bad("has the same name twice"));
                }
                _ => parts.push(part),
            }
        }
        let variable = |part: &&Part| matches!(part, Part::Name(_, count) if *count != Count::One);
        if parts.iter().filter(variable).count() > 1 {
            return Err(bad("has two names that stand for a variable number of components"));
        }
        Ok(Pattern { text: text.to_owned(), parts })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names and what they stand for in a path of these components, if it matches. A name that stands for several
    /// has them with slashes between; one that stands for none is left out.
    fn matches(&self, components: &[String]) -> Option<Vec<(String, Vec<String>)>> {
        // What the one name of a variable number takes is what the others leave.
        let fixed = self.parts.iter().filter(|p| !matches!(p, Part::Name(_, c) if *c != Count::One)).count();
        let spare = components.len().checked_sub(fixed)?;
        let mut params = Vec::new();
        let mut rest = components;
        for part in &self.parts {
            let width = match part {
                Part::Literal(_) | Part::Name(_, Count::One) => 1,
                Part::Name(..) => spare,
            };
            let (taken, left) = rest.split_at_checked(width)?;
            rest = left;
            match part {
                Part::Literal(literal) if taken.first() != Some(literal) => return None,
                Part::Literal(_) => {}
                Part::Name(_, count) if !count.takes(width) => return None,
                // "/a//b" names nothing between its slashes.
                Part::Name(..) if taken.iter().any(String::is_empty) => return None,
                Part::Name(name, _) if width > 0 => params.push((name.clone(), taken.to_vec())),
                Part::Name(..) => {}
            }
        }
        rest.is_empty().then_some(params)
    }
}

fn name_of(name: &str) -> Part {
    let kinds = [('?', Count::Optional), ('+', Count::AtLeastOne), ('*', Count::Any)];
    for (mark, count) in kinds {
        if let Some(name) = name.strip_suffix(mark) {
            return Part::Name(name.to_owned(), count);
        }
    }
    Part::Name(name.to_owned(), Count::One)
}

/// The components of a path as it was sent: percent-decoded, the slash at the end left out. `None`: no path that could be
/// routed (it does not begin with a slash, is too deep, or what it decodes to is not UTF-8 or has a NUL).
pub fn components(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix('/')?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() {
        return Some(Vec::new());
    }
    if rest.split('/').count() > MAX_COMPONENTS {
        return None;
    }
    rest.split('/').map(|c| percent_decode(c, false).filter(|text| !text.contains('\0'))).collect()
}

/// What was found for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The route of this index, and the components that each of its names stands for.
    Route(usize, Vec<(String, Vec<String>)>),
    /// Only routes of these methods match.
    OtherMethods(Vec<Method>),
    /// Nothing matches.
    Nothing,
}

/// Finds the first of the routes that matches.
pub fn find<'a>(
    routes: impl IntoIterator<Item = (Method, &'a Pattern)>,
    method: Option<Method>,
    path: &str,
) -> Found {
    let Some(components) = components(path) else { return Found::Nothing };
    let mut others = Vec::new();
    for (index, (of, pattern)) in routes.into_iter().enumerate() {
        if let Some(params) = pattern.matches(&components) {
            if Some(of) == method {
                return Found::Route(index, params);
            }
            others.push(of);
        }
    }
    others.sort_unstable();
    others.dedup();
    if others.is_empty() {
        Found::Nothing
    } else {
        Found::OtherMethods(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, path: &str) -> Option<String> {
        let pattern = Pattern::parse(pattern).unwrap();
        let params = pattern.matches(&components(path)?)?;
        Some(
            params
                .into_iter()
                .map(|(name, values)| format!("{name}={}", values.join("/")))
                .collect::<Vec<_>>()
                .join(","),
        )
    }

    #[test]
    fn names_stand_for_as_many_components_as_they_say() {
        for (pattern, path, expected) in [
            ("/", "/", Some("")),
            ("/", "/a", None),
            ("/abc", "/abc", Some("")),
            ("/abc", "/abc/", Some("")),
            ("/abc/", "/abc", Some("")),
            ("/abc", "/abcd", None),
            ("/abc", "/ABC", None),
            ("/:a", "/one", Some("a=one")),
            ("/:a", "/one/", Some("a=one")),
            ("/:a", "/", None),
            ("/:a", "/one/two", None),
            ("/:a?", "/", Some("")),
            ("/:a?", "/one", Some("a=one")),
            ("/:a?", "/one/two", None),
            ("/:a+", "/", None),
            ("/:a+", "/one", Some("a=one")),
            ("/:a+", "/one/two", Some("a=one/two")),
            ("/:a*", "/", Some("")),
            ("/:a*", "/one/two/three", Some("a=one/two/three")),
            ("/x/:a*/y/:b", "/x/y/2", Some("b=2")),
            ("/x/:a*/y/:b", "/x/1/y/2", Some("a=1,b=2")),
            ("/x/:a+/y", "/x/y", None),
            ("/user/:name/file/:path+", "/user/ann/file/a/b.txt", Some("name=ann,path=a/b.txt")),
            ("/:a", "/a%20b%2Fc", Some("a=a b/c")),
            ("/:a", "//", None),
            ("/:a*", "/x//y", None),
            ("/%61", "/a", None),
            ("/:a", "/%00", None),
            ("/:a", "/%ff", None),
            ("/:a", "one", None),
        ] {
            assert_eq!(matched(pattern, path).as_deref(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in ["", "abc", "//", "/a//b", "/:", "/:?", "/:a/:a", "/:a*/:b?", "/:a+/:b+"] {
            let error = Pattern::parse(pattern).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument, "{pattern}");
        }
        assert!(Pattern::parse(&format!("/{}", "a".repeat(MAX_PATTERN_BYTES))).is_err());
        assert!(Pattern::parse(&format!("/{}", "a".repeat(MAX_PATTERN_BYTES - 1))).is_ok());
    }

    #[test]
    fn the_first_match_wins_and_other_methods_are_named() {
        let routes: Vec<(Method, Pattern)> = [
            (Method::Get, "/a/:x"),
            (Method::Get, "/a/b"),
            (Method::Put, "/a/b"),
            (Method::Delete, "/:all*"),
        ]
        .map(|(method, pattern)| (method, Pattern::parse(pattern).unwrap()))
        .into();
        let find =
            |method: &str, path: &str| find(routes.iter().map(|(m, p)| (*m, p)), Method::of(method), path);
        assert_eq!(find("GET", "/a/b"), Found::Route(0, vec![("x".into(), vec!["b".into()])]));
        assert_eq!(find("HEAD", "/a/b"), Found::Route(0, vec![("x".into(), vec!["b".into()])]));
        assert_eq!(find("PUT", "/a/b"), Found::Route(2, vec![]));
        assert_eq!(find("POST", "/a/b"), Found::OtherMethods(vec![Method::Delete, Method::Get, Method::Put]));
        assert_eq!(find("get", "/q"), Found::OtherMethods(vec![Method::Delete]));
        assert_eq!(find("GET", &"/x".repeat(MAX_COMPONENTS + 1)), Found::Nothing);
    }

    /// Whatever the bytes of pattern and path are: an answer, in bounded time.
    #[test]
    fn random_patterns_and_paths_have_an_answer() {
        use rand::{rngs::SmallRng, Rng, SeedableRng};
        let mut rng = SmallRng::seed_from_u64(7);
        let alphabet: Vec<char> = "/:?+*ab%20fF.\\ü\u{7f}".chars().collect();
        let mut text = |most: usize| -> String {
            (0..rng.random_range(0..most)).map(|_| alphabet[rng.random_range(0..alphabet.len())]).collect()
        };
        let mut valid = 0;
        for _ in 0..20_000 {
            let (pattern, path) = (format!("/{}", text(12)), format!("/{}", text(16)));
            let Ok(pattern) = Pattern::parse(&pattern) else { continue };
            valid += 1;
            if let Found::Route(_, params) = super::find([(Method::Get, &pattern)], Some(Method::Get), &path)
            {
                let values = params.iter().flat_map(|(_, values)| values);
                assert!(values.clone().all(|value| !value.is_empty()));
                assert!(values.count() <= components(&path).unwrap().len());
            }
        }
        assert!(valid > 1000, "{valid}");
    }
}
