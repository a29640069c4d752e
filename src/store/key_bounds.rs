//! What narrows one key further than its role: where it may come from, which models it may use.
//!
//! Guarantees: bounds only take away: a key's models are those of its role that its own patterns name too. What cannot be
//! read back is an error, never «no bound».

use crate::ollama::model_list::ModelList;
use crate::ollama::model_name::ModelPattern;
use ipnet::IpNet;

/// The bounds of one key; an empty list is no bound.
#[derive(Debug, Clone, Default)]
pub struct KeyBounds {
    /// Where it may come from.
    pub addresses: Vec<IpNet>,
    /// What it may run and see, of what its role may.
    pub models: ModelList,
}

impl KeyBounds {
    /// Reads the two columns.
    pub(super) fn read(addresses: Option<&str>, models: Option<&str>) -> Option<Self> {
        let addresses = parts(addresses).map(|text| text.parse().ok()).collect::<Option<_>>()?;
        let models = parts(models).map(|text| ModelPattern::parse(text).ok()).collect::<Option<_>>()?;
        Some(Self { addresses, models })
    }

    /// What the columns hold.
    pub(super) fn columns(&self) -> (Option<String>, Option<String>) {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let models: Vec<_> = self.models.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        (joined(&addresses), joined(&models))
    }
}

fn parts(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.into_iter().flat_map(|text| text.split(','))
}

fn joined(parts: &[String]) -> Option<String> {
    (!parts.is_empty()).then(|| parts.join(","))
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_back_and_a_damaged_one_is_none() {
        let bounds = KeyBounds::read(Some("10.0.0.0/8,2001:db8::/32"), Some("llama3.2:*,qwen3:8b")).unwrap();
        let (addresses, models) = bounds.columns();
        assert_eq!(addresses.as_deref(), Some("10.0.0.0/8,2001:db8::/32"));
        let again = KeyBounds::read(addresses.as_deref(), models.as_deref()).unwrap();
        assert_eq!(again.columns(), bounds.columns());
        assert!(KeyBounds::read(None, None).unwrap().addresses.is_empty());
        assert!(KeyBounds::read(Some(""), None).is_none(), "an empty text is no list of networks");
        assert!(KeyBounds::read(Some("10.0.0.0/8,"), None).is_none());
    }
}
