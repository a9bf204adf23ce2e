//! What actix 0.13 does, as far as this project builds on it. Each was read in its source; a test here
//! that fails after an upgrade names an assumption to think about again.

mod common;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use actix::prelude::*;
use actix::{MailboxError, dev::SendError};
use common::{run, settle};
use futures_util::stream;

/// Notes what it is given, and how far the other task had come by then.
#[derive(Default)]
struct Noter {
    noted: Rc<Cell<Vec<(u32, u32)>>>,
    elsewhere: Rc<Cell<u32>>,
    capacity: Option<usize>,
}

impl Noter {
    fn note(&self, n: u32) {
        let mut noted = self.noted.take();
        noted.push((n, self.elsewhere.get()));
        self.noted.set(noted);
    }
}

impl Actor for Noter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(capacity) = self.capacity {
            ctx.set_mailbox_capacity(capacity);
        }
    }
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Note(u32);

impl Handler<Note> for Noter {
    type Result = u32;

    fn handle(&mut self, Note(n): Note, ctx: &mut Context<Self>) -> u32 {
        self.note(n);
        if n == 100 {
            ctx.spawn(fut::wrap_future(async {}).map(|(), this: &mut Self, _| this.note(1000)));
        }
        n
    }
}

impl StreamHandler<u32> for Noter {
    fn handle(&mut self, n: u32, _: &mut Context<Self>) {
        self.note(n);
    }
}

/// A task that counts how often it has its turn.
fn other_task() -> Rc<Cell<u32>> {
    let turns = Rc::new(Cell::new(0));
    let counted = Rc::clone(&turns);
    actix::spawn(poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        cx.waker().wake_by_ref();
        if counted.get() < 1000 { Poll::Pending } else { Poll::Ready(()) }
    }));
    turns
}

#[test]
fn do_send_ignores_the_capacity() {
    run(async {
        let noter = Noter { capacity: Some(1), ..Noter::default() };
        let noted = Rc::clone(&noter.noted);
        let addr = noter.start();
        settle().await;
        (0..100).for_each(|n| addr.do_send(Note(n)));
        settle().await;
        assert_eq!(noted.take().len(), 100);
    });
}

#[test]
fn only_try_send_reports_full_and_send_slips_past() {
    run(async {
        let addr = Noter { capacity: Some(1), ..Noter::default() }.start();
        settle().await;
        assert!(addr.try_send(Note(0)).is_ok());
        assert!(matches!(addr.try_send(Note(1)), Err(SendError::Full(Note(1)))));
        assert!(addr.clone().try_send(Note(2)).is_ok(), "each clone has a slot of its own");
        assert_eq!(addr.send(Note(3)).await, Ok(3), "a full mailbox does not hold it back");
    });
}

#[test]
fn a_mailbox_is_drained_without_a_budget() {
    run(async {
        let noter = Noter { elsewhere: other_task(), ..Noter::default() };
        let noted = Rc::clone(&noter.noted);
        let addr = noter.start();
        (1000..11_000).for_each(|n| addr.do_send(Note(n)));
        settle().await;
        let noted = noted.take();
        assert_eq!(noted.len(), 10_000);
        assert_eq!(noted[0].1, noted[9_999].1, "nothing else had a turn in between");
    });
}

#[test]
fn after_a_drain_the_context_polls_spawned_futures() {
    run(async {
        let noter = Noter::default();
        let noted = Rc::clone(&noter.noted);
        let addr = noter.start();
        [100, 101, 102].into_iter().for_each(|n| addr.do_send(Note(n)));
        settle().await;
        let noted: Vec<_> = noted.take().into_iter().map(|(n, _)| n).collect();
        assert_eq!(noted, [100, 101, 102, 1000]);
    });
}

#[test]
fn a_stream_is_polled_for_16_items_at_most() {
    run(async {
        let noter = Noter { elsewhere: other_task(), ..Noter::default() };
        let noted = Rc::clone(&noter.noted);
        Noter::create(|ctx| {
            ctx.add_stream(stream::iter(0..20));
            noter
        });
        settle().await;
        let noted = noted.take();
        assert_eq!(noted[0].1, noted[15].1);
        assert!(noted[16].1 > noted[15].1, "others have a turn before the 17th");
    });
}

#[test]
fn a_message_whose_caller_is_gone_is_not_handled() {
    run(async {
        let noter = Noter::default();
        let noted = Rc::clone(&noter.noted);
        let addr = noter.start();
        drop(addr.send(Note(1)));
        assert_eq!(addr.send(Note(2)).await, Ok(2));
        assert_eq!(noted.take().len(), 1);
    });
}

/// Panics or stops on order; counts its restarts.
#[derive(Default)]
struct Fragile {
    restarts: u32,
}

impl Actor for Fragile {
    type Context = Context<Self>;
}

impl actix::Supervised for Fragile {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.restarts += 1;
    }
}

#[derive(Message)]
#[rtype(result = "u32")]
enum Order {
    Panic,
    Stop,
}

impl Handler<Order> for Fragile {
    type Result = u32;

    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) -> u32 {
        match order {
            Order::Panic => std::panic::resume_unwind(Box::new("quietly")),
            Order::Stop => ctx.stop(),
        }
        self.restarts
    }
}

#[test]
fn its_supervisor_does_not_see_a_panic() {
    run(async {
        let addr = actix::Supervisor::start(|_| Fragile::default());
        let behind = (addr.send(Order::Panic), addr.send(Order::Stop));
        assert_eq!(behind.0.await, Err(MailboxError::Closed));
        assert_eq!(behind.1.await, Err(MailboxError::Closed), "the mailbox is gone with it");
        assert!(!addr.connected());
    });
}

#[test]
fn its_supervisor_does_not_create_the_actor_again() {
    run(async {
        let addr = actix::Supervisor::start(|_| Fragile::default());
        let stops = [addr.send(Order::Stop), addr.send(Order::Stop), addr.send(Order::Stop)];
        for (n, stop) in (0..).zip(stops) {
            assert_eq!(stop.await, Ok(n), "the same value goes on");
        }
    });
}

struct Blocking;

impl Actor for Blocking {
    type Context = SyncContext<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Wait(std::sync::mpsc::Receiver<()>);

impl Handler<Wait> for Blocking {
    type Result = ();

    fn handle(&mut self, Wait(until): Wait, _: &mut SyncContext<Self>) {
        // A dropped sender releases as well.
        let _ = until.recv();
    }
}

#[test]
fn a_sync_arbiter_is_unbounded_and_takes_one_message_at_a_time() {
    System::new().block_on(async {
        let addr = SyncArbiter::start(1, || Blocking);
        let (release, until) = std::sync::mpsc::channel();
        let first = addr.send(Wait(until));
        let behind: Vec<_> = (0..1000)
            .map(|_| {
                let (_, until) = std::sync::mpsc::channel();
                assert!(addr.try_send(Wait(until)).is_ok(), "never full");
                let (_, until) = std::sync::mpsc::channel();
                addr.send(Wait(until))
            })
            .collect();
        release.send(()).expect("the arbiter waits for it");
        first.await.expect("an answer");
        for answer in behind {
            answer.await.expect("an answer");
        }
    });
}
