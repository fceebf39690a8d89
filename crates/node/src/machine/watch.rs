//! Listening to a shim: JSON lines from `shim.sock`, forwarded to the container's driver.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use cowl_engine::shim::protocol::{Event, Reply, Request};

/// Longest line a shim may send, in bytes: a console tail is part of one.
const REPLY_MAX: u64 = 1 << 20;

/// Forwards a shim's events until it goes, or until nobody listens any more.
pub(super) fn watch(socket: PathBuf) -> mpsc::Receiver<Event> {
    let (tx, rx) = mpsc::channel(64);
    tokio::spawn(async move {
        let gone = tx.clone();
        tokio::select! {
            () = gone.closed() => {}
            read = forward(&socket, &tx) => {
                if let Err(error) = read {
                    tracing::debug!(socket = %socket.display(), %error, "the shim's line ended");
                }
            }
        }
    });
    rx
}

async fn forward(socket: &PathBuf, tx: &mpsc::Sender<Event>) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut request = serde_json::to_vec(&Request::Watch)?;
    request.push(b'\n');
    stream.write_all(&request).await?;
    let mut lines = BufReader::new(stream);
    let first: Reply = match next(&mut lines).await? {
        Some(line) => serde_json::from_slice(&line)?,
        None => return Ok(()),
    };
    if let Reply::Error { message, .. } = first {
        return Err(std::io::Error::other(message));
    }
    while let Some(line) = next(&mut lines).await? {
        match serde_json::from_slice::<Event>(&line) {
            Ok(event) => {
                if tx.send(event).await.is_err() {
                    break;
                }
            }
            // A newer shim may know more events than this node.
            Err(error) => tracing::debug!(%error, "a shim's event is unknown"),
        }
    }
    Ok(())
}

/// The next line, without end; an error when it is longer than [`REPLY_MAX`].
async fn next(lines: &mut BufReader<UnixStream>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = lines.take(REPLY_MAX).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(std::io::Error::other("a line of the shim is too long or broke off"));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;
    use cowl_api::ContainerId;
    use cowl_engine::shim::protocol::{Outcome, Status};

    fn status() -> Status {
        Status {
            version: 1,
            id: ContainerId::generate(),
            shim_pid: 2,
            init_pid: 3,
            started_at_ms: 4,
            ready: false,
            frozen: false,
            id_base: 5,
            veth: "v".into(),
        }
    }

    async fn shim_that_says(lines: Vec<String>) -> Vec<Event> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shim.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut events = watch(path);
        let shim = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut asked = String::new();
            stream.read_line(&mut asked).await.unwrap();
            assert_eq!(serde_json::from_str::<Request>(&asked).unwrap(), Request::Watch);
            for line in lines {
                stream.get_mut().write_all(line.as_bytes()).await.unwrap();
                stream.get_mut().write_all(b"\n").await.unwrap();
            }
        });
        let mut seen = Vec::new();
        while let Some(event) = events.recv().await {
            seen.push(event);
        }
        shim.await.unwrap();
        seen
    }

    #[tokio::test]
    async fn events_arrive_in_order_and_unknown_ones_are_passed_over() {
        let last = Event::Exited { outcome: Outcome::Crashed("signal 9".into()), console_tail: vec!["oops".into()] };
        let lines = vec![
            serde_json::to_string(&Reply::Status(status())).unwrap(),
            serde_json::to_string(&Event::Ready).unwrap(),
            "{\"from_the_future\":1}".into(),
            serde_json::to_string(&last).unwrap(),
        ];
        assert_eq!(shim_that_says(lines).await, [Event::Ready, last]);
    }

    #[tokio::test]
    async fn garbage_instead_of_a_status_ends_the_watch() {
        assert_eq!(shim_that_says(vec!["nonsense".into()]).await, []);
    }

    #[tokio::test]
    async fn a_missing_shim_closes_the_channel() {
        assert_eq!(watch("/nonexistent/shim.sock".into()).recv().await, None);
    }
}
