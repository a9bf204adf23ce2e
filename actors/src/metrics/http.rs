//! As much of HTTP/1.1 as a scraper, a probe and a browser need: a request's head in, one answer out.
//!
//! Plain functions on text. Bounded: a head is at most [`HEAD_BYTES_MAX`] long and has `HEADERS_MAX`
//! headers; bodies of requests are not read, so who sends one is answered and disconnected. What is not
//! understood is answered with a status and a line that says why.

use super::page::{Asked, Format};

/// Longest head of a request.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Headers of a request at most.
const HEADERS_MAX: usize = 64;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The figures.
    Metrics(Asked),
    /// Whether the process is alive.
    Health,
    /// Whether it serves.
    Readiness,
    /// What there is.
    Index,
}

/// A request's head, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asks for; an error if that is nothing.
    pub wanted: Result<Wanted, Status>,
    /// Whether only the head of the answer is wanted.
    pub head_only: bool,
    /// Whether the connection goes on behind the answer.
    pub keep_alive: bool,
    /// How long the head is, in bytes.
    pub len: usize,
}

/// How an answer came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Ok,
    /// The request cannot be read.
    BadRequest,
    /// No such path.
    NotFound,
    /// Only GET and HEAD are served.
    MethodNotAllowed,
    /// The head is longer than allowed.
    HeadTooLarge,
    /// The page could not be made.
    Failed,
    /// Not well, not yet, or not any more.
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Failed => "500 Internal Server Error",
            Self::Unavailable => "503 Service Unavailable",
        }
    }

    /// What the body says if nothing else is to be said.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok\n",
            Self::BadRequest => "the request cannot be read\n",
            Self::NotFound => "no such path; there are /metrics, /healthz and /readyz\n",
            Self::MethodNotAllowed => "only GET and HEAD are served\n",
            Self::HeadTooLarge => "the head of the request is longer than 8 KiB\n",
            Self::Failed => "the page cannot be made\n",
            Self::Unavailable => "not available\n",
        }
    }
}

/// Reads the head at the beginning of `bytes`; nothing if it is not all there yet.
///
/// # Errors
/// How to answer what is no request.
pub fn parse(bytes: &[u8]) -> Result<Option<Request>, Status> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let len = match head.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Status::HeadTooLarge),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(_) => return Err(Status::BadRequest),
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).unwrap_or_default()
    };
    let connection = header("connection").to_ascii_lowercase();
    let has_body = !matches!(header("content-length").trim(), "" | "0")
        || !header("transfer-encoding").is_empty();
    let keeps = match head.version {
        Some(0) => connection.contains("keep-alive"),
        _ => !connection.contains("close"),
    };
    let wanted = match head.method {
        Some("GET" | "HEAD") => wanted(head.path.unwrap_or_default(), header("accept")),
        _ => Err(Status::MethodNotAllowed),
    };
    let head_only = head.method == Some("HEAD");
    Ok(Some(Request { wanted, head_only, keep_alive: keeps && !has_body, len }))
}

fn wanted(target: &str, accept: &str) -> Result<Wanted, Status> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let queues = query.split('&').any(|pair| matches!(pair, "queues=1" | "queues=true"));
    match path {
        "/metrics" => Ok(Wanted::Metrics(Asked { format: Format::accepted(accept), queues })),
        "/healthz" => Ok(Wanted::Health),
        "/readyz" => Ok(Wanted::Readiness),
        "/" => Ok(Wanted::Index),
        _ => Err(Status::NotFound),
    }
}

/// The bytes of an answer.
pub fn answer(
    status: Status,
    content_type: &str,
    body: &str,
    head_only: bool,
    keep_alive: bool,
) -> Vec<u8> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let allow = if status == Status::MethodNotAllowed { "allow: GET, HEAD\r\n" } else { "" };
    let mut bytes = format!(
        "HTTP/1.1 {}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\n{allow}connection: {connection}\r\n\r\n",
        status.line(),
        body.len(),
    )
    .into_bytes();
    if !head_only {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted_by(head: &str) -> Result<Wanted, Status> {
        parse(head.as_bytes()).unwrap().unwrap().wanted
    }

    fn get(target: &str) -> Result<Wanted, Status> {
        wanted_by(&format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n"))
    }

    #[test]
    fn paths_and_what_they_ask_for() {
        let metrics = |queues| Ok(Wanted::Metrics(Asked { format: Format::Text, queues }));
        assert_eq!(get("/metrics"), metrics(false));
        assert_eq!(get("/metrics?a=b&queues=1"), metrics(true));
        assert_eq!(get("/metrics?queues=0"), metrics(false));
        assert_eq!(get("/healthz"), Ok(Wanted::Health));
        assert_eq!(get("/readyz?verbose"), Ok(Wanted::Readiness));
        assert_eq!(get("/"), Ok(Wanted::Index));
        assert_eq!(get("/metrics/"), Err(Status::NotFound));
        let post = "POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(wanted_by(post), Err(Status::MethodNotAllowed));
    }

    #[test]
    fn a_scraper_is_given_the_text_that_it_asks_for() {
        let accept = |accept: &str| {
            let head = format!("GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n");
            match wanted_by(&head) {
                Ok(Wanted::Metrics(asked)) => asked.format,
                other => panic!("{other:?}"),
            }
        };
        // As Prometheus 2 and 3 ask.
        let asks =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4";
        assert_eq!(accept(asks), Format::OpenMetrics);
        assert_eq!(accept("text/plain;version=0.0.4;q=0.3,*/*;q=0.2"), Format::Text);
        assert_eq!(accept("text/html,*/*"), Format::Text);
    }

    #[test]
    fn connections_are_kept_as_their_version_and_headers_say() {
        let keeps = |version: &str, headers: &str| {
            let head = format!("GET / HTTP/1.{version}\r\n{headers}\r\n");
            parse(head.as_bytes()).unwrap().unwrap().keep_alive
        };
        assert!(keeps("1", "") && !keeps("1", "Connection: Close\r\n"));
        assert!(!keeps("0", "") && keeps("0", "connection: keep-alive\r\n"));
        assert!(!keeps("1", "Content-Length: 5\r\n"), "its body would be taken for a request");
        assert!(!keeps("1", "Transfer-Encoding: chunked\r\n"));
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_waited_for() {
        let head = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
        for len in 0..head.len() {
            assert_eq!(parse(&head[..len]), Ok(None), "{len}");
        }
        let mut two = head.to_vec();
        two.extend_from_slice(b"GET /");
        assert_eq!(parse(&two).unwrap().unwrap().len, head.len());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(parse(b"\x00\x00\x01\x02rocketmq"), Err(Status::BadRequest));
        let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
        assert_eq!(parse(long.as_bytes()), Err(Status::HeadTooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(parse(many.as_bytes()), Err(Status::HeadTooLarge));
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let text = |head_only| {
            let bytes = answer(Status::MethodNotAllowed, "text/plain", "no\n", head_only, false);
            String::from_utf8(bytes).unwrap()
        };
        let whole = text(false);
        assert!(
            whole.starts_with("HTTP/1.1 405 Method Not Allowed\r\ncontent-type: text/plain\r\n")
        );
        assert!(
            whole.contains("\r\ncontent-length: 3\r\n")
                && whole.contains("\r\nallow: GET, HEAD\r\n")
        );
        assert!(whole.ends_with("\r\nconnection: close\r\n\r\nno\n"));
        assert_eq!(whole.strip_suffix("no\n"), Some(&*text(true)));
    }
}
