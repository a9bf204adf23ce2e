//! The answers of the port: all figures together, and how the broker is.
//!
//! The port opens before the broker serves, so there is a time in which only the process itself can be
//! told of; [`Scrape::serves`] ends it.

use std::sync::{Arc, OnceLock};

use futures_util::future::LocalBoxFuture;
use gantry_supervisor::{State, Tree};

use super::{
    Metrics, Source,
    endpoint::{Answer, Answers},
    http::{Status, Wanted},
    page::{self, Asked},
};
use crate::log::state::LogState;

/// What a browser is shown.
const INDEX: &str = "<!doctype html><title>gantry</title><h1>gantry</h1>\
    <p><a href=\"/metrics\">metrics</a> (<a href=\"/metrics?queues=1\">with queues</a>), \
    <a href=\"/healthz\">health</a>, <a href=\"/readyz\">readiness</a></p>\n";

/// See the module's text.
pub struct Scrape {
    /// Labels of every row.
    pub labels: Vec<(&'static str, String)>,
    /// What is counted for figures alone, and the sources.
    pub metrics: Arc<Metrics>,
    /// The broker's tree.
    pub tree: Tree,
    /// Set when the broker serves.
    pub serving: OnceLock<Serving>,
}

/// What there is once the broker serves.
pub struct Serving {
    /// Whether the log takes messages.
    pub log_state: Arc<LogState>,
}

impl Scrape {
    /// The broker serves from now on.
    pub fn serves(&self, serving: Serving) {
        let _ = self.serving.set(serving);
    }

    async fn figures(&self, asked: Asked) -> Answer {
        let mut sources: Vec<Arc<dyn Source>> = vec![self.metrics.clone()];
        sources.extend(self.metrics.sources());
        match page::text(self.labels.clone(), asked, sources) {
            Ok(body) => {
                let content_type = asked.format.content_type();
                Answer { status: Status::Ok, content_type, body }
            }
            Err(error) => Answer::text(Status::Failed, format!("{error}\n")),
        }
    }

    fn health(&self) -> Answer {
        let down: Vec<String> = self
            .tree
            .snapshot()
            .into_iter()
            .filter(|child| child.state == State::Down)
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
