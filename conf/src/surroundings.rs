//! What a configuration takes from the machine: the home directory, the host's name and address, and
//! the environment. Looked up once, by the process that starts; tests give their own.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The home directory.
    pub home: PathBuf,
    /// What named it: `--home`, `GANTRY_HOME` or nothing.
    pub home_from: HomeFrom,
    /// The host's name.
    pub host_name: String,
    /// The first IPv4 address that is not loopback.
    pub ipv4: Option<Ipv4Addr>,
    /// Environment variables.
    pub variables: Vec<(String, String)>,
}

/// What named the home directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeFrom {
    /// The command line.
    Flag,
    /// The environment variable `GANTRY_HOME`.
    Variable,
    /// Nothing: it is `./gantry-data`.
    Default,
}

impl Surroundings {
    /// Those of this process; `home` is what the command line names.
    pub fn of_process(home: Option<PathBuf>) -> Self {
        let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
        let variable = env::var_os("GANTRY_HOME").filter(|value| !value.is_empty());
        let (home, home_from) = match (home, variable) {
            (Some(home), _) => (home, HomeFrom::Flag),
            (None, Some(home)) => (home.into(), HomeFrom::Variable),
            (None, None) => ("gantry-data".into(), HomeFrom::Default),
        };
        Self {
            home,
            home_from,
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            ipv4: first_ipv4(),
            variables: env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
        }
    }

    /// A home directory and nothing else, for tests and simulations.
    pub fn bare(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            home_from: HomeFrom::Flag,
            host_name: "localhost".into(),
            ipv4: None,
            variables: Vec::new(),
        }
    }

    /// The value of an environment variable.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A host without such an address, or one that does not tell its addresses, has none.
fn first_ipv4() -> Option<Ipv4Addr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().find_map(|interface| match interface.ip() {
        IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_link_local() => Some(ip),
        _ => None,
    })
}
