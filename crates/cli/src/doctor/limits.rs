//! Settings of the host that cap how many containers fit.

use super::{Check, Verdict};
use cowl_engine::sysctl;

const NAME: &str = "host limits";

/// One check a setting; programs get them all.
pub(super) fn checks() -> Vec<Check> {
    let check = |s: sysctl::Standing| {
        let found = format!("{} is {}", s.name, s.current);
        let advice = format!("wanted is {}: {}; the node raises it when it starts", s.wanted, s.reason);
        let base = if s.is_enough() { Check::ok(NAME, found) } else { Check::warn(NAME, found, advice) };
        Check { setting: Some(s), ..base }
    };
    sysctl::standing().into_iter().map(check).collect()
}

/// The same for people: those that are too low, and a count of the others.
pub(super) fn in_short(all: &[Check]) -> Vec<Check> {
    let (fine, low): (Vec<&Check>, Vec<&Check>) = all.iter().partition(|c| c.verdict == Verdict::Ok);
    let summary =
        Check::ok(NAME, format!("{} of {} settings are as wanted (--json lists them)", fine.len(), all.len()));
    std::iter::once(summary).chain(low.into_iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_is_low_and_programs_see_all() {
        let all =
            vec![Check::ok(NAME, "a is 5"), Check::warn(NAME, "b is 1", "wanted is 2"), Check::ok(NAME, "c is 7")];
        let short = in_short(&all);
        assert_eq!(short.len(), 2);
        assert!(short[0].found.starts_with("2 of 3") && short[1].found == "b is 1");
        let json = serde_json::to_value(checks()).unwrap();
        let one = json.as_array().unwrap().iter().find(|c| c["setting"] == "kernel.pid_max").unwrap();
        assert!(one["current"].is_u64() && one["wanted"].is_u64() && one["reason"].is_string(), "{one}");
    }
}
