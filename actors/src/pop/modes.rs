//! How groups consume topics, pulling or popping, as operators have set it: `messageRequestMode.json`.
//!
//! One actor owns the file (the form is Java's, store.md 2.9) and publishes the table; a change is answered
//! once it is saved. Who is not in the table pulls.
//! Failure policy: restart with what was published, which is what the file has.

use std::sync::Arc;

use actix::{MailboxError, Message};
use arc_swap::ArcSwap;
use gantry_codec::body::{RequestModeBody, RequestModeTable};
use gantry_storage::{Disk, JsonFile, JsonFileError};
use gantry_supervisor::{ChildSpec, Ctx, Exit, Logic, Place, Policy, Receive, Ref, Reply, Tree};
use slog::{Logger, error, info};

/// Set a mode. The error says why it could not be saved; nothing has changed then.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), String>")]
struct SetMode(RequestModeBody);

/// A group or a topic is deleted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
enum ForgetModes {
    Group(Box<str>),
    Topic(Box<str>),
}

/// What [`RequestModes::start`] works with.
#[derive(Clone)]
pub struct RequestModesParts {
    /// `messageRequestMode.json`.
    pub file: JsonFile,
    /// The disk that it is on.
    pub disk: Arc<dyn Disk>,
    /// The actor's logger.
    pub log: Logger,
}

impl RequestModesParts {
    /// Reads the file.
    pub fn load(&self) -> Result<RequestModeTable, JsonFileError> {
        Ok(self.file.load(&*self.disk)?.unwrap_or_default())
    }
}

/// The published modes, and the way to their actor. Clones are the same.
#[derive(Clone)]
pub struct RequestModes {
    table: Arc<ArcSwap<RequestModeTable>>,
    actor: Ref<ModeFile>,
}

impl RequestModes {
    /// Starts the actor of the file.
    pub async fn start(parts: RequestModesParts, tree: &Tree, place: Place) -> Result<Self, Exit> {
        let table = parts.load().map_err(|e| Exit::Failed(e.to_string()))?;
        let table = Arc::new(ArcSwap::from_pointee(table));
        let published = table.clone();
        let spec = ChildSpec::new("request modes", Policy::RestartEmpty, move |_| {
            Ok(ModeFile { published: published.clone(), parts: parts.clone() })
        });
        let actor = tree.start(spec.place(place)).await?;
        Ok(Self { table, actor })
    }

    /// How `group` consumes `topic`, if that was set.
    pub fn get(&self, topic: &str, group: &str) -> Option<RequestModeBody> {
        self.table.load().message_request_mode_map.get(topic)?.get(group).cloned()
    }

    /// All modes.
    pub fn all(&self) -> Arc<RequestModeTable> {
        self.table.load_full()
    }

    /// Sets a mode; done once it is saved.
    pub fn set(
        &self,
        mode: RequestModeBody,
    ) -> impl Future<Output = Result<Result<(), String>, MailboxError>> + 'static {
        self.actor.send(SetMode(mode))
    }

    /// A group is deleted.
    pub fn forget_group(&self, group: &str) {
        self.actor.do_send(ForgetModes::Group(group.into()));
    }

    /// A topic is deleted.
    pub fn forget_topic(&self, topic: &str) {
        self.actor.do_send(ForgetModes::Topic(topic.into()));
    }
}

/// See the module's text.
struct ModeFile {
    published: Arc<ArcSwap<RequestModeTable>>,
    parts: RequestModesParts,
}

impl ModeFile {
    /// Saves and publishes what `change` makes of the table, if it makes a difference.
    fn change(&self, change: impl FnOnce(&mut RequestModeTable)) -> Result<(), String> {
        let old = self.published.load_full();
        let mut table = (*old).clone();
        change(&mut table);
        if table == *old {
            return Ok(());
        }
        let saved = self.parts.file.save(&*self.parts.disk, &table);
        saved.map_err(|e| e.to_string()).inspect_err(|e| {
            error!(self.parts.log, "request modes cannot be saved"; "reason" => e);
        })?;
        self.published.store(Arc::new(table));
        Ok(())
    }
}

impl Logic for ModeFile {
    const NAME: &'static str = "request modes";
}

impl Receive<SetMode> for ModeFile {
    fn receive(&mut self, SetMode(mode): SetMode, _: &mut Ctx<Self>) -> Reply<Result<(), String>> {
        info!(self.parts.log, "request mode set"; "topic" => &mode.topic,
            "group" => &mode.consumer_group, "mode" => ?mode.mode,
            "share" => mode.pop_share_queue_num);
        let saved = self.change(|table| {
            let groups = table.message_request_mode_map.entry(mode.topic.clone()).or_default();
            groups.insert(mode.consumer_group.clone(), mode);
        });
        Reply::Now(saved)
    }
}

impl Receive<ForgetModes> for ModeFile {
    fn receive(&mut self, forget: ForgetModes, _: &mut Ctx<Self>) -> Reply<()> {
        // What could not be saved has been logged; an entry too many does no harm.
        let _ = self.change(|table| {
            let modes = &mut table.message_request_mode_map;
            match &forget {
                ForgetModes::Topic(topic) => drop(modes.remove(&**topic)),
                ForgetModes::Group(group) => {
                    modes.values_mut().for_each(|groups| drop(groups.remove(&**group)));
                    modes.retain(|_, groups| !groups.is_empty());
                }
            }
        });
        Reply::Now(())
    }
}

#[cfg(test)]
mod tests {
    use gantry_codec::body::MessageRequestMode;
    use gantry_storage::MemDisk;
    use slog::{Discard, o};

    use super::*;

    fn file(disk: &Arc<MemDisk>) -> ModeFile {
        let parts = RequestModesParts {
            file: JsonFile::new("/config/messageRequestMode.json".into()),
            disk: disk.clone(),
            log: Logger::root(Discard, o!()),
        };
        let table = parts.load().unwrap();
        ModeFile { published: Arc::new(ArcSwap::from_pointee(table)), parts }
    }

    fn set(file: &mut ModeFile, topic: &str, group: &str) -> Result<(), String> {
        let mode = RequestModeBody {
            topic: topic.into(),
            consumer_group: group.into(),
            mode: MessageRequestMode::Pop,
            pop_share_queue_num: 3,
        };
        match file.receive(SetMode(mode), &mut Ctx::<ModeFile>::new()) {
            Reply::Now(result) => result,
            _ => panic!("answered at once"),
        }
    }

    #[test]
    fn modes_outlive_the_broker_until_topic_or_group_is_deleted() {
        let disk = Arc::new(MemDisk::new());
        let mut modes = file(&disk);
        for (topic, group) in [("t", "g"), ("t", "h"), ("u", "g")] {
            set(&mut modes, topic, group).unwrap();
        }
        let mut modes = file(&disk);
        assert_eq!(
            modes.published.load().message_request_mode_map["t"]["h"].pop_share_queue_num,
            3
        );
        modes.receive(ForgetModes::Topic("u".into()), &mut Ctx::<ModeFile>::new());
        modes.receive(ForgetModes::Group("h".into()), &mut Ctx::<ModeFile>::new());
        let left = file(&disk).published.load_full();
        assert_eq!(left.message_request_mode_map.len(), 1);
        assert_eq!(left.message_request_mode_map["t"].keys().collect::<Vec<_>>(), ["g"]);
    }

    #[test]
    fn a_mode_that_cannot_be_saved_is_not_in_force() {
        let disk = Arc::new(MemDisk::new());
        let mut modes = file(&disk);
        disk.set_free_bytes(Some(0));
        assert!(set(&mut modes, "t", "g").is_err());
        assert!(modes.published.load().message_request_mode_map.is_empty());
    }
}
