//! All layers, put together: the values in effect, each with where it came from.
//!
//! Weakest first: the shipped file, the file of `-c`, the environment, `--set`, and what the command
//! line says in other flags. Then come the values that nobody gave and the machine knows
//! ([`Merged::fill`]), and the typed views are read from the result ([`Merged::view`]).

use std::{fs, path::Path, path::PathBuf};

use config::{Config, ConfigError, Map, Value, ValueKind};
use serde::de::DeserializeOwned;

use crate::{
    admit::{Place, admit},
    effective::{Effective, Setting},
    error::{LoadError, Warning},
    layer::{Entry, Layer},
    properties,
    schema::{Known, Schema, nearest, variable_of},
    surroundings::Surroundings,
};

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `-c`: TOML or Java properties, by name.
    pub file: Option<PathBuf>,
    /// `--set`, each `key=value`; the last of several for one key holds.
    pub set: Vec<String>,
    /// `-n`: name servers, stronger than every other place that names them.
    pub namesrv_addr: Option<String>,
}

impl Sources {
    /// Whether the file is Java properties, by its name.
    pub(crate) fn is_properties(&self) -> bool {
        matches!(self.file.as_deref().and_then(place_of), Some(Place::Properties))
    }
}

/// The values in effect, in the order of the shipped file, which is also that of complaints.
pub(crate) struct Merged(Map<String, Value>);

impl Merged {
    /// Puts the layers of these sources over the shipped file. `beneath` lies between that one and
    /// the file of `-c`.
    pub fn read(
        schema: &Schema,
        beneath: Layer,
        sources: &Sources,
        surroundings: &Surroundings,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, LoadError> {
        let mut layers = vec![schema.shipped(), admit(schema, beneath, Place::Text, warnings)?];
        if let Some(path) = &sources.file {
            layers.push(file_layer(schema, path, warnings)?);
        }
        layers.push(environment_layer(schema, surroundings, warnings)?);
        layers.push(admit(schema, set_layer(&sources.set)?, Place::Text, warnings)?);
        if let Some(addresses) = &sources.namesrv_addr {
            let layer = Layer::single("namesrvAddr", addresses, "-n");
            layers.push(admit(schema, layer, Place::Text, warnings)?);
        }
        Self::of(layers)
    }

    /// Puts layers over each other, weakest first.
    pub fn of(layers: Vec<Layer>) -> Result<Self, LoadError> {
        let all = layers.into_iter().fold(Config::builder(), |all, layer| all.add_source(layer));
        let merged = all.build().and_then(|config| config.cache.into_table());
        merged.map(Self).map_err(|error| LoadError::Syntax {
            at: "configuration".into(),
            reason: error.to_string(),
        })
    }

    /// The value of a key, as text.
    pub fn text(&self, key: &str) -> String {
        self.0.get(key).map(|value| value.kind.to_string()).unwrap_or_default()
    }

    /// Where the value of a key came from.
    pub fn origin(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::origin).unwrap_or_default()
    }

    /// Gives an empty text a value.
    pub fn fill(&mut self, key: &str, value: &str, at: &str) {
        if self.text(key).is_empty() {
            let value = Value::new(Some(&at.to_owned()), ValueKind::from(value));
            self.0.insert(key.to_owned(), value);
        }
    }

    /// The keys that `T` is made of.
    pub fn view<T: DeserializeOwned>(&self) -> Result<T, LoadError> {
        let all = Value::new(None, ValueKind::Table(self.0.clone()));
        all.try_deserialize().map_err(|error| match error {
            ConfigError::At { error, key: Some(key), .. } => self.wrong(&key, error.to_string()),
            other => self.wrong("", other.to_string()),
        })
    }

    /// The error for the value of a key.
    pub fn wrong(&self, key: &str, reason: String) -> LoadError {
        let at = self.origin(key).to_owned();
        LoadError::Value { at, key: key.to_owned(), value: self.text(key), reason }
    }

    /// Every value with its origin.
    pub fn effective(&self) -> Effective {
        let setting = |(key, value): (&String, &Value)| Setting {
            key: key.clone(),
            value: value.kind.clone(),
            origin: value.origin().unwrap_or_default().to_owned(),
        };
        Effective(self.0.iter().map(setting).collect())
    }
}

/// The format of a file, by its name.
pub(crate) fn place_of(path: &Path) -> Option<Place> {
    match path.extension()?.to_str()? {
        "toml" => Some(Place::Toml),
        "conf" | "properties" => Some(Place::Properties),
        _ => None,
    }
}

fn file_layer(
    schema: &Schema,
    path: &Path,
    warnings: &mut Vec<Warning>,
) -> Result<Layer, LoadError> {
    let place = place_of(path).ok_or_else(|| LoadError::UnknownFormat(path.into()))?;
    let unreadable = |source| LoadError::Unreadable { path: path.into(), source };
    let bytes = fs::read(path).map_err(unreadable)?;
    let name = path.display().to_string();
    let layer = match place {
        Place::Properties => properties_layer(schema, &name, &bytes)?,
        _ => toml_layer(&name, &bytes)?,
    };
    admit(schema, layer, place, warnings)
}

fn toml_layer(name: &str, bytes: &[u8]) -> Result<Layer, LoadError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        LoadError::Syntax { at: format!("{name}:{line}"), reason: "is not UTF-8".into() }
    })?;
    Layer::from_toml(name, text)
}

fn properties_layer(schema: &Schema, name: &str, bytes: &[u8]) -> Result<Layer, LoadError> {
    let all = properties::parse(&properties::from_latin1(bytes)).map_err(|error| {
        let at = format!("{name}:{}", error.line);
        LoadError::Syntax { at, reason: error.to_string() }
    })?;
    let mut layer = Layer::default();
    if let Known::Key(key, _) = schema.look_up("flushDiskType") {
        // What its absence means to the Java broker; the last value of a key holds.
        let at = format!("{name}, by leaving it out as in the Java broker");
        layer.0.push(Entry { key: key.into(), value: "ASYNC_FLUSH".into(), at });
    }
    layer.0.extend(all.into_iter().map(|property| Entry {
        at: format!("{name}:{}", property.line),
        key: property.key,
        value: property.value.into(),
    }));
    Ok(layer)
}

fn environment_layer(
    schema: &Schema,
    surroundings: &Surroundings,
    warnings: &mut Vec<Warning>,
) -> Result<Layer, LoadError> {
    let (layer, strangers) = schema.environment(&surroundings.variables);
    if !strangers.is_empty() {
        warn_of_strangers(strangers, warnings)?;
    }
    admit(schema, layer, Place::Text, warnings)
}

/// A variable may be meant for another daemon that shares the environment.
fn warn_of_strangers(strangers: Vec<String>, warnings: &mut Vec<Warning>) -> Result<(), LoadError> {
    let schemas = [Schema::broker()?, Schema::namesrv()?];
    let known: Vec<String> = schemas.iter().flat_map(Schema::keys).map(variable_of).collect();
    for key in strangers.into_iter().filter(|name| !known.contains(name)) {
        let nearest = nearest(&key, known.iter().map(String::as_str));
        warnings.push(Warning::UnknownKey { at: "environment".into(), key, nearest });
    }
    Ok(())
}

fn set_layer(pairs: &[String]) -> Result<Layer, LoadError> {
    let entries = pairs.iter().map(|pair| {
        let (key, value) = pair.split_once('=').ok_or_else(|| LoadError::NotAPair(pair.clone()))?;
        Ok(Entry { key: key.trim().into(), value: value.into(), at: "--set".into() })
    });
    entries.collect::<Result<_, _>>().map(Layer)
}
