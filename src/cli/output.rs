//! What commands print: tables and JSON to standard output, errors to standard error.
//! Must never touch: what is printed.

use std::io::{self, ErrorKind, Write};

use serde_json::{Value, json};

use crate::exit::CliError;

/// Prints an error, for people or as JSON.
pub fn print_error(error: &CliError, as_json: bool) {
    let mut stderr = io::stderr().lock();
    // Nobody can be told if standard error is closed too.
    let _ = if as_json {
        let code = error.kafka_name();
        let words = error.to_string().replace("\n  ", "; ");
        writeln!(stderr, "{}", json!({"error": words, "kafka_error": code, "exit_code": error.exit_code()}))
    } else {
        writeln!(stderr, "coretide: {error}")
    };
}

/// Prints a JSON document, or what `text` says.
pub fn print(as_json: bool, document: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    if as_json { write(&mut stdout, &format!("{:#}\n", document())) } else { write(&mut stdout, &text()) }
}

/// Writes to standard output.
pub fn write(out: &mut impl Write, text: &str) -> Result<(), CliError> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| output_error(&error))
}

/// What a failed write to standard output means.
pub fn output_error(error: &io::Error) -> CliError {
    match error.kind() {
        ErrorKind::BrokenPipe => CliError::OutputClosed,
        _ => CliError::Io(format!("cannot write to standard output: {error}")),
    }
}

/// Rows under a heading, in columns. The last column is not padded.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let heading: Vec<String> = heading.iter().map(|cell| cell.to_string()).collect();
    for row in std::iter::once(&heading).chain(rows) {
        let last = row.len() - 1;
        for (place, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if place < last {
                let padding = widths[place] - cell.chars().count() + 2;
                text.extend(std::iter::repeat_n(' ', padding));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_string(), "1".to_string()], vec!["länger".to_string(), "22".to_string()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME    N\na       1\nlänger  22\n");
        assert_eq!(table(&["NAME", "N"], &[]), "NAME  N\n");
    }
}
