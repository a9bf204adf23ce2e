//! The sockets: taken before anything else is touched, served when all the rest is there.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use gantry_supervisor::{ChildSpec, Policy};
use slog::{o, warn};

use super::{BrokerStartError, Start};
use crate::{
    net::{Acceptor, Listener, PortSpec, ServiceFactory, io_threads},
    session::{Session, Shared},
};

/// Connections open at once on one port.
const CONNECTIONS_MAX: usize = 100_000;

impl Start<'_> {
    pub(super) fn listen(&self) -> Result<(Box<dyn Acceptor>, SocketAddr), BrokerStartError> {
        let wanted = self.config.network.listen_addr();
        let failed =
            |e: std::io::Error| BrokerStartError::Listen { addr: wanted, reason: e.to_string() };
        let acceptor = self.seams.network.listen(wanted).map_err(failed)?;
        let addr = acceptor.local_addr().map_err(failed)?;
        Ok((acceptor, addr))
    }

    /// The second port (main − 2), to which 4.3 clients send by default. Without it only they fail, so
    /// it is missed with a warning.
    pub(super) fn listen_vip(&self, main: SocketAddr) -> Option<Box<dyn Acceptor>> {
        let port = main.port().checked_sub(2).filter(|port| *port > 0)?;
        let addr = SocketAddr::new(main.ip(), port);
        match self.seams.network.listen(addr) {
            Ok(acceptor) => Some(acceptor),
            Err(e) => {
                warn!(self.log, "the port for 4.3 clients cannot be opened"; "addr" => %addr,
                    "error" => %e);
                None
            }
        }
    }

    pub(super) async fn open_port(
        &self,
        name: &'static str,
        acceptor: Option<Box<dyn Acceptor>>,
        shared: &Arc<Shared>,
    ) -> Result<(), BrokerStartError> {
        let Some(first) = acceptor else { return Ok(()) };
        let addr = first.local_addr().map_err(|e| BrokerStartError::Listen {
            addr: self.config.network.listen_addr(),
            reason: e.to_string(),
        })?;
        let network = &self.config.network;
        let shared = shared.clone();
        let factory: ServiceFactory<Session> = Arc::new(move |_| Session::new(shared.clone()));
        let spec = Arc::new(PortSpec {
            factory,
            tree: self.tree.pool(&format!("connections-{name}")),
            threads: io_threads(network, self.seams.cores),
            connections_max: CONNECTIONS_MAX,
            limits: network.into(),
            log: self.log.new(o!("port" => name)),
        });
        // The first incarnation takes the socket that is open already, later ones open it again.
        let (network, mut first) = (self.seams.network.clone(), Some(first));
        let child = ChildSpec::in_context(name, Policy::RestartFromDisk, move |_, ctx| {
            let acceptor = match first.take() {
                Some(first) => first,
                None => network.listen(addr).map_err(|e| e.to_string())?,
            };
            Ok(Listener::new(spec.clone(), acceptor, ctx))
        });
        self.started("listener", self.tree.start(child).await)?;
        Ok(())
    }
}

pub(super) fn resolve(host: &str) -> Result<IpAddr, BrokerStartError> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let failed = |reason: String| BrokerStartError::Host { host: host.into(), reason };
    let mut found = (host, 0).to_socket_addrs().map_err(|e| failed(e.to_string()))?;
    let v4_first = found.clone().find(|addr| addr.is_ipv4()).or_else(|| found.next());
    v4_first.map(|addr| addr.ip()).ok_or_else(|| failed("no address".into()))
}
