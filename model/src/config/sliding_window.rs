//! Reads the sliding window of a `config.json`: from the rule of the architecture, and from `layer_types` where given.
//! Knows no architecture by name and no attention.

use serde_json::Value;

use super::json_keys::{Keys, shorten};
use crate::arch::{Architecture, WindowRule};
use crate::error::{Error, Result};

/// One window for all layers, or none; a mixture is refused.
pub(super) fn sliding_window(keys: &Keys<'_>, architecture: &Architecture, layers: usize) -> Result<Option<usize>> {
    let given = keys.map.contains_key("sliding_window");
    let window = keys.size("sliding_window")?;
    let window = match architecture.window {
        WindowRule::Never if window.is_some() => {
            return Err(Error::feature(keys.path, format!("sliding_window in {architecture}")));
        }
        WindowRule::Never => None,
        WindowRule::EveryLayer { .. } if given => window,
        WindowRule::EveryLayer { sliding_window } => Some(sliding_window),
        WindowRule::Switched { sliding_window, .. } if keys.switch("use_sliding_window")?.unwrap_or(false) => {
            if given {
                window
            } else {
                Some(sliding_window)
            }
        }
        WindowRule::Switched { .. } => None,
    };
    let types = match keys.map.get("layer_types") {
        None | Some(Value::Null) => None,
        Some(Value::Array(types)) => Some(types),
        Some(other) => return Err(Error::malformed(keys.path, format!("layer_types is {}", shorten(other)))),
    };
    let sliding = match types {
        Some(types) => {
            if let Some(odd) =
                types.iter().find(|one| !matches!(one.as_str(), Some("full_attention" | "sliding_attention")))
            {
                return Err(Error::feature(keys.path, format!("layer type {}", shorten(odd))));
            }
            if types.len() != layers {
                return Err(Error::malformed(
                    keys.path,
                    format!("layer_types lists {} layers, num_hidden_layers is {layers}", types.len()),
                ));
            }
            types.iter().filter(|one| one.as_str() == Some("sliding_attention")).count()
        }
        None if window.is_none() => 0,
        None => match architecture.window {
            WindowRule::Never => 0,
            WindowRule::EveryLayer { .. } => layers,
            WindowRule::Switched { max_window_layers, .. } => {
                layers.saturating_sub(keys.size("max_window_layers")?.unwrap_or(max_window_layers))
            }
        },
    };
    let in_every_layer = matches!(architecture.window, WindowRule::EveryLayer { .. });
    match (sliding, window) {
        (0, None) => Ok(None),
        (0, Some(_)) if !in_every_layer => Ok(None),
        (all, Some(_)) if all == layers => Ok(window),
        _ => Err(Error::feature(
            keys.path,
            format!("sliding attention in {sliding} of {layers} layers with sliding_window {window:?}"),
        )),
    }
}
