# Values of AWS whose form a rule validates. Terraform generates the others.

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
}

mock_data "aws_region" {
  defaults = { region = "eu-west-2" }
}

mock_data "aws_iam_openid_connect_provider" {
  defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
}

mock_resource "aws_iam_openid_connect_provider" {
  defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
}

mock_resource "aws_iam_policy" {
  defaults = { arn = "arn:aws:iam::123456789012:policy/mock" }
}

mock_resource "aws_ecr_repository" {
  defaults = {
    arn            = "arn:aws:ecr:eu-west-2:123456789012:repository/kantox-challenge"
    repository_url = "123456789012.dkr.ecr.eu-west-2.amazonaws.com/kantox-challenge"
  }
}

mock_resource "aws_s3_bucket" {
  defaults = {
    id  = "kantox-challenge-bucket"
    arn = "arn:aws:s3:::kantox-challenge-bucket"
  }
}

mock_resource "aws_sqs_queue" {
  defaults = {
    id  = "https://sqs.eu-west-2.amazonaws.com/123456789012/kantox-challenge-parameter-changes"
    arn = "arn:aws:sqs:eu-west-2:123456789012:kantox-challenge-parameter-changes"
    url = "https://sqs.eu-west-2.amazonaws.com/123456789012/kantox-challenge-parameter-changes"
  }
}

mock_resource "aws_cloudwatch_event_rule" {
  defaults = { arn = "arn:aws:events:eu-west-2:123456789012:rule/kantox-challenge-parameter-changes" }
}

mock_resource "aws_rolesanywhere_trust_anchor" {
  defaults = { arn = "arn:aws:rolesanywhere:eu-west-2:123456789012:trust-anchor/00000000-0000-0000-0000-000000000001" }
}

mock_resource "aws_rolesanywhere_profile" {
  defaults = { arn = "arn:aws:rolesanywhere:eu-west-2:123456789012:profile/00000000-0000-0000-0000-000000000002" }
}
