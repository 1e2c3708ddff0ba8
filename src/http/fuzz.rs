//! Entry points for fuzzing, as `crate::protocol::fuzz` has them for the wires: any bytes in, and nothing may panic. Compiled for
//! `cargo fuzz` and unit tests only.

use super::message::check_answer_header;
use super::route::{components, find, Found, Method, Pattern, MAX_COMPONENTS};
use super::text::{
    accepts_gzip, content_type, is_compressible, is_header_name, is_header_value, percent_decode,
    query_parameters, MAX_QUERY_PARAMETERS,
};

/// A line each: a pattern, a method, a path, a query, the name and the value of a header.
pub fn texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (pattern, method, path) = (next(), next(), next());
    routed(pattern, method, path);
    // What was decoded once is no longer than it was; what has nothing to decode stays.
    for part in [pattern, path] {
        for form in [false, true] {
            let decoded = percent_decode(part, form);
            assert!(decoded.as_ref().is_none_or(|decoded| decoded.len() <= part.len()));
            assert!(part.contains(['%', '+']) || decoded.as_deref() == Some(part));
        }
    }
    let query = next();
    let parameters = query_parameters(query);
    assert!(parameters.len() <= MAX_QUERY_PARAMETERS);
    let len = |(name, value): &(String, Option<String>)| name.len() + value.as_ref().map_or(0, String::len);
    assert!(parameters.iter().map(len).sum::<usize>() <= query.len());
    let (name, value) = (next(), next());
    let _accepted = accepts_gzip(value);
    let _packable = is_compressible(value);
    assert!(is_header_value(content_type(path)));
    assert!(!is_header_name(name) || !name.contains(['\r', ' ', ':']));
    assert!(!is_header_value(value) || !value.contains(['\r', '\0']));
    assert!(check_answer_header(name, value).is_err() || (is_header_name(name) && is_header_value(value)));
}

/// What a path comes to with a route of this pattern.
fn routed(pattern: &str, method: &str, path: &str) {
    let parts = components(path);
    assert!(parts.iter().flatten().all(|part| !part.contains('\0')));
    assert!(parts.as_ref().is_none_or(|parts| parts.len() <= MAX_COMPONENTS));
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let found = find([(Method::Get, &pattern)], Method::of(method), path);
    let Found::Route(index, params) = found else { return };
    // Each component stands for one name at most, in order, and none is empty.
    let parts = parts.expect("what has no components matches nothing");
    let mut rest = parts.iter();
    for value in params.iter().flat_map(|(_, values)| values) {
        assert!(!value.is_empty() && rest.any(|part| part == value));
    }
    assert!(index == 0 && params.iter().all(|(name, values)| !name.is_empty() && !values.is_empty()));
    assert_eq!(Pattern::parse(pattern.text()).ok(), Some(pattern));
}
