//! The URL of the engine: one server, a Cluster, or a server that Sentinels name.

use std::{fmt, str::FromStr};

use percent_encoding::percent_decode_str;
use url::Url;

/// The address of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUrl {
    pub(super) topology: Topology,
    pub(super) tls: bool,
    /// The servers, the nodes of the Cluster that are asked first, or the Sentinels. At least one.
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) username: Option<String>,
    /// The number of the database; 0 in a Cluster.
    pub(super) database: i64,
}

/// The arrangement of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topology {
    Single,
    Cluster,
    /// The Sentinels name the current master of this service.
    Sentinel {
        master: String,
    },
}

const EXPECTED: &str = "write it as redis://HOST:PORT, rediss://HOST:PORT (TLS), redis-cluster://HOST:PORT or redis-sentinel://HOST:26379/MASTER";

/// Parses `redis`, `valkey`, and their variants with `s` (TLS), `-cluster` and `-sentinel`. Further
/// hosts follow as `?node=HOST:PORT`. The error shows no part of the URL, which may hold a password.
impl FromStr for EngineUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|_| format!("it is no URL; {EXPECTED}"))?;
        if url.password().is_some() {
            return Err(
                "it holds a password, which every list of processes and variables would show; put the password into a file and name it with --shared-cache-password-file"
                    .to_owned(),
            );
        }
        let (scheme, variant) = match url.scheme().split_once('-') {
            Some((scheme, variant)) => (scheme, Some(variant)),
            None => (url.scheme(), None),
        };
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(format!("the scheme is none of an engine; {EXPECTED}")),
        };
        let default_port = if variant == Some("sentinel") { 26379 } else { 6379 };
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| format!("it has no host; {EXPECTED}"))?;
        let mut hosts = vec![(bare(host), url.port().unwrap_or(default_port))];
        for (name, value) in url.query_pairs() {
            if name != "node" {
                return Err(format!("only `node` may follow the question mark; {EXPECTED}"));
            }
            hosts.push(node(&value).ok_or("a node must be written as ?node=HOST:PORT")?);
        }
        if url.fragment().is_some() {
            return Err(format!("nothing may follow `#`; {EXPECTED}"));
        }
        let path = decoded(url.path().trim_matches('/'))?;
        let (topology, database) = match variant {
            None if hosts.len() > 1 => {
                return Err(
                    "it has several nodes; write it as redis-cluster:// or redis-sentinel://"
                        .to_owned(),
                );
            }
            None if path.is_empty() => (Topology::Single, 0),
            None => {
                let database: Option<i64> = path.parse().ok();
                let database = database.filter(|number| (0..1 << 20).contains(number));
                (
                    Topology::Single,
                    database.ok_or(
                        "its path must be the number of a database, as in redis://HOST:6379/0",
                    )?,
                )
            }
            Some("cluster") if path.is_empty() => (Topology::Cluster, 0),
            Some("cluster") => {
                return Err("a Cluster has no numbered databases; remove the path".to_owned());
            }
            Some("sentinel") if path.is_empty() || path.contains('/') => {
                return Err(format!("its path must be the name of the master; {EXPECTED}"));
            }
            Some("sentinel") => (Topology::Sentinel { master: path }, 0),
            Some(_) => return Err(format!("the scheme is none of an engine; {EXPECTED}")),
        };
        let username = Some(decoded(url.username())?).filter(|name| !name.is_empty());
        Ok(Self { topology, tls, hosts, username, database })
    }
}

/// Shows the hosts, for log lines.
impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{host}:{port}")?;
        }
        Ok(())
    }
}

/// Decodes the `%XX` of a part.
fn decoded(part: &str) -> Result<String, String> {
    let decoded = percent_decode_str(part).decode_utf8();
    Ok(decoded.map_err(|_| "a part of it is no UTF-8 text; correct its %XX")?.into_owned())
}

/// Returns a host without the brackets of an IPv6 address.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

fn node(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    (!host.is_empty()).then_some((bare(host), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> EngineUrl {
        text.parse().unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    #[test]
    fn each_topology_has_a_scheme() {
        let single = parse("redis://cache");
        assert_eq!(single.topology, Topology::Single);
        assert_eq!(single.hosts, [("cache".to_owned(), 6379)]);
        assert!(!single.tls);
        let single = parse("valkeys://reader@[::1]:7000/3");
        assert_eq!(
            (single.tls, single.database, single.username.as_deref()),
            (true, 3, Some("reader"))
        );
        assert_eq!(single.hosts, [("::1".to_owned(), 7000)]);
        assert_eq!(parse("redis://my%40name@cache").username.as_deref(), Some("my@name"));
        let cluster = parse("rediss-cluster://a:1?node=b:2&node=[::1]:3");
        assert_eq!(cluster.topology, Topology::Cluster);
        assert_eq!(cluster.to_string(), "a:1, b:2, ::1:3");
        let sentinel = parse("redis-sentinel://sentinel/main");
        assert_eq!(sentinel.topology, Topology::Sentinel { master: "main".to_owned() });
        assert_eq!(sentinel.hosts, [("sentinel".to_owned(), 26379)]);
    }

    #[test]
    fn a_wrong_url_is_refused_without_showing_it() {
        for text in [
            "hush",
            "http://hush",
            "redis://",
            "redis:///1",
            "redis://hush/first",
            "redis://hush:99999",
            "redis://:hush@cache",
            "redis://user:hush@cache",
            "redis://hush?tls=yes",
            "redis://hush?node=other:1",
            "redis-cluster://hush/1",
            "redis-cluster://hush?node=other",
            "redis-sentinel://hush",
            "redis-hush://cache",
            "redis://cache#hush",
            "redis-sentinel://cache/%ff",
        ] {
            let reason = text.parse::<EngineUrl>().expect_err(text);
            assert!(!reason.contains("hush"), "{text}: {reason}");
        }
    }
}
