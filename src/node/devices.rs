//! What to say about device grants: that they wait for a start, or that this box lacks the device.

use std::path::Path;

use super::state::containers::ContainerRow;
use crate::api::Settings;
use crate::api::container::{ContainerState, Warning};
use crate::engine::shim::devices::host_has;

/// Remarks on a container whose settings were `before`. None when its devices are the same.
pub fn remarks(before: &Settings, row: &ContainerRow) -> Vec<Warning> {
    remarks_at(before, &row.effective_settings(), row.state, Path::new("/dev"))
}

fn remarks_at(before: &Settings, now: &Settings, state: ContainerState, host: &Path) -> Vec<Warning> {
    if before.devices == now.devices {
        return Vec::new();
    }
    let mut all = Vec::new();
    for word in now.devices.iter().flatten().filter(|word| !host_has(word, host)) {
        let message = format!("settings.devices: this box has no device for {word}, so the grant gives nothing");
        all.push(Warning { kind: "no_effect".into(), message });
    }
    if matches!(state, ContainerState::Running | ContainerState::Paused) {
        let message = "settings.devices take effect at the container's next start".to_owned();
        all.push(Warning { kind: "needs_restart".into(), message });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_devices_is_remarked_on_and_nothing_else() {
        let host = tempfile::tempdir().unwrap();
        let with = |words: &[&str]| Settings {
            devices: Some(words.iter().map(|w| (*w).to_owned()).collect()),
            ..Settings::default()
        };
        let kinds = |before: &Settings, now: &Settings, state| {
            remarks_at(before, now, state, host.path()).into_iter().map(|w| w.kind).collect::<Vec<_>>()
        };
        let (none, tun, kvm) = (Settings::default(), with(&["tun"]), with(&["kvm"]));
        assert_eq!(kinds(&none, &none, ContainerState::Running), [""; 0]);
        assert_eq!(kinds(&none, &tun, ContainerState::Stopped), [""; 0]);
        assert_eq!(kinds(&none, &tun, ContainerState::Running), ["needs_restart"]);
        assert_eq!(kinds(&tun, &kvm, ContainerState::Running), ["no_effect", "needs_restart"]);
    }
}
