//! From the build's output to a bar that moves.

use std::time::Instant;

use cowl_api::server::BuildProgress;

/// Parts of a build, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Package lists.
    Update,
    /// The essential packages.
    DownloadBase,
    /// Unpacking them.
    Extract,
    /// Configuring them.
    InstallBase,
    /// All others.
    DownloadRest,
    /// Unpacking and configuring them.
    InstallRest,
    /// Users, units, caches.
    Customise,
    /// Booting once.
    FirstBoot,
    /// Cleaning and the template.
    Finish,
    /// Over.
    Done,
}

impl Step {
    /// Where it begins and ends on the bar, in percent; from builds on two cores with a near mirror.
    fn span(self) -> (f64, f64) {
        match self {
            Step::Update => (0.0, 6.0),
            Step::DownloadBase => (6.0, 16.0),
            Step::Extract => (16.0, 21.0),
            Step::InstallBase => (21.0, 46.0),
            Step::DownloadRest => (46.0, 56.0),
            Step::InstallRest => (56.0, 86.0),
            Step::Customise => (86.0, 90.0),
            Step::FirstBoot => (90.0, 95.0),
            Step::Finish => (95.0, 99.5),
            Step::Done => (100.0, 100.0),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Step::Update => "reading package lists",
            Step::DownloadBase | Step::DownloadRest => "downloading packages",
            Step::Extract => "unpacking",
            Step::InstallBase | Step::InstallRest => "configuring",
            Step::Customise => "setting up",
            Step::FirstBoot => "first boot",
            Step::Finish => "finishing",
            Step::Done => "done",
        }
    }
}

/// Follows a build and tells of it.
pub struct Progress<'a> {
    tell: &'a mut dyn FnMut(BuildProgress),
    started: Instant,
    step: Step,
    detail: String,
    percent: f64,
    /// Bytes to fetch and fetched in this step.
    bytes: (u64, u64),
    /// Packages of this step, and how many were unpacked and configured.
    packages: (u64, u64, u64),
}

impl<'a> Progress<'a> {
    /// `tell` is called at every change.
    pub fn new(tell: &'a mut dyn FnMut(BuildProgress)) -> Self {
        Self {
            tell,
            started: Instant::now(),
            step: Step::Update,
            detail: String::new(),
            percent: 0.0,
            bytes: (0, 0),
            packages: (0, 0, 0),
        }
    }

    /// Begins a step.
    pub fn enter(&mut self, step: Step, detail: &str) {
        self.step = step;
        self.bytes.1 = 0;
        (self.packages.1, self.packages.2) = (0, 0);
        self.show(0.0, detail.to_owned());
    }

    /// Takes one line of the build's output.
    pub fn line(&mut self, line: &str) {
        if let Some(note) = line.strip_prefix("I: ") {
            self.note(note);
        } else if line.contains(" newly installed, ") {
            self.packages.0 =
                line.split(", ").find_map(|p| p.strip_suffix(" newly installed")?.parse().ok()).unwrap_or(0);
        } else if let Some(rest) = line.strip_prefix("Need to get ") {
            self.need(rest);
        } else if line.starts_with("Get:") {
            self.got(line);
        } else if let Some(rest) = line.strip_prefix("Unpacking ") {
            self.packages.1 += 1;
            self.unpacked_or_configured("unpacking", rest);
        } else if let Some(rest) = line.strip_prefix("Setting up ") {
            self.packages.2 += 1;
            self.unpacked_or_configured("configuring", rest);
        } else if let Some(rest) = line.strip_prefix("cowl: ") {
            self.show(0.0, rest.to_owned());
        }
    }

    /// Tells the time while the build prints nothing; `partial`: bytes of packages half fetched.
    pub fn quiet(&mut self, partial: u64) {
        if matches!(self.step, Step::DownloadBase | Step::DownloadRest) && self.bytes.0 > 0 {
            self.show_bytes(partial);
        } else {
            self.show(0.0, self.detail.clone());
        }
    }

    /// A stage of mmdebstrap.
    fn note(&mut self, note: &str) {
        if note.starts_with("downloading packages") {
            self.enter(Step::DownloadBase, "essential packages");
        } else if note.starts_with("extracting") {
            self.enter(Step::Extract, "essential packages");
        } else if note.starts_with("installing essential") {
            self.enter(Step::InstallBase, "essential packages");
        } else if note.starts_with("installing remaining") {
            self.enter(Step::DownloadRest, "system and tools");
        } else if note.starts_with("running --customize-hook") {
            self.enter(Step::Customise, "user, units, caches");
        } else if note.starts_with("cleaning package lists") {
            self.enter(Step::Customise, "removing package lists");
        }
    }

    /// `30.3 MB of archives.` or `12 MB/30.3 MB of archives.`
    fn need(&mut self, rest: &str) {
        let amount = rest.split(" of archives").next().unwrap_or_default();
        self.bytes = (parse_bytes(amount.split('/').next().unwrap_or_default()).unwrap_or(0), 0);
    }

    /// `Get:7 http://… [49.4 kB]`
    fn got(&mut self, line: &str) {
        let size = line.rsplit_once('[').and_then(|(_, s)| parse_bytes(s.trim_end_matches(']'))).unwrap_or(0);
        if matches!(self.step, Step::DownloadBase | Step::DownloadRest) && self.bytes.0 > 0 {
            self.bytes.1 += size;
            self.show_bytes(0);
        } else {
            // An index, of about eight.
            self.packages.1 += 1;
            let share = self.packages.1 as f64 / 8.0;
            self.show(share, line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" "));
        }
    }

    fn show_bytes(&mut self, partial: u64) {
        let (all, got) = (self.bytes.0, self.bytes.1.saturating_add(partial).min(self.bytes.0));
        let mb = |b: u64| b as f64 / 1e6;
        self.show(got as f64 / all as f64, format!("{:.1} of {:.1} MB", mb(got), mb(all)));
    }

    fn unpacked_or_configured(&mut self, verb: &str, rest: &str) {
        if self.step == Step::DownloadRest {
            self.enter(Step::InstallRest, "");
            self.packages.1 = 1;
        }
        let (all, unpacked, configured) = self.packages;
        let package = rest.split_whitespace().next().unwrap_or_default();
        let package = package.split(':').next().unwrap_or_default();
        let n = if verb == "unpacking" { unpacked } else { configured };
        if all == 0 {
            return self.show(0.0, format!("{verb} {package}"));
        }
        // Configuring takes about twice as long as unpacking.
        let share = (unpacked as f64 + 2.0 * configured as f64) / (3.0 * all as f64);
        self.show(share, format!("{verb} {package}, {} of {all}", n.min(all)));
    }

    /// `share`: of this step, 0–1. The bar never goes back.
    fn show(&mut self, share: f64, detail: String) {
        let (from, to) = self.step.span();
        self.percent = self.percent.max(from + (to - from) * share.clamp(0.0, 1.0));
        self.detail = detail;
        let elapsed = self.started.elapsed().as_secs_f64();
        (self.tell)(BuildProgress {
            step: self.step.words().to_owned(),
            percent: self.percent,
            detail: self.detail.clone(),
            elapsed_s: elapsed,
            // Too early a guess is worse than none.
            remaining_s: (self.percent >= 8.0).then(|| elapsed * (100.0 - self.percent) / self.percent),
        });
    }
}

/// `30.3 MB`, `49.4 kB`, `512 B`, as apt prints them.
fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let factor = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    };
    let bytes = number.replace(',', "").parse::<f64>().ok()? * factor;
    // Saturates; NaN becomes 0.
    (bytes >= 0.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
I: running apt-get update...
Get:1 http://deb.debian.org/debian trixie InRelease [140 kB]
I: downloading packages with apt...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Need to get 3,000 kB of archives.
Get:1 http://deb.debian.org/debian trixie/main amd64 gcc-14-base amd64 14.2.0-19 [1000 kB]
Get:2 http://deb.debian.org/debian trixie/main amd64 libc6 amd64 2.41 [2000 kB]
I: extracting archives...
I: installing essential packages...
Unpacking libc6:amd64 (2.41) ...
Unpacking gcc-14-base:amd64 (14.2.0-19) ...
Setting up libc6:amd64 (2.41) ...
Setting up gcc-14-base:amd64 (14.2.0-19) ...
I: installing remaining packages inside the chroot...
0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Need to get 0 B/22.0 MB of archives.
Unpacking systemd (257.13-1) ...
Setting up systemd (257.13-1) ...
I: running --customize-hook in shell: sh -c 'x'
";

    fn told(output: &str) -> Vec<BuildProgress> {
        let mut all = Vec::new();
        let mut tell = |p| all.push(p);
        let mut progress = Progress::new(&mut tell);
        output.lines().for_each(|l| progress.line(l));
        progress.enter(Step::Done, "");
        all
    }

    #[test]
    fn a_build_moves_forward_through_all_its_steps_up_to_a_hundred() {
        let all = told(OUTPUT);
        assert!(all.windows(2).all(|w| w[0].percent <= w[1].percent));
        assert_eq!(all.last().unwrap().percent, 100.0);
        let details: Vec<_> = all.iter().map(|p| p.detail.as_str()).collect();
        assert!(details.contains(&"1.0 of 3.0 MB") && details.contains(&"3.0 of 3.0 MB"), "{details:?}");
        assert!(details.contains(&"configuring libc6, 1 of 2"), "{details:?}");
        assert!(details.contains(&"unpacking systemd, 1 of 1"), "{details:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_output_breaks_the_bar(lines in proptest::collection::vec("(I: |Need to get |Get:1 |Unpacking |Setting up |0 upgraded, )?.{0,40}", 0..60)) {
            let all = told(&lines.join("\n"));
            proptest::prop_assert!(all.iter().all(|p| (0.0..=100.0).contains(&p.percent)));
        }
    }
}
