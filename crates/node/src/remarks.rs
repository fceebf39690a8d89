//! What to say about a change that a running container does not see at once, or that this box cannot
//! give it: device grants, `/ramdisk`, merging of memory.

use std::path::Path;

use super::driver::ramdisk_of;
use super::state::containers::ContainerRow;
use cowl_api::Settings;
use cowl_api::container::{ContainerState, Warning};
use cowl_engine::shim::devices::host_has;

/// Remarks on a container that was `before` and is `now`.
pub fn of_change(before: &ContainerRow, now: &ContainerRow) -> Vec<Warning> {
    let mut all = devices(&before.effective_settings(), &now.effective_settings(), now.state, Path::new("/dev"));
    if ramdisk_of(before) != ramdisk_of(now) && runs(now.state) {
        all.push(needs_restart("/ramdisk changes at the container's next start"));
    }
    if before.effective_settings().ksm != now.effective_settings().ksm && runs(now.state) {
        all.push(needs_restart("settings.ksm takes effect at the container's next start"));
    }
    all
}

fn runs(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Paused)
}

fn needs_restart(message: &str) -> Warning {
    Warning { kind: "needs_restart".into(), message: message.into() }
}

fn devices(before: &Settings, now: &Settings, state: ContainerState, host: &Path) -> Vec<Warning> {
    if before.devices == now.devices {
        return Vec::new();
    }
    let mut all = Vec::new();
    for word in now.devices.iter().flatten().filter(|word| !host_has(word, host)) {
        let message = format!("settings.devices: this box has no device for {word}, so the grant gives nothing");
        all.push(Warning { kind: "no_effect".into(), message });
    }
    if runs(state) {
        all.push(needs_restart("settings.devices take effect at the container's next start"));
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
            devices(before, now, state, host.path()).into_iter().map(|w| w.kind).collect::<Vec<_>>()
        };
        let (none, tun, kvm) = (Settings::default(), with(&["tun"]), with(&["kvm"]));
        assert_eq!(kinds(&none, &none, ContainerState::Running), [""; 0]);
        assert_eq!(kinds(&none, &tun, ContainerState::Stopped), [""; 0]);
        assert_eq!(kinds(&none, &tun, ContainerState::Running), ["needs_restart"]);
        assert_eq!(kinds(&tun, &kvm, ContainerState::Running), ["no_effect", "needs_restart"]);
    }
}
