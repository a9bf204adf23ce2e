//! The answers of the port: all figures together, and how the broker is.
//!
//! The port opens before the broker serves, so there is a time in which only the process itself can be
//! told of; [`Scrape::serves`] ends it.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use gantry_supervisor::{Ref, State, Tree};
use tokio::time::timeout;

use super::{
    Metrics, Source, Sources,
    actors::Actors,
    endpoint::{Answer, Answers},
    http::{Status, Wanted},
    page::{self, Asked},
};
use crate::{
    group::{Diagnose, Watch},
    log::state::LogState,
    transaction::{Transactions, operate::ListTransactions},
};

/// How long actors may take to answer before a page is made without them.
const ANSWERS_LIMIT: Duration = Duration::from_secs(1);
/// Kinds with more children are not asked how they are.
const FEW: usize = 64;

/// What a browser is shown.
const INDEX: &str = "<!doctype html><title>gantry</title><h1>gantry</h1>\
    <p><a href=\"/metrics\">metrics</a> (<a href=\"/metrics?queues=1\">with queues</a>), \
    <a href=\"/healthz\">health</a>, <a href=\"/readyz\">readiness</a></p>\n";

/// See the module's text.
pub struct Scrape {
    /// Labels of every row.
    pub labels: Vec<(&'static str, String)>,
    /// What is counted for figures alone.
    pub metrics: Arc<Metrics>,
    /// Who has others.
    pub sources: Arc<Sources>,
    /// The broker's tree.
    pub tree: Tree,
    /// Where the port is, once it is open.
    pub addr: OnceLock<SocketAddr>,
    /// Set when the broker serves.
    pub serving: OnceLock<Serving>,
}

/// What there is once the broker serves.
pub struct Serving {
    /// Whether the log takes messages.
    pub log_state: Arc<LogState>,
    /// Who watches over the consumption.
    pub watch: Ref<Watch>,
    /// Has the open transactions.
    pub transactions: Ref<Transactions>,
}

impl Scrape {
    /// The broker serves from now on.
    pub fn serves(&self, serving: Serving) {
        let _ = self.serving.set(serving);
    }

    async fn figures(&self, asked: Asked) -> Answer {
        let actors = self.ask_actors().await;
        let mut sources: Vec<Arc<dyn Source>> = vec![self.metrics.clone(), Arc::new(actors)];
        sources.extend(self.sources.all());
        match page::text(self.labels.clone(), asked, sources) {
            Ok(body) => {
                let content_type = asked.format.content_type();
                Answer { status: Status::Ok, content_type, body }
            }
            Err(error) => Answer::text(Status::Failed, format!("{error}\n")),
        }
    }

    async fn ask_actors(&self) -> Actors {
        let found = async {
            let watch = &self.serving.get()?.watch;
            let answer = timeout(ANSWERS_LIMIT, watch.send(Diagnose { group: None })).await;
            Some(answer.ok()?.ok()?.counts)
        };
        let counted = async {
            let order = ListTransactions::default();
            let transactions = &self.serving.get()?.transactions;
            timeout(ANSWERS_LIMIT, transactions.send(order)).await.ok()?.ok()
        };
        let probed = self.tree.probe(ANSWERS_LIMIT, FEW);
        let (kinds, findings, transactions) = tokio::join!(probed, found, counted);
        Actors { kinds, findings: findings.unwrap_or_default(), transactions }
    }

    fn health(&self) -> Answer {
        let down: Vec<String> = self
            .tree
            .snapshot()
            .into_iter()
            .filter(|child| matches!(child.state, State::Down | State::Ended))
            .map(|child| child.name)
            .collect();
        if down.is_empty() {
            Answer::text(Status::Ok, "ok\n")
        } else {
            Answer::text(Status::Unavailable, format!("given up: {}\n", down.join(", ")))
        }
    }

    fn readiness(&self) -> Answer {
        let why_not = match self.serving.get() {
            None => Some("starting".into()),
            Some(_) if self.tree.is_stopping() => Some("stopping".into()),
            Some(serving) => serving
                .log_state
                .refusal()
                .map(|refusal| format!("the log takes no messages: {}", refusal.reason())),
        };
        match why_not {
            None => Answer::text(Status::Ok, "ready\n"),
            Some(why) => Answer::text(Status::Unavailable, format!("{why}\n")),
        }
    }
}

impl Answers for Scrape {
    fn opened(&self, addr: SocketAddr) {
        // The same one after a restart of the endpoint.
        let _ = self.addr.set(addr);
    }

    fn answer(self: Arc<Self>, wanted: Wanted) -> LocalBoxFuture<'static, Answer> {
        Box::pin(async move {
            match wanted {
                Wanted::Metrics(asked) => self.figures(asked).await,
                Wanted::Health => self.health(),
                Wanted::Readiness => self.readiness(),
                Wanted::Index => Answer {
                    status: Status::Ok,
                    content_type: "text/html; charset=utf-8",
                    body: INDEX.into(),
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use actix::Message;
    use gantry_supervisor::{
        Budget, ChildSpec, Ctx, Logic, Placement, Policy, Receive, Reply, quiet_panics,
    };
    use slog::{Discard, Logger, o};

    use super::*;

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Fall;

    struct Brittle;

    impl Logic for Brittle {
        const NAME: &'static str = "brittle";
    }

    impl Receive<Fall> for Brittle {
        fn receive(&mut self, _: Fall, _: &mut Ctx<Self>) -> Reply<()> {
            panic!("it falls")
        }
    }

    fn scrape(tree: &Tree) -> Arc<Scrape> {
        Arc::new(Scrape {
            labels: vec![("cluster", "c".into())],
            metrics: Arc::default(),
            sources: Arc::default(),
            tree: tree.clone(),
            addr: OnceLock::new(),
            serving: OnceLock::new(),
        })
    }

    fn run(test: impl Future<Output = ()>) {
        quiet_panics();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    fn tree() -> Tree {
        Tree::root("broker", Placement::single(), Logger::root(Discard, o!()), 1)
    }

    #[test]
    fn an_actor_that_is_given_up_ends_health_and_one_that_is_made_again_does_not() {
        run(async {
            let tree = tree();
            let spec = |name: &str, policy| ChildSpec::new(name, policy, |_| Ok(Brittle));
            let strong = spec("strong", Policy::RestartEmpty).budget(Budget::default());
            let strong = tree.start(strong).await.unwrap();
            let weak = tree.start(spec("weak", Policy::FailStop)).await.unwrap();
            let scrape = scrape(&tree);
            strong.send(Fall).await.unwrap_err();
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(scrape.health().status, Status::Ok);
            weak.send(Fall).await.unwrap_err();
            tokio::time::sleep(Duration::from_secs(60)).await;
            let health = scrape.health();
            assert_eq!(health.status, Status::Unavailable);
            assert_eq!(health.body, "given up: broker/weak\n");
        });
    }

    #[test]
    fn who_has_not_begun_to_serve_is_alive_and_not_ready() {
        run(async {
            let scrape = scrape(&tree());
            assert_eq!(scrape.health().status, Status::Ok);
            let readiness = scrape.readiness();
            assert_eq!((readiness.status, &*readiness.body), (Status::Unavailable, "starting\n"));
            let figures = scrape.clone().answer(Wanted::Metrics(Asked::default())).await;
            assert_eq!(figures.status, Status::Ok);
            assert!(figures.body.contains("gantry_send_stored_seconds_count{cluster=\"c\"} 0"));
        });
    }
}
