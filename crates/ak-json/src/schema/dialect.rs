//! The drafts of JSON Schema, and the keywords of each.

/// The draft by which a schema is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Draft6,
    Draft7,
    Draft2019,
    Draft2020,
    /// Without `$schema`: draft 2020-12, with those keywords of older drafts that have no other meaning in it.
    Unnamed,
}

impl Dialect {
    /// The draft that a `$schema` names; `None` for any other URI.
    pub(super) fn named(uri: &str) -> Option<Self> {
        let uri = uri.strip_suffix('#').unwrap_or(uri);
        let rest = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
        match rest.strip_prefix("json-schema.org/")? {
            "draft-06/schema" => Some(Self::Draft6),
            "draft-07/schema" => Some(Self::Draft7),
            "draft/2019-09/schema" => Some(Self::Draft2019),
            "draft/2020-12/schema" => Some(Self::Draft2020),
            _ => None,
        }
    }

    /// Whether keywords beside `$ref` are ignored.
    pub(super) fn hides_siblings(self) -> bool {
        matches!(self, Self::Draft6 | Self::Draft7)
    }

    /// Whether `$id` may be an anchor, such as `#name`.
    pub(super) fn has_anchors_in_ids(self) -> bool {
        matches!(self, Self::Draft6 | Self::Draft7 | Self::Unnamed)
    }

    /// Whether `items` may be an array, followed by `additionalItems`.
    pub(super) fn has_item_lists(self) -> bool {
        self != Self::Draft2020
    }

    /// Whether an item that `contains` matches counts as evaluated.
    pub(super) fn evaluates_contained(self) -> bool {
        self != Self::Draft2019
    }

    /// Whether the draft has this keyword; any other is an annotation.
    pub(super) fn has(self, keyword: &str) -> bool {
        match keyword {
            "$schema" | "$id" | "$ref" | "$defs" | "definitions" => true,
            "type" | "enum" | "const" => true,
            "multipleOf" | "maximum" | "exclusiveMaximum" | "minimum" | "exclusiveMinimum" => true,
            "maxLength" | "minLength" | "pattern" => true,
            "items" | "contains" | "maxItems" | "minItems" | "uniqueItems" => true,
            "properties" | "patternProperties" | "additionalProperties" | "propertyNames" => true,
            "maxProperties" | "minProperties" | "required" | "dependencies" => true,
            "allOf" | "anyOf" | "oneOf" | "not" => true,
            "if" | "then" | "else" => self != Self::Draft6,
            "additionalItems" => self.has_item_lists(),
            "$anchor"
            | "dependentRequired"
            | "dependentSchemas"
            | "maxContains"
            | "minContains"
            | "unevaluatedItems"
            | "unevaluatedProperties" => !self.hides_siblings(),
            "$recursiveRef" | "$recursiveAnchor" => matches!(self, Self::Draft2019 | Self::Unnamed),
            "prefixItems" | "$dynamicRef" | "$dynamicAnchor" => {
                matches!(self, Self::Draft2020 | Self::Unnamed)
            }
            _ => false,
        }
    }
}
