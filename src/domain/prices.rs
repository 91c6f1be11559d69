//! What models cost, as the owner's file says. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The prices of models, by their labels (`provider/name`). Where nothing is said of one, it has none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prices(BTreeMap<String, Price>);

/// What a model takes for a million tokens, in the owner's currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Of those that it was sent.
    pub input: f64,
    /// Of those among them that its provider had kept from a call before.
    pub cached: f64,
    /// Of those that it said.
    pub output: f64,
}

impl Prices {
    /// Prices by labels; one that ends in `*` stands for all that begin like it.
    pub fn new(prices: BTreeMap<String, Price>) -> Prices {
        Prices(prices)
    }

    /// The label could be one of a model, or the beginning of some with a `*` behind it.
    pub fn is_label(text: &str) -> bool {
        let start = text.strip_suffix('*').unwrap_or(text);
        let is_one = start.split_once('/').is_some_and(|(provider, name)| {
            !provider.is_empty() && (!name.is_empty() || start.len() < text.len())
        });
        text == "*" || (is_one && !start.contains('*'))
    }

    /// The price of the model with that label: the longest that fits, and the label itself before all.
    pub fn of(&self, label: &str) -> Option<Price> {
        let exact = self.0.get(label);
        let starts = self.0.iter().filter(|(known, _)| {
            let start = known.strip_suffix('*');
            start.is_some_and(|start| label.starts_with(start))
        });
        let longest = || starts.max_by_key(|(known, _)| known.len());
        exact.or_else(|| longest().map(|(_, price)| price)).copied()
    }

    /// Nothing has a price.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Price {
    /// The price of a reply: of `input` tokens, of which `cached` were kept from before, and of
    /// `output` tokens.
    pub fn cost(&self, input: u64, cached: u64, output: u64) -> Cost {
        let cached = cached.min(input);
        let new = input - cached;
        // The price of a million is that of one in millionths.
        let sum =
            new as f64 * self.input + cached as f64 * self.cached + output as f64 * self.output;
        Cost::of_millionths(sum)
    }
}

/// An amount of the owner's currency, to a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cost(u64);

impl Cost {
    /// Nothing.
    pub const ZERO: Cost = Cost(0);

    /// So many whole ones and parts; what is less than nothing is nothing.
    pub fn new(amount: f64) -> Cost {
        Cost::of_millionths(amount * MILLION)
    }

    fn of_millionths(amount: f64) -> Cost {
        // What is no number becomes zero, and what is too large the most.
        Cost(amount.round() as u64)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Cost) -> Cost {
        Cost(self.0.saturating_add(other.0))
    }
}

const MILLION: f64 = 1_000_000.0;

/// With two digits, or as many as it needs.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let digits = format!("{part:06}");
        let (always, more) = digits.split_at(2);
        write!(f, "{whole}.{always}{}", more.trim_end_matches('0'))
    }
}

/// A number.
impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / MILLION)
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cost, D::Error> {
        f64::deserialize(deserializer).map(Cost::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_label_that_fits_has_the_price() {
        let price = |input: f64| Price {
            input,
            cached: 0.0,
            output: 0.0,
        };
        let labels = ["*", "openai/*", "openai/gpt-5*", "openai/gpt-5"];
        let prices = labels.iter().zip(1..);
        let prices = prices.map(|(label, number)| (label.to_string(), price(f64::from(number))));
        let prices = Prices::new(prices.collect());
        for (label, expected) in [
            ("groq/llama", 1.0),
            ("openai/o3", 2.0),
            ("openai/gpt-5-mini", 3.0),
            ("openai/gpt-5", 4.0),
        ] {
            assert_eq!(prices.of(label), Some(price(expected)), "{label}");
        }
        assert_eq!(Prices::default().of("openai/gpt-5"), None);
        for (label, expected) in [
            ("*", true),
            ("openai/*", true),
            ("openrouter/a/b:free", true),
            ("openai/", false),
            ("openai", false),
            ("openai*", false),
            ("/x", false),
            ("a/*b", false),
            ("a/**", false),
            ("", false),
        ] {
            assert_eq!(Prices::is_label(label), expected, "{label}");
        }
    }

    #[test]
    fn tokens_cost_what_their_kind_does() {
        let price = Price {
            input: 1.25,
            cached: 0.125,
            output: 10.0,
        };
        let cost = |input, cached, output| price.cost(input, cached, output).to_string();
        assert_eq!(cost(1_000_000, 0, 0), "1.25");
        assert_eq!(cost(1_000_000, 400_000, 100_000), "1.80");
        assert_eq!(cost(4, 9, 0), "0.000001");
        assert_eq!(cost(u64::MAX, 0, u64::MAX), Cost(u64::MAX).to_string());
        assert_eq!(Cost::new(f64::NAN).plus(Cost::new(-1.0)), Cost::ZERO);
        assert_eq!(Cost::new(2.5).to_string(), "2.50");
        let json = serde_json::to_string(&Cost(1_234_567)).unwrap();
        assert_eq!(json, "1.234567");
        assert_eq!(
            serde_json::from_str::<Cost>(&json).unwrap(),
            Cost(1_234_567)
        );
    }
}
