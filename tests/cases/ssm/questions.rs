//! The questions that every client sends to the emulator and to the service.
//!
//! The service has to return the emulator's result. Some results of the emulator differ from those
//! of AWS. Each such fault is a constant here, with AWS's behaviour and its source; the service has
//! to return the result of AWS. `API_…` is a page of AWS's API reference of Systems Manager,
//! and the model is botocore's `data/ssm/2014-11-06/service-2.json`.

use e2e::{MARK, sdk_clients::Question};
use serde_json::{Value, json};

use super::account::DEEP;

/// A question and its expected result.
pub(super) struct Case {
    pub(super) title: &'static str,
    pub(super) question: Question,
    pub(super) expected: Expected,
}

pub(super) enum Expected {
    /// The emulator's result.
    Emulated,
    /// The emulator's result, with a known fault corrected.
    Corrected { fault: &'static str, correct: fn(&mut Value) },
    /// The emulator's result of another question.
    Instead { fault: &'static str, question: Question },
    /// An error, where the emulator returns something else.
    Refused { fault: &'static str, code: &'static str },
    /// An error of which AWS knows nothing, because the service is read-only and supports a part of
    /// the filters. The emulator does not get the question.
    Unsupported { code: &'static str },
}

use Expected::{Corrected, Emulated, Instead, Refused, Unsupported};

/// API_GetParameters: "If the specified name for a parameter contains spaces between characters,
/// the request fails with a `ValidationException` error." AWS rejects all characters that no name
/// may have in the same way (localstack/localstack, issue 7712, shows its response).
const CHARACTERS: &str = "the emulator looks up names that cannot exist";

/// API_GetParameter: "The service removes any spaces specified for the beginning or end of a
/// parameter name."
const SPACES: &str = "the emulator does not remove spaces around a name";

/// The model: `Name` is required, and `PSParameterName` has 1 to 2048 characters.
const LENGTHS: &str = "the emulator does not check the length of a name";

/// The model: `ParameterNameList` has 1 to 10 members.
const NO_NAMES: &str = "the emulator accepts a list without names";

/// The model: `GetParametersByPathMaxResults` is 1 to 10, and `MaxResults` is 1 to 50.
const MAX_RESULTS: &str =
    "the emulator accepts a page without items, and pages of any size in DescribeParameters";

/// API_DescribeParameters and API_GetParametersByPath: `InvalidNextToken`, "The specified token
/// isn't valid."
const TOKEN: &str = "the emulator fails with status 500 at a token that is not a number";

/// API_GetParametersByPath: "Hierarchies start with a forward slash (/)."
const PATHS: &str = "the emulator accepts paths that do not begin with a slash, or have characters that no path has";

/// API_DescribeParameters: `MaxResults` is "the maximum number of items to return for this call".
const PAGE_SIZE: &str =
    "the emulator ignores MaxResults of DescribeParameters, and returns ten items";

/// API_GetParametersByPath: `NextToken` is "the token for the next set of items to return".
const LAST_PAGE: &str = "the emulator returns a token after the last page if that page is full";

fn case(title: &'static str, question: Question, expected: Expected) -> Case {
    Case { title, question, expected }
}

fn same(title: &'static str, operation: &str, input: Value) -> Case {
    case(title, Question::new(operation, input), Emulated)
}

fn all_pages(title: &'static str, operation: &str, input: Value) -> Case {
    case(title, Question::all_pages(operation, input), Emulated)
}

fn refused(
    title: &'static str,
    operation: &str,
    input: Value,
    fault: &'static str,
    code: &'static str,
) -> Case {
    case(title, Question::new(operation, input), Refused { fault, code })
}

fn unsupported(title: &'static str, operation: &str, input: Value, code: &'static str) -> Case {
    case(title, Question::new(operation, input), Unsupported { code })
}

/// Returns all questions about an account.
pub(super) fn all(account: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(names(account));
    cases.extend(values());
    cases.extend(several(account));
    cases.extend(paths());
    cases.extend(descriptions());
    cases.extend(other_operations());
    cases
}

fn arn(account: &str, name: &str) -> String {
    format!("arn:aws:ssm:eu-west-2:{account}:parameter{name}")
}

fn names(account: &str) -> Vec<Case> {
    let get = |title, name: &str| same(title, "GetParameter", json!({ "Name": name }));
    let invalid = |title, name: &str, fault| {
        refused(title, "GetParameter", json!({ "Name": name }), fault, "ValidationException")
    };
    vec![
        get("a name with slashes", "/app/key"),
        get("a name of one level", "/one"),
        get("a name of one level, asked without its slash", "one"),
        get("a name without a slash", "plain"),
        get("a name without a slash, asked with one", "/plain"),
        get("a name with every symbol", "/-._/_.-"),
        get("a name of fifteen levels", DEEP),
        get("a name in upper case", "/UPPER/lower"),
        get("the same name in lower case", "/upper/lower"),
        get("the first version", "/app/key:1"),
        get("the last version", "/app/key:3"),
        get("a version that does not exist", "/app/key:9"),
        get("a version of a parameter that does not exist", "/app/none:1"),
        get("a label", "/app/key:stable"),
        get("a label that does not exist", "/app/key:unheard-of"),
        get("a version of a name without a slash", "plain:1"),
        get("an ARN", &arn(account, "/app/key")),
        get("an ARN with a version", &arn(account, "/app/key:2")),
        get("an ARN with a label", &arn(account, "/app/key:stable")),
        get("an ARN of a name of one level", &arn(account, "/one")),
        get("an ARN of a parameter that does not exist", &arn(account, "/app/none")),
        get("an ARN of another account", &arn("999999999999", "/app/key")),
        get("a parameter that does not exist", "/app/none"),
        get("a parameter that does not exist, without a slash", "none"),
        get("a path instead of a name", "/app"),
        invalid("a name with a space", "/app/a key", CHARACTERS),
        invalid("a name with a dollar sign", "/app/$key", CHARACTERS),
        invalid("a name that is not ASCII", "/app/schlüssel", CHARACTERS),
        invalid("a name of 2049 characters", &format!("/{}", "x".repeat(2048)), LENGTHS),
        invalid("an empty name", "", LENGTHS),
        refused("no name", "GetParameter", json!({}), LENGTHS, "ValidationException"),
        case(
            "a name between spaces",
            Question::get(" /app/db/host "),
            Instead { fault: SPACES, question: Question::get("/app/db/host") },
        ),
    ]
}

fn values() -> Vec<Case> {
    let get = |title, name: &str| same(title, "GetParameter", json!({ "Name": name }));
    let decrypted = |title, name: &str, decryption: bool| {
        same(title, "GetParameter", json!({ "Name": name, "WithDecryption": decryption }))
    };
    vec![
        get("a list of strings", "/app/hosts"),
        get("a value that is not ASCII", "/app/unicode"),
        get("a value of 8 KB", "/app/large"),
        get("a value with control characters", "/app/control"),
        get("a value with markup and quotes", "/app/html"),
        get("a value between spaces", "/app/spaces"),
        get("the second version of a described parameter", "/app/described"),
        get("a secret, without WithDecryption", "/app/db/password"),
        decrypted("an encrypted secret", "/app/db/password", false),
        decrypted("a decrypted secret", "/app/db/password", true),
        decrypted("a certificate", "/app/pem", true),
        decrypted("an encrypted certificate", "/app/pem", false),
        decrypted("a string, decrypted", "/app/db/host", true),
        decrypted("a secret that does not exist", "/app/none", true),
    ]
}

fn several(account: &str) -> Vec<Case> {
    let get = |title, names: Value| same(title, "GetParameters", json!({ "Names": names }));
    let numbered = |count: usize| -> Vec<_> {
        (0..count).map(|number| format!("/list/{number:02}")).collect()
    };
    vec![
        get("two names", json!(["/app/key", "/app/db/host"])),
        get("ten names", json!(numbered(10))),
        get("eleven names", json!(numbered(11))),
        get("names in another order", json!(["/one", "/list/07", "/app/key", "/list/03"])),
        get("the same name twice", json!(["/app/key", "/app/key"])),
        get("a name and a version of it", json!(["/app/key", "/app/key:1"])),
        get("names with selectors", json!(["/app/key:stable", "/app/hosts:1"])),
        get("a version and a label that do not exist", json!(["/app/key:9", "/app/db/host:none"])),
        get("known and unknown names", json!(["/app/none", "/app/key", "/nowhere"])),
        get("only unknown names", json!(["/nowhere/2", "/nowhere/1"])),
        get("an ARN and a name", json!([arn(account, "/app/key"), "/app/db/host"])),
        get("a name without its slash", json!(["plain", "one"])),
        get("an encrypted secret and a string", json!(["/app/db/password", "/app/key"])),
        same(
            "a decrypted secret and a string",
            "GetParameters",
            json!({ "Names": ["/app/db/password", "/app/key"], "WithDecryption": true }),
        ),
        refused(
            "no names",
            "GetParameters",
            json!({ "Names": [] }),
            NO_NAMES,
            "ValidationException",
        ),
        refused(
            "a name with a space among others",
            "GetParameters",
            json!({ "Names": ["/app/key", "/app/a key"] }),
            CHARACTERS,
            "ValidationException",
        ),
    ]
}

fn paths() -> Vec<Case> {
    let list = |title, input| same(title, "GetParametersByPath", input);
    let pages = |title, input| all_pages(title, "GetParametersByPath", input);
    let invalid = |title, input, fault| {
        refused(title, "GetParametersByPath", input, fault, "ValidationException")
    };
    vec![
        list("one level", json!({ "Path": "/app/db" })),
        list("one level, said explicitly", json!({ "Path": "/app/db", "Recursive": false })),
        list("one level with a slash at the end", json!({ "Path": "/app/db/" })),
        list("one level that has only levels below", json!({ "Path": "/1" })),
        list("all levels", json!({ "Path": "/1", "Recursive": true })),
        list("a page of two", json!({ "Path": "/list", "MaxResults": 2 })),
        list("a page of the default size", json!({ "Path": "/list" })),
        list("decrypted secrets", json!({ "Path": "/app/db", "WithDecryption": true })),
        list("a path that does not exist", json!({ "Path": "/nowhere", "Recursive": true })),
        list("a name instead of a path", json!({ "Path": "/app/key" })),
        list("a prefix of a path", json!({ "Path": "/ap", "Recursive": true })),
        list("eleven items a page", json!({ "Path": "/app", "MaxResults": 11 })),
        pages("all pages of one level", json!({ "Path": "/list" })),
        pages("all pages of all levels", json!({ "Path": "/app", "Recursive": true })),
        pages("all pages of three", json!({ "Path": "/list", "MaxResults": 3 })),
        pages("all pages of one level below the root", json!({ "Path": "/" })),
        pages("all pages below the root", json!({ "Path": "/", "Recursive": true })),
        pages(
            "all pages of decrypted secrets",
            json!({ "Path": "/app", "Recursive": true, "WithDecryption": true, "MaxResults": 4 }),
        ),
        pages("all pages of nothing", json!({ "Path": "/nowhere" })),
        pages("all pages, the last one full", json!({ "Path": "/ten", "MaxResults": 5 })),
        case(
            "a page that is full and the last",
            Question::new("GetParametersByPath", json!({ "Path": "/ten", "MaxResults": 10 })),
            Corrected {
                fault: LAST_PAGE,
                correct: |result| {
                    result["output"].as_object_mut().expect("a success").remove("NextToken");
                },
            },
        ),
        invalid("no items a page", json!({ "Path": "/app", "MaxResults": 0 }), MAX_RESULTS),
        invalid(
            "fewer than no items a page",
            json!({ "Path": "/app", "MaxResults": -1 }),
            MAX_RESULTS,
        ),
        refused(
            "a token that no response held",
            "GetParametersByPath",
            json!({ "Path": "/app", "NextToken": "made up" }),
            TOKEN,
            "InvalidNextToken",
        ),
        invalid("a path without a slash", json!({ "Path": "app" }), PATHS),
        invalid("a path with a space", json!({ "Path": "/a path" }), PATHS),
        refused("no path", "GetParametersByPath", json!({}), PATHS, "ValidationException"),
        list(
            "a path and a type",
            json!({ "Path": "/app/db", "ParameterFilters": [{ "Key": "Type", "Values": ["String"] }] }),
        ),
        list(
            "a path and a name, which does not filter paths",
            json!({ "Path": "/app", "ParameterFilters": [{ "Key": "Name", "Values": ["/app/key"] }] }),
        ),
        unsupported(
            "a path and a label",
            "GetParametersByPath",
            json!({ "Path": "/app", "ParameterFilters": [{ "Key": "Label", "Values": ["stable"] }] }),
            "InvalidFilterKey",
        ),
    ]
}

fn filter(key: &str, option: &str, values: impl Into<Value>) -> Value {
    let values = values.into();
    json!({ "ParameterFilters": [{ "Key": key, "Option": option, "Values": values }] })
}

fn descriptions() -> Vec<Case> {
    let list = |title, input| same(title, "DescribeParameters", input);
    let pages = |title, input| all_pages(title, "DescribeParameters", input);
    let invalid = |title, max_results: i64| {
        let input = json!({ "MaxResults": max_results });
        refused(title, "DescribeParameters", input, MAX_RESULTS, "ValidationException")
    };
    let foreign = |title, key: &str, values: Value| {
        unsupported(title, "DescribeParameters", filter(key, "Equals", values), "InvalidFilterKey")
    };
    vec![
        pages("all pages of all", json!({})),
        pages("all pages of seven", json!({ "MaxResults": 7 })),
        pages("all pages of fifty", json!({ "MaxResults": 50 })),
        case(
            "a page of five",
            Question::new("DescribeParameters", json!({ "MaxResults": 5 })),
            Corrected {
                fault: PAGE_SIZE,
                correct: |result| {
                    result["output"]["Parameters"].as_array_mut().expect("a success").truncate(5);
                },
            },
        ),
        list("one name", filter("Name", "Equals", json!(["/app/key"]))),
        list("several names", filter("Name", "Equals", json!(["/app/key", "/one", "/nowhere"]))),
        list("a name without its slash", filter("Name", "Equals", json!(["app/key"]))),
        list("a described name", filter("Name", "Equals", json!(["/app/described"]))),
        list("the beginning of names", filter("Name", "BeginsWith", json!(["/app/d"]))),
        list("a part of names", filter("Name", "Contains", json!(["/db/"]))),
        list("a part of names in another case", filter("Name", "Contains", json!(["/DB/"]))),
        list("no name", filter("Name", "Equals", json!(["/nowhere"]))),
        list("one level of a path", filter("Path", "OneLevel", json!(["/app/db"]))),
        list(
            "one level by default",
            json!({ "ParameterFilters": [{ "Key": "Path", "Values": ["/app/db"] }] }),
        ),
        list("one level of two paths", filter("Path", "OneLevel", json!(["/app/db", "/UPPER"]))),
        list("all levels of a path", filter("Path", "Recursive", json!(["/1"]))),
        pages("all pages of a path", filter("Path", "Recursive", json!(["/app", "/list"]))),
        pages("all pages of the root", filter("Path", "Recursive", json!(["/"]))),
        list("the type of secrets", filter("Type", "Equals", json!(["SecureString"]))),
        list("two types", filter("Type", "Equals", json!(["SecureString", "StringList"]))),
        list(
            "a path and a type",
            json!({ "ParameterFilters": [
                { "Key": "Path", "Option": "Recursive", "Values": ["/app/db"] },
                { "Key": "Type", "Values": ["SecureString"] },
            ] }),
        ),
        list(
            "a path and a part of names",
            json!({ "ParameterFilters": [
                { "Key": "Name", "Option": "Contains", "Values": ["o"] },
                { "Key": "Path", "Values": ["/app/db"] },
            ] }),
        ),
        list("labels, which do not describe", filter("Label", "Equals", json!(["stable"]))),
        list("an option that names do not have", filter("Name", "OneLevel", json!(["/app"]))),
        list("an option that paths do not have", filter("Path", "Equals", json!(["/app"]))),
        list("a type that does not exist", filter("Type", "Equals", json!(["Secret"]))),
        list("a path without a slash", filter("Path", "Recursive", json!(["app"]))),
        list("a filter without values", json!({ "ParameterFilters": [{ "Key": "Name" }] })),
        list(
            "the same filter twice",
            json!({ "ParameterFilters": [
                { "Key": "Name", "Values": ["/app/key"] }, { "Key": "Name", "Values": ["/one"] },
            ] }),
        ),
        list("an unknown filter", filter("Colour", "Equals", json!(["red"]))),
        refused(
            "a token that no response held",
            "DescribeParameters",
            json!({ "NextToken": "made up" }),
            TOKEN,
            "InvalidNextToken",
        ),
        invalid("no items a page", 0),
        invalid("51 items a page", 51),
        foreign("the filter by tier", "Tier", json!(["Standard"])),
        foreign("the filter by key", "KeyId", json!(["alias/aws/ssm"])),
        foreign("the filter by tag", "tag:team", json!(["a"])),
        unsupported(
            "the old kind of filters",
            "DescribeParameters",
            json!({ "Filters": [{ "Key": "Name", "Values": ["/app"] }] }),
            "InvalidFilterKey",
        ),
    ]
}

fn other_operations() -> Vec<Case> {
    let put = json!({ "Name": "/app/key", "Value": MARK, "Type": "String", "Overwrite": true });
    let name = json!({ "Name": "/app/key" });
    let labels = json!({ "Name": "/app/key", "ParameterVersion": 1, "Labels": ["old"] });
    vec![
        unsupported("a write", "PutParameter", put, "AccessDeniedException"),
        unsupported("a deletion", "DeleteParameter", name.clone(), "AccessDeniedException"),
        unsupported(
            "deletions",
            "DeleteParameters",
            json!({ "Names": ["/app/key"] }),
            "AccessDeniedException",
        ),
        unsupported(
            "a new label",
            "LabelParameterVersion",
            labels.clone(),
            "AccessDeniedException",
        ),
        unsupported("one label less", "UnlabelParameterVersion", labels, "AccessDeniedException"),
        unsupported("the history", "GetParameterHistory", name, "UnknownOperationException"),
        unsupported(
            "another part of SSM",
            "DescribeInstanceInformation",
            json!({}),
            "UnknownOperationException",
        ),
    ]
}
