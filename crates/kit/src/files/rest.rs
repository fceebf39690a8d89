//! The REST face: `/api/v1/files/{path}` and its sub-words (`stat`, `glob`, …), each special for its own
//! method only.

use axum::Json;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::path::CleanPath;
use super::regular::Regular;
use super::{attributes, blocking, info, read, search, transfer, write};
use crate::body::SmallBody;
use crate::error::{KitError, KitResult};
use crate::params::Params;

/// Answers a request for what follows `/api/v1/files/`.
pub async fn answer(encoded: &str, request: Request) -> KitResult<Response> {
    let params = Params::parse(request.uri().query().unwrap_or_default());
    refuse_absent(&params)?;
    let (word, path) = split_word(request.method(), encoded);
    let path = CleanPath::from_url(path)?;
    match (request.method().as_str(), word) {
        ("GET", Some("stat")) => blocking(move || Ok(Json(info::stat(&path)?).into_response())).await,
        ("GET", Some("glob")) => blocking(move || Ok(Json(search::glob(&path, &params)?).into_response())).await,
        ("GET", Some("grep")) => blocking(move || Ok(Json(search::grep(&path, &params)?).into_response())).await,
        ("GET", Some("realpath")) => realpath(path).await,
        ("GET", _) => get(path, params, request).await,
        ("PUT", word) => {
            let adding = word == Some("append") || params.flag("append", false)?;
            put(path, adding, request).await
        }
        ("POST", Some("copy")) => copy(path, required(&params, "copy_to")?, &params).await,
        ("POST", Some("move")) => relocate(path, required(&params, "move_to")?, &params).await,
        ("POST", _) => post(path, params).await,
        ("PATCH", Some("chmod")) => chmod(path, required(&params, "chmod")?.to_owned()).await,
        ("PATCH", Some("chown")) => chown(path, required(&params, "chown")?.to_owned()).await,
        ("PATCH", _) => patch(path, params, request).await,
        ("DELETE", _) => delete(path).await,
        ("OPTIONS", _) => {
            Ok((StatusCode::NO_CONTENT, [("allow", "GET, PUT, POST, PATCH, DELETE, OPTIONS")]).into_response())
        }
        (method, _) => {
            let message = format!("{method} is not allowed here");
            Err(KitError::new(StatusCode::METHOD_NOT_ALLOWED, message))
        }
    }
}

/// Splits off a first word that is special for this method.
fn split_word<'a>(method: &Method, encoded: &'a str) -> (Option<&'a str>, &'a str) {
    let special: &[&str] = match method.as_str() {
        "GET" => &["stat", "glob", "grep", "realpath"],
        "PUT" => &["append"],
        "POST" => &["copy", "move"],
        "PATCH" => &["chmod", "chown"],
        _ => &[],
    };
    match encoded.split_once('/') {
        Some((word, path)) if special.contains(&word) => (Some(word), path),
        _ => (None, encoded),
    }
}

/// Parts of the contract that are not built. Switched off or empty they do no harm.
pub fn refuse_absent(params: &Params) -> KitResult<()> {
    for name in ["zip", "thumbnail", "extract", "preview"] {
        if params.has(name) && !matches!(params.raw(name), Some("0" | "false")) {
            return Err(KitError::not_built(format!("{name}: this option of the files service is not built yet")));
        }
    }
    for name in ["history", "revision", "at", "diff", "backend", "type", "download_from"] {
        if params.text(name).is_some_and(|value| !matches!(value, "0" | "false")) {
            return Err(KitError::not_built(format!("{name}: this option of the files service is not built yet")));
        }
    }
    Ok(())
}

fn required<'a>(params: &'a Params, name: &str) -> KitResult<&'a str> {
    params.text(name).ok_or_else(|| KitError::bad_request(format!("{name}: missing")))
}

async fn get(path: CleanPath, params: Params, request: Request) -> KitResult<Response> {
    if params.flag("stat", false)? {
        return blocking(move || Ok(Json(info::stat(&path)?).into_response())).await;
    }
    if params.text("grep").is_some() {
        return blocking(move || Ok(Json(search::grep(&path, &params)?).into_response())).await;
    }
    if params.text("glob").is_some() {
        let mut params = params;
        let pattern = params.text("glob").unwrap_or_default().to_owned();
        params.push("pattern", &pattern);
        return blocking(move || Ok(Json(search::glob(&path, &params)?).into_response())).await;
    }
    file_or_listing(path, params, request, true).await
}

/// GET of either face: a directory's listing, or a file in the form the query asks for.
pub async fn file_or_listing(path: CleanPath, params: Params, request: Request, body: bool) -> KitResult<Response> {
    let headers = request.headers().clone();
    let (base64, lines) = (params.flag("base64", false)?, params.text("lines").map(str::to_owned));
    let sha256 = params.flag("hash", false)? || params.flag("sha256", false)?;
    blocking(move || {
        let found = path.as_path().metadata().map_err(|error| KitError::from_io(&path.display(), &error))?;
        if found.is_dir() {
            return Ok(Json(info::list(&path)?).into_response());
        }
        if sha256 {
            return Ok(read::sha256(&path)?.into_response());
        }
        if base64 {
            return Ok(read::base64(&path)?.into_response());
        }
        match lines {
            Some(lines) => read::lines(&path, &lines),
            None => read::send(Regular::open(&path)?, &path, &headers, body),
        }
    })
    .await
}

/// PUT of either face.
pub async fn put(path: CleanPath, adding: bool, request: Request) -> KitResult<Response> {
    let (parts, body) = request.into_parts();
    let shown = path.display();
    let written = match adding {
        true => write::append(path, &parts.headers, body).await?,
        false => write::replace(path, &parts.headers, body).await?,
    };
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let reply = json!({ "success": true, "path": shown, "size": written.size, "new_size": written.size });
    Ok((status, Json(reply)).into_response())
}

async fn post(path: CleanPath, params: Params) -> KitResult<Response> {
    if let Some(to) = params.text("copy_to") {
        return copy(path, to, &params).await;
    }
    if let Some(to) = params.text("move_to") {
        return relocate(path, to, &params).await;
    }
    if !params.flag("mkdir", false)? {
        return Err(KitError::bad_request("POST needs one of mkdir=true, copy_to or move_to"));
    }
    let shown = path.display();
    let created = blocking(move || write::make_directory(&path)).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({ "success": true, "path": shown, "created": created }))).into_response())
}

async fn copy(from: CleanPath, to: &str, params: &Params) -> KitResult<Response> {
    let (to, overwrite) = (CleanPath::from_text(to)?, params.flag("overwrite", false)?);
    let reply = json!({ "success": true, "source": from.display(), "destination": to.display() });
    blocking(move || transfer::copy(&from, &to, overwrite)).await?;
    Ok(Json(reply).into_response())
}

async fn relocate(from: CleanPath, to: &str, params: &Params) -> KitResult<Response> {
    let (to, overwrite) = (CleanPath::from_text(to)?, params.flag("overwrite", false)?);
    let reply = json!({ "success": true, "source": from.display(), "destination": to.display() });
    blocking(move || transfer::relocate(&from, &to, overwrite)).await?;
    Ok(Json(reply).into_response())
}

async fn chmod(path: CleanPath, mode: String) -> KitResult<Response> {
    let shown = path.display();
    let mode = blocking(move || attributes::chmod(&path, &mode)).await?;
    Ok(Json(json!({ "success": true, "path": shown, "mode": mode })).into_response())
}

async fn chown(path: CleanPath, owner: String) -> KitResult<Response> {
    let shown = path.display();
    let (owner, group) = blocking(move || attributes::chown(&path, &owner)).await?;
    Ok(Json(json!({ "success": true, "path": shown, "owner": owner, "group": group })).into_response())
}

/// `{move_to}` moves, `{name}` renames in place; `?chmod=` and `?chown=` work as their sub-words.
async fn patch(path: CleanPath, params: Params, request: Request) -> KitResult<Response> {
    #[derive(Deserialize)]
    struct Body {
        move_to: Option<String>,
        name: Option<String>,
    }
    if let Some(mode) = params.text("chmod") {
        return chmod(path, mode.to_owned()).await;
    }
    if let Some(owner) = params.text("chown") {
        return chown(path, owner.to_owned()).await;
    }
    let body: Body = SmallBody::from_request(request, &()).await?.json()?;
    match body {
        Body { move_to: Some(to), .. } => relocate(path, &to, &params).await,
        Body { name: Some(name), .. } => {
            if name.is_empty() || name.contains('/') || name == "." || name == ".." {
                return Err(KitError::bad_request(format!("name: {name:?} is not a file name")));
            }
            let to = path.as_path().with_file_name(&name).to_string_lossy().into_owned();
            relocate(path, &to, &params).await
        }
        _ => Err(KitError::bad_request("PATCH needs move_to or name")),
    }
}

/// DELETE of either face.
pub async fn delete(path: CleanPath) -> KitResult<Response> {
    let shown = path.display();
    blocking(move || write::remove(&path)).await?;
    Ok(Json(json!({ "success": true, "path": shown })).into_response())
}

async fn realpath(path: CleanPath) -> KitResult<Response> {
    blocking(move || {
        let real = path.as_path().canonicalize().map_err(|error| KitError::from_io(&path.display(), &error))?;
        Ok(Json(json!({ "path": path.display(), "real_path": real.to_string_lossy() })).into_response())
    })
    .await
}
