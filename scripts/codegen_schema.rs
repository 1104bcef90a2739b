//! The message definitions as typed data: what the JSON of `scripts/definitions` says, checked on the way in.
//! Must never touch: Rust syntax of the output (that is `codegen_emit`).

use serde_json::Value;

/// An inclusive range of versions; `from > to` means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The first version.
    pub from: i16,
    /// The last version.
    pub to: i16,
}

impl Versions {
    /// No version at all.
    pub const NONE: Versions = Versions { from: 1, to: 0 };

    /// Reads `none`, `3`, `0-4` and `2+`.
    pub fn parse(text: &str) -> Result<Versions, String> {
        let number = |part: &str| part.parse::<i16>().map_err(|e| format!("versions '{text}': {e}"));
        if text == "none" {
            Ok(Versions::NONE)
        } else if let Some(from) = text.strip_suffix('+') {
            Ok(Versions { from: number(from)?, to: i16::MAX })
        } else if let Some((from, to)) = text.split_once('-') {
            Ok(Versions { from: number(from)?, to: number(to)? })
        } else {
            Ok(Versions { from: number(text)?, to: number(text)? })
        }
    }

    /// True when there is no version in it.
    pub fn is_empty(self) -> bool {
        self.from > self.to
    }

    /// The versions in both.
    pub fn intersect(self, other: Versions) -> Versions {
        Versions { from: self.from.max(other.from), to: self.to.min(other.to) }
    }

    /// True when every version of `other` is in it.
    pub fn contains(self, other: Versions) -> bool {
        other.is_empty() || (self.from <= other.from && other.to <= self.to)
    }
}

/// A field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ty {
    /// Numbers and booleans: the name of the Reader's and Writer's method, which is also the Rust type.
    Plain(&'static str),
    /// `string`
    Str,
    /// `bytes`
    Bytes,
    /// `records`
    Records,
    /// `uuid`
    Uuid,
    /// A struct, by its Rust name.
    Struct(String),
    /// An array of it.
    Array(Box<Ty>),
}

/// One field of a message or struct.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name in Rust.
    pub name: String,
    /// Its type.
    pub ty: Ty,
    /// In which versions it exists.
    pub versions: Versions,
    /// In which versions it may be null.
    pub nullable: Versions,
    /// Its tag and the versions in which it is a tagged field.
    pub tagged: Option<(u32, Versions)>,
    /// True when it may be dropped silently in versions that do not know it.
    pub ignorable: bool,
    /// The default as text; `null` for null.
    pub default: Option<String>,
}

/// A struct: the message itself or one inside it.
#[derive(Clone, Debug)]
pub struct Struct {
    /// The name in Rust.
    pub name: String,
    /// The versions in which it can occur.
    pub versions: Versions,
    /// Its fields in wire order.
    pub fields: Vec<Field>,
}

/// One message or record format.
#[derive(Clone, Debug)]
pub struct Message {
    /// The name, which is also that of its first struct.
    pub name: String,
    /// The API key or record type.
    pub api_key: Option<i16>,
    /// The versions that exist.
    pub versions: Versions,
    /// The flexible versions, cut to those that exist.
    pub flexible: Versions,
    /// The message's own struct first, then those inside it.
    pub structs: Vec<Struct>,
}

impl Message {
    /// Reads one definition.
    pub fn parse(json: &Value) -> Result<Message, String> {
        let name = text(json, "name")?.to_owned();
        let versions = Versions::parse(text(json, "validVersions")?)?;
        let flexible = Versions::parse(text(json, "flexibleVersions")?)?.intersect(versions);
        let api_key = json.get("apiKey").and_then(Value::as_i64).and_then(|key| i16::try_from(key).ok());
        let mut message = Message { name: name.clone(), api_key, versions, flexible, structs: Vec::new() };
        message.add_struct(&name, versions, json)?;
        for common in json.get("commonStructs").and_then(Value::as_array).into_iter().flatten() {
            let in_versions = Versions::parse(text(common, "versions")?)?.intersect(versions);
            message.add_struct(text(common, "name")?, in_versions, common)?;
        }
        Ok(message)
    }

    fn add_struct(&mut self, name: &str, versions: Versions, json: &Value) -> Result<(), String> {
        let place = self.structs.len();
        self.structs.push(Struct { name: name.to_owned(), versions, fields: Vec::new() });
        let fields = json.get("fields").and_then(Value::as_array).ok_or_else(|| format!("{name}: no fields"))?;
        for json in fields {
            let field = self.parse_field(versions, json).map_err(|e| format!("{name}: {e}"))?;
            if !field.versions.is_empty() {
                self.structs[place].fields.push(field);
            }
        }
        Ok(())
    }

    fn parse_field(&mut self, within: Versions, json: &Value) -> Result<Field, String> {
        let name = snake_case(text(json, "name")?);
        let versions = Versions::parse(text(json, "versions")?)?.intersect(within);
        let optional = |key: &str| json.get(key).and_then(Value::as_str).map_or(Ok(Versions::NONE), Versions::parse);
        let nullable = optional("nullableVersions")?.intersect(versions);
        let tagged_versions = optional("taggedVersions")?.intersect(versions);
        let tagged = match json.get("tag").and_then(Value::as_u64) {
            Some(tag) if !tagged_versions.is_empty() => Some((tag as u32, tagged_versions)),
            _ => None,
        };
        let ty = self.parse_type(text(json, "type")?, versions, json)?;
        let default = json.get("default").map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        if tagged.is_some() && matches!(ty, Ty::Struct(_)) && !nullable.is_empty() {
            return Err(format!("{name}: tagged nullable structs are not supported"));
        }
        let ignorable = json.get("ignorable").and_then(Value::as_bool).unwrap_or(false);
        Ok(Field { name, ty, versions, nullable, tagged, ignorable, default })
    }

    fn parse_type(&mut self, name: &str, versions: Versions, json: &Value) -> Result<Ty, String> {
        if let Some(element) = name.strip_prefix("[]") {
            return Ok(Ty::Array(Box::new(self.parse_type(element, versions, json)?)));
        }
        Ok(match name {
            "bool" => Ty::Plain("bool"),
            "int8" => Ty::Plain("i8"),
            "int16" => Ty::Plain("i16"),
            "uint16" => Ty::Plain("u16"),
            "int32" => Ty::Plain("i32"),
            "uint32" => Ty::Plain("u32"),
            "int64" => Ty::Plain("i64"),
            "float64" => Ty::Plain("f64"),
            "string" => Ty::Str,
            "bytes" => Ty::Bytes,
            "records" => Ty::Records,
            "uuid" => Ty::Uuid,
            other if other.starts_with(char::is_uppercase) => {
                if json.get("fields").is_some() {
                    self.add_struct(other, versions, json)?;
                }
                Ty::Struct(other.to_owned())
            }
            other => return Err(format!("unknown type {other}")),
        })
    }

    /// Renames a struct in the definition and in all fields of that type.
    pub fn rename_struct(&mut self, from: &str, to: &str) {
        fn rename(ty: &mut Ty, from: &str, to: &str) {
            match ty {
                Ty::Struct(name) if name == from => *name = to.to_owned(),
                Ty::Array(element) => rename(element, from, to),
                _ => {}
            }
        }
        for each in &mut self.structs {
            if each.name == from {
                each.name = to.to_owned();
            }
            for field in &mut each.fields {
                rename(&mut field.ty, from, to);
            }
        }
    }

    /// The fewest bytes that a value of the type can take in any of the versions.
    pub fn min_bytes(&self, ty: &Ty, versions: Versions) -> usize {
        let flexible_somewhere = !self.flexible.intersect(versions).is_empty();
        match ty {
            Ty::Plain("bool" | "i8") => 1,
            Ty::Plain("i16" | "u16") => 2,
            Ty::Plain("i32" | "u32") => 4,
            Ty::Plain(_) => 8,
            Ty::Uuid => 16,
            Ty::Str => {
                if flexible_somewhere {
                    1
                } else {
                    2
                }
            }
            Ty::Bytes | Ty::Records | Ty::Array(_) => {
                if flexible_somewhere {
                    1
                } else {
                    4
                }
            }
            Ty::Struct(name) => {
                let found = self.structs.iter().find(|s| s.name == *name).expect("every struct type is defined");
                (versions.from..=versions.to)
                    .map(|version| self.min_struct_bytes(found, version))
                    .min()
                    .expect("a field exists in at least one version")
            }
        }
    }

    fn min_struct_bytes(&self, of: &Struct, version: i16) -> usize {
        let at = Versions { from: version, to: version };
        let tags = usize::from(self.flexible.contains(at));
        let present = of.fields.iter().filter(|f| f.versions.contains(at));
        let untagged = present.filter(|f| !f.tagged.is_some_and(|(_, tagged)| tagged.contains(at)));
        tags + untagged
            .map(|field| match field.ty {
                Ty::Struct(_) if field.nullable.contains(at) => 1,
                _ => self.min_bytes(&field.ty, at),
            })
            .sum::<usize>()
    }
}

fn text<'a>(json: &'a Value, key: &str) -> Result<&'a str, String> {
    json.get(key).and_then(Value::as_str).ok_or_else(|| format!("no text '{key}'"))
}

/// `IsrNodes` → `isr_nodes`, with a raw identifier for Rust's own words.
pub fn snake_case(name: &str) -> String {
    let mut out = String::new();
    let characters: Vec<char> = name.chars().collect();
    for (place, &c) in characters.iter().enumerate() {
        let after_lower = place > 0 && !characters[place - 1].is_uppercase();
        let before_lower = characters.get(place + 1).is_some_and(|next| next.is_lowercase());
        if c.is_uppercase() && place > 0 && (after_lower || before_lower) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    match out.as_str() {
        "type" | "match" => format!("r#{out}"),
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_every_form() {
        assert_eq!(Versions::parse("0-4"), Ok(Versions { from: 0, to: 4 }));
        assert_eq!(Versions::parse("7"), Ok(Versions { from: 7, to: 7 }));
        assert_eq!(Versions::parse("2+"), Ok(Versions { from: 2, to: i16::MAX }));
        assert!(Versions::parse("none").is_ok_and(Versions::is_empty));
        assert!(Versions::parse("a-b").is_err());
    }

    #[test]
    fn names_become_snake_case() {
        assert_eq!(snake_case("IsrNodes"), "isr_nodes");
        assert_eq!(snake_case("lastKnownElr"), "last_known_elr");
        assert_eq!(snake_case("DescribeISRs"), "describe_is_rs");
        assert_eq!(snake_case("Type"), "r#type");
    }
}
