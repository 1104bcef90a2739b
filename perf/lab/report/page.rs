//! The frame of a report: escaping, tables, and the page with its style and the few lines of script for the pointer.
//! Must never touch: what is in it.

use std::fmt::Write;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("pointer.js");

/// What of the style a picture alone needs: the colours of both schemes, and how lines and words take them.
pub fn picture_style() -> String {
    let (colours, rest) = STYLE.split_once("* {").unwrap_or((STYLE, ""));
    let rules: Vec<&str> = rest.lines().filter(|line| line.starts_with("svg ")).collect();
    format!("{colours}{}\n", rules.join("\n"))
}

/// Text that may stand between tags and in attributes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A whole page around a body of HTML.
pub fn page(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n\
         <div id=\"told\" role=\"status\" hidden></div>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

/// A table; cells are HTML already, the first of each row is its heading. Wide ones scroll by themselves.
pub fn table(caption: &str, heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut html =
        format!("<div class=\"scroll\" tabindex=\"0\"><table><caption>{}</caption><thead><tr>", escaped(caption));
    for head in heads {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escaped(head));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            let _ = if place == 0 {
                write!(html, "<th scope=\"row\">{cell}</th>")
            } else {
                write!(html, "<td>{cell}</td>")
            };
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// Names and values, one below the other; values are HTML already.
pub fn facts(pairs: &[(String, String)]) -> String {
    let mut html = String::from("<dl class=\"facts\">");
    for (name, value) in pairs {
        let _ = write!(html, "<div><dt>{}</dt><dd>{value}</dd></div>", escaped(name));
    }
    html.push_str("</dl>");
    html
}

/// Something that is shown when asked for.
pub fn details(summary: &str, inside: &str) -> String {
    format!("<details><summary>{}</summary>{inside}</details>", escaped(summary))
}

/// A word that must not be overlooked: `good`, `bad` or `note`.
pub fn badge(kind: &str, text: &str) -> String {
    format!("<span class=\"badge {kind}\">{}</span>", escaped(text))
}

/// A number with its thousands apart, and as many digits as say something.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        small if small >= 0.1 || small == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    let bare = whole.trim_start_matches('-');
    for (place, digit) in bare.chars().enumerate() {
        if place > 0 && (bare.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    match rest {
        Some(rest) => format!("{sign}{grouped}.{rest}"),
        None => format!("{sign}{grouped}"),
    }
}

/// Microseconds in the unit that reads best.
pub fn time(us: f64) -> String {
    let digits = |value: f64| {
        if value >= 100.0 {
            0
        } else if value >= 10.0 {
            1
        } else {
            2
        }
    };
    let (value, unit) = match us {
        us if us < 1_000.0 => (us, "µs"),
        us if us < 1_000_000.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let text = if unit == "µs" { format!("{value:.0}") } else { format!("{value:.*}", digits(value)) };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

/// Milliseconds since 1970 as a date and a time of day (UTC).
pub fn date(at_ms: i64) -> String {
    let secs = at_ms.div_euclid(1000);
    let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Days are counted from 1 March of year 0, in eras of 400 years, so that the leap day comes last.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute) = (of_day / 3600, of_day % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_result_becomes_markup() {
        assert_eq!(escaped("<b a=\"1\">&'"), "&lt;b a=&quot;1&quot;&gt;&amp;&#39;");
        assert!(page("<x>", "").contains("<title>&lt;x&gt;</title>"));
        assert!(facts(&[("<a>".to_string(), "b".to_string())]).contains("&lt;a&gt;"));
        assert!(table("<c>", &["<h>"], &[vec!["r".to_string(), "d".to_string()]]).contains("&lt;h&gt;"));
    }

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        for (value, text) in
            [(0.0, "0.00"), (0.0123, "0.0123"), (1.5, "1.50"), (12.34, "12.3"), (1234.5, "1,234"), (-1e6, "-1,000,000")]
        {
            assert_eq!(number(value), text);
        }
        for (us, text) in [(12.4, "12 µs"), (1500.0, "1.5 ms"), (99_000.0, "99 ms"), (2_000_000.0, "2 s")] {
            assert_eq!(time(us), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_290_059_999), "2026-11-21 19:40 UTC");
    }
}
