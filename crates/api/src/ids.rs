//! Ids of the control plane: 24 lowercase hex characters from a CSPRNG.
//!
//! A container id is part of a capability URL, so it carries 96 random bits and is never
//! time-ordered. Ids parse strictly: upper case, other lengths and other characters are refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Length of an id in characters.
pub const ID_LEN: usize = 24;

/// Why a string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 24 lowercase hex characters")]
pub struct ParseIdError;

fn random_id() -> [u8; ID_LEN] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let raw: [u8; ID_LEN / 2] = rand::random();
    let mut out = [0u8; ID_LEN];
    for (i, byte) in raw.iter().enumerate() {
        out[2 * i] = HEX[usize::from(byte >> 4)];
        out[2 * i + 1] = HEX[usize::from(byte & 15)];
    }
    out
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// A fresh id from the thread's CSPRNG.
            pub fn generate() -> Self {
                Self(random_id())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                // Only ASCII hex is ever stored, so this cannot fail.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(s: &str) -> Result<Self, ParseIdError> {
                let bytes: [u8; ID_LEN] = s.as_bytes().try_into().map_err(|_| ParseIdError)?;
                if bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    Ok(Self(bytes))
                } else {
                    Err(ParseIdError)
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(s: String) -> Result<Self, ParseIdError> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

id!(
    /// A container's id; half of what makes its URLs secret.
    ContainerId
);
id!(
    /// A project's id.
    ProjectId
);
id!(
    /// The id of a box.
    ServerId
);
id!(
    /// The id of a storage share.
    ShareId
);
id!(
    /// The id of a stored event.
    EventId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_parses_back_and_differs_from_the_next() {
        let a = ContainerId::generate();
        assert_eq!(a.as_str().parse::<ContainerId>(), Ok(a));
        assert_ne!(a, ContainerId::generate());
    }

    #[test]
    fn only_24_lowercase_hex_characters_are_an_id() {
        for bad in ["", "abc", "ABCDEF0123456789abcdef01", "g00000000000000000000000", "0123456789abcdef012345678"] {
            assert!(bad.parse::<ProjectId>().is_err(), "{bad}");
        }
    }
}
