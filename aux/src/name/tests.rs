use proptest::prelude::*;

use super::*;

#[test]
fn a_name_gets_the_leading_slash_that_it_lacks() {
    for text in ["challenge/kantox", "/challenge/kantox"] {
        let name = ParameterName::parse(text).expect("valid");
        assert_eq!(name.as_str(), "/challenge/kantox");
        assert_eq!(name.selector(), None);
    }
}

#[test]
fn a_name_may_include_a_version_or_a_label() {
    let name = ParameterName::parse("app/db.host-1_a:3").expect("valid");
    assert_eq!((name.bare(), name.selector()), ("/app/db.host-1_a", Some("3")));
    assert_eq!(name.as_str(), "/app/db.host-1_a:3");
    assert!(ParameterName::parse("app/db:green.1").is_ok());
}

#[test]
fn a_name_that_ssm_could_never_hold_is_refused() {
    use Malformed::{BadCharacter, BadLevel, BadSelector, Empty, TooDeep, TooLong};
    let deep = ["a"; 16].join("/");
    let long = "a".repeat(2048);
    for (text, reason) in [
        ("", Empty),
        ("/", Empty),
        (long.as_str(), TooLong),
        (deep.as_str(), TooDeep),
        ("a b", BadCharacter),
        ("caf\u{e9}", BadCharacter),
        ("a\u{0}b", BadCharacter),
        ("a%2fb", BadCharacter),
        ("a//b", BadLevel),
        ("a/", BadLevel),
        ("//a", BadLevel),
        ("../etc/passwd", BadLevel),
        ("a/./b", BadLevel),
        ("a:", BadSelector),
        ("a:0", BadSelector),
        ("a:99999999999999999999", BadSelector),
        ("a:1b", BadSelector),
        ("a:AWS-label", BadSelector),
        ("a:b:c", BadSelector),
    ] {
        assert_eq!(ParameterName::parse(text), Err(reason), "{text:.40}");
    }
}

#[test]
fn the_longest_and_the_deepest_name_are_accepted() {
    assert!(ParameterName::parse(&"a".repeat(2047)).is_ok());
    assert!(ParameterName::parse(&["a"; 15].join("/")).is_ok());
}

#[test]
fn a_path_may_be_the_root_and_may_end_with_a_slash() {
    for (text, path) in [("", "/"), ("/", "/"), ("app", "/app"), ("/app/", "/app")] {
        assert_eq!(ParameterPath::parse(text).expect("valid").as_str(), path);
    }
    assert!(ParameterPath::parse("app:3").is_err());
}

#[test]
fn a_path_holds_what_lies_below_it_and_not_itself() {
    let app = ParameterPath::parse("/app").expect("valid");
    assert!(app.holds("/app/db") && app.holds("/app/db/host"));
    assert!(!app.holds("/app") && !app.holds("/apple") && !app.holds("/other"));
    assert!(ParameterPath::parse("/").expect("valid").holds("/app"));
}

#[test]
fn a_prefix_ends_at_a_slash() {
    let prefixes: Prefixes = "/app, /shared/db/".parse().expect("valid");
    for (name, allowed) in [
        ("/app", true),
        ("/app/x", true),
        ("app/x", true),
        ("/apple", false),
        ("/shared", false),
        ("/shared/db/x", true),
    ] {
        assert_eq!(prefixes.allow(name), allowed, "{name}");
    }
    let above = ParameterPath::parse("/shared").expect("valid");
    assert!(prefixes.allow_some_below(&above));
    assert!(!prefixes.allow_some_below(&ParameterPath::parse("/other").expect("valid")));
    assert_eq!(prefixes.to_string(), "/app,/shared/db");
}

const SHARED: &str = "arn:aws:ssm:eu-west-2:210987654321:parameter/shared/vpc-id";

#[test]
fn an_arn_names_a_parameter_of_an_account() {
    for text in [SHARED.to_owned(), format!("/{SHARED}")] {
        let name = ParameterName::parse(&text).expect("valid");
        assert_eq!(name.as_str(), SHARED);
        assert_eq!(name.path(), format!("/{SHARED}"));
        assert_eq!((name.region(), name.account()), (Some("eu-west-2"), Some("210987654321")));
        assert_eq!(name.bare(), "/shared/vpc-id");
        assert!(!name.can_join_batch());
        assert_eq!(name.within_account().as_str(), "/shared/vpc-id");
    }
    let version = ParameterName::parse(&format!("{SHARED}:3")).expect("valid");
    assert_eq!(version.bare(), "/shared/vpc-id");
    assert_eq!(version.within_account().selector(), Some("3"));
    let china = "arn:aws-cn:ssm:cn-north-1:210987654321:parameter/a";
    assert!(ParameterName::parse(china).is_ok());
}

#[test]
fn the_arn_of_a_public_parameter_has_a_region_and_no_account() {
    let arn = "arn:aws:ssm:us-east-1::parameter/aws/service/ami-amazon-linux-latest/x";
    let name = ParameterName::parse(arn).expect("valid");
    assert_eq!((name.region(), name.account()), (Some("us-east-1"), Some("")));
    let plain = name.within_account();
    assert_eq!(plain.as_str(), "/aws/service/ami-amazon-linux-latest/x");
    assert!(plain.can_join_batch());
}

#[test]
fn a_reference_to_a_secret_is_no_arn() {
    for account in ["", "123456789012"] {
        let reference = "aws/reference/secretsmanager/prod/db";
        let arn = format!("arn:aws:ssm:eu-west-2:{account}:parameter/{reference}");
        assert_eq!(ParameterName::parse(&arn), Err(Malformed::BadArn), "{arn}");
    }
}

#[test]
fn a_malformed_arn_is_rejected() {
    for arn in [
        "arn:aws:ssm",
        "arn:aws:s3:eu-west-2:210987654321:parameter/a",
        "arn:aws:ssm:eu-west-2:21098765432:parameter/a",
        "arn:aws:ssm:eu-west-2:210987654321:document/a",
        "arn:aws:ssm:eu-west-2:210987654321:parameter",
        "arn:aws:ssm::210987654321:parameter/a",
        "arn:aws:ssm:EU:210987654321:parameter/a",
    ] {
        assert_eq!(ParameterName::parse(arn), Err(Malformed::BadArn), "{arn}");
    }
    let name = "arn:aws:ssm:eu-west-2:210987654321:parameter/a b";
    assert_eq!(ParameterName::parse(name), Err(Malformed::BadCharacter));
}

#[test]
fn aws_judges_the_characters_and_versions_of_a_secret() {
    for text in [
        "/aws/reference/secretsmanager/prod/db",
        "/aws/reference/secretsmanager/prod/db:AWSPREVIOUS",
        "/aws/reference/secretsmanager/prod/tls+ca@eu",
        "/aws/reference/secretsmanager/prod/db:0c1f0d0e-aaaa-bbbb-cccc-0123456789ab",
    ] {
        let name = ParameterName::parse(&text[1..]).expect("valid");
        assert_eq!(name.as_str(), text);
        assert!(name.is_secret_reference() && !name.can_join_batch());
        assert!(!name.bare().contains(':'));
    }
    for (text, reason) in [
        ("/aws/reference/secretsmanager/", Malformed::Empty),
        ("/aws/reference/secretsmanager/a\nb", Malformed::BadCharacter),
    ] {
        assert_eq!(ParameterName::parse(text), Err(reason), "{text}");
    }
}

#[test]
fn only_the_root_or_its_arn_allows_a_parameter_of_another_account() {
    let name = ParameterName::parse(SHARED).expect("valid");
    for (prefixes, allowed) in [
        ("/", true),
        ("/shared", false),
        ("/app,arn:aws:ssm:eu-west-2:210987654321:parameter/shared/", true),
        ("arn:aws:ssm:eu-west-2:210987654321:parameter/shared/vpc-id", true),
        ("arn:aws:ssm:eu-west-2:210987654321:parameter/share", false),
        ("arn:aws:ssm:eu-west-2:111111111111:parameter/shared", false),
        ("arn:aws:ssm:eu-west-1:210987654321:parameter/shared", false),
    ] {
        let parsed: Prefixes = prefixes.parse().expect("valid");
        assert_eq!(parsed.allow_foreign(&name), allowed, "{prefixes}");
    }
    let foreign: Prefixes = format!("{SHARED}/").parse().expect("valid");
    assert!(!foreign.allow("/shared/vpc-id"), "an ARN allows no name of this account");
    assert_eq!(foreign.to_string(), SHARED);
}

#[test]
fn a_prefix_without_its_slash_is_refused() {
    assert!("arn:aws:ssm:x:1:parameter/a".parse::<Prefixes>().is_err());
    assert!(format!("{SHARED}:3").parse::<Prefixes>().is_err(), "a prefix has no version");
    assert!("app".parse::<Prefixes>().expect_err("no slash").contains("'app'"));
    assert!("".parse::<Prefixes>().is_err());
}

proptest! {
    #[test]
    fn an_accepted_name_is_one_that_ssm_could_hold(text in "\\PC{0,40}|[a-z/:.%_-]{0,40}") {
        if let Ok(name) = ParameterName::parse(&text)
            && name.can_join_batch()
        {
            prop_assert!(name.bare().starts_with('/'));
            prop_assert!(!name.bare().contains("//") && !name.bare().ends_with('/'));
            prop_assert!(name.bare().bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b)));
            prop_assert_eq!(ParameterName::parse(name.as_str()), Ok(name.clone()));
        }
    }
}
