//! The format of `server.properties` (Java's `Properties`): comments, continued lines, escapes, three separators.
//! A pure function from text to pairs; must not touch: what the keys mean, files.

/// One assignment and the line it began on, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub line: usize,
    pub key: String,
    pub value: String,
}

/// The only thing that can be wrong with the format itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \\u must be followed by four hexadecimal digits")]
pub struct PropertiesError {
    pub line: usize,
}

/// All assignments in order; a later one of the same key is meant to win.
pub fn parse_properties(text: &str) -> Result<Vec<Property>, PropertiesError> {
    let mut found = Vec::new();
    let mut lines = split_lines(text).enumerate();
    while let Some((index, first)) = lines.next() {
        let line = index + 1;
        let start = first.trim_start_matches(is_blank);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_string();
        while continues(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(is_blank)),
                None => break,
            }
        }
        let (key, value) = split_assignment(&logical);
        found.push(Property { line, key: unescape(key, line)?, value: unescape(value, line)? });
    }
    Ok(found)
}

const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Lines end with LF, CR or CR LF.
fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// An odd number of backslashes at the end joins the next line; an even number is escaped backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1
}

/// The key ends at the first unescaped `=`, `:` or blank; blanks and at most one `=` or `:` separate it from the value.
fn split_assignment(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c| {
        let ends = !escaped && (c == '=' || c == ':' || is_blank(c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(is_blank))
}

fn unescape(text: &str, line: usize) -> Result<String, PropertiesError> {
    // Pairs of \u escapes make up characters beyond the first 65,536, so UTF-16 is collected first.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut buffer = [0u16; 2];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' {
            match chars.next() {
                Some('u') => {
                    let mut unit = 0u32;
                    for _ in 0..4 {
                        let digit = chars.next().and_then(|d| d.to_digit(16)).ok_or(PropertiesError { line })?;
                        unit = unit * 16 + digit;
                    }
                    units.push(unit as u16);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            }
        } else {
            c
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse_properties(text).unwrap().into_iter().map(|p| (p.key, p.value)).collect()
    }

    #[test]
    fn every_rule_of_the_format() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("a=b", &[("a", "b")]),
            ("a = b ", &[("a", "b ")]),
            ("a:b", &[("a", "b")]),
            ("a b", &[("a", "b")]),
            ("  a\t:\t b", &[("a", "b")]),
            ("a==b", &[("a", "=b")]),
            ("a : = b", &[("a", "= b")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("=b", &[("", "b")]),
            ("# c\n! d\n\n  # e\na=1", &[("a", "1")]),
            ("a=1#not a comment", &[("a", "1#not a comment")]),
            ("a=b,\\\n   c,\\\r\n d", &[("a", "b,c,d")]),
            ("a=1\\\\\nb=2", &[("a", "1\\"), ("b", "2")]),
            ("a=1\\", &[("a", "1")]),
            ("# comment \\\na=1", &[("a", "1")]),
            ("a\\=b\\:c\\ d=e", &[("a=b:c d", "e")]),
            ("a=\\t\\n\\q\\\\", &[("a", "\t\nq\\")]),
            ("a=\\u00e9\\uD83D\\uDE00", &[("a", "é😀")]),
            ("a=1\rb=2\r\nc=3", &[("a", "1"), ("b", "2"), ("c", "3")]),
            ("listeners=PLAINTEXT://:9092", &[("listeners", "PLAINTEXT://:9092")]),
            ("a=1\na=2", &[("a", "1"), ("a", "2")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(pairs(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_bad_escape_names_its_line() {
        assert_eq!(parse_properties("a=1\nb=\\u12x4"), Err(PropertiesError { line: 2 }));
        assert_eq!(parse_properties("a=\\u12"), Err(PropertiesError { line: 1 }));
    }

    fn escape(text: &str, key: bool) -> String {
        let mut out = String::new();
        for (at, c) in text.chars().enumerate() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x0c' => out.push_str("\\f"),
                ' ' if key || at == 0 => out.push_str("\\ "),
                '=' | ':' | '#' | '!' => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(
            key in "[a-z=: #!\\\\\t\n\r\u{c}é😀]{1,20}",
            value in "[a-z=: #!\\\\\t\n\r\u{c}é😀]{0,20}",
        ) {
            let text = format!("{}={}", escape(&key, true), escape(&value, false));
            prop_assert_eq!(pairs(&text), vec![(key, value)]);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = parse_properties(&text);
        }
    }
}
