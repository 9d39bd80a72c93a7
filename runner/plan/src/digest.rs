//! Content digests and step keys: 32 bytes of BLAKE3, never mixed up with one another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest: expected `b3:` and 64 hexadecimal digits")]
pub struct NotADigest {
    /// What stood there.
    pub text: String,
}

macro_rules! hash_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The 64 hexadecimal digits, without a prefix.
            pub fn hex(&self) -> String {
                blake3::Hash::from_bytes(self.0).to_hex().to_string()
            }

            /// The first hexadecimal digits, for screens.
            pub fn short(&self) -> String {
                self.hex()[..10].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("b3:")?;
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = NotADigest;

            /// Reads 64 hexadecimal digits, with or without the prefix `b3:`.
            fn from_str(text: &str) -> Result<Self, NotADigest> {
                let hex = text.strip_prefix("b3:").unwrap_or(text);
                blake3::Hash::from_hex(hex)
                    .map(|it| Self(*it.as_bytes()))
                    .map_err(|_| NotADigest { text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hash_newtype! {
    /// The digest of the content of a file or of a tree of files.
    Digest
}

hash_newtype! {
    /// The key of a step whose inputs are known by content: the name of its result.
    Key
}

hash_newtype! {
    /// The key of a step whose inputs are known only by *their* keys: what can be said before
    /// anything runs.
    RecursiveKey
}

impl Digest {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}
