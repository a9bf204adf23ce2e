//! Stopping and restarting all children of a tree: in order, each within its limit.
//!
//! Ending is final and does not wait for a restart that is under way: what is wanted of a child only
//! ever hardens from "stop" on, so the two cannot pull it both ways. Restarts wait for each other.

use std::sync::atomic::Ordering;

use futures_util::future::{self, BoxFuture, FutureExt};
use slog::{debug, error, warn};

use super::{Node, Order, Tree};
use crate::child::{Child, Ending};

impl Tree {
    /// Stops all children, the last declared first, each within its limit; trees below like a child.
    /// No child is made here any more.
    pub async fn stop(&self) {
        self.nodes().closed = true;
        let mut nodes = self.listed();
        nodes.reverse();
        self.each(nodes, Self::stop_node).await;
        if let Some(parent) = &self.inner.parent {
            parent.nodes().by_id.remove(&self.inner.id);
        }
        self.inner.ended.send_replace(true);
    }

    /// Waits until this tree has stopped, by [`stop`](Self::stop) or by [`Verdict::StopAll`](crate::Verdict::StopAll).
    pub async fn stopped(&self) {
        // The sender lives in the tree itself, so the wait cannot be cut short.
        let _ = self.inner.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Ends the incarnations of all children in reverse order and makes them again in declared
    /// order; mailboxes are kept.
    pub async fn restart(&self) {
        self.restart_since(self.restarts_begun()).await;
    }

    pub(super) fn restarts_begun(&self) -> u64 {
        self.inner.restarts_begun.load(Ordering::Acquire)
    }

    /// Restarts unless a restart has begun after `begun` were counted: children that fell together are
    /// all covered by the first one.
    pub(super) async fn restart_since(&self, begun: u64) {
        let _one_at_a_time = self.inner.restarting.lock().await;
        if self.restarts_begun() != begun || self.nodes().closed {
            return;
        }
        self.inner.restarts_begun.fetch_add(1, Ordering::AcqRel);
        warn!(self.inner.world.log, "restarting all children"; "tree" => &*self.inner.path);
        self.rest().await;
        self.begin().await;
    }

    async fn rest(&self) {
        let mut nodes = self.listed();
        nodes.reverse();
        self.each(nodes, Self::rest_node).await;
    }

    async fn begin(&self) {
        self.each(self.listed(), Self::begin_node).await;
    }

    /// Does `step` to each node, in this tree's order.
    async fn each(&self, nodes: Vec<Node>, step: fn(Tree, Node) -> BoxFuture<'static, ()>) {
        let steps = nodes.into_iter().map(|node| step(self.clone(), node));
        match self.inner.order {
            Order::Together => {
                future::join_all(steps).await;
            }
            Order::Declared => {
                for step in steps {
                    step.await;
                }
            }
        }
    }

    fn stop_node(self, node: Node) -> BoxFuture<'static, ()> {
        async move {
            match node {
                Node::Child(child) => self.log_ending(&child, child.stop().await),
                Node::Tree(tree) => tree.stop().await,
            }
        }
        .boxed()
    }

    fn rest_node(self, node: Node) -> BoxFuture<'static, ()> {
        async move {
            match node {
                Node::Child(child) => self.log_ending(&child, child.rest().await),
                Node::Tree(tree) => tree.rest().await,
            }
        }
        .boxed()
    }

    fn begin_node(self, node: Node) -> BoxFuture<'static, ()> {
        async move {
            match node {
                // A stop has come in between.
                _ if self.nodes().closed => {}
                Node::Child(child) => child.begin().await,
                Node::Tree(tree) => tree.begin().await,
            }
        }
        .boxed()
    }

    fn log_ending(&self, child: &Child, ending: Ending) {
        let log = &self.inner.world.log;
        let limit_ms = child.stop_limit.as_millis() as u64;
        match ending {
            Ending::InTime => debug!(log, "actor stopped"; self.who(&child.link)),
            Ending::Forced => warn!(log, "actor did not stop in time, ended by force";
                self.who(&child.link), "limit_ms" => limit_ms),
            Ending::Abandoned => error!(log, "actor cannot be stopped, its thread is blocked";
                self.who(&child.link), "limit_ms" => limit_ms),
        }
    }
}
