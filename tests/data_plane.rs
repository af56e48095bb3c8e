//! Who is asked what a data plane does, against servers that misbehave. Each server is a real listener.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]

use std::sync::Arc;

use chrono::DateTime;
use tidegate::api::address::AddressPolicy;
use tidegate::api::data_plane::{DataPlane, MeasuredShare, Question, Said, TraefikApi, TraefikConfiguration};
use tidegate::providers::traefik::Traefik;
use tidegate::providers::{DataPlaneReader, Prometheus, Witness};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
const SERVICE: &str =
    r#"{"weighted":{"services":[{"name":"shop-a","weight":90},{"name":"shop-a-canary","weight":10}]}}"#;

/// What a server does with a connection once it has read the request.
#[derive(Clone)]
enum Reply {
    Text(String),
    Silence,
    /// The first text once, then the second again and again.
    Endless(String, &'static str),
    /// As Prometheus, with these numbers for the queries `share` and `requests`; an empty text is no series.
    Numbers {
        share: &'static str,
        requests: &'static str,
    },
}

fn ok(body: &str) -> Reply {
    Reply::Text(format!("{HEAD}{body}"))
}

/// Its address.
async fn serve(reply: Reply) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream, reply.clone()));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, reply: Reply) {
    let mut request = vec![0; 4096];
    let count = stream.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..count]).into_owned();
    let is_known = ["GET /api/rawdata HTTP/1.1\r\n", "POST /api/v1/query HTTP/1.1\r\n"];
    if !is_known.iter().any(|start| request.starts_with(start)) {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n")
            .await;
        return;
    }
    match reply {
        Reply::Numbers { share, requests } => {
            let number = if request.contains("query=share") {
                share
            } else {
                requests
            };
            let series = match number {
                "" => String::new(),
                number => format!(r#"{{"metric":{{}},"value":[0,"{number}"]}}"#),
            };
            let body =
                format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#);
            let _ = stream.write_all(format!("{HEAD}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Reply::Text(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Reply::Silence => std::future::pending().await,
        Reply::Endless(first, again) => {
            let _ = stream.write_all(first.as_bytes()).await;
            while stream.write_all(again.as_bytes()).await.is_ok() {}
        }
    }
}

fn reader(allow_loopback: bool) -> Traefik {
    Traefik::new(AddressPolicy {
        allow_loopback,
        api_server: None,
    })
    .unwrap()
}

async fn read(reply: Reply) -> Result<TraefikConfiguration, String> {
    let address = serve(reply).await;
    reader(true).read("shop", &address).await
}

#[tokio::test]
async fn what_concerns_the_namespace_is_kept() {
    let body = format!(
        r#"{{"routers":{{"shop-r@x":{{"service":"shop-s","status":"enabled","rule":"Host(`a`)"}}}},
            "tcpRouters":{{"shop-t":[1,2,{{"a":null}}]}},
            "services":{{"shop-s@x":{SERVICE},"bank-s@x":{SERVICE},"shop-a@x":{{"loadBalancer":{{}}}}}}}}"#
    );
    let found = read(ok(&body)).await.unwrap();
    let names: Vec<&String> = found.services.keys().collect();
    assert_eq!(names, ["shop-a@x", "shop-s@x"]);
    assert_eq!(found.routers["shop-r@x"].service, "shop-s");
    let split = found.services["shop-s@x"].weighted.as_ref().unwrap();
    assert_eq!(split.services[1].weight, 10);
    // A base with a path of its own, or a slash at its end.
    let address = serve(ok(&body)).await;
    assert!(reader(true).read("shop", &format!("{address}/")).await.is_ok());
    let elsewhere = reader(true).read("shop", &format!("{address}/traefik")).await;
    assert!(elsewhere.unwrap_err().starts_with("404"));
}

/// Of the configuration of everybody else, however large, nothing is kept.
#[tokio::test]
async fn megabytes_of_others_are_read_over() {
    let others: String = (0..60_000)
        .map(|number| format!(r#""bank-{number}@x":{SERVICE},"#))
        .collect();
    assert!(others.len() > 6_000_000);
    let body = format!(r#"{{"services":{{{others}"shop-s@x":{SERVICE}}},"routers":{{}}}}"#);
    assert_eq!(read(ok(&body)).await.unwrap().services.len(), 1);
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_that_says_so() {
    let many: Vec<String> = (0..5_000)
        .map(|number| format!(r#""shop-{number}@x":{SERVICE}"#))
        .collect();
    let long = "a".repeat(2_000);
    for (reply, says) in [
        (ok("<html>"), "not an answer of Traefik's API"),
        (ok("[]"), "not an answer of Traefik's API"),
        (ok(r#"{"status":"success"}"#), "neither routers nor services"),
        (ok(r#"{"services":{}"#), "not an answer of Traefik's API"),
        (ok(r#"{"services":{}} {}"#), "trailing characters"),
        (
            ok(r#"{"services":{"shop-s":{"weighted":{"services":[{"weight":"x"}]}}}}"#),
            "invalid type",
        ),
        (
            ok(&format!(r#"{{"services":{{{}}}}}"#, many.join(","))),
            "more than 4096 entries",
        ),
        (
            ok(&format!(r#"{{"routers":{{"shop-r":{{"service":"{long}"}}}}}}"#)),
            "at most 1024 bytes",
        ),
        (
            ok(&format!(
                r#"{{"services":{{"shop-s":{}1"#,
                r#"{"weighted":"#.repeat(2_000)
            )),
            "not an answer of Traefik's API",
        ),
        (
            Reply::Text("HTTP/1.1 302 Found\r\nlocation: http://elsewhere\r\n\r\n".to_owned()),
            "302 Found: redirects are not followed (to http://elsewhere)",
        ),
        (Reply::Text("HTTP/1.1 401 Unauthorized\r\n\r\n".to_owned()), "401"),
        (
            Reply::Text("HTTP/1.1 500 Internal Server Error\r\n\r\n".to_owned()),
            "500",
        ),
        (
            Reply::Text("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n{}".to_owned()),
            "compressed",
        ),
        (
            Reply::Endless(
                format!("{HEAD}{{\"routers\":{{\""),
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ),
            "a text in it is longer than 524288 bytes",
        ),
        (
            Reply::Endless(
                format!("{HEAD}{{\"other\":["),
                "                                 ",
            ),
            "longer than 67108864 bytes",
        ),
    ] {
        let error = read(reply).await.unwrap_err();
        assert!(error.contains(says) && error.len() < 250, "{error}: not {says}");
    }
}

/// Twice the timeout is all that anybody can cost: paused time goes on whenever nothing else can.
#[tokio::test]
async fn a_server_that_says_nothing_is_left() {
    let address = serve(Reply::Silence).await;
    tokio::time::pause();
    let error = reader(true).read("shop", &address).await.unwrap_err();
    assert_eq!(error, "no answer within 10 s");
}

#[tokio::test]
async fn addresses_are_those_that_are_allowed() {
    let address = serve(ok("{}")).await;
    let error = reader(false).read("shop", &address).await.unwrap_err();
    assert!(error.contains("not allowed"), "{error}");
    let error = reader(false)
        .read("shop", "http://169.254.169.254")
        .await
        .unwrap_err();
    assert!(error.contains("not allowed"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(reader(true).read("shop", &address).await.is_err());
}

async fn ask(data_plane: DataPlane) -> Said {
    let policy = AddressPolicy {
        allow_loopback: true,
        api_server: None,
    };
    let prometheus = Arc::new(Prometheus::new(None, policy).unwrap());
    let question = Question {
        namespace: "shop".to_owned(),
        data_plane,
    };
    let reader = DataPlaneReader::new(prometheus, policy).unwrap();
    reader.ask(&question, DateTime::UNIX_EPOCH).await
}

#[tokio::test]
async fn a_share_comes_with_the_requests_it_is_made_of() {
    for (share, requests, want) in [
        ("0.25", "400.5", Ok((0.25, 400.5))),
        ("0", "3", Ok((0.0, 3.0))),
        // Without requests the share is a division by 0, and is not asked for.
        ("NaN", "0", Ok((0.0, 0.0))),
        ("NaN", "7", Err("query: got NaN")),
        ("", "7", Err("query: the query matches no series")),
        ("0.5", "", Err("requests: the query matches no series")),
        ("1.5", "7", Err("query: 1.5 is no share")),
        ("-0.5", "7", Err("query: -0.5 is no share")),
        ("0.5", "-7", Err("requests: -7 is no number of requests")),
        ("0.5", "+Inf", Err("requests: got inf")),
    ] {
        let address = serve(Reply::Numbers { share, requests }).await;
        let prometheus = MeasuredShare {
            address: Some(address),
            query: "share".to_owned(),
            requests: "requests".to_owned(),
        };
        let said = ask(DataPlane {
            prometheus: Some(prometheus),
            traefik: None,
        })
        .await;
        match (said, want) {
            (Said::Share { share, requests }, Ok(want)) => assert_eq!((share, requests), want),
            (Said::Nothing(why), Err(want)) => assert!(why.starts_with(want), "{why}"),
            (said, want) => panic!("{said:?}: not {want:?}"),
        }
    }
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_never_a_panic() {
    let traefik = TraefikApi {
        url: serve(ok("<html>")).await,
    };
    let said = ask(DataPlane {
        traefik: Some(traefik),
        prometheus: None,
    })
    .await;
    assert!(matches!(said, Said::Nothing(why) if why.contains("not an answer of Traefik")));
    assert!(matches!(ask(DataPlane::default()).await, Said::Nothing(_)));
}
