//! Which name server knows what: the logic of registration, without sockets or timers.
//!
//! Topic tables are numbered as they come ([`Servers::want`]). Each name server is told the latest
//! table it has not been told, one attempt at a time ([`Servers::begin`], [`Servers::end`]). Who waits for
//! a table to be known waits for every name server that can be reached ([`Servers::settled`]): one that is
//! known to be silent is not waited for, one that refuses or was never tried is.

use std::{sync::Arc, time::Duration};

/// The first wait before a name server that is away is tried again; it doubles up to the period.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// See the module's text.
pub struct Servers {
    servers: Vec<Server>,
    wanted: u64,
    retry_max: Duration,
}

struct Server {
    addr: Arc<str>,
    /// The last table of a finished attempt, whatever came of it.
    tried: u64,
    /// The table of the attempt under way.
    trying: Option<u64>,
    /// None: not tried yet.
    state: Option<Outcome>,
    retry: Duration,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The name server knows this broker.
    Taken,
    /// It answered and does not want to know it; why.
    Refused(String),
    /// It could not be reached or did not answer; why.
    Silent(String),
}

impl Outcome {
    /// Why the name server does not know this broker, if so.
    fn why_not(&self) -> Option<&str> {
        match self {
            Self::Taken => None,
            Self::Refused(why) | Self::Silent(why) => Some(why),
        }
    }
}

/// What the end of an attempt means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is as it was.
    Same,
    /// The name server knows this broker, which it did not before.
    Known,
    /// The name server no longer knows this broker, or never did; why.
    Away(String),
}

impl Servers {
    /// Name servers at these addresses; one that is away is tried at least every `retry_max`.
    pub fn new(addrs: impl IntoIterator<Item = Arc<str>>, retry_max: Duration) -> Self {
        let server =
            |addr| Server { addr, tried: 0, trying: None, state: None, retry: FIRST_RETRY };
        Self { servers: addrs.into_iter().map(server).collect(), wanted: 0, retry_max }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// The address of a server.
    pub fn addr(&self, server: usize) -> &Arc<str> {
        &self.servers[server].addr
    }

    /// There is a table to be told; its number.
    pub fn want(&mut self) -> u64 {
        self.wanted += 1;
        self.wanted
    }

    /// An attempt with this server begins, unless one is under way or there is nothing to tell.
    pub fn begin(&mut self, server: usize) -> bool {
        let server = &mut self.servers[server];
        if server.trying.is_some() || server.tried == self.wanted {
            return false;
        }
        server.trying = Some(self.wanted);
        true
    }

    /// The attempt with this server has ended.
    pub fn end(&mut self, server: usize, outcome: Outcome) -> Turn {
        let server = &mut self.servers[server];
        server.tried = server.trying.take().unwrap_or(server.tried);
        let why_not = outcome.why_not().map(str::to_owned);
        let before = server.state.replace(outcome);
        let known_before = before.map(|before| before == Outcome::Taken);
        match why_not {
            Some(_) if known_before == Some(false) => Turn::Same,
            Some(why) => Turn::Away(why),
            None if known_before == Some(true) => Turn::Same,
            None => Turn::Known,
        }
    }

    /// Whether this server knows the broker.
    pub fn knows(&self, server: usize) -> bool {
        self.servers[server].state == Some(Outcome::Taken)
    }

    /// How long to wait before a server that is away is tried again; None for one that is not.
    pub fn retry_after(&mut self, server: usize) -> Option<Duration> {
        let server = &mut self.servers[server];
        if matches!(server.state, Some(Outcome::Taken) | None) {
            server.retry = FIRST_RETRY;
            return None;
        }
        let wait = server.retry.min(self.retry_max);
        server.retry = (wait * 2).min(self.retry_max);
        Some(wait)
    }

    /// This server is to be told the latest table once more.
    pub fn repeat(&mut self, server: usize) {
        self.servers[server].tried = 0;
    }

    /// Which servers do not know this broker and why, if there are any.
    pub fn away(&self) -> Option<String> {
        let reason = |server: &Server| {
            let why = server.state.as_ref()?.why_not()?;
            Some(format!("not registered with {}: {why}", server.addr))
        };
        let reasons: Vec<_> = self.servers.iter().filter_map(reason).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Whether every server that can be reached has been told the table of this number.
    pub fn settled(&self, number: u64) -> bool {
        let silent = |server: &Server| matches!(server.state, Some(Outcome::Silent(_)));
        self.servers.iter().all(|server| server.tried >= number || silent(server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    fn servers(count: usize) -> Servers {
        Servers::new((0..count).map(|n| format!("ns-{n}:9876").into()), PERIOD)
    }

    fn silent() -> Outcome {
        Outcome::Silent("no answer".to_owned())
    }

    #[test]
    fn a_table_is_settled_when_every_server_was_tried() {
        let mut all = servers(2);
        let first = all.want();
        assert!(all.begin(0) && all.begin(1));
        assert!(!all.begin(0), "one attempt at a time");
        assert_eq!(all.end(0, Outcome::Taken), Turn::Known);
        assert!(!all.settled(first));
        assert_eq!(all.end(1, Outcome::Taken), Turn::Known);
        assert!(all.settled(first));
        assert!(!all.begin(0), "nothing new to tell");
    }

    #[test]
    fn a_table_that_comes_during_an_attempt_needs_another() {
        let mut all = servers(1);
        let first = all.want();
        assert!(all.begin(0));
        let second = all.want();
        let third = all.want();
        all.end(0, Outcome::Taken);
        assert!(all.settled(first) && !all.settled(second));
        assert!(all.begin(0));
        assert_eq!(all.end(0, Outcome::Taken), Turn::Same);
        assert!(all.settled(third), "one attempt tells the latest");
    }

    #[test]
    fn a_server_that_is_away_is_not_waited_for_and_told_of_once() {
        let mut all = servers(2);
        let first = all.want();
        assert!(all.begin(0) && all.begin(1));
        all.end(0, Outcome::Taken);
        assert_eq!(all.end(1, silent()), Turn::Away("no answer".into()));
        assert!(all.settled(first));
        let second = all.want();
        assert!(all.begin(0) && all.begin(1));
        all.end(0, Outcome::Taken);
        assert!(all.settled(second), "without the one that is away");
        assert_eq!(all.end(1, silent()), Turn::Same);
        let third = all.want();
        assert!(all.begin(1));
        assert_eq!(all.end(1, Outcome::Taken), Turn::Known);
        assert!(!all.settled(third), "the other one has not been told yet");
    }

    #[test]
    fn a_server_that_refuses_is_waited_for() {
        let mut all = servers(1);
        all.want();
        assert!(all.begin(0));
        let refusal = Outcome::Refused("one topic is too few".into());
        assert_eq!(all.end(0, refusal.clone()), Turn::Away("one topic is too few".into()));
        let second = all.want();
        assert!(all.begin(0) && !all.settled(second));
        assert_eq!(all.end(0, refusal), Turn::Same);
        assert!(all.settled(second));
    }

    #[test]
    fn waits_grow_up_to_the_period_and_start_over() {
        let mut all = servers(1);
        all.want();
        assert!(all.begin(0));
        all.end(0, silent());
        let waits: Vec<u64> = (0..7).map(|_| all.retry_after(0).unwrap().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert!(!all.begin(0), "it has been tried with this table");
        all.repeat(0);
        assert!(all.begin(0), "the same table once more");
        all.end(0, Outcome::Taken);
        assert_eq!(all.retry_after(0), None);
        all.want();
        assert!(all.begin(0));
        all.end(0, silent());
        assert_eq!(all.retry_after(0), Some(FIRST_RETRY));
    }

    #[test]
    fn a_lost_connection_means_telling_again() {
        let mut all = servers(1);
        assert!(!all.knows(0), "it was never told anything");
        let first = all.want();
        assert!(all.begin(0));
        all.end(0, Outcome::Taken);
        assert!(all.knows(0));
        all.repeat(0);
        assert!(!all.settled(first));
        assert!(all.begin(0));
        assert_eq!(all.end(0, Outcome::Taken), Turn::Same);
    }

    #[test]
    fn without_name_servers_everything_is_settled() {
        let mut none = servers(0);
        let first = none.want();
        assert!(none.settled(first));
        assert_eq!(none.len(), 0);
    }
}
