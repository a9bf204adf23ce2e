//! What a message costs in allocations: actix's own, nothing of the shell's.

mod common;

use actix::{Actor, Addr, Context, Handler, Message};
use allocation_counter::measure;
use common::{root, settle};
use gantry_supervisor::{ChildSpec, Ctx, Logic, Policy, Receive, Reply, quiet_panics};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

#[derive(Message)]
#[rtype(result = "()")]
struct Count;

struct Plain(u64);

impl Actor for Plain {
    type Context = Context<Self>;
}

impl Handler<Count> for Plain {
    type Result = ();

    fn handle(&mut self, _: Count, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

struct Supervised(u64);

impl Logic for Supervised {
    const NAME: &'static str = "supervised";

    fn drained(&mut self, _: &mut Ctx<Self>) {
        self.0 = 0;
    }
}

impl Receive<Count> for Supervised {
    fn receive(&mut self, _: Count, _: &mut Ctx<Self>) -> Reply<()> {
        self.0 += 1;
        Reply::Now(())
    }
}

struct Stage {
    runtime: Runtime,
    local: LocalSet,
}

impl Stage {
    fn new() -> Self {
        quiet_panics();
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        Self { runtime: runtime.expect("a runtime"), local: LocalSet::new() }
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        self.local.block_on(&self.runtime, future)
    }

    /// Allocations while `messages` that are already queued are handled in one wake-up.
    fn handling<A: Actor<Context = Context<A>> + Handler<Count>>(
        &self,
        actor: &Addr<A>,
        messages: usize,
    ) -> u64 {
        (0..messages).for_each(|_| actor.do_send(Count));
        measure(|| self.run(settle())).count_total
    }
}

fn supervised(stage: &Stage) -> gantry_supervisor::Ref<Supervised> {
    let spec = ChildSpec::new("a", Policy::RestartEmpty, |_| Ok(Supervised(0)));
    stage.run(async { root().start(spec).await.expect("starts") })
}

#[test]
fn sending_allocates_an_envelope_and_a_queue_node_and_a_reply_channel() {
    let stage = Stage::new();
    let addr = stage.run(async { Plain(0).start() });
    assert_eq!(measure(|| addr.do_send(Count)).count_total, 2);
    assert_eq!(measure(|| drop(addr.send(Count))).count_total, 3);
}

#[test]
fn cloning_an_address_allocates_twice() {
    let stage = Stage::new();
    let addr = stage.run(async { Plain(0).start() });
    assert_eq!(measure(|| drop(addr.clone())).count_total, 2);
}

#[test]
fn handling_a_message_behind_the_guard_allocates_nothing() {
    let stage = Stage::new();
    let actor = supervised(&stage);
    let few = stage.handling(&actor, 1);
    let many = stage.handling(&actor, 10_000);
    assert_eq!(many, few);
}

#[test]
fn a_wake_up_with_guard_and_hook_allocates_no_more_than_a_plain_one() {
    let stage = Stage::new();
    let plain = stage.run(async { Plain(0).start() });
    let supervised = supervised(&stage);
    let with_plain = (stage.handling(&plain, 1), stage.handling(&plain, 1)).1;
    let with_supervised = (stage.handling(&supervised, 1), stage.handling(&supervised, 1)).1;
    assert_eq!(with_supervised, with_plain);
}
