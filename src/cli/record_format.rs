//! Records as text: the formats that `consume` prints and the JSON that `produce` reads. What one writes the other
//! reads.
//! Must never touch: where the text comes from or goes to.

use coretide_client::{Bytes, Incoming, Outgoing};
use coretide_model::topic_config::TimestampType;
use serde_json::{Map, Value, json};

/// How a consumed record is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// The value's bytes.
    Value,
    /// One JSON object.
    Json,
    /// A template with placeholders.
    Template(Vec<Piece>),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Field(Field),
}

/// A placeholder of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    KeyLength,
    ValueLength,
    Headers,
    LeaderEpoch,
}

/// The placeholders, for `--help`.
pub const TEMPLATE_HELP: &str = "\
Placeholders of a template: %t topic, %p partition, %o offset, %T timestamp (ms since 1970), %k key, %v value,
%h headers (name=value, ...), %K and %V the lengths of key and value in bytes (-1: null), %e leader epoch, %% a percent
sign; \\n, \\t, \\r and \\\\ as usual. Every record ends with a newline.";

/// Reads the value of `--format`.
pub fn parse_format(text: &str) -> Result<Format, String> {
    match text {
        "value" => Ok(Format::Value),
        "json" => Ok(Format::Json),
        _ if text.contains('%') => parse_template(text).map(Format::Template),
        _ => Err(format!("'{text}' is no format: value, json, or a template such as '%o %k=%v' are")),
    }
}

fn parse_template(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let field = match character {
            '%' => match characters.next() {
                Some('%') => {
                    literal.push('%');
                    continue;
                }
                Some('t') => Field::Topic,
                Some('p') => Field::Partition,
                Some('o') => Field::Offset,
                Some('T') => Field::Timestamp,
                Some('k') => Field::Key,
                Some('v' | 's') => Field::Value,
                Some('K') => Field::KeyLength,
                Some('V' | 'S') => Field::ValueLength,
                Some('h') => Field::Headers,
                Some('e') => Field::LeaderEpoch,
                Some(other) => return Err(format!("'%{other}' is no placeholder; see --help for those there are")),
                None => return Err("the template ends with a lone '%'; '%%' is a percent sign".to_string()),
            },
            '\\' => {
                match characters.next() {
                    Some('n') => literal.push('\n'),
                    Some('t') => literal.push('\t'),
                    Some('r') => literal.push('\r'),
                    Some('\\') => literal.push('\\'),
                    Some(other) => literal.extend(['\\', other]),
                    None => literal.push('\\'),
                }
                continue;
            }
            other => {
                literal.push(other);
                continue;
            }
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Field(field));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

/// Appends a record and a newline.
pub fn write_record(out: &mut Vec<u8>, format: &Format, record: &Incoming) {
    match format {
        Format::Value => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
        Format::Json => out.extend_from_slice(to_json(record).to_string().as_bytes()),
        Format::Template(pieces) => {
            for piece in pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                    Piece::Field(field) => write_field(out, *field, record),
                }
            }
        }
    }
    out.push(b'\n');
}

fn write_field(out: &mut Vec<u8>, field: Field, record: &Incoming) {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(-1, |bytes| bytes.len() as i64).to_string();
    match field {
        Field::Topic => out.extend_from_slice(record.topic.as_bytes()),
        Field::Partition => out.extend_from_slice(record.partition.to_string().as_bytes()),
        Field::Offset => out.extend_from_slice(record.offset.to_string().as_bytes()),
        Field::Timestamp => out.extend_from_slice(record.timestamp_ms.to_string().as_bytes()),
        Field::Key => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
        Field::Value => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
        Field::KeyLength => out.extend_from_slice(length(&record.key).as_bytes()),
        Field::ValueLength => out.extend_from_slice(length(&record.value).as_bytes()),
        Field::LeaderEpoch => out.extend_from_slice(record.leader_epoch.to_string().as_bytes()),
        Field::Headers => {
            for (place, (name, value)) in record.headers.iter().enumerate() {
                if place > 0 {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(name);
                out.push(b'=');
                out.extend_from_slice(value.as_deref().unwrap_or(b"null"));
            }
        }
    }
}

fn to_json(record: &Incoming) -> Value {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| json!({"key": bytes_to_json(Some(name)), "value": bytes_to_json(value.as_ref())}))
        .collect();
    let timestamp_type = match record.timestamp_type {
        TimestampType::CreateTime => "create_time",
        TimestampType::LogAppendTime => "log_append_time",
    };
    json!({"topic": &*record.topic, "partition": record.partition, "offset": record.offset,
        "timestamp": record.timestamp_ms, "timestamp_type": timestamp_type, "key": bytes_to_json(record.key.as_ref()),
        "value": bytes_to_json(record.value.as_ref()), "headers": headers})
}

/// Text as a string, other bytes as `{"base64": "..."}`.
fn bytes_to_json(bytes: Option<&Bytes>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({"base64": to_base64(bytes)}),
    }
}

fn bytes_of_json(value: &Value) -> Result<Option<Bytes>, String> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::String(text) => Bytes::from(text.clone().into_bytes()),
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("base64") => {
            let text = fields["base64"].as_str().ok_or("'base64' is not a string")?;
            Bytes::from(of_base64(text).ok_or("'base64' holds no base64")?)
        }
        other => Bytes::from(other.to_string().into_bytes()),
    }))
}

/// A record from one JSON object with `key`, `value`, `headers`, `partition` and `timestamp`, all optional. What
/// `consume` adds (`topic`, `offset`, `timestamp_type`) is left aside.
pub fn record_of_json(text: &[u8]) -> Result<Outgoing, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| format!("this is no JSON: {error}"))?;
    let Value::Object(fields) = value else {
        return Err("a JSON object is expected, such as {\"key\": \"a\", \"value\": \"b\"}".to_string());
    };
    let mut record = Outgoing::default();
    for (name, value) in &fields {
        match name.as_str() {
            "key" => record.key = bytes_of_json(value)?,
            "value" => record.value = bytes_of_json(value)?,
            "headers" => record.headers = headers_of_json(value)?,
            "partition" if value.is_null() => {}
            "partition" => {
                let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
                record.partition = Some(number.ok_or("'partition' is not a partition's number")?);
            }
            "timestamp" if value.is_null() => {}
            "timestamp" => {
                let number = value.as_i64().ok_or("'timestamp' is not a number of milliseconds since 1970")?;
                record.timestamp_ms = Some(number);
            }
            "topic" | "offset" | "timestamp_type" => {}
            other => {
                return Err(format!("unknown field '{other}': key, value, headers, partition and timestamp are known"));
            }
        }
    }
    Ok(record)
}

type Header = (Bytes, Option<Bytes>);

/// `[{"key": k, "value": v}, ...]`, `[[k, v], ...]` or `{k: v, ...}`.
fn headers_of_json(value: &Value) -> Result<Vec<Header>, String> {
    const WRONG: &str = "'headers' is neither a list of {\"key\", \"value\"} nor an object";
    let pair = |key: &Value, value: &Value| -> Result<Header, String> {
        let key = bytes_of_json(key)?.ok_or("a header's key is null")?;
        Ok((key, bytes_of_json(value)?))
    };
    let of_object = |fields: &Map<String, Value>| -> Result<Header, String> {
        pair(fields.get("key").ok_or(WRONG)?, fields.get("value").unwrap_or(&Value::Null))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(fields) => fields.iter().map(|(key, value)| pair(&Value::from(key.as_str()), value)).collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::Object(fields) => of_object(fields),
                Value::Array(both) if both.len() == 2 => pair(&both[0], &both[1]),
                _ => Err(WRONG.to_string()),
            })
            .collect(),
        _ => Err(WRONG.to_string()),
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let letter = BASE64[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn of_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.chunks(4) {
        let mut bits = 0u32;
        for &letter in chunk {
            bits = bits << 6 | BASE64.iter().position(|&known| known == letter)? as u32;
        }
        let whole = chunk.len() - 1;
        if whole == 0 {
            return None;
        }
        let bits = bits << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=whole]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn record() -> Incoming {
        let bytes = |text: &'static [u8]| Bytes::from_static(text);
        Incoming {
            topic: Arc::from("orders"),
            partition: 2,
            offset: 41,
            timestamp_ms: 1_700_000_000_000,
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: 3,
            key: Some(bytes(b"k\"1")),
            value: Some(bytes(&[0xff, 0x00, 0x10, 0x20])),
            headers: vec![(bytes(b"a"), Some(bytes(b"1"))), (bytes(b"a"), None), (bytes(b"b"), Some(bytes(b"")))],
        }
    }

    fn printed(format: &str, record: &Incoming) -> String {
        let mut out = Vec::new();
        write_record(&mut out, &parse_format(format).unwrap(), record);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn templates_are_filled_in() {
        let mut record = record();
        record.value = None;
        let line = printed("%t/%p@%o %T %k=%v| %K %V [%h] %e 100%%\\t\\\\", &record);
        assert_eq!(line, "orders/2@41 1700000000000 k\"1=| 3 -1 [a=1, a=null, b=] 3 100%\t\\\n");
        for wrong in ["%x", "50%", "xml"] {
            assert!(parse_format(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_consume_prints_produce_reads() {
        let record = record();
        let read = record_of_json(printed("json", &record).as_bytes()).unwrap();
        assert_eq!((read.key, read.value, read.headers), (record.key, record.value, record.headers));
        assert_eq!((read.partition, read.timestamp_ms), (Some(2), Some(record.timestamp_ms)));
    }

    #[test]
    fn json_values_may_have_any_shape() {
        let value = |text: &str| record_of_json(text.as_bytes()).unwrap().value;
        assert_eq!(value(r#"{"value": {"b": 1, "a": [2]}}"#), Some(Bytes::from(r#"{"b":1,"a":[2]}"#)));
        assert_eq!(value(r#"{"value": 5}"#), Some(Bytes::from("5")));
        assert_eq!((value(r#"{"value": ""}"#), value(r#"{"key": "k"}"#)), (Some(Bytes::new()), None));
        let headers = record_of_json(br#"{"headers": {"x": "1", "y": null}}"#).unwrap().headers;
        assert_eq!(headers, [(Bytes::from("x"), Some(Bytes::from("1"))), (Bytes::from("y"), None)]);
        for wrong in [
            "",
            "5",
            "[]",
            r#"{"vale": 1}"#,
            r#"{"partition": "x"}"#,
            r#"{"headers": 1}"#,
            r#"{"value": {"base64": "!"}}"#,
        ] {
            assert!(record_of_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn base64_is_the_usual_one() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(of_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(of_base64("Z"), None);
    }
}
