//! A listener that answers as it is told to, however wrong that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with a connection.
#[derive(Clone)]
pub enum Reply {
    Bytes(Vec<u8>),
    /// Accepts, reads and says nothing.
    Silence,
    /// Begins an answer and sends a byte of it every 50 ms.
    Trickle,
    /// Sends this again and again.
    Endless(Vec<u8>),
}

pub struct Server {
    pub address: String,
    pub requests: Arc<AtomicUsize>,
    pub last_request: Arc<tokio::sync::Mutex<String>>,
}

/// Gives each connection the next reply, the last one from then on.
pub async fn serve(replies: Vec<Reply>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        address: format!("http://{}", listener.local_addr().unwrap()),
        requests: Arc::default(),
        last_request: Arc::default(),
    };
    let (requests, last_request) = (server.requests.clone(), server.last_request.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let index = requests.fetch_add(1, Ordering::SeqCst);
            let reply = replies.get(index).or(replies.last()).unwrap().clone();
            tokio::spawn(answer(stream, reply, last_request.clone()));
        }
    });
    server
}

async fn answer(mut stream: TcpStream, reply: Reply, last_request: Arc<tokio::sync::Mutex<String>>) {
    let request = read_request(&mut stream).await;
    *last_request.lock().await = request;
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Silence => std::future::pending().await,
        Reply::Trickle => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{";
            let _ = stream.write_all(head).await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Reply::Endless(bytes) => {
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(head).await;
            while stream.write_all(&bytes).await.is_ok() {}
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return String::from_utf8_lossy(&request).into_owned();
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return String::new(),
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
}
