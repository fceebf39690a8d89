//! The way people try it: curl, with the node's authority.

use tokio::process::Command;

use super::{DOMAIN, House, echo};

async fn curl(house: &House, host: &str, args: &[&str]) -> String {
    let port = house.at.port();
    let out = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--noproxy", "*", "--cacert"])
        .arg(house.certificates.ca_path())
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .args(args)
        .arg(format!("https://{host}:{port}/api/v1/x"))
        .output()
        .await
        .expect("curl is needed to run the tests");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn curl_trusts_the_certificate_and_reaches_kit_and_api() {
    let house = House::new().await;
    house.kit(echo()).await;
    let got = curl(&house, &house.host("terminal-1"), &["-d", "{}"]).await;
    assert!(got.contains(r#""x-cowl-service":"terminal""#), "{got}");
    for name in [format!("api.{DOMAIN}"), format!("0123456789abcdef01234567.api.{DOMAIN}")] {
        let got = curl(&house, &name, &["--tls-max", "1.2"]).await;
        assert!(got.contains(r#""peer":"tcp 127.0.0.1""#), "{got}");
    }
}

#[tokio::test]
async fn curl_with_expect_continue_uploads_its_body() {
    let house = House::new().await;
    house.kit(echo()).await;
    let file = house.dir.path().join("upload");
    std::fs::write(&file, "y".repeat(2_000_000)).unwrap();
    let upload = file.to_str().unwrap();
    let got = curl(&house, &house.host("files-1"), &["-H", "Expect: 100-continue", "-T", upload]).await;
    assert!(got.len() > 2_000_000, "{} bytes", got.len());
    assert!(!got.contains("100-continue"));
}
