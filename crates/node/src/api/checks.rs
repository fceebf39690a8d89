//! The rules for bodies that make or change a container. Pure.

use std::collections::BTreeMap;

use super::extract::Body;
use crate::Place;
use crate::images;
use crate::state::containers::NewContainer;
use cowl_api::container::{CreateContainer, UpdateContainer, Warning};
use cowl_api::envelope::FieldError;
use cowl_api::{ApiError, names, settings};

/// Longest value of a variable, in bytes.
const ENV_VALUE_MAX: usize = 32_768;
/// Most variables of a container.
const ENV_COUNT_MAX: usize = 1_000;
/// Longest public key, in bytes.
const KEY_MAX: usize = 16_384;

/// Fields that are accepted and have no effect yet, and what to say about each.
const WITHOUT_EFFECT: [(&str, &str); 7] = [
    ("ai", "there is no assistant yet"),
    ("ssh_public_key", "it is kept, but there is no SSH server yet"),
    ("cache", "there is no warm pool on one's own box"),
    ("cache_image", "there is no warm pool on one's own box"),
    ("bypass_prespawn", "there is no warm pool on one's own box"),
    ("realm_ids", "there are no realms on one's own box"),
    ("dev_kit", "the image with developer tools is not built yet; install them with apt"),
];

/// What a field must hold for its lack of effect to matter: turning off what is not there is fine.
fn asks_for_something(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(false) => false,
        serde_json::Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

/// Checks the body of a creation and fills in what it leaves out.
///
/// # Errors
/// 400 with the field named, 403 for a warm-pool container, 422 for a virtual machine.
pub fn new_container(body: Body<CreateContainer>, place: &Place) -> Result<NewContainer, ApiError> {
    let asked = body.value;
    server(asked.server_id.as_deref(), place)?;
    if asked.kvm.is_some() && asked.dev_kvm.is_some() && asked.kvm != asked.dev_kvm {
        return Err(FieldError::new("/dev_kvm", "must agree with kvm").into());
    }
    if asked.kvm.or(asked.dev_kvm) == Some(true) {
        return Err(ApiError::new(422, "kvm: virtual machines are not built yet; leave kvm out for a container"));
    }
    if asked.prespawn == Some(true) {
        return Err(ApiError::new(403, "prespawn: there is no warm pool on one's own box"));
    }
    let name = match asked.name {
        Some(name) if name != "rand" => name,
        _ => names::random_name(),
    };
    names::container_name(&name)?;
    let color = match asked.color {
        Some(color) => names::color(&color)?,
        None => super::projects::random_color(),
    };
    let image = asked.container_image.unwrap_or_else(|| images::DEFAULT_TIER.to_owned());
    let tier = images::tier(&image).ok_or_else(|| {
        let known: Vec<String> = images::TIERS.iter().map(|t| images::display_name(t)).collect();
        FieldError::new("/container_image", format!("is not an image of this box; it has {}", known.join(", ")))
    })?;
    environment(&asked.environment_vars)?;
    comment(asked.comment.as_deref())?;
    ssh_public_key(asked.ssh_public_key.as_deref())?;
    let settings = settings::given(asked.settings.as_ref())?;
    let hoody_kit = asked.hoody_kit.unwrap_or(true);
    let warnings = WITHOUT_EFFECT
        .iter()
        .filter(|(field, _)| body.sent.get(*field).is_some_and(asks_for_something))
        .map(|(field, why)| Warning { kind: "no_effect".into(), message: format!("{field} has no effect yet: {why}") })
        .collect();
    Ok(NewContainer {
        name,
        color,
        tier: tier.to_owned(),
        hoody_kit,
        dev_kit: asked.dev_kit.unwrap_or(hoody_kit),
        ai: asked.ai.unwrap_or(true),
        autostart: asked.autostart.unwrap_or(true),
        ramdisk: asked.ramdisk.unwrap_or(true),
        env: asked.environment_vars,
        settings,
        ssh_public_key: asked.ssh_public_key.map(|key| key.trim().to_owned()),
        comment: asked.comment,
        warnings,
    })
}

fn server(asked: Option<&str>, place: &Place) -> Result<(), FieldError> {
    match asked {
        None => Err(FieldError::new("/server_id", "is required: the id or name of this box")),
        Some(word) if word == place.server_id.as_str() || word == place.server_name => Ok(()),
        Some(_) => Err(FieldError::new(
            "/server_id",
            format!("is not this box, which is {} ({})", place.server_id, place.server_name),
        )),
    }
}

/// Checks the body of a change and normalises it.
///
/// # Errors
/// 400 with the field named.
pub fn container_update(mut change: UpdateContainer) -> Result<UpdateContainer, ApiError> {
    if let Some(name) = &change.name {
        names::container_name(name)?;
    }
    change.color = change.color.as_deref().map(names::color).transpose()?;
    if let Some(scope) = &change.ramdisk_scope
        && !matches!(scope.as_str(), "container" | "project")
    {
        return Err(FieldError::new("/ramdisk_scope", "must be container or project").into());
    }
    if let Some(env) = &change.environment_vars {
        environment(env)?;
    }
    comment(change.comment.as_ref().and_then(Option::as_deref))?;
    ssh_public_key(change.ssh_public_key.as_ref().and_then(Option::as_deref))?;
    change.ssh_public_key = change.ssh_public_key.map(|key| key.map(|key| key.trim().to_owned()));
    Ok(change)
}

fn comment(text: Option<&str>) -> Result<(), FieldError> {
    names::at_most("/comment", text, names::COMMENT_MAX)
}

/// Checks a public key for SSH.
///
/// # Errors
/// 400 with the field named.
pub fn ssh_public_key(key: Option<&str>) -> Result<(), FieldError> {
    let Some(key) = key else { return Ok(()) };
    let mut words = key.trim().split(' ');
    let kind = words.next().unwrap_or_default();
    let known = kind.starts_with("ssh-") || kind.starts_with("ecdsa-sha2-") || kind.starts_with("sk-");
    let body = words.next().unwrap_or_default();
    let encoded = body.len() >= 16 && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    if known && encoded && key.len() <= KEY_MAX && !key.trim().contains(|c: char| c.is_control()) {
        Ok(())
    } else {
        Err(FieldError::new("/ssh_public_key", "must be one line like 'ssh-ed25519 AAAA… comment'"))
    }
}

/// Checks a variable's name.
///
/// # Errors
/// 400 with the variable named.
pub fn variable_name(name: &str) -> Result<(), FieldError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && name.len() <= 256 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(())
    } else {
        Err(FieldError::new(
            format!("/environment_vars/{}", name.replace('~', "~0").replace('/', "~1")),
            "must be named by letters, digits and '_', not starting with a digit",
        ))
    }
}

/// Checks a variable's value.
///
/// # Errors
/// 400 with the variable named.
pub fn variable_value(name: &str, value: &str) -> Result<(), FieldError> {
    let path = || format!("/environment_vars/{name}");
    if value.len() > ENV_VALUE_MAX {
        Err(FieldError::new(path(), format!("must be at most {ENV_VALUE_MAX} bytes long")))
    } else if value.contains('\0') {
        Err(FieldError::new(path(), "must not hold a NUL character"))
    } else {
        Ok(())
    }
}

/// Checks all variables of a container.
///
/// # Errors
/// 400 with the variable named.
pub fn environment(env: &BTreeMap<String, String>) -> Result<(), FieldError> {
    if env.len() > ENV_COUNT_MAX {
        return Err(FieldError::new("/environment_vars", format!("must be at most {ENV_COUNT_MAX} variables")));
    }
    for (name, value) in env {
        variable_name(name)?;
        variable_value(name, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::extract::parse;
    use super::*;
    use crate::tests::place;

    fn check(json: serde_json::Value) -> Result<NewContainer, ApiError> {
        let place = place();
        let mut json = json;
        if json.get("server_id").is_none() {
            json["server_id"] = place.server_name.clone().into();
        }
        new_container(parse(json.to_string().as_bytes()).unwrap(), &place)
    }

    fn refused(json: serde_json::Value) -> (u16, String) {
        let e = check(json).unwrap_err();
        let field = e.data.as_ref().map_or(String::new(), |d| d[0]["instancePath"].as_str().unwrap().to_owned());
        (e.status_code, field)
    }

    #[test]
    fn a_bare_body_gets_the_defaults_and_no_warnings() {
        let new = check(serde_json::json!({})).unwrap();
        assert_eq!((new.tier.as_str(), new.hoody_kit, new.dev_kit, new.autostart), ("debian-13", true, true, true));
        assert!(new.warnings.is_empty() && names::container_name(&new.name).is_ok());
        assert!(!check(serde_json::json!({ "hoody_kit": false })).unwrap().dev_kit);
        assert_ne!(check(serde_json::json!({ "name": "rand" })).unwrap().name, "rand");
    }

    #[test]
    fn bad_fields_are_named() {
        use serde_json::json;
        for (body, field) in [
            (json!({ "name": "ab" }), "/name"),
            (json!({ "color": "red" }), "/color"),
            (json!({ "server_id": "elsewhere" }), "/server_id"),
            (json!({ "server_id": null }), "/server_id"),
            (json!({ "container_image": "ubuntu" }), "/container_image"),
            (json!({ "comment": "x".repeat(16_001) }), "/comment"),
            (json!({ "ssh_public_key": "nonsense" }), "/ssh_public_key"),
            (json!({ "ssh_public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\nx" }), "/ssh_public_key"),
            (json!({ "environment_vars": { "1A": "x" } }), "/environment_vars/1A"),
            (json!({ "environment_vars": { "A": "\0" } }), "/environment_vars/A"),
            (json!({ "kvm": true, "dev_kvm": false }), "/dev_kvm"),
        ] {
            assert_eq!(refused(body.clone()), (400, field.to_owned()), "{body}");
        }
        assert_eq!(refused(json!({ "kvm": true })).0, 422);
        assert_eq!(refused(json!({ "dev_kvm": true })).0, 422);
        assert_eq!(refused(json!({ "prespawn": true })).0, 403);
    }

    #[test]
    fn only_fields_the_client_sent_are_warned_about() {
        use serde_json::json;
        let warned = |body| check(body).unwrap().warnings.into_iter().map(|w| w.message).collect::<Vec<_>>();
        let said = warned(json!({ "ai": true, "ramdisk": false, "cache": true, "dev_kit": true, "realm_ids": [] }));
        assert_eq!(said.len(), 3);
        assert!(said[0].starts_with("ai ") && said[1].starts_with("cache ") && said[2].starts_with("dev_kit "));
    }

    proptest! {
        #[test]
        fn whatever_variable_passes_can_be_in_an_environment(name in ".{0,20}", value in ".{0,20}") {
            if variable_name(&name).and(variable_value(&name, &value)).is_ok() {
                prop_assert!(std::ffi::CString::new(name.clone() + "=" + &value).is_ok());
                prop_assert!(!name.contains('='));
            }
        }
    }
}
