//! Ids, money and times as this API writes them.

use airouter_billing::{Nanos, Timestamp};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

/// An id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Id(pub(crate) Uuid);

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("uuid".to_owned())))
            .into()
    }
}

impl ToSchema for Id {}

/// An amount of money: a decimal text in USD, exact to the nano-dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usd(pub(crate) Nanos);

impl Usd {
    /// More than anybody pays at once, and little enough that sums of such amounts don't overflow.
    pub(crate) const MOST: Nanos = Nanos::new(1_000_000_000 * 1_000_000_000);
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

impl PartialSchema for Usd {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("An amount in USD, exact to nine decimal places."))
            .pattern(Some(r"^-?[0-9]{1,10}(\.[0-9]{1,9})?$"))
            .examples(["12.5"])
            .into()
    }
}

impl ToSchema for Usd {}

/// A number in USD, or tokens, or a factor, with all its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exact(pub(crate) Decimal);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.normalize())
    }
}

impl PartialSchema for Exact {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A decimal number with all its digits."))
            .pattern(Some(r"^-?[0-9]{1,29}(\.[0-9]{1,28})?$"))
            .examples(["0.0000025"])
            .into()
    }
}

impl ToSchema for Exact {}

/// A point in time: RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self
            .0
            .to_utc()
            .and_then(|at| at.format(&Rfc3339).ok())
            .ok_or_else(|| serde::ser::Error::custom("a time beyond the year 9999"))?;
        serializer.serialize_str(&text)
    }
}

/// Any offset is read.
impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at = OffsetDateTime::parse(&text, &Rfc3339)
            .map_err(|_| de::Error::custom("a time is expected, such as 2026-11-20T12:00:00Z"))?;
        if (1970..=9998).contains(&at.year()) {
            Ok(Self(Timestamp::from(at)))
        } else {
            Err(de::Error::custom("a time is from 1970 to 9998"))
        }
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-11-20T12:00:00Z"])
            .into()
    }
}

impl ToSchema for Time {}

/// A field that is named is something, null too.
pub(crate) fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// When it is so many days after `now`; `None` beyond 1 to `most` days.
pub(crate) fn days_from(now: Timestamp, days: u16, most: u16) -> Option<Timestamp> {
    (1..=most)
        .contains(&days)
        .then(|| now.plus_seconds(i64::from(days) * 24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_a_decimal_text() {
        let written = serde_json::to_string(&Usd(Nanos::new(12_500_000_001))).unwrap();
        assert_eq!(written, r#""12.500000001""#);
        let read: Usd = serde_json::from_str(r#""-0.5""#).unwrap();
        assert_eq!(read, Usd(Nanos::new(-500_000_000)));
        for wrong in [
            "1.5",
            r#""1e400""#,
            r#""NaN""#,
            r#""0.0000000001""#,
            r#""""#,
        ] {
            assert!(serde_json::from_str::<Usd>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_in_utc() {
        let read: Time = serde_json::from_str(r#""2026-11-20T13:00:00+01:00""#).unwrap();
        assert_eq!(read, Time(Timestamp::from_micros(1_795_176_000_000_000)));
        for wrong in [r#""2026-11-20""#, r#""1969-12-31T23:59:59Z""#, "1", r#""""#] {
            assert!(serde_json::from_str::<Time>(wrong).is_err(), "{wrong}");
        }
        let at = Time(Timestamp::from_micros(1_795_176_000_000_000));
        assert_eq!(
            serde_json::to_string(&at).unwrap(),
            r#""2026-11-20T12:00:00Z""#
        );
        let read: Time = serde_json::from_str(r#""2026-11-20T13:00:00+01:00""#).unwrap();
        assert_eq!(read, at);
        for wrong in [r#""2026-11-20""#, r#""tomorrow""#, "0"] {
            assert!(serde_json::from_str::<Time>(wrong).is_err(), "{wrong}");
        }
    }
}
