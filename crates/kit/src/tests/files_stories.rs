//! Files: read, written whole or not at all, listed, moved, searched, refused.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{House, rest};

#[tokio::test]
async fn a_file_is_written_and_read_back_by_every_spelling() {
    let house = House::open();
    let path = house.files_dir().join("new dir/ä.txt");
    let encoded = rest(&path).replace(' ', "%20").replace('ä', "%C3%A4");
    let put = house.files("PUT", &encoded, b"one\ntwo\n").await;
    assert_eq!(put.status, 201);
    assert_eq!(put.json()["size"], 8);
    assert_eq!(house.files("PUT", &encoded, b"three\n").await.status, 200);
    assert_eq!(house.files("PUT", &format!("{encoded}?append=true"), b"four\n").await.ok()["size"], 11);
    let whole = encoded.strip_prefix("/api/v1/files").unwrap();
    let escaped = whole.replace('/', "%2F");
    for url in [
        encoded.clone(),
        format!("/api/v1/files//{whole}"),
        format!("/api/v1/files/{escaped}?sort=name&limit=100&timeout="),
        whole.to_owned(),
    ] {
        let answer = house.files("GET", &url, b"").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "three\nfour\n"), "{url}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
    let lines = house.files("GET", &format!("{encoded}?lines=-1"), b"").await;
    assert_eq!(
        (lines.text().as_str(), &lines.headers["x-line-range"], &lines.headers["x-total-lines"]),
        ("four\n", &"2-2".parse().unwrap(), &"2".parse().unwrap())
    );
    assert_eq!(house.files("GET", &format!("{encoded}?base64"), b"").await.text(), "dGhyZWUKZm91cgo=");
    assert_eq!(house.files("GET", &format!("{encoded}?sha256"), b"").await.text().len(), 64);
    let head = house.files("HEAD", whole, b"").await;
    assert_eq!((head.status, &head.headers["content-length"], head.body.len()), (200, &"11".parse().unwrap(), 0));
    house.files("HEAD", &encoded, b"").await;
    assert_eq!(house.files("HEAD", &encoded, b"").await.status, 405);
}

#[tokio::test]
async fn ranges_and_validators_work_for_media_players() {
    let house = House::open();
    let path = house.files_dir().join("movie.mp4");
    std::fs::write(&path, b"0123456789").unwrap();
    let get = async |headers: &[(&str, &str)]| house.call("files", "GET", &rest(&path), headers, Vec::new()).await;
    let part = get(&[("range", "bytes=-3")]).await;
    assert_eq!(
        (part.status, part.text().as_str(), &part.headers["content-range"]),
        (206, "789", &"bytes 7-9/10".parse().unwrap())
    );
    assert_eq!(part.headers["content-type"], "video/mp4");
    let beyond = get(&[("range", "bytes=10-")]).await;
    assert_eq!((beyond.status, &beyond.headers["content-range"]), (416, &"bytes */10".parse().unwrap()));
    let tag = part.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(get(&[("if-none-match", &tag)]).await.status, 304);
    assert_eq!(get(&[("range", "bytes=0-1"), ("if-range", &tag)]).await.status, 206);
    assert_eq!(get(&[("range", "bytes=0-1"), ("if-range", "\"other\"")]).await.status, 200);
}

#[tokio::test]
async fn overwriting_keeps_mode_and_owner_and_follows_links() {
    let house = House::open();
    let dir = house.files_dir();
    let (file, link) = (dir.join("script"), dir.join("link"));
    std::fs::write(&file, "old").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o751)).unwrap();
    std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
    symlink("script", &link).unwrap();
    house.files("PUT", &rest(&link), b"new").await.ok();
    let now = std::fs::metadata(&file).unwrap();
    assert_eq!((now.mode() & 0o7777, now.uid(), now.gid()), (0o751, 1234, 4321));
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
    assert!(link.symlink_metadata().unwrap().is_symlink());
    // What is new in a user's directory is the user's.
    let home = dir.join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(1000), Some(1001)).unwrap();
    house.files("PUT", &rest(&home.join("a/b")), b"x").await.ok();
    for path in ["a", "a/b"] {
        let found = home.join(path).metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (1000, 1001), "{path}");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_changes_nothing() {
    let house = House::open();
    let dir = house.files_dir();
    let path = dir.join("precious");
    std::fs::write(&path, "old").unwrap();
    for query in ["", "?append=true"] {
        let mut stream = tokio::net::UnixStream::connect(house.socket()).await.unwrap();
        let head = format!(
            "PUT {}{query} HTTP/1.1\r\nhost: kit\r\n{}: files\r\ncontent-length: 1000000\r\n\r\n",
            rest(&path),
            super::SERVICE_HEADER
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 300_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        if query.is_empty() {
            assert_eq!(std::fs::read(&path).unwrap(), b"old");
        }
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        drop(stream);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(std::fs::read(&path).unwrap(), b"old", "{query}");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "a draft was left behind");
    }
}

/// A file system of 1 MiB, as long as it lives.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: std::path::PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        let options = c"size=1m,mode=755";
        rustix::mount::mount("tmpfs", &at, "tmpfs", rustix::mount::MountFlags::empty(), options).unwrap();
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_says_so_and_keeps_the_old_file() {
    let house = House::open();
    let disk = SmallDisk::mount(house.files_dir().join("disk"));
    let path = disk.0.join("file");
    house.files("PUT", &rest(&path), b"old").await.ok();
    for query in ["", "?append=true"] {
        house.files("PUT", &format!("{}{query}", rest(&path)), &vec![b'x'; 3 << 20]).await.refused(507);
        assert_eq!(std::fs::read(&path).unwrap(), b"old", "{query}");
    }
    assert_eq!(std::fs::read_dir(&disk.0).unwrap().count(), 1, "a draft was left behind");
    // Moving across file systems works by copying.
    let away = house.files_dir().join("away");
    let url = format!("/api/v1/files/move/{}?move_to={}", path.display(), away.display());
    house.files("POST", &url, b"").await.ok();
    assert!(!path.exists());
    assert_eq!(std::fs::read(&away).unwrap(), b"old");
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_without_waiting() {
    let house = House::open();
    let fifo = house.files_dir().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    for path in [fifo.as_path(), "/dev/zero".as_ref(), house.socket().as_path(), "/proc/self/mem".as_ref()] {
        house.files("GET", &rest(path), b"").await.refused(403);
        house.files("GET", &format!("{}?lines=1", rest(path)), b"").await.refused(403);
    }
    for path in [fifo.as_path(), "/dev/null".as_ref()] {
        house.files("PUT", &rest(path), b"x").await.refused(403);
        house.files("PUT", &format!("{}?append=true", rest(path)), b"x").await.refused(403);
    }
    assert!(house.files("GET", "/api/v1/files/proc/loadavg", b"").await.text().contains('/'));
    house.files("DELETE", "/api/v1/files/", b"").await.refused(403);
    house.files("DELETE", "/api/v1/files/etc/..", b"").await.refused(403);
    house.files("GET", "/api/v1/files/a%00b", b"").await.refused(400);
    house.files("GET", "/api/v1/files/no/such", b"").await.refused(404);
    assert!(house.files("PROPFIND", "/etc", b"").await.refused(501).contains("PROPFIND"));
    assert!(house.files("GET", "/api/v1/files/etc?zip", b"").await.refused(501).contains("zip"));
    assert!(house.files("GET", "/api/v1/journal/stats", b"").await.refused(501).contains("journal"));
}

#[tokio::test]
async fn directories_are_made_listed_copied_moved_and_removed() {
    let house = House::open();
    let dir = house.files_dir();
    let at = |name: &str| rest(&dir.join(name));
    let query =
        |verb: &str, name: &str, rest_of: &str| format!("/api/v1/files/{verb}/{}?{rest_of}", dir.join(name).display());
    let plain = |name: &str| dir.join(name).display().to_string();
    assert_eq!(house.files("POST", &format!("{}?mkdir=true", at("d/e")), b"").await.status, 201);
    house.files("PUT", &at("d/e/f.txt"), b"text").await.ok();
    symlink("e", dir.join("d/link")).unwrap();
    let listing = house.files("GET", &at("d"), b"").await.ok();
    let names: Vec<_> =
        listing["paths"].as_array().unwrap().iter().map(|e| (e["name"].clone(), e["path_type"].clone())).collect();
    assert_eq!(names, [(json!("e"), json!("Dir")), (json!("link"), json!("SymlinkDir"))]);
    assert_eq!(listing["kind"], "Index");
    let stat = house.files("GET", &query("stat", "d/link", ""), b"").await.ok();
    assert_eq!((&stat["is_symlink"], &stat["symlink_target"]), (&json!(true), &json!("e")));
    let copied = house.files("POST", &query("copy", "d", &format!("copy_to={}", plain("copy"))), b"").await.ok();
    assert_eq!(copied["destination"], plain("copy"));
    assert_eq!(std::fs::read(dir.join("copy/link/f.txt")).unwrap(), b"text");
    house.files("POST", &query("copy", "d", &format!("copy_to={}", plain("copy"))), b"").await.refused(409);
    house.files("POST", &query("copy", "d", &format!("copy_to={}", plain("d/inside"))), b"").await.refused(409);
    std::fs::write(dir.join("copy/extra"), "x").unwrap();
    house.files("POST", &query("copy", "d", &format!("copy_to={}&overwrite=true", plain("copy"))), b"").await.ok();
    assert!(!dir.join("copy/extra").exists());
    house.files("POST", &query("move", "copy", &format!("move_to={}", plain("d"))), b"").await.refused(409);
    house.files("PATCH", &at("copy"), br#"{"name":"renamed"}"#).await.ok();
    assert!(dir.join("renamed/e/f.txt").exists() && !dir.join("copy").exists());
    house.files("PATCH", &query("chmod", "renamed", "chmod=700"), b"").await.ok();
    house.files("PATCH", &query("chown", "renamed", "chown=nobody:nogroup"), b"").await.ok();
    let stat = house.files("GET", &query("stat", "renamed", ""), b"").await.ok();
    assert_eq!((&stat["permissions"], &stat["owner"]), (&json!("700"), &json!("nobody")));
    house.files("PATCH", &query("chmod", "renamed", "chmod=rwx"), b"").await.refused(400);
    house.files("DELETE", &at("d/link"), b"").await.ok();
    assert!(dir.join("d/e").exists());
    house.files("DELETE", &at("d"), b"").await.ok();
    assert!(!dir.join("d").exists());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "drafts were left behind");
}

#[tokio::test]
async fn files_are_found_by_name_and_content() {
    let house = House::open();
    let dir = house.files_dir();
    std::fs::create_dir_all(dir.join("src/deep")).unwrap();
    std::fs::write(dir.join(".gitignore"), "*.log\n").unwrap();
    std::fs::write(dir.join("src/a.ts"), "one\nTwo needle\nthree\n").unwrap();
    std::fs::write(dir.join("src/deep/b.ts"), "needle needle\n").unwrap();
    std::fs::write(dir.join("src/c.log"), "needle\n").unwrap();
    std::fs::write(dir.join("src/bin"), b"needle\0").unwrap();
    let get = async |query: String| house.files("GET", &query, b"").await;
    let base = dir.display();
    let found = get(format!("/api/v1/files/glob/{base}?pattern=**/*.ts")).await.ok();
    let names: Vec<_> = found["entries"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["src/a.ts", "src/deep/b.ts"]);
    assert_eq!(get(format!("/api/v1/files/glob/{base}?pattern=**/*.log")).await.ok()["count"], 0);
    assert_eq!(get(format!("/api/v1/files/glob/{base}?pattern=**/*.log&no_ignore=true")).await.ok()["count"], 1);
    let found = get(format!("/api/v1/files/grep/{base}?pattern=two+NEEDLE&ignore_case=true&context=1")).await.ok();
    assert_eq!(found["total_matches"], 1);
    let hit = &found["matches"][0];
    assert_eq!(
        (&hit["line_number"], &hit["context_before"], &hit["context_after"]),
        (&json!(2), &json!(["one"]), &json!(["three"]))
    );
    assert_eq!(
        get(format!("/api/v1/files/grep/{base}?pattern=needle&glob=*.ts&max_matches=1")).await.ok()["truncated"],
        true
    );
    get(format!("/api/v1/files/grep/{base}?pattern=(")).await.refused(400);
    get(format!("/api/v1/files/glob/{base}")).await.refused(400);
}
