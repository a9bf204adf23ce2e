//! A daemon's life: read the configuration, start the log, start the services, say that they serve,
//! wait for a signal, stop the services in reverse order.
//!
//! What is started stands behind [`Services`], so that the order of things can be tested without
//! ports and files. A service that does not start takes those before it down again.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use futures_util::future::LocalBoxFuture;
use gantry_conf::{BrokerConfig, Effective, LogConfig, NamesrvConfig, Role, Surroundings, Warning};
use slog::{Logger, info, warn};

use super::{
    cli::{BrokerArgs, DaemonArgs},
    failure::Failure,
    logging::Log,
    services::Real,
    signals::Signals,
};

/// Starts services.
pub(super) trait Services {
    /// Starts a name server; it serves when this returns.
    async fn namesrv(&self, config: NamesrvConfig, log: &Logger) -> Result<Started, Failure>;
    /// Starts a broker; it serves when this returns.
    async fn broker(&self, config: BrokerConfig, log: &Logger) -> Result<Started, Failure>;
}

/// A service that serves.
pub(super) struct Started {
    /// `broker` or `namesrv`.
    pub service: &'static str,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Stops it in order.
    pub stop: Box<dyn FnOnce() -> LocalBoxFuture<'static, ()>>,
}

/// Which services a process runs; a broker registers with the name server beside it.
#[derive(Default)]
struct Plan {
    namesrv: Option<NamesrvConfig>,
    broker: Option<BrokerConfig>,
}

/// `gantry namesrv`.
pub(super) fn namesrv(args: &DaemonArgs) -> Result<(), Failure> {
    let surroundings = Surroundings::of_process(args.home.clone());
    let loaded = NamesrvConfig::load(&args.sources(), &surroundings)?;
    if args.print {
        print(&loaded.config.effective, &loaded.warnings);
        return Ok(());
    }
    let log = loaded.config.log.clone();
    run(Plan { namesrv: Some(loaded.config), ..Plan::default() }, &log, &loaded.warnings)
}

/// `gantry broker`.
pub(super) fn broker(args: &BrokerArgs) -> Result<(), Failure> {
    let surroundings = Surroundings::of_process(args.daemon.home.clone());
    let loaded = BrokerConfig::load(Role::Broker, &args.sources(), &surroundings)?;
    if args.daemon.print {
        print(&loaded.config.effective, &loaded.warnings);
        return Ok(());
    }
    let log = loaded.config.log.clone();
    run(Plan { broker: Some(loaded.config), ..Plan::default() }, &log, &loaded.warnings)
}

/// `gantry standalone`.
pub(super) fn standalone(args: &DaemonArgs) -> Result<(), Failure> {
    let surroundings = Surroundings::of_process(args.home.clone());
    let loaded = BrokerConfig::load(Role::Standalone, &args.sources(), &surroundings)?;
    if args.print {
        print(&loaded.config.effective, &loaded.warnings);
        return Ok(());
    }
    let namesrv = NamesrvConfig::beside(&loaded.config, &surroundings)?;
    let log = loaded.config.log.clone();
    run(Plan { namesrv: Some(namesrv), broker: Some(loaded.config) }, &log, &loaded.warnings)
}

/// `-p`: the configuration to standard output, what is odd about it to standard error.
fn print(effective: &Effective, warnings: &[Warning]) {
    for warning in warnings {
        super::complain(&warning.to_string());
    }
    super::print(&effective.to_string());
}

fn run(plan: Plan, log: &LogConfig, warnings: &[Warning]) -> Result<(), Failure> {
    let log = Log::start(log)?;
    for warning in warnings {
        warn!(log.root, "configuration"; "what" => %warning);
    }
    let system = actix::System::new();
    let ended = system.block_on(async {
        // Before anything is started, so that no signal finds the process half taken over.
        let mut signals = Signals::listen(log.root.clone())
            .await
            .map_err(|error| Failure::Start(format!("signals cannot be heard: {error}")))?;
        let started =
            start(plan, &Real::new(log.levels.clone()), &log.root, &mut io::stdout()).await?;
        signals.requested().await;
        stop(started).await;
        info!(log.root, "stopped in order");
        Ok(())
    });
    if log.dropped() > 0 {
        warn!(log.root, "log lines were dropped since the start"; "lines" => log.dropped());
    }
    ended
}

/// Starts the services of a plan and says so on `out`, a line for each.
async fn start(
    plan: Plan,
    services: &impl Services,
    log: &Logger,
    out: &mut impl Write,
) -> Result<Vec<Started>, Failure> {
    let mut started = Vec::new();
    if let Some(config) = plan.namesrv {
        started.push(ready(services.namesrv(config, log).await?, out));
    }
    if let Some(mut config) = plan.broker {
        if let Some(beside) = started.first() {
            put_first(&mut config.registration.namesrv_addr, reachable(beside.addr).to_string());
        }
        match services.broker(config, log).await {
            Ok(broker) => started.push(ready(broker, out)),
            Err(failure) => {
                stop(started).await;
                return Err(failure);
            }
        }
    }
    Ok(started)
}

async fn stop(started: Vec<Started>) {
    for service in started.into_iter().rev() {
        (service.stop)().await;
    }
}

fn ready(started: Started, out: &mut impl Write) -> Started {
    // A starter that does not listen to standard output is served all the same.
    let _ = writeln!(out, "gantry {} ready on {}", started.service, started.addr);
    let _ = out.flush();
    started
}

/// The name server of this process goes first, and once.
fn put_first(addresses: &mut Vec<String>, own: String) {
    addresses.retain(|address| *address != own);
    addresses.insert(0, own);
}

/// An address that this host can connect to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use futures_util::FutureExt;
    use gantry_conf::Sources;
    use slog::{Discard, o};

    use super::*;

    /// Services that only say what happens to them.
    #[derive(Default)]
    struct Told {
        events: Rc<RefCell<Vec<String>>>,
        broken: bool,
    }

    impl Told {
        fn started(&self, service: &'static str, addr: &str) -> Started {
            let events = self.events.clone();
            let stop = move || {
                events.borrow_mut().push(format!("stop {service}"));
                std::future::ready(()).boxed_local()
            };
            Started { service, addr: addr.parse().unwrap(), stop: Box::new(stop) }
        }
    }

    impl Services for Told {
        async fn namesrv(&self, _: NamesrvConfig, _: &Logger) -> Result<Started, Failure> {
            self.events.borrow_mut().push("start namesrv".into());
            Ok(self.started("namesrv", "0.0.0.0:9876"))
        }

        async fn broker(&self, config: BrokerConfig, _: &Logger) -> Result<Started, Failure> {
            let addresses = config.registration.namesrv_addr.join(";");
            self.events.borrow_mut().push(format!("start broker of {addresses}"));
            if self.broken {
                return Err(Failure::Store("torn".into()));
            }
            Ok(self.started("broker", "127.0.0.1:10911"))
        }
    }

    fn plan(namesrv_addr: &str) -> Plan {
        let surroundings = Surroundings::bare("/home");
        let set = vec![format!("namesrvAddr={namesrv_addr}")];
        let sources = Sources { set, ..Sources::default() };
        let broker = BrokerConfig::load(Role::Standalone, &sources, &surroundings).unwrap().config;
        let namesrv = NamesrvConfig::beside(&broker, &surroundings).unwrap();
        Plan { namesrv: Some(namesrv), broker: Some(broker) }
    }

    /// Starts and stops; returns what happened and what was printed.
    fn events(plan: Plan, broken: bool) -> (Vec<String>, String) {
        let told = Told { broken, ..Told::default() };
        let log = Logger::root(Discard, o!());
        let mut out = Vec::new();
        let started = start(plan, &told, &log, &mut out).now_or_never().unwrap();
        if let Ok(started) = started {
            stop(started).now_or_never().unwrap();
        }
        (told.events.take(), String::from_utf8(out).unwrap())
    }

    #[test]
    fn standalone_starts_the_name_server_first_and_stops_it_last() {
        let (events, out) = events(plan("other:1"), false);
        let broker = "start broker of 127.0.0.1:9876;other:1";
        assert_eq!(events, ["start namesrv", broker, "stop broker", "stop namesrv"]);
        let lines =
            ["gantry namesrv ready on 0.0.0.0:9876", "gantry broker ready on 127.0.0.1:10911"];
        assert_eq!(out.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn a_broker_that_does_not_start_takes_the_name_server_down() {
        let (events, out) = events(plan("127.0.0.1:9876"), true);
        let broker = "start broker of 127.0.0.1:9876";
        assert_eq!(events, ["start namesrv", broker, "stop namesrv"]);
        assert_eq!(out.lines().count(), 1);
    }

    #[test]
    fn this_host_can_reach_its_own_services() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reach("[::]:1"), "[::1]:1");
        assert_eq!(reach("10.0.0.1:1"), "10.0.0.1:1");
    }
}
