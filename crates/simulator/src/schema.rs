//! Small JSON values that fit simple JSON schemas: structured outputs and the arguments of tool calls.

use serde_json::{Map, Value, json};

/// Schemas nest no deeper than this; what is below becomes null.
const MAXIMUM_DEPTH: usize = 16;

/// A value that fits a schema of objects, arrays, enums, constants, texts, numbers and booleans.
pub(crate) fn sample(schema: &Value) -> Value {
    sample_at(schema, MAXIMUM_DEPTH)
}

fn sample_at(schema: &Value, depth: usize) -> Value {
    let Some(below) = depth.checked_sub(1) else {
        return Value::Null;
    };
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    for combination in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(combination).and_then(|all| all.get(0)) {
            return sample_at(first, below);
        }
    }
    match kind(schema) {
        "object" => object(schema, below),
        "array" => {
            let item = schema
                .get("items")
                .map_or(json!("word"), |items| sample_at(items, below));
            json!([item])
        }
        "string" => json!("word"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(7)),
        "boolean" => json!(true),
        _ => Value::Null,
    }
}

fn kind(schema: &Value) -> &str {
    let declared = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    declared.unwrap_or("object")
}

fn object(schema: &Value, depth: usize) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let fields: Map<String, Value> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| (name.clone(), sample_at(property, depth)))
        .collect();
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_simple_schemas() {
        let schema = json!({"type":"object","properties":{
            "name":{"type":"string"},"age":{"type":"integer"},"ok":{"type":"boolean"},
            "tags":{"type":"array","items":{"type":"string"}},
            "unit":{"enum":["celsius","fahrenheit"]},
            "inner":{"type":"object","properties":{"x":{"type":["number","null"]}}}}});
        assert_eq!(
            sample(&schema),
            json!({"name":"word","age":7,"ok":true,"tags":["word"],"unit":"celsius","inner":{"x":7}})
        );
    }

    #[test]
    fn deep_schemas_end() {
        let mut schema = json!({"type":"string"});
        for _ in 0..100 {
            schema = json!({"type":"array","items":schema});
        }
        assert!(sample(&schema).to_string().contains("null"));
    }
}
