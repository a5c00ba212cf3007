//! The lifecycle of a server on real sockets: slow, silent and hostile clients, floods, tokens,
//! drains.

use std::{
    fs, net::TcpStream as BlockingStream, os::unix::fs::symlink, path::PathBuf, time::Duration,
};

use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::harness::{
    Flags, Server, TIMEOUT, assert_problem, assert_status, closing, eventually, head, keeping, rest,
};

mod exit {
    use super::*;

    #[tokio::test]
    async fn a_drain_fails_readiness_first_serves_requests_and_closes_their_connections() {
        let server = Server::start(&["--shutdown-delay=1s"]).await;
        let (mut used, mut idle) = (server.connect().await, server.connect().await);
        for stream in [&mut used, &mut idle] {
            stream.write_all(keeping("/hello").as_bytes()).await.unwrap();
            assert!(!head(stream).await.contains("connection: close"));
        }
        assert_status(&server.get("/readyz").await, 200);

        server.stop.send(()).unwrap();
        tokio::task::yield_now().await;
        let mut probe = TcpStream::connect(server.address).await.unwrap();
        probe.write_all(closing("/readyz", "").as_bytes()).await.unwrap();
        assert_problem(&rest(&mut probe).await, 503, "draining");
        used.write_all(keeping("/hello").as_bytes()).await.unwrap();
        let answer = rest(&mut used).await;
        assert_status(&answer, 200);
        assert!(answer.contains("connection: close"), "{answer}");

        assert_eq!(rest(&mut idle).await, "", "an idle connection is closed");
        timeout(TIMEOUT, server.ended).await.unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test]
    async fn a_request_in_progress_is_completed_before_the_end() {
        let server = Server::start(&[]).await;
        let mut open = server.connect().await;
        open.write_all(keeping("/held").as_bytes()).await.unwrap();
        // The response to this request shows that the previous request has arrived, too.
        assert_status(&server.get("/hello").await, 200);
        server.stop.send(()).unwrap();
        eventually("the listener closes", || async {
            TcpStream::connect(server.address).await.is_err()
        })
        .await;
        assert!(!server.ended.is_finished());
        server.release.notify_one();
        assert_status(&rest(&mut open).await, 200);
        timeout(TIMEOUT, server.ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_new_connection_may_send_its_first_request_during_the_drain() {
        let server = Server::start(&[]).await;
        let mut new = server.connect().await;
        assert_status(&server.get("/hello").await, 200);
        server.stop.send(()).unwrap();
        sleep(Duration::from_millis(150)).await;
        assert!(!server.ended.is_finished());
        new.write_all(keeping("/hello").as_bytes()).await.unwrap();
        assert_status(&rest(&mut new).await, 200);
        timeout(TIMEOUT, server.ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_request_that_outlives_the_grace_does_not_hold_the_process() {
        let server = Server::start(&["--shutdown-grace=200ms"]).await;
        let mut open = server.connect().await;
        open.write_all(keeping("/held").as_bytes()).await.unwrap();
        assert_status(&server.get("/hello").await, 200);
        server.stop.send(()).unwrap();
        timeout(TIMEOUT, server.ended).await.expect("it ends after the grace").unwrap();
    }

    #[tokio::test]
    async fn a_half_sent_header_does_not_hold_the_process() {
        let server = Server::start(&["--shutdown-grace=1h"]).await;
        let mut half = server.connect().await;
        half.write_all(b"GET /hello HT").await.unwrap();
        assert_status(&server.get("/hello").await, 200);
        server.stop.send(()).unwrap();
        timeout(TIMEOUT, server.ended).await.expect("it does not wait for the rest").unwrap();
    }

    /// The kernel accepts connections before the server does. On one thread the server cannot run
    /// between these connections and the signal. They are more than the server accepts in one turn
    /// (tokio lets other tasks run after 128), so many of them wait in the kernel when the server
    /// stops.
    #[tokio::test]
    async fn connections_that_wait_to_be_accepted_are_answered_before_the_end() {
        let server = Server::start(&[]).await;
        assert_status(&server.get("/hello").await, 200);
        let waiting: Vec<_> = (0..300)
            .map(|_| {
                let mut stream = BlockingStream::connect(server.address).unwrap();
                std::io::Write::write_all(&mut stream, closing("/hello", "").as_bytes()).unwrap();
                stream.set_nonblocking(true).unwrap();
                stream
            })
            .collect();
        server.stop.send(()).unwrap();
        for stream in waiting {
            let mut stream = TcpStream::from_std(stream).unwrap();
            assert_status(&rest(&mut stream).await, 200);
        }
        timeout(TIMEOUT, server.ended).await.unwrap().unwrap();
    }
}

mod clients {
    use super::*;

    #[tokio::test]
    async fn a_connection_without_a_header_is_closed_and_one_that_has_had_a_request_may_be_idle() {
        let server = Server::start(&[]).await;
        let (mut silent, mut half) = (server.connect().await, server.connect().await);
        let mut client = server.connect().await;
        half.write_all(b"GET /hello HTTP/1.1\r\nhost:").await.unwrap();
        client.write_all(keeping("/hello").as_bytes()).await.unwrap();
        assert_status(&head(&mut client).await, 200);
        let started = Instant::now();
        assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
        assert_eq!(half.read(&mut [0; 1]).await.unwrap_or(0), 0);
        let elapsed = started.elapsed().as_secs();
        assert!((9..=15).contains(&elapsed), "after {elapsed} s");
        client.write_all(keeping("/hello").as_bytes()).await.unwrap();
        assert_status(&head(&mut client).await, 200);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn four_hundred_half_open_connections_delay_no_other_request() {
        let server = Server::start(&["--max-in-flight=8"]).await;
        let mut half_open = Vec::new();
        for _ in 0..400 {
            let mut stream = server.connect().await;
            stream.write_all(b"GET /hello HTTP/1.1\r\nho").await.unwrap();
            half_open.push(stream);
        }
        for _ in 0..200 {
            assert_status(&server.get("/hello").await, 200);
        }
        assert_status(&server.get("/readyz").await, 200);
        // The half-open connections hold no slot, so each of them may continue.
        for mut stream in half_open {
            stream.write_all(b"st: a\r\nconnection: close\r\n\r\n").await.unwrap();
            assert_status(&rest(&mut stream).await, 200);
        }
    }

    #[tokio::test]
    async fn a_flood_is_refused_at_once_while_probes_answer() {
        let server = Server::start(&["--max-in-flight=4"]).await;
        let mut open = JoinSet::new();
        for _ in 0..4 {
            let mut stream = server.connect().await;
            stream.write_all(closing("/held", "").as_bytes()).await.unwrap();
            open.spawn(async move { rest(&mut stream).await });
        }
        eventually("every permit is taken", || async {
            server.get("/hello").await.starts_with("HTTP/1.1 503 ")
        })
        .await;
        for _ in 0..100 {
            let refused = server.get("/hello").await;
            assert_problem(&refused, 503, "overloaded");
            assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
        }
        for probe in ["/healthz", "/livez", "/readyz", "/metrics"] {
            assert_status(&server.get(probe).await, 200);
        }
        for _ in 0..4 {
            server.release.notify_one();
        }
        for answer in open.join_all().await {
            assert_status(&answer, 200);
        }
        assert_status(&server.get("/hello").await, 200);
    }

    #[tokio::test]
    async fn a_header_that_is_too_large_is_refused_with_a_response() {
        let server = Server::start(&[]).await;
        let line = "x".repeat(100);
        let lines: String = (0..80).map(|n| format!("x-{n}: {line}\r\n")).collect();
        assert_status(&server.send(&closing("/hello", &lines)).await, 200);
        let cookies = "c".repeat(100 << 10);
        assert_status(
            &server.send(&closing("/hello", &format!("cookie: {cookies}\r\n"))).await,
            431,
        );
        let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
        assert_status(&server.send(&closing("/hello", &many)).await, 431);
        let path = format!("/{}", "a".repeat(100 << 10));
        assert_status(&server.get(&path).await, 431);
    }

    #[tokio::test]
    async fn bytes_that_are_not_http_are_refused_with_a_response() {
        let server = Server::start(&[]).await;
        for garbage in
            ["GARBAGE\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n", "GET /hello HTTP/1.1\r\na b: c\r\n\r\n"]
        {
            assert_status(&server.send(garbage).await, 400);
        }
    }

    #[tokio::test]
    async fn a_response_does_not_wait_for_the_rest_of_the_next_request() {
        let server = Server::start(&[]).await;
        let mut client = server.connect().await;
        client.write_all(format!("{}GET /hello HT", keeping("/hello")).as_bytes()).await.unwrap();
        assert_status(&head(&mut client).await, 200);
    }

    #[tokio::test]
    async fn an_unread_body_does_not_cost_its_sender_the_response() {
        let server = Server::start(&[]).await;
        let body = "b".repeat(900 << 10);
        let request = format!(
            "POST /hello HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        for _ in 0..20 {
            assert_problem(&server.send(&request).await, 405, "method-not-allowed");
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_of_one_request() {
        let server = Server::start(&[]).await;
        for path in ["/panic", "/param/panic"] {
            let response = server.get(path).await;
            assert_problem(&response, 500, "internal");
            assert!(!response.contains("secret"), "{response}");
        }
        assert_status(&server.get("/hello").await, 200);
        let metrics = server.get("/metrics").await;
        for endpoint in ["unmatched", "/param/{name}"] {
            let series = format!(r#"status="500",endpoint="{endpoint}"}}"#);
            let counted = |line: &str| {
                line.starts_with("axum_http_requests_total{") && line.contains(&series)
            };
            assert!(metrics.lines().any(counted), "{metrics}");
        }
    }

    #[tokio::test]
    async fn every_response_forbids_sniffing_and_no_response_names_the_server_or_allows_other_origins()
     {
        let server = Server::start(&[]).await;
        for path in ["/hello", "/nowhere", "/panic", "/healthz", "/readyz", "/metrics"] {
            let request = closing(path, "origin: http://evil.example\r\n");
            let answer = server.send(&request).await;
            assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
            for header in ["\r\nserver:", "\r\naccess-control-", "\r\nx-powered-by:"] {
                assert!(!answer.contains(header), "{answer}");
            }
        }
    }
}

mod tokens {
    use super::*;

    const OLD: &str = "old-token-0123456789abcdef";
    const NEW: &str = "new-token-0123456789abcdef";

    /// A directory that Kubernetes mounts for a Secret. The file is a link through `..data`, which
    /// links to the directory of the current version.
    struct Mount(PathBuf);

    impl Mount {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            symlink("..data/tokens", folder.join("tokens")).unwrap();
            Self(folder)
        }

        fn swing_to(&self, day: &str, content: &str) {
            fs::create_dir(self.0.join(day)).unwrap();
            fs::write(self.0.join(day).join("tokens"), content).unwrap();
            symlink(day, self.0.join("..data_tmp")).unwrap();
            fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
        }

        fn flag(&self) -> String {
            format!("--auth-token-file={}/tokens", self.0.display())
        }
    }

    impl Drop for Mount {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn without_a_token_only_probes_answer() {
        let mount = Mount::new("required");
        mount.swing_to("monday", &format!("# clients\n{OLD}\n"));
        let server = Server::start(&[&mount.flag()]).await;
        for probe in ["/healthz", "/livez", "/readyz", "/metrics"] {
            assert_status(&server.get(probe).await, 200);
        }
        for path in ["/hello", "/panic", "/nowhere"] {
            let refused = server.get(path).await;
            assert_problem(&refused, 401, "unauthorized");
            assert!(refused.contains("www-authenticate: Bearer realm=\"api\"\r\n"), "{refused}");
            let refused = server.get_with(path, NEW).await;
            assert_problem(&refused, 401, "unauthorized");
            assert!(refused.contains("error=\"invalid_token\"\r\n"), "{refused}");
            assert!(!refused.contains(NEW), "{refused}");
        }
        assert_status(&server.get_with("/hello", OLD).await, 200);
        assert_problem(&server.get_with("/nowhere", OLD).await, 404, "not-found");
    }

    #[tokio::test]
    async fn tokens_are_exchanged_without_a_restart_and_a_broken_file_changes_nothing() {
        let mount = Mount::new("exchange");
        mount.swing_to("monday", OLD);
        let server = Server::start(&[&mount.flag()]).await;
        assert_status(&server.get_with("/hello", OLD).await, 200);

        mount.swing_to("tuesday", NEW);
        eventually("the new token is accepted", || async {
            server.get_with("/hello", NEW).await.starts_with("HTTP/1.1 200 ")
        })
        .await;
        assert_status(&server.get_with("/hello", OLD).await, 401);

        for (day, content) in [("wednesday", ""), ("thursday", "not a token"), ("friday", "#")] {
            mount.swing_to(day, content);
            sleep(Duration::from_millis(2500)).await;
            assert_status(&server.get_with("/hello", NEW).await, 200);
        }
        fs::remove_file(mount.0.join("..data")).unwrap();
        sleep(Duration::from_millis(2500)).await;
        assert_status(&server.get_with("/hello", NEW).await, 200);

        mount.swing_to("saturday", OLD);
        eventually("it goes on to follow the file", || async {
            server.get_with("/hello", OLD).await.starts_with("HTTP/1.1 200 ")
        })
        .await;
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_at_the_start_in_one_sentence() {
        let mount = Mount::new("broken");
        mount.swing_to("monday", "hush hush");
        let missing = format!("--auth-token-file={}/missing", mount.0.display());
        let folder = format!("--auth-token-file={}", mount.0.display());
        for (flag, message) in [
            (mount.flag(), "line 1 is no token"),
            (missing, "cannot be read"),
            (folder, "no regular file"),
            ("--auth-token-file=/dev/zero".to_owned(), "no regular file"),
        ] {
            let error = Flags::try_parse_from(["test", &flag]).err().expect("refused");
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains("--auth-token-file") && text.contains(message), "{text}");
            assert!(!text.contains("hush"), "{text}");
        }
    }
}
