//! Lists of addresses and of ports as a rule takes them: ranges in one form, however they were
//! written.

use std::net::Ipv4Addr;

/// Longest list of addresses, in characters.
const ADDRESS_MAX: usize = 512;
/// Longest list of ports, in characters.
const PORT_MAX: usize = 64;
/// How an address field shows that it does not matter.
const ANY: &str = "0.0.0.0/0";

/// Inclusive ranges, sorted, neither overlapping nor touching; empty is "any".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges<T>(Vec<(T, T)>);

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut all: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Self {
        all.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::new();
        for (first, last) in all {
            match merged.last_mut() {
                Some((_, end)) if next(*end).is_none_or(|after| first <= after) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[(T, T)] {
        &self.0
    }

    /// Whether everything fits.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }
}

/// Addresses a rule is about.
pub type Addresses = Ranges<Ipv4Addr>;
/// Ports a rule is about.
pub type Ports = Ranges<u16>;

impl Addresses {
    /// Parses a list of addresses, networks and ranges: `192.0.2.1,10.0.0.0/8,10.1.0.1-10.1.0.9`.
    /// An empty list and `0.0.0.0/0` are any.
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > ADDRESS_MAX {
            return Err(format!("must be at most {ADDRESS_MAX} characters long"));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let parts = text.split(',').map(|part| address_range(part.trim())).collect::<Result<Vec<_>, _>>()?;
        let all = Self::new(parts, |a| u32::from(a).checked_add(1).map(Ipv4Addr::from));
        let whole = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        Ok(if all.as_slice() == [whole] { Self::default() } else { all })
    }

    /// Whether all of them lie in the range from `first` to `last`. Any does not.
    pub fn within(&self, first: Ipv4Addr, last: Ipv4Addr) -> bool {
        !self.is_any() && self.0.iter().all(|(a, b)| (first..=last).contains(a) && (first..=last).contains(b))
    }
}

fn address_range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    const WANTED: &str = "expected IPv4 addresses or networks like 192.0.2.7 or 10.0.0.0/8, separated by commas";
    let address = |word: &str| word.trim().parse::<Ipv4Addr>().map_err(|_| WANTED.to_owned());
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (address(first)?, address(last)?);
        return if first <= last { Ok((first, last)) } else { Err(WANTED.into()) };
    }
    if let Some((network, prefix)) = text.split_once('/') {
        let first = u32::from(address(network)?);
        let prefix = prefix.parse::<u32>().ok().filter(|p| *p <= 32).ok_or(WANTED)?;
        let host_bits = u32::MAX.checked_shr(prefix).unwrap_or(0);
        if first & host_bits != 0 {
            return Err(format!("{text} has bits set behind its prefix"));
        }
        return Ok((first.into(), (first | host_bits).into()));
    }
    let one = address(text)?;
    Ok((one, one))
}

impl std::fmt::Display for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_any() {
            return f.write_str(ANY);
        }
        for (i, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            let size = u64::from(u32::from(*last) - u32::from(*first)) + 1;
            let aligned = size.is_power_of_two() && u64::from(u32::from(*first)).is_multiple_of(size);
            match size {
                1 => write!(f, "{first}")?,
                _ if aligned => write!(f, "{first}/{}", 32 - size.trailing_zeros())?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl Ports {
    /// Parses `80`, `80-90` or `80,443`. An empty list is any.
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "expected ports from 1 to 65535 like 80, 80-90 or 80,443";
        if text.chars().count() > PORT_MAX {
            return Err(format!("must be at most {PORT_MAX} characters long"));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let port = |word: &str| word.trim().parse::<u16>().ok().filter(|p| *p > 0).ok_or(WANTED);
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (port(first)?, port(last)?);
            if first <= last { Ok((first, last)) } else { Err(WANTED.to_owned()) }
        };
        let parts = text.split(',').map(range).collect::<Result<Vec<_>, String>>()?;
        Ok(Self::new(parts, |p| p.checked_add(1)))
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_ports_and_addresses_are_brought_into_one_form() {
        assert_eq!(Ports::parse("443, 80-90,85-91,92").unwrap().to_string(), "80-92,443");
        let addresses = |text| Addresses::parse(text).unwrap().to_string();
        assert_eq!(addresses("10.0.0.0/9,10.128.0.0/9, 192.0.2.1"), "10.0.0.0/8,192.0.2.1");
        assert_eq!(addresses("10.0.0.1-10.0.0.3"), "10.0.0.1-10.0.0.3");
        for any in ["0.0.0.0/0", "", "0.0.0.0/1,128.0.0.0/1"] {
            assert!(Addresses::parse(any).unwrap().is_any(), "{any}");
            assert_eq!(addresses(any), "0.0.0.0/0");
        }
        for bad in ["10.0.0.1/8", "::1", "10.0.0.9-10.0.0.1", "any", "1.2.3.4;drop", "1.2.3", ","] {
            assert!(Addresses::parse(bad).is_err(), "{bad}");
        }
        for bad in ["0", "65536", "9-1", "80,", "http", "1 } ; flush ruleset"] {
            assert!(Ports::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parsers(text in ".{0,80}") {
            let _ = (Ports::parse(&text), Addresses::parse(&text));
        }
    }
}
