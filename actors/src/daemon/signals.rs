//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends the process at once.
//!
//! They are waited for on a thread of their own, so that the second is heard even if the first asked
//! a thread that is stuck, say in a file system that does not answer.

use std::io;

use actix_rt::Arbiter;
use slog::{Logger, info, warn};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// Hears signals from when it is made.
pub struct Signals {
    first: oneshot::Receiver<()>,
}

impl Signals {
    /// Takes over both signals. Needs a running actix system.
    pub async fn listen(log: Logger) -> io::Result<Self> {
        let (ready, listening) = oneshot::channel();
        let (first, requested) = oneshot::channel();
        Arbiter::new().spawn(async move {
            match Both::take_over() {
                Ok(both) => {
                    let _ = ready.send(Ok(()));
                    both.watch(first, log).await;
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
        match listening.await {
            Ok(taken) => taken.map(|()| Self { first: requested }),
            Err(_) => Err(io::Error::other("the thread that hears signals has ended")),
        }
    }

    /// Returns when an orderly end is asked for.
    pub async fn requested(&mut self) {
        // The sender goes without a word only with the system itself.
        let _ = (&mut self.first).await;
    }
}

struct Both {
    terminate: Signal,
    interrupt: Signal,
}

impl Both {
    fn take_over() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    async fn watch(mut self, first: oneshot::Sender<()>, log: Logger) {
        let name = self.next().await;
        info!(log, "stopping in order; a second signal stops at once"; "signal" => name);
        let _ = first.send(());
        let name = self.next().await;
        warn!(log, "stopping at once"; "signal" => name);
        super::complain(&format!("stopped at once by a second signal ({name})"));
        std::process::exit(1);
    }
}
