//! What handlers take: paths, queries and bodies whose refusals are envelopes that name the field.

use std::collections::HashMap;
use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::reply::Failure;
use crate::state::Window;
use cowl_api::envelope::{FieldError, Pagination};
use cowl_api::{ApiError, ContainerId, ProjectId};

/// Largest JSON body, in bytes.
const BODY_MAX: usize = 1 << 20;

/// Path parameters.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(rejection) => Err(ApiError::new(400, format!("path: {}", rejection.body_text())).into()),
        }
    }
}

/// A container's id in a path; what is not an id is as unknown as one nobody has.
///
/// # Errors
/// 404.
pub fn container_id(text: &str) -> Result<ContainerId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("container"))
}

/// A project's id in a path.
///
/// # Errors
/// 404.
pub fn project_id(text: &str) -> Result<ProjectId, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("project"))
}

/// Query parameters; of repeated ones the last counts.
#[derive(Debug, Default)]
pub struct Asked(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::<HashMap<String, String>>::from_request_parts(parts, state).await {
            Ok(Query(map)) => Ok(Self(map)),
            Err(rejection) => Err(ApiError::new(400, format!("query: {}", rejection.body_text())).into()),
        }
    }
}

fn refuse(key: &str, message: impl Into<String>) -> ApiError {
    FieldError::new(format!("/{key}"), message).into()
}

impl Asked {
    /// A parameter's text.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether a parameter is `true`, `1` or there without value.
    ///
    /// # Errors
    /// 400 for what is neither true nor false.
    pub fn flag(&self, key: &str) -> Result<bool, ApiError> {
        match self.get(key) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(_) => Err(refuse(key, "must be true or false")),
        }
    }

    /// A parameter that parses.
    ///
    /// # Errors
    /// 400 with the parameter named.
    pub fn parse<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>, ApiError> {
        self.get(key).map(|text| text.parse().map_err(|_| refuse(key, format!("must be {expected}")))).transpose()
    }

    /// A number, at most `cap` (more is cut down to it).
    ///
    /// # Errors
    /// 400 for what is no whole number, or 0 where that makes no sense.
    pub fn number(&self, key: &str, default: u64, least: u64, cap: u64) -> Result<u64, ApiError> {
        let n = self.parse::<u64>(key, "a whole number")?.unwrap_or(default);
        if n < least { Err(refuse(key, format!("must be at least {least}"))) } else { Ok(n.min(cap)) }
    }

    /// Whether a list is wanted descending.
    ///
    /// # Errors
    /// 400 unless `sort_order` is `asc` or `desc`.
    pub fn descending(&self, default: bool) -> Result<bool, ApiError> {
        match self.get("sort_order") {
            None => Ok(default),
            Some("asc") => Ok(false),
            Some("desc") => Ok(true),
            Some(_) => Err(refuse("sort_order", "must be asc or desc")),
        }
    }

    /// The page asked for: `page`, `limit`, `sort_by` (one of `columns`), `sort_order`. Without a
    /// `sort_by` the newest come first.
    ///
    /// # Errors
    /// 400 with the parameter named.
    pub fn page(&self, limit: u64, cap: u64, columns: &[(&str, &'static str)]) -> Result<Page, ApiError> {
        let page = self.number("page", 1, 1, u64::from(u32::MAX))?;
        let limit = self.number("limit", limit, 1, cap)?;
        let sort_by = match self.get("sort_by") {
            None => columns.iter().find(|(name, _)| *name == "created_at").or(columns.first()),
            Some(word) => columns.iter().find(|(name, _)| *name == word),
        };
        let (_, sort_by) = sort_by.ok_or_else(|| {
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            refuse("sort_by", format!("must be one of {}", names.join(", ")))
        })?;
        let descending = self.descending(self.get("sort_by").is_none())?;
        Ok(Page { page, window: Window { sort_by, descending, offset: (page - 1) * limit, limit } })
    }
}

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    page: u64,
    /// The same for the store.
    pub window: Window,
}

impl Page {
    /// Where the page stands in a list of `total`.
    pub fn of(&self, total: u64) -> Pagination {
        Pagination::new(total, self.page, self.window.limit)
    }
}

/// A JSON body; an empty one counts as `{}`.
#[derive(Debug)]
pub struct Body<T> {
    /// The body, typed.
    pub value: T,
    /// The fields that were sent.
    pub sent: serde_json::Map<String, serde_json::Value>,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let bytes = axum::body::to_bytes(request.into_body(), BODY_MAX).await.map_err(|_| {
            ApiError::new(413, format!("the body did not arrive whole or is longer than {BODY_MAX} bytes"))
        })?;
        Ok(parse(&bytes)?)
    }
}

/// Parses a JSON object, naming the field that is wrong.
///
/// # Errors
/// 400.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Body<T>, ApiError> {
    let json = if bytes.iter().all(u8::is_ascii_whitespace) {
        serde_json::Value::Object(serde_json::Map::new())
    } else {
        serde_json::from_slice(bytes)
            .map_err(|e| ApiError::from(FieldError::new("/", format!("body is not JSON: {e}"))))?
    };
    let serde_json::Value::Object(sent) = &json else {
        return Err(FieldError::new("/", "body must be a JSON object").into());
    };
    let sent = sent.clone();
    let value = serde_path_to_error::deserialize(json).map_err(|e| {
        let path = match e.path().to_string().as_str() {
            "." => "/".to_owned(),
            path => format!("/{}", path.replace(['.', '['], "/").replace(']', "")),
        };
        let inner = e.into_inner().to_string();
        // A missing field is told with the object's path; the message names it.
        match inner.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
            Some(field) => ApiError::from(FieldError::new(format!("/{field}"), "is required")),
            None => FieldError::new(path, inner).into(),
        }
    })?;
    Ok(Body { value, sent })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use cowl_api::CreateContainer;
    use cowl_api::project::CreateProject;

    fn query(pairs: &[(&str, &str)]) -> Asked {
        Asked(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    fn field(e: ApiError) -> String {
        assert_eq!(e.status_code, 400);
        e.data.unwrap()[0]["instancePath"].as_str().unwrap().to_owned()
    }

    #[test]
    fn pages_start_at_one_are_capped_and_name_what_is_wrong() {
        let columns = [("name", "c.name"), ("created_at", "c.created_at")];
        let page = query(&[("page", "3"), ("limit", "500")]).page(20, 100, &columns).unwrap();
        assert_eq!((page.window.offset, page.window.limit, page.window.sort_by), (200, 100, "c.created_at"));
        assert!(page.window.descending);
        let page = query(&[("sort_by", "name")]).page(20, 100, &columns).unwrap();
        assert!(!page.window.descending && page.window.sort_by == "c.name");
        for bad in [
            ("page", "0"),
            ("page", "x"),
            ("limit", "0"),
            ("limit", "-1"),
            ("sort_by", "1; DROP"),
            ("sort_order", "up"),
        ] {
            assert_eq!(field(query(&[bad]).page(20, 100, &columns).unwrap_err()), format!("/{}", bad.0));
        }
    }

    #[test]
    fn a_bodys_error_names_its_field() {
        let wrong = |text: &str| field(parse::<CreateContainer>(text.as_bytes()).unwrap_err());
        assert_eq!(wrong("{"), "/");
        assert_eq!(wrong("[]"), "/");
        assert_eq!(wrong(r#"{"autostart":"yes"}"#), "/autostart");
        assert_eq!(wrong(r#"{"environment_vars":{"A":1}}"#), "/environment_vars/A");
        let listed = parse::<cowl_api::dedupe::DedupeRequest>(br#"{"containers":["web"]}"#).unwrap_err();
        assert_eq!(field(listed), "/containers/0");
        assert_eq!(field(parse::<CreateProject>(b"{}").unwrap_err()), "/alias");
        let body = parse::<CreateContainer>(br#"{"ai":true,"name":null}"#).unwrap();
        assert!(body.sent.contains_key("ai") && body.value.name.is_none());
        assert!(parse::<CreateContainer>(b" ").unwrap().sent.is_empty());
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_parser(bytes: Vec<u8>) {
            if let Err(e) = parse::<CreateContainer>(&bytes) {
                prop_assert_eq!(e.status_code, 400);
            }
        }

        #[test]
        fn no_query_breaks_paging(page in ".{0,24}", limit in ".{0,24}", sort in ".{0,12}") {
            let columns = [("name", "c.name"), ("created_at", "c.created_at")];
            if let Ok(p) = query(&[("page", &page), ("limit", &limit), ("sort_by", &sort)]).page(20, 100, &columns) {
                prop_assert!((1..=100).contains(&p.window.limit));
            }
        }
    }
}
