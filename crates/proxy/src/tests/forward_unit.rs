use super::*;

#[test]
fn only_the_desktops_known_environments_are_passed_on() {
    for (query, env) in [
        (None, "xfce"),
        (Some("desktop_env=mate"), "mate"),
        (Some("a=b&desktop_env=xfce"), "xfce"),
        (Some("desktop_env=%6date"), "xfce"),
        (Some("desktop_env=x&desktop_env=mate"), "xfce"),
    ] {
        assert_eq!(desktop_env(query), env, "{query:?}");
    }
}
