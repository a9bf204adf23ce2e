//! The kinds of values that are more than a number or a string, each with its own reader.
//!
//! A reader says what it expects when a value does not fit (`must be …`); who knows the key, the
//! file and the line puts them before it.

use std::{fmt, net::Ipv6Addr, path::PathBuf, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IntoDeserializer},
};

/// An enum whose values are written as given.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            const TEXTS: &[&str] = &[$($text),+];

            /// The value as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("must be {}", Self::TEXTS.join(" or "))),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

choice! {
    /// When a send is answered.
    FlushDiskType {
        /// When the message is on disk.
        SyncFlush = "SYNC_FLUSH",
        /// When the message is in the mapped file.
        AsyncFlush = "ASYNC_FLUSH",
    }
}

choice! {
    /// Where the appender runs.
    AppenderPlacement {
        /// On a thread of its own.
        Own = "own",
        /// On a thread that also serves connections.
        Shared = "shared",
        /// As suits the number of cores.
        Auto = "auto",
    }
}

choice! {
    /// How clients of a group get messages.
    RequestMode {
        /// They have queues, and pull.
        Pull = "PULL",
        /// They share queues, and pop.
        Pop = "POP",
    }
}

choice! {
    /// Form of the program's log.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

choice! {
    /// How much is logged; each level includes those before it.
    LogLevel {
        /// What needs somebody's attention.
        Error = "error",
        /// What may need it.
        Warn = "warn",
        /// What an operator wants to have seen.
        Info = "info",
        /// What helps to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// `logLevel`: a level for all, and levels for single components.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogLevels {
    /// For every component that has no level of its own.
    pub default: LogLevel,
    /// Components by name, each at most once.
    pub components: Vec<(String, LogLevel)>,
}

impl TryFrom<String> for LogLevels {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut levels = Self { default: LogLevel::Info, components: Vec::new() };
        for (at, item) in text.split(',').map(str::trim).enumerate() {
            match item.split_once('=') {
                None if at == 0 => levels.default = item.parse()?,
                None => return Err(format!("must have component=level where it has {item:?}")),
                Some((name, level)) => levels.add(name.trim(), level.trim())?,
            }
        }
        Ok(levels)
    }
}

impl LogLevels {
    fn add(&mut self, name: &str, level: &str) -> Result<(), String> {
        let level = level.parse().map_err(|reason| format!("{name}: {reason}"))?;
        if name.is_empty() {
            return Err("must name a component before each =".into());
        }
        if self.components.iter().any(|(known, _)| known == name) {
            return Err(format!("must name {name} once"));
        }
        self.components.push((name.to_owned(), level));
        Ok(())
    }
}

/// `namesrvAddr`: `HOST:PORT`, separated by semicolons; may be empty.
pub(crate) fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(from)?;
    let items = text.split(';').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| address(item).map_err(D::Error::custom)).collect()
}

fn address(item: &str) -> Result<String, String> {
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port != 0);
    match item.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(item.to_owned()),
        _ => Err(format!("must be HOST:PORT where it is {item:?}")),
    }
}

/// A host name or an address, as clients can be told it.
pub(crate) fn host<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?.trim().to_owned();
    if matches!(text.as_str(), "0.0.0.0" | "::") {
        return Err(D::Error::custom("must be an address that others can connect to"));
    }
    if !is_host(&text) && text.parse::<Ipv6Addr>().is_err() {
        return Err(D::Error::custom("must be a host name or an address"));
    }
    Ok(text)
}

/// Whether this is a host as it stands before a port: a name, an IPv4 address or `[IPv6]`.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => {
            !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "/;,:[]".contains(c))
        }
    }
}

/// `messageDelayLevel`: the delays of the levels 1, 2, … .
pub(crate) fn delays<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let delays: Option<Vec<Duration>> = text.split_whitespace().map(delay).collect();
    delays
        .filter(|delays| !delays.is_empty())
        .ok_or_else(|| D::Error::custom("must be numbers with s, m, h or d, separated by blanks"))
}

fn delay(item: &str) -> Option<Duration> {
    let unit = match item.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return None,
    };
    // One byte long, as each of the units above.
    let number: u32 = item.get(..item.len() - 1)?.parse().ok()?;
    Some(Duration::from_secs(u64::from(number) * unit))
}

/// `deleteWhen`: hours of the day, separated by semicolons.
pub(crate) fn hours<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(from)?;
    let hours: Result<Vec<u8>, _> = text.split(';').map(|hour| hour.trim().parse()).collect();
    hours
        .ok()
        .filter(|hours| hours.iter().all(|hour| *hour < 24))
        .ok_or_else(|| D::Error::custom("must be hours from 0 to 23, separated by semicolons"))
}

/// Directories, separated by commas; at least one.
pub(crate) fn dirs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    let dirs: Vec<&str> = text.split(',').map(str::trim).collect();
    if dirs.contains(&"") {
        return Err(D::Error::custom(
            "must be directories separated by commas, none of them empty",
        ));
    }
    Ok(dirs.into_iter().map(PathBuf::from).collect())
}

/// The same, or none.
pub(crate) fn dirs_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    if text.trim().is_empty() { Ok(Vec::new()) } else { dirs(text.into_deserializer()) }
}

/// Text that must not be blank.
pub(crate) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?.trim().to_owned();
    if text.is_empty() { Err(D::Error::custom("must not be empty")) } else { Ok(text) }
}

/// An integer from `MIN` to `MAX`.
pub(crate) fn int<'de, const MIN: i64, const MAX: i64, T, D>(from: D) -> Result<T, D::Error>
where
    T: TryFrom<i64>,
    D: Deserializer<'de>,
{
    let number = i64::deserialize(from)?;
    let fits = (MIN..=MAX).contains(&number).then_some(number);
    fits.and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| D::Error::custom(format!("must be from {MIN} to {MAX}")))
}

/// Milliseconds from `MIN` to `MAX`.
pub(crate) fn millis<'de, const MIN: i64, const MAX: i64, D>(from: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    int::<MIN, MAX, u64, D>(from).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use serde::de::value;

    use super::*;

    fn text(text: &str) -> value::StringDeserializer<value::Error> {
        text.to_owned().into_deserializer()
    }

    fn reason<T: fmt::Debug>(read: Result<T, value::Error>) -> String {
        read.unwrap_err().to_string()
    }

    #[test]
    fn a_choice_reads_what_it_shows() {
        for text in LogLevel::TEXTS {
            assert_eq!(text.parse::<LogLevel>().unwrap().to_string(), *text);
        }
        let read = FlushDiskType::deserialize(text("SYNC_FLUSH"));
        assert_eq!(read.unwrap(), FlushDiskType::SyncFlush);
        let wrong = reason(FlushDiskType::deserialize(text("sync_flush")));
        assert_eq!(wrong, "must be SYNC_FLUSH or ASYNC_FLUSH");
    }

    #[test]
    fn levels_by_component() {
        let levels = LogLevels::deserialize(text("warn, appender=debug,net=trace")).unwrap();
        assert_eq!(levels.default, LogLevel::Warn);
        let named = [("appender".into(), LogLevel::Debug), ("net".into(), LogLevel::Trace)];
        assert_eq!(levels.components, named);
        let levels = LogLevels::deserialize(text("queue=error")).unwrap();
        assert_eq!((levels.default, levels.components.len()), (LogLevel::Info, 1));
        for bad in ["", "loud", "info,debug", "info,=debug", "info,a=b", "info,a=warn,a=info"] {
            assert!(reason(LogLevels::deserialize(text(bad))).contains("must"), "{bad}");
        }
    }

    #[test]
    fn addresses_are_host_and_port() {
        let read = addresses(text(" ns-1:9876; 10.0.0.1:1 ;[::1]:65535;")).unwrap();
        assert_eq!(read, ["ns-1:9876", "10.0.0.1:1", "[::1]:65535"]);
        assert_eq!(addresses(text("")).unwrap(), [""; 0]);
        for bad in
            ["ns", "ns:", ":1", "ns:0", "ns:65536", "a b:1", "a:1,b:2", "http://a:1", "::1:9876"]
        {
            let reason = reason(addresses(text(bad)));
            assert!(reason.contains("must be HOST:PORT"), "{bad}: {reason}");
        }
    }

    #[test]
    fn hosts() {
        for good in ["10.0.0.1", "broker-0.broker", "fe80::1", " h "] {
            assert_eq!(host(text(good)).unwrap(), good.trim());
        }
        for bad in ["", "a b", "0.0.0.0", "::", "a/b", "a;b", "10.0.0.1:10911"] {
            assert!(host(text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn delays_have_units() {
        let read: Vec<u64> =
            delays(text("1s 2m  3h 4d")).unwrap().iter().map(Duration::as_secs).collect();
        assert_eq!(read, [1, 120, 10_800, 345_600]);
        for bad in ["", "1", "s", "1s 2x", "-1s", "1sé", "99999999999s"] {
            assert!(reason(delays(text(bad))).starts_with("must be numbers"), "{bad}");
        }
    }

    #[test]
    fn hours_of_the_day() {
        assert_eq!(hours(text("04")).unwrap(), [4]);
        assert_eq!(hours(text("0; 23;7")).unwrap(), [0, 23, 7]);
        for bad in ["", "24", "-1", "4;", "4,5", "4am"] {
            assert!(reason(hours(text(bad))).starts_with("must be hours"), "{bad}");
        }
    }

    #[test]
    fn lists_of_directories() {
        let paths = |dirs: &[&str]| dirs.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(dirs(text("/a")).unwrap(), paths(&["/a"]));
        assert_eq!(dirs(text("/a, /b c,d")).unwrap(), paths(&["/a", "/b c", "d"]));
        assert_eq!(dirs_or_none(text(" ")).unwrap(), paths(&[]));
        assert_eq!(dirs_or_none(text("/a,/b")).unwrap(), paths(&["/a", "/b"]));
        for bad in ["", "/a,", ",/a", "/a,,/b"] {
            assert!(reason(dirs(text(bad))).starts_with("must be directories"), "{bad}");
        }
    }

    #[test]
    fn numbers_keep_to_their_range() {
        let from =
            |number: i64| -> value::I64Deserializer<value::Error> { number.into_deserializer() };
        assert_eq!(int::<1, 9, u8, _>(from(9)), Ok(9));
        assert_eq!(reason(int::<1, 9, u8, _>(from(10))), "must be from 1 to 9");
        assert_eq!(reason(int::<1, 9, u8, _>(from(0))), "must be from 1 to 9");
        assert_eq!(millis::<0, 5, _>(from(5)), Ok(Duration::from_millis(5)));
    }
}
