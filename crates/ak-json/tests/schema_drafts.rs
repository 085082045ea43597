//! The drafts of JSON Schema: which keywords each has, where references lead, and what is an annotation.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ak_json::{Limits, Schema, Value, Work};

const DRAFT_6: &str = "http://json-schema.org/draft-06/schema#";
const DRAFT_7: &str = "http://json-schema.org/draft-07/schema#";
const DRAFT_2019: &str = "https://json-schema.org/draft/2019-09/schema";
const DRAFT_2020: &str = "https://json-schema.org/draft/2020-12/schema";

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn parse(text: &str) -> Result<Schema, String> {
    Schema::parse(&value(text), &mut Work::unlimited()).map_err(|error| error.to_string())
}

fn check(schema: &str, instance: &str, expected: bool) {
    let parsed = parse(schema).unwrap_or_else(|error| panic!("{error}: {schema}"));
    let outcome = parsed.validate(&value(instance), &mut Work::unlimited());
    assert_eq!(outcome.is_ok(), expected, "{schema} {instance} {outcome:?}");
}

/// Checks with the `$schema` of a draft.
fn check_in(draft: &str, schema: &str, instance: &str, expected: bool) {
    check(&schema.replacen('{', &format!(r#"{{"$schema":"{draft}","#), 1), instance, expected);
}

#[test]
fn a_schema_names_its_draft() {
    for named in [
        DRAFT_6,
        DRAFT_7,
        "http://json-schema.org/draft-07/schema",
        "https://json-schema.org/draft-07/schema#",
        DRAFT_2019,
        DRAFT_2020,
        "http://json-schema.org/draft/2020-12/schema#",
    ] {
        check_in(named, r#"{"type":"null"}"#, "null", true);
        check_in(named, r#"{"type":"null"}"#, "1", false);
    }
    for unknown in [
        "http://json-schema.org/draft-04/schema#",
        "http://json-schema.org/schema#",
        "https://a.example/b",
        "",
    ] {
        let refused = parse(&format!(r#"{{"items":{{"$schema":"{unknown}"}}}}"#)).unwrap_err();
        assert_eq!(refused, format!("unsupported $schema '{unknown}' at '/items' of the schema"));
    }
    assert_eq!(parse(r#"{"$schema":7}"#).unwrap_err(), "wrong value of '$schema' at '' of the schema");
}

#[test]
fn what_is_no_keyword_of_the_draft_is_an_annotation() {
    let tuple = r#"{"items":[{"type":"integer"}],"additionalItems":false}"#;
    for draft in [DRAFT_6, DRAFT_7, DRAFT_2019] {
        check_in(draft, tuple, "[1]", true);
        check_in(draft, tuple, r#"["a"]"#, false);
        check_in(draft, tuple, "[1,2]", false);
        check_in(draft, r#"{"prefixItems":[false]}"#, "[1]", true);
    }
    check(tuple, "[1,2]", false);
    check(tuple, "[1]", true);
    check_in(DRAFT_2020, r#"{"items":true,"additionalItems":false}"#, "[1]", true);
    check_in(DRAFT_7, r#"{"items":[]}"#, "[1]", true);
    check_in(DRAFT_6, r#"{"if":true,"then":false}"#, "1", true);
    check_in(DRAFT_7, r#"{"if":true,"then":false}"#, "1", false);
    for keyword in [
        r#""dependentRequired":{"a":["b"]}"#,
        r#""dependentSchemas":{"a":false}"#,
        r#""unevaluatedProperties":false"#,
        r#""contains":true,"minContains":2"#,
    ] {
        let instance = if keyword.contains("contains") { "[1]" } else { r#"{"a":1}"# };
        check_in(DRAFT_7, &format!("{{{keyword}}}"), instance, true);
        check_in(DRAFT_2019, &format!("{{{keyword}}}"), instance, false);
        check_in(DRAFT_2020, &format!("{{{keyword}}}"), instance, false);
        check(&format!("{{{keyword}}}"), instance, false);
    }
    // Until 2020-12 nothing that contains finds is evaluated.
    let contained = r#"{"contains":{"const":1},"unevaluatedItems":false}"#;
    check_in(DRAFT_2019, contained, "[1]", false);
    check_in(DRAFT_2020, contained, "[1]", true);
    for draft in [DRAFT_6, DRAFT_7, DRAFT_2019, DRAFT_2020] {
        check_in(draft, r#"{"dependencies":{"a":["b"],"c":{"required":["d"]}}}"#, r#"{"a":1}"#, false);
        check_in(draft, r#"{"dependencies":{"a":["b"],"c":{"required":["d"]}}}"#, r#"{"c":1}"#, false);
        check_in(draft, r#"{"dependencies":{"a":["b"],"c":{"required":["d"]}}}"#, r#"{"a":1,"b":2}"#, true);
    }
}

#[test]
fn annotations_are_never_refused() {
    check(
        r#"{"type":"string","format":"no such format","contentEncoding":"base64","contentMediaType":7,"title":3,
            "description":null,"examples":"x","default":[],"readOnly":"yes","deprecated":{},"x-order":[{}],
            "nullable":true,"maxLenght":3,"$comment":[],"$vocabulary":1,"discriminator":{"propertyName":"kind"}}"#,
        r#""any""#,
        true,
    );
    check(r#"{"type":"string","nullable":true}"#, "null", false);
    // A member that is called like a keyword is none.
    check(
        r#"{"properties":{"$ref":{"type":"string"},"$id":{"type":"string"},"format":{"type":"string"}}}"#,
        r#"{"format":1}"#,
        false,
    );
}

#[test]
fn numbers_are_taken_as_they_are_meant() {
    check(r#"{"maxLength":1e30}"#, r#""abc""#, true);
    check(r#"{"minLength":1e30}"#, r#""abc""#, false);
    check(r#"{"maxItems":2.0}"#, "[1,2,3]", false);
    check(r#"{"type":"integer"}"#, "1.0", true);
    check(r#"{"const":1.0}"#, "1", true);
    check(r#"{"enum":["1",1e2]}"#, "100", true);
    check(r#"{"type":["integer","null"]}"#, "1.5", false);
}

#[test]
fn what_stands_beside_a_reference_counts_from_2019_09_on() {
    let beside =
        r##"{"properties":{"a":{"$ref":"#/definitions/A","maximum":5}},"definitions":{"A":{"minimum":1}}}"##;
    check_in(DRAFT_7, beside, r#"{"a":9}"#, true);
    check_in(DRAFT_7, beside, r#"{"a":0}"#, false);
    check_in(DRAFT_2019, beside, r#"{"a":9}"#, false);
    check_in(DRAFT_2020, beside, r#"{"a":9}"#, false);
    check(beside, r#"{"a":9}"#, false);
    // As generators write it.
    let root = r##"{"$ref":"#/definitions/A","definitions":{"A":{"required":["n"],"properties":{"n":{"$ref":"#/definitions/A"}}}}}"##;
    check_in(DRAFT_7, root, r#"{"n":1}"#, true);
    check_in(DRAFT_7, root, r#"{"n":{}}"#, false);
    // Nor does what is hidden have to be well formed.
    check_in(
        DRAFT_7,
        r##"{"items":{"$ref":"#/definitions/A","type":"strnig"},"definitions":{"A":true}}"##,
        "[1]",
        true,
    );
}

#[test]
fn references_lead_to_what_is_in_the_document() {
    check_in(
        DRAFT_7,
        r##"{"items":{"$ref":"#a"},"definitions":{"A":{"$id":"#a","type":"null"}}}"##,
        "[1]",
        false,
    );
    check(r##"{"items":{"$ref":"#a"},"definitions":{"A":{"$id":"#a","type":"null"}}}"##, "[1]", false);
    check(
        r##"{"$id":"http://a.example/b/c","items":{"$ref":"d#/$defs/e"},"$defs":{"x":{"$id":"/b/d","$defs":{"e":{"type":"null"}}}}}"##,
        "[1]",
        false,
    );
    // Where an annotation holds schemas, they are found.
    check(
        r##"{"items":{"$ref":"#/components/schemas/A"},"components":{"schemas":{"A":{"items":{"$ref":"#/components/schemas/B"}},"B":{"type":"null"}}}}"##,
        "[[1]]",
        false,
    );
    check_in(DRAFT_7, r##"{"items":{"$ref":"#/$defs/A"},"$defs":{"A":{"type":"null"}}}"##, "[1]", false);
    // A schema that is written out twice is one.
    check(
        r##"{"prefixItems":[{"$id":"a","type":"null"},{"$id":"a","type":"null"}],"items":{"$ref":"a"}}"##,
        "[null,null,1]",
        false,
    );
    // With one anchor to lead to, nothing is dynamic.
    check(
        r##"{"$dynamicAnchor":"node","type":"object","additionalProperties":{"$dynamicRef":"#node"}}"##,
        r#"{"a":{"b":1}}"#,
        false,
    );
    check_in(
        DRAFT_2019,
        r##"{"$recursiveAnchor":true,"type":"object","additionalProperties":{"$recursiveRef":"#"}}"##,
        r#"{"a":{"b":1}}"#,
        false,
    );
}

#[test]
fn schemas_within_may_name_another_draft() {
    let both = format!(
        r##"{{"$schema":"{DRAFT_2020}","properties":{{"old":{{"$schema":"{DRAFT_7}","items":[{{"type":"null"}}],"dependentRequired":{{"a":["b"]}}}}}},"dependentRequired":{{"a":["b"]}}}}"##
    );
    check(&both, r#"{"old":[1]}"#, false);
    check(&both, r#"{"old":{"a":1}}"#, true);
    check(&both, r#"{"a":1}"#, false);
}

#[test]
fn what_public_tools_declare_is_accepted() {
    // As zod writes it: draft 7, a format beside a pattern with look-ahead.
    let forecast = format!(
        r##"{{"$schema":"{DRAFT_7}","type":"object","properties":{{"city":{{"type":"string","minLength":1}},
            "until":{{"type":"string","format":"date-time"}},"mail":{{"type":"string","format":"email",
            "pattern":"^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{{2,}}$"}}}},
            "required":["city"],"additionalProperties":false}}"##
    );
    check(&forecast, r#"{"city":"Oslo","until":"soon","mail":"ada@a.example"}"#, true);
    check(&forecast, r#"{"city":"Oslo","mail":"a..b@a.example"}"#, false);
    check(&forecast, r#"{"city":"Oslo","days":3}"#, false);
    // As pydantic writes it: no draft, $defs, const beside default, anyOf with null.
    let search = r##"{"$defs":{"Order":{"enum":["asc","desc"],"title":"Order","type":"string"}},"type":"object","title":"Args",
        "properties":{"order":{"$ref":"#/$defs/Order","default":"asc"},"limit":{"anyOf":[{"type":"integer"},{"type":"null"}],"default":null}},
        "x-origin":"https://a.example"}"##;
    check(search, r#"{"order":"desc","limit":null}"#, true);
    check(search, r#"{"order":"up"}"#, false);
    // As an OpenAPI document has it.
    check(
        r#"{"type":"object","properties":{"n":{"type":"integer","format":"int64","nullable":true,"example":7}}}"#,
        r#"{"n":"7"}"#,
        false,
    );
}

#[test]
fn what_is_refused_says_why() {
    let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err(), expected, "{text}");
    check(r#"{"type":"strnig"}"#, "wrong value of 'type' at '' of the schema");
    check(
        r#"{"properties":{"a":{"required":true}}}"#,
        "wrong value of 'required' at '/properties/a' of the schema",
    );
    check(
        r#"{"properties":{"a":{"exclusiveMinimum":true}}}"#,
        "wrong value of 'exclusiveMinimum' at '/properties/a' of the schema",
    );
    check(r#"{"prefixItems":[true],"items":[true]}"#, "wrong value of 'items' at '' of the schema");
    check(
        &format!(r#"{{"$schema":"{DRAFT_2020}","items":[true]}}"#),
        "neither a boolean nor an object at '/items' of the schema",
    );
    check(r#"{"$id":"a#b"}"#, "wrong value of '$id' at '' of the schema");
    check(
        &format!(r##"{{"$schema":"{DRAFT_2019}","$id":"#a"}}"##),
        "wrong value of '$id' at '' of the schema",
    );
    check(
        r#"{"prefixItems":[{"$id":"a"},{"$id":"a","type":"null"}]}"#,
        "duplicate identifier 'a' at '/prefixItems/1' of the schema",
    );
    check(
        r#"{"$ref":"https://a.example/b.json#/c"}"#,
        "reference 'https://a.example/b.json#/c' leads to another document at '' of the schema",
    );
    check(
        r##"{"properties":{"a":true},"items":{"$ref":"#/properties"}}"##,
        "reference '#/properties' leads to no schema in this document at '/items' of the schema",
    );
    check(
        r##"{"enum":[{}],"items":{"$ref":"#/enum/0"}}"##,
        "reference '#/enum/0' leads to no schema in this document at '/items' of the schema",
    );
    check(
        r##"{"dependencies":{"a":3}}"##,
        "neither a boolean nor an object at '/dependencies/a' of the schema",
    );
    check(
        r##"{"$id":"a","$dynamicAnchor":"n","$defs":{"b":{"$id":"b","$dynamicAnchor":"n","items":{"$dynamicRef":"#n"}}}}"##,
        "unsupported keyword '$dynamicRef' at '/$defs/b/items' of the schema",
    );
    check(
        r##"{"$id":"a","$dynamicAnchor":"n","$defs":{"b":{"$id":"b","$dynamicAnchor":"n","items":{"$dynamicRef":"#%6e"}}}}"##,
        "unsupported keyword '$dynamicRef' at '/$defs/b/items' of the schema",
    );
    // An anchor counts also where a reference is the first to look.
    check(
        r##"{"$id":"a","$dynamicAnchor":"n","items":{"$dynamicRef":"#n"},"contains":{"$ref":"#/x/b"},"x":{"b":{"$id":"b","$dynamicAnchor":"n"}}}"##,
        "unsupported keyword '$dynamicRef' at '/items' of the schema",
    );
    check(&format!(r##"{{"$schema":"{DRAFT_7}","$ref":"#"}}"##), "reference cycle at '' of the schema");
    check(r#"{"pattern":"("}"#, "malformed pattern at '/pattern' of the schema");
}
