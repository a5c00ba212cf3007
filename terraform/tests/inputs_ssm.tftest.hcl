# Each run has one invalid value, which must be rejected, among valid ones.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  parameters              = {}
  secure_parameters       = {}
  secure_parameter_values = {}
  kms_key_arn             = null
  change_queue            = null
}

run "a_parameter_without_a_slash" {
  command = plan

  module {
    source = "./modules/ssm"
  }

  variables {
    parameters = { "kantox" = { value = "x" } }
  }

  expect_failures = [var.parameters]
}

run "a_parameter_without_a_value" {
  command = plan

  module {
    source = "./modules/ssm"
  }

  variables {
    parameters = { "/kantox" = { value = "" } }
  }

  expect_failures = [var.parameters]
}

run "a_parameter_of_both_kinds" {
  command = plan

  module {
    source = "./modules/ssm"
  }

  variables {
    parameters        = { "/a" = { value = "x" } }
    secure_parameters = { "/a" = { version = 1 } }
  }

  expect_failures = [var.secure_parameters]
}

run "more_prefixes_than_a_rule_can_hold" {
  command = plan

  module {
    source = "./modules/ssm"
  }

  variables {
    change_queue = { name = "changes", prefixes = [for i in range(40) : "/a-team-with-a-long-name-${i}/"] }
  }

  expect_failures = [aws_cloudwatch_event_rule.changes]
}
