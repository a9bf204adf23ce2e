//! `gantry store dump`: what is in a store, as lines for people or as JSON lines.

mod index;
mod log;
mod queue;

use std::io::{self, BufWriter, Write};

use gantry_storage::{
    RealDisk,
    inspect::{Inspection, checkpoint_contents, config_contents},
};
use serde_json::{Map, json};

use super::{
    Outcome, StoreFailure,
    args::{DumpCommand, Selection},
    inspection, text,
};

/// Where lines go.
type Out<'a> = &'a mut dyn Write;

/// Prints what the command line asks for.
pub(super) fn dump(command: &DumpCommand) -> Result<Outcome, StoreFailure> {
    let place = match command {
        DumpCommand::Log(args) => &args.place,
        DumpCommand::Queue(args) => &args.place,
        DumpCommand::Index(args) => &args.place,
        DumpCommand::Checkpoint(args) | DumpCommand::Config(args) => &args.place,
    };
    let (inspection, _) = inspection(place)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match command {
        DumpCommand::Log(args) => log::dump(&RealDisk, &inspection, args, &mut out)?,
        DumpCommand::Queue(args) => queue::dump(&RealDisk, &inspection, &args.selection, &mut out)?,
        DumpCommand::Index(args) => index::dump(&RealDisk, &inspection, args, &mut out)?,
        DumpCommand::Checkpoint(args) => checkpoint(&inspection, args.json, &mut out)?,
        DumpCommand::Config(args) => config(&inspection, args.json, &mut out)?,
    };
    out.flush().map_err(StoreFailure::Output)?;
    Ok(outcome)
}

fn unreadable(inspection: &Inspection) -> impl Fn(io::Error) -> StoreFailure {
    let path = inspection.root.clone();
    move |error| StoreFailure::Unreadable { path: path.clone(), error }
}

/// How many may still be printed.
struct Budget(u64);

impl Budget {
    fn of(selection: &Selection) -> Self {
        Self(selection.limit.unwrap_or(u64::MAX))
    }

    fn is_spent(&self) -> bool {
        self.0 == 0
    }

    fn spend(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}

fn checkpoint(
    inspection: &Inspection,
    is_json: bool,
    out: Out<'_>,
) -> Result<Outcome, StoreFailure> {
    let fields =
        checkpoint_contents(&RealDisk, &inspection.root).map_err(unreadable(inspection))?;
    let Some(fields) = fields else {
        let error = io::Error::new(io::ErrorKind::NotFound, "there is no checkpoint");
        return Err(unreadable(inspection)(error));
    };
    let mut object = Map::new();
    for (name, value) in fields {
        object.insert(name.into(), json!(value));
        let printed = match name.ends_with("Timestamp") && value > 0 && !is_json {
            _ if is_json => Ok(()),
            true => writeln!(out, "{name:<20} {value}  {}", text::time(value)),
            false => writeln!(out, "{name:<20} {value}"),
        };
        printed.map_err(StoreFailure::Output)?;
    }
    if is_json {
        writeln!(out, "{}", json!(object)).map_err(StoreFailure::Output)?;
    }
    Ok(Outcome::Sound)
}

fn config(inspection: &Inspection, is_json: bool, out: Out<'_>) -> Result<Outcome, StoreFailure> {
    let files = config_contents(&RealDisk, &inspection.root).map_err(unreadable(inspection))?;
    let mut outcome = Outcome::Sound;
    for (path, content) in files {
        let name = text::short(&inspection.root, &path).to_string();
        let printed = match content {
            Ok(content) if is_json => {
                writeln!(out, "{}", json!({"file": name, "content": content}))
            }
            Ok(content) => writeln!(out, "# {name}\n{content:#}"),
            Err(why) => {
                outcome = Outcome::Faults;
                if is_json {
                    writeln!(out, "{}", json!({"file": name, "error": why}))
                } else {
                    writeln!(out, "# {name} cannot be read: {why}")
                }
            }
        };
        printed.map_err(StoreFailure::Output)?;
    }
    Ok(outcome)
}
